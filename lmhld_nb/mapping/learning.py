"""Learning: networks for your own event, compared on blocks of labelled ground that they were not trained on.

For each candidate, one network per fold is trained on the blocks of the other folds and scored on those of its own
fold. The result is their ensemble, with averaged probabilities: nothing is retrained on the blocks that scored it, and
none of them is used for early stopping.
"""

import hashlib
import json
import math
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import torch
from rasterio.transform import array_bounds
from shapely.geometry import box
from torch import nn

import lmhld_nb
from lmhld_nb import scenes
from lmhld_nb.config import UserError, atomic_path, progress_bar, write_json
from lmhld_nb.evaluation import Confusion, best_threshold, intervals
from lmhld_nb.evaluation import scores as scores_of
from lmhld_nb.mapping import candidates, further, heldback, inputs, labelled, prediction
from lmhld_nb.mapping.candidates import LearnSettings, Task
from lmhld_nb.mapping.heldback import Judged
from lmhld_nb.mapping.labelled import LANDSLIDE, UNLABELLED, Ground, LabelFile
from lmhld_nb.mapping.prediction import Network, Statistics
from lmhld_nb.mapping.unlike import unlike
from lmhld_nb.scenes.scene import Image, Scene
from lmhld_nb.seals import digest_of
from lmhld_nb.training import hardware
from lmhld_nb.training import weights as networks

NETWORK, CARD, WORK = "network.safetensors", "card.json", ".learn"
FILES = ("training.csv", "searched.gpkg", "label_next.gpkg", CARD, NETWORK)  # the network is written last
SQUARES = 10  # of label_next.gpkg
PERCENTILES = (1, 5, 50, 95, 99)
THRESHOLDING_PIXELS = 2**20  # at most, in the search for a plain threshold

Members = list[tuple[nn.Module, dict[str, Any]]]


@dataclass(frozen=True)
class Comparison:
    """Trained candidates, scored on held-back blocks of the first ground."""

    grounds: list[Ground]
    statistics: list[Statistics]  # one per scene, for its normalisation
    judged: dict[str, Judged]  # empty if nothing could be held back
    tasks: list[Task]
    log: pd.DataFrame  # candidate, fold, step, loss
    start: Members  # empty without a start network

    def members(self, candidate: str) -> Members:
        """Return the networks of a candidate as `weights.save_members` takes them; start and event weigh half each."""
        found = self.start if candidate in ("start", "mean") else []
        own = [task for task in self.tasks if task.candidate == ("event" if candidate == "mean" else candidate)]
        for task in own:
            ((model, about),) = networks.members_of(*networks.load(task.weights))
            found = [*found, (model, about | {"weight": 1 / len(own)})]
        return found


