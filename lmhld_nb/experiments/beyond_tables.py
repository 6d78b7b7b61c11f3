"""What the paper's choices are worth: the runs of `beyond` as tables, each with a column ``run_ids``."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats

from lmhld_nb import paper, runs, scenes, sources
from lmhld_nb.evaluation import intervals, objects
from lmhld_nb.evaluation.intervals import RESAMPLES
from lmhld_nb.experiments.certainty import WINDOW
from lmhld_nb.experiments.tables import BLOCK, join_ids, tested_patches, tested_windows
from lmhld_nb.runs import Run
from lmhld_nb.training import scoring

WEIGHTS = (0.0, *np.geomspace(0.05, 100, 14).round(3))


def held_out(base: Run, with_background: Run) -> pd.DataFrame:
    """Return the windows on which a network and the same one trained with `PatchSpec.background` were both tested.

    Returns:
        Rows by window: its position, kept (whether the paper's rule keeps it), base_tp, …, background_fn, and weight:
        how many windows of the area it stands for, so that both kinds together are the whole area.
    """
    (patch_set,) = runs.patch_sets(with_background.spec, progress=False)
    index = patch_set.index.assign(kept=patch_set.index["share"] >= patch_set.spec.min_share)
    tests = index[index["split"] == "test"]
    stands_for = index.groupby("kept").size() / tests.groupby("kept").size()
    table = tests[[*WINDOW, "kept"]]
    for name, run in (("base", base), ("background", with_background)):
        counts = runs.window_counts(run)[[*WINDOW, *intervals.COUNTED]]
        renamed = {cell: f"{name}_{cell}" for cell in intervals.COUNTED}
        table = table.merge(counts.rename(columns=renamed), on=WINDOW, validate="1:1")
    return table.assign(
        weight=table["kept"].map(stands_for / stands_for.get(True, np.nan)), pixels=patch_set.spec.size**2
    )


def prevalence_table(pairs: Sequence[tuple[Run, Run]], resamples: int = RESAMPLES) -> pd.DataFrame:
    """Tabulate scores on the same held-out windows while those that the paper's rule drops count more and more.

    Args:
        pairs: by seed, runs without and with background, all on one split.

    Returns:
        Rows (training, weight of a dropped window beside a kept one): prevalence (share of landslide); the scores with
        …_low and …_high; natural (whether both kinds are as frequent as in the area); run_ids.
    """
    tables = [held_out(base, background) for base, background in pairs]
    kept, side = tables[0]["kept"].to_numpy(), pairs[0][0].spec.data[0].size
    natural = float(tables[0]["weight"][~kept].iloc[0]) if (~kept).any() else 0.0
    rows = []
    trainings = {"base": "as in the paper", "background": "with background"}
    for index, (name, training) in enumerate(trainings.items()):
        columns = [f"{name}_{cell}" for cell in intervals.COUNTED]
        counts = np.stack([table[columns].to_numpy() for table in tables])
        for weight in sorted({*WEIGHTS, natural} if natural else {0.0}):
            groups, weights = (counts[:, kept], counts[:, ~kept]), (1.0, weight)
            # The first run stands for all: they see the same windows.
            landslide = sum(w * float(g[0][:, [0, 2]].sum()) for g, w in zip(groups, weights, strict=True))
            pixels = sum(w * g.shape[1] for g, w in zip(groups, weights, strict=True)) * side**2
            row: dict[str, Any] = {
                "training": training,
                "weight": weight,
                "prevalence": landslide / pixels,
                "natural": weight == natural,
            }
            for score, interval in intervals.mixed(groups, weights, resamples).items():
                row |= {score: interval.value, f"{score}_low": interval.low, f"{score}_high": interval.high}
            rows.append(row | {"run_ids": join_ids([pair[index].spec.run_id for pair in pairs])})
    return pd.DataFrame(rows).set_index(["training", "weight"])


def split_table(kinds: Mapping[str, Sequence[Run]], resamples: int = RESAMPLES) -> pd.DataFrame:
    """Tabulate runs on patches split in several ways.

    Returns:
        Rows (split, seed): f1, low, high (bootstrap over patches); test_patches; touching, the share of them beside a
        training patch; run_ids.
    """
    rows = []
    for kind, finished in kinds.items():
        for run in finished:
            (patch_set,) = runs.patch_sets(run.spec, progress=False)
            interval = intervals.over_patches(intervals.stacked([tested_patches(run)], BLOCK), resamples)
            patches = len(patch_set.where("test"))
            rows.append(
                {
                    "split": kind,
                    "seed": run.spec.seed,
                    **interval._asdict(),
                    "test_patches": patches,
                    "touching": patch_set.neighbours("test", "train") / patches,
                    "run_ids": run.spec.run_id,
                }
            )
    return pd.DataFrame(rows).rename(columns={"value": "f1"}).set_index(["split", "seed"])


def size_table(by_size: Mapping[int, Sequence[Run]], own: int, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Tabulate runs on patches of several sizes, scored over the whole area; ``own`` is the 10 % rule's choice.

    Returns:
        Rows (patch_size, seed): f1, low, high (bootstrap over windows); outside_f1, outside the training patches;
        training_patches, steps, megapixels (seen in training); chosen; run_ids.
    """
    rows = []
    for size, finished in by_size.items():
        for run in finished:
            counts = tested_windows(run)
            interval = intervals.over_patches(intervals.stacked([counts], BLOCK), resamples)
            patches = run.metrics["training_patches"]
            rows.append(
                {
                    "patch_size": size,
                    "seed": run.spec.seed,
                    **interval._asdict(),
                    "outside_f1": scoring.whole_area(counts)["outside_training"].f1,
                    "training_patches": patches,
                    "steps": run.metrics["steps"],
                    "megapixels": patches * size**2 * run.spec.recipe.epochs / 1e6,
                    "chosen": size == own,
                    "run_ids": run.spec.run_id,
                }
            )
    return pd.DataFrame(rows).rename(columns={"value": "f1"}).set_index(["patch_size", "seed"])


def switch_table(
    base: Sequence[Run], switched: Mapping[str, Sequence[Run]], resamples: int = RESAMPLES
) -> pd.DataFrame:
    """Tabulate what each change does to F1 on the same test patches, seed by seed.

    Returns:
        Rows by change: f1; effect (mean over seeds of F1 with the change minus without); seeds_low, seeds_high
        (Student's t over seeds); low, high (bootstrap over patches); p (paired t-test over seeds) and corrected; seeds;
        run_ids.
    """
    by_seed = {run.spec.seed: run for run in base}
    rows = []
    for name, finished in switched.items():
        pairs = [(run, by_seed[run.spec.seed]) for run in finished if run.spec.seed in by_seed]
        if not pairs:
            continue
        with_it, without = (
            intervals.stacked([tested_patches(pair[index]) for pair in pairs], BLOCK) for index in (0, 1)
        )
        gaps = intervals.f1(with_it) - intervals.f1(without)
        seeds, patches = intervals.over_seeds(gaps), intervals.difference(with_it, without, resamples)
        testable = len(gaps) > 1 and np.isfinite(gaps).all() and np.ptp(gaps) > 0
        rows.append(
            {
                "change": name,
                "f1": intervals.f1(with_it).mean(),
                "effect": patches.value,
                "seeds_low": seeds.low,
                "seeds_high": seeds.high,
                "low": patches.low,
                "high": patches.high,
                "p": float(stats.ttest_1samp(gaps, 0).pvalue) if testable else np.nan,
                "corrected": np.nan,
                "seeds": len(pairs),
                "run_ids": join_ids([run.spec.run_id for pair in pairs for run in pair]),
            }
        )
    table = pd.DataFrame(rows).set_index("change")
    table["corrected"] = intervals.corrected(table["p"])
    return table


def landslides(run: Run) -> tuple[pd.DataFrame, pd.DataFrame, float]:
    """Return the true and the mapped landslides of a run's whole area, the training patches included.

    Returns:
        `objects.overlaps` of truth with map and of map with truth, over all scenes; the ground area of a pixel in m²
        (NaN where the data do not say).

    Raises `UserError` where only the run's record is here, without them.
    """
    stored = runs.remembered(run, "landslides", lambda: _landslides(run))
    true, mapped = (
        pd.DataFrame({key.partition("/")[2]: stored[key] for key in stored if key.startswith(f"{name}/")})
        for name in ("true", "mapped")
    )
    return true, mapped, float(stored["pixel_m2"])


def _landslides(run: Run) -> dict[str, np.ndarray]:
    """Compute what `landslides` returns: the columns of both tables as arrays, ``true/size_px`` say, and pixel_m2."""
    (patch_set,) = runs.patch_sets(run.spec, progress=False)
    model, tables, pixel_m2 = run.model(), [], float("nan")
    for scene in sources.load(patch_set.spec.dataset).scenes_of(patch_set.spec.area):
        masks, below = [], 0
        for strip, predicted, truth, known in scoring.predict_strips(
            model, patch_set, scene, run.recipe, torch.device("cpu")
        ):
            if strip.row > below:  # what lies between is not known, and must not join what it separates
                unknown = np.full((1, strip.width), 255, np.uint8)
                masks.append((unknown, unknown))
            masks.append(
                (
                    np.where(known, predicted, 255).astype(np.uint8),
                    np.where(known, truth, 255).astype(np.uint8),
                )
            )
            below = strip.row + strip.height
        # Only where there is data counts: its mask stands for a probability.
        layers = [(np.where(mapped == 255, -1.0, mapped == 1), mapped, truth) for mapped, truth in masks]
        tables.append(objects.landslides(layers.__iter__))
        with scenes.open_image(scene) as image:
            pixel_m2 = image.pixel_m**2
    columns: dict[str, np.ndarray] = {"pixel_m2": np.array(pixel_m2)}
    for name, parts in zip(("true", "mapped"), zip(*tables, strict=True), strict=True):
        table = pd.concat(parts, ignore_index=True)
        columns |= {f"{name}/{column}": table[column].to_numpy() for column in table}
    return columns


def size_frequencies(true: pd.DataFrame, mapped: pd.DataFrame, pixel_m2: float) -> pd.DataFrame:
    """Return `objects.size_frequency` of both tables of `landslides`, with a column ``inventory`` (true, mapped)."""
    return pd.concat(
        [
            objects.size_frequency(table["size_px"].to_numpy() * pixel_m2).assign(inventory=name)
            for name, table in (("true", true), ("mapped", mapped))
        ],
        ignore_index=True,
    )


def implied_prevalence() -> pd.DataFrame:
    """Return the share of landslide in Wenchuan's whole area that the published tables imply, by network as printed.

    With precision P and recall R where a share s is landslide, R s (1/P - 1) / (1 - s) of the background is mapped
    falsely. As much of it in the whole area, with Table 4's P and R, gives the share there (column ``implied``).
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
