"""Run browser: finished runs by experiment, network, area and patch size, and how they learned (chapter 09)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import ipywidgets
import pandas as pd
from matplotlib.ticker import MaxNLocator

from lmhld_nb import runs
from lmhld_nb.experiments.plan import EXPERIMENTS, Planned
from lmhld_nb.plots import style
from lmhld_nb.runs.store import Run
from lmhld_nb.widgets import parts

T = TypeVar("T")

MOST = 30
"""Curves drawn at once: more cannot be told apart."""

MEASURES = {"val_f1": "validation F1", "train_loss": "training loss", "val_loss": "validation loss"}
"""Columns of a run's history, as they are called here."""


def run_browser(planned: Sequence[Planned], note: str) -> ipywidgets.VBox:
    """Return a panel that filters finished runs, draws their learning curves and lists them.

    Args:
        planned: of `plans.plan`; those not finished are left out, and counted.
        note: of `style.note`.
    """
    pairs = [(entry, run) for entry in planned if (run := runs.find(entry.spec))]
    filters = {
        "Experiment": parts.several(
            "Experiment",
            [(f"{key}: {EXPERIMENTS[key][0]}", key) for key in _all(e.experiments for e, _ in pairs)],
        ),
        "Network": parts.several(
            "Network", [(style.network_title(m), m) for m in _all((e.spec.model,) for e, _ in pairs)]
        ),
        "Area": parts.several("Area", [(style.area_name(a), a) for a in _all(e.areas for e, _ in pairs)]),
        "Patch size": parts.several(
            "Patch size", [(f"{s} px", s) for s in sorted(_all(_sizes(e) for e, _ in pairs))]
        ),
    }
    measure = parts.choice("Show", [(name, column) for column, name in MEASURES.items()])
    picture, listed = ipywidgets.Image(format="png"), ipywidgets.HTML()
    figure = parts.canvas(7.5, 3.6)
    ax = figure.add_axes((0.09, 0.14, 0.66, 0.8))

    def draw() -> None:
        wanted = [set(widget.value) for widget in filters.values()]
        chosen = [
            (entry, run)
            for entry, run in pairs
            if all(
                not asked or asked & set(own)
                for asked, own in zip(
                    wanted, (entry.experiments, (entry.spec.model,), entry.areas, _sizes(entry)), strict=True
                )
            )
        ]
        if not chosen:
            raise ValueError("no finished run is of all these kinds; choose fewer, or make them: `lmhld run`")
        drawn = chosen[:MOST]
        ax.clear()
        # One network: its curves are told apart by area instead.
        by_model = len({entry.spec.model for entry, _ in drawn}) > 1
        groups = [entry.spec.model if by_model else _where(entry) for entry, _ in drawn]
        colours = (style.network_colours if by_model else style.area_colours)(list(dict.fromkeys(groups)))
        markers = style.network_markers(groups) if by_model else {}
        named = set()
        for group, (_, run) in zip(groups, drawn, strict=True):
            name = style.network_title(group) if by_model else style.area_name(group)
            curve = run.history[["epoch", measure.value]].to_numpy().T
            ax.plot(*curve, color=colours[group], marker=markers.get(group, "."), markersize=4, linewidth=1,
                    label=None if name in named else name)  # fmt: skip
            named.add(name)
        ax.set(xlabel="epoch", ylabel=MEASURES[measure.value])
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        if measure.value == "val_f1":
            ax.set_ylim(0, 1)
        ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
        parts.show(picture, figure)
        left = (
            f"; curves and table: the first {MOST}, choose fewer to see others" if len(chosen) > MOST else ""
        )
        head = f"<p>{len(chosen)} of {len(pairs)} finished runs{left}</p>"
        rows = table([entry for entry, _ in drawn], [run for _, run in drawn])
        listed.value = head + parts.table(list(rows.columns), list(rows.itertuples(index=False, name=None)))

    controls = [*filters.values(), measure]
    message = parts.answering(draw, controls, [picture, listed])
    missing = f"{len(planned) - len(pairs)} of {len(planned)} planned runs are not made yet · "
    return ipywidgets.VBox(
        [
            ipywidgets.HBox(list(filters.values()), layout={"flex_flow": "row wrap"}),
            measure,
            message,
            picture,
            listed,
            parts.small((missing if len(pairs) < len(planned) else "") + note),
        ]
    )


def table(planned: Sequence[Planned], finished: Sequence[Run]) -> pd.DataFrame:
    """Tabulate runs: run, experiments, network, areas, px, epochs, best epoch, validation F1, test F1."""
    return pd.DataFrame(
        [
            {
                "run": run.spec.run_id,
                "experiments": ", ".join(entry.experiments),
                "network": style.network_title(run.spec.model),
                "areas": ", ".join(map(style.area_name, entry.areas)),
                "px": ", ".join(map(str, _sizes(entry))),
                "seed": run.spec.seed,
                "epochs": run.spec.recipe.epochs,
                "best epoch": run.metrics["best_epoch"],
                "validation F1": _defined(run.metrics["val_f1"]),
                "test F1": _defined(run.metrics["test"]["f1"]),
            }
            for entry, run in zip(planned, finished, strict=True)
        ]
    )


def _defined(score: float | None) -> float:
    return float("nan") if score is None else float(score)


def _where(entry: Planned) -> str:
    return entry.areas[0] if len(entry.areas) == 1 else f"{len(entry.areas)} areas"


def _sizes(entry: Planned) -> tuple[int, ...]:
    return tuple(dict.fromkeys(part.size for part in entry.spec.data))


def _all(groups: Iterable[Iterable[T]]) -> list[T]:
    """Return what is in any of the groups, once, in the order met first."""
    return list(dict.fromkeys(one for group in groups for one in group))
