"""How do planning and opening a book grow with the number of runs in the store?

    python -m benchmarks.growth [--runs 2000 20000]

The store is made: two real trainings of the smallest twin, each copied under other seeds as a record (a run without its
weights). Measured in a fresh process each: `lmhld plan`, finding out what is missing (`lmhld run` with nothing to do),
and opening the book with all its runs; then planning, and the table of experiment 2, for a profile of 400 of these
runs. Processor seconds stand beside those on the clock, which other programs lengthen. Goal: at most 15 s for 20,000
runs, and no more per run than for 2,000.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import pandas as pd

import lmhld_nb as lm
from benchmarks import common
from lmhld_nb import runs, seals
from lmhld_nb.config import runs_dir
from lmhld_nb.experiments import load, open_study
from lmhld_nb.experiments.plan import describe, plan, plan_table
from lmhld_nb.runs.store import RECORDED
from lmhld_nb.training.hardware import Execution

PROFILE = """
name: {name}
description: two areas of the smallest twin, many seeds
data: twin-smoke
areas: [emilia_romagna, gorkha]
experiments: {{single: {{}}}}
models: [unet]
width: {{unet: 2}}
recipe: {{batch_size: 4, epochs: 3, lr: 0.05}}
seeds: [{seeds}]
"""


FEW = 400  # runs of a usual profile


def make_profile(folder: Path, name: str, count: int) -> Path:
    """Write a profile of ``count`` runs."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    seeds = ", ".join(map(str, range(count // 2)))
    path.write_text(PROFILE.format(name=name, seeds=seeds), encoding="utf-8")
    return path


def make_store(folder: Path, count: int) -> Path:
    """Fill the store of ``folder`` with ``count`` records; return the profile whose runs they are."""
    profile = make_profile(folder, "growth", count)
    planned = plan(open_study(load(str(profile)), progress=False))
    first = {entry.areas: entry.spec for entry in planned if entry.spec.seed == 0}
    made = dict(zip(first, runs.make_runs(first.values(), 1, Execution(device="cpu", progress=False)), strict=True))
    for entry in planned:
        template, target = made[entry.areas], runs_dir() / entry.spec.run_id
        if target.exists():
            continue
        target.mkdir()
        for name in template.metrics["files"]:
            text = (template.folder / name).read_text(encoding="utf-8")
            (target / name).write_text(text.replace(template.spec.run_id, target.name), encoding="utf-8")
        (target / "spec.json").write_text(entry.spec.canonical(), encoding="utf-8")
        metrics = {**template.metrics, "run_id": entry.spec.run_id}
        content = {key: value for key, value in metrics.items() if key not in ("files", "seal")}
        record = seals.sealed(content, target, template.metrics["files"])
        (target / "metrics.json").write_text(json.dumps(record), encoding="utf-8")
        (target / RECORDED).touch()
    return profile


def listing(profile: str) -> dict[str, float]:
    """Do what `lmhld plan` does."""
    study = open_study(load(profile), progress=False)
    planned = plan(study)
    return {"lines": describe(study.profile, planned, plan_table(planned)).count("\n")}


def missing(profile: str) -> dict[str, float]:
    """Find out that nothing is left to make."""
    planned = plan(open_study(load(profile), progress=False))
    return {"missing": len(runs.missing_runs(entry.spec for entry in planned))}


def opening(profile: str) -> dict[str, float]:
    """Open the book with all its runs."""
    return {"runs": len(lm.open(profile).runs("single", "error"))}


def table(profile: str) -> dict[str, float]:
    """Open the book and compute a table of its runs."""
    return {"rows": len(lm.open(profile).table(5))}


TASKS = {"plan": listing, "missing": missing, "open": opening, "table": table}


def main() -> None:
    """Measure and save the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[2_000, 20_000])
    options = common.options_or_task(parser, TASKS)
    rows = []
    for count in options.runs:
        folder = common.SCRATCH / f"growth-{count}"
        os.environ["LMHLD_RUNS"] = str(folder / "runs")
        profile = str(make_store(folder, count))
        few = str(make_profile(folder, "few", FEW))
        for task, own, of in (*((task, profile, count) for task in TASKS if task != "table"),
                              ("plan", few, FEW), ("table", few, FEW)):  # fmt: skip
            took = common.measured("growth", task, own)
            cost = {key: took[key] for key in ("seconds", "cpu_seconds", "peak_mb")}
            row = {"task": task, "runs_in_store": count, "runs_of_profile": of, **cost}
            rows.append(row | {"cpu_ms_per_run": 1000 * took["cpu_seconds"] / of})
            common.save(pd.DataFrame(rows), "growth", show=False)
    common.save(pd.DataFrame(rows), "growth")


if __name__ == "__main__":
    main()
