"""Diagrams: networks drawn from their dataflow; what they cost and how far they see, side by side."""

import re
from collections.abc import Mapping
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch, Rectangle

from lmhld_nb import models
from lmhld_nb.anatomy import dataflow
from lmhld_nb.anatomy.architecture import Reach
from lmhld_nb.anatomy.dataflow import Edge, Graph, Node
from lmhld_nb.plots import style
from lmhld_nb.plots.style import FALSE_ALARM, HIT, MISS, RGB

_GREY, _POOLED = "0.35", "#cc79a7"
_Line = Literal["-"] | tuple[float, tuple[float, ...]]
_EDGES: dict[str, tuple[str, _Line, str]] = {  # kind of edge: colour, line, what it is
    "forward": (_GREY, "-", "to the next block"),
    "down": (_GREY, "-", "to the next block"),
    "up": (HIT, "-", "enlarged"),
    "skip": (MISS, "-", "skip: concatenated"),
    "pooled": (_POOLED, "-", "pooled, concatenated"),
    "gate": (FALSE_ALARM, (0, (3, 1.5)), "steers the gate"),
}

_INPUT, _PLAIN = (0.95, 0.95, 0.95), (0.86, 0.86, 0.86)  # greys of inputs, and of what plain U-Net has too
_HALF = 0.21  # half the height of a box, in levels


def architecture(name: str, width: int | None = None) -> Figure:
    """Draw a network: its blocks by resolution (down) and depth (right), as wide as the root of their channels."""
    graph = dataflow.graph(name, width)
    depth = 1 + max(node.level for node in graph.nodes)
    figure, ax = plt.subplots(figsize=(10.5, 0.62 * depth + 0.8))
    _draw_network(ax, graph, to_rgb(models.network(name).colour))
    ax.set_title(f"{style.network_title(name)}: channels of each block, by resolution", loc="left")
    channels = "published width" if width is None else f"{width} channels at the first level"
    explanation = f"{channels}; read off the network by torch.fx, shapes of a {dataflow.SIZE} px patch"
    return style.counted(figure, style.format_count(1, "network"), explanation)


def _look(node: Node) -> str:
    """Return what a box stands for in the legend; empty for what plain U-Net has too."""
    if "nested" in node.name:
        return f"nested node: {node.kind}"
    plain = node.kind in ("input", "2 × conv 3×3")
    return "" if plain else re.sub(r"^\d+ × (?!conv)", "", node.kind)


def _draw_network(ax: Axes, graph: Graph, colour: RGB) -> None:
    drawn = {edge.kind for edge in graph.edges}
    boxes = [node for node in graph.nodes if node.kind != "head"]
    most, depth = max(node.channels for node in boxes), max(node.level for node in boxes)
    pitch = min(1.25, 12.6 / max(node.column for node in boxes))
    half = {node.name: 0.17 + 0.2 * (node.channels / most) ** 0.5 for node in boxes}
    middle = {node.name: pitch * node.column for node in boxes}
    looks = list(dict.fromkeys(filter(None, map(_look, boxes))))
    fills = {look: style.tint(colour, 0.75 - 0.6 * looks.index(look) / len(looks)) for look in looks}
    for node in boxes:
        fill = _INPUT if node.kind == "input" else fills.get(_look(node), _PLAIN)
        times = re.match(r"(\d+) × (?!conv)", node.kind)
        corner, wide = (middle[node.name] - half[node.name], -node.level - _HALF), 2 * half[node.name]
        shape = "round,pad=0,rounding_size=0.05"
        box = FancyBboxPatch(corner, wide, 2 * _HALF, boxstyle=shape, facecolor=fill, edgecolor="0.3")
        ax.add_patch(box).set(linewidth=0.8, zorder=3)
        text = f"{node.channels}\n×{times[1]}" if times else str(node.channels)
        ax.text(
            middle[node.name], -node.level, text, ha="center", va="center", fontsize=7.5, linespacing=0.95, zorder=4
        )
    for edge in graph.edges:
        source, target = graph[edge.source], graph[edge.target]
        if target.kind == "head":
            x, y = middle[source.name] + half[source.name], -source.level - _HALF
            ax.plot([x - 0.02, x + 0.13], [y + 0.02, y - 0.13], color=_GREY, linewidth=1, zorder=1)
            ax.plot(x + 0.13, y - 0.13, marker="D", color=_GREY, markersize=4.5)
        else:
            _arrow(ax, graph, edge, middle, half)
    for level in range(depth + 1):
        ax.text(-0.7, -level, f"{dataflow.SIZE >> level} px", ha="right", va="center", fontsize=8, color=_GREY)
    ax.set(xlim=(-1.3, 14.6), ylim=(-depth - 0.5, 0.85))
    ax.axis("off")
    plain = dict.fromkeys((node.kind for node in boxes if not _look(node) and node.kind != "input"), _PLAIN)
    fills = plain | fills
    handles: list[Any] = [Patch(facecolor=fill, edgecolor="0.4", label=text) for text, fill in fills.items()]
    handles.append(Line2D([], [], color=_GREY, marker="D", linewidth=0, markersize=4.5, label="head: logits"))
    for tone, line, label in dict.fromkeys(look for kind, look in _EDGES.items() if kind in drawn):
        handles.append(Line2D([], [], color=tone, linestyle=line, label=label))
    ax.legend(handles=handles, loc="lower right", fontsize=7.5, borderaxespad=0)


