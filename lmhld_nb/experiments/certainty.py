"""How sure the paper's tables are, as our runs have them: an interval for every F1, and networks compared pairwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from lmhld_nb import paper, runs
from lmhld_nb.evaluation import intervals
from lmhld_nb.evaluation.intervals import RESAMPLES
from lmhld_nb.experiments import beyond, mix, part, patch_size, single
from lmhld_nb.experiments.study import Study
from lmhld_nb.experiments.tables import join_ids
from lmhld_nb.runs import Run
from lmhld_nb.training.specs import RunSpec

WINDOW = ["scene", "row", "col"]
PATCH = ["dataset", "area", "number"]
CELL = ["table", "area", "patch_size", "model"]


@dataclass(frozen=True)
class Cell:
    """An F1 of Tables 4 to 7 as our runs have it; area ``all`` and size 0 where all areas count together.

    ``runs`` are the seeds, and in Table 7 the orders of addition, whose mean it is; ``counts`` (runs, patches, 3) are
    tp, fp and fn, in Table 4 of windows; ``published_f1`` is NaN where nothing is published.
    """

    table: int
    area: str
    patch_size: int
    model: str
    runs: tuple[Run, ...]
    counts: np.ndarray
    published_f1: float

    @property
    def key(self) -> tuple[int, str, int, str]:
        """What tells it from other cells: the columns `CELL`."""
        return self.table, self.area, self.patch_size, self.model

    @property
    def run_ids(self) -> str:
        """Ids of the runs, joined."""
        return join_ids([run.spec.run_id for run in self.runs])


def tested_patches(run: Run) -> pd.DataFrame:
    """Return the counts of all test patches that a run's final score is of: dataset, area, number, tp, fp, fn, tn."""
    datasets = {spec.run_id: spec.data[0].dataset for spec in run.spec.chain}
    counts = runs.test_patches(run)
    counts = counts[counts["input"] == "last"]
    return counts.assign(dataset=counts["stage"].map(datasets)).drop(columns=["stage", "input"])


def table_specs(study: Study) -> dict[int, list[RunSpec]]:
    """Return the runs of Tables 4 to 7 by table, as far as the profile makes them; of Table 7 the last stages."""
    makers = {4: ("patch_size", patch_size.specs), 5: ("single", single.specs), 6: ("mix", mix.specs)}
    specs = {table: make(study) for table, (name, make) in makers.items() if study.profile.makes(name)}
    if study.profile.makes("part"):
        specs[7] = [spec for finals in part.finals(study).values() for spec in finals]
    return specs


def table_cells(study: Study) -> list[Cell]:
    """Return the cells of Tables 4 to 7 from the finished runs of all networks."""
    return cells(study, table_specs(study))


def repeated_cells(study: Study) -> list[Cell]:
    """Return the cells of the network that was trained with several seeds (`beyond.repeated`)."""
    return cells(study, beyond.repeated(study))


def cells(study: Study, specs: Mapping[int, Sequence[RunSpec]]) -> list[Cell]:
    """Return the cells that the finished runs of ``specs`` (by table) fill."""
    groups: dict[tuple[int, str, int, str], list[Run]] = {}
    for table, of_table in specs.items():
        scored = {spec.run_id for spec in of_table} if table == 4 else set()
        for run in study.finished(of_table, scored):
            (first, *_), one_area = run.spec.data, table in (4, 5)
            key = (table, first.area if one_area else "all", first.size if one_area else 0, run.spec.model)
            groups.setdefault(key, []).append(run)
    filled = []
    for key, group in groups.items():
        if key[0] == 4:
            counts = intervals.stacked([runs.window_counts(run) for run in group], WINDOW)
        else:
            counts = intervals.stacked([tested_patches(run) for run in group], PATCH)
        filled.append(Cell(*key, tuple(group), counts, _published_f1(study, key[0], group)))
    return filled


def _published_f1(study: Study, table: int, group: Sequence[Run]) -> float:
    if table == 7:
        return float(part.mean_over_orders(group)["published_f1"].iloc[0])
    make = {4: patch_size.table_4, 5: single.table_5, 6: mix.table_6}[table]
    return float(make(study, group)["published_f1"].iloc[0])


def interval_table(cells: Sequence[Cell], repeated: Sequence[Cell] = (), resamples: int = RESAMPLES) -> pd.DataFrame:
    """Tabulate cells with their intervals (bootstrap over patches), beside the published F1.

    ``repeated`` are cells of a network that was trained with several seeds (`repeated_cells`).

    Returns:
        Rows `CELL`: f1, low, high, patches; seeds, seeds_f1, seeds_sd, seeds_low, seeds_high (Student's interval of
        their mean, NaN for one seed); published_f1; run_ids.
    """
    again = {cell.key: cell for cell in repeated}
    rows = []
    for cell in cells:
        several = again.get(cell.key, cell)
        by_patches = intervals.over_patches(cell.counts, resamples)
        seed_of = [run.spec.seed for run in several.runs]
        by_seed = pd.Series(intervals.f1(several.counts)).groupby(seed_of).mean()
        seeds = intervals.over_seeds(by_seed)
        rows.append(
            {
                **dict(zip(CELL, cell.key, strict=True)),
                "f1": by_patches.value,
                "low": by_patches.low,
                "high": by_patches.high,
                "patches": cell.counts.shape[1],
                "seeds": len(by_seed),
                "seeds_f1": seeds.value,
                "seeds_sd": by_seed.std(),
                "seeds_low": seeds.low,
                "seeds_high": seeds.high,
                "published_f1": cell.published_f1,
                "run_ids": join_ids([cell.run_ids, several.run_ids]),
            }
        )
    return pd.DataFrame(rows).set_index(CELL)


