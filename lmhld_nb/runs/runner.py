"""The runner: trains the runs missing in the store on this machine, several at a time, each once."""

import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from itertools import cycle
from typing import Any

import torch
from tqdm import tqdm

from lmhld_nb import config
from lmhld_nb.config import Interrupted, UserError, listed, progress_bar, runs_dir
from lmhld_nb.patches.patch_sets import PatchSpec
from lmhld_nb.processes import cores, pool, side_by_side
from lmhld_nb.runs import store
from lmhld_nb.runs.store import Busy, Run
from lmhld_nb.training.chains import EarlierStage
from lmhld_nb.training.hardware import Execution, choose_device
from lmhld_nb.training.loop import train
from lmhld_nb.training.specs import RunSpec

WAIT = 0.2  # seconds to wait after each occupied GPU slot
PATIENCE = 30.0  # seconds of cutting patches after which it pays to cut the others in parallel


def make_run(spec: RunSpec, execution: Execution, whole_area: bool = False, wait: bool = True) -> Run:
    """Return the run of ``spec`` with its weights; train it and earlier stages if they are missing.

    ``whole_area``: also score it there; ``wait`` for another process that trains it, else `Busy`. Raises as `train`.
    """
    if store.status(spec, whole_area) != "done":
        for stage in spec.chain[:-1]:
            with store.lock(stage.run_id, wait):
                if reason := store.weights_damage(stage):
                    store.set_aside(stage, reason)
            make_run(stage, execution, wait=wait)
        with store.lock(spec.run_id, wait):
            if store.status(spec, whole_area) != "done":  # another process may have trained it meanwhile
                _make_locked(spec, execution, whole_area)
    run = store.find(spec)
    assert run is not None, f"{runs_dir() / spec.run_id}: was changed while it was being trained; run the command again"
    return run


def _make_locked(spec: RunSpec, execution: Execution, whole_area: bool) -> None:
    folder = runs_dir() / spec.run_id
    if reason := store.damage(spec):
        store.set_aside(spec, reason)
    config.clear_left_behind(folder)
    with gpu_slot(execution) as chosen:
        device = choose_device(chosen.device)
        if device == "cpu":
            torch.set_num_threads(chosen.threads)
        if (run := store.find(spec)) is None or run.is_record:
            (folder / "metrics.json").unlink(missing_ok=True)  # a recorded run is unfinished while it is retrained
            earlier = []
            for stage in spec.chain[:-1]:
                weights = runs_dir() / stage.run_id / store.WEIGHTS
                earlier.append(EarlierStage(stage.run_id, weights, store.patch_sets(stage, False)))
            try:
                train(spec, store.patch_sets(spec, chosen.progress), folder, chosen, earlier)
            except Exception as error:
                error.add_note(f"in run {spec.run_id} ({spec.label})")  # the last line of a traceback
                raise
            (folder / store.RECORDED).unlink(missing_ok=True)
            if run and (again := store.find(spec)) and again.metrics["weights"] != run.metrics["weights"]:
                which = "its weights differ from the recorded ones: runs that start from it must be trained again, too"
                tqdm.write(f"{folder}: {which}; repeat the command", file=sys.stderr)
        if whole_area and (run := store.find(spec)):
            store.score_whole_area(run, torch.device(device), chosen.progress)


def make_runs(
    specs: Iterable[RunSpec],
    workers: int | None = None,
    execution: Execution | None = None,
    whole_area: Collection[str] = (),
    ranks: Mapping[str, int] | None = None,
) -> list[Run]:
    """Train what is missing of ``specs``; return all runs in order; ids in ``whole_area`` are also scored there.

    Trainings run in parallel (one per core, or as many as fit on the GPUs), lowest ``ranks`` first. UserError names
    each failure, after the other runs are finished; Interrupted: the same call continues where it stopped.
    """
    execution, specs = execution or Execution(), list(specs)
    missing = missing_runs(specs, whole_area)
    if workers is None:
        on_cpu = choose_device(execution.device) == "cpu"
        workers = max(1, cores() // execution.threads) if on_cpu else gpu_room(execution)
    failures = _make_all(missing, workers, execution, whole_area, ranks or {})
    if failures:
        by_reason: dict[str, list[str]] = {}  # runs with the same reason are listed together
        for run_id, reason in failures.items():
            by_reason.setdefault(reason, []).append(f"{run_id} ({missing[run_id].label})")
        lines = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in by_reason.items())
        raise UserError(f"{len(failures)} of {len(missing)} runs failed: {lines}")
    return [run for spec in specs if (run := store.find(spec))]


