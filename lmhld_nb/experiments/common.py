"""Experiments 1 to 3 and the study of the recipe as lists of RunSpecs, and what all experiments share.

Experiment 4 has a module of its own, `serial_experiment`; `plans` knows them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lmhld_nb import patches, runs, scenes, sources
from lmhld_nb.config import UserError
from lmhld_nb.experiments.profile import Profile, is_made, patch_size, recipe_of
from lmhld_nb.patches.measurements import measured
from lmhld_nb.patches.patch_sets import PatchSet, PatchSpec
from lmhld_nb.runs.store import Run
from lmhld_nb.sources import DataSet
from lmhld_nb.training.specs import RunSpec


def areas(profile: Profile, dataset: DataSet) -> tuple[str, ...]:
    """Return the areas a profile uses, in the order of the data set.

    Raises:
        UserError: the profile names an area the data set does not have, or one for an experiment that it does not use.
    """
    named: dict[str, Iterable[str]] = {"areas": profile.areas, "patches.sizes": profile.patches.sizes}
    if is_made(profile, "1"):
        named["experiment_1.areas"] = profile.experiment_1.areas
        named["experiment_1.candidates"] = profile.experiment_1.candidates
    if is_made(profile, "3"):
        named["experiment_3.areas"] = profile.experiment_3.areas
    if is_made(profile, "4"):
        named["experiment_4.areas"] = profile.experiment_4.areas
        # Their defaults are the paper's areas, whether or not this data set has them.
        for key in profile.experiment_4.model_fields_set & {"first", "permuted", "last"}:
            named[f"experiment_4.{key}"] = getattr(profile.experiment_4, key)
    if profile.recipe_study and is_made(profile, "recipe"):
        named["recipe_study.area"] = [profile.recipe_study.area]
    if profile.beyond and is_made(profile, "beyond"):
        named["beyond.area"] = [profile.beyond.area]
        named["beyond.sizes_area"] = [profile.beyond.sizes_area or profile.beyond.area]
    for key, values in named.items():
        for area in values:
            if area not in dataset.areas:
                raise UserError(
                    f"profile '{profile.name}': key '{key}': no area '{area}' in '{dataset.name}'; "
                    f"it has {', '.join(dataset.areas)}"
                )
            # A size or a place in an order may be given for an area that is not used now; an experiment on one would be
            # left out in silence.
            spared = ("sizes", "candidates", "first", "permuted", "last")
            if profile.areas and area not in profile.areas and not key.endswith(spared):
                raise UserError(
                    f"profile '{profile.name}': key '{key}': '{area}' is not among the profile's `areas` "
                    f"({', '.join(profile.areas)}); correct one of the two, or leave it out of `experiments`"
                )
    return tuple(area for area in dataset.areas if not profile.areas or area in profile.areas)


def patch_spec(profile: Profile, dataset: DataSet, area: str, size: int | None = None) -> PatchSpec:
    """Return how an area is cut under a profile; ``size`` replaces the profile's rule.

    Raises:
        UserError: the profile asks for a band the data set does not have.
    """
    rule = profile.patches
    for band in rule.bands:
        if band not in dataset.bands:
            raise UserError(
                f"profile '{profile.name}': key 'patches.bands': '{dataset.name}' has no band '{band}'; "
                f"it has {', '.join(dataset.bands)}"
            )
    return PatchSpec(
        dataset=dataset.name,
        fingerprint=dataset.fingerprint,
        area=area,
        size=size or patch_size(profile, area),
        min_share=rule.min_share,
        bands=rule.bands,
        split=rule.split,
        fractions=rule.fractions,
        block=rule.block,
        seed=rule.seed,
    )


def specs_of(
    profile: Profile,
    data: tuple[PatchSpec, ...],
    epochs: int | None = None,
) -> list[RunSpec]:
    """Return the training of each model of a profile, with each seed, on the same patches (of one size)."""
    return [
        RunSpec(
            model=model,
            width=profile.width.get(model),
            options=profile.options.get(model, {}),
            data=data,
            recipe=recipe_of(profile, model, data[0].size, epochs),
            seed=seed,
        )
        for model in profile.models
        for seed in profile.seeds
    ]


def patch_sizes(profile: Profile, dataset: DataSet) -> list[RunSpec]:
    """Experiment 1: each model on each area, at each of the area's candidate sizes (paper 3.2 (1))."""
    return [
        spec
        for area in compared_areas(profile, dataset)
        for size in candidates(profile, dataset, area)
        for spec in specs_of(profile, (patch_spec(profile, dataset, area, size),))
    ]


def single(profile: Profile, dataset: DataSet) -> list[RunSpec]:
    """Experiment 2, LMHLD_single: each model on each area alone, at the area's patch size (paper 3.2 (2))."""
    return [
        spec
        for area in areas(profile, dataset)
        for spec in specs_of(profile, (patch_spec(profile, dataset, area),))
    ]


def mix(profile: Profile, dataset: DataSet) -> list[RunSpec]:
    """Experiment 3, LMHLD_mix: each model on all areas together, cut to one size (paper 3.2 (3))."""
    size = profile.experiment_3.size
    data = tuple(patch_spec(profile, dataset, area, size) for area in mixed_areas(profile, dataset))
    return specs_of(profile, data, profile.experiment_3.epochs)


