"""Prediction browser: what a run finds in a test patch, at any threshold (chapter 05)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import log

import ipywidgets
import numpy as np
from scipy.special import expit

from lmhld_nb import paper, runs
from lmhld_nb.evaluation.counts import Confusion
from lmhld_nb.experiments import results
from lmhld_nb.patches.patch_sets import PatchSet
from lmhld_nb.plots import scores as score_plots
from lmhld_nb.plots import style
from lmhld_nb.plots.style import FALSE_ALARM, HIT, MISS
from lmhld_nb.runs.store import Run
from lmhld_nb.widgets import parts


def prediction_browser(finished: Sequence[Run], note: str) -> ipywidgets.VBox:
    """Return a panel with the choice of run, area, test patch and threshold.

    It shows the image, the probability of landslide, and hits, false alarms and misses with the scores of this patch.
    At 0.5 these are those of `results.predict`.

    Args:
        finished: runs to choose from.
        note: of `style.note`.
    """
    # Shared by all that is drawn: a network takes longest to load, a patch of one to predict.
    model = lru_cache(maxsize=4)(lambda number: finished[number].model())
    sets = lru_cache(maxsize=16)(lambda number: runs.patch_sets(finished[number].spec, progress=False))
    odds = lru_cache(maxsize=64)(
        lambda number, place, patch: results.logits(
            finished[number], model(number), sets(number)[place], patch
        )
    )

    run = parts.choice("Run", [(_name(one), number) for number, one in enumerate(finished)])
    area = parts.choice("Area", [("–", 0)])
    patch = parts.slider("Test patch, by share of landslide", 1, 1, 1, 1)
    threshold = parts.slider("Threshold of probability", 0.5, 0.01, 0.99, 0.01)
    picture, scores = ipywidgets.Image(format="png"), ipywidgets.HTML()
    figure = parts.canvas(9, 3.25)
    axes = [figure.add_axes((0.005 + 0.335 * n, 0, 0.32, 0.91)) for n in range(3)]
    layers = [ax.imshow(np.zeros((1, 1)), cmap="magma", vmin=0, vmax=1) for ax in axes]
    for ax, title in zip(axes, ("image", "probability: black 0, white 1", "found and missed"), strict=True):
        ax.set_title(title)
        ax.set_axis_off()
    last: list[tuple[int, int] | None] = [None]

    def draw() -> None:
        if not finished:
            raise ValueError("no finished run to show; make some with `lmhld run`")
        fitting = sets(run.value)
        if last[0] is None or last[0][0] != run.value:
            area.options = [(style.area_name(one.spec.area), n) for n, one in enumerate(fitting)]
        part = fitting[area.value]
        tests = by_share(part)
        if last[0] != (run.value, area.value):
            patch.max = len(tests)
            patch.value = (len(tests) + 1) // 2
            last[0] = (run.value, area.value)
        number = int(tests[patch.value - 1])
        found = odds(run.value, area.value, number)
        # Compared as log-odds: 0.5 is 0 exactly, as in `results.predict`.
        predicted = found > log(threshold.value / (1 - threshold.value))
        truth = np.asarray(part.masks[number]) == 1
        image = style.rgb(np.asarray(part.images[number]), part.spec.bands)
        side = part.spec.size
        for layer, data in zip(
            layers, (image, expit(found), score_plots.errors(predicted, truth, image)), strict=True
        ):
            layer.set(data=data, extent=(0, side, side, 0))
        for ax in axes:
            ax.set(xlim=(0, side), ylim=(side, 0))
        parts.show(picture, figure)
        scores.value = _told(Confusion.of(predicted, truth), part, number, threshold.value)

    controls = [run, area, patch, threshold]
    message = parts.answering(draw, controls, [picture, scores])
    kinds = parts.legend([(HIT, "hit"), (FALSE_ALARM, "false alarm"), (MISS, "miss")])
    return ipywidgets.VBox(
        [ipywidgets.VBox(controls), message, picture, ipywidgets.HTML(kinds), scores, parts.small(note)]
    )


def by_share(part: PatchSet) -> np.ndarray:
    """Return the numbers of the test patches, from the least to the greatest share of landslide."""
    return part.index.iloc[part.where("test")].sort_values("share", kind="stable").index.to_numpy()


def _name(run: Run) -> str:
    sides = "+".join(map(str, dict.fromkeys(part.size for part in run.spec.data)))
    places = list(dict.fromkeys(style.area_name(part.area) for part in run.spec.data))
    where = places[0] if len(places) == 1 else f"{len(places)} areas"
    return f"{paper.MODELS[run.spec.model]}, {where}, {sides} px, seed {run.spec.seed}, {run.spec.run_id[:6]}"


def _told(counts: Confusion, part: PatchSet, number: int, threshold: float) -> str:
    place = part.index.iloc[number]
    rows = [
        ("precision", counts.precision), ("F1", counts.f1), ("recall", counts.recall),
        ("hits (px)", counts.tp), ("false alarms (px)", counts.fp), ("misses (px)", counts.fn),
    ]  # fmt: skip
    where = f"scene {place['scene']}, row {place['row']}, column {place['col']}"
    return parts.table((f"this patch, at {threshold:.2f}", where), rows)
