"""What is a handful of labels worth? F1 against the number of labelled landslides, with and without a start network.

    python -m benchmarks.learn [--scenes jinsha moxi hokkaido bijie] [--counts 0 5 20 100] [--draws 3] [--steps 300]

Reads the real samples in the folder that LMHLD_SHARED_DATA names. A draw is a place: a landslide chosen at random and
those nearest to it are labelled, as polygons, and `lmhld learn` reads the ground around them as searched. All networks
of a draw are scored on the same ground, what lies outside the labelled ground of its largest number of landslides.

The start network is learnt from other ground: Jinsha's first scene for its third scene and for Moxi (another sensor and
place), five other tiles of Hokkaido, and Moxi for Bijie. Moxi and Bijie have no coordinates: they are given made-up
ones. Bijie's pictures are laid out on one grid, with no data between them.

Each row is written as soon as it is measured; rows that are there are not measured again. Columns: `candidate` (of
`mapping.learn`, and `kept`, the one that it chose, once more with four flips averaged), `f1` on the ground kept apart
and `held_back_f1` as the card has it, both at the card's threshold; `seconds` of the learning with all its candidates.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
import torch
from affine import Affine
from rasterio.features import shapes
from shapely.geometry import shape
from torch import Tensor, nn

from benchmarks import common
from lmhld_nb import mapping, scenes
from lmhld_nb.config import ROOT
from lmhld_nb.evaluation import Confusion
from lmhld_nb.mapping import labelled, learning, prediction
from lmhld_nb.scenes.scene import Scene
from lmhld_nb.training import weights as networks

SHARED = Path(os.environ.get("LMHLD_SHARED_DATA", ROOT.parent / "shared" / "data"))
BANDS = ("red", "green", "blue")
FOLDER = common.SCRATCH / "learn"
TABLE = common.RESULTS / "learn.csv"
KEYS = ["scene", "draw", "landslides", "candidate", "flips", "steps"]
GAP = 64  # px of no data between pictures
METRES = {"moxi": 1.0, "bijie": 0.8}


class Flipped(nn.Module):
    """A network whose probabilities are averaged over four flips of its images."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        turned = [self.model(images.flip(dims)).flip(dims) for dims in ((), (2,), (3,), (2, 3))]
        return torch.logit(torch.sigmoid(torch.stack(turned)).mean(dim=0), eps=1e-6)


