"""The registry of experiments: what the book trains, one entry per experiment."""

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

Names = Sequence[str]


def no_areas(settings: Any) -> dict[str, Names]:
    """Return the areas that an experiment's settings name: none."""
    return {}


def own_areas(settings: Any) -> dict[str, Names]:
    """Return the areas that an experiment's settings name under the key ``areas``."""
    return {"areas": settings.areas}


def keep_settings(settings: Any, models: Names, areas: Names) -> Any:
    """Return settings that do not depend on which networks and areas a chapter shows."""
    return settings


def all_areas(settings: Any, models: Names, areas: Names) -> Any:
    """Return settings whose ``areas`` are all those that a chapter shows, where it names any."""
    return settings.model_copy(update={"areas": ()}) if areas else settings


@dataclass(frozen=True)
class Experiment:
    """An experiment: its settings, its runs and its tables.

    Attributes:
        name: its key under `experiments` in a profile, and in ``lmhld run --experiment``.
        title: what it compares, in a few words.
        settings: schema of its settings in a profile.
        specs: its runs.
        number: of the paper's experiment (section 3.2); None for those that the paper does not number.
        tables: its tables, by the name that `Study.table` takes (a number is a table of the paper), each computed
            from the experiment's finished runs.
        whole_area: ids of the runs that are scored on their whole area too; None for none.
        used_areas: areas that the settings name and the profile must use, by key.
        known_areas: areas that the settings name and the data set must have, by key; the profile need not use them.
        narrow: settings for a choice of networks and areas (empty for all); None leaves the experiment out.
    """

    name: str
    title: str
    settings: type[Strict]
    specs: Callable[[Study], list[RunSpec]]
    number: int | None = None
    tables: Mapping[str, Callable[[Study, Sequence[Run]], pd.DataFrame]] = field(default_factory=dict)
    whole_area: Callable[[Study], set[str]] | None = None
    used_areas: Callable[[Any], dict[str, Names]] = no_areas
    known_areas: Callable[[Any], dict[str, Names]] = no_areas
    narrow: Callable[[Any, Names, Names], Any] = keep_settings

    @property
    def label(self) -> str:
        """Its number in the paper, else its name."""
        return self.name if self.number is None else str(self.number)


EXPERIMENTS: dict[str, Experiment] = {}
"""Experiments by name, in the order in which plans and tables list them (filled by `lmhld_nb.experiments`)."""


def register(experiment: Experiment) -> Experiment:
    """Add an experiment to the registry and return it."""
    EXPERIMENTS[experiment.name] = experiment
    return experiment


def experiment_named(text: str) -> Experiment:
    """Return the experiment of a name or of a number in the paper.

    Raises:
        UserError: there is no such experiment.
    """
    for experiment in EXPERIMENTS.values():
        if text in (experiment.name, experiment.label):
            return experiment
    known = ", ".join(
        f"{experiment.label} ({experiment.name})" if experiment.number else experiment.name
        for experiment in EXPERIMENTS.values()
    )
    raise UserError(f"experiment {text}: unknown; choose from {known}")
