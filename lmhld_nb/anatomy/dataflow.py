"""Dataflow: a network's blocks and the maps between them, traced from the network itself by `torch.fx`."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp, TensorMetadata

from lmhld_nb.anatomy import architecture

SIZE = 64
"""Side in px of the patch whose shapes are described."""

_SAMPLERS = (nn.MaxPool2d, nn.Upsample, nn.ConvTranspose2d)
_MINOR = (nn.BatchNorm2d, nn.GroupNorm, nn.ReLU, nn.GELU, nn.Dropout)


@dataclass(frozen=True)
class Node:
    """One block of a network (``name`` is its path); channels and level (how often the side is halved) of its output.

    ``kind`` is ``input``, ``head``, a class, or its convolutions (``2 × conv 3×3``); ``column`` the longest path to it.
    """

    name: str
    kind: str
    channels: int
    level: int
    column: int = 0


@dataclass(frozen=True)
class Edge:
    """A connection between nodes: ``forward``, enlarged (``up``), or concatenated with other maps (``skip``)."""

    source: str
    target: str
    kind: str


@dataclass(frozen=True)
class Graph:
    """Nodes in the order of computation, and the edges between them."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    def __getitem__(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def sources(self, name: str) -> list[Node]:
        """Return the nodes that lead to a node."""
        return [self[edge.source] for edge in self.edges if edge.target == name]

    def ways(self, start: str, end: str) -> int:
        """Return the number of different paths along the edges from one node to another."""
        count: dict[str, int] = {}
        for node in self.nodes:
            behind = sum(count[source.name] for source in self.sources(node.name))
            count[node.name] = 1 if node.name == start else behind
        return count[end]


@cache
def graph(name: str, width: int | None = None) -> Graph:
    """Return a network's blocks (called by ``forward``) as connected by its own code, with all heads if supervised."""
    model = architecture.empty(name, width)
    tracer = fx.Tracer()
    tracer.is_leaf_module = lambda *_: True  # type: ignore[method-assign]  # each module called is one operation
    tracer.traced_func_name = "supervised" if hasattr(model, "supervised") else "forward"
    module = fx.GraphModule(model, tracer.trace(model))
    ShapeProp(module).propagate(torch.zeros(1, architecture.BANDS, SIZE, SIZE, device="meta"))
    nodes: dict[fx.Node, Node] = {}
    edges: list[Edge] = []
    behind: dict[fx.Node, list[fx.Node]] = {}  # the blocks whose maps pass through an operation between blocks
    for node in _maps(module.graph.nodes):
        sources = list(dict.fromkeys(origin for one in _maps(node.all_input_nodes) for origin in behind.get(one, [])))
        behind[node] = sources
        if block := _block(node, model):
            column = max((nodes[source].column + 1 for source in sources), default=0)
            nodes[node], behind[node] = replace(block, column=column), [node]
            for source in map(nodes.__getitem__, sources):
                way = "up" if source.level > block.level else "skip" if len(sources) > 1 else "forward"
                edges.append(Edge(source.name, block.name, "forward" if block.kind == "head" else way))
    return Graph(tuple(nodes.values()), tuple(edges))


def _block(node: fx.Node, model: nn.Module) -> Node | None:
    """Return the block of an operation; None if it becomes part of an edge."""
    if node.op == "placeholder":
        return Node("input", "input", architecture.BANDS, 0)
    if node.op != "call_module":
        return None
    path, side = str(node.target), _shape(node)[-1]
    module, enlarges = model.get_submodule(path), side > max(_shape(one)[-1] for one in _maps(node.all_input_nodes))
    if isinstance(module, _SAMPLERS) or (enlarges and any(user.target is torch.cat for user in node.users)):
        return None
    kind = "head" if path.startswith("head") else f"{'nested ' if 'nested' in path else ''}{kind_of(module)}"
    return Node(path, kind, _shape(node)[1], (SIZE // side).bit_length() - 1)


def kind_of(module: nn.Module) -> str:
    """Return a block's class, or for a ``Sequential`` the convolutions and classes in it."""
    # Normalisation and rectifiers are not mentioned, unless there is nothing else.
    layers = _flat(module)
    major = [layer for layer in layers if not isinstance(layer, _MINOR)]
    names = ("conv {}×{}".format(*one.kernel_size) if isinstance(one, nn.Conv2d) else type(one).__name__
             for one in major or layers)  # fmt: skip
    runs = [(name, len(list(run))) for name, run in groupby(names)]
    return " + ".join(name if count == 1 else f"{count} × {name}" for name, count in runs)


def _flat(module: nn.Module) -> list[nn.Module]:
    if not isinstance(module, nn.Sequential):
        return [module]
    return [layer for child in module for layer in _flat(child)]


def _maps(nodes: Iterable[fx.Node]) -> list[fx.Node]:
    """Return those of ``nodes`` that are maps (not mere shapes)."""
    return [node for node in nodes if isinstance(node.meta.get("tensor_meta"), TensorMetadata)]


def _shape(node: fx.Node) -> torch.Size:
    return node.meta["tensor_meta"].shape
