"""Explorers for JupyterLab and voila, which compute nothing of their own; nothing that runs in batch imports them.

The patch explorer (chapter 02), the prediction browser (chapter 05), and the controls that they share.
"""

from __future__ import annotations

import html
import io
from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache
from math import log
from typing import TYPE_CHECKING, Any

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from scipy import ndimage
from scipy.special import expit

from lmhld_nb import models, paper, patches, runs, scenes
from lmhld_nb.config import UserError
from lmhld_nb.evaluation import METRICS, Confusion, scores
from lmhld_nb.experiments import examples
from lmhld_nb.patches import PatchSet, measurements
from lmhld_nb.plots import scores as score_plots
from lmhld_nb.plots import style
from lmhld_nb.plots.data import WINDOWS
from lmhld_nb.plots.style import FALSE_ALARM, HIT, MISS
from lmhld_nb.runs import Run
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


def prediction_browser(book: Book, finished: Sequence[Run]) -> ipywidgets.VBox:
    """Return a panel with the choice of a finished run, area, test patch and threshold (0.5: `examples.predict`)."""
    # Shared by all that is drawn: a network takes longest to load, a patch to predict.
    model = lru_cache(maxsize=4)(lambda number: finished[number].model())
    patch_sets = lru_cache(maxsize=16)(lambda number: runs.patch_sets(finished[number].spec, progress=False))
    logits = lru_cache(maxsize=64)(
        lambda number, index, patch: examples.logits(finished[number], model(number), patch_sets(number)[index], patch)
    )

    run = choice("Run", [(_name(entry), number) for number, entry in enumerate(finished)])
    area = choice("Area", [("–", 0)])
    patch = slider("Test patch, by share of landslide", 1, 1, 1, 1)
    threshold = slider("Threshold of probability", 0.5, 0.01, 0.99, 0.01)
    picture, score_table = ipywidgets.Image(format="png"), ipywidgets.HTML()
    figure = canvas(9, 3.25)
    axes = [figure.add_axes((0.005 + 0.335 * n, 0, 0.32, 0.91)) for n in range(3)]
    layers = [ax.imshow(np.zeros((1, 1)), cmap="magma", vmin=0, vmax=1) for ax in axes]
    for ax, title in zip(axes, ("image", "probability: black 0, white 1", "found and missed"), strict=True):
        ax.set_title(title)
        ax.set_axis_off()
    drawn_run, drawn_area = None, None

    def draw() -> None:
        nonlocal drawn_run, drawn_area
        if not finished:
            raise ValueError("no finished run to show; make some with `lmhld run`")
        if drawn_run != run.value:
            names = [paper.area_name(patch_set.spec.area) for patch_set in patch_sets(run.value)]
            area.options = [(name, index) for index, name in enumerate(names)]
            drawn_run, drawn_area = run.value, None
        patch_set = patch_sets(run.value)[area.value]
        tests = by_share(patch_set)
        if drawn_area != area.value:
            patch.max = len(tests)
            patch.value = (len(tests) + 1) // 2
            drawn_area = area.value
        number = int(tests[patch.value - 1])
        log_odds = logits(run.value, area.value, number)
        # Compared as log-odds: 0.5 is 0 exactly, as in `examples.predict`.
        predicted = log_odds > log(threshold.value / (1 - threshold.value))
        truth = np.asarray(patch_set.masks[number]) == 1
        image = style.rgb(np.asarray(patch_set.images[number]), patch_set.spec.bands)
        side = patch_set.spec.size
        pictures = (image, expit(log_odds), score_plots.errors(predicted, truth, image))
        for ax, layer, data in zip(axes, layers, pictures, strict=True):
            layer.set(data=data, extent=(0, side, side, 0))
            ax.set(xlim=(0, side), ylim=(side, 0))
        show_in(picture, figure)
        score_table.value = _score_table(Confusion.of(predicted, truth), patch_set, number, threshold.value)

    return panel(draw, [(run, area), (patch,), (threshold,)], [picture, score_table], book.caption())


def by_share(patch_set: PatchSet) -> np.ndarray:
    """Return the numbers of the test patches, from the least to the greatest share of landslide."""
    tests = patch_set.index.iloc[patch_set.where("test")]
    return tests.sort_values("share", kind="stable").index.to_numpy()


def _name(run: Run) -> str:
    areas = list(dict.fromkeys(paper.area_name(data.area) for data in run.spec.data))
    where = areas[0] if len(areas) == 1 else f"{len(areas)} areas"
    sizes = "+".join(map(str, dict.fromkeys(data.size for data in run.spec.data)))
    spec, network = run.spec, models.network(run.spec.model).title
    return f"{network}, {where}, {sizes} px, seed {spec.seed}, {spec.run_id[:6]}"


def _score_table(counts: Confusion, patch_set: PatchSet, number: int, threshold: float) -> str:
    patch = patch_set.index.iloc[number]
    titles = {METRICS[name].title: score for name, score in scores(counts).items()}
    pixels = {"hits (px)": counts.tp, "false alarms (px)": counts.fp, "misses (px)": counts.fn}
    where = f"scene {patch['scene']}, row {patch['row']}, column {patch['col']}"
    rows = {**titles, **pixels}.items()
    kinds = legend([(HIT, "hit"), (FALSE_ALARM, "false alarm"), (MISS, "miss")])
    return kinds + html_table((f"this patch, at {threshold:.2f}", where), list(rows))


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
