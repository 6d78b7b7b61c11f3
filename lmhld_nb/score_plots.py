"""Figures of trained networks: curves, scores, predictions; every function returns a matplotlib Figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from lmhld_nb import paper
from lmhld_nb.evaluation import Confusion, Threshold
from lmhld_nb.results import Example
from lmhld_nb.runs import Run
from lmhld_nb.style import FALSE_ALARM, HIT, MISS, area_name, colours, no_ticks, rgb, signed


def learning_curves(panels: Mapping[str, Sequence[Run]], dataset_note: str) -> Figure:
    """Draw validation F1 over epochs, one panel a group of runs, one colour a model; a dot is the epoch tested.

    Args:
        panels: runs by the title of their panel.
        dataset_note: of `style.note`.
    """
    columns = min(4, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(2.5 * columns + 1.5, 2.2 * rows + 0.5), squeeze=False, sharey=True
    )
    models = list(dict.fromkeys(run.spec.model for group in panels.values() for run in group))
    tints = colours(models)
    for ax, (title, group) in zip(axes.flat, panels.items(), strict=False):
        for run in group:
            tint = tints[run.spec.model]
            ax.plot(run.history["epoch"], run.history["val_f1"], color=tint, linewidth=1.2)
            ax.plot(run.metrics["best_epoch"], run.metrics["val_f1"], "o", color=tint, markersize=4)
        ax.set(title=title, ylim=(0, 1))
        ax.xaxis.get_major_locator().set_params(integer=True)
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
    for ax in axes[:, 0]:
        ax.set_ylabel("validation F1")
    for column in range(columns):
        axes[(len(panels) - 1 - column) // columns, column].set_xlabel("epoch")
    handles = [
        Line2D([], [], color=tints[model], marker="o", markersize=4, label=paper.MODELS[model])
        for model in models
    ]
    figure.legend(handles=handles, loc="outside right center")
    return signed(figure, dataset_note)


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
    size = (1.6 + (0.5 + 0.62 * len(models)) * len(scores), 0.36 * len(lines) + 1.6)
    figure, axes = plt.subplots(1, len(scores), figsize=size, sharey=True, squeeze=False)
    for ax, (column, title) in zip(axes[0], scores.items(), strict=True):
        cells = table[column].unstack("model").reindex(index=lines, columns=models)
        cells.index = [area_name(line) if rows == "area" else f"{line} px" for line in lines]
        cells.columns = [paper.MODELS[model] for model in models]
        sns.heatmap(
            cells, ax=ax, annot=True, fmt=".2f", vmin=0, vmax=1, cmap="viridis", cbar=False, linewidths=1,
            annot_kws={"fontsize": 7.5},
        )  # fmt: skip
        ax.set(title=title, xlabel="", ylabel="")
        ax.tick_params(length=0)
        ax.set_xticks(ax.get_xticks(), ax.get_xticklabels(), rotation=40, ha="right")
    axes[0, 0].tick_params(axis="y", labelrotation=0)
    return signed(figure, f"{name} · {dataset_note}")


def patch_size_scores(choice: pd.DataFrame, table: pd.DataFrame, dataset_note: str) -> Figure:
    """Draw each model's F1 over the whole area against patch size, and the mean that decides (paper Table 4).

    Args:
        choice: of `results.patch_size_choice`.
        table: of `results.table_4`.
        dataset_note: of `style.note`.
    """
    areas = list(dict.fromkeys(table.index.get_level_values("area")))
    columns = ["f1", "published_f1"] if table["published_f1"].notna().any() else ["f1"]
    figure, axes = plt.subplots(
        len(areas), len(columns), figsize=(1.6 + 3.4 * len(columns), 0.8 + 2.6 * len(areas)),
        squeeze=False, sharey=True,
    )  # fmt: skip
    models = list(dict.fromkeys(table.index.get_level_values("model")))
    tints = colours(models)
    for row, area in zip(axes, areas, strict=True):
        for ax, column in zip(row, columns, strict=True):
            cells = table.loc[area][column].unstack("model")
            mean = "mean_f1" if column == "f1" else "published_mean_f1"
            if cells.notna().any().any():
                places = range(len(cells))
                for model in cells:
                    ax.plot(places, cells[model], marker="o", markersize=3, linewidth=1, color=tints[model])
                ax.plot(places, choice.loc[area][mean], color="k", linewidth=2.5)
                ax.set_xticks(places, [f"{size} px" for size in cells.index])
            ax.set(title=f"{area_name(area)}: {'this book' if column == 'f1' else 'published'}", ylim=(0, 1))
        row[0].set_ylabel("F1, whole area")
    handles = [Line2D([], [], color=tints[model], marker="o", markersize=3, label=paper.MODELS[model])
               for model in models]  # fmt: skip
    handles.append(Line2D([], [], color="k", linewidth=2.5, label="mean"))
    figure.legend(handles=handles, loc="outside right center")
    return signed(figure, dataset_note)


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
    for size, tint in zip(sizes, tints, strict=True):
        row = table.loc[size]
        axes[1].plot(row["steps"], row["f1"], marker="o", markersize=4, color=tint, label=f"batch {size}")
    axes[1].set(xscale="log", xlabel="steps of SGD", ylabel="F1", title="the same scores over steps")
    axes[1].legend()
    return signed(figure, dataset_note)


def against_threshold(rules: Mapping[str, Threshold], f1: Mapping[str, float], dataset_note: str) -> Figure:
    """Draw the trained model's F1 beside the best single threshold's, area by area."""
    figure, ax = plt.subplots(figsize=(8, 3))
    places = np.arange(len(rules))
    ax.bar(
        places - 0.2,
        [rules[area].confusion.f1 for area in rules],
        0.38,
        color="0.7",
        label="best single threshold",
    )
    ax.bar(
        places + 0.2,
        [f1[area] for area in rules],
        0.38,
        color=[colours(list(rules))[area] for area in rules],
        label="best network",
    )
    for place, (area, rule) in zip(places, rules.items(), strict=True):
        ax.text(place - 0.2, rule.confusion.f1 + 0.01, rule.feature, ha="center", fontsize=7, color="0.3")
        ax.text(place + 0.2, f1[area] + 0.01, f"{f1[area]:.2f}", ha="center", fontsize=7)
    ax.set(ylim=(0, 1.05), ylabel="F1 on the test patches")
    ax.set_xticks(places, [area_name(area) for area in rules])
    figure.legend(loc="outside upper right", ncols=2)
    return signed(figure, f"threshold chosen on the test pixels themselves: its upper bound · {dataset_note}")


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


def predictions(shown: Sequence[Example], bands: Sequence[str], dataset_note: str) -> Figure:
    """Show image, each model's prediction as hits, false alarms and misses, and truth (paper Figs 10 and 11).

    Args:
        shown: of `results.examples`.
        bands: of the images.
        dataset_note: of `style.note`.
    """
    models = list(shown[0].predictions)
    figure, axes = plt.subplots(
        len(shown),
        len(models) + 2,
        figsize=(1.3 * (len(models) + 2), 1.42 * len(shown) + 0.6),
        squeeze=False,
    )
    for row, example in enumerate(shown):
        picture = rgb(example.image, bands)
        axes[row, 0].imshow(picture)
        axes[row, 0].set_ylabel(area_name(example.area), fontsize=8)
        for ax, model in zip(axes[row, 1:-1], models, strict=True):
            ax.imshow(errors(example.predictions[model], example.truth, picture))
            ax.set_title(
                f"F1 {Confusion.of(example.predictions[model], example.truth).f1:.2f}", fontsize=7, pad=2
            )
        axes[row, -1].imshow(example.truth, cmap="gray", vmin=0, vmax=1)
    for ax, title in zip(
        axes[0], ["image", *(paper.MODELS[model] for model in models), "truth"], strict=True
    ):
        ax.set_title(title + (f"\n{ax.get_title()}" if ax.get_title() else ""), fontsize=8)
    handles = [
        Patch(color=HIT, label="hit"),
        Patch(color=FALSE_ALARM, label="false alarm"),
        Patch(color=MISS, label="miss"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    no_ticks(*axes.flat)
    return signed(figure, dataset_note)
