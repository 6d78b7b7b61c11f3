"""Specs: everything that determines a run's result; a hash of it is the run's id."""

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
"""Raised whenever all specs would give other weights; losses and optimisers have their own versions."""

Width = Annotated[int, Field(ge=1, le=1024)]  # channels of a network's first level; the widest published has 64
Treatment = Literal["fresh", "frozen", "finetune"]  # initialised at random, kept, trained further
LAYER_GROUPS = ("input", "input norm", "level 1", "level 2", "level 3", "level 4", "level 5", "decoder")
"""The layer groups that a stage of a chain treats separately: the input convolution, the normalisation after it, the
rest of each encoder level from shallow to deep, and everything after them."""


class Recipe(Strict, allow_inf_nan=False):
    """How a network is trained (paper section 3.3; open points in the fidelity ledger)."""

    batch_size: Count = 16  # patches per step
    epochs: Count = 300
    optimiser: str = "sgd"  # one of `optimisers.OPTIMISERS`
    lr: Annotated[float, Field(gt=0, le=100)] = 0.01  # highest learning rate
    # ``exponential``: times ``gamma`` after each epoch (the paper's); ``cosine``: from ``lr`` to 0; ``one_cycle``: to
    # ``lr`` in the first 30 % of the steps, then down to 0.
    schedule: Literal["exponential", "cosine", "one_cycle"] = "exponential"
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.99
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weight_decay: Annotated[float, Field(ge=0, le=100)] = 0.0
    loss: str = "bce"  # one of `losses.LOSSES`: on logits, or ``dice_bce``, its mean with soft Dice
    augment: bool = False  # random flips and quarter turns
    keep: Literal["best", "last"] = "best"  # test the epoch of best validation F1, or the last
    normalise: Literal["area", "scene"] = "area"  # z-scores with statistics of the training patches, or of each scene
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # bf16: autocast; auto: bf16 if the hardware has it natively
    # Patches computed at a time, if memory is short; gradients are summed up to ``batch_size`` before each step. Batch
    # normalisation then sees only that many, so it affects the result.
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
    """The start of a stage of a chain (`chains`): ``treatment`` says what happens to each of `LAYER_GROUPS`."""

    parent: RunSpec  # the training whose tested weights it starts from
    treatment: Annotated[tuple[Treatment, ...], Field(min_length=len(LAYER_GROUPS), max_length=len(LAYER_GROUPS))]
    ewc: Annotated[float, Field(ge=0, le=1e9)] = 0.0  # strength of consolidation (`chains.consolidation`); 0 for none
    replay: Share = 0.0  # share of each earlier area's training patches trained on again

    @property
    def treatments(self) -> dict[str, Treatment]:
        return dict(zip(LAYER_GROUPS, self.treatment, strict=True))


class RunSpec(Strict):
    """All that determines a run's result, and so its id."""

    model: str  # architecture (`models.network`)
    source: str = Field(default_factory=lambda own: models.source_of(str(own.get("model"))))  # digest of external code
    width: Width | None = None  # channels of its first level; None as published
    data: tuple[PatchSpec, ...]  # patches of one or more areas, trained on together
    recipe: Recipe
    seed: Seed = 0  # of initial weights, order of patches and augmentation
    stage: Stage | None = None  # how it continues another run; None: from random weights

    @property
    def run_id(self) -> str:
        """16 hex digits: a hash of the canonical spec, the data's fingerprints included."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:16]

    def canonical(self) -> str:
        """Return the spec as JSON with sorted keys and the versions of what computes it."""
        fields = self.model_dump(mode="json", exclude={"stage"} if self.source else {"stage", "source"})
        if self.stage is not None:  # its id stands for the parent's whole spec
            stage = self.stage.model_dump(mode="json", exclude={"parent"}, exclude_defaults=True)
            fields["stage"] = {"parent": self.stage.parent.run_id, **stage}
        for name, entry in (("loss", LOSSES[self.recipe.loss]), ("optimiser", OPTIMISERS[self.recipe.optimiser])):
            if entry.version != 1:  # so that a new version changes the ids of its runs only
                fields[f"{name}_version"] = entry.version
        # Networks once had options: this empty field keeps the ids of runs.
        return json.dumps({"engine": ENGINE_VERSION, "options": {}, **fields}, sort_keys=True)

    @property
    def label(self) -> str:
        """Model and data in a few words, for progress lines and errors."""
        areas = list(dict.fromkeys(patches.area for patches in self.data))
        where = f"stage {len(self.chain)}, " if self.stage else ""
        names = "+".join(areas) if len(areas) < 3 else f"{len(areas)} areas"
        return f"{self.model} {where}{names} {self.data[0].size} px"

    @property
    def chain(self) -> list[RunSpec]:
        """The trainings up to this one, each starting from the previous one; only itself if it starts afresh."""
        return [*(self.stage.parent.chain if self.stage else []), self]

    @property
    def bands(self) -> tuple[str, ...]:
        return self.data[0].bands
