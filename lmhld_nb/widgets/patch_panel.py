"""Patch explorer: which windows of a scene become patches, as area, size and least share change (chapter 02)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import ipywidgets
import numpy as np
from matplotlib.colors import to_rgba
from scipy import ndimage

from lmhld_nb import paper, patches, scenes
from lmhld_nb.patches import measurements
from lmhld_nb.plots import style
from lmhld_nb.plots.data import WINDOWS
from lmhld_nb.scenes import Scene
from lmhld_nb.scenes.rasters import Window
from lmhld_nb.widgets import controls

if TYPE_CHECKING:
    from lmhld_nb.book.face import Book

SIDE = 560
"""Longest side of a scene's preview in pixels."""


def patch_explorer(book: Book, area: str | None = None) -> ipywidgets.VBox:
    """Return a panel that shows and counts kept and dropped windows by area, scene, patch size and least share."""
    first = area if area in book.areas else book.areas[0]
    sizes = tuple(sorted({*patches.SIZES, *map(book.patch_size, book.areas)}))
    by_area = book.scenes()
    windows = cache(lambda name: measurements.classify_area_windows(book.dataset, name, sizes, book.bands))
    picture_of = lru_cache(maxsize=32)(lambda scene: preview(scene, book.bands))

    chosen = controls.choice("Area", [(paper.area_name(name), name) for name in book.areas], first)
    scene = controls.choice("Scene", _numbered(by_area[first]))
    size = controls.choice("Patch size", [(f"{side} px", side) for side in sizes], book.patch_size(first))
    share = controls.slider("Least share of landslide (%)", round(100 * book.profile.patches.min_share), 0, 60, 1)
    picture, counts = ipywidgets.Image(format="png"), ipywidgets.HTML()
    figure = controls.canvas(5.6, 5.6)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set_axis_off()
    below, above = ax.imshow(np.zeros((1, 1, 3))), ax.imshow(np.zeros((1, 1, 4)))
    drawn = first

    def draw() -> None:
        nonlocal drawn
        if chosen.value != drawn:
            scene.options = _numbered(by_area[chosen.value])
            size.value = book.patch_size(chosen.value)
            drawn = chosen.value
        least = share.value / 100
        judged = windows(chosen.value)[size.value]  # for a least share of 0
        reasons = [np.where((reason == "") & (shares < least), "share", reason) for reason, shares in judged]
        thumbnail, (rows, cols) = picture_of(by_area[chosen.value][scene.value])
        below.set(data=thumbnail, extent=(0, cols, rows, 0))
        here = reasons[scene.value]
        tints = np.zeros((*here.shape, 4))
        for reason, (colour, _) in WINDOWS.items():
            tints[here == reason] = to_rgba(colour, 0.5)
        above.set(data=tints, extent=(0, here.shape[1] * size.value, here.shape[0] * size.value, 0))
        longest = max(rows, cols)
        figure.set_size_inches(5.6 * cols / longest, 5.6 * rows / longest)
        ax.set(xlim=(0, cols), ylim=(rows, 0))
        controls.show(picture, figure)
        counts.value = _count_table(here, reasons, least)

    return controls.panel(draw, [(chosen, scene), (size,), (share,)], [picture, counts], book.caption())


def preview(scene: Scene, bands: tuple[str, ...]) -> tuple[np.ndarray, tuple[int, int]]:
    """Return a scene as (rows, cols, 3), at most `SIDE` a side, its landslides outlined, and its size in pixels."""
    with scenes.open_image(scene) as image, scenes.open_labels(scene, image) as labels:
        shape = image.shape
        whole, step = Window(0, 0, *shape), -(-max(shape) // SIDE)
        values = scenes.read_decimated(lambda window: image.read(window, bands), whole, step)
        landslide = scenes.read_decimated(labels.read, whole, step) == 1
    colour = ("red", "green", "blue") if {"red", "green", "blue"} <= set(bands) else (bands * 3)[:3]
    picture = style.rgb(values, bands, colour)
    picture[landslide & ~ndimage.binary_erosion(landslide)] = to_rgba("cyan")[:3]
    return picture, shape


def _numbered(scene_list: Sequence[Scene]) -> list[tuple[str, int]]:
    return [(scene.name, number) for number, scene in enumerate(scene_list)]


def _count_table(here: np.ndarray, everywhere: list[np.ndarray], least: float) -> str:
    names = {reason: text.format(share=least) for reason, (_, text) in WINDOWS.items()}
    whole = np.concatenate([reasons.ravel() for reasons in everywhere])
    rows = [(name, int((here == reason).sum()), int((whole == reason).sum())) for reason, name in names.items()]
    rows.append(("windows in all", here.size, whole.size))
    kinds = [(colour, names[reason]) for reason, (colour, _) in WINDOWS.items()]
    legend = controls.legend([*kinds, ("cyan", "outline of a landslide")], "<br>")
    return controls.table(("window", "this scene", "whole area"), rows) + legend
