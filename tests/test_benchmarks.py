"""Benchmarks that prepare for machines which are not at hand, rehearsed at tiny sizes."""

import importlib
import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from lmhld_nb import models, processes
from lmhld_nb.patches import PatchSpec
from lmhld_nb.runs import records
from lmhld_nb.training.specs import LAYER_GROUPS, Recipe, RunSpec, Stage


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], ModuleType]:
    """Import a benchmark; this process stays portable and nothing is written among the results."""
    monkeypatch.setenv("LMHLD_PORTABLE", "1")
    common = importlib.import_module("benchmarks.common")
    monkeypatch.setattr(common, "RESULTS", tmp_path / "out")
    monkeypatch.setattr(common, "SCRATCH", tmp_path / "scratch")
    monkeypatch.setattr(processes, "cores", lambda: 1)  # threads of small networks wait for each other
    return lambda name: importlib.import_module(f"benchmarks.{name}")


def test_what_a_gpu_has_to_settle_is_rehearsed(benchmark, tiny, tmp_path, monkeypatch, call, capfd):
    gpu, common, out = benchmark("gpu"), benchmark("common"), tmp_path / "out"

    def here(command: list[str], limit: float, log: Path) -> str:  # in this process: no torch to load again
        log.touch()
        if command[2] == "lmhld_nb.cli":
            return "done" if call(*command[3:])[0] == 0 else "failed"
        if command[2] != "pytest":
            monkeypatch.setattr(sys, "argv", command[2:])
            runpy.run_module(command[2], run_name="__main__")
        return "done"

    def measured(name: str, task: str, *arguments: str) -> dict[str, float]:
        benchmark("common").run_task(benchmark(name).TASKS, task, list(arguments))
        return json.loads(capfd.readouterr().out.splitlines()[-1])

    monkeypatch.setattr(models, "NAMES", ("unet", "unet_3p"))
    monkeypatch.setattr(gpu, "limited", here)
    monkeypatch.setattr(common, "measured", measured)
    monkeypatch.setattr(sys, "argv", ["gpu", "--tiny", "--out", str(out), "--profile", str(tiny), "--width", "2"])
    gpu.main()
    summary = pd.read_csv(out / "summary.csv", index_col="step")
    assert list(summary.index) == list(gpu.SHARES) and set(summary["state"]) == {"done"}
    assert [Path(path).name for path in gpu.gpu_tests()] == ["test_engine.py", "test_mapping.py"]
    for name, rows in (("engine", 2), ("projection", 4), ("mapping", 1), ("engine-choices", 1)):
        (table,) = out.glob(f"{name}--*.csv")
        assert len(pd.read_csv(table)) == rows
    assert len(records.read(out / "records.tar.xz", "tiny-gpu").runs) == 2
    assert summary["says"]["edition"].startswith("2 of 2 runs")


def test_no_gpu_is_idle_while_work_is_left(benchmark):
    makespan, random = benchmark("makespan"), np.random.default_rng(0)
    data = PatchSpec(dataset="made", fingerprint="0" * 16, area="made", size=32)
    specs = [RunSpec(model="unet", data=(data,), recipe=Recipe(), seed=seed) for seed in range(60)]
    for _ in range(6):  # a chain, each stage of which waits for the one before
        stage = Stage(parent=specs[-1], treatment=("finetune",) * len(LAYER_GROUPS))
        specs.append(RunSpec(model="unet", data=(data,), recipe=Recipe(), stage=stage))
    by_id = {spec.run_id: spec for spec in specs}
    costs = {run_id: int(random.integers(50, 200)) for run_id in by_id}
    seconds = {run_id: cost * random.uniform(0.7, 1.3) for run_id, cost in costs.items()}  # not as it was thought
    order = {spec.run_id: int(spec.seed > 30) for spec in specs}
    whole, bounds = makespan.makespan(by_id, seconds, costs, 4, order), makespan.lower_bound(by_id, seconds, 4)
    assert max(bounds) <= whole <= 1.1 * max(bounds)
    chain = {spec.run_id: spec for spec in specs[59:]}  # nothing that others could do meanwhile
    assert makespan.makespan(chain, seconds, costs, 4, {}) == pytest.approx(makespan.lower_bound(chain, seconds, 4)[1])


def test_a_step_that_takes_too_long_is_cut_off_with_its_children(benchmark, tmp_path):
    limited, log = benchmark("gpu").limited, tmp_path / "log"
    assert limited(["sh", "-c", "echo begun; sleep 600; echo ended"], 1, log) == "cut off"
    assert log.read_text() == "begun\n"
    assert (limited(["true"], 60, log), limited(["false"], 60, log)) == ("done", "failed")
