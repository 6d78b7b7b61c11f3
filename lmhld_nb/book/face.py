"""The face of the module: what a chapter opens, and all that it usually needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from lmhld_nb import models, paper
from lmhld_nb.config import UserError, figures_dir
from lmhld_nb.evaluation import METRICS
from lmhld_nb.experiments import EXPERIMENTS, Study, experiment_named
from lmhld_nb.experiments.plan import PlannedRun, plan
from lmhld_nb.experiments.profile import load, narrow
from lmhld_nb.experiments.study import open_dataset
from lmhld_nb.plots import style
from lmhld_nb.runs import Run
from lmhld_nb.sources import DataSet


@dataclass(frozen=True)
class Book(Study):
    """An opened book: a study (profile and data set), with its runs, its tables and a place for its figures."""

    @property
    def name(self) -> str:
        """Name of the profile."""
        return self.profile.name

    @property
    def models(self) -> tuple[str, ...]:
        """Networks compared."""
        return self.profile.models

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands that the networks see."""
        return self.profile.patches.bands

    @property
    def figures(self) -> Path:
        """Folder of this book's figures and the numbers behind them."""
        return figures_dir(self.name)

    def plan(self) -> list[PlannedRun]:
        """Return every run of the profile."""
        return plan(self)

    def runs(self, experiment: str, on_missing: str = "train") -> list[Run]:
        """Return the finished runs of an experiment.

        Args:
            experiment: its name, or its number in the paper.
            on_missing: as in `Study.fetch`.

        Raises:
            UserError: the profile does not make it, or as `Study.fetch`.
        """
        entry = experiment_named(experiment)
        self.settings(entry.name)
        scored = entry.whole_area(self) if entry.whole_area else set()
        return self.fetch(entry.specs(self), on_missing, scored)

    def table(self, name: int | str) -> pd.DataFrame:
        """Compute a table from the finished runs of its experiment, and save it.

        Args:
            name: a number of the paper's tables, or a name that an experiment registers.

        Raises:
            UserError: no experiment of the profile has such a table, or none of its runs is finished.
        """
        key = f"table{name}" if isinstance(name, int) else name
        for entry in EXPERIMENTS.values():
            if key in entry.tables and self.profile.makes(entry.name):
                scored = entry.whole_area(self) if entry.whole_area else set()
                finished = self.finished(entry.specs(self), scored)
                if not finished:
                    raise UserError(f"{key}: none of its runs is finished; make them with `lmhld run {self.name}`")
                return self.save(entry.tables[key](self, finished), key)
        known = [key for e in EXPERIMENTS.values() if self.profile.makes(e.name) for key in e.tables]
        raise UserError(f"profile '{self.name}' has no table '{key}'; it has {', '.join(known) or 'none'}")

    def caption(self, about: str = "", published: str = "", dataset: DataSet | None = None) -> str:
        """Return the line under a figure that says which data and profile it shows.

        Args:
            about: what else must be said, before it.
            published: the paper's table whose numbers stand beside ours: those are scores on the real LMHLD.
            dataset: shown; None for the profile's.
        """
        shown = dataset or self.dataset
        kind = "synthetic data, no satellite image" if shown.synthetic else "real data"
        ours = f"{shown.title} ({kind}) · profile {self.name}"
        text = f"this book: {ours} · published: the real LMHLD, paper {published}" if published else ours
        return f"{about} · {text}" if about else text

    def show(
        self,
        figure: Figure,
        name: str,
        numbers: pd.DataFrame | None = None,
        about: str = "",
        published: str = "",
        dataset: DataSet | None = None,
        caption: str | None = None,
    ) -> Figure:
        """Write a caption under a figure, save it with the numbers behind it, and return it for display.

        Args:
            figure: of `lmhld_nb.plots`.
            name: of its files in `figures`: NAME.png, and NAME.csv for the numbers.
            numbers: behind it; None where a table of that name has been saved already, or there are none.
            about, published, dataset: as in `caption`.
            caption: instead of `caption`, for figures that show nothing of the profile; empty for none.
        """
        text = self.caption(about, published, dataset) if caption is None else caption
        if text:
            style.add_caption(figure, text)
        self.figures.mkdir(parents=True, exist_ok=True)
        figure.savefig(self.figures / f"{name}.png", metadata={"Software": None})
        plt.close(figure)
        if numbers is not None:
            self.save(numbers, name)
        return figure

    def save(self, table: pd.DataFrame, name: str) -> pd.DataFrame:
        """Write a table as NAME.csv into `figures`; return it for display."""
        self.figures.mkdir(parents=True, exist_ok=True)
        table.to_csv(self.figures / f"{name}.csv", float_format="%.6g")
        return table


def open(profile: str, models: Sequence[str] | str = (), areas: Sequence[str] | str = ()) -> Book:
    """Open a book.

    Args:
        profile: name or YAML file of a profile.
        models, areas: networks and areas to show, lists or texts with commas; empty for all of the profile.

    Returns:
        The profile and its data set, which is made first if it is synthetic.

    Raises:
        UserError: the profile is unknown or wrong, or its data set is not there.
    """
    narrowed = narrow(load(profile), models, areas)
    return Book(narrowed, open_dataset(narrowed.data))


def tidy(table: pd.DataFrame, columns: Sequence[str] = (), digits: int = 3) -> pd.DataFrame:
    """Return a table for reading: printed names of networks, areas and scores, rounded, without ids of runs.

    Args:
        table: of an experiment.
        columns: those shown; empty for all.
        digits: after the point.
    """
    shown = table[list(columns)] if columns else table.drop(columns="run_ids", errors="ignore")
    titles = {name: models.network(name).title for name in _levels(table, "model")}
    areas = {name: paper.area_name(name) for name in _levels(table, "area")}
    shown = shown.rename(index={**titles, **areas})
    return shown.rename(columns=_printed).round(digits)


def _levels(table: pd.DataFrame, level: str) -> list[str]:
    return list(table.index.get_level_values(level).unique()) if level in table.index.names else []


def _printed(column: str) -> str:
    """Return a column's name for reading: ``published_f1`` is "published F1"."""
    words = str(column).split("_")
    return " ".join(METRICS[word].title if word in METRICS else word for word in words)
