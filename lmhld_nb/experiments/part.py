"""Experiment 4, LMHLD_part: areas learnt one after another, in several orders (paper section 3.2 (4))."""

from collections.abc import Mapping, Sequence, Set
from functools import partial
from itertools import permutations
from math import ceil
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import Field

from lmhld_nb import paper, runs
from lmhld_nb.config import Count, Positive, Strict, UserError
from lmhld_nb.evaluation import METRICS, Confusion, intervals, scores
from lmhld_nb.experiments import findings, mix, single, tables
from lmhld_nb.experiments.profile import Areas, ModelName, Seeds
from lmhld_nb.experiments.registry import Experiment, register
from lmhld_nb.experiments.study import Study
from lmhld_nb.experiments.tables import beside_published, by_order_and_seed, join_ids, order_of, score_table, tested
from lmhld_nb.patches.measurements import count_patches
from lmhld_nb.runs import Run
from lmhld_nb.training import chains, scoring
from lmhld_nb.training.specs import LAYER_GROUPS, RunSpec, Treatment

Row = Mapping[str, Treatment]


class Part(Strict):
    """Settings of experiment 4."""

    areas: Areas = ()  # added; empty for all
    # In the order of addition; those in the middle are permuted, one order per permutation. Areas that the
    # profile does not use are skipped; those not named come last.
    first: Areas = ("rio", "gorkha", "emilia_romagna")
    permuted: Areas = ("hokkaido", "taiwan", "jiuzhaigou")
    last: Areas = ("wenchuan",)
    orders: Count | None = None  # how many orders are trained, from the first; None for all
    orders_of: dict[ModelName, Count] = {}  # the same for single networks
    compared: ModelName = "unet"  # network for which strategies are compared, in the first order
    without: tuple[str, ...] = ()  # names of `strategies` to leave out
    seeds: Seeds = (0, 1, 2)  # of that comparison
    # Candidates in that comparison: strengths of elastic weight consolidation and shares of earlier patches replayed,
    # chosen by F1 on the validation patches of all areas.
    ewc: Annotated[tuple[Positive, ...], Field(min_length=1)] = (100.0, 1000.0, 10000.0)
    replay: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1)] = (0.05, 0.2)


def specs(study: Study) -> list[RunSpec]:
    """Return all stages of experiment 4, each once: those of all orders and of `strategies`."""
    return unique_stages([final for group in (*finals(study).values(), *strategies(study).values()) for final in group])


def unique_stages(finals: Sequence[RunSpec]) -> list[RunSpec]:
    """Return all stages of the chains with these last stages, each once."""
    return list({spec.run_id: spec for final in finals for spec in final.chain}.values())


def orders(study: Study) -> dict[str, tuple[str, ...]]:
    """Return the orders of addition (paper Fig 6): OD1, OD2, … by the permutations of the areas in the middle."""
    settings, used = study.settings("part"), study.areas_of("part")
    named = (settings.first, settings.permuted, settings.last)
    first, permuted, last = ([area for area in areas if area in used] for areas in named)
    rest = [area for area in used if area not in {*first, *permuted, *last}]
    return {f"OD{k}": (*first, *middle, *last, *rest) for k, middle in enumerate(permutations(permuted), start=1)}


def first_order(study: Study) -> tuple[str, ...]:
    """Return the areas of the first order of addition."""
    return next(iter(orders(study).values()))


