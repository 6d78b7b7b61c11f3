"""Run browser: finished runs by experiment, network, area and patch size, and how they learned (chapter 09)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ipywidgets

from lmhld_nb import models, paper, runs
from lmhld_nb.evaluation import Confusion
from lmhld_nb.experiments import experiment_named
from lmhld_nb.experiments.plan import PlannedRun
from lmhld_nb.plots import scores
from lmhld_nb.runs import Run
from lmhld_nb.widgets import controls

if TYPE_CHECKING:
    from lmhld_nb.book.face import Book

MOST = 30
"""Curves drawn at once: more cannot be told apart."""

KINDS: dict[str, tuple[Callable[[PlannedRun], tuple[Any, ...]], Callable[[Any], str]]] = {
    "Experiment": (lambda entry: entry.experiments, lambda label: f"{label}: {experiment_named(label).title}"),
    "Network": (lambda entry: (entry.spec.model,), lambda name: models.network(name).title),
    "Area": (lambda entry: entry.areas, paper.area_name),
    "Patch size": (lambda entry: entry.sizes, "{} px".format),
}
"""What runs are filtered by: its values for a run, and what a value is called."""

COLUMNS = ("run", "experiments", "network", "areas", "px", "seed", "epochs", "best epoch", "validation F1", "test F1")


def run_browser(book: Book) -> ipywidgets.VBox:
    """Return a panel that filters a book's finished runs, draws their learning curves and lists them."""
    planned = book.plan()
    pairs = [(entry, run) for entry in planned if (run := runs.find(entry.spec))]
    filters = {}
    for kind, (values_of, title) in KINDS.items():
        values = dict.fromkeys(value for entry, _ in pairs for value in values_of(entry))
        filters[kind] = controls.several(kind, [(title(value), value) for value in values])
    curve = controls.choice("Show", [(title, column) for column, title in scores.CURVES.items()])
    picture, listed = ipywidgets.Image(format="png"), ipywidgets.HTML()

    def is_chosen(entry: PlannedRun) -> bool:
        chosen = {kind: set(widget.value) for kind, widget in filters.items()}
        return all(not values or values & set(KINDS[kind][0](entry)) for kind, values in chosen.items())

    def draw() -> None:
        chosen = [(entry, run) for entry, run in pairs if is_chosen(entry)]
        if not chosen:
            raise ValueError("no finished run is of all these kinds; choose fewer, or make them: `lmhld run`")
        rest = f"; curves and table: the first {MOST}, choose fewer to see others" if len(chosen) > MOST else ""
        table = controls.table(COLUMNS, [_row(entry, run) for entry, run in chosen[:MOST]])
        listed.value = f"<p>{len(chosen)} of {len(pairs)} finished runs{rest}</p>{table}"
        panels: dict[str, list[Run]] = {}
        for entry, run in chosen[:MOST]:
            panels.setdefault(_where(entry), []).append(run)
        controls.show(picture, scores.learning_curves(panels, curve.value))

    missing = len(planned) - len(pairs)
    about = f"{missing} of {len(planned)} planned runs are not made yet" if missing else ""
    return controls.panel(draw, [tuple(filters.values()), (curve,)], [picture, listed], book.caption(about))


def _row(entry: PlannedRun, run: Run) -> tuple[Any, ...]:
    """Return what the table says of a run (`COLUMNS`)."""
    spec, val_f1, areas = run.spec, run.metrics["val_f1"], ", ".join(map(paper.area_name, entry.areas))
    what = (spec.run_id, ", ".join(entry.experiments), models.network(spec.model).title, areas)
    f1 = (float("nan") if val_f1 is None else val_f1, Confusion.from_dict(run.metrics["test"]).f1)
    return (*what, ", ".join(map(str, entry.sizes)), spec.seed, spec.recipe.epochs, run.metrics["best_epoch"], *f1)


def _where(entry: PlannedRun) -> str:
    area = paper.area_name(entry.areas[0]) if len(entry.areas) == 1 else f"{len(entry.areas)} areas"
    return f"{area}, {'+'.join(map(str, entry.sizes))} px"
