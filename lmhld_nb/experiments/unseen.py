"""Experiment 5: landslides that no training has seen (paper sections 3.2 (5) and 4.5)."""

import json
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from lmhld_nb import mapping, runs, scenes, sources
from lmhld_nb.config import Strict, UserError, runs_dir, workdir
from lmhld_nb.evaluation import METRICS, best_threshold, objects
from lmhld_nb.experiments import part
from lmhld_nb.experiments.profile import Bands, ModelName, PatchSize
from lmhld_nb.experiments.registry import Experiment, register
from lmhld_nb.experiments.study import Study, open_dataset
from lmhld_nb.experiments.tables import run_scores
from lmhld_nb.mapping import prediction
from lmhld_nb.runs import Run
from lmhld_nb.runs.store import MAPS
from lmhld_nb.scenes import Scene
from lmhld_nb.scenes.rasters import Window
from lmhld_nb.sources import DataSet
from lmhld_nb.training import weights
from lmhld_nb.training.hardware import choose_device
from lmhld_nb.training.specs import RunSpec

THRESHOLD_PIXELS = 4_000_000  # of a scene, at most, that its best single threshold is searched on


class Events(Strict):
    """Scenes of unseen landslides: a data set, its areas (empty for all), and the bands of the network that maps them.

    Images without near infrared need a network trained without it; None for the profile's bands.
    """

    data: str
    areas: tuple[str, ...] = ()
    bands: Bands | None = None


class Transfer(Strict):
    """A network trained on one area alone and shown scenes of another data set.

    ``area``, ``data``, ``size`` and ``bands`` say what it is trained on (None as in the profile), ``to`` and ``areas``
    what it is shown: None for the test patches of its own area, empty for all areas.
    """

    area: str
    data: str | None = None
    size: PatchSize | None = None
    bands: Bands | None = None
    to: str | None = None
    areas: tuple[str, ...] = ()


class Unseen(Strict):
    """Settings of experiment 5: scenes that ``model`` maps above ``threshold``, and networks of one area alone."""

    model: ModelName = "unet"
    events: tuple[Events, ...] = ()
    transfers: tuple[Transfer, ...] = ()
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5


def specs(study: Study) -> list[RunSpec]:
    """Return all trainings: those of networks that map events and those of transfers, with their chains."""
    settings = study.settings("unseen")
    groups = [
        *(event_networks(study, events) for events in settings.events),
        *(transfer_networks(study, transfer) for transfer in settings.transfers),
    ]
    return part.unique_stages([final for group in groups for final in group])


def event_networks(study: Study, events: Events) -> list[RunSpec]:
    """Return the network that maps events, one for each seed: the last stage of LMHLD_part in the first order.

    With the profile's own bands this is a run of experiment 4; with others it is a chain of its own.
    """
    settings, chained = study.settings("unseen"), study.with_bands(events.bands)
    specs = part.chain_specs(chained, part.first_order(chained), networks=(settings.model,))
    return [chain[-1] for chain in specs]


def transfer_networks(study: Study, transfer: Transfer) -> list[RunSpec]:
    """Return the training of a transfer, one for each seed; raises `UserError` if its data set lacks area or band."""
    networks = (study.settings("unseen").model,)
    home = study.with_data(transfer.data or study.profile.data, transfer.bands)
    if transfer.area not in home.dataset.areas:
        raise UserError(
            f"profile '{study.profile.name}': key 'experiments.unseen.transfers': no area '{transfer.area}' in "
            f"'{home.dataset.name}'; it has {', '.join(home.dataset.areas)}"
        )
    return home.trainings((home.patch_spec(transfer.area, transfer.size),), networks)


@dataclass(frozen=True)
class MappedScene:
    """A scene of a data set that a run has mapped into a folder; ``report`` is the content of its map.json."""

    dataset: DataSet
    scene: Scene
    run: Run
    folder: Path
    report: dict[str, Any]

    @property
    def is_scored(self) -> bool:
        """Whether anything in the scene is labelled."""
        return bool(self.report["scores"])

    def table(self, name: str) -> pd.DataFrame:
        """Return a table of `objects.score`: precision_recall, calibration, by_size or size_frequency."""
        return pd.read_csv(self.folder / f"scores_{name}.csv")


