"""Order explorer: the schedule of LMHLD_part for any order of areas, and what is known of its scores (chapter 07)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import ipywidgets

from lmhld_nb import paper, runs
from lmhld_nb.experiments import serial_experiment, serial_results
from lmhld_nb.experiments.profile import Profile
from lmhld_nb.plots import style
from lmhld_nb.plots.schemes import TREATMENTS
from lmhld_nb.sources import DataSet
from lmhld_nb.training.specs import LAYER_GROUPS, RunSpec
from lmhld_nb.widgets import parts

OWN = "an order of my own"


def order_explorer(profile: Profile, dataset: DataSet) -> ipywidgets.VBox:
    """Return a panel with the choice of an order of addition, one of the paper's or one's own, and of a network.

    It shows what each stage does with each part of the network, on which patches and for how many epochs; and F1 after
    each stage on the areas so far, where that stage is trained already. Orders that begin alike share these stages.

    Raises:
        UserError: the profile names areas the data set does not have. Errors after that stand in the panel.
    """
    known = serial_experiment.orders(profile, dataset)
    names = {order: name for name, order in known.items()}
    first = next(iter(known.values()))
    rows = serial_experiment.schedule(profile, dataset)

    order = parts.choice("Order of addition", [*known, OWN])
    place = ipywidgets.Select(
        options=_places(first), rows=len(first), description="Areas", style={"description_width": "initial"}
    )
    earlier, later = (ipywidgets.Button(description=text) for text in ("Add it earlier", "Add it later"))
    model = parts.choice("Network", [(paper.MODELS[name], name) for name in profile.models])
    seed = parts.choice("Seed", list(profile.seeds))
    stages, scores = ipywidgets.HTML(), ipywidgets.HTML()
    now = [first]

    def draw() -> None:
        if order.value in known and known[order.value] != now[0]:
            now[0] = known[order.value]
            place.options = _places(now[0])
        chain = chain_of(profile, dataset, now[0], model.value, seed.value)
        stages.value = _schedule(chain, [rows[min(n, len(rows) - 1)] for n in range(len(chain))])
        scores.value = _scores(chain)

    def move(by: int) -> None:
        at = place.index
        if at is None or not 0 <= at + by < len(now[0]):
            return
        moved = list(now[0])
        moved.insert(at + by, moved.pop(at))
        now[0] = tuple(moved)
        place.options = _places(now[0])
        place.index = at + by
        order.value = names.get(now[0], OWN)

    message = parts.answering(
        draw, [order, model, seed], [stages, scores], (earlier, partial(move, -1)), (later, partial(move, 1))
    )
    kinds = parts.legend([(fill, text) for fill, text in TREATMENTS.values()])
    return ipywidgets.VBox(
        [
            ipywidgets.HBox([order, model, seed], layout={"flex_flow": "row wrap"}),
            ipywidgets.HBox([place, ipywidgets.VBox([earlier, later])]),
            message,
            stages,
            ipywidgets.HTML(kinds),
            scores,
            parts.small(style.note(dataset, profile.name)),
        ]
    )


def chain_of(
    profile: Profile, dataset: DataSet, order: Sequence[str], model: str, seed: int
) -> list[RunSpec]:
    """Return the trainings that add areas in ``order`` to one network (`serial_experiment.chains`)."""
    one = profile.model_copy(update={"models": (model,), "seeds": (seed,)})
    rows = serial_experiment.schedule(profile, dataset)
    (chain,) = serial_experiment.chains(one, dataset, order, rows)
    return chain


def _places(order: Sequence[str]) -> list[tuple[str, str]]:
    return [(f"{stage} {style.area_name(area)}", area) for stage, area in enumerate(order, start=1)]


def _schedule(chain: Sequence[RunSpec], rows: Sequence[Any]) -> str:
    head = ("stage", "area added", "patch", "epochs", *LAYER_GROUPS)
    body = [
        (
            stage,
            style.area_name(spec.data[0].area),
            f"{spec.data[0].size} px",
            spec.recipe.epochs,
            *(row[part] for part in LAYER_GROUPS),
        )
        for stage, (spec, row) in enumerate(zip(chain, rows, strict=True), start=1)
    ]
    return parts.table(head, body, lambda value: TREATMENTS[value][0] if value in TREATMENTS else "")


def _scores(chain: Sequence[RunSpec]) -> str:
    """Return F1 after each stage on each area so far; stages that are not trained say so."""
    areas = [spec.data[0].area for spec in chain]
    body: list[tuple[Any, ...]] = []
    for stage, spec in enumerate(chain, start=1):
        run = runs.find(spec)
        if run is None:
            body.append((stage, "not trained yet", *[""] * len(areas)))
            continue
        counts = {area: one.f1 for area, one in serial_results.counts_of(run).items()}
        body.append(
            (stage, serial_results.total_scores(run)["f1"], *(counts.get(area, "") for area in areas))
        )
    head = ("F1 after stage", "all areas so far", *map(style.area_name, areas))
    return parts.table(head, body)
