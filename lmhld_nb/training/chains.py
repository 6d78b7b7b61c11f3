"""Serial training, LMHLD_part: areas are learnt one after another, each from the previous weights (paper 3.2 (4)).

A chain is a list of RunSpecs, each naming the previous one as its parent. How a stage treats its parent's weights is
one row of a table, the schedule: each group of layers is ``fresh`` (initialised at random), ``frozen`` (unchanged,
including the statistics of batch normalisation) or ``finetune`` (trained further).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lmhld_nb import models
from lmhld_nb.config import UserError
from lmhld_nb.patches.batches import Batches, load_split
from lmhld_nb.patches.patch_sets import PatchSet
from lmhld_nb.training import engine
from lmhld_nb.training.specs import LAYER_GROUPS, Recipe, RunSpec, Stage, Treatment
from lmhld_nb.training.weights import copy_of

LEVELS = len([group for group in LAYER_GROUPS if group.startswith("level")])
INPUT = ("input", "input norm")  # specific to each area
FISHER_PATCHES = 32  # of each earlier area, to estimate the diagonal of its Fisher information


@dataclass(frozen=True)
class EarlierStage:
    """A finished stage before the current one: its run id, weights.safetensors and PatchSets."""

    run_id: str
    weights: Path
    patch_sets: Sequence[PatchSet]


def paper_schedule(stages: int) -> list[dict[str, Treatment]]:
    """Return the paper's schedule as interpreted in the fidelity ledger, one row per stage; the first is all fresh.

    Stage k reinitialises its input convolution and the normalisation after it, freezes encoder levels 1…min(k-1, 4).
    """
    rows: list[dict[str, Treatment]] = [dict.fromkeys(LAYER_GROUPS, "fresh")]
    for stage in range(2, stages + 1):
        row: dict[str, Treatment] = {**dict.fromkeys(LAYER_GROUPS, "finetune"), "input": "fresh", "input norm": "fresh"}
        for level in range(1, min(stage - 1, LEVELS - 1) + 1):
            row[f"level {level}"] = "frozen"
        rows.append(row)
    return rows[:stages]


def link(
    stages: Sequence[RunSpec], schedule: Sequence[Mapping[str, Treatment]], ewc: float = 0.0, replay: float = 0.0
) -> list[RunSpec]:
    """Link trainings, one per stage, into a chain: the same specs, with a parent from the second on.

    The schedule's last row applies to all later stages. UserError for bands other than the first stage's, or odd sizes.
    """
    linked: list[RunSpec] = []
    for number, spec in enumerate(stages):
        for patches in spec.data:
            name = f"stage {number + 1}, '{patches.area}'"
            if patches.bands != stages[0].bands:
                own, first = ", ".join(patches.bands), ", ".join(stages[0].bands)
                advice = "give all areas the same (key `patches.bands`)"
                raise UserError(f"{name}: bands {own}; the chain began with {first}; {advice}")
            if patches.size < 32 or patches.size % 16:
                raise UserError(f"{name}: patches of {patches.size} px; the networks take multiples of 16 from 32 on")
        if number:
            row = schedule[min(number, len(schedule) - 1)]
            treatment = tuple(row[group] for group in LAYER_GROUPS)
            stage = Stage(parent=linked[-1], treatment=treatment, ewc=ewc, replay=replay)
            spec = spec.model_copy(update={"stage": stage})
        linked.append(spec)
    return linked


def layer_groups(model: nn.Module) -> dict[str, str]:
    """Return each tensor's group (`specs.LAYER_GROUPS`); what is in no encoder level belongs to the decoder.

    An external network that does not expose its levels has only its input and the decoder: none of it is frozen.
    """
    modules = [(f"level {k}", level) for k, level in enumerate(models.encoder_levels(model)[:LEVELS], start=1)]
    # These are part of level 1, so they are assigned last.
    inputs = (("input", models.input_conv(model)), ("input norm", models.input_norm(model)))
    modules += [(group, module) for group, module in inputs if module is not None]
    groups = {id(value): group for group, module in modules for value in module.state_dict(keep_vars=True).values()}
    return {name: groups.get(id(value), "decoder") for name, value in model.state_dict(keep_vars=True).items()}


def seed_of(spec: RunSpec) -> int:
    """Return the seed for fresh weights, a different one at each stage."""
    if spec.stage is None:
        return spec.seed
    return int(np.random.SeedSequence((spec.seed, len(spec.chain) - 1)).generate_state(1)[0])


def start_from_parent(model: nn.Module, stage: Stage, weights: Path) -> None:
    """Give a new network its parent's weights, except in fresh groups, and freeze the frozen ones; else UserError."""
    treatments = stage.treatments
    copy_layer_groups(model, weights, [group for group, treatment in treatments.items() if treatment != "fresh"])
    groups = layer_groups(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(treatments[groups[name]] != "frozen")


def copy_layer_groups(model: nn.Module, weights: Path, groups: Collection[str]) -> None:
    """Copy layer groups from stored weights into a network of the same architecture, in place; else UserError."""
    state = model.state_dict()
    try:
        stored = safetensors.torch.load_file(weights)
        for name, group in layer_groups(model).items():
            if group in groups:
                state[name].copy_(stored[name])
    except (OSError, safetensors.SafetensorError, KeyError, RuntimeError) as error:
        raise UserError(f"{weights}: not the weights a stage can start from ({str(error)[:120]})") from error


def freeze_statistics(model: nn.Module, treatments: Mapping[str, Treatment]) -> None:
    """Keep the statistics of batch normalisation in frozen groups; call this after ``model.train()``."""
    groups = layer_groups(model)
    for name, module in model.named_modules():
        group = groups.get(f"{name}.running_mean", "")
        if isinstance(module, _BatchNorm) and treatments.get(group) == "frozen":
            module.eval()


def training_split(
    spec: RunSpec, patch_sets: Sequence[PatchSet], earlier: Sequence[EarlierStage], device: torch.device
) -> Batches:
    """Return a run's training data: its own training patches, and replayed ones of earlier areas (at least one)."""
    share = spec.stage.replay if spec.stage is not None else 0.0
    replayed = [own for stage in earlier for own in stage.patch_sets] if share else []
    only = [patches.where("train") for patches in patch_sets]
    for number, patches in enumerate(replayed):
        numbers = patches.where("train")
        count = min(len(numbers), max(1, round(share * len(numbers))))
        only.append(np.sort(np.random.default_rng((spec.seed, number)).choice(numbers, count, replace=False)))
    return load_split([*patch_sets, *replayed], "train", device, spec.recipe.normalise, only=only)


def consolidation(
    model: nn.Module, strength: float, earlier: Sequence[EarlierStage], recipe: Recipe, device: torch.device
) -> Callable[[float], None]:
    """Return the update of elastic weight consolidation (Kirkpatrick et al. 2017, equation 3).

    The penalty is strength / 2 · sum F (w - w*)² for each earlier area, with w* the weights after that area and F the
    diagonal of its Fisher information: mean squared gradients of the loss on single training patches. Called with the
    learning rate after each step, the update is implicit (a proximal step), so no strength makes training diverge.
    """
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    weight = {name: torch.zeros_like(value) for name, value in trained.items()}
    drawn = {name: torch.zeros_like(value) for name, value in trained.items()}
    before = copy_of(model)
    model.eval()
    for stage in earlier:
        copy_layer_groups(model, stage.weights, LAYER_GROUPS)
        only = []
        for patches in stage.patch_sets:
            numbers = patches.where("train")
            places = np.linspace(0, len(numbers) - 1, min(len(numbers), FISHER_PATCHES)).round().astype(int)
            only.append(numbers[places])
        batches = load_split(stage.patch_sets, "train", device, recipe.normalise, only=only)
        for images, masks in batches.load(batches.order(1, None)):
            model.zero_grad(set_to_none=True)
            engine.training_loss(model, images, masks, recipe).backward()
            for name, parameter in trained.items():
                if parameter.grad is not None:
                    fisher = parameter.grad**2 / len(batches)
                    weight[name] += strength * fisher
                    drawn[name] += strength * fisher * parameter.detach()
    model.zero_grad(set_to_none=True)
    model.load_state_dict(before)

    @torch.no_grad()
    def pull(lr: float) -> None:
        for name, parameter in trained.items():
            parameter.add_(drawn[name], alpha=lr).div_(1 + lr * weight[name])

    return pull
