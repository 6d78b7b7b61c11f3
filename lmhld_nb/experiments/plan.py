"""Plans: every run of a profile, each once, with the experiments that ask for it and what it will cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from lmhld_nb import patches, runs
from lmhld_nb.config import UserError
from lmhld_nb.experiments import beyond, generalisation, serial_experiment
from lmhld_nb.experiments import common as experiments
from lmhld_nb.experiments.profile import Profile, is_made
from lmhld_nb.sources import DataSet
from lmhld_nb.training.hardware import choose_device, environment
from lmhld_nb.training.specs import RunSpec

EXPERIMENTS: dict[str, tuple[str, Callable[[Profile, DataSet], list[RunSpec]]]] = {
    "1": ("patch size", experiments.patch_sizes),
    "2": ("single", experiments.single),
    "3": ("mix", experiments.mix),
    "4": ("part", serial_experiment.part),
    "5": ("unseen events", generalisation.networks),
    "recipe": ("batch size and epochs", experiments.recipe_study),
    "beyond": ("beyond the paper", beyond.networks),
}
"""Experiments by the name that `lmhld plan --experiment` takes: what they compare, and their runs."""


@dataclass(frozen=True)
class Planned:
    """A run, the experiments that ask for it, and whether it is scored on its whole area too."""

    spec: RunSpec
    experiments: tuple[str, ...]
    with_whole_area: bool

    @property
    def areas(self) -> tuple[str, ...]:
        """Areas trained on."""
        return tuple(part.area for part in self.spec.data)


def plan(profile: Profile, dataset: DataSet, experiment: str | None = None) -> list[Planned]:
    """List the runs of a profile, of one experiment or of all; each once, with all experiments that ask for it.

    Raises:
        UserError: there is no such experiment, or the profile does not make it.
    """
    if experiment is not None and experiment not in EXPERIMENTS:
        raise UserError(f"experiment {experiment}: unknown; choose from {', '.join(EXPERIMENTS)}")
    made = [name for name in EXPERIMENTS if is_made(profile, name)]
    if experiment is not None and experiment not in made:
        raise UserError(
            f"experiment {experiment}: profile '{profile.name}' makes {', '.join(made) or 'none'} only (keys "
            "`experiments` and, for the recipe, `recipe_study`)"
        )
    wanted: dict[str, tuple[RunSpec, list[str]]] = {}
    for name in made:
        for spec in EXPERIMENTS[name][1](profile, dataset):
            wanted.setdefault(spec.run_id, (spec, []))[1].append(name)
    scored = beyond.scored_on_whole_area(profile, dataset) if "beyond" in made else set()
    return [
        Planned(spec, tuple(asked), "1" in asked or spec.run_id in scored)
        for spec, asked in wanted.values()
        if experiment is None or experiment in asked
    ]


def plan_table(planned: Sequence[Planned], device: str = "auto") -> pd.DataFrame:
    """Tabulate planned runs.

    Columns: run_id, experiments, model, width, areas, patch_size, epochs, batch_size, seed, status (`runs.status`),
    seconds, f1 (of the test, where done), parent (the run whose weights it starts from, or empty), files (whose
    presence in the run's folder means that nothing is left to make) and failure. ``seconds`` is what a finished run
    took, or an estimate from the median rate at which this kind of device made runs of the same model and width; NaN
    where the store has none or the patches are not cut yet.
    """
    rates = runs.rates()
    rates = rates[rates["device"] == environment(torch.device(choose_device(device)))["device"]]
    rows: list[dict[str, Any]] = []
    for entry in planned:
        spec = entry.spec
        run = runs.find(spec)
        status = runs.status(spec, entry.with_whole_area)
        rows.append(
            {
                "run_id": spec.run_id,
                "experiments": "+".join(entry.experiments),
                "model": spec.model,
                "width": str(spec.width or "published"),
                "areas": "+".join(entry.areas),
                "patch_size": "+".join(map(str, dict.fromkeys(part.size for part in spec.data))),
                "epochs": spec.recipe.epochs,
                "batch_size": spec.recipe.batch_size,
                "seed": spec.seed,
                "status": status,
                "seconds": run.metrics["seconds"] if run else _estimate(spec, rates),
                "f1": run.metrics["test"]["f1"] if run else np.nan,
                "parent": spec.stage.parent.run_id if spec.stage else "",
                "files": " ".join(runs.files(entry.with_whole_area)),
                "failure": runs.failure(spec) if status == "failed" else "",
            }
        )
    return pd.DataFrame(rows)


def _estimate(spec: RunSpec, rates: pd.DataFrame) -> float:
    """Return the seconds a training will take; NaN where there is nothing to go by."""
    like = rates[(rates["model"] == spec.model) & (rates["width"] == str(spec.width or "published"))]
    if like.empty:
        return float("nan")
    # Measured at the nearest patch size: small patches are slower by the pixel.
    size = max(part.size for part in spec.data)
    nearest = min(like["patch_size"], key=lambda measured: abs(measured - size))
    like = like[like["patch_size"] == nearest]
    pixels_per_second = float(like["patches_per_second"].median()) * nearest**2
    try:
        seen = sum(len(part.where("train")) + len(part.where("val")) for part in map(patches.load, spec.data))
    except UserError:  # not cut yet
        return float("nan")
    return seen * size**2 * spec.recipe.epochs / pixels_per_second
