"""The whole study area: a network scored on every window of its area's scenes, not only on patches that were kept.

Patches are chosen for holding landslide; a landscape mostly does not. Experiment 1 therefore judges patch sizes by
"the performance of landslide detection across the entire study area" (paper section 3.2 (1)).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from lmhld_nb import engine, scenes
from lmhld_nb.config import write_json
from lmhld_nb.evaluation import Confusion
from lmhld_nb.patches import PatchSet
from lmhld_nb.scenes import Scene
from lmhld_nb.specs import Recipe

FILE = "whole_area.json"
BATCH_PIXELS = 2**19  # predicted at once: small windows in large batches


def score(
    model: nn.Module,
    part: PatchSet,
    members: Sequence[Scene],
    recipe: Recipe,
    place: torch.device,
    progress: bool = True,
) -> dict[str, Confusion]:
    """Score a network at probability 0.5 on whole scenes, by windows of its patch size that do not overlap.

    Windows that reach over a scene's edge are filled up with the mean. Pixels without data and pixels without a label
    are left out.

    Args:
        model: in evaluation mode, on ``place``.
        part: the patches it was trained on: their size, bands and normalisation are used.
        members: the area's scenes.
        recipe: normalisation and precision.
        place: device.
        progress: show a bar.

    Returns:
        ``all``: counts over the whole area; ``outside_training``: those outside the training patches.

    Raises:
        UserError: a scene cannot be read.
    """
    total = {"all": Confusion(0, 0, 0, 0), "outside_training": Confusion(0, 0, 0, 0)}
    trained = part.index[part.index["split"] == "train"]
    size = part.spec.size
    bar = tqdm(members, desc=f"whole area {part.spec.area}", unit="scene", disable=not progress, leave=False)
    for scene in bar:
        statistics = (
            part.scene_statistics[scene.name] if recipe.normalise == "scene" else (part.mean, part.std)
        )
        mean, std = np.asarray(statistics, np.float32)
        inside = trained[trained["scene"] == scene.name]
        with scenes.open_image(scene) as image, scenes.open_labels(scene, image) as labels:
            for strip in scenes.strips(image.shape, size * max(1, 512 // size)):
                values, truth = image.read(strip, part.spec.bands), labels.read(strip)
                valid = image.valid(values)
                known = valid & (truth != 255)
                if not known.any():
                    continue
                scaled = (values.astype(np.float32) - mean[:, None, None]) / std[:, None, None]
                scaled[:, ~valid] = 0
                predicted = _predict(model, scaled, size, recipe, place)
                outside = known.copy()
                for row, col in zip(inside["row"], inside["col"], strict=True):
                    if strip.row <= row < strip.row + strip.height:
                        outside[row - strip.row : row - strip.row + size, col : col + size] = False
                total["all"] += Confusion.of(predicted, truth == 1, known)
                total["outside_training"] += Confusion.of(predicted, truth == 1, outside)
    return total


def write(folder: Path, run_id: str, counts: dict[str, Confusion]) -> None:
    """Write a run's whole-area scores beside its metrics, atomically."""
    write_json(folder / FILE, {"run_id": run_id, **{name: found.as_dict() for name, found in counts.items()}})


@torch.inference_mode()
def _predict(
    model: nn.Module, scaled: np.ndarray, size: int, recipe: Recipe, place: torch.device
) -> np.ndarray:
    """Return where windows of a strip (bands, height, width) are predicted as landslide, bool (height, width)."""
    bands, height, width = scaled.shape
    rows, cols = -(-height // size), -(-width // size)
    padded = np.pad(scaled, ((0, 0), (0, rows * size - height), (0, cols * size - width)))
    windows = padded.reshape(bands, rows, size, cols, size).transpose(1, 3, 0, 2, 4)
    stack = torch.from_numpy(windows.reshape(rows * cols, bands, size, size))
    at_once = recipe.micro_batch or max(1, BATCH_PIXELS // size**2)
    found = []
    for batch in stack.split(at_once):
        images = batch.to(place).contiguous(memory_format=torch.channels_last)
        with engine.autocast(place, recipe):
            found.append(model(images)[:, 0] > 0)
    mask = torch.cat(found).cpu().numpy().reshape(rows, cols, size, size).transpose(0, 2, 1, 3)
    return mask.reshape(rows * size, cols * size)[:height, :width]
