"""Specs: what decides a run's result, written down so that a hash of it names the run."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from lmhld_nb.config import Strict
from lmhld_nb.patches.patch_sets import PatchSpec

ENGINE_VERSION = 3  # raised whenever the same spec would give other weights

Treatment = Literal["fresh", "frozen", "finetune"]
PARTS = ("input", "level 1", "level 2", "level 3", "level 4", "level 5", "decoder")
"""Parts of a network that a stage of a chain treats apart: the input convolution, the rest of each encoder level
from shallow to deep, and everything after them."""


class Recipe(Strict, allow_inf_nan=False):
    """How a network is trained (paper section 3.3; open points in the fidelity ledger).

    Attributes:
        batch_size: patches a step.
        epochs: passes over the training patches.
        lr: first learning rate of SGD.
        gamma: factor on the learning rate after each epoch.
        momentum, weight_decay: of SGD.
        loss: ``bce`` on logits, or ``dice_bce``, its mean with soft Dice.
        augment: random flips and quarter turns.
        keep: test the epoch of ``best`` validation F1, or the ``last``.
        normalise: z-score with the statistics of the ``area``'s training patches, or of each ``scene``.
        precision: ``fp32``, ``bf16`` (autocast), or ``auto``: bf16 where the hardware computes it natively.
        micro_batch: patches computed at a time, where memory is short; their gradients are summed up to
            ``batch_size`` before each step. Batch normalisation then sees that many, so it decides the result.
    """

    batch_size: PositiveInt = 16
    epochs: PositiveInt = 300
    lr: PositiveFloat = 0.01
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.99
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weight_decay: NonNegativeFloat = 0.0
    loss: Literal["bce", "dice_bce"] = "bce"
    augment: bool = False
    keep: Literal["best", "last"] = "best"
    normalise: Literal["area", "scene"] = "area"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    micro_batch: PositiveInt | None = None


class Stage(Strict):
    """What a stage of a chain starts from (`serial`).

    Attributes:
        parent: the training whose tested weights it starts from.
        treatment: of each of `PARTS`: ``fresh`` (drawn anew), ``frozen`` (kept) or ``finetune`` (trained on).
        ewc: strength of elastic weight consolidation (`serial.consolidation`); 0 for none.
        replay: share of the training patches of each earlier area that are trained on again; 0 for none.
    """

    parent: RunSpec
    treatment: Annotated[tuple[Treatment, ...], Field(min_length=len(PARTS), max_length=len(PARTS))]
    ewc: NonNegativeFloat = 0.0
    replay: Annotated[float, Field(ge=0, le=1)] = 0.0


class RunSpec(Strict):
    """All that decides a run's result, and so names it.

    Attributes:
        model, width: architecture and its first-level channels (None as published).
        options: of the architecture (`models.build`).
        data: the patches of one or more areas, trained on together.
        recipe: how it is trained.
        seed: of initial weights, order of patches and augmentation.
        milestones: epochs after which the test patches are scored as well. No learning rate depends on how many
            epochs are to come, so a shorter training is the beginning of a longer one, and its score is had on the way.
        stage: where it goes on from another run; None from random weights.
    """

    model: str
    width: int | None = None
    options: dict[str, bool] = {}
    data: tuple[PatchSpec, ...]
    recipe: Recipe
    seed: int = 0
    milestones: tuple[PositiveInt, ...] = ()
    stage: Stage | None = None

    @property
    def run_id(self) -> str:
        """Return 16 hex digits: a hash of the canonical spec, the data's fingerprints included."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:16]

    def canonical(self) -> str:
        """Return the spec as JSON with sorted keys and the engine's version."""
        told = self.model_dump(mode="json", exclude={"stage"})
        if self.stage is not None:  # its id stands for all that made the parent
            stage = self.stage.model_dump(mode="json", exclude={"parent"}, exclude_defaults=True)
            told["stage"] = {"parent": self.stage.parent.run_id, **stage}
        return json.dumps({"engine": ENGINE_VERSION, **told}, sort_keys=True)

    @property
    def label(self) -> str:
        """Return a few words on model and data, for progress lines and errors."""
        areas = list(dict.fromkeys(part.area for part in self.data))
        where = f"stage {len(self.chain)}, " if self.stage else ""
        told = "+".join(areas) if len(areas) < 3 else f"{len(areas)} areas"
        return f"{self.model} {where}{told} {self.data[0].size} px"

    @property
    def chain(self) -> list[RunSpec]:
        """Trainings up to this one, each of which starts from the one before; alone where it starts afresh."""
        found = [self]
        while (stage := found[-1].stage) is not None:
            found.append(stage.parent)
        return found[::-1]

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands the model sees."""
        return self.data[0].bands
