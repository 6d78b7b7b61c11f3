"""Candidates: networks trained on labelled ground, one per fold, in parallel. Finished ones are kept on disk."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lmhld_nb import models, processes
from lmhld_nb.config import UserError, progress_bar
from lmhld_nb.mapping import heldback, labelled, prediction
from lmhld_nb.mapping.labelled import UNLABELLED
from lmhld_nb.training import chains, engine, hardware
from lmhld_nb.training import weights as networks
from lmhld_nb.training.specs import LAYER_GROUPS, Recipe, Treatment

BATCH, WIDTH = 8, 8  # patches per step; channels of the U-Net's first level
CANDIDATES = {
    "start": "the network of --from, unchanged",
    "event": "new networks, trained on these labels",
    "tuned": "the network of --from, fine-tuned on these labels",
    "joint": "new networks, trained on the other scenes, too",
    "mean": "start and event, averaged",
}
RATES = {"event": 0.003, "joint": 0.003, "tuned": 0.001}  # highest learning rates
PIXELS = 40e6  # seen by a network in training, in 200 to 600 steps: about a minute on one core
LEAST_SHARE = 1 / 16  # labelled share of a training patch, if any patch reaches it


@dataclass(frozen=True)
class LearnSettings:
    """How networks are trained."""

    steps: int | None = None  # per network; None: what `PIXELS` allows
    patch: int | None = None  # px, a multiple of 16; None: the book's rule, 32 to 128
    freeze: int = 0  # encoder levels of the start network that stay fixed, as in LMHLD_part
    seed: int = 0
    device: str = "auto"
    workers: int | None = None  # networks in parallel; None: one per core, or one on a GPU
    before: Path | None = None  # pre-event scene on the same grid: the change of each band is added as a band
    dem: Path | None = None  # elevation in metres, on any grid: elevation and slope are added as bands

    def __post_init__(self) -> None:
        if self.patch is not None and (self.patch < labelled.LEAST_PATCH or self.patch % 16):
            raise UserError(f"patches of {self.patch} px: must be a multiple of 16, at least {labelled.LEAST_PATCH}")
        if (self.steps is not None and self.steps < 1) or not 0 <= self.freeze < chains.LEVELS:
            raise UserError(f"--steps {self.steps}, --freeze {self.freeze}: must be at least 1, and 0 to 4")


@dataclass(frozen=True)
class Task:
    """One network to train: ``event`` on the first scene, ``joint`` on all, ``tuned`` from the start network."""

    candidate: str
    fold: int
    folder: Path  # for finished networks
    scenes: Sequence[tuple[np.ndarray, np.ndarray]]  # values (bands, rows, cols) float32, normalised, and labels
    folds: np.ndarray  # (rows, cols), the fold of each labelled pixel of the first scene
    bands: tuple[str, ...]
    size: int
    steps: int
    settings: LearnSettings
    start: Path | None

    @property
    def weights(self) -> Path:
        return self.folder / f"{self.candidate}-{self.fold}.safetensors"


def trained(tasks: list[Task], progress: bool) -> Iterator[tuple[Task, np.ndarray, list[float]]]:
    """Train networks not trained yet; yield each task, the probabilities (n,) in its fold, and the loss per step."""
    on_gpu = hardware.choose_device(tasks[0].settings.device) != "cpu"
    workers = min(tasks[0].settings.workers or (1 if on_gpu else processes.cores()), len(tasks))
    done = ((task, future.result()) for task, future in processes.side_by_side(_work, tasks, workers))
    with progress_bar(len(tasks), "learn", "network", progress) as bar:
        for task, result in done if workers > 1 else ((task, _work(task)) for task in tasks):
            yield task, *result
            bar.update()


def _work(task: Task) -> tuple[np.ndarray, list[float]]:
    """Train a network, or load it if it was finished before, and predict its held-back fold."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the same bits however many networks are trained in parallel
    try:
        device = torch.device(hardware.choose_device(task.settings.device))
        if not task.weights.exists():
            _train(task, device)
        model, card = networks.load(task.weights)
        held = task.folds == task.fold
        return predict(model.to(device), task.scenes[0][0], held, task.size, device)[held], card["losses"]
    finally:
        torch.set_num_threads(threads)


