"""Specs: what decides a run's result, written down so that a hash of it names the run."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from lmhld_nb import models
from lmhld_nb.config import Count, Seed, Share, Strict
from lmhld_nb.patches.patch_sets import PatchSpec
from lmhld_nb.training.losses import LOSSES
from lmhld_nb.training.optimisers import OPTIMISERS

ENGINE_VERSION = 5
"""Raised whenever all specs would give other weights; losses and optimisers have versions of their own."""

Width = Annotated[int, Field(ge=1, le=1024)]  # channels of a network's first level; the widest published has 64
Treatment = Literal["fresh", "frozen", "finetune"]  # drawn anew, kept, trained on
LAYER_GROUPS = ("input", "input norm", "level 1", "level 2", "level 3", "level 4", "level 5", "decoder")
"""The groups of layers that a stage of a chain treats separately: the input convolution, the normalisation behind it,
the rest of each encoder level from shallow to deep, and everything after them."""


class Recipe(Strict, allow_inf_nan=False):
    """How a network is trained (paper section 3.3; open points in the fidelity ledger)."""

    batch_size: Count = 16  # patches per step
    epochs: Count = 300
    optimiser: str = "sgd"  # one of `optimisers.OPTIMISERS`
    lr: Annotated[float, Field(gt=0, le=100)] = 0.01  # highest learning rate
    # ``exponential``: by ``gamma`` after each epoch (the paper's); ``cosine``: from ``lr`` to 0; ``one_cycle``: up to
    # ``lr`` in the first 30 % of the steps and then down to 0.
    schedule: Literal["exponential", "cosine", "one_cycle"] = "exponential"
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.99
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weight_decay: Annotated[float, Field(ge=0, le=100)] = 0.0
    loss: str = "bce"  # one of `losses.LOSSES`: on logits, or ``dice_bce``, its mean with soft Dice
    augment: bool = False  # random flips and quarter turns
    keep: Literal["best", "last"] = "best"  # test the epoch of best validation F1, or the last
    normalise: Literal["area", "scene"] = "area"  # z-score with statistics of its training patches, or of each scene
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # bf16: autocast; auto: that where hardware has it natively
    # Patches computed at a time, where memory is short; their gradients are summed up to ``batch_size`` before each
    # step. Batch normalisation then sees that many, so it decides the result.
    micro_batch: Count | None = None
    portable: bool = False  # the same bits on every x86-64 processor with AVX2 (`hardware.portability`)

    @field_validator("loss", "optimiser", "momentum")
    @classmethod
    def _fits_the_registries(cls, value: Any, field: ValidationInfo) -> Any:
        optimiser = field.data.get("optimiser")  # known only once it is valid
        if field.field_name == "momentum":
            if value and optimiser and not OPTIMISERS[optimiser].momentum:
                raise ValueError(f"{optimiser} has no momentum; set it to 0")
            return value
        known = list(LOSSES if field.field_name == "loss" else OPTIMISERS)
        if value not in known:
            raise ValueError(f"unknown {field.field_name}; choose one of {', '.join(known)}")
        return value


class Stage(Strict):
    """What a stage of a chain starts from (`chains`): ``treatment`` says what becomes of each of `LAYER_GROUPS`."""

    parent: RunSpec  # the training whose tested weights it starts from
    treatment: Annotated[tuple[Treatment, ...], Field(min_length=len(LAYER_GROUPS), max_length=len(LAYER_GROUPS))]
    # Strength of elastic weight consolidation (`chains.consolidation`); 0 for none.
    ewc: Annotated[float, Field(ge=0, le=1e9)] = 0.0
    replay: Share = 0.0  # share of each earlier area's training patches trained on again

    @property
    def treatments(self) -> dict[str, Treatment]:
        return dict(zip(LAYER_GROUPS, self.treatment, strict=True))


def _source_of(fields: dict[str, Any]) -> str:
    name = str(fields.get("model"))
    return models.source_of(name) if ":" in name else ""


class RunSpec(Strict):
    """All that decides a run's result, and so names it."""

    model: str  # architecture (`models.network`)
    source: str = Field(default_factory=_source_of)  # digest of its code, for a network from outside
    width: Width | None = None  # channels of its first level; None as published
    data: tuple[PatchSpec, ...]  # patches of one or more areas, trained on together
    recipe: Recipe
    seed: Seed = 0  # of initial weights, order of patches and augmentation
    stage: Stage | None = None  # where it goes on from another run; None from random weights

    @property
    def run_id(self) -> str:
        """16 hex digits: a hash of the canonical spec, the data's fingerprints included."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:16]

    def canonical(self) -> str:
        """Return the spec as JSON with sorted keys and the versions of what computes it."""
        fields = self.model_dump(mode="json", exclude={"stage"} if self.source else {"stage", "source"})
        if self.stage is not None:  # its id stands for all that made the parent
            stage = self.stage.model_dump(mode="json", exclude={"parent"}, exclude_defaults=True)
            fields["stage"] = {"parent": self.stage.parent.run_id, **stage}
        for name, entry in (("loss", LOSSES[self.recipe.loss]), ("optimiser", OPTIMISERS[self.recipe.optimiser])):
            if entry.version != 1:  # so that a new version names its runs anew and no others
                fields[f"{name}_version"] = entry.version
        # Networks had options once: their empty place keeps the names of runs.
        return json.dumps({"engine": ENGINE_VERSION, "options": {}, **fields}, sort_keys=True)

    @property
    def label(self) -> str:
        """A few words on model and data, for progress lines and errors."""
        areas = list(dict.fromkeys(patches.area for patches in self.data))
        where = f"stage {len(self.chain)}, " if self.stage else ""
        names = "+".join(areas) if len(areas) < 3 else f"{len(areas)} areas"
        return f"{self.model} {where}{names} {self.data[0].size} px"

    @property
    def chain(self) -> list[RunSpec]:
        """Trainings up to this one, each of which starts from the one before; alone where it starts afresh."""
        return [*(self.stage.parent.chain if self.stage else []), self]

    @property
    def bands(self) -> tuple[str, ...]:
        return self.data[0].bands