def laid_out(name: str, pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[Path, Path]:
    """Write pictures (3, rows, cols) and masks side by side on one made-up grid; returns image and mask."""
    side = max(max(mask.shape) for _, mask in pairs) + GAP
    across = int(np.ceil(np.sqrt(len(pairs))))
    down = -(-len(pairs) // across)
    image = np.zeros((3, down * side, across * side), np.uint8)
    codes = np.full(image.shape[1:], 255, np.uint8)
    for number, (picture, mask) in enumerate(pairs):
        top, left = number // across * side, number % across * side
        place = slice(top, top + mask.shape[0]), slice(left, left + mask.shape[1])
        image[(slice(None), *place)], codes[place] = np.maximum(picture, 1), mask
    grid = {"crs": "EPSG:32648", "transform": Affine(METRES.get(name, 3), 0, 5e5, 0, -METRES.get(name, 3), 3e6)}
    profile = {
        "driver": "GTiff",
        "height": image.shape[1],
        "width": image.shape[2],
        "compress": "deflate",
        "tiled": True,
    }
    paths = FOLDER / f"{name}.tif", FOLDER / f"{name}_mask.tif"
    for path, values, nodata in zip(paths, (image, codes[None]), (0, 255), strict=True):
        with rasterio.open(path, "w", count=len(values), dtype="uint8", nodata=nodata, **profile, **grid) as target:
            target.write(values)
    return paths


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as source:
        return source.read()


def data(name: str) -> tuple[Path, Path]:
    """Return image and mask of a scene."""
    jinsha, hokkaido, moxi = (SHARED / f for f in ("jinsha-uav-georef", "hokkaido-2018-3m-rgb", "cas-moxi-1m"))
    if name in ("jinsha", "jinsha A"):
        return tuple(jinsha / f"scene_{'C' if name == 'jinsha' else 'A'}_{kind}.tif" for kind in ("rgb", "mask"))
    if name == "hokkaido":
        return hokkaido / "block_r10_c10_rgb.tif", hokkaido / "block_r10_c10_mask.tif"
    if name == "moxi":
        return laid_out(name, [(read(moxi / "moxi_1m_rgb.tif"), read(moxi / "moxi_1m_mask.tif")[0])])
    if name == "hokkaido tiles":
        tiles = [hokkaido / "images" / f"{n}.tif" for n in (660, 664, 672, 675, 742)]
        return laid_out(name, [(read(p)[:3], read(hokkaido / "masks" / f"{p.stem}.png")[0]) for p in tiles])
    pictures = sorted((SHARED / "bijie-landslide" / "images").glob("ls_*.png"))
    masks = [SHARED / "bijie-landslide" / "masks" / path.name for path in pictures]
    return laid_out(name, [(read(p)[:3], read(m)[0] // 255) for p, m in zip(pictures, masks, strict=True)])


STARTS = {"jinsha": "jinsha A", "moxi": "jinsha A", "hokkaido": "hokkaido tiles", "bijie": "moxi"}


def start_of(name: str, settings: mapping.LearnSettings) -> Path:
    """Learn the start network of a scene, once."""
    out = FOLDER / f"start {STARTS[name]} {settings.steps}"
    if not (out / learning.NETWORK).exists():
        image, mask = data(STARTS[name])
        mapping.learn(mapping.scene_of_file(image, BANDS), mask, out, settings=settings, progress=False)
    return out / learning.NETWORK


def draws(mask: Path, counts: list[int], number: int) -> tuple[dict[int, gpd.GeoDataFrame], np.ndarray]:
    """Return the labelled polygons of one draw by their number, and the mask."""
    with rasterio.open(mask) as source:
        codes, transform, crs = source.read(1), source.transform, source.crs
    found = shapes((codes == 1).astype(np.uint8), codes == 1, 8, transform)
    table = gpd.GeoDataFrame(geometry=[shape(outline) for outline, _ in found], crs=crs)
    random = np.random.default_rng(number)
    centres = table.geometry.centroid
    order = np.argsort(centres.distance(centres[random.integers(len(table))]).to_numpy(), kind="stable")
    # With fewer than a quarter left to score on, the number would not say what labels are worth.
    return {count: table.iloc[order[:count]] for count in counts if count <= 0.75 * len(table)}, codes


def score(scene: Scene, network: nn.Module, card: dict, row: dict, truth: np.ndarray) -> Confusion:
    """Score a network on a scene, at a candidate's threshold and in its card's normalisation."""
    total, size = Confusion(0, 0, 0, 0), max(area["patch_size"] for area in card["areas"].values())
    with scenes.open_image(scene) as image:
        statistics = prediction.stored_statistics(card) or prediction.scene_statistics(image, tuple(card["bands"]))
        place = prediction.Network(network.eval(), torch.device("cpu"))
        for window, values in prediction.predicted_rows(image, tuple(card["bands"]), statistics, place, size):
            rows = truth[window.row : window.row + window.height]
            total += Confusion.of(values >= row["threshold"], rows == 1, (rows != 255) & (values >= 0))
    return total


def measure(name: str, number: int, options: argparse.Namespace, done: set[tuple]) -> Iterator[dict]:
    """Yield the rows of one draw that are not there yet."""
    settings = mapping.LearnSettings(steps=options.steps)
    image, mask = data(name)
    scene, start = mapping.scene_of_file(image, BANDS), start_of(name, settings)
    by_count, codes = draws(mask, [count for count in options.counts if count], number)
    for count, polygons in by_count.items():
        polygons.to_file(FOLDER / f"{name}-{number}-{count}.gpkg")
    with scenes.open_image(scene) as opened:
        largest = labelled.LabelFile(FOLDER / f"{name}-{number}-{max(by_count)}.gpkg")
        near = labelled.read(opened, largest, BANDS).labels != 255
    truth = np.where(near, 255, codes)
    model, card = networks.load(start)
    if (name, number, 0, "start", 1, options.steps) not in done and 0 in options.counts:
        confusion = score(scene, model, card, card, truth)
        yield row_of((name, number, 0, "start", 1, options.steps), confusion, np.nan, np.nan)
    for count in by_count:
        out = FOLDER / f"{name}-{number}-{count}"
        if (name, number, count, "kept", 4, options.steps) in done:
            continue
        kept = out.with_name(f"{out.name}-networks")
        write, began = learning._write, time.perf_counter()

        def keep(to: Path, work: Path, *rest: object, kept: Path = kept, write: object = write) -> None:
            shutil.copytree(work, kept, dirs_exist_ok=True)
            write(to, work, *rest)  # type: ignore[operator]

        with mock.patch.object(learning, "_write", keep):
            card = mapping.learn(scene, out.with_suffix(".gpkg"), out, start=start, settings=settings, progress=False)
        seconds = time.perf_counter() - began
        tasks = [learning._Task(kind, fold, kept, BANDS, 0, 0, settings, start)
                 for kind in ("event", "tuned") for fold in range(3)]  # fmt: skip
        tasks = [task for task in tasks if task.weights.exists()]
        rows = {row["candidate"]: row for row in reversed(card["candidates"])} or {card["kept"]: card | {"f1": np.nan}}
        for kind in [*(k for k in ("start", "event", "tuned", "mean") if k in rows), "kept"]:
            chosen = card["kept"] if kind == "kept" else kind
            members = learning._members(chosen, tasks, *networks.load(start))
            network: nn.Module = networks.Ensemble(*zip(*((m, a["weight"]) for m, a in members), strict=True),
                                                   rows[chosen].get("temperature", 1.0))  # fmt: skip
            network = Flipped(network) if kind == "kept" else network
            confusion = score(scene, network, card, rows[chosen], truth)
            values = rows[chosen]["f1"], seconds
            key = name, number, count, kind, 4 if kind == "kept" else 1, options.steps
            if key not in done:
                yield row_of(key, confusion, *values, chosen)
        shutil.rmtree(kept)


def row_of(place: tuple, counted: Confusion, held_back: float, seconds: float, kept: str = "") -> dict:
    """Return a row of the table."""
    everything = 2 * (counted.tp + counted.fn) / (2 * (counted.tp + counted.fn) + counted.fp + counted.tn)
    scores = {
        "f1": counted.f1,
        "precision": counted.precision,
        "recall": counted.recall,
        "all_landslide_f1": everything,
    }
    key = dict(zip(KEYS, place, strict=True))
    return {**key, "kept": kept, **scores, "held_back_f1": held_back, "seconds": seconds}


def main() -> None:
    """Measure what is missing, row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", nargs="+", default=list(STARTS), choices=list(STARTS))
    parser.add_argument("--counts", type=int, nargs="+", default=[0, 5, 20, 100])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    rows = pd.read_csv(TABLE).to_dict("records") if TABLE.exists() else []
    for name in options.scenes:
        for number in range(options.draws):
            done = {tuple(row[key] for key in KEYS) for row in rows}
            for row in measure(name, number, options, done):
                rows.append(row | {"cpu": common.cpu_name()})
                pd.DataFrame(rows).to_csv(TABLE, index=False, float_format="%.4g")
                print({key: row[key] for key in (*KEYS, "f1", "held_back_f1", "seconds")}, flush=True)


if __name__ == "__main__":
    main()
