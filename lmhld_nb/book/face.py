"""The interface for chapters: what they open, and all that they usually need."""

import ast
import re
import sys
import textwrap
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from lmhld_nb import models, paper
from lmhld_nb.config import ROOT, UserError, figures_dir
from lmhld_nb.evaluation import METRICS, intervals
from lmhld_nb.experiments import EXPERIMENTS, Study, experiment_named
from lmhld_nb.experiments.plan import PlannedRun, plan
from lmhld_nb.experiments.profile import load, narrow
from lmhld_nb.experiments.study import open_dataset
from lmhld_nb.experiments.tables import converged
from lmhld_nb.plots import style
from lmhld_nb.runs import Run
from lmhld_nb.sources import DataSet

REAL = ROOT / "figures" / "real"
"""Figures and numbers of the edition on real areas, shown beside those on synthetic data."""


@dataclass(frozen=True)
class Book(Study):
    """An opened book: a study (profile and data set), with its runs, its tables and a place for its figures."""

    @property
    def name(self) -> str:
        return self.profile.name

    @property
    def models(self) -> tuple[str, ...]:
        return self.profile.models

    @property
    def bands(self) -> tuple[str, ...]:
        return self.profile.patches.bands

    @property
    def figures(self) -> Path:
        return figures_dir(self.name)

    def plan(self) -> list[PlannedRun]:
        return plan(self)

    def runs(self, experiment: str | int, on_missing: str = "train") -> list[Run]:
        """Return the finished runs of an experiment, by its name or its number in the paper; see `Study.fetch`."""
        entry = experiment_named(experiment)
        self.settings(entry.name)
        return self.fetch(entry.specs(self), on_missing, entry.whole_area(self) if entry.whole_area else set())

    def table(self, name: int | str) -> pd.DataFrame:
        """Compute a table by its number or registered name and save it; UserError if there is none, or no runs."""
        key = f"table{name}" if isinstance(name, int) else name
        entries = {key: e for e in EXPERIMENTS.values() if self.profile.makes(e.name) for key in e.tables}
        if key not in entries:
            raise UserError(f"profile '{self.name}' has no table '{key}'; it has {', '.join(entries) or 'none'}")
        entry = entries[key]
        finished = self.finished(entry.specs(self), entry.whole_area(self) if entry.whole_area else set())
        if not finished:
            raise UserError(f"{key}: none of its runs is finished; make them with `lmhld run {self.name}`")
        return self.save(entry.tables[key](self, finished), key)

    def real(self, name: str) -> pd.DataFrame | None:
        """Return a table of the edition on real areas, by the columns before scores; None if missing or real."""
        path = REAL / f"{name}.csv"
        if not self.dataset.synthetic or not path.is_file():
            return None
        table = pd.read_csv(path)
        keys = list(takewhile(lambda name: table[name].dtype.kind != "f" or name == "converged", table))
        return table.set_index(keys if len(keys) < table.shape[1] else keys[:1])

    def found(self, name: str, table: pd.DataFrame | None) -> None:
        """Print the `findings` for a table (None: not computed) and for that of real areas."""
        known = {name: say for entry in EXPERIMENTS.values() for name, say in entry.findings.items()}
        if name not in known:
            raise UserError(f"'{name}': nothing is found from a table of this name; choose from {', '.join(known)}")
        tables = {f"{'synthetic' if self.dataset.synthetic else 'real'} data (profile {self.name})": table}
        if (published := self.real(name)) is not None:
            tables["real areas (profile real)"] = published
        for where, rows in tables.items():
            found = "nothing yet; not all runs that it compares are finished."
            if rows is not None and not rows.empty:
                found = known[name](rows.reset_index(drop=rows.index.names == [None]))  # as read from its CSV
            print(textwrap.fill(f"What we found, {where}: {found}", 110))

    def caption(
        self, about: str = "", published: str = "", dataset: DataSet | None = None, run_ids: Collection[str] = ()
    ) -> str:
        """Return the line under a figure: ``about``, data, profile, remarks on runs (without ids: all so far).

        ``published`` is the paper's table whose scores, on the real LMHLD, are also shown.
        """
        source = dataset or self.dataset
        kind = "synthetic data, no satellite image" if source.synthetic else "real data"
        text = " · ".join([f"{source.title} ({kind})", f"profile {self.name}", *self.doubts(run_ids)])
        if published:
            text = f"this book: {text} · published: the real LMHLD, paper {published}"
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
        """Write a caption under a figure, save it as NAME.png in `figures`, and return it for display.

        The ``numbers`` shown go to NAME.csv; ``caption`` (empty: none) is for figures not based on the profile.
        """
        ids = [] if numbers is None or "run_ids" not in numbers else "+".join(map(str, numbers["run_ids"])).split("+")
        if text := self.caption(about, published, dataset, ids) if caption is None else caption:
            style.add_caption(figure, text)
        self.figures.mkdir(parents=True, exist_ok=True)
        figure.savefig(self.figures / f"{name}.png", metadata={"Software": None})
        plt.close(figure)
        if numbers is not None:
            self.save(numbers, name)
        return figure

    def save(self, table: pd.DataFrame, name: str) -> pd.DataFrame:
        """Write a table as NAME.csv into `figures`, with `converged` by its run_ids; return it for display."""
        if "run_ids" in table and "converged" not in table:
            used = ([self.seen[run_id] for run_id in ids.split("+") if run_id in self.seen] for ids in table["run_ids"])
            table = table.assign(converged=list(map(converged, used)))
        self.figures.mkdir(parents=True, exist_ok=True)
        table.to_csv(self.figures / f"{name}.csv", float_format="%.6g")
        return table


