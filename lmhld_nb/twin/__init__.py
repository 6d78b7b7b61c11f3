"""The synthetic twin of LMHLD: seven areas of made-up terrain, landslides and imagery, from one seed.

Every scene is an image, its elevation and its landslide polygons, made from nothing but the recipe of its area
(``areas``) and random numbers of its own, so that a scene is the same whatever else is made beside it.

NumPy computes with what instructions it finds, and the last digits differ from one processor to the next: enough for
another slope to fail. Scenes are therefore made in processes of their own, in which NumPy keeps to the instructions
that every processor of a kind (x86-64, say) has.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import rasterio
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator
from tqdm import tqdm

from lmhld_nb import config
from lmhld_nb.processes import side_by_side
from lmhld_nb.scenes import BANDS, Scene
from lmhld_nb.twin import cover, files, image, runout, terrain
from lmhld_nb.twin.areas import AREAS, AreaRecipe

__all__ = [
    "AREAS",
    "TWIN_VERSION",
    "AreaRecipe",
    "TwinSpec",
    "fingerprint",
    "make",
    "make_scene",
    "plan",
    "target_patches",
]

TWIN_VERSION = 2
"""Raised whenever the generated pixels change; part of the data fingerprint."""

NODATA = 0
CELLS_PER_PATCH = 12  # of the relief: a window spans the same number of ridges and valleys in every area


class TwinSpec(config.Strict):
    """The ``source:`` block of a data set made by this module.

    Attributes:
        seed: start of all random numbers.
        scale: share of LMHLD's own number of patches (Table 2) to reach; 1.0 is the whole of it.
        min_patches, max_patches: bounds on that number for each area; ``max_patches`` null is no bound.
        max_megapixels: bound on the pixels in an area's patches, before the others; null is no bound. It keeps areas of
            large patches from taking all of the time.
        areas: which of the seven areas to make.
        patches_per_scene: an area is split into scenes of about so many patches, which bounds memory.
    """

    kind: Literal["twin"] = "twin"
    seed: int = Field(default=0, ge=0)
    scale: float = Field(default=0.006, gt=0)
    min_patches: int = Field(default=40, ge=4)
    max_patches: int | None = Field(default=60, ge=4)
    max_megapixels: float | None = Field(default=None, gt=0)
    areas: tuple[str, ...] = tuple(AREAS)
    patches_per_scene: int = Field(default=60, ge=4)

    @field_validator("areas")
    @classmethod
    def _known(cls, areas: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [a for a in areas if a not in AREAS]
        if wrong or not areas:
            raise ValueError(f"choose from {', '.join(AREAS)}")
        return areas

    @model_validator(mode="after")
    def _ordered(self) -> TwinSpec:
        if self.max_patches is not None and self.max_patches < self.min_patches:
            raise ValueError("max_patches is below min_patches; raise it, or lower min_patches")
        return self


@dataclass(frozen=True)
class SceneTask:
    """One scene to make: area, number within the area, and how many patches it should give."""

    area: str
    number: int
    patches: int
    seed: int

    @property
    def name(self) -> str:
        return f"{self.area}_{self.number}"

    @property
    def stamp(self) -> str:
        return f"version {TWIN_VERSION}, seed {self.seed}, {self.patches} patches"


def target_patches(spec: TwinSpec, area: str) -> int:
    """Return how many usable patches the area should have under ``spec``."""
    wanted = max(round(spec.scale * AREAS[area].patches), spec.min_patches)
    if spec.max_patches is not None:
        wanted = min(wanted, spec.max_patches)
    if spec.max_megapixels is not None:
        wanted = min(wanted, round(spec.max_megapixels * 1e6 / AREAS[area].patch ** 2))
    return wanted


def plan(spec: TwinSpec) -> list[SceneTask]:
    """List the scenes that ``spec`` asks for, area by area in Table 1's order."""
    tasks = []
    for area in [a for a in AREAS if a in spec.areas]:
        wanted = target_patches(spec, area)
        count = -(-wanted // spec.patches_per_scene)
        for k in range(count):
            tasks.append(SceneTask(area, k, wanted // count + (k < wanted % count), spec.seed))
    return tasks


def make(folder: Path, spec: TwinSpec, workers: int = 2, progress: bool = True) -> list[Scene]:
    """Make the scenes of ``spec`` under ``folder`` and describe them.

    For each scene ``<area>/<area>_<k>.tif`` (uint16; blue, green, red, near infrared; 0 is no data),
    ``..._dem.tif`` (float32, metres, same grid) and ``..._landslides.gpkg`` (polygons along the pixels' edges,
    with ``id``, ``area_px`` and ``area_m2``) are written. Scenes already there, made from the same seed
    for the same number of patches, are left alone, so that an interrupted call can be repeated. The pixels depend
    on neither ``workers`` nor the order of the work.

    Raises:
        config.UserError: the folder cannot be written.
    """
    tasks = plan(spec)
    todo = [t for t in tasks if not _complete(folder, t)]
    todo.sort(
        key=lambda t: -t.patches * AREAS[t.area].patch ** 2
    )  # the long ones first: workers end together
    if todo:
        with (
            tqdm(total=len(todo), desc="twin", unit="scene", disable=not progress, file=sys.stderr) as bar,
            _plain_instructions(),
        ):
            for _, done in side_by_side(partial(make_scene, folder), todo, workers):
                done.result()
                bar.update()
    return [_describe(folder, t) for t in tasks]


@contextmanager
def _plain_instructions() -> Iterator[None]:
    """Have Pythons that start in this block compute without the instructions that only some processors have."""
    key = "NPY_DISABLE_CPU_FEATURES"
    before = os.environ.get(key)
    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    os.environ[key] = " ".join(dict.fromkeys([*(before or "").split(), *found]))
    try:
        yield
    finally:
        if before is None:
            del os.environ[key]
        else:
            os.environ[key] = before


def fingerprint(spec: TwinSpec, scenes: Sequence[Scene]) -> str:
    """Return 16 hexadecimal digits that stand for ``spec`` and for the pixels that came of it.

    The pixels count too, because another kind of processor (Arm beside x86-64) may round them otherwise.
    """
    pixels = []
    for scene in scenes:
        with rasterio.open(scene.image) as source:
            pixels.append(source.tags().get("PIXELS", ""))
    content = json.dumps([spec.model_dump(mode="json"), TWIN_VERSION, pixels], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _paths(folder: Path, task: SceneTask) -> tuple[Path, Path, Path]:
    base = folder / task.area
    return base / f"{task.name}.tif", base / f"{task.name}_dem.tif", base / f"{task.name}_landslides.gpkg"


def _complete(folder: Path, task: SceneTask) -> bool:
    image, dem, polygons = _paths(folder, task)
    if not (image.exists() and dem.exists() and polygons.exists()):
        return False
    try:
        with rasterio.open(image) as source:
            return bool(source.tags().get("TWIN") == task.stamp)
    except rasterio.RasterioIOError:
        return False  # not a raster any more: made again


def _describe(folder: Path, task: SceneTask) -> Scene:
    image, dem, polygons = _paths(folder, task)
    recipe = AREAS[task.area]
    return Scene(
        name=task.name, area=task.area, image=image, bands=BANDS, polygons=polygons, dem=dem,
        nodata=float(NODATA), scale=recipe.scale, resolution_m=recipe.resolution_m,
    )  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """A scene before it is photographed: its frame, ground and landslides.

    Attributes:
        valid: where the image has data, bool on the pixel grid.
        step: pixels in a cell of the middle grid, on which ``height`` (metres) and ``valley`` are given.
        tile: periodic noise for textures. rough: noise of unit variance on the pixel grid.
    """

    valid: NDArray[np.bool_]
    step: int
    height: terrain.Array
    valley: cover.Valleys
    tile: terrain.Array
    rough: terrain.Array
    slides: runout.Slides


def lay_out(task: SceneTask) -> Layout:
    """Carve the ground of one scene and let the landslides down on it."""
    recipe = AREAS[task.area]
    ground, events = _streams(task)[:2]
    step = max(1, recipe.patch // 32)
    shape, valid = _frame(ground, recipe, task)
    coarse = (shape[0] // step, shape[1] // step)
    tile = terrain.noise(ground, (512, 512), 2.0, 0.35 * recipe.patch, 2.0)
    cells = (
        round(shape[0] * CELLS_PER_PATCH / recipe.patch),
        round(shape[1] * CELLS_PER_PATCH / recipe.patch),
    )
    cell = recipe.resolution_m * shape[0] / cells[0]
    relief = terrain.carve(ground, cells, cell, recipe.mean_slope, recipe.ruggedness)
    valley = cover.valleys(relief, coarse, CELLS_PER_PATCH, recipe.river)
    height = cover.floodplain(terrain.resize(relief.height, coarse), valley)
    height += np.float32(recipe.base_m) - height.min()
    rough = terrain.spread(events, tile, shape)
    slides = _place_slides(events, recipe, height, valley, step, valid, rough)
    return Layout(valid, step, height, valley, tile, rough, slides)


def make_scene(folder: Path, task: SceneTask) -> None:
    """Make one scene's three files; the image, which marks the scene as complete, is written last."""
    recipe = AREAS[task.area]
    scene = lay_out(task)
    shape = (scene.valid.shape[0], scene.valid.shape[1])
    cover_rng, sensor, fine = _streams(task)[2:]
    dem = _surface(fine, recipe, scene, shape)
    drawn = cover.draw_cover(cover_rng, recipe, scene.height, scene.valley, scene.step, shape, scene.rough)
    pixels = image.expose(
        sensor, recipe, dem, scene.height, scene.step, drawn, scene.slides, scene.tile, scene.valid
    )
    where = files.georeference(recipe, task.number)
    image_path, dem_path, polygon_path = _paths(folder, task)
    files.write_polygons(polygon_path, scene.slides, recipe, where)
    files.write_raster(dem_path, dem[None], recipe, where, ("elevation",), {"SYNTHETIC": "yes"}, None)
    digest = hashlib.sha256()
    for layer in (pixels, dem, scene.slides.label):
        digest.update(np.ascontiguousarray(layer).data)
    tags = {"TWIN": task.stamp, "SENSOR": f"synthetic, after {recipe.sensor}", "SYNTHETIC": "yes"}
    tags["PIXELS"] = digest.hexdigest()[:16]
    files.write_raster(image_path, pixels, recipe, where, BANDS, tags, NODATA)


def _streams(task: SceneTask) -> list[np.random.Generator]:
    """Return independent random streams that depend on seed, area and number alone."""
    source = np.random.SeedSequence([task.seed, list(AREAS).index(task.area), task.number])
    return [np.random.default_rng(s) for s in source.spawn(5)]


def _frame(
    rng: np.random.Generator, recipe: AreaRecipe, task: SceneTask
) -> tuple[tuple[int, int], NDArray[np.bool_]]:
    """Return the size of the scene in pixels and where it has data: all but a slanted strip on one side.

    A swath lies slantwise on the map's grid, so its edge crosses the scene; it costs one column of windows.
    """
    windows = task.patches / recipe.kept
    columns = max(2, round(np.sqrt(1.15 * windows)))
    rows = max(2, int(np.ceil(windows / columns)))
    step = max(1, recipe.patch // 32)
    height = -(-(rows * recipe.patch + int(rng.integers(0, recipe.patch // 3))) // step) * step
    width = -(-((columns + 1) * recipe.patch + int(rng.integers(0, recipe.patch // 4))) // step) * step
    edge = np.linspace(0.1, 0.9, height) * recipe.patch
    if rng.random() < 0.5:
        edge = edge[::-1]
    place = np.arange(width)[None, :]
    # The windows start at the left, so a strip on the right may also use the columns beyond the last whole window.
    valid = place >= edge[:, None] if rng.random() < 0.5 else place < width - edge[:, None]
    return (height, width), valid


def _place_slides(
    rng: np.random.Generator,
    recipe: AreaRecipe,
    height: terrain.Array,
    valley: cover.Valleys,
    step: int,
    valid: NDArray[np.bool_],
    rough: terrain.Array,
) -> runout.Slides:
    """Draw the area's landslide sizes and place them on steep ground within the image."""
    least, q1, q2, q3, most = recipe.sizes
    pixels = float(np.count_nonzero(valid))
    cap = min(most, 0.025 * pixels)
    sizes = runout.draw_sizes(rng, recipe.cover * pixels, least, (q1, q2, q3), cap, recipe.tail)
    crowding = terrain.resize(terrain.noise(rng, (24, 24), 1.5, 12.0, 3.0), height.shape)
    preference = np.exp(recipe.clustering * crowding) * (valley.distance > 1.2)
    if recipe.snow:  # a slide under the snow cannot be seen, so an interpreter would not have drawn it
        preference = preference * (height < np.quantile(height, 1 - 3 * recipe.snow))
    cell = recipe.resolution_m * step
    return runout.place(rng, height, step, cell, valid, preference, sizes, rough, recipe.patch, recipe.crowd)


def _surface(
    rng: np.random.Generator, recipe: AreaRecipe, scene: Layout, shape: tuple[int, int]
) -> terrain.Array:
    """Return the elevation (metres) on the pixel grid, with fine relief, scars and deposits."""
    fine = 1 - np.abs(terrain.spread(rng, scene.tile, shape))
    dem = terrain.resize(scene.height, shape)
    slides = scene.slides
    dem += fine * np.float32(0.035 * recipe.mean_slope * recipe.resolution_m * recipe.patch * 0.12)
    depth = np.concatenate([[0.0], 0.05 * np.sqrt(slides.size)]).astype(np.float32) * np.float32(
        recipe.resolution_m
    )
    inside = np.flatnonzero(slides.label)
    flat = dem.reshape(-1)
    change = (slides.along.ravel()[inside] - 0.55) * np.clip(1.6 * (1 - slides.margin.ravel()[inside]), 0, 1)
    flat[inside] += 1.6 * change * depth[slides.label.ravel()[inside]]
    return np.round(dem * 64) / np.float32(64)  # 1.6 cm: finer digits are noise that does not compress
