"""Results of chains: paper Table 7 and Figs 12 to 14, and how much of what was learnt is forgotten.

A run here is the last stage of its chain; the stages before it are found in the store. Every table has a column
``run_ids``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from lmhld_nb import paper, runs
from lmhld_nb.config import UserError, runs_dir
from lmhld_nb.evaluation.counts import Confusion
from lmhld_nb.experiments.results import SCORES, beside_published, mean_over_seeds, table_5, table_6
from lmhld_nb.patches.patch_sets import PatchSet
from lmhld_nb.runs.store import Run


def stages_of(run: Run) -> list[Run]:
    """Return the finished runs of a chain, the first stage first and ``run`` last.

    Raises:
        UserError: one of them is not in the store.
    """
    found = []
    for spec in run.spec.chain[:-1]:
        stage = runs.find(spec)
        if stage is None:
            raise UserError(
                f"{runs_dir() / spec.run_id}: a stage of this chain is missing; make it with `lmhld run`"
            )
        found.append(stage)
    return [*found, run]


def patch_sets_of(run: Run) -> list[PatchSet]:
    """Return the PatchSets of all areas that a chain has seen, in the order of addition."""
    return [part for spec in run.spec.chain for part in runs.patch_sets(spec, progress=False)]


def counts_of(run: Run, own_input: bool = False) -> dict[str, Confusion]:
    """Return a stage's counts on the test patches of each area so far, in the order of addition.

    An area of another data set than the first one's has that behind its name.

    Args:
        run: a stage of a chain, or any other run.
        own_input: show earlier areas through the input convolution of their own stage, instead of the last one.
    """
    tested = {
        **run.metrics.get("earlier_own_input" if own_input else "earlier", {}),
        run.spec.run_id: run.metrics["areas"],
    }
    first = run.spec.chain[0].data[0].dataset
    return {
        part.area if part.dataset == first else f"{part.area} ({part.dataset})": Confusion.from_dict(
            tested[stage.run_id][part.area]
        )
        for stage in run.spec.chain
        for part in stage.data
    }


def total_scores(run: Run, own_input: bool = False) -> dict[str, float]:
    """Return precision, F1 and recall over the test pixels of all areas so far together, as `counts_of`."""
    total = sum(counts_of(run, own_input).values(), Confusion(0, 0, 0, 0))
    return {name: getattr(total, name) for name in SCORES}


def order_scores(finals: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """Score the last stage of each chain on the test patches of all areas, mean over seeds.

    Args:
        finals: by order of addition, the last stages.

    Returns:
        Rows (model, order): precision, f1, recall; ``own_input_…``, with each area's own input convolution; run_ids.
    """
    rows: list[dict[str, Any]] = [
        {
            "model": run.spec.model,
            "order": order,
            **total_scores(run),
            **{f"own_input_{name}": value for name, value in total_scores(run, own_input=True).items()},
            "run_ids": run.spec.run_id,
        }
        for order, finished in finals.items()
        for run in finished
    ]
    return mean_over_seeds(rows, ["model", "order"])


def table_7(finals: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """Tabulate Experiment 4 as paper Table 7 does: means over the orders of addition.

    Args:
        finals: by order of addition, the last stages.

    Returns:
        Rows by model: precision, f1, recall; ``published_…``; ``difference_…``; run_ids.
    """
    finished = [run for group in finals.values() for run in group]
    rows = [{"model": run.spec.model, **total_scores(run), "run_ids": run.spec.run_id} for run in finished]
    return beside_published(rows, ["model"], paper.table(7), finished)


def largest_differences(scores: pd.DataFrame) -> pd.DataFrame:
    """Return how much the order of addition matters: the largest difference between two orders, by model.

    Args:
        scores: of `order_scores`.

    Returns:
        Rows by model: precision, f1, recall, run_ids.
    """
    groups = scores.groupby("model", sort=False)
    spread = groups[list(SCORES)].max() - groups[list(SCORES)].min()
    return spread.join(groups["run_ids"].agg("+".join))


def stage_matrix(finals: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """Tabulate F1 after each stage on the test patches of each area so far, mean over seeds.

    Args:
        finals: by order of addition, the last stages.

    Returns:
        Rows (order, model, stage, area_added): F1 by area, NaN where it is yet to come; run_ids, of the stage.
    """
    rows = [
        {
            "order": order,
            "model": run.spec.model,
            "stage": number,
            "area_added": run.spec.data[0].area,
            **{area: counts.f1 for area, counts in counts_of(run).items()},
            "run_ids": run.spec.run_id,
        }
        for order, finished in finals.items()
        for final in finished
        for number, run in enumerate(stages_of(final), start=1)
    ]
    return mean_over_seeds(rows, ["order", "model", "stage", "area_added"])


def forgetting(run: Run) -> dict[str, float]:
    """Return how much a chain has forgotten.

    Returns:
        ``forgetting``: the average over the areas before the last of the highest F1 after any earlier stage, less
        that after the last (Chaudhry et al. 2018, equation 3). ``backward_transfer``: the average of F1 after the last
        stage, less that right after the area's own (Lopez-Paz & Ranzato 2017, equation 3); below 0 is forgetting.
        NaN for a chain of one stage. An F1 that is not defined (nothing predicted, nothing there) counts as 0.
    """
    after = [
        {area: np.nan_to_num(counts.f1) for area, counts in counts_of(stage).items()}
        for stage in stages_of(run)
    ]
    if len(after) < 2:
        return {"forgetting": float("nan"), "backward_transfer": float("nan")}
    areas = list(after[-1])[:-1]
    lost = [max(stage[area] for stage in after[:-1] if area in stage) - after[-1][area] for area in areas]
    moved = [after[-1][area] - after[place][area] for place, area in enumerate(areas)]
    return {"forgetting": float(np.mean(lost)), "backward_transfer": float(np.mean(moved))}


def forgetting_table(finals: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """Tabulate `forgetting` of the chains of all orders, mean over seeds.

    Returns:
        Rows (model, order): forgetting, backward_transfer, run_ids.
    """
    rows: list[dict[str, Any]] = [
        {"model": run.spec.model, "order": order, **forgetting(run), "run_ids": run.spec.run_id}
        for order, finished in finals.items()
        for run in finished
    ]
    return mean_over_seeds(rows, ["model", "order"])


def strategy_runs(finals: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """Tabulate chains by strategy and seed.

    Args:
        finals: by strategy, the last stages (or the joint trainings).

    Returns:
        Rows (strategy, seed): f1 on all areas, forgetting, backward_transfer, trained_parameter_steps (trained
        parameters times steps of SGD, over all stages), seconds (of training), run_ids.
    """
    rows: list[dict[str, Any]] = []
    for strategy, finished in finals.items():
        for run in finished:
            stages = stages_of(run)
            rows.append(
                {
                    "strategy": strategy,
                    "seed": run.spec.seed,
                    "f1": total_scores(run)["f1"],
                    **forgetting(run),
                    "trained_parameter_steps": sum(parameter_steps(stage) for stage in stages),
                    "seconds": sum(stage.metrics["seconds"] for stage in stages),
                    "run_ids": "+".join(stage.spec.run_id for stage in stages),
                }
            )
    return pd.DataFrame(rows).set_index(["strategy", "seed"])


def parameter_steps(run: Run) -> int:
    """Return the parameters that a run trained times its steps of SGD: what it cost, whatever the machine."""
    told = run.metrics
    # Runs made before there were chains, all of them with nothing frozen, do not count their steps.
    steps = -(-told["training_patches"] // run.spec.recipe.batch_size) * run.spec.recipe.epochs
    return int(told.get("trained_parameters", told["parameters"])) * int(told.get("steps", steps))


def strategy_table(by_seed: pd.DataFrame) -> pd.DataFrame:
    """Return means over seeds with 95 % intervals (Student's t), and paired differences from LMHLD_part.

    Args:
        by_seed: of `strategy_runs`.

    Returns:
        Rows by strategy: f1, forgetting, backward_transfer, each with …_low and …_high (NaN for one seed);
        f1_less_part, f1_less_part_low, f1_less_part_high: the mean difference over equal seeds; seeds,
        trained_parameter_steps, seconds, run_ids.
    """
    rows = {}
    reference = by_seed["f1"].xs("LMHLD_part", level="strategy")
    for strategy, group in by_seed.groupby("strategy", sort=False):
        row: dict[str, Any] = {}
        for name in ("f1", "forgetting", "backward_transfer"):
            row |= _interval(name, group[name])
        row |= _interval("f1_less_part", (group["f1"].droplevel("strategy") - reference).dropna())
        row |= {"seeds": len(group), **group[["trained_parameter_steps", "seconds"]].mean()}
        row["run_ids"] = "+".join(dict.fromkeys("+".join(group["run_ids"]).split("+")))
        rows[strategy] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("strategy")


def _interval(name: str, values: pd.Series) -> dict[str, float]:
    """Return the mean and, of two or more values, its 95 % interval; equal values have one of no width."""
    low = high = float("nan")
    if len(values) > 1 and values.notna().all():
        half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
        low, high = values.mean() - half, values.mean() + half
    return {name: values.mean(), f"{name}_low": low, f"{name}_high": high}


def addition(finished: Sequence[Run]) -> pd.DataFrame:
    """Tabulate what one more area did to a finished chain, mean over seeds.

    Args:
        finished: the stages that added it, of one or more models.

    Returns:
        Rows (area, model): before and after, F1 on the area's test patches before the last stage and after it; change;
        own_input, F1 after it through the area's own input convolution; run_ids. The area added comes last and has no
        ``before``.
    """
    rows = []
    for run in finished:
        before, own = counts_of(stages_of(run)[-2]), counts_of(run, own_input=True)
        for area, counts in counts_of(run).items():
            f1 = before[area].f1 if area in before else float("nan")
            rows.append(
                {
                    "area": area,
                    "model": run.spec.model,
                    "before": f1,
                    "after": counts.f1,
                    "change": counts.f1 - f1,
                    "own_input": own[area].f1,
                    "run_ids": run.spec.run_id,
                }
            )
    return mean_over_seeds(rows, ["area", "model"])


def part_beside(table7: pd.DataFrame, mix: Sequence[Run], single: Sequence[Run]) -> pd.DataFrame:
    """Return F1 of LMHLD_part beside LMHLD_mix and the mean of LMHLD_single over areas, ours and published.

    Args:
        table7: of `table_7`.
        mix, single: finished runs of experiments 3 and 2; where there are none their columns are NaN.

    Returns:
        Rows by model: part_f1, mix_f1, single_f1, published_part_f1, published_mix_f1, published_single_f1, run_ids.
    """
    tables = {"part": table7}
    if mix:
        tables["mix"] = table_6(mix)
    if single:
        tables["single"] = table_5(single)[["f1", "published_f1"]].groupby("model").mean()
    both = pd.DataFrame(index=table7.index)
    for prefix in ("", "published_"):
        for name in ("part", "mix", "single"):
            both[f"{prefix}{name}_f1"] = tables[name][f"{prefix}f1"] if name in tables else np.nan
    return both.join(table7["run_ids"])
