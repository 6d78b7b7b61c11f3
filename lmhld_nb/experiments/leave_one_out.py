"""Leave one area out: how a network scores in an area after training on all others (not tested in the paper)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from lmhld_nb.config import Strict, UserError
from lmhld_nb.evaluation import intervals
from lmhld_nb.experiments import beyond_findings, mix, part, tables
from lmhld_nb.experiments.profile import Areas, ModelName, Seeds
from lmhld_nb.experiments.registry import Experiment, register
from lmhld_nb.experiments.study import Study
from lmhld_nb.runs import Run
from lmhld_nb.training.specs import RunSpec


class LeaveOneOut(Strict):
    """Settings: areas left out, one at a time (empty for all), the network and its seeds."""

    areas: Areas = ()
    model: ModelName = "unet"
    seeds: Seeds = (0, 1, 2)


def without(study: Study) -> dict[str, list[RunSpec]]:
    """Return trainings on all areas but one, each at its own patch size, keyed by that one; UserError for one area."""
    if len(study.areas) < 2:
        mend = "name more `areas`, or leave leave_one_out out of `experiments`"
        raise UserError(f"profile '{study.profile.name}': nothing is left to train on without its only area; {mend}")
    settings = study.settings("leave_one_out")
    return {
        area: part.jointly(study, [other for other in study.areas if other != area], settings.model, settings.seeds)
        for area in study.areas_of("leave_one_out")
    }


def specs(study: Study) -> list[RunSpec]:
    """Return all trainings of `without`."""
    return [spec for group in without(study).values() for spec in group]


def left_out_table(study: Study, finished: Sequence[Run]) -> pd.DataFrame:
    """Tabulate, by area, networks not trained on it beside those trained on it alone.

    `score_table`; single_f1 (same seeds), gap, gap_low, gap_high; mix_f1 (patches of another size). NaN if missing.
    """
    model, seeds = study.settings("leave_one_out").model, study.settings("leave_one_out").seeds
    mixed = [run for run in mix.finished(study) if run.spec.model == model]
    mix_f1 = mix.table_6_by_area(mixed)["f1"].groupby("area").mean() if mixed else pd.Series()
    rows, beside = [], dict[str, dict[str, Any]]()
    by_id = {run.spec.run_id: run for run in finished}
    for area, group in without(study).items():
        done = {spec.seed: by_id[spec.run_id] for spec in group if spec.run_id in by_id}
        patch_spec = study.patch_spec(area)
        counts = {seed: tables.tested_on(run, patch_spec) for seed, run in done.items()}
        rows += [{"area": area, "run": run, "counts": counts[seed]} for seed, run in done.items()]
        alone = {run.spec.seed: run for run in study.finished(study.trainings((patch_spec,), (model,), seeds))}
        gap, single_f1 = intervals.Interval(np.nan, np.nan, np.nan), np.nan
        if common := [seed for seed in done if seed in alone]:
            ours = intervals.stacked([counts[seed] for seed in common], tables.PLACE)
            other = intervals.stacked([tables.tested_patches(alone[seed]) for seed in common], tables.PLACE)
            gap, single_f1 = intervals.difference(ours, other), float(intervals.f1(other).mean())
        beside[area] = {"single_f1": single_f1, **gap.columns("gap"), "mix_f1": mix_f1.get(area, np.nan)}
        beside[area]["also"] = [alone[seed].spec.run_id for seed in common]
    table = tables.score_table(rows, ["area"]).join(pd.DataFrame(beside).T)
    run_ids = [tables.join_ids([ids, *also]) for ids, also in zip(table.pop("run_ids"), table.pop("also"), strict=True)]
    return table.astype(float).assign(run_ids=run_ids)


def fetched(study: Study, on_missing: str = "train") -> pd.DataFrame | None:
    """Return `left_out_table` of the runs that `Study.fetch` returns; None if there are none."""
    if not study.profile.makes("leave_one_out") or (on_missing == "skip" and not study.finished(specs(study))):
        return None
    return left_out_table(study, study.fetch(specs(study), on_missing))


register(Experiment(
    name="leave_one_out", title="leave one area out", settings=LeaveOneOut, specs=specs,
    tables={"leave_one_out": left_out_table}, findings={"leave_one_out": beyond_findings.leave_one_out},
    used_areas=("areas",), narrow=lambda settings, _, areas: None if len(areas) == 1 else settings,
))  # fmt: skip
