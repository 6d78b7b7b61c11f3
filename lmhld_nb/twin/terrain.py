"""Fractal terrain: eroded relief with its rivers, flow paths, illumination and noise textures.

Heights are in metres, positions (row, column) in cells. The relief is carved on a coarse grid, where flow routing is
cheap, and is then interpolated to the pixel grid.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, sparse
from scipy.sparse import csgraph

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]
Shape = tuple[int, int]
Tree = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class Relief:
    """Carved relief on a coarse grid of square cells."""

    height: Array
    area: Array  # contributing, in cells (at least 1)
    downstream: NDArray[np.int64]  # flat index of the cell that each cell drains to; itself where water leaves the grid


def noise(rng: np.random.Generator, shape: Shape, beta: float, longest: float, shortest: float = 2.0) -> Array:
    """Return periodic Gaussian noise with power spectrum ~ frequency^-beta, zero mean, unit variance (Turcotte 1997).

    ``longest`` and ``shortest`` limit the wavelengths (cells) with power.
    """
    spectrum = fft.rfft2(rng.standard_normal(shape, dtype=np.float32))
    rows = fft.fftfreq(shape[0]).astype(np.float32)[:, None]
    columns = fft.rfftfreq(shape[1]).astype(np.float32)[None, :]
    frequency = np.hypot(rows, columns)
    keep = (frequency >= 1.0 / longest) & (frequency <= 1.0 / shortest)
    gain = np.zeros_like(frequency)
    gain[keep] = frequency[keep] ** np.float32(-beta / 2)
    field = fft.irfft2(spectrum * gain, s=shape).astype(np.float32)
    field -= field.mean()
    deviation = float(field.std())
    return field / np.float32(deviation) if deviation > 0 else field


def spread(rng: np.random.Generator, tile: Array, shape: Shape) -> Array:
    """Cover ``shape`` with a periodic tile from a random starting point: cheap texture with unnoticeable repetition."""
    rows, columns = ((np.arange(n) + rng.integers(size)) % size for n, size in zip(shape, tile.shape, strict=True))
    return tile[np.ix_(rows, columns)]


def resize(field: NDArray[Any], shape: Shape, smooth: bool = True) -> Array:
    """Resample a field over the same extent: cubic B-spline (``smooth``, no kinks) or linear."""
    rows, columns = (_weights(size, length, smooth) for size, length in zip(field.shape, shape, strict=True))
    across = np.ascontiguousarray((rows @ np.ascontiguousarray(field, dtype=np.float32)).T)
    return np.ascontiguousarray((columns @ across).T)


def _weights(size: int, length: int, smooth: bool) -> sparse.csr_array:
    position = (np.arange(length) + 0.5) * size / length - 0.5
    base = np.floor(position).astype(int)
    t = position - base
    if smooth:
        taps = [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
        values, first = np.stack(taps, axis=1) / 6, -1
    else:
        values, first = np.stack([1 - t, t], axis=1), 0
    count = values.shape[1]
    indices = np.clip(base[:, None] + first + np.arange(count), 0, size - 1)
    pointers = np.arange(length + 1) * count
    return sparse.csr_array((values.astype(np.float32).ravel(), indices.ravel(), pointers), shape=(length, size))


def carve(rng: np.random.Generator, shape: Shape, cell: float, mean_slope: float, roughness: float) -> Relief:
    """Carve a mountain landscape with mean slope ``mean_slope`` (tangent); ``cell`` is the cell width in metres.

    Implicit stream-power erosion (Braun and Willett 2013) on grids of 1/4, 1/2 and full resolution, slopes limited;
    ``roughness`` (0 to 1) varies the uplift. A margin is cropped, so that rivers cross the edges.
    """
    margin = max(4, min(shape) // 6)
    full = (shape[0] + 2 * margin, shape[1] + 2 * margin)
    uplift = resize(np.exp(roughness * noise(rng, (32, 32), 2.5, 16.0)), full)
    height = noise(rng, (max(8, -(-full[0] // 4)), max(8, -(-full[1] // 4))), 3.0, 32.0)
    height += resize(uplift, height.shape)
    for factor, rounds in ((4, 8), (2, 4), (1, 3)):
        size = (max(8, -(-full[0] // factor)), max(8, -(-full[1] // factor)))
        height = resize(height, size)
        height += 0.04 * height.std() * rng.standard_normal(size, dtype=np.float32)
        lift = resize(uplift, size).ravel()
        for _ in range(rounds):
            tree = flow_tree(height)
            area = gather(tree, np.ones(height.size))
            height = _erode(height, tree, area * factor**2, lift * factor, factor)
    cut = (slice(margin, -margin), slice(margin, -margin))
    steep = slope(height[cut], 1.0)
    height = height * np.float32(mean_slope * cell / steep.mean())
    inside = np.full(full, -1)
    inside[cut] = np.arange(shape[0] * shape[1]).reshape(shape)
    down = inside.ravel()[tree[1].reshape(full)[cut].ravel()]
    down = np.where(down < 0, np.arange(down.size), down)
    return Relief(np.ascontiguousarray(height[cut]), area.reshape(full)[cut].astype(np.float32), down)


def neighbours(shape: Shape) -> tuple[NDArray[np.int64], NDArray[np.int64], Mask]:
    """Return all pairs of 8-neighbours of a grid as flat cell indices, and which of them are diagonal."""
    index = np.arange(shape[0] * shape[1]).reshape(shape)
    pairs = [(index[:, :-1], index[:, 1:]), (index[:-1], index[1:])]
    pairs += [(index[:-1, :-1], index[1:, 1:]), (index[:-1, 1:], index[1:, :-1])]
    first, second = (np.concatenate([pair[side].ravel() for pair in pairs]) for side in (0, 1))
    return first, second, np.repeat([False, False, True, True], [a.size for a, _ in pairs])


def flow_tree(height: NDArray[Any]) -> Tree:
    """Return (order, downstream, level starts) of a drainage tree without pits, for flat cell indices.

    Every cell drains to the lowest cell of the rim along the path whose highest point is lowest (minimum spanning
    tree); ``order`` is by steps to the outlet, delimited by ``level starts``.
    """
    flat = height.astype(np.float64).ravel()
    flat = 1.0 + (flat - flat.min()) / max(float(np.ptp(flat)), 1e-12)
    a, b, _ = neighbours(height.shape)
    # The small second term prefers the steepest of several equally high passes.
    weight = np.maximum(flat[a], flat[b]) + 1e-3 * np.minimum(flat[a], flat[b])
    graph = sparse.coo_array((weight, (a, b)), shape=(flat.size, flat.size)).tocsr()
    index = np.arange(flat.size).reshape(height.shape)
    rim = np.concatenate([index[0], index[-1], index[:, 0], index[:, -1]])
    outlet = int(rim[np.argmin(flat[rim])])
    order, before = csgraph.breadth_first_order(csgraph.minimum_spanning_tree(graph), outlet, directed=False)
    downstream = before.astype(np.int64)
    downstream[outlet] = outlet
    depth = _steps_to_outlet(downstream)
    return order.astype(np.int64), downstream, np.searchsorted(depth[order], np.arange(int(depth.max()) + 2))


def _steps_to_outlet(downstream: NDArray[np.int64]) -> NDArray[np.int64]:
    jump, steps = downstream, (downstream != np.arange(downstream.size)).astype(np.int64)
    while (further := steps[jump]).any():  # pointer doubling: after k rounds every cell is 2^k steps ahead
        steps, jump = steps + further, jump[jump]
    return steps


def gather(tree: Tree, amount: NDArray[Any]) -> NDArray[np.float64]:
    """Sum ``amount`` (flat, one value per cell) over all cells that drain through each cell, itself included."""
    order, downstream, starts = tree
    total = amount.astype(np.float64).copy()
    for level in range(len(starts) - 2, 0, -1):
        cells = order[starts[level] : starts[level + 1]]
        np.add.at(total, downstream[cells], total[cells])
    return total


def _erode(height: Array, tree: Tree, area: NDArray[np.float64], lift: Array, cell: float) -> Array:
    """One implicit step of uplift, stream-power erosion, landsliding down to the angle of repose and soil creep."""
    repose = 1.1
    order, downstream, starts = tree
    h = height.astype(np.float64).ravel() + lift
    columns = height.shape[1]
    apart = np.abs(downstream - np.arange(h.size))
    length = np.where((apart == 1) | (apart == columns), 1.0, np.sqrt(2)) * cell
    rate = 0.55 * area**0.42 / length
    for level in range(1, len(starts) - 1):
        cells = order[starts[level] : starts[level + 1]]
        below = h[downstream[cells]]
        h[cells] = (h[cells] + rate[cells] * below) / (1 + rate[cells])
        h[cells] = np.minimum(np.maximum(h[cells], below), below + repose * length[cells])
    return ndimage.gaussian_filter(h.reshape(height.shape), 0.5).astype(np.float32)


def gradient(height: NDArray[Any], cell: float) -> tuple[Array, Array]:
    """Return d(height)/d(row) and d(height)/d(column), metres per metre, by central differences."""
    down, right = (np.empty(height.shape, dtype=np.float32) for _ in range(2))
    np.subtract(height[2:], height[:-2], out=down[1:-1])
    np.subtract(height[:, 2:], height[:, :-2], out=right[:, 1:-1])
    down[0], down[-1] = down[1], down[-2]
    right[:, 0], right[:, -1] = right[:, 1], right[:, -2]
    down *= np.float32(0.5 / cell)
    right *= np.float32(0.5 / cell)
    return down, right


def slope(height: NDArray[Any], cell: float) -> Array:
    """Return the steepness as a tangent (1.0 is 45 degrees)."""
    down, right = gradient(height, cell)
    return np.hypot(down, right)


def rivers(relief: Relief, least_area: float) -> list[tuple[Array, Array]]:
    """Return river courses from ``least_area`` cells on, downstream: (n, 2) points in cells, (n,) contributing area."""
    area, downstream = relief.area.ravel(), relief.downstream
    cells = np.flatnonzero(area >= least_area)
    heads = np.setdiff1d(cells, downstream[cells[downstream[cells] != cells]])
    seen = np.zeros(area.size, dtype=bool)
    courses = []
    # The longest course first, so that the trunk is followed completely before its tributaries.
    for head in heads[np.argsort(-_steps_to_outlet(downstream)[heads], kind="stable")]:
        course = [int(head)]
        while not seen[course[-1]]:
            seen[course[-1]] = True
            following = int(downstream[course[-1]])
            if following == course[-1]:
                break
            course.append(following)
        if len(course) < 4:
            continue
        points = np.stack(np.unravel_index(course, relief.height.shape), axis=1).astype(np.float32)
        courses.append((smooth_line(points, 5), area[course].astype(np.float32)))
    return courses


def smooth_line(points: Array, rounds: int) -> Array:
    """Smooth a polyline of (n, 2) points with fixed ends by repeated three-point averages."""
    line = points.astype(np.float32).copy()
    for _ in range(rounds):
        line[1:-1] = 0.25 * line[:-2] + 0.5 * line[1:-1] + 0.25 * line[2:]
    return line


def trace(down: Array, right: Array, starts: Array, steps: int, uphill: bool = False) -> Array:
    """Follow the gradient from many points at once: (n, steps + 1, 2) positions in cells, one cell per step.

    A path keeps part of its direction; it stops where it leaves the grid or reaches flat ground.
    """
    sign = 1.0 if uphill else -1.0
    path = np.empty((len(starts), steps + 1, 2), dtype=np.float32)
    path[:, 0] = starts
    heading = np.zeros((len(starts), 2), dtype=np.float32)
    limit = np.array(down.shape, dtype=np.float32) - 1
    moving = np.ones(len(starts), dtype=bool)
    for k in range(steps):
        where = path[:, k]
        pull = np.stack([ndimage.map_coordinates(g, where.T, order=1, mode="nearest") for g in (down, right)], axis=1)
        steep = np.hypot(pull[:, 0], pull[:, 1])
        heading = 0.6 * heading + 0.4 * sign * pull / np.maximum(steep, 1e-6)[:, None]
        unit = heading / np.maximum(np.hypot(heading[:, 0], heading[:, 1]), 1e-6)[:, None]
        after = where + unit
        moving &= (steep > 0.08) & (after >= 0).all(axis=1) & (after <= limit).all(axis=1)
        path[:, k + 1] = np.where(moving[:, None], after, where)
    return path


def sunlight(down: Array, right: Array, azimuth: float, elevation: float) -> Array:
    """Return the cosine of the sun's angle to the ground (0 where it faces away); rows run south."""
    a, e = np.radians(azimuth), np.radians(elevation)
    light = down * np.float32(np.cos(a) * np.cos(e)) - right * np.float32(np.sin(a) * np.cos(e))
    light += np.float32(np.sin(e))
    light /= np.sqrt(1 + down * down + right * right)
    return np.maximum(light, 0, out=light)


def cast_shadow(height: Array, cell: float, azimuth: float, elevation: float) -> Array:
    """Return 0 (lit) to 1 (shadowed by higher ground towards the sun)."""
    a, rise = np.radians(azimuth), np.tan(np.radians(elevation)) * cell
    towards = np.array([-np.cos(a), np.sin(a)])
    horizon = np.full(height.shape, -np.inf, dtype=np.float32)
    reach = min(int(np.ptp(height) / rise) + 1, max(height.shape) // 2)
    for k in range(1, reach + 1):
        move = np.rint(towards * k).astype(int)
        seen = ndimage.shift(height, -move, order=0, mode="constant", cval=-1e9)
        np.maximum(horizon, seen - np.float32(k * rise), out=horizon)
    return np.clip((horizon - height) / np.float32(2 * rise) + 0.5, 0, 1).astype(np.float32)
