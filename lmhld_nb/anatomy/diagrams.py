"""Diagrams: networks drawn from their dataflow; what they cost and how far they see, side by side."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch, Rectangle
from matplotlib.path import Path
from matplotlib.ticker import LogLocator, NullLocator

from lmhld_nb.anatomy import dataflow
from lmhld_nb.anatomy.architecture import Reach, empty
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
    "skip": (MISS, "-", "concatenated\n(between blocks: a skip)"),
    "pooled": (_POOLED, "-", "pooled, concatenated"),
    "gate": (FALSE_ALARM, (0, (3, 1.5)), "steers the gate"),
    "add": (FALSE_ALARM, "-", "added"),
}

INSIDE = {
    "unet": ("encoder.1",),
    "res_unet": ("encoder.1",),
    "dense_unet": ("encoder.1",),
    "attention_unet": ("gates.0",),
    "trans_unet": ("stages.0.1", "transformer.layer.0"),
    "unet_pp": (),
    "unet_3p": ("decoder.2",),
}
"""Blocks whose inside is drawn under each network."""

_INPUT, _PLAIN = (0.95, 0.95, 0.95), (0.86, 0.86, 0.86)  # greys of inputs, and of what plain U-Net has too
_HALF = 0.21  # half the height of a box, in levels


def architecture(name: str, width: int | None = None) -> Figure:
    """Draw a network: its blocks by resolution (down) and depth (right), and the inside of its characteristic block.

    Boxes, channels and links are those of the network itself (`dataflow.graph`). A box is as wide as the root of its
    channels; what is not in plain U-Net has the network's colour.
    """
    graph, network = dataflow.graph(name, width), empty(name, width)
    blocks = [(path, dataflow.inside(name, path, width)) for path in INSIDE.get(name, ())]
    depth = 1 + max(node.level for node in graph.nodes)
    lanes = [1 - min(_lanes(block).values()) for _, block in blocks]
    heights = [0.62 * depth + 0.6, *(0.5 * count + 0.35 for count in lanes)]
    figure, axes = plt.subplots(
        1 + len(blocks), figsize=(10.5, sum(heights) + 0.2), height_ratios=heights, squeeze=False
    )
    colour = style.network_colours([name])[name]
    drawn = {edge.kind for drawing in (graph, *(block for _, block in blocks)) for edge in drawing.edges}
    _draw_network(axes[0, 0], graph, colour, drawn)
    axes[0, 0].set_title(f"{style.network_title(name)}: channels of each block, by resolution", loc="left")
    for ax, (path, block) in zip(axes[1:, 0], blocks, strict=True):
        _draw_inside(ax, block, _PLAIN if name == "unet" else _tint(colour, 0.4))
        kind = dataflow.kind_of(network.get_submodule(path))
        box = next(node for node in graph.nodes if f"{path}.".startswith(f"{node.name}."))
        side = f"{dataflow.SIZE >> box.level} px"
        ax.set_title(f"inside {path} ({kind}), at {side}", loc="left", fontsize=8, fontweight="normal")
    size = "published width" if width is None else f"{width} channels at the first level"
    explanation = f"{size}; read off the network by torch.fx, shapes of a {dataflow.SIZE} px patch"
    return style.counted(figure, style.format_count(1, "network"), explanation)


def _look(node: Node) -> str:
    """Return what a box stands for in the legend; empty for what plain U-Net has too."""
    if "nested" in node.name:
        return f"nested node: {node.kind}"
    plain = node.kind in ("input", "2 × conv 3×3")
    return "" if plain else re.sub(r"^\d+ × (?!conv)", "", node.kind)


def _tint(colour: RGB, strength: float) -> RGB:
    red, green, blue = (1 - strength * (1 - value) for value in colour)
    return red, green, blue


def _draw_network(ax: Axes, graph: Graph, colour: RGB, drawn: set[str]) -> None:
    boxes = [node for node in graph.nodes if node.kind != "head"]
    most = max(node.channels for node in boxes)
    pitch = min(1.25, 12.6 / max(node.column for node in boxes))
    spots = {
        node.name: _Spot(pitch * node.column, -node.level, 0.17 + 0.2 * (node.channels / most) ** 0.5) for node in boxes
    }
    looks = list(dict.fromkeys(_look(node) for node in boxes if _look(node)))
    fills = {look: _tint(colour, 0.75 - 0.6 * looks.index(look) / len(looks)) for look in looks}
    for node in boxes:
        fill = _INPUT if node.kind == "input" else fills.get(_look(node), _PLAIN)
        times = re.match(r"(\d+) × (?!conv)", node.kind)
        text = f"{node.channels}\n×{times[1]}" if times else str(node.channels)
        spots[node.name].box(ax, _HALF, fill, text)
    slots = _slots(graph)
    for edge in graph.edges:
        source, target = graph[edge.source], graph[edge.target]
        if target.kind == "head":
            x, y = spots[source.name].right, -source.level - _HALF
            ax.plot([x - 0.02, x + 0.13], [y + 0.02, y - 0.13], color=_GREY, linewidth=1, zorder=1)
            ax.plot(x + 0.13, y - 0.13, marker="D", color=_GREY, markersize=4.5)
        else:
            _arrow(ax, _route(graph, edge, spots, slots), edge.kind)
    depth = max(node.level for node in graph.nodes)
    for level in range(depth + 1):
        side = f"{dataflow.SIZE >> level} px"
        ax.text(-0.7, -level, side, ha="right", va="center", fontsize=8, color=_GREY)
    ax.set(xlim=(-1.3, 14.6), ylim=(-depth - 0.5, 0.85))
    ax.axis("off")
    plain = ", ".join(dict.fromkeys(n.kind for n in boxes if not _look(n) and n.kind != "input"))
    legend = {plain: _PLAIN, **fills} if plain else fills
    handles: list[Patch | Line2D] = [
        Patch(facecolor=fill, edgecolor="0.4", label=text) for text, fill in legend.items()
    ]
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
        """Draw the box, twice ``height`` high."""
        corner, shape = (self.left, self.y - height), "round,pad=0,rounding_size=0.05"
        ax.add_patch(
            FancyBboxPatch(corner, 2 * self.half, 2 * height, boxstyle=shape, facecolor=fill, edgecolor="0.3",
                           linewidth=0.8, zorder=3)
        )  # fmt: skip
        ax.text(self.x, self.y, text, ha="center", va="center", fontsize=7.5, linespacing=0.95, zorder=4)


def _between(graph: Graph, source: Node, target: Node) -> list[Node]:
    """Return the boxes of a level that lie between two of its boxes."""
    return [
        node for node in graph.nodes
        if node.level == source.level and node.kind != "head" and source.column < node.column < target.column
    ]  # fmt: skip


def _slots(graph: Graph) -> dict[Edge, int]:
    """Return how high each link that passes over boxes of its own level goes, so that none lies on another."""
    pairs = {edge: (graph[edge.source], graph[edge.target]) for edge in graph.edges}
    over = {e: ends for e, ends in pairs.items() if ends[0].level == ends[1].level and _between(graph, *ends)}
    slots: dict[Edge, int] = {}
    for edge, (source, target) in sorted(over.items(), key=lambda item: item[1][1].column - item[1][0].column):
        taken = {
            slot for other, slot in slots.items()
            if over[other][0].level == source.level
            and over[other][0].column < target.column and source.column < over[other][1].column
        }  # fmt: skip
        slots[edge] = min(set(range(len(over))) - taken)
    return slots


def _route(
    graph: Graph, edge: Edge, spots: Mapping[str, _Spot], slots: Mapping[Edge, int]
) -> list[tuple[float, float]]:
    """Return the corners of an edge's way between two boxes."""
    source, target = graph[edge.source], graph[edge.target]
    start, end = spots[edge.source], spots[edge.target]
    if edge in slots:
        rise = start.y + _HALF + 0.16 + 0.1 * slots[edge]
        passed = len(_between(graph, source, target))
        begin, finish = start.x + 0.16 - 0.08 * passed, end.x - 0.16 + 0.08 * passed
        return [(begin, start.y + _HALF), (begin, rise), (finish, rise), (finish, end.y + _HALF)]
    if source.level == target.level:
        return [(start.right, start.y), (end.left, end.y)]
    side = 1 if target.level < source.level else -1
    if target.column - source.column == 1:  # from corner to corner
        return [(start.right - 0.02, start.y + side * _HALF), (end.left + 0.02, end.y - side * _HALF)]
    # To the right, then up or down into the target; ways into one side of it keep apart.
    rivals = [
        node for node in graph.sources(target.name)
        if (node.level - target.level) * side > 0 and target.column - node.column > 1
    ]  # fmt: skip
    rank = sorted(rivals, key=lambda node: node.column).index(source) - (len(rivals) - 1) / 2
    x = end.x + rank * 0.13
    return [(start.right, start.y), (x, start.y), (x, end.y - side * _HALF)]


