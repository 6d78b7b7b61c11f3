"""Figures of maps of whole scenes and of their scores; every function returns a matplotlib Figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from lmhld_nb.experiments.unseen_results import View
from lmhld_nb.plots.scores import errors, errors_legend
from lmhld_nb.plots.style import FALSE_ALARM, HIT, area_name, colours, many, no_ticks, rgb, signed

RED = (1.0, 0.1, 0.1)
_ACROSS = 3  # pictures a row, so that they stay large enough to see something in
_MARKS = "osD^vPX*"


def images(views: Sequence[View], note: str) -> Figure:
    """Show scenes in true colour (paper Figs 7 and 8)."""
    if not views:
        return _nothing(note)
    figure, panels = _panels(views)
    for ax, view in zip(panels, views, strict=True):
        ax.imshow(rgb(view.values, view.bands))
    return signed(figure, note, n=many(len(views), "scene"))


def overlays(views: Sequence[View], note: str) -> Figure:
    """Show scenes with what was mapped in red (paper Figs 16 and 17), true landslides outlined where known."""
    if not views:
        return _nothing(note)
    figure, panels = _panels(views)
    for ax, view in zip(panels, views, strict=True):
        picture = rgb(view.values, view.bands)
        picture[view.mapped] = 0.35 * picture[view.mapped] + 0.65 * np.array(RED)
        ax.imshow(picture)
        if view.truth is not None and view.truth.any():
            ax.contour(view.truth, [0.5], colors="cyan", linewidths=0.7)
    handles: list[Patch | Line2D] = [Patch(color=RED, label="mapped as landslide")]
    if any(view.truth is not None for view in views):
        handles.append(Line2D([], [], color="cyan", lw=1.2, label="true outline"))
    figure.legend(handles=handles, loc="outside upper right", ncols=2)
    return signed(figure, note, n=many(len(views), "scene"))


def mistakes(views: Sequence[View], note: str) -> Figure:
    """Show close-ups in pairs, the image and hits, false alarms and misses over it."""
    if not views:
        return _nothing(note)
    across = 4
    rows = math.ceil(2 * len(views) / across)
    figure, axes = plt.subplots(rows, across, figsize=(7.4, 2.05 * rows + 0.5), squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for (left, right), view in zip(axes.reshape(-1, 2), views, strict=False):
        assert view.truth is not None
        picture = rgb(view.values, view.bands)
        left.imshow(picture)
        right.imshow(errors(view.mapped, view.truth, picture))
        left.set_title(view.title, fontsize=8, loc="left")
        for ax in (left, right):
            ax.axis("on")
    errors_legend(figure)
    no_ticks(*axes.flat)
    return signed(figure, note, n=many(len(views), "close-up"))


def precision_recall(curves: Mapping[str, pd.DataFrame], scores: pd.DataFrame, note: str) -> Figure:
    """Draw precision against recall over all thresholds; the mark is the map's own threshold.

    Args:
        curves: by scene, columns ``precision`` and ``recall`` (`ranking.Ranked.curve`).
        scores: rows by scene, ``precision``, ``recall``, ``average_precision`` and ``prevalence``.
        note: of `style.note`.
    """
    if not curves:
        return _nothing(note)
    figure, ax = plt.subplots(figsize=(5.6, 3.9))
    tints = colours(list(curves))
    for number, (name, curve) in enumerate(curves.items()):
        row = scores.loc[name]
        ax.plot(curve["recall"], curve["precision"], color=tints[name], lw=1.4)
        ax.plot(
            row["recall"], row["precision"], _MARKS[number % 8], color=tints[name], ms=7,
            label=f"{area_name(name)}: AP {row['average_precision']:.2f}, {row['prevalence']:.0%} landslide",
        )  # fmt: skip
    ax.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    ax.legend(loc="upper right")
    return signed(
        figure, f"mark: the map's threshold; AP: average precision · {note}", n=many(len(curves), "scene")
    )


def reliability(tables: Mapping[str, pd.DataFrame], note: str) -> Figure:
    """Draw the share of landslide among pixels against the probability the network gave them, and how many there are.

    Args:
        tables: by scene, of `ranking.Ranked.reliability`.
        note: of `style.note`.
    """
    if not tables:
        return _nothing(note)
    figure, (ax, below) = plt.subplots(2, 1, figsize=(4.8, 4.8), height_ratios=(3, 1), sharex=True)
    tints = colours(list(tables))
    ax.plot([0, 1], [0, 1], color="0.5", lw=1, ls="--")
    for number, (name, table) in enumerate(tables.items()):
        ax.plot(
            table["mean_probability"], table["observed_share"], _MARKS[number % 8] + "-", color=tints[name],
            lw=1.2, ms=5, label=area_name(name),
        )  # fmt: skip
        below.plot(
            table["mean_probability"], table["pixels"] / table["pixels"].sum(), "-", color=tints[name], lw=1.2
        )
    ax.set(ylim=(0, 1), ylabel="share that is landslide")
    ax.text(0.3, 0.33, "calibrated", rotation=35, fontsize=7.5, color="0.4")
    ax.legend(loc="upper left")
    below.set(xlim=(0, 1), xlabel="probability given by the network", ylabel="share of pixels", yscale="log")
    return signed(figure, note, n=many(len(tables), "scene"))


def detection_by_size(table: pd.DataFrame, note: str) -> Figure:
    """Draw the share of landslides found and of mapped objects that are false, by size class.

    Args:
        table: of `detection.by_size`.
        note: of `style.note`.
    """
    if table.empty:
        return _nothing(note)
    figure, axes = plt.subplots(1, 2, figsize=(7.4, 3.1), sharey=True)
    _by_size(axes, table)
    slides, objects = (int(table[kind].sum()) for kind in ("landslides", "mapped"))
    return signed(
        figure,
        f"{BY_SIZE} · {note}",
        n=f"{many(slides, 'landslide')}, {many(objects, 'mapped object')}",
    )


def size_frequency(table: pd.DataFrame, note: str) -> Figure:
    """Draw the frequency density of landslide areas, mapped against true.

    Args:
        table: columns ``inventory`` (true, mapped), ``area_m2`` and ``density`` (`detection.size_frequency`).
        note: of `style.note`.
    """
    if table.empty:
        return _nothing(note)
    figure, ax = plt.subplots(figsize=(5.2, 3.4))
    _frequency(ax, table)
    return signed(figure, note, n=many(1, "scene"))


def landslides(by_size: pd.DataFrame, frequency: pd.DataFrame, note: str) -> Figure:
    """Draw what `detection_by_size` and `size_frequency` draw, side by side."""
    if by_size.empty or frequency.empty:
        return _nothing(note)
    figure, axes = plt.subplots(1, 3, figsize=(10.5, 3.3))
    _by_size(axes[:2], by_size)
    _frequency(axes[2], frequency)
    axes[2].set_title("how often a size occurs")
    slides, objects = (int(by_size[kind].sum()) for kind in ("landslides", "mapped"))
    return signed(
        figure,
        f"{BY_SIZE} · {note}",
        n=f"{many(slides, 'landslide')}, {many(objects, 'mapped object')}",
    )


BY_SIZE = "line: 95 % interval (Wilson); number: how many there are"


def _by_size(axes: Sequence[Axes], table: pd.DataFrame) -> None:
    panels = (
        ("landslides", "detection_rate", "landslides that are found", HIT),
        ("mapped", "false_share", "mapped objects that are false", FALSE_ALARM),
    )
    for ax, (total, share, title, tint) in zip(axes, panels, strict=True):
        shown = table[table[total] > 0]
        places = np.arange(len(shown))
        ax.bar(places, shown[share], color=tint, width=0.7)
        if share == "detection_rate":
            rate = shown[share].to_numpy()
            low, high = shown["detection_low"].to_numpy(), shown["detection_high"].to_numpy()
            ax.errorbar(places, rate, (rate - low, high - rate), fmt="none", ecolor="0.25", capsize=3, lw=1)
        for place, (count, value) in enumerate(zip(shown[total], shown[share], strict=True)):
            ax.text(place, max(value, 0.0) + 0.02, f"{count}", ha="left", fontsize=7.5)
        ax.set_xticks(places, shown["area_m2"], rotation=40, ha="right", fontsize=7.5)
        ax.set(ylim=(0, 1.12), title=title, xlabel="area in m²")
    axes[0].set_ylabel("share")


def _frequency(ax: Axes, table: pd.DataFrame) -> None:
    for inventory, mark, tint in (("true", "o-", "0.25"), ("mapped", "s--", "#d7261e")):
        shown = table[table["inventory"] == inventory]
        if shown.empty:  # nothing has no place on a logarithmic axis
            ax.text(0.98, 0.9, f"{inventory}: none", transform=ax.transAxes, ha="right", color=tint)
            continue
        ax.loglog(shown["area_m2"], shown["density"], mark, color=tint, ms=5, lw=1.2, label=inventory)
    ax.set(xlabel="landslide area in m²", ylabel="density per m²")
    ax.legend(loc="lower left")


def _nothing(note: str) -> Figure:
    figure, ax = plt.subplots(figsize=(4.8, 0.8))
    ax.axis("off")
    ax.text(0.5, 0.5, "no such scene in this profile", ha="center", va="center")
    return signed(figure, note, n=many(0, "scene"))


def _panels(views: Sequence[View]) -> tuple[Figure, list[Axes]]:
    """Return a figure with a panel for each view, lettered and titled, and the panels."""
    across = min(_ACROSS, len(views))
    rows = math.ceil(len(views) / across)
    shape = views[0].mapped.shape
    wide = 7.4 / _ACROSS if len(views) > 1 else 4.6
    figure, axes = plt.subplots(
        rows,
        across,
        figsize=(wide * across, (wide * shape[0] / shape[1] + 0.25) * rows + 0.4),
        squeeze=False,
    )
    panels = list(axes.flat)
    for spare in panels[len(views) :]:
        spare.axis("off")
    for letter, ax, view in zip("abcdefghijklmnopqrstuvwxyz", panels, views, strict=False):
        ax.set_title(f"({letter}) {view.title}" if len(views) > 1 else view.title, fontsize=8.5)
    no_ticks(*panels)
    return figure, panels[: len(views)]
