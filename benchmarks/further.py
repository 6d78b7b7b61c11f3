"""Do elevation and slope help? Held-back F1 of networks that learn with them (`lmhld learn --dem`) and without.

    LMHLD_SHARED_DATA=… python -m benchmarks.further [--steps 200] [--seeds 0]

Two scenes with an elevation model: Jinsha A (real, 0.5 m, its surface model) and Gorkha of `twin-edition` (synthetic).
Labelled is the half of the scene with most landslide, left or right; pixels without terrain count as unlabelled in both
trainings, so that both have the same blocks. The difference is paired over held-back blocks that hold something, with
its bootstrap interval: of one training with one seed each, so it says nothing of other seeds or scenes. Nothing here is
measured of `--before`: no real pair at full resolution is at hand.
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
from lmhld_nb import mapping, scenes, sources
from lmhld_nb.config import ROOT
from lmhld_nb.evaluation import intervals
from lmhld_nb.mapping import further, labelled, learning
from lmhld_nb.scenes.rasters import Window
from lmhld_nb.scenes.scene import Scene

SHARED = Path(os.environ.get("LMHLD_SHARED_DATA", ROOT.parent / "shared" / "data"))
FOLDER = common.SCRATCH / "further"
PATCH = 64


def two_scenes() -> dict[str, tuple[Scene, Path]]:
    """Return the scenes with their elevation."""
    stem = SHARED / "jinsha-uav-georef" / "scene_A"
    jinsha = mapping.scene_of_file(Path(f"{stem}_rgb.tif"), ("red", "green", "blue"), truth=Path(f"{stem}_mask.tif"))
    twin = sources.get("twin-edition", progress=False).scenes_of("gorkha")[0]
    assert twin.dem is not None
    return {"jinsha A": (jinsha, Path(f"{stem}_dsm.tif")), "gorkha, synthetic": (twin, twin.dem)}


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
    for name, (scene, dem) in two_scenes().items():
        file = labelled.LabelFile(labels_of(scene, dem))
        for seed in options.seeds:
            counts = []
            for given in (None, dem):
                settings = mapping.LearnSettings(options.steps, PATCH, seed=seed, workers=2, device="cpu", dem=given)
                with ExitStack() as stack:
                    pairs = [(scene, file)]
                    compared = learning.compare(stack, pairs, FOLDER / "work", None, settings, progress=False)
                judged, ground = compared.judged["event"], compared.grounds[0]
                counts.append(judged.counts)
                row = {"scene": name, "seed": seed, "steps": options.steps, "patch": PATCH, "bands": len(ground.bands)}
                rows.append(row | {"landslides": ground.landslides, **judged.scores()})
            kept = np.stack(counts[::-1])[:, np.stack(counts).any(axis=(0, 2))]
            gain = intervals.difference(*kept)
            rows[-1] |= {"gain": gain.value, "gain_low": gain.low, "gain_high": gain.high, "blocks": kept.shape[1]}
            print(pd.DataFrame(rows[-2:]).to_string(index=False), flush=True)
    table = pd.DataFrame(rows).assign(cpu=common.cpu_name())
    table.to_csv(common.RESULTS / "further.csv", index=False, float_format="%.4g")
    shutil.rmtree(FOLDER)


if __name__ == "__main__":
    main()
