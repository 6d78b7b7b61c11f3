"""Figures of maps: drawn from whatever a map holds, nothing at all included."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from lmhld_nb.evaluation import objects as detection
from lmhld_nb.experiments.examples import View
from lmhld_nb.plots import maps as map_plots


def tables(mapped: bool) -> tuple[dict, dict[str, pd.DataFrame]]:
    truth = np.zeros((40, 50), np.uint8)
    truth[5:15, 5:20] = truth[30:35, 40:44] = 1
    probability = np.where(truth == 1, 0.8, 0.2).astype(np.float32)
    mask = truth if mapped else np.zeros_like(truth)
    return detection.score(lambda: iter([(probability, mask, truth)]), 9.0)


@pytest.mark.parametrize("mapped", [True, False])
def test_scores_are_drawn_also_where_nothing_is_mapped(tmp_path: Path, mapped: bool) -> None:
    scores, found = tables(mapped)
    figures = (
        *(draw([]) for draw in (map_plots.images, map_plots.overlays, map_plots.mistakes)),
        map_plots.precision_recall({}, pd.DataFrame()),
        map_plots.reliability({}),
        map_plots.detection_by_size(detection.pooled([])),
        map_plots.precision_recall({"a": found["precision_recall"]}, pd.DataFrame([scores], index=["a"])),
        map_plots.reliability({"a": found["calibration"]}),
        map_plots.detection_by_size(found["by_size"]),
        map_plots.size_frequency(found["size_frequency"]),
        map_plots.landslides(found["by_size"], found["size_frequency"]),
        map_plots.size_frequency(found["size_frequency"].iloc[:0]),
    )
    for figure in figures:
        figure.savefig(tmp_path / "figure.png")
        plt.close(figure)


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_scenes_are_drawn_one_panel_each(tmp_path: Path, count: int, labelled: bool) -> None:
    mapped = np.zeros((30, 40), bool)
    mapped[3:9, 4:12] = True
    values = np.random.default_rng(0).random((3, 30, 40))
    views = [View("a", values, ("blue", "green", "red"), mapped, mapped if labelled else None)] * count
    for draw in (map_plots.images, map_plots.overlays):
        figure = draw(views)
        figure.savefig(tmp_path / "figure.png")
        plt.close(figure)
        assert sum(bool(ax.images) for ax in figure.axes) == count
    if labelled:
        figure = map_plots.mistakes(views)
        figure.savefig(tmp_path / "figure.png")
        plt.close(figure)
        assert sum(bool(ax.images) for ax in figure.axes) == 2 * count
