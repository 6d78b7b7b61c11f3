"""The whole study area: a network scored on every window of its area's scenes, not only on patches that were kept.

Patches are chosen for holding landslide; a landscape mostly does not. Experiment 1 therefore judges patch sizes by
"the performance of landslide detection across the entire study area" (paper section 3.2 (1)).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from lmhld_nb import scenes
from lmhld_nb.config import write_json
from lmhld_nb.evaluation.counts import Confusion
from lmhld_nb.patches.patch_sets import PatchSet
from lmhld_nb.scenes.rasters import Window
from lmhld_nb.scenes.scene import Scene
from lmhld_nb.training import engine, scoring
from lmhld_nb.training.specs import Recipe

FILE = "whole_area.json"
WINDOWS = "whole_area.csv"
COLUMNS = ["scene", "row", "col", "trained", *scoring.CELLS]
BATCH_PIXELS = 2**19  # predicted at once: small windows in large batches


def windows(
    model: nn.Module,
    part: PatchSet,
    members: Sequence[Scene],
    recipe: Recipe,
    place: torch.device,
    progress: bool = True,
) -> pd.DataFrame:
    """Count each window of whole scenes at probability 0.5; windows have the patch size and do not overlap.

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
        Rows by window that holds a known pixel: scene, row, col (of its upper left pixel), trained (1 for the training
        patches), tp, fp, fn, tn.

    Raises:
        UserError: a scene cannot be read.
    """
    trained = part.index[part.index["split"] == "train"]
    taken = set(zip(trained["scene"], trained["row"], trained["col"], strict=True))
    size = part.spec.size
    rows = []
    bar = tqdm(members, desc=f"whole area {part.spec.area}", unit="scene", disable=not progress, leave=False)
    for scene in bar:
        for strip, predicted, truth, known in predictions(model, part, scene, recipe, place):
            found = [predicted & truth, predicted & ~truth, ~predicted & truth, ~predicted & ~truth]
            cells = [_by_window(kind & known, size) for kind in found]
            for r, c in zip(*np.nonzero(np.sum(cells, axis=0)), strict=True):
                where = (strip.row + int(r) * size, int(c) * size)
                counts = [int(kind[r, c]) for kind in cells]
                rows.append([scene.name, *where, int((scene.name, *where) in taken), *counts])
    return pd.DataFrame(rows, columns=COLUMNS)


def predictions(
    model: nn.Module, part: PatchSet, scene: Scene, recipe: Recipe, place: torch.device
) -> Iterator[tuple[Window, np.ndarray, np.ndarray, np.ndarray]]:
    """Predict a scene strip by strip from top to bottom, as `windows` does.

    Yields:
        The strip; predicted, true and known landslide, bool (rows, cols). Strips without a known pixel are left out.
    """
    statistics = part.scene_statistics[scene.name] if recipe.normalise == "scene" else (part.mean, part.std)
    mean, std = np.asarray(statistics, np.float32)
    size = part.spec.size
    with scenes.open_image(scene) as image, scenes.open_labels(scene, image) as labels:
        for strip in scenes.strips(image.shape, size * max(1, 512 // size)):
            values, truth = image.read(strip, part.spec.bands), labels.read(strip)
            valid = image.valid(values)
            known = valid & (truth != 255)
            if not known.any():
                continue
            scaled = (values.astype(np.float32) - mean[:, None, None]) / std[:, None, None]
            scaled[:, ~valid] = 0
            yield strip, _predict(model, scaled, size, recipe, place), truth == 1, known


def totals(counted: pd.DataFrame) -> dict[str, Confusion]:
    """Sum the rows of `windows`.

    Returns:
        ``all``: counts over the whole area; ``outside_training``: those outside the training patches.
    """
    cells, outside = counted[scoring.CELLS].to_numpy(), counted["trained"].to_numpy() == 0
    return {
        "all": Confusion(*map(int, cells.sum(axis=0))),
        "outside_training": Confusion(*map(int, cells[outside].sum(axis=0))),
    }


def write(folder: Path, run_id: str, counted: pd.DataFrame) -> None:
    """Write a run's whole-area scores beside its metrics, atomically, its windows first."""
    scoring.write(folder, counted, WINDOWS)
    told = {name: found.as_dict() for name, found in totals(counted).items()}
    write_json(folder / FILE, {"run_id": run_id, **told})


def _by_window(cells: np.ndarray, size: int) -> np.ndarray:
    """Sum (rows, cols) over windows of ``size`` that begin at its upper left corner; the last ones may be cut."""
    summed = np.add.reduceat(cells.astype(np.int64), np.arange(0, cells.shape[0], size), axis=0)
    return np.add.reduceat(summed, np.arange(0, cells.shape[1], size), axis=1)


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
