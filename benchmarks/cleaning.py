"""What does each step of cleaning do to a map of ground that the network never saw?

    LMHLD_SHARED_DATA=… python -m benchmarks.cleaning

U-Nets of the profile `real` (finished runs, experiment 2, every seed) map: Jinsha A the neighbour C, Jinsha C the
neighbour A, Hokkaido and Iburi (Landslide4Sense) their test pictures, Moxi its own scene, scored on test windows alone.
The threshold is 0.5. Each step is taken alone, then the defaults of `lmhld map` together; polygons are drawn on the
scene's grid again to be scored. F1 is not all: `polygons` counts what a person has to look through.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import rasterio
from rasterio.features import rasterize

from benchmarks import common
from lmhld_nb import experiments, mapping, patches, runs, scenes
from lmhld_nb.evaluation.counts import Confusion
from lmhld_nb.experiments import single
from lmhld_nb.mapping import inputs, outlines, terrain
from lmhld_nb.scenes.rasters import Window
from lmhld_nb.scenes.scene import Scene

OUT = common.SCRATCH / "cleaning"
TARGETS = {
    "jinsha_a": "jinsha_c", "jinsha_c": "jinsha_a", "hokkaido": "hokkaido", "moxi": "moxi", "l4s_iburi": "l4s_iburi",
}  # fmt: skip
LEAST = inputs.LEAST_PX
STEPS: dict[str, outlines.Cleaning | float] = {
    "none": outlines.Cleaning(),
    **{f"least area {px} px": outlines.Cleaning(px) for px in (5, 10, 20, 50, 100, 200)},
    **{f"holes below {px} px filled": outlines.Cleaning(fill_holes_px=px) for px in (10, 20, 50, 100, 200)},
    "smooth": outlines.Cleaning(smooth=True),
    "defaults": outlines.Cleaning(LEAST, smooth=True),
    "largest probability at least 0.9": 0.9,
}
SLOPES = (5, 10, 15, 20)


def held_back(run: runs.Run, target: str, study: experiments.Study) -> Iterator[tuple[Scene, np.ndarray]]:
    """Yield scenes that a run did not learn from, each with its labels, 255 where it did."""
    (spec,) = run.spec.data
    for scene in study.dataset.scenes_of(target):
        if scene.split in ("train", "val"):
            continue
        with scenes.open_image(scene) as image, scenes.open_labels(scene, image) as file:
            labels = file.read(Window(0, 0, *image.shape))
        if target == spec.area and scene.split is None:
            index = patches.load(spec).index
            apart = np.full_like(labels, 255)
            for row, col in index.loc[index["split"] == "test", ["row", "col"]].itertuples(index=False):
                window = np.s_[row : row + spec.size, col : col + spec.size]
                apart[window] = labels[window]
            labels = apart
        yield scene, labels


def scored(scene: Scene, labels: np.ndarray, run: runs.Run) -> Iterator[tuple[str, int, Confusion]]:
    """Map a scene; yield each step with its number of polygons and its counts."""
    shutil.rmtree(OUT, ignore_errors=True)
    plain = replace(scene, mask=None, polygons=None)
    mapping.map_scene(plain, run.folder / "weights.safetensors", OUT, mapping.MapSettings(), progress=False)
    with rasterio.open(OUT / "mask.tif") as source:
        mask, profile = source.read(1), source.profile
    with rasterio.open(OUT / "probability.tif") as source:
        probability = source.read(1)
    window, known = Window(0, 0, *mask.shape), (labels != 255) & (mask != 255)
    masks = {name: mask for name in STEPS}
    if scene.name == "jinsha_a":
        dem = scene.image.with_name("scene_A_dsm.tif")
        with scenes.open_image(plain) as image:
            ground = terrain.read(dem, image)
        masks |= {f"slope at least {k}°": np.where(ground.is_steep(window, k) | (mask == 255), mask, 0) for k in SLOPES}
    for name, one in masks.items():
        step = STEPS.get(name, outlines.Cleaning())
        path = OUT / "step.tif"
        with rasterio.open(path, "w", **{**profile, "driver": "GTiff"}) as target:
            target.write(one, 1)
        table = outlines.measure([(window, one, probability)])
        cleaning = step if isinstance(step, outlines.Cleaning) else outlines.Cleaning()
        polygons, *_ = outlines.outline(path, table, cleaning)
        if not isinstance(step, outlines.Cleaning):
            polygons = polygons[polygons["max_probability"] >= step]
        drawn = np.zeros(mask.shape, np.uint8)
        if len(polygons):
            rasterize(polygons.geometry, out=drawn, transform=profile["transform"])
        yield name, len(polygons), Confusion.of(drawn == 1, labels == 1, known)


def main() -> None:
    """Compare, print, store."""
    study = experiments.open_study(experiments.load("real"), progress=False)
    rows = []
    for spec in single.specs(study):
        (data,) = spec.data
        run = runs.find(spec) if spec.model == "unet" and data.area in TARGETS else None
        if run is None:
            continue
        counts: dict[str, Confusion] = {}
        polygons: dict[str, int] = {}
        for scene, labels in held_back(run, TARGETS[data.area], study):
            for name, number, found in scored(scene, labels, run):
                counts[name] = counts[name] + found if name in counts else found
                polygons[name] = polygons.get(name, 0) + number
        about = {"trained on": data.area, "mapped": TARGETS[data.area], "seed": spec.seed}
        rows += [
            {**about, "step": name, "polygons": polygons[name], "f1": found.f1, "precision": found.precision,
             "recall": found.recall, "f1 gained": found.f1 - counts["none"].f1}
            for name, found in counts.items()
        ]  # fmt: skip
        print(pd.DataFrame(rows[-len(counts) :]).to_string(index=False), flush=True)
    table = pd.DataFrame(rows)
    print(table.groupby(["mapped", "step"], sort=False)[["polygons", "f1", "f1 gained"]].mean().round(4).to_string())
    table.to_csv(common.RESULTS / "cleaning.csv", index=False, float_format="%.4f")
    shutil.rmtree(OUT, ignore_errors=True)


if __name__ == "__main__":
    main()
