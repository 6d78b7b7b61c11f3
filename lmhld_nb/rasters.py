"""Raster files opened and read window by window, with errors in one line."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import rasterio.windows
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError

from lmhld_nb.config import UserError

# GDAL would keep blocks worth 5 % of the memory; reading by strips needs two rows of the largest usual tiles.
os.environ.setdefault("GDAL_CACHEMAX", "192")
# VRTs hand no opening options on to their files, and overviews take none.
os.environ.setdefault("GDAL_NUM_THREADS", "ALL_CPUS")


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels: first row, first column, height and width."""

    row: int
    col: int
    height: int
    width: int

    @property
    def as_rasterio(self) -> rasterio.windows.Window:
        """The same rectangle as rasterio counts it (columns first)."""
        return rasterio.windows.Window(self.col, self.row, self.width, self.height)


def open_raster(path: Path) -> rasterio.DatasetReader:
    """Open a raster file of any format GDAL reads; it decompresses on all cores.

    Raises:
        UserError: missing, or no image.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        with warnings.catch_warnings():
            # Images without georeference are declared as such and checked in scenes.open_image.
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            return rasterio.open(path, num_threads="all_cpus")
    except RasterioIOError as error:
        raise UserError(
            f"{path}: cannot be read as an image ({_short(error)}); fetch or export it again"
        ) from error


def read_raster(
    source: rasterio.DatasetReader,
    path: Path | None,
    window: Window,
    bands: Sequence[int],
    masked: bool = False,
) -> np.ndarray:
    """Read bands (counted from 1) of a window, (bands, rows, cols); ``masked`` gives float32 with NaN for no data.

    Raises:
        UserError: the file is damaged there.
    """
    try:
        if masked:
            values = source.read(list(bands), window=window.as_rasterio, masked=True)
            return values.astype(np.float32).filled(np.nan)
        return source.read(list(bands), window=window.as_rasterio)
    except RasterioIOError as error:
        raise UserError(
            f"{path}: damaged near row {window.row} ({_short(error)}); fetch or export it again"
        ) from error


def check_finite(values: np.ndarray, nodata: float | None, path: Path, window: Window) -> None:
    """Refuse NaN and infinite values where NaN is not the declared no-data value.

    Raises:
        UserError: there are some.
    """
    if values.dtype.kind != "f" or (nodata is not None and np.isnan(nodata)):
        return
    bad = values.size - int(np.isfinite(values).sum())
    if bad:
        raise UserError(
            f"{path}: {bad} NaN or infinite values near row {window.row}, column {window.col}; "
            "declare `nodata: .nan` if they mean no data (`lmhld map --nodata nan`), or repair the file"
        )


def holdable(nodata: float | None, dtype: np.dtype) -> float | None:
    """Return ``nodata``, or None where ``dtype`` cannot hold it: such a value occurs nowhere."""
    if nodata is not None and dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if not float(nodata).is_integer() or not limits.min <= nodata <= limits.max:
            return None
    return nodata


def valid_pixels(values: np.ndarray, nodata: float | None) -> np.ndarray:
    """Return (height, width) True where ``values`` (bands, height, width) hold data.

    A pixel is no data where *every* band read has the no-data value: single zeros are ordinary dark pixels. Where
    NaN means no data, one NaN or infinite band is enough.
    """
    nodata = holdable(nodata, values.dtype)
    if nodata is None:
        return np.ones(values.shape[1:], bool)
    if np.isnan(nodata):
        return np.isfinite(values).all(axis=0)
    return (values != values.dtype.type(nodata)).any(axis=0)


def _short(error: object) -> str:
    return " ".join(str(error).split())[:160]
