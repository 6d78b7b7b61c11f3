"""What the paper does not ask (chapter 11): one network, mostly on one area, with one thing changed at a time."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Annotated, Any

from pydantic import Field

from lmhld_nb import patches
from lmhld_nb.config import Count, Strict
from lmhld_nb.experiments import mix, part, single
from lmhld_nb.experiments.beyond_findings import BEYOND
from lmhld_nb.experiments.profile import ModelName, OptionalSeeds, PatchSize, Seeds
from lmhld_nb.experiments.registry import Experiment, register
from lmhld_nb.experiments.study import Study
from lmhld_nb.patches import PatchSpec
from lmhld_nb.patches.measurements import count_patches, measure_area
from lmhld_nb.training.optimisers import OPTIMISERS
from lmhld_nb.training.specs import RunSpec

LEAST_PATCHES = 3  # one per split
ALONE: dict[str, Any] = {"single": single, "mix": mix}  # compared with LMHLD_part at several numbers of epochs


class Beyond(Strict):
    """Settings: one network on one area (``sizes_area`` for sizes), one run per seed of everything compared.

    ``size_seeds``, ``split_seeds`` and ``stage_seeds`` replace ``seeds`` there; ``stage_epochs`` apply to LMHLD_part.
    """

    area: str
    model: ModelName = "unet"
    seeds: Seeds = (0, 1, 2)
    sizes_area: str | None = None
    sizes: Annotated[tuple[PatchSize, ...], Field(min_length=1)] = patches.SIZES
    size_seeds: OptionalSeeds = ()
    split_seeds: OptionalSeeds = ()
    stage_epochs: tuple[Count, ...] = ()
    stage_seeds: OptionalSeeds = ()


def specs(study: Study) -> list[RunSpec]:
    """Return all trainings of chapter 11, each once."""
    groups = list(groups_compared(study).values())
    groups += [group for compared in by_epochs(study).values() for group in compared.values()]
    return part.unique_stages([spec for group in groups for spec in group])


def groups_compared(study: Study) -> dict[str | int, list[RunSpec]]:
    """Return the trainings on one area that differ in one thing, keyed by that thing (a number is a patch size)."""
    groups: dict[str | int, list[RunSpec]] = {"base": base(study), "background": background(study)}
    return groups | labels(study) | split_kinds(study) | sizes(study) | switches(study)


def by_epochs(study: Study) -> dict[int, dict[str, list[RunSpec]]]:
    """Return the network's runs of experiments 2 to 4 by epochs and strategy; empty without ``stage_epochs``."""
    settings, profile = study.settings("beyond"), study.profile
    if not settings.stage_epochs or not profile.makes("part"):
        return {}
    changes = {"models": (settings.model,), "seeds": settings.stage_seeds or settings.seeds, "seeds_of": {}}
    groups = {}
    for epochs in sorted({*settings.stage_epochs, profile.recipe.epochs}):
        recipe = profile.recipe.model_copy(update={"epochs": epochs})
        again = replace(study, profile=profile.model_copy(update={**changes, "recipe": recipe}))
        groups[epochs] = {"part": part.last_stages(again, part.first_order(again))}
        groups[epochs] |= {name: module.specs(again) for name, module in ALONE.items() if profile.makes(name)}
    return groups


def base(study: Study) -> list[RunSpec]:
    """Return the baseline of all comparisons: the profile's recipe and patches, one run per seed."""
    return _trainings(study, study.patch_spec(study.settings("beyond").area))


def background(study: Study) -> list[RunSpec]:
    """Return the same trainings with windows of little or no landslide added to all splits (`PatchSpec.background`)."""
    return _trainings(study, study.patch_spec(study.settings("beyond").area).model_copy(update={"background": True}))


def labels(study: Study) -> dict[str | int, list[RunSpec]]:
    """Return the same trainings with true outlines as labels; only for synthetic data, where these are known."""
    true = study.patch_spec(study.settings("beyond").area).model_copy(update={"labels": "true"})
    return {"true labels": _trainings(study, true)} if study.dataset.synthetic else {}


