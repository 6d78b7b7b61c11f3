"""Mosaics: raster files on one grid joined without copying, and rasters read at another resolution."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Resampling
from rasterio.io import MemoryFile
from rasterio.vrt import WarpedVRT

from lmhld_nb.config import UserError
from lmhld_nb.scenes import rasters
from lmhld_nb.scenes.rasters import Window

SUFFIXES = (".tif", ".tiff", ".vrt", ".img", ".jp2")
OPEN_FILES = 64  # of one mosaic at a time
MOST_SCALE = 50.0  # times that a scene may be made coarser or finer
LEAST_SIDE = 16  # px


@dataclass(frozen=True)
class Raster:
    """One or several files as one image.

    Attributes:
        shape: rows, columns.
        dtype: of the values read.
        crs, transform: the grid.
        nodata: value that means no data, None where every pixel holds some.
        count: bands.
        read: gives (bands, height, width) of a window and of bands counted from 0.
    """

    shape: tuple[int, int]
    dtype: np.dtype
    crs: CRS | None
    transform: Affine
    nodata: float | None
    count: int
    read: Callable[[Window, list[int]], np.ndarray]


@dataclass(frozen=True)
class _Header:
    """What a file says of itself."""

    path: Path
    shape: tuple[int, int]
    dtype: np.dtype
    crs: CRS | None
    transform: Affine
    nodata: float | None
    count: int
    names: tuple[str, ...]


def files_of(places: Sequence[Path]) -> list[Path]:
    """Return the raster files that ``places`` name; a folder stands for its own (`SUFFIXES`), by name.

    Raises:
        UserError: a folder holds none, or a file is named twice.
    """
    found: list[Path] = []
    for place in places:
        if not place.is_dir():
            found.append(place)
            continue
        inside = [
            path for path in sorted(place.iterdir()) if path.suffix.lower() in SUFFIXES and path.is_file()
        ]
        if not inside:
            raise UserError(f"{place}: holds no image; give a folder of {', '.join(SUFFIXES)} files")
        found += inside
    for path in found:
        if found.count(path) > 1:
            raise UserError(f"{path}: is named twice; name each file once")
    return found


@contextmanager
def open_files(
    paths: Sequence[Path], nodata: float | None = None, resolution_m: float | None = None
) -> Iterator[Raster]:
    """Open files on one grid as one image, or at another resolution.

    Where files overlap, the first that holds data wins, pixel by pixel. What no file holds is no data. Coarser, each
    pixel is the mean of those below it; finer, they are interpolated bilinearly; within 1 % of their own resolution
    the files are read as they are.

    Args:
        paths: one file or more: one coordinate system, pixel size, type and band order, pixels aligned.
        nodata: value that means no data; None to take each file's own.
        resolution_m: side of a pixel on the ground in metres.

    Raises:
        UserError: a file cannot be read or lies on another grid than the first, or the resolution is out of reach.
    """
    if len(paths) == 1 and resolution_m is None:  # opened once: data sets may have thousands of small files
        with rasters.open_raster(paths[0]) as source:
            yield _alone(source, _header(source, paths[0], nodata))
        return
    headers = []
    for path in paths:
        with rasters.open_raster(path) as source:
            headers.append(_header(source, path, nodata))
        rasters.check_north_up(path, headers[-1].crs, headers[-1].transform)
    first = headers[0]
    places = [_place(first, header) for header in headers]
    top, left = (min(place[axis] for place in places) for axis in (0, 1))
    height = max(place[0] + header.shape[0] for place, header in zip(places, headers, strict=True)) - top
    width = max(place[1] + header.shape[1] for place, header in zip(places, headers, strict=True)) - left
    transform = first.transform * Affine.translation(left, top)
    shape, scale = (height, width), None
    if resolution_m is not None:
        scale = _scale(first, transform, shape, resolution_m)
    if scale is not None:
        transform *= Affine.scale(*scale)
        # A remainder below a millionth of a pixel comes from rounding.
        shape = (math.ceil(height / scale[1] - 1e-6), math.ceil(width / scale[0] - 1e-6))
        if min(shape) < LEAST_SIDE:
            raise UserError(
                f"{first.path}: {shape[0]}×{shape[1]} pixels at {resolution_m:g} m, at least {LEAST_SIDE} are needed "
                "a side; choose a finer `--resolution`"
            )
    parts = _Parts(transform)
    for (row, col), header in zip(places, headers, strict=True):
        parts.add(header, Window(row - top, col - left, *header.shape), scale)
    try:
        if len(headers) == 1:
            yield Raster(
                shape,
                first.dtype,
                first.crs,
                transform,
                first.nodata,
                first.count,
                lambda window, indices: parts.read(0, window, indices),
            )
        else:
            dtype, fill = _with_room(first.dtype)
            yield Raster(
                shape,
                dtype,
                first.crs,
                transform,
                fill,
                first.count,
                lambda window, indices: _joined(parts, window, indices, dtype, fill),
            )
    finally:
        parts.close()


def _alone(source: rasterio.DatasetReader, header: _Header) -> Raster:
    def read(window: Window, indices: list[int]) -> np.ndarray:
        return rasters.read_raster(source, header.path, window, [index + 1 for index in indices])

    kept = (header.shape, header.dtype, header.crs, header.transform, header.nodata, header.count)
    return Raster(*kept, read)


def _header(source: rasterio.DatasetReader, path: Path, nodata: float | None) -> _Header:
    dtype = np.dtype(source.dtypes[0])
    return _Header(
        path,
        (source.height, source.width),
        dtype,
        source.crs,
        source.transform,
        rasters.holdable(source.nodata if nodata is None else nodata, dtype),
        source.count,
        rasters.band_names(source),
    )


def _place(first: _Header, other: _Header) -> tuple[int, int]:
    """Return row and column of a file's corner on the first one's grid."""
    x, y = other.transform.a / first.transform.a, other.transform.e / first.transform.e
    col, row = ~first.transform * (other.transform.c, other.transform.f)
    reason = ""
    if other.count != first.count:
        reason = f"has {other.count} bands, {first.path.name} {first.count}"
    elif other.names != first.names:
        told = [" ".join(name or "?" for name in header.names) for header in (other, first)]
        reason = f"its bands are {told[0]}, those of {first.path.name} {told[1]}"
    elif other.dtype != first.dtype:
        reason = f"holds {other.dtype}, {first.path.name} {first.dtype}"
    elif other.crs != first.crs:
        reason = f"has another coordinate system than {first.path.name}"
    elif max(abs(x - 1), abs(y - 1)) * max(other.shape) > 0.05:
        pixels = f"{abs(other.transform.a):g} × {abs(other.transform.e):g}"
        reason = f"a pixel is {pixels}, in {first.path.name} {abs(first.transform.a):g} × {abs(first.transform.e):g}"
    elif max(abs(row - round(row)), abs(col - round(col))) > 0.05:
        reason = f"its pixels do not meet those of {first.path.name}"
    if reason:
        raise UserError(f"{other.path}: {reason}; warp it to one grid first (gdalwarp -tap), or map it alone")
    return round(row), round(col)


def _scale(
    first: _Header, transform: Affine, shape: tuple[int, int], resolution_m: float
) -> tuple[float, float] | None:
    """Return how many pixels of the files go across and down into one; None where it is one."""
    if first.crs is None:
        raise UserError(
            f"{first.path}: has no coordinate system, so no resolution; leave out `--resolution`, or assign one "
            "(gdal_edit.py -a_srs EPSG:… FILE)"
        )
    across, down = rasters.ground_pixel(first.crs, transform, shape)
    scale = resolution_m / across, resolution_m / down
    if not 1 / MOST_SCALE <= min(scale) <= max(scale) <= MOST_SCALE:
        raise UserError(
            f"resolution {resolution_m:g} m: a pixel of {first.path.name} is {across:.3g} × {down:.3g} m; choose one "
            f"at most {MOST_SCALE:g} times as coarse or fine"
        )
    return None if max(abs(factor - 1) for factor in scale) < 0.01 else scale


class _Parts:
    """The files of a mosaic, each on its part of the grid, opened when read and closed when others are."""

    def __init__(self, transform: Affine) -> None:
        self._transform = transform
        self._headers: list[_Header] = []
        self._scales: list[tuple[float, float] | None] = []
        self._windows = np.zeros((0, 4), np.int64)  # first row, first column, end row, end column
        self._open: OrderedDict[int, ExitStack] = OrderedDict()
        self._sources: dict[int, rasterio.DatasetReader] = {}

    def add(self, header: _Header, native: Window, scale: tuple[float, float] | None) -> None:
        across, down = scale or (1.0, 1.0)
        corners = (
            math.floor(native.row / down + 1e-6),
            math.floor(native.col / across + 1e-6),
            math.ceil((native.row + native.height) / down - 1e-6),
            math.ceil((native.col + native.width) / across - 1e-6),
        )
        self._headers.append(header)
        self._scales.append(scale)
        self._windows = np.vstack([self._windows, corners])

    def meeting(self, window: Window) -> list[int]:
        """Return the parts that meet a window, in order."""
        row, col, end_row, end_col = self._windows.T
        meets = (row < window.row + window.height) & (end_row > window.row)
        meets &= (col < window.col + window.width) & (end_col > window.col)
        return [int(number) for number in np.flatnonzero(meets)]

    def window(self, number: int) -> Window:
        row, col, end_row, end_col = (int(value) for value in self._windows[number])
        return Window(row, col, end_row - row, end_col - col)

    def header(self, number: int) -> _Header:
        return self._headers[number]

    def read(self, number: int, window: Window, indices: list[int]) -> np.ndarray:
        """Read a window, counted from the part's own corner."""
        bands = [index + 1 for index in indices]
        return rasters.read_raster(self._opened(number), self._headers[number].path, window, bands)

    def _opened(self, number: int) -> rasterio.DatasetReader:
        if number in self._open:
            self._open.move_to_end(number)
            return self._sources[number]
        while len(self._open) >= OPEN_FILES:
            self._close(next(iter(self._open)))
        header, scale, place = self._headers[number], self._scales[number], self.window(number)
        # Closed by callbacks: as context managers, datasets enter an environment of the thread that opens them, and
        # another may close them.
        stack = self._open[number] = ExitStack()
        source = rasters.open_raster(header.path)
        stack.callback(source.close)
        if scale is not None:
            if ColorInterp.alpha in source.colorinterp:
                source = _without_alpha(source, stack)
            source = WarpedVRT(
                source,
                crs=header.crs,
                transform=self._transform * Affine.translation(place.col, place.row),
                height=place.height,
                width=place.width,
                src_nodata=header.nodata,
                nodata=header.nodata,
                resampling=Resampling.average if max(scale) > 1 else Resampling.bilinear,
                # A pixel is no data where every band is, as in `rasters.valid_pixels`.
                UNIFIED_SRC_NODATA="YES",
                NUM_THREADS="ALL_CPUS",
            )
            stack.callback(source.close)
        self._sources[number] = source
        return source

    def _close(self, number: int) -> None:
        self._sources.pop(number, None)
        self._open.pop(number).close()

    def close(self) -> None:
        while self._open:
            self._close(next(iter(self._open)))


