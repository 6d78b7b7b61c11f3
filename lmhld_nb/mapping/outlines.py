"""Outlines: the landslides of a mapped scene as polygons, with their area, probability, position and shape."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import rasterio.features
import shapely
from affine import Affine
from scipy.ndimage import label
from shapely.geometry import shape as to_geometry

from lmhld_nb import inventory
from lmhld_nb.scenes.rasters import Window


@dataclass
class Components:
    """Pixels and probabilities of each 8-connected landslide, gathered strip by strip; memory grows with their number.

    Attributes:
        width: columns of the scene.
    """

    width: int
    _rows: list[np.ndarray] = field(default_factory=list)  # (4, n): first pixel, pixels, sum and peak
    _seams: list[np.ndarray] = field(default_factory=list)
    _above: np.ndarray | None = None
    _total: int = 0

    def add(self, window: Window, mask: np.ndarray, probability: np.ndarray) -> None:
        """Take in the next strip (rows, cols): mask, 1 where there is landslide, and probabilities."""
        landslide = mask == 1
        labels, count = label(landslide, inventory.EIGHT)
        pixels = np.flatnonzero(landslide)
        numbers, values = labels.ravel()[pixels] - 1, probability.ravel()[pixels].astype(np.float64)
        rows = np.zeros((4, count))
        rows[0, numbers[::-1]] = pixels[::-1] + window.row * self.width  # the first of each is written last
        rows[1] = np.bincount(numbers, minlength=count)
        rows[2] = np.bincount(numbers, values, minlength=count)
        np.maximum.at(rows[3], numbers, values)
        self._rows.append(rows)
        top, bottom = (np.where(line > 0, line.astype(np.int64) + self._total, 0) for line in labels[[0, -1]])
        if self._above is not None:
            self._seams.extend(inventory.touching(self._above, top))
        self._above, self._total = bottom, self._total + count

    def table(self) -> dict[str, np.ndarray]:
        """Return of each landslide its first pixel (row · width + col), area_px, mean and max probability, in order."""
        rows = np.concatenate(self._rows, axis=1) if self._rows else np.zeros((4, 0))
        if self._seams:
            count, group = inventory.joined(np.concatenate(self._seams, axis=1) - 1, self._total)
            joined = np.zeros((4, count))
            joined[0] = np.inf
            np.minimum.at(joined[0], group, rows[0])
            joined[1:3] = [np.bincount(group, rows[axis], minlength=count) for axis in (1, 2)]
            np.maximum.at(joined[3], group, rows[3])
            rows = joined[:, np.argsort(joined[0])]
        return {
            "first": rows[0].astype(np.int64),
            "area_px": rows[1].astype(np.int64),
            "mean_probability": rows[2] / np.maximum(rows[1], 1),
            "max_probability": rows[3],
        }


def outline(mask: Path, components: Components, min_area_px: int = 1, min_area_m2: float = 0.0) -> gpd.GeoDataFrame:
    """Outline a mask's landslides, and measure area, probability, position and shape of each.

    Args:
        mask: raster with 1 where there is landslide; read line by line.
        components: gathered from that very mask.
        min_area_px, min_area_m2: smaller landslides are left out.

    Returns:
        One multipolygon per landslide, top to bottom: id, area_px, mean_probability, max_probability, area_m2 (in an
        equal-area system), lon and lat of the centroid, compactness (4πA/P², 1 for a disc, towards 0 for a long thin
        slide).
    """
    landslides = components.table()
    with rasterio.open(mask) as source:
        crs, transform, width = source.crs, source.transform, source.width
        pieces = []
        if len(landslides["first"]):
            band = rasterio.band(source, 1)
            # Where the mask is 0 there is nothing to outline; 255 is no data. Outlines of 8-connected landslides would
            # touch themselves, which is no valid polygon: those of 4-connected pieces do not.
            outlined = rasterio.features.shapes(band, band, 4, transform)
            pieces = [to_geometry(geometry) for geometry, value in outlined if value == 1]
    shapes = _joined(np.array(pieces, object), ~transform, width, landslides["first"])
    is_large = landslides["area_px"] >= min_area_px
    table = gpd.GeoDataFrame({"geometry": gpd.GeoSeries(shapes[is_large], crs=crs)})
    for name in ("area_px", "mean_probability", "max_probability"):
        table[name] = landslides[name][is_large]
    table["area_m2"] = _square_metres(table)
    table["lon"], table["lat"] = _centres(table)
    on_ground = _on_ground(table)
    table["compactness"] = 4 * math.pi * shapely.area(on_ground) / shapely.length(on_ground) ** 2
    if crs is not None:
        table = table[table["area_m2"] >= min_area_m2].reset_index(drop=True)
    table.insert(0, "id", np.arange(1, len(table) + 1))
    return table


def _joined(pieces: np.ndarray, to_pixels: Affine, width: int, firsts: np.ndarray) -> np.ndarray:
    """Join 4-connected pieces that meet at a corner; return a multipolygon for each first pixel."""
    if len(pieces) == 0:
        return pieces
    corners, owner = shapely.get_coordinates(pieces, return_index=True)
    cols, rows = np.rint(to_pixels * corners.T).astype(np.int64)  # outlines follow the pixels' edges
    corner = rows * (width + 1) + cols
    order = np.argsort(corner, kind="stable")
    same = np.flatnonzero(np.diff(corner[order]) == 0)
    pairs = np.stack([owner[order[same]], owner[order[same + 1]]])
    count, group = inventory.joined(pairs, len(pieces))
    # The first corner, row by row, is that of the landslide's first pixel.
    first = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(first, group[owner], rows * width + cols)
    number = np.searchsorted(firsts, first)[group]
    order = np.argsort(number, kind="stable")
    return shapely.multipolygons(pieces[order], indices=number[order])


def _square_metres(table: gpd.GeoDataFrame) -> np.ndarray:
    if table.crs is None:
        return np.full(len(table), np.nan)
    # Degrees have no area, feet another unit, Mercator's grows to the poles: measure in an equal-area system.
    return table.to_crs(6933).area.to_numpy()


def _centres(table: gpd.GeoDataFrame) -> tuple[np.ndarray, np.ndarray]:
    if table.crs is None:
        return np.full(len(table), np.nan), np.full(len(table), np.nan)
    centres = gpd.GeoSeries(shapely.centroid(table.geometry.to_numpy()), crs=table.crs).to_crs(4326)
    return centres.x.to_numpy(), centres.y.to_numpy()


def _on_ground(table: gpd.GeoDataFrame) -> np.ndarray:
    """Return outlines of true shape: as they are, or from degrees in their UTM zone."""
    degrees = len(table) and table.crs is not None and table.crs.is_geographic
    return (table.to_crs(table.estimate_utm_crs()) if degrees else table).geometry.to_numpy()
