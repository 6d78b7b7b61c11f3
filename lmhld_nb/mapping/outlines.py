"""Outlines: the landslides of a mapped scene as polygons, with their area, probability, position and shape."""

import math
from collections.abc import Iterable
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
from lmhld_nb.scenes.rasters import Window

_AGGREGATED = {"first": "min", "area_px": "sum", "mean_probability": "sum", "max_probability": "max"}


def measure(strips: Iterable[tuple[Window, np.ndarray, np.ndarray]]) -> pd.DataFrame:
    """Return one row per 8-connected landslide: ``first`` pixel (row · width + col), area and probabilities.

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
    table["mean_probability"] /= table["area_px"]
    return table.sort_values("first").astype({"first": np.int64, "area_px": np.int64}).reset_index(drop=True)


def outline(mask: Path, landslides: pd.DataFrame, min_area_px: int = 1, min_area_m2: float = 0.0) -> gpd.GeoDataFrame:
    """Outline a mask raster's ``landslides`` (of `measure`) as polygons, top to bottom; smaller ones are left out.

    Columns: id, area_px, mean_probability, max_probability, area_m2 (in an equal-area system), lon and lat of the
    centroid, compactness (4πA/P²: 1 for a disc, 0 for a line).
    """
    with rasterio.open(mask) as source:
        crs, transform, width = source.crs, source.transform, source.width
        # Where the mask is 0 there is nothing to outline; 255 is no data.
        band = rasterio.band(source, 1)
        outlined = rasterio.features.shapes(band, band, 8, transform) if len(landslides) else ()
        shapes = np.array([to_geometry(geometry) for geometry, value in outlined if value == 1], object)
    # The first corner, row by row, is that of a landslide's first pixel: they come in this order.
    corners, owner = shapely.get_coordinates(shapes, return_index=True)
    cols, rows = np.rint(~transform * corners.T).astype(np.int64)  # outlines follow the pixels' edges
    firsts = pd.Series(rows * (width + 1) + cols).groupby(owner).min()
    # Where parts meet at a corner, an outline touches itself: as several polygons it is valid.
    shapes = shapely.make_valid(shapes[np.argsort(firsts)])
    table = gpd.GeoDataFrame(landslides.drop(columns="first"), geometry=shapes, crs=crs)
    table = table[table["area_px"] >= min_area_px].reset_index(drop=True)
    ground = table
    if crs is None:
        table[["area_m2", "lon", "lat"]] = np.nan
    else:
        # Degrees have no area, feet another unit, Mercator's grows to the poles: measure in an equal-area system.
        table["area_m2"] = table.to_crs(6933).area
        centres = gpd.GeoSeries(shapely.centroid(table.geometry.to_numpy()), crs=crs).to_crs(4326)
        table["lon"], table["lat"] = centres.x, centres.y
        if len(table) and crs.is_geographic:
            ground = table.to_crs(table.estimate_utm_crs())
    table["compactness"] = 4 * math.pi * ground.area / ground.length**2
    if crs is not None:
        table = table[table["area_m2"] >= min_area_m2].reset_index(drop=True)
    table.insert(0, "id", np.arange(1, len(table) + 1))
    return table
