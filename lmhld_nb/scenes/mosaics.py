"""Mosaics: raster files on one grid, joined without copying; rasters read at another resolution."""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.io import MemoryFile
from rasterio.vrt import WarpedVRT

from lmhld_nb.config import UserError
from lmhld_nb.scenes import rasters
from lmhld_nb.scenes.rasters import Nodata, Window

SUFFIXES = (".tif", ".tiff", ".vrt", ".img", ".jp2")
SENTINEL_2 = {"b02": "blue", "b03": "green", "b04": "red", "b08": "nir"}  # its bands of 10 m
MOST_SCALE = 50.0  # largest factor by which a scene may be coarsened or refined


@dataclass(frozen=True)
class Raster:
    """One or more files as one image on one grid."""

    path: Path  # the first file
    shape: tuple[int, int]
    dtype: np.dtype
    crs: CRS | None
    transform: Affine
    nodata: Nodata  # None if every pixel has data
    count: int
    read: Callable[[Window, list[int]], np.ndarray]  # (bands, height, width) of a window and of bands counted from 0
    names: tuple[str, ...] = ()  # band names in the file


def files_of(paths: Sequence[Path]) -> list[Path]:
    """Return the raster files in ``paths``, each once (else UserError); a folder stands for its files, sorted by name.

    A Sentinel-2 product (.SAFE folder) stands for its 10 m bands.
    """
    files: list[Path] = []
    for path in paths:
        if path.name.lower().endswith(".safe"):
            inside = sorted(file for file in path.glob("GRANULE/*/IMG_DATA/**/*.jp2") if band_of_file(file))
        elif path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.name[0] != ".")
        else:
            inside = [path]
        if not inside:
            raise UserError(f"{path}: holds no image; give a folder of {', '.join(SUFFIXES)} files")
        files += inside
    if twice := [file for file in files if files.count(file) > 1]:
        raise UserError(f"{twice[0]}: is named twice; name each file once")
    return files


def band_of_file(path: Path) -> str:
    """Return the name of the band in a file of a Sentinel-2 product, empty if its name does not tell."""
    found = re.search(r"_(B\d\d)(_10m)?\.jp2$", path.name)
    return SENTINEL_2.get(found[1].lower(), "") if found else ""


