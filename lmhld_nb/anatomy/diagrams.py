"""Diagrams: networks drawn from their dataflow; what they cost and how far they see, side by side."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch, Rectangle
from matplotlib.path import Path

from lmhld_nb import models
from lmhld_nb.anatomy import dataflow
from lmhld_nb.anatomy.architecture import Reach
from lmhld_nb.anatomy.dataflow import Edge, Graph, Node
from lmhld_nb.plots import style
from lmhld_nb.plots.style import FALSE_ALARM, HIT, MISS, RGB

Points = Sequence[tuple[float, float]]

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
    spots = {node.name: _Spot(pitch * node.column, -node.level, half[node.name]) for node in boxes}
    looks = list(dict.fromkeys(filter(None, map(_look, boxes))))
    fills = {look: style.tint(colour, 0.75 - 0.6 * looks.index(look) / len(looks)) for look in looks}
    for node in boxes:
        fill = _INPUT if node.kind == "input" else fills.get(_look(node), _PLAIN)
        times = re.match(r"(\d+) × (?!conv)", node.kind)
        spots[node.name].box(ax, _HALF, fill, f"{node.channels}\n×{times[1]}" if times else str(node.channels))
    slots = _slots(graph)
    for edge in graph.edges:
        source, target = graph[edge.source], graph[edge.target]
        if target.kind == "head":
            x, y = spots[source.name].right, -source.level - _HALF
            ax.plot([x - 0.02, x + 0.13], [y + 0.02, y - 0.13], color=_GREY, linewidth=1, zorder=1)
            ax.plot(x + 0.13, y - 0.13, marker="D", color=_GREY, markersize=4.5)
        else:
            _arrow(ax, _route(graph, edge, spots, slots), edge.kind)
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


@dataclass(frozen=True)
class _Spot:
    """Where a box is drawn: its middle and half its width."""

    x: float
    y: float
    half: float

    @property
    def left(self) -> float:
        return self.x - self.half

    @property
    def right(self) -> float:
        return self.x + self.half

    def box(self, ax: Axes, height: float, fill: RGB, text: str) -> None:
        corner, shape = (self.left, self.y - height), "round,pad=0,rounding_size=0.05"
        box = FancyBboxPatch(corner, 2 * self.half, 2 * height, boxstyle=shape, facecolor=fill, edgecolor="0.3")
        ax.add_patch(box).set(linewidth=0.8, zorder=3)
        ax.text(self.x, self.y, text, ha="center", va="center", fontsize=7.5, linespacing=0.95, zorder=4)


def _between(graph: Graph, edge: Edge) -> list[Node]:
    """Return the boxes between source and target of an edge, where these are on one level."""
    source, target = graph[edge.source], graph[edge.target]
    level = [node for node in graph.nodes if node.level == source.level == target.level and node.kind != "head"]
    return [node for node in level if source.column < node.column < target.column]


def _slots(graph: Graph) -> dict[Edge, int]:
    """Return how high each link that passes over boxes of its own level goes, so that none lies on another."""
    over = [edge for edge in graph.edges if _between(graph, edge)]
    spans = {edge: (graph[edge.source].column, graph[edge.target].column) for edge in over}
    slots: dict[Edge, int] = {}
    for edge in sorted(over, key=lambda edge: spans[edge][1] - spans[edge][0]):
        start, end = spans[edge]
        beside = [other for other in slots if graph[other.source].level == graph[edge.source].level]
        taken = {slots[other] for other in beside if spans[other][0] < end and start < spans[other][1]}
        slots[edge] = min(set(range(len(over))) - taken)
    return slots


def _route(graph: Graph, edge: Edge, spots: Mapping[str, _Spot], slots: Mapping[Edge, int]) -> Points:
    """Return the corners of an edge's way between two boxes."""
    source, target = graph[edge.source], graph[edge.target]
    start, end = spots[edge.source], spots[edge.target]
    if edge in slots:
        rise = start.y + _HALF + 0.16 + 0.1 * slots[edge]
        shift = 0.16 - 0.08 * len(_between(graph, edge))
        begin, finish = start.x + shift, end.x - shift
        return [(begin, start.y + _HALF), (begin, rise), (finish, rise), (finish, end.y + _HALF)]
    if source.level == target.level:
        return [(start.right, start.y), (end.left, end.y)]
    side = 1 if target.level < source.level else -1
    if target.column - source.column == 1:  # from corner to corner
        return [(start.right - 0.02, start.y + side * _HALF), (end.left + 0.02, end.y - side * _HALF)]
    # To the right, then up or down into the target; ways into one side of it keep apart.
    rivals = [node for node in graph.sources(target.name) if (node.level - target.level) * side > 0]
    rivals = sorted((node for node in rivals if target.column - node.column > 1), key=lambda node: node.column)
    x = end.x + (rivals.index(source) - (len(rivals) - 1) / 2) * 0.13
    return [(start.right, start.y), (x, start.y), (x, end.y - side * _HALF)]


def _arrow(ax: Axes, points: Points, kind: str) -> None:
    colour, line, _ = _EDGES[kind]
    vertices: list[Any] = [points[0]]
    codes = [Path.MOVETO]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        aways = [np.subtract(end, corner) for end in (before, after)]
        near = [corner + away * min(0.5, 0.12 / max(float(np.hypot(*away)), 1e-9)) for away in aways]
        vertices += [near[0], corner, near[1]]
        codes += [Path.LINETO, Path.CURVE3, Path.CURVE3]
    way, head = Path([*vertices, points[-1]], [*codes, Path.LINETO]), "-|>,head_length=3.5,head_width=1.6"
    ax.add_patch(FancyArrowPatch(path=way, arrowstyle=head, color=colour, linestyle=line, linewidth=1.1, zorder=1))


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
