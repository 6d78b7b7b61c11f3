"""Vector files: the polygons of one layer, filtered by attributes, with a plausible coordinate system."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import geopandas as gpd
import pyogrio

from lmhld_nb.config import UserError
from lmhld_nb.scenes.rasters import is_on_earth, readable

SUFFIXES = (".gpkg", ".shp", ".geojson", ".json", ".fgb", ".kml", ".kmz", ".gml", ".shp.zip")
TRUE_LAYER = "true landslides"  # of a synthetic scene: true outlines, not those drawn by an interpreter
MEND, WHERE = "export it again as GeoPackage", "correct --where (`where:` in a data set)"
_ERRORS = (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError)


def is_vector(path: Path) -> bool:
    """Whether ``path`` is read here rather than as an image (by its suffix; tables are refused here)."""
    return path.name.lower().endswith((*SUFFIXES, ".zip", ".gdb", ".csv"))


def layers(path: Path) -> dict[str, str | None]:
    """Return the layers of a vector file and their geometry types, None for tables; UserError if unreadable."""
    with _opened(path) as file:
        return {str(name): geometry for name, geometry in pyogrio.list_layers(file)}


def read(path: Path, layer: str | None = None, where: str | None = None) -> gpd.GeoDataFrame:
    """Read a layer's features that match ``where`` (an SQL WHERE clause); ``layer`` None: the file's only one.

    UserError if the layer is missing or ambiguous, has no geometry or no feature, or coordinates do not fit its system.
    """
    held = [name for name, geometry in layers(path).items() if geometry is not None]
    named = ", ".join(held) or "none with geometry"
    if layer is not None and layer not in held:
        raise UserError(f"{path}: no layer '{layer}', it holds {named}; correct --layer (`layer:` in a data set)")
    choice = [name for name in held if name != TRUE_LAYER] if layer is None else [layer]
    if len(choice) > 1:
        mend = "name one with --layer (`layer:` in a data set), or save it as a separate file"
        raise UserError(f"{path}: holds several layers ({named}); {mend}")
    if not choice:
        raise UserError(f"{path}: holds no polygons, only tables; export the landslides' outlines as GeoPackage")
    query = ("cannot be read as polygons", MEND) if where is None else (f"'{where}' cannot be used", WHERE)
    with _opened(path) as file, readable(path, *query, ValueError, *_ERRORS):
        table = pyogrio.read_dataframe(file, layer=choice[0], where=where, on_invalid="fix")  # closes open rings
    if len(table) == 0 and where is not None:
        raise UserError(f"{path}: no feature fits {where}; {WHERE}")
    if not isinstance(table, gpd.GeoDataFrame) or len(table) == 0:
        raise UserError(f"{path}: the inventory is empty; give the file that holds the landslide polygons")
    if not is_on_earth(table.crs):
        mend = "assign one in a GIS, or supply the .prj file"
        raise UserError(f"{path}: has no geographic or projected coordinate system; {mend}")
    left, bottom, right, top = table.total_bounds
    if table.crs.is_geographic and (max(-left, right) > 360 or max(-bottom, top) > 90):
        problem = f"its coordinates, like {left:.7g}, {bottom:.7g}, are no longitude and latitude"
        raise UserError(f"{path}: {problem}; export it again, as GeoPackage, with the coordinate system that it is in")
    return table


@contextmanager
def _opened(path: Path) -> Iterator[Path | str]:
    """Yield a path that pyogrio opens literally: it would treat the part before a ! as an archive."""
    if not path.exists():
        raise UserError(f"{path}: no such file")
    with (
        warnings.catch_warnings(action="ignore", category=RuntimeWarning),  # e.g. about dates and type names
        readable(path, "cannot be read as polygons", MEND, *_ERRORS),
    ):
        # /vsisubfile/0, is GDAL's name for a whole file, and /vsi… is passed on to GDAL unchanged.
        yield f"/vsisubfile/0,{path.absolute()}" if "!" in str(path) else path
