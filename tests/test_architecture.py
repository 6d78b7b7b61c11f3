"""Architecture, dataflow and diagrams: numbers against those worked out by hand, links against the papers' figures."""

import math
from itertools import combinations

import matplotlib.pyplot as plt
import pytest

from lmhld_nb import models
from lmhld_nb.anatomy import architecture, dataflow, diagrams


def test_macs_of_a_unet_by_hand():
    width, size = 8, 64
    channels = [width * 2**level for level in range(5)]
    pixels = [(size >> level) ** 2 for level in range(5)]
    total = pixels[0] * channels[0]  # the head
    for before, c, p in zip([4, *channels], channels, pixels, strict=False):
        total += p * 9 * (before * c + c * c)
    for level in range(4):
        c, p = channels[level], pixels[level]
        total += pixels[level + 1] * (2 * c) * c * 4  # a transposed convolution multiplies at each pixel it reads
        total += p * 9 * (2 * c * c + c * c)
    assert architecture.macs("unet", size, width) == total


def extent_by_hand(down, up, enlarge, extra=0, head=0):
    """Follow the pixel at 0 backwards: ``down`` and ``up`` are pixels either side that a level's block adds."""
    low, high = -head, head
    for _ in range(4):
        low, high = enlarge(low - up, high + up, extra)
    low, high = low - down[4], high + down[4]
    for level in reversed(range(4)):
        low, high = 2 * low - down[level], 2 * high + 1 + down[level]
    return high - low + 1


def transposed(low, high, extra):
    return math.floor(low / 2), math.floor(high / 2)


def nearest(low, high, extra):
    return transposed(low - extra, high + extra, 0)


def bilinear(low, high, extra):
    return math.floor(low / 2 - 0.25), math.floor(high / 2 - 0.25) + 1


EXTENTS = {
    **dict.fromkeys(("unet", "res_unet"), extent_by_hand([2] * 5, 2, transposed)),
    "dense_unet": extent_by_hand([5, 4, 4, 4, 4], 4, transposed),  # four 3×3 a block, one more before the first
    "attention_unet": extent_by_hand([2] * 5, 2, nearest, extra=1),
    "unet_pp": extent_by_hand([2] * 5, 2, bilinear),
    "unet_3p": extent_by_hand([2] * 5, 2, bilinear, head=1),
}


@pytest.mark.parametrize("name", EXTENTS)
def test_gradients_find_the_extent_worked_out_by_hand(name):
    reach = architecture.receptive_field(name)
    assert reach.effective < reach.extent == EXTENTS[name] and not reach.whole


def test_a_transformer_sees_the_whole_patch_and_every_network_a_small_one():
    assert EXTENTS["unet"] == 188
    assert architecture.receptive_field("unet", size=128, draws=1).whole
    reach = architecture.receptive_field("trans_unet", size=256, draws=1)
    assert reach.whole and reach.extent == 256 and (reach.influence > 0).all()


def links(name):
    graph = dataflow.graph(name, 8)
    return graph, {(edge.source, edge.target): edge.kind for edge in graph.edges}


def into(block, kinds):
    return {source: kind for (source, target), kind in kinds.items() if target == block}


@pytest.mark.parametrize("name", ["unet", "res_unet"])
def test_a_unet_has_four_skips_and_nothing_else(name):
    graph, kinds = links(name)
    expected = {("input", "encoder.0"): "forward", ("decoder.3", "head"): "forward"}
    for level in range(4):
        expected[f"encoder.{level}", f"encoder.{level + 1}"] = "forward"
        expected[f"encoder.{level}", f"decoder.{3 - level}"] = "skip"
        expected[f"decoder.{level - 1}" if level else "encoder.4", f"decoder.{level}"] = "up"
    assert kinds == expected
    assert [graph[f"encoder.{level}"].channels for level in range(5)] == [8, 16, 32, 64, 128]
    assert graph.ways("input", "head") == 5


def test_gates_skips_and_scales_are_those_of_each_paper():
    _, kinds = links("attention_unet")
    for level in range(4):
        coarser = f"decoder.{level - 1}" if level else "encoder.4"
        assert into(f"gates.{level}", kinds) == {f"encoder.{3 - level}": "skip", coarser: "up"}
        assert into(f"decoder.{level}", kinds) == {f"gates.{level}": "skip", coarser: "up"}
    graph, kinds = links("trans_unet")
    skips = {pair for pair, kind in kinds.items() if kind == "skip"}
    assert skips == {("stages.1", "decoder.0"), ("stages.0", "decoder.1"), ("root", "decoder.2")}
    assert (graph["transformer"].kind, graph["transformer"].level) == ("Transformer", 4)
    assert [graph[f"stages.{stage}"].kind.split()[0] for stage in range(3)] == ["3", "4", "9"]
    graph, kinds = links("unet_3p")
    for level in range(4):
        expected = {f"encoder.{level}": "skip"} | {f"encoder.{finer}": "skip" for finer in range(level)}
        expected |= {f"decoder.{deeper}": "up" for deeper in range(3 - level)} | {"encoder.4": "up"}
        assert into(f"decoder.{3 - level}", kinds) == expected
        assert graph[f"decoder.{3 - level}"].channels == 5 * 8
    assert sum(node.kind == "head" for node in graph.nodes) == 5
    graph, kinds = links("unet_pp")
    nodes = [(i, j) for j in range(1, 5) for i in range(5 - j)]
    named = {(i, 0): f"encoder.{i}" for i in range(5)} | {(i, j): f"nested.x{i}_{j}" for i, j in nodes}
    for i, j in nodes:
        assert into(named[i, j], kinds) == {named[i + 1, j - 1]: "up"} | {named[i, k]: "skip" for k in range(j)}


@pytest.mark.parametrize("name", models.NAMES)
def test_a_drawing_holds_every_box_and_no_two_overlap(name):
    figure = diagrams.architecture(name)
    figure.canvas.draw()
    graph = dataflow.graph(name)
    boxes = [node for node in graph.nodes if node.kind != "head"]
    for ax in figure.axes:
        patches = [patch for patch in ax.patches if hasattr(patch, "get_boxstyle")]
        extents = [patch.get_window_extent() for patch in patches]
        assert not any(one.overlaps(other) for one, other in combinations(extents, 2))
    shown = [text.get_text().split("\n")[0] for text in figure.axes[0].texts if text.get_zorder() == 4]
    assert shown == [str(node.channels) for node in boxes]
    arrows = [patch for patch in figure.axes[0].patches if hasattr(patch, "get_arrowstyle")]
    assert len(arrows) == sum(graph[edge.target].kind != "head" for edge in graph.edges)
    plt.close(figure)
