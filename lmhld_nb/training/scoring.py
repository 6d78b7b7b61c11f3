"""Scores of a network: counts of pixels, patch by patch, and window by window over whole scenes.

Patches are selected for their landslides; most of a landscape has none. Experiment 1 therefore compares patch sizes by
"the performance of landslide detection across the entire study area" (paper section 3.2 (1)), hence by all its windows.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from lmhld_nb import scenes
from lmhld_nb.config import atomic_path
from lmhld_nb.evaluation.counts import Confusion
from lmhld_nb.patches.batches import Batches, load_split
from lmhld_nb.patches.patch_sets import PatchSet
from lmhld_nb.scenes.scene import Scene
from lmhld_nb.training import engine
from lmhld_nb.training.chains import INPUT, EarlierStage, copy_layer_groups
from lmhld_nb.training.losses import LOSSES
from lmhld_nb.training.specs import Recipe, RunSpec
from lmhld_nb.training.weights import copy_of

COUNTS = ["tp", "fp", "fn", "tn"]
PATCHES_FILE = "test_patches.csv"
PATCH_COLUMNS = ["stage", "input", "area", "number", *COUNTS]
BLOCKS_FILE = "whole_area_blocks.csv"
BLOCK_COLUMNS = ["scene", "row", "col", "trained", "windows", *COUNTS]
WHOLE_AREA_FILE = "whole_area.json"
BATCH_PIXELS = 2**19  # predicted at once, so that small windows form large batches


def total(counts: pd.DataFrame) -> Confusion:
    """Return the sum of rows with columns tp, fp, fn and tn."""
    return Confusion(*map(int, counts[COUNTS].to_numpy().sum(axis=0)))


def by_area(counts: pd.DataFrame) -> dict[str, Confusion]:
    """Return the sum of each area's rows, in the order in which the areas appear in the column ``area``."""
    return {str(area): total(rows) for area, rows in counts.groupby("area", sort=False)}


@torch.no_grad()
def patch_counts(model: nn.Module, batches: Batches, recipe: Recipe) -> tuple[pd.DataFrame, float]:
    """Count each patch at probability 0.5: area, number (in its PatchSet), tp, fp, fn, tn; also the mean pixel loss."""
    model.eval()
    loss_sum = torch.zeros((), dtype=torch.float64, device=batches.device)
    counts, pixels = [torch.zeros((0, len(COUNTS)), dtype=torch.int64, device=batches.device)], 0
    for images, masks in batches.load(batches.order(4 * (recipe.micro_batch or recipe.batch_size), None)):
        with engine.autocast(images.device, recipe):
            logits = model(images)
        logits = logits.float()
        loss_sum += LOSSES[recipe.loss].function(logits, masks).double() * masks.numel()
        pixels += masks.numel()
        outcomes = _outcomes(logits > 0, masks > 0.5)
        counts.append(torch.stack([outcome.sum(dim=(1, 2, 3)) for outcome in outcomes], dim=1))
    table = pd.DataFrame(torch.cat(counts).cpu().numpy(), columns=COUNTS)  # a single copy from the device
    # Without a seed, batches have the patches in the order of their groups.
    table.insert(0, "area", np.concatenate([group.areas for group in batches.groups]))
    table.insert(1, "number", np.concatenate([group.where[:, 1] for group in batches.groups]))
    return table, float(loss_sum) / max(1, pixels)


def _outcomes(predicted: Any, truth: Any) -> list[Any]:
    """Return where pixels are true and false positives, false and true negatives (bool arrays or tensors)."""
    return [predicted & truth, predicted & ~truth, ~predicted & truth, ~predicted & ~truth]


def test_counts(
    model: nn.Module, spec: RunSpec, patch_sets: Sequence[PatchSet], earlier: Sequence[EarlierStage], recipe: Recipe
) -> tuple[pd.DataFrame, float]:
    """Count the test patches of a run, and of earlier stages with its input layer (``last``) and with theirs (``own``).

    One row per patch: stage (run id), input, area, number, tp, fp, fn, tn; also the mean loss on the run's own patches.
    ``model`` has the tested weights, and has them again on return.
    """
    device, before, tables = next(model.parameters()).device, copy_of(model), []

    def count(run_id: str, input_of: str, tests: Batches) -> float:
        patches, loss = patch_counts(model, tests, recipe)
        tables.append(patches.assign(stage=run_id, input=input_of))
        return loss

    loss = count(spec.run_id, "last", load_split(patch_sets, "test", device, recipe.normalise))
    for stage in earlier:
        if not (others := [patches for patches in stage.patch_sets if patches.spec not in spec.data]):
            continue
        tests = load_split(others, "test", device, recipe.normalise)
        count(stage.run_id, "last", tests)
        copy_layer_groups(model, stage.weights, INPUT)
        count(stage.run_id, "own", tests)
        model.load_state_dict(before)
    return pd.concat(tables, ignore_index=True)[PATCH_COLUMNS], loss


def validation_counts(
    model: nn.Module, patch_sets: Sequence[PatchSet], earlier: Sequence[EarlierStage], recipe: Recipe
) -> Confusion:
    """Count the validation patches of a run and of all earlier stages, each once; arguments as in `test_counts`."""
    once = {patches.spec: patches for own in (*(stage.patch_sets for stage in earlier), patch_sets) for patches in own}
    device = next(model.parameters()).device
    counts, _ = patch_counts(model, load_split(list(once.values()), "val", device, recipe.normalise), recipe)
    return total(counts)


