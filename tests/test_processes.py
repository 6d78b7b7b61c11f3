"""Work side by side: what waits for another task begins after it, and not at all where that one fails."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import pytest

from lmhld_nb.processes import side_by_side


def leave_a_mark(task: str, folder: Path) -> None:
    """Write down when the task began and ended; tasks called ``bad…`` fail."""
    began = time.monotonic()
    if task.startswith("bad"):
        raise ValueError(task)
    (folder / task).write_text(f"{began} {time.monotonic()}")


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_a_task_begins_after_the_one_it_waits_for(tmp_path: Path, workers: int) -> None:
    tasks = ("child", "grandchild", "alone", "parent")
    ended = side_by_side(partial(leave_a_mark, folder=tmp_path), tasks, workers, (3, 0, None, None))
    assert sorted(task for task, future in ended if future.exception() is None) == sorted(tasks)
    times = {task: [float(at) for at in (tmp_path / task).read_text().split()] for task in tasks}
    assert times["parent"][1] <= times["child"][0]
    assert times["child"][1] <= times["grandchild"][0]


def test_what_waits_for_a_failed_task_is_not_begun(tmp_path: Path) -> None:
    tasks = ("bad", "child", "grandchild", "alone")
    ended = dict(side_by_side(partial(leave_a_mark, folder=tmp_path), tasks, 2, (None, 0, 1, None)))
    assert set(ended) == set(tasks)
    assert [path.name for path in tmp_path.iterdir()] == ["alone"]
    assert str(ended["grandchild"].exception()) == "bad"


def test_free_workers_take_tasks_in_their_order(tmp_path: Path) -> None:
    tasks = tuple("abcdef")
    ended = [task for task, _ in side_by_side(partial(leave_a_mark, folder=tmp_path), tasks, 1)]
    assert ended == list(tasks)
