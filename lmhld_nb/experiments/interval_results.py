"""How sure the paper's tables are, as our runs have them: intervals for every F1, and networks compared two by two."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from lmhld_nb import paper, runs
from lmhld_nb.evaluation import intervals
from lmhld_nb.evaluation.intervals import RESAMPLES
from lmhld_nb.experiments import beyond, results, serial_experiment, serial_results
from lmhld_nb.experiments import common as experiments
from lmhld_nb.experiments.profile import Profile, is_made
from lmhld_nb.runs.store import Run
from lmhld_nb.sources import DataSet
from lmhld_nb.training.specs import RunSpec

PLACE = ["scene", "row", "col"]
PATCH = ["dataset", "area", "number"]
CELL = ["table", "area", "patch_size", "model"]


@dataclass(frozen=True)
class Cell:
    """An F1 of the paper's tables 4 to 7 as our runs have it.

    Attributes:
        table, area, patch_size, model: which; area ``all`` and size 0 where all areas count together.
        runs: the seeds, and in Table 7 the orders of addition, whose mean it is.
        counts: (runs, patches, 3) of tp, fp, fn; in Table 4 of windows.
    """

    table: int
    area: str
    patch_size: int
    model: str
    runs: tuple[Run, ...]
    counts: np.ndarray

    @property
    def run_ids(self) -> str:
        """Ids of the runs."""
        return "+".join(run.spec.run_id for run in self.runs)


def tested(run: Run) -> pd.DataFrame:
    """Return the counts of all test patches that a run's final score is of: dataset, area, number, tp, fp, fn, tn."""
    datasets = {spec.run_id: spec.data[0].dataset for spec in run.spec.chain}
    found = runs.test_patches(run)
    found = found[found["input"] == "last"]
    return found.assign(dataset=found["stage"].map(datasets)).drop(columns=["stage", "input"])


def finished(profile: Profile, dataset: DataSet) -> dict[int, list[Run]]:
    """Return the finished runs of tables 4 to 7, by table, as far as a profile makes them.

    Those of Table 4 are scored on the whole area; those of Table 7 are the last stages of all orders of addition.
    """
    asked = {4: ("1", experiments.patch_sizes), 5: ("2", experiments.single), 6: ("3", experiments.mix)}
    specs = {table: make(profile, dataset) for table, (name, make) in asked.items() if is_made(profile, name)}
    if is_made(profile, "4"):
        specs[7] = [spec for last in serial_experiment.finals(profile, dataset).values() for spec in last]
    return _done(specs)


def repeated(profile: Profile, dataset: DataSet) -> dict[int, list[Run]]:
    """Return the finished runs of `beyond.repeated`, by table."""
    return _done(beyond.repeated(profile, dataset))


def _done(specs: Mapping[int, Sequence[RunSpec]]) -> dict[int, list[Run]]:
    found = {table: [run for spec in wanted if (run := runs.find(spec))] for table, wanted in specs.items()}
    if 4 in found:
        found[4] = [run for run in found[4] if run.whole_area is not None]
    return found


def cells(made: Mapping[int, Sequence[Run]]) -> list[Cell]:
    """Return the cells of tables 4 to 7.

    Args:
        made: finished runs by table, as of `finished`.
    """
    groups: dict[tuple[int, str, int, str], list[Run]] = {}
    for table, of_table in made.items():
        for run in of_table:
            (first, *_), one = run.spec.data, table in (4, 5)
            key = (table, first.area if one else "all", first.size if one else 0, run.spec.model)
            groups.setdefault(key, []).append(run)
    found = []
    for key, group in groups.items():
        if key[0] == 4:
            counts = intervals.stacked([runs.window_counts(run) for run in group], PLACE)
        else:
            counts = intervals.stacked([tested(run) for run in group], PATCH)
        found.append(Cell(*key, tuple(group), counts))
    return found


def interval_table(
    found: Sequence[Cell], repeated: Sequence[Cell] = (), resamples: int = RESAMPLES
) -> pd.DataFrame:
    """Tabulate cells with their intervals, beside the published F1.

    Args:
        found: of all networks.
        repeated: of a network that was trained with several seeds (`beyond.repeated`).
        resamples: of the patches.

    Returns:
        Rows (table, area, patch_size, model): f1; low, high (bootstrap over patches); patches; seeds, seeds_f1,
        seeds_sd, seeds_low, seeds_high (mean, standard deviation and Student's interval over seeds, of the repeated
        runs where there are some; NaN for one seed); published_f1; run_ids.
    """
    again = {_key(cell): cell for cell in repeated}
    rows = []
    for cell in found:
        several = again.get(_key(cell), cell)
        by_patches = intervals.over_patches(cell.counts, resamples)
        seed_of = [run.spec.seed for run in several.runs]
        by_seed = pd.Series(intervals.f1(several.counts)).groupby(seed_of).mean()
        seeds = intervals.over_seeds(by_seed)
        rows.append(
            {
                **{name: getattr(cell, name) for name in CELL},
                "f1": by_patches.value,
                "low": by_patches.low,
                "high": by_patches.high,
                "patches": cell.counts.shape[1],
                "seeds": len(by_seed),
                "seeds_f1": seeds.value,
                "seeds_sd": by_seed.std(),
                "seeds_low": seeds.low,
                "seeds_high": seeds.high,
                "published_f1": _published(cell),
                "run_ids": _unique([*cell.run_ids.split("+"), *several.run_ids.split("+")]),
            }
        )
    return pd.DataFrame(rows).set_index(CELL)


def _key(cell: Cell) -> tuple[object, ...]:
    return tuple(getattr(cell, name) for name in CELL)