def _arrow(ax: Axes, points: Points, kind: str, radius: float = 0.12) -> None:
    """Draw an arrow along corners, rounded."""
    colour, line, _ = _EDGES[kind]
    vertices, codes = [points[0]], [Path.MOVETO]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        ends = []
        for end in (before, after):
            away = np.subtract(end, corner)
            near = np.add(corner, away * min(0.5, radius / max(float(np.hypot(*away)), 1e-9)))
            ends.append((float(near[0]), float(near[1])))
        vertices += [ends[0], corner, ends[1]]
        codes += [Path.LINETO, Path.CURVE3, Path.CURVE3]
    way = Path([*vertices, points[-1]], [*codes, Path.LINETO])
    ax.add_patch(
        FancyArrowPatch(path=way, arrowstyle="-|>,head_length=3.5,head_width=1.6", color=colour, linestyle=line,
                        linewidth=1.1, zorder=1)
    )  # fmt: skip


def _lanes(graph: Graph) -> dict[str, int]:
    """Return the lane of each operation: 0 for the longest way, others below it."""
    lanes: dict[str, int] = {}
    here: Node | None = graph.nodes[-1]
    while here is not None:
        lanes[here.name] = 0
        behind = [node for node in graph.sources(here.name) if node.column == here.column - 1]
        here = behind[0] if behind else None
    for node in sorted(graph.nodes, key=lambda node: node.name):
        if node.name not in lanes:
            beside = [lanes[other.name] for other in graph.nodes
                      if other.column == node.column and other.name in lanes]  # fmt: skip
            lanes[node.name] = min(beside, default=0) - 1
    return lanes