def missing_runs(specs: Iterable[RunSpec], whole_area: Collection[str] = ()) -> dict[str, RunSpec]:
    """Return by id what `make_runs` would train: unfinished runs, and earlier stages whose weights are missing."""
    unfinished = [spec for spec in specs if not _is_done(spec, whole_area, ("done", "recorded"))]
    stages = {stage.run_id: stage for spec in unfinished for stage in spec.chain}
    return {run_id: stage for run_id, stage in stages.items() if not _is_done(stage, whole_area)}


def _is_done(spec: RunSpec, whole_area: Collection[str], states: Collection[str] = ("done",)) -> bool:
    try:
        return store.status(spec, spec.run_id in whole_area) in states
    except UserError:  # unreadable: `make_run` reports it
        return False


def _make_all(
    specs: Mapping[str, RunSpec],
    workers: int,
    execution: Execution,
    whole_area: Collection[str],
    ranks: Mapping[str, int],
) -> dict[str, str]:
    """Train runs, each after the stage it starts from; return the reasons of failures by id.

    Within the lowest rank, runs that most work depends on come first, and runs that another process is training last.
    """
    costs, failures = _prepare(specs, execution.progress)
    left = {run_id: spec for run_id, spec in specs.items() if run_id not in failures}
    parents = {run_id: spec.stage.parent.run_id if spec.stage else "" for run_id, spec in specs.items()}
    urgency = dict(costs)  # of a run and the longest chain of runs that start from it
    for run_id, parent in reversed(parents.items()):  # parents precede their children
        if parent in urgency:
            urgency[parent] = max(urgency[parent], costs[parent] + urgency[run_id])
    count, workers, busy = len(left), min(workers, len(left)), set[str]()
    in_process = workers <= 1  # else in processes, so that this one survives if they run out of memory
    quiet = execution.model_copy(update={"progress": execution.progress and in_process})
    work, total = partial(_work, quiet, frozenset(whole_area)), sum(costs[run_id] for run_id in left)
    with progress_bar(total, "train", "Mpx", execution.progress and not in_process) as bar:
        while left:
            running: dict[Future[str | None], str] = {}
            try:
                with _InProcess() if in_process else pool(workers) as executor:
                    while left:
                        ready = [name for name in left if parents[name] not in left and name not in running.values()]
                        ready.sort(key=lambda name: (name in busy, ranks.get(name, 0), -urgency[name]))
                        for run_id in ready[: workers - len(running)]:
                            is_orphan = parents[run_id] in failures
                            running[executor.submit(work, left[run_id], run_id in busy, is_orphan)] = run_id
                        for future in wait(running, return_when=FIRST_COMPLETED).done:
                            run_id = running.pop(future)
                            reason = future.result()
                            if reason is None:
                                busy.add(run_id)
                                continue
                            if reason:
                                failures[run_id] = reason
                            label = left.pop(run_id).label
                            bar.set_postfix_str(f"run {count - len(left)} of {count}: {label}", refresh=False)
                            bar.update(costs[run_id])
            except BrokenProcessPool:
                left = {name: spec for name, spec in left.items() if not _is_done(spec, whole_area)}
                if workers > 1:
                    workers //= 2
                    message = "a training's process was killed (out of memory?); continuing with"
                    tqdm.write(f"{message} {workers} at a time", file=sys.stderr)
                elif run_id in left:  # it ran alone and must not take the others with it
                    advice = "use fewer `--workers`, or a `micro_batch` in the profile"
                    failures[run_id] = f"its process was killed (out of memory?); {advice}"
                    del left[run_id]
    return failures


