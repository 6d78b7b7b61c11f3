"""Figures of maps: drawn from whatever a map holds, nothing at all included."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from lmhld_nb.evaluation import objects
from lmhld_nb.experiments.examples import View
from lmhld_nb.plots import maps


def tables(mapped: bool) -> tuple[dict, dict[str, pd.DataFrame]]:
    truth = np.zeros((40, 50), np.uint8)
    truth[5:15, 5:20] = truth[30:35, 40:44] = 1
    probability = np.where(truth == 1, 0.8, 0.2).astype(np.float32)
    mask = truth if mapped else np.zeros_like(truth)
    return objects.score(lambda: iter([(probability, mask, truth)]), 9.0)


def panels_with_pictures(figure: Figure) -> int:
    figure.canvas.draw()
    plt.close(figure)
    return sum(bool(ax.images) for ax in figure.axes)


@pytest.mark.parametrize("mapped", [True, False])
def test_scores_are_drawn_also_where_nothing_is_mapped(mapped: bool) -> None:
    scores, rows = tables(mapped)
    for figure in (
        *(draw([]) for draw in (maps.images, maps.overlays, maps.mistakes)),
        maps.precision_recall({}, pd.DataFrame()),
        maps.detection_by_size(objects.pooled([])),
        maps.precision_recall({"a": rows["precision_recall"]}, pd.DataFrame([scores], index=["a"])),
        maps.detection_by_size(rows["by_size"]),
    ):
        assert not panels_with_pictures(figure)


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_scenes_are_drawn_one_panel_each(count: int, labelled: bool) -> None:
    mapped = np.zeros((30, 40), bool)
    mapped[3:9, 4:12] = True
    values = np.random.default_rng(0).random((3, 30, 40))
    views = [View("a", values, ("blue", "green", "red"), mapped, mapped if labelled else None)] * count
    assert panels_with_pictures(maps.images(views)) == panels_with_pictures(maps.overlays(views)) == count
    assert not labelled or panels_with_pictures(maps.mistakes(views)) == 2 * count
