"""Scenes: an image with named bands and its landslide mask or polygons, read window by window."""

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import rasterio
import rasterio.windows
import shapely
from affine import Affine
from rasterio.crs import CRS
from rasterio.features import rasterize
from rasterio.transform import array_bounds
from scipy.ndimage import binary_opening
from shapely.geometry import Polygon, box

from lmhld_nb.config import UserError
from lmhld_nb.scenes import arrays, mosaics, rasters, vectors
from lmhld_nb.scenes.mosaics import Raster
from lmhld_nb.scenes.rasters import Nodata, Window, readable
from lmhld_nb.scenes.vectors import TRUE_LAYER as TRUE_LAYER

BANDS = ("blue", "green", "red", "nir")
WHITE_OF_FLOATS = (1.0, 255.0)
LEAST_RUN = 16  # px along an edge, which may be no data


@dataclass(frozen=True)
class Scene:
    """A description of an image and its landslides (nothing is opened until it is read)."""

    name: str  # unique within its data set; letters, digits, ``_``, ``-`` and ``.``
    area: str  # study area the scene belongs to, e.g. ``wenchuan``
    image: Path  # raster file (`formats.DRIVERS`, or a VRT) or array file (.npy, .mat, .h5/.hdf5)
    bands: tuple[str, ...]  # names in file order: ``blue``, ``green``, ``red``, ``nir``, or any others
    mask: Path | None = None  # raster or array file with landslide codes
    polygons: Path | None = None  # vector file (`vectors.SUFFIXES`) of landslides, in any coordinate system
    layer: str | None = None  # of that file, if it has several
    where: str | None = None  # selects the features that are landslides, as in SQL: ``class = 'slide'``
    unlabelled_is_background: bool = False  # without mask and polygons, the image is known to be free of landslides
    dem: Path | None = None  # elevation raster in metres on the image's grid
    split: str | None = None  # ``train``, ``val`` or ``test`` if the data set defines it
    index: int | None = None  # position in a stack of patches (first axis of an array file)
    image_key: str | None = None  # variable inside an .h5 or .mat file
    mask_key: str | None = None
    channels: str = "first"  # or ``last``, for array files
    landslide_codes: tuple[int, ...] = (1,)  # values in ``mask`` that mean landslide
    label_nodata_codes: tuple[int, ...] = (255,)  # values that mean not labelled; all others are background
    nodata: Nodata = None  # no-data value or values of the image; None for the file's own declaration
    scale: float = 1.0  # from stored values to reflectance (for display and indices; patches keep stored values)
    resolution_m: float | None = None  # ground size of a pixel in metres, if known
    georeferenced: bool = True  # False for PNG patches and the like, which need no coordinate system
    extra_bands: str = "error"  # or ``ignore``: what to do when the file has more bands than ``bands`` names


class Image:
    """An opened image: named bands, read window by window in the stored data type."""

    def __init__(self, scene: Scene, raster: Raster) -> None:
        self.scene, self._raster = scene, raster
        self.shape, self.dtype, self.nodata = raster.shape, raster.dtype, raster.nodata
        self.crs, self.transform = raster.crs, raster.transform

    def read(self, window: Window, bands: Sequence[str] = BANDS) -> np.ndarray:
        """Return ``bands`` of ``window`` as (bands, height, width), values as stored."""
        if missing := [band for band in bands if band not in self.scene.bands]:
            has = ", ".join(self.scene.bands)
            mend = "ask for other bands with `bands:` or correct the data set's description"
            raise UserError(f"{self.scene.image}: has no band '{missing[0]}' (it has {has}); {mend}")
        values = self._raster.read(window, [self.scene.bands.index(band) for band in bands])
        rasters.check_finite(values, self.nodata, self.scene.image, window)
        return values

    def check_names(self) -> None:
        """Raise UserError if the file has the declared band names in another order."""
        for number, (name, declared) in enumerate(zip(self._raster.names, self.scene.bands, strict=False), 1):
            own = mosaics.SENTINEL_2.get(name, name)
            if own != declared and own in self.scene.bands:
                file = self.scene.image
                names = f"band {number} is {name} by the file and {declared} by its description"
                rename = f"or the file (rio edit-info -b {number} --description {declared} {shlex.quote(file.name)})"
                raise UserError(f"{file}: {names}; correct --bands (`bands:` in a data set), {rename}")

    @property
    def pixel_m(self) -> float:
        """Height of a pixel in metres, as `ground_m`; 1 if unknown."""
        return self.ground_m or 1.0

    @property
    def ground_m(self) -> float | None:
        """Height of a pixel in metres, as declared or as measured on the ground; None if unknown."""
        if self.scene.resolution_m or self.crs is None:
            return self.scene.resolution_m
        return rasters.ground_pixel(self.crs, self.transform, self.shape)[1]

    def valid(self, values: np.ndarray) -> np.ndarray:
        """Return bool (height, width), True where ``values`` (bands, height, width) have data; see `valid_pixels`."""
        return rasters.valid_pixels(values, self.nodata)


