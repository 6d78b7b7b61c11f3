"""Landslides on a relief: sizes, positions, and outlines that start on steep ground and run out downhill."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lmhld_nb.twin import terrain
from lmhld_nb.twin.areas import AreaRecipe
from lmhld_nb.twin.terrain import Array, Mask, Shape

TAIL = 1.4  # exponent of P(size > x) at the upper end
# Shallow, channelised and rotational landslides: mean and deviation of the logarithm of (length / width), and width
# along the path, from source to toe (Varnes 1958; section 2.2 of the paper).
STRETCH = np.array([[1.2, 0.3], [2.2, 0.3], [0.3, 0.2]])
WIDTHS = ([0.85, 1.1, 0.75, 1.2, 0.95], [1.5, 1.1, 0.55, 0.7, 1.8], [0.75, 1.15, 1.2, 1.1, 0.8])
GAP = 2  # pixels kept free around a landslide, so that neighbours never merge under 8-connectivity
BRANCHES = 2  # side gullies of a landslide whose path is longer than BRANCHED cells of the middle grid
BRANCHED = 18

Sizes = tuple[float, float, float, float, float]
"""Smallest landslide, Q1, Q2, Q3 and largest, pixels."""


@dataclass(frozen=True)
class Slides:
    """Landslides of one scene on its pixel grid."""

    label: NDArray[np.int32]  # number of the landslide from 1, 0 outside
    along: Array  # 0 at the crown to 1 at the toe along the path (0 outside)
    margin: Array  # 0 on the path to about 1 at the outline (0 outside)
    size: NDArray[np.int64]  # pixels of each landslide; ``size[0]`` belongs to number 1


def size_density(sizes: Sizes) -> tuple[float, float]:
    """Fit a double Pareto distribution to an area's sizes: scale (pixels) and exponent of the rollover below it.

    P(size < x) = (1 + (x / scale)^-TAIL)^(-rollover / TAIL) (Stark and Hovius 2001; tail: Malamud et al. 2004), with
    quartiles as close as possible to the given ones.
    """
    rollover = np.linspace(0.3, 4, 149)[:, None, None]
    scale = sizes[2] * np.exp(np.linspace(-3, 3, 241))[:, None]
    got = _quantile(np.array([0.25, 0.5, 0.75]), sizes, scale, rollover)
    off = np.abs(np.log(got / np.array(sizes[1:4]))).max(axis=-1)
    best = np.unravel_index(int(off.argmin()), off.shape)
    return float(scale[best[1], 0]), float(rollover[best[0], 0, 0])


def _quantile(p: NDArray[Any], sizes: Sizes, scale: Any, rollover: Any) -> NDArray[np.float64]:
    """Return landslide sizes (pixels) at probabilities ``p`` of a density (`size_density`)."""
    least, most = ((1 + (x / scale) ** -TAIL) ** (-rollover / TAIL) for x in (sizes[0], sizes[-1]))
    share = least + p * (most - least)
    return np.clip(scale * (share ** (-TAIL / rollover) - 1) ** (-1 / TAIL), sizes[0], sizes[-1])


def draw_sizes(rng: np.random.Generator, total: float, sizes: Sizes) -> NDArray[np.int64]:
    """Draw sizes (px, largest first) that cover about ``total``, one from each equal slice of probability."""
    density = size_density(sizes)
    mean = float(_quantile((np.arange(4000) + 0.5) / 4000, sizes, *density).mean())
    count = max(4, round(total / mean))
    p = (np.arange(count) + 0.25 + 0.5 * rng.random(count)) / count
    return np.sort(np.rint(_quantile(p, sizes, *density)).astype(np.int64))[::-1]


def put_slides(
    rng: np.random.Generator,
    recipe: AreaRecipe,
    height: Array,
    step: int,
    allowed: Mask,
    preference: Array,
    sizes: NDArray[np.int64],
    rough: Array,
) -> Slides:
    """Place one landslide of each size (largest first) on the ground; those without room are left out.

    ``height`` (metres) and ``preference`` (for the start) are on a grid of ``step`` px, the other two on pixels.
    """
    shape = allowed.shape
    down, right = terrain.gradient(height, recipe.resolution_m * step)
    steep = np.hypot(down, right)
    reference = float(np.percentile(steep, 70))
    weight = preference * np.clip(steep / reference - 0.55, 0, 0.8) ** 1.5
    border = 3
    weight[:border] = weight[-border:] = weight[:, :border] = weight[:, -border:] = 0
    chance = np.cumsum(weight.ravel(), dtype=np.float64)
    tries = 14
    picked = np.searchsorted(chance, rng.random(len(sizes) * tries) * chance[-1])
    starts = np.stack(np.divmod(picked, height.shape[1]), axis=1) + rng.random((len(picked), 2)) - 0.5
    kind = rng.choice(3, len(sizes), p=recipe.shapes)
    stretch = np.exp(rng.normal(*STRETCH[kind].T))
    length = np.sqrt(sizes * stretch)
    aside = rng.normal(0, 0.5, (len(sizes), BRANCHES))
    longest = int(np.ceil(length.max() / step)) + 2
    downhill = terrain.trace(down, right, starts.astype(np.float32), longest)
    uphill = terrain.trace(down, right, starts.astype(np.float32), longest, uphill=True)
    blocked = ~allowed
    label = np.zeros(shape, dtype=np.int32)
    along, margin = (np.zeros(shape, dtype=np.float32) for _ in range(2))
    placed: list[int] = []
    for i, size in enumerate(sizes):
        for attempt in range(tries):
            k = i * tries + attempt
            # A path of the given length: mostly downhill from the start, partly uphill if the valley is close.
            below = downhill[k][: _moves(downhill[k]) + 1][: max(2, int(np.ceil(float(length[i]) / step)) + 1)]
            above = uphill[k][: _moves(uphill[k]) + 1][1 : int(float(length[i]) / step - (len(below) - 1)) + 1]
            line = np.concatenate([above[::-1], below])
            if (len(line) - 1) * step < (0.8 - 0.05 * attempt) * float(length[i]) - step:
                continue  # the slope is too short for this one; later attempts are less strict
            lines = [line]
            if kind[i] < 2 and length[i] > BRANCHED * step:
                lines += _branches(down, right, line, aside[i])
            lines = [(part + 0.5) * step - 0.5 for part in lines]
            start, middle = lines[0][0], lines[0][len(line) // 2]
            if blocked[tuple(np.rint([start, middle]).astype(int).T)].any():
                continue
            if (grown := _grow(lines, int(size), blocked, rough, WIDTHS[kind[i]])) is None:
                continue
            box, region, position, edge = grown
            placed.append(int(size))
            label[box][region] = len(placed)
            along[box][region] = position
            margin[box][region] = edge
            break
    return Slides(label, along, margin, np.array(placed, dtype=np.int64))


def _branches(down: Array, right: Array, line: Array, aside: NDArray[np.float64]) -> list[Array]:
    """Return side paths that start beside the upper part of ``line`` and run down into it, like gullies."""
    length = len(line) - 1
    start = line[length // 6]
    ahead = line[length // 2] - start
    across = np.array([-ahead[1], ahead[0]], dtype=np.float32)
    starts = start + np.outer(aside, across).astype(np.float32)
    starts = np.clip(starts, 1, np.array(down.shape) - 2).astype(np.float32)
    paths = terrain.trace(down, right, starts, max(2, int(0.8 * length)))
    return [path[: _moves(path) + 1] for path in paths]


def _moves(path: Array) -> int:
    return int(np.any(np.diff(path, axis=0) != 0, axis=1).sum())


def _grow(
    lines: list[Array], size: int, blocked: Mask, rough: Array, widths: list[float]
) -> tuple[tuple[slice, slice], Mask, Array, Array] | None:
    """Draw a landslide of ``size`` px around its paths; return window, pixels, position and closeness to the edge."""
    main, *side = (float(np.hypot(*np.diff(line, axis=0).T).sum()) for line in lines)
    width = size / (max(1.0, main) + sum(0.6 * length for length in side))
    line = np.concatenate(lines)
    pad = int(np.ceil(1.3 * width + 5))
    top, left = np.maximum(np.floor(line.min(axis=0)).astype(int) - pad, 0)
    bottom, end = np.minimum(np.ceil(line.max(axis=0)).astype(int) + pad + 1, blocked.shape)
    window = (slice(int(top), int(bottom)), slice(int(left), int(end)))
    free = ~blocked[window]
    if np.count_nonzero(free) < 1.3 * size:
        return None
    origin = np.array([top, left], dtype=np.float32)
    distance, position = _around([part - origin for part in lines], free.shape, width)
    profile = np.interp(position, [0, 0.15, 0.5, 0.85, 1], widths).astype(np.float32)
    cost = distance / (0.5 * max(width, 1.0) * profile)
    cost += np.float32(0.32) * rough[window] * np.clip(cost, 0.25, 1.0)
    cost[~free] = np.inf
    if (region := _take(cost, size)) is None:
        return None
    outer = tuple(slice(max(s.start - GAP, 0), s.stop + GAP) for s in window)
    reached = np.zeros(blocked[outer].shape, np.uint8)
    inner = tuple(slice(s.start - o.start, s.stop - o.start) for s, o in zip(window, outer, strict=True))
    reached[inner] = region
    for axis in (0, 1):
        reached = ndimage.maximum_filter1d(reached, 2 * GAP + 1, axis=axis)
    blocked[outer] |= reached.view(bool)
    edge = cost[region]
    edge /= max(edge.max(), 1e-6)
    return window, region, position[region], edge


def _around(lines: list[Array], shape: Shape, width: float) -> tuple[Array, Array]:
    """Return distance to the paths (pixels) and position along them (0 to 1) for each pixel of a window."""
    stride = max(1, int(width) // 24)
    coarse = (-(-shape[0] // stride), -(-shape[1] // stride))
    off = np.ones(coarse, dtype=bool)
    along = np.zeros(coarse, dtype=np.float32)
    for line in lines:
        lengths = np.hypot(*np.diff(line, axis=0).T)
        steps = np.concatenate([[0.0], np.cumsum(lengths)])
        dense = np.linspace(0, steps[-1], max(2, int(2 * steps[-1] / stride) + 2))
        rows = np.clip(np.interp(dense, steps, line[:, 0]) / stride, 0, coarse[0] - 1).round().astype(int)
        columns = np.clip(np.interp(dense, steps, line[:, 1]) / stride, 0, coarse[1] - 1).round().astype(int)
        off[rows, columns] = False
        along[rows, columns] = np.linspace(0, 1, len(dense))
    distance, nearest = ndimage.distance_transform_edt(off, return_indices=True)
    position = along[nearest[0], nearest[1]]
    distance = distance.astype(np.float32) * stride
    if stride == 1:
        return distance, position
    padded = (coarse[0] * stride, coarse[1] * stride)
    distance, position = (terrain.resize(field, padded, smooth=False) for field in (distance, position))
    return distance[: shape[0], : shape[1]], position[: shape[0], : shape[1]]


def _take(cost: Array, size: int) -> Mask | None:
    """Return the cheapest 4-connected set of exactly ``size`` pixels, grown outwards; None if there is none."""
    flat = cost[np.isfinite(cost)]
    if flat.size < size:
        return None
    rank, inner = size, None
    for _ in range(8):
        limit = np.partition(flat, rank - 1)[rank - 1]
        parts, _ = ndimage.label(cost <= limit)
        amounts = np.bincount(parts.ravel())[1:]
        region = parts == 1 + amounts.argmax()
        if amounts.max() >= size:
            break
        inner = region
        if rank >= flat.size:
            return None
        rank = min(flat.size, rank + int(1.3 * (size - amounts.max())) + 2)
    else:
        return None
    if inner is None or not (inner & region).any():
        inner = np.zeros_like(region)
        inner.flat[int(np.where(region, cost, np.inf).argmin())] = True
    # Between the last set that was too small and the first that was too large: front by front, cheapest last.
    while (missing := size - np.count_nonzero(inner)) > 0:
        front = np.flatnonzero(ndimage.binary_dilation(inner) & region & ~inner)
        cheapest = np.argsort(cost.flat[front], kind="stable")[:missing]
        inner.flat[front[cheapest]] = True
    return inner
