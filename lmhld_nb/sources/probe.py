"""Look into one image or array file: shape, data type, coordinate system, codes. Nothing is kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lmhld_nb import scenes
from lmhld_nb.config import UserError
from lmhld_nb.scenes import arrays, rasters


@dataclass(frozen=True)
class Probe:
    """What a file holds.

    Attributes:
        shape: as stored; (bands, rows, cols) for rasters.
        dtype: data type.
        array: read as an array file, whose band axis may be anywhere.
        crs: coordinate system as text, None without one.
        resolution: pixel size in units of the coordinate system, None without one.
        nodata: the file's declared no-data value.
        blank_alpha: a fourth band that is an alpha channel.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    array: bool
    crs: str | None = None
    resolution: tuple[float, float] | None = None
    nodata: float | None = None
    blank_alpha: bool = False


def probe(path: Path, key: str | None = None) -> Probe:
    """Look at the header of ``path``.

    Raises:
        UserError: missing, damaged, pickled, several variables and no ``key``, or a TIFF of several pages.
    """
    if arrays.is_array_file(path):
        with arrays.open_array(path, key) as array:
            return Probe(tuple(array.shape), np.dtype(array.dtype), array=True)
    with rasters.open_raster(path) as source:
        if source.count == 1 and source.subdatasets:
            raise UserError(
                f"{path}: holds {len(source.subdatasets)} separate pages instead of bands; "
                "save each image as one TIFF with its bands together"
            )
        alpha = source.count == 4 and source.colorinterp[3].name == "alpha"
        return Probe(
            (source.count, source.height, source.width),
            np.dtype(source.dtypes[0]),
            array=False,
            crs=str(source.crs) if source.crs else None,
            resolution=source.res if source.crs else None,
            nodata=source.nodata,
            # A 4-band PNG is always said to have alpha; it is near infrared unless it is opaque throughout.
            blank_alpha=alpha and bool((source.read(4) == np.iinfo(source.dtypes[3]).max).all()),
        )


def codes_in(path: Path, key: str | None = None, rows: int = 512) -> set[int] | None:
    """Return the values that occur in a mask, None where some are not whole numbers."""
    found: set[int] = set()
    for part in _blocks(path, key, rows):
        values = np.unique(part)
        if values.dtype.kind == "f" and not (np.isfinite(values) & (values == np.round(values))).all():
            return None
        found.update(int(value) for value in values)
        if len(found) > 256:
            break
    return found


def _blocks(path: Path, key: str | None, rows: int):  # type: ignore[no-untyped-def]
    if arrays.is_array_file(path):
        with arrays.open_array(path, key) as array:
            for start in range(0, array.shape[0], rows):
                yield np.asarray(array[start : start + rows])
        return
    with rasters.open_raster(path) as source:
        for window in scenes.strips((source.height, source.width), rows):
            yield rasters.read_raster(source, path, window, [1])
