"""Results of experiment 5: maps of unseen scenes, their scores, and what networks find at places they were not trained on.

Every table has a column ``run_ids``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lmhld_nb import detection, evaluation, mapping, prediction, scenes, sources
from lmhld_nb.config import workdir
from lmhld_nb.evaluation import Confusion
from lmhld_nb.experiments import dataset_of
from lmhld_nb.profiles import Events, Profile, Transfer
from lmhld_nb.results import SCORES
from lmhld_nb.runs import Run
from lmhld_nb.scenes import Scene
from lmhld_nb.serial_results import total_scores
from lmhld_nb.sources import DataSet

THRESHOLD_PIXELS = 4_000_000  # at most, for the best threshold of a scene
MEASURED = (
    "prevalence", "average_precision", "landslides", "detection_rate", "mapped", "mapped_false",
    "calibration_error", "best_threshold", "f1_at_best_threshold",
)  # fmt: skip
"""Scores of `detection.score` that stand in a table beside precision, F1 and recall."""


@dataclass(frozen=True)
class Mapped:
    """A scene that a network has mapped.

    Attributes:
        dataset: where the scene is from.
        scene, run: what was mapped, by what.
        folder: of the map's files.
        report: content of map.json; its ``scores`` are None where nothing is labelled.
    """

    dataset: DataSet
    scene: Scene
    run: Run
    folder: Path
    report: dict[str, Any]

    def table(self, name: str) -> pd.DataFrame:
        """Return a table of scores: ``precision_recall``, ``calibration``, ``by_size`` or ``size_frequency``."""
        return pd.read_csv(self.folder / f"scores_{name}.csv")


def found(profile: Profile) -> list[tuple[Events, DataSet]]:
    """Return the events of a profile whose data are there, and say which are not.

    Synthetic ones are made.
    """
    there = []
    for events in profile.experiment_5.events:
        if not sources.describe(events.data).synthetic and not sources.is_ready(events.data):
            print(f"{events.data}: not here; `lmhld data get {events.data}`, then run this chapter again")
            continue
        there.append((events, dataset_of(profile.model_copy(update={"data": events.data}), progress=False)))
    return there


def map_events(profile: Profile, dataset: DataSet, events: Events, run: Run) -> list[Mapped]:
    """Map the scenes of events with a finished run, into ``build/PROFILE/maps/AREA/``.

    Raises:
        UserError: there is no such area, or as `mapping.map_scene`.
    """
    maps = []
    for area in events.areas or dataset.areas:
        for scene in dataset.scenes_of(area):
            folder = workdir() / "build" / profile.name / "maps" / scene.name
            report = mapping.map_scene(
                scene, run.folder / "weights.safetensors", folder, profile.experiment_5.threshold,
                device=profile.execution.device, progress=profile.execution.progress,
            )  # fmt: skip
            maps.append(Mapped(dataset, scene, run, folder, report))
    return maps
