"""Schemes: the data flow of the experiments, drawn from their declarations (paper Figs 3 to 6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch
from matplotlib.path import Path

from lmhld_nb.experiments import experiment_named
from lmhld_nb.experiments.plan import PlannedRun
from lmhld_nb.patches import PatchSet
from lmhld_nb.patches.splits import SPLITS
from lmhld_nb.plots import style
from lmhld_nb.training.specs import RunSpec, Treatment

# Treatments of a layer group's weights at a stage: fill and legend text. Light enough for black text.
TREATMENTS: dict[Treatment, tuple[str, str]] = {
    "fresh": ("#f0e442", "fresh: random weights, trained"),
    "frozen": ("#d0d4d8", "frozen: weights of the stage before, not trained"),
    "finetune": ("#8fd0f5", "finetune: weights of the stage before, trained on"),
}
_DATA, _RUNS, _RESULT = "#dce9f5", "#fbe3c6", "#d9efdf"
_ARROW: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 10, "color": "0.35"}


@dataclass(frozen=True)
class Box:
    """A box of a scheme: its centre, size, first line (bold), other lines, fill."""

    x: float
    y: float
    title: str
    text: str = ""
    fill: str | tuple[float, float, float] = _DATA
    width: float = 2.3
    height: float = 1.0


def experiment_scheme(planned: Sequence[PlannedRun], areas: Sequence[str]) -> Figure:
    """Draw the paper's five experiments as one flowchart, with their numbers of trainings (paper Fig 3)."""

    def experiment(number: str, x: float, y: float, title: str) -> Box:
        own = [run for run in planned if number in run.experiments]
        networks = style.format_count(len({run.spec.model for run in own}), "network")
        text = f"{style.format_count(len(own), 'training')}, {networks}" if own else "not in this profile"
        if shared := sum(run.experiments[0] != number for run in own):
            text += f"\n{shared} of them made before"
        return Box(x, y, f"Experiment {number}: {title}", text, _RUNS, width=2.9, height=1.15)

    boxes = {
        "areas": Box(0, 0, f"{len(areas)} study areas", "scenes, inventories\n(chapters 01, 02)"),
        "1": experiment("1", 3.2, 0, experiment_named("1").title),
        "sizes": Box(6.3, 0, "one patch size per area", "highest mean F1\nover the networks", _RESULT),
        "2": experiment("2", 9.7, 1.6, "LMHLD_single"),
        "3": experiment("3", 9.7, 0, "LMHLD_mix"),
        "4": experiment("4", 9.7, -1.6, "LMHLD_part"),
        "learnt": Box(13.1, -1.6, "is it forgotten?", "Table 7, Figs 12 to 15", _RESULT),
        "each": Box(13.1, 1.6, "is each area learnable?", "Table 5, Fig 10", _RESULT),
        "one": Box(13.1, 0, "does one size do?", "Table 6, Fig 11", _RESULT),
        "unseen": experiment("5", 13.1, -3.1, experiment_named("5").title),
    }
    arrows = [("areas", "1"), ("1", "sizes"), ("sizes", "2"), ("sizes", "4")]
    arrows += [("2", "each"), ("3", "one"), ("4", "learnt"), ("4", "unseen")]
    figure, ax = plt.subplots(figsize=(11, 4.7))
    _draw(ax, boxes, arrows)
    left = boxes["3"].x - boxes["3"].width / 2  # one size for all: experiment 3 bypasses the choice of sizes
    corners = [(0, -0.5), (0, -1.0), (left - 0.45, -1.0), (left - 0.45, -0.3), (left - 0.05, -0.3)]
    ax.add_patch(FancyArrowPatch(path=Path(corners), fill=False, **_ARROW))
    ax.text(left / 2 - 0.225, -1.08, "all areas cut to one size", va="top", ha="center", fontsize=7.5, color="0.35")
    return style.counted(figure, style.format_count(len(planned), "training"))


def mix_strategy(patch_sets: Sequence[PatchSet], specs: Sequence[RunSpec]) -> Figure:
    """Draw LMHLD_mix: all areas cut to one size, trained together, tested together and separately (paper Fig 4)."""
    areas = [patch_set.spec.area for patch_set in patch_sets]
    colours = style.area_colours(areas)
    boxes = {}
    for number, (area, patch_set) in enumerate(zip(areas, patch_sets, strict=True)):
        text = f"{style.format_count(len(patch_set.index), 'patch')} of {patch_set.spec.size} px"
        y = 0.8 * ((len(areas) - 1) / 2 - number)
        boxes[area] = Box(0, y, style.area_name(area), text, style.tint(colours[area], 0.35), 2.6, 0.62)
    train, val, test = (sum(len(patch_set.where(split)) for patch_set in patch_sets) for split in SPLITS)
    text = f"train {train}\nvalidation {val}\ntest {test}"
    boxes["set"] = Box(4, 0, f"one set of {patch_sets[0].spec.size} px patches", text, _DATA, 2.6, 1.2)
    models = [style.network_title(name) for name in dict.fromkeys(spec.model for spec in specs)]
    title, height = "trained from random weights", 0.75 + 0.19 * len(models)
    boxes["models"] = Box(7.6, 0, title, "\n".join(models), _RUNS, 2.8, height)
    boxes["whole"] = Box(11.2, 0.8, "tested on all", f"{test} patches (Table 6)", _RESULT, 2.6)
    boxes["apart"] = Box(11.2, -0.8, "tested area by area", f"{len(areas)} areas", _RESULT, 2.6)
    arrows = [*((area, "set") for area in areas), ("set", "models"), ("models", "whole"), ("models", "apart")]
    figure, ax = plt.subplots(figsize=(9.6, 0.62 * len(areas) + 0.7))
    _draw(ax, boxes, arrows)
    return style.counted(figure, style.format_count(sum(len(patch_set.index) for patch_set in patch_sets), "patch"))


