"""GPUs: which one a run computes on, so that no more runs share one than it has room for."""

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle

import torch

from lmhld_nb.runs.store import Busy, lock
from lmhld_nb.training.hardware import Execution, choose_device

WAIT = 0.2  # seconds after each slot that is taken


def visible() -> list[str]:
    """Return the names of the GPUs this process may use: those in CUDA_VISIBLE_DEVICES, or all by number."""
    count = torch.cuda.device_count()
    names = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(count)))).split(",")
    return [name.strip() for name in names if name.strip()][:count]  # it may name more than there are


def room(execution: Execution) -> int:
    """Return how many runs can compute at once on the GPUs that ``execution`` may use, at least 1."""
    any_gpu = choose_device(execution.device) == "cuda"
    return max(1, len(visible()) if any_gpu else 1) * execution.runs_per_gpu


@contextmanager
def slot(execution: Execution) -> Iterator[Execution]:
    """Take a slot on a GPU for the block, wait for one where all are taken, and yield the execution on it.

    A slot is a lock in the store. None is taken on the CPU, on a device that ``execution`` names, and where
    CUDA_VISIBLE_DEVICES names one GPU, as a batch system does for its jobs (which may all call it 0).
    """
    names = visible()
    one_named = len(names) <= 1 and "CUDA_VISIBLE_DEVICES" in os.environ
    if choose_device(execution.device) != "cuda" or one_named:
        yield execution
        return
    # An empty GPU before a second run on a busy one.
    for share, index in cycle((share, index) for share in range(execution.runs_per_gpu) for index in range(len(names))):
        try:
            taken = lock(f"gpu-{platform.node()}-{names[index].replace('/', '-')}-{share}", wait=False)
        except Busy:
            time.sleep(WAIT)
            continue
        with taken:
            # By number and not by setting CUDA_VISIBLE_DEVICES: torch may have read that already.
            yield execution.model_copy(update={"device": f"cuda:{index}"})
        return
