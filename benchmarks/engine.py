"""How fast is a training step, against the loop of a typical repository and against the hardware?

    python -m benchmarks.engine [--sizes 64] [--models unet,…] [--rounds 5] [--compile unet,…] [--shared unet,…]

Same network, same published width, batches of 16. Ours and the plain loop (`benchmarks.plain`: fp32, NCHW, a DataLoader
over patch files, `.item()` each step) take turns. MONAI's BasicUNet, if installed, runs in the plain loop too, beside
our U-Net. On the CPU all cores compute and the size is 64 px. On CUDA all five sizes are measured; ours are steps
replayed as CUDA graphs, as in `paper`, beside steps launched kernel by kernel (`graph_gain`), and for the networks
named steps of a compiled network, and runs in processes of their own: 2 and 8 that share the GPU, against one alone
(`shared_by_…`), and one for which cuDNN tries its kernels (`tuning_gain`). The matrix-product peak is measured on the
same machine, and operations are counted by torch. Sizes are done one after another, so that a measurement cut off has
all networks at the first ones.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from benchmarks import common, plain
from lmhld_nb import models
from lmhld_nb.config import atomic_path
from lmhld_nb.models.unet_3p import UpsampledConv
from lmhld_nb.patches.batches import load_split
from lmhld_nb.patches.patch_sets import PatchSet, PatchSpec
from lmhld_nb.processes import cores
from lmhld_nb.training import engine, scoring
from lmhld_nb.training.hardware import choose_device, precision
from lmhld_nb.training.specs import Recipe

RECIPE = Recipe()  # the published one: 16 patches a step
SIZES = {"cpu": (64,), "cuda": (32, 64, 128, 224, 256)}


def made_patches(size: int, n: int) -> PatchSet:
    """Write a PatchSet of random 16-bit patches, 70 % of them for training."""
    folder = common.SCRATCH / f"patches-{size}-{n}"
    if not folder.exists():  # another network's
        random = np.random.default_rng(0)
        with atomic_path(folder) as temporary:
            temporary.mkdir()
            np.save(temporary / "images.npy", random.integers(0, 3000, (n, 4, size, size), np.uint16))
            np.save(temporary / "masks.npy", (random.random((n, size, size)) < 0.2).astype(np.uint8))
    split = np.where(np.arange(n) < 0.7 * n, "train", np.where(np.arange(n) < 0.9 * n, "val", "test"))
    pd.DataFrame({"scene": "made", "row": 0, "col": 0, "share": 0.2, "split": split}).to_csv(
        folder / "index.csv", index=False
    )
    spec = PatchSpec(dataset="made", fingerprint="0" * 16, area="made", size=size)
    return PatchSet(spec, folder, n, {}, (1500.0,) * 4, (870.0,) * 4, {}, None)


def matrix_peak(device: torch.device, dtype: torch.dtype, n: int) -> float:
    """Return the best TFLOP/s of a product of n × n matrices."""
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    return 2 * n**3 / min(seconds(lambda: a @ b, device) for _ in range(10)) / 1e12


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return how long some work takes, to its end on the device."""
    _wait(device)
    began = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def flops_of_step(name: str, size: int, width: int | None) -> float:
    """Count the operations (multiplications and additions) that our training step of 16 patches does."""
    with torch.device("meta"):
        model = models.build(name, width=width)
        with FlopCounterMode(display=False) as counter:
            heads = models.supervised(model, torch.zeros(16, 4, size, size))
            torch.stack([head.sum() for head in heads]).sum().backward()
    return float(counter.get_total_flops())


