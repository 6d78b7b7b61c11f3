"""Ground cover of the synthetic twin: valleys, fields, quarries, rivers, roads and houses."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio import features
from scipy import ndimage, sparse
from scipy.sparse import csgraph

from lmhld_nb.twin import terrain
from lmhld_nb.twin.areas import AreaRecipe
from lmhld_nb.twin.terrain import Array, Mask, Shape

CELLS = 12  # cells of the relief between two main valleys
CLASSES = ("", "bare field", "crop", "stubble", "quarry", "gravel", "water", "road", "roof", "surf")
BEACH_M, SURF_M = 8.0, 5.0  # widths of beach and breakers along a coast


@dataclass(frozen=True)
class Valleys:
    """Rivers on the middle grid: distance to the nearest one in half-widths, and its height there (m)."""

    distance: Array
    height: Array


def valleys(relief: terrain.Relief, shape: Shape, abundance: float) -> Valleys:
    """Measure the distance to the rivers of ``relief`` on a grid of ``shape`` over the same extent."""
    ratio = shape[0] / relief.height.shape[0]
    width = np.zeros(shape, dtype=np.float32)
    for course, area in terrain.rivers(relief, 2.5 * CELLS**2):
        steps = np.arange(0, len(course) - 1, 0.4 / ratio)
        at = np.stack([np.interp(steps, np.arange(len(course)), course[:, i]) for i in (0, 1)], axis=1)
        index = np.clip(((at + 0.5) * ratio).astype(int), 0, np.array(shape) - 1)
        flow = np.interp(steps, np.arange(len(course)), area) / CELLS**2
        half = ratio * CELLS * np.clip(0.008 * np.sqrt(flow), 0.008, 0.07) * (0.4 + 0.8 * abundance)
        np.maximum.at(width, (index[:, 0], index[:, 1]), half.astype(np.float32))
    height = terrain.resize(relief.height, shape)
    if not width.any():
        return Valleys(np.full(shape, 99, dtype=np.float32), height)
    distance, nearest = ndimage.distance_transform_edt(width == 0, return_indices=True)
    near = (nearest[0], nearest[1])
    return Valleys((distance / width[near]).astype(np.float32), ndimage.gaussian_filter(height[near], 2.0))


def floodplain(height: Array, valley: Valleys) -> Array:
    """Fill the valley floors with sediment, so that there is gentle ground along the rivers."""
    share = np.clip(1.5 - 0.3 * valley.distance, 0, 1)
    share = share * share * (3 - 2 * share)
    return ndimage.gaussian_filter(height + share * (valley.height - height), 1.0).astype(np.float32)


def flooded(rng: np.random.Generator, height: Array, share: float) -> Array:
    """Tilt the ground towards one side and put its lowest ``share`` under a level sea of height 0."""
    way = np.linspace(0, 1, height.shape[1], dtype=np.float32)[None, :]
    if rng.random() < 0.5:
        way = way[:, ::-1]
    bend = 0.08 * terrain.noise(rng, (16, 16), 2.0, 16.0, 4.0)
    fall = np.clip((way + terrain.resize(bend, height.shape) - share + 0.12) / 0.24, 0, 1)
    fall = fall * fall * (3 - 2 * fall)
    coast = fall * (height - height.min() + np.float32(0.05 * np.ptp(height)))
    return np.maximum(coast - np.quantile(coast, share), 0).astype(np.float32)


def draw_cover(
    rng: np.random.Generator, recipe: AreaRecipe, height: Array, valley: Valleys, step: int, shape: Shape, rough: Array
) -> tuple[NDArray[np.uint8], Array]:
    """Draw fields, quarries, rivers, roads and houses: everything bright and bare that is not a landslide.

    Returns on the pixel grid the class number (``CLASSES``; 0 for none of them) and its brightness factor.
    """
    cell = recipe.resolution_m * step
    steep = terrain.slope(ndimage.gaussian_filter(height, 1.5), cell)
    parcels, kinds, tones = _parcels(rng, recipe, steep, step, shape)
    number = _drawn(parcels, shape)
    code = np.concatenate([[0], kinds]).astype(np.uint8)[number]
    tone = np.concatenate([[1], tones]).astype(np.float32)[number]

    def lay(where: Mask, name: str) -> None:
        code[where] = CLASSES.index(name)
        tone[where] = 1

    code[_drawn(_quarries(rng, recipe, shape), shape) > 0] = CLASSES.index("quarry")  # in the tone of the field
    distance = terrain.resize(valley.distance, shape, smooth=False)
    bed = distance + np.float32(0.25) * rough < 1
    lay(bed, "gravel")
    weave = terrain.resize(terrain.noise(rng, height.shape, 2.5, 24.0, 5.0), shape)
    lay(bed & (distance + np.float32(0.3) * weave < 0.45), "water")
    if recipe.sea:
        off = ndimage.distance_transform_edt(height <= recipe.base_m) * cell
        inland = ndimage.distance_transform_edt(height > recipe.base_m) * cell
        wave = terrain.resize(off - inland, shape, smooth=False) + np.float32(1.5) * rough
        lay(wave > -BEACH_M, "gravel")
        lay(wave > 0, "surf")
    lay(_drawn(_roads(rng, recipe, height, step), shape) > 0, "road")
    houses, shades = _houses(rng, recipe, steep, valley, step, shape)
    number = _drawn(houses, shape)
    lay(number > 0, "roof")
    tone[number > 0] = shades[number[number > 0] - 1]
    if recipe.sea:  # last: the level sea would attract roads and houses
        lay(wave > SURF_M + np.float32(0.5 * SURF_M) * weave, "water")
    return code, tone


def _drawn(shapes: list[Any], shape: Shape) -> NDArray[np.int32]:
    """Return the number from 1 of the (last) shape at each pixel, 0 for none."""
    if not shapes:  # rasterio refuses an empty list
        return np.zeros(shape, np.int32)
    return features.rasterize(((s, i) for i, s in enumerate(shapes, 1)), out_shape=shape, dtype="int32")


def _quads(rng: np.random.Generator, middle: Array, a: Any, b: Any, angle: Any, wobble: float) -> list[Any]:
    corners = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]]) / 2
    corners = corners + wobble * rng.standard_normal((len(middle), 4, 2))
    x, y = corners[..., 0] * np.reshape(a, (-1, 1)), corners[..., 1] * np.reshape(b, (-1, 1))
    c, s = np.reshape(np.cos(angle), (-1, 1)), np.reshape(np.sin(angle), (-1, 1))
    columns = middle[:, 1, None] + x * c - y * s
    rows = middle[:, 0, None] + x * s + y * c
    return list(shapely.polygons(np.stack([columns, rows], axis=-1)))


def _grid(rng: np.random.Generator, shape: Shape, spacing: float, jitter: float = 1.0) -> Array:
    rows, columns = (int(n / spacing) + 1 for n in shape)
    points = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), axis=-1).reshape(-1, 2)
    return ((points + 0.5 + jitter * (rng.random(points.shape) - 0.5)) * spacing).astype(np.float32)


def _at(field: Array, points: Array, step: int) -> Array:
    index = np.clip((points / step).astype(int), 0, np.array(field.shape) - 1)
    return np.asarray(field[index[:, 0], index[:, 1]])


def _parcels(
    rng: np.random.Generator, recipe: AreaRecipe, steep: Array, step: int, shape: Shape
) -> tuple[list[Any], NDArray[np.uint8], Array]:
    """Return fields, with the class and tone of each."""
    spacing = recipe.field_m / recipe.resolution_m
    middle = _grid(rng, shape, spacing, 0.4)
    district = terrain.noise(rng, (16, 16), 1.5, 16.0, 3.0)
    farmed = _at(terrain.resize(district, steep.shape), middle, step)
    gentle = _at(steep, middle, step) / recipe.mean_slope
    chance = np.clip(1.6 - 1.3 * gentle, 0, 1) * np.clip(1.6 * recipe.fields - 0.7 + 0.8 * farmed, 0, 1)
    middle = middle[rng.random(len(middle)) < chance]
    count = len(middle)
    angle = _at(terrain.resize(district, steep.shape), middle, step) * 0.5 + 0.05 * rng.standard_normal(count)
    a = spacing * np.exp(rng.normal(0.1, 0.25, count))
    b = spacing * np.exp(rng.normal(-0.15, 0.25, count))
    kinds = rng.choice(np.array([1, 2, 3], dtype=np.uint8), count, p=[0.5, 0.2, 0.3])
    tones = np.exp(rng.normal(0, 0.14, count)).astype(np.float32)
    return _quads(rng, middle, a, b, angle, 0.05), kinds, tones


def _quarries(rng: np.random.Generator, recipe: AreaRecipe, shape: Shape) -> list[Any]:
    count = rng.poisson(recipe.quarries * 0.1 * shape[0] * shape[1] / recipe.relief_px**2)
    middle = rng.random((count, 2)) * np.array(shape)
    radius = recipe.relief_px * rng.uniform(0.04, 0.1, count)
    turn = np.linspace(0, 2 * np.pi, 9)[:-1]
    reach = radius[:, None] * rng.uniform(0.7, 1.2, (count, 8))
    rows = middle[:, 0, None] + reach * np.sin(turn)
    columns = middle[:, 1, None] + reach * np.cos(turn)
    return list(shapely.polygons(np.stack([columns, rows], axis=-1)))


def _houses(
    rng: np.random.Generator, recipe: AreaRecipe, steep: Array, valley: Valleys, step: int, shape: Shape
) -> tuple[list[Any], Array]:
    side = max(1.3, 12.0 / recipe.resolution_m)
    middle = _grid(rng, shape, 2.2 * side)
    if len(middle) > 20000:
        middle = middle[rng.choice(len(middle), 20000, replace=False)]
    town = terrain.resize(terrain.noise(rng, (24, 24), 1.0, 12.0, 3.0), steep.shape)
    near = np.clip(1.3 - 0.12 * _at(valley.distance, middle, step), 0, 1)
    gentle = np.clip(1.1 - _at(steep, middle, step) / recipe.mean_slope, 0, 1)
    chance = recipe.settlements * near * gentle * np.clip(_at(town, middle, step) - 0.7, 0, 1)
    middle = middle[rng.random(len(middle)) < chance]
    count = len(middle)
    angle = _at(town, middle, step) * 2
    quads = _quads(rng, middle, side * rng.uniform(0.7, 1.6, count), side * rng.uniform(0.6, 1.1, count), angle, 0.02)
    return quads, np.exp(rng.normal(0, 0.25, count)).astype(np.float32)


def _roads(rng: np.random.Generator, recipe: AreaRecipe, height: Array, step: int) -> list[Any]:
    """Route roads over a coarse grid on which each metre of climb costs as much as many level metres."""
    thin = max(1, round(recipe.relief_px / step / CELLS))
    low = height[::thin, ::thin]
    a, b, diagonal = terrain.neighbours(low.shape)
    far = np.where(diagonal, 1.41, 1.0)
    climb = np.abs(low.ravel()[a] - low.ravel()[b]) / (far * recipe.resolution_m * step * thin)
    cost = far * (1 + (climb / 0.08) ** 2) * (0.7 + 0.6 * rng.random(low.size)[a])
    if recipe.sea:
        wet = low.ravel() <= recipe.base_m
        cost *= 1 + 100 * (wet[a] | wet[b])
    graph = sparse.coo_array((cost, (a, b)), shape=(low.size, low.size)).tocsr()
    count = max(2, round(recipe.roads * 0.15 * height.size * step**2 / recipe.relief_px**2))
    targets = rng.integers(0, low.size, (count, 2))
    lines = []
    for start, stop in targets:
        _, before = csgraph.dijkstra(graph, directed=False, indices=int(start), return_predecessors=True)
        course = [int(stop)]
        while before[course[-1]] >= 0:
            course.append(int(before[course[-1]]))
        if len(course) < 5:
            continue
        points = np.stack(np.unravel_index(course, low.shape), axis=1).astype(np.float32)
        points = (terrain.smooth_line(points, 2) * thin + 0.5) * step
        width = max(0.5, 0.5 * rng.choice(recipe.road_m) / recipe.resolution_m)
        lines.append(shapely.LineString(points[:, ::-1]).buffer(width, quad_segs=2))
    return lines
