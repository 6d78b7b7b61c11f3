"""What the tables of all experiments share; column ``run_ids`` names the runs that a row is computed from."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lmhld_nb import paper, runs, sources
from lmhld_nb.config import UserError
from lmhld_nb.evaluation import METRICS, intervals, scores
from lmhld_nb.patches import PatchSpec, splits
from lmhld_nb.runs import Run, store
from lmhld_nb.training import scoring

PLACE = ["dataset", "area", "block"]  # names a block of test patches


def tested_patches(run: Run) -> pd.DataFrame:
    """Return the counts of all test patches of a run; patches that touch share a ``block`` (`splits.touching`)."""
    counts = store.test_patches(run)
    counts = counts[counts["input"] == "last"].drop(columns="input")
    parts = []
    for stage in run.spec.chain:
        for spec in stage.data:
            rows = counts[(counts["stage"] == stage.run_id) & (counts["area"] == spec.area)].drop(columns="stage")
            parts.append(rows.assign(dataset=spec.dataset, block=_blocks(spec, spec.folder)[rows["number"]]))
    return pd.concat(parts, ignore_index=True)


def tested_on(run: Run, spec: PatchSpec) -> pd.DataFrame:
    """Return the counts of a run's network on the test patches of any PatchSpec, as `tested_patches`."""
    counts = store.counts_on(run, spec)
    return counts.assign(dataset=spec.dataset, block=_blocks(spec, spec.folder)[counts["number"]])


def tested(finished: Sequence[Run]) -> list[dict[str, Any]]:
    """Return a row of `score_table` for each run, by model, on all its test patches."""
    return [{"model": run.spec.model, "run": run, "counts": tested_patches(run)} for run in finished]


@cache
def _blocks(spec: PatchSpec, _: Path) -> np.ndarray:
    """Return for each patch of a PatchSet, stored in a folder, its block of test patches; -1 for other patches."""
    index = runs.patch_set(spec, progress=False).index
    is_test = (index["split"] == "test").to_numpy()
    blocks = np.full(len(index), -1)
    blocks[is_test] = splits.touching(index[is_test], spec.size)
    return blocks


def tested_blocks(run: Run) -> pd.DataFrame:
    """Return the counts of a run's whole area as `tested_patches`, but by squares of windows (`scoring.in_blocks`)."""
    (spec,), counts = run.spec.data, store.block_counts(run)
    return counts.assign(dataset=spec.dataset, area=spec.area, block=splits.blocks(counts, spec.block * spec.size))


def patches_in(counts: pd.DataFrame) -> int:
    """Return how many patches, or windows of a whole area, were tested."""
    return int(counts["windows"].sum()) if "windows" in counts else len(counts)


def mean_over_seeds(rows: Sequence[Mapping[str, Any]], keys: list[str]) -> pd.DataFrame:
    """Return the mean of numeric columns over rows that share ``keys`` (seeds, mostly), and the ids of their runs."""
    groups = pd.DataFrame(rows).groupby(keys, sort=False)
    return groups.mean(numeric_only=True).join(groups["run_ids"].agg("+".join))


def score_table(rows: Sequence[Mapping[str, Any]], keys: list[str]) -> pd.DataFrame:
    """Tabulate scores, means over the rows that share ``keys``, with measures of their certainty.

    A row has the keys, a ``run``, its ``counts`` (`tested_patches`), numbers, maybe ``also`` (more runs behind these).
    Columns: scores; numbers; patches, blocks; f1_low, f1_high; f1_sd (over seeds); seeds; converged (share); run_ids.
    """
    if not rows:
        raise UserError("none of the runs that this table needs is finished; make them with `lmhld run`")
    table: list[dict[str, Any]] = []
    for key, group in pd.DataFrame(rows).groupby(keys, sort=False):
        finished, counts = list(group.pop("run")), list(group.pop("counts"))
        every = [*finished, *(run for runs_of in (group.pop("also") if "also" in group else ()) for run in runs_of)]
        by_run = pd.DataFrame([scores(scoring.total(each)) for each in counts])
        blocks = intervals.stacked(counts, PLACE)
        interval = intervals.over_patches(blocks)
        row = dict(zip(keys, key, strict=True)) | {**by_run.mean(), **group.drop(columns=keys).mean()}
        row |= {"patches": patches_in(counts[0]), "blocks": blocks.shape[1]}
        row |= {"f1_low": interval.low, "f1_high": interval.high}
        row["f1_sd"] = by_order_and_seed(finished, by_run["f1"]).mean().std()
        row["seeds"] = len({run.spec.seed for run in finished})
        row["converged"] = converged(every)
        table.append(row | {"run_ids": join_ids([run.spec.run_id for run in every])})
    return pd.DataFrame(table).set_index(keys)


def converged(finished: Sequence[Run]) -> float:
    """Return the share of runs, with the stages that they start from, that have converged; NaN without runs."""
    stages = (runs.find(spec) for spec in {spec for run in finished for spec in run.spec.chain})
    return float(np.mean([float(run.converged) for run in stages if run] or [np.nan]))


def order_of(run: Run) -> str:
    """Return the areas that a run was trained on, in order, as one text."""
    return "+".join(spec.data[-1].area for spec in run.spec.chain)


def by_order_and_seed(finished: Sequence[Run], values: Sequence[float] | pd.Series) -> pd.DataFrame:
    """Return values of runs by order of areas (rows) and seed (columns), only for orders that all seeds have."""
    keys = [(order_of(run), run.spec.seed) for run in finished]
    table = pd.DataFrame(keys, columns=["order", "seed"]).assign(value=list(values))
    return table.pivot(index="order", columns="seed", values="value").dropna()


def has_published_areas(dataset: str) -> bool:
    """Whether a data set's areas are the paper's: those of LMHLD and its twin, not others from the same region."""
    return dataset == "lmhld" or sources.describe(dataset).synthetic


def published_areas(dataset: str) -> pd.DataFrame:
    """Return the paper's facts on the areas of a data set (`paper.areas`); no rows if they are not the paper's."""
    areas = paper.areas()
    return areas if has_published_areas(dataset) else areas.iloc[:0]


def beside_published(rows: Sequence[Mapping[str, Any]], keys: list[str], published: pd.DataFrame) -> pd.DataFrame:
    """Return `score_table` of ``rows`` with ``published_…`` scores and ``difference_…`` (ours minus published).

    ``published`` comes from `paper.table`, with ``keys`` and scores; NaN if the runs' areas are not the paper's.
    """
    ours = score_table(rows, keys)
    if not all(map(has_published_areas, {spec.dataset for row in rows for spec in row["run"].spec.data})):
        published = published.iloc[:0]  # another data set's "hokkaido" is not the paper's
    printed = {name: key for key, name in paper.MODELS.items()}
    published = published.assign(model=published["model"].map(printed)).set_index(keys)
    common = [name for name in METRICS if name in published]
    run_ids = ours.pop("run_ids")
    table = ours.join(published[common].add_prefix("published_"))
    for name in common:
        table[f"difference_{name}"] = table[name] - table[f"published_{name}"]
    return table.join(run_ids)


def join_ids(run_ids: Sequence[str]) -> str:
    """Join ids, each once, for the column ``run_ids``; entries may already be joined."""
    return "+".join(dict.fromkeys("+".join(run_ids).split("+")))
