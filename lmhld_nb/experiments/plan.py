"""Plans: every run of a study, each once, with the experiments that need it and its estimated cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import torch

from lmhld_nb import patches, runs
from lmhld_nb.config import UserError, runs_dir
from lmhld_nb.experiments.profile import Profile
from lmhld_nb.experiments.registry import EXPERIMENTS, experiment_named
from lmhld_nb.experiments.study import Study
from lmhld_nb.runs import records, store
from lmhld_nb.training.hardware import choose_device, device_name
from lmhld_nb.training.scoring import WHOLE_AREA_FILE
from lmhld_nb.training.specs import RunSpec

FIRST = ("2", "3", "4", "1", "5")
"""Labels of experiments that are run before all others, in this order."""


@dataclass(frozen=True)
class PlannedRun:
    """A run, the labels of the experiments that need it, and whether it is also scored on its whole area."""

    spec: RunSpec
    experiments: tuple[str, ...]
    whole_area: bool

    @property
    def areas(self) -> tuple[str, ...]:
        return tuple(data.area for data in self.spec.data)


def plan(study: Study, experiment: str | int | None = None) -> list[PlannedRun]:
    """List the runs of a study or one of its experiments (name or number), each once; UserError for a foreign one."""
    chosen = None if experiment is None else experiment_named(experiment)
    if chosen is not None:
        study.settings(chosen.name)  # raises if the profile does not include it
    needed: dict[str, tuple[RunSpec, list[str]]] = {}
    whole_area: set[str] = set()
    for name, entry in EXPERIMENTS.items():
        if study.profile.makes(name):
            for spec in entry.specs(study):
                needed.setdefault(spec.run_id, (spec, []))[1].append(entry.label)
            whole_area |= entry.whole_area(study) if entry.whole_area else set()
    return [
        PlannedRun(spec, tuple(labels), run_id in whole_area)
        for run_id, (spec, labels) in needed.items()
        if chosen is None or chosen.label in labels
    ]


def ranks(planned: Sequence[PlannedRun]) -> dict[str, int]:
    """Return the priority of runs by id, lowest first: seed by seed, and within a seed `FIRST` first."""
    return {
        entry.spec.run_id: entry.spec.seed * (len(FIRST) + 1)
        + min(FIRST.index(label) if label in FIRST else len(FIRST) for label in entry.experiments)
        for entry in planned
    }


def plan_table(
    planned: Sequence[PlannedRun], device: str = "auto", recorded: records.Records | None = None
) -> pd.DataFrame:
    """Tabulate planned runs and their progress.

    ``status`` is that of `runs.status`, or ``recorded`` for missing runs among ``recorded``; ``f1`` is the test score,
    if done or recorded; ``seconds`` is a finished run's time, or an estimate from the median rate of runs with this
    network, width and kind of device (NaN without such runs or patches); ``files`` are those whose presence in the
    run's folder means that it is complete; ``parent`` is the run whose weights it starts from, or empty.
    """

    @cache  # read only if runs are left to make: reading time grows with the store
    def rates() -> pd.DataFrame:
        everywhere = store.rates()
        return everywhere[everywhere["device"] == device_name(torch.device(choose_device(device)))]

    rows: list[dict[str, Any]] = []
    for entry in planned:
        spec, run = entry.spec, runs.find(entry.spec)
        status, metrics = runs.status(spec, entry.whole_area, run), run.metrics if run else None
        if status == "missing" and recorded and spec.run_id in recorded.runs:
            status, metrics = "recorded", recorded.metrics(spec.run_id)
        rows.append({
            "run_id": spec.run_id, "experiments": "+".join(entry.experiments),
            "model": spec.model, "width": str(spec.width or "published"), "areas": "+".join(entry.areas),
            "patch_size": "+".join(dict.fromkeys(str(data.size) for data in spec.data)),
            "epochs": spec.recipe.epochs, "batch_size": spec.recipe.batch_size, "seed": spec.seed, "status": status,
            "seconds": metrics["seconds"] if metrics else _estimate(spec, rates()),
            "f1": metrics["test"]["f1"] if metrics else np.nan,
            "parent": spec.stage.parent.run_id if spec.stage else "",
            "files": "metrics.json" + f" {WHOLE_AREA_FILE}" * entry.whole_area,
        })  # fmt: skip
    return pd.DataFrame(rows)


def describe(profile: Profile, planned: Sequence[PlannedRun], table: pd.DataFrame) -> str:
    """Return the text of `lmhld plan` for a `plan_table`: runs by experiment, each run, and the time left."""
    lines = [f"{profile.name}: {profile.description}"]
    for entry in EXPERIMENTS.values():
        count = sum(entry.label in run.experiments for run in planned)
        lines.append(f"  {entry.label:7} {entry.title:22} {count:4} runs")
    columns = table.drop(columns=["parent", "files"])
    columns["areas"] = [f"{text.count('+') + 1} areas" if text.count("+") > 1 else text for text in columns["areas"]]
    columns["seconds"] = ["?" if seconds != seconds else f"{seconds:.0f}" for seconds in table["seconds"]]
    columns["f1"] = ["" if score != score else f"{score:.3f}" for score in table["f1"]]
    lines.append(columns.to_string(index=False, na_rep="?"))
    remaining = table[~table["status"].isin(["done", "recorded", "unscored"])]["seconds"]  # scoring takes seconds
    counts = table["status"].value_counts().items()
    summary = f"{len(table)} runs: " + ", ".join(f"{count} {status}" for status, count in counts)
    if len(remaining) and remaining.notna().all():
        summary += f"; about {format_duration(remaining.sum())} of computing on one core left"
    lines.append(summary)
    if remaining.isna().any():
        lines.append(f"? = no measured rate yet: {runs_dir()} holds no comparable run, or the patches are not cut")
    return "\n".join(lines)


def format_duration(seconds: float) -> str:
    """Return a duration in a suitable unit: 1.6 h, 5 min, 40 s."""
    minutes = seconds / 60
    return f"{minutes / 60:.1f} h" if minutes >= 90 else f"{minutes:.0f} min" if minutes >= 2 else f"{seconds:.0f} s"


def _estimate(spec: RunSpec, rates: pd.DataFrame) -> float:
    """Return the estimated seconds of a training; NaN without measurements."""
    like = rates[(rates["model"] == spec.model) & (rates["width"] == str(spec.width or "published"))]
    if like.empty:
        return float("nan")
    # Use rates at the nearest patch size: small patches are slower per pixel.
    size = max(data.size for data in spec.data)
    nearest = min(like["patch_size"], key=lambda measured: abs(measured - size))
    like = like[like["patch_size"] == nearest]
    pixels_per_second = float(like["patches_per_second"].median()) * nearest**2
    try:
        patch_sets = [patches.load(data) for data in spec.data]
    except UserError:  # not cut yet
        return float("nan")
    seen = sum((len(own.where("train")) + len(own.where("val"))) * own.spec.size**2 for own in patch_sets)
    return seen * spec.recipe.epochs / pixels_per_second
