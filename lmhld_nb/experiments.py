"""Experiments: the paper's experiments as lists of RunSpecs, and finished runs as its tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from lmhld_nb import engine, evaluation, paper, patches, runs, scenes, sources
from lmhld_nb.batches import normalised
from lmhld_nb.config import UserError
from lmhld_nb.evaluation import Confusion, Threshold
from lmhld_nb.patches import PatchSet, PatchSpec
from lmhld_nb.profiles import Profile, patch_size
from lmhld_nb.runs import Run
from lmhld_nb.sources import DataSet
from lmhld_nb.specs import Recipe, RunSpec

EXPERIMENTS = {2: "single"}


@dataclass(frozen=True)
class Planned:
    """A run and the experiment that asks for it."""

    experiment: int
    spec: RunSpec

    @property
    def areas(self) -> tuple[str, ...]:
        """Areas trained on."""
        return tuple(part.area for part in self.spec.data)


def areas(profile: Profile, dataset: DataSet) -> tuple[str, ...]:
    """Return the areas a profile uses, in the order of the data set.

    Raises:
        UserError: the profile names an area the data set does not have.
    """
    for key, named in (("areas", profile.areas), ("patches.sizes", profile.patches.sizes)):
        for area in named:
            if area not in dataset.areas:
                raise UserError(
                    f"profile '{profile.name}': key '{key}': no area '{area}' in '{dataset.name}'; "
                    f"it has {', '.join(dataset.areas)}"
                )
    return tuple(area for area in dataset.areas if not profile.areas or area in profile.areas)


def patch_spec(profile: Profile, dataset: DataSet, area: str, size: int | None = None) -> PatchSpec:
    """Return how an area is cut under a profile; ``size`` replaces the profile's rule.

    Raises:
        UserError: the profile asks for a band the data set does not have.
    """
    rule = profile.patches
    for band in rule.bands:
        if band not in dataset.bands:
            raise UserError(
                f"profile '{profile.name}': key 'patches.bands': '{dataset.name}' has no band '{band}'; "
                f"it has {', '.join(dataset.bands)}"
            )
    return PatchSpec(
        dataset=dataset.name,
        fingerprint=dataset.fingerprint,
        area=area,
        size=size or patch_size(profile, area),
        min_share=rule.min_share,
        bands=rule.bands,
        split=rule.split,
        fractions=rule.fractions,
        block=rule.block,
        seed=rule.seed,
    )


def recipe_of(profile: Profile, model: str) -> Recipe:
    """Return the recipe of a model: the profile's, with the model's own micro-batch."""
    return profile.recipe.model_copy(
        update={"micro_batch": profile.micro_batch.get(model, profile.recipe.micro_batch)}
    )


def single(profile: Profile, dataset: DataSet) -> list[RunSpec]:
    """Experiment 2, LMHLD_single: each model on each area alone, at the area's patch size (paper 3.2 (2))."""
    return [
        RunSpec(
            model=model,
            width=profile.width.get(model),
            options=profile.options.get(model, {}),
            data=(patch_spec(profile, dataset, area),),
            recipe=recipe_of(profile, model),
            seed=seed,
        )
        for area in areas(profile, dataset)
        for model in profile.models
        for seed in profile.seeds
    ]


def plan(profile: Profile, dataset: DataSet, experiment: int | None = None) -> list[Planned]:
    """List the runs of a profile, of one experiment or of all.

    Raises:
        UserError: there is no such experiment.
    """
    if experiment is not None and experiment not in EXPERIMENTS:
        raise UserError(f"experiment {experiment}: unknown; choose from {', '.join(map(str, EXPERIMENTS))}")
    return [Planned(2, spec) for spec in single(profile, dataset) if experiment in (None, 2)]