def _draw_inside(ax: Axes, graph: Graph, fill: RGB) -> None:
    lanes = _lanes(graph)
    texts = {
        node.name: f"{node.channels}\n{node.kind}" if _enters(node) else node.kind.replace(" + ", "\n")
        for node in graph.nodes
    }
    half = {name: 0.1 + 0.042 * max(map(len, text.splitlines())) for name, text in texts.items()}
    centres, x = {}, -0.6
    for column in range(1 + max(node.column for node in graph.nodes)):
        widest = max(half[node.name] for node in graph.nodes if node.column == column)
        centres[column] = x + widest
        x += 2 * widest + 0.42
    spots = {node.name: _Spot(centres[node.column], lanes[node.name], half[node.name]) for node in graph.nodes}
    for node in graph.nodes:
        spot = spots[node.name]
        spot.box(ax, 0.3, _INPUT if _enters(node) else fill, texts[node.name])
        if not _enters(node):
            ax.text(spot.x + 0.06, spot.y - 0.33, str(node.channels), va="top", fontsize=6.5, color=_GREY)
    for edge in graph.edges:
        _arrow(ax, _way(graph, edge, spots), edge.kind)
    ax.set(xlim=(-1.3, 14.6), ylim=(min(lanes.values()) - 0.7, 0.75))
    ax.axis("off")


def _enters(node: Node) -> bool:
    return node.kind.startswith("from")


def _way(graph: Graph, edge: Edge, spots: Mapping[str, _Spot]) -> list[tuple[float, float]]:
    """Return the corners of a link's way between two operations."""
    start, end = spots[edge.source], spots[edge.target]
    between = [
        node for node in graph.nodes
        if spots[node.name].y == start.y and graph[edge.source].column < node.column < graph[edge.target].column
    ]  # fmt: skip
    if start.y > end.y:  # down, then right
        return [(start.x, start.y - 0.3), (start.x, end.y), (end.left, end.y)]
    if between:  # over them on the longest way, else under them
        side = 1 if start.y == end.y else -1
        turn = start.y + side * 0.6
        begin, finish = start.x + 0.06, end.x - 0.06  # one may begin where another ends
        return [(begin, start.y + side * 0.3), (begin, turn), (finish, turn), (finish, end.y + side * 0.3)]
    if start.y == end.y:
        return [(start.right, start.y), (end.left, end.y)]
    return [(start.right, start.y), (end.x, start.y), (end.x, end.y - 0.3)]


def influence(reaches: Mapping[str, Reach]) -> Figure:
    """Draw what the middle pixel of a patch depends on, one panel per network.

    The dashed square is the extent (none where it is the whole patch), the full one holds 95 % of the influence.
    """
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
        title = f"{style.network_title(name)}: {extent}\n95 % within {reach.effective} px"
        ax.set_title(title, fontsize=8.5)
        ax.spines[:].set_visible(False)
    style.no_ticks(*panels)
    label = "influence, share of the strongest pixel (log)"
    figure.colorbar(ScalarMappable(norm, "viridis"), ax=figure.axes, shrink=0.8, label=label)
    handles = [Line2D([], [], color=FALSE_ALARM, linestyle=line, label=text) for text, line in squares.items()]
    figure.legend(handles=handles, loc="outside upper right", ncols=2)
    return style.counted(figure, style.format_count(len(reaches), "network"))


def costs(tables: Mapping[str, pd.DataFrame], size: int) -> Figure:
    """Draw MACs of one patch of ``size`` px over parameters, one panel for each of `architecture.table`'s tables."""
    figure, axes = plt.subplots(1, len(tables), figsize=(5.2 * len(tables), 3.8), squeeze=False)
    for ax, (title, table) in zip(axes[0], tables.items(), strict=True):
        names = list(map(str, table.index))
        colours, markers = style.network_colours(names), style.network_markers(names)
        for name, millions, billions in zip(names, table["parameters"] / 1e6, table[f"macs_{size}"] / 1e9, strict=True):
            ax.scatter(millions, billions, s=60, color=colours[name], marker=markers[name], edgecolor="k",
                       linewidth=0.5, label=style.network_title(name))  # fmt: skip
        ax.set(xscale="log", yscale="log", xlabel="parameters (million)", title=title)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_locator(NullLocator())
        ax.grid(True, color="0.92", linewidth=0.6)
        ax.set_axisbelow(True)
    axes[0, 0].set_ylabel(f"multiply-accumulates of a {size} px patch (billion)")
    axes[0, -1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return style.counted(figure, f"{style.format_count(max(map(len, tables.values())), 'network')} a panel")
