"""How much of a network's speed is left when it maps a large scene, files and polygons included?

    python -m benchmarks.mapping [--side 10000] [--rounds 3] [--widths 4 16] [--size 128]

The scene has four uint16 bands, tiled and deflated as satellite products are. Three tasks take turns, each in a process
of its own, so that their ratios hold although the machine's speed drifts:

- bare: the batches that the map predicts, from memory; nothing is read, normalised, blended or written. Once with a
  batch for each processor thread at a time, as the map does it, and once with all threads sharing each batch.
- map: `mapping.map_scene`, with everything it writes.
- plain (not on a GPU): the loop of a typical repository: read a window, predict it alone, write it; windows beside each
  other, so a quarter of the map's, no blending, no overviews, no polygons.

Goals: map/bare at least 0.90, map/plain at least 2 (windows a second), less than 1.5 GB of memory beyond the model's.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
import safetensors.torch
import torch

from benchmarks import common
from benchmarks.tiling import make_scene
from lmhld_nb import mapping, models
from lmhld_nb.mapping import prediction
from lmhld_nb.scenes.scene import BANDS, Scene
from lmhld_nb.training import engine
from lmhld_nb.training import weights as networks
from lmhld_nb.training.hardware import choose_device, precision
from lmhld_nb.training.specs import Recipe

OVERLAP = 0.5


def make_weights(width: int, size: int) -> Path:
    """Store a U-Net that finds what is bright, roughly as a trained one would: few, compact landslides."""
    path = common.SCRATCH / f"unet-{width}-{size}.safetensors"
    torch.manual_seed(0)
    network = models.build("unet", len(BANDS), width)
    # Fitted for a moment to the made scene's own rule, so that polygons are as many and as large as real ones.
    optimiser = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    random = np.random.default_rng(0)
    y, x = np.ogrid[:64, :64]
    for _ in range(60):
        centres = random.integers(8, 56, (8, 2))
        masks = np.stack([(y - r) ** 2 + (x - c) ** 2 < 150 for r, c in centres])[:, None].astype(np.float32)
        noise = random.normal(0, 0.3, (8, len(BANDS), 64, 64))
        images = torch.from_numpy((3 * masks - 0.3 + noise).astype(np.float32))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(network(images), torch.from_numpy(masks))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    card = {"run_id": "0" * 16, "model": "unet", "width": width, "bands": BANDS, "normalise": "area",
            "areas": {"made": {"patch_size": size, "mean": [0.0], "std": [1.0]}}, "precision": "auto"}  # fmt: skip
    safetensors.torch.save_file(network.state_dict(), path, metadata={"card": json.dumps(card)})
    return path


def _network(weights: str) -> tuple[prediction.Network, int]:
    model, card = networks.load(Path(weights))
    device = torch.device(choose_device("auto"))
    model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return prediction.Network(model, device, precision("auto", device)), int(card["areas"]["made"]["patch_size"])


def _windows(side: int, size: int, overlap: float) -> int:
    return len(prediction.starts(side, size, max(16, int(size * (1 - overlap))))) ** 2


def model(weights: str) -> dict[str, float]:
    """Load the network and predict one batch: the memory that every task needs."""
    network, size = _network(weights)
    images = torch.randn(prediction.suitable_batch(network, size), len(BANDS), size, size)
    with torch.inference_mode():
        network.model(images.to(network.device).contiguous(memory_format=torch.channels_last))
    return {}


def bare(side: str, weights: str, shared: str) -> dict[str, float]:
    """Push the map's batches through the network and do nothing else; ``shared``: all threads share each batch."""
    network, size = _network(weights)
    batch_size, windows = prediction.suitable_batch(network, size), _windows(int(side), size, OVERLAP)
    images = torch.randn(batch_size, len(BANDS), size, size, device=network.device)
    images, recipe = images.contiguous(memory_format=torch.channels_last), Recipe(precision=network.precision)

    def work(_: int) -> None:
        with torch.inference_mode(), engine.autocast(network.device, recipe):
            prediction._forward(network.model, images)
        if network.device.type == "cuda":
            torch.cuda.synchronize()

    work(0)  # what is loaded and tuned at first is no part of a network's speed
    began = time.perf_counter()
    threads = nullcontext(1) if shared == "shared" else prediction._workers(network.device)
    with threads as workers, ThreadPoolExecutor(workers) as pool:
        deque(pool.map(work, range(round(windows / batch_size))), 0)
    return {"megapixels": int(side) ** 2 / 1e6, "windows": windows, "work_s": time.perf_counter() - began}