@contextmanager
def open_files(
    paths: Sequence[Path], nodata: Nodata = None, resolution_m: float | None = None, bands: int = 1
) -> Iterator[Raster]:
    """Open files of one coordinate system, pixel size, type and band order, pixels aligned, as one image.

    For each pixel, the first file with data in the bands that are read wins; one-band files, as many as ``bands``, are
    these bands instead. ``nodata`` None is each file's own. Pixels of a coarser ``resolution_m`` are means, those of a
    finer one bilinear. UserError for other grids.
    """
    with ExitStack() as stack:
        if len(paths) == 1 and resolution_m is None:
            yield _describe(stack.enter_context(rasters.open_raster(paths[0])), paths[0], nodata)
            return
        sources = [_open_when_read(path, stack) for path in paths]
        files = [_describe(source, path, nodata) for source, path in zip(sources, paths, strict=True)]
        first = files[0]
        corners = [_corner(first, file) for file in files]
        top, left = (min(corner[axis] for corner in corners) for axis in (0, 1))
        windows = [Window(row - top, col - left, *file.shape) for (row, col), file in zip(corners, files, strict=True)]
        shape = max(w.row + w.height for w in windows), max(w.col + w.width for w in windows)
        transform = first.transform * Affine.translation(left, top)
        scale = _scale(first, transform, shape, resolution_m) if resolution_m is not None else None
        if scale is not None:
            transform *= Affine.scale(*scale)
            whole = _scaled(Window(0, 0, *shape), scale)
            shape, windows = (whole.height, whole.width), [_scaled(window, scale) for window in windows]
            for number, (source, file, window) in enumerate(zip(sources, files, windows, strict=True)):
                resampled = _resampled_nodata(file)
                warped = WarpedVRT(
                    source, crs=file.crs, transform=transform * Affine.translation(window.col, window.row),
                    height=window.height, width=window.width, src_nodata=resampled, nodata=resampled,
                    resampling=Resampling.average if max(scale) > 1 else Resampling.bilinear, dtype=file.dtype.name,
                    # A pixel is no data if every band is, as in `rasters.valid_pixels`.
                    UNIFIED_SRC_NODATA="YES", NUM_THREADS="ALL_CPUS",
                )  # fmt: skip
                files[number] = _describe(stack.enter_context(warped), file.path, file.nodata)
        if len(files) == 1:
            yield replace(files[0], transform=transform)
            return
        if len(files) == bands and all(file.count == 1 for file in files):
            if other := next((file for file, own in zip(files, windows, strict=True) if own != windows[0]), None):
                raise UserError(f"{other.path}: covers other ground than {first.path.name}; cut them to one extent")
            marks = [dict.fromkeys(f"{v:.10g}" for v in rasters.holdable(file.nodata, file.dtype)) for file in files]
            listed = [", ".join(values) or "not declared" for values in marks]
            if unlike := next((number for number, values in enumerate(listed) if values != listed[0]), 0):
                own = f"no data is {listed[unlike]}, in {first.path.name} {listed[0]}"
                raise UserError(f"{files[unlike].path}: {own}; write one value, or give --nodata")
            stacked = replace(first, transform=transform, count=bands, names=())
            yield replace(stacked, read=lambda window, of: np.concatenate([files[k].read(window, [0]) for k in of]))
            return
        # A type with one value more than that of the files, which then means no data.
        wider = np.dtype(f"i{min(8, 2 * first.dtype.itemsize)}")
        dtype, fill = (first.dtype, math.nan) if first.dtype.kind == "f" else (wider, float(np.iinfo(wider).min))
        read = partial(_joined, files, windows, dtype, fill)
        yield replace(first, shape=shape, transform=transform, dtype=dtype, nodata=fill, read=read)


def _describe(source: rasterio.DatasetReader, path: Path, nodata: Nodata) -> Raster:
    dtype = np.dtype(source.dtypes[0])
    if len(types := dict.fromkeys(source.dtypes)) > 1:
        raise UserError(f"{path}: its bands are of several types ({', '.join(types)}); write all as one of them")
    nodata = rasters.holdable(source.nodata if nodata is None else nodata, dtype) or None
    is_masked = any(flags == [MaskFlags.per_dataset] for flags in source.mask_flag_enums)  # by a mask that is no band
    if is_masked:
        dtype, nodata = np.dtype(np.float32), (*(nodata or ()), math.nan)

    def read(window: Window, indices: list[int]) -> np.ndarray:
        return rasters.read_raster(source, path, window, [index + 1 for index in indices], is_masked)

    crs, names = source.crs, rasters.band_names(source)
    grid = source.shape, dtype, crs if rasters.is_on_earth(crs) else None, source.transform
    return Raster(path, *grid, nodata, source.count, read, names)


def _resampled_nodata(file: Raster) -> float | None:
    """Return the no-data value to leave out when resampling; NaN propagates without it."""
    values = rasters.holdable(file.nodata, file.dtype)
    finite = sorted({value for value in values if not math.isnan(value)})
    if len(finite) > 1:
        problem = f"several values mean no data ({', '.join(map(str, finite))}), and pixels are resampled"
        raise UserError(f"{file.path}: {problem}; leave out --resolution, or write one of them for all")
    return [*finite, *values, None][0]


def _open_when_read(path: Path, stack: ExitStack) -> rasterio.DatasetReader:
    """Open an in-memory VRT for a file: GDAL opens the file on reading, and limits the number of open files."""
    memory = stack.enter_context(MemoryFile(ext=".vrt"))
    with rasters.open_raster(path) as source:
        rasters.check_north_up(path, source.crs, source.transform)
        rasterio.shutil.copy(source, memory.name, driver="VRT")
    with rasterio.open(memory.name, "r+") as vrt:
        # GDAL treats a fourth byte band as alpha: near infrared would decide where the others are visible.
        vrt.colorinterp = [ColorInterp.undefined] * vrt.count
    return stack.enter_context(rasterio.open(memory.name))


