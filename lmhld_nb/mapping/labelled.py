"""Labelled ground: what somebody has searched for landslides. All else is 255, unlabelled, and never background."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import matplotlib.image
import numpy as np
import pyogrio
import rasterio.features
from shapely.geometry import shape as to_geometry

from lmhld_nb import inventory, scenes
from lmhld_nb.config import UserError
from lmhld_nb.mapping.inputs import POLYGON_SUFFIXES
from lmhld_nb.patches import candidate_sizes
from lmhld_nb.scenes.rasters import Window, readable
from lmhld_nb.scenes.scene import Image, Scene, open_labels, read_polygon_table
from lmhld_nb.sources.files import codes_in

LANDSLIDE, BACKGROUND, UNLABELLED = 1, 0, 255
LEAST_PATCH, LARGEST_PATCH = 32, 128  # px: more than the largest takes too long to learn on two cores
LONGEST = 1200  # px, of the drawing's longer side


@dataclass(frozen=True)
class LabelFile:
    """Labels of one scene: polygons in any coordinate system, or a mask of codes 0, 1 and 255 on the scene's grid."""

    path: Path
    searched: Path | None = None  # polygons of the ground that was searched: what lies outside is unlabelled
    layer: str | None = None  # of a file of polygons that has several
    column: str | None = None  # whose values tell classes apart; None: all polygons are landslides
    landslide: tuple[str, ...] = ()  # its values that mean landslide
    background: tuple[str, ...] = ()  # and searched ground without; polygons of other values are unlabelled ground
    around: bool = False  # the ground around landslides was searched, although there are polygons of background


@dataclass(frozen=True)
class Ground:
    """A scene's labels, and its values where it is labelled."""

    image: Image
    bands: tuple[str, ...]
    labels: np.ndarray  # (rows, cols) uint8 on the scene's grid; no data is unlabelled too
    window: Window  # what holds all labelled ground, with half a patch around it
    values: np.ndarray  # (bands, height, width) of the window, as stored
    patch: int  # px, a side: the book's rule for its median landslide
    landslides: int
    notes: tuple[str, ...]  # what a reader of the labels must know, a line each

    @property
    def part(self) -> np.ndarray:
        """The labels of the window, (height, width)."""
        window = self.window
        return self.labels[window.row : window.row + window.height, window.col : window.col + window.width]


def read(image: Image, file: LabelFile, bands: Sequence[str], patch: int | None = None) -> Ground:
    """Read a scene's labelled ground, ``bands`` in this order; ``patch`` None for the book's rule.

    Of polygons without ``searched`` or ``background``, the ground around each landslide counts as searched, as far as
    the diameter of a disc of its area and a quarter of a patch at least. UserError where labels cannot be read, lie
    outside the scene, or hold no landslide or no background.
    """
    notes: list[str] = []
    inside = None if file.searched is None else _drawn(_in_pixels(image, file.searched, None, notes), image.shape)
    if file.path.suffix.lower() in POLYGON_SUFFIXES:
        table = _in_pixels(image, file.path, file.layer, notes)
        landslides, background, others = _by_class(table, file)
        labels = np.where(_drawn(landslides, image.shape), LANDSLIDE, UNLABELLED).astype(np.uint8)
        patch = patch or _patch_size(labels if inside is None else np.where(inside, labels, UNLABELLED), file.path)
        if inside is None and (file.around or not file.background):
            reach = np.maximum(2 * np.sqrt(landslides.area / math.pi), patch / 4)
            inside = _drawn(landslides.buffer(reach), image.shape)
            notes.append(f"background is the ground around landslides: {reach.median():.0f} px wide (median)")
        searched = _drawn(background, image.shape) if inside is None else inside | _drawn(background, image.shape)
        known = searched & ~_drawn(others, image.shape)
        labels[(labels == UNLABELLED) & known] = BACKGROUND
        if file.searched is not None:
            labels[~searched] = UNLABELLED
    else:
        labels = _mask(image, file.path)
        if inside is not None:
            labels[~inside] = UNLABELLED
        patch = patch or _patch_size(labels, file.path)
    return _ground(image, labels, file.path, tuple(bands), patch, notes)


