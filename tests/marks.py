"""What workers of a pool do in tests; apart, so that a worker needs nothing else."""

import os
import signal
from pathlib import Path

FOLDER = "LMHLD_TEST_MARKS"


def kill_worker(times: int = 100) -> None:
    """Kill this process, unless that was done ``times`` times already."""
    for number in range(times):
        try:
            (Path(os.environ[FOLDER]) / str(number)).touch(exist_ok=False)
        except FileExistsError:
            continue
        os.kill(os.getpid(), signal.SIGKILL)


def kill_first_worker() -> None:
    kill_worker(1)


def leave_a_mark(task: str) -> str:
    """Write down that the task was done; those called ``bad…`` fail."""
    if task.startswith("bad"):
        raise ValueError(task)
    (Path(os.environ[FOLDER]) / task).touch()
    return task.upper()
