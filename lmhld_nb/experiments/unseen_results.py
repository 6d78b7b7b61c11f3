"""Results of experiment 5: maps of unseen scenes, their scores, and what networks find at other places.

Every table has a column ``run_ids``.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rasterio
import torch

from lmhld_nb import evaluation, mapping, scenes, sources
from lmhld_nb.config import workdir
from lmhld_nb.evaluation import objects as detection
from lmhld_nb.evaluation.objects import Tally
from lmhld_nb.experiments import common as experiments
from lmhld_nb.experiments.profile import Events, Profile
from lmhld_nb.experiments.results import SCORES
from lmhld_nb.experiments.serial_results import total_scores
from lmhld_nb.mapping import folder as map_folder
from lmhld_nb.mapping import prediction
from lmhld_nb.paper import area_name
from lmhld_nb.runs.store import Run
from lmhld_nb.scenes.rasters import Window
from lmhld_nb.scenes.scene import Scene
from lmhld_nb.sources import DataSet
from lmhld_nb.training import weights as networks
from lmhld_nb.training.hardware import choose_device

THRESHOLD_PIXELS = 4_000_000  # of a scene, at most, that its best single threshold is looked for on
TOLD = (
    *SCORES, "average_precision", "prevalence", "landslides", "landslides_detected", "detection_rate", "mapped",
    "mapped_false", "calibration_error",
)  # fmt: skip


@dataclass(frozen=True)
class Mapped:
    """A scene that a network has mapped.

    Attributes:
        dataset: where the scene is from.
        scene, run: what was mapped, and by what.
        folder: of the map's files (`mapping.map_scene`).
        report: content of map.json; its ``scores`` are None where nothing is labelled.
    """

    dataset: DataSet
    scene: Scene
    run: Run
    folder: Path
    report: dict[str, Any]

    def table(self, name: str) -> pd.DataFrame:
        """Return a table of `detection.score`: precision_recall, calibration, by_size or size_frequency."""
        return pd.read_csv(self.folder / f"scores_{name}.csv")


def found(profile: Profile) -> list[tuple[Events, DataSet]]:
    """Return the events of a profile whose data are there, and say which are not; synthetic ones are made."""
    there = []
    for events in profile.experiment_5.events:
        if dataset := _there(profile, events.data):
            there.append((events, dataset))
    return there


def _there(profile: Profile, name: str) -> DataSet | None:
    if not sources.describe(name).synthetic and not sources.is_ready(name):
        print(f"{name}: not here; `lmhld data get {name} --from FOLDER`, then run this chapter again")
        return None
    return experiments.dataset_of(profile.model_copy(update={"data": name}), progress=False)


def map_events(profile: Profile, dataset: DataSet, events: Events, run: Run) -> list[Mapped]:
    """Map the scenes of events with a finished run, into ``build/PROFILE/maps/SCENE/``.

    Raises:
        UserError: there is no such area, or as `mapping.map_scene`.
    """
    maps = []
    for area in events.areas or dataset.areas:
        for scene in dataset.scenes_of(area):
            folder = workdir() / "build" / profile.name / "maps" / scene.name
            report = mapping.map_scene(
                scene,
                run.folder / "weights.safetensors",
                folder,
                threshold=profile.experiment_5.threshold,
                device=profile.execution.device,
                progress=profile.execution.progress,
            )
            maps.append(Mapped(dataset, scene, run, folder, report))
    return maps


def events_table(maps: Sequence[Mapped]) -> pd.DataFrame:
    """Tabulate maps of unseen scenes.

    Returns:
        Rows by scene: area, bands, resolution_m, polygons of the map and their area; where there are labels the
        scores of `detection.score`, ``all_f1`` (of a map that calls everything landslide) and ``threshold_f1`` (of the
        best single threshold on this very scene, which nobody knows beforehand); ``seen_f1``, what the same network
        reaches on the test patches of the areas it was trained on; run_ids.
    """
    rows = []
    for made in maps:
        scores = made.report["scores"] or {}
        with scenes.open_image(made.scene) as image:
            pixel = image.pixel_m
        rows.append(
            {
                "scene": made.scene.name,
                "area": made.scene.area,
                "bands": len(made.run.spec.bands),
                "resolution_m": pixel,
                "polygons": made.report["landslides"],
                **{name: scores.get(name, np.nan) for name in TOLD},
                "mapped_m2": made.report["landslide_px"] * pixel**2,
                "all_f1": _all_f1(scores.get("prevalence", np.nan)),
                "threshold_f1": _best_threshold(made) if scores else np.nan,
                "seen_f1": total_scores(made.run)["f1"],
                "run_ids": made.run.spec.run_id,
            }
        )
    columns = [
        *("scene", "area", "bands", "resolution_m", "polygons", *TOLD, "mapped_m2"),
        *("all_f1", "threshold_f1", "seen_f1", "run_ids"),
    ]
    return pd.DataFrame(rows, columns=columns).set_index("scene")


def _all_f1(prevalence: float) -> float:
    return 2 * prevalence / (1 + prevalence)


def _best_threshold(made: Mapped) -> float:
    with scenes.open_image(made.scene) as image, scenes.open_labels(made.scene, image) as labels:
        step = max(1, round((image.shape[0] * image.shape[1] / THRESHOLD_PIXELS) ** 0.5))
        values, truth = [], []
        for window in scenes.strips(image.shape, 512 // step * step):
            read = image.read(window, made.run.spec.bands)[:, ::step, ::step]
            known = image.valid(read)
            values.append(read)
            truth.append(np.where(known, labels.read(window)[::step, ::step], 255))
    images, masks = np.concatenate(values, axis=1)[None], np.concatenate(truth)[None]
    return evaluation.best_threshold(images, masks, made.run.spec.bands).confusion.f1


@dataclass(frozen=True)
class View:
    """A mapped scene, or a part of one, as a figure shows it.

    Attributes:
        title: the area, and what is wrong where it shows that.
        values: (bands, rows, cols) as stored, of ``bands``.
        mapped: (rows, cols) bool, landslide in the map.
        truth: (rows, cols) bool, landslide in truth; None where nothing is labelled.
    """

    title: str
    values: np.ndarray
    bands: tuple[str, ...]
    mapped: np.ndarray
    truth: np.ndarray | None


def view(made: Mapped, title: str = "", place: Window | None = None, longest: int = 480) -> View:
    """Return a mapped scene, or a window of it, every n-th pixel so that neither side is longer than ``longest``."""
    bands = tuple(band for band in made.scene.bands if band in scenes.BANDS)
    with ExitStack() as stack:
        image = stack.enter_context(scenes.open_image(made.scene))
        file = stack.enter_context(rasterio.open(made.folder / map_folder.MASK))
        labels = None
        if made.report["scores"]:
            labels = stack.enter_context(scenes.open_labels(made.scene, image))
        place = place or Window(0, 0, *image.shape)
        step = max(1, -(-max(place.height, place.width) // longest))
        parts = [
            Window(place.row + part.row, place.col, part.height, place.width)
            for part in scenes.strips((place.height, place.width), 64 * step)
        ]
        every = (..., slice(None, None, step), slice(None, None, step))
        values = np.concatenate([image.read(part, bands)[every] for part in parts], axis=1)
        mask = np.concatenate([file.read(1, window=part.as_rasterio)[every] for part in parts])
        truth = np.concatenate([labels.read(part)[every] for part in parts]) == 1 if labels else None
    return View(title or area_name(made.scene.area), values, bands, mask == 1, truth)


def worst(made: Mapped, count: int = 1) -> list[View]:
    """Return close-ups of a map's largest false objects and largest missed landslides, ``count`` of each."""
    with (
        scenes.open_image(made.scene) as image,
        scenes.open_labels(made.scene, image) as labels,
        rasterio.open(made.folder / map_folder.MASK) as file,
    ):
        shape = image.shape

        def strips() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
            for part in scenes.strips(shape, 512):
                mask = file.read(1, window=part.as_rasterio)
                yield np.where(mask == 255, -1.0, mask).astype(np.float32), mask, labels.read(part)

        found = detection.close_ups(*detection.landslides(strips), shape, count)
    return [
        view(made, f"{area_name(made.scene.area)}: {up.kind}, {up.wrong_px} px", up.window) for up in found
    ]


