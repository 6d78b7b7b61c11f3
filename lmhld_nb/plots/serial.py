"""Figures of experiment 4, networks trained on areas one after another; every function returns a matplotlib Figure."""

from __future__ import annotations

import textwrap
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator

from lmhld_nb import paper
from lmhld_nb.plots.style import area_name, colours, many, markers, signed

_DIFFERENCE = LinearSegmentedColormap.from_list("difference", ["white", "#ffe94a", "#d7261e", "black"])
_MISSING = "0.86"
_ACROSS = 4  # panels a row: what a page is wide
_SCORES = {"precision": "precision", "f1": "F1", "recall": "recall"}
_DATASETS = {"part": "LMHLD_part", "mix": "LMHLD_mix", "single": "LMHLD_single, mean over areas"}


def order_differences(scores: pd.DataFrame, score: str, note: str) -> Figure:
    """Draw how far apart two orders of addition leave a network, one panel a model (paper Figs 12 to 14).

    Args:
        scores: index levels ``model`` and ``order``, columns ``precision``, ``f1`` and ``recall``.
        score: the column to compare.
        note: of `style.note`.
    """
    models = list(dict.fromkeys(scores.index.get_level_values("model")))
    orders = list(dict.fromkeys(scores.index.get_level_values("order")))
    table = scores[score].unstack("order").reindex(index=models, columns=orders)
    values = table.to_numpy(dtype=float)
    differences = np.abs(values[:, :, None] - values[:, None, :])
    # One scale for all panels, so that colours compare between models.
    known = differences[~np.isnan(differences)]
    largest = max(1e-6, float(known.max())) if known.size else 1e-6
    side = max(1.6, 0.38 * len(orders))
    figure, panels = _panels(len(models), (side, side + 0.35), beside=0.8, below=0.4)
    for ax, model, cells in zip(panels, models, differences, strict=True):
        letters = np.array([[f"{value:.3f}".removeprefix("0") for value in line] for line in cells])
        _heat(ax, cells, letters, largest, _DIFFERENCE, fontsize=7)
        ax.set_title(paper.MODELS[model])
        ax.set_xticks(np.arange(len(orders)) + 0.5, orders, rotation=0, fontsize=7.5)
        ax.set_yticks(np.arange(len(orders)) + 0.5, orders, rotation=0, fontsize=7.5)
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, largest), _DIFFERENCE), ax=figure.axes, shrink=0.8, aspect=30, pad=0.01
    )
    if largest <= 1e-6:  # nothing differs: the ticks would be of no meaning
        bar.set_ticks([0])
    bar.set_label(f"absolute difference of {_SCORES[score]}")
    return signed(figure, note, n=f"{many(len(orders), 'order')} a network")


def stage_matrices(matrix: pd.DataFrame, note: str) -> Figure:
    """Draw what a network knows after each stage, one panel a model: a row a stage, a column a tested area.

    Args:
        matrix: index levels ``model``, ``stage`` and ``area_added``; columns are areas in the order they were added;
            F1 on that area's test patches, missing where the area was not yet added.
        note: of `style.note`.
    """
    models = list(dict.fromkeys(matrix.index.get_level_values("model")))
    areas = [str(area) for area in matrix.columns]
    stages = pd.MultiIndex.from_frame(matrix.index.to_frame()[["stage", "area_added"]].drop_duplicates())
    size = (0.34 * len(areas), 0.27 * len(stages) + 0.35)
    figure, panels = _panels(len(models), size, beside=1.8, below=1.0)
    for number, (ax, model) in enumerate(zip(panels, models, strict=True)):
        cells = matrix.loc[model].reindex(stages).to_numpy(dtype=float)
        letters = np.array([[f"{value:.2f}" for value in line] for line in cells])
        _heat(ax, cells, letters, 1, plt.get_cmap("viridis"), fontsize=6.5)
        ax.set_title(paper.MODELS[model])
        ax.set_xticks([])
        names = [area_name(area) for area in areas]
        if number // _ACROSS == (len(models) - 1) // _ACROSS:
            ax.set_xticks(np.arange(len(areas)) + 0.5, names, rotation=90, fontsize=7.5)
        elif number + _ACROSS >= len(models):
            # No panel below: the names hang into the empty place instead of pushing the next row down.
            for place, name in enumerate(names):
                ax.annotate(name, (place + 0.5, 0), (0, -5), xycoords=("data", "axes fraction"), va="top", ha="center",
                            textcoords="offset points", rotation=90, fontsize=7.5, in_layout=False)  # fmt: skip
        ax.set_yticks([])
        if number % _ACROSS == 0:
            names = [f"{stage} {area_name(str(area))}" for stage, area in stages]
            ax.set_yticks(np.arange(len(stages)) + 0.5, names, rotation=0, fontsize=7.5)
    return signed(
        figure,
        f"F1 on the test patches; rows: after this stage; grey: area not yet added · {note}",
        n=many(len(models), "chain"),
    )


