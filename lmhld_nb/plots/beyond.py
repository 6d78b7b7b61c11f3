"""Figures of what the paper does not ask; every function returns a matplotlib Figure."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullFormatter

from lmhld_nb.evaluation import METRICS
from lmhld_nb.patches import PatchSet
from lmhld_nb.patches.splits import SPLITS
from lmhld_nb.plots import style

_SPLIT_COLOURS = dict(zip(SPLITS, ("0.75", style.MISS, style.FALSE_ALARM), strict=True))
_SEED_RANGE: dict[str, Any] = {"color": "0.6", "linewidth": 5, "alpha": 0.5}
_OVER_PATCHES = "95 % interval, bootstrap over blocks of patches"
_BROAD = "broad bars: ± standard deviation over seeds"


def _interval(ax: Axes, x: float, value: float, low: float, high: float, **look: Any) -> None:
    look = {"color": "0.4", "marker": "o", **look}
    ax.plot(x, value, **look, markersize=4)
    if np.isfinite([low, high]).all():
        ax.plot([x, x], [low, high], color=look["color"], linewidth=1.4)


def prevalence(table: pd.DataFrame) -> Figure:
    """Draw every metric against the share of landslide in what is tested (`beyond_tables.prevalence_table`)."""
    metrics = [metric for metric in METRICS.values() if metric.name in table]
    shared: dict[str, Any] = {"squeeze": False, "sharey": True, "sharex": True}
    figure, axes = plt.subplots(1, len(metrics), figsize=(0.5 + 3 * len(metrics), 3.4), **shared)
    colours = dict(zip(list(table.index.unique("training")), (style.HIT, style.FALSE_ALARM), strict=False))
    low, high = 100 * table["prevalence"].min(), 100 * table["prevalence"].max()
    for ax, metric in zip(axes[0], metrics, strict=True):
        for training, colour in colours.items():
            line = table.loc[training].sort_values("prevalence")
            x, y = 100 * line["prevalence"], line[metric.name]
            lower, upper = line[f"{metric.name}_low"], line[f"{metric.name}_high"]
            ax.plot(x, y, color=colour, label=training)
            ax.fill_between(x, lower, upper, color=colour, alpha=0.15, linewidth=0)
            ax.plot(x.iloc[-1], y.iloc[-1], "o", color=colour)
            ax.plot(x[line["natural"]], y[line["natural"]], "s", color=colour)
        ax.set(title=metric.title, xscale="log", xlabel="landslide in what is tested (%)", ylim=(0, 1))
        ax.set_xticks([tick for tick in (1, 2, 5, 10, 20, 50) if low <= tick <= high])
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_formatter(NullFormatter())
    labels = {"o": "kept patches only, as Table 5", "s": "the area's own share, as Table 4"}
    handles = [Line2D([], [], color="0.4", marker=m, linestyle="", label=label) for m, label in labels.items()]
    handles = [*axes[0, 0].get_legend_handles_labels()[0], *handles]
    figure.legend(handles=handles, loc="outside upper center", ncols=4)
    return style.counted(figure, style.format_count(len(table), "score"), f"bands: {_OVER_PATCHES}")


def split_kinds(table: pd.DataFrame, patch_sets: Mapping[str, PatchSet]) -> Figure:
    """Draw how patches of the first scene are split, and F1 by kind of split (`beyond_tables.split_table`)."""
    figure, axes = plt.subplots(1, len(patch_sets) + 1, figsize=(3.1 * (len(patch_sets) + 1), 3.2))
    scene = next(iter(patch_sets.values())).index["scene"].iloc[0]
    for ax, (kind, patch_set) in zip(axes, patch_sets.items(), strict=False):
        index, side = patch_set.index[patch_set.index["scene"] == scene], patch_set.spec.size
        cells = np.full((index["row"].max() // side + 1, index["col"].max() // side + 1), np.nan)
        cells[index["row"] // side, index["col"] // side] = index["split"].map(dict(zip(SPLITS, range(3), strict=True)))
        ax.imshow(cells, cmap=ListedColormap(list(_SPLIT_COLOURS.values())), vmin=0, vmax=len(SPLITS) - 1)
        ax.set_title(f"{kind}: {scene}")
        style.no_ticks(ax)
    ax = axes[-1]
    for column, kind in enumerate(patch_sets):
        runs = table.loc[kind]
        _seeds(ax, column, runs, "f1", 0.14)
        ax.plot([column - 0.3, column + 0.3], [runs["f1"].mean()] * 2, color=style.HIT, linewidth=2)
        touching = f"{runs['touching'].mean():.0%} touch\na training patch"
        ax.text(column, 0.03, touching, ha="center", va="bottom", fontsize=7.5)
    ax.set_xticks(range(len(patch_sets)), list(patch_sets))
    ax.set(xlim=(-0.5, len(patch_sets) - 0.5), ylim=(0, 1), ylabel="F1 on the test patches")
    ax.set_title("one dot per seed, line: mean")
    handles = [Patch(color=colour, label=split) for split, colour in _SPLIT_COLOURS.items()]
    handles.append(Patch(facecolor="w", edgecolor="0.6", label="not used"))
    figure.legend(handles=handles, loc="outside upper center", ncols=4)
    return style.counted(figure, style.format_count(len(table), "training"), f"bars: {_OVER_PATCHES}")


def _seeds(ax: Axes, column: int, runs: Any, score: str, step: float) -> None:
    for number, (_, run) in enumerate(runs.iterrows()):
        x = column + step * (number - (len(runs) - 1) / 2)
        _interval(ax, x, run[score], run[f"{score}_low"], run[f"{score}_high"])


def _mean(ax: Axes, x: float, row: Any, **look: Any) -> None:
    """Draw the mean F1 of seeds with its interval over patches and its standard deviation over seeds."""
    _interval(ax, x, row["f1"], row["f1_low"], row["f1_high"], **look)
    ax.plot([x] * 2, [row["f1"] - row["f1_sd"], row["f1"] + row["f1_sd"]], zorder=0, **_SEED_RANGE)


def sizes(table: pd.DataFrame) -> Figure:
    """Draw F1 over the whole area against patch size (`beyond_tables.size_table`); the 10 % rule's choice is marked."""
    figure, ax = plt.subplots(figsize=(6.4, 3.3))
    for column, (_, row) in enumerate(table.iterrows()):
        if row["chosen"]:
            ax.axvspan(column - 0.4, column + 0.4, color="0.92", zorder=-1)
        _mean(ax, column, row)
    ax.plot(range(len(table)), table["f1"], color=style.HIT, label="whole area", zorder=0)
    outside: dict[str, Any] = {"color": style.MISS, "linestyle": ":", "label": "outside the training patches"}
    ax.plot(range(len(table)), table["outside_f1"], **outside)
    ax.set_xticks(range(len(table)), [f"{size} px" for size in table.index])
    ax.set(ylabel="F1", ylim=(0, 1), xlim=(-0.5, len(table) - 0.5))
    handles = [*ax.get_legend_handles_labels()[0], Patch(color="0.92", label="the 10 % rule's choice")]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return style.counted(figure, _seeds_of(table), f"thin bars: {_OVER_PATCHES}; {_BROAD}")


