"""Learning: networks for an event of one's own, compared on blocks of labelled ground that they did not learn from.

Of each candidate one network per fold learns from the blocks of the other folds; what it finds in its own fold's is the
candidate's score. Together, their probabilities averaged, they are the result: nothing is trained again on the blocks
that have judged it, and nothing is stopped early by them.
"""

import hashlib
import itertools
import json
import math
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import torch
from rasterio.transform import array_bounds
from shapely.geometry import box
from torch import nn

import lmhld_nb
from lmhld_nb import models, processes, scenes
from lmhld_nb.config import UserError, atomic_path, progress_bar, write_json
from lmhld_nb.evaluation import Confusion
from lmhld_nb.mapping import heldback, inputs, labelled, prediction
from lmhld_nb.mapping.heldback import Folds, Judged
from lmhld_nb.mapping.labelled import LANDSLIDE, UNLABELLED, Ground, LabelFile
from lmhld_nb.mapping.prediction import Network, Statistics
from lmhld_nb.scenes.scene import Image, Scene
from lmhld_nb.sources.fingerprints import digest_of
from lmhld_nb.training import chains, engine, hardware
from lmhld_nb.training import weights as networks
from lmhld_nb.training.losses import masked_dice_bce
from lmhld_nb.training.specs import LAYER_GROUPS, Recipe, Treatment

NETWORK, CARD, WORK = "network.safetensors", "card.json", ".learn"
FILES = ("training.csv", "searched.gpkg", "searched.png", "label_next.gpkg", CARD, NETWORK)  # the network comes last
BATCH, WIDTH = 8, 8  # patches a step; channels of the first level
RATES = {"event": 0.003, "joint": 0.003, "tuned": 0.001}  # highest learning rates
PIXELS = 40e6  # that a network sees while it learns, in 200 to 600 steps: about a minute on one core
LOGGED = 25  # steps of one row in training.csv
LEAST_SHARE = 1 / 16  # of labelled ground in a patch that is trained on, where there are such patches
SQUARES = 10  # of label_next.gpkg
PERCENTILES = (1, 5, 50, 95, 99)


@dataclass(frozen=True)
class LearnSettings:
    """How networks learn."""

    patch: int | None = None  # px, a multiple of 16; None for the book's rule, 32 to 128
    steps: int | None = None  # of each network; None for what `PIXELS` allows
    model: str = "unet"
    freeze: int = 0  # encoder levels of the start network that keep their weights, as in LMHLD_part
    seed: int = 0
    device: str = "auto"
    workers: int | None = None  # networks side by side; None for one per core, or one on a GPU

    def __post_init__(self) -> None:
        if self.patch is not None and (self.patch < labelled.LEAST_PATCH or self.patch % 16):
            raise UserError(f"--patch {self.patch}: must be a multiple of 16, from {labelled.LEAST_PATCH} on")
        if (self.steps is not None and self.steps < 1) or not 0 <= self.freeze < chains.LEVELS:
            raise UserError(f"--steps {self.steps}, --freeze {self.freeze}: must be at least 1, and 0 to 4")


@dataclass(frozen=True)
class _Task:
    """One network to train; what it learns from lies in the folder."""

    candidate: str
    fold: int
    folder: Path
    bands: tuple[str, ...]
    size: int
    steps: int
    settings: LearnSettings
    start: Path | None  # network that is trained on

    @property
    def weights(self) -> Path:
        return self.folder / f"{self.candidate}-{self.fold}.safetensors"


