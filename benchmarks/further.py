"""Do further bands help? Held-back F1 of networks that learn with `--dem`, with `--before`, and with neither.

    LMHLD_SHARED_DATA=… python -m benchmarks.further [--steps 200] [--seeds 0]

Two scenes with an elevation model: Jinsha A (real, 0.5 m, its surface model) and Gorkha of `twin-edition` (synthetic).
Labelled is the half of the scene with most landslide, left or right; pixels without terrain count as unlabelled in both
trainings, so that both have the same blocks. The difference is paired over held-back blocks that hold something, with
its bootstrap interval: of one training with one seed each, so it says nothing of other seeds or scenes. A pair is there
of the synthetic scene alone, and it is an ideal one: same light, same clouds, nothing has changed but landslides.
"""

from __future__ import annotations

import argparse
import os
import shutil
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio

from benchmarks import common
from lmhld_nb import mapping, scenes, sources, twin
from lmhld_nb.config import ROOT
from lmhld_nb.evaluation import intervals
from lmhld_nb.mapping import further, labelled, learning
from lmhld_nb.scenes.rasters import Window
from lmhld_nb.scenes.scene import Scene

SHARED = Path(os.environ.get("LMHLD_SHARED_DATA", ROOT.parent / "shared" / "data"))
FOLDER = common.SCRATCH / "further"
PATCH = 64


def two_scenes() -> dict[str, tuple[Scene, Path, Path | None]]:
    """Return the scenes with their elevation and the image from before."""
    stem = SHARED / "jinsha-uav-georef" / "scene_A"
    jinsha = mapping.scene_of_file(Path(f"{stem}_rgb.tif"), ("red", "green", "blue"), truth=Path(f"{stem}_mask.tif"))
    made = sources.get("twin-edition", progress=False).scenes_of("gorkha")[0]
    source = sources.describe("twin-edition").source
    assert made.dem is not None and isinstance(source, twin.TwinSpec)
    (task,) = (task for task in twin.plan(source) if task.name == made.name)
    before = FOLDER / "before.tif"
    twin.scene.write_before(before, task)
    return {"jinsha A": (jinsha, Path(f"{stem}_dsm.tif"), None), "gorkha, synthetic": (made, made.dem, before)}


def labels_of(scene: Scene, dem: Path) -> Path:
    """Write the labels of the half with most landslide where the terrain is known."""
    with ExitStack() as stack:
        image = stack.enter_context(scenes.open_image(scene))
        labels = stack.enter_context(scenes.open_labels(scene, image))
        whole, bands = Window(0, 0, *image.shape), (*scene.bands, *further.TERRAIN)
        view = further.stacked(stack, image, bands, None, dem)
        codes = np.where(view.valid(view.read(whole, bands)), labels.read(whole), 255).astype(np.uint8)
        middle = codes.shape[1] // 2
        halves = codes[:, :middle], codes[:, middle:]
        halves[int((halves[0] == 1).sum() > (halves[1] == 1).sum())][:] = 255
        path = FOLDER / f"{scene.name}.tif"
        grid = {"crs": image.crs, "transform": image.transform, "height": codes.shape[0], "width": codes.shape[1]}
        with rasterio.open(path, "w", driver="GTiff", count=1, dtype="uint8", **grid) as target:
            target.write(codes, 1)
    return path


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, (scene, dem, before) in two_scenes().items():
        file = labelled.LabelFile(labels_of(scene, dem))
        for seed in options.seeds:
            counts = []
            for given in ({}, {"dem": dem}, *([{"before": before}] if before else [])):
                settings = mapping.LearnSettings(options.steps, PATCH, seed=seed, workers=2, device="cpu", **given)
                with ExitStack() as stack:
                    pairs = [(scene, file)]
                    compared = learning.compare(stack, pairs, FOLDER / "work", None, settings, progress=False)
                judged, ground = compared.judged["event"], compared.grounds[0]
                counts.append(judged.counts)
                row = {"scene": name, "with": "/".join(given) or "neither", "seed": seed, "steps": options.steps}
                row |= {"patch": PATCH, "landslides": ground.landslides, **judged.scores()}
                if given:
                    kept = np.stack([counts[-1], counts[0]])
                    kept = kept[:, kept.any(axis=(0, 2))]
                    gain = intervals.difference(*kept)
                    row |= {"gain": gain.value, "gain_low": gain.low, "gain_high": gain.high, "blocks": kept.shape[1]}
                rows.append(row)
                print(row, flush=True)
    table = pd.DataFrame(rows).assign(cpu=common.cpu_name())
    table.to_csv(common.RESULTS / "further.csv", index=False, float_format="%.4g")
    shutil.rmtree(FOLDER)


if __name__ == "__main__":
    main()
