"""What workers of a pool do in tests; apart, so that a worker needs nothing else."""

import os
import signal
from pathlib import Path

FOLDER = "LMHLD_TEST_MARKS"


def kill_worker() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_first_worker() -> None:
    try:
        (Path(os.environ[FOLDER]) / "first").touch(exist_ok=False)
    except FileExistsError:
        return
    kill_worker()
