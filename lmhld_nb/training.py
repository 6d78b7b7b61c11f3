"""Training: one RunSpec in, one finished run folder out; deterministic, and resumed after any interruption.

Every random number follows from the spec's seed and the place in the training, so a checkpoint is weights,
optimiser state and that place: a run that was stopped ends with the same weights as one that was not (on CPU, with
the same number of threads, bit for bit).
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from lmhld_nb import models
from lmhld_nb.batches import Batches, augment, load_split
from lmhld_nb.checkpoints import State, restore, stop_on_sigterm, write_tensors
from lmhld_nb.checkpoints import save as save_checkpoint
from lmhld_nb.config import Interrupted, UserError, atomic_path, write_json
from lmhld_nb.evaluation import Confusion
from lmhld_nb.hardware import choose_device, environment
from lmhld_nb.patches import PatchSet
from lmhld_nb.specs import Recipe, RunSpec


def loss_of(logits: Tensor, masks: Tensor, kind: str) -> Tensor:
    """Return the mean loss of logits (N, 1, H, W) against masks 0/1 of that shape."""
    bce = F.binary_cross_entropy_with_logits(logits, masks)
    if kind == "bce":
        return bce
    probability = torch.sigmoid(logits)
    overlap = 2 * (probability * masks).sum() + 1
    return 0.5 * bce + 0.5 * (1 - overlap / (probability.sum() + masks.sum() + 1))


@torch.no_grad()
def score(model: nn.Module, batches: Batches, recipe: Recipe) -> tuple[dict[str, Confusion], float]:
    """Score a model at probability 0.5.

    Returns:
        Confusion counts of each area, and the mean loss over pixels.
    """
    model.eval()
    counts: dict[str, Confusion] = {}
    total_loss, pixels = 0.0, 0
    for group, numbers in batches.order(4 * recipe.batch_size, None):
        images, masks = batches.images[group][numbers], batches.masks[group][numbers]
        with _autocast(images.device, recipe.precision):
            logits = model(images)
        logits = logits.float()
        total_loss += float(loss_of(logits, masks, recipe.loss)) * masks.numel()
        pixels += masks.numel()
        predicted, truth = logits > 0, masks > 0.5
        cells = torch.stack([predicted & truth, predicted & ~truth, ~predicted & truth, ~predicted & ~truth])
        per_patch = cells.sum(dim=(2, 3, 4)).T.cpu().numpy()
        for area, row in zip(batches.areas[group][numbers.numpy()], per_patch, strict=True):
            counts[str(area)] = counts.get(str(area), Confusion(0, 0, 0, 0)) + Confusion(*map(int, row))
    return counts, total_loss / max(1, pixels)


@contextmanager
def _autocast(device: torch.device, precision: str) -> Iterator[None]:
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        yield


def train(
    spec: RunSpec,
    patch_sets: Sequence[PatchSet],
    folder: Path,
    device: str = "auto",
    progress: bool = True,
    checkpoint_every: int = 10,
) -> dict[str, object]:
    """Train, validate, test and store one run; take up where an earlier attempt stopped.

    Writes spec.json, history.csv, environment.json, weights.safetensors and last of all metrics.json. The
    weights carry the bands and normalisation in their header.

    Args:
        spec: the run.
        patch_sets: the PatchSets that ``spec.data`` names, in that order.
        folder: of the run.
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: show a bar (an own line an epoch where the output is no terminal).
        checkpoint_every: epochs between checkpoints.

    Returns:
        The content of metrics.json.

    Raises:
        UserError: the loss became NaN or infinite (the last good checkpoint stays), or the disk is full.
        Interrupted: SIGTERM came; a checkpoint was written.
    """
    place = torch.device(choose_device(device))
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "spec.json", json.loads(spec.canonical()))
    write_json(folder / "environment.json", environment(place))

    torch.manual_seed(spec.seed)
    model = models.build(spec.model, len(spec.bands), spec.width)
    model = model.to(place).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    recipe = spec.recipe
    optimiser = torch.optim.SGD(
        model.parameters(), recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay, fused=True
    )
    best = {name: value.clone() for name, value in model.state_dict().items()}
    state = restore(folder / "checkpoint.safetensors", model, optimiser, best)
    training, validation = (
        load_split(patch_sets, split, place, recipe.normalise) for split in ("train", "val")
    )

    def save() -> None:
        save_checkpoint(folder / "checkpoint.safetensors", model, optimiser, best, state)

    label = f"{spec.model} {'+'.join(dict.fromkeys(part.area for part in spec.data))}"
    bar = tqdm(
        total=recipe.epochs, initial=state.epoch, desc=label, unit="epoch", disable=not progress, leave=False
    )
    with stop_on_sigterm() as stopped, bar:
        while state.epoch < recipe.epochs:
            began = time.perf_counter()
            _train_epoch(model, optimiser, training, spec, state, stopped)
            if stopped():
                state.seconds += time.perf_counter() - began
                save()
                raise Interrupted(
                    f"{folder}: stopped in epoch {state.epoch + 1}; the same command takes it up again"
                )
            mean_loss = state.loss_sum / len(training)
            if not np.isfinite(mean_loss):
                raise UserError(
                    f"{folder}: loss {mean_loss} in epoch {state.epoch + 1}; lower `lr` in the profile"
                )
            row = _validate(model, validation, recipe, state, mean_loss, best)
            state.seconds += time.perf_counter() - began
            row["seconds"] = round(state.seconds, 3)
            state.history.append(row)
            state.epoch, state.step, state.loss_sum = state.epoch + 1, 0, 0.0
            _write_history(folder / "history.csv", state.history)
            if state.epoch % checkpoint_every == 0 and state.epoch < recipe.epochs:
                save()
            bar.set_postfix(loss=f"{mean_loss:.3f}", val_f1=f"{row['val_f1']:.3f}")
            bar.update()
    if recipe.keep == "best":
        model.load_state_dict(best)
    return _finish(spec, patch_sets, model, folder, state, place)


def _train_epoch(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    training: Batches,
    spec: RunSpec,
    state: State,
    stopped: Callable[[], bool],
) -> None:
    """Do the rest of an epoch, from ``state.step`` on."""
    recipe = spec.recipe
    model.train()
    for group in optimiser.param_groups:
        group["lr"] = recipe.lr * recipe.gamma**state.epoch
    batches = training.order(recipe.batch_size, (spec.seed, state.epoch))
    loss_sum = torch.tensor(state.loss_sum, dtype=torch.float64)
    for step in range(state.step, len(batches)):
        group_number, numbers = batches[step]
        images, masks = training.images[group_number][numbers], training.masks[group_number][numbers]
        if recipe.augment:
            images, masks = augment(images, masks, np.random.default_rng((spec.seed, state.epoch, step)))
        # Dropout draws from torch's own generator: tie it to the step, so that a resumed run draws the same.
        torch.manual_seed(_step_seed(spec.seed, state.epoch, step))
        with _autocast(images.device, recipe.precision):
            logits = model(images)
        loss = loss_of(logits.float(), masks, recipe.loss)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        loss_sum = loss_sum.to(loss.device) + loss.detach().double() * len(numbers)
        if stopped():
            state.step, state.loss_sum = step + 1, float(loss_sum)
            return
    state.loss_sum = float(loss_sum)


def _step_seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def _validate(
    model: nn.Module,
    validation: Batches,
    recipe: Recipe,
    state: State,
    train_loss: float,
    best: dict[str, Tensor],
) -> dict[str, float]:
    counts, loss = score(model, validation, recipe)
    total = sum(counts.values(), Confusion(0, 0, 0, 0))
    f1 = total.f1 if np.isfinite(total.f1) else 0.0
    if f1 > state.best_f1:
        state.best_f1, state.best_epoch = f1, state.epoch + 1
        for name, value in model.state_dict().items():
            best[name].copy_(value)
    return {
        "epoch": state.epoch + 1,
        "lr": recipe.lr * recipe.gamma**state.epoch,
        "train_loss": train_loss,
        "val_loss": loss,
        "val_precision": total.precision,
        "val_f1": f1,
        "val_recall": total.recall,
    }


def _finish(
    spec: RunSpec,
    patch_sets: Sequence[PatchSet],
    model: nn.Module,
    folder: Path,
    state: State,
    place: torch.device,
) -> dict[str, object]:
    counts, loss = score(model, load_split(patch_sets, "test", place, spec.recipe.normalise), spec.recipe)
    total = sum(counts.values(), Confusion(0, 0, 0, 0))
    card = {
        "run_id": spec.run_id,
        "model": spec.model,
        "width": spec.width,
        "bands": list(spec.bands),
        "normalise": spec.recipe.normalise,
        "areas": {
            part.area: {"patch_size": part.size, "mean": list(patches.mean), "std": list(patches.std)}
            for part, patches in zip(spec.data, patch_sets, strict=True)
        },
        "test": total.as_dict(),
    }
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    write_tensors(folder / "weights.safetensors", weights, {"card": json.dumps(card)})
    patches = sum(len(part.where("train")) + len(part.where("val")) for part in patch_sets)
    metrics: dict[str, object] = {
        "run_id": spec.run_id,
        "test": total.as_dict(),
        "test_loss": loss,
        "areas": {area: confusion.as_dict() for area, confusion in counts.items()},
        "val_f1": state.best_f1,
        "best_epoch": state.best_epoch if spec.recipe.keep == "best" else spec.recipe.epochs,
        "parameters": models.parameter_count(model),
        "training_patches": sum(len(part.where("train")) for part in patch_sets),
        "seconds": round(state.seconds, 3),
        "patches_per_second": round(spec.recipe.epochs * patches / max(state.seconds, 1e-9), 2),
        "device": environment(place)["device"],
    }
    write_json(folder / "metrics.json", metrics)
    (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    return metrics


def _write_history(path: Path, history: list[dict[str, float]]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(history[0]))
        writer.writeheader()
        writer.writerows(history)
