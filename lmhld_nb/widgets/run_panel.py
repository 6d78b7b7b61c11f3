"""Run browser: finished runs by experiment, network, area and patch size, and how they learned (chapter 09)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from lmhld_nb import paper, runs
from lmhld_nb.evaluation import Confusion
from lmhld_nb.experiments import experiment_named
from lmhld_nb.experiments.plan import PlannedRun
from lmhld_nb.plots import style
from lmhld_nb.runs import Run
from lmhld_nb.widgets import controls

if TYPE_CHECKING:
    from lmhld_nb.book.face import Book

MOST = 30
"""Curves drawn at once: more cannot be told apart."""

MEASURES = {"val_f1": "validation F1", "train_loss": "training loss", "val_loss": "validation loss"}
"""Columns of a run's history, as they are called here."""


KINDS: dict[str, tuple[Callable[[PlannedRun], tuple[Any, ...]], Callable[[Any], str]]] = {
    "Experiment": (
        lambda entry: entry.experiments,
        lambda label: f"{label}: {experiment_named(label).title}",
    ),
    "Network": (lambda entry: (entry.spec.model,), style.network_title),
    "Area": (lambda entry: entry.areas, paper.area_name),
    "Patch size": (lambda entry: entry.sizes, "{} px".format),
}
"""What runs are filtered by: its values for a run, and what a value is called."""


def run_browser(book: Book) -> ipywidgets.VBox:
    """Return a panel that filters a book's finished runs, draws their learning curves and lists them."""
    planned = book.plan()
    pairs = [(entry, run) for entry in planned if (run := runs.find(entry.spec))]
    filters = {}
    for kind, (values_of, title) in KINDS.items():
        values = dict.fromkeys(value for entry, _ in pairs for value in values_of(entry))
        filters[kind] = controls.several(kind, [(title(value), value) for value in values])
    measure = controls.choice("Show", [(name, column) for column, name in MEASURES.items()])
    picture, listed = ipywidgets.Image(format="png"), ipywidgets.HTML()
    figure = controls.canvas(7.5, 3.6)
    ax = figure.add_axes((0.09, 0.14, 0.66, 0.8))

    def is_chosen(entry: PlannedRun) -> bool:
        return all(
            not widget.value or set(widget.value) & set(KINDS[kind][0](entry)) for kind, widget in filters.items()
        )

    def draw() -> None:
        chosen = [(entry, run) for entry, run in pairs if is_chosen(entry)]
        if not chosen:
            raise ValueError("no finished run is of all these kinds; choose fewer, or make them: `lmhld run`")
        rest = f"; curves and table: the first {MOST}, choose fewer to see others" if len(chosen) > MOST else ""
        rows = run_table(chosen[:MOST])
        listed.value = f"<p>{len(chosen)} of {len(pairs)} finished runs{rest}</p>"
        listed.value += controls.table([*map(str, rows)], rows.itertuples(index=False, name=None))
        _draw_curves(ax, chosen[:MOST], measure.value)
        controls.show(picture, figure)

    missing = len(planned) - len(pairs)
    about = f"{missing} of {len(planned)} planned runs are not made yet" if missing else ""
    inputs = [tuple(filters.values()), (measure,)]
    return controls.panel(draw, inputs, [picture, listed], book.caption(about))


def _draw_curves(ax: Axes, drawn: Sequence[tuple[PlannedRun, Run]], column: str) -> None:
    """Draw a column of each run's history; where all are of one network, areas tell curves apart."""
    ax.clear()
    by_model = len({entry.spec.model for entry, _ in drawn}) > 1
    groups = [entry.spec.model if by_model else _where(entry) for entry, _ in drawn]
    names = list(dict.fromkeys(groups))
    colours = {} if by_model else style.area_colours(names)
    for number, (group, (_, run)) in enumerate(zip(groups, drawn, strict=True)):
        own = {"color": colours.get(group), "marker": ".", "label": paper.area_name(group)}
        look = style.network_look(group) if by_model else own
        label = None if group in groups[:number] else look["label"]
        ax.plot(run.history["epoch"], run.history[column], **look | {"label": label}, linewidth=1, markersize=4)
    ax.set(xlabel="epoch", ylabel=MEASURES[column])
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if column == "val_f1":
        ax.set_ylim(0, 1)
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1))


def run_table(pairs: Sequence[tuple[PlannedRun, Run]]) -> pd.DataFrame:
    """Tabulate runs: run, experiments, network, areas, px, seed, epochs, best epoch, validation F1, test F1."""
    return pd.DataFrame(
        [
            {
                "run": run.spec.run_id,
                "experiments": ", ".join(entry.experiments),
                "network": style.network_title(run.spec.model),
                "areas": ", ".join(map(paper.area_name, entry.areas)),
                "px": ", ".join(map(str, entry.sizes)),
                "seed": run.spec.seed,
                "epochs": run.spec.recipe.epochs,
                "best epoch": run.metrics["best_epoch"],
                "validation F1": float("nan") if run.metrics["val_f1"] is None else run.metrics["val_f1"],
                "test F1": Confusion.from_dict(run.metrics["test"]).f1,
            }
            for entry, run in pairs
        ]
    )


def _where(entry: PlannedRun) -> str:
    return entry.areas[0] if len(entry.areas) == 1 else f"{len(entry.areas)} areas"