def recipe_study(profile: Profile, dataset: DataSet) -> list[RunSpec]:
    """Return the study of section 3.3: one training a batch size, tested at each number of epochs on its way."""
    study = profile.recipe_study
    if study is None:
        raise UserError(
            f"profile '{profile.name}': key 'recipe_study' is missing; say which area and which sizes"
        )
    data = (patch_spec(profile, dataset, study.area),)
    base = recipe_of(profile, study.model, data[0].size, max(study.epochs))
    return [
        RunSpec(
            model=study.model,
            width=profile.width.get(study.model),
            options=profile.options.get(study.model, {}),
            data=data,
            recipe=base.model_copy(update={"batch_size": batch_size}),
            seed=seed,
            milestones=tuple(sorted(set(study.epochs) - {max(study.epochs)})),
        )
        for batch_size in study.batch_sizes
        for seed in profile.seeds
    ]


def compared_areas(profile: Profile, dataset: DataSet) -> tuple[str, ...]:
    """Return the areas of experiment 1."""
    chosen = profile.experiment_1.areas
    return tuple(area for area in areas(profile, dataset) if not chosen or area in chosen)


def mixed_areas(profile: Profile, dataset: DataSet) -> tuple[str, ...]:
    """Return the areas of experiment 3: those the profile names whose scenes a patch fits into.

    Raises:
        UserError: it fits into none.
    """
    chosen, size = profile.experiment_3.areas, profile.experiment_3.size
    asked = [area for area in areas(profile, dataset) if not chosen or area in chosen]
    fitting = tuple(area for area in asked if measured(dataset, area).largest_side >= size)
    if not fitting:
        raise UserError(
            f"profile '{profile.name}': key 'experiment_3.size' = {size}: no scene of '{dataset.name}' is that large; "
            "choose a smaller size, or leave 3 out of `experiments`"
        )
    return fitting


def candidates(profile: Profile, dataset: DataSet, area: str) -> tuple[int, ...]:
    """Return the patch sizes compared in an area: its three candidates (`patches.candidate_sizes`).

    Sizes that no scene of the area is large enough for are left out: LMHLD is published as patches, which can be cut
    smaller but not larger.

    Raises:
        UserError: none is left.
    """
    rule, found = profile.experiment_1, measured(dataset, area)
    sizes = rule.candidates.get(area) or patches.candidate_sizes(found.quartiles, rule.sizes)
    fitting = tuple(size for size in sizes if size <= found.largest_side)
    if not fitting:
        raise UserError(
            f"profile '{profile.name}': '{area}' of '{dataset.name}': no scene is as large as the candidate sizes "
            f"{', '.join(map(str, sizes))}; give smaller ones (key `experiment_1.candidates`), or leave 1 out of "
            "`experiments`"
        )
    return fitting


def cut(
    profile: Profile, dataset: DataSet, area: str, size: int | None = None, progress: bool = True
) -> PatchSet:
    """Make or load an area's patches under a profile."""
    return patches.cut(patch_spec(profile, dataset, area, size), dataset.scenes_of(area), progress)


def dataset_of(profile: Profile, progress: bool = True) -> DataSet:
    """Return a profile's data set, made first where it is synthetic; others must be there already."""
    if sources.catalogue().get(profile.data) is not None and sources.catalogue()[profile.data].synthetic:
        return sources.get(profile.data, progress=progress)
    return sources.load(profile.data)


def area_scenes(profile: Profile, dataset: DataSet) -> dict[str, tuple[scenes.Scene, ...]]:
    """Return the scenes of each area of a profile."""
    return {area: dataset.scenes_of(area) for area in areas(profile, dataset)}


def fetch(
    profile: Profile, specs: Sequence[RunSpec], on_missing: str, with_whole_area: bool = False
) -> list[Run]:
    """Return the finished runs of ``specs`` for a chapter.

    Args:
        profile: whose settings make missing runs.
        specs: runs wanted.
        on_missing: ``train`` them, ``skip`` them (says how many), or ``error``.
        with_whole_area: they must be scored on their whole area too.

    Raises:
        UserError: runs are missing under ``error``, none is there under ``skip``, or ``on_missing`` is another word.
    """
    if on_missing not in ("train", "skip", "error"):
        raise UserError(f"on_missing '{on_missing}': unknown; choose train, skip or error")
    if on_missing == "train":
        scored = {spec.run_id for spec in specs} if with_whole_area else ()
        return runs.make_runs(specs, execution=profile.execution, with_whole_area=scored)
    finished = [
        run for spec in specs if (run := runs.find(spec)) and not (with_whole_area and run.whole_area is None)
    ]
    missing = len(specs) - len(finished)
    if missing and (on_missing == "error" or not finished):
        raise UserError(
            f"{missing} of {len(specs)} runs are missing; make them with `lmhld run {profile.name}`"
        )
    if missing:
        print(f"{missing} of {len(specs)} runs are missing and left out")
    return finished
