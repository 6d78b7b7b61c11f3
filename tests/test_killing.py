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
import torch

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
experiment_1: {areas: [gorkha], candidates: {gorkha: [32, 64]}}
experiment_3: {size: 32}
recipe_study: {area: gorkha, batch_sizes: [2, 4], epochs: [2, 4]}
execution: {checkpoint_every: 1}
"""
TIMES = ("seconds", "patches_per_second")


def start(folder: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "LMHLD_WORKDIR": str(folder)}
    for name in ("LMHLD_RUNS", "LMHLD_DATA"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "lmhld_nb.cli", "run", str(folder / "killed.yaml"), "-q"]
    return subprocess.Popen(
        command, env=environment, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def store(folder: Path) -> dict[str, Any]:
    """Return all that the store holds, but for the time it took."""
    found: dict[str, Any] = {}
    for path in sorted((folder / "runs").rglob("*")):
        name = str(path.relative_to(folder / "runs"))
        if path.name.endswith(".lock") or path.is_dir():
            continue
        if path.name == "metrics.json":
            metrics = json.loads(path.read_text())
            found[name] = {key: value for key, value in metrics.items() if key not in TIMES}
        elif path.name == "history.csv":
            found[name] = pd.read_csv(path).drop(columns="seconds").to_csv()
        elif path.suffix == ".safetensors":
            found[name] = safetensors.torch.load_file(path)
        else:
            found[name] = path.read_text()
    return found


@pytest.mark.slow
def test_ten_kills_leave_the_same_store(tmp_path: Path) -> None:
    folders = [tmp_path / "whole", tmp_path / "killed"]
    for folder in folders:
        folder.mkdir()
        (folder / "killed.yaml").write_text(PROFILE)
    began = time.monotonic()
    whole = start(folders[0])
    assert whole.wait(200) == 0, whole.stdout.read() if whole.stdout else ""
    lasts = time.monotonic() - began
    kills = 0
    while kills < KILLS:
        process = start(folders[1])
        # Between the first import and well into the work; what is done stays done, so later kills come later.
        try:
            process.wait(random.uniform(0.05, 0.35) * lasts)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=60)
            kills += 1
        else:
            assert process.returncode == 0
            break  # it was done before the tenth
    last = start(folders[1])
    said, _ = last.communicate(timeout=200)
    assert last.returncode == 0, said.decode()
    print(f"killed {kills} times; left alone it takes {lasts:.0f} s")
    assert kills >= KILLS // 2  # on a fast disk it may be done before the tenth
    expected, found = (store(folder) for folder in folders)
    assert found.keys() == expected.keys()
    for name, content in expected.items():
        if name.endswith(".safetensors"):
            assert content.keys() == found[name].keys()
            assert all(torch.equal(value, found[name][key]) for key, value in content.items()), name
        else:
            assert found[name] == content, name
