"""The files of a twin scene: where it lies on the map, its rasters and its polygons."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyogrio
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio import features
from rasterio.transform import Affine, from_origin
from rasterio.warp import transform as reproject

from lmhld_nb import config
from lmhld_nb.twin import runout
from lmhld_nb.twin.areas import AreaRecipe

_FAILED = (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, pyogrio.errors.FeatureError)


def georeference(recipe: AreaRecipe, number: int) -> Affine:
    """Return the place on the map: scenes of an area lie side by side in rows of eight, on a 10 m grid."""
    (x,), (y,) = reproject("EPSG:4326", f"EPSG:{recipe.epsg}", [recipe.lon], [recipe.lat])
    pace = 40 * recipe.patch * recipe.resolution_m
    left = round((x + (number % 8) * pace) / 10) * 10
    top = round((y - (number // 8) * pace) / 10) * 10
    return from_origin(left, top, recipe.resolution_m, recipe.resolution_m)


def write_raster(
    path: Path, data: NDArray[Any], recipe: AreaRecipe, where: Affine, names: tuple[str, ...],
    tags: dict[str, str], nodata: int | None,
) -> None:  # fmt: skip
    """Write a tiled GeoTIFF of ``data`` (bands, rows, columns) with band ``names``."""
    count, height, width = data.shape
    with (
        config.atomic_path(path) as temporary,
        rasterio.Env(GDAL_CACHEMAX=64),  # MB; left alone, GDAL's cache grows to more than the scene itself
        rasterio.open(
            temporary, "w", driver="GTiff", width=width, height=height, count=count, dtype=data.dtype.name,
            crs=f"EPSG:{recipe.epsg}", transform=where, nodata=nodata, tiled=True, blockxsize=256, blockysize=256,
            compress="deflate", predictor=3 if data.dtype.kind == "f" else 2, zlevel=1, interleave="band",
        ) as target,
    ):  # fmt: skip
        target.write(data)
        target.descriptions = names
        target.update_tags(**tags)


def write_polygons(path: Path, slides: runout.Slides, recipe: AreaRecipe, where: Affine) -> None:
    """Write the landslides' outlines along the pixels' edges, with ``id``, ``area_px`` and ``area_m2``."""
    shapes = features.shapes(slides.label, mask=slides.label > 0, connectivity=4, transform=where)
    outlines = {int(value): shapely.geometry.shape(outline) for outline, value in shapes}
    numbers = sorted(outlines)
    geometry = shapely.make_valid(np.array([outlines[n] for n in numbers], dtype=object))
    pixels = slides.size[np.array(numbers, dtype=int) - 1]
    table = geopandas.GeoDataFrame(
        {"id": numbers, "area_px": pixels, "area_m2": pixels * recipe.resolution_m**2},
        geometry=geometry, crs=f"EPSG:{recipe.epsg}",
    )  # fmt: skip
    # GeoPackage stores when it was written: a fixed date keeps two makings of the same scene identical.
    before = os.environ.get("OGR_CURRENT_DATE")
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": "2024-01-01T00:00:00.000Z"})
    try:
        with config.atomic_path(path) as temporary:
            table.to_file(temporary, layer="landslides", driver="GPKG", engine="pyogrio")
    except _FAILED as error:  # of GDAL's, which knows no OSError
        raise config.cannot_write(path, OSError(" ".join(str(error).split())[:120])) from error
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": before})
