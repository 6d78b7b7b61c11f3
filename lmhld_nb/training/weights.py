"""Weights on disk: safetensors with a card that says what network they are and what it wants to be shown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor, nn

from lmhld_nb import models
from lmhld_nb.config import UserError
from lmhld_nb.patches.patch_sets import PatchSet
from lmhld_nb.training.checkpoints import write_tensors
from lmhld_nb.training.specs import RunSpec


def save(
    path: Path,
    tensors: dict[str, Tensor],
    spec: RunSpec,
    patch_sets: Sequence[PatchSet],
    **more: object,
) -> None:
    """Write a network's tensors with its card: model, bands, each area's normalisation and resolution, and ``more``.

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
        "precision": spec.recipe.precision,
        "areas": {
            part.area: {
                "patch_size": part.size,
                "mean": list(patches.mean),
                "std": list(patches.std),
                "resolution_m": patches.resolution_m,
            }
            for part, patches in zip(spec.data, patch_sets, strict=True)
        },
        **more,
    }
    write_tensors(path, tensors, {"card": json.dumps(card)})


def load(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Return a stored network in evaluation mode, on the CPU, and its card.

    Raises:
        UserError: the file is missing, damaged, has no card, or one of another network.
    """
    with _told(path):
        card = _card(path)
        model = models.build(card["model"], len(card["bands"]), card["width"], **card.get("options", {}))
        tensors = safetensors.torch.load_file(path)
        wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
        if wanted != {name: tuple(value.shape) for name, value in tensors.items()}:
            raise ValueError(f"its weights are not those of the {card['model']} that its card tells of")
        model.load_state_dict(tensors)
    return model.eval(), card


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return a stored network's tensors and its card; raises as `load`."""
    with _told(path):
        return safetensors.torch.load_file(path), _card(path)


def _card(path: Path) -> dict[str, Any]:
    with safetensors.safe_open(path, framework="pt") as file:
        return json.loads((file.metadata() or {})["card"])


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `lmhld plan PROFILE` lists the finished runs") from None
    except UserError as error:  # a model that is not among ours
        raise UserError(f"{path}: {error}") from error
    except (OSError, safetensors.SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        detail = " ".join(str(error).split())[:120]
        raise UserError(
            f"{path}: not a network of this book ({detail}); give a run's weights.safetensors"
        ) from error