def strategies(table: pd.DataFrame, runs: pd.DataFrame, note: str) -> Figure:
    """Compare ways of training on all areas: what they reach, what they forget, what they cost.

    Args:
        table: index ``strategy`` (titles); columns ``f1`` and ``forgetting``, each also with ``_low`` and ``_high``,
            ``trained_parameter_steps`` and ``seconds``. Joint training forgets nothing: its forgetting is missing.
        runs: index levels ``strategy`` and ``seed``, columns ``f1`` and ``forgetting``.
        note: of `style.note`.
    """
    titles = [str(title) for title in table.index]
    places = np.arange(len(titles))
    figure, axes = plt.subplots(1, 4, figsize=(11, 1.3 + 0.42 * len(titles)), sharey=True)
    tints = sns.color_palette("colorblind")
    for ax, column, tint, mark in zip(
        axes[:2], ("f1", "forgetting"), (tints[0], tints[1]), "oD", strict=True
    ):
        for place, title in zip(places, table.index, strict=True):
            dots = runs.loc[runs.index.get_level_values("strategy") == title, column]
            # A little below the mean, else the interval hides them.
            ax.plot(dots, np.full(len(dots), place + 0.22), "o", color=tint, alpha=0.4, markersize=3.5, mew=0)
        ends = table[[f"{column}_low", f"{column}_high"]].to_numpy(dtype=float)
        ax.hlines(places, ends[:, 0], ends[:, 1], color=tint, linewidth=2)
        ax.plot(table[column], places, mark, color=tint, markersize=6)
        ax.grid(axis="x", color="0.9")
        ax.set_axisbelow(True)
        ax.xaxis.set_major_locator(MaxNLocator(5))
    for place in places[table["forgetting"].isna().to_numpy()]:
        axes[1].text(0.5, place, "nothing to forget", transform=axes[1].get_yaxis_transform(), ha="center",
                     va="center", fontsize=7.5, color="0.4")  # fmt: skip
    axes[0].set(title="F1", xlabel="test patches, higher is better")
    axes[1].set(title="average forgetting", xlabel="F1 lost, lower is better")
    if table["forgetting"].notna().any():
        axes[1].axvline(0, color="0.5", linewidth=0.8)
    _bars(axes[2], table["trained_parameter_steps"].to_numpy(dtype=float))
    axes[2].set(title="trained parameters × steps")
    _bars(axes[3], table["seconds"].to_numpy(dtype=float))
    axes[3].set(title="seconds of training")
    axes[0].set_yticks(places, [textwrap.fill(title, 28) for title in titles])
    axes[0].set_ylim(len(titles) - 0.5, -0.5)
    return signed(figure, f"line: interval, faint dots: single seeds · {note}", n=many(len(runs), "network"))


def addition(table: pd.DataFrame, note: str) -> Figure:
    """Draw F1 of each area before and after one more was added to a finished chain.

    Args:
        table: index levels ``area`` and ``model``; columns ``before`` (missing for the new area) and ``after``.
        note: of `style.note`.
    """
    areas = list(dict.fromkeys(table.index.get_level_values("area")))
    models = list(dict.fromkeys(table.index.get_level_values("model")))
    tints, marks = colours(models), markers(models)
    figure, ax = plt.subplots(figsize=(8.5, 1.0 + 0.5 * len(areas)))
    befores, afters = (
        table[name].unstack("model").reindex(index=areas, columns=models).to_numpy(float)
        for name in ("before", "after")
    )
    for row in range(len(areas)):
        for number, model in enumerate(models):
            before, after = float(befores[row, number]), float(afters[row, number])
            y = row + 0.6 * ((number + 0.5) / len(models) - 0.5)
            if np.isfinite(before):
                arrow = {"arrowstyle": "->", "color": tints[model], "shrinkA": 0, "shrinkB": 2}
                ax.annotate("", (after, y), (before, y), arrowprops=arrow)
            ax.plot(after, y, marks[model], color=tints[model], markersize=4)
    ax.set_yticks(range(len(areas)), [area_name(area) for area in areas])
    ax.set(xlim=(0, 1), ylim=(len(areas) - 0.5, -0.5), xlabel="F1 on the area's test patches")
    ax.grid(axis="x", color="0.9")
    handles = [
        Line2D([], [], color=tints[model], marker=marks[model], linestyle="", label=paper.MODELS[model])
        for model in models
    ]
    figure.legend(handles=handles, loc="outside right center")
    return signed(
        figure,
        f"arrow: from before to after the area of the last row was added · {note}",
        n=many(len(models), "chain"),
    )