def whole(folder: str, weights: str) -> dict[str, float]:
    """Map the scene."""
    out = common.SCRATCH / "map"
    shutil.rmtree(out, ignore_errors=True)
    scene = Scene("big", "big", Path(folder) / "image.tif", BANDS)
    report = mapping.map_scene(scene, Path(weights), out, mapping.MapSettings(overlap=OVERLAP), progress=False)
    windows = _windows(report["shape"][0], report["window"], OVERLAP)
    counts = {name: report[name] for name in ("megapixels", "landslides")}
    return {**counts, "windows": windows, "work_s": report["seconds"]}


def plain(folder: str, weights: str) -> dict[str, float]:
    """Read a window, predict it alone, write it."""
    network, size = _network(weights)
    began, windows = time.perf_counter(), 0
    with rasterio.open(Path(folder) / "image.tif") as source:
        profile = {**source.profile, "count": 1, "dtype": "float32", "nodata": -1, "predictor": 3}
        mean, std = (np.full((4, 1, 1), value, np.float32) for value in (800, 100))
        with rasterio.open(common.SCRATCH / "plain.tif", "w", **profile) as target:
            for row in range(0, source.height - size + 1, size):
                for col in range(0, source.width - size + 1, size):
                    window = rasterio.windows.Window(col, row, size, size)
                    image = (source.read(window=window).astype(np.float32) - mean) / std
                    with torch.no_grad():
                        predicted = torch.sigmoid(network.model(torch.from_numpy(image)[None].to(network.device)))
                    target.write(predicted[0].cpu().numpy(), window=window)
                    windows += 1
        side = source.height
    return {"megapixels": side**2 / 1e6, "windows": windows, "work_s": time.perf_counter() - began}


TASKS = {"model": model, "bare": bare, "map": whole, "plain": plain}


def main() -> None:
    """Compare, print, store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--widths", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--keep", action="store_true", help="store the table although the scene is smaller")
    options = common.options_or_task(parser, TASKS)
    folder, rows, on_gpu = str(make_scene(options.side)), [], choose_device("auto") == "cuda"
    for width in options.widths:
        weights = str(make_weights(width, options.size))
        side = str(options.side)
        for _ in range(options.rounds):
            base = common.measured("mapping", "model", weights)
            ours = common.measured("mapping", "map", folder, weights)
            alone = common.measured("mapping", "bare", side, weights, "apart")
            # A GPU has no threads that could share a batch.
            shared = alone if on_gpu else common.measured("mapping", "bare", side, weights, "shared")
            # Window by window it would take most of the time that a GPU is lent for.
            loop = {} if on_gpu else common.measured("mapping", "plain", folder, weights)
            best = min(alone["work_s"], shared["work_s"])
            tasks = (("ours", ours), ("plain", loop))
            rate = {name: task["windows"] / task["work_s"] if task else np.nan for name, task in tasks}
            rows.append(
                {"side_px": options.side, "patch_px": options.size, "width": width, "map_s": ours["work_s"],
                 "map_mpx_per_s": ours["megapixels"] / ours["work_s"], "bare_s": alone["work_s"],
                 "bare_shared_s": shared["work_s"], "plain_s": loop.get("work_s", np.nan),
                 "map_to_bare": best / ours["work_s"],
                 "map_to_plain": rate["ours"] / rate["plain"],
                 "map_cpu_s": ours["cpu_seconds"], "map_peak_mb": ours["peak_mb"],
                 "extra_mb": ours["peak_mb"] - base["peak_mb"], "landslides": ours["landslides"]}
            )  # fmt: skip
            print({name: round(value, 3) for name, value in rows[-1].items()}, flush=True)
    keys = ["side_px", "patch_px", "width"]
    table = pd.DataFrame(rows).groupby(keys, as_index=False).median()
    if options.side == 10_000 or options.keep:
        common.save(table, "mapping", torch.device(choose_device("auto")))
    else:
        print(table.to_string(index=False))
    shutil.rmtree(common.SCRATCH / "map", ignore_errors=True)


if __name__ == "__main__":
    main()
