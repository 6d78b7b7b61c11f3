"""Scores of a network on patches: counts of pixels patch by patch, which sum up to those of areas and of a run.

What a run keeps of each test patch is what intervals and tests between networks are computed from (`intervals`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from lmhld_nb.config import atomic_path
from lmhld_nb.evaluation.counts import Confusion
from lmhld_nb.patches.batches import Batches, load_split
from lmhld_nb.patches.patch_sets import PatchSet
from lmhld_nb.training import chains, engine
from lmhld_nb.training.losses import LOSSES
from lmhld_nb.training.specs import Recipe, RunSpec

FILE = "test_patches.csv"
CELLS = ["tp", "fp", "fn", "tn"]
KEYS = ["stage", "input", "area", "number"]


def total_of(counts: dict[str, Confusion]) -> Confusion:
    """Return the counts of all areas together."""
    return sum(counts.values(), Confusion(0, 0, 0, 0))


def by_area(patches: pd.DataFrame) -> dict[str, Confusion]:
    """Return the counts of each area, summed over rows with columns area, tp, fp, fn and tn."""
    areas = patches["area"].to_numpy()
    cells = patches[CELLS].to_numpy()
    return {
        str(area): Confusion(*map(int, cells[areas == area].sum(axis=0))) for area in dict.fromkeys(areas)
    }


def score(model: nn.Module, batches: Batches, recipe: Recipe) -> tuple[dict[str, Confusion], float]:
    """Score a model at probability 0.5.

    Returns:
        Confusion counts of each area, and the mean loss over pixels.
    """
    patches, loss = patch_counts(model, batches, recipe)
    return by_area(patches), loss


@torch.no_grad()
def patch_counts(model: nn.Module, batches: Batches, recipe: Recipe) -> tuple[pd.DataFrame, float]:
    """Count each patch at probability 0.5.

    Returns:
        Rows by patch: area, number (in its PatchSet), tp, fp, fn, tn; and the mean loss over pixels.
    """
    model.eval()
    order = batches.order(4 * (recipe.micro_batch or recipe.batch_size), None)
    total_loss = torch.zeros((), dtype=torch.float64, device=batches.device)
    cells = []
    pixels = 0
    for images, masks in batches.load(order):
        with engine.autocast(images.device, recipe):
            logits = model(images)
        logits = logits.float()
        total_loss += LOSSES[recipe.loss].function(logits, masks).double() * masks.numel()
        pixels += masks.numel()
        predicted, truth = logits > 0, masks > 0.5
        found = [predicted & truth, predicted & ~truth, ~predicted & truth, ~predicted & ~truth]
        cells.append(torch.stack([kind.sum(dim=(1, 2, 3)) for kind in found], dim=1))
    # One copy from the device for all.
    rows = torch.cat(cells).cpu().numpy() if cells else np.zeros((0, 4), int)
    areas = [batches.groups[group].areas[numbers] for group, numbers in order]
    own = [batches.groups[group].where[numbers, 1] for group, numbers in order]
    patches = pd.DataFrame(
        {
            "area": np.concatenate(areas) if areas else np.zeros(0, str),
            "number": np.concatenate(own) if own else np.zeros(0, int),
            **dict(zip(CELLS, rows.T, strict=True)),
        }
    )
    return patches, float(total_loss) / max(1, pixels)


def tested(
    model: nn.Module,
    spec: RunSpec,
    patch_sets: Sequence[PatchSet],
    earlier: Sequence[chains.EarlierStage],
    recipe: Recipe,
    resident: bool | None = None,
) -> tuple[pd.DataFrame, float]:
    """Count the test patches of a run, and of the stages before it where it is a stage of a chain.

    Those of earlier stages are counted twice: through the input convolution the network has, and through that of their
    own stage. The network is given back as it was.

    Args:
        model: the tested weights, on its device.
        spec: the run.
        patch_sets, earlier: as in `training.train`.
        recipe: with the precision it is computed in.
        resident: as in `batches.load_split`.

    Returns:
        Rows by patch: stage (id of the run whose test patch it is), input (``last``, or ``own``), area, number, tp,
        fp, fn, tn; and the mean loss over the pixels of the run's own test patches.
    """
    place = next(model.parameters()).device
    parts = []

    def count(run_id: str, kind: str, tests: Batches) -> float:
        patches, loss = patch_counts(model, tests, recipe)
        parts.append(patches.assign(stage=run_id, input=kind))
        return loss

    loss = count(spec.run_id, "last", load_split(patch_sets, "test", place, recipe.normalise, resident))
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    for stage in earlier:
        tests = load_split(stage.patch_sets, "test", place, recipe.normalise, resident)
        count(stage.run_id, "last", tests)
        chains.copy_layer_groups(model, stage.weights, ["input"])
        count(stage.run_id, "own", tests)
        model.load_state_dict(kept)
    return pd.concat(parts, ignore_index=True)[[*KEYS, *CELLS]], loss


def earlier_scores(patches: pd.DataFrame, spec: RunSpec) -> dict[str, dict[str, object]]:
    """Return what a stage's metrics.json holds of the stages before it, from the rows of `tested`.

    ``earlier`` and ``earlier_own_input``: by run id, then by area, counts and scores; nothing for a run without
    earlier stages.
    """
    if spec.stage is None:
        return {}
    found: dict[str, dict[str, object]] = {}
    for key, kind in (("earlier", "last"), ("earlier_own_input", "own")):
        rows = patches[patches["input"] == kind]
        found[key] = {
            stage.run_id: {
                area: counts.as_dict()
                for area, counts in by_area(rows[rows["stage"] == stage.run_id]).items()
            }
            for stage in spec.chain[:-1]
        }
    return found


def write(folder: Path, patches: pd.DataFrame, name: str = FILE) -> None:
    """Write counts beside a run's metrics, atomically.

    Raises:
        UserError: the folder cannot be written.
    """
    with atomic_path(folder / name) as temporary:
        patches.to_csv(temporary, index=False)


def read(path: Path, columns: Sequence[str]) -> pd.DataFrame | None:
    """Read counts that were written whole; None where they are missing or are something else."""
    try:
        found = pd.read_csv(path, dtype={"scene": str, "stage": str})
    except (OSError, ValueError):  # what pandas raises on a file it cannot parse is a ValueError
        return None
    return found if list(found.columns) == list(columns) else None
