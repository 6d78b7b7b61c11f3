"""The runner: makes the missing runs of the store on this machine, several at once, each of them once."""

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
from lmhld_nb.config import Interrupted, UserError, progress_bar, runs_dir
from lmhld_nb.patches.patch_sets import PatchSpec
from lmhld_nb.processes import cores, pool
from lmhld_nb.runs import store
from lmhld_nb.runs.store import Busy, Run
from lmhld_nb.training.chains import EarlierStage
from lmhld_nb.training.hardware import Execution, choose_device
from lmhld_nb.training.loop import train
from lmhld_nb.training.specs import RunSpec

WAIT = 0.2  # seconds after each slot on a GPU that is taken


def make_run(spec: RunSpec, execution: Execution, whole_area: bool = False, wait: bool = True) -> Run:
    """Return the run of ``spec`` with its weights; train it, and the stages before it, where they are not there.

    ``whole_area``: score it there too; ``wait`` for another process that makes it, else `Busy`. Raises as `train`.
    """
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
    assert run is not None, f"{runs_dir() / spec.run_id}: was changed while it was made; run the command again"
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
            (folder / "metrics.json").unlink(missing_ok=True)  # of a record: it is not finished while it is remade
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
                which = "it has other weights than were recorded: what starts from it must be made again, too"
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
    """Make what is missing of ``specs`` and return all runs in their order; ids in ``whole_area`` are scored there too.

    Trainings run side by side (one per core, or as many as GPUs have room for), of least ``ranks`` first. UserError
    names each failure, after the other runs were finished; Interrupted: the same call goes on where it stopped.
    """
    execution, specs = execution or Execution(), list(specs)
    missing = missing_runs(specs, whole_area)
    if workers is None:
        on_cpu = choose_device(execution.device) == "cpu"
        workers = max(1, cores() // execution.threads) if on_cpu else gpu_room(execution)
    failures = _make_all(missing, workers, execution, whole_area, ranks or {})
    if failures:
        by_reason: dict[str, list[str]] = {}  # runs with the same reason share it
        for run_id, reason in failures.items():
            by_reason.setdefault(reason, []).append(f"{run_id} ({missing[run_id].label})")
        lines = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in by_reason.items())
        raise UserError(f"{len(failures)} of {len(missing)} runs failed: {lines}")
    return [run for spec in specs if (run := store.find(spec))]


def missing_runs(specs: Iterable[RunSpec], whole_area: Collection[str] = ()) -> dict[str, RunSpec]:
    """Return by id what `make_runs` would make: unfinished runs, and stages before them whose weights are not here."""
    unfinished = [spec for spec in specs if not _is_done(spec, whole_area, ("done", "recorded"))]
    stages = {stage.run_id: stage for spec in unfinished for stage in spec.chain}
    return {run_id: stage for run_id, stage in stages.items() if not _is_done(stage, whole_area)}


def _is_done(spec: RunSpec, whole_area: Collection[str], states: Collection[str] = ("done",)) -> bool:
    try:
        return store.status(spec, spec.run_id in whole_area) in states
    except UserError:  # it cannot be read: `make_run` says so
        return False


def _make_all(
    specs: Mapping[str, RunSpec],
    workers: int,
    execution: Execution,
    whole_area: Collection[str],
    ranks: Mapping[str, int],
) -> dict[str, str]:
    """Make runs, each after the stage it starts from; return the reasons of those that failed, by id.

    Of the least rank first comes what most work waits for; last what another process is making already.
    """
    costs, failures = _prepare(specs, execution.progress)
    left = {run_id: spec for run_id, spec in specs.items() if run_id not in failures}
    parents = {run_id: spec.stage.parent.run_id if spec.stage else "" for run_id, spec in specs.items()}
    urgency = dict(costs)  # of a run and the longest chain of those that start from it
    for run_id, parent in reversed(parents.items()):  # parents stand before what starts from them
        if parent in urgency:
            urgency[parent] = max(urgency[parent], costs[parent] + urgency[run_id])
    count, workers, busy = len(left), min(workers, len(left)), set[str]()
    in_process = workers <= 1  # else in processes, whose death of too little memory is not that of this one
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
                    message = "a training's process was killed (out of memory?); going on with"
                    tqdm.write(f"{message} {workers} at a time", file=sys.stderr)
                elif run_id in left:  # it ran alone; it must not cost the others
                    advice = "use fewer `--workers`, or a `micro_batch` in the profile"
                    failures[run_id] = f"its process was killed (out of memory?); {advice}"
                    del left[run_id]
    return failures


