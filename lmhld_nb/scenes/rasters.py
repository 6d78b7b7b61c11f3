"""Raster files opened and read window by window, and their grids, with one-line errors."""

import math
import os
import shlex
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.warp
import rasterio.windows
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError

from lmhld_nb.config import UserError, check_kind, short
from lmhld_nb.scenes import formats

# GDAL would cache blocks up to 5 % of the memory; reading by strips needs two rows of the largest usual tiles.
os.environ.setdefault("GDAL_CACHEMAX", "192")
# VRTs do not pass opening options on to their files, and overviews accept none.
os.environ.setdefault("GDAL_NUM_THREADS", "ALL_CPUS")


Nodata = float | tuple[float, ...] | None  # the values that mean no data


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels: first row, first column, height and width."""

    row: int
    col: int
    height: int
    width: int

    @property
    def as_rasterio(self) -> rasterio.windows.Window:
        """The same rectangle for rasterio (columns first)."""
        return rasterio.windows.Window(self.col, self.row, self.width, self.height)

    @property
    def as_slices(self) -> tuple[slice, slice]:
        """The same rectangle as slices of an array (rows, cols)."""
        return slice(self.row, self.row + self.height), slice(self.col, self.col + self.width)


def strips(shape: tuple[int, int], height: int) -> Iterator[Window]:
    """Yield full-width windows of at most ``height`` rows that cover ``shape`` exactly once."""
    for row in range(0, shape[0], height):
        yield Window(row, 0, min(height, shape[0] - row), shape[1])


def read_decimated(read: Callable[[Window], np.ndarray], window: Window, step: int) -> np.ndarray:
    """Read every ``step``-th pixel of every ``step``-th row of a window by ``read``, such as `labels.read`."""
    parts = []
    for strip in strips((window.height, window.width), step * max(1, 512 // step)):
        parts.append(read(Window(window.row + strip.row, window.col, strip.height, strip.width))[..., ::step, ::step])
    return np.concatenate(parts, axis=-2)


def check_whole(path: Path) -> None:
    """Raise UserError if the last row of a raster cannot be read: for PNG or JPEG, this requires all earlier rows."""
    with open_raster(path) as source:
        read_raster(source, path, Window(source.height - 1, 0, 1, source.width), range(1, source.count + 1))


@contextmanager
def readable(path: Path | str | None, problem: str, next_step: str, *errors: type[Exception]) -> Iterator[None]:
    """Turn ``errors`` in the block into a UserError that names the file, the problem and the next step."""
    try:
        yield
    except errors as error:
        start = ""
        with suppress(OSError), open(path or "", "rb") as file:
            start = file.read(64).decode("ascii", "ignore").lstrip().lower()
        if start.startswith("version https://git-lfs"):
            raise UserError(f"{path}: is a Git LFS pointer, not the file; fetch it with `git lfs pull`") from error
        if start.startswith(("<!doctype html", "<html")):
            raise UserError(f"{path}: is a web page, not the file; download it again, signed in if needed") from error
        reason = error.__cause__ if isinstance(error, RasterioIOError) and error.__cause__ else error  # GDAL's words
        raise UserError(f"{path}: {problem} ({short(reason)}); {next_step}") from error


def open_raster(path: Path) -> rasterio.DatasetReader:
    """Open a raster file (`formats.DRIVERS`); raise UserError if it is missing, not an image, or has no valid grid."""
    check_kind(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    mend = "fetch or export it again, or convert it to GeoTIFF (gdal_translate)"
    with readable(path, "cannot be read as an image", mend, RasterioIOError), warnings.catch_warnings():
        # Images without georeferencing are declared as such and checked in scenes.open_image.
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        source = formats.open_file(path)
    numbers = source.transform[:6]
    across, down = (math.hypot(*numbers[axis : 4 + axis : 3]) for axis in (0, 1))
    is_grid = all(abs(number) < 1e12 for number in numbers) and abs(source.transform.determinant) > 1e-6 * across * down
    kinds = {kind for kind in source.dtypes if kind.startswith("complex")}
    if not is_grid or kinds:
        source.close()
        if kinds:
            raise UserError(f"{path}: holds complex numbers; write their amplitude, or another real quantity, first")
        mend = "georeference it again (gdal_edit.py -a_ullr LEFT TOP RIGHT BOTTOM FILE)"
        raise UserError(f"{path}: its geotransform {numbers} is not a grid; {mend}")
    return source


def read_raster(
    source: rasterio.DatasetReader, path: Path | None, window: Window, bands: Sequence[int], masked: bool = False
) -> np.ndarray:
    """Read bands (counted from 1) of a window, (bands, rows, cols); ``masked`` gives float32 with NaN for no data."""
    with readable(path, f"damaged near row {window.row}", "fetch or export it again", RasterioIOError):
        values = source.read(list(bands), window=window.as_rasterio, masked=masked)
    return values.astype(np.float32).filled(np.nan) if masked else values


def read_mask(source: rasterio.DatasetReader, path: Path | None, window: Window) -> np.ndarray:
    """Read a mask's codes in a window, (rows, cols); UserError if its bands differ, as in a mask painted in colour."""
    bands = [number for number, tag in enumerate(source.colorinterp, 1) if tag != ColorInterp.alpha]
    codes = read_raster(source, path, window, bands or [1])
    if len(codes) > 1 and (codes != codes[0]).any():  # NaN differs from itself
        problem = f"its {len(codes)} bands differ, so it holds colours or several masks"
        raise UserError(f"{path}: {problem}; write one band, 1 for landslide and 0 elsewhere")
    return codes[0]