def left_out(table: pd.DataFrame) -> Figure:
    """Draw F1 in each area of networks that have not learnt it (`leave_one_out.left_out_table`) and that have."""
    figure, ax = plt.subplots(figsize=(8.4, 3.5))
    for column, (_, row) in enumerate(table.iterrows()):
        _mean(ax, column, row, color=style.FALSE_ALARM)
    for name, label, marker, shift in (("single_f1", "learnt alone", "s", 0.15), ("mix_f1", "LMHLD_mix", "D", 0.28)):
        ax.plot(np.arange(len(table)) + shift, table[name], marker, color="0.4", markersize=4, label=label)
    ax.set_xticks(range(len(table)), [style.area_name(str(area)) for area in table.index], fontsize=8)
    ax.set(ylim=(0, 1), xlim=(-0.5, len(table) - 0.5), ylabel="F1 on the area's test patches")
    own = Line2D([], [], color=style.FALSE_ALARM, marker="o", label="all other areas learnt")
    figure.legend(handles=[own, *ax.get_legend_handles_labels()[0]], loc="outside upper center", ncols=3)
    return style.counted(figure, _seeds_of(table), f"thin bars: {_OVER_PATCHES}; {_BROAD}")


def _seeds_of(table: pd.DataFrame) -> str:
    least, most = int(table["seeds"].min()), int(table["seeds"].max())
    return style.format_count(most, "seed") if least == most else f"{least} to {most} seeds"


def switches(table: pd.DataFrame) -> Figure:
    """Draw what each open point does to F1 when it alone is decided otherwise (`beyond_tables.switch_table`)."""
    figure, ax = plt.subplots(figsize=(7.5, 1.2 + 0.45 * len(table)))
    y, effect, spread = range(len(table)), table["effect"], table["effect_sd"]
    ax.plot(effect, y, "o", color="k", markersize=5, zorder=3, label="mean over seeds")
    ax.hlines(y, effect - spread, effect + spread, zorder=1, label="± standard deviation over seeds", **_SEED_RANGE)
    ax.hlines(y, table["low"], table["high"], color=style.HIT, linewidth=2, label="95 % over patches (bootstrap)")
    ax.axvline(0, color="0.4", linewidth=0.8)
    ax.set_yticks(y, list(table.index))
    ax.set(xlabel="F1 with the change minus F1 without", ylim=(len(table) - 0.5, -0.5))
    figure.legend(loc="outside upper center", ncols=3)
    return style.counted(figure, style.format_count(len(table), "open point"), _seeds_of(table))