def part_beside(table: pd.DataFrame, note: str) -> Figure:
    """Draw each model's F1 on LMHLD_part beside LMHLD_mix and LMHLD_single, ours and the published (paper Table 7).

    Args:
        table: index ``model``; columns ``part_f1``, ``mix_f1``, ``single_f1``, the same with ``published_``; those
            without any value are left out.
        note: of `style.note`.
    """
    panels = {"this book": "", "published": "published_"}
    filled = {name for name in table.columns if table[name].notna().any()}
    shown = {
        title: prefix for title, prefix in panels.items() if any(f"{prefix}{name}_f1" in filled for name in _DATASETS)
    } or {"this book": ""}  # fmt: skip
    figure, axes = plt.subplots(
        1, len(shown), figsize=(max(5.5, 5.2 * len(shown)), 3.6), sharey=True, squeeze=False
    )
    tints = dict(zip(_DATASETS, sns.color_palette("colorblind"), strict=False))
    marks = dict(zip(_DATASETS, cycle("osD"), strict=False))
    places = np.arange(len(table))
    drawn: set[str] = set()
    for ax, (title, prefix) in zip(axes[0], shown.items(), strict=True):
        for place in places[::2]:  # a band under every other model keeps its three marks together
            ax.axvspan(place - 0.5, place + 0.5, color="0.95", linewidth=0)
        for shift, name in zip((-0.22, 0, 0.22), _DATASETS, strict=True):
            if f"{prefix}{name}_f1" in filled:
                ax.plot(
                    places + shift, table[f"{prefix}{name}_f1"], marks[name], color=tints[name], markersize=6
                )
                drawn.add(name)
        ax.set_title(title)
        ax.set_xlim(-0.5, len(table) - 0.5)
        ax.set_xticks(places, [paper.MODELS[str(model)] for model in table.index], rotation=35, ha="right")
        ax.grid(axis="y", color="0.85")
        ax.set_axisbelow(True)
    axes[0, 0].set_ylabel("F1")
    handles = [
        Line2D([], [], color=tints[name], marker=marks[name], linestyle="", label=label)
        for name, label in _DATASETS.items()
        if name in drawn
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return signed(figure, note, n=many(len(table), "network"))


def _panels(count: int, panel: tuple[float, float], beside: float, below: float) -> tuple[Figure, list[Axes]]:
    """Return a figure of ``count`` panels, ``_ACROSS`` a row, and room beside and below all of them, in inches."""
    columns = min(_ACROSS, count)
    rows = -(-count // columns)
    size = (min(11.0, max(5.0, beside + (panel[0] + 0.3) * columns)), below + (panel[1] + 0.3) * rows)
    # Many small letters make large pictures: fewer dots on the page than elsewhere (files have their own number).
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, dpi=80)
    for ax in axes.flat[count:]:
        ax.set_axis_off()
    return figure, list(axes.flat[:count])


def _heat(
    ax: Axes, cells: np.ndarray, letters: np.ndarray, top: float, colormap: Colormap, fontsize: float
) -> None:
    """Draw cells from 0 to ``top`` with their letters, black or white by the fill; what is missing is grey."""
    ax.set_facecolor(_MISSING)
    sns.heatmap(cells, ax=ax, annot=letters, fmt="", vmin=0, vmax=top, cmap=colormap, cbar=False, linewidths=0.6,
                linecolor="0.8", annot_kws={"fontsize": fontsize})  # fmt: skip
    for text, value in zip(ax.texts, cells[~np.isnan(cells)], strict=True):
        # Relative luminance as WCAG has it: black and white letters are equally readable at 0.18.
        linear = np.array(to_rgb(colormap(value / top))) ** 2.2
        text.set_color("k" if linear @ (0.2126, 0.7152, 0.0722) > 0.18 else "w")
    ax.tick_params(length=0)


def _bars(ax: Axes, values: np.ndarray) -> None:
    """Draw a bar a strategy with its value; on a log scale where a plain one would hide the short bars."""
    places = np.arange(len(values))
    ax.barh(places, values, 0.6, color="0.75")
    positive = values[values > 0]
    if positive.size and positive.max() > 20 * positive.min():
        ax.set_xscale("log")
        ax.set_xlim(positive.min() / 3, positive.max() * 6)
        ax.set_xlabel("log scale")
    elif positive.size:
        ax.set_xlim(0, 1.3 * positive.max())
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    told = EngFormatter(sep="")
    for place, value in zip(places, values, strict=True):
        if value > 0:
            ax.annotate(told(float(f"{value:.3g}")), (value, place), (3, 0), textcoords="offset points", va="center",
                        fontsize=7.5)  # fmt: skip