def last_stages(
    study: Study, order: Sequence[str], rows: Sequence[Row] = (), cumulative: bool = False, **options: Any
) -> list[RunSpec]:
    """Return the last stage of each network's chain, per seed, that adds areas in ``order`` (`chains.link`).

    ``rows`` is the schedule (empty for the paper's); ``cumulative`` stages also train on all earlier areas; options:
    ``networks`` and ``seeds`` of `Study.trainings`, ``ewc`` and ``replay`` of `link`. UserError if an area has no
    patches of its size, or lacks bands that the others have.
    """
    data = [study.fitting_patch_spec(area, "part") for area in order]
    which = {name: options.pop(name) for name in ("networks", "seeds") if name in options}
    stages = [
        study.trainings((*earlier, added), **which, batch_size=study.batch_size(added.size))
        for earlier, added in ((data[:stage] if cumulative else [], added) for stage, added in enumerate(data))
    ]
    return [
        chains.link(chain, rows or chains.paper_schedule(len(order)), **options)[-1]
        for chain in zip(*stages, strict=True)
    ]


def finals(study: Study) -> dict[str, list[RunSpec]]:
    """Return the last stage of each chain, by order of addition."""
    settings, by_order = study.settings("part"), {}
    for number, (name, order) in enumerate(orders(study).items(), start=1):
        asked, all_orders = settings.orders_of, settings.orders or number
        networks = [model for model in study.profile.models if number <= asked.get(model, all_orders)]
        if networks:
            by_order[name] = last_stages(study, order, networks=networks)
    return by_order


def final_runs(study: Study, finished: Sequence[Run]) -> dict[str, list[Run]]:
    """Return those of ``finished`` that are the last stages of chains, by order of addition."""
    return {name: runs.select(group, finished) for name, group in finals(study).items()}


def strategies(study: Study) -> dict[str, list[RunSpec]]:
    """Return the strategies compared, as last stages of chains in the first order.

    LMHLD_part itself; without one part of it; plain fine-tuning, also with elastic weight consolidation or replay (each
    at all settings, see `chosen_strategies`); all areas at once, in at least as many steps.
    """
    settings, order = study.settings("part"), first_order(study)
    paper_rows = chains.paper_schedule(len(order))
    chained = partial(last_stages, study, order, networks=(settings.compared,), seeds=settings.seeds)

    def rows(changes: Mapping[Treatment, Treatment], groups: Sequence[str] = LAYER_GROUPS) -> list[Row]:
        """Return the schedule with other treatments for some layer groups from the second stage on."""
        first, *later = paper_rows
        return [first, *({k: changes.get(v, v) if k in groups else v for k, v in row.items()} for row in later)]

    plain = rows({"fresh": "finetune", "frozen": "finetune"})
    every = {
        "LMHLD_part": chained(paper_rows),
        "old normalisation": chained(rows({"fresh": "finetune"}, ["input norm"])),
        "input kept": chained(rows({"fresh": "finetune"})),
        "nothing frozen": chained(rows({"frozen": "finetune"})),
        "cumulative": chained(paper_rows, cumulative=True),
        "plain fine-tuning": chained(plain),
        **{f"EWC {strength:g}": chained(plain, ewc=strength) for strength in settings.ewc},
        **{f"replay of {share:.0%}": chained(plain, replay=share) for share in settings.replay},
        "all at once": jointly(study, order, settings.compared, settings.seeds),
    }
    if unknown := set(settings.without) - every.keys():
        raise UserError(f"experiments.part.without: no strategy '{unknown.pop()}'; there are {', '.join(every)}")
    return {name: finals for name, finals in every.items() if name not in settings.without}


def jointly(study: Study, areas: Sequence[str], model: str, seeds: Sequence[int]) -> list[RunSpec]:
    """Return joint trainings on areas, at their own patch sizes, with as many steps as separate trainings together."""
    data = tuple(study.patch_spec(area) for area in areas)
    batch, epochs = study.batch_size(data[0].size), study.profile.recipe.epochs
    counts = [(count_patches(study.dataset, patch_spec), study.batch_size(patch_spec.size)) for patch_spec in data]
    ratio = sum(count / own for count, own in counts) / sum(count / batch for count, _ in counts)
    return study.trainings(data, (model,), seeds, epochs=ceil(epochs * max(1.0, ratio)))


