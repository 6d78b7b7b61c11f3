"""Verify: published runs are trained again in a separate store and compared with their records."""

import csv
import json
import random
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from lmhld_nb.config import UserError, environment_set, printable
from lmhld_nb.runs import store
from lmhld_nb.runs.records import Records
from lmhld_nb.runs.runner import make_runs
from lmhld_nb.training import scoring
from lmhld_nb.training.hardware import Execution, choose_device, device_name
from lmhld_nb.training.specs import RunSpec

SCORED_LATER = (scoring.BLOCKS_FILE, scoring.WHOLE_AREA_FILE)
# The order in which files are compared; digests of weights, which are in metrics.json, come last.
COMPARED = ("spec.json", scoring.PATCHES_FILE, "history.csv", "metrics.json", *SCORED_LATER)
KEYS = ("epoch", "stage", "input", "area", "number", "scene", "row", "col", "trained")  # columns that identify a row
MEASURED = {"seconds", "patches_per_second", "device", "portable", "files", "seal"}
DIGESTS = ("metrics.json: parent_weights", "metrics.json: weights")
LONGEST_DRAWN = 900
"""Longest time (s) of a drawn run with its earlier stages: two of them fit into a check of every push."""


def choose(
    planned: Sequence[RunSpec], records: Records, run_ids: Sequence[str] = (), sample: int | None = None, seed: str = ""
) -> list[RunSpec]:
    """Return the planned runs to verify: those with ``run_ids``, or all recorded ones; of these, ``sample`` many.

    Runs longer than `LONGEST_DRAWN` are not drawn, unless all are. UserError for a run not planned or not recorded.
    """
    by_id = {spec.run_id: spec for spec in planned}
    for run_id in run_ids:
        if run_id not in by_id:
            way_out = f"`lmhld plan {records.profile}` lists its runs"
            raise UserError(f"run '{run_id}': not in profile '{records.profile}'; {way_out}")
    recorded = by_id.keys() & records.runs.keys()
    chosen = set(run_ids) or recorded
    if absent := sorted(chosen - recorded) or sorted(by_id) * (not chosen):
        why = "the others are not published yet, or the records are of another version of the profile"
        mend = "check out the commit they came with, or make new ones with `make publish`"
        known = f"{len(recorded)} of the {len(by_id)} planned runs are recorded"
        raise UserError(f"profile '{records.profile}': run '{absent[0]}' has no record: {known}; {why}: {mend}")
    if sample is not None:
        short = {run_id for run_id in chosen if seconds(trainings([by_id[run_id]]), records) <= LONGEST_DRAWN} or chosen
        chosen = set(random.Random(seed).sample(sorted(short), min(sample, len(short))))
    specs = [spec for run_id, spec in by_id.items() if run_id in chosen]
    for run_id in trainings(specs).keys() & records.runs.keys():
        try:
            difference(records.runs[run_id], records.runs[run_id])
        except (KeyError, ValueError, TypeError, AttributeError, csv.Error) as error:
            raise UserError(f"record of run '{run_id}': incomplete ({error!r}); get the records again") from None
    return specs


def trainings(specs: Sequence[RunSpec]) -> dict[str, RunSpec]:
    """Return by id what must be trained to verify ``specs``: these and the stages that they start from, in order."""
    return {stage.run_id: stage for spec in specs for stage in spec.chain}


def seconds(run_ids: Iterable[str], records: Records) -> float:
    """Return the recorded time of runs (s); runs without a record count as 0."""
    return float(sum(records.metrics(run_id)["seconds"] for run_id in run_ids if run_id in records.runs))


def verify(
    specs: Sequence[RunSpec],
    records: Records,
    folder: Path,
    execution: Execution,
    workers: int | None = None,
    report: Callable[[RunSpec, str], object] = lambda *_: None,
) -> dict[str, str]:
    """Train runs and their earlier stages in ``folder``, and return the `difference` of each recorded one by id.

    On the CPU, unless the records name this machine's GPU. ``folder`` is emptied first; ``report`` is called with each
    finished run and its difference. UserError if another process uses the folder, or as `make_runs`.
    """
    stages, differences = trainings(specs), dict[str, str]()
    recorded = {run_id: records.runs[run_id] for run_id in stages if run_id in records.runs}
    whole_area = {run_id for run_id, files in recorded.items() if scoring.WHOLE_AREA_FILE in files}
    devices = {records.metrics(run_id).get("device") for run_id in recorded}
    if execution.device == "auto" and device_name(torch.device(choose_device("auto"))) not in devices:
        execution = execution.model_copy(update={"device": "cpu"})
    with environment_set("LMHLD_RUNS", str(folder)), ExitStack() as locked:
        try:
            locked.enter_context(store.lock("verify", wait=False))
        except store.Busy:
            raise UserError(f"{folder}: another `lmhld verify` is using it; wait for it to finish") from None
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
        try:
            make_runs(stages.values(), workers, execution, whole_area)
        finally:
            for run_id, files in recorded.items():
                if run := store.find(stages[run_id]):
                    remade = {name: (run.folder / name).read_bytes() for name in COMPARED if name in files}
                    differences[run_id] = difference(files, remade)
                    report(run.spec, differences[run_id])
    return differences


def difference(recorded: Mapping[str, bytes], remade: Mapping[str, bytes]) -> str:
    """Return the first difference between the files of two runs, and its size in F1; "" for none.

    Durations and hardware names are not compared. Raises `ValueError` or the like on other files.
    """
    before, after = _values(recorded), _values(remade)
    both = {label: (before.get(label, "absent"), after.get(label, "absent")) for label in (*before, *after)}
    unequal = [label for label, values in both.items() if values[0] != values[1]]
    old, new = before["metrics.json: test.f1"], after["metrics.json: test.f1"]
    if not unequal:
        return ""
    first = next((label for label in unequal if label not in DIGESTS), unequal[0])
    text = "{} is {}, recorded {}".format(first, *reversed(both[first]))
    if first in DIGESTS:
        text = f"all scores and counts agree, but {text}"
    if old == new:
        text += "; test F1 as recorded"
    elif None in (old, new):  # there was no landslide, and none was predicted
        text += f"; test F1 {new}, recorded {old}"
    else:
        text += f"; test F1 {new:.4f}, recorded {old:.4f}, {abs(old - new):.2g} apart"
    return printable(text)


def _values(files: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the compared values in a run's files by a label of their position, in the order of `COMPARED`."""
    values: dict[str, Any] = {}
    for name in [name for name in COMPARED if name in files or name not in SCORED_LATER]:
        text = files[name].decode()
        if name.endswith(".csv"):
            for number, row in enumerate(csv.DictReader(text.splitlines()), start=2):
                where = ", ".join(f"{key} {row[key]}" for key in KEYS if key in row)
                values |= {f"{name} line {number} ({where}): {key}": row[key] for key in row if key not in MEASURED}
        else:
            content = json.loads(text)
            for key in content:
                if key not in MEASURED:
                    values |= _leaves(content[key], f"{name}: {key}")
    return values


def _leaves(content: Any, label: str) -> dict[str, Any]:
    """Return the numbers and texts in JSON by their dotted path."""
    if not isinstance(content, dict | list) or not content:
        return {label: content}
    pairs = content.items() if isinstance(content, dict) else enumerate(content)
    return {name: leaf for key, item in pairs for name, leaf in _leaves(item, f"{label}.{key}").items()}
