"""Work side by side: every task is yielded with its result, and what fails does not cost the others."""

from __future__ import annotations

from pathlib import Path

import marks
import pytest

from lmhld_nb.processes import side_by_side


@pytest.mark.parametrize("workers", [1, 3])
def test_every_task_is_done_and_yielded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    monkeypatch.setenv(marks.FOLDER, str(tmp_path))
    tasks = ["a", "bad", "b", "c"]
    ended = dict(side_by_side(marks.leave_a_mark, tasks, workers))
    assert str(ended.pop("bad").exception()) == "bad"
    assert {task: future.result() for task, future in ended.items()} == {"a": "A", "b": "B", "c": "C"}
    assert workers > 1 or list(ended) == ["a", "b", "c"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]
    assert list(side_by_side(marks.leave_a_mark, [], workers)) == []