def _without_alpha(source: rasterio.DatasetReader, stack: ExitStack) -> rasterio.DatasetReader:
    """Open a file again with an alpha band that is a band like others; ``stack`` closes it.

    GDAL takes the fourth band of bytes for alpha unless it is told otherwise when the file is written. Near infrared
    would then decide where the others are seen.
    """
    with MemoryFile(ext=".vrt") as memory:
        rasterio.shutil.copy(source, memory.name, driver="VRT")
        top = ElementTree.fromstring(memory.read())
    for band in top.iter("VRTRasterBand"):
        for kind in band.findall("ColorInterp"):
            band.remove(kind)
    kept = MemoryFile(ElementTree.tostring(top), ext=".vrt")
    stack.callback(kept.close)
    opened = kept.open()
    stack.callback(opened.close)
    return opened


def _with_room(dtype: np.dtype) -> tuple[np.dtype, float]:
    """Return a type that holds the values of ``dtype`` and one more, which then means no data; and that value."""
    if dtype.kind == "f":
        return dtype, math.nan
    wider = np.dtype(f"i{min(8, 2 * dtype.itemsize)}")
    return wider, float(np.iinfo(wider).min)


def _joined(parts: _Parts, window: Window, indices: list[int], dtype: np.dtype, fill: float) -> np.ndarray:
    joined = np.full((len(indices), window.height, window.width), fill, dtype)
    missing = np.ones((window.height, window.width), bool)
    for number in parts.meeting(window):
        place = parts.window(number)
        top, left = max(window.row, place.row), max(window.col, place.col)
        bottom = min(window.row + window.height, place.row + place.height)
        right = min(window.col + window.width, place.col + place.width)
        here = (slice(top - window.row, bottom - window.row), slice(left - window.col, right - window.col))
        if not missing[here].any():
            continue
        part = Window(top - place.row, left - place.col, bottom - top, right - left)
        values = parts.read(number, part, indices)
        header = parts.header(number)
        rasters.check_finite(values, header.nodata, header.path, part)
        take = missing[here] & rasters.valid_pixels(values, header.nodata)
        joined[(slice(None), *here)][:, take] = values[:, take]
        missing[here] &= ~take
        if not missing.any():
            break
    return joined
