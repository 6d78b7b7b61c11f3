"""Figures of trained networks: curves, scores, predictions; every function returns a matplotlib Figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from lmhld_nb import paper
from lmhld_nb.evaluation.counts import Confusion, Threshold
from lmhld_nb.experiments.results import Example
from lmhld_nb.plots.style import (
    FALSE_ALARM,
    HIT,
    MISS,
    area_name,
    colours,
    many,
    markers,
    no_ticks,
    rgb,
    signed,
)
from lmhld_nb.runs.store import Run


def learning_curves(panels: Mapping[str, Sequence[Run]], dataset_note: str) -> Figure:
    """Draw validation F1 over epochs, one panel a group of runs, one colour a model; its mark is the epoch tested.

    Args:
        panels: runs by the title of their panel.
        dataset_note: of `style.note`.
    """
    columns = min(4, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(max(6.5, 2.5 * columns + 1.5), 2.2 * rows + 0.5), squeeze=False, sharey=True
    )
    models = list(dict.fromkeys(run.spec.model for group in panels.values() for run in group))
    tints, marks = colours(models), markers(models)
    for ax, (title, group) in zip(axes.flat, panels.items(), strict=False):
        for run in group:
            tint = tints[run.spec.model]
            ax.plot(run.history["epoch"], run.history["val_f1"], color=tint, linewidth=1.2)
            mark = marks[run.spec.model]
            ax.plot(run.metrics["best_epoch"], run.metrics["val_f1"], mark, color=tint, markersize=5)
        ax.set(title=title, ylim=(0, 1))
        ax.xaxis.get_major_locator().set_params(integer=True)
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
    for ax in axes[:, 0]:
        ax.set_ylabel("validation F1")
    for column in range(columns):
        axes[(len(panels) - 1 - column) // columns, column].set_xlabel("epoch")
    handles = [
        Line2D([], [], color=tints[model], marker=marks[model], markersize=5, label=paper.MODELS[model])
        for model in models
    ]
    figure.legend(handles=handles, loc="outside right center")
    return signed(figure, dataset_note, n=many(sum(map(len, panels.values())), "training"))


def score_heatmap(
    table: pd.DataFrame, scores: Mapping[str, str], rows: str, dataset_note: str, name: str = "F1"
) -> Figure:
    """Draw scores as heat maps of rows × models, side by side.

    Args:
        table: of `results`, with index levels ``rows`` and ``model``.
        scores: columns to draw and their titles; those without any value are left out.
        rows: ``area`` or ``patch_size``.
        dataset_note: of `style.note`.
        name: of the score, for the line below.
    """
    scores = {column: title for column, title in scores.items() if table[column].notna().any()}
    models = list(dict.fromkeys(table.index.get_level_values("model")))
    lines = list(dict.fromkeys(table.index.get_level_values(rows)))
    # Side by side as long as a page is wide enough, else one above the other.
    across = len(scores) * len(models) <= 14
    panels = (1, len(scores)) if across else (len(scores), 1)
    width, height = 0.5 + 0.62 * len(models), 0.36 * len(lines)
    figure, axes = plt.subplots(
        *panels, figsize=(max(5.5, 1.6 + width * panels[1]), 1.2 + (height + 0.45) * panels[0]),
        sharey=True, sharex=True, squeeze=False,
    )  # fmt: skip
    for ax, (column, title) in zip(axes.flat, scores.items(), strict=True):
        cells = table[column].unstack("model").reindex(index=lines, columns=models)
        _heatmap(ax, cells, best_of="model" if rows == "patch_size" else "row")
        ax.set_title(title)
        ax.set_yticks(
            np.arange(len(lines)) + 0.5,
            [area_name(line) if rows == "area" else f"{line} px" for line in lines],
            rotation=0,
        )
    for ax in axes[-1]:
        names = [paper.MODELS[model] for model in models]
        ax.set_xticks(np.arange(len(models)) + 0.5, names, rotation=40, ha="right")
    bold = "the best size of each network" if rows == "patch_size" else "the best of a row"
    return signed(
        figure, f"{name}, bold: {bold} · {dataset_note}", n=f"{many(len(table), 'score')} a panel at most"
    )


def _heatmap(ax: Axes, cells: pd.DataFrame, best_of: Literal["row", "model"]) -> None:
    """Draw scores from 0 to 1; the best of each row, or of each model, is bold; what is missing is grey."""
    ax.set_facecolor("0.93")
    sns.heatmap(cells, ax=ax, annot=True, fmt=".2f", vmin=0, vmax=1, cmap="viridis", cbar=False, linewidths=1,
                annot_kws={"fontsize": 7.5})  # fmt: skip
    ax.set(xlabel="", ylabel="")
    ax.tick_params(length=0)
    best = cells.eq(cells.max(axis=1), axis=0) if best_of == "row" else cells.eq(cells.max(axis=0), axis=1)
    best = best.to_numpy()[cells.notna().to_numpy()]
    values = cells.to_numpy()[cells.notna().to_numpy()]
    for text, value, wins in zip(ax.texts, values, best, strict=True):
        text.set(color="k" if value > 0.5 else "w", fontweight="bold" if wins else "normal")


def patch_size_scores(choice: pd.DataFrame, table: pd.DataFrame, dataset_note: str) -> Figure:
    """Draw each model's F1 over the whole area against patch size, and the mean that decides (paper Table 4).

    Args:
        choice: of `results.patch_size_choice`.
        table: of `results.table_4`.
        dataset_note: of `style.note`.
    """
    areas = list(dict.fromkeys(table.index.get_level_values("area")))
    titles = {"f1": "this book", "outside_f1": "outside the training patches", "published_f1": "published"}
    readings = {column: title for column, title in titles.items() if table[column].notna().any()}
    figure, axes = plt.subplots(
        len(areas), len(readings), figsize=(1.6 + 2.9 * len(readings), 0.8 + 2.6 * len(areas)),
        squeeze=False, sharey=True,
    )  # fmt: skip
    models = list(dict.fromkeys(table.index.get_level_values("model")))
    tints, marks = colours(models), markers(models)
    for row, area in zip(axes, areas, strict=True):
        for ax, (column, title) in zip(row, readings.items(), strict=True):
            cells = table.loc[area][column].unstack("model")
            if cells.notna().any().any():
                places = range(len(cells))
                for model in cells:
                    ax.plot(
                        places,
                        cells[model],
                        marker=marks[model],
                        markersize=4,
                        linewidth=1,
                        color=tints[model],
                    )
                ax.plot(places, choice.loc[area][column.replace("f1", "mean_f1")], color="k", linewidth=2.5)
                ax.set_xticks(places, [f"{size} px" for size in cells.index])
            ax.set(title=f"{area_name(area)}: {title}", ylim=(0.2, 0.9))
        row[0].set_ylabel("F1, whole area")
    handles = [
        Line2D([], [], color=tints[model], marker=marks[model], markersize=4, label=paper.MODELS[model])
        for model in models
    ]
    handles.append(Line2D([], [], color="k", linewidth=2.5, label="mean"))
    figure.legend(handles=handles, loc="outside right center")
    return signed(figure, dataset_note, n=f"{many(len(models), 'network')} a size")


def recipe_heatmap(table: pd.DataFrame, dataset_note: str) -> Figure:
    """Draw test F1 by batch size and epochs, and the steps of SGD behind it (paper section 3.3).

    Args:
        table: of `results.recipe_table`.
        dataset_note: of `style.note`.
    """
    f1 = table["f1"].unstack("epochs")
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.2))
    sns.heatmap(f1, ax=axes[0], annot=True, fmt=".3f", cmap="viridis", cbar=False, linewidths=1)
    axes[0].set(title="F1 on the test patches", xlabel="epochs", ylabel="batch size")
    axes[0].tick_params(length=0)
    sizes = list(f1.index)
    tints = sns.color_palette("viridis", len(sizes))
    for size, tint, mark in zip(sizes, tints, cycle("osD^vPX"), strict=False):
        row = table.loc[size]
        axes[1].plot(row["steps"], row["f1"], marker=mark, markersize=5, color=tint, label=f"batch {size}")
    axes[1].set(xscale="log", xlabel="steps of SGD", ylabel="F1", title="the same scores over steps")
    axes[1].legend()
    return signed(figure, dataset_note, n=many(len(table), "score"))


def against_threshold(rules: Mapping[str, Threshold], f1: pd.Series, dataset_note: str) -> Figure:
    """Draw the best network's F1 beside the best single threshold's, area by area.

    Args:
        rules: best threshold of each area.
        f1: of networks, index (area, model).
        dataset_note: of `style.note`.
    """
    figure, ax = plt.subplots(figsize=(9, 3.2))
    places = np.arange(len(rules))
    best = {area: f1.loc[area].max() for area in rules}
    names = {area: paper.MODELS[f1.loc[area].idxmax()] for area in rules}
    limits = [rule.confusion.f1 for rule in rules.values()]
    ax.bar(places - 0.2, limits, 0.38, color="0.75", label="best single threshold")
    ax.bar(places + 0.2, list(best.values()), 0.38, color=HIT, label="best network")
    for place, (area, rule) in zip(places, rules.items(), strict=True):
        ax.text(place - 0.2, 0.02, f"{rule.feature} {rule.confusion.f1:.2f}", ha="center", va="bottom", rotation=90,
                fontsize=7.5)  # fmt: skip
        ax.text(place + 0.2, 0.02, f"{names[area]} {best[area]:.2f}", ha="center", va="bottom", rotation=90,
                fontsize=7.5)  # fmt: skip
    ax.set(ylim=(0, 1), ylabel="F1 on the test patches")
    ax.set_xticks(places, [area_name(area) for area in rules])
    figure.legend(loc="outside upper right", ncols=2)
    return signed(
        figure,
        f"both are the best on the test pixels themselves: upper bounds · {dataset_note}",
        n=many(len(f1), "network"),
    )


def errors(predicted: np.ndarray, truth: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Colour hits, false alarms and misses over a grey (rows, cols, 3) picture."""
    picture = np.repeat(background.mean(axis=2, keepdims=True) * 0.6 + 0.4, 3, axis=2)
    for cells, tint in (
        (predicted & truth, HIT),
        (predicted & ~truth, FALSE_ALARM),
        (~predicted & truth, MISS),
    ):
        picture[cells] = np.array([int(tint[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return picture


def errors_legend(figure: Figure) -> None:
    """Say over a figure what the colours of `errors` mean."""
    kinds = ((HIT, "hit"), (FALSE_ALARM, "false alarm"), (MISS, "miss"))
    handles = [Patch(color=tint, label=kind) for tint, kind in kinds]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)


def predictions(shown: Sequence[Example], bands: Sequence[str], dataset_note: str) -> Figure:
    """Show image, each model's prediction as hits, false alarms and misses, and truth (paper Figs 10 and 11).

    Args:
        shown: of `results.examples`.
        bands: of the images.
        dataset_note: of `style.note`.
    """
    models = list(dict.fromkeys(model for example in shown for model in example.predictions))
    figure, axes = plt.subplots(
        len(shown),
        len(models) + 2,
        figsize=(1.3 * (len(models) + 2), 1.42 * len(shown) + 0.6),
        squeeze=False,
    )
    for row, example in enumerate(shown):
        picture = rgb(example.image, bands)
        axes[row, 0].imshow(picture)
        axes[row, 0].set_ylabel(f"{area_name(example.area)}\n{len(example.truth)} px", fontsize=8)
        for ax, model in zip(axes[row, 1:-1], models, strict=True):
            if model not in example.predictions:
                ax.set_facecolor("0.93")
                continue
            ax.imshow(errors(example.predictions[model], example.truth, picture))
            ax.set_title(
                f"F1 {Confusion.of(example.predictions[model], example.truth).f1:.2f}", fontsize=7, pad=2
            )
        axes[row, -1].imshow(example.truth, cmap="gray", vmin=0, vmax=1)
    for ax, title in zip(
        axes[0], ["image", *(paper.MODELS[model] for model in models), "truth"], strict=True
    ):
        ax.set_title(title + (f"\n{ax.get_title()}" if ax.get_title() else ""), fontsize=8)
    errors_legend(figure)
    no_ticks(*axes.flat)
    return signed(figure, dataset_note, n=many(len(shown), "test patch"))
