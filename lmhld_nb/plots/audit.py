"""Figures of the audit; every function returns a matplotlib Figure."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lmhld_nb import audit, paper
from lmhld_nb.plots import style

# From the colour-blind palette; hatched as well, so that the figure reads without colour.
_LOOKS = {"holds": (style.HIT, ""), "rounding": (style.MISS, "//"), "contradicted": (style.FALSE_ALARM, "xx")}
_LOOKS["cannot be checked"] = ("0.8", "..")
_LIMIT = 4.0  # units of the last digit; what lies further out is written at the edge


def verdicts(table: pd.DataFrame) -> Figure:
    """Draw how many statements of each section of the paper got which verdict (`audit.table`)."""
    counts = pd.crosstab(table["section"], table["verdict"]).reindex(
        index=list(dict.fromkeys(table["section"])), columns=list(audit.VERDICTS), fill_value=0
    )
    figure, ax = plt.subplots(figsize=(7.5, 1.2 + 0.25 * len(counts)))
    left = np.zeros(len(counts))
    for verdict, (colour, hatch) in _LOOKS.items():
        look: dict[str, Any] = {"color": colour, "hatch": hatch, "edgecolor": "white", "height": 0.75}
        ax.barh(counts.index, counts[verdict], left=left, label=verdict, **look)
        left = left + counts[verdict].to_numpy()
    ax.set_ylim(len(counts) - 0.4, -0.6)
    ax.set_xlabel("statements, each reading of one counted")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.tick_params(axis="y", length=0)
    ax.legend(loc="lower right")
    return style.counted(figure, style.format_count(len(table), "reading"))


def f1_differences(rows: pd.DataFrame) -> Figure:
    """Draw printed F1 minus 2PR / (P + R), and what rounding allows: rows of `audit.f1_rows` with their ``table``."""
    figure, ax = plt.subplots(figsize=(10, 3.6))
    difference, low, high = (rows[["difference", "low", "high"]].to_numpy() * 1e4).T
    x = np.arange(len(rows)) + 4 * (rows["table"] - rows["table"].min()).to_numpy()
    y = np.clip(difference, -_LIMIT, _LIMIT)
    ax.vlines(x, low, high, color="0.85", linewidth=5, label="within the tolerance")
    ax.axhline(0, color="0.6", linewidth=0.8)
    for name, printed in paper.MODELS.items():
        own = (rows["model"] == printed).to_numpy()
        ax.plot(x[own], y[own], **style.network_look(name, linestyle="", markersize=5))
    points: dict[str, Any] = {"textcoords": "offset points"}
    for row in np.flatnonzero(difference != y):
        text = f"{rows['model'].iloc[row]} {'+' if difference[row] > 0 else '−'}{abs(difference[row]):.1f}"
        ax.annotate(text, (x[row], y[row]), (-10, 0), ha="right", va="center", **points)
        ax.annotate("", (x[row], y[row] * 1.17), (x[row], y[row]), arrowprops={"arrowstyle": "->", "color": "0.3"})
    for number, group in rows.assign(x=x).groupby("table"):
        spot = (group["x"].mean(), 1)
        ax.annotate(f"Table {number}", spot, (0, 3), ("data", "axes fraction"), ha="center", weight="bold", **points)
    ax.set(xticks=[], ylim=(min(y.min(), low.min()) - 0.8, max(y.max(), high.max()) + 0.8))
    ax.set_xlabel("rows of the tables, in their order")
    ax.set_ylabel("printed F1 minus 2PR / (P + R),\nunits of the last digit")
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return style.counted(figure, style.format_count(len(rows), "row"))


def part_beside(minus_mix: pd.DataFrame, minus_single: pd.DataFrame) -> Figure:
    """Draw LMHLD_part minus LMHLD_mix, and minus LMHLD_single, for every network and score (`audit.part_minus_…`)."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 3.8), sharey=True, width_ratios=[1, 2])
    models = list(minus_mix.index)
    means = minus_single.groupby(level="model").mean().loc[models]
    panels = {"Table 7 minus Table 6 (mix)": minus_mix, "Table 7 minus Table 5 (single)": means}
    y = np.arange(len(models))
    styles = zip((-0.24, 0, 0.24), "^oD", sns.color_palette("colorblind"), strict=False)
    for (score, name), (shift, marker, colour) in zip(paper.SCORES.items(), styles, strict=True):
        for ax, table in zip(axes, panels.values(), strict=True):
            ax.plot(table[score], y + shift, marker, color=colour, label=name, zorder=3)
        areas = minus_single[score].unstack("model")[models]
        axes[1].plot(areas.to_numpy().T, y + shift, "|", color=colour, alpha=0.6)
    for ax, title in zip(axes, panels, strict=True):
        ax.axvline(0, color="0.4", linewidth=0.8)
        ax.grid(axis="x", color="0.92")
        ax.set(title=title, xlabel="difference of the score")
    axes[1].plot([], [], "|", color="0.4", label="one area (large: mean)")
    axes[0].set_yticks(y, models)
    axes[0].invert_yaxis()
    axes[0].tick_params(axis="y", length=0)
    axes[1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    of_areas = f"{style.format_count(len(minus_single), 'network')} of single areas"
    return style.counted(figure, f"{style.format_count(len(models), 'network')}, {of_areas}")
