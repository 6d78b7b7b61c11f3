"""Measurements of an area's scenes that plans need, made in one reading and stored beside the data."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter
from tqdm import tqdm

from lmhld_nb import inventory, scenes
from lmhld_nb.config import UserError, data_dir, safe_name, write_json
from lmhld_nb.patches.patch_sets import CUT_VERSION, SIZES, PatchSpec, classify_windows
from lmhld_nb.scenes import Scene
from lmhld_nb.sources import DataSet


@dataclass(frozen=True)
class AreaMeasurements:
    """What plans need to know of an area."""

    quartiles: tuple[float, float, float]  # of landslide sizes in pixels
    largest_side: int  # the shorter side of its largest scene in pixels
    shares: dict[int, list[tuple[float, int]]]  # of landslide in windows without missing data, with counts; by size


_MEASURED: dict[Path, AreaMeasurements] = {}  # by file, of this process; also where the file cannot be written
_STORED = TypeAdapter(AreaMeasurements)


def measure_area(
    dataset: DataSet, area: str, bands: Sequence[str] = (), sizes: Sequence[int] = SIZES, quiet: bool | None = None
) -> AreaMeasurements:
    """Measure an area's scenes once: the result is stored beside the data, under its fingerprint.

    Data may be missing in ``bands`` (default: those of `scenes.BANDS` that all scenes have, else all). ``quiet`` hides
    progress (None: outside a terminal). UserError if a scene cannot be read or none has a landslide.
    """
    bands = bands or [band for band in scenes.BANDS if band in dataset.bands]
    measured = json.dumps([CUT_VERSION, dataset.fingerprint, sorted(bands), sizes])
    name = f"{safe_name(area, 'area')}-{hashlib.sha256(measured.encode()).hexdigest()[:16]}.json"
    path = data_dir() / safe_name(dataset.name, "data set") / "measured" / name
    with suppress(OSError, ValueError):  # not measured yet, or unreadable: this only costs time
        if path not in _MEASURED:
            _MEASURED[path] = _STORED.validate_json(path.read_bytes())
    if path not in _MEASURED:
        area_scenes, landslides, sides = dataset.scenes_of(area), [], []
        shares = {size: Counter[float]() for size in sizes}
        for scene in tqdm(area_scenes, f"measure {area}", unit="scene", disable=quiet, leave=False):
            windows, sizes_px, side = read_scene(scene, sizes, bands)
            landslides.append(sizes_px)
            sides.append(side)
            for size, (reason, share) in windows.items():
                shares[size].update(share[reason == ""].tolist())
        quartiles = inventory.quartiles(inventory.area_sizes(area_scenes, landslides))
        counted = {size: sorted(counter.items()) for size, counter in shares.items()}
        _MEASURED[path] = AreaMeasurements(quartiles, max(sides), counted)
        with suppress(UserError):  # a shared, read-only data folder
            write_json(path, asdict(_MEASURED[path]))
    return _MEASURED[path]


def count_patches(dataset: DataSet, spec: PatchSpec) -> int:
    """Count the patches of ``spec`` without cutting them, to within a few."""
    least, sizes = 0.0 if spec.background else spec.min_share, SIZES if spec.size in SIZES else (spec.size,)
    shares = measure_area(dataset, spec.area, spec.bands, sizes).shares[spec.size]
    return sum(count for share, count in shares if share >= least) // spec.thin


def read_scene(
    scene: Scene, sizes: Sequence[int], bands: Sequence[str]
) -> tuple[dict[int, list[np.ndarray]], np.ndarray, int]:
    """Read a scene once: its windows, the sizes of its landslides, and its shorter side, in pixels.

    Windows are, by size, reasons and shares as of `classify_windows` for a least share of 0.
    """
    height = math.lcm(*sizes)
    height *= max(1, 512 // height)
    judged = []  # one entry per strip, with one per size
    with scenes.open_image(scene) as image, scenes.open_labels(scene, image) as labels:

        def masks() -> Iterator[tuple[np.ndarray]]:
            for strip in scenes.strips(image.shape, height):
                valid, codes = image.valid(image.read(strip, bands or scene.bands)), labels.read(strip)
                judged.append([classify_windows(codes, valid, size, 0.0) for size in sizes])
                yield (codes,)

        landslides = inventory.components(masks())["size_px"].to_numpy()
    by_size = zip(sizes, zip(*judged, strict=True), strict=True)
    windows = {size: [np.concatenate(arrays) for arrays in zip(*strips, strict=True)] for size, strips in by_size}
    return windows, landslides, min(image.shape)
