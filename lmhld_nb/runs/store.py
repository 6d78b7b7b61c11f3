"""Runs: a store with each training under the hash of its spec, so that none is repeated."""

import json
import os
import shutil
import sys
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors
import torch
from torch import nn
from tqdm import tqdm

from lmhld_nb import config, patches, processes, seals, sources
from lmhld_nb.config import UserError, printable, runs_dir, safe_name, write_json
from lmhld_nb.evaluation.counts import Confusion
from lmhld_nb.patches.batches import load_split
from lmhld_nb.patches.patch_sets import PatchSet, PatchSpec
from lmhld_nb.processes import Busy as Busy
from lmhld_nb.training import scoring, weights
from lmhld_nb.training.hardware import portability
from lmhld_nb.training.specs import Recipe, RunSpec

WEIGHTS = "weights.safetensors"
SHOWN = "shown"  # subfolder of a run with the predictions that figures show
FLAT = 0.005  # in F1, which a validation curve may still gain in its last quarter
RECORDED = "recorded"  # an empty file that marks a run of which the store has only the record


@dataclass(frozen=True)
class Run:
    """A finished training."""

    spec: RunSpec
    folder: Path
    metrics: dict[str, Any]

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row per epoch: lr, losses, validation scores, seconds since the start."""
        return pd.read_csv(self.folder / "history.csv")

    @property
    def tested(self) -> dict[str, int]:
        """The number of test patches in each of its own areas."""
        pixels = {spec.area: spec.size**2 for spec in self.spec.data}
        counts = {area: Confusion.from_dict(row) for area, row in self.metrics["areas"].items()}
        return {area: sum(vars(own).values()) // pixels[area] for area, own in counts.items()}

    @property
    def converged(self) -> bool:
        """Whether a line through the last quarter of validation F1 rises by less than 0.005; False for one epoch."""
        f1 = self.history["val_f1"].fillna(0).to_numpy()
        last = f1[-ceil(len(f1) / 4) :]
        return len(last) > 1 and bool(np.polyfit(np.arange(len(last)), last, 1)[0] * (len(last) - 1) < FLAT)

    def model(self) -> nn.Module:
        """Return the tested network in evaluation mode, on the CPU."""
        return weights.load(self.weights_file)[0]

    @property
    def is_record(self) -> bool:
        """Whether only its record is available, without weights."""
        return (self.folder / RECORDED).is_file()

    @property
    def weights_file(self) -> Path:
        """The file of its weights; raises `UserError` if only its record is available."""
        if self.is_record:
            way_out = f"make them with `lmhld train PROFILE {self.spec.run_id}`"
            raise UserError(f"needs the weights of run {self.spec.run_id}, of which only a record exists; {way_out}")
        if reason := weights_damage(self.spec):
            with suppress(Busy), lock(self.spec.run_id, wait=False):
                set_aside(self.spec, reason)
            mend = f"make it again with `lmhld train PROFILE {self.spec.run_id}`"
            raise UserError(f"{self.folder}: cannot be used ({reason}); {mend}")
        return self.folder / WEIGHTS

    @property
    def recipe(self) -> Recipe:
        """Its recipe, with the precision in which it was computed."""
        return self.spec.recipe.model_copy(update={"precision": self.metrics["precision"]})

    @property
    def whole_area(self) -> dict[str, Confusion] | None:
        """Counts over the whole study area (`scoring.whole_area`); None if not computed."""
        try:
            stored = _read_json(self.folder / scoring.WHOLE_AREA_FILE)
            is_own = stored["run_id"] == self.spec.run_id and scoring.BLOCKS_FILE in stored["files"]
            if not is_own or seals.damage(stored, self.folder):
                return None
            return {name: Confusion.from_dict(stored[name]) for name in ("all", "outside_training")}
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        except OSError as error:
            raise config.cannot_read(self.folder / scoring.WHOLE_AREA_FILE, error) from None


def find(spec: RunSpec) -> Run | None:
    """Return the finished run of ``spec`` (with metrics.json), or None; UserError for an unreadable file.

    A folder with damaged files, or files of another run, is never used (`damage`).
    """
    state = _inspect(spec)
    return state if isinstance(state, Run) else None


def damage(spec: RunSpec) -> str:
    """Return what is wrong with the folder of ``spec`` (foreign or damaged files), or ""; raises as `find`."""
    state = _inspect(spec)
    return state if isinstance(state, str) else ""


def _inspect(spec: RunSpec) -> Run | str:
    """Return the finished run, or what is wrong with its folder, or "" if it does not exist yet; raises as `find`."""
    folder = runs_dir() / spec.run_id
    try:
        names = set(os.listdir(folder)) if folder.exists() else set()
        if names.isdisjoint(("metrics.json", "spec.json")):
            return ""
        if _read_json(folder / "spec.json") != json.loads(spec.canonical()):
            return "it holds another spec"
        if "metrics.json" not in names:
            return ""
        is_record = RECORDED in names
        if absent := sorted({"history.csv", scoring.PATCHES_FILE, *([] if is_record else [WEIGHTS])} - names):
            return f"{absent[0]} is missing"
        metrics = _read_json(folder / "metrics.json")
        if metrics["run_id"] != folder.name or not {"test", "weights"} <= set(metrics):
            return "its metrics.json is that of another run"
        if {stage.run_id for stage in spec.chain[:-1]} - set(metrics.get("earlier", ())):
            return "its metrics.json lacks the scores on earlier areas"
        if spec.stage is not None:
            began_with, parent = metrics["parent_weights"], runs_dir() / spec.stage.parent.run_id / "metrics.json"
            with suppress(FileNotFoundError, ValueError, KeyError, TypeError):  # a missing one proves nothing
                if _read_json(parent)["weights"] != began_with:
                    return "its parent was trained again, with other weights"
        if not is_record:
            (folder / WEIGHTS).open("rb").close()  # for an error that says why it cannot be read
            with safetensors.safe_open(folder / WEIGHTS, framework="pt") as tensors:
                if json.loads((tensors.metadata() or {})["card"])["run_id"] != spec.run_id:
                    return "its weights are those of another run"
        rows = (folder / "history.csv").read_text(encoding="utf-8").splitlines()
        if len(rows) != spec.recipe.epochs + 1:
            return f"its history has {max(0, len(rows) - 1)} of {spec.recipe.epochs} epochs"
        if reason := seals.damage(metrics, folder):
            return f"its seal is broken: {reason}"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except OSError as error:
        raise config.cannot_read(Path(error.filename or folder), error) from None
    except (ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        return f"damaged: {printable(str(error))[:120]}"
    return Run(spec, folder, metrics)


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def weights_damage(spec: RunSpec) -> str:
    """Return what is wrong with a finished run's weights, read in full; empty if nothing is."""
    run = find(spec)
    if run is None or run.is_record or run.metrics["weights"] == weights.digest(run.folder / WEIGHTS):
        return ""
    return "its weights are not those it was finished with"


