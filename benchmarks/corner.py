"""The book's own promise on a real scene: 15 % of Jinsha C is labelled, the rest is mapped and scored.

    python -m benchmarks.corner

Runs `lmhld learn` and `lmhld map` as a user types them, with nothing beside them on the machine: once with new networks
alone, once with a start network of the profile `real` that has learnt all areas but this one (of `leave_one_out`, from
`runs/`; its neighbour A is among them). Labelled is the south-eastern corner, 15 % of the imaged ground; its landslides
come from the scene's mask, as polygons. Columns of corner.csv: `start`; `kept`; `held_back_f1` with its interval, as
`lmhld learn` prints it; `f1`, `precision`, `recall` on all ground outside the corner; `landslides` labelled; `pixels`
of the scene; seconds of both commands, starts of Python included; processor, and its load average before them.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
from rasterio.features import shapes
from shapely.geometry import box, shape

from benchmarks import common, learn

SHARE = 0.15  # of the imaged ground


def inputs(folder: Path) -> None:
    """Write slides.gpkg, searched.gpkg, and truth.tif without the corner."""
    with rasterio.open(learn.SHARED / "jinsha-uav-georef" / "scene_C_mask.tif") as source:
        mask, profile, crs, transform = source.read(1), source.profile, source.crs, source.transform
    known, (rows, cols) = mask != 255, mask.shape
    sides = ((int(rows * share), int(cols * share)) for share in np.arange(0.2, 1, 0.005))
    height, width = next(side for side in sides if known[-side[0] :, -side[1] :].sum() >= SHARE * known.sum())
    corner = np.zeros_like(known)
    corner[-height:, -width:] = True
    slides = ((mask == 1) & corner).astype(np.uint8)
    outlines = [shape(outline) for outline, _ in shapes(slides, slides == 1, 8, transform)]
    gpd.GeoDataFrame(geometry=outlines, crs=crs).to_file(folder / "slides.gpkg")
    (left, top), (right, bottom) = transform @ (cols - width, rows - height), transform @ (cols, rows)
    gpd.GeoDataFrame(geometry=[box(left, bottom, right, top)], crs=crs).to_file(folder / "searched.gpkg")
    with rasterio.open(folder / "truth.tif", "w", **profile) as target:
        target.write(np.where(corner, 255, mask).astype(np.uint8), 1)


def timed(*arguments: str | Path) -> float:
    """Run the command, and return its seconds."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "lmhld_nb.cli", *map(str, arguments)], check=True)
    return time.perf_counter() - began


def main() -> None:
    """Measure both, and write the table."""
    folder = common.SCRATCH / "corner"
    folder.mkdir(parents=True, exist_ok=True)
    inputs(folder)
    scene = learn.SHARED / "jinsha-uav-georef" / "scene_C_rgb.tif"
    learnt, run = learn.start_networks()["jinsha"]
    rows = []
    for start, more in (("none", ()), (f"{learnt}, {run.spec.run_id}", ("--from", run.weights_file))):
        stem = folder / f"{time.time_ns()}"  # a new folder: a finished one would be read, not made
        net, maps, load = stem.with_suffix(".net"), stem.with_suffix(".map"), os.getloadavg()[0]
        labels = (folder / "slides.gpkg", "--searched", folder / "searched.gpkg")
        seconds = timed("learn", scene, *labels, "--bands", ",".join(learn.BANDS), "--out", net, "--quiet", *more)
        weights = ("--weights", net / "network.safetensors", "--truth", folder / "truth.tif")
        mapping = timed("map", scene, *weights, "--bands", ",".join(learn.BANDS), "--out", maps, "--quiet")
        card, report = (json.loads(path.read_text()) for path in (net / "card.json", maps / "map.json"))
        row = {"start": start, "kept": card["kept"], "landslides": card["landslides"]}
        row |= {f"held_back_{name}": card["held_back"][name] for name in ("f1", "low", "high")}
        row |= {name: report["scores"][name] for name in ("f1", "precision", "recall")}
        row |= {"pixels": "x".join(map(str, report["shape"])), "learn_seconds": seconds, "map_seconds": mapping}
        rows.append(row | {"cpu": common.cpu_name(), "cores": os.cpu_count(), "load_before": load})
    pd.DataFrame(rows).to_csv(common.RESULTS / "corner.csv", index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