@dataclass(frozen=True)
class Labels:
    """Opened landslide labels on an image's grid; ``read`` gives 1 landslide, 0 background, 255 not labelled."""

    read: Callable[[Window], np.ndarray]


@contextmanager
def open_image(scene: Scene, others: Sequence[Path] = (), resolution_m: float | None = None) -> Iterator[Image]:
    """Open a scene's image, joined with ``others`` on its grid, to be read at its own or another resolution.

    UserError for missing or damaged files, bands other than described, no coordinate system, or other grids.
    """
    if arrays.is_array_file(scene.image) and not others:
        with arrays.open_array(scene.image, scene.image_key) as array:
            yield _array_image(scene, array)
        return
    with mosaics.open_files([scene.image, *others], scene.nodata, resolution_m, len(scene.bands)) as raster:
        _check_band_count(scene, raster.count)
        if scene.georeferenced and raster.crs is None:
            raise UserError(f"{scene.image}: {_unplaced(scene.image)}; or declare `georeferenced: false` in a data set")
        yield Image(scene, raster)


def _unplaced(path: Path) -> str:
    """Say why an image has no position on Earth, and what to do."""
    command = f"rio edit-info --crs EPSG:… {shlex.quote(path.name)}"
    if not arrays.is_array_file(path):
        with rasters.open_raster(path) as source:
            if source.gcps[0]:
                return f"is placed by control points only ({rasters.warp_command(path, source.gcps[1], 'warped.tif')})"
            if source.crs is not None:
                return f"its coordinate system is local; assign the true one ({command})"
    return f"has no coordinate system; assign one ({command})"


@contextmanager
def open_labels(scene: Scene, image: Image, layer: str | None = None) -> Iterator[Labels]:
    """Open a scene's mask, or a layer of polygons, to be read on an image's grid; UserError if that is impossible."""
    if layer and scene.mask is not None:
        raise UserError(f"{scene.mask}: a mask has no layer '{layer}'; only polygons of synthetic scenes do")
    if scene.mask is not None and arrays.is_array_file(scene.mask):
        with arrays.open_array(scene.mask, scene.mask_key) as array:
            with readable(scene.mask, "damaged", "fetch it again", OSError):
                codes = np.asarray(array[_position(scene, array, scene.mask)]).squeeze()
            if codes.shape != image.shape:
                other = f"the image {scene.image.name} has {image.shape}"
                raise UserError(f"{scene.mask}: shape {codes.shape}, {other}; correct the pairing or the description")
            labels = _decode(scene, codes)
            yield Labels(lambda window: labels[window.as_slices])
    elif scene.mask is not None:
        with rasters.open_raster(scene.mask) as source:
            command = f"rio warp {shlex.quote(scene.mask.name)} aligned.tif --like {shlex.quote(scene.image.name)}"
            mend = f"export the mask on the image's grid ({command})"
            _check_grid(scene.mask, source, image, mend)
            yield Labels(lambda window: _decode(scene, rasters.read_mask(source, scene.mask, window)))
    elif scene.polygons is not None:
        yield _drawn(read_polygon_table(scene.polygons, image, layer or scene.layer, scene.where), image)
    elif scene.unlabelled_is_background:
        yield Labels(lambda window: np.zeros((window.height, window.width), np.uint8))
    else:
        mend = "add `masks:` or `polygons:` to the data set's description"
        raise UserError(f"{scene.image}: no mask and no polygons; {mend}")


