"""Experiment 4, LMHLD_part: orders of addition, chains of trainings, and the strategies they are compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from lmhld_nb.config import UserError
from lmhld_nb.experiments.common import areas, dataset_of, patch_spec, specs_of
from lmhld_nb.experiments.profile import Profile
from lmhld_nb.patches.measurements import measure_area
from lmhld_nb.patches.patch_sets import PatchSpec
from lmhld_nb.sources import DataSet
from lmhld_nb.training import chains as serial
from lmhld_nb.training.specs import RunSpec, Treatment


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
        found |= {spec.run_id: spec for spec in last.chain}
    return list(found.values())


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
    stages = []
    for stage, part in enumerate(parts):
        specs = specs_of(profile, (part,))
        recipe = specs[0].recipe.model_copy(update=_of_stage(profile, stage))
        stages.append([spec.model_copy(update={"recipe": recipe}) for spec in specs])
    return [serial.chain(own, rows, ewc, replay) for own in zip(*stages, strict=True)]


def _of_stage(profile: Profile, stage: int) -> dict[str, Any]:
    """Return what a stage, counted from 0, changes in the recipe."""
    rule = profile.experiment_4
    epochs = rule.epochs or (profile.recipe.epochs,)
    changes: dict[str, Any] = {"epochs": epochs[min(stage, len(epochs) - 1)]}
    if stage and rule.lr:
        changes["lr"] = rule.lr
    return changes


def _fitting(profile: Profile, dataset: DataSet, area: str, size: int | None = None) -> PatchSpec:
    """Return how an area is cut, if patches of its size fit into its scenes."""
    part = patch_spec(profile, dataset, area, size)
    if part.size > (side := measure_area(dataset, area).largest_side):
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
    compared = profile.model_copy(update={"models": (rule.compared,), "seeds": rule.seeds})
    order = next(iter(orders(profile, dataset).values()))
    rows = schedule(profile, dataset)

    def instead(changes: Mapping[Treatment, Treatment]) -> list[dict[str, Treatment]]:
        """Return the schedule with other treatments from the second stage on."""
        later = ({part: changes.get(old, old) for part, old in row.items()} for row in rows[1:])
        return [rows[0], *later]

    plain = instead({"fresh": "finetune", "frozen": "finetune"})
    found = {
        "LMHLD_part": chains(compared, dataset, order, rows),
        "freezing only": chains(compared, dataset, order, instead({"fresh": "finetune"})),
        "fresh input only": chains(compared, dataset, order, instead({"frozen": "finetune"})),
        "plain fine-tuning": chains(compared, dataset, order, plain),
        "EWC": chains(compared, dataset, order, plain, ewc=rule.ewc),
        f"replay of {rule.replay:.0%}": chains(compared, dataset, order, plain, replay=rule.replay),
    }
    joint = tuple(patch_spec(profile, dataset, area) for area in order)
    epochs = [_of_stage(profile, stage)["epochs"] for stage in range(len(order))]
    return {
        **{name: [chain[-1] for chain in asked] for name, asked in found.items()},
        "all at once": specs_of(compared, joint, round(mean(epochs))),
    }
