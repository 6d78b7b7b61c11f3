"""Runs: a store where each training lies under the hash of its spec, so that none is made twice."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import safetensors
import torch
from torch import nn
from tqdm import tqdm

from lmhld_nb import patches, sources
from lmhld_nb.training import weights as networks
from lmhld_nb.training import scoring
from lmhld_nb.config import UserError, runs_dir, write_json
from lmhld_nb.evaluation.counts import Confusion
from lmhld_nb.patches.patch_sets import PatchSet, PatchSpec
from lmhld_nb.training.chains import EarlierStage
from lmhld_nb.training.specs import Recipe, RunSpec
from lmhld_nb.training.weights import digest

FAILURE = "failure.json"


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
        return networks.load(self.folder / "weights.safetensors")[0]

    @property
    def whole_area(self) -> dict[str, Confusion] | None:
        """Counts over the whole study area (`scoring.whole_area`); None where they were not made."""
        try:
            stored = json.loads((self.folder / scoring.WHOLE_AREA_FILE).read_text(encoding="utf-8"))
            if stored["run_id"] != self.spec.run_id:
                return None
            return {name: Confusion.from_dict(stored[name]) for name in ("all", "outside_training")}
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None


def files(with_whole_area: bool) -> tuple[str, ...]:
    """Return the files of a run's folder whose presence means that nothing of it is left to make."""
    return ("metrics.json", scoring.WHOLE_AREA_FILE) if with_whole_area else ("metrics.json",)


def find(spec: RunSpec) -> Run | None:
    """Return the finished run of ``spec``, or None.

    A run is finished if and only if its metrics.json parses. A folder that holds damaged files, or those of another
    run, is never used (`damage`); whoever makes the run sets it aside first.
    """
    found = _looked_at(spec)
    return found if isinstance(found, Run) else None


def damage(spec: RunSpec) -> str:
    """Return what is wrong with the folder of ``spec``: foreign or damaged files; empty if nothing is."""
    found = _looked_at(spec)
    return found if isinstance(found, str) else ""


