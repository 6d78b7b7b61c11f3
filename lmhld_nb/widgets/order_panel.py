"""Order explorer: the schedule of LMHLD_part for any order of areas, and what is known of its scores (chapter 07)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import ipywidgets

from lmhld_nb import models, paper, runs
from lmhld_nb.experiments import Study, part
from lmhld_nb.plots.schemes import TREATMENTS
from lmhld_nb.training.specs import LAYER_GROUPS, RunSpec
from lmhld_nb.widgets import controls

if TYPE_CHECKING:
    from lmhld_nb.book.face import Book

OWN = "an order of my own"


def order_explorer(book: Book) -> ipywidgets.VBox:
    """Return a panel with the choice of an order of addition, one of the paper's or one's own, and of a network.

    It shows what each stage does with each group of layers; and F1 after each stage that is trained already.
    """
    orders = part.orders(book)
    names = {order: name for name, order in orders.items()}
    order = part.first_order(book)
    rows = part.schedule(book)

    chosen = controls.choice("Order of addition", [*orders, OWN])
    wide = {"description_width": "initial"}
    area = ipywidgets.Select(options=_numbered(order), rows=len(order), description="Areas", style=wide)
    earlier, later = (ipywidgets.Button(description=text) for text in ("Add it earlier", "Add it later"))
    model = controls.choice("Network", [(models.network(name).title, name) for name in book.models])
    seed = controls.choice("Seed", list(book.profile.seeds))
    stages, scores = ipywidgets.HTML(), ipywidgets.HTML()

    def draw() -> None:
        nonlocal order
        if orders.get(chosen.value, order) != order:
            order = orders[chosen.value]
            area.options = _numbered(order)
        chain = chain_of(book, order, model.value, seed.value)
        stages.value = _schedule_table(chain, rows) + controls.legend(list(TREATMENTS.values()))
        scores.value = _score_table(chain)

    def move(by: int) -> None:
        nonlocal order
        index = area.index
        if index is None or not 0 <= index + by < len(order):
            return
        moved = list(order)
        moved.insert(index + by, moved.pop(index))
        order = tuple(moved)
        area.options = _numbered(order)
        area.index = index + by
        chosen.value = names.get(order, OWN)

    inputs = [(chosen, model, seed), (area, earlier, later)]
    buttons = {earlier: partial(move, -1), later: partial(move, 1)}
    return controls.panel(draw, inputs, [stages, scores], book.caption(), buttons)


def chain_of(study: Study, order: Sequence[str], model: str, seed: int) -> list[RunSpec]:
    """Return the trainings that add areas in ``order`` to one network (`part.chain_specs`)."""
    (chain,) = part.chain_specs(study, order, networks=(model,), seeds=(seed,))
    return chain


def _numbered(order: Sequence[str]) -> list[tuple[str, str]]:
    return [(f"{stage} {paper.area_name(area)}", area) for stage, area in enumerate(order, start=1)]


def _schedule_table(chain: Sequence[RunSpec], rows: Sequence[Mapping[str, str]]) -> str:
    head = ("stage", "area added", "patch", "epochs", *LAYER_GROUPS)
    body = []
    for stage, (spec, row) in enumerate(zip(chain, rows, strict=True), start=1):
        name, size = paper.area_name(spec.data[0].area), f"{spec.data[0].size} px"
        body.append((stage, name, size, spec.recipe.epochs, *(row[group] for group in LAYER_GROUPS)))
    return controls.table(head, body, lambda value: TREATMENTS[value][0] if value in TREATMENTS else "")


def _score_table(chain: Sequence[RunSpec]) -> str:
    """Return F1 after each stage on each area so far; stages that are not trained say so."""
    areas = [spec.data[0].area for spec in chain]
    body: list[tuple[object, ...]] = []
    for stage, spec in enumerate(chain, start=1):
        run = runs.find(spec)
        if run is None:
            body.append((stage, "not trained yet", *[""] * len(areas)))
            continue
        f1 = {area: counts.f1 for area, counts in part.counts_by_area(run).items()}
        body.append((stage, part.total_scores(run)["f1"], *(f1.get(area, "") for area in areas)))
    return controls.table(("F1 after stage", "all areas so far", *map(paper.area_name, areas)), body)
