"""Experiment 3, LMHLD_mix: all areas cut to one size and trained on together (paper section 3.2 (3))."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import pandas as pd
from pydantic import PositiveInt

from lmhld_nb import paper
from lmhld_nb.config import Strict, UserError
from lmhld_nb.experiments import findings, single
from lmhld_nb.experiments.profile import PatchSize
from lmhld_nb.experiments.registry import Experiment, register
from lmhld_nb.experiments.study import Study
from lmhld_nb.experiments.tables import beside_published, mean_over_seeds, run_scores
from lmhld_nb.patches.measurements import measure_area
from lmhld_nb.runs import Run
from lmhld_nb.training.specs import RunSpec


class Mix(Strict):
    """Settings of experiment 3: areas mixed (empty for all), patch size in pixels, epochs (None for the recipe's)."""

    areas: tuple[str, ...] = ()
    size: PatchSize = 128
    epochs: PositiveInt | None = None


def specs(study: Study) -> list[RunSpec]:
    """Return the training of each network on all areas together, cut to one size."""
    settings = study.settings("mix")
    data = tuple(study.patch_spec(area, settings.size) for area in mixed_areas(study))
    return study.trainings(data, epochs=settings.epochs)


def mixed_areas(study: Study) -> tuple[str, ...]:
    """Return those areas that the profile mixes whose scenes are large enough for a patch; UserError where none is."""
    size = study.settings("mix").size
    fitting = tuple(area for area in study.areas_of("mix") if measure_area(study.dataset, area).largest_side >= size)
    if not fitting:
        key = f"profile '{study.profile.name}': key 'experiments.mix.size' = {size}"
        mend = "choose a smaller size, or leave mix out of `experiments`"
        raise UserError(f"{key}: no scene of '{study.dataset.name}' is that large; {mend}")
    return fitting


def table_6(study: Study, finished: Sequence[Run]) -> pd.DataFrame:
    """Tabulate Experiment 3 by model as paper Table 6 does, on the test patches of all areas (`beside_published`)."""
    rows = [{"model": run.spec.model, **run_scores(run), "run_ids": run.spec.run_id} for run in finished]
    return beside_published(rows, ["model"], paper.table(6), finished)


def runs_alone(study: Study) -> list[Run]:
    """Return the finished runs of experiment 2, which `table_6_by_area` compares with; none if it is not made."""
    return study.finished(single.specs(study)) if study.profile.makes("single") else []


def table_6_by_area(finished: Sequence[Run], alone: Sequence[Run] = ()) -> pd.DataFrame:
    """Tabulate Experiment 3 by area, beside networks trained on the same patches of that area alone (`runs_alone`).

    Columns: the scores; alone_f1, gain (f1 minus alone_f1; NaN without such a run); run_ids.
    """
    rows: list[dict[str, Any]] = [
        {"area": area, "model": run.spec.model, **run_scores(run, counts), "run_ids": run.spec.run_id}
        for run in finished
        for area, counts in run.metrics["areas"].items()
    ]
    table = mean_over_seeds(rows, ["area", "model"])
    mixed = {patch_spec for run in finished for patch_spec in run.spec.data}
    pairs = [(patch_spec, run) for run in alone for patch_spec in run.spec.data if patch_spec in mixed]
    comparable = [(patch_spec.area, run.spec.model, run_scores(run)["f1"]) for patch_spec, run in pairs]
    alone_f1 = pd.DataFrame(comparable, columns=["area", "model", "f1"]).groupby(["area", "model"])["f1"].mean()
    table["alone_f1"] = alone_f1.reindex(table.index)
    table["gain"] = table["f1"] - table["alone_f1"]
    return table


register(Experiment(
    name="mix", number=3, title="mix", settings=Mix, specs=specs, tables={"table6": table_6}, used_areas=("areas",),
    findings={
        "table6": partial(findings.pooled, number=6), "table6_by_area": findings.table6_by_area,
        "fig11_predictions": findings.examples,
    },
))  # fmt: skip
