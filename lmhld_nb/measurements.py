"""Measurements: what a plan must know of an area's scenes, measured once and kept beside the data."""

from __future__ import annotations

import json
from dataclasses import dataclass

from lmhld_nb import inventory, scenes
from lmhld_nb.config import UserError, data_dir, write_json
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
