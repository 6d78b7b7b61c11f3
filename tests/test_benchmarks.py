"""Benchmarks that prepare for machines which are not at hand, rehearsed at tiny sizes."""

import importlib
import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from lmhld_nb import processes
from lmhld_nb.runs import records

Load = Callable[[str], ModuleType]


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Load:
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

    monkeypatch.setattr(gpu, "limited", here)
    monkeypatch.setattr(common, "measured", measured)
    monkeypatch.setattr(sys, "argv", ["gpu", "--tiny", "--out", str(out), "--profile", str(tiny), "--width", "2"])
    gpu.main()
    summary = pd.read_csv(out / "summary.csv", index_col="step")
    assert list(summary.index) == list(gpu.SHARES) and set(summary["state"]) == {"done"}
    assert [Path(path).name for path in gpu.gpu_tests()] == ["test_engine.py", "test_mapping.py"]
    (engine,), (hours,), (mapped,) = (out.glob(f"{name}--*.csv") for name in ("engine", "projection", "mapping"))
    assert len(pd.read_csv(engine)) == 7 and len(pd.read_csv(hours)) == 4 and len(pd.read_csv(mapped)) == 1
    assert len(records.read(out / "records.tar.xz", "tiny-gpu").runs) == 2
    assert summary["says"]["edition"].startswith("2 of 2 runs")