def plan_table(planned: Sequence[Planned]) -> pd.DataFrame:
    """Tabulate planned runs: run_id, experiment, model, width, areas, patch_size, epochs, status, seconds.

    ``seconds`` is what a finished run took, or an estimate from the median rate (seconds a training pixel) of finished
    runs of the same model and width; NaN where there is none to go by.
    """
    rows: list[dict[str, Any]] = []
    rates: dict[tuple[str, int | None], list[float]] = {}
    for entry in planned:
        spec = entry.spec
        run = runs.find(spec)
        rows.append(
            {
                "run_id": spec.run_id,
                "experiment": entry.experiment,
                "model": spec.model,
                "width": str(spec.width or "published"),
                "areas": "+".join(entry.areas),
                "patch_size": "+".join(map(str, dict.fromkeys(part.size for part in spec.data))),
                "epochs": spec.recipe.epochs,
                "status": runs.status(spec),
                "seconds": run.metrics["seconds"] if run else float("nan"),
            }
        )
        if run:
            rates.setdefault((spec.model, spec.width), []).append(run.metrics["seconds"] / _pixels(spec))
    for row, entry in zip(rows, planned, strict=True):
        rate = rates.get((entry.spec.model, entry.spec.width))
        if row["status"] != "done" and rate:
            row["seconds"] = float(np.median(rate)) * _pixels(entry.spec)
    return pd.DataFrame(rows)


def _pixels(spec: RunSpec) -> float:
    """Return the pixels a training passes over; NaN while its patches are not cut."""
    try:
        counts = [len(patches.load(part).index) * part.size**2 for part in spec.data]
    except UserError:
        return float("nan")
    return float(sum(counts) * spec.recipe.epochs)


def cut(
    profile: Profile, dataset: DataSet, area: str, size: int | None = None, progress: bool = True
) -> PatchSet:
    """Make or load an area's patches under a profile."""
    return patches.cut(patch_spec(profile, dataset, area, size), dataset.scenes_of(area), progress)


def dataset_of(profile: Profile, progress: bool = True) -> DataSet:
    """Return a profile's data set, made first where it is synthetic; others must be there already."""
    if sources.catalogue().get(profile.data) is not None and sources.catalogue()[profile.data].synthetic:
        return sources.get(profile.data, progress=progress)
    return sources.load(profile.data)


def table_2(parts: Sequence[PatchSet]) -> pd.DataFrame:
    """Tabulate patch sizes, counts and landslide shares as paper Table 2 does, dropped windows beside them."""
    rows = []
    for part in parts:
        shares = part.shares()
        known = [share for share in shares.values() if share == share]
        rows.append(
            {
                "area": part.spec.area,
                "patch_size": part.spec.size,
                "patches": len(part.index),
                **shares,
                "gap": max(known) - min(known),
                "windows": part.windows,
                **{f"dropped_{reason}": count for reason, count in part.dropped.items()},
            }
        )
    return pd.DataFrame(rows).set_index("area")


def has_published_areas(dataset: str) -> bool:
    """Say whether a data set's areas are the paper's: LMHLD itself and its twin, not others of the same place."""
    return dataset == "lmhld" or sources.describe(dataset).synthetic


def table_5(finished: Sequence[Run]) -> pd.DataFrame:
    """Tabulate Experiment 2 as paper Table 5 does, mean over seeds, with the published value beside ours.

    Returns:
        Rows (area, model): precision, f1, recall; published_precision, …; difference_precision, … (ours less published;
        NaN for areas the paper does not have).
    """
    ours = pd.DataFrame(
        [
            {"area": run.spec.data[0].area, "model": run.spec.model, **_scores(run.metrics["test"])}
            for run in finished
        ]
    )
    ours = ours.groupby(["area", "model"], sort=False).mean()
    published = paper.table(5)
    if not all(has_published_areas(run.spec.data[0].dataset) for run in finished):
        published = published.iloc[:0]  # another data set's "hokkaido" is not the paper's
    published["area"] = published["study_area"].map(paper.area_key)
    published["model"] = published["model"].map({name: key for key, name in paper.MODELS.items()})
    both = ours.join(
        published.set_index(["area", "model"])[["precision", "f1", "recall"]].add_prefix("published_")
    )
    for score in ("precision", "f1", "recall"):
        both[f"difference_{score}"] = both[score] - both[f"published_{score}"]
    return both


