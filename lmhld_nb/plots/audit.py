"""Figures of the audit; every function returns a matplotlib Figure."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lmhld_nb import audit, paper
from lmhld_nb.audit.rules import SCORE_NAMES
from lmhld_nb.plots.style import FALSE_ALARM, HIT, MISS, colours, many, markers, signed

# From the colour-blind palette; hatched as well, so that the figure reads without colour.
_TINTS = {"holds": HIT, "rounding": MISS, "contradicted": FALSE_ALARM, "cannot be checked": "0.8"}
_HATCHES = {"holds": "", "rounding": "//", "contradicted": "xx", "cannot be checked": ".."}
_LIMIT = 4.0  # units of the last digit; what lies further out is written at the edge


def verdicts(table: pd.DataFrame, note: str) -> Figure:
    """Draw how many statements of each part of the paper got which verdict.

    Args:
        table: of `audit.table`.
        note: line under the figure.
    """
    counts = pd.crosstab(table["place"], table["verdict"]).reindex(
        index=list(dict.fromkeys(table["place"])), columns=list(audit.VERDICTS), fill_value=0
    )
    figure, ax = plt.subplots(figsize=(7.5, 1.2 + 0.25 * len(counts)))
    left = np.zeros(len(counts))
    for verdict, values in counts.items():
        ax.barh(
            counts.index, values, left=left, label=verdict, color=_TINTS[str(verdict)],
            hatch=_HATCHES[str(verdict)], edgecolor="white", height=0.75,
        )  # fmt: skip
        left = left + values.to_numpy()
    ax.set_ylim(len(counts) - 0.4, -0.6)
    ax.set_xlabel("statements, each reading of one counted")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.tick_params(axis="y", length=0)
    ax.legend(loc="lower right")
    return signed(figure, note, n=many(len(table), "reading"))


def f1_differences(rows: pd.DataFrame, note: str) -> Figure:
    """Draw printed F1 less 2PR / (P + R) for every row of Tables 4 to 7, with what rounding allows.

    Args:
        rows: rows of `audit.f1_rows` with a column ``table``, in the order to be drawn.
        note: line under the figure.
    """
    figure, ax = plt.subplots(figsize=(10, 3.6))
    units = rows[["difference", "low", "high"]].to_numpy() * 1e4
    places = np.arange(len(rows)) + 4 * (rows["table"] - rows["table"].min()).to_numpy()
    ax.vlines(places, units[:, 1], units[:, 2], color="0.85", linewidth=5, label="within the tolerance")
    ax.axhline(0, color="0.6", linewidth=0.8)
    tints, marks = colours(list(paper.MODELS)), markers(list(paper.MODELS))
    shown = np.clip(units[:, 0], -_LIMIT, _LIMIT)
    for key, model in paper.MODELS.items():
        of_model = (rows["model"] == model).to_numpy()
        ax.plot(places[of_model], shown[of_model], marks[key], color=tints[key], markersize=5, label=model)
    for place, value, edge, model in zip(places, units[:, 0], shown, rows["model"], strict=True):
        if value != edge:
            told = f"{model} {'+' if value > 0 else '−'}{abs(value):.1f}"
            ax.annotate(told, (place, edge), (-10, 0), textcoords="offset points", ha="right", va="center")
            arrow = {"arrowstyle": "->", "color": "0.3"}
            ax.annotate("", (place, edge * 1.17), (place, edge), arrowprops=arrow)
    for number, group in rows.assign(place=places).groupby("table"):
        ax.annotate(
            f"Table {number}", (group["place"].mean(), 1),
            (0, 3), xycoords=("data", "axes fraction"), textcoords="offset points", ha="center", weight="bold",
        )  # fmt: skip
    ax.set(
        xticks=[],
        ylim=(min(shown.min(), units[:, 1].min()) - 0.8, max(shown.max(), units[:, 2].max()) + 0.8),
        ylabel="printed F1 less 2PR / (P + R),\nunits of the last digit",
    )
    ax.set_xlabel("rows of the tables, in their order")
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return signed(figure, note, n=many(len(rows), "row"))


def part_beside(less_mix: pd.DataFrame, less_single: pd.DataFrame, note: str) -> Figure:
    """Draw LMHLD_part less LMHLD_mix, and less LMHLD_single, for every model and score.

    Args:
        less_mix: of `audit.part_less_mix`.
        less_single: of `audit.part_less_single`.
        note: line under the figure.
    """
    figure, axes = plt.subplots(1, 2, figsize=(11, 3.8), sharey=True, width_ratios=[1, 2])
    tints = dict(zip(SCORE_NAMES, sns.color_palette("colorblind"), strict=False))
    means = less_single.groupby(level="model").mean().loc[less_mix.index]
    places = np.arange(len(less_mix))
    for ax, table, title in zip(
        axes, (less_mix, means), ("Table 7 less Table 6 (mix)", "Table 7 less Table 5 (single)"), strict=True
    ):
        for shift, mark, score in zip((-0.24, 0, 0.24), "^oD", SCORE_NAMES, strict=True):
            ax.plot(
                table[score], places + shift, mark, color=tints[score], label=SCORE_NAMES[score], zorder=3
            )
        ax.axvline(0, color="0.4", linewidth=0.8)
        ax.grid(axis="x", color="0.92")
        ax.set_axisbelow(True)
        ax.set_title(title)
        ax.set_xlabel("difference of the score")
    for shift, score in zip((-0.24, 0, 0.24), SCORE_NAMES, strict=True):
        for place, model in zip(places, less_mix.index, strict=True):
            values = less_single.xs(model, level="model")[score]
            axes[1].plot(values, np.full(len(values), place + shift), "|", color=tints[score], alpha=0.6)
    axes[1].plot([], [], "|", color="0.4", label="one area (large: mean)")
    axes[0].set_yticks(places, less_mix.index)
    axes[0].invert_yaxis()
    axes[0].tick_params(axis="y", length=0)
    axes[1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return signed(
        figure,
        note,
        n=f"{many(len(less_mix), 'network')}, {many(len(less_single), 'network')} of single areas",
    )
