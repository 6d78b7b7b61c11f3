"""Terrain below a map: slope and relief of its landslides, from an elevation raster on any grid."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from affine import Affine
from rasterio.enums import Resampling
from rasterio.features import geometry_mask
from rasterio.vrt import WarpedVRT
from shapely.geometry.base import BaseGeometry

from lmhld_nb.config import UserError
from lmhld_nb.scenes import rasters
from lmhld_nb.scenes.rasters import Window
from lmhld_nb.scenes.scene import Image

CELL = 10.0  # m: in smaller cells, trees and boulders dominate the slope
MOST_CELLS = 4000  # per side


@dataclass(frozen=True)
class Terrain:
    """Elevation (m) and slope (degrees) of a scene in cells of ``step`` pixels of its image; NaN where unknown."""

    elevation: np.ndarray
    slope: np.ndarray
    step: int
    transform: Affine

    def at(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Return elevation and slope (rows, cols) of the image's pixels, taken from their cells."""
        rows, cols = np.arange(window.height) + window.row, np.arange(window.width) + window.col
        cells = np.ix_(rows // self.step, cols // self.step)
        return self.elevation[cells], self.slope[cells]

    def below(self, geometry: BaseGeometry) -> tuple[float, float]:
        """Return mean slope (degrees) and relief (m, highest minus lowest) of the cells that a geometry touches."""
        left, bottom, right, top = geometry.bounds
        (col, row), (last_col, last_row) = ~self.transform * (left, top), ~self.transform * (right, bottom)
        row, col = max(0, math.floor(row)), max(0, math.floor(col))
        cells = np.s_[row : math.ceil(last_row) + 1, col : math.ceil(last_col) + 1]
        transform, shape = self.transform * Affine.translation(col, row), self.elevation[cells].shape
        inside = geometry_mask([geometry], shape, transform, all_touched=True, invert=True)
        heights, slopes = self.elevation[cells][inside], self.slope[cells][inside]
        if np.isnan(heights).all() or np.isnan(slopes).all():
            return math.nan, math.nan
        return float(np.nanmean(slopes)), float(np.nanmax(heights) - np.nanmin(heights))


def read(dem: Path, image: Image) -> Terrain:
    """Read elevation in metres in cells of at least 10 m (or its own pixels, if larger) below an image.

    UserError if the file cannot be read, has no coordinate system or does not cover the scene, or if the image has no
    coordinate system.
    """
    with rasters.open_raster(dem) as source:
        if not rasters.is_on_earth(source.crs) or image.crs is None:
            path, mend = image.scene.image if image.crs is None else dem, "assign one (rio edit-info --crs …)"
            raise UserError(f"{path}: has no geographic or projected coordinate system, which --dem needs; {mend}")
        across, down = rasters.ground_pixel(image.crs, image.transform, image.shape)
        own = rasters.ground_pixel(source.crs, source.transform, source.shape)[1]
        step = max(math.ceil(max(CELL, own) / down), math.ceil(max(image.shape) / MOST_CELLS))
        step = min(step, max(1, min(image.shape) // 2))  # a slope needs two cells
        height, width = (math.ceil(side / step) for side in image.shape)
        transform = image.transform * Affine.scale(step)
        with WarpedVRT(
            source, crs=image.crs, transform=transform, height=height, width=width, dtype="float32", nodata=-1e6,
            resampling=Resampling.average if own < step * down else Resampling.bilinear,
        ) as warped:  # fmt: skip
            elevation = rasters.read_raster(warped, dem, Window(0, 0, height, width), [1], masked=True)[0]
    if np.isnan(elevation).all():
        raise UserError(f"{dem}: has no elevation within {image.scene.image.name}; check that the two belong together")
    fall, rise = np.gradient(elevation, down * step, across * step)
    return Terrain(elevation, np.degrees(np.arctan(np.hypot(fall, rise))), step, transform)
