"""Diagrams: networks drawn from their dataflow; their costs and receptive fields, side by side."""

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
from lmhld_nb.plots import style
from lmhld_nb.plots.style import FALSE_ALARM, HIT, MISS

_GREY = "0.35"
_EDGES = {"forward": (_GREY, "to the next block"), "up": (HIT, "enlarged"), "skip": (MISS, "skip: concatenated")}
_FILLS = {"input": (0.95, 0.95, 0.95), "2 × conv 3×3": (0.86, 0.86, 0.86)}  # greys: plain U-Net has these, too
_HALF = 0.21  # half the height of a box, in levels


def architecture(name: str) -> Figure:
    """Draw a network as published: blocks by resolution (down) and depth (right), width by the root of channels."""
    graph = dataflow.graph(name)
    boxes = [node for node in graph.nodes if node.kind != "head"]
    depth, most = max(node.level for node in boxes), max(node.channels for node in boxes)
    figure, ax = plt.subplots(figsize=(10.5, 0.62 * depth + 1.4))
    pitch = min(1.25, 12.6 / max(node.column for node in boxes))
    half = {node.name: 0.17 + 0.2 * (node.channels / most) ** 0.5 for node in boxes}
    middle = {node.name: pitch * node.column for node in boxes}
    own = [kind for kind in dict.fromkeys(node.kind for node in boxes) if kind not in _FILLS]
    colour = to_rgb(models.network(name).colour)
    fills = _FILLS | {kind: style.tint(colour, 0.75 - 0.6 * place / len(own)) for place, kind in enumerate(own)}
    for node in boxes:
        corner = (middle[node.name] - half[node.name], -node.level - _HALF)
        look: dict[str, Any] = {"facecolor": fills[node.kind], "edgecolor": "0.3", "linewidth": 0.8, "zorder": 3}
        rounded = "round,pad=0,rounding_size=0.05"
        ax.add_patch(FancyBboxPatch(corner, 2 * half[node.name], 2 * _HALF, boxstyle=rounded, **look))
        ax.text(middle[node.name], -node.level, str(node.channels), ha="center", va="center", fontsize=7.5, zorder=4)
    for edge in graph.edges:
        source, target = graph[edge.source], graph[edge.target]
        right, y = middle[source.name] + half[source.name], -source.level
        if target.kind == "head":
            ax.plot([right - 0.02, right + 0.13], [y - _HALF + 0.02, y - _HALF - 0.13], color=_GREY, linewidth=1)
            ax.plot(right + 0.13, y - _HALF - 0.13, marker="D", color=_GREY, markersize=4.5)
        else:
            ends = (right, y), (middle[target.name] - half[target.name], -target.level)
            between = range(source.column + 1, target.column)
            over = source.level == target.level and any(b.level == source.level and b.column in between for b in boxes)
            _arrow(ax, *ends, over, _EDGES[edge.kind][0])
    for level in range(depth + 1):
        ax.text(-0.7, -level, f"{dataflow.SIZE >> level} px", ha="right", va="center", fontsize=8, color=_GREY)
    ax.set(xlim=(-1.3, 14.6), ylim=(-depth - 0.5, 0.85))
    ax.axis("off")
    ax.set_title(f"{style.network_title(name)}: channels of each block, by resolution", loc="left")
    shown = [kind for kind in fills if kind != "input" and any(node.kind == kind for node in boxes)]
    handles: list[Any] = [Patch(facecolor=fills[kind], edgecolor="0.4", label=kind) for kind in shown]
    handles.append(Line2D([], [], color=_GREY, marker="D", linewidth=0, markersize=4.5, label="head: logits"))
    handles += [Line2D([], [], color=tone, label=label) for tone, label in _EDGES.values()]
    ax.legend(handles=handles, loc="lower right", fontsize=7.5, borderaxespad=0)
    explanation = f"published width; read off the network by torch.fx, shapes of a {dataflow.SIZE} px patch"
    return style.counted(figure, style.format_count(1, "network"), explanation)


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], over: bool, colour: str) -> None:
    """Draw an edge: along its level, in an arc over boxes of its level, or from one level to another."""
    way = "arc3"
    if over:
        start, end = (start[0] - 0.1, start[1] + _HALF), (end[0] + 0.1, end[1] + _HALF)
        way = f"arc3,rad={-0.08 - 0.35 / (end[0] - start[0]):.3f}"
    elif start[1] != end[1]:  # from corner to corner
        rise = end[1] - start[1]
        side = _HALF if rise > 0 else -_HALF
        start, end = (start[0] - 0.02, start[1] + side), (end[0] + 0.02, end[1] - side)
        way = f"arc3,rad={max(0, 0.14 * (rise - 1)):.2f}"  # keeps paths up over several levels apart
    head = "-|>,head_length=3.5,head_width=1.6"
    arrow = FancyArrowPatch(start, end, connectionstyle=way, arrowstyle=head, shrinkA=0, shrinkB=0, mutation_scale=1)
    ax.add_patch(arrow).set(color=colour, linewidth=1.1, zorder=1)


def influence(reaches: Mapping[str, Reach]) -> Figure:
    """Draw what the central pixel of a patch depends on, one panel per network."""
    figure, panels, _, _ = style.grid(len(reaches), (2.6, 2.75), (0.8, 0.3))
    norm = LogNorm(1e-6, 1)
    squares: dict[str, Literal["--", "-"]] = {"any influence": "--", "95 % of the influence": "-"}
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
