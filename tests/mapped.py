"""Maps by an untrained network, for tests."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import safetensors.torch
import torch

from lmhld_nb import mapping, models
from lmhld_nb.scenes.scene import BANDS, Scene

FILES = [
    "landslides.gpkg", "landslides.qml", "map.json", "mask.qml", "mask.tif", "overlay.png", "probability.qml",
    "probability.tif", "uncertainty.qml", "uncertainty.tif",
]  # fmt: skip
UNCLEANED = {"min_area_px": 1, "smooth": False}
TABLES = [f"scores_{name}.csv" for name in ("precision_recall", "calibration", "by_size")]
SCORED = sorted([*FILES, *TABLES])


def write_weights(path: Path, bands: tuple[str, ...] = BANDS, size: int = 32, areas: dict | None = None) -> Path:
    torch.manual_seed(3)
    network = models.build("unet", len(bands), 2)
    card = {
        "run_id": "0" * 16, "model": "unet", "width": 2, "bands": bands, "normalise": "area", "test": {},
        "areas": areas or {"made": {"patch_size": size, "mean": [0.0] * len(bands), "std": [1.0] * len(bands)}},
    }  # fmt: skip
    safetensors.torch.save_file(network.state_dict(), path, metadata={"card": json.dumps(card)})
    return path


def draw(scene: Scene, weights: Path, out: Path, others: Sequence[Path] = (), **options: Any) -> dict[str, Any]:
    settings = mapping.MapSettings(device="cpu", **{**UNCLEANED, **options})
    return mapping.map_scene(scene, weights, out, settings, others, progress=False)


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as source:
        return source.read(1)


def median(scene: Scene, weights: Path, out: Path, **options: Any) -> float:
    """A threshold that parts this untrained network's probabilities in two."""
    draw(scene, weights, out, **options)
    values = read(out / "probability.tif")
    return float(np.median(values[values >= 0]))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