def learn(
    scene: Scene | Path,
    labels: LabelFile | Path,
    out: Path,
    also: Sequence[tuple[Scene, LabelFile]] = (),
    start: Path | None = None,
    settings: LearnSettings = LearnSettings(),
    progress: bool = True,
) -> dict[str, Any]:
    """Train networks on a scene's labelled ground, compare them, and keep the best for `map_scene`.

    Candidates: ``start`` (the network of that file as it is), ``event`` (from this scene's labels alone), ``tuned``
    (start, trained on), ``joint`` (event and the scenes of ``also``), ``mean`` (of start and event). Unlabelled ground
    has no part in loss, statistics, choice of patches, threshold and score. Writes `FILES` into ``out``, and returns
    the network's card. Networks that were finished before an interruption are kept. UserError where an input cannot be
    used, or ``out`` holds other files than an earlier result.
    """
    began = time.perf_counter()
    if settings.freeze and start is None:
        raise UserError("--freeze: is of a start network; give one with --from")
    files = [labels if isinstance(labels, LabelFile) else LabelFile(labels), *(file for _, file in also)]
    _check_folder(out, [start, *(path for file in files for path in (file.path, file.searched))])
    with ExitStack() as stack:
        model, start_card = networks.load(start) if start else (None, {})
        grounds: list[Ground] = []
        for one, file in zip([scene, *(one for one, _ in also)], files, strict=True):
            image = stack.enter_context(scenes.open_image(one if isinstance(one, Scene) else inputs.scene_of_file(one)))
            named = [band for band in image.scene.bands if band not in ("", "alpha")]
            bands = tuple(start_card.get("bands", grounds[0].bands if grounds else named))
            inputs.check_image(image, bands)
            if not grounds and any(area.get("grid") == _grid(image) for area in start_card.get("areas", {}).values()):
                problem = f"has learnt from {image.scene.image.name}, so nothing could be held back from it"
                raise UserError(f"{start}: {problem}; leave --from out, or give the network that it started from")
            grounds.append(labelled.read(image, file, bands, grounds[0].patch if grounds else settings.patch))
        ground, size = grounds[0], min(one.patch for one in grounds)
        device = torch.device(hardware.choose_device(settings.device))
        stack.enter_context(engine.settings(device))
        truth = _padded(ground.part, size, UNLABELLED)
        folds = heldback.deal(truth, size)
        statistics = [{"scene": prediction.scene_statistics(one.image, bands), "labelled": _statistics(one)}
                      for one in grounds]  # fmt: skip
        found: dict[str, np.ndarray] = {}
        by, table = "scene", []
        if model is not None:
            if isinstance(model, networks.Ensemble):
                model.temperature = 1.0  # it is fitted anew
            starts = {name: _predict(model.to(device), _scaled(ground, own, size), truth != UNLABELLED, size, device)
                      for name, own in statistics[0].items()}  # fmt: skip
            tried = {name: heldback.judge(values, truth, folds) for name, values in starts.items()}
            by = max(tried, key=lambda name: tried[name].f1) if folds.count else by
            table = [_row("start", tried[name], f"normalised by {name}") for name in tried if name != by]
            found["start"] = starts[by]
        tasks = _tasks(out, grounds, [own[by] for own in statistics], folds, size, bands, start, settings)
        log = []
        for task, values, rows in _trained(tasks, progress):
            found.setdefault(task.candidate, np.zeros(truth.shape, np.float32))[folds.pixels == task.fold] = values
            log += [{"candidate": task.candidate, "fold": task.fold, **row} for row in rows]
        if start:
            found["mean"] = (found["start"] + found["event"]) / 2
        judged = {name: heldback.judge(values, truth, folds) for name, values in found.items()}
        best = max(judged, key=lambda name: judged[name].f1) if folds.count else ("mean" if start else "event")
        members = _members(best, tasks, model, start_card)
        card = {
            "run_id": tasks[0].folder.name,
            "model": " + ".join(dict.fromkeys(about["model"] for _, about in members)),
            "width": members[0][1]["width"],
            "bands": bands,
            "precision": "fp32",
            "normalise": by,
            "statistics": _named(statistics[0][by]) if by == "labelled" else None,
            "threshold": judged[best].threshold,
            "temperature": judged[best].temperature,
            "areas": {
                one.image.scene.name: {
                    "patch_size": size,
                    "resolution_m": one.image.ground_m,
                    "grid": _grid(one.image),
                    **_named(own[by]),
                }
                for one, own in zip(grounds, statistics, strict=True)
            },
            **_range(grounds, bands),
            "resolution_m": ground.image.ground_m,
            "start": {"file": start.name, "run_id": start_card["run_id"]} if start else None,
            **_compared(best, judged, table, ground, folds),
            "saw": labelled.describe(grounds),
            "settings": asdict(settings) | {"steps": tasks[0].steps},
            "versions": {"lmhld_nb": lmhld_nb.__version__, "torch": torch.__version__},
        }
        voting = networks.Ensemble([one for one, _ in members], [about["weight"] for _, about in members])
        network = Network(voting.eval().to(device), device)
        squares = _label_next(ground, bands, statistics[0][by], network, size)
        card["seconds"] = round(time.perf_counter() - began, 1)
        _write(out, tasks[0].folder, ground, log, squares, members, card)
    return card