def available_events(study: Study) -> list[tuple[Events, DataSet]]:
    """Return the events whose data are there, and print which are not; synthetic ones are made."""
    datasets = [(events, _available(events.data)) for events in study.settings("unseen").events]
    return [(events, dataset) for events, dataset in datasets if dataset]


def _available(name: str) -> DataSet | None:
    if not sources.describe(name).synthetic and not sources.is_ready(name):
        print(f"{name}: not here; `lmhld data get {name} --from FOLDER`, then run this chapter again")
        return None
    return open_dataset(name)


def map_events(study: Study, dataset: DataSet, events: Events, run: Run) -> list[MappedScene]:
    """Map the scenes of events with a finished run, into ``build/PROFILE/maps/SCENE/``.

    From records, their maps are returned; raises `UserError` where they do not hold that map.
    """
    profile = study.profile
    settings = mapping.MapSettings(threshold=study.settings("unseen").threshold, device=profile.execution.device)
    maps = []
    for area in events.areas or dataset.areas:
        for scene in dataset.scenes_of(area):
            if (mapped := _recorded_map(dataset, scene, run, settings.threshold)) is None:
                folder = workdir() / "build" / profile.name / "maps" / scene.name
                report = mapping.map_scene(
                    scene, run.weights_file, folder, settings, progress=profile.execution.progress
                )
                mapped = MappedScene(dataset, scene, run, folder, report)
            maps.append(mapped)
    return maps


def _recorded_map(dataset: DataSet, scene: Scene, run: Run, threshold: float) -> MappedScene | None:
    """Return a run's map of a scene where the store holds only the run's record, and that map."""
    folder = runs_dir() / MAPS / scene.name
    if not (run.is_record and (folder / "map.json").is_file()):
        return None
    report = json.loads((folder / "map.json").read_text(encoding="utf-8"))
    if report["scores"]:  # JSON has no NaN
        report["scores"] = {name: np.nan if score is None else score for name, score in report["scores"].items()}
    is_this = (report["run_id"], report["threshold"]) == (run.spec.run_id, threshold)
    return MappedScene(dataset, scene, run, folder, report) if is_this else None


def _map_columns() -> list[str]:
    return [
        *METRICS,
        *("average_precision", "prevalence", "landslides", "landslides_detected", "detection_rate", "mapped"),
        *("mapped_false", "calibration_error"),
    ]


def events_table(maps: Sequence[MappedScene]) -> pd.DataFrame:
    """Tabulate maps of unseen scenes.

    Returns:
        Rows by scene: area, bands, resolution_m, polygons of the map and their area; where there are labels the
        scores of `objects.score`, ``all_f1`` (of a map that calls everything landslide) and ``threshold_f1`` (of the
        best single threshold on this very scene, which nobody knows beforehand); ``seen_f1``, what the same network
        reaches on the test patches of the areas it was trained on; run_ids.
    """
    rows = []
    for mapped in maps:
        scores = mapped.report["scores"] or {}
        with scenes.open_image(mapped.scene) as image:
            pixel = image.pixel_m
        rows.append(
            {
                "scene": mapped.scene.name,
                "area": mapped.scene.area,
                "bands": len(mapped.run.spec.bands),
                "resolution_m": pixel,
                "polygons": mapped.report["landslides"],
                **{name: scores.get(name, np.nan) for name in _map_columns()},
                "mapped_m2": mapped.report["landslide_px"] * pixel**2,
                "all_f1": _all_f1(scores.get("prevalence", np.nan)),
                "threshold_f1": _threshold_f1(mapped) if scores else np.nan,
                "seen_f1": part.total_scores(mapped.run)["f1"],
                "run_ids": mapped.run.spec.run_id,
            }
        )
    columns = [
        *("scene", "area", "bands", "resolution_m", "polygons", *_map_columns(), "mapped_m2"),
        *("all_f1", "threshold_f1", "seen_f1", "run_ids"),
    ]
    return pd.DataFrame(rows, columns=columns).set_index("scene")