def read_polygon_table(
    path: Path, image: Image, layer: str | None = None, where: str | None = None
) -> gpd.GeoDataFrame:
    """Read those polygons (`read_polygons`) that meet an image, in its coordinate system."""
    if image.crs is None:
        problem = f"{_unplaced(image.scene.image)}; until then {path.name} cannot be laid over it"
        raise UserError(f"{image.scene.image}: {problem}")
    table = read_polygons(path, image.crs, layer, where)
    inside = table.intersects(extent(image))
    if not inside.any():
        problem = f"none of its {len(table)} polygons lies in {image.scene.image.name}"
        raise UserError(f"{path}: {problem}; check that the two belong together")
    return table[inside].reset_index(drop=True)


def read_polygons(path: Path, crs: CRS, layer: str | None = None, where: str | None = None) -> gpd.GeoDataFrame:
    """Read polygons, repaired, in a coordinate system; ``attrs``: number ``repaired``, the file's ``crs``."""
    table = vectors.read(path, layer, where)
    shapes = table.geometry[~(table.geometry.isna() | table.geometry.is_empty)].to_crs(crs)
    unfit = ~shapes.is_valid | (shapes.geom_type == "GeometryCollection")
    # buffer(0) drops leftover lines and points: they cover no ground, but would be drawn.
    shapes[unfit] = shapely.buffer(shapely.make_valid(shapes[unfit].to_numpy()), 0)
    shapes = shapes[shapes.geom_type.isin(("Polygon", "MultiPolygon")) & ~shapes.is_empty]
    if len(shapes) == 0:
        raise UserError(f"{path}: holds no polygons; give the file that holds the landslides' outlines")
    chosen = table.loc[shapes.index].set_geometry(shapes)
    chosen.attrs |= {"repaired": int(unfit.sum()), "crs": table.crs}
    return chosen


def extent(image: Image) -> Polygon:
    """Return the rectangle that an image covers, in its coordinate system."""
    return box(*array_bounds(*image.shape, image.transform))


