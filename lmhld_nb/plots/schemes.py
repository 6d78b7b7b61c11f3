"""Schemes: how data flow through the experiments, drawn from the declarations themselves (paper Figs 3 to 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch
from matplotlib.path import Path

from lmhld_nb import paper
from lmhld_nb.experiments.plan import EXPERIMENTS, Planned
from lmhld_nb.patches.patch_sets import PatchSet
from lmhld_nb.plots.style import area_name, colours, many, signed
from lmhld_nb.training.specs import RunSpec, Treatment

# What becomes of a part's weights at a stage: its fill and what the legend says. Light enough for black letters.
TREATMENTS: dict[Treatment, tuple[str, str]] = {
    "fresh": ("#f0e442", "fresh: random weights, trained"),
    "frozen": ("#d0d4d8", "frozen: weights of the stage before, not trained"),
    "finetune": ("#8fd0f5", "finetune: weights of the stage before, trained on"),
}
_DATA, _RUNS, _RESULT = "#dce9f5", "#fbe3c6", "#d9efdf"


@dataclass(frozen=True)
class Box:
    """A box of a scheme: its middle, size, first line (bold), further lines, fill."""

    x: float
    y: float
    title: str
    text: str = ""
    fill: str | tuple[float, float, float] = _DATA
    width: float = 2.3
    height: float = 1.0


def experiment_scheme(planned: Sequence[Planned], areas: Sequence[str], note: str) -> Figure:
    """Draw the five experiments as one flowchart, with the number of trainings of each (paper Fig 3).

    Args:
        planned: of `plans.plan`, all experiments.
        areas: of the profile.
        note: of `style.note`.
    """

    def told(name: str) -> str:
        mine = [entry for entry in planned if name in entry.experiments]
        if not mine:
            return "not in this profile"
        models = len({entry.spec.model for entry in mine})
        kept = sum(entry.experiments[0] != name for entry in mine)
        shared = f"\n{kept} of them made before" if kept else ""
        return f"{len(mine)} trainings, {models} network{'s' if models > 1 else ''}{shared}"

    def experiment(name: str, x: float, y: float, title: str) -> Box:
        return Box(x, y, f"Experiment {name}: {title}", told(name), _RUNS, width=2.9, height=1.15)

    boxes = {
        "areas": Box(0, 0, f"{len(areas)} study areas", "scenes, inventories\n(chapters 01, 02)"),
        "1": experiment("1", 3.2, 0, EXPERIMENTS["1"][0]),
        "sizes": Box(6.3, 0, "one patch size an area", "highest mean F1\nover the networks", _RESULT),
        "2": experiment("2", 9.7, 1.6, "LMHLD_single"),
        "3": experiment("3", 9.7, 0, "LMHLD_mix"),
        "4": experiment("4", 9.7, -1.6, "LMHLD_part"),
        "learnt": Box(13.1, -1.6, "is it forgotten?", "Table 7, Figs 12 to 15", _RESULT),
        "each": Box(13.1, 1.6, "is each area learnable?", "Table 5, Fig 10", _RESULT),
        "one": Box(13.1, 0, "does one size do?", "Table 6, Fig 11", _RESULT),
        "unseen": experiment("5", 13.1, -3.1, EXPERIMENTS["5"][0]),
    }
    arrows = [
        *(("areas", "1"), ("1", "sizes"), ("sizes", "2"), ("sizes", "4"), ("2", "each"), ("3", "one")),
        *(("4", "learnt"), ("4", "unseen")),
    ]
    figure, ax = plt.subplots(figsize=(11, 4.7))
    _draw(ax, boxes, arrows)
    # One size for all: experiment 3 takes the areas as they are, past the choice.
    start, end = boxes["areas"], boxes["3"]
    left, low, turn = end.x - end.width / 2, -1.0, end.x - end.width / 2 - 0.45
    corners = [(start.x, -start.height / 2), (start.x, low), (turn, low), (turn, -0.3), (left - 0.05, -0.3)]
    ax.add_patch(
        FancyArrowPatch(path=Path(corners), arrowstyle="-|>", mutation_scale=10, color="0.35", fill=False)
    )
    ax.text((start.x + turn) / 2, low - 0.08, "all areas cut to one size", va="top", ha="center", fontsize=7.5,
            color="0.35")  # fmt: skip
    return signed(figure, note, n=many(len(planned), "training"))


def mix_strategy(parts: Sequence[PatchSet], specs: Sequence[RunSpec], note: str) -> Figure:
    """Draw LMHLD_mix: all areas cut to one size, trained on together, tested together and apart (paper Fig 4).

    Args:
        parts: the PatchSets of experiment 3.
        specs: its runs.
        note: of `style.note`.
    """
    tints = colours([part.spec.area for part in parts])
    height = 0.62
    rows = [(len(parts) - 1) / 2 - number for number in range(len(parts))]
    boxes = {}
    for part, row in zip(parts, rows, strict=True):
        area = part.spec.area
        text = f"{len(part.index)} patches of {part.spec.size} px"
        boxes[area] = Box(0, 0.8 * row, area_name(area), text, _pale(tints[area]), 2.6, height)
    counts = {split: sum(len(part.where(split)) for part in parts) for split in ("train", "val", "test")}
    size = parts[0].spec.size
    models = [paper.MODELS[name] for name in dict.fromkeys(spec.model for spec in specs)]
    boxes["set"] = Box(
        4, 0, f"one set of {size} px patches",
        f"train {counts['train']}\nvalidation {counts['val']}\ntest {counts['test']}", _DATA, 2.6, 1.2,
    )  # fmt: skip
    boxes["models"] = Box(
        7.6, 0, "trained from random weights", "\n".join(models), _RUNS, 2.8, 0.75 + 0.19 * len(models)
    )
    boxes["whole"] = Box(11.2, 0.8, "tested on all", f"{counts['test']} patches (Table 6)", _RESULT, 2.6)
    boxes["apart"] = Box(11.2, -0.8, "tested area by area", f"{len(parts)} areas", _RESULT, 2.6)
    arrows = [(part.spec.area, "set") for part in parts]
    arrows += [("set", "models"), ("models", "whole"), ("models", "apart")]
    figure, ax = plt.subplots(figsize=(9.6, 0.62 * len(parts) + 0.7))
    _draw(ax, boxes, arrows)
    return signed(figure, note, n=many(sum(len(part.index) for part in parts), "patch"))


def part_strategy(
    order: Sequence[str], sizes: Mapping[str, int], rows: Sequence[Mapping[str, Treatment]], note: str
) -> Figure:
    """Draw LMHLD_part: what becomes of each part of a network at each stage (paper Fig 5).

    Args:
        order: areas in the order they are added, one a stage.
        sizes: patch size of each area.
        rows: of `serial_experiment.schedule`.
        note: of `style.note`.
    """
    parts = list(rows[0])
    boxes = {
        f"{part} {stage}": Box(place, -stage, row[part], "", TREATMENTS[row[part]][0], 0.88, 0.58)
        for stage, row in enumerate(rows)
        for place, part in enumerate(parts)
    }
    # A fresh part takes nothing over from the stage before, so no arrow leads to it.
    arrows = [
        (f"{part} {stage - 1}", f"{part} {stage}")
        for stage, row in enumerate(rows)
        for part in parts
        if stage and row[part] != "fresh"
    ]
    figure, ax = plt.subplots(figsize=(max(6.5, 2.0 + 1.05 * len(parts)), 1.3 + 0.47 * len(order)))
    _draw(ax, boxes, arrows)
    for place, part in enumerate(parts):
        ax.text(place, 0.45, part, ha="center", va="bottom", fontweight="bold")
    for stage, area in enumerate(order):
        ax.text(-0.55, -stage, f"{stage + 1} {area_name(area)}, {sizes[area]} px", ha="right", va="center")
    handles = [Patch(facecolor=fill, edgecolor="0.35", label=text) for fill, text in TREATMENTS.values()]
    figure.legend(handles=handles, loc="outside upper center", ncols=2)
    return signed(figure, f"arrow: weights pass on · {note}", n=many(len(order), "stage"))


def addition_orders(orders: Mapping[str, Sequence[str]], sizes: Mapping[str, int], note: str) -> Figure:
    """Draw the orders in which areas are added, one row an order (paper Fig 6).

    Args:
        orders: areas of each order, by its name.
        sizes: patch size of each area.
        note: of `style.note`.
    """
    stages = max(len(order) for order in orders.values())
    tints = colours([area for order in orders.values() for area in order])
    boxes = {
        f"{name} {stage}": Box(
            stage, -row, area_name(area), f"{sizes[area]} px", _pale(tints[area]), 0.8, 0.74
        )
        for row, (name, order) in enumerate(orders.items())
        for stage, area in enumerate(order)
    }
    arrows = [
        (f"{name} {stage - 1}", f"{name} {stage}")
        for name, order in orders.items()
        for stage in range(1, len(order))
    ]
    figure, ax = plt.subplots(figsize=(max(6.0, 0.7 + 1.47 * stages), 0.8 + 0.56 * len(orders)))
    _draw(ax, boxes, arrows)
    for row, name in enumerate(orders):
        ax.text(-0.5, -row, name, ha="right", va="center", fontweight="bold")
    for stage in range(stages):
        ax.text(stage, 0.5, f"stage {stage + 1}", ha="center", va="bottom")
    return signed(figure, note, n=many(len(orders), "order"))


def _pale(tint: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = (0.65 + 0.35 * value for value in tint)
    return red, green, blue


def _draw(ax: Axes, boxes: dict[str, Box], arrows: Sequence[tuple[str, str]]) -> None:
    for box in boxes.values():
        corner = (box.x - box.width / 2, box.y - box.height / 2)
        ax.add_patch(
            FancyBboxPatch(
                corner, box.width, box.height, boxstyle="round,pad=0,rounding_size=0.08", facecolor=box.fill,
                edgecolor="0.35", linewidth=0.9,
            )
        )  # fmt: skip
        # In points, so that lines keep their distance whatever the scale: title 11, gap 3, then 9.5 a line.
        lines = box.text.splitlines()
        top = (14 + 9.5 * len(lines) if lines else 11) / 2
        told: dict[str, Any] = {"ha": "center", "va": "top", "textcoords": "offset points"}
        ax.annotate(box.title, (box.x, box.y), (0, top), fontsize=8, fontweight="bold", **told)
        for number, line in enumerate(lines):
            ax.annotate(line, (box.x, box.y), (0, top - 14 - 9.5 * number), fontsize=7.5, **told)
    for source, target in arrows:
        start, end = boxes[source], boxes[target]
        points = [(start.x + start.width / 2, start.y), (end.x - end.width / 2, end.y)]
        if start.x == end.x:  # one above the other
            points = [(start.x, start.y - start.height / 2), (end.x, end.y + end.height / 2)]
        ax.add_patch(
            FancyArrowPatch(
                *points, arrowstyle="-|>", mutation_scale=10, color="0.35", shrinkA=1, shrinkB=1,
            )
        )  # fmt: skip
    sides = [box.x + sign * (box.width / 2 + 0.1) for box in boxes.values() for sign in (-1, 1)]
    ends = [box.y + sign * (box.height / 2 + 0.1) for box in boxes.values() for sign in (-1, 1)]
    ax.set(xlim=(min(sides), max(sides)), ylim=(min(ends), max(ends)))
    ax.axis("off")
