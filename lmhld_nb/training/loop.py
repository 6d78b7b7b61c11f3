"""Training: one RunSpec in, one finished run folder out; deterministic, and resumed after any interruption.

Every random number follows from the spec's seed and the position in the training, so a checkpoint is weights,
optimiser state and that position: a run that was stopped ends with the same weights as one that was not (on CPU, with
the same number of threads, bit for bit).
"""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from lmhld_nb import models
from lmhld_nb.config import Interrupted, UserError, atomic_path, progress_bar, write_json
from lmhld_nb.patches.batches import Batches, augment, load_split
from lmhld_nb.patches.patch_sets import PatchSet
from lmhld_nb.training import chains, engine, scoring, weights
from lmhld_nb.training.hardware import Execution, choose_device, device_name, environment, precision
from lmhld_nb.training.specs import Recipe, RunSpec

CHECKPOINT, LAST_GOOD = "checkpoint.safetensors", "last_good.safetensors"


@dataclass(frozen=True)
class _Job:
    """One training under way: what it is, and the network, optimiser, copies and state that it changes.

    ``best`` and ``good`` are copies of the weights: of the epoch that validated best, and of the last one whose losses
    were finite. ``recipe`` is the spec's, with the precision it is computed in. ``identity`` names its checkpoint.
    """

    spec: RunSpec
    recipe: Recipe
    patch_sets: Sequence[PatchSet]
    earlier: Sequence[chains.EarlierStage]
    folder: Path
    execution: Execution
    device: torch.device
    model: nn.Module
    optimiser: torch.optim.Optimizer
    best: dict[str, Tensor]
    good: dict[str, Tensor]
    state: weights.TrainingState
    identity: str

    def split(self, split: str) -> Batches:
        resident = self.execution.resident
        return load_split(self.patch_sets, split, self.device, self.recipe.normalise, resident)

    def save_checkpoint(self) -> None:
        copies = {"best": self.best, "good": self.good}
        path = self.folder / CHECKPOINT
        weights.save_checkpoint(path, self.model, self.optimiser, copies, self.state, self.identity)


def train(
    spec: RunSpec,
    patch_sets: Sequence[PatchSet],
    folder: Path,
    execution: Execution | None = None,
    earlier: Sequence[chains.EarlierStage] = (),
) -> dict[str, object]:
    """Train, validate, test and store one run; take up where an earlier attempt stopped.

    Writes spec.json, history.csv, environment.json, weights.safetensors, test_patches.csv (`scoring.test_counts`) and
    last of all metrics.json. The weights carry the bands and normalisation in their header.

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
    job = _prepare(spec, patch_sets, folder, execution or Execution(), earlier)
    recipe, state = job.recipe, job.state
    training = chains.training_split(spec, patch_sets, earlier, job.device, job.execution.resident)
    validation = job.split("val")
    step = _step_of(job)
    bar = progress_bar(recipe.epochs, spec.label, "epoch", job.execution.progress, state.epoch)
    if recipe.micro_batch and recipe.micro_batch < recipe.batch_size:
        tqdm.write(
            f"{spec.label}: micro-batches of {recipe.micro_batch}; gradients of {recipe.batch_size} are summed",
            file=sys.stderr,
        )
    with (
        engine.stop_on_signals() as stopped,
        engine.settings(job.device, job.execution),
        engine.memory_errors(folder),
        bar,
    ):
        while state.epoch < recipe.epochs:
            row = _run_epoch(job, step, training, validation, stopped)
            if state.epoch in spec.milestones:
                _score_milestone(job)
            if state.epoch % job.execution.checkpoint_every == 0 and state.epoch < recipe.epochs:
                job.save_checkpoint()
            bar.set_postfix_str(f"loss {row['train_loss']:.3f}, val F1 {row['val_f1']:.3f}", refresh=False)
            bar.update()
        metrics = _finish(job, steps=len(training.order(recipe.batch_size, None)) * recipe.epochs)
        if stopped():  # it came too late for this run, but whoever sent it wants no other to begin
            raise Interrupted(f"{folder}: finished when the signal came", stopped())
        return metrics


def _prepare(
    spec: RunSpec,
    patch_sets: Sequence[PatchSet],
    folder: Path,
    execution: Execution,
    earlier: Sequence[chains.EarlierStage],
) -> _Job:
    """Return a training at its beginning, or where its checkpoint says that it stopped."""
    device = torch.device(choose_device(execution.device))
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "spec.json", json.loads(spec.canonical()))
    torch.manual_seed(chains.seed_of(spec))
    model = models.build(spec.model, len(spec.bands), spec.width, **spec.options)
    identity = spec.run_id
    if spec.stage is not None:
        chains.start_from_parent(model, spec.stage, earlier[-1].weights)
        # A checkpoint that began with other weights of the parent is not this training's.
        identity += f"-{weights.digest(earlier[-1].weights)}"
    model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = engine.optimiser_of(model, spec.recipe)
    best, good = weights.copy_of(model), weights.copy_of(model)
    state = weights.restore_checkpoint(folder / CHECKPOINT, model, optimiser, {"best": best, "good": good}, identity)
    # A run that is taken up on other hardware keeps the precision it began with.
    state.precision = state.precision or precision(spec.recipe.precision, device)
    recipe = spec.recipe.model_copy(update={"precision": state.precision})
    write_json(folder / "environment.json", {**environment(device), "precision": recipe.precision})
    return _Job(
        spec,
        recipe,
        patch_sets,
        earlier,
        folder,
        execution,
        device,
        model,
        optimiser,
        best,
        good,
        state,
        identity,
    )


def _step_of(job: _Job) -> engine.Step:
    """Return the training's step, which elastic weight consolidation may end with a pull back."""
    step = engine.step_of(job.model, job.optimiser, job.recipe)
    if job.spec.stage is None or not job.spec.stage.ewc:
        return step
    pull = chains.consolidation(job.model, job.spec.stage.ewc, job.earlier, job.recipe, job.device)

    def step_and_pull(images: Tensor, masks: Tensor) -> Tensor:
        loss = step(images, masks)
        pull(job.optimiser.param_groups[0]["lr"])
        return loss

    return step_and_pull


