"""The patch explorer (chapter 02) for JupyterLab and voila; batch code does not import it."""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import ipywidgets
import numpy as np
import pandas as pd
from matplotlib.colors import to_rgb
from PIL import Image
from scipy import ndimage

from lmhld_nb import paper, patches, scenes
from lmhld_nb.config import UserError
from lmhld_nb.mapping.files import colours
from lmhld_nb.patches import measurements
from lmhld_nb.plots.data import WINDOWS
from lmhld_nb.scenes import Scene
from lmhld_nb.scenes.rasters import Window

if TYPE_CHECKING:
    from lmhld_nb.book.face import Book

SIDE = 560
"""Longest side of a scene's preview in pixels."""
_WIDE = {"description_width": "initial"}


def patch_explorer(book: Book, area: str | None = None) -> ipywidgets.VBox:
    """Return a panel that shows and counts kept and dropped windows by area, scene, patch size and least share."""
    first = area if area in book.areas else book.areas[0]
    sizes = tuple(sorted({*patches.SIZES, *map(book.patch_size, book.areas)}))
    by_area = book.scenes()
    windows = cache(lambda name: [measurements.read_scene(one, sizes, book.bands)[0] for one in by_area[name]])
    picture_of = lru_cache(maxsize=32)(lambda scene: preview(scene, book.bands))

    areas = [(paper.area_name(name), name) for name in book.areas]
    chosen = ipywidgets.Dropdown(options=areas, value=first, description="Area", style=_WIDE)
    scene = ipywidgets.Dropdown(options=_numbered(by_area[first]), description="Scene", style=_WIDE)
    sides = [(f"{side} px", side) for side in sizes]
    size = ipywidgets.Dropdown(options=sides, value=book.patch_size(first), description="Patch size", style=_WIDE)
    share = ipywidgets.IntSlider(
        round(100 * book.profile.patches.min_share), 0, 60, description="Least share of landslide (%)", style=_WIDE,
        layout={"width": "38em"}, continuous_update=False,
    )  # fmt: skip
    picture, counts, message = ipywidgets.Image(format="png"), ipywidgets.HTML(), ipywidgets.HTML()
    shown = ipywidgets.HBox([picture, counts], layout={"flex_flow": "row wrap"})

    def draw() -> None:
        least = share.value / 100
        judged = [of_scene[size.value] for of_scene in windows(chosen.value)]  # for a minimum share of 0
        reasons = [np.where((reason == "") & (shares < least), "share", reason) for reason, shares in judged]
        pixels, step = picture_of(by_area[chosen.value][scene.value])
        here = reasons[scene.value]
        window_of = (np.arange(length) * step // size.value for length in pixels.shape[:2])
        tints = np.select([here[..., None] == reason for reason in WINDOWS], [to_rgb(c) for c, _ in WINDOWS.values()])
        buffer = io.BytesIO()
        tinted = 0.5 * (pixels + tints[np.ix_(*window_of)])
        Image.fromarray(np.uint8(255 * tinted)).save(buffer, "png", compress_level=1)
        picture.value, counts.value = buffer.getvalue(), _count_table(here, reasons, least)

    def answer(_: object = None) -> None:
        message.value = ""
        try:
            draw()
        except Exception as error:
            name = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            line = html.escape(" ".join(f"{name}{error}".split()))
            message.value = f'<b role="alert" style="color:#b00020">{line}</b>'
        shown.layout.display = "none" if message.value else None

    def move(_: object) -> None:
        for control in (scene, size):  # they change with the area: one redraw is enough
            control.unobserve(answer, "value")
        scene.options, size.value = _numbered(by_area[chosen.value]), book.patch_size(chosen.value)
        for control in (scene, size):
            control.observe(answer, "value")
        answer()

    chosen.observe(move, "value")
    for control in (scene, size, share):
        control.observe(answer, "value")
    answer()
    caption = ipywidgets.HTML(f'<span style="font-size:85%;color:#666">{html.escape(book.caption())}</span>')
    return ipywidgets.VBox([ipywidgets.HBox([chosen, scene]), size, share, message, shown, caption])


def preview(scene: Scene, bands: tuple[str, ...]) -> tuple[np.ndarray, int]:
    """Return every n-th pixel of a scene as (rows, cols, 3), at most `SIDE` a side, landslides outlined; and n."""
    with scenes.open_image(scene) as image, scenes.open_labels(scene, image) as labels:
        whole, step = Window(0, 0, *image.shape), -(-max(image.shape) // SIDE)
        picture, _ = colours(image, bands, whole, step)
        landslide = scenes.read_decimated(labels.read, whole, step) == 1
    picture[landslide & ~ndimage.binary_erosion(landslide)] = to_rgb("cyan")
    return picture, step


def _numbered(scene_list: Sequence[Scene]) -> list[tuple[str, int]]:
    return [(scene.name, number) for number, scene in enumerate(scene_list)]


def _count_table(here: np.ndarray, everywhere: list[np.ndarray], least: float) -> str:
    names = {reason: text.format(share=least) for reason, (_, text) in WINDOWS.items()}
    whole = np.concatenate([reasons.ravel() for reasons in everywhere])
    columns = {"this scene": here.ravel(), "whole area": whole}
    table = pd.DataFrame({name: pd.Series(reasons).value_counts() for name, reasons in columns.items()})
    table = table.reindex(list(names)).fillna(0).astype(int).rename(index=names)
    table.loc["windows in all"] = [here.size, whole.size]
    kinds = [(colour, names[reason]) for reason, (colour, _) in WINDOWS.items()]
    legend = (
        f'<span style="background:{colour};border:1px solid #555">&emsp;</span>&nbsp;{html.escape(name)}'
        for colour, name in [*kinds, ("cyan", "outline of a landslide")]
    )
    return table.to_html(classes="lmhld", border=0) + "<br>".join(legend)
