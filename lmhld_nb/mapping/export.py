"""Exports: a run's network as one file that maps scenes anywhere, and its card for people."""

from __future__ import annotations

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
    """Write a finished run's weights with their card to ``out``, and the card as JSON beside it.

    The card holds model, width, bands, patch sizes, resolution, normalisation, data sets and their fingerprints, scores
    on the test patches, and versions.

    Args:
        run_id: of the store of runs.
        out: FILE.safetensors; its folder is made where absent.
        force: replace files that are no earlier export, too (never the store's).

    Returns:
        The two files.

    Raises:
        UserError: no finished run, another suffix, a file there that is no earlier export, or the folder cannot be
            written.
    """
    if out.suffix != ".safetensors":
        raise UserError(f"{out}: must end in .safetensors, as what it holds")
    card_file = out.with_suffix(".json")
    _refuse_to_replace(out, card_file, runs_dir() / run_id, force)
    folder = runs_dir() / run_id
    spec, metrics, environment = (_read(folder / name) for name in ("spec.json", "metrics.json", "environment.json"))
    tensors, card = networks.read(folder / "weights.safetensors")
    try:
        for patch_set in spec["data"]:
            area = card["areas"][patch_set["area"]]
            area |= {name: patch_set[name] for name in ("dataset", "fingerprint", "min_share", "split")}
            area["test"] = metrics["areas"].get(patch_set["area"])
        card |= {
            "precision": metrics["precision"],
            "test": metrics["test"],
            "recipe": spec["recipe"],
            "seed": spec["seed"],
            "engine": spec["engine"],
            "trained_with": environment,
            "exported_with": {
                "lmhld_nb": lmhld_nb.__version__,
                "torch": torch.__version__,
                "safetensors": safetensors.__version__,
            },
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{folder}: damaged ({error!r}); make the run again with `lmhld run`") from error
    write_tensors(out, tensors, {"card": json.dumps(card)})
    write_json(card_file, card)
    return out, card_file


def _refuse_to_replace(out: Path, card_file: Path, run: Path, force: bool) -> None:
    """Refuse to write into the store of runs, or over files that no export has written.

    Raises:
        UserError: it would.
    """
    stored = runs_dir()
    for path in (out, card_file):
        same = path.exists() and any(path.samefile(file) for file in run.glob("*"))
        if same or path.resolve().is_relative_to(stored):
            raise UserError(f"{path}: is in the store of runs; choose another file")
    for path, is_ours in ((out, _is_network), (card_file, _is_card)):
        if not force and path.exists() and not is_ours(path):
            raise UserError(
                f"{path}: exists and is no export of this book; choose another file, or replace it with --force"
            )


def _is_network(path: Path) -> bool:
    try:
        return path.is_file() and bool(networks.read(path))
    except UserError:
        return False


def _is_card(path: Path) -> bool:
    try:
        return path.is_file() and {"run_id", "areas", "bands"} <= set(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{path.parent}: no finished run ({path.name} is missing); `lmhld plan PROFILE` lists them"
        ) from None
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); make the run again with `lmhld run`") from error
