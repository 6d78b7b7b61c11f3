"""Outlines: the landslides of a mapped scene as polygons, with their area, probability, position and shape."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
import rasterio.features
import shapely
from scipy.ndimage import label
from shapely.geometry import shape as to_geometry

from lmhld_nb import inventory
from lmhld_nb.scenes.rasters import Window, ground_pixel

_AGGREGATED = {
    "first": "min", "area_px": "sum", "mean_probability": "sum", "max_probability": "max", "uncertainty": "sum",
}  # fmt: skip
# Half a pixel, together with 0.354: the distance of a line through the midpoints of pixel sides from their corners.
_CORNERS = 0.145


def measure(strips: Iterable[tuple[Window, np.ndarray, np.ndarray]]) -> pd.DataFrame:
    """Return one row per 8-connected landslide: ``first`` pixel (row · width + col), area, probabilities, uncertainty.

    ``strips`` are full-width windows from top to bottom, each with mask (1 is landslide) and probability (rows, cols).
    """
    tables = [pd.DataFrame(columns=[*_AGGREGATED], dtype=float)]
    seams: list[np.ndarray] = []
    above, total = np.zeros(0, np.int64), 0
    for window, mask, probability in strips:
        labels, count = label(mask == 1, inventory.EIGHT)
        pixels = np.flatnonzero(labels)
        values = probability.ravel()[pixels].astype(np.float64)
        table = pd.DataFrame(dict.fromkeys(_AGGREGATED, values))
        table["uncertainty"] = uncertainty(values)
        table["first"], table["area_px"] = pixels + window.row * window.width, 1
        tables.append(table.groupby(labels.ravel()[pixels]).agg(_AGGREGATED))
        top, bottom = (np.where(line > 0, line.astype(np.int64) + total, 0) for line in labels[[0, -1]])
        if len(above):
            seams.extend(inventory.touching(above, top))
        above, total = bottom, total + count
    table = pd.concat(tables, ignore_index=True)
    if seams:
        _, group = inventory.joined(np.concatenate(seams, axis=1) - 1, total)
        table = table.groupby(group).agg(_AGGREGATED)
    means = ["mean_probability", "uncertainty"]
    table[means] = table[means].div(table["area_px"], axis=0)
    return table.sort_values("first").astype({"first": np.int64, "area_px": np.int64}).reset_index(drop=True)


def uncertainty(probability: np.ndarray) -> np.ndarray:
    """Return ``1 - |2p - 1|``: 0 where a network is sure, 1 at a probability of 0.5."""
    return 1 - np.abs(2 * probability - 1)


@dataclass(frozen=True)
class Cleaning:
    """How polygons are cleaned; by default, not at all."""

    min_area_px: float = 1
    min_area_m2: float = 0.0
    fill_holes_px: float = 0.0  # smaller holes are filled, and their content joins the landslide around them
    smooth: bool = False  # outlines within half a pixel of the pixel edges, with fewer corners


def outline(
    mask: Path, landslides: pd.DataFrame, cleaning: Cleaning = Cleaning()
) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame, dict[str, int]]:
    """Outline the ``landslides`` (from `measure`) of a mask raster as polygons, top to bottom, and clean them.

    Columns: id, area_px (of the mask), mean_probability, max_probability, uncertainty (mean); area_m2 of the polygon,
    in an equal-area system, lon and lat of its centroid, length_m and width_m of the smallest rectangle around it,
    compactness (4πA/P²: 1 for a disc, 0 for a line). Also returns the polygons of ground not imaged (255), and how
    many landslides were ``found``, how many of them were ``small`` and left out, and how many ``holes`` were filled.
    """
    with rasterio.open(mask) as source:
        crs, transform, width = source.crs, source.transform, source.width
        is_true = ground_pixel(crs, transform, source.shape) == (abs(transform.a), abs(transform.e))  # in metres
        band = rasterio.band(source, 1)  # where the mask is 0, there is nothing to outline
        outlined = [(to_geometry(shape), value) for shape, value in rasterio.features.shapes(band, band, 8, transform)]
    shapes = np.array([shape for shape, value in outlined if value == 1], object)
    unseen = gpd.GeoDataFrame(geometry=[shapely.make_valid(shape) for shape, value in outlined if value != 1], crs=crs)
    # The first corner, row by row, belongs to a landslide's first pixel, so the polygons come in this order.
    corners, owner = shapely.get_coordinates(shapes, return_index=True)
    cols, rows = np.rint(~transform * corners.T).astype(np.int64)  # outlines follow the pixel edges
    firsts = pd.Series(rows * (width + 1) + cols).groupby(owner).min()
    table = gpd.GeoDataFrame(landslides.drop(columns="first"), geometry=shapes[np.argsort(firsts)], crs=crs)
    counts = {"found": len(table)}
    table = table[table["area_px"] >= cleaning.min_area_px].reset_index(drop=True)
    shapes = np.array(table.geometry, object)
    pixel = abs(transform.a)
    least = cleaning.fill_holes_px * pixel * abs(transform.e)
    counts["holes"] = 0
    for number, shape in enumerate(shapes):
        kept = [ring for ring in shape.interiors if shapely.Polygon(ring).area >= least]
        counts["holes"] += len(shape.interiors) - len(kept)
        shapes[number] = shapely.Polygon(shape.exterior, kept) if len(kept) < len(shape.interiors) else shape
    if cleaning.smooth:
        shapes = np.array([_smoothed(shape, pixel) for shape in shapes], object)
    # Where parts meet at a corner, an outline touches itself; as several polygons it is valid.
    unfit = ~shapely.is_valid(shapes)
    shapes[unfit] = shapely.make_valid(shapes[unfit], method="structure")
    table = table.set_geometry(gpd.GeoSeries(shapes, crs=crs))
    if counts["holes"]:  # polygons inside holes are now within another polygon
        inner, outer = table.sindex.query(table.geometry, predicate="within")
        table = table.drop(inner[inner != outer]).reset_index(drop=True)
    inside = len(shapes) - len(table)
    ground = table
    if crs is None:
        table[["area_m2", "lon", "lat", "length_m", "width_m"]] = np.nan
    else:
        # Degrees give no area, feet another unit, Mercator areas grow towards the poles: use an equal-area system.
        table["area_m2"] = table.to_crs(6933).area
        centres = gpd.GeoSeries(shapely.centroid(table.geometry.to_numpy()), crs=crs).to_crs(4326)
        table["lon"], table["lat"] = centres.x, centres.y
        if len(table) and not is_true:
            ground = table.to_crs(table.estimate_utm_crs())
        # Both sides of the smallest rectangle around each polygon.
        corners = shapely.get_coordinates(shapely.oriented_envelope(ground.geometry.to_numpy())).reshape(-1, 5, 2)
        sides = np.hypot(*np.diff(corners[:, :3], axis=1).T)
        table["length_m"], table["width_m"] = sides.max(axis=0), sides.min(axis=0)
    table["compactness"] = 4 * math.pi * ground.area / ground.length**2
    if crs is not None:
        table = table[table["area_m2"] >= cleaning.min_area_m2].reset_index(drop=True)
    counts["small"] = counts["found"] - len(table) - inside
    table.insert(0, "id", np.arange(1, len(table) + 1))
    return table, unseen, counts


def _smoothed(shape: shapely.Polygon, pixel: float) -> shapely.Polygon:
    """Return a polygon through the midpoints of its pixel sides, which turns stairs into slopes."""

    def middles(ring: shapely.LinearRing) -> np.ndarray:
        corners = shapely.get_coordinates(shapely.segmentize(ring, pixel * 1.001))
        line = (corners[:-1] + corners[1:]) / 2
        return np.concatenate([line, line[:1]])

    smooth = shapely.Polygon(middles(shape.exterior), [middles(ring) for ring in shape.interiors])
    return shapely.simplify(smooth, _CORNERS * pixel)
