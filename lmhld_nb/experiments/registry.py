"""The registry of experiments that the book trains, one entry each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lmhld_nb.config import Strict, UserError

if TYPE_CHECKING:
    import pandas as pd

    from lmhld_nb.experiments.study import Study
    from lmhld_nb.runs import Run
    from lmhld_nb.training.specs import RunSpec


@dataclass(frozen=True)
class Experiment:
    """An experiment: its settings, its runs and its tables."""

    name: str  # its key under `experiments` in a profile, and in ``lmhld run --experiment``
    title: str  # what it compares, in a few words
    settings: type[Strict]  # schema of its settings in a profile
    specs: Callable[[Study], list[RunSpec]]  # its runs
    number: int | None = None  # of the experiment in the paper (section 3.2)
    tables: Mapping[str, Callable[[Study, Sequence[Run]], pd.DataFrame]] = field(default_factory=dict)  # by name
    # What its tables show, by name: one or two sentences with n and interval, from a table as read from its CSV.
    findings: Mapping[str, Callable[[pd.DataFrame], str]] = field(default_factory=dict)
    # Computes and keeps what chapters show of its finished runs, of arguments: study, on_missing, show a progress bar.
    afterwards: Callable[[Study, str, bool], object] | None = None
    whole_area: Callable[[Study], set[str]] | None = None  # ids of the runs that are also scored on their whole area
    # Keys of settings with areas that the profile must use, or that the data set must have; () for all.
    used_areas: tuple[str, ...] = ()
    known_areas: tuple[str, ...] = ()
    # Settings for a selection of networks and areas (empty for all), beyond what `used_areas` says.
    narrow: Callable[[Any, Sequence[str], Sequence[str]], Any] | None = None

    @property
    def label(self) -> str:
        """Its number in the paper, or its name."""
        return self.name if self.number is None else str(self.number)


EXPERIMENTS: dict[str, Experiment] = {}
"""Experiments by name, in the order in which plans and tables list them (filled by `lmhld_nb.experiments`)."""


def register(experiment: Experiment) -> None:
    """Add an experiment to the registry."""
    EXPERIMENTS[experiment.name] = experiment


def experiment_named(key: str | int) -> Experiment:
    """Return an experiment by its name or its number in the paper; raises `UserError` if there is none."""
    for experiment in EXPERIMENTS.values():
        if str(key) in (experiment.name, experiment.label):
            return experiment
    names = [f"{entry.label} ({entry.name})" if entry.number else entry.name for entry in EXPERIMENTS.values()]
    raise UserError(f"experiment {key}: unknown; choose from {', '.join(names)}")
