"""Exports: a run's network as one file that maps scenes anywhere, and its card for people."""

import json
from pathlib import Path
from typing import Any

import safetensors
import torch

import lmhld_nb
from lmhld_nb.config import UserError, runs_dir, write_json
from lmhld_nb.training import weights as networks
from lmhld_nb.training.weights import write_tensors


def export(run_id: str, out: Path, force: bool = False) -> tuple[Path, Path]:
    """Write a finished run's weights with their card to ``out`` (.safetensors), and the card as JSON beside it.

    The card holds model, width, bands, patch sizes, resolution, normalisation, data sets and their fingerprints, scores
    on the test patches, and versions. Returns both files. UserError where there is no finished run, another suffix, it
    cannot be written, or a file is there that is no earlier export (unless ``force``; the store's files are never
    replaced).
    """
    if out.suffix != ".safetensors":
        raise UserError(f"{out}: must end in .safetensors, as what it holds")
    card_file = out.with_suffix(".json")
    folder = runs_dir() / run_id
    for path in (out, card_file):
        _refuse_to_replace(path, folder, force)
    spec, metrics, environment = (_read(folder / name) for name in ("spec.json", "metrics.json", "environment.json"))
    tensors, card = networks.read(folder / "weights.safetensors")
    try:
        for patch_set in spec["data"]:
            area = card["areas"][patch_set["area"]]
            area |= {name: patch_set[name] for name in ("dataset", "fingerprint", "min_share", "split")}
            area["test"] = metrics["areas"].get(patch_set["area"])
        card |= {name: metrics[name] for name in ("precision", "test")}
        card |= {name: spec[name] for name in ("recipe", "seed", "engine")} | {"trained_with": environment}
        card["exported_with"] = {module.__name__: module.__version__ for module in (lmhld_nb, torch, safetensors)}
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{folder}: damaged ({error!r}); make the run again with `lmhld run`") from error
    write_tensors(out, tensors, {"card": json.dumps(card)})
    write_json(card_file, card)
    return out, card_file


def _refuse_to_replace(path: Path, run: Path, force: bool) -> None:
    """Refuse (UserError) to write into the store of runs, or over a file that no export has written."""
    is_stored = path.exists() and any(path.samefile(file) for file in run.glob("*"))
    if is_stored or path.resolve().is_relative_to(runs_dir()):
        raise UserError(f"{path}: is in the store of runs; choose another file")
    if path.exists() and not force and not _is_export(path):
        reason = "exists and is no export of this book"
        raise UserError(f"{path}: {reason}; choose another file, or replace it with --force")


def _is_export(path: Path) -> bool:
    try:
        if not path.is_file():
            return False
        card = networks.read(path)[1] if path.suffix == ".safetensors" else json.loads(path.read_text("utf-8"))
        return {"run_id", "areas", "bands"} <= set(card)
    except (UserError, OSError, ValueError, TypeError, RecursionError):
        return False


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        reason = f"no finished run ({path.name} is missing)"
        raise UserError(f"{path.parent}: {reason}; `lmhld plan PROFILE` lists them") from None
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); make the run again with `lmhld run`") from error
