"""Labelled ground: ground that was searched for landslides. The rest is unlabelled (255) and never background."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio.features
from shapely.geometry import shape

from lmhld_nb import inventory, scenes
from lmhld_nb.config import UserError
from lmhld_nb.patches import candidate_sizes
from lmhld_nb.scenes import vectors
from lmhld_nb.scenes.rasters import Window
from lmhld_nb.scenes.scene import Image, Scene, open_labels, read_polygon_table
from lmhld_nb.sources.files import codes_in

LANDSLIDE, BACKGROUND, UNLABELLED = 1, 0, 255
LEAST_PATCH, LARGEST_PATCH = 32, 128  # px: larger patches take too long to train on two cores


@dataclass(frozen=True)
class LabelFile:
    """Labels of one scene: polygons in any coordinate system, or a mask of codes 0, 1 and 255 on the scene's grid."""

    path: Path
    searched: Path | None = None  # polygons of the ground that was searched; the rest is unlabelled
    layer: str | None = None  # of a file with several
    column: str | None = None  # that holds the classes; None: all polygons are landslides
    landslide: tuple[str, ...] = ()  # column values that mean landslide
    background: tuple[str, ...] = ()  # and searched ground without one; other values mean unlabelled ground
    around: bool = False  # the ground around landslides was searched, even if there are background polygons


@dataclass(frozen=True)
class Ground:
    """A scene's labels, and its image values on labelled ground."""

    image: Image
    bands: tuple[str, ...]
    labels: np.ndarray  # (rows, cols) uint8 on the scene's grid; no data also counts as unlabelled
    part: np.ndarray  # the part of it, (height, width), with all labelled ground and a patch around it
    values: np.ndarray  # of that part, (bands, height, width), as stored
    patch: int  # side in px, by the book's rule for the median landslide
    landslides: int
    notes: list[str]  # what a user of the labels must know, one line each