def learn(
    scene: Scene,
    labels: LabelFile,
    out: Path,
    also: Sequence[tuple[Scene, LabelFile]] = (),
    start: Path | None = None,
    settings: LearnSettings = LearnSettings(),  # noqa: B008 (frozen)
    progress: bool = True,
) -> dict[str, Any]:
    """Train networks on a scene's labelled ground, compare them, and keep one for `map_scene`.

    `choose` selects one of `candidates.CANDIDATES`. Unlabelled ground plays no part in the loss, the choice of patches,
    the threshold or the score. Writes `FILES` into ``out`` and returns the network's card. Networks finished before an
    interruption are kept. UserError if an input cannot be used, or ``out`` holds files that are not an earlier result.
    """
    began = time.perf_counter()
    pairs = [(scene, labels), *also]
    found = sorted(path.name for path in out.glob("*") if path.name not in FILES)
    # Hidden files are the system's (WORK is one, too), the others SQLite's, while QGIS has a GeoPackage open.
    if foreign := [name for name in found if name[0] != "." and not name.endswith(("-wal", "-shm", "-journal"))]:
        raise UserError(f"{out}: holds other files ({foreign[0]}); choose a new or empty folder")
    beside = (start, settings.before, settings.dem)
    for path in (*beside, *(path for _, file in pairs for path in (file.path, file.searched))):
        if path is not None and path.resolve().parent == out.resolve():
            raise UserError(f"{path}: is in the folder for the results; choose another folder for them")
    with ExitStack() as stack:
        compared = compare(stack, pairs, out / WORK, start, settings, progress)
        best, notes = choose(compared.judged)
        members = compared.members(best)
        squares = _label_next(compared, members)
        card = _card(compared, best, notes, members, settings) | {"start": start.name if start else None}
        card["seconds"] = round(time.perf_counter() - began, 1)
        (out / NETWORK).unlink(missing_ok=True)  # from an earlier result
        with atomic_path(out / FILES[0]) as path:
            compared.log.to_csv(path, index=False, float_format="%.6g")
        for name, table in zip(FILES[1:3], (labelled.searched(compared.grounds[0]), squares), strict=True):
            with atomic_path(out / name) as path:
                try:
                    table.to_file(path, layer=name.removesuffix(".gpkg"), driver="GPKG", promote_to_multi=True)
                except (pyogrio.errors.DataSourceError, pyogrio.errors.FeatureError) as error:
                    raise OSError(str(error)) from error  # e.g. a full disk
        write_json(out / CARD, card)
        networks.save_members(out / NETWORK, members, card)
        shutil.rmtree(out / WORK)
    return card


def compare(
    stack: ExitStack, pairs: Sequence[tuple[Scene, LabelFile]], work: Path, start: Path | None,
    settings: LearnSettings, progress: bool,
) -> Comparison:  # fmt: skip
    """Train and score all candidates in the folder ``work``; images stay open with ``stack``; raises as `learn`."""
    if settings.freeze and start is None:
        raise UserError("--freeze: needs a start network; give one with --from")
    device = torch.device(hardware.choose_device(settings.device))
    model, start_card = networks.load(start) if start else (None, {})
    labelled.check_words([file for _, file in pairs])
    grounds: list[Ground] = []
    for scene, file in pairs:
        image = stack.enter_context(scenes.open_image(scene))
        image.check_names()
        own = tuple(band for band in scene.bands if band not in ("", "alpha"))
        own += further.names(own, settings.before, settings.dem)
        bands = tuple(start_card.get("bands", grounds[0].bands if grounds else own))
        if settings.dem and not set(further.TERRAIN) <= set(bands):
            raise UserError(f"{start}: was not trained on elevation ({', '.join(bands)}); leave out --dem, or --from")
        image = further.stacked(stack, image, bands, settings.before, settings.dem)
        inputs.check_image(image, bands)
        if not grounds and any(area.get("grid") == _grid(image) for area in start_card.get("areas", {}).values()):
            problem = f"was trained on {scene.image.name}, so nothing could be held back from it"
            raise UserError(f"{start}: {problem}; leave out --from, or give the network that it started from")
        grounds.append(labelled.read(image, file, bands, grounds[0].patch if grounds else settings.patch))
    size = min(ground.patch for ground in grounds)
    statistics = [prediction.scene_statistics(ground.image, bands) for ground in grounds]
    arrays = [
        (prediction.scaled(ground.values, ground.image.valid(ground.values), pair), ground.part)
        for ground, pair in zip(grounds, statistics, strict=True)
    ]
    truth, dealt = grounds[0].part, heldback.deal(grounds[0].part, size)
    folds = dealt[1][dealt[0]]
    found: dict[str, np.ndarray] = {}
    if start and model is not None:
        if isinstance(model, networks.Ensemble):
            model.temperature = 1.0  # it is fitted again
        with progress_bar(1, f"score {start.name}", "network", progress):
            found["start"] = candidates.predict(model.to(device), arrays[0][0], folds >= 0, size, device)
        grounds[0].notes.extend(f"{start}: {line}" for line in unlike(grounds[0].image, start_card, statistics[0]))
    steps = settings.steps or int(np.clip(candidates.PIXELS / candidates.BATCH / size**2, 200, 600))
    named = [asdict(settings) | {"workers": 0}, steps, size, bands, digest_of(start) if start else ""]
    digest = hashlib.sha256(json.dumps(named, default=str).encode())
    for array in (folds, *(array for both in arrays for array in both)):
        digest.update(np.ascontiguousarray(array).data)
    tasks = [
        Task(kind, fold, work / digest.hexdigest()[:16], arrays, folds, bands, size, steps, settings, start)
        for kind in ("event", *(["tuned"] if start else []), *(["joint"] if len(grounds) > 1 else []))
        for fold in range(max(1, int(folds.max()) + 1))
    ]
    work.mkdir(parents=True, exist_ok=True)  # a place that cannot be written is told before networks are trained
    log = []
    for task, values, losses in candidates.trained(tasks, progress):
        found.setdefault(task.candidate, np.zeros(truth.shape, np.float32))[folds == task.fold] = values
        log += [(task.candidate, task.fold, step, loss) for step, loss in enumerate(losses, 1)]
    if start:
        found["mean"] = (found["start"] + found["event"]) / 2
    judged = {name: heldback.judge(values, truth, *dealt) for name, values in found.items() if folds.max() >= 0}
    table = pd.DataFrame(sorted(log), columns=["candidate", "fold", "step", "loss"])
    members = networks.members_of(model, start_card) if model is not None else []
    total = sum(about["weight"] for _, about in members)
    members = [(network, about | {"weight": about["weight"] / total}) for network, about in members]
    return Comparison(grounds, statistics, judged, tasks, table, members)


