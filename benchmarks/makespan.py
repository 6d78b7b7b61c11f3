"""How long do several GPUs need for a profile, if each is busy while work is left?

    python -m benchmarks.makespan [--profile edition] [--gpus 2 4 8]

The scheduler of `lmhld_nb.runs` itself hands out the runs, on a clock that jumps to the end of the next one: a run
takes the seconds that were measured, or, where it is not finished yet, those that `lmhld plan` estimates. No schedule
is shorter than all work divided by the GPUs, or than the longest chain. Goal for 4 GPUs: at most 1.1 times that.
"""

from __future__ import annotations

import argparse
import heapq
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pandas as pd

from benchmarks import common
from lmhld_nb.experiments import load, open_study
from lmhld_nb.experiments.plan import plan, plan_table, ranks
from lmhld_nb.runs import runner
from lmhld_nb.training.hardware import Execution
from lmhld_nb.training.specs import RunSpec


class Clock(Executor):
    """Stands in for a pool of processes: work takes its time on this clock and does nothing."""

    def __init__(self, seconds: Mapping[str, float]) -> None:
        self.seconds, self.now = seconds, 0.0
        self.ends: list[tuple[float, int, Future[str]]] = []
        self.started: dict[str, float] = {}

    def submit(self, work: Any, /, spec: RunSpec, *_: Any, **__: Any) -> Future[str]:
        self.started[spec.run_id] = self.now
        future = Future[str]()
        heapq.heappush(self.ends, (self.now + self.seconds[spec.run_id], len(self.started), future))
        return future

    def wait(self, running: Collection[Future[str]], return_when: str) -> SimpleNamespace:
        self.now, _, future = heapq.heappop(self.ends)
        future.set_result("")
        return SimpleNamespace(done={future})

    @contextmanager
    def pool(self, workers: int) -> Iterator[Clock]:
        yield self


def makespan(
    specs: Mapping[str, RunSpec],
    seconds: Mapping[str, float],
    costs: Mapping[str, int],
    gpus: int,
    order: dict[str, int],
) -> float:
    """Return the seconds until all ``specs`` are made on ``gpus``; ``costs`` are what the scheduler takes them for."""
    clock = Clock(seconds)
    with mock.patch.multiple(runner, pool=clock.pool, wait=clock.wait, _prepare=lambda *_: (costs, {})):
        failures = runner._make_all(specs, gpus, Execution(progress=False), (), order)
    assert not failures and clock.started.keys() == specs.keys()
    return clock.now


def lower_bound(specs: Mapping[str, RunSpec], seconds: Mapping[str, float], gpus: int) -> tuple[float, float]:
    """Return two bounds in seconds: all work divided by the GPUs, and the longest chain."""
    chains = (sum(seconds[stage.run_id] for stage in spec.chain) for spec in specs.values())
    return sum(seconds[run_id] for run_id in specs) / gpus, max(chains)


def main() -> None:
    """Simulate and save the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="edition")
    parser.add_argument("--gpus", type=int, nargs="+", default=[2, 4, 8])
    options = parser.parse_args()
    study = open_study(load(options.profile))
    planned = plan(study)
    table = plan_table(planned, "cpu").set_index("run_id")
    specs = {entry.spec.run_id: entry.spec for entry in planned}
    specs = {stage.run_id: stage for spec in specs.values() for stage in spec.chain}
    if missing := table["seconds"].isna().sum():
        raise SystemExit(f"{missing} of {len(table)} runs have no measured rate; finish like ones first")
    measured = table["status"].isin(["done", "recorded", "unscored"])
    seconds, (costs, _) = table["seconds"].to_dict(), runner._prepare(specs, False)
    rows = []
    for gpus in options.gpus:
        shared, chain = lower_bound(specs, seconds, gpus)
        for name, order in (("seed by seed, as made", ranks(planned)), ("longest first alone", {})):
            whole = makespan(specs, seconds, costs, gpus, order)
            row = {"profile": study.profile.name, "order": name, "gpus": gpus, "runs": len(specs)}
            row |= {"measured": int(measured.sum()), "work_h": shared * gpus / 3600, "longest_chain_h": chain / 3600}
            rows.append(row | {"makespan_h": whole / 3600, "to_lower_bound": whole / max(shared, chain)})
    common.save(pd.DataFrame(rows), "makespan")


if __name__ == "__main__":
    main()
