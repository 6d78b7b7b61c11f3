"""How many hours would the whole book take with the published recipe on one device?

    python -m benchmarks.projection [--rates benchmarks/results/engine--….csv]

Patches a second come from `benchmarks.engine` on that device, numbers of patches from paper Table 2. Where the paper
gives no number (sizes that were not chosen), the same ground is assumed: n · (chosen size / size)². A rate that was not
measured at a size is scaled with the number of pixels. Counted are the runs of each experiment that no earlier
one has made: experiment 2 repeats runs of experiment 1, and in experiment 4 orders share their beginnings (24 stages a
model, not 42).
"""

from __future__ import annotations

import argparse
import math
from itertools import permutations
from pathlib import Path

import pandas as pd
import torch

from benchmarks import common
from lmhld_nb import models, paper, patches
from lmhld_nb.experiments import load, part
from lmhld_nb.training.hardware import choose_device

COMPARISON = 128  # px, experiment 3 (paper section 3.2 (3))


def runs_of_paper() -> pd.DataFrame:
    """List the trainings of one network: experiment, patch size, number of patches."""
    areas = paper.areas()
    rows: list[dict[str, object]] = []

    def add(experiment: str, size: int, n: float, times: int = 1) -> None:
        rows.append({"experiment": experiment, "patch_px": size, "patches": n, "times": times})

    for area, chosen, n in zip(areas.index, areas["patch_size"], areas["patches"], strict=True):
        for size in _candidates(area, int(chosen)):
            add("1 patch size", size, n * (chosen / size) ** 2)
    table = paper.table(2)
    (whole,) = table.loc[table["study_area"] == "Comparison dataset", "patches"]
    add("3 mix", COMPARISON, whole)
    for area, times in stages().items():
        add("4 part", int(areas.loc[area, "patch_size"]), int(areas.loc[area, "patches"]), times)
    return pd.DataFrame(rows)


def stages() -> dict[str, int]:
    """Return how often each area is a stage of its own when the six orders share prefixes (paper Fig 6)."""
    rule = part.Part()
    orders = [(*rule.first, *middle, *rule.last) for middle in permutations(rule.permuted)]
    prefixes = {order[: n + 1] for order in orders for n in range(len(order))}
    counts: dict[str, int] = {}
    for prefix in prefixes:
        counts[prefix[-1]] = counts.get(prefix[-1], 0) + 1
    return counts


def _candidates(area: str, chosen: int) -> list[int]:
    """Return an area's three candidate sizes: Table 4's for Wenchuan, else the chosen one and its neighbours."""
    if area == "wenchuan":
        return sorted(map(int, paper.table(4)["patch_size"].unique()))
    place = min(max(patches.SIZES.index(chosen), 1), len(patches.SIZES) - 2)
    return list(patches.SIZES[place - 1 : place + 2])


def rate(rates: pd.DataFrame, model: str, size: int, column: str) -> float:
    """Return patches a second; from the nearest measured size, by pixels, where this one was not measured."""
    own = rates[rates["model"] == model].set_index("patch_px")[column]
    nearest = min(own.index, key=lambda measured: (abs(math.log(measured / size)), -measured))
    return float(own[nearest]) * (nearest / size) ** 2


def projected(rates: pd.DataFrame) -> pd.DataFrame:
    """Return hours by experiment and model."""
    recipe = load("paper").recipe
    share_train, share_val, _ = load("paper").patches.fractions
    runs = runs_of_paper()
    hours = {}
    for model in models.NAMES:
        took = [
            row.times * row.patches * recipe.epochs
            * (share_train / rate(rates, model, row.patch_px, "patches_per_s")
               + share_val / rate(rates, model, row.patch_px, "scored_patches_per_s")) / 3600
            for row in runs.itertuples()
        ]  # fmt: skip
        hours[model] = pd.Series(took).groupby(runs["experiment"]).sum()
    table = pd.DataFrame(hours)
    table["all"] = table.sum(axis=1)
    table.loc["all"] = table.sum()
    return table.rename_axis("experiment").reset_index()


def main() -> None:
    """Project and save the table."""
    place = torch.device(choose_device("auto"))
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rates", type=Path, default=common.path_of("engine", place))
    rates = pd.read_csv(arguments.parse_args().rates)
    missing = set(models.NAMES) - set(rates["model"])
    if missing:
        raise SystemExit(f"no rates for {', '.join(sorted(missing))}; run `python -m benchmarks.engine` first")
    sizes = ", ".join(map(str, sorted(rates["patch_px"].unique())))
    print(f"hours on one {rates['hardware'].iloc[0]}; rates measured at {sizes} px")
    common.save(projected(rates), "projection", place)


if __name__ == "__main__":
    main()