def _all_f1(prevalence: float) -> float:
    return 2 * prevalence / (1 + prevalence)


def _threshold_f1(mapped: MappedScene) -> float:
    bands = mapped.run.spec.bands
    with scenes.open_image(mapped.scene) as image, scenes.open_labels(mapped.scene, image) as labels:
        step = max(1, round((image.shape[0] * image.shape[1] / THRESHOLD_PIXELS) ** 0.5))
        window = Window(0, 0, *image.shape)
        values = scenes.read_decimated(lambda strip: image.read(strip, bands), window, step)
        truth = np.where(image.valid(values), scenes.read_decimated(labels.read, window, step), 255)
    return best_threshold(values[None], truth[None], bands).confusion.f1


def transfers_table(study: Study, finished: Sequence[Run]) -> pd.DataFrame:
    """Tabulate what networks trained on one area find elsewhere, from the finished runs of the experiment.

    Returns:
        Rows (trained, tested): the scores of `events_table` that do not belong to one scene, scenes; run_ids. Where a
        transfer stays within its own area, pixel scores of its test patches alone.
    """
    settings, by_id = study.settings("unseen"), {run.spec.run_id: run for run in finished}
    rows = []
    for transfer in settings.transfers:
        for spec in transfer_networks(study, transfer):
            if (run := by_id.get(spec.run_id)) is None:
                continue
            trained = f"{transfer.area} ({transfer.data or study.profile.data})"
            row = {"trained": trained, "bands": len(run.spec.bands), "run_ids": run.spec.run_id}
            if transfer.to is None:
                rows.append({**row, "tested": "its own test patches", **run_scores(run)})
            elif dataset := _available(transfer.to):
                for area in transfer.areas or dataset.areas:
                    scores = _scores_of(run, dataset, area, settings.threshold, study.profile.execution.device)
                    scores |= {"all_f1": _all_f1(scores["prevalence"]), "scenes": len(dataset.scenes_of(area))}
                    rows.append({**row, "tested": f"{area} ({transfer.to})", **scores})
    columns = ["trained", "tested", "bands", "scenes", *_map_columns(), "all_f1", "run_ids"]
    return pd.DataFrame(rows, columns=columns).set_index(["trained", "tested"])


def _scores_of(run: Run, dataset: DataSet, area: str, threshold: float, device: str) -> dict[str, Any]:
    """Return `score_scenes` of an area, computed once."""

    def compute() -> dict[str, np.ndarray]:
        scores = score_scenes(run, dataset.scenes_of(area), threshold, device)
        return {name: np.array(score) for name, score in scores.items()}

    stored = runs.remembered(run, f"scores-{dataset.fingerprint}-{area}-{threshold:g}", compute)
    return {name: score.item() for name, score in stored.items()}


def score_scenes(run: Run, scene_list: Sequence[Scene], threshold: float = 0.5, device: str = "auto") -> dict[str, Any]:
    """Predict labelled scenes whole, each with its own statistics, and score them together (`objects.score`).

    Nothing is written; a scene's prediction is held in memory, 6 bytes per pixel.
    """
    model, card = weights.load(run.weights_file)
    torch_device = torch.device(choose_device(device))
    network = prediction.Network(model.to(torch_device), torch_device)
    size = max(area["patch_size"] for area in card["areas"].values())
    bands = tuple(card["bands"])
    tallies: list[objects.Tally] = []
    for scene in scene_list:
        with scenes.open_image(scene) as image, scenes.open_labels(scene, image) as labels:
            statistics = prediction.scene_statistics(image, bands)
            strips = []
            for window, probability in prediction.predicted_rows(image, bands, statistics, network, size):
                mask = np.where(probability < 0, 255, probability >= threshold).astype(np.uint8)
                strips.append((probability, mask, labels.read(window)))
            tallies.append(objects.tally(strips.__iter__, image.pixel_m**2))
    return reduce(operator.add, tallies).scores()


register(Experiment(name="unseen", number=5, title="unseen events", settings=Unseen, specs=specs))