def chosen_strategies(finals: Mapping[str, Sequence[Run]]) -> dict[str, Sequence[Run]]:
    """Return the runs of `strategies`; for EWC and replay, only the setting with the best mean validation F1."""
    chosen: dict[str, tuple[float, str]] = {}
    for name, finished in finals.items():
        stage = finished[0].spec.stage if finished else None
        kind = ("EWC" if stage.ewc else "replay" if stage.replay else name) if stage else name
        f1 = [Confusion.from_dict(run.metrics["validation"]).f1 for run in finished]
        if finished:
            chosen[kind] = max(chosen.get(kind, (-1.0, "")), (float(np.nan_to_num(f1).mean()), name))
    return {name: finals[name] for _, name in chosen.values()}


def counts_by_area(run: Run, own_input: bool = False) -> dict[str, Confusion]:
    """Return a run's counts on each area so far, with the last input convolution or each area's (``own_input``)."""
    earlier = run.metrics.get("earlier_own_input" if own_input else "earlier", {})
    tested = {**earlier, run.spec.run_id: run.metrics["areas"]}
    counts = {}
    for stage in run.spec.chain:
        for data in stage.data:
            if data.area in tested[stage.run_id]:  # else a cumulative chain: it counts as the last stage's own
                counts[data.area] = Confusion.from_dict(tested[stage.run_id][data.area])
    return counts


def total_scores(run: Run, own_input: bool = False) -> dict[str, float]:
    """Return the scores over the pooled test pixels of all areas so far, as `counts_by_area`."""
    return scores(sum(counts_by_area(run, own_input).values(), Confusion(0, 0, 0, 0)))