def _looked_at(spec: RunSpec) -> Run | str | None:
    """Return the finished run, what is wrong with its folder, or None if it is not made yet."""
    folder = runs_dir() / spec.run_id
    finished = (folder / "metrics.json").is_file()
    try:
        if finished or (folder / "spec.json").is_file():
            stored = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
            if stored != json.loads(spec.canonical()):
                return "it holds another spec"
        if not finished:
            return None
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        if (
            metrics["run_id"] != spec.run_id
            or set(_TOLD) - set(metrics)
            or set(_COUNTED) - set(metrics["test"])
            or {stage.run_id for stage in spec.chain[:-1]} - set(metrics.get("earlier", ()))
        ):
            return "its metrics.json is not this run's, or not whole"
        with safetensors.safe_open(folder / "weights.safetensors", framework="pt") as tensors:
            if json.loads((tensors.metadata() or {})["card"])["run_id"] != spec.run_id:
                return "its weights are those of another run"
        if spec.stage is not None and not _begun_from(spec.stage.parent, metrics["parent_weights"]):
            return "its parent has been made again, with other weights"
        rows = (folder / "history.csv").read_text(encoding="utf-8").splitlines()
        if len(rows) != spec.recipe.epochs + 1:
            return f"its history has {max(0, len(rows) - 1)} of {spec.recipe.epochs} epochs"
    except FileNotFoundError as error:
        return f"{Path(str(error.filename or 'a file')).name} is missing"
    except (ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        return f"damaged: {' '.join(str(error).split())[:120]}"
    return Run(spec, folder, metrics)


def _begun_from(parent: RunSpec, digest: str) -> bool:
    """Say whether a stage's parent still has the weights it began with; a parent that is not there says nothing."""
    try:
        told = json.loads((runs_dir() / parent.run_id / "metrics.json").read_text(encoding="utf-8"))
        return bool(told.get("weights", digest) == digest)  # runs made before chains existed do not tell
    except (FileNotFoundError, NotADirectoryError, ValueError, AttributeError):
        return True


def weights_damage(run: Run) -> str:
    """Return what is wrong with a finished run's weights, read from end to end; empty if nothing is."""
    if run.metrics.get("weights") not in (None, digest(run.folder / "weights.safetensors")):
        return "its weights are not those it was finished with"
    return ""


_TOLD = (
    "test",
    "areas",
    "milestones",
    "val_f1",
    "best_epoch",
    "training_patches",
    "seconds",
    "device",
    "precision",
)
_COUNTED = ("tp", "fp", "fn", "tn", "precision", "f1", "recall")


def status(spec: RunSpec, with_whole_area: bool = False) -> str:
    """Return how far a run is.

    ``done``; ``unscored``: only the score of the whole area is left; ``failed``: the last attempt ended in an error
    (`failure`); ``damaged``: its folder is not usable and will be set aside; ``begun``: a checkpoint waits;
    or ``missing``.
    """
    found = _looked_at(spec)
    if isinstance(found, Run) and not (with_whole_area and found.whole_area is None):
        return "done"
    if failure(spec):
        return "failed"
    if isinstance(found, Run):
        return "unscored"
    if found:
        return "damaged"
    return "begun" if (runs_dir() / spec.run_id / "checkpoint.safetensors").is_file() else "missing"


def failure(spec: RunSpec) -> str:
    """Return what the last attempt of an unfinished run failed of; empty if it did not."""
    try:
        told = json.loads((runs_dir() / spec.run_id / FAILURE).read_text(encoding="utf-8"))
        return str(told["error"])
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return ""


def tell_failure(spec: RunSpec, error: Exception) -> None:
    """Keep the reason of a failure in the run's folder, until the run succeeds."""
    told = str(error) if isinstance(error, UserError) else repr(error)
    with suppress(UserError):  # a disk that is full cannot keep it; the command tells it all the same
        write_json(runs_dir() / spec.run_id / FAILURE, {"error": " ".join(told.split())})


def rates() -> pd.DataFrame:
    """Return how fast each finished run of the store was made: model, width, device, patch_size, patches_per_second."""
    rows = []
    for path in sorted(runs_dir().glob("*/metrics.json")):
        try:
            metrics = json.loads(path.read_text(encoding="utf-8"))
            spec = json.loads((path.parent / "spec.json").read_text(encoding="utf-8"))
            rows.append(
                {
                    "model": spec["model"],
                    "width": str(spec["width"] or "published"),
                    "device": metrics["device"],
                    "patch_size": max(part["size"] for part in spec["data"]),
                    "patches_per_second": metrics["patches_per_second"],
                }
            )
        except (OSError, ValueError, KeyError, TypeError):
            continue  # damaged, or of another version: `find` deals with it where it is asked for
    return pd.DataFrame(rows, columns=["model", "width", "device", "patch_size", "patches_per_second"])


def patch_sets(spec: RunSpec, progress: bool = True) -> list[PatchSet]:
    """Return the PatchSets a run is trained on, cutting those that are not there yet.

    Raises:
        UserError: the data set is not prepared, or is not the one the spec names.
    """
    return [patch_set(part, progress) for part in spec.data]


def patch_set(part: PatchSpec, progress: bool = True) -> PatchSet:
    """Return one PatchSet, cut where it is not there yet; raises as `patch_sets`."""
    if patches.is_cut(part):  # its name says from which content: no need to look at the data
        return patches.load(part)
    dataset = sources.load(part.dataset)
    if dataset.fingerprint != part.fingerprint:
        raise UserError(
            f"data set '{part.dataset}': its content is {dataset.fingerprint}, the run was planned on "
            f"{part.fingerprint}; plan again with `lmhld plan`"
        )
    return patches.cut(part, dataset.scenes_of(part.area), progress)


def earlier(stage: RunSpec) -> EarlierStage:
    """Return a finished stage of a chain as the training of a later one wants it."""
    return EarlierStage(stage.run_id, runs_dir() / stage.run_id / "weights.safetensors", patch_sets(stage, False))


def those_of(specs: Sequence[RunSpec], finished: Sequence[Run]) -> list[Run]:
    """Return the runs of some specs among finished ones, in the order of the specs; absent ones are left out."""
    by_id = {run.spec.run_id: run for run in finished}
    return [by_id[spec.run_id] for spec in specs if spec.run_id in by_id]


def test_patches(run: Run) -> pd.DataFrame:
    """Return the counts of a run's test patches, as `scoring.test_counts` gives them.

    Runs made before these were kept lack the file: it is computed from the weights, on the CPU, and kept.
    """
    columns = scoring.PATCH_COLUMNS
    found = scoring.read(run.folder / scoring.PATCHES_FILE, columns)
    if found is None:
        stages = [earlier(stage) for stage in run.spec.chain[:-1]]
        sets = patch_sets(run.spec, progress=False)
        found, _ = scoring.test_counts(run.model(), run.spec, sets, stages, _computed(run))
        with suppress(UserError):  # a shared, read-only store is computed anew each time
            scoring.write(run.folder / scoring.PATCHES_FILE, found)
    return found


def windows(run: Run) -> pd.DataFrame:
    """Return the counts of all windows of a run's area, as `scoring.window_counts` gives them; else as `test_patches`."""
    found = scoring.read(run.folder / scoring.WINDOWS_FILE, scoring.WINDOW_COLUMNS)
    if found is None:
        found = scored_windows(run, torch.device("cpu"), progress=False)
        with suppress(UserError):
            scoring.write(run.folder / scoring.WINDOWS_FILE, found)
    return found


def scored_windows(run: Run, place: torch.device, progress: bool) -> pd.DataFrame:
    """Count all windows of a run's area (`scoring.window_counts`).

    Raises:
        UserError: its data set is not there, or a scene cannot be read.
    """
    (part,) = patch_sets(run.spec, progress)
    model = run.model().to(place).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    members = sources.load(part.spec.dataset).scenes_of(part.spec.area)
    return scoring.window_counts(model, part, members, _computed(run), place, progress)


def _computed(run: Run) -> Recipe:
    """Return a run's recipe with the precision it was computed in."""
    return run.spec.recipe.model_copy(update={"precision": run.metrics["precision"]})


def set_aside(spec: RunSpec, reason: str) -> None:
    """Move the folder of ``spec`` to ``runs/set-aside/`` and say so; only for who holds the run's lock."""
    folder = runs_dir() / spec.run_id
    aside = folder.parent / "set-aside"
    aside.mkdir(exist_ok=True)
    target = next(
        aside / f"{folder.name}.{n}" for n in range(10_000) if not (aside / f"{folder.name}.{n}").exists()
    )
    shutil.move(folder, target)
    # Not among what a command answers: `lmhld plan --csv` is read by programs.
    tqdm.write(f"{folder}: not usable ({reason}); set aside as {target}", file=sys.stderr)