def _scores(test: dict[str, float]) -> dict[str, float]:
    # A score that is not defined (nothing predicted) is stored as null.
    return {
        name: float("nan") if test[name] is None else test[name] for name in ("precision", "f1", "recall")
    }


def threshold_baseline(run: Run, split: str = "test") -> Threshold:
    """Return the best single threshold on the pixels a run is tested on (an upper bound of thresholding)."""
    (part,) = runs.patch_sets(run.spec, progress=False)
    numbers = part.where(split)
    return evaluation.best_threshold(part.images[numbers], part.masks[numbers], part.spec.bands)


def threshold_from_training(run: Run) -> Confusion:
    """Score, on the test pixels of a run, the single threshold that is best on its training pixels.

    What thresholding does with no more knowledge than the network has.
    """
    (part,) = runs.patch_sets(run.spec, progress=False)
    rule = threshold_baseline(run, "train")
    numbers = part.where("test")
    return evaluation.score_threshold(rule, part.images[numbers], part.masks[numbers], part.spec.bands)


def fetch(profile: Profile, specs: Sequence[RunSpec], on_missing: str) -> list[Run]:
    """Return the finished runs of ``specs`` for a chapter.

    Args:
        profile: whose settings make missing runs.
        specs: runs wanted.
        on_missing: ``train`` them, ``skip`` them (says how many), or ``error``.

    Raises:
        UserError: runs are missing under ``error``, none is there under ``skip``, or ``on_missing`` is another word.
    """
    if on_missing not in ("train", "skip", "error"):
        raise UserError(f"on_missing '{on_missing}': unknown; choose train, skip or error")
    if on_missing == "train":
        return runs.ensure(specs, execution=profile.execution)
    finished = [run for spec in specs if (run := runs.find(spec))]
    missing = len(specs) - len(finished)
    if missing and (on_missing == "error" or not finished):
        raise UserError(
            f"{missing} of {len(specs)} runs are missing; make them with `lmhld run {profile.name}`"
        )
    if missing:
        print(f"{missing} of {len(specs)} runs are missing and left out")
    return finished


def examples(finished: Sequence[Run]) -> dict[str, tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]]:
    """Predict one test patch an area with each model: the patch of middle landslide share (paper Fig 10).

    Returns:
        By area: image (bands, rows, cols) in stored units, truth (rows, cols) bool, and by model the prediction
        (rows, cols) bool. The first seed of each model is shown.
    """
    shown: dict[str, tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]] = {}
    for run in finished:
        (part,) = runs.patch_sets(run.spec, progress=False)
        area = part.spec.area
        tests = part.index.iloc[part.where("test")].sort_values("share")
        number = int(tests.index[len(tests) // 2])
        if area not in shown:
            shown[area] = (np.asarray(part.images[number]), np.asarray(part.masks[number]) == 1, {})
        by_model = shown[area][2]
        if run.spec.model not in by_model:
            by_model[run.spec.model] = predict(run, part, number)
    return shown


def predict(run: Run, part: PatchSet, number: int) -> np.ndarray:
    """Return where a run predicts landslide (probability over 0.5) in one patch of ``part``, (rows, cols) bool."""
    scaled = normalised(part, np.array([number]), run.spec.recipe.normalise)
    computed = run.spec.recipe.model_copy(update={"precision": run.metrics["precision"]})
    with torch.inference_mode(), engine.autocast(scaled.device, computed):
        return (run.model()(scaled)[0, 0] > 0).numpy()


def scene_to_show(members: dict[str, tuple[scenes.Scene, ...]], area: str) -> scenes.Scene:
    """Return the first scene of ``area``; of the first area (and say so) where the data set does not have it."""
    if area not in members:
        print(f"no area '{area}' here: showing {next(iter(members))}")
        area = next(iter(members))
    return members[area][0]


def area_scenes(profile: Profile, dataset: DataSet) -> dict[str, tuple[scenes.Scene, ...]]:
    """Return the scenes of each area of a profile."""
    return {area: dataset.scenes_of(area) for area in areas(profile, dataset)}
