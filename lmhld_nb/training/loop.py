"""Training: from a RunSpec to a finished run folder; deterministic, and resumed after any interruption.

Every random number follows from the spec's seed and the position in the training, so a checkpoint is weights,
optimiser state and that position: an interrupted run ends with the same weights as an uninterrupted one (on CPU, with
the same number of threads, bit for bit).
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from lmhld_nb import models, seals
from lmhld_nb.config import Interrupted, UserError, progress_bar, write_json
from lmhld_nb.patches.batches import Batches, augment, load_split
from lmhld_nb.patches.patch_sets import PatchSet
from lmhld_nb.training import chains, engine, scoring, weights
from lmhld_nb.training.hardware import Execution, choose_device, device_name, environment, portability, precision
from lmhld_nb.training.specs import RunSpec

CHECKPOINT = "checkpoint.safetensors"
Stages = Sequence[chains.EarlierStage]


def train(
    spec: RunSpec, patch_sets: Sequence[PatchSet], folder: Path, execution: Execution, earlier: Stages = ()
) -> dict[str, object]:
    """Train, validate, test and store one run, metrics.json last; continue where an earlier attempt stopped.

    A stage of a chain starts from the weights of the last of the ``earlier`` stages and is tested on the areas of all.
    UserError if the loss becomes NaN or infinite, or memory or disk are full; Interrupted after a signal.
    """
    run = _Training(spec, patch_sets, folder, execution, earlier)
    recipe, state = run.recipe, run.state
    training = chains.training_split(spec, patch_sets, earlier, run.device)
    validation = load_split(patch_sets, "val", run.device, recipe.normalise)
    pull = None
    if spec.stage is not None and spec.stage.ewc:
        pull = chains.consolidation(run.model, spec.stage.ewc, earlier, recipe, run.device)
    graphs = run.execution.cuda_graphs and run.device.type == "cuda"
    step = engine.step_of(run.model, run.optimiser, recipe, pull, graphs)
    bar = progress_bar(recipe.epochs, spec.label, "epoch", run.execution.progress, state.epoch)
    memory = engine.memory_errors(folder, recipe.micro_batch or recipe.batch_size)
    settings = engine.settings(run.device, execution.runs_per_gpu == 1)
    with engine.stop_on_signals() as stopped, settings, memory, bar:
        while state.epoch < recipe.epochs:
            row = run.epoch(step, training, validation, stopped)
            if state.epoch % run.execution.checkpoint_every == 0 and state.epoch < recipe.epochs:
                run.save_checkpoint()
            bar.set_postfix_str(f"loss {row['train_loss']:.3f}, val F1 {row['val_f1']:.3f}", refresh=False)
            bar.update()
        metrics = run.finish(steps=len(training.order(recipe.batch_size, None)) * recipe.epochs)
        if stopped():  # too late for this run, but the sender wants no other run to begin
            raise Interrupted(f"{folder}: finished when the signal came", stopped())
        return metrics


class _Training:
    """One training in progress, from its checkpoint on: network, optimiser, a copy of its best weights, and state."""

    def __init__(
        self, spec: RunSpec, patch_sets: Sequence[PatchSet], folder: Path, execution: Execution, earlier: Stages
    ) -> None:
        self.spec, self.patch_sets, self.folder, self.earlier = spec, patch_sets, folder, earlier
        self.execution, self.device = execution, torch.device(choose_device(execution.device))
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "spec.json", json.loads(spec.canonical()))
        torch.manual_seed(chains.seed_of(spec))
        model = models.build(spec.model, len(spec.bands), spec.width)
        self.identity, self.parent_weights, before = spec.run_id, {}, "yes"
        if spec.stage is not None:
            chains.start_from_parent(model, spec.stage, earlier[-1].weights)
            # A checkpoint that started from other parent weights does not belong to this training.
            self.parent_weights = {"parent_weights": weights.digest(earlier[-1].weights)}
            self.identity += f"-{self.parent_weights['parent_weights']}"
            before = json.loads(earlier[-1].weights.with_name("metrics.json").read_text(encoding="utf-8"))["portable"]
        self.model = model.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = engine.optimiser_of(self.model, spec.recipe)
        self.copies = {"best": weights.copy_of(self.model)}  # of the epoch with the best validation score
        self.checkpoint, restore = folder / CHECKPOINT, weights.restore_checkpoint
        self.state = restore(self.checkpoint, self.model, self.optimiser, self.copies, self.identity)
        # A run continued on other hardware keeps the precision that it started with.
        self.state.precision = self.state.precision or precision(spec.recipe.precision, self.device)
        self.recipe = spec.recipe.model_copy(update={"precision": self.state.precision})
        # It is portable only if all of it is, including parts computed elsewhere and the stage that it starts from.
        states = (before, self.state.portable, portability(self.device))
        self.state.portable = next((state for state in states if state != "yes"), "yes")
        carried = {"precision": self.state.precision, "portable": self.state.portable}
        write_json(folder / "environment.json", {**environment(self.device), **carried})

    def save_checkpoint(self) -> None:
        weights.save_checkpoint(self.checkpoint, self.model, self.optimiser, self.copies, self.state, self.identity)

    def epoch(
        self, step: engine.Step, training: Batches, validation: Batches, stopped: Callable[[], int]
    ) -> dict[str, float]:
        """Run the rest of an epoch, validate, and return its row of history.csv."""
        state, began = self.state, time.perf_counter()
        self.steps(step, training, stopped)
        if stopped():
            state.seconds += time.perf_counter() - began
            self.save_checkpoint()
            message = f"stopped in epoch {state.epoch + 1}; the same command continues it"
            raise Interrupted(f"{self.folder}: {message}", stopped())
        row = self.validate(validation, state.loss_sum / len(training))
        if row["val_f1"] > state.best_f1:
            state.best_f1, state.best_epoch = row["val_f1"], state.epoch + 1
            self.copies["best"] = weights.copy_of(self.model)
        state.seconds += time.perf_counter() - began
        row["seconds"] = round(state.seconds, 3)
        state.history.append(row)
        state.epoch, state.step, state.loss_sum = state.epoch + 1, 0, 0.0
        scoring.write(self.folder / "history.csv", pd.DataFrame(state.history))
        return row

    def steps(self, step: engine.Step, training: Batches, stopped: Callable[[], int]) -> None:
        """Run the steps of an epoch from ``state.step`` on without waiting for the device."""
        state, recipe, seed = self.state, self.recipe, self.spec.seed
        self.model.train()
        if self.spec.stage is not None:
            chains.freeze_statistics(self.model, self.spec.stage.treatments)
        order = training.order(recipe.batch_size, (seed, state.epoch))
        loss_sum = torch.tensor(state.loss_sum, dtype=torch.float64, device=training.device)
        for images, masks in training.load(order[state.step :]):
            for group in self.optimiser.param_groups:
                group["lr"] = engine.learning_rate(recipe, state.epoch, state.step / len(order))
            if recipe.augment:
                images, masks = augment(images, masks, np.random.default_rng((seed, state.epoch, state.step)))
            # Dropout draws from torch's own generator: seed it by the step, so that a resumed run draws the same.
            step_seed = np.random.SeedSequence((seed, state.epoch, state.step)).generate_state(1, np.uint64)[0]
            torch.manual_seed(int(step_seed >> 1))
            loss_sum += step(images, masks).double() * len(images)
            state.step += 1
            if stopped():
                break
        state.loss_sum = float(loss_sum)

    def validate(self, validation: Batches, train_loss: float) -> dict[str, float]:
        """Return the epoch's row; UserError if a loss is not finite."""
        counts, val_loss = scoring.patch_counts(self.model, validation, self.recipe)
        total, epoch = scoring.total(counts), self.state.epoch + 1
        for name, loss in (("train_loss", train_loss), ("val_loss", val_loss)):
            if not np.isfinite(loss):
                raise UserError(f"{self.folder}: {name} {loss} in epoch {epoch}; lower `lr` in the profile")
        return {
            "epoch": epoch,
            "lr": engine.learning_rate(self.recipe, self.state.epoch),
            "train_loss": train_loss,
            "val_loss": val_loss,
            "val_precision": total.precision,
            "val_f1": total.f1 if np.isfinite(total.f1) else 0.0,
            "val_recall": total.recall,
        }

    def finish(self, steps: int) -> dict[str, object]:
        """Test the network and write the remaining files of the folder; return the content of metrics.json."""
        spec, state, folder = self.spec, self.state, self.folder
        tested_epoch = state.epoch
        if self.recipe.keep == "best":
            tested_epoch = state.best_epoch
            self.model.load_state_dict(self.copies["best"])
        tests, loss = scoring.test_counts(self.model, spec, self.patch_sets, self.earlier, self.recipe)
        scoring.write(folder / scoring.PATCHES_FILE, tests)
        validation = scoring.validation_counts(self.model, self.patch_sets, self.earlier, self.recipe)
        counts = tests[tests["stage"] == spec.run_id]
        test, path = scoring.total(counts).as_dict(), folder / "weights.safetensors"
        tensors = self.model.state_dict()
        weights.save(path, tensors, spec, self.patch_sets, test=test, precision=state.precision)
        train, val = (sum(len(patches.where(split)) for patches in self.patch_sets) for split in ("train", "val"))
        metrics: dict[str, object] = {
            "run_id": spec.run_id,
            "test": test,
            "test_loss": loss,
            "areas": {area: confusion.as_dict() for area, confusion in scoring.by_area(counts).items()},
            "validation": validation.as_dict(),
            "val_f1": state.history[tested_epoch - 1]["val_f1"],
            "best_epoch": tested_epoch,
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "trained_parameters": models.parameter_count(self.model),
            **scoring.earlier_scores(tests, spec),
            "steps": steps,
            **self.parent_weights,
            "weights": weights.digest(path),
            "training_patches": train,
            "seconds": round(state.seconds, 3),
            "patches_per_second": round(self.recipe.epochs * (train + val) / max(state.seconds, 1e-9), 2),
            "device": device_name(self.device),
            "precision": state.precision,
            "portable": state.portable,
        }
        names = ("spec.json", "environment.json", "history.csv", scoring.PATCHES_FILE)  # weights have a separate key
        write_json(folder / "metrics.json", seals.sealed(metrics, folder, names))
        self.checkpoint.unlink(missing_ok=True)
        return metrics
