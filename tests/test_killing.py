"""`lmhld run`, killed ten times at random moments, ends with the store of one that was left alone."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import safetensors.torch

KILLS = 10
# Enough for more than ten moments: four kinds of runs, a twin to make, patches to cut, scenes to score.
PROFILE = """
name: killed
description: several experiments, very small
data: twin-smoke
areas: [emilia_romagna, gorkha, rio]
models: [unet, res_unet]
width: {unet: 2, res_unet: 2}
recipe: {batch_size: 2, epochs: 6, lr: 0.05, gamma: 0.9, momentum: 0.9, precision: fp32}
experiments:
  patch_size: {areas: [gorkha], candidates: {gorkha: [32, 64]}}
  single: {}
  mix: {size: 32}
  recipe: {area: gorkha, batch_sizes: [2, 4], epochs: [2, 4]}
execution: {checkpoint_every: 1}
"""
TIMES = ("seconds", "patches_per_second")


def start(folder: Path) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    (folder / "killed.yaml").write_text(PROFILE)
    environment = {name: value for name, value in os.environ.items() if name not in ("LMHLD_RUNS", "LMHLD_DATA")}
    environment["LMHLD_WORKDIR"] = str(folder)
    command = [sys.executable, "-m", "lmhld_nb.cli", "run", str(folder / "killed.yaml"), "-q"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, env=environment, start_new_session=True, **pipes)


def finish(folder: Path) -> None:
    process = start(folder)
    output, _ = process.communicate()
    assert process.returncode == 0, output.decode()


def kill_after(process: subprocess.Popen[bytes], folder: Path, changes: int) -> bool:
    """Kill a process when the files of ``folder`` have changed so often; return False where it ended before.

    Moments go by what was done and not by a clock, so that they are spread over the work on any machine.
    """
    before: set[tuple[str, int]] = set()
    while process.poll() is None:
        entries = set()
        for path in folder.rglob("*"):
            try:
                entries.add((path.name, path.stat().st_mtime_ns))
            except FileNotFoundError:  # a temporary file has got its name
                continue
        changes -= entries != before
        before = entries
        if changes < 0:
            process.send_signal(signal.SIGKILL)
            process.communicate()  # ends when its workers have ended too
            return True
        time.sleep(0.005)
    assert process.returncode == 0
    return False


def store(folder: Path) -> dict[str, Any]:
    """Return all that the store holds, but for the time it took."""
    contents: dict[str, Any] = {}
    for path in sorted((folder / "runs").rglob("*")):
        name = str(path.relative_to(folder / "runs"))
        if path.name.endswith(".lock") or path.is_dir():
            continue
        if path.name == "metrics.json":
            metrics = json.loads(path.read_text())
            contents[name] = {key: value for key, value in metrics.items() if key not in TIMES}
        elif path.name == "history.csv":
            contents[name] = pd.read_csv(path).drop(columns="seconds").to_csv()
        elif path.suffix == ".safetensors":
            tensors = safetensors.torch.load_file(path)
            contents[name] = {key: value.numpy().tobytes() for key, value in tensors.items()}
        else:
            contents[name] = path.read_text()
    return contents


@pytest.mark.slow
def test_ten_kills_leave_the_same_store(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(whole)
    kills = 0
    # What is done stays done, so later kills come later in the work.
    while kills < KILLS and kill_after(start(killed), killed, random.randint(0, 20)):
        kills += 1
    finish(killed)
    print(f"killed {kills} times")
    assert kills >= KILLS // 2  # it may be done before the tenth
    expected, contents = store(whole), store(killed)
    assert contents.keys() == expected.keys()
    assert [name for name in expected if contents[name] != expected[name]] == []