def open(profile: str, models: Sequence[str] | str = (), areas: Sequence[str] | str = ()) -> Book:
    """Open a profile (name or YAML file) and its data set, which is generated if synthetic and must exist otherwise.

    ``models`` and ``areas`` (lists or comma-separated texts) select a part. A portable profile predicts on one thread.
    """
    _refuse_foreign_parameters()
    narrowed = narrow(load(profile), models, areas)
    if narrowed.portable:
        torch.set_num_threads(1)
    return Book(narrowed, open_dataset(narrowed.data))


def _refuse_foreign_parameters() -> None:
    """Raise UserError if papermill, which only warns, set a parameter that the chapter does not declare."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    declared, given = set(), []
    for cell in shell.user_ns.get("In", []) if shell else []:
        with suppress(SyntaxError, ValueError):  # IPython also keeps cells that do not parse
            for node in ast.parse(cell).body:
                if isinstance(node, ast.AnnAssign):
                    declared.add(ast.unparse(node.target))
                elif isinstance(node, ast.Assign) and cell.startswith("# Parameters\n"):  # papermill's
                    given.append(ast.unparse(node.targets[0]))
    if foreign := [name for name in given if name not in declared]:
        raise UserError(f"no parameter '{foreign[0]}'; the chapter has {', '.join(sorted(declared))}")


def tidy(
    table: pd.DataFrame | None, columns: Sequence[str] = (), digits: int = 3, across: str = ""
) -> pd.DataFrame | None:
    """Return a table for display: printed names, rounded, a dash for no value; only ``columns`` (default: F1 first).

    Scores of fewer than ten test patches are marked with ``*``; values of the index level ``across`` become columns.
    """
    if table is None:
        return None
    hidden = r"run_ids|blocks|difference_.*|published_(?!f1).*"
    names = [name for name in map(str, table) if not re.fullmatch(hidden, name) and table[name].notna().any()]
    shown = table[list(columns) or sorted(names, key=lambda name: name not in ("f1", "published_f1"))]
    titles = set(paper.MODELS.values())  # used in tables of the paper
    printers = {"model": lambda name: name if name in titles else models.network(name).title, "area": paper.area_name}
    for level in printers.keys() & set(table.index.names):
        shown = shown.rename(index={name: printers[level](name) for name in table.index.unique(level)}, level=level)
    few = (table["patches"] < intervals.LEAST).to_numpy() if "patches" in table else np.zeros(len(table), bool)
    shown = shown.apply(lambda column: [_text(value, column, digits) for value in column])
    for name in METRICS.keys() & set(shown):
        shown[name] += np.where(few & (shown[name] != "—"), "*", "")
    words = {key: metric.title for key, metric in METRICS.items()} | {"sd": "s.d.", "macs": "MACs"}
    shown.columns = [" ".join(words.get(word, word) for word in str(name).split("_")) for name in shown]
    if few.any():
        shown = shown.rename(columns={"patches": f"patches (*: fewer than {intervals.LEAST})"})
    return shown.iloc[:, 0].unstack(across, fill_value="—", sort=False) if across else shown


def _text(value: Any, column: pd.Series, digits: int) -> str:
    """Return a cell as text: whole numbers if the column has no others, a dash for no value."""
    if pd.isna(value):
        return "—"
    if not isinstance(value, int | float | np.number) or isinstance(value, bool):
        return str(value)
    return f"{value:,.{0 if (column.dropna() % 1 == 0).all() else digits}f}"
