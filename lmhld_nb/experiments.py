"""Experiments: the paper's experiments as lists of RunSpecs, and the plan of a profile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from lmhld_nb import patches, runner, runs, scenes, serial, sources
from lmhld_nb.config import UserError
from lmhld_nb.hardware import choose_device, environment
from lmhld_nb.measurements import measured
from lmhld_nb.patches import PatchSet, PatchSpec
from lmhld_nb.profiles import Profile, patch_size, recipe_of
from lmhld_nb.runs import Run
from lmhld_nb.sources import DataSet
from lmhld_nb.specs import PARTS, RunSpec, Treatment

_TRAINED: Treatment = "finetune"


@dataclass(frozen=True)
class Planned:
    """A run and the experiments that ask for it."""

    spec: RunSpec
    experiments: tuple[str, ...]

    @property
    def areas(self) -> tuple[str, ...]:
        """Areas trained on."""
        return tuple(part.area for part in self.spec.data)

    @property
    def with_whole_area(self) -> bool:
        """Whether it is scored on the whole area too: what experiment 1 compares."""
        return "1" in self.experiments


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
    if is_made(profile, "4"):  # its defaults are the paper's areas, whether or not this data set has them
        rule = profile.experiment_4
        for key in rule.model_fields_set & {"areas", "first", "permuted", "last"}:
            named[f"experiment_4.{key}"] = getattr(rule, key)
    if profile.recipe_study and is_made(profile, "recipe"):
        named["recipe_study.area"] = [profile.recipe_study.area]
    for key, values in named.items():
        for area in values:
            if area not in dataset.areas:
                raise UserError(
                    f"profile '{profile.name}': key '{key}': no area '{area}' in '{dataset.name}'; "
                    f"it has {', '.join(dataset.areas)}"
                )
            # A size may be given for an area that is not used now; an experiment on one would be left out in silence.
            if profile.areas and area not in profile.areas and not key.endswith(("sizes", "candidates")):
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


def orders(profile: Profile, dataset: DataSet) -> dict[str, tuple[str, ...]]:
    """Return the orders of addition of experiment 4 (paper Fig 6): OD1, OD2, … and their areas."""
    rule = profile.experiment_4
    used = [area for area in areas(profile, dataset) if not rule.areas or area in rule.areas]
    first, permuted, last = (
        [area for area in named if area in used] for named in (rule.first, rule.permuted, rule.last)
    )
    return serial.orders(first, permuted, [*last, *(a for a in used if a not in {*first, *permuted, *last})])


def schedule(profile: Profile, dataset: DataSet) -> list[dict[str, Treatment]]:
    """Return what each stage of experiment 4 does with each part of a network, one row a stage."""
    rule, stages = profile.experiment_4, len(next(iter(orders(profile, dataset).values())))
    if not rule.schedule:
        return serial.schedule(stages)
    return [rule.schedule[min(stage, len(rule.schedule) - 1)] for stage in range(stages)]


def chains(
    profile: Profile,
    dataset: DataSet,
    order: Sequence[str],
    rows: Sequence[Mapping[str, Treatment]],
    ewc: float = 0.0,
    replay: float = 0.0,
    more: Sequence[PatchSpec] = (),
) -> list[list[RunSpec]]:
    """Return the chain of each model of a profile, with each seed, that adds areas in ``order`` (`serial.chain`).

    Patches ``more`` are added after them.

    Raises:
        UserError: an area has no patches of its size, or not the bands of the others.
    """
    parts = [*(_fitting(profile, dataset, area) for area in order), *more]
    stages = [specs_of(profile, (part,), _stage_epochs(profile, stage)) for stage, part in enumerate(parts)]
    return [serial.chain(own, rows, ewc, replay) for own in zip(*stages, strict=True)]


def _stage_epochs(profile: Profile, stage: int) -> int:
    epochs = profile.experiment_4.epochs or (profile.recipe.epochs,)
    return epochs[min(stage, len(epochs) - 1)]


def _fitting(profile: Profile, dataset: DataSet, area: str, size: int | None = None) -> PatchSpec:
    """Return how an area is cut, if patches of its size fit into its scenes."""
    part = patch_spec(profile, dataset, area, size)
    if part.size > (side := measured(dataset, area).largest_side):
        raise UserError(
            f"profile '{profile.name}': '{area}' of '{dataset.name}': its scenes are {side} px wide, patches of "
            f"{part.size} px do not fit; give a smaller size, or leave 4 out of `experiments`"
        )
    return part


def finals(profile: Profile, dataset: DataSet) -> dict[str, list[RunSpec]]:
    """Return the last stage of each chain of experiment 4, by order of addition."""
    rows = schedule(profile, dataset)
    return {
        name: [chain[-1] for chain in chains(profile, dataset, order, rows)]
        for name, order in orders(profile, dataset).items()
    }


def part(profile: Profile, dataset: DataSet) -> list[RunSpec]:
    """Experiment 4, LMHLD_part: each model on all areas one after another, in each order (paper 3.2 (4)).

    Orders that begin alike share those stages; each is listed once. With them the other strategies they are compared
    with (`strategies`), and the stages that add an area of another data set (`eighth`).
    """
    found: dict[str, RunSpec] = {}
    lasts = (
        *finals(profile, dataset).values(),
        *strategies(profile, dataset).values(),
        eighth(profile, dataset),
    )
    for last in (last for specs in lasts for last in specs):
        found |= {spec.run_id: spec for spec in serial.chain_of(last)}
    return list(found.values())


def eighth(profile: Profile, dataset: DataSet) -> list[RunSpec]:
    """Return the stages that add an area of another data set to the finished chains of the first order.

    None where the profile names no such area (`profiles.Added`); nothing of the chains is trained again.

    Raises:
        UserError: the other data set is not there, has no such area, or lacks a band.
    """
    rule = profile.experiment_4.added
    if rule is None:
        return []
    other = dataset_of(profile.model_copy(update={"data": rule.data}), progress=False)
    if rule.area not in other.areas:
        raise UserError(
            f"profile '{profile.name}': key 'experiment_4.added.area': no area '{rule.area}' in '{rule.data}'; it has "
            f"{', '.join(other.areas)}"
        )
    order = next(iter(orders(profile, dataset).values()))
    rows = schedule(profile, dataset)
    more = (_fitting(profile, other, rule.area, rule.size),)
    return [chain[-1] for chain in chains(profile, dataset, order, rows, more=more)]


def strategies(profile: Profile, dataset: DataSet) -> dict[str, list[RunSpec]]:
    """Return what experiment 4 is compared with: the last stage of each chain in the first order, by strategy.

    LMHLD_part itself; plain fine-tuning; freezing without a fresh input convolution; a fresh input convolution without
    freezing; plain fine-tuning with elastic weight consolidation, or with a replay of earlier patches; and one training
    on all areas at once, each at its own patch size, for as many epochs as a stage has on average.
    """
    rule = profile.experiment_4
    compared = profile.model_copy(update={"models": rule.compared, "seeds": rule.seeds})
    order = next(iter(orders(profile, dataset).values()))
    rows = schedule(profile, dataset)

    def changed(start: Treatment, new: Treatment) -> list[dict[str, Treatment]]:
        return [
            rows[0],
            *({name: new if old == start else old for name, old in row.items()} for row in rows[1:]),
        ]

    plain: list[Mapping[str, Treatment]] = [rows[0], *(dict.fromkeys(PARTS, _TRAINED) for _ in rows[1:])]
    asked: dict[str, tuple[Sequence[Mapping[str, Treatment]], float, float]] = {
        "LMHLD_part": (rows, 0, 0),
        "freezing only": (changed("fresh", "finetune"), 0, 0),
        "fresh input only": (changed("frozen", "finetune"), 0, 0),
        "plain fine-tuning": (plain, 0, 0),
        "EWC": (plain, rule.ewc, 0),
        f"replay of {rule.replay:.0%}": (plain, 0, rule.replay),
    }
    found = {
        name: [chain[-1] for chain in chains(compared, dataset, order, *how)] for name, how in asked.items()
    }
    joint = tuple(patch_spec(profile, dataset, area) for area in order)
    epochs = [_stage_epochs(profile, stage) for stage in range(len(order))]
    found["all at once"] = specs_of(compared, joint, round(sum(epochs) / len(epochs)))
    return found


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


EXPERIMENTS: dict[str, tuple[str, Callable[[Profile, DataSet], list[RunSpec]]]] = {
    "1": ("patch size", patch_sizes),
    "2": ("single", single),
    "3": ("mix", mix),
    "4": ("part", part),
    "recipe": ("batch size and epochs", recipe_study),
}
"""Experiments by the name that `lmhld plan --experiment` takes: what they compare, and their runs."""


def is_made(profile: Profile, name: str) -> bool:
    """Say whether a profile makes an experiment."""
    return name in map(str, profile.experiments) and (name != "recipe" or profile.recipe_study is not None)


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


def plan(profile: Profile, dataset: DataSet, experiment: str | None = None) -> list[Planned]:
    """List the runs of a profile, of one experiment or of all; each once, with all experiments that ask for it.

    Raises:
        UserError: there is no such experiment, or the profile does not make it.
    """
    if experiment is not None and experiment not in EXPERIMENTS:
        raise UserError(f"experiment {experiment}: unknown; choose from {', '.join(EXPERIMENTS)}")
    made = [name for name in EXPERIMENTS if is_made(profile, name)]
    if experiment is not None and experiment not in made:
        raise UserError(
            f"experiment {experiment}: profile '{profile.name}' makes {', '.join(made) or 'none'} only (keys "
            "`experiments` and, for the recipe, `recipe_study`)"
        )
    wanted: dict[str, tuple[RunSpec, list[str]]] = {}
    for name in made:
        for spec in EXPERIMENTS[name][1](profile, dataset):
            wanted.setdefault(spec.run_id, (spec, []))[1].append(name)
    return [
        Planned(spec, tuple(asked))
        for spec, asked in wanted.values()
        if experiment is None or experiment in asked
    ]


def plan_table(planned: Sequence[Planned], device: str = "auto") -> pd.DataFrame:
    """Tabulate planned runs.

    Columns: run_id, experiments, model, width, areas, patch_size, epochs, batch_size, seed, status (`runs.status`),
    seconds, f1 (of the test, where done), parent (the run whose weights it starts from, or empty), files (whose
    presence in the run's folder means that nothing is left to make) and failure. ``seconds`` is what a finished run
    took, or an estimate from the median rate at which this kind of device made runs of the same model and width; NaN
    where the store has none or the patches are not cut yet.
    """
    rates = runs.rates()
    rates = rates[rates["device"] == environment(torch.device(choose_device(device)))["device"]]
    rows: list[dict[str, Any]] = []
    for entry in planned:
        spec = entry.spec
        run = runs.find(spec)
        status = runs.status(spec, entry.with_whole_area)
        rows.append(
            {
                "run_id": spec.run_id,
                "experiments": "+".join(entry.experiments),
                "model": spec.model,
                "width": str(spec.width or "published"),
                "areas": "+".join(entry.areas),
                "patch_size": "+".join(map(str, dict.fromkeys(part.size for part in spec.data))),
                "epochs": spec.recipe.epochs,
                "batch_size": spec.recipe.batch_size,
                "seed": spec.seed,
                "status": status,
                "seconds": run.metrics["seconds"] if run else _estimate(spec, rates),
                "f1": run.metrics["test"]["f1"] if run else np.nan,
                "parent": spec.stage.parent.run_id if spec.stage else "",
                "files": " ".join(runs.files(entry.with_whole_area)),
                "failure": runs.failure(spec) if status == "failed" else "",
            }
        )
    return pd.DataFrame(rows)


def _estimate(spec: RunSpec, rates: pd.DataFrame) -> float:
    """Return the seconds a training will take; NaN where there is nothing to go by."""
    like = rates[(rates["model"] == spec.model) & (rates["width"] == str(spec.width or "published"))]
    if like.empty:
        return float("nan")
    # Measured at the nearest patch size: small patches are slower by the pixel.
    size = max(part.size for part in spec.data)
    nearest = min(like["patch_size"], key=lambda measured: abs(measured - size))
    like = like[like["patch_size"] == nearest]
    pixels_per_second = float(like["patches_per_second"].median()) * nearest**2
    try:
        seen = sum(len(part.where("train")) + len(part.where("val")) for part in map(patches.load, spec.data))
    except UserError:  # not cut yet
        return float("nan")
    return seen * size**2 * spec.recipe.epochs / pixels_per_second


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
        return runner.ensure(specs, execution=profile.execution, with_whole_area=scored)
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