def _ground(
    image: Image, labels: np.ndarray, path: Path, bands: tuple[str, ...], patch: int, notes: list[str]
) -> Ground:
    sides = [np.flatnonzero((labels != UNLABELLED).any(axis=1 - axis)) for axis in (0, 1)]
    if not len(sides[0]):
        raise UserError(f"{path}: nothing of {image.scene.image.name} is labelled; check that the two belong together")
    least = min(int(np.ptp(side)) + 1 for side in sides)
    if least < patch and patch > LEAST_PATCH:
        smaller = max(LEAST_PATCH, least // 16 * 16)
        notes.append(f"labelled ground is {least} px wide: patches of {smaller} px instead of {patch}")
        patch = smaller
    starts = [max(0, int(side[0]) - patch // 2) for side in sides]
    ends = [min(n, int(side[-1]) + 1 + patch // 2) for side, n in zip(sides, labels.shape, strict=True)]
    window = Window(starts[0], starts[1], ends[0] - starts[0], ends[1] - starts[1])
    values = image.read(window, bands)
    part = labels[starts[0] : ends[0], starts[1] : ends[1]]
    part[~image.valid(values)] = UNLABELLED
    for code, name, mend in (
        (LANDSLIDE, "landslide", "check the labels and their place"),
        (BACKGROUND, "ground without landslide", "outline with --searched what was looked at"),
    ):
        if not (part == code).any():
            raise UserError(f"{path}: labels hold no {name} where {image.scene.image.name} has data; {mend}")
    return Ground(image, bands, labels, window, values, patch, len(inventory.landslide_sizes(part)), tuple(notes))


def _mask(image: Image, path: Path) -> np.ndarray:
    allowed = {LANDSLIDE, BACKGROUND, UNLABELLED}
    codes = codes_in(path)
    if codes is None or LANDSLIDE not in codes or codes - allowed:
        held = "fractions" if codes is None else ", ".join(map(str, sorted(codes)[:6]))
        raise UserError(f"{path}: holds {held}; write 1 for landslide, 0 for background, 255 for unlabelled ground")
    with open_labels(Scene(path.stem, path.stem, image.scene.image, image.scene.bands, path), image) as labels:
        return labels.read(Window(0, 0, *image.shape))


def _in_pixels(image: Image, path: Path, layer: str | None, notes: list[str]) -> gpd.GeoDataFrame:
    """Read polygons in pixels of the image, x to the right and y downwards."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with readable(path, "cannot be read as polygons", "export it again as GeoPackage", pyogrio.errors.DataSourceError):
        layers = [str(name) for name, geometry in pyogrio.list_layers(path) if geometry is not None]
    if layer is None and len(layers) > 1:
        raise UserError(f"{path}: holds several layers ({', '.join(layers)}); name one with --layer")
    if layer is not None and layer not in layers:
        raise UserError(f"{path}: no layer '{layer}', it holds {', '.join(layers) or 'none'}; correct --layer")
    table = read_polygon_table(path, image, layer or 0)
    if table.attrs["repaired"]:
        notes.append(f"{path.name}: {table.attrs['repaired']} polygons crossed themselves and were repaired")
    if table.attrs["crs"] != image.crs:
        notes.append(f"{path.name}: reprojected to the scene's coordinate system")
    shapes = table.geometry.affine_transform((~image.transform).to_shapely())
    return table.set_geometry(shapes.set_crs(None, allow_override=True))


def _by_class(table: gpd.GeoDataFrame, file: LabelFile) -> tuple[gpd.GeoSeries, gpd.GeoSeries, gpd.GeoSeries]:
    """Return the polygons of landslides, of background, and of what is neither."""
    if file.column is None:
        return table.geometry, table.geometry[:0], table.geometry[:0]
    if file.column not in table:
        held = ", ".join(str(name) for name in table.columns if name != table.geometry.name) or "none"
        raise UserError(f"{file.path}: no column '{file.column}', it has {held}; correct --class-column")
    words = table[file.column].map(_word)
    chosen = [words.isin(values) for values in (file.landslide, file.background)]
    if not chosen[0].any():
        held = ", ".join(sorted(set(words))[:8])
        wanted = f"says {' or '.join(file.landslide)}" if file.landslide else "is said to mean landslide"
        raise UserError(f"{file.path}: no '{file.column}' {wanted}, it holds {held}; choose with --landslide")
    return table.geometry[chosen[0]], table.geometry[chosen[1]], table.geometry[~(chosen[0] | chosen[1])]


def _word(value: Any) -> str:
    """Return a class as people write it: a whole number has no fraction, whatever its column's type."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _drawn(shapes: gpd.GeoSeries | gpd.GeoDataFrame, size: tuple[int, int]) -> np.ndarray:
    """Return which pixels have their centre in one of the shapes, bool (rows, cols)."""
    outlines = [one for one in shapes.geometry if not one.is_empty]
    drawn = np.zeros(size, np.uint8)
    return (rasterio.features.rasterize(outlines, out=drawn) if outlines else drawn).astype(bool)


def _patch_size(labels: np.ndarray, path: Path) -> int:
    sizes = inventory.landslide_sizes(labels)
    if not len(sizes):
        raise UserError(f"{path}: no landslide covers the centre of a pixel of labelled ground; check scale and place")
    return min(LARGEST_PATCH, candidate_sizes(inventory.quartiles(sizes))[1])


def write(folder: Path, ground: Ground) -> None:
    """Write what counted as labelled: searched.gpkg, and searched.png: landslides red, unlabelled ground darkened."""
    image, known = ground.image, (ground.labels != UNLABELLED).astype(np.uint8)
    outlines = [to_geometry(outline) for outline, _ in rasterio.features.shapes(known, known == 1, 8, image.transform)]
    write_layer(folder / "searched.gpkg", gpd.GeoDataFrame(geometry=outlines, crs=image.crs), "searched")
    step = max(1, math.ceil(max(image.shape) / LONGEST))
    bands = image.scene.bands[:3] if len(image.scene.bands) >= 3 else image.scene.bands[:1] * 3
    bands = ("red", "green", "blue") if {"red", "green", "blue"} <= set(image.scene.bands) else bands
    colours = scenes.read_decimated(lambda part: image.read(part, bands), Window(0, 0, *image.shape), step)
    valid, labels = image.valid(colours), ground.labels[::step, ::step]
    low, high = np.percentile(colours[:, valid], (2, 98))
    picture = np.clip((colours.transpose(1, 2, 0) - low) / max(high - low, 1e-6), 0, 1)
    picture[labels == UNLABELLED] *= 0.4
    picture[labels == LANDSLIDE] = 0.35 * picture[labels == LANDSLIDE] + 0.65 * np.array([1.0, 0.1, 0.1])
    picture[~valid] = 1
    matplotlib.image.imsave(folder / "searched.png", np.rint(255 * picture).astype(np.uint8))


def write_layer(path: Path, table: gpd.GeoDataFrame, layer: str) -> None:
    """Write polygons as a GeoPackage of one layer."""
    try:
        table.to_file(path, layer=layer, driver="GPKG", promote_to_multi=True)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.FeatureError) as error:
        raise OSError(str(error)) from error  # a full disk, say


def describe(grounds: Iterable[Ground]) -> dict[str, Any]:
    """Return for a card what was labelled: pixels, share, landslides, and the notes."""
    parts = list(grounds)
    labelled = sum(int((ground.part != UNLABELLED).sum()) for ground in parts)
    return {
        "labelled_px": labelled,
        "labelled_share": labelled / sum(ground.labels.size for ground in parts),
        "landslide_px": sum(int((ground.part == LANDSLIDE).sum()) for ground in parts),
        "landslides": sum(ground.landslides for ground in parts),
        "notes": [note for ground in parts for note in ground.notes],
    }
