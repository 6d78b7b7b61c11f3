"""Experiment 3, LMHLD_mix: all areas cut to one size and trained on together (paper section 3.2 (3))."""

from collections.abc import Sequence
from functools import partial

import pandas as pd

from lmhld_nb import paper
from lmhld_nb.config import Strict, UserError
from lmhld_nb.experiments import findings, single
from lmhld_nb.experiments.profile import Areas, PatchSize
from lmhld_nb.experiments.registry import Experiment, register
from lmhld_nb.experiments.study import Study
from lmhld_nb.experiments.tables import beside_published, score_table, tested
from lmhld_nb.patches.measurements import measure_area
from lmhld_nb.runs import Run
from lmhld_nb.training.specs import RunSpec


class Mix(Strict):
    """Settings of experiment 3: areas to mix (empty for all) and their patch size in pixels."""

    areas: Areas = ()
    size: PatchSize = 128


def specs(study: Study) -> list[RunSpec]:
    """Return the training of each network on all areas together, cut to one size."""
    size = study.settings("mix").size
    return study.trainings(tuple(study.patch_spec(area, size) for area in mixed_areas(study)))


def mixed_areas(study: Study) -> tuple[str, ...]:
    """Return the areas to mix whose scenes are large enough for a patch; UserError if there is none."""
    size = study.settings("mix").size
    fitting = tuple(area for area in study.areas_of("mix") if measure_area(study.dataset, area).largest_side >= size)
    if not fitting:
        key = f"profile '{study.profile.name}': key 'experiments.mix.size' = {size}"
        mend = "choose a smaller size, or leave mix out of `experiments`"
        raise UserError(f"{key}: no scene of '{study.dataset.name}' is that large; {mend}")
    return fitting


def table_6(study: Study, finished: Sequence[Run]) -> pd.DataFrame:
    """Tabulate experiment 3 by model, like paper Table 6, on the test patches of all areas (`beside_published`)."""
    return beside_published(tested(finished), ["model"], paper.table(6))


def finished(study: Study) -> list[Run]:
    """Return the finished runs of this experiment; none if the profile leaves it out."""
    return study.finished(specs(study)) if study.profile.makes("mix") else []


def runs_alone(study: Study) -> list[Run]:
    """Return the finished runs of experiment 2, for `table_6_by_area`; none if the profile leaves it out."""
    return study.finished(single.specs(study)) if study.profile.makes("single") else []


def table_6_by_area(finished: Sequence[Run], alone: Sequence[Run] = ()) -> pd.DataFrame:
    """Tabulate `score_table` by area beside networks trained on the same patches alone: alone_f1, gain (NaN: none)."""
    rows = [
        {**row, "area": area, "counts": counts}
        for row in tested(finished)
        for area, counts in row["counts"].groupby("area", sort=False)
    ]
    table = score_table(rows, ["area", "model"])
    mixed = {patch_spec for run in finished for patch_spec in run.spec.data}
    comparable = single.tested([run for run in alone if run.spec.data[0] in mixed])
    beside = score_table(comparable, ["area", "model"]) if comparable else pd.DataFrame(columns=["f1", "run_ids"])
    beside, run_ids = beside.reindex(table.index), table.pop("run_ids")
    table["alone_f1"] = beside["f1"].astype(float)
    table["gain"] = table["f1"] - table["alone_f1"]
    return table.assign(run_ids=run_ids + ("+" + beside["run_ids"]).fillna(""))


register(Experiment(
    name="mix", number=3, title="mix", settings=Mix, specs=specs, tables={"table6": table_6}, used_areas=("areas",),
    findings={
        "table6": partial(findings.pooled, number=6), "table6_by_area": findings.table6_by_area,
        "fig11_predictions": findings.examples,
    },
))  # fmt: skip
