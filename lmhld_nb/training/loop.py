"""Training: one RunSpec in, one finished run folder out; deterministic, and resumed after any interruption.

Every random number follows from the spec's seed and the place in the training, so a checkpoint is weights,
optimiser state and that place: a run that was stopped ends with the same weights as one that was not (on CPU, with
the same number of threads, bit for bit).
"""

from __future__ import annotations

import csv
import hashlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from lmhld_nb import models
from lmhld_nb.config import Interrupted, UserError, atomic_path, progress_bar, write_json
from lmhld_nb.patches.batches import Batches, augment, load_split
from lmhld_nb.patches.patch_sets import PatchSet
from lmhld_nb.training import chains, engine, scoring
from lmhld_nb.training import weights as networks
from lmhld_nb.training.checkpoints import State, restore, stop_on_signals
from lmhld_nb.training.checkpoints import save as save_checkpoint
from lmhld_nb.training.hardware import Execution, choose_device, environment, precision
from lmhld_nb.training.scoring import by_area, score, total_of
from lmhld_nb.training.specs import Recipe, RunSpec


def digest(weights: Path) -> str:
    """Return 16 hex digits of a weights file's content."""
    with weights.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def train(
    spec: RunSpec,
    patch_sets: Sequence[PatchSet],
    folder: Path,
    execution: Execution | None = None,
    earlier: Sequence[chains.EarlierStage] = (),
) -> dict[str, object]:
    """Train, validate, test and store one run; take up where an earlier attempt stopped.

    Writes spec.json, history.csv, environment.json, weights.safetensors, test_patches.csv (`scoring.tested`) and last
    of all metrics.json. The weights carry the bands and normalisation in their header.

    Args:
        spec: the run.
        patch_sets: the PatchSets that ``spec.data`` names, in that order.
        folder: of the run.
        execution: how it is computed here.
        earlier: the stages before it, where the run is a stage of a chain. It starts from the last one's weights,
            and is tested on the areas of all of them too.

    Returns:
        The content of metrics.json.

    Raises:
        UserError: the loss became NaN or infinite (last_good.safetensors then holds the weights of the epoch before),
            out of memory (names the micro-batch that would fit), or the disk is full.
        Interrupted: SIGTERM came; a checkpoint was written.
    """
    execution = execution or Execution()
    place = torch.device(choose_device(execution.device))
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "spec.json", json.loads(spec.canonical()))
    torch.manual_seed(chains.seed_of(spec))
    model = models.build(spec.model, len(spec.bands), spec.width, **spec.options)
    parent = ""
    if spec.stage is not None:
        chains.start_from_parent(model, spec.stage, earlier[-1].weights)
        parent = digest(earlier[-1].weights)
    model = model.to(place).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = engine.optimiser_of(model, spec.recipe)
    # Copies of the weights: of the epoch that validated best, and of the last one whose losses were finite.
    best, good = copy_of(model), copy_of(model)
    # A checkpoint that began with other weights of the parent is not this training's.
    identity = f"{spec.run_id}{parent and '-'}{parent}"
    state = restore(
        folder / "checkpoint.safetensors", model, optimiser, {"best": best, "good": good}, identity
    )
    # A run that is taken up on other hardware keeps the precision it began with.
    state.precision = state.precision or precision(spec.recipe.precision, place)
    recipe = spec.recipe.model_copy(update={"precision": state.precision})
    used = {**environment(place), "precision": recipe.precision}
    write_json(folder / "environment.json", used)
    training = chains.training_split(spec, patch_sets, earlier, place, execution.resident)
    validation = load_split(patch_sets, "val", place, recipe.normalise, execution.resident)
    step = engine.step_of(model, optimiser, recipe, execution)
    if spec.stage is not None and spec.stage.ewc:
        step = _pulled(step, chains.consolidation(model, spec.stage.ewc, earlier, recipe, place), optimiser)

    def save() -> None:
        kept = {"best": best, "good": good}
        save_checkpoint(folder / "checkpoint.safetensors", model, optimiser, kept, state, identity)

    def choose() -> None:
        if recipe.keep == "best":
            model.load_state_dict(best)

    shown = progress_bar(recipe.epochs, spec.label, "epoch", execution.progress, state.epoch)
    if recipe.micro_batch and recipe.micro_batch < recipe.batch_size:
        tqdm.write(
            f"{spec.label}: micro-batches of {recipe.micro_batch}; gradients of {recipe.batch_size} are summed",
            file=sys.stderr,
        )
    with stop_on_signals() as stopped, engine.settings(place, execution), engine.memory_told(folder), shown:
        while state.epoch < recipe.epochs:
            began = time.perf_counter()
            _train_epoch(model, step, optimiser, training, recipe, spec, state, stopped)
            if stopped():
                state.seconds += time.perf_counter() - began
                save()
                raise Interrupted(
                    f"{folder}: stopped in epoch {state.epoch + 1}; the same command takes it up again",
                    stopped(),
                )
            row = _validate(model, validation, recipe, state, state.loss_sum / len(training))
            if not np.isfinite([row["train_loss"], row["val_loss"]]).all():
                raise _diverged(spec, patch_sets, good, folder, row)
            if row["val_f1"] > state.best_f1:
                state.best_f1, state.best_epoch = row["val_f1"], state.epoch + 1
                _keep(model, best)
            _keep(model, good)
            state.seconds += time.perf_counter() - began
            row["seconds"] = round(state.seconds, 3)
            state.history.append(row)
            state.epoch, state.step, state.loss_sum = state.epoch + 1, 0, 0.0
            _write_history(folder / "history.csv", state.history)
            if state.epoch in spec.milestones:
                now = copy_of(model)
                choose()
                tests = load_split(patch_sets, "test", place, recipe.normalise, execution.resident)
                counts, _ = score(model, tests, recipe)
                state.milestones[str(state.epoch)] = {
                    "best_epoch": state.best_epoch if recipe.keep == "best" else state.epoch,
                    **total_of(counts).as_dict(),
                }
                model.load_state_dict(now)
            if state.epoch % execution.checkpoint_every == 0 and state.epoch < recipe.epochs:
                save()
            shown.set_postfix_str(f"loss {row['train_loss']:.3f}, val F1 {row['val_f1']:.3f}", refresh=False)
            shown.update()
        choose()
        tested = scoring.tested(model, spec, patch_sets, earlier, recipe, execution.resident)
        steps = len(training.order(recipe.batch_size, None)) * recipe.epochs
        more = {"parent_weights": parent} if parent else {}
        metrics = _finish(spec, patch_sets, model, folder, state, used, tested, {"steps": steps, **more})
        if stopped():  # it came too late for this run, but whoever asked wants no other to begin
            raise Interrupted(f"{folder}: finished when the signal came", stopped())
        return metrics


