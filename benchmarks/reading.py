"""What is a copy of the patches in memory worth on the CPU, where files are mapped anyway?

    python -m benchmarks.reading [--profile edition]

For an area of small patches and one of large ones, epochs of a U-Net of width 8 (``--steps`` steps at most) on patches
read batch by batch from the mapped files, and on a copy of them, take turns in one process: processor seconds, medians.
For all areas together: the peak memory of a fresh process that reads each training patch once, either way.
"""

from __future__ import annotations

import argparse
import time
from unittest import mock

import numpy as np
import pandas as pd
import torch

from benchmarks import common
from lmhld_nb import models, runs
from lmhld_nb.experiments import Study, load, open_study
from lmhld_nb.patches import batches
from lmhld_nb.patches.batches import Batches, load_split
from lmhld_nb.training import engine

CPU = torch.device("cpu")
WAYS = {"mapped": 0, "copied": 10**15}
"""Bytes of memory to claim as free, so that no patch is copied, or all are."""


def training_patches(study: Study, areas: tuple[str, ...], way: str) -> Batches:
    sets = [runs.patch_set(study.patch_spec(area), progress=False) for area in areas]
    with mock.patch.object(batches, "free_memory", lambda _: WAYS[way]):
        return load_split(sets, "train", CPU)


def hold(profile: str, way: str) -> dict[str, float]:
    study = open_study(load(profile), progress=False)
    drawn = training_patches(study, study.dataset.areas, way)
    return {"patches": sum(len(images) for images, _ in drawn.load(drawn.order(16, (0, 0))))}


def epochs(profile: str, area: str, steps: str, rounds: str) -> dict[str, float]:
    torch.set_num_threads(1)
    study = open_study(load(profile), progress=False)
    drawn = {way: training_patches(study, (area,), way) for way in WAYS}
    spec = study.patch_spec(area)
    recipe = study.profile.recipe.model_copy(update={"batch_size": study.batch_size(spec.size)})
    model = models.build("unet", len(spec.bands), 8).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    step, took = engine.step_of(model, engine.optimiser_of(model, recipe), recipe), {way: [] for way in WAYS}
    for number in range(int(rounds) + 1):
        for way, source in drawn.items():
            began = time.process_time()
            for images, masks in source.load(source.order(recipe.batch_size, (0, number))[: int(steps)]):
                step(images, masks)
            took[way].append(time.process_time() - began)
    medians = {f"{way}_s": float(np.median(seconds[1:])) for way, seconds in took.items()}  # the first warms up
    return {"size_px": spec.size, "patches": len(drawn["mapped"]), **medians}


TASKS = {"hold": hold, "epochs": epochs}


def main() -> None:
    """Measure and save the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="edition")
    parser.add_argument("--areas", nargs="+", default=["gorkha", "wenchuan"])
    parser.add_argument("--steps", default="60")
    parser.add_argument("--rounds", default="5")
    options = common.options_or_task(parser, TASKS)
    rows = []
    for area in options.areas:
        took = common.measured("reading", "epochs", options.profile, area, options.steps, options.rounds)
        kept = {key: took[key] for key in ("size_px", "patches", "mapped_s", "copied_s")}
        rows.append({"profile": options.profile, "areas": area, **kept, "ratio": took["mapped_s"] / took["copied_s"]})
    held = {way: common.measured("reading", "hold", options.profile, way) for way in WAYS}
    memory = {f"{way}_mb": took["peak_mb"] for way, took in held.items()}
    rows.append({"profile": options.profile, "areas": "all", "patches": held["mapped"]["patches"], **memory})
    common.save(pd.DataFrame(rows), f"reading-{options.profile}")


if __name__ == "__main__":
    main()
