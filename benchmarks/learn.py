"""What is a handful of labels worth? F1 against the number of labelled landslides, with and without a start network.

    python -m benchmarks.learn [--scenes jinsha moxi hokkaido bijie] [--draws 3] [--steps 150] [--freeze 0]

Reads the real samples in the folder that LMHLD_SHARED_DATA names, and as start networks U-Nets of the profile `real` in
`runs/`: one of `leave_one_out`, which has learnt all areas but the scene's own; where that is not finished, one of
`single`, which has learnt one other area. The column `start` says what it has learnt, and its run. "All but" is not far
away: Jinsha C's has learnt its neighbour A, and Hokkaido's the same event at 10 m (Iburi). A draw is a place: a
landslide chosen at random and those nearest to it are labelled, as polygons, and `lmhld learn` reads the ground around
them as searched. All networks of a draw are scored on the same ground: what lies outside the labelled ground of its
largest number of landslides. A number of landslides is left out where it is more than three quarters of those in the
scene: Jinsha's part has 11, Moxi's 57, Hokkaido 162, Bijie 32 pictures. The numbers tried are 0, 5, 20 and 100.

To be affordable, scenes are parts (1,024 px a side of Jinsha C and Moxi, all of Hokkaido's block, every fourth picture
of Bijie), patches have 64 px, and each network learns for 150 steps where `lmhld learn` takes 600: the networks are
worse than those of a user, and what the table compares is candidates, not what can be reached. No two draws of a scene
begin at the same landslide, but in Jinsha, with 11 of them, their labels overlap.

Moxi and Bijie have no coordinates: they are given made-up ones. Bijie's pictures are laid out on one grid, with no data
between them.

One cell (scene, draw, number) after the other is written as soon as it is measured, the first draw of all scenes before
the second of any; cells that are there are not measured again. Columns: `candidate` as in `mapping.learning`, each at
its own threshold; `event, one network` is one of the three that `event` averages; `kept` is what was chosen, once more
with the images turned over (`kept, flips`) and without specks below 10 px (`kept, cleaned`). `f1`, `precision` and
`recall` on the ground kept apart (`f1_at_half`: at the threshold 0.5 instead), `held_back_f1` as the card has it,
`all_landslide_f1` of calling everything landslide; `seconds` of learning and judging all candidates, one process and
one thread (`load`: the machine's load average when the cell was finished; two calls for other scenes may run side by
side).

With `--freeze 2` the start network keeps the weights of its first two encoder levels while it is fine-tuned, as in
LMHLD_part: candidate `tuned` of learn--freeze-2.csv, beside the same of learn.csv; all else there is the same again.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
import torch
from affine import Affine
from rasterio.features import shapes
from scipy.ndimage import label
from scipy.special import expit, logit
from shapely.geometry import shape

from benchmarks import common
from lmhld_nb import experiments, mapping, scenes
from lmhld_nb.config import ROOT
from lmhld_nb.evaluation import Confusion
from lmhld_nb.experiments import leave_one_out
from lmhld_nb.mapping import candidates, labelled, learning, prediction
from lmhld_nb.runs import Run
from lmhld_nb.scenes.rasters import Window
from lmhld_nb.training import weights as networks

SHARED = Path(os.environ.get("LMHLD_SHARED_DATA", ROOT.parent / "shared" / "data"))
BANDS = ("red", "green", "blue")
FOLDER = common.SCRATCH / "learn"
COUNTS = (0, 5, 20, 100)
PATCH, SIDE, GAP = 64, 1024, 64  # px: of a patch, of a part of a scene, of no data between pictures
CORNERS = {"jinsha": (256, 896), "moxi": (1280, 1152)}  # first row and column: where landslides are most
METRES = {"jinsha": 0.5, "moxi": 1.0, "hokkaido": 3.0, "bijie": 0.8}
AREAS = {  # of the profile `real`: the scene's own, and the one that is learnt alone where `leave_one_out` is missing
    "jinsha": ("jinsha_c", "jinsha_a"),
    "moxi": ("moxi", "jinsha_a"),
    "hokkaido": ("hokkaido", "moxi"),
    "bijie": ("bijie", "moxi"),
}
FLIPS = ((), (1,), (2,), (1, 2))


def start_networks() -> dict[str, tuple[str, Run]]:
    """Return, by scene, what the start network has learnt, and its run."""
    study = experiments.open_study(experiments.load("real"), progress=False)
    without = leave_one_out.without(study)
    found = {}
    for name, (own, other) in AREAS.items():
        joint = study.finished(without[own])
        alone = study.finished(study.trainings((study.patch_spec(other),), ("unet",), (0,)))
        if not joint and not alone:
            sys.exit(f"{name}: no start network; make it with `lmhld run real --experiment leave_one_out`")
        found[name] = (f"all but {own}", joint[0]) if joint else (f"{other} alone", alone[0])
    return found


def read(path: Path, corner: tuple[int, int] | None = None) -> np.ndarray:
    with rasterio.open(path) as source:
        window = rasterio.windows.Window(corner[1], corner[0], SIDE, SIDE) if corner else None
        return source.read(window=window)


def pictures(name: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return images (3, rows, cols) and masks (rows, cols) 1, 0, 255 of a scene."""
    if name == "bijie":
        paths = sorted((SHARED / "bijie-landslide" / "images").glob("ls_*.png"))[::4]
        masks = [path.parents[1] / "masks" / path.name for path in paths]
        return [(read(one)[:3], read(other)[0] // 255) for one, other in zip(paths, masks, strict=True)]
    stem = {"jinsha": "jinsha-uav-georef/scene_C", "moxi": "cas-moxi-1m/moxi_1m"}.get(
        name, "hokkaido-2018-3m-rgb/block_r10_c10"
    )
    image, mask = (read(SHARED / f"{stem}_{kind}.tif", CORNERS.get(name)) for kind in ("rgb", "mask"))
    mask[0][(image == 0).all(axis=0)] = 255
    return [(image[:3], mask[0])]


def laid_out(name: str) -> tuple[Path, np.ndarray]:
    """Write a scene's pictures side by side on one made-up grid; return the image and the mask."""
    pairs = pictures(name)
    gap = GAP if len(pairs) > 1 else 0
    side = [max(mask.shape[axis] for _, mask in pairs) + gap for axis in (0, 1)]
    across = int(np.ceil(np.sqrt(len(pairs))))
    image = np.zeros((3, -(-len(pairs) // across) * side[0], across * side[1]), np.uint8)
    codes = np.full(image.shape[1:], 255, np.uint8)
    for number, (picture, mask) in enumerate(pairs):
        top, left = number // across * side[0], number % across * side[1]
        place = slice(top, top + mask.shape[0]), slice(left, left + mask.shape[1])
        image[(slice(None), *place)], codes[place] = np.where(mask == 255, 0, np.maximum(picture, 1)), mask
    path = FOLDER / f"{name}.tif"
    grid = {"crs": "EPSG:32648", "transform": Affine(METRES[name], 0, 5e5, 0, -METRES[name], 3e6), "nodata": 0}
    height, width = codes.shape
    with rasterio.open(path, "w", driver="GTiff", count=3, dtype="uint8", height=height, width=width, **grid) as target:
        target.write(image)
    return path, codes


def labels_of(path: Path, codes: np.ndarray, draw: int) -> tuple[dict[int, Path], np.ndarray, int]:
    """Write the labelled polygons of a draw by their number; return them, the truth to score on, and all landslides."""
    with rasterio.open(path) as source:
        transform, crs = source.transform, source.crs
    found = shapes((codes == 1).astype(np.uint8), codes == 1, 8, transform)
    table = gpd.GeoDataFrame(geometry=[shape(outline) for outline, _ in found], crs=crs)
    centres = table.geometry.centroid
    first = centres[np.random.default_rng(0).permutation(len(table))[draw]]
    order = np.argsort(centres.distance(first).to_numpy(), kind="stable")
    # With less than a quarter left to score on, the number would not say what labels are worth.
    by_count = {count: path.with_name(f"{path.stem}-{draw}-{count}.gpkg")
                for count in COUNTS if 0 < count <= 0.75 * len(table)}  # fmt: skip
    for count, file in by_count.items():
        table.iloc[order[:count]].to_file(file)
    with scenes.open_image(mapping.scene_of_file(path, BANDS)) as image:
        ground = labelled.read(image, labelled.LabelFile(by_count[max(by_count)]), BANDS, PATCH)
    return by_count, np.where(ground.labels == 255, codes, 255), len(table)


def probabilities(model: torch.nn.Module, values: np.ndarray, wanted: np.ndarray, flips: tuple = ((),)) -> np.ndarray:
    """Return the mean probability (rows, cols) of a network over turned copies of a scene."""
    total = np.zeros(wanted.shape, np.float32)
    for axes in flips:
        flipped = np.flip(values, axes), np.flip(wanted, [axis - 1 for axis in axes])
        one = candidates.predict(model, *map(np.ascontiguousarray, flipped), PATCH, torch.device("cpu"))
        total += np.flip(one, [axis - 1 for axis in axes])
    return total / len(flips)


def scored(probability: np.ndarray, judged: tuple[float, float], truth: np.ndarray, least: int = 0) -> dict[str, float]:
    """Score a probability at a threshold and temperature, without specks below ``least`` pixels."""
    threshold, temperature = judged
    mask = expit(logit(np.clip(probability, 1e-6, 1 - 1e-6)) / temperature) >= threshold
    if least:
        numbers, _ = label(mask, np.ones((3, 3)))
        mask &= np.bincount(numbers.ravel())[numbers] >= least
    counts = Confusion.of(mask, truth == 1, truth != 255)
    everything = Confusion.of(truth >= 0, truth == 1, truth != 255)
    half = Confusion.of(probability >= 0.5, truth == 1, truth != 255)
    scores = {"f1": counts.f1, "precision": counts.precision, "recall": counts.recall, "f1_at_half": half.f1}
    return scores | {"threshold": threshold, "all_landslide_f1": everything.f1}


def measure(
    name: str, draw: int, settings: mapping.LearnSettings, learnt: str, run: Run, done: set[tuple]
) -> Iterator[list[dict]]:
    """Yield the cells of one draw that are not there yet, each as its rows."""
    path, codes = laid_out(name)
    by_count, truth, landslides = labels_of(path, codes, draw)
    file = run.weights_file
    wanted, steps = truth != 255, settings.steps
    scene = mapping.scene_of_file(path, BANDS)
    with scenes.open_image(scene) as image:
        whole = Window(0, 0, *image.shape)
        mean, std = (values[:, None, None] for values in prediction.scene_statistics(image, BANDS))
        stored = image.read(whole, BANDS)
        values = (stored.astype(np.float32) - mean) / std
        values[:, ~image.valid(stored)] = 0
    start = networks.load(file)[0]
    found = {"start": probabilities(start, values, wanted)}
    about = {
        "of": landslides,
        "px": f"{codes.shape[0]}x{codes.shape[1]}",
        "patch": PATCH,
        "start": f"{learnt}, {run.spec.run_id}",
    }
    about |= {"scene": name, "draw": draw, "steps": steps}
    if (name, draw, 0, steps, about["start"]) not in done:
        yield [about | {"landslides": 0, "candidate": "start"} | scored(found["start"], (0.5, 1.0), truth)]
    for count, labels in by_count.items():
        if (name, draw, count, steps, about["start"]) in done:
            continue
        work, began = FOLDER / f"{labels.stem}-{settings.freeze}", time.perf_counter()
        with ExitStack() as stack:
            compared = learning.compare(stack, [(scene, labelled.LabelFile(labels))], work, file, settings, False)
        seconds = time.perf_counter() - began
        kept, _ = learning.choose(compared.judged)
        rows = {}
        for kind in ("event", "tuned"):
            each = [probabilities(model, values, wanted) for model, _ in compared.members(kind)]
            found[kind] = np.mean(each, axis=0)
            if kind == "event":
                found["event, one network"] = each[0]
        found["mean"] = (found["start"] + found["event"]) / 2
        members = compared.members(kept)
        weights = np.array([about["weight"] for _, about in members])
        turned = [probabilities(model, values, wanted, FLIPS) for model, _ in members]
        found["kept, flips"] = np.average(turned, axis=0, weights=weights).astype(np.float32)
        found["kept"] = found["kept, cleaned"] = found[kept]
        for kind, probability in found.items():
            one = compared.judged.get({"event, one network": "event"}.get(kind, kind if kind[:4] != "kept" else kept))
            rows[kind] = scored(
                probability,
                (one.threshold, one.temperature) if one else (0.5, 1.0),
                truth,
                10 * kind.endswith("cleaned"),
            )
            rows[kind] |= {"held_back_f1": one.f1 if one else np.nan, "kept": kept, "seconds": seconds}
        load = round(os.getloadavg()[0], 1)
        yield [about | {"landslides": count, "candidate": kind, **row, "load": load} for kind, row in rows.items()]
        shutil.rmtree(work)


def read_rows(table: Path) -> list[dict]:
    """Return what is measured so far, also by a call for other scenes beside this one."""
    return pd.read_csv(table).to_dict("records") if table.exists() else []


def main() -> None:
    """Measure what is missing, cell by cell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", nargs="+", default=list(AREAS), choices=list(AREAS))
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--freeze", type=int, default=0)
    options = parser.parse_args()
    settings = mapping.LearnSettings(options.steps, PATCH, freeze=options.freeze, workers=1, device="cpu")
    table = common.RESULTS / (f"learn--freeze-{options.freeze}.csv" if options.freeze else "learn.csv")
    starts = start_networks()
    FOLDER.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for draw in range(options.draws):
        for name in options.scenes:
            keys = ("scene", "draw", "landslides", "steps", "start")
            done = {tuple(row[key] for key in keys) for row in read_rows(table)}
            for cell in measure(name, draw, settings, *starts[name], done):
                rows = read_rows(table) + [row | {"cpu": common.cpu_name()} for row in cell]
                pd.DataFrame(rows).to_csv(table, index=False, float_format="%.4g")
                for row in cell:
                    print(name, draw, row["landslides"], row["candidate"], round(row["f1"], 3), flush=True)


if __name__ == "__main__":
    main()
