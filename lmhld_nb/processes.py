"""Parallel work in processes that end with their parent, or ahead of time in a thread; locks between processes."""

import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout
from tqdm import tqdm

from lmhld_nb.config import cannot_write, load_extensions

Task = TypeVar("Task")
Item = TypeVar("Item")
_SCRATCH = "lmhld-"


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_alive(process: int) -> bool:
    """Whether a process of this machine is running, whoever owns it."""
    try:
        with suppress(PermissionError):  # another user's
            os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    return True


class Busy(Exception):
    """Another process holds the lock."""


def lock(path: Path, wait: bool = True) -> AbstractContextManager[Any]:
    """Hold a lock file until the context or process ends; `Busy` if taken and not ``wait``; UserError if refused."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(path).acquire(timeout=-1 if wait else 0)
    except Timeout:
        raise Busy(path.name) from None
    except OSError as error:
        raise cannot_write(path.parent, error) from error


@contextmanager
def scratch_folder() -> Iterator[str]:
    """Yield a folder with a short path (sockets allow 107 bytes), and remove those left by killed processes."""
    for left in Path(tempfile.gettempdir()).glob(f"{_SCRATCH}*"):
        process = left.name.removeprefix(_SCRATCH).partition("-")[0]
        if process.isdigit() and not is_alive(int(process)):
            shutil.rmtree(left, ignore_errors=True)  # it may be another user's
    with tempfile.TemporaryDirectory(prefix=f"{_SCRATCH}{os.getpid()}-") as folder:
        yield folder


def side_by_side(work: Callable[[Task], object], tasks: Sequence[Task], workers: int) -> Iterator[tuple[Task, Future]]:
    """Run ``work``, a module-level function, on each task in a `pool`; yield tasks with their futures as they end."""
    with pool(min(workers, len(tasks))) as executor:
        futures = {executor.submit(work, task): task for task in tasks}
        for future in as_completed(futures):
            yield futures[future], future


@contextmanager
def pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Yield an executor with ``workers`` new processes, which get SIGTERM if the block is left by an exception."""
    with _Pool(max(1, workers), multiprocessing.get_context("spawn"), _prepare_worker) as executor:
        try:
            yield executor
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            raise


class _Pool(ProcessPoolExecutor):
    def submit(self, *work: Any, **options: Any) -> Future:
        # The first call starts the processes. They inherit that Ctrl-C is ignored: their parent stops them properly.
        in_main_thread = threading.current_thread() is threading.main_thread()
        before = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main_thread else None
        try:
            return super().submit(*work, **options)
        finally:
            if in_main_thread:
                signal.signal(signal.SIGINT, before)


def _prepare_worker() -> None:
    # tqdm's own lock is a semaphore, which a stopped worker would leak with a warning.
    tqdm.set_lock(threading.RLock())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    load_extensions()


def _end_with_parent() -> None:
    """Stop this worker if its parent is killed: otherwise it would wait for work forever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    while True:
        # Repeatedly: work that stops at its next step may have had no step left when the first signal came.
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.5)


def ahead(items: Generator[Item, None, None], length: int) -> Generator[Item, None, None]:
    """Yield from ``items``, computed up to ``length`` items ahead in a thread that ends with this generator."""
    end = object()
    with ThreadPoolExecutor(1) as thread:
        coming = deque(thread.submit(next, items, end) for _ in range(length))
        try:
            while (item := coming.popleft().result()) is not end:
                coming.append(thread.submit(next, items, end))
                yield item  # type: ignore[misc]
        finally:
            # Not by `submit`: if this is collected as garbage, the thread may have ended before.
            thread.shutdown(cancel_futures=True)
            items.close()