def _train(task: Task, device: torch.device) -> None:
    """Train a network for a fixed number of steps and store it with its losses."""
    seeds = (task.settings.seed, task.fold, sorted(RATES).index(task.candidate))
    torch.manual_seed(int(np.random.SeedSequence(seeds).generate_state(1)[0]))
    treatments: dict[str, Treatment] = dict.fromkeys(LAYER_GROUPS, "finetune")
    if task.candidate == "tuned":
        assert task.start is not None
        members = networks.members_of(*networks.load(task.start))
        model, about = members[task.fold % len(members)]
        treatments |= dict.fromkeys(LAYER_GROUPS[: 2 + task.settings.freeze] if task.settings.freeze else (), "frozen")
    else:
        model, about = models.build("unet", len(task.bands), WIDTH), {"model": "unet", "source": "", "width": WIDTH}
    groups = chains.layer_groups(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(treatments[groups[name]] != "frozen")
    model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    recipe = Recipe(
        batch_size=BATCH, epochs=task.steps, optimiser="adamw", lr=RATES[task.candidate], schedule="one_cycle",
        weight_decay=0.01, loss="labelled_dice_bce", precision="fp32",
    )  # fmt: skip
    optimiser = engine.optimiser_of(model, recipe)
    step, losses = engine.step_of(model, optimiser, recipe), []
    model.train()
    chains.freeze_statistics(model, treatments)
    for number, (images, labels) in enumerate(_batches(task, np.random.default_rng(seeds))):
        for group in optimiser.param_groups:
            group["lr"] = engine.learning_rate(recipe, number)
        losses.append(step(images.to(device).contiguous(memory_format=torch.channels_last), labels.to(device)))
    log = torch.stack(losses).tolist()
    if not all(map(math.isfinite, log)):
        raise UserError(f"{task.weights}: the loss is not finite; check the scene's values and its no-data value")
    networks.save_members(task.weights, [(model, {**about, "weight": 1.0})], {"bands": task.bands, "losses": log})


def _batches(task: Task, random: np.random.Generator) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield patches (8, bands, size, size), each rotated and flipped at random, and their labels (8, 1, size, size).

    For a ``joint`` network, every second patch is from another scene.
    """
    size, (values, labels) = task.size, task.scenes[0]
    used = [(values, heldback.training_labels(labels, task.folds, task.fold, size))]
    used += task.scenes[1:] if task.candidate == "joint" else ()
    places = [_places(codes != UNLABELLED, size, size // 2, LEAST_SHARE) for _, codes in used]
    for step in range(task.steps):
        patches = []
        for number in range(BATCH):
            k = 1 + (step * BATCH + number) // 2 % (len(used) - 1) if len(used) > 1 and number % 2 else 0
            row, col = random.choice(places[k])
            turns, flip = int(random.integers(4)), 1 - 2 * int(random.integers(2))
            both = [array[:, row : row + size, col : col + size] for array in (used[k][0], used[k][1][None])]
            patches.append(np.rot90(np.concatenate(both), turns, (1, 2))[:, :, ::flip])
        batch = torch.from_numpy(np.stack(patches))
        yield batch[:, :-1], batch[:, -1:]


def _places(known: np.ndarray, size: int, step: int, least: float = 0.0) -> np.ndarray:
    """Return first rows and columns (n, 2) of patches, every ``step`` pixels, with enough ``known`` pixels."""
    rows, cols = (prediction.starts(length, size, step) for length in known.shape)
    places = np.array([(row, col) for row in rows for col in cols])
    share = np.array([known[row : row + size, col : col + size].mean() for row, col in places])
    return places[share > (least if (share > least).any() else 0)]


@torch.inference_mode()
def predict(model: nn.Module, values: np.ndarray, wanted: np.ndarray, size: int, device: torch.device) -> np.ndarray:
    """Return probabilities (rows, cols) at ``wanted``, from windows that overlap by a quarter, blended as in maps."""
    ramp = np.outer(prediction.blend_ramp(size), prediction.blend_ramp(size))
    total, weight = np.zeros(wanted.shape, np.float32), np.full(wanted.shape, 1e-9, np.float32)
    for row, col in _places(wanted, size, size * 3 // 4):
        place = slice(row, row + size), slice(col, col + size)
        images = torch.from_numpy(np.ascontiguousarray(values[:, *place])[None]).to(device)
        total[place] += ramp * torch.sigmoid(model(images)[0, 0].float()).cpu().numpy()
        weight[place] += ramp
    return np.minimum(total / weight, 1)
