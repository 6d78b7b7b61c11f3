"""Figures of trained networks: curves, scores, predictions; every function returns a matplotlib Figure."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from lmhld_nb import models
from lmhld_nb.evaluation import Confusion, intervals
from lmhld_nb.experiments.examples import Example
from lmhld_nb.plots import style
from lmhld_nb.runs import Run


def learning_curves(panels: Mapping[str, Sequence[Run]]) -> Figure:
    """Draw validation F1 over epochs, one panel per group of runs; marks show the tested epochs."""
    drawn: dict[str, Line2D] = {}
    figure, axes, left, bottom = style.grid(len(panels), (2.5, 2.2), (1.5, 0.5), narrowest=6.5, sharey=True)
    for ax, (title, runs) in zip(axes, panels.items(), strict=True):
        for run in runs:
            network = models.network(run.spec.model)
            look: dict[str, Any] = {"color": network.colour, "marker": network.marker, "label": network.title}
            curve, tested = run.history.set_index("epoch")["val_f1"], run.metrics["best_epoch"]
            ax.plot(curve.index, curve, color=network.colour, linewidth=1.2)
            (drawn[network.title],) = ax.plot(tested, curve[tested], markersize=5, **look)
        ax.set(title=title, ylim=(0, 1))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    plt.setp(left, ylabel="validation F1")
    plt.setp(bottom, xlabel="epoch")
    figure.legend(handles=list(drawn.values()), loc="outside right center")
    trainings = [run for runs in panels.values() for run in runs]
    seeds = ", ".join(map(str, sorted({run.spec.seed for run in trainings})))
    return style.counted(figure, style.format_count(len(trainings), "training"), f"seeds: {seeds}")


def score_heatmap(table: pd.DataFrame, scores: Mapping[str, str], rows: str) -> Figure:
    """Draw ``scores`` (columns with titles, if any) as heat maps of rows (``area`` or ``patch_size``) × networks."""
    scores = {column: title for column, title in scores.items() if table[column].notna().any()}
    is_few = (table["patches"] < intervals.LEAST).unstack("model")
    names, lines = list(table.index.unique("model")), list(table.index.unique(rows))
    # Side by side if the page is wide enough, else one above the other.
    across = len(scores) if len(scores) * len(names) <= 14 else 1
    panel = (0.5 + 0.62 * len(names), 0.36 * len(lines) + 0.45)
    figure, axes, left, bottom = style.grid(len(scores), panel, (1.6, 1.2), across, 5.5, sharey=True, sharex=True)
    for ax, (column, title) in zip(axes, scores.items(), strict=True):
        cells = table[column].unstack("model").reindex(index=lines, columns=names)
        lines_of = cells.T if rows == "area" else cells  # one alone is not the best
        bold = lines_of.eq(lines_of.max().where(lines_of.notna().sum() > 1)).to_numpy()
        bold = bold.T if rows == "area" else bold
        # Published scores are based on the paper's own test patches.
        marked = None if column.startswith("published") else is_few.reindex_like(cells).to_numpy()
        style.heatmap(ax, cells.to_numpy(float), bold=bold, marked=marked)
        ax.set_title(title)
    for ax in left:
        style.name_cells(ax, rows=[style.area_name(line) if rows == "area" else f"{line} px" for line in lines])
    for ax in bottom:
        style.name_cells(ax, columns=list(map(style.network_title, names)), rotation=40, ha="right")
    explanation = f"F1, bold: {'the best of a row' if rows == 'area' else 'the best size of each network'}"
    if is_few.any(axis=None):
        explanation += f"; *: fewer than {intervals.LEAST} test patches"
    explanation += f"; {style.by_network(table, 'seeds')}"
    return style.counted(figure, f"{style.format_count(len(table), 'score')} a panel at most", explanation)


def left_out(table: pd.DataFrame) -> Figure:
    """Draw F1 in each area of networks trained without it (`leave_one_out.left_out_table`) and with it."""
    figure, ax = plt.subplots(figsize=(8.4, 3.5))
    x, f1, spread = np.arange(len(table)), table["f1"], table["f1_sd"]
    ax.vlines(x, f1 - spread, f1 + spread, zorder=0, color="0.6", linewidth=5, alpha=0.5)
    ax.vlines(x, table["f1_low"], table["f1_high"], color=style.FALSE_ALARM, linewidth=1.4)
    ax.plot(x, f1, "o", color=style.FALSE_ALARM, markersize=4, label="all other areas learnt")
    for name, label, marker, shift in (("single_f1", "learnt alone", "s", 0.15), ("mix_f1", "LMHLD_mix", "D", 0.28)):
        ax.plot(x + shift, table[name], marker, color="0.4", markersize=4, label=label)
    ax.set_xticks(x, [style.area_name(str(area)) for area in table.index], fontsize=8)
    ax.set(ylim=(0, 1), xlim=(-0.5, len(table) - 0.5), ylabel="F1 on the area's test patches")
    figure.legend(loc="outside upper center", ncols=3)
    bars = "diamonds: on the patches of LMHLD_mix; thin bars: 95 % interval, bootstrap over blocks of patches"
    bars += "; broad bars: ± standard deviation over seeds" * bool(spread.notna().any())
    return style.counted(figure, style.format_count(int(table["seeds"].max()), "seed") + " at most", bars)


def errors(predicted: np.ndarray, truth: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Colour hits, false alarms and misses on a grey picture (rows, cols, 3)."""
    picture = np.repeat(background.mean(axis=2, keepdims=True) * 0.6 + 0.4, 3, axis=2)
    picture[predicted & truth] = to_rgb(style.HIT)
    picture[predicted & ~truth] = to_rgb(style.FALSE_ALARM)
    picture[~predicted & truth] = to_rgb(style.MISS)
    return picture


def predictions(examples: Sequence[Example], bands: Sequence[str]) -> Figure:
    """Show image, each network's prediction as hits, false alarms and misses, and truth (paper Figs 10 and 11)."""
    names = list(dict.fromkeys(model for example in examples for model in example.predictions))
    columns = ["image", *map(style.network_title, names), "truth"]
    size = (1.3 * len(columns), 1.42 * len(examples) + 0.6)
    figure, axes = plt.subplots(len(examples), len(columns), figsize=size, squeeze=False)
    for row, example in zip(axes, examples, strict=True):
        picture = style.rgb(example.image, bands)
        row[0].imshow(picture)
        row[0].set_ylabel(f"{style.area_name(example.area)}\n{len(example.truth)} px", fontsize=8)
        for ax, model in zip(row[1:-1], names, strict=True):
            predicted = example.predictions.get(model)
            if predicted is None:
                ax.set_facecolor(style.MISSING)
                continue
            ax.imshow(errors(predicted, example.truth, picture))
            ax.set_title(f"F1 {Confusion.of(predicted, example.truth).f1:.2f}", fontsize=7, pad=2)
        row[-1].imshow(example.truth, cmap="gray", vmin=0, vmax=1)
    for ax, title in zip(axes[0], columns, strict=True):
        ax.set_title(f"{title}\n{ax.get_title()}".strip(), fontsize=8)
    kinds = {"hit": style.HIT, "false alarm": style.FALSE_ALARM, "miss": style.MISS}  # as coloured by `errors`
    handles = [Patch(color=colour, label=kind) for kind, colour in kinds.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    style.no_ticks(*axes.flat)
    return style.counted(figure, style.format_count(len(examples), "test patch"), "F1: of one patch, first seed")
