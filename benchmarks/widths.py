"""Would wider networks say something else? The edition's runs with 8 channels beside those made on a GPU with 32.

    python -m benchmarks.widths [--gpu benchmarks/results/edition-gpu--….tar.xz]

Compared are trainings from random weights (experiments 2 and 3) that agree in all but the width, the precision, and the
data's fingerprint: the wider ones were computed in bf16, on a twin whose last digits differ (other versions of NumPy
and SciPy). Also: how long their first epoch took, with all that is prepared in it, and one of the others.
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks import common
from lmhld_nb.runs import records


def same_in(spec: dict[str, Any]) -> str:
    """Return what two runs to be compared have in common, as text."""
    data = [{**one, "fingerprint": ""} for one in spec["data"]]
    recipe = {**spec["recipe"], "precision": "", "portable": ""}
    return json.dumps({**spec, "data": data, "recipe": recipe, "width": ""}, sort_keys=True)


def scores(path: Path, profile: str) -> pd.DataFrame:
    """Return F1 on test patches, seconds and hardware of runs that start from random weights, by `same_in`."""
    rows = {}
    for files in records.read(path, profile).runs.values():
        spec, metrics = json.loads(files["spec.json"]), json.loads(files["metrics.json"])
        if "stage" in spec:
            continue
        clock = pd.read_csv(io.BytesIO(files["history.csv"]))["seconds"]
        rows[same_in(spec)] = {
            "experiment": "mix" if len(spec["data"]) > 1 else "single", "model": spec["model"],
            "f1": metrics["test"]["f1"], "first_epoch_s": clock.iloc[0], "epoch_s": clock.diff().median(),
            "device": metrics["device"],
        }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index")


def compared(narrow: pd.DataFrame, wide: pd.DataFrame) -> pd.DataFrame:
    """Return by experiment and network the mean F1 of both, and the difference with its deviation over runs."""
    kinds = ["experiment", "model"]
    pair = (table.drop(columns=kinds).add_suffix(suffix) for table, suffix in ((narrow, "_narrow"), (wide, "_wide")))
    both = pd.concat(pair, axis="columns", join="inner").join(wide[kinds])
    both["gain"] = both["f1_wide"] - both["f1_narrow"]
    everything = both.assign(model="all")
    table = pd.concat([both, everything]).groupby(["experiment", "model"], sort=False)
    return table.agg(
        runs=("gain", "size"), f1_narrow=("f1_narrow", "mean"), f1_wide=("f1_wide", "mean"), gain=("gain", "mean"),
        gain_sd=("gain", "std"), better=("gain", lambda gains: int((gains > 0).sum())),
        wide_first_epoch_s=("first_epoch_s_wide", "median"), wide_epoch_s=("epoch_s_wide", "median"),
        wide_on=("device_wide", "first"),
    ).reset_index()  # fmt: skip


def main() -> None:
    """Compare and save the table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--gpu", type=Path, default=common.RESULTS / "edition-gpu--nvidia-h200.tar.xz")
    wide = scores(arguments.parse_args().gpu, "edition-gpu")
    common.save(compared(scores(records.path("edition"), "edition"), wide), "widths")


if __name__ == "__main__":
    main()
