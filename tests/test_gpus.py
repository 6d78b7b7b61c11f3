"""GPU slots: one run per GPU and slot, whichever process asks; nothing is locked where there is nothing to choose."""

import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from lmhld_nb.runs import gpus
from lmhld_nb.training.hardware import Execution

ALL = ["cuda:0", "cuda:1", "cuda:2"]


@pytest.fixture(autouse=True)
def three_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gpus, "choose_device", lambda device: "cuda" if device == "auto" else device)
    monkeypatch.setattr(gpus.torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(gpus, "WAIT", 0.001)
    monkeypatch.setenv("LMHLD_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def taken(count: int, execution: Execution | None = None) -> list[str]:
    with ExitStack() as stack:
        return [stack.enter_context(gpus.slot(execution or Execution())).device for _ in range(count)]


def test_each_run_gets_a_gpu_of_its_own_and_a_named_device_is_not_locked(tmp_path):
    assert taken(3) == ALL and gpus.room(Execution()) == 3
    with pytest.raises(ValueError), gpus.slot(Execution()):
        raise ValueError
    assert taken(3) == ALL
    # The locks lie where only who may make runs can take them.
    assert [path.name[:5] for path in (tmp_path / "runs").iterdir()] == [".gpu-"] * 3
    shared = Execution(runs_per_gpu=2)
    assert taken(6, shared) == ALL * 2 and gpus.room(shared) == 6  # empty ones come before shared ones
    for device in ("cpu", "cuda:1"):
        assert taken(2, Execution(device=device)) == [device] * 2


def test_a_run_waits_until_a_gpu_is_free() -> None:
    devices: list[str] = []
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(gpus.slot(Execution()))
        with gpus.slot(Execution()):
            thread = threading.Thread(target=lambda: devices.extend(taken(1)))
            thread.start()
            thread.join(0.1)
            assert thread.is_alive() and devices == []
        thread.join()
    assert devices == ["cuda:2"]


@pytest.mark.parametrize(
    ("visible", "devices", "room"),
    [("5, 7", ALL[:2], 2), ("MIG-GPU-5/1/0,7", ALL[:2], 2), ("0", ["auto"] * 2, 1), ("0,1,2,3,4", ALL, 3)],
)
def test_visible_devices_count(monkeypatch: pytest.MonkeyPatch, visible: str, devices: list[str], room: int) -> None:
    # Torch counts only what is visible. One alone was chosen by a batch system, whose jobs may all know it as 0.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert taken(len(devices)) == devices and gpus.room(Execution()) == room
