"""The runner: makes the missing runs of the store on this machine, several at once, each of them once."""

from __future__ import annotations

import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from graphlib import TopologicalSorter
from typing import Any

import torch
from tqdm import tqdm

from lmhld_nb import patches
from lmhld_nb.config import Interrupted, UserError, progress_bar, runs_dir
from lmhld_nb.processes import cores, pool
from lmhld_nb.runs import gpus, store
from lmhld_nb.runs.store import Busy, Run
from lmhld_nb.training.hardware import Execution, choose_device
from lmhld_nb.training.loop import train
from lmhld_nb.training.specs import RunSpec


def make_run(spec: RunSpec, execution: Execution | None = None, whole_area: bool = False, wait: bool = True) -> Run:
    """Return the run of ``spec``; train it, and the stages before it, where they are not finished.

    Args:
        spec: the run.
        execution: how it is computed.
        whole_area: score it on its whole area too.
        wait: for another process that is making it.

    Raises:
        UserError: the store cannot be read or written, or as `training.train`; the run's folder then says why.
        Interrupted: as `training.train`.
        Busy: another process is making it, and ``wait`` is False.
    """
    execution = execution or Execution()
    if store.status(spec, whole_area) != "done":
        for stage in spec.chain[:-1]:
            with store.lock(stage.run_id, wait):
                if reason := store.weights_damage(stage):
                    store.set_aside(stage, reason)
            make_run(stage, execution, wait=wait)
        with store.lock(spec.run_id, wait):
            if store.status(spec, whole_area) != "done":  # another process may have made it meanwhile
                _make_locked(spec, execution, whole_area)
    run = store.find(spec)
    if run is None:
        raise UserError(f"{runs_dir() / spec.run_id}: was changed while it was made; run the command again")
    return run


def _make_locked(spec: RunSpec, execution: Execution, whole_area: bool) -> None:
    """Train and score what is missing of a run; its folder keeps the reason of a failure until it succeeds."""
    folder = runs_dir() / spec.run_id
    if reason := store.damage(spec):
        store.set_aside(spec, reason)
    try:
        with gpus.slot(execution) as chosen:
            device = choose_device(chosen.device)
            if device == "cpu":
                torch.set_num_threads(chosen.threads)
            if store.find(spec) is None:
                earlier = [store.earlier(stage) for stage in spec.chain[:-1]]
                train(spec, store.patch_sets(spec, chosen.progress), folder, chosen, earlier)
            if whole_area and (run := store.find(spec)):
                store.score_whole_area(run, torch.device(device), chosen.progress)
    except Interrupted:
        raise
    except Exception as error:
        store.record_failure(spec, error)
        raise
    (folder / store.FAILURE).unlink(missing_ok=True)


def make_runs(
    specs: Iterable[RunSpec],
    workers: int | None = None,
    execution: Execution | None = None,
    whole_area: Collection[str] = (),
    retry: bool = False,
) -> list[Run]:
    """Make what is missing of ``specs`` and return all runs in their order.

    Args:
        specs: runs wanted; equal ones are made once.
        workers: trainings side by side; None for one per processor core, or on GPUs for as many as they have room for.
        execution: how each is computed.
        whole_area: ids of the runs that are scored on their whole area too.
        retry: try those that fail once more.

    Raises:
        UserError: some runs failed; the others are finished first and the message names each failure.
        Interrupted: a signal came; the same call goes on where it stopped.
    """
    execution, specs = execution or Execution(), list(specs)
    missing = {
        stage.run_id: stage
        for spec in specs
        if not _is_done(spec, whole_area)
        for stage in spec.chain
        if not _is_done(stage, whole_area)
    }
    if workers is None:
        on_cpu = choose_device(execution.device) == "cpu"
        workers = max(1, cores() // execution.threads) if on_cpu else gpus.room(execution)
    failures = _make_all(missing, workers, execution, whole_area)
    if failures and retry:
        failed = {run_id: missing[run_id] for run_id in failures}
        failures = _make_all(failed, workers, execution, whole_area)
    if failures:
        by_reason: dict[str, list[str]] = {}  # runs with the same reason share it
        for run_id, error in failures.items():
            by_reason.setdefault(store.reason(error), []).append(f"{run_id} ({missing[run_id].label})")
        lines = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in by_reason.items())
        first = next(iter(failures.values()))
        raise UserError(f"{len(failures)} of {len(missing)} runs failed: {lines}") from first
    return [run for spec in specs if (run := store.find(spec))]


def _is_done(spec: RunSpec, whole_area: Collection[str]) -> bool:
    try:
        return store.status(spec, spec.run_id in whole_area) == "done"
    except UserError:  # it cannot be read: see `_prepare`
        return False


