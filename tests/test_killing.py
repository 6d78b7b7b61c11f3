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
description: all experiments, very small
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
    environment = {**os.environ, "LMHLD_WORKDIR": str(folder)}
    for name in ("LMHLD_RUNS", "LMHLD_DATA"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "lmhld_nb.cli", "run", str(folder / "killed.yaml"), "-q"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, env=environment, start_new_session=True, **pipes)


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
    folders = [tmp_path / "whole", tmp_path / "killed"]
    for folder in folders:
        folder.mkdir()
        (folder / "killed.yaml").write_text(PROFILE)
    began = time.monotonic()
    whole = start(folders[0])
    output, _ = whole.communicate(timeout=200)
    assert whole.returncode == 0, output.decode()
    duration = time.monotonic() - began
    kills = 0
    while kills < KILLS:
        process = start(folders[1])
        # Between the first import and well into the work; what is done stays done, so later kills come later.
        try:
            process.wait(random.uniform(0.05, 0.35) * duration)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=60)  # ends when its workers have ended too
            kills += 1
        else:
            assert process.returncode == 0
            break  # it was done before the tenth
    last = start(folders[1])
    output, _ = last.communicate(timeout=200)
    assert last.returncode == 0, output.decode()
    print(f"killed {kills} times; left alone it takes {duration:.0f} s")
    assert kills >= KILLS // 2  # on a fast disk it may be done before the tenth
    expected, contents = (store(folder) for folder in folders)
    assert contents.keys() == expected.keys()
    assert [name for name in expected if contents[name] != expected[name]] == []