class _InProcess(Executor):
    """A stand-in for a process pool: this process does the work on submission."""

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        future = Future[Any]()
        future.set_result(work(*arguments, **options))
        return future


def _work(execution: Execution, whole_area: Collection[str], spec: RunSpec, wait: bool, is_orphan: bool) -> str | None:
    """Train a run for an executor; return why it failed, "" if it did not, None if another process is training it."""
    if is_orphan:
        return "the stage before it failed"
    try:
        make_run(spec, execution, spec.run_id in whole_area, wait)
    except Busy:
        return None
    except Interrupted as error:
        if multiprocessing.parent_process() is None:
            raise
        os._exit(128 + error.by)  # at once: the pool may already have handed it the next run
    except Exception as error:  # keep only the reason: an exception keeps the network and its patches in memory
        return store.reason(error)
    return ""


def _prepare(specs: Mapping[str, RunSpec], progress: bool) -> tuple[dict[str, int], dict[str, str]]:
    """Cut the patches of runs, each set once; return by id the megapixels per training, and reasons of failures."""
    left, sets = list(dict.fromkeys(data for spec in specs.values() for data in spec.data)), {}
    began = time.monotonic()
    while left and time.monotonic() - began < PATIENCE:
        data = left.pop(0)
        sets[data] = _cut(progress, data)
    others = side_by_side(partial(_cut, False), left, cores())
    for data, future in tqdm(others, "cut", len(left), unit="set", disable=not (progress and left)):
        sets[data] = future.result()
    costs, failures = {}, {}
    for run_id, spec in specs.items():
        costs[run_id] = max(1, round(sum(sets[data][0] for data in spec.data) * spec.recipe.epochs / 1e6))
        if reasons := [sets[data][1] for data in spec.data if sets[data][1]]:
            failures[run_id] = reasons[0] + ("; or leave the area out" if len(spec.data) > 1 else "")
    return costs, failures


def _cut(progress: bool, patch_spec: PatchSpec) -> tuple[int, str]:
    """Cut a set of patches; return the pixels of an epoch on it and "", or 0 and why it failed."""
    try:
        split = store.patch_set(patch_spec, progress).index["split"]
    except Exception as error:  # whatever it is, runs on other patches must not fail with it
        return 0, store.reason(error)
    return int(split.isin(["train", "val"]).sum()) * patch_spec.size**2, ""


def visible_gpus() -> list[str]:
    """Return the names of the GPUs that this process may use: those in CUDA_VISIBLE_DEVICES, or all by number."""
    count = torch.cuda.device_count()
    named = listed(os.environ.get("CUDA_VISIBLE_DEVICES", map(str, range(count))))
    return list(named[:count])  # it may list more than exist


def gpu_room(execution: Execution) -> int:
    """Return how many runs fit at once on the GPUs that ``execution`` may use, at least 1."""
    gpus = len(visible_gpus()) if choose_device(execution.device) == "cuda" else 1
    return max(1, gpus) * execution.runs_per_gpu


@contextmanager
def gpu_slot(execution: Execution) -> Iterator[Execution]:
    """Take a GPU slot for the block, waiting if all are taken, and yield the execution on it.

    A slot is a lock in the store. None is taken on the CPU, on a device that ``execution`` names, or if
    CUDA_VISIBLE_DEVICES lists one GPU, as batch systems do for their jobs (which may all call it 0).
    """
    names = visible_gpus()
    if choose_device(execution.device) != "cuda" or (len(names) <= 1 and "CUDA_VISIBLE_DEVICES" in os.environ):
        yield execution
        return
    # An idle GPU is preferred to a second run on a busy one.
    for share, index in cycle((share, index) for share in range(execution.runs_per_gpu) for index in range(len(names))):
        try:
            taken = store.lock(f"gpu-{platform.node()}-{names[index].replace('/', '-')}-{share}", wait=False)
        except Busy:
            time.sleep(WAIT)
            continue
        with taken:
            # By number rather than CUDA_VISIBLE_DEVICES, which torch may already have read.
            yield execution.model_copy(update={"device": f"cuda:{index}"})
        return
