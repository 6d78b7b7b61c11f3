"""What a chain (``run`` is its last stage) learns and forgets, and what other strategies forget (experiment 4)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lmhld_nb import runs
from lmhld_nb.config import UserError, runs_dir
from lmhld_nb.evaluation import intervals
from lmhld_nb.experiments.part import counts_by_area, total_scores
from lmhld_nb.experiments.tables import PLACE, join_ids, mean_over_seeds, tested_patches
from lmhld_nb.patches import PatchSet
from lmhld_nb.runs import Run

Finals = Mapping[str, Sequence[Run]]


def stages_of(run: Run) -> list[Run]:
    """Return the finished runs of a chain, ``run`` last; raises `UserError` if one is not in the store."""
    stages = []
    for spec in run.spec.chain[:-1]:
        if (stage := runs.find(spec)) is None:
            raise UserError(f"{runs_dir() / spec.run_id}: a stage of this chain is missing; make it with `lmhld run`")
        stages.append(stage)
    return [*stages, run]


def patch_sets_of(run: Run) -> list[PatchSet]:
    """Return the patches of all areas that a chain has seen, in the order of addition."""
    return [patch_set for spec in run.spec.chain for patch_set in runs.patch_sets(spec, progress=False)]


def stage_matrix(finals: Finals) -> pd.DataFrame:
    """Tabulate F1 by area so far after each stage (order, model, stage, area_added), mean over seeds; NaN before."""
    rows = []
    for order, finished in finals.items():
        for number, run in [each for final in finished for each in enumerate(stages_of(final), start=1)]:
            key = {"order": order, "model": run.spec.model, "stage": number, "area_added": run.spec.data[0].area}
            f1 = {area: counts.f1 for area, counts in counts_by_area(run).items()}
            rows.append({**key, **f1, "run_ids": run.spec.run_id})
    return mean_over_seeds(rows, ["order", "model", "stage", "area_added"])


def forgetting(run: Run) -> float:
    """Return how much a chain has forgotten; NaN for one stage (Chaudhry et al. 2018, equation 3).

    The highest F1 after any earlier stage minus the last one, averaged over earlier areas; undefined F1 counts as 0.
    """
    after = [{area: np.nan_to_num(of.f1) for area, of in counts_by_area(stage).items()} for stage in stages_of(run)]
    if len(after) < 2:
        return float("nan")
    areas = list(after[-1])[:-1]
    lost = [max(stage[area] for stage in after[:-1] if area in stage) - after[-1][area] for area in areas]
    return float(np.mean(lost))


def forgetting_table(finals: Finals) -> pd.DataFrame:
    """Tabulate `forgetting` of the chains of all orders by model and order, mean over seeds."""
    rows: list[dict[str, Any]] = [
        {"model": run.spec.model, "order": order, "forgetting": forgetting(run), "run_ids": run.spec.run_id}
        for order, finished in finals.items()
        for run in finished
    ]
    return mean_over_seeds(rows, ["model", "order"])


def strategy_table(finals: Finals) -> pd.DataFrame:
    """Compare the chains of `part.strategies` and the joint trainings by strategy, means over seeds.

    Columns: f1 and f1_minus_part (on the same patches), with …_low and …_high, 95 % over blocks of test patches (NaN:
    fewer than ten); blocks; forgetting; f1_sd, forgetting_sd (seeds); seeds, trained_parameter_steps, seconds, run_ids.
    """
    counts = {name: intervals.stacked([tested_patches(run) for run in each], PLACE) for name, each in finals.items()}
    rows = {}
    for strategy, finished in finals.items():
        own, part = counts[strategy], counts["LMHLD_part"]
        forgotten = pd.Series([forgetting(run) for run in finished])
        stages = [stage.metrics for run in finished for stage in stages_of(run)]
        rows[strategy] = {
            **intervals.over_patches(own).columns("f1"),
            **intervals.difference(own, part).columns("f1_minus_part"),
            "blocks": own.shape[1],
            "forgetting": forgotten.mean(),
            "f1_sd": pd.Series([total_scores(run)["f1"] for run in finished]).std(),
            "forgetting_sd": forgotten.std(),
            "seeds": len(finished),
            "trained_parameter_steps": sum(one["trained_parameters"] * one["steps"] for one in stages) / len(finished),
            "seconds": sum(one["seconds"] for one in stages) / len(finished),
            "run_ids": join_ids([one["run_id"] for one in stages]),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("strategy")
