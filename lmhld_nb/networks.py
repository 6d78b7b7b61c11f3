"""Weights on disk: safetensors with a card that says what network they are and what it wants to be shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor, nn

from lmhld_nb import models
from lmhld_nb.checkpoints import write_tensors
from lmhld_nb.config import UserError
from lmhld_nb.patches import PatchSet
from lmhld_nb.specs import RunSpec


def save(
    path: Path,
    tensors: dict[str, Tensor],
    spec: RunSpec,
    patch_sets: Sequence[PatchSet],
    **more: object,
) -> None:
    """Write a network's tensors with its card: model, bands, normalisation of each area, and ``more``.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    card = {
        "run_id": spec.run_id,
        "model": spec.model,
        "width": spec.width,
        "options": spec.options,
        "bands": list(spec.bands),
        "normalise": spec.recipe.normalise,
        "areas": {
            part.area: {"patch_size": part.size, "mean": list(patches.mean), "std": list(patches.std)}
            for part, patches in zip(spec.data, patch_sets, strict=True)
        },
        **more,
    }
    write_tensors(path, tensors, {"card": json.dumps(card)})


def load(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Return a stored network in evaluation mode, on the CPU, and its card.

    Raises:
        UserError: the file is missing, damaged, or has no card.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            card = json.loads((file.metadata() or {})["card"])
        model = models.build(card["model"], len(card["bands"]), card["width"], **card.get("options", {}))
        model.load_state_dict(safetensors.torch.load_file(path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `lmhld plan PROFILE` lists the finished runs") from None
    except (OSError, safetensors.SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        detail = " ".join(str(error).split())[:120]
        raise UserError(
            f"{path}: not a network of this book ({detail}); give a run's weights.safetensors"
        ) from error
    return model.eval(), card
