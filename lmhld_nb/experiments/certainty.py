"""How sure the paper's tables are, as our runs have them: an interval for every F1, and networks compared pairwise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from lmhld_nb import runs
from lmhld_nb.evaluation import intervals
from lmhld_nb.evaluation.intervals import RESAMPLES
from lmhld_nb.experiments import mix, part, patch_size, single
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

    ``repeated`` are cells of a network that was trained with several seeds (`beyond.repeated`). Rows `CELL`: f1, low,
    high, patches; seeds, seeds_f1, seeds_sd, seeds_low, seeds_high (Student's interval of their mean, NaN for one
    seed); published_f1; run_ids.
    """
    again = {cell.key: cell for cell in repeated}
    rows = []
    for cell in cells:
        several = again.get(cell.key, cell)
        f1, low, high = intervals.over_patches(cell.counts, resamples)
        by_seed = pd.Series(intervals.f1(several.counts)).groupby([run.spec.seed for run in several.runs]).mean()
        mean, seeds_low, seeds_high = intervals.over_seeds(by_seed)
        seeds = (len(by_seed), mean, by_seed.std(), seeds_low, seeds_high)
        run_ids = join_ids([cell.run_ids, several.run_ids])
        rows.append((*cell.key, f1, low, high, cell.counts.shape[1], *seeds, cell.published_f1, run_ids))
    columns = ["f1", "low", "high", "patches", "seeds", "seeds_f1", "seeds_sd", "seeds_low", "seeds_high"]
    return pd.DataFrame(rows, columns=[*CELL, *columns, "published_f1", "run_ids"]).set_index(CELL)


def pair_table(cells: Sequence[Cell], resamples: int = RESAMPLES) -> pd.DataFrame:
    """Compare networks of a table pairwise on the same patches: difference in F1 with its interval, p, corrected p."""
    groups: dict[tuple[int, str, int], list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.key[:3], []).append(cell)
    rows = []
    for key, group in groups.items():
        for one, other in combinations(group, 2):
            gap = intervals.difference(one.counts, other.counts, resamples)
            paired = one.counts.shape == other.counts.shape
            p = intervals.permuted(one.counts, other.counts, resamples) if paired else np.nan
            published = one.published_f1 - other.published_f1
            run_ids = f"{one.run_ids}+{other.run_ids}"
            rows.append((*key, one.model, other.model, *gap, p, np.nan, published, run_ids))
    columns = ["other", "difference", "low", "high", "p", "corrected", "published_difference", "run_ids"]
    pairs = pd.DataFrame(rows, columns=[*CELL, *columns])
    same_patches = pairs.groupby(["table", "area", "patch_size"], sort=False)
    pairs["corrected"] = same_patches["p"].transform(intervals.corrected)
    return pairs.set_index([*CELL, "other"])


def rankings(pairs: pd.DataFrame) -> pd.DataFrame:
    """Count by table the pairs of networks (`pair_table`), and those that surely differ (corrected p below 0.05)."""
    by_table = pairs.assign(pairs=1, sure=pairs["corrected"] < 0.05).groupby("table", sort=False)
    return by_table[["pairs", "sure"]].sum().join(by_table["run_ids"].agg(list).map(join_ids))