def _make_all(
    specs: Mapping[str, RunSpec], workers: int, execution: Execution, whole_area: Collection[str]
) -> dict[str, Exception]:
    """Make runs; return the errors of those that failed, by id."""
    failures = _prepare(specs, execution.progress)
    left = {run_id: spec for run_id, spec in specs.items() if run_id not in failures}
    costs = {run_id: _cost(spec) for run_id, spec in left.items()}
    count, workers = len(left), min(workers, len(left))
    here = workers <= 1  # else in processes, whose death of too little memory is not that of this one
    quiet = execution.model_copy(update={"progress": execution.progress and here})
    work = partial(_work, quiet, frozenset(whole_area))
    with progress_bar(sum(costs.values()), "train", "Mpx", execution.progress and not here) as bar:
        while left:
            killed = ""
            try:
                with _Here() if here else pool(workers) as executor:
                    for run_id, error in _in_order(executor, work, workers, left, costs, failures):
                        if isinstance(error, BrokenProcessPool):
                            killed = run_id
                            raise error
                        if error is not None:
                            failures[run_id] = _without_frames(error)
                        label = left.pop(run_id).label
                        bar.set_postfix_str(f"run {count - len(left)} of {count}: {label}", refresh=False)
                        bar.update(costs[run_id])
            except BrokenProcessPool:
                left = {run_id: spec for run_id, spec in left.items() if not _is_done(spec, whole_area)}
                if workers > 1:
                    workers //= 2
                    message = "a training's process was killed (out of memory?); going on with"
                    tqdm.write(f"{message} {workers} at a time", file=sys.stderr)
                elif killed in left:  # alone; it must not cost the others
                    advice = "use fewer `--workers`, or a `micro_batch` in the profile"
                    failures[killed] = UserError(f"its process was killed (out of memory?); {advice}")
                    store.record_failure(left.pop(killed), failures[killed])
    return failures


def _in_order(
    executor: Executor,
    work: Callable[[RunSpec, bool, bool], None],
    workers: int,
    specs: Mapping[str, RunSpec],
    costs: Mapping[str, int],
    failures: Mapping[str, Exception],
) -> Iterator[tuple[str, Exception | None]]:
    """Submit runs, each after the stage it starts from, the most urgent first; yield ids and errors as they end.

    What most work waits for is the most urgent; then long runs, so that no worker is left alone with one at the end.
    """
    parents = {run_id: spec.stage.parent.run_id if spec.stage else "" for run_id, spec in specs.items()}
    before = {run_id: {parent} & specs.keys() for run_id, parent in parents.items()}
    urgency = dict(costs)  # of a run and of the longest chain of those that start from it
    for run_id in reversed([*TopologicalSorter(before).static_order()]):
        for parent in before[run_id]:
            urgency[parent] = max(urgency[parent], costs[parent] + urgency[run_id])
    graph = TopologicalSorter(before)
    graph.prepare()
    running: dict[Future[None], str] = {}
    ready, busy, wait_for_others = list[str](), list[str](), False
    while graph.is_active():
        ready = sorted([*ready, *graph.get_ready()], key=urgency.__getitem__, reverse=True)
        if not ready and not running:
            # What another runner has begun was left to it as long as there was something else to do.
            ready, busy, wait_for_others = busy, [], True
        while ready and len(running) < workers:
            run_id = ready.pop(0)
            is_orphan = parents[run_id] in failures
            running[executor.submit(work, specs[run_id], wait_for_others, is_orphan)] = run_id
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            run_id, error = running.pop(future), future.exception()
            if isinstance(error, Busy):
                busy.append(run_id)
            elif isinstance(error, Interrupted):
                raise error
            else:
                assert error is None or isinstance(error, Exception)
                yield run_id, error
                graph.done(run_id)


class _Here(Executor):
    """Stands in for a pool of processes: this process does the work when it is submitted."""

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        future = Future[Any]()
        try:
            future.set_result(work(*arguments, **options))
        except Exception as error:
            future.set_exception(error)
        return future


def _work(execution: Execution, whole_area: Collection[str], spec: RunSpec, wait: bool, is_orphan: bool) -> None:
    """Make a run where an executor does it."""
    if is_orphan:
        raise store.record_failure(spec, UserError("the stage before it failed"))
    try:
        make_run(spec, execution, spec.run_id in whole_area, wait)
    except Interrupted as error:
        if multiprocessing.parent_process() is None:
            raise
        os._exit(128 + error.by)  # at once: the pool may have handed it the next run already


def _prepare(specs: Mapping[str, RunSpec], progress: bool) -> dict[str, Exception]:
    """Cut the patches of runs; return the errors of those whose patches cannot be cut or whose files cannot be read.

    Each set of patches is cut once, before workers would wait for each other.
    """
    errors: dict[patches.PatchSpec, Exception] = {}
    for patch_spec in dict.fromkeys(patch_spec for spec in specs.values() for patch_spec in spec.data):
        try:
            store.patch_set(patch_spec, progress)
        except Exception as error:  # whatever it is, it must not cost the runs on other patches
            errors[patch_spec] = _without_frames(error)
    failures: dict[str, Exception] = {}
    for run_id, spec in specs.items():
        try:
            store.find(spec)
        except UserError as error:
            failures[run_id] = error  # its folder is left as it is
            continue
        refused = [errors[patch_spec] for patch_spec in spec.data if patch_spec in errors]
        if refused and isinstance(refused[0], UserError) and len(spec.data) > 1:
            refused = [UserError(f"{refused[0]}; or leave the area out (key `experiment_3.areas`)")]
        if refused:
            failures[run_id] = store.record_failure(spec, refused[0])
    return failures


def _cost(spec: RunSpec) -> int:
    """Return the megapixels a training passes over, at least 1: what order and time left go by."""
    pixels = sum(len(patches.load(patch_spec).index) * patch_spec.size**2 for patch_spec in spec.data)
    return max(1, round(pixels * spec.recipe.epochs / 1e6))


def _without_frames(error: Exception) -> Exception:
    """Clear the frames of an error, which would keep the network and its patches in memory for the other runs."""
    link: BaseException | None = error
    while link is not None:
        traceback.clear_frames(link.__traceback__)
        link = link.__cause__ or link.__context__
    return error
