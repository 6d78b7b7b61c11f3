"""Figures of maps of unseen places and their scores; every function returns a matplotlib Figure.

They are narrow and their letters large: many are looked at on a phone in the field.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TypeVar

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import PercentFormatter

from lmhld_nb import score_plots
from lmhld_nb.ranking import Ranked
from lmhld_nb.style import FALSE_ALARM, HIT, MISS, no_ticks, signed

_WIDTH = 5.6  # inches
_LETTERS = 10
_DETECTED = (1.0, 0.1, 0.1)  # red as in the paper's Figs 16 and 17
_RIM = [withStroke(linewidth=3.5, foreground="w")]  # black lines on pictures that may be as dark
Shown = TypeVar("Shown")


@dataclass(frozen=True)
class Panel:
    """One picture of a map, already reduced to what is shown.

    Attributes:
        title: what and where.
        image: (rows, cols, 3) between 0 and 1, of `style.rgb` say.
        mapped: (rows, cols), bool or 1 where the map has landslide (255: no data).
        truth: (rows, cols), bool or 1 where landslide is true (255: not labelled).
        pixel_m: ground size of a shown pixel in metres, for a scale bar.
        box: first row and column, last row and column plus one, of what to look at.
    """

    title: str
    image: np.ndarray
    mapped: np.ndarray | None = None
    truth: np.ndarray | None = None
    pixel_m: float | None = None
    box: tuple[float, float, float, float] | None = None


def precision_recall(curves: Mapping[str, Ranked], note: str, threshold: float = 0.5) -> Figure:
    """Draw precision against recall over all thresholds, one line a map; a mark stands at ``threshold``.

    Args:
        curves: counts by the name of the map or place.
        note: of `style.note`.
        threshold: a multiple of 1/1000.
    """
    figure, ax = plt.subplots(figsize=(_WIDTH, 4.6))
    lines = []
    for (name, ranked), tint, mark in _styled(curves):
        table = ranked.curve()
        ax.plot(table["recall"], table["precision"], color=tint, linewidth=1.6)
        at = ranked.confusion(threshold)
        ax.plot(at.recall, at.precision, mark, color=tint, markersize=8, markeredgecolor="k", zorder=3)
        label = f"{name}: AP {ranked.average_precision:.2f}"
        lines.append(Line2D([], [], color=tint, marker=mark, markersize=7, markeredgecolor="k", label=label))
    ax.set(xlim=(0, 1.01), ylim=(0, 1.03))
    ax.set_xlabel("recall: share of landslide pixels found", fontsize=_LETTERS)
    ax.set_ylabel("precision: share of found pixels that are right", fontsize=_LETTERS)
    ax.grid(color="0.9")
    _legend(figure, lines)
    return signed(figure, f"mark: threshold {threshold:g}; AP: average precision · {note}")


def reliability(curves: Mapping[str, Ranked], note: str, bins: int = 10) -> Figure:
    """Draw observed against predicted probability of landslide, and below how many pixels there are of each.

    Args:
        curves: counts by the name of the map or place.
        note: of `style.note`.
        bins: of equal width; a divisor of 1000.
    """
    figure, (ax, below) = plt.subplots(2, 1, figsize=(_WIDTH, 5.8), sharex=True, height_ratios=(3, 1))
    ax.plot([0, 1], [0, 1], color="0.5", linewidth=1, linestyle="--")
    lines = []
    for (name, ranked), tint, mark in _styled(curves):
        table = ranked.reliability(bins)
        ax.plot(table["mean_probability"], table["observed_share"], color=tint, marker=mark, linewidth=1.6)
        below.plot(table["mean_probability"], table["pixels"], color=tint, marker=mark, linewidth=1)
        label = f"{name}: error {ranked.calibration_error:.3f}"
        lines.append(Line2D([], [], color=tint, marker=mark, label=label))
    lines.append(Line2D([], [], color="0.5", linewidth=1, linestyle="--", label="calibrated"))
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    below.set(yscale="log")
    ax.set_ylabel("observed share of landslide", fontsize=_LETTERS)
    below.set_ylabel("pixels of bin", fontsize=_LETTERS)
    below.set_xlabel("predicted probability of landslide", fontsize=_LETTERS)
    for part in (ax, below):
        part.grid(color="0.9")
    _legend(figure, lines)
    return signed(figure, f"error: expected calibration error · {note}")


def detection_by_size(tables: Mapping[str, pd.DataFrame], note: str) -> Figure:
    """Draw the share of landslides detected by size class, with intervals, and how many there are.

    Args:
        tables: of `detection.by_size` by the name of the map or place.
        note: of `style.note`.
    """
    places = {
        start: (number, name)
        for number, (start, name) in enumerate(
            sorted({(row["from_m2"], row["area_m2"]) for table in tables.values()
                    for row in table[table["landslides"] > 0].to_dict("records")})
        )
    }  # fmt: skip
    figure, (ax, below) = plt.subplots(2, 1, figsize=(_WIDTH, 5.4), sharex=True, height_ratios=(3, 1.4))
    lines = []
    for number, ((name, table), tint, mark) in enumerate(_styled(tables)):
        shown = table[table["landslides"] > 0]
        shift = 0.7 * ((number + 0.5) / len(tables) - 0.5)
        at = np.array([places[start][0] for start in shown["from_m2"]]) + shift
        ax.vlines(at, shown["detection_low"], shown["detection_high"], color=tint, linewidth=2)
        ax.plot(at, shown["detection_rate"], mark, color=tint, markersize=7)
        below.bar(at, shown["landslides"], 0.7 / len(tables), color=tint)
        found, total = int(shown["detected"].sum()), int(shown["landslides"].sum())
        lines.append(Line2D([], [], color=tint, marker=mark, label=f"{name}: {found} of {total}"))
    ax.set(ylim=(-0.04, 1.04), xlim=(-0.5, max(1, len(places)) - 0.5))
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.set_ylabel("landslides detected", fontsize=_LETTERS)
    below.set(yscale="log")
    below.set_ylim(bottom=0.5)  # a single landslide has a bar, too
    below.set_ylabel("landslides", fontsize=_LETTERS)
    below.set_xlabel("area (m²)", fontsize=_LETTERS)
    below.set_xticks(range(len(places)), [name for _, name in places.values()], rotation=35, ha="right")
    for part in (ax, below):
        part.grid(axis="y", color="0.9")
        part.set_axisbelow(True)
        for border in range(1, len(places)):
            part.axvline(border - 0.5, color="0.93", linewidth=0.8, zorder=0)
    _legend(figure, lines)
    return signed(figure, f"detected: at least half of the area is mapped; lines: 95 % intervals · {note}")


def size_frequency(true: pd.DataFrame, mapped: pd.DataFrame, note: str) -> Figure:
    """Draw the frequency density of true and of mapped landslide areas on logarithmic axes.

    Args:
        true: of `detection.size_frequency`.
        mapped: the same of the map.
        note: of `style.note`.
    """
    figure, ax = plt.subplots(figsize=(_WIDTH, 4.2))
    tints = sns.color_palette("colorblind")
    for name, table, tint, mark in (("true", true, "k", "o"), ("mapped", mapped, tints[1], "s")):
        label = f"{name}: {int(table['count'].sum())} landslides"
        ax.plot(table["area_m2"], table["density"], marker=mark, color=tint, markersize=6, label=label,
                markerfacecolor="none" if name == "true" else tint, linewidth=1.3)  # fmt: skip
    ax.set(xscale="log", yscale="log")
    ax.set_xlabel("landslide area (m²)", fontsize=_LETTERS)
    ax.set_ylabel("frequency density (1/m²)", fontsize=_LETTERS)
    ax.grid(color="0.9")
    ax.legend(fontsize=_LETTERS)
    return signed(figure, note)


def images(panels: Sequence[Panel], note: str, columns: int = 2) -> Figure:
    """Show images alone, with panel letters (paper Figs 7 and 8).

    Args:
        panels: at least one.
        note: of `style.note`.
        columns: pictures side by side.
    """
    figure, _ = _pictures(panels, columns, lambda panel: panel.image, room=0.2)
    return signed(figure, note)


def overlays(panels: Sequence[Panel], note: str, columns: int = 2) -> Figure:
    """Show mapped landslides in red over each image, a little paler, with panel letters (paper Figs 16 and 17).

    Args:
        panels: with ``mapped``; those with ``truth`` have it outlined.
        note: of `style.note`.
        columns: pictures side by side.
    """
    figure, axes = _pictures(panels, columns, _overlay, room=0.5)
    handles: list[Artist] = [Patch(color=_DETECTED, label="mapped landslide")]
    for ax, panel in zip(axes, panels, strict=True):
        if panel.truth is not None and (panel.truth == 1).any():
            ax.contour(panel.truth == 1, [0.5], colors="cyan", linewidths=0.8)
            handles[1:] = [Line2D([], [], color="cyan", label="true landslide")]
    _legend(figure, handles)
    return signed(figure, note)


def errors(panels: Sequence[Panel], note: str) -> Figure:
    """Show close-ups: the image, and beside it hits, false alarms and misses; a row a panel, its title the caption.

    A panel's box, where it has one, is dashed in both pictures.

    Args:
        panels: with ``mapped`` and ``truth``, of the windows of `detection.close_ups` say.
        note: of `style.note`.
    """
    figure, axes = plt.subplots(len(panels), 2, figsize=(_WIDTH, 0.6 + 2.9 * len(panels)), squeeze=False)
    for letter, row, panel in zip(_letters(), axes, panels, strict=False):
        mapped, truth = _given(panel.mapped, "mapped", panel), _given(panel.truth, "truth", panel)
        known = (mapped != 255) & (truth != 255)
        row[0].imshow(panel.image)
        row[1].imshow(score_plots.errors((mapped == 1) & known, (truth == 1) & known, panel.image))
        row[0].set_title(f"({letter}) {panel.title}", loc="left", fontsize=_LETTERS)
        for ax in row:
            _bare(ax)
            if panel.box is not None:
                top, left, bottom, right = panel.box
                # A pixel of room, and half a pixel because pictures count from the middle of a pixel.
                ax.add_patch(Rectangle((left - 1.5, top - 1.5), right - left + 2, bottom - top + 2, fill=False,
                                       linewidth=1.2, linestyle="--", path_effects=_RIM))  # fmt: skip
        _scale_bar(row[0], panel)
    names = ((HIT, "hit"), (FALSE_ALARM, "false alarm"), (MISS, "miss"))
    _legend(figure, [Patch(color=tint, label=name) for tint, name in names], columns=3)
    return signed(figure, note)


def _overlay(panel: Panel) -> np.ndarray:
    mapped = _given(panel.mapped, "mapped", panel) == 1
    # Paler, so that red differs by lightness too: red and green alone are one colour to some eyes.
    view = 0.75 * np.asarray(panel.image, float) + 0.25
    view[mapped] = 0.2 * panel.image[mapped] + 0.8 * np.array(_DETECTED)
    return view


def _given(array: np.ndarray | None, name: str, panel: Panel) -> np.ndarray:
    if array is None or array.shape != panel.image.shape[:2]:
        raise ValueError(f"panel '{panel.title}': {name} must have the image's rows and columns")
    return array


def _pictures(
    panels: Sequence[Panel], columns: int, picture: Callable[[Panel], np.ndarray], room: float
) -> tuple[Figure, list[Axes]]:
    """Show a picture of each panel, each row as high as its pictures need, with ``room`` inches for legend and note."""
    columns = min(columns, len(panels))
    rows = [panels[first : first + columns] for first in range(0, len(panels), columns)]
    width = _WIDTH / columns
    heights = [width * max(panel.image.shape[0] / panel.image.shape[1] for panel in row) for row in rows]
    figure, axes = plt.subplots(
        len(rows), columns, figsize=(_WIDTH, sum(heights) + 0.3 * len(rows) + room), squeeze=False,
        height_ratios=heights,
    )  # fmt: skip
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
    shown = list(axes.flat[: len(panels)])
    for letter, ax, panel in zip(_letters(), shown, panels, strict=False):
        ax.imshow(picture(panel))
        prefix = f"({letter}) " if len(panels) > 1 else ""
        ax.set_title(prefix + panel.title, loc="left", fontsize=_LETTERS)
        _bare(ax)
        _scale_bar(ax, panel)
    return figure, shown


def _scale_bar(ax: Axes, panel: Panel) -> None:
    """Draw a bar of a round length, at most three tenths of the picture's width."""
    if not panel.pixel_m:
        return
    most = 0.3 * panel.image.shape[1] * panel.pixel_m
    power = 10.0 ** np.floor(np.log10(most))
    metres = power * max(step for step in (1, 2, 5) if step == 1 or step * power <= most)
    told = f"{metres / 1000:g} km" if metres >= 1000 else f"{metres:g} m"
    rows, cols = panel.image.shape[:2]
    end, row = 0.96 * cols, 0.95 * rows
    start = end - metres / panel.pixel_m
    ax.plot([start, end], [row, row], color="k", linewidth=2, path_effects=_RIM)
    ax.annotate(told, ((start + end) / 2, row), (0, 3), textcoords="offset points", ha="center", va="bottom",
                fontsize=_LETTERS - 1, path_effects=_RIM)  # fmt: skip


def _letters() -> Iterator[str]:
    """Yield a to z, then aa, ab and so on."""
    alphabet = string.ascii_lowercase
    return (first + second for first in ("", *alphabet) for second in alphabet)


def _styled(
    named: Mapping[str, Shown],
) -> Iterator[tuple[tuple[str, Shown], tuple[float, float, float], str]]:
    """Yield each item with a colour and a marker: some colours are alike to some eyes."""
    return zip(named.items(), cycle(sns.color_palette("colorblind")), cycle("osD^vPX"), strict=False)


def _bare(ax: Axes) -> None:
    """Take ticks and frame off a picture and hang it at the top of its place, so that a row's titles align."""
    ax.autoscale(False)  # what is drawn on it does not widen it
    no_ticks(ax)
    ax.spines[:].set_visible(False)
    ax.set_anchor("N")


def _legend(figure: Figure, handles: Sequence[Artist], columns: int = 2) -> None:
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=max(1, min(columns, len(handles))),
        fontsize=_LETTERS - 0.5,
    )