def part_strategy(order: Sequence[str], sizes: Mapping[str, int], rows: Sequence[Mapping[str, Treatment]]) -> Figure:
    """Draw LMHLD_part: the treatment of layers as areas are added (`chains.paper_schedule`; paper Fig 5)."""
    groups, boxes, arrows = list(rows[0]), {}, []
    for stage, row in enumerate(rows):
        for column, (group, treatment) in enumerate(row.items()):
            boxes[f"{group} {stage}"] = Box(column, -stage, treatment, "", TREATMENTS[treatment][0], 0.88, 0.58)
            if stage and treatment != "fresh":  # fresh layers take nothing from the previous stage
                arrows.append((f"{group} {stage - 1}", f"{group} {stage}"))
    figure, ax = plt.subplots(figsize=(max(6.5, 2.0 + 1.05 * len(groups)), 1.3 + 0.47 * len(order)))
    _draw(ax, boxes, arrows)
    for column, group in enumerate(groups):
        ax.text(column, 0.45, group, ha="center", va="bottom", fontweight="bold")
    for stage, area in enumerate(order):
        ax.text(-0.55, -stage, f"{stage + 1} {style.area_name(area)}, {sizes[area]} px", ha="right", va="center")
    handles = [Patch(facecolor=fill, edgecolor="0.35", label=text) for fill, text in TREATMENTS.values()]
    figure.legend(handles=handles, loc="outside upper center", ncols=2)
    return style.counted(figure, style.format_count(len(order), "stage"), "arrow: weights pass on")


def addition_orders(orders: Mapping[str, Sequence[str]], sizes: Mapping[str, int]) -> Figure:
    """Draw the orders in which areas are added, with the areas' patch sizes, one row per order (paper Fig 6)."""
    stages = max(map(len, orders.values()))
    colours = style.area_colours([area for order in orders.values() for area in order])
    boxes, arrows = {}, []
    for row, (name, order) in enumerate(orders.items()):
        for stage, area in enumerate(order):
            fill = style.tint(colours[area], 0.35)
            boxes[f"{name} {stage}"] = Box(stage, -row, style.area_name(area), f"{sizes[area]} px", fill, 0.8, 0.74)
        arrows += [(f"{name} {stage}", f"{name} {stage + 1}") for stage in range(len(order) - 1)]
    figure, ax = plt.subplots(figsize=(max(6.0, 0.7 + 1.47 * stages), 0.8 + 0.56 * len(orders)))
    _draw(ax, boxes, arrows)
    for row, name in enumerate(orders):
        ax.text(-0.5, -row, name, ha="right", va="center", fontweight="bold")
    for stage in range(stages):
        ax.text(stage, 0.5, f"stage {stage + 1}", ha="center", va="bottom")
    return style.counted(figure, style.format_count(len(orders), "order"))


def _draw(ax: Axes, boxes: Mapping[str, Box], arrows: Sequence[tuple[str, str]]) -> None:
    text: dict[str, Any] = {"ha": "center", "va": "top", "textcoords": "offset points"}
    for box in boxes.values():
        corner, shape = (box.x - box.width / 2, box.y - box.height / 2), "round,pad=0,rounding_size=0.08"
        look: dict[str, Any] = {"facecolor": box.fill, "edgecolor": "0.35", "linewidth": 0.9}
        ax.add_patch(FancyBboxPatch(corner, box.width, box.height, boxstyle=shape, **look))
        # In points, so that lines keep their distance whatever the scale: title 11, gap 3, then 9.5 per line.
        lines = box.text.splitlines()
        top = (14 + 9.5 * len(lines) if lines else 11) / 2
        ax.annotate(box.title, (box.x, box.y), (0, top), fontsize=8, fontweight="bold", **text)
        for number, line in enumerate(lines):
            ax.annotate(line, (box.x, box.y), (0, top - 14 - 9.5 * number), fontsize=7.5, **text)
    for source, target in arrows:
        start, end = boxes[source], boxes[target]
        points = [(start.x + start.width / 2, start.y), (end.x - end.width / 2, end.y)]
        if start.x == end.x:  # one above the other
            points = [(start.x, start.y - start.height / 2), (end.x, end.y + end.height / 2)]
        ax.add_patch(FancyArrowPatch(*points, shrinkA=1, shrinkB=1, **_ARROW))
    sides = [box.x + sign * (box.width / 2 + 0.1) for box in boxes.values() for sign in (-1, 1)]
    ends = [box.y + sign * (box.height / 2 + 0.1) for box in boxes.values() for sign in (-1, 1)]
    ax.set(xlim=(min(sides), max(sides)), ylim=(min(ends), max(ends)))
    ax.axis("off")
