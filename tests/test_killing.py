"""`lmhld run`, killed ten times at random moments, ends with the store of one that was left alone."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

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


def start(folder: Path) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    (folder / "killed.yaml").write_text(PROFILE)
    environment = {name: value for name, value in os.environ.items() if name not in ("LMHLD_RUNS", "LMHLD_DATA")}
    environment["LMHLD_WORKDIR"] = str(folder)
    command = [sys.executable, "-m", "lmhld_nb.cli", "run", str(folder / "killed.yaml"), "-q"]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)


def killed_after(process: subprocess.Popen[bytes], folder: Path, changes: int) -> bool:
    """Kill a process when the files below ``folder`` have changed so often; return False where it ended before.

    Moments go by what was done and not by a clock, so that they are spread over the work on any machine.
    """
    before: object = None
    while changes > 0 and process.poll() is None:
        names = list(os.walk(folder))
        changes -= names != before
        before = names
        time.sleep(0.005)
    process.kill()
    _, message = process.communicate()  # ends when its workers have ended too
    assert process.returncode <= 0, message.decode()
    return process.returncode < 0


def store(folder: Path) -> dict[str, object]:
    """Return all that the store holds, but for the time it took."""
    contents: dict[str, object] = {}
    for path in sorted((folder / "runs").rglob("*")):
        name = str(path.relative_to(folder / "runs"))
        if path.name == "metrics.json":
            metrics = json.loads(path.read_text())
            contents[name] = metrics | {"seconds": 0, "patches_per_second": 0}
        elif path.name == "history.csv":
            contents[name] = pd.read_csv(path).drop(columns="seconds").to_csv()
        elif path.is_file() and path.suffix != ".lock":
            contents[name] = path.read_bytes()
    return contents


@pytest.mark.slow
def test_ten_kills_leave_the_same_store(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    endless = sys.maxsize
    assert not killed_after(start(whole), whole, endless)
    kills = 0
    # What is done stays done, so later kills come later in the work.
    while kills < KILLS and killed_after(start(killed), killed, random.randint(1, 15)):
        kills += 1
    assert not killed_after(start(killed), killed, endless)
    assert kills >= KILLS // 2  # it may be done before the tenth
    expected, contents = store(whole), store(killed)
    assert contents.keys() == expected.keys()
    assert [name for name in expected if contents[name] != expected[name]] == []