def _published(cell: Cell) -> float:
    made: dict[int, Callable[[Sequence[Run]], pd.DataFrame]] = {
        4: results.table_4,
        5: results.table_5,
        6: results.table_6,
        7: lambda finished: serial_results.table_7({"": finished}),
    }
    return float(made[cell.table](cell.runs)["published_f1"].iloc[0])


def pair_table(found: Sequence[Cell], resamples: int = RESAMPLES) -> pd.DataFrame:
    """Compare all networks of a table two by two on the same patches.

    Returns:
        Rows (table, area, patch_size, model, other): difference in F1 with low and high (bootstrap over patches); p of
        the paired permutation test; corrected, over all pairs on the same patches; published_difference; noise, half
        the interval's width, and noise_published, what is left of it with as many test patches as the paper's (NaN in
        Table 4, whose windows are not counted); run_ids.
    """
    groups: dict[tuple[int, str, int], list[Cell]] = {}
    for cell in found:
        groups.setdefault((cell.table, cell.area, cell.patch_size), []).append(cell)
    published = {id(cell): _published(cell) for cell in found}
    rows = []
    for (table, area, size), group in groups.items():
        for one, other in combinations(group, 2):
            gap = intervals.difference(one.counts, other.counts, resamples)
            paired = one.counts.shape == other.counts.shape
            patches = one.counts.shape[1]
            rows.append(
                {
                    "table": table,
                    "area": area,
                    "patch_size": size,
                    "model": one.model,
                    "other": other.model,
                    "difference": gap.value,
                    "low": gap.low,
                    "high": gap.high,
                    "p": intervals.permuted(one.counts, other.counts, resamples) if paired else np.nan,
                    "corrected": np.nan,
                    "published_difference": published[id(one)] - published[id(other)],
                    "noise": gap.half,
                    "noise_published": gap.half * np.sqrt(patches / _published_patches(table, area)),
                    "run_ids": f"{one.run_ids}+{other.run_ids}",
                }
            )
    pairs = pd.DataFrame(rows, columns=[*CELL, "other", "difference", "low", "high", "p", "corrected",
                                        "published_difference", "noise", "noise_published", "run_ids"])  # fmt: skip
    same_patches = pairs.groupby(["table", "area", "patch_size"], sort=False)
    pairs["corrected"] = same_patches["p"].transform(intervals.corrected)
    return pairs.set_index([*CELL, "other"])


def _published_patches(table: int, area: str) -> float:
    """Return how many test patches the paper's split leaves (a tenth); NaN where it does not say."""
    counts = paper.table(2)
    areas = counts["study_area"].map(lambda name: paper.area_key(name) if "," in name else "comparison")
    by_area = dict(zip(areas, counts["patches"].astype(float), strict=True))
    if table == 6:
        return by_area["comparison"] / 10
    if table == 7:
        return (sum(by_area.values()) - by_area["comparison"]) / 10
    return by_area.get(area, np.nan) / 10 if table == 5 else np.nan


def luck(scores: pd.DataFrame) -> pd.Series:
    """Return by table how far apart two trainings may end that differ in their seed alone, in 95 of 100 pairs.

    Args:
        scores: of `interval_table`.

    Returns:
        Half-widths in F1: Student's t times the standard deviation over seeds, pooled over the cells that have several
        seeds, times the root of two. NaN where no cell has.
    """
    spread = scores["seeds_sd"].where(scores["seeds"] > 1)
    freedom = (scores["seeds"] - 1).where(spread.notna(), 0)
    by_table = (
        pd.DataFrame({"squares": spread**2 * freedom, "freedom": freedom}).groupby("table", sort=False).sum()
    )
    by_table = by_table.where(by_table["freedom"] > 0)
    pooled = np.sqrt(by_table["squares"] / by_table["freedom"])
    return pooled * np.sqrt(2) * stats.t.ppf((1 + intervals.LEVEL) / 2, by_table["freedom"])


def rankings(pairs: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Count by table how many differences between networks exceed the noise.

    Args:
        pairs: of `pair_table`.
        scores: of `interval_table`.

    Returns:
        Rows by table: pairs; ours_sure (corrected p below 0.05); luck (`luck`); ours_beyond_luck (differences that
        exceed it); published (pairs with a published difference); published_beyond_noise, published_beyond_scaled and
        published_beyond_luck (those that exceed our noise, what is left of it with as many test patches as the
        paper's, and luck); run_ids. NaN where there is nothing to compare with.
    """
    size, ours = pairs["published_difference"].abs(), pairs["difference"].abs()
    by_luck = luck(scores)
    lucky = pd.Series(by_luck.reindex(pairs.index.get_level_values("table")).to_numpy(), pairs.index)

    def beyond_it(differences: pd.Series, noise: pd.Series) -> pd.Series:
        return (differences > noise).astype(float).where(noise.notna())

    told = pd.DataFrame(
        {
            "pairs": 1,
            "ours_sure": pairs["corrected"] < 0.05,
            "ours_beyond_luck": beyond_it(ours, lucky),
            "published": size.notna(),
            "published_beyond_noise": size > pairs["noise"],
            "published_beyond_scaled": beyond_it(size, pairs["noise_published"]),
            "published_beyond_luck": beyond_it(size, lucky),
        }
    )
    counts = told.groupby("table", sort=False).sum(min_count=1)
    counts.insert(2, "luck", by_luck.reindex(counts.index))  # none where no two networks are compared
    ids = pairs["run_ids"].groupby("table", sort=False).agg(lambda ids: _unique("+".join(ids).split("+")))
    more = scores["run_ids"].groupby("table", sort=False).agg("+".join)
    return counts.assign(
        run_ids=[_unique([*ids[table].split("+"), *more[table].split("+")]) for table in counts.index]
    )


def _unique(ids: Sequence[str]) -> str:
    return "+".join(dict.fromkeys(ids))
