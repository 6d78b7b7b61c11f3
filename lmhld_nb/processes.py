"""Processes: work done side by side, that ends with the process that asked for it."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import closing, contextmanager
from heapq import heappop, heappush
from typing import TypeVar

from tqdm import tqdm

Task = TypeVar("Task")
Item = TypeVar("Item")


def cores() -> int:
    """Return the processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def side_by_side(
    work: Callable[[Task], object],
    tasks: Sequence[Task],
    workers: int,
    after: Sequence[int | None] | None = None,
) -> Iterator[tuple[Task, Future]]:
    """Do ``work`` on each task in fresh processes; yield each task with its finished future, as they end.

    When the loop is left by an exception (Ctrl-C, SIGTERM), the processes get SIGTERM; when this process is killed,
    they send it to themselves.

    Args:
        work: a function of a module, or a partial of one.
        tasks: in the order in which they are begun.
        workers: processes at most.
        after: for each task the number of the one that it waits for, or None. If that one raises, the tasks that wait
            for it are not begun: they are yielded with its future.
    """
    waiting: dict[int | None, list[int]] = {}
    for number, before in enumerate(after or [None] * len(tasks)):
        waiting.setdefault(before, []).append(number)
    ready, running = waiting.pop(None, []), dict[Future, int]()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        max(1, min(workers, len(tasks))), mp_context=context, initializer=_worker_starts
    ) as pool:
        try:
            while ready or running:
                # No more than are worked on: a task that becomes ready later may be more urgent.
                with _interrupts_ignored():
                    while ready and len(running) < workers:
                        number = heappop(ready)
                        running[pool.submit(work, tasks[number])] = number
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    ended = [running.pop(future)]
                    if future.exception() is None:
                        for number in waiting.pop(ended[0], []):
                            heappush(ready, number)
                    else:
                        for number in ended:
                            ended.extend(waiting.pop(number, []))
                    for number in ended:
                        yield tasks[number], future
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
