"""What the paper does not ask, as runs: one network on one area, and one thing at a time that is done otherwise."""

from __future__ import annotations

from typing import Any

from lmhld_nb.config import UserError
from lmhld_nb.experiments import common as experiments
from lmhld_nb.experiments import serial_experiment
from lmhld_nb.experiments.common import areas, patch_spec, specs_of
from lmhld_nb.experiments.profile import Beyond, Profile, is_made, patch_size
from lmhld_nb.patches.measurements import count_patches, measure_area
from lmhld_nb.patches.patch_sets import PatchSpec
from lmhld_nb.sources import DataSet
from lmhld_nb.training.specs import Recipe, RunSpec

LEAST_PATCHES = 3  # one a split


def networks(profile: Profile, dataset: DataSet) -> list[RunSpec]:
    """Return all trainings of chapter 11, each once.

    Raises:
        UserError: the profile has no key `beyond`, or it names an area that is not used.
    """
    groups = [*_compared(profile, dataset), *repeated(profile, dataset).values()]
    return list({spec.run_id: spec for group in groups for spec in group}.values())


def scored_on_whole_area(profile: Profile, dataset: DataSet) -> set[str]:
    """Return the ids of those trainings of chapter 11 whose network is scored on its whole area too."""
    groups = [*_compared(profile, dataset), repeated(profile, dataset).get(4, [])]
    return {spec.run_id for group in groups for spec in group}


def repeated(profile: Profile, dataset: DataSet) -> dict[int, list[RunSpec]]:
    """Return what tells how far seeds scatter: one network's trainings of tables 4 to 7 with each seed, by table.

    Only of experiments that the profile makes. For Table 7 it is LMHLD_part in the first order of addition, as
    experiment 4 repeats it, where that compares the same network.
    """
    rule = _asked(profile, dataset)
    asked = profile.model_copy(update={"models": (rule.model,), "seeds": rule.seeds})
    made = {4: ("1", experiments.patch_sizes), 5: ("2", experiments.single), 6: ("3", experiments.mix)}
    found = {table: make(asked, dataset) for table, (name, make) in made.items() if is_made(profile, name)}
    if is_made(profile, "4") and profile.experiment_4.compared == rule.model:
        found[7] = serial_experiment.strategies(profile, dataset)["LMHLD_part"]
    return found


def _compared(profile: Profile, dataset: DataSet) -> list[list[RunSpec]]:
    """Return the trainings on one area that differ in one thing."""
    return [
        base(profile, dataset),
        background(profile, dataset),
        *split_kinds(profile, dataset).values(),
        *sizes(profile, dataset).values(),
        *switches(profile, dataset).values(),
    ]


def base(profile: Profile, dataset: DataSet) -> list[RunSpec]:
    """Return what all else is compared with: the profile's recipe and patches, one run a seed.

    Those with the profile's own seeds are runs of experiment 2.
    """
    rule = _asked(profile, dataset)
    return _trained(profile, patch_spec(profile, dataset, rule.area))


def background(profile: Profile, dataset: DataSet) -> list[RunSpec]:
    """Return the same trainings with windows of little or no landslide added to all splits (`PatchSpec.background`)."""
    rule = _asked(profile, dataset)
    part = patch_spec(profile, dataset, rule.area).model_copy(update={"background": True})
    return _trained(profile, part)


def split_kinds(profile: Profile, dataset: DataSet) -> dict[str, list[RunSpec]]:
    """Return trainings on patches split at random and by spatial blocks, in pairs: each seed draws both splits too.

    A block's side is the profile's `patches.block`.
    """
    rule = _asked(profile, dataset)
    part = patch_spec(profile, dataset, rule.area)
    return {
        kind: [
            spec
            for seed in rule.seeds
            for spec in _trained(
                profile, part.model_copy(update={"split": kind, "seed": part.seed + seed}), (seed,)
            )
        ]
        for kind in ("random", "blocks")
    }