def _corner(first: Raster, other: Raster) -> tuple[int, int]:
    """Return row and column of a file's corner on the grid of the first file."""
    x, y = other.transform.a / first.transform.a, other.transform.e / first.transform.e
    col, row = ~first.transform * (other.transform.c, other.transform.f)
    reason = ""
    if other.names != first.names:  # one per band, empty if it has no name
        own, names = (" ".join(name or "?" for name in file.names) for file in (other, first))
        reason = f"its bands are {own}, those of {first.path.name} {names}"
    elif other.dtype != first.dtype:
        reason = f"holds {other.dtype}, {first.path.name} {first.dtype}"
    elif other.crs != first.crs:
        reason = f"has another coordinate system than {first.path.name}"
    elif max(abs(x - 1), abs(y - 1)) * max(other.shape) > 0.05:
        own, pixel = (f"{abs(file.transform.a):g} × {abs(file.transform.e):g}" for file in (other, first))
        reason = f"a pixel is {own}, in {first.path.name} {pixel}"
    elif max(abs(row - round(row)), abs(col - round(col))) > 0.05:
        reason = f"its pixels do not meet those of {first.path.name}"
    if reason:
        raise UserError(f"{other.path}: {reason}; bring it to one grid first, or map it alone")
    return round(row), round(col)


def _scale(first: Raster, transform: Affine, shape: tuple[int, int], resolution_m: float) -> tuple[float, float] | None:
    """Return the number of file pixels per output pixel, across and down; None if it is 1."""
    if first.crs is None:
        mend = "leave out `--resolution`, or assign one (rio edit-info --crs EPSG:… FILE)"
        raise UserError(f"{first.path}: has no coordinate system, so no resolution; {mend}")
    across, down = rasters.ground_pixel(first.crs, transform, shape)
    scale = resolution_m / across, resolution_m / down
    if not 1 / MOST_SCALE <= min(scale) <= max(scale) <= MOST_SCALE:
        own = f"a pixel of {first.path.name} is {across:.3g} × {down:.3g} m"
        mend = f"choose one at most {MOST_SCALE:g} times as coarse or fine"
        raise UserError(f"resolution {resolution_m:g} m: {own}; {mend}")
    return None if max(abs(factor - 1) for factor in scale) < 0.01 else scale


def _scaled(window: Window, scale: tuple[float, float]) -> Window:
    """Return the smallest window of the scaled grid that holds ``window``."""
    across, down = scale
    # A remainder below a millionth of a pixel comes from rounding.
    row, col = math.floor(window.row / down + 1e-6), math.floor(window.col / across + 1e-6)
    end_row = math.ceil((window.row + window.height) / down - 1e-6)
    end_col = math.ceil((window.col + window.width) / across - 1e-6)
    return Window(row, col, end_row - row, end_col - col)


def _joined(
    files: list[Raster], windows: list[Window], dtype: np.dtype, fill: float, window: Window, indices: list[int]
) -> np.ndarray:
    joined = np.full((len(indices), window.height, window.width), fill, dtype)
    missing = np.ones((window.height, window.width), bool)
    for file, own in zip(files, windows, strict=True):
        top, left = max(window.row, own.row), max(window.col, own.col)
        bottom = min(window.row + window.height, own.row + own.height)
        right = min(window.col + window.width, own.col + own.width)
        here = (slice(top - window.row, bottom - window.row), slice(left - window.col, right - window.col))
        if top >= bottom or left >= right or not missing[here].any():
            continue
        overlap = Window(top - own.row, left - own.col, bottom - top, right - left)
        values = file.read(overlap, indices)
        rasters.check_finite(values, file.nodata, file.path, overlap)
        take = missing[here] & rasters.valid_pixels(values, file.nodata)
        joined[(slice(None), *here)][:, take] = values[:, take]
        missing[here] &= ~take
    return joined
