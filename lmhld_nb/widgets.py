"""The patch explorer (chapter 02) for JupyterLab and voila, and its controls; nothing that runs in batch imports it."""

from __future__ import annotations

import html
import io
from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from scipy import ndimage

from lmhld_nb import paper, patches, scenes
from lmhld_nb.config import UserError
from lmhld_nb.patches import measurements
from lmhld_nb.plots import style
from lmhld_nb.plots.data import WINDOWS
from lmhld_nb.scenes import Scene
from lmhld_nb.scenes.rasters import Window

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

    chosen = choice("Area", [(paper.area_name(name), name) for name in book.areas], first)
    scene = choice("Scene", _numbered(by_area[first]))
    size = choice("Patch size", [(f"{side} px", side) for side in sizes], book.patch_size(first))
    share = slider("Least share of landslide (%)", round(100 * book.profile.patches.min_share), 0, 60, 1)
    picture, counts = ipywidgets.Image(format="png"), ipywidgets.HTML()
    figure = canvas(5.6, 5.6)
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
        show_in(picture, figure)
        counts.value = _count_table(here, reasons, least)

    return panel(draw, [(chosen, scene), (size,), (share,)], [picture, counts], book.caption())


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
    colours = legend([*kinds, ("cyan", "outline of a landslide")], "<br>")
    return html_table(("window", "this scene", "whole area"), rows) + colours


_WIDE = {"description_width": "initial"}


def choice(label: str, options: Sequence[Any], value: Any = None) -> ipywidgets.Dropdown:
    """Return a list to choose one from; options are values, or (name, value)."""
    chosen = {} if value is None else {"value": value}  # else the first
    return ipywidgets.Dropdown(options=options, description=label, style=_WIDE, **chosen)


def slider(label: str, value: float, low: float, high: float, step: float) -> Any:
    """Return a slider that answers when it is released, or at each press of an arrow key."""
    whole = all(isinstance(number, int) for number in (value, low, high, step))
    kind = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
    look: dict[str, Any] = {"description": label, "style": _WIDE, "layout": {"width": "38em"}}
    return kind(value=value, min=low, max=high, step=step, continuous_update=False, **look)


def canvas(width: float, height: float) -> Figure:
    """Return an empty figure (inches) outside pyplot, without the layout engine: its axes stay where they are put."""
    figure = Figure(figsize=(width, height), dpi=100)
    figure.set_layout_engine("none")
    return figure


def show_in(target: ipywidgets.Image, figure: Figure) -> None:
    """Draw a figure into an image and close it; light compression, for it does not travel far."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None}, pil_kwargs={"compress_level": 1})
    target.value = buffer.getvalue()
    plt.close(figure)


def legend(kinds: Sequence[tuple[str, str]], between: str = " &emsp; ") -> str:
    """Return HTML that names colours: (colour, name) each."""
    return between.join(
        f'<span style="background:{colour};border:1px solid #555">&emsp;</span>&nbsp;{html.escape(name)}'
        for colour, name in kinds
    )


def html_table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return an HTML table."""
    top = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in head)
    cells = ("".join(f"<td>{html.escape(format_value(value))}</td>" for value in row) for row in rows)
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return f'<table class="lmhld"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'


def format_value(value: Any) -> str:
    """Return a value for a table: three digits of a fraction, a dash for what is not defined."""
    if isinstance(value, float):
        return "–" if value != value else f"{value:.3f}"
    return str(value)


def panel(
    draw: Callable[[], None],
    inputs: Sequence[Sequence[ipywidgets.Widget]],
    outputs: Sequence[ipywidgets.DOMWidget],
    caption: str,
) -> ipywidgets.VBox:
    """Return a panel that calls ``draw`` now and at every change of a control but those that it makes itself.

    An error becomes one line, and ``outputs`` disappear until it is mended. ``inputs`` are rows of controls.
    """
    message = ipywidgets.HTML()
    below = _row(outputs)
    drawing: list[bool] = []

    def answer(_: object = None) -> None:
        if drawing:
            return
        drawing.append(True)
        try:
            draw()
        except Exception as error:
            name = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            line = html.escape(" ".join(f"{name}{error}".split()))
            message.value = f'<b role="alert" style="color:#b00020">{line}</b>'
        else:
            message.value = ""
        finally:
            drawing.clear()
        below.layout.display = "none" if message.value else None

    for control in (control for row in inputs for control in row):
        control.observe(answer, "value")
    answer()
    small = f'<span style="font-size:85%;color:#666">{html.escape(caption)}</span>'
    return ipywidgets.VBox([*map(_row, inputs), message, below, ipywidgets.HTML(small)])


def _row(widgets: Sequence[ipywidgets.Widget]) -> ipywidgets.HBox:
    return ipywidgets.HBox(widgets, layout={"flex_flow": "row wrap"})