def earlier_scores(patches: pd.DataFrame, spec: RunSpec) -> dict[str, dict[str, object]]:
    """Return ``earlier`` and ``earlier_own_input`` of metrics.json: counts and scores by run id and area."""
    scores: dict[str, dict[str, object]] = {}
    for key, input_of in (("earlier", "last"), ("earlier_own_input", "own")):
        for stage in spec.chain[:-1]:
            rows = patches[(patches["input"] == input_of) & (patches["stage"] == stage.run_id)]
            counts = by_area(rows).items()
            scores.setdefault(key, {})[stage.run_id] = {area: confusion.as_dict() for area, confusion in counts}
    return scores


def window_counts(
    model: nn.Module, patches: PatchSet, area_scenes: Sequence[Scene], recipe: Recipe, progress: bool = True
) -> pd.DataFrame:
    """Count each window of whole scenes at probability 0.5; windows have the patch size and do not overlap.

    Windows over a scene's edge are padded with the mean; pixels without data or label are left out. Rows: scene, row,
    col, trained (1 for the training patches), tp, fp, fn, tn. UserError if a scene cannot be read.
    """
    index = patches.index[patches.index["split"] == "train"]
    trained = set(zip(index["scene"], index["row"], index["col"], strict=True))
    size, rows, by_scene = patches.spec.size, [], recipe.normalise == "scene"
    for scene in tqdm(area_scenes, f"whole area {patches.spec.area}", unit="scene", disable=not progress, leave=False):
        statistics = patches.scene_statistics[scene.name] if by_scene else (patches.mean, patches.std)
        mean, std = np.asarray(statistics, np.float32)
        with scenes.open_image(scene) as image, scenes.open_labels(scene, image) as labels:
            for strip in scenes.strips(image.shape, size * max(1, 512 // size)):
                values, truth = image.read(strip, patches.spec.bands), labels.read(strip)
                valid = image.valid(values)
                known = valid & (truth != 255)
                if not known.any():
                    continue
                scaled = (values.astype(np.float32) - mean[:, None, None]) / std[:, None, None]
                scaled[:, ~valid] = 0
                counts = in_windows(_predict(model, scaled, size, recipe), truth == 1, known, size)
                for r, c in zip(*np.nonzero(counts.sum(axis=0)), strict=True):
                    window = (scene.name, strip.row + int(r) * size, int(c) * size)
                    rows.append([*window, int(window in trained), *counts[:, r, c].tolist()])
    return pd.DataFrame(rows, columns=["scene", "row", "col", "trained", *COUNTS])


@torch.inference_mode()
def _predict(model: nn.Module, scaled: np.ndarray, size: int, recipe: Recipe) -> np.ndarray:
    """Return where landslide is predicted in the windows of a strip (bands, height, width), bool (height, width)."""
    device, (bands, height, width) = next(model.parameters()).device, scaled.shape
    rows, cols = -(-height // size), -(-width // size)
    padded = np.pad(scaled, ((0, 0), (0, rows * size - height), (0, cols * size - width)))
    windows = padded.reshape(bands, rows, size, cols, size).transpose(1, 3, 0, 2, 4)
    stack = torch.from_numpy(windows.reshape(rows * cols, bands, size, size))
    masks = []
    for batch in stack.split(recipe.micro_batch or max(1, BATCH_PIXELS // size**2)):
        images = batch.to(device).contiguous(memory_format=torch.channels_last)
        with engine.autocast(device, recipe):
            masks.append(model(images)[:, 0] > 0)
    mask = torch.cat(masks).cpu().numpy().reshape(rows, cols, size, size).transpose(0, 2, 1, 3)
    return mask.reshape(rows * size, cols * size)[:height, :width]


def in_windows(predicted: np.ndarray, truth: np.ndarray, known: np.ndarray, size: int) -> np.ndarray:
    """Count known pixels of bool arrays (rows, cols) in windows of ``size``, starting at the upper left corner.

    Returns tp, fp, fn and tn, (4, window rows, window cols) int64; the last windows of a row or column may be cut.
    """
    pixels = (np.stack(_outcomes(predicted, truth)) & known).astype(np.int64)
    summed = np.add.reduceat(pixels, np.arange(0, known.shape[0], size), axis=1)
    return np.add.reduceat(summed, np.arange(0, known.shape[1], size), axis=2)


def in_blocks(windows: pd.DataFrame, side_px: int) -> pd.DataFrame:
    """Sum windows by squares, as all touch, training windows apart; ``row``, ``col``: the square's corner."""
    squares = windows.assign(windows=1, **{side: windows[side] // side_px * side_px for side in ("row", "col")})
    return squares.groupby(BLOCK_COLUMNS[:4], sort=False).sum().reset_index()[BLOCK_COLUMNS]


def whole_area(counts: pd.DataFrame) -> dict[str, Confusion]:
    """Sum windows, or their blocks: ``all``, and those outside the training patches (``outside_training``)."""
    return {"all": total(counts), "outside_training": total(counts[counts["trained"] == 0])}


def write(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, its numbers to six digits, atomically; raises UserError if the folder cannot be written."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, na_rep="nan", float_format="%.6g")
