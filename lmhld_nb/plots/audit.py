"""Figures of the audit; every function returns a matplotlib Figure."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lmhld_nb import paper
from lmhld_nb.plots import style

_LIMIT = 4.0  # units of the last digit; what lies further out is written at the edge


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