def choose(judged: dict[str, Judged]) -> tuple[str, list[str]]:
    """Return the candidate that is kept, the one with the highest held-back F1, and lines that say why.

    It is preferred to the mean (``event`` without a start network) only if the 95 % interval of the paired difference
    over non-empty blocks is above 0: the best of several looks better than it is, and the mean was the best on four
    real scenes (benchmarks/results/learn.csv).
    """
    if not judged:
        reason = "landslides lie in fewer than two blocks of labelled ground, so nothing could be held back"
        return "event", [f"kept: event; no score can be given: {reason}"]
    usual = "mean" if "mean" in judged else "event"
    best = max(judged, key=lambda name: judged[name].f1)
    if best == usual:
        return best, [f"kept: {best}"]
    counts = np.stack([judged[name].counts for name in (best, usual)])
    counts = counts[:, counts.any(axis=(0, 2))]
    gain = intervals.difference(*counts)
    evidence = f"F1 of {best} minus that of {usual}: {gain.describe('+.3f')}, {counts.shape[1]} blocks"
    if gain.low > 0:
        return best, [f"kept: {best} ({evidence})"]
    return usual, [f"kept: {usual}, the default, as too little is held back to tell ({evidence})"]


def _grid(image: Image) -> list[float]:
    """Return what identifies a scene: its size and position."""
    return [*image.shape, *image.transform[:6]]


