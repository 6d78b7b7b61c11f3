"""What do adopting LMHLD and planning its runs cost, by number of patches?

    python -m benchmarks.rehearsal [--shares 0.02 0.1] [--data twin-edition] [--layout areas] [--whole]
    python -m benchmarks.rehearsal --begun DATA WORKDIR

Patches of the twin, as many as a share of paper Table 2 counts (1 is 25,365 patches), are written as LMHLD may be
published (`tools/as_published.py`) and adopted. Measured in a fresh process each: `lmhld data get lmhld --from` (files
checked and copied, fingerprint, sizes of landslides), opening it again, the first `lmhld plan rehearsal`, and again,
`lmhld run paper --dry-run`, the inventory of chapter 01, and cutting and splitting the patches of all areas. With
``--whole``, which takes hours at full size, also what follows: the unseen events of GVLM's size, all runs of the
profile `rehearsal`, the maps that `lmhld run` makes afterwards, scoring Wenchuan once more, and each chapter.
``--begun`` measures what follows adopting in a rehearsal of one's own that may have been interrupted: ``runs`` says how
many were left to train, ``run_seconds`` what all of them took, each on one core. Goals at full size: adopting at most 5
minutes, planning at most 10 seconds, a chapter that shows results at most 2 minutes, 8 GB of memory.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pandas as pd
import torch

from benchmarks import common
from lmhld_nb import cli, config, inventory, runs, sources
from lmhld_nb.book.chapters import chapters, number_of
from lmhld_nb.config import ROOT
from lmhld_nb.experiments import EXPERIMENTS, load, open_study, single
from lmhld_nb.experiments.plan import describe, plan, plan_table
from lmhld_nb.runs import store


def adopt(folder: str) -> dict[str, float]:
    cli.app(["data", "get", "lmhld", "--from", folder, "--quiet"], standalone_mode=False)
    return {}


def reopen() -> dict[str, float]:
    return {"scenes": len(sources.load("lmhld").scenes)}


def planning() -> dict[str, float]:
    study = open_study(load("rehearsal"), progress=False)
    planned = plan(study)
    describe(study.profile, planned, plan_table(planned))
    return {"runs": len(planned)}


def dry_run() -> dict[str, float]:
    cli.app(["run", "paper", "--dry-run"], standalone_mode=False)
    return {"runs": len(plan(open_study(load("paper"), progress=False)))}


def inventories() -> dict[str, float]:
    dataset = sources.load("lmhld")
    table = inventory.summary({area: inventory.area_sizes(dataset.scenes_of(area)) for area in dataset.areas})
    return {"landslides": float(table["landslides"].sum())}


def cut() -> dict[str, float]:
    study = open_study(load("rehearsal"), progress=False)
    cut = [runs.patch_set(study.patch_spec(area), progress=False) for area in study.dataset.areas]
    return {"patches": sum(len(patches.index) for patches in cut)}


def events(folder: str) -> dict[str, float]:
    for name in ("gvlm", "luding"):
        cli.app(["data", "get", name, "--from", folder, "--quiet"], standalone_mode=False)
    return {}


def train() -> dict[str, float]:
    study = open_study(load("rehearsal"), progress=False)
    left = int((plan_table(plan(study))["status"] != "done").sum())
    with mock.patch.dict(EXPERIMENTS, {name: replace(entry, afterwards=None) for name, entry in EXPERIMENTS.items()}):
        cli.app(["run", "rehearsal"], standalone_mode=False)
    finished = study.finished([planned.spec for planned in plan(study)])
    return {"runs": left, "run_seconds": sum(run.metrics["seconds"] for run in finished)}


def afterwards() -> dict[str, float]:
    cli.app(["run", "rehearsal"], standalone_mode=False)
    return {}


def whole_area() -> dict[str, float]:
    study = open_study(load("rehearsal"), progress=False)
    (run,) = (run for run in study.finished(single.specs(study)) if run.spec.data[0].area == "wenchuan")
    store.score_whole_area(run, torch.device("cpu"), progress=False)
    return {}


def chapter(number: str) -> dict[str, float]:
    cli.app(["book", "rehearsal", "--chapter", number, "--quiet"], standalone_mode=False)
    return {}


TASKS = {
    "adopt": adopt, "open": reopen, "plan": planning, "paper": dry_run, "inventory": inventories, "cut": cut,
    "events": events, "train": train, "afterwards": afterwards, "whole area": whole_area, "chapter": chapter,
}  # fmt: skip


def measure(steps: dict[str, list[str]], patches: int, data: Path, work: Path) -> None:
    """Measure steps (name: task and arguments) on a data folder and a workdir; the table grows step by step."""
    before = {name: os.environ.get(name) for name in ("LMHLD_DATA", "LMHLD_WORKDIR")}
    os.environ |= {"LMHLD_DATA": str(data), "LMHLD_WORKDIR": str(work)}
    title = "rehearsal-whole" if patches == 0 or "chapter 00" in steps else "rehearsal"
    for step, arguments in steps.items():
        took = common.measured("rehearsal", *arguments)
        if took.get("runs") == 0:  # trained by an earlier call, which noted what it took
            continue
        patches = int(took.get("scenes", patches))
        row: dict[str, float | str | None] = {"step": step, "patches": patches, "cpu_ms_per_patch": None}
        row |= {key: took.get(key) for key in ("runs", "run_seconds", "seconds", "cpu_seconds", "peak_mb")}
        row["cpu_ms_per_patch"] = 1000 * took["cpu_seconds"] / patches
        path = common.path_of(title)
        rows = pd.read_csv(path).drop(columns=["hardware", "torch", "python"]) if path.is_file() else pd.DataFrame()
        if len(rows):  # other numbers of patches, and other steps, are kept
            rows = rows[(rows["patches"] != patches) | (rows["step"] != step)]
        rows = pd.concat([rows, pd.DataFrame([row])]).sort_values("patches", kind="stable")
        common.save(rows, title, show=False)
        print(f"{patches} patches, {step}: {took['seconds']:.1f} s, {took['peak_mb']:.0f} MB", flush=True)
    for name, value in before.items():
        os.environ.pop(name)
        os.environ |= {name: value} if value else {}


def main() -> None:
    """Measure and save the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.02, 0.1])
    parser.add_argument("--data", default="twin-edition")
    parser.add_argument("--layout", default="areas")
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--steps", nargs="+", help="with --begun: only these rows of the table")
    parser.add_argument("--begun", type=Path, nargs=2, metavar=("DATA", "WORKDIR"))
    options = common.options_or_task(parser, TASKS)
    first = {"open": ["open"], "plan": ["plan"], "plan again": ["plan"]}
    first |= {name: [name] for name in ("paper", "inventory", "cut")}
    follows = {name: [name] for name in ("train", "afterwards", "whole area")}
    follows |= {f"chapter {number_of(path)}": ["chapter", number_of(path)] for path in chapters(profile="rehearsal")}
    if options.begun:
        chosen = {name: task for name, task in follows.items() if name in (options.steps or follows)}
        measure({"open": ["open"], **chosen}, 0, *(folder.resolve() for folder in options.begun))
        return
    sys.path.append(str(ROOT / "tools"))
    import as_published

    sources.get(options.data)
    sources.get("unseen")
    for share in options.shares:
        folder, counts = common.SCRATCH / f"published-{share:g}", as_published.counts_of(share)
        if not (folder / "files").is_dir():  # left by an interrupted call
            with config.atomic_path(folder / "files") as files:
                as_published.write(options.data, files, as_published.LAYOUTS[options.layout], counts)
        if options.whole:
            side = max(640, round(as_published.SITE_SIDE * share**0.5))
            as_published.write_events("unseen", folder / "events", side)
        for made in ("data", "work"):
            shutil.rmtree(folder / made, ignore_errors=True)
        steps = {"adopt": ["adopt", str(folder / "files")], **first}
        if options.whole:
            steps |= {"events": ["events", str(folder / "events")], **follows}
        measure(steps, sum(counts.values()), folder / "data", folder / "work")
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