def _run_epoch(
    job: _Job, step: engine.Step, training: Batches, validation: Batches, stopped: Callable[[], int]
) -> dict[str, float]:
    """Do the rest of an epoch, validate, and return its row of history.csv."""
    state, began = job.state, time.perf_counter()
    _run_steps(job, step, training, stopped)
    if stopped():
        state.seconds += time.perf_counter() - began
        job.save_checkpoint()
        raise Interrupted(
            f"{job.folder}: stopped in epoch {state.epoch + 1}; the same command takes it up again", stopped()
        )
    row = _validate(job, validation, state.loss_sum / len(training))
    if not np.isfinite([row["train_loss"], row["val_loss"]]).all():
        raise _diverged(job, row)
    if row["val_f1"] > state.best_f1:
        state.best_f1, state.best_epoch = row["val_f1"], state.epoch + 1
        _copy_weights(job.model, job.best)
    _copy_weights(job.model, job.good)
    state.seconds += time.perf_counter() - began
    row["seconds"] = round(state.seconds, 3)
    state.history.append(row)
    state.epoch, state.step, state.loss_sum = state.epoch + 1, 0, 0.0
    _write_history(job.folder / "history.csv", state.history)
    return row


def _run_steps(job: _Job, step: engine.Step, training: Batches, stopped: Callable[[], int]) -> None:
    """Do the steps of an epoch from ``state.step`` on; nothing in it waits for the device."""
    state, recipe, seed = job.state, job.recipe, job.spec.seed
    job.model.train()
    if job.spec.stage is not None:
        chains.freeze_statistics(job.model, job.spec.stage)
    for group in job.optimiser.param_groups:
        group["lr"] = recipe.lr * recipe.gamma**state.epoch
    order = training.order(recipe.batch_size, (seed, state.epoch))[state.step :]
    loss_sum = torch.tensor(state.loss_sum, dtype=torch.float64, device=training.device)
    for images, masks in training.load(order):
        if recipe.augment:
            random = np.random.default_rng((seed, state.epoch, state.step))
            images, masks = augment(images, masks, random)
        # Dropout draws from torch's own generator: tie it to the step, so that a resumed run draws the same.
        step_seed = np.random.SeedSequence((seed, state.epoch, state.step)).generate_state(1, np.uint64)[0]
        torch.manual_seed(int(step_seed >> 1))
        loss_sum += step(images, masks).double() * len(images)
        state.step += 1
        if stopped():
            break
    state.loss_sum = float(loss_sum)