def _card(
    compared: Comparison, best: str, notes: list[str], members: Members, settings: LearnSettings
) -> dict[str, Any]:
    """Return the model card: what the network is, its training data, and all candidates' scores on held-back ground."""
    ground, judged, task = compared.grounds[0], compared.judged, compared.tasks[0]
    used = asdict(settings) | {"steps": task.steps}
    pixels = np.concatenate([one.values[:, one.part != UNLABELLED] for one in compared.grounds], axis=1)
    percentiles = np.percentile(pixels, PERCENTILES, axis=1).T.tolist()
    landslide, total = int((ground.part == LANDSLIDE).sum()), int((ground.part != UNLABELLED).sum())
    table = [{"candidate": name, **one.scores(), "threshold": one.threshold, "temperature": one.temperature}
             for name, one in judged.items()]  # fmt: skip
    if judged:
        step = max(1, math.isqrt(ground.part.size // THRESHOLDING_PIXELS))
        rule = best_threshold(ground.values[None, :, ::step, ::step], ground.part[None, ::step, ::step], ground.bands)
        plain = f"{rule.feature} {'from' if rule.above else 'up to'} {rule.value:.4g}, chosen on the same ground"
        everything = Confusion(landslide, total - landslide, 0, 0)
        score = f"held-back F1 {judged[best].interval.describe()}, of {ground.landslides} landslides"
        notes.append(f"{score}; expect less on ground unlike what was searched")
        for name, one in ((plain, rule.confusion), ("all landslide", everything)):
            table.append({"candidate": name, **scores_of(one)})
            if one.f1 > judged[best].f1:
                notes.append(f"better without a network: {name}, F1 {one.f1:.3f}")
    return {
        "run_id": task.folder.name,
        "model": " + ".join(dict.fromkeys(about["model"] for _, about in members)),
        "width": members[0][1]["width"],
        "bands": ground.bands,
        "precision": "fp32",
        "normalise": "scene",
        "threshold": judged[best].threshold if judged else 0.5,
        "temperature": judged[best].temperature if judged else 1.0,
        "areas": {
            one.image.scene.name: {
                "patch_size": task.size, "resolution_m": one.image.ground_m, "grid": _grid(one.image),
                "mean": mean.tolist(), "std": std.tolist(),
            }
            for one, (mean, std) in zip(compared.grounds, compared.statistics, strict=True)
        },
        "percentiles": dict(zip(ground.bands, percentiles, strict=True)),
        "kept": best,
        "held_back": judged[best].scores() if judged else None,
        "candidates": table,
        "verdict": notes,
        "landslides": ground.landslides,
        "blocks": len(judged[best].counts) if judged else 0,
        "labelled_share": total / ground.labels.size,
        "notes": [note for one in compared.grounds for note in one.notes],
        "settings": {name: getattr(value, "name", value) for name, value in used.items()},  # files by their name
        "versions": {"lmhld_nb": lmhld_nb.__version__, "torch": torch.__version__},
    }  # fmt: skip


def _label_next(compared: Comparison, members: Members) -> gpd.GeoDataFrame:
    """Return squares of a patch's size, each at least half unlabelled, in which the network is least certain."""
    ground, task = compared.grounds[0], compared.tasks[0]
    image, size, device = ground.image, task.size, torch.device(hardware.choose_device(task.settings.device))
    down, across = (length // size for length in ground.labels.shape)
    voting = networks.Ensemble([one for one, _ in members], [about["weight"] for _, about in members])
    network = Network(voting.eval().to(device), device)
    share, sums = np.zeros((2, down, across))
    held, done = np.zeros((0, image.shape[1]), np.float32), 0
    predicted = prediction.predicted_rows(image, ground.bands, compared.statistics[0], network, size, overlap=0.0)
    with closing(predicted) as rows:
        for _, values in rows:
            held = np.concatenate([held, values])
            while len(held) >= size:  # a row of squares at a time: all may not fit into memory
                new = (held[:size] >= 0) & (ground.labels[done * size :][:size] == UNLABELLED)
                for means, found in ((share, new), (sums, np.where(new, 1 - np.abs(2 * held[:size] - 1), 0))):
                    means[done] = found[:, : across * size].reshape(size, across, size).mean(axis=(0, 2))
                held, done = held[size:], done + 1
    mean = np.where(share >= 0.5, sums / np.maximum(share, 0.5), 0)
    chosen = [divmod(int(k), across) for k in np.argsort(-mean, axis=None, kind="stable")[:SQUARES]]
    chosen = [(row, col) for row, col in chosen if mean[row, col] > 0]
    boxes = [box(*array_bounds(size, size, image.transform @ image.transform.translation(col * size, row * size)))
             for row, col in chosen]  # fmt: skip
    found = {"rank": range(1, len(chosen) + 1), "uncertainty": [mean[place] for place in chosen]}
    return gpd.GeoDataFrame(found, geometry=boxes, crs=image.crs)
