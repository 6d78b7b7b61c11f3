"""The runner: makes the missing runs of the store on this machine, several at once, each of them once."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial

import torch
from filelock import FileLock, Timeout
from tqdm import tqdm

from lmhld_nb import patches, runs
from lmhld_nb.runs import gpus
from lmhld_nb.training import scoring
from lmhld_nb.config import Interrupted, UserError, cannot_write, progress_bar, runs_dir
from lmhld_nb.training.hardware import Execution, choose_device
from lmhld_nb.patches.patch_sets import PatchSpec
from lmhld_nb.processes import cores, side_by_side
from lmhld_nb.runs.store import Run
from lmhld_nb.training.specs import RunSpec
from lmhld_nb.training.loop import train


class Busy(Exception):
    """Another process is making the run."""


def make(
    spec: RunSpec, execution: Execution | None = None, with_whole_area: bool = False, wait: bool = True
) -> Run:
    """Return the run of ``spec``, training it where it is not finished.

    A lock file makes sure that of several processes one trains while the others wait and then find it done. On a
    machine with GPUs another one makes sure that no more runs share a GPU than ``execution`` allows.

    Args:
        spec: the run.
        execution: how it is computed.
        with_whole_area: score it on its whole area too.
        wait: for another process that is making it.

    Raises:
        UserError: the store cannot be written, or as `training.train`; the run's folder then says why it failed.
        Interrupted: as `training.train`.
        Busy: another process is making it, and ``wait`` is False.
    """
    execution = execution or Execution()
    folder = runs_dir() / spec.run_id
    if spec.stage is not None and runs.status(spec, with_whole_area) != "done":
        for stage in spec.chain[:-1]:
            _ready(stage, execution, wait)
    with _locked(spec, wait):
        if runs.status(spec, with_whole_area) != "done":
            if reason := runs.damage(spec):
                runs.set_aside(spec, reason)
            try:
                with gpus.slot(execution) as chosen:
                    if choose_device(chosen.device) == "cpu":
                        torch.set_num_threads(chosen.threads)
                    if runs.find(spec) is None:
                        earlier = [runs.earlier(stage) for stage in spec.chain[:-1]]
                        train(spec, runs.patch_sets(spec, chosen.progress), folder, chosen, earlier)
                    if with_whole_area and (run := runs.find(spec)):
                        _score_whole_area(run, chosen)
            except Interrupted:
                raise
            except Exception as error:
                runs.tell_failure(spec, error)
                raise
        (folder / runs.FAILURE).unlink(missing_ok=True)
    finished = runs.find(spec)
    if finished is None:
        raise UserError(f"{folder}: was changed while it was made; run the command again")
    return finished


def _ready(stage: RunSpec, execution: Execution, wait: bool) -> None:
    """Make an earlier stage of a chain where it is missing, and again where its weights are damaged."""
    with _locked(stage, wait):
        run = runs.find(stage)
        if run is not None and (reason := runs.weights_damage(run)):
            runs.set_aside(stage, reason)
    make(stage, execution, wait=wait)


def _score_whole_area(run: Run, execution: Execution) -> None:
    place = torch.device(choose_device(execution.device))
    scoring.write_whole_area(run.folder, run.spec.run_id, runs.scored_windows(run, place, execution.progress))


@contextmanager
def _locked(spec: RunSpec, wait: bool = True) -> Iterator[None]:
    try:
        runs_dir().mkdir(parents=True, exist_ok=True)
        held = FileLock(runs_dir() / f".{spec.run_id}.lock").acquire(timeout=-1 if wait else 0)
    except Timeout:
        raise Busy(spec.run_id) from None
    except OSError as error:
        raise cannot_write(runs_dir(), error) from error
    with held:
        yield


def ensure(
    specs: Iterable[RunSpec],
    workers: int | None = None,
    execution: Execution | None = None,
    with_whole_area: Collection[str] = (),
    retries: int = 0,
) -> list[Run]:
    """Make what is missing of ``specs`` and return all runs in their order.

    Args:
        specs: runs wanted; equal ones are made once.
        workers: trainings side by side; None for one a processor core, or on GPUs for as many as they have room for.
        execution: how each is computed.
        with_whole_area: ids of the runs that are scored on their whole area too.
        retries: how often those that fail are tried again.

    Raises:
        UserError: some runs failed; the others are finished first and the message names each failure.
    """
    execution = execution or Execution()
    wanted = list(specs)
    missing = {
        spec.run_id: spec
        for asked in wanted
        if runs.status(asked, asked.run_id in with_whole_area) != "done"
        for spec in asked.chain
        if runs.status(spec, spec.run_id in with_whole_area) != "done"
    }
    if workers is None:
        on_cpu = choose_device(execution.device) == "cpu"
        workers = max(1, cores() // execution.threads) if on_cpu else gpus.room(execution)
    todo, failures = list(missing.values()), {}
    for _ in range(retries + 1):
        failures = _attempt(todo, workers, execution, with_whole_area)
        todo = [missing[run_id] for run_id in failures]
        if not failures:
            break
    if failures:
        raise UserError(_summary(failures, missing)) from next(iter(failures.values()))
    return [run for spec in wanted if (run := runs.find(spec))]


def _summary(failures: dict[str, Exception], specs: dict[str, RunSpec]) -> str:
    """Return one line on all failures; runs that failed of the same are told together."""
    same: dict[str, list[str]] = {}
    for run_id, error in failures.items():
        told = str(error) if isinstance(error, UserError) else repr(error)
        same.setdefault(told, []).append(f"{run_id} ({specs[run_id].label})")
    lines = [f"{', '.join(names)}: {told}" for told, names in same.items()]
    return f"{len(failures)} of {len(specs)} runs failed: " + "; ".join(lines)


def _attempt(
    specs: Sequence[RunSpec], workers: int, execution: Execution, with_whole_area: Collection[str]
) -> dict[str, Exception]:
    """Make runs; return what those that failed say."""
    failures: dict[str, Exception] = {}
    ready = []
    # Patches are cut before any training: workers would only wait for each other. Each once, however many want them.
    refused: dict[PatchSpec, Exception] = {}
    for part in dict.fromkeys(part for spec in specs for part in spec.data):
        try:
            runs.patch_set(part, execution.progress)
        except Exception as error:  # whatever it is, it must not cost the other runs; it is told at the end
            refused[part] = error
    for spec in specs:
        why = next((refused[part] for part in spec.data if part in refused), None)
        if why is None:
            ready.append(spec)
            continue
        if isinstance(why, UserError) and len(spec.data) > 1:
            why = UserError(f"{why}; or leave the area out (key `experiment_3.areas`)")
        failures[spec.run_id] = why
        runs.tell_failure(spec, why)
    # What most work waits for comes first, and so a stage before those that start from it; then long runs, so that
    # no worker is left alone with one at the end.
    urgency = _urgency(ready)
    ready.sort(key=lambda spec: urgency[spec.run_id], reverse=True)
    # What another runner has begun is left to it as long as there is something else to do.
    for wait in (False, True):
        if workers == 1 or len(ready) <= 1:
            busy = []
            for spec in ready:
                with _kept(failures, spec):
                    _refuse_after_failure(spec, failures)
                    try:
                        make(spec, execution, spec.run_id in with_whole_area, wait)
                    except Busy:
                        busy.append(spec)
        else:
            busy = _make_side_by_side(ready, workers, execution, with_whole_area, wait, failures)
        ready = busy
    return failures


def _urgency(specs: Sequence[RunSpec]) -> dict[str, int]:
    """Return the megapixels of each run and of the longest chain of those that start from it."""
    found = {spec.run_id: 0 for spec in specs}
    for spec in sorted(specs, key=lambda spec: -len(spec.chain)):
        found[spec.run_id] += _cost(spec)
        if spec.stage is not None and (parent := spec.stage.parent.run_id) in found:
            found[parent] = max(found[parent], found[spec.run_id])
    return found


def _refuse_after_failure(spec: RunSpec, failures: Mapping[str, Exception]) -> None:
    """Raise where the stage that a run starts from has failed: it would only fail again."""
    if spec.stage is not None and spec.stage.parent.run_id in failures:
        error = UserError("the stage before it failed")
        runs.tell_failure(spec, error)
        raise error


def _cost(spec: RunSpec) -> int:
    """Return the megapixels a training passes over, at least 1: what order and time left go by."""
    pixels = sum(len(patches.load(part).index) * part.size**2 for part in spec.data)
    return max(1, round(pixels * spec.recipe.epochs / 1e6))


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


def _make_side_by_side(
    specs: Sequence[RunSpec],
    workers: int,
    execution: Execution,
    with_whole_area: Collection[str],
    wait: bool,
    failures: dict[str, Exception],
) -> list[RunSpec]:
    """Make runs in processes of their own, add failures, and return the runs that others are making."""
    busy = []
    work = partial(
        _work,
        execution=execution.model_copy(update={"progress": False}),
        with_whole_area=frozenset(with_whole_area),
        wait=wait,
    )
    left = list(specs)
    costs = {spec.run_id: _cost(spec) for spec in specs}
    with progress_bar(sum(costs.values()), "train", "Mpx", execution.progress) as bar:
        while left:
            try:
                for spec in tuple(left):
                    with _kept(failures, spec):
                        _refuse_after_failure(spec, failures)
                left = [spec for spec in left if spec.run_id not in failures]
                places = {spec.run_id: place for place, spec in enumerate(left)}
                after = [
                    places.get(spec.stage.parent.run_id) if spec.stage is not None else None for spec in left
                ]
                for spec, future in side_by_side(work, tuple(left), workers, after):
                    error = future.exception()
                    if isinstance(error, BrokenProcessPool):
                        raise error
                    left.remove(spec)
                    if isinstance(error, Busy):
                        busy.append(spec)
                    elif isinstance(error, Exception):
                        with _kept(failures, spec):
                            _refuse_after_failure(spec, failures)
                            raise error
                    done = f"run {len(specs) - len(left)} of {len(specs)}: {spec.label}"
                    bar.set_postfix_str(done, refresh=False)
                    bar.update(costs[spec.run_id])
            except BrokenProcessPool:
                # What ended before may not have been told yet; then the first in line is the one that was killed.
                left = [spec for spec in left if runs.status(spec, spec.run_id in with_whole_area) != "done"]
                if workers > 1:
                    workers //= 2
                    told = (
                        f"a training's process was killed (out of memory?); going on with {workers} at a time"
                    )
                    tqdm.write(told, file=sys.stderr)
                elif left:  # it must not cost the others
                    spec = left.pop(0)
                    failures[spec.run_id] = UserError(
                        "its process was killed (out of memory?); use fewer `--workers`, or a `micro_batch` in "
                        "the profile"
                    )
                    runs.tell_failure(spec, failures[spec.run_id])
    return busy


def _work(spec: RunSpec, execution: Execution, with_whole_area: frozenset[str], wait: bool) -> None:
    """Make a run in a worker. Asked to stop, it leaves at once: the pool may have handed it the next run already."""
    try:
        make(spec, execution, spec.run_id in with_whole_area, wait)
    except Interrupted as error:
        os._exit(128 + error.by)