def _arrow(ax: Axes, graph: Graph, edge: Edge, x: Mapping[str, float], half: Mapping[str, float]) -> None:
    """Draw an edge: straight to a neighbour, in an arc over boxes of its level, or across and then up or down."""
    source, target = graph[edge.source], graph[edge.target]
    right, left = x[source.name] + half[source.name], x[target.name] - half[target.name]
    y, end_y = float(-source.level), float(-target.level)
    between = range(source.column + 1, target.column)
    side = 1 if target.level < source.level else -1
    way, start, end = "arc3", (right, y), (left, end_y)
    if source.level == target.level:
        if any(node.level == source.level and node.column in between for node in graph.nodes if node.kind != "head"):
            start, end = (right - 0.1, y + _HALF), (left + 0.1, end_y + _HALF)
            way = f"arc3,rad={-0.08 - 0.35 / (end[0] - start[0]):.3f}"
    elif not between:  # from corner to corner
        start, end = (right - 0.02, y + side * _HALF), (left + 0.02, end_y - side * _HALF)
    else:  # ways into one side of a box keep apart
        rivals = [node for node in graph.sources(target.name) if (node.level - target.level) * side > 0]
        rivals = sorted((node for node in rivals if target.column - node.column > 1), key=lambda node: node.column)
        end = (x[target.name] + (rivals.index(source) - (len(rivals) - 1) / 2) * 0.13, end_y - side * _HALF)
        way = "angle,angleA=0,angleB=90,rad=5"
    colour, line, _ = _EDGES[edge.kind]
    head = "-|>,head_length=3.5,head_width=1.6"
    arrow = FancyArrowPatch(start, end, connectionstyle=way, arrowstyle=head, shrinkA=0, shrinkB=0, mutation_scale=1)
    ax.add_patch(arrow).set(color=colour, linestyle=line, linewidth=1.1, zorder=1)


def influence(reaches: Mapping[str, Reach]) -> Figure:
    """Draw what the middle pixel of a patch depends on, one panel per network."""
    figure, panels, _, _ = style.grid(len(reaches), (2.6, 2.75), (0.8, 0.3))
    norm = LogNorm(1e-6, 1)
    squares: dict[str, _Line] = {"any influence": (0, (3, 2)), "95 % of the influence": "-"}
    for ax, (name, reach) in zip(panels, reaches.items(), strict=True):
        share = reach.influence / reach.influence.max()
        ax.imshow(np.where(share > 0, share, np.nan), norm=norm, cmap="viridis")
        for side, line in zip((reach.extent, reach.effective), squares.values(), strict=True):
            if side < len(share):
                corner = (len(share) // 2 - side / 2,) * 2
                ax.add_patch(Rectangle(corner, side, side, fill=False, color=FALSE_ALARM, linestyle=line))
        extent = "whole patch" if reach.whole else f"{reach.extent} px"
        ax.set_title(f"{style.network_title(name)}: {extent}\n95 % within {reach.effective} px", fontsize=8.5)
        ax.spines[:].set_visible(False)
    style.no_ticks(*panels)
    scale = ScalarMappable(norm, "viridis")
    figure.colorbar(scale, ax=figure.axes, shrink=0.8, label="influence, share of the strongest pixel (log)")
    handles = [Line2D([], [], color=FALSE_ALARM, linestyle=line, label=text) for text, line in squares.items()]
    figure.legend(handles=handles, loc="outside upper right", ncols=2)
    return style.counted(figure, style.format_count(len(reaches), "network"))
