"""Results: finished runs as the paper's tables, beside the published ones, and as predictions to look at.

Every table has a column ``run_ids``: the runs its row is computed from (several where there are several seeds).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from lmhld_nb import evaluation, paper, runs, scenes, sources
from lmhld_nb.config import UserError
from lmhld_nb.evaluation.counts import Confusion, Threshold
from lmhld_nb.patches.batches import normalised
from lmhld_nb.patches.patch_sets import PatchSet
from lmhld_nb.runs.store import Run
from lmhld_nb.training import engine

SCORES = ("precision", "f1", "recall")
TIE = 0.0005  # of a mean F1: what four printed digits cannot tell apart


def has_published_areas(dataset: str) -> bool:
    """Say whether a data set's areas are the paper's: LMHLD itself and its twin, not others of the same place."""
    return dataset == "lmhld" or sources.describe(dataset).synthetic


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


def table_4(finished: Sequence[Run]) -> pd.DataFrame:
    """Tabulate Experiment 1 as paper Table 4 does: scores over the whole area, mean over seeds.

    Returns:
        Rows (area, model, patch_size): precision, f1, recall; outside_precision, … without the training patches;
        ``published_…``; ``difference_…`` (ours less published; NaN where nothing is published); run_ids.
    """
    rows = []
    for run in finished:
        counts = run.whole_area
        assert counts is not None, f"{run.folder}: not scored on its whole area"
        (part,) = run.spec.data
        outside = {f"outside_{name}": getattr(counts["outside_training"], name) for name in SCORES}
        key = {"area": part.area, "model": run.spec.model, "patch_size": part.size}
        rows.append({**key, **_scores(counts["all"].as_dict()), **outside, "run_ids": run.spec.run_id})
    published = paper.table(4).assign(area="wenchuan")
    return beside_published(rows, ["area", "model", "patch_size"], published, finished)


def patch_size_choice(table: pd.DataFrame) -> pd.DataFrame:
    """Choose each area's patch size from Table 4: the one with the highest mean F1 over the models.

    Means that differ by less than 0.0005 count as equal; then the size decides at which more models are at their
    best, then the smaller one. Models that lack one of the sizes (runs that are missing) are left out.

    Args:
        table: of `table_4`.

    Returns:
        Rows (area, patch_size): mean_f1, models (how many were compared), models_best (those at their best there, equal
        ones counted at each), winners (their names), tied (mean as high as the highest), chosen; outside_mean_f1 and
        outside_chosen, the same without the training patches; and where they are published published_mean_f1,
        published_chosen.
    """
    chosen = _choice(table["f1"])
    for reading in ("outside", "published"):
        if (f1 := table[f"{reading}_f1"].dropna()).size:
            chosen = chosen.join(_choice(f1)[["mean_f1", "chosen"]].add_prefix(f"{reading}_"))
    return chosen


def _choice(f1: pd.Series) -> pd.DataFrame:
    rows = []
    for area, by_size in f1.groupby("area", sort=False):
        # A mean over other networks at one size than at another would choose by which runs are there.
        cells: pd.DataFrame = by_size.droplevel("area").unstack("patch_size").dropna()
        if cells.empty:
            raise UserError(f"{area}: no network has runs at every size compared; make them with `lmhld run`")
        means = cells.mean()
        best = cells.eq(cells.max(axis=1), axis=0)
        tied = means >= means.max() - TIE
        wins = best.sum()
        winner = min(means.index[tied], key=lambda size: (-wins[size], size))
        for size in means.index:
            names = [str(paper.MODELS[model]) for model in best.index[best[size]]]
            rows.append(
                {
                    "area": area,
                    "patch_size": size,
                    "mean_f1": means[size],
                    "models": len(cells),
                    "models_best": int(wins[size]),
                    "winners": ", ".join(names),
                    "tied": bool(tied[size] and tied.sum() > 1),
                    "chosen": size == winner,
                }
            )
    return pd.DataFrame(rows).set_index(["area", "patch_size"])


def table_5(finished: Sequence[Run]) -> pd.DataFrame:
    """Tabulate Experiment 2 as paper Table 5 does, mean over seeds.

    Returns:
        Rows (area, model): precision, f1, recall; ``published_…``; ``difference_…`` (ours less published; NaN for
        areas the paper does not have); run_ids.
    """
    rows = [
        {
            "area": run.spec.data[0].area,
            "model": run.spec.model,
            **_scores(run.metrics["test"]),
            "run_ids": run.spec.run_id,
        }
        for run in finished
    ]
    published = paper.table(5)
    published["area"] = published["study_area"].map(paper.area_key)
    return beside_published(rows, ["area", "model"], published, finished)


def table_6(finished: Sequence[Run]) -> pd.DataFrame:
    """Tabulate Experiment 3 as paper Table 6 does: one model on the test patches of all areas, mean over seeds.

    Returns:
        Rows by model: precision, f1, recall; ``published_…``; ``difference_…``; run_ids.
    """
    rows = [
        {"model": run.spec.model, **_scores(run.metrics["test"]), "run_ids": run.spec.run_id}
        for run in finished
    ]
    return beside_published(rows, ["model"], paper.table(6), finished)


def table_6_by_area(finished: Sequence[Run], alone: Sequence[Run] = ()) -> pd.DataFrame:
    """Tabulate Experiment 3 area by area, beside networks that were trained on that area alone.

    Args:
        finished: runs of experiment 3.
        alone: runs of experiment 2; those with other patches than experiment 3 has of that area are left out, so that
            both columns are scores on the same test patches.

    Returns:
        Rows (area, model): precision, f1, recall on the area's test patches; alone_f1, gain (f1 less alone_f1; NaN
        without such a run); run_ids.
    """
    rows: list[dict[str, Any]] = [
        {
            "area": area,
            "model": run.spec.model,
            **_scores(test),
            "run_ids": run.spec.run_id,
        }
        for run in finished
        for area, test in run.metrics["areas"].items()
    ]
    table = mean_over_seeds(rows, ["area", "model"])
    mixed = {part for run in finished for part in run.spec.data}
    comparable = [
        {"area": part.area, "model": run.spec.model, "f1": _scores(run.metrics["test"])["f1"]}
        for run in alone
        for part in run.spec.data
        if part in mixed
    ]
    alone_f1 = (
        pd.DataFrame(comparable, columns=["area", "model", "f1"]).groupby(["area", "model"])["f1"].mean()
    )
    table["alone_f1"] = alone_f1.reindex(table.index)
    table["gain"] = table["f1"] - table["alone_f1"]
    return table


def recipe_table(finished: Sequence[Run]) -> pd.DataFrame:
    """Tabulate the study of section 3.3: scores by batch size and epochs, mean over seeds.

    Returns:
        Rows (batch_size, epochs): precision, f1, recall on the test patches, best_epoch (the one tested), steps (of
        SGD in all), run_ids.
    """
    rows: list[dict[str, Any]] = []
    for run in finished:
        recipe = run.spec.recipe
        last = {"best_epoch": run.metrics["best_epoch"], **run.metrics["test"]}
        for epochs, test in {**run.metrics["milestones"], str(recipe.epochs): last}.items():
            steps = -(-run.metrics["training_patches"] // recipe.batch_size) * int(epochs)
            rows.append(
                {
                    "batch_size": recipe.batch_size,
                    "epochs": int(epochs),
                    **_scores(test),
                    "best_epoch": test["best_epoch"],
                    "steps": steps,
                    "run_ids": run.spec.run_id,
                }
            )
    return mean_over_seeds(rows, ["batch_size", "epochs"]).astype({"steps": int})


def _scores(test: Mapping[str, float | None]) -> dict[str, float]:
    # A score that is not defined (nothing predicted) is stored as null.
    return {name: float("nan") if (value := test[name]) is None else value for name in SCORES}


def mean_over_seeds(rows: Sequence[Mapping[str, Any]], keys: list[str]) -> pd.DataFrame:
    """Return the mean of all columns over rows that share ``keys`` (seeds, mostly), and the ids of their runs."""
    groups = pd.DataFrame(rows).groupby(keys, sort=False)
    return groups.mean(numeric_only=True).join(groups["run_ids"].agg("+".join))


def beside_published(
    rows: Sequence[Mapping[str, Any]], keys: list[str], published: pd.DataFrame, finished: Sequence[Run]
) -> pd.DataFrame:
    """Return our mean scores with the published ones and the differences.

    Args:
        rows: by column, with the scores and ``run_ids``.
        keys: columns that name a row of the table; rows that share them are averaged.
        published: of `paper.table`, with ``keys`` and the scores.
        finished: the runs; where they have other areas than the paper's, nothing is published.
    """
    ours = mean_over_seeds(rows, keys)
    if not all(has_published_areas(part.dataset) for run in finished for part in run.spec.data):
        published = published.iloc[:0]  # another data set's "hokkaido" is not the paper's
    published = published.assign(
        model=published["model"].map({name: key for key, name in paper.MODELS.items()})
    )
    ids = ours.pop("run_ids")
    both = ours.join(published.set_index(keys)[list(SCORES)].add_prefix("published_"))
    for score in SCORES:
        both[f"difference_{score}"] = both[score] - both[f"published_{score}"]
    return both.join(ids)


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


@dataclass(frozen=True)
class Example:
    """A test patch and what networks find in it.

    Attributes:
        area, scene, row, col: where it is from (pixel of its upper left corner).
        image: (bands, rows, cols) in stored units.
        truth: (rows, cols) bool.
        predictions: by model, (rows, cols) bool.
        run_ids: by model, the run that predicted.
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
    finished: Sequence[Run],
    parts_of: Callable[[Run], Sequence[PatchSet]] = lambda run: runs.patch_sets(run.spec, progress=False),
) -> list[Example]:
    """Predict one test patch an area with each model: the patch of middle landslide share (paper Figs 10, 11, 15).

    The first seed of each model is shown. ``parts_of`` says which patches a run is shown; its own by default.
    """
    shown: dict[str, Example] = {}
    for run in finished:
        for part in parts_of(run):
            tests = part.index.iloc[part.where("test")].sort_values("share")
            number = int(tests.index[len(tests) // 2])
            if part.spec.area not in shown:
                place = part.index.iloc[number]
                shown[part.spec.area] = Example(
                    part.spec.area,
                    str(place["scene"]),
                    int(place["row"]),
                    int(place["col"]),
                    np.asarray(part.images[number]),
                    np.asarray(part.masks[number]) == 1,
                )
            example = shown[part.spec.area]
            if run.spec.model not in example.predictions:
                example.predictions[run.spec.model] = predict(run, part, number)
                example.run_ids[run.spec.model] = run.spec.run_id
    return list(shown.values())


def example_scores(shown: Sequence[Example]) -> pd.DataFrame:
    """Tabulate `examples`: rows (area, model) with the patch's place, counts of pixels, scores and run id."""
    rows = [
        {
            "area": example.area,
            "model": model,
            "scene": example.scene,
            "row": example.row,
            "col": example.col,
            **Confusion.of(predicted, example.truth).as_dict(),
            "run_ids": example.run_ids[model],
        }
        for example in shown
        for model, predicted in example.predictions.items()
    ]
    return pd.DataFrame(rows).set_index(["area", "model"])


def predict(run: Run, part: PatchSet, number: int) -> np.ndarray:
    """Return where a run predicts landslide (probability over 0.5) in one patch of ``part``, (rows, cols) bool."""
    return logits(run, run.model(), part, number) > 0


def logits(run: Run, model: nn.Module, part: PatchSet, number: int) -> np.ndarray:
    """Return the log-odds of landslide in one patch of ``part``, (rows, cols) float32; ``model`` is the run's."""
    scaled = normalised(part, np.array([number]), run.spec.recipe.normalise)
    computed = run.spec.recipe.model_copy(update={"precision": run.metrics["precision"]})
    with torch.inference_mode(), engine.autocast(scaled.device, computed):
        return model(scaled)[0, 0].float().numpy()


def scene_to_show(members: dict[str, tuple[scenes.Scene, ...]], area: str) -> scenes.Scene:
    """Return the first scene of ``area``; of the first area (and say so) where the data set does not have it."""
    if area not in members:
        print(f"no area '{area}' here: showing {next(iter(members))}")
        area = next(iter(members))
    return members[area][0]