def _pulled(
    step: engine.Step, pull: Callable[[float], None], optimiser: torch.optim.Optimizer
) -> engine.Step:
    """Return a step that pulls the weights back after the optimiser has moved them."""

    def both(images: Tensor, masks: Tensor) -> Tensor:
        loss = step(images, masks)
        pull(optimiser.param_groups[0]["lr"])
        return loss

    return both


def _train_epoch(
    model: nn.Module,
    step: engine.Step,
    optimiser: torch.optim.Optimizer,
    training: Batches,
    recipe: Recipe,
    spec: RunSpec,
    state: State,
    stopped: Callable[[], int],
) -> None:
    """Do the rest of an epoch, from ``state.step`` on; nothing in it waits for the device."""
    model.train()
    if spec.stage is not None:
        chains.freeze_statistics(model, spec.stage)
    seed = spec.seed
    for group in optimiser.param_groups:
        group["lr"] = recipe.lr * recipe.gamma**state.epoch
    order = training.order(recipe.batch_size, (seed, state.epoch))[state.step :]
    loss_sum = torch.tensor(state.loss_sum, dtype=torch.float64, device=training.device)
    for images, masks in training.load(order):
        if recipe.augment:
            random = np.random.default_rng((seed, state.epoch, state.step))
            images, masks = augment(images, masks, random)
        # Dropout draws from torch's own generator: tie it to the step, so that a resumed run draws the same.
        torch.manual_seed(_step_seed(seed, state.epoch, state.step))
        loss_sum += step(images, masks).double() * len(images)
        state.step += 1
        if stopped():
            break
    state.loss_sum = float(loss_sum)


