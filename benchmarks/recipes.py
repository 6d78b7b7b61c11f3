"""Which fast recipe: SGD or AdamW, cosine or one cycle, cross-entropy or with Dice, flips or none, and how many epochs?

    python -m benchmarks.recipes [--profile real] [--areas hokkaido jinsha_a]

U-Net with three seeds on two areas of a profile, one thing changed at a time, and the paper's recipe for as many
epochs; F1 on validation and test patches, and what the last quarter of the epochs gains in validation F1. No time is
compared.
"""

import argparse
import os

os.environ["LMHLD_PORTABLE"] = "1"  # the runs are those of the profile

import numpy as np
import pandas as pd

from benchmarks import common
from lmhld_nb import experiments, runs
from lmhld_nb.experiments import profile as profiles

PAPER = {
    "optimiser": "sgd", "lr": 0.01, "momentum": 0.0, "weight_decay": 0.0, "schedule": "exponential", "gamma": 0.99,
    "loss": "bce", "augment": False,
}  # fmt: skip
SGD = {"optimiser": "sgd", "momentum": 0.9, "weight_decay": 0.0001}
CHANGES: dict[str, dict[str, object]] = {
    "profile": {},
    "AdamW, lr 0.001": {"lr": 0.001},
    "AdamW, lr 0.01": {"lr": 0.01},
    "AdamW, cosine": {"schedule": "cosine"},
    "SGD, one cycle, lr 0.1": {**SGD, "lr": 0.1},
    "SGD, one cycle, lr 0.3": {**SGD, "lr": 0.3},
    "SGD, cosine, lr 0.1": {**SGD, "lr": 0.1, "schedule": "cosine"},
    "cross-entropy": {"loss": "bce"},
    "no flips": {"augment": False},
    "half the epochs": {"epochs": 0.5},
    "twice the epochs": {"epochs": 2},
    "the paper's": PAPER,
    "the paper's, lr 0.1": {**PAPER, "lr": 0.1},
    "the paper's, lr 0.1, flips, Dice": {**PAPER, "lr": 0.1, "augment": True, "loss": "dice_bce"},
}


def last_gain(f1: np.ndarray) -> float:
    """Return what a straight line through the last quarter of validation F1 gains over it."""
    last = f1[-max(2, len(f1) // 4) :]
    return float(np.polyfit(np.arange(len(last)), last, 1)[0] * (len(last) - 1))


def main() -> None:
    """Train what is missing and save one row per change and area, means over seeds with standard deviations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="real")
    parser.add_argument("--areas", nargs="+", default=["hokkaido", "jinsha_a"])
    arguments = parser.parse_args()
    profile = profiles.load(arguments.profile)
    study = experiments.study.open_study(profile)
    wanted = {}
    for name, changes in CHANGES.items():
        changed = dict(changes)
        epochs = round(profile.recipe.epochs * float(str(changed.pop("epochs", 1))))
        for area in arguments.areas:
            specs = study.trainings((study.patch_spec(area),), ("unet",), (0, 1, 2), epochs=epochs, **changed)
            wanted |= {(name, area, spec.seed): spec for spec in specs}
    finished = {run.spec.run_id: run for run in runs.make_runs(list(wanted.values()), execution=profile.execution)}
    rows = []
    for (name, area, _), spec in wanted.items():
        run = finished[spec.run_id]
        f1 = run.history["val_f1"].to_numpy()
        row = {"recipe": name, "area": area, "epochs": spec.recipe.epochs, "test_f1": run.metrics["test"]["f1"]}
        rows.append({**row, "val_f1": f1.max(), "last_quarter_gains": last_gain(f1)})
    groups = pd.DataFrame(rows).groupby(["recipe", "area", "epochs"], sort=False)
    spread = groups["test_f1"].agg(["std", "count"]).set_axis(["test_f1_sd", "seeds"], axis=1)
    common.save(groups.mean().join(spread).round(4).reset_index(), "recipes")


if __name__ == "__main__":
    main()
