"""How certain the rankings in the paper's tables are, by our runs: pairwise comparisons of networks."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from lmhld_nb.evaluation import intervals
from lmhld_nb.evaluation.intervals import RESAMPLES
from lmhld_nb.experiments import mix, part, patch_size, single, tables
from lmhld_nb.experiments.study import Study
from lmhld_nb.experiments.tables import PLACE, join_ids, order_of
from lmhld_nb.runs import Run

CELL = ["table", "area", "patch_size", "model"]


def table_runs(study: Study) -> dict[int, list[Run]]:
    """Return the finished runs of Tables 4 to 7 by table (Table 7: last stages); tables without any are left out."""
    makers = {4: ("patch_size", patch_size.specs), 5: ("single", single.specs), 6: ("mix", mix.specs)}
    specs = {table: make(study) for table, (name, make) in makers.items() if study.profile.makes(name)}
    if study.profile.makes("part"):
        specs[7] = [spec for finals in part.finals(study).values() for spec in finals]
    whole_area = {spec.run_id for spec in specs.get(4, [])}
    finished = {table: study.finished(own, whole_area if table == 4 else ()) for table, own in specs.items()}
    return {table: group for table, group in finished.items() if group}


def pair_table(study: Study, finished: Mapping[int, Sequence[Run]], resamples: int = RESAMPLES) -> pd.DataFrame:
    """Compare the networks of a table pairwise on the same patches, for the seeds and orders that both have.

    Rows `CELL` and the other network: patches, blocks, runs, seeds; difference in F1 with low and high (NaN: under ten
    blocks); p of a permutation test, and corrected for all pairs of the table; run_ids.
    """
    modules: dict[int, Any] = {4: patch_size, 5: single}
    rows = []
    for number, of_table in finished.items():
        tested = pd.DataFrame(modules.get(number, tables).tested(of_table)).assign(table=number)
        if "area" not in tested:  # of all areas together
            tested = tested.assign(area="all", patch_size=0)
        if "patch_size" not in tested:
            tested["patch_size"] = tested["area"].map(study.patch_size)
        for key, cell in tested.groupby(CELL[:3], sort=False):
            cell["way"] = [(order_of(run), run.spec.seed) for run in cell["run"]]
            networks = [(model, group.set_index("way")) for model, group in cell.groupby("model", sort=False)]
            for (one, first), (other, second) in combinations(networks, 2):
                common = first.index.intersection(second.index)
                if common.empty:
                    continue
                pair = first.loc[common], second.loc[common]
                a, b = (intervals.stacked(list(group["counts"]), PLACE) for group in pair)
                gap, p = intervals.difference(a, b, resamples), intervals.permuted(a, b)
                seeds = len({seed for _, seed in common})
                sizes = (tables.patches_in(pair[0]["counts"].iloc[0]), a.shape[1], len(common), seeds)
                run_ids = join_ids([run.spec.run_id for group in pair for run in group["run"]])
                rows.append((*key, one, other, *sizes, *gap, p, np.nan, run_ids))
    columns = ["patches", "blocks", "runs", "seeds", "difference", "low", "high", "p", "corrected", "run_ids"]
    pairs = pd.DataFrame(rows, columns=[*CELL, "other", *columns])
    pairs["corrected"] = pairs.groupby("table", sort=False)["p"].transform(intervals.corrected)
    return pairs.set_index([*CELL, "other"])


def rankings(pairs: pd.DataFrame) -> pd.DataFrame:
    """Count pairs of networks (`pair_table`) by table: pairs, untested (too few blocks), sure (corrected p < 0.05).

    Of the sure ones, ``one_seed`` rest on a single seed, in one order or several.
    """
    counted = pairs.assign(pairs=1, untested=pairs["p"].isna(), sure=pairs["corrected"] < 0.05)
    by_table = counted.assign(one_seed=counted["sure"] & (pairs["seeds"] == 1)).groupby("table", sort=False)
    counts = by_table[["pairs", "untested", "sure", "one_seed"]].sum()
    return counts.join(by_table["run_ids"].agg(list).map(join_ids))
