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

from lmhld_nb import paper, runs, serial
from lmhld_nb.config import UserError, runs_dir
from lmhld_nb.evaluation import Confusion
from lmhld_nb.patches import PatchSet
from lmhld_nb.results import SCORES, has_published_areas
from lmhld_nb.runs import Run


def stages_of(run: Run) -> list[Run]:
    """Return the finished runs of a chain, the first stage first and ``run`` last.

    Raises:
        UserError: one of them is not in the store.
    """
    found = []
    for spec in serial.ancestors(run.spec):
        stage = runs.find(spec)
        if stage is None:
            raise UserError(
                f"{runs_dir() / spec.run_id}: a stage of this chain is missing; make it with `lmhld run`"
            )
        found.append(stage)
    return [*found, run]


def patch_sets_of(run: Run) -> list[PatchSet]:
    """Return the PatchSets of all areas that a chain has seen, in the order of addition."""
    specs = [*serial.ancestors(run.spec), run.spec]
    return [part for spec in specs for part in runs.patch_sets(spec, progress=False)]


def counts_of(run: Run, own_input: bool = False) -> dict[str, Confusion]:
    """Return a stage's counts on the test patches of each area so far.

    Args:
        run: a stage of a chain, or any other run.
        own_input: test earlier areas with the input convolution of their own stage, instead of the last one.
    """
    earlier = run.metrics.get("earlier_own_input" if own_input else "earlier", {})
    return {
        area: Confusion(*(told[key] for key in ("tp", "fp", "fn", "tn")))
        for area, told in {**earlier, **run.metrics["areas"]}.items()
    }


def total_scores(counts: Mapping[str, Confusion]) -> dict[str, float]:
    """Return precision, F1 and recall over the pixels of all areas together."""
    total = sum(counts.values(), Confusion(0, 0, 0, 0))
    return {name: getattr(total, name) for name in SCORES}


