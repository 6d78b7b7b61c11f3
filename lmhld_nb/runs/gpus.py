"""GPUs: which one a run computes on, so that no more runs share one than it has room for."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from lmhld_nb.training.hardware import Execution, choose_device

WAIT = 1.0  # seconds between looks for a free slot


def visible() -> list[str]:
    """Return the names of the GPUs this process may use: those in CUDA_VISIBLE_DEVICES, or all by number."""
    told, count = os.environ.get("CUDA_VISIBLE_DEVICES"), torch.cuda.device_count()
    if told is None:
        return [str(number) for number in range(count)]
    # It may name more than there are: torch counts what it can use.
    return [name.strip() for name in told.split(",") if name.strip()][:count]


def room(execution: Execution) -> int:
    """Return how many runs can compute at once on the GPUs that ``execution`` may use, at least 1."""
    anywhere = choose_device(execution.device) == "cuda"
    return max(1, len(visible()) if anywhere else 1) * execution.runs_per_gpu


@contextmanager
def slot(execution: Execution) -> Iterator[Execution]:
    """Take a slot on a GPU for the block, wait for one where all are taken, and yield the execution on it.

    A slot is a lock file, so runs of other processes of the same user count too, and a killed one gives its slot back.
    Where nothing is to choose, nothing is locked: on the CPU, on a device that ``execution`` names, and where
    CUDA_VISIBLE_DEVICES names one GPU only, as a batch system does for each of its jobs (which may all call it 0).
    """
    names = visible()
    if choose_device(execution.device) != "cuda" or (
        len(names) <= 1 and "CUDA_VISIBLE_DEVICES" in os.environ
    ):
        yield execution
        return
    with _free_lock(names, execution.runs_per_gpu) as place:
        # By number and not by setting CUDA_VISIBLE_DEVICES: torch may have read that already.
        yield execution.model_copy(update={"device": f"cuda:{place}"})


@contextmanager
def _free_lock(names: list[str], shares: int) -> Iterator[int]:
    folder = Path(tempfile.gettempdir()) / f"lmhld-gpus-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    while True:
        # An empty GPU before a second run on a busy one.
        for share in range(shares):
            for place, name in enumerate(names):
                try:
                    held = FileLock(folder / f"{name}.{share}.lock").acquire(timeout=0)
                except Timeout:
                    continue
                with held:
                    yield place
                return
        time.sleep(WAIT)