def pair_table(cells: Sequence[Cell], resamples: int = RESAMPLES) -> pd.DataFrame:
    """Compare all networks of a table pairwise on the same patches.

    Returns:
        Rows `CELL` and other: difference in F1 with low and high (bootstrap); p of the paired permutation test;
        corrected, over all pairs on the same patches; published_difference; noise, half the interval's width, and
        noise_published, what is left of it with as many test patches as the paper's (NaN in Table 4); run_ids.
    """
    groups: dict[tuple[int, str, int], list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.key[:3], []).append(cell)
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
                    "published_difference": one.published_f1 - other.published_f1,
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


def seed_noise(scores: pd.DataFrame) -> pd.Series:
    """Return by table how far apart in F1 two trainings may end that differ in their seed alone, in 95 of 100 pairs.

    Student's t times the standard deviation over seeds, pooled over the cells of `interval_table` that have several,
    times the root of two; NaN where no cell has.
    """
    spread = scores["seeds_sd"].where(scores["seeds"] > 1)
    freedom = (scores["seeds"] - 1).where(spread.notna(), 0)
    by_table = pd.DataFrame({"squares": spread**2 * freedom, "freedom": freedom}).groupby("table", sort=False).sum()
    by_table = by_table.where(by_table["freedom"] > 0)
    pooled = np.sqrt(by_table["squares"] / by_table["freedom"])
    return pooled * np.sqrt(2) * stats.t.ppf((1 + intervals.LEVEL) / 2, by_table["freedom"])


def rankings(pairs: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Count by table how many differences of `pair_table` exceed the noise, given the scores of `interval_table`.

    Returns:
        Rows by table: pairs; ours_sure (corrected p below 0.05); luck (`seed_noise`); ours_beyond_luck; published
        (pairs with a published difference); published_beyond_noise, _scaled and _luck: those that exceed our noise,
        what is left of it with as many test patches as the paper's, and luck; run_ids. NaN where there is nothing to
        compare with.
    """
    published, ours = pairs["published_difference"].abs(), pairs["difference"].abs()
    by_table = seed_noise(scores)
    luck = pd.Series(by_table.reindex(pairs.index.get_level_values("table")).to_numpy(), pairs.index)

    def exceeds(differences: pd.Series, noise: pd.Series) -> pd.Series:
        return (differences > noise).astype(float).where(noise.notna())

    flags = pd.DataFrame(
        {
            "pairs": 1,
            "ours_sure": pairs["corrected"] < 0.05,
            "ours_beyond_luck": exceeds(ours, luck),
            "published": published.notna(),
            "published_beyond_noise": published > pairs["noise"],
            "published_beyond_scaled": exceeds(published, pairs["noise_published"]),
            "published_beyond_luck": exceeds(published, luck),
        },
        index=pairs.index,
    )
    counts = flags.groupby("table", sort=False).sum(min_count=1)
    counts.insert(2, "luck", by_table.reindex(counts.index))  # none where no two networks are compared
    rows = pd.concat([frame.reset_index()[["table", "run_ids"]] for frame in (pairs, scores)])
    ids = rows.groupby("table", sort=False)["run_ids"].agg(list).map(join_ids)
    return counts.assign(run_ids=ids.reindex(counts.index))


def describe_rankings(ranked: pd.DataFrame) -> list[str]:
    """Return lines of text on how many differences between networks are more than chance (of `rankings`)."""
    lines = []
    for table, row in ranked.iterrows():
        lines.append(
            f"Table {table}: {row['ours_sure']} of {row['pairs']} pairs of ours differ beyond the chance of patches"
        )
        if row["luck"] >= 0:
            lines.append(
                f"   two seeds of one network end up to {row['luck']:.3f} apart; {row['ours_beyond_luck']:.0f} of our "
                f"pairs and {row['published_beyond_luck']:.0f} of {row['published']} published ones differ by more"
            )
        if row["published"]:
            noisy = row["published_beyond_noise"]
            lines.append(f"   {noisy} of {row['published']} published differences exceed our patches' noise")
        if row["published_beyond_scaled"] >= 0:
            lines.append(f"   {row['published_beyond_scaled']:.0f} with as many test patches as the paper's")
    return lines