def _check_folder(out: Path, inputs_: Sequence[Path | None]) -> None:
    """Refuse (UserError) a folder that holds an input among the files to be replaced, or anything else."""
    held = sorted(path.name for path in out.iterdir() if path.name != WORK) if out.is_dir() else []
    for path, name in itertools.product(filter(None, inputs_), FILES):
        if path.exists() and (out / name).exists() and path.samefile(out / name):
            raise UserError(f"{path}: would be replaced; choose another folder for the results")
    is_ours = (out / WORK).is_dir()
    with suppress(UserError):
        is_ours = is_ours or "held_back" in networks.read(out / NETWORK)[1]
    if foreign := [name for name in held if not is_ours or name not in FILES]:
        raise UserError(f"{out}: holds other files ({foreign[0]}); choose a new or empty folder")


# What is learnt from


def _statistics(ground: Ground) -> Statistics:
    """Return mean and standard deviation (bands,) of labelled ground."""
    pixels = ground.values[:, ground.part != UNLABELLED].astype(np.float64)
    std = pixels.std(axis=1)
    return pixels.mean(axis=1).astype(np.float32), np.where(std > 0, std, 1).astype(np.float32)


def _named(statistics: Statistics) -> dict[str, list[float]]:
    return {name: values.tolist() for name, values in zip(("mean", "std"), statistics, strict=True)}


def _grid(image: Image) -> list[float]:
    """Return what tells a scene from others: its size and place."""
    return [*image.shape, *image.transform[:6]]


def _scaled(ground: Ground, statistics: Statistics, size: int) -> np.ndarray:
    """Return normalised values (bands, rows, cols) float32, no data and what is added up to a patch as the mean."""
    mean, std = (values[:, None, None] for values in statistics)
    scaled = (ground.values.astype(np.float32) - mean) / std
    scaled[:, ~ground.image.valid(ground.values)] = 0
    return _padded(scaled, size, 0)


def _padded(array: np.ndarray, size: int, fill: int) -> np.ndarray:
    """Return an array whose last two axes are as long as a patch at least."""
    sides = [(0, 0)] * (array.ndim - 2) + [(0, max(0, size - length)) for length in array.shape[-2:]]
    return np.pad(array, sides, constant_values=fill)


def _places(known: np.ndarray, size: int, step: int, least: float = 0.0) -> np.ndarray:
    """Return first rows and columns (n, 2) of patches, one every ``step``, with more than a share of ``known``."""
    rows, cols = (prediction.starts(length, size, step) for length in known.shape)
    places = np.array([(row, col) for row in rows for col in cols])
    share = np.array([known[row : row + size, col : col + size].mean() for row, col in places])
    return places[share > (least if (share > least).any() else 0)]


def _range(grounds: Sequence[Ground], bands: tuple[str, ...]) -> dict[str, Any]:
    """Return what stored values were like where it was labelled, for maps of other scenes to be held against."""
    pixels = np.concatenate([ground.values[:, ground.part != UNLABELLED] for ground in grounds], axis=1)
    found = np.percentile(pixels, PERCENTILES, axis=1).T
    pairs = zip(bands, bands[1:], found[:, 2], found[1:, 2], strict=False)
    return {
        "percentiles": dict(zip(bands, found.tolist(), strict=True)),
        "band_ratios": {f"{one}/{other}": float(a / b) for one, other, a, b in pairs if b},
        "value_range": [float(pixels.min()), float(pixels.max())],
    }


# Networks


def _tasks(
    out: Path, grounds: Sequence[Ground], statistics: Sequence[Statistics], folds: Folds, size: int,
    bands: tuple[str, ...], start: Path | None, settings: LearnSettings,
) -> list[_Task]:  # fmt: skip
    """Write what networks learn from into a folder named after it, and list them."""
    arrays = {"pixels": folds.pixels}
    for number, (ground, own) in enumerate(zip(grounds, statistics, strict=True)):
        labels = _padded(ground.part, size, UNLABELLED)
        arrays |= {f"values-{number}": _scaled(ground, own, size), f"labels-{number}-0": labels}
        for fold in range(0 if number else folds.count):
            arrays[f"labels-0-{fold}"] = folds.training_labels(labels, fold, size)
    steps = settings.steps or int(np.clip(PIXELS / BATCH / size**2, 200, 600))
    named = [asdict(settings) | {"workers": 0}, steps, size, bands, digest_of(start) if start else "", BATCH, RATES]
    digest = hashlib.sha256(json.dumps(named).encode())
    for array in arrays.values():
        digest.update(np.ascontiguousarray(array).data)
    folder = out / WORK / digest.hexdigest()[:16]
    for other in (out / WORK).glob("*"):
        if other != folder:  # of other labels or settings
            shutil.rmtree(other)
    for name, array in arrays.items():
        with atomic_path(folder / f"{name}.npy") as temporary, temporary.open("wb") as file:
            np.save(file, array)
    kinds = ["event", *(["tuned"] if start else []), *(["joint"] if len(grounds) > 1 else [])]
    count = max(1, folds.count)
    return [_Task(kind, fold, folder, bands, size, steps, settings, start) for kind in kinds for fold in range(count)]


