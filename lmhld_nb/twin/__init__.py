"""The synthetic twin of LMHLD: made-up terrain, landslides and imagery of seven areas and six later events.

A scene follows from one seed and the recipe of its area (``recipes.toml``), whatever else is made beside it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
from pydantic import Field, ValidationInfo, field_validator, model_validator

from lmhld_nb import config
from lmhld_nb.processes import side_by_side
from lmhld_nb.scenes.scene import Scene
from lmhld_nb.twin.areas import AREAS, EVENTS, RECIPES
from lmhld_nb.twin.labels import Level
from lmhld_nb.twin.scene import NODATA, TWIN_VERSION, SceneTask, make_scene, paths_of

__all__ = ["AREAS", "EVENTS", "RECIPES", "TWIN_VERSION", "SceneTask", "TwinSpec", "fingerprint", "make", "plan"]


class TwinSpec(config.Strict):
    """The ``source:`` block of a data set made by this module."""

    kind: Literal["twin"] = "twin"
    seed: config.Seed = 0
    # Share of LMHLD's patches (Table 2), or of an event's windows, to reach.
    scale: float = Field(default=0.006, gt=0, le=10)
    min_patches: int = Field(default=40, ge=4, le=100_000)  # this and the next bound that number for each area
    max_patches: int | None = Field(default=60, ge=4, le=100_000)  # None is no bound
    patches: dict[str, config.Count] = {}  # numbers by area, in place of what scale and bounds say
    areas: tuple[str, ...] = tuple(AREAS)  # which of the seven areas and the six events to make
    bare: tuple[str, ...] = ()  # areas that also get a scene without landslides, a quarter as large as their others
    # An area's scenes have about so many, which bounds memory.
    patches_per_scene: int = Field(default=60, ge=4, le=10_000)
    label_noise: Level = "mild"  # how wrong outlines are drawn (`labels.LEVELS`); the true ones stand beside them

    @field_validator("areas", "bare", "patches")
    @classmethod
    def _known(cls, areas: Any, field: ValidationInfo) -> Any:
        if set(areas) - set(RECIPES) or not (areas or field.field_name != "areas"):
            raise ValueError(f"choose from {', '.join(RECIPES)}")
        return areas

    @model_validator(mode="after")
    def _ordered(self) -> TwinSpec:
        if self.max_patches is not None and self.max_patches < self.min_patches:
            raise ValueError("max_patches is below min_patches; raise it, or lower min_patches")
        return self


def target_patches(spec: TwinSpec, area: str) -> int:
    """Return how many usable patches the area should have."""
    if area in spec.patches:
        return spec.patches[area]
    wanted = max(round(spec.scale * RECIPES[area].patches), spec.min_patches)
    return wanted if spec.max_patches is None else min(wanted, spec.max_patches)


def plan(spec: TwinSpec) -> list[SceneTask]:
    """List the scenes that ``spec`` asks for, area by area in Table 1's order, then the events in section 3.2's."""
    tasks = []
    for area in [a for a in RECIPES if a in spec.areas]:
        patches = target_patches(spec, area)
        count = -(-patches // spec.patches_per_scene)
        shares = [patches // count + (k < patches % count) for k in range(count)]
        noise = spec.label_noise
        tasks += [SceneTask(area, k, share, spec.seed, label_noise=noise) for k, share in enumerate(shares)]
        if area in spec.bare:
            tasks.append(SceneTask(area, count, -(-shares[0] // 4), spec.seed, landslides=False, label_noise=noise))
    return tasks


def make(folder: Path, spec: TwinSpec, workers: int = 2, progress: bool = True) -> list[Scene]:
    """Make the scenes of ``spec`` under ``folder``, those not there yet, and describe them.

    ``<area>/<area>_<k>.tif`` (uint16 or uint8; 0 is no data), ``..._dem.tif`` (float32, metres) and
    ``..._landslides.gpkg`` (outlines as drawn and as they are; ``id``, ``area_px``, ``area_m2``), whatever the workers.
    """
    tasks = plan(spec)
    todo = [t for t in tasks if not _complete(folder, t)]
    todo.sort(key=lambda t: -t.windows * RECIPES[t.area].patch ** 2)  # the long ones first: workers end together
    if todo:
        # The Pythons that start here compute without instructions that only some processors have.
        name = "NPY_DISABLE_CPU_FEATURES"
        extensions = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
        plain = " ".join(dict.fromkeys([*os.environ.get(name, "").split(), *extensions]))
        bar = config.progress_bar(len(todo), "twin", "scene", progress)
        with bar, config.environment_set(name, plain):
            for _, done in side_by_side(partial(make_scene, folder), todo, workers):
                done.result()
                bar.update()
    return [_describe(folder, t) for t in tasks]


def fingerprint(spec: TwinSpec, scenes: Sequence[Scene]) -> str:
    """Return 16 hexadecimal digits for ``spec`` and the pixels that came of it, which Arm may round otherwise."""
    pixels = []
    for scene in scenes:
        with rasterio.open(scene.image) as source:
            pixels.append(source.tags().get("PIXELS", ""))
    content = json.dumps([spec.model_dump(mode="json"), TWIN_VERSION, pixels], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _complete(folder: Path, task: SceneTask) -> bool:
    image, dem, polygons = paths_of(folder, task)
    try:
        with rasterio.open(image) as source:
            return source.tags().get("TWIN") == task.stamp and dem.exists() and polygons.exists() == task.landslides
    except rasterio.RasterioIOError:
        return False  # missing, or not a raster any more


def _describe(folder: Path, task: SceneTask) -> Scene:
    image, dem, polygons = paths_of(folder, task)
    recipe = RECIPES[task.area]
    return Scene(
        name=task.name, area=task.area, image=image, bands=recipe.bands, dem=dem,
        polygons=polygons if task.landslides else None, unlabelled_is_background=not task.landslides,
        nodata=float(NODATA), scale=recipe.scale, resolution_m=recipe.resolution_m,
    )  # fmt: skip
