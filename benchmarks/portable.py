"""What do capped instruction sets cost, which make results the same bits on every x86-64 processor with AVX2?

    python -m benchmarks.portable [--rounds 3]

Experiment 2 of the mini profile (its networks, seven areas) is trained with the caps and with `LMHLD_PORTABLE=0`,
taking turns, each time in an empty store; seconds are those of training, as runs record them. Target: at most 10 %.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys

import pandas as pd

from benchmarks import common


def trained(portable: str, number: int) -> list[dict[str, object]]:
    """Train the experiment in a fresh store and return one row per run: network, whether capped, round, seconds."""
    store = common.SCRATCH / "portable"
    shutil.rmtree(store, ignore_errors=True)
    command = [sys.executable, "-m", "lmhld_nb.cli", "run", "mini", "--experiment", "single", "--quiet"]
    environment = {**os.environ, "LMHLD_RUNS": str(store), "LMHLD_PORTABLE": portable}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    rows = []
    for path in store.glob("*/metrics.json"):
        spec, metrics = json.loads((path.parent / "spec.json").read_text()), json.loads(path.read_text())
        rows.append({"model": spec["model"], "capped": portable == "1", "round": number, "seconds": metrics["seconds"]})
    return rows


def main() -> None:
    """Measure in pairs and save seconds by network and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    trained("1", 0)  # makes the data, cuts the patches, warms the disk
    turns = [("1", "0") if number % 2 else ("0", "1") for number in range(rounds)]
    rows = [row for number, turn in enumerate(turns) for portable in turn for row in trained(portable, number)]
    seconds = pd.DataFrame(rows).groupby(["model", "round", "capped"])["seconds"].sum().unstack("capped")
    seconds = seconds.rename(columns={True: "capped_s", False: "free_s"})
    everything = seconds.groupby("round").sum().assign(model="all").set_index("model", append=True).swaplevel()
    seconds = pd.concat([seconds, everything]).assign(ratio=lambda table: table["capped_s"] / table["free_s"])
    common.save(seconds.groupby("model").median().round(3).reset_index().assign(rounds=rounds), "portable")


if __name__ == "__main__":
    main()
