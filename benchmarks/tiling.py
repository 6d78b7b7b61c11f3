"""How long does measuring and tiling a large scene take, against merely reading it block by block?

    python -m benchmarks.tiling [--side 20000] [--rounds 3]

The scene has four uint16 bands and a mask, both tiled and deflated as satellite products are. Reading and our work
take turns, each in a process of its own, so that the ratio holds although the machine's speed drifts. Target: at most
2 times the reading, and less than 1 GB of memory.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
from rasterio.windows import Window

from benchmarks import common
from lmhld_nb import inventory, patches
from lmhld_nb.scenes.scene import BANDS, Scene


def make_scene(side: int) -> Path:
    """Write the scene by repeating a made tile, shifted and turned so that it does not compress away."""
    folder = common.SCRATCH / f"scene-{side}"
    if (folder / "mask.tif").is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    tile = 512
    y, x = np.ogrid[:tile, :tile]
    mask = np.zeros((tile, tile), bool)
    for _ in range(14):
        r = random.integers(4, 60)
        mask |= (y - random.integers(tile)) ** 2 + ((x - random.integers(tile)) * 2) ** 2 <= r**2
    grid = {"driver": "GTiff", "height": side, "width": side, "crs": "EPSG:32648", "tiled": True, "blockxsize": tile,
            "blockysize": tile, "compress": "deflate", "zlevel": 1, "bigtiff": "yes", "num_threads": "all_cpus",
            "transform": rasterio.transform.from_origin(400_000, 3_500_000, 0.8, 0.8)}  # fmt: skip
    part = folder / "mask.part.tif"
    with (
        rasterio.open(folder / "image.tif", "w", count=4, dtype="uint16", nodata=0, predictor=2, **grid) as image,
        rasterio.open(part, "w", count=1, dtype="uint8", **grid) as labels,
    ):
        noise = random.normal(0, 40, (4, tile, tile))
        for row in range(0, side, tile):
            for col in range(0, side, tile):
                turned = np.rot90(mask, (row + col) // tile % 4)
                moved = np.roll(noise, (row // 7, col // 5), axis=(1, 2))
                values = np.clip(700 + 400 * turned + moved, 1, 4095).astype(np.uint16)
                height, width = min(tile, side - row), min(tile, side - col)
                window = Window(col, row, width, height)
                image.write(values[:, :height, :width], window=window)
                labels.write(turned[:height, :width].astype(np.uint8), 1, window=window)
    part.rename(folder / "mask.tif")
    return folder


def read(folder: str) -> dict[str, float]:
    """Read image and mask block by block and do nothing with them."""
    pixels = 0
    for name in ("image.tif", "mask.tif"):
        with rasterio.open(Path(folder) / name, num_threads="all_cpus") as source:
            for _, window in source.block_windows(1):
                pixels += source.read(window=window).size
    return {"values": pixels}


def tile(folder: str, size: str) -> dict[str, float]:
    """Measure every landslide and cut the patches."""
    os.environ["LMHLD_DATA"] = str(common.SCRATCH / "data")
    shutil.rmtree(common.SCRATCH / "data", ignore_errors=True)
    where = Path(folder)
    scene = Scene("big", "big", where / "image.tif", BANDS, mask=where / "mask.tif")
    sizes = inventory.scene_sizes(scene)
    spec = patches.PatchSpec(dataset="bench", fingerprint="0" * 16, area="big", size=int(size))
    part = patches.cut(spec, [scene], progress=False)
    return {"landslides": len(sizes), "patches": len(part.index)}


TASKS = {"read": read, "tile": tile}


def main() -> None:
    """Compare, print, store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = common.options_or_task(parser, TASKS)
    folder = str(make_scene(options.side))
    rows = []
    for _ in range(options.rounds):
        base = common.measured("tiling", "read", folder)
        for size in ("224", "32"):
            ours = common.measured("tiling", "tile", folder, size)
            rows.append(
                {"side_px": options.side, "patch_px": int(size), "read_s": base["seconds"], "ours_s": ours["seconds"],
                 "ratio": ours["seconds"] / base["seconds"], "peak_mb": ours["peak_mb"],
                 "landslides": ours["landslides"], "patches": ours["patches"]}
            )  # fmt: skip
    table = pd.DataFrame(rows)
    common.save(table.groupby(["side_px", "patch_px"], as_index=False).median(), "tiling")
    shutil.rmtree(common.SCRATCH / "data", ignore_errors=True)


if __name__ == "__main__":
    main()
