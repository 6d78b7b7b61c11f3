"""What do adopting LMHLD and planning its runs cost, by number of patches?

    python -m benchmarks.rehearsal [--shares 0.02 0.1] [--data twin-edition] [--layout areas] [--whole]

Patches of the twin, as many as a share of paper Table 2 counts (1 is 25,365 patches), are written as LMHLD may be
published (`tools/as_published.py`) and adopted. Measured in a fresh process each: `lmhld data get lmhld --from` (files
checked and copied, fingerprint, sizes of landslides), opening it again, the first `lmhld plan rehearsal`, and again,
`lmhld run paper --dry-run`, the inventory of chapter 01, and cutting and splitting the patches of all areas. With
``--whole``, which takes hours at full size, also what follows: the unseen events of GVLM's size, all runs of the
profile `rehearsal`, scoring Wenchuan once more, and each chapter. Goals at full size: adopting at most 5 minutes,
planning at most 10 seconds, a chapter that shows results at most 2 minutes, 8 GB of memory.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys

import pandas as pd
import torch

from benchmarks import common
from lmhld_nb import cli, config, inventory, runs, sources
from lmhld_nb.book.chapters import chapters, number_of
from lmhld_nb.config import ROOT
from lmhld_nb.experiments import load, open_study, single
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
    table = inventory.summary({area: dataset.scenes_of(area) for area in dataset.areas})
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
    cli.app(["run", "rehearsal", "--quiet"], standalone_mode=False)
    study = open_study(load("rehearsal"), progress=False)
    return {"runs": int((plan_table(plan(study))["status"] == "done").sum())}


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
    "events": events, "train": train, "whole area": whole_area, "chapter": chapter,
}  # fmt: skip


def main() -> None:
    """Measure and save the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.02, 0.1])
    parser.add_argument("--data", default="twin-edition")
    parser.add_argument("--layout", default="areas")
    parser.add_argument("--whole", action="store_true")
    options = common.options_or_task(parser, TASKS)
    sys.path.append(str(ROOT / "tools"))
    import as_published

    sources.get(options.data)
    sources.get("unseen")
    rows, title = [], "rehearsal-whole" if options.whole else "rehearsal"
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
        own = {"LMHLD_DATA": str(folder / "data"), "LMHLD_WORKDIR": str(folder / "work")}
        before = {name: os.environ.get(name) for name in own}
        os.environ |= own
        steps = {"adopt": ["adopt", str(folder / "files")], "open": ["open"], "plan": ["plan"], "plan again": ["plan"]}
        steps |= {name: [name] for name in ("paper", "inventory", "cut")}
        if options.whole:
            numbers = [number_of(path) for path in chapters(profile="rehearsal")]
            steps |= {"events": ["events", str(folder / "events")], "train": ["train"], "whole area": ["whole area"]}
            steps |= {f"chapter {number}": ["chapter", number] for number in numbers}
        for step, arguments in steps.items():
            took = common.measured("rehearsal", *arguments)
            cost = {key: took[key] for key in ("seconds", "cpu_seconds", "peak_mb")}
            row = {"step": step, "patches": sum(counts.values()), "runs": took.get("runs"), **cost}
            rows.append(row | {"cpu_ms_per_patch": 1000 * took["cpu_seconds"] / sum(counts.values())})
            common.save(pd.DataFrame(rows), title, show=False)
        for name, value in before.items():
            os.environ.pop(name)
            os.environ |= {name: value} if value else {}
        shutil.rmtree(folder)
    common.save(pd.DataFrame(rows), title)


if __name__ == "__main__":
    main()
