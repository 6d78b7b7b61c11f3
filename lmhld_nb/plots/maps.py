"""Figures of maps of whole scenes and of their scores; every function returns a matplotlib Figure."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from lmhld_nb.experiments.examples import View
from lmhld_nb.plots import style

RED = (1.0, 0.1, 0.1)
_ACROSS = 3  # pictures per row, so that they are large enough to be readable
_MARKERS = "osD^vPX*"


def images(views: Sequence[View]) -> Figure:
    """Show scenes in true colour (paper Figs 7 and 8)."""
    if not views:
        return _nothing()
    figure, panels = _panels(views)
    for ax, view in zip(panels, views, strict=True):
        ax.imshow(style.rgb(view.values, view.bands))
    return style.counted(figure, style.format_count(len(views), "scene"))


def overlays(views: Sequence[View]) -> Figure:
    """Show scenes with mapped pixels in red (paper Figs 16 and 17), and true landslides outlined if known."""
    if not views:
        return _nothing()
    figure, panels = _panels(views)
    for ax, view in zip(panels, views, strict=True):
        picture = style.rgb(view.values, view.bands)
        picture[view.mapped] = 0.35 * picture[view.mapped] + 0.65 * np.array(RED)
        ax.imshow(picture)
        if view.truth is not None and view.truth.any():
            ax.contour(view.truth, [0.5], colors="cyan", linewidths=0.7)
    handles: list[Patch | Line2D] = [Patch(color=RED, label="mapped as landslide")]
    if any(view.truth is not None for view in views):
        handles.append(Line2D([], [], color="cyan", lw=1.2, label="true outline"))
    figure.legend(handles=handles, loc="outside upper right", ncols=2)
    return style.counted(figure, style.format_count(len({id(view.values) for view in views}), "scene"))


def precision_recall(curves: Mapping[str, pd.DataFrame], scores: pd.DataFrame) -> Figure:
    """Draw precision against recall by event (`Ranked.curve`), with the map's threshold marked, and chance level."""
    if not curves:
        return _nothing()
    figure, ax = plt.subplots(figsize=(5.6, 3.9))
    colours = style.area_colours(list(curves))
    for (name, curve), marker in zip(curves.items(), cycle(_MARKERS), strict=False):
        row, colour = scores.loc[name], colours[name]
        label = f"{name}: AP {row['average_precision']:.2f}, {row['prevalence']:.0%} landslide"
        ax.plot([0, 1], [row["prevalence"]] * 2, color=colour, lw=0.8, ls="--")
        ax.plot(curve["recall"], curve["precision"], color=colour, lw=1.4)
        ax.plot(row["recall"], row["precision"], marker, color=colour, ms=7, label=label)
    ax.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    ax.legend(loc="upper right")
    explanation = "mark: the map's threshold; dashed: share of landslide, as chance; AP: average precision"
    return style.counted(figure, style.format_count(len(curves), "event"), explanation)


def _nothing() -> Figure:
    figure, ax = plt.subplots(figsize=(4.8, 0.8))
    ax.axis("off")
    ax.text(0.5, 0.5, "nothing finished to draw yet", ha="center", va="center")
    return style.counted(figure, style.format_count(0, "scene"))


def _panels(views: Sequence[View]) -> tuple[Figure, list[Axes]]:
    height, width = views[0].mapped.shape
    side = 7.4 / _ACROSS if len(views) > 1 else 4.6
    lines = 1 + views[0].title.count("\n")
    figure, panels, _, _ = style.grid(len(views), (side, side * height / width + 0.25 * lines), (0, 0.4), _ACROSS)
    for letter, ax, view in zip("abcdefghijklmnopqrstuvwxyz", panels, views, strict=False):
        ax.set_title(f"({letter}) {view.title}" if len(views) > 1 else view.title, fontsize=8.5)
    style.no_ticks(*panels)
    return figure, panels