def read(image: Image, file: LabelFile, bands: Sequence[str], patch: int | None = None) -> Ground:
    """Read a scene's labelled ground with ``bands`` in this order; ``patch`` None for the book's rule.

    Without ``searched`` or ``background``, the ground around each landslide counts as searched, up to the diameter of a
    disc of the same area, and at least a quarter of a patch. UserError if labels cannot be read, are outside the scene,
    or contain no landslide or no background.
    """
    notes: list[str] = []
    searched = None if file.searched is None else _drawn(_in_pixels(image, file.searched, None, notes), image.shape)
    if vectors.is_vector(file.path):
        landslides, background, others = _by_class(_in_pixels(image, file.path, file.layer, notes), file)
        is_landslide = _drawn(landslides, image.shape)
        patch = patch or _patch_size(is_landslide if searched is None else is_landslide & searched, file.path)
        known = _drawn(background, image.shape)
        if searched is not None:
            known |= searched
        elif file.around or not file.background:
            reach = np.maximum(2 * np.sqrt(landslides.area / math.pi), patch / 4)
            known |= _drawn(landslides.buffer(reach), image.shape)
            notes.append(f"background is the ground around landslides: {reach.median():.0f} px wide (median)")
        labels = np.where(known & ~_drawn(others, image.shape), np.uint8(BACKGROUND), np.uint8(UNLABELLED))
        labels[is_landslide if searched is None else is_landslide & known] = LANDSLIDE
    elif file.layer or file.column:
        raise UserError(f"{file.path}: a mask has no layers and no columns; give polygons, or leave these out")
    else:
        codes = codes_in(file.path)
        if codes is None or LANDSLIDE not in codes or codes.keys() - {LANDSLIDE, BACKGROUND, UNLABELLED}:
            held = "fractions or NaN" if codes is None else ", ".join(map(str, sorted(codes)[:6]))
            mend = "write 1 for landslide, 0 for background, 255 for unlabelled ground"
            raise UserError(f"{file.path}: holds {held}; {mend}")
        with open_labels(Scene("labels", "labels", image.scene.image, image.scene.bands, file.path), image) as mask:
            labels = mask.read(Window(0, 0, *image.shape))
        if searched is not None:
            labels[~searched] = UNLABELLED
        patch = patch or _patch_size(labels == LANDSLIDE, file.path)
    scene = image.scene.image.name
    sides = [np.flatnonzero((labels != UNLABELLED).any(axis=1 - axis)) for axis in (0, 1)]
    if not len(sides[0]):
        raise UserError(f"{file.path}: no labels on {scene}; check that the two belong together")
    if min(labels.shape) < LEAST_PATCH:
        raise UserError(f"{image.scene.image}: less than {LEAST_PATCH} pixels per side; give a larger scene")
    narrow = max(LEAST_PATCH, min(int(np.ptp(side)) + 1 for side in sides) // 16 * 16)
    if narrow < patch:
        notes.append(f"labelled ground is narrow: patches of {narrow} px instead of {patch}")
        patch = narrow
    row, col = (max(0, int(side[0]) - patch) for side in sides)
    bottom, right = (min(n, int(side[-1]) + 1 + patch) for side, n in zip(sides, labels.shape, strict=True))
    values, part = image.read(Window(row, col, bottom - row, right - col), bands), labels[row:bottom, col:right]
    part[~image.valid(values)] = UNLABELLED
    for code, name, mend in (
        (LANDSLIDE, "landslide", "check the labels and their position"),
        (BACKGROUND, "ground without landslide", "give outlines of the searched ground with --searched"),
    ):
        if not (part == code).any():
            raise UserError(f"{file.path}: labels hold no {name} where {scene} has data; {mend}")
    return Ground(image, tuple(bands), labels, part, values, patch, len(inventory.landslide_sizes(part)), notes)


def check_words(files: Sequence[LabelFile]) -> None:
    """Raise UserError for a class that no file's column holds: its landslides would pass as unlabelled ground."""
    named = [file for file in files if file.column and vectors.is_vector(file.path)]
    held = {word for file in named for word in _words(vectors.read(file.path, file.layer), file)}
    for file in named:
        for key, words in (("landslide", file.landslide), ("background", () if file.around else file.background)):
            if foreign := [word for word in words if word not in held]:
                problem = f"no '{file.column}' is {foreign[0]}, it holds {', '.join(sorted(held - {''})[:8])}"
                raise UserError(f"{file.path}: {problem}; correct --{key}")


def _in_pixels(image: Image, path: Path, layer: str | None, notes: list[str]) -> gpd.GeoDataFrame:
    """Read polygons in pixels of the image, x to the right and y downwards."""
    table = read_polygon_table(path, image, layer)
    if table.attrs["repaired"]:
        notes.append(f"{path.name}: {table.attrs['repaired']} polygons crossed themselves and were repaired")
    if table.attrs["crs"] != image.crs:
        notes.append(f"{path.name}: reprojected to the scene's coordinate system")
    shapes = table.geometry.affine_transform((~image.transform).to_shapely())
    return table.set_geometry(shapes.set_crs(None, allow_override=True))


def _by_class(table: gpd.GeoDataFrame, file: LabelFile) -> tuple[gpd.GeoSeries, gpd.GeoSeries, gpd.GeoSeries]:
    """Return the polygons of landslides, of background, and of neither."""
    if file.column is None:
        return table.geometry, table.geometry[:0], table.geometry[:0]
    words = _words(table, file)
    landslide, background = (words.isin(values) for values in (file.landslide, file.background))
    return table.geometry[landslide], table.geometry[background], table.geometry[~(landslide | background)]


def _words(table: gpd.GeoDataFrame, file: LabelFile) -> pd.Series:
    """Return the classes of polygons as text, empty without one."""
    if file.column not in table:
        held = ", ".join(str(name) for name in table.columns if name != table.geometry.name) or "none"
        raise UserError(f"{file.path}: no column '{file.column}', it has {held}; correct --class-column")
    words = table[file.column].astype(str).where(table[file.column].notna(), "")
    return words.str.strip().str.removesuffix(".0")  # numbers beside empty fields are floats


def _drawn(shapes: gpd.GeoSeries | gpd.GeoDataFrame, size: tuple[int, int]) -> np.ndarray:
    """Return which pixels have their centre inside one of the shapes, bool (rows, cols)."""
    outlines = [one for one in shapes.geometry if not one.is_empty]
    drawn = np.zeros(size, np.uint8)
    return (rasterio.features.rasterize(outlines, out=drawn) if outlines else drawn).view(bool)


def _patch_size(is_landslide: np.ndarray, path: Path) -> int:
    strips = ((is_landslide[window.as_slices],) for window in scenes.strips(is_landslide.shape, 512))
    sizes = inventory.components(strips)["size_px"].to_numpy()
    if not len(sizes):
        raise UserError(f"{path}: no landslide covers a pixel centre of labelled ground; check scale and position")
    return min(LARGEST_PATCH, candidate_sizes(inventory.quartiles(sizes))[1])


def searched(ground: Ground) -> gpd.GeoDataFrame:
    """Return the outlines of the ground that counted as labelled."""
    known, image = (ground.labels != UNLABELLED).astype(np.uint8), ground.image
    outlines = [shape(outline) for outline, _ in rasterio.features.shapes(known, known == 1, 8, image.transform)]
    return gpd.GeoDataFrame(geometry=outlines, crs=image.crs)
