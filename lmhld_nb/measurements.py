"""Measurements: what a plan must know of an area's scenes, measured once and kept beside the data."""

from __future__ import annotations

import json
from dataclasses import dataclass

from lmhld_nb import inventory, patches, scenes
from lmhld_nb.config import UserError, data_dir, write_json
from lmhld_nb.patches import PatchSpec
from lmhld_nb.sources import DataSet


@dataclass(frozen=True)
class Measured:
    """What a plan must know of an area's scenes: landslide-size quartiles (pixels) and the largest square's side."""

    quartiles: tuple[float, float, float]
    largest_side: int


def measured(dataset: DataSet, area: str) -> Measured:
    """Measure an area's scenes, once: the result is kept beside the data, under its fingerprint.

    Raises:
        UserError: a scene cannot be read, or the area has no landslide.
    """
    path = data_dir() / dataset.name / "measured" / f"{dataset.fingerprint}-{area}.json"
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return Measured(tuple(kept["quartiles"]), kept["largest_side"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not measured yet: only time is lost
    members = dataset.scenes_of(area)
    sides = []
    for scene in members:
        with scenes.open_image(scene) as image:
            sides.append(min(image.shape))
    found = Measured(inventory.quartiles(inventory.area_sizes(members)), max(sides))
    try:
        write_json(path, vars(found))
    except UserError:  # a shared, read-only data folder is measured anew each time
        return found
    return found


def kept(dataset: DataSet, spec: PatchSpec) -> int:
    """Count the patches that cutting ``spec`` leaves, without cutting; once, as `measured`.

    Raises:
        UserError: a scene cannot be read.
    """
    path = data_dir() / dataset.name / "measured" / f"{spec.fingerprint_of_patches}-kept.json"
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["kept"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    count = 0
    for scene in dataset.scenes_of(spec.area):
        with scenes.open_image(scene) as image, scenes.open_labels(scene, image) as labels:
            for strip in scenes.strips(image.shape, spec.size * max(1, 512 // spec.size)):
                valid = image.valid(image.read(strip, spec.bands))
                least = 0.0 if spec.background else spec.min_share
                reason, _ = patches.classify_windows(labels.read(strip), valid, spec.size, least)
                count += int((reason == "").sum())
    try:
        write_json(path, {"kept": count})
    except UserError:
        return count
    return count
