"""Measurements of an area's scenes that plans need, made once and stored beside the data."""

import json
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmhld_nb import inventory, scenes
from lmhld_nb.config import UserError, data_dir, safe_name, write_json
from lmhld_nb.patches.patch_sets import PatchSpec, classify_windows
from lmhld_nb.sources import DataSet


@dataclass(frozen=True)
class AreaMeasurements:
    """Quartiles of an area's landslide sizes in pixels, and the shorter side of its largest scene in pixels."""

    quartiles: tuple[float, float, float]
    largest_side: int


def measure_area(dataset: DataSet, area: str) -> AreaMeasurements:
    """Measure an area's scenes once: the result is stored beside the data, under its fingerprint."""

    def measure() -> dict[str, Any]:
        sides = []
        for scene in dataset.scenes_of(area):
            with scenes.open_image(scene) as image:
                sides.append(min(image.shape))
        sizes = inventory.area_sizes(dataset.scenes_of(area))
        return {"quartiles": inventory.quartiles(sizes), "largest_side": max(sides)}

    content = _measure_once(dataset, f"{dataset.fingerprint}-{safe_name(area, 'area')}.json", measure)
    return AreaMeasurements(tuple(content["quartiles"]), content["largest_side"])


def count_patches(dataset: DataSet, spec: PatchSpec) -> int:
    """Count the patches of ``spec`` without cutting them, to within a few; once, as in `measure_area`."""

    def measure() -> dict[str, Any]:
        least = 0.0 if spec.background else spec.min_share
        windows = classify_area_windows(dataset, spec.area, (spec.size,), spec.bands)[spec.size]
        counts = [int(((reason == "") & (share >= least)).sum()) for reason, share in windows]
        return {"patches": sum(counts) // spec.thin}

    return int(_measure_once(dataset, f"{spec.fingerprint_of_patches}-patches.json", measure)["patches"])


def classify_area_windows(
    dataset: DataSet, area: str, sizes: Sequence[int], bands: tuple[str, ...]
) -> dict[int, list[tuple[np.ndarray, np.ndarray]]]:
    """Classify the windows of an area's scenes, read once, at several sizes, by all criteria but the landslide share.

    Returns by size, for each scene, reasons and shares as `classify_windows` for a least share of 0.
    """
    height = math.lcm(*sizes)
    height *= max(1, 512 // height)
    by_size: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {size: [] for size in sizes}
    for scene in dataset.scenes_of(area):
        judged = []  # one entry per strip, with one per size
        with scenes.open_image(scene) as image, scenes.open_labels(scene, image) as labels:
            for strip in scenes.strips(image.shape, height):
                valid, codes = image.valid(image.read(strip, bands)), labels.read(strip)
                judged.append([classify_windows(codes, valid, size, 0.0) for size in sizes])
        for size, strips in zip(sizes, zip(*judged, strict=True), strict=True):
            reasons, shares = (np.concatenate(arrays) for arrays in zip(*strips, strict=True))
            by_size[size].append((reasons, shares))
    return by_size


def _measure_once(dataset: DataSet, name: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the result of ``measure``, from the file ``name`` beside the data if it exists."""
    path = data_dir() / safe_name(dataset.name, "data set") / "measured" / name
    with suppress(OSError, ValueError, TypeError):  # not measured yet, or unreadable: this only costs time
        return dict(json.loads(path.read_text(encoding="utf-8")))
    content = measure()
    with suppress(UserError):  # a shared, read-only data folder is measured again each time
        write_json(path, content)
    return content
