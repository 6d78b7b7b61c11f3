"""Runs: a store where each training lies under the hash of its spec, so that none is made twice."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import safetensors
import safetensors.torch
import torch
from filelock import FileLock
from torch import nn
from tqdm.auto import tqdm

from lmhld_nb import models, patches, sources
from lmhld_nb.config import UserError, runs_dir
from lmhld_nb.hardware import choose_device
from lmhld_nb.patches import PatchSet
from lmhld_nb.specs import RunSpec
from lmhld_nb.training import train


@dataclass(frozen=True)
class Run:
    """A finished training."""

    spec: RunSpec
    folder: Path
    metrics: dict[str, Any]

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row an epoch: lr, losses, validation scores, seconds since the start."""
        return pd.read_csv(self.folder / "history.csv")

    def model(self) -> nn.Module:
        """Return the tested network, in evaluation mode, on the CPU."""
        return load_model(self.folder / "weights.safetensors")[0]


def find(spec: RunSpec) -> Run | None:
    """Return the finished run of ``spec``, or None.

    A run is finished if and only if its metrics.json parses. A folder that holds another spec or damaged files is
    set aside (kept under ``runs/set-aside/``) with a line that says so, and counts as missing.
    """
    folder = runs_dir() / spec.run_id
    if not (folder / "metrics.json").is_file():
        return None
    try:
        stored = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        with safetensors.safe_open(folder / "weights.safetensors", framework="pt") as weights:
            weights.keys()
        if stored != json.loads(spec.canonical()) or metrics["run_id"] != spec.run_id:
            raise ValueError("it holds another spec")
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        _set_aside(folder, error)
        return None
    return Run(spec, folder, metrics)


def status(spec: RunSpec) -> str:
    """Return ``done``, ``begun`` (a checkpoint waits) or ``missing``."""
    if find(spec):
        return "done"
    return "begun" if (runs_dir() / spec.run_id / "checkpoint.safetensors").is_file() else "missing"


def patch_sets(spec: RunSpec, progress: bool = True) -> list[PatchSet]:
    """Return the PatchSets a run is trained on, cutting those that are not there yet.

    Raises:
        UserError: the data set is not prepared, or is not the one the spec names.
    """
    parts = []
    for part in spec.data:
        dataset = sources.load(part.dataset)
        if dataset.fingerprint != part.fingerprint:
            raise UserError(
                f"data set '{part.dataset}': its content is {dataset.fingerprint}, the run was planned on "
                f"{part.fingerprint}; plan again with `lmhld plan`"
            )
        parts.append(patches.cut(part, dataset.scenes_of(part.area), progress))
    return parts


def make(
    spec: RunSpec, device: str = "auto", progress: bool = True, threads: int = 1, checkpoint_every: int = 10
) -> Run:
    """Return the run of ``spec``, training it where it is not finished.

    A lock file makes sure that of several processes one trains while the others wait and then find it done.

    Raises:
        UserError, training.Interrupted: as `training.train`.
    """
    runs_dir().mkdir(parents=True, exist_ok=True)
    with FileLock(runs_dir() / f".{spec.run_id}.lock"):
        if done := find(spec):
            return done
        if choose_device(device) == "cpu":
            torch.set_num_threads(threads)
        train(spec, patch_sets(spec, progress), runs_dir() / spec.run_id, device, progress, checkpoint_every)
    finished = find(spec)
    if finished is None:
        raise UserError(f"{runs_dir() / spec.run_id}: was changed while it was made; run the command again")
    return finished


def ensure(
    specs: Iterable[RunSpec],
    workers: int | None = None,
    device: str = "auto",
    progress: bool = True,
    threads: int = 1,
    checkpoint_every: int = 10,
) -> list[Run]:
    """Make what is missing of ``specs`` and return all runs in their order.

    Args:
        specs: runs wanted; equal ones are made once.
        workers: trainings side by side; None for one a processor core, or one on a GPU.
        device, progress, threads, checkpoint_every: as `make`.

    Raises:
        UserError: some runs failed; the others are finished first and the message names each failure.
    """
    wanted = list(specs)
    missing = {spec.run_id: spec for spec in wanted if find(spec) is None}
    if workers is None:
        workers = 1 if choose_device(device) != "cpu" else max(1, (os.cpu_count() or 1) // threads)
    if missing and (workers == 1 or len(missing) == 1):
        for spec in missing.values():
            make(spec, device, progress, threads, checkpoint_every)
    elif missing:
        # Patches are cut before the workers start: they would only wait for each other.
        for spec in missing.values():
            patch_sets(spec, progress)
        _make_side_by_side(
            list(missing.values()), workers, (device, False, threads, checkpoint_every), progress
        )
    return [run for spec in wanted if (run := find(spec))]


def _make_side_by_side(
    specs: Sequence[RunSpec], workers: int, settings: tuple[Any, ...], progress: bool
) -> None:
    failures = []
    # Long runs first, so that no worker is left alone with one at the end.
    ordered = sorted(specs, key=lambda spec: -sum(part.size**2 for part in spec.data) * spec.recipe.epochs)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_ignore_interrupt) as pool:
        futures = {pool.submit(make, spec, *settings): spec for spec in ordered}
        bar = tqdm(as_completed(futures), total=len(futures), desc="train", unit="run", disable=not progress)
        try:
            for future in bar:
                spec = futures[future]
                error = future.exception()
                if isinstance(error, BrokenProcessPool):
                    raise UserError(
                        f"run {spec.run_id}: its process was killed (out of memory?); use fewer `--workers` and "
                        "repeat the command, finished runs are kept"
                    ) from error
                if error is not None:
                    failures.append(f"{spec.run_id} ({spec.model} {spec.data[0].area}): {error}")
        except BaseException:
            # Children get SIGTERM: each writes its checkpoint and goes.
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            raise
    if failures:
        raise UserError(f"{len(failures)} of {len(specs)} runs failed: " + "; ".join(failures))


def _ignore_interrupt() -> None:
    """Leave Ctrl-C to the parent, which stops its workers in order."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def load_model(weights: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Load a stored network with the card that describes it (model, bands, normalisation, test scores).

    Raises:
        UserError: the file is missing, damaged, or has no card.
    """
    try:
        with safetensors.safe_open(weights, framework="pt") as file:
            card = json.loads((file.metadata() or {})["card"])
        model = models.build(card["model"], len(card["bands"]), card["width"])
        model.load_state_dict(safetensors.torch.load_file(weights))
    except FileNotFoundError:
        raise UserError(f"{weights}: no such file; `lmhld plan PROFILE` lists the finished runs") from None
    except (OSError, safetensors.SafetensorError, ValueError, KeyError, RuntimeError) as error:
        detail = " ".join(str(error).split())[:120]
        raise UserError(
            f"{weights}: not a network of this book ({detail}); give a run's weights.safetensors"
        ) from error
    return model.eval(), card


def _set_aside(folder: Path, reason: Exception) -> None:
    aside = folder.parent / "set-aside"
    aside.mkdir(exist_ok=True)
    target = next(
        aside / f"{folder.name}.{n}" for n in range(10_000) if not (aside / f"{folder.name}.{n}").exists()
    )
    shutil.move(folder, target)
    tqdm.write(f"{folder}: not usable ({' '.join(str(reason).split())[:120]}); set aside as {target}")
