"""Figures of what the paper does not ask; every function returns a matplotlib Figure."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullFormatter

from lmhld_nb import paper
from lmhld_nb.patches.patch_sets import PatchSet
from lmhld_nb.patches.splits import SPLITS
from lmhld_nb.plots.style import FALSE_ALARM, HIT, MISS, area_name, colours, many, markers, no_ticks, signed

TINTS = dict(zip(SPLITS, ("0.75", MISS, FALSE_ALARM), strict=True))


def score_intervals(table: pd.DataFrame, dataset_note: str) -> Figure:
    """Draw every F1 of tables 4 to 7 with its interval over patches, one group of networks a column.

    Args:
        table: of `interval_results.interval_table`.
        dataset_note: of `style.note`.
    """
    groups = list(dict.fromkeys(key[:3] for key in table.index))
    rows = [[g for g in groups if g[0] != 5], [g for g in groups if g[0] == 5]]
    rows = [row for row in rows if row]
    models = list(dict.fromkeys(table.index.get_level_values("model")))
    tints, marks = colours(models), markers(models)
    figure, axes = plt.subplots(
        len(rows), 1, figsize=(9.5, 0.8 + 2.5 * len(rows)), squeeze=False, sharey=True
    )
    for ax, row in zip(axes[:, 0], rows, strict=True):
        for place, group in enumerate(row):
            own = table[[key[:3] == group for key in table.index]].droplevel([0, 1, 2])
            for model, line in own.iterrows():
                x = place + 0.8 * (models.index(str(model)) + 0.5) / len(models) - 0.4
                _bar(ax, x, line["f1"], line["low"], line["high"], tints[str(model)], marks[str(model)])
                ax.plot(x, line["published_f1"], "_", color="k", markersize=7)
                if line["seeds"] > 1:
                    ax.plot(
                        [x] * 2,
                        [line["seeds_low"], line["seeds_high"]],
                        color="0.6",
                        linewidth=5,
                        alpha=0.5,
                        zorder=0,
                    )
            if place:
                ax.axvline(place - 0.5, color="0.85", linewidth=0.8)
        ax.set_xticks(range(len(row)), [_title(group) for group in row], fontsize=8)
        ax.set(ylim=(0, 1), xlim=(-0.5, len(row) - 0.5), ylabel="F1")
    handles = [
        Line2D([], [], color=tints[m], marker=marks[m], markersize=4, label=paper.MODELS[m]) for m in models
    ]
    handles.append(Line2D([], [], color="k", marker="_", linestyle="", markersize=7, label="published"))
    if (table["seeds"] > 1).any():
        handles.append(Line2D([], [], color="0.6", linewidth=5, alpha=0.5, label="over seeds"))
    figure.legend(handles=handles, loc="outside right center")
    return signed(
        figure,
        f"bars: 95 % interval, bootstrap over patches (Table 4: windows) · {dataset_note}",
        n=many(len(table), "score"),
    )


def _title(group: tuple[int, str, int]) -> str:
    table, area, size = group
    return f"Table {table}" if area == "all" else f"Table {table}\n{area_name(area)}\n{size} px"


def _bar(ax: Axes, x: float, value: float, low: float, high: float, tint: object, mark: str = "o") -> None:
    """Draw a value and, where there is one, its interval."""
    ax.plot(x, value, mark, color=tint, markersize=4)
    if np.isfinite([low, high]).all():
        ax.plot([x, x], [low, high], color=tint, linewidth=1.4)


def prevalence(table: pd.DataFrame, dataset_note: str) -> Figure:
    """Draw precision, recall and F1 against the share of landslide in what is tested.

    Args:
        table: of `beyond_results.prevalence_table`.
        dataset_note: of `style.note`.
    """
    figure, axes = plt.subplots(1, 3, figsize=(9.5, 3.4), sharey=True, sharex=True)
    tints = dict(
        zip(dict.fromkeys(table.index.get_level_values("training")), (HIT, FALSE_ALARM), strict=False)
    )
    low, high = 100 * table["prevalence"].min(), 100 * table["prevalence"].max()
    for ax, score in zip(axes, ("precision", "recall", "f1"), strict=True):
        for training, tint in tints.items():
            line = table.loc[training].sort_values("prevalence")
            x = 100 * line["prevalence"]
            ax.plot(x, line[score], color=tint, label=training)
            ax.fill_between(
                x, line[f"{score}_low"], line[f"{score}_high"], color=tint, alpha=0.15, linewidth=0
            )
            ax.plot(x.iloc[-1], line[score].iloc[-1], "o", color=tint)
            whole = line[line["natural"]]
            ax.plot(100 * whole["prevalence"], whole[score], "s", color=tint)
        ax.set(title="F1" if score == "f1" else score, xscale="log", xlabel="landslide in what is tested (%)")
        ax.set_xticks([tick for tick in (1, 2, 5, 10, 20, 50) if low <= tick <= high])
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_ylim(0, 1)
    marks = [
        Line2D([], [], color="0.4", marker="o", linestyle="", label="kept patches only, as Table 5"),
        Line2D([], [], color="0.4", marker="s", linestyle="", label="the area's own share, as Table 4"),
    ]
    handles = [*axes[0].get_legend_handles_labels()[0], *marks]
    figure.legend(handles=handles, loc="outside upper center", ncols=4)
    return signed(
        figure, f"bands: 95 % interval, bootstrap over patches · {dataset_note}", n=many(len(table), "score")
    )


def split_kinds(table: pd.DataFrame, parts: Mapping[str, PatchSet], dataset_note: str) -> Figure:
    """Draw how patches of the first scene are split, and the F1 that each kind of split gives.

    Args:
        table: of `beyond_results.split_table`.
        parts: a PatchSet of each kind of split.
        dataset_note: of `style.note`.
    """
    figure, axes = plt.subplots(1, len(parts) + 1, figsize=(3.1 * (len(parts) + 1), 3.2))
    scene = next(iter(parts.values())).index["scene"].iloc[0]
    for ax, (kind, part) in zip(axes, parts.items(), strict=False):
        index = part.index[part.index["scene"] == scene]
        side = part.spec.size
        grid = np.full((index["row"].max() // side + 1, index["col"].max() // side + 1), np.nan)
        for number, split in enumerate(SPLITS):
            own = index[index["split"] == split]
            grid[own["row"] // side, own["col"] // side] = number
        ax.imshow(grid, cmap=ListedColormap(list(TINTS.values())), vmin=0, vmax=2)
        ax.set_title(f"{kind}: {scene}")
        no_ticks(ax)
    names = list(parts)
    for place, kind in enumerate(names):
        own = table.loc[kind]
        for number, (_, line) in enumerate(own.iterrows()):
            x = place + 0.14 * (number - (len(own) - 1) / 2)
            _bar(axes[-1], x, line["f1"], line["low"], line["high"], "0.4")
        axes[-1].plot([place - 0.3, place + 0.3], [own["f1"].mean()] * 2, color=HIT, linewidth=2)
        told = f"{own['touching'].mean():.0%} touch\na training patch"
        axes[-1].text(place, 0.03, told, ha="center", va="bottom", fontsize=7.5)
    axes[-1].set_xticks(range(len(names)), names)
    axes[-1].set(
        xlim=(-0.5, len(names) - 0.5),
        ylim=(0, 1),
        ylabel="F1 on the test patches",
        title="one dot a seed, line: mean",
    )
    figure.legend(handles=[Patch(color=tint, label=split) for split, tint in TINTS.items()],
                  loc="outside upper center", ncols=3)  # fmt: skip
    return signed(
        figure,
        f"bars: 95 % interval, bootstrap over patches · {dataset_note}",
        n=many(len(table), "training"),
    )


def sizes(table: pd.DataFrame, dataset_note: str) -> Figure:
    """Draw F1 over the whole area against patch size, at equal pixels seen; the 10 % rule's choice is marked.

    Args:
        table: of `beyond_results.size_table`.
        dataset_note: of `style.note`.
    """
    found = list(dict.fromkeys(table.index.get_level_values("patch_size")))
    chosen = {size: bool(table.loc[size]["chosen"].iloc[0]) for size in found}
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.3), sharey=True)
    titles = {"f1": "whole area", "outside_f1": "outside the training patches"}
    for ax, (score, title) in zip(axes, titles.items(), strict=True):
        for place, size in enumerate(found):
            if chosen[size]:
                ax.axvspan(place - 0.4, place + 0.4, color="0.92")
            own = table.loc[size]
            for number, (_, line) in enumerate(own.iterrows()):
                x = place + 0.16 * (number - (len(own) - 1) / 2)
                low, high = (line["low"], line["high"]) if score == "f1" else (np.nan, np.nan)
                _bar(ax, x, line[score], low, high, "0.4")
        ax.plot(range(len(found)), [table.loc[size][score].mean() for size in found], color=HIT, linewidth=2)
        ax.set_xticks(range(len(found)), [f"{size} px" for size in found])
        ax.set(title=title, ylim=(0, 1))
    axes[0].set_ylabel("F1")
    handles = [
        Line2D([], [], color="0.4", marker="o", markersize=4, label="one seed, 95 % over windows"),
        Line2D([], [], color=HIT, linewidth=2, label="mean"),
        Patch(color="0.92", label="the 10 % rule's choice"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return signed(figure, dataset_note, n=many(len(table), "training"))


def switches(table: pd.DataFrame, dataset_note: str) -> Figure:
    """Draw what each open point does to F1 when it alone is decided otherwise.

    Args:
        table: of `beyond_results.switch_table`.
        dataset_note: of `style.note`.
    """
    figure, ax = plt.subplots(figsize=(7.5, 1.2 + 0.45 * len(table)))
    for place, (_, line) in enumerate(table.iterrows()):
        ax.plot([line["seeds_low"], line["seeds_high"]], [place] * 2, color="0.75", linewidth=5)
        ax.plot([line["low"], line["high"]], [place] * 2, color=HIT, linewidth=2)
        ax.plot(line["effect"], place, "o", color="k", markersize=5)
    ax.axvline(0, color="0.4", linewidth=0.8)
    ax.set_yticks(range(len(table)), list(table.index))
    ax.invert_yaxis()
    ax.set(xlabel="F1 with the change less F1 without", ylim=(len(table) - 0.5, -0.5))
    handles = [
        Line2D([], [], color="k", marker="o", linestyle="", markersize=5, label="mean over seeds"),
        Line2D([], [], color="0.75", linewidth=5, label="95 % over seeds (Student's t)"),
        Line2D([], [], color=HIT, linewidth=2, label="95 % over patches (bootstrap)"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return signed(figure, dataset_note, n=many(len(table), "open point"))
