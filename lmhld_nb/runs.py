"""Runs: a store where each training lies under the hash of its spec, so that none is made twice."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import safetensors
from torch import nn
from tqdm import tqdm

from lmhld_nb import networks, patches, sources, whole_area
from lmhld_nb.config import UserError, runs_dir
from lmhld_nb.evaluation import Confusion
from lmhld_nb.patches import PatchSet
from lmhld_nb.specs import RunSpec

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
        """Counts over the whole study area (`whole_area.score`); None where they were not made."""
        try:
            stored = json.loads((self.folder / whole_area.FILE).read_text(encoding="utf-8"))
            if stored.pop("run_id") != self.spec.run_id:
                return None
            return {
                name: Confusion(*(counts[key] for key in ("tp", "fp", "fn", "tn")))
                for name, counts in stored.items()
            }
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None


def files(with_whole_area: bool) -> tuple[str, ...]:
    """Return the files of a run's folder whose presence means that nothing of it is left to make."""
    return ("metrics.json", whole_area.FILE) if with_whole_area else ("metrics.json",)


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
        with safetensors.safe_open(folder / "weights.safetensors", framework="pt") as tensors:
            tensors.keys()
        (folder / "history.csv").stat()
        if stored != json.loads(spec.canonical()) or metrics["run_id"] != spec.run_id:
            raise ValueError("it holds another spec")
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        _set_aside(folder, error)
        return None
    return Run(spec, folder, metrics)


def status(spec: RunSpec, with_whole_area: bool = False) -> str:
    """Return ``done``, ``unscored`` (the whole area is left to score), ``failed``, ``begun`` or ``missing``.

    ``failed`` stands for a last attempt that ended in an error (`failure`), ``begun`` for a checkpoint that waits.
    """
    if run := find(spec):
        return "unscored" if with_whole_area and run.whole_area is None else "done"
    if failure(spec):
        return "failed"
    return "begun" if (runs_dir() / spec.run_id / "checkpoint.safetensors").is_file() else "missing"


def failure(spec: RunSpec) -> str:
    """Return what the last attempt of an unfinished run failed of; empty if it did not."""
    try:
        told = json.loads((runs_dir() / spec.run_id / FAILURE).read_text(encoding="utf-8"))
        return str(told["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


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
    told = " ".join(str(reason).split())[:120]
    # Not among what a command answers: `lmhld plan --csv` is read by programs.
    tqdm.write(f"{folder}: not usable ({told}); set aside as {target}", file=sys.stderr)
