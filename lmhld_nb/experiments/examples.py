"""Example predictions: test patches with the networks' predictions, and mapped scenes."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from lmhld_nb import runs, scenes
from lmhld_nb.evaluation import Confusion
from lmhld_nb.experiments.unseen import ScoredEvent
from lmhld_nb.patches import PatchSet
from lmhld_nb.patches.batches import normalised
from lmhld_nb.runs import Run
from lmhld_nb.scenes import Scene, read_decimated
from lmhld_nb.scenes.rasters import Window
from lmhld_nb.training import engine


@dataclass(frozen=True)
class Example:
    """A test patch, (bands, rows, cols) as stored with (rows, cols) truth, and each network's prediction.

    ``row`` and ``col`` are its upper left pixel in the scene; ``run_ids`` says which run of a network predicted.
    """

    area: str
    scene: str
    row: int
    col: int
    image: np.ndarray
    truth: np.ndarray
    predictions: dict[str, np.ndarray] = field(default_factory=dict)
    run_ids: dict[str, str] = field(default_factory=dict)


def examples(
    finished: Sequence[Run], patch_sets_of: Callable[[Run], Sequence[PatchSet]] | None = None
) -> list[Example]:
    """Predict one test patch per area, of median landslide share, with each network's first seed (Figs 10, 11, 15)."""
    by_area: dict[str, Example] = {}
    for run in finished:
        for patch_set in patch_sets_of(run) if patch_sets_of else runs.patch_sets(run.spec, progress=False):
            tests, area = patch_set.index.iloc[patch_set.where("test")].sort_values("share"), patch_set.spec.area
            number = int(tests.index[len(tests) // 2])
            if area not in by_area:
                patch: Any = tests.loc[number]
                place, image = (str(patch["scene"]), int(patch["row"]), int(patch["col"])), patch_set.images[number]
                by_area[area] = Example(area, *place, np.asarray(image), np.asarray(patch_set.masks[number]) == 1)
            if run.spec.model not in by_area[area].predictions:
                by_area[area].predictions[run.spec.model] = predict(run, patch_set, number)
                by_area[area].run_ids[run.spec.model] = run.spec.run_id
    return list(by_area.values())


def example_scores(shown: Sequence[Example]) -> pd.DataFrame:
    """Tabulate `examples`: rows (area, model) with the position of the patch, counts of pixels, scores and run id."""
    rows = []
    for example in shown:
        for model, predicted in example.predictions.items():
            row = {"area": example.area, "model": model, "scene": example.scene, "row": example.row, "col": example.col}
            counts = Confusion.of(predicted, example.truth).as_dict()
            rows.append({**row, **counts, "run_ids": example.run_ids[model]})
    return pd.DataFrame(rows).set_index(["area", "model"])


def predict(run: Run, patch_set: PatchSet, number: int) -> np.ndarray:
    """Return where a run predicts landslide (over 0.5) in a patch, bool (rows, cols); UserError if not recorded."""
    name = f"mask-{patch_set.spec.fingerprint_of_patches}-{number}"
    found = runs.remembered(run, name, lambda: {"landslide": logits(run, run.model(), patch_set, number) > 0})
    return found["landslide"]


def logits(run: Run, model: nn.Module, patch_set: PatchSet, number: int) -> np.ndarray:
    """Return the log-odds of landslide in one patch, (rows, cols) float32; ``model`` is the run's."""
    scaled = normalised(patch_set, np.array([number]), run.spec.recipe.normalise)
    with torch.inference_mode(), engine.autocast(scaled.device, run.recipe):
        return model(scaled)[0, 0].float().numpy()


def scene_to_show(by_area: Mapping[str, Sequence[Scene]], area: str) -> Scene:
    """Return the first scene of ``area``; if the data set lacks it, that of the first area, with a message."""
    if area not in by_area:
        print(f"no area '{area}' here: showing {next(iter(by_area))}")
        area = next(iter(by_area))
    return by_area[area][0]


@dataclass(frozen=True)
class View:
    """A mapped scene: (bands, rows, cols) values, map and truth (rows, cols; None: not labelled)."""

    title: str
    values: np.ndarray
    bands: tuple[str, ...]
    mapped: np.ndarray
    truth: np.ndarray | None


def view(event: ScoredEvent, title: str = "", longest: int = 480) -> View:
    """Return the first scene of an event, every n-th pixel, so that no side exceeds ``longest``."""
    scene = event.dataset.scenes_of(event.area)[0]
    bands = tuple(band for band in scene.bands if band in scenes.BANDS)
    with ExitStack() as stack:
        image = stack.enter_context(scenes.open_image(scene))
        labels = stack.enter_context(scenes.open_labels(scene, image)) if event.is_scored else None
        whole, step = Window(0, 0, *image.shape), max(1, -(-max(image.shape) // longest))
        values = read_decimated(lambda strip: image.read(strip, bands), whole, step)
        truth = read_decimated(labels.read, whole, step) == 1 if labels else None
    return View(title or event.name, values, bands, event.mask()[::step, ::step] == 1, truth)