class Ours:
    """Our training loop, step by step."""

    def __init__(
        self,
        name: str,
        patches: PatchSet,
        device: torch.device,
        recipe: Recipe = RECIPE,
        channels_last: bool = True,
        width: int | None = None,
        compiled: bool = False,
        graphs: bool = False,
    ) -> None:
        torch.manual_seed(0)
        self.model = models.build(name, width=width).to(device)
        if channels_last:
            self.model = self.model.to(memory_format=torch.channels_last)
        if compiled:
            self.model.compile()
            if hasattr(self.model, "supervised"):  # what is trained on, where it is not `forward`
                self.model.supervised = torch.compile(self.model.supervised)
        self.batches = load_split([patches], "train", device)
        optimiser = engine.optimiser_of(self.model, recipe)
        self.step = engine.step_of(self.model, optimiser, recipe, graphs=graphs)
        self.channels_last = channels_last
        self.device, self.epoch, self.reading, self.loss = device, 0, 0.0, torch.zeros((), device=device)
        self.drawn = self._draw()

    def _draw(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            self.epoch += 1
            order = self.batches.order(RECIPE.batch_size, (0, self.epoch))
            yield from self.batches.load([batch for batch in order if len(batch[1]) == RECIPE.batch_size])

    def __call__(self) -> None:
        self.model.train()
        began = time.perf_counter()
        images, masks = next(self.drawn)
        self.reading += time.perf_counter() - began
        if not self.channels_last:
            images = images.contiguous()
        self.loss += self.step(images, masks)


def plain_of(model: nn.Module, patches: PatchSet, device: torch.device, folder: Path) -> Callable[[], float]:
    """Return a step of the plain loop, computed as the architectures are told (no rearranged up-sampling)."""
    for module in model.modules():
        if isinstance(module, UpsampledConv):
            module.literal = True
    if not folder.exists():  # another network's
        with atomic_path(folder) as temporary:
            plain.write_files(patches, "train", temporary)
    files = plain.PatchFiles(folder, patches.mean, patches.std)
    endless = plain.steps(model.to(device), plain.loader(files, RECIPE.batch_size, device), RECIPE, device)
    return lambda: next(endless)


def monai_unet() -> nn.Module | None:
    """Return MONAI's BasicUNet with our U-Net's widths, batch normalisation and ReLU, if it is installed."""
    try:
        from monai.networks.nets import BasicUNet
    except ImportError:
        return None
    return BasicUNet(2, 4, 1, features=(64, 128, 256, 512, 1024, 64), norm="batch", act="relu")


def alternated(
    runners: dict[str, Callable[[], object]], rounds: int, steps: int, device: torch.device
) -> dict[str, list[float]]:
    """Return the seconds a step of each runner, round by round, after one round that does not count."""
    took: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(rounds + 1):
        for name, runner in runners.items():

            def several(runner: Callable[[], object] = runner) -> None:
                for _ in range(steps):
                    runner()

            took[name].append(seconds(several, device) / steps)
    return {name: times[1:] for name, times in took.items()}


def predicting(name: str, width: int | None, patches: PatchSet, device: torch.device) -> float:
    """Return the patches a second that are scored (validation)."""
    model = models.build(name, width=width).to(device).to(memory_format=torch.channels_last)
    batches = load_split([patches], "train", device)
    times = [seconds(lambda: scoring.patch_counts(model, batches, RECIPE), device) for _ in range(3)]
    return len(batches) / statistics.median(times)


def measure(
    name: str, size: int, rounds: int, device: torch.device, peaks: dict[str, float], width: int | None, compiled: bool
) -> dict[str, object]:
    """Measure one network at one patch size."""
    on_gpu = device.type == "cuda"
    steps = 10 if on_gpu else 3  # a turn
    # Enough on a GPU that the plain loop's reading processes need not start anew every few steps.
    patches = made_patches(size, 960 if on_gpu else 96)
    ours = Ours(name, patches, device, width=width, graphs=on_gpu)
    torch.manual_seed(0)
    runners: dict[str, Callable[[], object]] = {
        "ours": ours,
        "plain": plain_of(models.build(name, width=width), patches, device, common.SCRATCH / f"files-{size}"),
    }
    if name == "unet" and width is None and (monai := monai_unet()):
        runners["monai"] = plain_of(monai, patches, device, common.SCRATCH / f"files-{size}")
    if name == "unet":  # what single choices are worth
        fp32 = RECIPE.model_copy(update={"precision": "fp32"})
        runners["fp32"] = Ours(name, patches, device, fp32, width=width, graphs=on_gpu)
        runners["contiguous"] = Ours(name, patches, device, channels_last=False, width=width, graphs=on_gpu)
    if on_gpu:
        runners["launched"] = Ours(name, patches, device, width=width)
    if compiled:
        runners["compiled"] = Ours(name, patches, device, width=width, compiled=True)
    took = alternated(runners, rounds, steps, device)
    rate = {which: RECIPE.batch_size / statistics.median(times) for which, times in took.items()}
    ratio = {
        which: statistics.median(theirs / mine for theirs, mine in zip(times, took["ours"], strict=True))
        for which, times in took.items()
    }
    reading = ours.reading / ((rounds + 1) * steps) / statistics.median(took["ours"])
    achieved = flops_of_step(name, size, width) / statistics.median(took["ours"]) / 1e12
    computed = precision(RECIPE.precision, device)
    return {
        "model": name,
        "width": width or "published",
        "patch_px": size,
        "precision": computed,
        "patches_per_s": rate["ours"],
        "plain_patches_per_s": rate["plain"],
        "times_plain": ratio["plain"],
        "times_monai": ratio.get("monai", np.nan),
        "bf16_gain": ratio.get("fp32", np.nan),
        "channels_last_gain": ratio.get("contiguous", np.nan),
        "graph_gain": ratio.get("launched", np.nan),
        "compile_gain": 1 / ratio.get("compiled", np.nan),
        "data_share": np.nan if on_gpu else reading,  # on a GPU the host only asks for the data
        "tflops": achieved,
        "peak_tflops": peaks[computed],
        "share_of_peak": achieved / peaks[computed],
        "scored_patches_per_s": predicting(name, width, patches, device),
    }


def shared_rate(name: str, patches: PatchSet, processes: int, tuned: bool = False) -> float:
    """Return the patches a second of several runs on one GPU together; ``tuned``: after cuDNN's trials of kernels."""
    context = multiprocessing.get_context("spawn")
    start = context.Manager().Barrier(processes)
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        return sum(pool.map(_one_of_several, *zip(*[(name, patches, start, tuned)] * processes, strict=True)))


def _one_of_several(name: str, patches: PatchSet, start: Barrier, tuned: bool) -> float:
    device = torch.device("cuda")
    with engine.settings(device, tuned):
        ours = Ours(name, patches, device, graphs=True)
        for _ in range(20):
            ours()
        start.wait()  # none measures while another still warms up
        began, done = time.perf_counter(), 0
        while time.perf_counter() - began < 5:
            seconds(lambda: [ours() for _ in range(5)], device)
            done += 5
        return done * RECIPE.batch_size / (time.perf_counter() - began)


def main() -> None:
    """Measure all and save the table."""
    device = torch.device(choose_device("auto"))
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default=",".join(map(str, SIZES[device.type])))
    parser.add_argument("--models", default=",".join(models.NAMES))
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--width", type=int, help="of the first level; default: as published")
    parser.add_argument("--side", type=int, default=8192 if device.type == "cuda" else 3072, help="of the matrices")
    parser.add_argument("--name", default="engine", help="of the table")
    for what in ("compile", "shared"):
        parser.add_argument(f"--{what}", default="unet" if device.type == "cuda" else "", help="networks, with commas")
    arguments = parser.parse_args()
    torch.set_num_threads(cores())
    peaks = {
        word: matrix_peak(device, dtype, arguments.side)
        for word, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))
    }
    print(f"matrix product: fp32 {peaks['fp32']:.3g} TFLOP/s, bf16 {peaks['bf16']:.3g} TFLOP/s")
    cases = [(name, int(size)) for size in arguments.sizes.split(",") for name in arguments.models.split(",")]
    rows = []
    with engine.settings(device):
        for name, size in tqdm(cases, unit="case"):
            # Saved after each case, so that the rows so far survive when the rest is cut off.
            compiled = name in arguments.compile.split(",")
            row = measure(name, size, arguments.rounds, device, peaks, arguments.width, compiled)
            if name in arguments.shared.split(","):
                shared = made_patches(size, 960)
                alone = shared_rate(name, shared, 1)
                row["tuning_gain"] = shared_rate(name, shared, 1, tuned=True) / alone
                row |= {f"shared_by_{several}": shared_rate(name, shared, several) / alone for several in (2, 8)}
            rows.append(row)
            common.save(pd.DataFrame(rows), arguments.name, device, show=len(rows) == len(cases))
    for folder in (*common.SCRATCH.glob("patches-*"), *common.SCRATCH.glob("files-*")):
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
