"""Prediction browser: what a run finds in a test patch, at any threshold (chapter 05)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import log
from typing import TYPE_CHECKING

import ipywidgets
import numpy as np
from scipy.special import expit

from lmhld_nb import models, paper, runs
from lmhld_nb.evaluation import METRICS, Confusion, scores
from lmhld_nb.experiments import examples
from lmhld_nb.patches import PatchSet
from lmhld_nb.plots import scores as score_plots
from lmhld_nb.plots import style
from lmhld_nb.plots.style import FALSE_ALARM, HIT, MISS
from lmhld_nb.runs import Run
from lmhld_nb.widgets import controls

if TYPE_CHECKING:
    from lmhld_nb.book.face import Book


def prediction_browser(book: Book, finished: Sequence[Run]) -> ipywidgets.VBox:
    """Return a panel with the choice of a finished run, area, test patch and threshold (0.5: `examples.predict`)."""
    # Shared by all that is drawn: a network takes longest to load, a patch to predict.
    model = lru_cache(maxsize=4)(lambda number: finished[number].model())
    patch_sets = lru_cache(maxsize=16)(lambda number: runs.patch_sets(finished[number].spec, progress=False))
    logits = lru_cache(maxsize=64)(
        lambda number, index, patch: examples.logits(finished[number], model(number), patch_sets(number)[index], patch)
    )

    run = controls.choice("Run", [(_name(entry), number) for number, entry in enumerate(finished)])
    area = controls.choice("Area", [("–", 0)])
    patch = controls.slider("Test patch, by share of landslide", 1, 1, 1, 1)
    threshold = controls.slider("Threshold of probability", 0.5, 0.01, 0.99, 0.01)
    picture, score_table = ipywidgets.Image(format="png"), ipywidgets.HTML()
    figure = controls.canvas(9, 3.25)
    axes = [figure.add_axes((0.005 + 0.335 * n, 0, 0.32, 0.91)) for n in range(3)]
    layers = [ax.imshow(np.zeros((1, 1)), cmap="magma", vmin=0, vmax=1) for ax in axes]
    for ax, title in zip(axes, ("image", "probability: black 0, white 1", "found and missed"), strict=True):
        ax.set_title(title)
        ax.set_axis_off()
    drawn_run, drawn_area = None, None

    def draw() -> None:
        nonlocal drawn_run, drawn_area
        if not finished:
            raise ValueError("no finished run to show; make some with `lmhld run`")
        if drawn_run != run.value:
            names = [paper.area_name(patch_set.spec.area) for patch_set in patch_sets(run.value)]
            area.options = [(name, index) for index, name in enumerate(names)]
            drawn_run, drawn_area = run.value, None
        patch_set = patch_sets(run.value)[area.value]
        tests = by_share(patch_set)
        if drawn_area != area.value:
            patch.max = len(tests)
            patch.value = (len(tests) + 1) // 2
            drawn_area = area.value
        number = int(tests[patch.value - 1])
        log_odds = logits(run.value, area.value, number)
        # Compared as log-odds: 0.5 is 0 exactly, as in `examples.predict`.
        predicted = log_odds > log(threshold.value / (1 - threshold.value))
        truth = np.asarray(patch_set.masks[number]) == 1
        image = style.rgb(np.asarray(patch_set.images[number]), patch_set.spec.bands)
        side = patch_set.spec.size
        pictures = (image, expit(log_odds), score_plots.errors(predicted, truth, image))
        for ax, layer, data in zip(axes, layers, pictures, strict=True):
            layer.set(data=data, extent=(0, side, side, 0))
            ax.set(xlim=(0, side), ylim=(side, 0))
        controls.show(picture, figure)
        score_table.value = _score_table(Confusion.of(predicted, truth), patch_set, number, threshold.value)

    return controls.panel(draw, [(run, area), (patch,), (threshold,)], [picture, score_table], book.caption())


def by_share(patch_set: PatchSet) -> np.ndarray:
    """Return the numbers of the test patches, from the least to the greatest share of landslide."""
    tests = patch_set.index.iloc[patch_set.where("test")]
    return tests.sort_values("share", kind="stable").index.to_numpy()


def _name(run: Run) -> str:
    areas = list(dict.fromkeys(paper.area_name(data.area) for data in run.spec.data))
    where = areas[0] if len(areas) == 1 else f"{len(areas)} areas"
    sizes = "+".join(map(str, dict.fromkeys(data.size for data in run.spec.data)))
    spec, network = run.spec, models.network(run.spec.model).title
    return f"{network}, {where}, {sizes} px, seed {spec.seed}, {spec.run_id[:6]}"


def _score_table(counts: Confusion, patch_set: PatchSet, number: int, threshold: float) -> str:
    patch = patch_set.index.iloc[number]
    titles = {METRICS[name].title: score for name, score in scores(counts).items()}
    pixels = {"hits (px)": counts.tp, "false alarms (px)": counts.fp, "misses (px)": counts.fn}
    where = f"scene {patch['scene']}, row {patch['row']}, column {patch['col']}"
    rows = {**titles, **pixels}.items()
    kinds = controls.legend([(HIT, "hit"), (FALSE_ALARM, "false alarm"), (MISS, "miss")])
    return kinds + controls.table((f"this patch, at {threshold:.2f}", where), list(rows))
