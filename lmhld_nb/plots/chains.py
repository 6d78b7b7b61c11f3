"""Figures of experiment 4, networks trained on areas one after another; every function returns a matplotlib Figure."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

from lmhld_nb.evaluation import METRICS
from lmhld_nb.plots import style

_DIFFERENCE = LinearSegmentedColormap.from_list("difference", ["white", "#ffe94a", "#d7261e", "black"])
_ACROSS = 4
# Much small text makes large pictures: fewer dots on the page than elsewhere (files have their own resolution).
_PAGE: dict[str, Any] = {"narrowest": 5, "widest": 11, "dpi": 80}


def order_differences(scores: pd.DataFrame, score: str) -> Figure:
    """Draw differences in ``score`` between orders of addition (`part.order_scores`; paper Figs 12 to 14)."""
    models, orders = list(scores.index.unique("model")), list(scores.index.unique("order"))
    values = scores[score].unstack("order").reindex(index=models, columns=orders).to_numpy(float)
    differences = np.abs(values[:, :, None] - values[:, None, :])
    largest = max(1e-6, float(np.nan_to_num(differences).max()))  # of all panels: colours compare between networks
    side = max(1.6, 0.38 * len(orders)) + 0.3
    figure, panels, _, _ = style.grid(len(models), (side, side + 0.35), (0.8, 0.4), _ACROSS, **_PAGE)
    for ax, model, cells in zip(panels, models, differences, strict=True):
        style.heatmap(ax, cells, lambda value: f"{value:.3f}".removeprefix("0"), (0, largest), _DIFFERENCE, fontsize=7)
        ax.set_title(style.network_title(model))
        style.name_cells(ax, orders, orders, fontsize=7.5)
    mappable = ScalarMappable(Normalize(0, largest), _DIFFERENCE)
    label = f"absolute difference of {METRICS[score].title}"
    bar = figure.colorbar(mappable, ax=figure.axes, shrink=0.8, aspect=30, pad=0.01, label=label)
    if largest <= 1e-6:  # no differences: the ticks would be meaningless
        bar.set_ticks([0])
    count = style.format_count(len(orders), "order")
    return style.counted(figure, f"{count} at most", style.by_network(scores, "seeds"))


def stage_matrices(matrix: pd.DataFrame) -> Figure:
    """Draw F1 after each stage (`forgetting.stage_matrix`) by stage (row) and tested area (column)."""
    models, areas = list(matrix.index.unique("model")), list(map(style.area_name, matrix.columns))
    stages = pd.MultiIndex.from_frame(matrix.index.to_frame()[["stage", "area_added"]].drop_duplicates())
    panel = (0.34 * len(areas) + 0.3, 0.27 * len(stages) + 0.65)
    figure, panels, left, bottom = style.grid(len(models), panel, (1.8, 1.0), _ACROSS, **_PAGE)
    hanging: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "in_layout": False}
    last_row = panels[(len(models) - 1) // _ACROSS * _ACROSS :]
    for ax, model in zip(panels, models, strict=True):
        style.heatmap(ax, matrix.loc[model].reindex(stages).to_numpy(float), fontsize=6.5)
        ax.set_title(style.network_title(model))
        if ax in last_row:
            style.name_cells(ax, areas, rotation=90, fontsize=7.5)
        elif ax in bottom:
            # No panel below: the names extend into the empty space instead of pushing the next row down.
            for column, name in enumerate(areas):
                spot = (column + 0.5, 0)
                ax.annotate(name, spot, (0, -5), va="top", ha="center", rotation=90, fontsize=7.5, **hanging)
        if ax in left:
            style.name_cells(ax, rows=[f"{stage} {style.area_name(str(area))}" for stage, area in stages], fontsize=7.5)
    explanation = "F1 on the test patches; rows: after this stage; grey: area not yet added"
    return style.counted(figure, style.format_count(len(models), "chain"), explanation)