def check_finite(values: np.ndarray, nodata: Nodata, path: Path, window: Window) -> None:
    """Raise UserError for NaN and infinite values if no no-data value is declared."""
    if values.dtype.kind != "f" or holdable(nodata, values.dtype):
        return
    if bad := values.size - int(np.isfinite(values).sum()):
        where = f"{bad} NaN or infinite values near row {window.row}, column {window.col}"
        mend = "declare `nodata: .nan` if they mean no data (`lmhld map --nodata nan`), or repair the file"
        raise UserError(f"{path}: {where}; {mend}")


def holdable(nodata: Nodata, dtype: np.dtype) -> tuple[float, ...]:
    """Return the values of ``nodata`` that ``dtype`` can represent; for float types also NaN, if there are any."""
    values = () if nodata is None else nodata if isinstance(nodata, tuple) else (nodata,)
    if dtype.kind not in "iu":
        with np.errstate(over="ignore"):
            return (*(value for value in values if not np.isinf(dtype.type(value))), math.nan) if values else ()
    limits = np.iinfo(dtype)
    return tuple(value for value in values if float(value).is_integer() and limits.min <= value <= limits.max)


def valid_pixels(values: np.ndarray, nodata: Nodata) -> np.ndarray:
    """Return bool (height, width), True where ``values`` (bands, height, width) have data.

    A pixel is no data if *every* band has such a value (single zeros are dark pixels), or *any* band is not finite.
    """
    valid = np.ones(values.shape[1:], bool)
    for value in holdable(nodata, values.dtype):
        valid &= np.isfinite(values).all(0) if np.isnan(value) else (values != values.dtype.type(value)).any(0)
    return valid


def band_names(source: rasterio.DatasetReader) -> tuple[str, ...]:
    """Return a file's band names in lower case, empty for a band without one."""
    return tuple((text or "").strip().lower() for text in source.descriptions)


def is_on_earth(crs: Any) -> bool:
    """Whether a coordinate system gives places on a map, unlike none, a local system of a site or a geocentric one."""
    return crs is not None and (crs.is_geographic or crs.is_projected)


def check_north_up(path: Path, crs: CRS | None, transform: Affine) -> None:
    """Raise UserError for a rotated, sheared or flipped grid."""
    turned = max(abs(transform.b), abs(transform.d)) > 1e-6 * abs(transform.a)
    if crs is not None and transform.is_identity:
        mend = "give it one (gdal_edit.py -a_ullr LEFT TOP RIGHT BOTTOM FILE)"
        raise UserError(f"{path}: has a coordinate system but no geotransform; {mend}")
    if crs is not None and (turned or transform.a <= 0 or transform.e >= 0):
        mend = f"warp it north-up first ({warp_command(path, crs, 'north_up.tif')})"
        raise UserError(f"{path}: its grid is rotated or flipped; {mend}")


def warp_command(path: Path, crs: CRS | None, to: str) -> str:
    """Return the command that warps an image to a north-up grid."""
    code = crs.to_epsg() if crs is not None else None
    return f"rio warp {shlex.quote(path.name)} {to} --dst-crs EPSG:{code or '…'}"


def ground_pixel(crs: CRS | None, transform: Affine, shape: tuple[int, int]) -> tuple[float, float]:
    """Return the ground width and height (m) of the central pixel; (1, 1) without coordinates."""
    if crs is None:
        return 1.0, 1.0
    unit = 1.0 if crs.is_geographic else float(crs.linear_units_factor[1])
    nominal = (math.hypot(transform.a, transform.d) * unit, math.hypot(transform.b, transform.e) * unit)
    x, y = transform * (shape[1] / 2, shape[0] / 2)
    (lon,), (lat,) = rasterio.warp.transform(crs, "EPSG:4326", [x], [y])
    # Azimuthal equidistant: distances from its centre are true. Projected systems true to 1 % keep their units.
    local = CRS.from_proj4(f"+proj=aeqd +lat_0={lat} +lon_0={lon} +datum=WGS84 +units=m")
    corners = [x, x + transform.a, x + transform.b], [y, y + transform.d, y + transform.e]
    east, north = rasterio.warp.transform(crs, local, *corners)
    across, down = (math.hypot(east[k] - east[0], north[k] - north[0]) for k in (1, 2))
    true = abs(across / nominal[0] - 1) < 0.01 and abs(down / nominal[1] - 1) < 0.01
    return nominal if true and not crs.is_geographic else (across, down)