def status(spec: RunSpec, whole_area: bool = False, run: Run | None = None) -> str:
    """Return the status of a run; raises as `find`. ``run``: the finished one, if already found.

    ``done``; ``recorded``: done, but only its record is available; ``unscored``: only whole-area scores are missing;
    ``damaged``: its folder is unusable and will be set aside; ``begun``: there is a checkpoint; or ``missing``.
    """
    state = run or _inspect(spec)
    if isinstance(state, Run):
        unscored = whole_area and state.whole_area is None
        return "unscored" if unscored else "recorded" if state.is_record else "done"
    if state:
        return "damaged"
    return "begun" if (runs_dir() / spec.run_id / "checkpoint.safetensors").is_file() else "missing"


def reason(error: Exception) -> str:
    """Return an error's message; an unexpected error is reported as a bug of this program."""
    if isinstance(error, UserError):
        return str(error)
    mend = "traceback: `lmhld --debug train PROFILE RUN_ID`; please report it"
    return f"a bug in this program or its libraries, not in the settings: {error!r:.300} ({mend})"


def lock(name: str, wait: bool = True) -> AbstractContextManager[Any]:
    """Hold a lock of the store until the context or process ends; `Busy` if taken and not ``wait``; or `UserError`."""
    return processes.lock(runs_dir() / f".{name}.lock", wait)


def set_aside(spec: RunSpec, why: str) -> None:
    """Move the folder of ``spec`` to ``runs/set-aside/`` and report it; the caller must hold the run's lock."""
    folder = runs_dir() / spec.run_id
    aside = folder.parent / "set-aside"
    aside.mkdir(exist_ok=True)
    target = next(path for number in count() if not (path := aside / f"{folder.name}.{number}").exists())
    shutil.move(folder, target)
    # On stderr: `lmhld plan --csv` is read by programs.
    tqdm.write(f"{folder}: not usable ({why}); set aside as {target}", file=sys.stderr)


def rates() -> pd.DataFrame:
    """Return the training speed of each finished run: model, width, device, patch_size, patches_per_second."""
    rows = []
    for path in sorted(runs_dir().glob("*/metrics.json")):
        with suppress(OSError, ValueError, KeyError, TypeError):  # `find` reports it if it is needed
            metrics, spec = _read_json(path), _read_json(path.parent / "spec.json")
            (size,) = {patches["size"] for patches in spec["data"]}  # of one size
            width = str(spec["width"] or "published")
            rows.append([spec["model"], width, metrics["device"], size, metrics["patches_per_second"]])
    return pd.DataFrame(rows, columns=["model", "width", "device", "patch_size", "patches_per_second"])


def select(specs: Sequence[RunSpec], runs: Sequence[Run]) -> list[Run]:
    """Return the finished runs of some specs, in the order of the specs; missing ones are left out."""
    by_id = {run.spec.run_id: run for run in runs}
    return [by_id[spec.run_id] for spec in specs if spec.run_id in by_id]


