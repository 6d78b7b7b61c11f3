"""Results of experiment 5: maps of unseen scenes, their scores, and what networks find at other places.

Every table has a column ``run_ids``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rasterio
import torch

from lmhld_nb import (
    detection,
    evaluation,
    experiments,
    map_files,
    mapping,
    networks,
    prediction,
    scenes,
    sources,
)
from lmhld_nb.config import workdir
from lmhld_nb.evaluation import Confusion
from lmhld_nb.hardware import choose_device
from lmhld_nb.profiles import Events, Profile
from lmhld_nb.ranking import Ranked
from lmhld_nb.results import SCORES
from lmhld_nb.runs import Run
from lmhld_nb.scenes import Scene
from lmhld_nb.serial_results import total_scores
from lmhld_nb.sources import DataSet

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
        Rows by scene: area, bands, resolution_m, mapped objects and their area; where there are labels the scores of
        `detection.score`, ``all_f1`` (of a map that calls everything landslide), ``threshold_f1`` (of the best single threshold on this very scene, which nobody knows
        beforehand), and ``seen_f1``, what the same network reaches on the test patches of the areas it was trained
        on; run_ids.
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
                **{name: scores.get(name, np.nan) for name in TOLD},
                "mapped": made.report["landslides"],
                "mapped_m2": made.report["landslide_px"] * pixel**2,
                "all_f1": _all_f1(scores.get("prevalence", np.nan)),
                "threshold_f1": _best_threshold(made) if scores else np.nan,
                "seen_f1": total_scores(made.run)["f1"],
                "run_ids": made.run.spec.run_id,
            }
        )
    return pd.DataFrame(rows).set_index("scene")


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


def views(made: Mapped, longest: int = 480) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return a scene for a figure, every n-th pixel so that neither side is longer than ``longest``.

    Returns:
        Values (bands, rows, cols) as stored, in the scene's order of bands; the mask (rows, cols) of the map, 0, 1 or
        255; and the labels, 0, 1 or 255, or None.
    """
    with scenes.open_image(made.scene) as image:
        step = max(1, -(-max(image.shape) // longest))
        strips = list(scenes.strips(image.shape, 64 * step))
        bands = [band for band in made.scene.bands if band in scenes.BANDS]
        values = np.concatenate([image.read(part, bands)[:, ::step, ::step] for part in strips], axis=1)
        truth = None
        if made.report["scores"]:
            with scenes.open_labels(made.scene, image) as labels:
                truth = np.concatenate([labels.read(part)[::step, ::step] for part in strips])
    with rasterio.open(made.folder / map_files.MASK) as file:
        mask = np.concatenate([file.read(1, window=part.as_rasterio)[::step, ::step] for part in strips])
    return values, mask, truth


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
) -> dict[str, float]:
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
    ranked, counts = Ranked.none(), Confusion(0, 0, 0, 0)
    sizes = []
    for scene in members:
        with scenes.open_image(scene) as image, scenes.open_labels(scene, image) as labels:
            statistics = prediction.scene_statistics(image, bands)
            strips = []
            for window, probability in prediction.predicted_rows(image, bands, statistics, network, size):
                mask = np.where(probability < 0, 255, probability >= threshold).astype(np.uint8)
                strips.append((probability, mask, labels.read(window)))
            pixel_m2 = image.pixel_m**2
        for probability, mask, truth in strips:
            known = (mask != 255) & (truth != 255)
            ranked += Ranked.of(probability, truth == 1, known)
            counts += Confusion.of(mask == 1, truth == 1, known)
        # Called at once, so each time with this scene's own strips.
        sizes.append(detection.by_size(*detection.landslides(strips.__iter__), pixel_m2))
    totals = pd.concat(sizes)[["landslides", "detected", "mapped", "mapped_false"]].sum()
    return {
        **{name: getattr(counts, name) for name in SCORES},
        "average_precision": ranked.average_precision,
        "calibration_error": ranked.calibration_error,
        "prevalence": (counts.tp + counts.fn) / max(1, sum(vars(counts).values())),
        "landslides": int(totals["landslides"]),
        "landslides_detected": int(totals["detected"]),
        "detection_rate": totals["detected"] / totals["landslides"] if totals["landslides"] else np.nan,
        "mapped": int(totals["mapped"]),
        "mapped_false": int(totals["mapped_false"]),
    }
