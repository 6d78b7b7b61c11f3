"""Exports: a run's network as one file that maps scenes anywhere, and its card for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors
import torch

import lmhld_nb
from lmhld_nb import scenes, sources
from lmhld_nb.config import UserError, runs_dir, write_json
from lmhld_nb.training import weights as networks
from lmhld_nb.training.weights import write_tensors


def export(run_id: str, out: Path) -> tuple[Path, Path]:
    """Write a finished run's weights with their card to ``out``, and the card as JSON beside it.

    The card tells model, width, bands, patch sizes, resolution, normalisation, data sets and their fingerprints, scores
    on the test patches, and versions. Where an older run does not know its resolution, the data set is asked, if it is
    here.

    Args:
        run_id: of the store of runs.
        out: FILE.safetensors; its folder is made where absent.

    Returns:
        The two files.

    Raises:
        UserError: no finished run, another suffix, or the folder cannot be written.
    """
    if out.suffix != ".safetensors":
        raise UserError(f"{out}: must end in .safetensors, as what it holds")
    folder = runs_dir() / run_id
    spec, metrics, used = (_read(folder / name) for name in ("spec.json", "metrics.json", "environment.json"))
    tensors, card = networks.read(folder / "weights.safetensors")
    try:
        for part in spec["data"]:
            area = card["areas"][part["area"]]
            area |= {name: part[name] for name in ("dataset", "fingerprint", "min_share", "split")}
            if area.get("resolution_m") is None:
                area["resolution_m"] = _resolution(part)
            area["test"] = metrics["areas"].get(part["area"])
        card |= {
            "precision": metrics["precision"],
            "test": metrics["test"],
            "recipe": spec["recipe"],
            "seed": spec["seed"],
            "engine": spec["engine"],
            "trained_with": used,
            "exported_with": {
                "lmhld_nb": lmhld_nb.__version__,
                "torch": torch.__version__,
                "safetensors": safetensors.__version__,
            },
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{folder}: damaged ({error!r}); make the run again with `lmhld run`") from error
    card_file = out.with_suffix(".json")
    write_json(card_file, card)
    try:
        write_tensors(out, tensors, {"card": json.dumps(card)})
    except BaseException:
        card_file.unlink(missing_ok=True)  # a card without its network
        raise
    return out, card_file


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{path.parent}: no finished run ({path.name} is missing); `lmhld plan PROFILE` lists them"
        ) from None
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); make the run again with `lmhld run`") from error


def _resolution(part: dict[str, Any]) -> float | None:
    """Return the ground size of the pixels an area was trained on, as its data set tells it; None if it is not here."""
    try:
        dataset = sources.load(part["dataset"])
        if dataset.fingerprint != part["fingerprint"]:
            return None
        with scenes.open_image(dataset.scenes_of(part["area"])[0]) as image:
            return image.ground_m
    except UserError:  # not prepared here: the run can do without
        return None
