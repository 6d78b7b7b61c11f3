"""Measurements: what a plan must know of an area's scenes, measured once and kept beside the data."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from lmhld_nb import inventory, patches, scenes
from lmhld_nb.config import UserError, data_dir, write_json
from lmhld_nb.patches.patch_sets import PatchSpec
from lmhld_nb.sources import DataSet


@dataclass(frozen=True)
class AreaMeasurements:
    """What a plan must know of an area's scenes: landslide-size quartiles (pixels) and the largest square's side."""

    quartiles: tuple[float, float, float]
    largest_side: int


def measure_area(dataset: DataSet, area: str) -> AreaMeasurements:
    """Measure an area's scenes, once: the result is kept beside the data, under its fingerprint.

    Raises:
        UserError: a scene cannot be read, or the area has no landslide.
    """
    path = data_dir() / dataset.name / "measured" / f"{dataset.fingerprint}-{area}.json"
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return AreaMeasurements(tuple(kept["quartiles"]), kept["largest_side"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not measured yet: only time is lost
    members = dataset.scenes_of(area)
    sides = []
    for scene in members:
        with scenes.open_image(scene) as image:
            sides.append(min(image.shape))
    found = AreaMeasurements(inventory.quartiles(inventory.area_sizes(members)), max(sides))
    try:
        write_json(path, vars(found))
    except UserError:  # a shared, read-only data folder is measured anew each time
        return found
    return found


def classify_area_windows(
    dataset: DataSet, area: str, sizes: Sequence[int], bands: tuple[str, ...]
) -> dict[int, list[tuple[np.ndarray, np.ndarray]]]:
    """Judge the windows of all scenes of an area by everything but their share of landslide, at several sizes at once.

    Scenes are read once, in strips that are a whole number of windows of each size.

    Returns:
        By size, for each scene in order: reasons and shares as `patches.classify_windows` gives them for a least share
        of 0, that is reasons ``""``, ``nodata`` and ``edge``.

    Raises:
        UserError: a scene cannot be read.
    """
    height = math.lcm(*sizes)
    height *= max(1, 512 // height)
    found: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {size: [] for size in sizes}
    for scene in dataset.scenes_of(area):
        strips: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {size: [] for size in sizes}
        with scenes.open_image(scene) as image, scenes.open_labels(scene, image) as labels:
            for strip in scenes.strips(image.shape, height):
                valid, codes = image.valid(image.read(strip, bands)), labels.read(strip)
                for size in sizes:
                    strips[size].append(patches.classify_windows(codes, valid, size, 0.0))
        for size, judged in strips.items():
            reasons, shares = zip(*judged, strict=True)
            found[size].append((np.concatenate(reasons), np.concatenate(shares)))
    return found


def count_patches(dataset: DataSet, spec: PatchSpec) -> int:
    """Count the patches that cutting ``spec`` leaves, without cutting; once, as `measured`.

    Raises:
        UserError: a scene cannot be read.
    """
    path = data_dir() / dataset.name / "measured" / f"{spec.fingerprint_of_patches}-kept.json"
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["kept"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    least = 0.0 if spec.background else spec.min_share
    judged = classify_area_windows(dataset, spec.area, (spec.size,), spec.bands)[spec.size]
    count = sum(int(((reason == "") & (share >= least)).sum()) for reason, share in judged)
    with suppress(UserError):  # a shared, read-only data folder: counted anew each time
        write_json(path, {"kept": count})
    return count