def order_scores(finals: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """Score last stages by model and order (Figs 12 to 14): `score_table`, and ``own_input_…`` (`counts_by_area`)."""
    rows = []
    for order, finished in finals.items():
        for row in tested(finished):
            own_input = {f"own_input_{name}": value for name, value in total_scores(row["run"], own_input=True).items()}
            rows.append({**row, "order": order, **own_input})
    return score_table(rows, ["model", "order"])


def largest_differences(finals: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """Return the largest difference between two orders of `final_runs`, by network: how much the order matters.

    Scores, means over seeds; f1_sd over seeds within an order; p that orders do not matter; orders, seeds; run_ids.
    """
    groups = order_scores(finals).groupby("model", sort=False)
    spread = (groups[list(METRICS)].max() - groups[list(METRICS)].min()).where(groups.size() > 1)
    rows = {}
    for model in spread.index:
        own = [run for group in finals.values() for run in group if run.spec.model == model]
        f1 = by_order_and_seed(own, [total_scores(run)["f1"] for run in own])
        p = intervals.reordered(f1.T.to_numpy())
        rows[model] = {"f1_sd": f1.var(axis=1).mean() ** 0.5, "p": p, "orders": f1.shape[0], "seeds": f1.shape[1]}
    return spread.join(pd.DataFrame.from_dict(rows, orient="index")).join(groups["run_ids"].agg("+".join))


def table_7(finals: Sequence[Run]) -> pd.DataFrame:
    """Tabulate last stages by model, like paper Table 7: means over the ``orders`` of addition (`beside_published`)."""
    table = beside_published(tested(finals), ["model"], paper.table(7))
    orders = pd.Series(map(order_of, finals)).groupby([run.spec.model for run in finals]).nunique()
    table.insert(list(table).index("seeds"), "orders", orders)
    return table


def beside_mix_and_single(study: Study, table7: pd.DataFrame) -> pd.DataFrame:
    """Return F1 of LMHLD_part beside that of experiments 3 and 2, all scored alike, and as published.

    For NAME (part, mix, single; NaN if missing): NAME_f1 on the pixels of all common areas with …_low, …_high, …_sd;
    mean_NAME_f1 over areas; same_NAME_f1 in areas with the same patches in all (same_areas); published_NAME_f1. And
    part_minus_single with …_low, …_high: of F1, on the same blocks of patches.
    """
    areas = set(first_order(study))
    rows: dict[str, list[Any]] = {}
    rows["part"] = tested([run for specs in finals(study).values() for run in study.finished(specs)])
    published, own = {"part": table7["published_f1"]}, set[str]()
    if mixed := mix.finished(study):
        areas &= set(mix.mixed_areas(study))
        own = {area for area in areas if study.patch_size(area) == study.settings("mix").size}
        rows["mix"], published["mix"] = tested(mixed), mix.table_6(study, mixed)["published_f1"]
    if alone := mix.runs_alone(study):
        on_areas = pd.DataFrame(single.tested([run for run in alone if run.spec.data[0].area in areas]))
        seeds = on_areas["run"].map(lambda run: run.spec.seed)
        rows["single"] = []
        for (model, _), group in on_areas.groupby(["model", seeds], sort=False):
            run, *also = group["run"]
            rows["single"].append({"model": model, "run": run, "also": also, "counts": pd.concat([*group["counts"]])})
        published["single"] = single.table_5(study, alone)["published_f1"].groupby("model").mean()
    beside = pd.DataFrame(index=table7.index)
    run_ids: pd.Series = table7["run_ids"]
    for name, all_rows in rows.items():  # on the common areas; rows that lack one are left out
        common = [{**row, "counts": row["counts"][row["counts"]["area"].isin(areas)]} for row in all_rows]
        rows[name] = [row for row in common if row["counts"]["area"].nunique() == len(areas)]
    for name in ("part", "mix", "single"):
        columns = [f"{name}_f1", f"mean_{name}_f1", f"same_{name}_f1"]
        columns += [f"{name}_f1_{end}" for end in ("low", "high", "sd")]
        alike = _scored_alike(rows.get(name, []), own).reindex(index=beside.index)
        more_ids = alike.pop("run_ids")
        run_ids = run_ids.combine(more_ids, lambda one, more: join_ids([one, more]) if more == more else one)
        beside[columns] = alike
        beside[f"published_{name}_f1"] = published.get(name, np.nan)
    for model in beside.index:
        both = [[row["counts"] for row in rows.get(name, []) if row["model"] == model] for name in ("part", "single")]
        if all(both):
            one, other = (intervals.stacked(counts, tables.PLACE) for counts in both)
            gap = intervals.difference(one, other)
            beside.loc[model, list(gap.columns("part_minus_single"))] = list(gap)
    beside = beside.assign(areas=len(areas), same_areas=len(own))
    return beside.join(table7[["orders", "seeds", "patches"]]).join(run_ids)


def _scored_alike(rows: Sequence[Mapping[str, Any]], own: Set[str]) -> pd.DataFrame:
    """Return by model the first columns of `beside_mix_and_single`."""
    alike = []
    for row in rows:
        by_area = scoring.by_area(row["counts"])
        same = sum((by_area[area] for area in own), Confusion(0, 0, 0, 0)).f1
        alike.append({**row, "mean": np.mean([one.f1 for one in by_area.values()]), "same": same})
    columns = ["f1", "mean", "same", "f1_low", "f1_high", "f1_sd", "run_ids"]
    return score_table(alike, ["model"])[columns] if alike else pd.DataFrame(columns=columns)


register(Experiment(
    name="part", number=4, title="part", settings=Part, specs=specs,
    tables={"table7": lambda of, done: table_7([run for group in final_runs(of, done).values() for run in group])},
    findings={
        "table7": partial(findings.pooled, number=7), "table7_beside": findings.table7_beside,
        "order_differences": findings.order_differences, "forgetting": findings.forgetting,
        "strategies": findings.strategies, "fig15_predictions": findings.examples,
    },
    used_areas=("areas",), known_areas=("first", "permuted", "last"),
    narrow=lambda settings, models, _: settings.model_copy(
        update={} if not models or settings.compared in models else {"compared": models[0]}
    ),
))  # fmt: skip
