"""GPU slots: one run a GPU and slot, whoever asks; nothing is locked where nothing is to choose."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from lmhld_nb.runs import gpus
from lmhld_nb.training.hardware import Execution


@pytest.fixture
def three_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gpus, "choose_device", lambda device: "cuda" if device == "auto" else device)
    monkeypatch.setattr(gpus.torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(gpus.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(gpus, "WAIT", 0.01)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def take(stack: ExitStack, execution: Execution) -> str:
    return stack.enter_context(gpus.slot(execution)).device


def test_each_run_gets_a_gpu_of_its_own_and_gives_it_back(three_gpus: None) -> None:
    with ExitStack() as stack:
        assert [take(stack, Execution()) for _ in range(3)] == ["cuda:0", "cuda:1", "cuda:2"]
    with gpus.slot(Execution()) as chosen:
        assert chosen.device == "cuda:0"
    assert gpus.room(Execution()) == 3


def test_empty_gpus_come_before_shared_ones(three_gpus: None) -> None:
    execution = Execution(runs_per_gpu=2)
    with ExitStack() as stack:
        taken = [take(stack, execution) for _ in range(6)]
    assert taken == ["cuda:0", "cuda:1", "cuda:2"] * 2 and gpus.room(execution) == 6


def test_a_run_waits_until_a_gpu_is_free(three_gpus: None) -> None:
    got: list[str] = []

    def late() -> None:
        with gpus.slot(Execution()) as chosen:
            got.append(chosen.device)

    stack = ExitStack()
    for _ in range(2):
        take(stack, Execution())
    with gpus.slot(Execution()):
        thread = threading.Thread(target=late)
        thread.start()
        thread.join(0.3)
        assert thread.is_alive() and got == []
    thread.join(5)
    stack.close()
    assert got == ["cuda:2"]


def test_a_failed_run_gives_its_gpu_back(three_gpus: None) -> None:
    for _ in range(4):
        with pytest.raises(ValueError), gpus.slot(Execution()):
            raise ValueError


def test_visible_devices_are_respected(three_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, 7")
    with ExitStack() as stack:  # torch counts only what is visible
        assert [take(stack, Execution()) for _ in range(2)] == ["cuda:0", "cuda:1"]
    assert gpus.room(Execution()) == 2
    # A batch system has chosen one; every one of its jobs may know it as number 0.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with ExitStack() as stack:
        assert [take(stack, Execution()) for _ in range(2)] == ["auto", "auto"]


def test_only_devices_that_are_there_are_given(three_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3,4")  # of which three exist
    with ExitStack() as stack:
        assert [take(stack, Execution()) for _ in range(3)] == ["cuda:0", "cuda:1", "cuda:2"]
    assert gpus.room(Execution()) == 3


@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
def test_a_named_device_is_not_locked(three_gpus: None, device: str) -> None:
    with ExitStack() as stack:
        assert [take(stack, Execution(device=device)) for _ in range(2)] == [device] * 2