def patch_sets(spec: RunSpec, progress: bool = True) -> list[PatchSet]:
    """Return the PatchSets that a run is trained on, cutting them if needed; raises as `patch_set`."""
    return [patch_set(patch_spec, progress) for patch_spec in spec.data]


def patch_set(spec: PatchSpec, progress: bool = True) -> PatchSet:
    """Return a PatchSet, cutting it if needed; `UserError` if the data set is not ready or has changed."""
    with suppress(UserError):  # not cut yet, or damaged; its name identifies the content, so the data need not be read
        return patches.load(spec)
    dataset = sources.load(spec.dataset)
    if dataset.fingerprint != spec.fingerprint:
        change = f"its content is {dataset.fingerprint}, the run was planned on {spec.fingerprint}"
        raise UserError(f"data set '{spec.dataset}': {change}; plan again with `lmhld plan`")
    return patches.cut(spec, dataset.scenes_of(spec.area), progress)


def test_patches(run: Run) -> pd.DataFrame:
    """Return the counts of a run's test patches (`scoring.test_counts`); raises `UserError` if there are none."""
    return _read_counts(run, scoring.PATCHES_FILE, scoring.PATCH_COLUMNS)


def block_counts(run: Run) -> pd.DataFrame:
    """Return the counts of a run's whole area by blocks (`scoring.in_blocks`); raises as `test_patches`."""
    return _read_counts(run, scoring.BLOCKS_FILE, scoring.BLOCK_COLUMNS)


def _read_counts(run: Run, name: str, columns: list[str]) -> pd.DataFrame:
    with suppress(OSError, ValueError):  # pandas raises ValueError on a file that it cannot parse
        counts = pd.read_csv(run.folder / name, dtype={"scene": str, "stage": str})
        if list(counts.columns) == columns:
            return counts
    way_out = "move the folder away and make the run again with `lmhld run`"
    raise UserError(f"{run.folder / name}: missing or damaged; {way_out}")


def remembered(run: Run, name: str, compute: Callable[[], Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return the part of a run's predictions that a figure shows, from its folder, or computed and stored there.

    ``name`` identifies all that the arrays depend on besides the run and its weights. UserError if a record lacks them.
    """
    path = run.folder / SHOWN / f"{safe_name(name, 'prediction')}-{run.metrics['weights']}.npz"
    unreadable = (FileNotFoundError, ValueError, LookupError, EOFError, zipfile.BadZipFile, zlib.error)
    with suppress(*unreadable), np.load(path, allow_pickle=False) as stored:
        return dict(stored)
    arrays: dict[str, Any] = dict(compute())
    if not run.spec.recipe.portable or portability(torch.device("cpu")) == "yes":
        with suppress(UserError), config.atomic_path(path) as temporary:  # a store may be read-only
            np.savez_compressed(temporary, **arrays)
    return arrays


def counts_on(run: Run, spec: PatchSpec) -> pd.DataFrame:
    """Return counts of a run's network on test patches of any PatchSpec, normalised as when learnt, else by scene."""
    learnt = {(data.dataset, data.area): data for stage in run.spec.chain for data in stage.data}
    own = learnt.get((spec.dataset, spec.area))
    normalise = run.spec.recipe.normalise if own else "scene"

    def compute() -> Mapping[str, np.ndarray]:
        tested = patch_set(spec, False)
        if own and normalise == "area":
            tested = replace(tested, mean=patch_set(own, False).mean, std=patch_set(own, False).std)
        tests = load_split([tested], "test", torch.device("cpu"), normalise)
        counts, _ = scoring.patch_counts(run.model(), tests, run.recipe)
        return {name: counts[name].to_numpy() for name in ("number", *scoring.COUNTS)}

    stored = remembered(run, f"patches-{normalise}-{spec.fingerprint_of_patches}", compute)
    return pd.DataFrame(stored).assign(area=spec.area)


def score_whole_area(run: Run, device: torch.device, progress: bool) -> None:
    """Count all windows of a run's area (`scoring.window_counts`) and sum them up; raises as `patch_set`."""
    (patch_set,) = patch_sets(run.spec, progress)
    model = run.model().to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    scenes = sources.load(patch_set.spec.dataset).scenes_of(patch_set.spec.area)
    windows = scoring.window_counts(model, patch_set, scenes, run.recipe, progress)
    blocks = scoring.in_blocks(windows, patch_set.spec.block * patch_set.spec.size)
    scoring.write(run.folder / scoring.BLOCKS_FILE, blocks)
    scores = {name: counts.as_dict() for name, counts in scoring.whole_area(blocks).items()}
    record = seals.sealed({"run_id": run.spec.run_id, **scores}, run.folder, [scoring.BLOCKS_FILE])
    write_json(run.folder / scoring.WHOLE_AREA_FILE, record)
