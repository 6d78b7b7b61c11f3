"""Work side by side: every task is yielded with its result, and what fails does not cost the others."""

from __future__ import annotations

import pytest

from lmhld_nb.processes import side_by_side


@pytest.mark.parametrize("workers", [1, 3])
def test_every_task_is_done_and_yielded(workers: int) -> None:
    futures = dict(side_by_side(int, ["1", "bad", "2"], workers))
    assert "'bad'" in str(futures.pop("bad").exception())
    assert {task: future.result() for task, future in futures.items()} == {"1": 1, "2": 2}
    assert list(side_by_side(int, [], workers)) == []