def _validate(job: _Job, validation: Batches, train_loss: float) -> dict[str, float]:
    counts, loss = scoring.patch_counts(job.model, validation, job.recipe)
    total = scoring.total(counts)
    return {
        "epoch": job.state.epoch + 1,
        "lr": job.recipe.lr * job.recipe.gamma**job.state.epoch,
        "train_loss": train_loss,
        "val_loss": loss,
        "val_precision": total.precision,
        "val_f1": total.f1 if np.isfinite(total.f1) else 0.0,
        "val_recall": total.recall,
    }


def _copy_weights(model: nn.Module, copy: dict[str, Tensor]) -> None:
    for name, value in model.state_dict().items():
        copy[name].copy_(value)


def _diverged(job: _Job, row: dict[str, float]) -> UserError:
    """Keep the weights of the last good epoch and say what happened."""
    weights.save(job.folder / LAST_GOOD, job.good, job.spec, job.patch_sets)
    kind = "train_loss" if not np.isfinite(row["train_loss"]) else "val_loss"
    last = f"of epoch {row['epoch'] - 1}" if row["epoch"] > 1 else "it began with"
    return UserError(
        f"{job.folder}: {kind} {row[kind]} in epoch {row['epoch']}; lower `lr` in the profile "
        f"({LAST_GOOD} holds the weights {last})"
    )


def _take_tested_weights(job: _Job) -> None:
    if job.recipe.keep == "best":
        job.model.load_state_dict(job.best)


def _score_milestone(job: _Job) -> None:
    """Test the training as if it ended after this epoch, and go on as if nothing had happened."""
    state, now = job.state, weights.copy_of(job.model)
    _take_tested_weights(job)
    counts, _ = scoring.patch_counts(job.model, job.split("test"), job.recipe)
    state.milestones[str(state.epoch)] = {
        "best_epoch": state.best_epoch if job.recipe.keep == "best" else state.epoch,
        **scoring.total(counts).as_dict(),
    }
    job.model.load_state_dict(now)


def _finish(job: _Job, steps: int) -> dict[str, object]:
    """Test the training and write what is left of its folder; return the content of metrics.json."""
    spec, state, folder, keep_best = job.spec, job.state, job.folder, job.recipe.keep == "best"
    _take_tested_weights(job)
    tests, loss = scoring.test_counts(job.model, spec, job.patch_sets, job.earlier, job.recipe, job.execution.resident)
    scoring.write(folder / scoring.PATCHES_FILE, tests)
    counts = tests[tests["stage"] == spec.run_id]
    test = scoring.total(counts).as_dict()
    weights.save(
        folder / "weights.safetensors", job.model.state_dict(), spec, job.patch_sets,
        test=test, precision=job.recipe.precision,
    )  # fmt: skip
    training_patches = sum(len(patches.where("train")) for patches in job.patch_sets)
    patches_per_epoch = training_patches + sum(len(patches.where("val")) for patches in job.patch_sets)
    metrics: dict[str, object] = {
        "run_id": spec.run_id,
        "test": test,
        "test_loss": loss,
        "areas": {area: confusion.as_dict() for area, confusion in scoring.by_area(counts).items()},
        "milestones": state.milestones,
        "val_f1": state.best_f1 if keep_best else state.history[-1]["val_f1"],
        "best_epoch": state.best_epoch if keep_best else job.recipe.epochs,
        "parameters": sum(parameter.numel() for parameter in job.model.parameters()),
        "trained_parameters": models.parameter_count(job.model),
        **scoring.earlier_scores(tests, spec),
        "steps": steps,
        **({"parent_weights": job.identity.partition("-")[2]} if spec.stage is not None else {}),
        "weights": weights.digest(folder / "weights.safetensors"),
        "training_patches": training_patches,
        "seconds": round(state.seconds, 3),
        "patches_per_second": round(job.recipe.epochs * patches_per_epoch / max(state.seconds, 1e-9), 2),
        "device": device_name(job.device),
        "precision": job.recipe.precision,
    }
    write_json(folder / "metrics.json", metrics)
    for name in (CHECKPOINT, LAST_GOOD):
        (folder / name).unlink(missing_ok=True)
    return metrics


def _write_history(path: Path, history: list[dict[str, float]]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(history[0]))
        writer.writeheader()
        writer.writerows(history)