def read_all(scene: Scene, bands: Sequence[str] = BANDS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read a small scene completely: image (bands, rows, cols), labels (rows, cols) and valid (rows, cols)."""
    with open_image(scene) as image, open_labels(scene, image) as labels:
        whole = Window(0, 0, *image.shape)
        values = image.read(whole, bands)
        return values, labels.read(whole), image.valid(values)


def pure(image: Image, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """Return where a window is pure white or black in all bands, and where it is either that or no data."""
    values = image.read(window, image.scene.bands)
    valid = image.valid(values)
    ends = (0, np.iinfo(values.dtype).max) if values.dtype.kind in "iu" else (0, *WHITE_OF_FLOATS)
    is_pure = valid & np.any([(values == end).all(axis=0) for end in ends], axis=0)
    return is_pure, is_pure | ~valid


def pure_edges(image: Image) -> list[np.ndarray]:
    """Return where the top, bottom, left and right edges are `pure` in runs of at least `LEAST_RUN` pixels."""
    height, width = image.shape
    sides = [Window(row, 0, 1, width) for row in (0, height - 1)]
    sides += [Window(0, col, height, 1) for col in (0, width - 1)]
    return [binary_opening(pure(image, side)[0].ravel(), np.ones(LEAST_RUN)) for side in sides]


def read_dem(scene: Scene, window: Window | None = None) -> np.ndarray:
    """Read a scene's elevation in ``window`` (default: all), (rows, cols) float32 metres, NaN where unknown."""
    if scene.dem is None:
        raise UserError(f"{scene.image}: has no elevation raster; add `dem:` to the data set's description")
    with open_image(scene) as image, rasters.open_raster(scene.dem) as source:
        _check_grid(scene.dem, source, image, "resample it to the image's grid")
        return rasters.read_raster(source, scene.dem, window or Window(0, 0, *image.shape), [1], masked=True)[0]


def _check_band_count(scene: Scene, count: int) -> None:
    if not scene.bands:
        unknown, example = f"band order unknown ({count} bands)", "[blue, green, red, nir]"
        raise UserError(f"{scene.image}: {unknown}; name them with `bands:`, e.g. {example}")
    if count < len(scene.bands) or (count > len(scene.bands) and scene.extra_bands != "ignore"):
        declared = f"{count} bands, but {len(scene.bands)} are declared ({', '.join(scene.bands)})"
        raise UserError(f"{scene.image}: {declared}; correct `bands:` or set `extra_bands: ignore`")


def _check_grid(path: Path, source: rasterio.DatasetReader, image: Image, mend: str) -> None:
    name, (rows, cols) = image.scene.image.name, image.shape
    if source.shape != image.shape:
        raise UserError(f"{path}: {source.height}×{source.width} pixels, the image {name} has {rows}×{cols}; {mend}")
    if source.transform.is_identity or image.transform.is_identity:
        return
    shift = np.abs(np.subtract(source.transform[:6], image.transform[:6]))
    pixel = abs(image.transform.a)
    other_crs = source.crs is not None and image.crs is not None and source.crs != image.crs
    if other_crs or shift[[2, 5]].max() > 0.5 * pixel or shift[[0, 1, 3, 4]].max() > 1e-3 * pixel:
        raise UserError(f"{path}: is on another grid than {name}; {mend}")


def _decode(scene: Scene, codes: np.ndarray) -> np.ndarray:
    labels = np.isin(codes, scene.landslide_codes).astype(np.uint8)
    labels[np.isin(codes, scene.label_nodata_codes)] = 255
    return labels


def _position(scene: Scene, array: Any, path: Path | None) -> tuple[int, ...]:
    """Return the index into the array of a stack; empty if the array is one scene."""
    if scene.index is not None and scene.index >= array.shape[0]:
        asked = f"a stack of {array.shape[0]}, number {scene.index} (from 0) is asked for"
        raise UserError(f"{path}: {asked}; correct the pairing or the description")
    return () if scene.index is None else (scene.index,)


def _array_image(scene: Scene, array: Any) -> Image:
    stack = _position(scene, array, scene.image)
    if len(array.shape) != 3 + len(stack):
        problem = f"shape {tuple(array.shape)} is not (bands, rows, cols)"
        raise UserError(f"{scene.image}: {problem}; set `channels:` and `stack:` in its description")
    last = scene.channels == "last"
    count, rows, cols = np.roll(array.shape[-3:], 1 if last else 0).tolist()
    _check_band_count(scene, count)

    def read(window: Window, indices: list[int]) -> np.ndarray:
        pixels = window.as_slices
        with readable(scene.image, "damaged", "fetch it again", OSError):
            values = np.asarray(array[(*stack, *pixels) if last else (*stack, slice(None), *pixels)])
        return (values.transpose(2, 0, 1) if last else values)[indices]

    dtype, grid = np.dtype(array.dtype), Affine.identity()
    return Image(scene, Raster(scene.image, (rows, cols), dtype, None, grid, scene.nodata, count, read))


def _drawn(polygons: gpd.GeoDataFrame, image: Image) -> Labels:
    shapes, index = polygons.geometry.to_numpy(), polygons.sindex

    def read(window: Window) -> np.ndarray:
        transform = rasterio.windows.transform(window.as_rasterio, image.transform)
        near = index.query(box(*array_bounds(window.height, window.width, transform)))
        labels = np.zeros((window.height, window.width), np.uint8)
        return rasterize(shapes[near], out=labels, transform=transform) if len(near) else labels

    return Labels(read)
