"""What the benchmarks share: tasks in processes of their own, and where tables go."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch

from lmhld_nb.config import ROOT, workdir
from lmhld_nb.training.hardware import cpu_name

RESULTS = Path(os.environ.get("LMHLD_BENCH_RESULTS", ROOT / "benchmarks" / "results"))
SCRATCH = workdir() / "build" / "bench"


def measured(module: str, task: str, *arguments: str) -> dict[str, float]:
    """Run ``TASKS[task](*arguments)`` of a benchmark in a fresh process: its seconds, memory and what it returns."""
    command = [sys.executable, "-m", f"benchmarks.{module}", "--task", task, *arguments]
    child = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    return json.loads(child.stdout.splitlines()[-1])


def run_task(tasks: dict[str, Callable[..., dict[str, float]]], name: str, arguments: list[str]) -> None:
    """Do one task and print what was measured as JSON (the child's side of `measured`)."""
    began, computed = time.perf_counter(), sum(os.times()[:4])
    found = tasks[name](*arguments)
    seconds, cpu_seconds = time.perf_counter() - began, sum(os.times()[:4]) - computed
    print(json.dumps({**found, "seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mb": _peak_mb()}))


def options_or_task(
    parser: argparse.ArgumentParser, tasks: dict[str, Callable[..., dict[str, float]]]
) -> argparse.Namespace:
    """Return a benchmark's options; in a child of `measured`, do its task and leave instead."""
    parser.add_argument("--task", help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        run_task(tasks, options.task, options.arguments)
        sys.exit()
    return options


def _peak_mb() -> float:
    """Return this process's peak memory, or that of its largest child if larger.

    (For itself getrusage would also count what its parent had when it was forked.)
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    largest = int(re.search(r"VmHWM:\s+(\d+)", status)[1])  # type: ignore[index]
    return max(largest, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024


def device_name(place: torch.device | None) -> str:
    """Return the name of the GPU ``place``, else of the processor."""
    return torch.cuda.get_device_name(place) if place is not None and place.type == "cuda" else cpu_name()


def path_of(name: str, place: torch.device | None = None) -> Path:
    """Return the file of a table on this hardware."""
    hardware = re.sub(r"[^A-Za-z0-9]+", "-", device_name(place)).strip("-").lower()
    return RESULTS / f"{name}--{hardware}.csv"


def save(table: pd.DataFrame, name: str, place: torch.device | None = None, show: bool = True) -> Path:
    """Write a table with the hardware (the processor, or the GPU ``place``) in its name, and print it."""
    path = path_of(name, place)
    RESULTS.mkdir(parents=True, exist_ok=True)
    table.assign(hardware=device_name(place), torch=torch.__version__, python=platform.python_version()).to_csv(
        path, index=False, float_format="%.4g"
    )
    if show:
        print(table.to_string(index=False, float_format=lambda value: f"{value:.3g}"))
        print(f"→ {path}")
    return path
