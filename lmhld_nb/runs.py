"""Runs: a store where each training lies under the hash of its spec, so that none is made twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import traceback
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pandas as pd
import safetensors
import safetensors.torch
import torch
from filelock import FileLock
from torch import nn
from tqdm import tqdm

from lmhld_nb import models, patches, sources
from lmhld_nb.config import Interrupted, UserError, cannot_write, runs_dir
from lmhld_nb.hardware import Execution, choose_device, cores
from lmhld_nb.patches import PatchSet
from lmhld_nb.processes import side_by_side
from lmhld_nb.progress import bar as progress_bar
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
        (folder / "history.csv").stat()
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


def make(spec: RunSpec, execution: Execution | None = None) -> Run:
    """Return the run of ``spec``, training it where it is not finished.

    A lock file makes sure that of several processes one trains while the others wait and then find it done.

    Raises:
        UserError: the store cannot be written, or as `training.train`.
        Interrupted: as `training.train`.
    """
    execution = execution or Execution()
    with _locked(spec):
        if done := find(spec):
            return done
        if choose_device(execution.device) == "cpu":
            torch.set_num_threads(execution.threads)
        train(spec, patch_sets(spec, execution.progress), runs_dir() / spec.run_id, execution)
    finished = find(spec)
    if finished is None:
        raise UserError(f"{runs_dir() / spec.run_id}: was changed while it was made; run the command again")
    return finished


@contextmanager
def _locked(spec: RunSpec) -> Iterator[None]:
    try:
        runs_dir().mkdir(parents=True, exist_ok=True)
        held = FileLock(runs_dir() / f".{spec.run_id}.lock").acquire()
    except OSError as error:
        raise cannot_write(runs_dir(), error) from error
    with held:
        yield


def ensure(
    specs: Iterable[RunSpec],
    workers: int | None = None,
    execution: Execution | None = None,
) -> list[Run]:
    """Make what is missing of ``specs`` and return all runs in their order.

    Args:
        specs: runs wanted; equal ones are made once.
        workers: trainings side by side; None for one a processor core, or one on a GPU (several can share one that
            small patches do not fill).
        execution: how each is computed.

    Raises:
        UserError: some runs failed; the others are finished first and the message names each failure.
    """
    execution = execution or Execution()
    wanted = list(specs)
    missing = {spec.run_id: spec for spec in wanted if find(spec) is None}
    if workers is None:
        on_cpu = choose_device(execution.device) == "cpu"
        workers = max(1, cores() // execution.threads) if on_cpu else 1
    failures: dict[str, Exception] = {}
    for spec in missing.values():
        # Patches are cut before any training: workers would only wait for each other.
        with _kept(failures, spec):
            patch_sets(spec, execution.progress)
    ready = [spec for run_id, spec in missing.items() if run_id not in failures]
    if workers == 1 or len(ready) <= 1:
        for spec in ready:
            with _kept(failures, spec):
                make(spec, execution)
    else:
        failures |= _make_side_by_side(ready, workers, execution)
    if failures:
        told = [
            f"{run_id} ({missing[run_id].model} {missing[run_id].data[0].area}): "
            f"{error if isinstance(error, UserError) else repr(error)}"
            for run_id, error in failures.items()
        ]
        raise UserError(f"{len(told)} of {len(missing)} runs failed: " + "; ".join(told)) from next(
            iter(failures.values())
        )
    return [run for spec in wanted if (run := find(spec))]


@contextmanager
def _kept(failures: dict[str, Exception], spec: RunSpec) -> Iterator[None]:
    try:
        yield
    except Interrupted:
        raise
    except Exception as error:  # whatever it is, it must not cost the other runs; it is told at the end
        failures[spec.run_id] = error
        # Its traceback would keep the network and its patches in memory for the rest of the runs.
        link: BaseException | None = error
        while link is not None:
            traceback.clear_frames(link.__traceback__)
            link = link.__cause__ or link.__context__


def _make_side_by_side(specs: Sequence[RunSpec], workers: int, execution: Execution) -> dict[str, Exception]:
    """Make runs in processes of their own; return what those that failed say."""
    failures: dict[str, Exception] = {}
    # Long runs first, so that no worker is left alone with one at the end.
    ordered = sorted(specs, key=lambda spec: -sum(part.size**2 for part in spec.data) * spec.recipe.epochs)
    quiet = execution.model_copy(update={"progress": False})
    with progress_bar(len(ordered), "train", "run", execution.progress) as bar:
        for spec, future in side_by_side(partial(_work, execution=quiet), ordered, workers):
            bar.set_postfix_str(f"{spec.model} {spec.data[0].area}", refresh=False)
            bar.update()
            error = future.exception()
            if isinstance(error, BrokenProcessPool):
                raise UserError(
                    f"run {spec.run_id}: its process was killed (out of memory?); use fewer `--workers` and "
                    "repeat the command, finished runs are kept"
                ) from error
            if isinstance(error, Exception):
                failures[spec.run_id] = error
    return failures


def _work(spec: RunSpec, execution: Execution) -> None:
    """Make a run in a worker. Asked to stop, it leaves at once: the pool may have handed it the next run already."""
    try:
        make(spec, execution)
    except Interrupted:
        os._exit(128 + signal.SIGTERM)


def load_model(weights: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Load a stored network with the card that describes it (model, bands, normalisation, test scores).

    Raises:
        UserError: the file is missing, damaged, or has no card.
    """
    try:
        with safetensors.safe_open(weights, framework="pt") as file:
            card = json.loads((file.metadata() or {})["card"])
        model = models.build(card["model"], len(card["bands"]), card["width"], **card.get("options", {}))
        model.load_state_dict(safetensors.torch.load_file(weights))
    except FileNotFoundError:
        raise UserError(f"{weights}: no such file; `lmhld plan PROFILE` lists the finished runs") from None
    except (OSError, safetensors.SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
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
    try:
        shutil.move(folder, target)
    except FileNotFoundError:  # another process was faster
        return
    tqdm.write(f"{folder}: not usable ({' '.join(str(reason).split())[:120]}); set aside as {target}")
