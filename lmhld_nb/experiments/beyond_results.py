"""What the paper's choices are worth: the runs of `beyond` as tables, each with a column ``run_ids``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats

from lmhld_nb import paper, runs, scenes, sources
from lmhld_nb.evaluation import intervals
from lmhld_nb.evaluation import objects as detection
from lmhld_nb.evaluation.intervals import RESAMPLES, Interval
from lmhld_nb.experiments.interval_results import PATCH, PLACE, tested
from lmhld_nb.runs.store import Run
from lmhld_nb.training import whole_area
from lmhld_nb.training.whole_area import totals

WEIGHTS = (0.0, *np.geomspace(0.05, 100, 14).round(3))


def held_out(base: Run, more: Run) -> pd.DataFrame:
    """Return the windows that a network and the same one trained with background were both tested on.

    Args:
        base, more: runs on the same split, without and with `PatchSpec.background`.

    Returns:
        Rows by window: its place, kept (whether the paper's rule keeps it), base_tp, …, more_fn, and weight: how many
        windows of the area it stands for, so that both kinds together are the whole area.
    """
    (part,) = runs.patch_sets(more.spec, progress=False)
    index = part.index.assign(kept=part.index["share"] >= part.spec.min_share)
    tests = index[index["split"] == "test"]
    stands_for = index.groupby("kept").size() / tests.groupby("kept").size()
    found = tests[[*PLACE, "kept"]]
    for name, run in (("base", base), ("more", more)):
        windows = runs.window_counts(run)[[*PLACE, *intervals.COUNTED]]
        renamed = {cell: f"{name}_{cell}" for cell in intervals.COUNTED}
        found = found.merge(windows.rename(columns=renamed), on=PLACE, validate="1:1")
    return found.assign(
        weight=found["kept"].map(stands_for / stands_for.get(True, np.nan)), pixels=part.spec.size**2
    )


def prevalence_table(pairs: Sequence[tuple[Run, Run]], resamples: int = RESAMPLES) -> pd.DataFrame:
    """Tabulate scores on the same held-out windows while those that the paper's rule drops count more and more.

    Args:
        pairs: by seed, runs without and with background, all on one split.

    Returns:
        Rows (training, weight of a dropped window beside a kept one): prevalence (share of landslide); precision, f1
        and recall with …_low and …_high; natural (the weight at which both kinds are as frequent as in the area);
        run_ids.
    """
    tables = [held_out(base, more) for base, more in pairs]
    kept, side = tables[0]["kept"].to_numpy(), pairs[0][0].spec.data[0].size
    natural = float(tables[0]["weight"][~kept].iloc[0]) if (~kept).any() else 0.0
    rows = []
    for place, (name, training) in enumerate({"base": "as in the paper", "more": "with background"}.items()):
        columns = [f"{name}_{cell}" for cell in intervals.COUNTED]
        counts = np.stack([table[columns].to_numpy() for table in tables])
        for weight in sorted({*WEIGHTS, natural} if natural else {0.0}):
            groups, weights = (counts[:, kept], counts[:, ~kept]), (1.0, weight)
            # One run tells: all see the same windows.
            landslide = sum(w * float(g[0][:, [0, 2]].sum()) for g, w in zip(groups, weights, strict=True))
            pixels = sum(w * g.shape[1] for g, w in zip(groups, weights, strict=True)) * side**2
            row: dict[str, Any] = {
                "training": training,
                "weight": weight,
                "prevalence": landslide / pixels,
                "natural": weight == natural,
            }
            for score, interval in intervals.mixed(groups, weights, resamples).items():
                row |= _bounds(score, interval)
            rows.append(row | {"run_ids": "+".join(pair[place].spec.run_id for pair in pairs)})
    return pd.DataFrame(rows).set_index(["training", "weight"])


def split_table(kinds: Mapping[str, Sequence[Run]], resamples: int = RESAMPLES) -> pd.DataFrame:
    """Tabulate runs on patches split in several ways.

    Returns:
        Rows (split, seed): f1 with low and high (bootstrap over patches); test_patches; touching, the share of them
        that touch a training patch at a side or a corner; run_ids.
    """
    rows = []
    for kind, finished in kinds.items():
        for run in finished:
            (part,) = runs.patch_sets(run.spec, progress=False)
            found = intervals.over_patches(tested(run)[intervals.COUNTED].to_numpy(), resamples)
            patches = len(part.where("test"))
            rows.append(
                {
                    "split": kind,
                    "seed": run.spec.seed,
                    **found._asdict(),
                    "test_patches": patches,
                    "touching": part.neighbours("test", "train") / patches,
                    "run_ids": run.spec.run_id,
                }
            )
    return pd.DataFrame(rows).rename(columns={"value": "f1"}).set_index(["split", "seed"])


def size_table(by_size: Mapping[int, Sequence[Run]], own: int, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Tabulate runs on patches of several sizes, scored over the whole area.

    Args:
        by_size: finished runs.
        own: the size the 10 % rule chooses.

    Returns:
        Rows (patch_size, seed): f1 with low and high (bootstrap over windows); outside_f1, outside the training
        patches; training_patches, steps, megapixels (seen in training); chosen; run_ids.
    """
    rows = []
    for size, finished in by_size.items():
        for run in finished:
            windows = runs.window_counts(run)
            found = intervals.over_patches(windows[intervals.COUNTED].to_numpy(), resamples)
            recipe, patches = run.spec.recipe, run.metrics["training_patches"]
            rows.append(
                {
                    "patch_size": size,
                    "seed": run.spec.seed,
                    **found._asdict(),
                    "outside_f1": totals(windows)["outside_training"].f1,
                    "training_patches": patches,
                    "steps": -(-patches // recipe.batch_size) * recipe.epochs,
                    "megapixels": patches * size**2 * recipe.epochs / 1e6,
                    "chosen": size == own,
                    "run_ids": run.spec.run_id,
                }
            )
    return pd.DataFrame(rows).rename(columns={"value": "f1"}).set_index(["patch_size", "seed"])


def switch_table(
    base: Sequence[Run], switched: Mapping[str, Sequence[Run]], resamples: int = RESAMPLES
) -> pd.DataFrame:
    """Tabulate what each change does to F1 on the same test patches, seed by seed.

    Args:
        base: runs without any change.
        switched: runs by what is changed.

    Returns:
        Rows by change: f1; effect (mean over seeds of F1 with the change less without); seeds_low, seeds_high
        (Student's t over seeds); low, high (bootstrap over patches); p (paired t-test over seeds) and corrected;
        seeds; run_ids.
    """
    by_seed = {run.spec.seed: run for run in base}
    rows = []
    for name, finished in switched.items():
        pairs = [(run, by_seed[run.spec.seed]) for run in finished if run.spec.seed in by_seed]
        if not pairs:
            continue
        with_it, without = (
            intervals.stacked([tested(pair[place]) for pair in pairs], PATCH) for place in (0, 1)
        )
        gaps = intervals.f1(with_it) - intervals.f1(without)
        seeds, patches = intervals.over_seeds(gaps), intervals.difference(with_it, without, resamples)
        known = len(gaps) > 1 and np.isfinite(gaps).all() and np.ptp(gaps) > 0
        rows.append(
            {
                "change": name,
                "f1": intervals.f1(with_it).mean(),
                "effect": patches.value,
                "seeds_low": seeds.low,
                "seeds_high": seeds.high,
                "low": patches.low,
                "high": patches.high,
                "p": float(stats.ttest_1samp(gaps, 0).pvalue) if known else np.nan,
                "corrected": np.nan,
                "seeds": len(pairs),
                "run_ids": "+".join(run.spec.run_id for pair in pairs for run in pair),
            }
        )
    table = pd.DataFrame(rows).set_index("change")
    table["corrected"] = intervals.corrected(table["p"])
    return table


def landslides(run: Run) -> tuple[pd.DataFrame, pd.DataFrame, float]:
    """Return the true and the mapped landslides of a run's whole area, the training patches included.

    Returns:
        `detection.overlaps` of truth with map and of map with truth, over all scenes; the ground area of a pixel in m²,
        NaN where the data do not say.

    Raises:
        UserError: the data set is not there, or a scene cannot be read.
    """
    (part,) = runs.patch_sets(run.spec, progress=False)
    recipe = run.spec.recipe.model_copy(update={"precision": run.metrics["precision"]})
    model, tables, pixel_m2 = run.model(), [], float("nan")
    for scene in sources.load(part.spec.dataset).scenes_of(part.spec.area):
        strips, below = [], 0
        for strip, predicted, truth, known in whole_area.predictions(
            model, part, scene, recipe, torch.device("cpu")
        ):
            if strip.row > below:  # what lies between is not known, and must not join what it parts
                strips.append(np.full((1, strip.width), 255, np.uint8))
                strips.append(strips[-1])
            strips += [np.where(known, layer, 255).astype(np.uint8) for layer in (predicted, truth)]
            below = strip.row + strip.height
        pairs = list(zip(strips[::2], strips[1::2], strict=True))
        # Only where there is data is taken: its mask stands for a probability.
        layers = [(np.where(mask == 255, -1.0, mask == 1), mask, truth) for mask, truth in pairs]
        tables.append(detection.landslides(layers.__iter__))
        with scenes.open_image(scene) as image:
            pixel_m2 = image.pixel_m**2
    true, mapped = (pd.concat(both, ignore_index=True) for both in zip(*tables, strict=True))
    return true, mapped, pixel_m2


def size_frequencies(true: pd.DataFrame, mapped: pd.DataFrame, pixel_m2: float) -> pd.DataFrame:
    """Return `detection.size_frequency` of both tables of `landslides`, with a column ``inventory`` (true, mapped)."""
    both = {"true": true, "mapped": mapped}
    return pd.concat(
        [
            detection.size_frequency(table["size_px"].to_numpy() * pixel_m2).assign(inventory=name)
            for name, table in both.items()
        ],
        ignore_index=True,
    )


def implied_prevalence() -> pd.DataFrame:
    """Return the share of landslide in Wenchuan's whole area that the published tables imply.

    With precision P and recall R where a share s is landslide, R s (1/P - 1) / (1 - s) of the background is mapped
    falsely. As much of it in the whole area, with Table 4's P and R, gives the share there.

    Returns:
        Rows by network (as printed): patches (share of Table 2's test patches), patches_precision (Table 5),
        area_precision (Table 4 at the same patch size), implied.
    """
    cuts = paper.table(2)
    own = cuts[cuts["study_area"].str.startswith("Wenchuan")].iloc[0]
    share = float(own["landslide_fraction_test"])
    table5, table4 = paper.table(5), paper.table(4)
    alone = table5[table5["study_area"].map(paper.area_key) == "wenchuan"].set_index("model")
    whole = table4[table4["patch_size"] == own["patch_size"]].set_index("model")
    alarms = alone["recall"] * share * (1 / alone["precision"] - 1) / (1 - share)
    # P = R s / (R s + alarms (1 - s)), solved for s.
    odds = alarms / (whole["recall"] * (1 / whole["precision"] - 1))
    return pd.DataFrame(
        {
            "patches": share,
            "patches_precision": alone["precision"],
            "area_precision": whole["precision"],
            "implied": odds / (1 + odds),
        }
    )


def _bounds(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