def split_kinds(study: Study) -> dict[str | int, list[RunSpec]]:
    """Return trainings on equally many patches, split at random and by separate blocks, in pairs with one seed each."""
    settings = study.settings("beyond")
    own = study.patch_spec(settings.area)
    groups: dict[str | int, list[RunSpec]] = {"random": [], "blocks": []}
    for kind, seed in product(groups, settings.split_seeds or settings.seeds):
        patch_spec = own.model_copy(update={"split": kind, "seed": own.seed + seed, "gap": True})
        groups[kind] += _trainings(study, patch_spec, (seed,))
    return groups


def sizes(study: Study) -> dict[str | int, list[RunSpec]]:
    """Return trainings on patches of each size with as many pixels and steps as for the area's own size.

    A step has at least one patch, and epochs are whole; the learning rate decays by the same factor in all.
    """
    settings = study.settings("beyond")
    area = settings.sizes_area or settings.area
    own = study.patch_spec(area)
    recipe = _trainings(study, own)[0].recipe
    pixels = recipe.batch_size * own.size**2
    steps = recipe.epochs * -(-_training_patches(study, own) // recipe.batch_size)
    side = measure_area(study.dataset, area).largest_side
    groups: dict[str | int, list[RunSpec]] = {}
    for size in settings.sizes:
        patch_spec = study.patch_spec(area, size)
        if size > side or count_patches(study.dataset, patch_spec) < LEAST_PATCHES:
            continue
        batch = max(1, round(pixels / size**2))
        # One large patch may have more pixels than a step at the area's own size; then there are fewer steps.
        wanted_steps = steps * pixels / max(pixels, batch * size**2)
        epochs = max(1, round(wanted_steps / -(-_training_patches(study, patch_spec) // batch)))
        changes = {"batch_size": batch, "epochs": epochs}
        if recipe.schedule == "exponential" and epochs != recipe.epochs:
            changes["gamma"] = recipe.gamma ** (recipe.epochs / epochs)
        groups[size] = _trainings(study, patch_spec, settings.size_seeds, **changes)
    return groups


def own_size(study: Study) -> int:
    """Return the patch size (px) in use for the area on which sizes are compared."""
    settings = study.settings("beyond")
    return study.patch_size(settings.sizes_area or settings.area)


def switches(study: Study) -> dict[str | int, list[RunSpec]]:
    """Return trainings with one open point of the fidelity ledger decided differently, keyed by the change."""
    patch_spec, recipe = study.patch_spec(study.settings("beyond").area), base(study)[0].recipe
    momentum = {"momentum": 0.0 if recipe.momentum else 0.9} if OPTIMISERS[recipe.optimiser].momentum else {}
    others: dict[str, Any] = {
        "loss": "bce" if recipe.loss == "dice_bce" else "dice_bce",
        **momentum,
        "normalise": "scene" if recipe.normalise == "area" else "area",
        "augment": not recipe.augment,
        "keep": "last" if recipe.keep == "best" else "best",
    }
    said = {k: ("on" if v else "off") if isinstance(v, bool) else v for k, v in others.items()}
    return {f"{k}: {said[k]}": _trainings(study, patch_spec, **{k: v}) for k, v in others.items()}


def _trainings(study: Study, patch_spec: PatchSpec, seeds: Sequence[int] = (), **changes: Any) -> list[RunSpec]:
    """Return the training of the network on one area with each seed, with changes to its recipe."""
    settings = study.settings("beyond")
    return study.trainings((patch_spec,), (settings.model,), seeds or settings.seeds, **changes)


def _training_patches(study: Study, patch_spec: PatchSpec) -> int:
    """Return the approximate number of training patches of an area, exact up to the rounding of splits."""
    return max(1, round(patch_spec.fractions[0] / sum(patch_spec.fractions) * count_patches(study.dataset, patch_spec)))


register(Experiment(
    name="beyond", title="beyond the paper", settings=Beyond, specs=specs, findings=BEYOND,
    whole_area=lambda of: {one.run_id for group in sizes(of).values() for one in group},
    used_areas=("area", "sizes_area"),
))  # fmt: skip