def _step_seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def _validate(
    model: nn.Module, validation: Batches, recipe: Recipe, state: State, train_loss: float
) -> dict[str, float]:
    """Return the epoch's row of history.csv."""
    counts, loss = score(model, validation, recipe)
    total = total_of(counts)
    return {
        "epoch": state.epoch + 1,
        "lr": recipe.lr * recipe.gamma**state.epoch,
        "train_loss": train_loss,
        "val_loss": loss,
        "val_precision": total.precision,
        "val_f1": total.f1 if np.isfinite(total.f1) else 0.0,
        "val_recall": total.recall,
    }


def copy_of(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of a model's weights and statistics."""
    return {name: value.clone() for name, value in model.state_dict().items()}


def _keep(model: nn.Module, copy: dict[str, Tensor]) -> None:
    for name, value in model.state_dict().items():
        copy[name].copy_(value)


def _diverged(
    spec: RunSpec,
    patch_sets: Sequence[PatchSet],
    good: dict[str, Tensor],
    folder: Path,
    row: dict[str, float],
) -> UserError:
    """Keep the weights of the last good epoch and say what happened."""
    networks.save(folder / "last_good.safetensors", good, spec, patch_sets)
    kind = "train_loss" if not np.isfinite(row["train_loss"]) else "val_loss"
    last = f"of epoch {row['epoch'] - 1}" if row["epoch"] > 1 else "it began with"
    return UserError(
        f"{folder}: {kind} {row[kind]} in epoch {row['epoch']}; lower `lr` in the profile "
        f"(last_good.safetensors holds the weights {last})"
    )


def _finish(
    spec: RunSpec,
    patch_sets: Sequence[PatchSet],
    model: nn.Module,
    folder: Path,
    state: State,
    used: dict[str, str],
    tested: tuple[pd.DataFrame, float],
    more: dict[str, object],
) -> dict[str, object]:
    tests, loss = tested
    counts = by_area(tests[tests["stage"] == spec.run_id])
    total = total_of(counts)
    scoring.write(folder, tests)
    told = {"test": total.as_dict(), "precision": used["precision"]}
    networks.save(folder / "weights.safetensors", model.state_dict(), spec, patch_sets, **told)
    patches = sum(len(part.where("train")) + len(part.where("val")) for part in patch_sets)
    metrics: dict[str, object] = {
        "run_id": spec.run_id,
        "test": total.as_dict(),
        "test_loss": loss,
        "areas": {area: confusion.as_dict() for area, confusion in counts.items()},
        "milestones": state.milestones,
        "val_f1": state.best_f1 if spec.recipe.keep == "best" else state.history[-1]["val_f1"],
        "best_epoch": state.best_epoch if spec.recipe.keep == "best" else spec.recipe.epochs,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "trained_parameters": models.parameter_count(model),
        **scoring.earlier_scores(tests, spec),
        **more,
        "weights": digest(folder / "weights.safetensors"),
        "training_patches": sum(len(part.where("train")) for part in patch_sets),
        "seconds": round(state.seconds, 3),
        "patches_per_second": round(spec.recipe.epochs * patches / max(state.seconds, 1e-9), 2),
        "device": used["device"],
        "precision": used["precision"],
    }
    write_json(folder / "metrics.json", metrics)
    for name in ("checkpoint.safetensors", "last_good.safetensors"):
        (folder / name).unlink(missing_ok=True)
    return metrics


def _write_history(path: Path, history: list[dict[str, float]]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(history[0]))
        writer.writeheader()
        writer.writerows(history)
