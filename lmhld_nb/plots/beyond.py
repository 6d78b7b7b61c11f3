"""Figures of what the paper does not ask; every function returns a matplotlib Figure."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lmhld_nb.plots import style


def left_out(table: pd.DataFrame) -> Figure:
    """Draw F1 in each area of networks that have not learnt it (`leave_one_out.left_out_table`) and that have."""
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
    bars = "thin bars: 95 % interval, bootstrap over blocks of patches; broad bars: ± standard deviation over seeds"
    return style.counted(figure, style.format_count(int(table["seeds"].max()), "seed") + " at most", bars)