def transfers_table(profile: Profile, asked: Mapping[int, Sequence[Run]]) -> pd.DataFrame:
    """Tabulate what networks trained on one area find elsewhere.

    Args:
        profile: with `Generalisation.transfers`.
        asked: the finished runs of each transfer, by its place in the profile.

    Returns:
        Rows (trained, tested): the scores of `events_table` that do not belong to one scene, scenes; run_ids. Where a
        transfer stays within its own area, pixel scores of its test patches alone.
    """
    rows = []
    for place, finished in asked.items():
        transfer = profile.experiment_5.transfers[place]
        for run in finished:
            trained = f"{transfer.area} ({transfer.data or profile.data})"
            about = {"trained": trained, "bands": len(run.spec.bands), "run_ids": run.spec.run_id}
            if transfer.to is None:
                scores = {name: run.metrics["test"][name] for name in SCORES}
                rows.append({**about, "tested": "its own test patches", **scores})
            elif dataset := _there(profile, transfer.to):
                for area in transfer.areas or dataset.areas:
                    members = dataset.scenes_of(area)
                    scores = score_scenes(
                        run, members, profile.experiment_5.threshold, profile.execution.device
                    )
                    scores["all_f1"] = _all_f1(scores["prevalence"])
                    rows.append(
                        {**about, "tested": f"{area} ({transfer.to})", "scenes": len(members), **scores}
                    )
    columns = ["trained", "tested", "bands", "scenes", *TOLD, "all_f1", "run_ids"]
    return pd.DataFrame(rows, columns=columns).set_index(["trained", "tested"])


def score_scenes(
    run: Run, members: Sequence[Scene], threshold: float = 0.5, device: str = "auto"
) -> dict[str, Any]:
    """Predict labelled scenes whole, each with its own statistics, and score them together (`detection.score`).

    Nothing is written; a scene's prediction is held in memory, 6 bytes a pixel.

    Raises:
        UserError: a scene cannot be read or has no labels.
    """
    model, card = networks.load(run.folder / "weights.safetensors")
    place = torch.device(choose_device(device))
    network = prediction.Network(model.to(place), place)
    size = max(area["patch_size"] for area in card["areas"].values())
    bands = tuple(card["bands"])
    found: list[Tally] = []
    for scene in members:
        with scenes.open_image(scene) as image, scenes.open_labels(scene, image) as labels:
            statistics = prediction.scene_statistics(image, bands)
            strips = []
            for window, probability in prediction.predicted_rows(image, bands, statistics, network, size):
                mask = np.where(probability < 0, 255, probability >= threshold).astype(np.uint8)
                strips.append((probability, mask, labels.read(window)))
            found.append(detection.tally(strips.__iter__, image.pixel_m**2))
    return reduce(operator.add, found).scores()