def sizes(profile: Profile, dataset: DataSet) -> dict[int, list[RunSpec]]:
    """Return trainings on patches of each size that see equally many pixels, in equally many steps, by size.

    What the area's own patch size sees under the recipe is what all see: a step has as many pixels (of one patch at
    least), and epochs are so many that the steps agree, to whole epochs. The learning rate falls by as much in all.
    """
    rule = _asked(profile, dataset)
    area = rule.sizes_area or rule.area
    own = patch_spec(profile, dataset, area)
    recipe = _trained(profile, own)[0].recipe
    pixels = recipe.batch_size * own.size**2
    steps = recipe.epochs * -(-_training_patches(dataset, own) // recipe.batch_size)
    found = {}
    for size in rule.sizes:
        part = patch_spec(profile, dataset, area, size)
        if size > measure_area(dataset, area).largest_side or count_patches(dataset, part) < LEAST_PATCHES:
            continue
        batch = max(1, round(pixels / size**2))
        patches = _training_patches(dataset, part)
        # A step of one large patch may hold more pixels than the own size's: then fewer steps.
        wanted = steps * pixels / max(pixels, batch * size**2)
        own_epochs = max(1, round(wanted / -(-patches // batch)))
        changes = {"batch_size": batch, "epochs": own_epochs}
        if own_epochs != recipe.epochs:
            changes["gamma"] = recipe.gamma ** (recipe.epochs / own_epochs)
        found[size] = _trained(profile, part, rule.size_seeds, **changes)
    return found


def switches(profile: Profile, dataset: DataSet) -> dict[str, list[RunSpec]]:
    """Return the trainings with one open point of the fidelity ledger decided otherwise, by what is changed."""
    rule = _asked(profile, dataset)
    part = patch_spec(profile, dataset, rule.area)
    recipe = base(profile, dataset)[0].recipe
    return {
        f"{name}: {_told(value)}": _trained(profile, part, **{name: value})
        for name, value in _others(recipe).items()
    }


def _others(recipe: Recipe) -> dict[str, Any]:
    """Return for each open point of the recipe the choice that it does not make."""
    return {
        "loss": "bce" if recipe.loss == "dice_bce" else "dice_bce",
        "momentum": 0.0 if recipe.momentum else 0.9,
        "normalise": "scene" if recipe.normalise == "area" else "area",
        "augment": not recipe.augment,
        "keep": "last" if recipe.keep == "best" else "best",
    }


def _told(value: Any) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def _asked(profile: Profile, dataset: DataSet) -> Beyond:
    """Return the profile's choices, checked."""
    rule = profile.beyond
    if rule is None:
        raise UserError(f"profile '{profile.name}': key 'beyond' is missing; say which area")
    for key, area in (("area", rule.area), ("sizes_area", rule.sizes_area or rule.area)):
        if area not in (used := areas(profile, dataset)):
            raise UserError(
                f"profile '{profile.name}': key 'beyond.{key}': no area '{area}'; it has {', '.join(used)}"
            )
    return rule


def _trained(profile: Profile, part: PatchSpec, seeds: tuple[int, ...] = (), **changes: Any) -> list[RunSpec]:
    """Return the training of the network on one area with each seed, with changes to its recipe."""
    rule = profile.beyond
    assert rule is not None
    asked = profile.model_copy(update={"models": (rule.model,), "seeds": seeds or rule.seeds})
    return [
        spec.model_copy(update={"recipe": spec.recipe.model_copy(update=changes)})
        for spec in specs_of(asked, (part,))
    ]


def _training_patches(dataset: DataSet, part: PatchSpec) -> int:
    """Return about how many patches of an area are trained on; exact to those a split rounds."""
    share = part.fractions[0] / sum(part.fractions)
    return max(1, round(share * count_patches(dataset, part)))


def own_size(profile: Profile) -> int:
    """Return the patch size that the 10 % rule gives the area on which sizes are compared."""
    rule = profile.beyond
    assert rule is not None
    return patch_size(profile, rule.sizes_area or rule.area)
