"""Experiment 5: landslides that no training has seen, and the networks that are shown them (paper section 3.2 (5))."""

from __future__ import annotations

from collections.abc import Sequence

from lmhld_nb.config import UserError
from lmhld_nb.experiments import serial_experiment
from lmhld_nb.experiments.common import dataset_of, patch_spec, specs_of
from lmhld_nb.experiments.profile import Profile, Transfer
from lmhld_nb.sources import DataSet
from lmhld_nb.training.specs import RunSpec


def networks(profile: Profile, dataset: DataSet) -> list[RunSpec]:
    """Return all trainings of experiment 5: those that map events and those of transfers, with their chains."""
    rule = profile.experiment_5
    found: dict[str, RunSpec] = {}
    lasts = (
        *(part_trained(profile, dataset, events.bands) for events in rule.events),
        *(transferred(profile, dataset, transfer) for transfer in rule.transfers),
    )
    for last in (last for specs in lasts for last in specs):
        found |= {spec.run_id: spec for spec in last.chain}
    return list(found.values())


def part_trained(profile: Profile, dataset: DataSet, bands: Sequence[str] | None = None) -> list[RunSpec]:
    """Return the network that maps events, one for each seed: the last stage of LMHLD_part in the first order.

    With the profile's own bands this is a run of experiment 4; with others it is a chain of its own.

    Raises:
        UserError: the data set lacks a band.
    """
    rule = profile.experiment_5
    asked = _seen(profile, bands).model_copy(update={"models": (rule.model,)})
    if asked.patches.bands != profile.patches.bands and rule.epochs:
        part = profile.experiment_4.model_copy(update={"epochs": rule.epochs})
        asked = asked.model_copy(update={"experiment_4": part})
    order = next(iter(serial_experiment.orders(asked, dataset).values()))
    rows = serial_experiment.schedule(asked, dataset)
    return [chain[-1] for chain in serial_experiment.chains(asked, dataset, order, rows)]


def transferred(profile: Profile, dataset: DataSet, transfer: Transfer) -> list[RunSpec]:
    """Return the training of a transfer, one for each seed.

    Raises:
        UserError: the data set it is trained on is not there, has no such area, or lacks a band.
    """
    asked = _seen(profile, transfer.bands).model_copy(update={"models": (profile.experiment_5.model,)})
    if transfer.data is not None:
        asked = asked.model_copy(update={"data": transfer.data})
        dataset = dataset_of(asked, progress=False)
    if transfer.area not in dataset.areas:
        raise UserError(
            f"profile '{profile.name}': key 'experiment_5.transfers': no area '{transfer.area}' in '{dataset.name}'; "
            f"it has {', '.join(dataset.areas)}"
        )
    return specs_of(asked, (patch_spec(asked, dataset, transfer.area, transfer.size),))


def _seen(profile: Profile, bands: Sequence[str] | None) -> Profile:
    """Return a profile whose networks see other bands."""
    if bands is None:
        return profile
    return profile.model_copy(update={"patches": profile.patches.model_copy(update={"bands": tuple(bands)})})