def order_scores(finals: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """Score the last stage of each chain on the test patches of all areas, mean over seeds.

    Args:
        finals: by order of addition, the last stages.

    Returns:
        Rows (model, order): precision, f1, recall; own_input_…, with each area's own input convolution; run_ids.
    """
    rows = []
    for order, finished in finals.items():
        for run in finished:
            own = total_scores(counts_of(run, own_input=True))
            rows.append(
                {
                    "model": run.spec.model,
                    "order": order,
                    **total_scores(counts_of(run)),
                    **{f"own_input_{name}": value for name, value in own.items()},
                    "run_ids": run.spec.run_id,
                }
            )
    groups = pd.DataFrame(rows).groupby(["model", "order"], sort=False)
    return groups.mean(numeric_only=True).join(groups["run_ids"].agg("+".join))


def table_7(scores: pd.DataFrame, published: bool) -> pd.DataFrame:
    """Tabulate Experiment 4 as paper Table 7 does: means over the orders of addition.

    Args:
        scores: of `order_scores`.
        published: whether the areas are the paper's (`results.has_published_areas`).

    Returns:
        Rows by model: precision, f1, recall; published_…; difference_…; run_ids.
    """
    groups = scores.groupby("model", sort=False)
    ours = groups[list(SCORES)].mean()
    told = paper.table(7).iloc[: None if published else 0]
    told.index = pd.Index(told["model"].map({name: key for key, name in paper.MODELS.items()}), name="model")
    both = ours.join(told[list(SCORES)].add_prefix("published_"))
    for score in SCORES:
        both[f"difference_{score}"] = both[score] - both[f"published_{score}"]
    return both.join(groups["run_ids"].agg("+".join))


def largest_differences(scores: pd.DataFrame) -> pd.DataFrame:
    """Return how much the order of addition matters: the largest difference between two orders, by model.

    Args:
        scores: of `order_scores`.

    Returns:
        Rows by model: precision, f1, recall.
    """
    groups = scores.groupby("model", sort=False)[list(SCORES)]
    return groups.max() - groups.min()


def stage_matrix(finals: Sequence[Run]) -> pd.DataFrame:
    """Tabulate F1 after each stage on the test patches of each area so far, mean over seeds.

    Args:
        finals: the last stages of chains of one order.

    Returns:
        Rows (model, stage, area_added), one column an area in the order of addition, NaN where it is yet to come.
    """
    rows = []
    for final in finals:
        for number, run in enumerate(stages_of(final), start=1):
            key = {"model": run.spec.model, "stage": number, "area_added": run.spec.data[0].area}
            rows.append({**key, **{area: counts.f1 for area, counts in counts_of(run).items()}})
    return pd.DataFrame(rows).groupby(["model", "stage", "area_added"], sort=False).mean()


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


def strategy_runs(finals: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """Tabulate chains by strategy and seed.

    Args:
        finals: by strategy, the last stages (or the joint trainings).

    Returns:
        Rows (strategy, model, seed): f1 on all areas, forgetting, backward_transfer, trained_parameter_steps (trained
        parameters times steps of SGD, over all stages), seconds (of training), run_ids.
    """
    rows: list[dict[str, Any]] = []
    for strategy, finished in finals.items():
        for run in finished:
            stages = stages_of(run)
            steps = sum(_parameter_steps(stage) for stage in stages)
            rows.append(
                {
                    "strategy": strategy,
                    "model": run.spec.model,
                    "seed": run.spec.seed,
                    "f1": total_scores(counts_of(run))["f1"],
                    **forgetting(run),
                    "trained_parameter_steps": steps,
                    "seconds": sum(stage.metrics["seconds"] for stage in stages),
                    "run_ids": "+".join(stage.spec.run_id for stage in stages),
                }
            )
    return pd.DataFrame(rows).set_index(["strategy", "model", "seed"])


def _parameter_steps(run: Run) -> int:
    told = run.metrics
    # Runs made before there were chains, all of them with nothing frozen, do not count their steps.
    steps = -(-told["training_patches"] // run.spec.recipe.batch_size) * run.spec.recipe.epochs
    return int(told.get("trained_parameters", told["parameters"])) * int(told.get("steps", steps))


def strategy_table(by_seed: pd.DataFrame) -> pd.DataFrame:
    """Return means over seeds with 95 % intervals (Student's t), and paired differences from LMHLD_part.

    Args:
        by_seed: of `strategy_runs`, of one model.

    Returns:
        Rows by strategy: f1, forgetting, backward_transfer, each with …_low and …_high (NaN for one seed);
        f1_less_part, f1_less_part_low, f1_less_part_high: the mean difference over equal seeds; seeds,
        trained_parameter_steps, seconds, run_ids.
    """
    rows = {}
    reference = by_seed["f1"].xs("LMHLD_part", level="strategy").droplevel("model")
    for strategy, group in by_seed.groupby("strategy", sort=False):
        less = group["f1"].droplevel(["strategy", "model"]) - reference
        row: dict[str, Any] = {}
        for name in ("f1", "forgetting", "backward_transfer"):
            row |= _interval(name, group[name])
        row |= _interval("f1_less_part", less.dropna())
        row |= {"seeds": len(group), **group[["trained_parameter_steps", "seconds"]].mean()}
        row["run_ids"] = "+".join(dict.fromkeys("+".join(group["run_ids"]).split("+")))
        rows[strategy] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("strategy")


def _interval(name: str, values: pd.Series) -> dict[str, float]:
    mean, error = float(values.mean()), float(stats.sem(values)) if len(values) > 1 else float("nan")
    if len(values) < 2 or not np.isfinite(error):
        return {name: mean, f"{name}_low": float("nan"), f"{name}_high": float("nan")}
    half = float(stats.t.ppf(0.975, len(values) - 1) * error)
    return {name: mean, f"{name}_low": mean - half, f"{name}_high": mean + half}


def addition(finished: Sequence[Run]) -> pd.DataFrame:
    """Tabulate what one more area did to a finished chain, mean over seeds.

    Args:
        finished: the stages that added it, of one or more models.

    Returns:
        Rows (area, model): before and after, F1 on the area's test patches before the last stage and after it; change;
        own_input, F1 after it through the area's own input convolution; run_ids. The area added comes last and has no
        ``before``; its name has the data set behind it.
    """
    rows = []
    for run in finished:
        before, own = counts_of(stages_of(run)[-2]), counts_of(run, own_input=True)
        (new,) = run.spec.data
        told = {area: Confusion(**_cells(cells)) for area, cells in run.metrics["earlier"].items()}
        added = f"{new.area} ({new.dataset})"
        after = {**told, added: Confusion(**_cells(run.metrics["areas"][new.area]))}
        for area, counts in after.items():
            rows.append(
                {
                    "area": area,
                    "model": run.spec.model,
                    "before": before[area].f1 if area in before else float("nan"),
                    "after": counts.f1,
                    "own_input": own[area].f1 if area in told and area != new.area else float("nan"),
                    "run_ids": run.spec.run_id,
                }
            )
    groups = pd.DataFrame(rows).groupby(["area", "model"], sort=False)
    table = groups.mean(numeric_only=True)
    table.insert(2, "change", table["after"] - table["before"])
    return table.join(groups["run_ids"].agg("+".join))


def _cells(told: Mapping[str, int]) -> dict[str, int]:
    return {key: told[key] for key in ("tp", "fp", "fn", "tn")}


def part_beside(table7: pd.DataFrame, table6: pd.DataFrame, table5: pd.DataFrame) -> pd.DataFrame:
    """Return F1 of LMHLD_part beside LMHLD_mix and the mean of LMHLD_single over areas, ours and published.

    Args:
        table7: of `table_7`.
        table6, table5: of `results`, in the same models.

    Returns:
        Rows by model: part_f1, mix_f1, single_f1, published_part_f1, published_mix_f1, published_single_f1, run_ids.
    """
    single = table5[["f1", "published_f1"]].groupby("model").mean()
    both = pd.DataFrame(index=table7.index)
    for name, table in (("part", table7), ("mix", table6), ("single", single)):
        both[f"{name}_f1"] = table["f1"]
    for name, table in (("part", table7), ("mix", table6), ("single", single)):
        both[f"published_{name}_f1"] = table["published_f1"]
    return both.join(table7["run_ids"])


def is_published(finals: Sequence[Run]) -> bool:
    """Say whether chains have run over the paper's areas."""
    return all(has_published_areas(part.dataset) for run in finals for part in run.spec.data)