def _trained(tasks: list[_Task], progress: bool) -> Iterator[tuple[_Task, np.ndarray, list[dict[str, float]]]]:
    """Train what is not trained yet; yield each task with what it finds in its fold (n,) and its log."""
    on_gpu = hardware.choose_device(tasks[0].settings.device) != "cpu"
    workers = min(tasks[0].settings.workers or (1 if on_gpu else processes.cores()), len(tasks))
    with progress_bar(len(tasks), "learn", "network", progress) as bar:
        if workers == 1:
            for task in tasks:
                yield task, *_work(task)
                bar.update()
            return
        for task, future in processes.side_by_side(_work, tasks, workers):
            yield task, *future.result()
            bar.update()


def _work(task: _Task) -> tuple[np.ndarray, list[dict[str, float]]]:
    """Train a network, or take it as it was finished before, and let it find landslides in its held-back fold."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the same bits however many networks learn side by side
    try:
        if not task.weights.exists():
            _train(task)
        model, card = networks.load(task.weights)
        device = torch.device(hardware.choose_device(task.settings.device))
        held = np.load(task.folder / "pixels.npy") == task.fold
        values = np.load(task.folder / "values-0.npy", mmap_mode="r")
        return _predict(model.to(device), values, held, task.size, device)[held], card["log"]
    finally:
        torch.set_num_threads(threads)


def _train(task: _Task) -> None:
    """Train a network for a fixed number of steps, and store it with its log."""
    settings, device = task.settings, torch.device(hardware.choose_device(task.settings.device))
    seeds = (settings.seed, task.fold, sorted(RATES).index(task.candidate))
    torch.manual_seed(int(np.random.SeedSequence(seeds).generate_state(1)[0]))
    treatments: dict[str, Treatment] = dict.fromkeys(LAYER_GROUPS, "finetune")
    if task.candidate == "tuned":
        assert task.start is not None
        members = networks.members_of(*networks.load(task.start))
        model, about = members[task.fold % len(members)]
        treatments |= dict.fromkeys(LAYER_GROUPS[: 2 + settings.freeze] if settings.freeze else (), "frozen")
    else:
        width = WIDTH if models.takes_width(models.network(settings.model)) else None
        about = {"model": settings.model, "source": models.source_of(settings.model), "width": width}
        model = models.build(settings.model, len(task.bands), width)
    groups = chains.layer_groups(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(treatments[groups[name]] != "frozen")
    model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    recipe = Recipe(
        batch_size=BATCH, epochs=task.steps, optimiser="adamw", lr=RATES[task.candidate], schedule="one_cycle",
        weight_decay=0.01, loss="dice_bce", augment=True, precision="fp32",
    )  # fmt: skip
    optimiser, total, log = engine.optimiser_of(model, recipe), torch.zeros((), device=device), []
    model.train()
    chains.freeze_statistics(model, treatments)
    for step, (images, labels) in enumerate(_batches(task, np.random.default_rng(seeds))):
        rate = engine.learning_rate(recipe, step)
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad(set_to_none=True)
        inputs_, codes = images.to(device).contiguous(memory_format=torch.channels_last), labels.to(device)
        heads = models.supervised(model, inputs_)
        masks, known = (codes == LANDSLIDE).float(), codes != UNLABELLED
        loss = torch.stack([masked_dice_bce(head.float(), masks, known) for head in heads]).mean()
        loss.backward()
        optimiser.step()
        total += loss.detach()
        if (step + 1) % LOGGED == 0 or step + 1 == task.steps:
            count = step % LOGGED + 1
            log.append({"step": step + 1, "lr": rate, "loss": float(total) / count})
            total.zero_()
            if not math.isfinite(log[-1]["loss"]):
                raise UserError(f"{task.weights}: the loss is not finite at step {step + 1}; check the scene's values")
    card = {"bands": task.bands, "log": log}
    networks.save_members(task.weights, [(model, {**about, "weight": 1.0})], card)


def _batches(task: _Task, random: np.random.Generator) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield patches (8, bands, size, size), each turned and flipped by itself, and their labels (8, 1, size, size).

    Of a ``joint`` network, every second patch is of another scene.
    """
    scenes_of = range(len(list(task.folder.glob("values-*.npy"))) if task.candidate == "joint" else 1)
    values = [np.load(task.folder / f"values-{k}.npy", mmap_mode="r") for k in scenes_of]
    labels = [np.load(task.folder / f"labels-{k}-{0 if k else task.fold}.npy") for k in scenes_of]
    size, others = task.size, len(values) - 1
    drawn = [_endless(_places(codes != UNLABELLED, size, size // 2, LEAST_SHARE), random) for codes in labels]
    for step in range(task.steps):
        images: list[np.ndarray] = []
        codes: list[np.ndarray] = []
        for number in range(BATCH):
            k = 1 + (step * BATCH + number) // 2 % others if others and number % 2 else 0
            row, col = next(drawn[k])
            turns, flip = int(random.integers(4)), 1 - 2 * int(random.integers(2))
            for stack, array in ((images, values[k]), (codes, labels[k][None])):
                patch = array[:, row : row + size, col : col + size]
                stack.append(np.rot90(patch, turns, (1, 2))[:, :, ::flip])
        yield torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(codes))


def _endless(places: np.ndarray, random: np.random.Generator) -> Iterator[tuple[int, int]]:
    while True:
        yield from random.permutation(places).tolist()


@torch.inference_mode()
def _predict(model: nn.Module, values: np.ndarray, wanted: np.ndarray, size: int, device: torch.device) -> np.ndarray:
    """Return probabilities (rows, cols) where ``wanted``, of windows that overlap by a quarter, blended as in a map."""
    ramp = np.outer(prediction.blend_ramp(size), prediction.blend_ramp(size))
    total, weight = np.zeros(wanted.shape, np.float32), np.full(wanted.shape, 1e-9, np.float32)
    places = _places(wanted, size, size * 3 // 4) if wanted.any() else np.empty((0, 2), int)
    for some in np.array_split(places, range(2 * BATCH, len(places), 2 * BATCH)) if len(places) else ():
        windows = np.stack([values[:, row : row + size, col : col + size] for row, col in some])
        images = torch.from_numpy(windows).to(device).contiguous(memory_format=torch.channels_last)
        for (row, col), found in zip(some, torch.sigmoid(model(images)[:, 0].float()).cpu().numpy(), strict=True):
            total[row : row + size, col : col + size] += ramp * found
            weight[row : row + size, col : col + size] += ramp
    return np.minimum(total / weight, 1)


def _members(
    best: str, tasks: Sequence[_Task], start: nn.Module | None, start_card: dict[str, Any]
) -> list[tuple[nn.Module, dict[str, Any]]]:
    """Return the networks of a candidate, each with what a card says of it; start and event count half each."""
    members = networks.members_of(start, start_card) if start is not None and best in ("start", "mean") else []
    known = sum(about["weight"] for _, about in members)
    members = [(model, about | {"weight": about["weight"] / known}) for model, about in members]
    own = [task for task in tasks if task.candidate == ("event" if best == "mean" else best)]
    for task in own:
        ((model, about),) = networks.members_of(*networks.load(task.weights))
        members.append((model, about | {"weight": 1 / len(own)}))
    return members


# What is said and written


def _row(candidate: str, judged: Judged, remark: str = "") -> dict[str, Any]:
    f1, total = judged.interval, judged.total
    scores = {"f1": f1.value, "low": f1.low, "high": f1.high, "precision": total.precision, "recall": total.recall}
    chosen = {"threshold": judged.threshold, "temperature": judged.temperature}
    return {"candidate": candidate, "remark": remark, **scores, **chosen}


def _compared(
    best: str, judged: dict[str, Judged], table: list[dict[str, Any]], ground: Ground, folds: Folds
) -> dict[str, Any]:
    """Return what a card says of all candidates, of plain thresholds, and of what was held back."""
    notes = [f"kept: {best}"]
    if not folds.count:
        reason = "landslides lie in fewer than two blocks of labelled ground, so nothing could be held back"
        notes.append(f"no score can be given: {reason}")
        return {"kept": best, "held_back": None, "candidates": [], "verdict": notes}
    table = [*(_row(name, one) for name, one in judged.items()), *table]
    rows, cols = ground.part.shape
    cropped = Folds(folds.blocks[:rows, :cols], folds.of_block)
    rule, plain = heldback.plain_threshold(ground.values, ground.part, cropped, ground.bands)
    landslide, total = int((ground.part == LANDSLIDE).sum()), int((ground.part != UNLABELLED).sum())
    everything = Confusion(landslide, total - landslide, 0, 0)
    for name, remark, one in (("threshold", rule, plain), ("all landslide", "", everything)):
        scores = {"f1": one.f1, "precision": one.precision, "recall": one.recall}
        table.append({"candidate": name, "remark": remark, **scores})
    row = table[list(judged).index(best)]
    blocks = len(folds.of_block)
    notes.append(f"held-back F1 {judged[best].interval.describe()}, of {blocks} blocks, {ground.landslides} landslides")
    if plain.f1 > judged[best].f1:
        notes.append(f"a plain threshold is better: F1 {plain.f1:.3f} with {rule}")
    if everything.f1 > judged[best].f1:
        notes.append(f"calling all of it landslide is better: F1 {everything.f1:.3f}")
    held = {name: row[name] for name in ("f1", "low", "high", "precision", "recall")}
    held |= {"blocks": blocks, "folds": folds.count, "landslides": ground.landslides}
    return {"kept": best, "held_back": held, "candidates": table, "verdict": notes}


def _label_next(
    ground: Ground, bands: tuple[str, ...], statistics: Statistics, network: Network, size: int
) -> gpd.GeoDataFrame:
    """Return squares of a patch's size, at least half of them unlabelled, in which the network is least certain."""
    image, sums = ground.image, np.zeros((2, *(-(-length // size) for length in ground.labels.shape)))
    firsts = np.arange(0, image.shape[1], size)
    with closing(prediction.predicted_rows(image, bands, statistics, network, size, overlap=0.0)) as rows:
        for window, probability in rows:
            new = (probability >= 0) & (ground.labels[window.row : window.row + window.height] == UNLABELLED)
            doubt = np.where(new, 1 - np.abs(2 * probability - 1), 0)
            squares = np.arange(window.row, window.row + window.height) // size
            for total, values in zip(sums, (doubt, new), strict=True):
                np.add.at(total, squares, np.add.reduceat(values.astype(float), firsts, axis=1))
    mean = np.where(sums[1] >= size**2 / 2, sums[0] / np.maximum(sums[1], 1), 0)
    chosen = [divmod(int(k), mean.shape[1]) for k in np.argsort(-mean, axis=None, kind="stable")[:SQUARES]]
    chosen = [(row, col) for row, col in chosen if mean[row, col] > 0]
    boxes = [box(*array_bounds(size, size, image.transform @ image.transform.translation(col * size, row * size)))
             for row, col in chosen]  # fmt: skip
    found = {"rank": range(1, len(chosen) + 1), "uncertainty": [mean[place] for place in chosen]}
    return gpd.GeoDataFrame(found, geometry=boxes, crs=image.crs)


def _write(
    out: Path, work: Path, ground: Ground, log: list[dict[str, Any]], squares: gpd.GeoDataFrame,
    members: list[tuple[nn.Module, dict[str, Any]]], card: dict[str, Any],
) -> None:  # fmt: skip
    """Write `FILES`: first beside the trained networks, then into place, the network last."""
    with atomic_path(work / "out") as folder:
        folder.mkdir()
        rows = pd.DataFrame(log).sort_values(["candidate", "fold", "step"])
        rows.to_csv(folder / "training.csv", index=False, float_format="%.6g")
        labelled.write(folder, ground)
        if len(squares):
            labelled.write_layer(folder / "label_next.gpkg", squares, "label next")
        write_json(folder / CARD, card)
        networks.save_members(folder / NETWORK, members, card)
    for name in FILES:
        if (work / "out" / name).exists():
            (work / "out" / name).replace(out / name)
        else:
            (out / name).unlink(missing_ok=True)  # of an earlier result
    shutil.rmtree(out / WORK)
