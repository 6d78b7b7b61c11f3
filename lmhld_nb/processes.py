"""Processes: work done side by side, that ends with the process that asked for it."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import closing, contextmanager
from typing import TypeVar

from tqdm import tqdm

Task = TypeVar("Task")
Item = TypeVar("Item")


def cores() -> int:
    """Return the processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def side_by_side(
    work: Callable[[Task], object], tasks: Sequence[Task], workers: int
) -> Iterator[tuple[Task, Future]]:
    """Do ``work`` on each task in fresh processes; yield each task with its finished future, as they end.

    When the loop is left by an exception (Ctrl-C, SIGTERM), the processes get SIGTERM; when this process is killed,
    they send it to themselves.

    Args:
        work: a function of a module, or a partial of one.
        tasks: in the order in which they are begun.
        workers: processes at most.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        max(1, min(workers, len(tasks))), mp_context=context, initializer=_worker_starts
    ) as pool:
        with _interrupts_ignored():
            futures = {pool.submit(work, task): task for task in tasks}
        try:
            for future in as_completed(futures):
                yield futures[future], future
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            raise


def ahead(items: Generator[Item, None, None], length: int) -> Generator[Item, None, None]:
    """Hand on what ``items`` yields, made ahead in a thread of its own, at most ``length`` items.

    An error in the thread is raised here. When this generator ends or is closed, the thread has ended too.
    """
    line: queue.Queue[tuple[str, object]] = queue.Queue(length)
    stopped = threading.Event()

    def put(kind: str, item: object = None) -> bool:
        while not stopped.is_set():
            try:
                line.put((kind, item), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            with closing(items):
                for item in items:
                    if not put("item", item):
                        return
            put("end")
        except BaseException as error:
            put("error", error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            kind, item = line.get()
            if kind == "end":
                return
            if kind == "error":
                assert isinstance(item, BaseException)
                raise item
            yield item  # type: ignore[misc]
    finally:
        stopped.set()
        thread.join()


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ignore Ctrl-C while workers start: they inherit it and leave it to the parent, which stops them in order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _worker_starts() -> None:
    # tqdm's own lock is a semaphore, which a worker that is stopped would leave behind with a warning.
    tqdm.set_lock(threading.RLock())
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """Stop this worker when its parent was killed: the pool would leave it waiting for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    while True:
        # Again and again: work that stops at its next step may have had no step left when the first one came.
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.5)