class _InProcess(Executor):
    """Stands in for a pool of processes: this process does the work when it is submitted."""

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        future = Future[Any]()
        future.set_result(work(*arguments, **options))
        return future


def _work(execution: Execution, whole_area: Collection[str], spec: RunSpec, wait: bool, is_orphan: bool) -> str | None:
    """Make a run for an executor; return why it failed, "" if it did not, None where another process is making it."""
    if is_orphan:
        return "the stage before it failed"
    try:
        make_run(spec, execution, spec.run_id in whole_area, wait)
    except Busy:
        return None
    except Interrupted as error:
        if multiprocessing.parent_process() is None:
            raise
        os._exit(128 + error.by)  # at once: the pool may have handed it the next run already
    except Exception as error:  # only the reason is kept: an error holds on to the network and its patches
        return store.reason(error)
    return ""


def _prepare(specs: Mapping[str, RunSpec], progress: bool) -> tuple[dict[str, int], dict[str, str]]:
    """Cut the patches of runs, each set once; return by id the megapixels of a training, and why some cannot be cut."""
    pixels: dict[PatchSpec, int] = {}
    refusals: dict[PatchSpec, str] = {}
    for patch_spec in dict.fromkeys(patch_spec for spec in specs.values() for patch_spec in spec.data):
        try:
            split = store.patch_set(patch_spec, progress).index["split"]
            pixels[patch_spec] = int(split.isin(["train", "val"]).sum()) * patch_spec.size**2
        except Exception as error:  # whatever it is, it must not cost the runs on other patches
            pixels[patch_spec], refusals[patch_spec] = 0, store.reason(error)
    costs, failures = {}, {}
    for run_id, spec in specs.items():
        costs[run_id] = max(1, round(sum(pixels[patch_spec] for patch_spec in spec.data) * spec.recipe.epochs / 1e6))
        if reasons := [refusals[patch_spec] for patch_spec in spec.data if patch_spec in refusals]:
            failures[run_id] = reasons[0] + ("; or leave the area out" if len(spec.data) > 1 else "")
    return costs, failures


def visible_gpus() -> list[str]:
    """Return the names of the GPUs this process may use: those in CUDA_VISIBLE_DEVICES, or all by number."""
    count = torch.cuda.device_count()
    names = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(count)))).split(",")
    return [name.strip() for name in names if name.strip()][:count]  # it may name more than there are


def gpu_room(execution: Execution) -> int:
    """Return how many runs can compute at once on the GPUs that ``execution`` may use, at least 1."""
    any_gpu = choose_device(execution.device) == "cuda"
    return max(1, len(visible_gpus()) if any_gpu else 1) * execution.runs_per_gpu


@contextmanager
def gpu_slot(execution: Execution) -> Iterator[Execution]:
    """Take a slot on a GPU for the block, wait for one where all are taken, and yield the execution on it.

    A slot is a lock in the store. None is taken on the CPU, on a device that ``execution`` names, and where
    CUDA_VISIBLE_DEVICES names one GPU, as a batch system does for its jobs (which may all call it 0).
    """
    names = visible_gpus()
    one_named = len(names) <= 1 and "CUDA_VISIBLE_DEVICES" in os.environ
    if choose_device(execution.device) != "cuda" or one_named:
        yield execution
        return
    # An empty GPU before a second run on a busy one.
    for share, index in cycle((share, index) for share in range(execution.runs_per_gpu) for index in range(len(names))):
        try:
            taken = store.lock(f"gpu-{platform.node()}-{names[index].replace('/', '-')}-{share}", wait=False)
        except Busy:
            time.sleep(WAIT)
            continue
        with taken:
            # By number and not by setting CUDA_VISIBLE_DEVICES: torch may have read that already.
            yield execution.model_copy(update={"device": f"cuda:{index}"})
        return
