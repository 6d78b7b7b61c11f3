"""Figures of what the paper does not ask; every function returns a matplotlib Figure."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lmhld_nb.plots import style

_SEED_RANGE: dict[str, Any] = {"color": "0.6", "linewidth": 5, "alpha": 0.5}


def left_out(table: pd.DataFrame) -> Figure:
    """Draw F1 in each area of networks that have not learnt it (`leave_one_out.left_out_table`) and that have."""
    figure, ax = plt.subplots(figsize=(8.4, 3.5))
    x, f1, spread = np.arange(len(table)), table["f1"], table["f1_sd"]
    ax.vlines(x, f1 - spread, f1 + spread, zorder=0, **_SEED_RANGE)
    ax.vlines(x, table["f1_low"], table["f1_high"], color=style.FALSE_ALARM, linewidth=1.4)
    ax.plot(x, f1, "o", color=style.FALSE_ALARM, markersize=4, label="all other areas learnt")
    for name, label, marker, shift in (("single_f1", "learnt alone", "s", 0.15), ("mix_f1", "LMHLD_mix", "D", 0.28)):
        ax.plot(x + shift, table[name], marker, color="0.4", markersize=4, label=label)
    ax.set_xticks(x, [style.area_name(str(area)) for area in table.index], fontsize=8)
    ax.set(ylim=(0, 1), xlim=(-0.5, len(table) - 0.5), ylabel="F1 on the area's test patches")
    figure.legend(loc="outside upper center", ncols=3)
    bars = "thin bars: 95 % interval, bootstrap over blocks of patches; broad bars: ± standard deviation over seeds"
    return style.counted(figure, _seeds_of(table), bars)


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
