"""Prediction: reading, computing and blending side by side give what one after the other would, or one error."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made import blobs, image_of, write_tif

from lmhld_nb import models, processes, scenes
from lmhld_nb.config import UserError
from lmhld_nb.mapping import prediction
from lmhld_nb.mapping.prediction import Network
from lmhld_nb.scenes.rasters import Window
from lmhld_nb.scenes.scene import BANDS, Scene

FLAT = np.full(4, 800, np.float32), np.full(4, 100, np.float32)


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(1)
    return Network(models.build("unet", 4, 2).eval(), torch.device("cpu"))


def scene_of(folder: Path, rows: int = 90, cols: int = 110, **options: Any) -> Scene:
    return Scene("a", "made", write_tif(folder / "a.tif", image_of(blobs(rows, cols, 4)), **options), BANDS)


def predict(scene: Scene, network: Network, **options: Any) -> np.ndarray:
    with (
        scenes.open_image(scene) as image,
        closing(prediction.predicted_rows(image, BANDS, FLAT, network, 32, **options)) as rows,
    ):
        parts = list(rows)
    tops = [window.row for window, _ in parts]
    assert tops == list(np.cumsum([0, *(window.height for window, _ in parts[:-1])]))
    return np.concatenate([values for _, values in parts])


def alive() -> int:
    return sum(thread.is_alive() for thread in threading.enumerate())


@pytest.mark.parametrize("threads", [1, 3])
def test_neither_threads_nor_batches_nor_timing_change_the_result(
    tmp_path: Path, network: Network, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    scene = scene_of(tmp_path, nodata=0)
    expected = predict(scene, network, batch_size=1)
    original = prediction._forward

    def late(*arguments: Any) -> torch.Tensor:
        time.sleep(random.uniform(0, 0.01))
        return original(*arguments)

    monkeypatch.setattr(prediction, "_forward", late)
    before, running = torch.get_num_threads(), alive()
    torch.set_num_threads(threads)
    try:
        for size in (1, 4, 5, 1000, None):
            predicted = predict(scene, network, batch_size=size)
            assert predicted == pytest.approx(expected, abs=1e-5)
        assert torch.get_num_threads() == threads and alive() == running
    finally:
        torch.set_num_threads(before)
    # The same batches in another order of arrival give the same bits.
    assert np.array_equal(predict(scene, network, batch_size=4), predict(scene, network, batch_size=4))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_gpu_predicts_what_the_cpu_does(tmp_path: Path, network: Network) -> None:
    scene, device = scene_of(tmp_path), torch.device("cuda")
    other = models.build("unet", 4, 2).eval()
    other.load_state_dict(network.model.state_dict())
    expected = predict(scene, network)
    for size in (3, None):
        predicted = predict(scene, Network(other.to(device), device), batch_size=size)
        assert predicted == pytest.approx(expected, abs=2e-3)


def test_every_row_is_read_once(tmp_path: Path, network: Network) -> None:
    read: list[Window] = []
    scene = scene_of(tmp_path, 1100, 40)
    predict(scene, network, observe=lambda window, values: read.append(window))
    assert [(window.row, window.height, window.width) for window in read] == [
        (0, 512, 40), (512, 512, 40), (1024, 76, 40),
    ]  # fmt: skip


def test_windows_without_data_are_not_predicted(
    tmp_path: Path, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = image_of(blobs(200, 200, 4))
    image[:, :, 100:] = 0
    image[:, 150:] = 0
    scene = Scene("a", "made", write_tif(tmp_path / "a.tif", image, nodata=0), BANDS)
    counted: list[int] = []
    original = prediction._forward

    def count(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        counted.append(len(images))
        return original(model, images)

    monkeypatch.setattr(prediction, "_forward", count)
    predicted = predict(scene, network, overlap=0.0)
    assert sum(counted) == 4 * 5  # of 7 × 7 windows
    known = np.zeros((200, 200), bool)
    known[:150, :100] = True
    assert (predicted[~known] == -1).all() and (predicted[known] >= 0).all()


@pytest.mark.parametrize("where", ["read", "predict", "observe"])
def test_a_fault_in_any_thread_is_raised_and_all_threads_end(
    tmp_path: Path, network: Network, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    scene, running, done = scene_of(tmp_path, 700, 64), alive(), 0

    def fail(*_: Any) -> Any:
        nonlocal done
        done += 1
        if done > 1:
            raise ZeroDivisionError
        return torch.zeros(1, 32, 32) if where == "predict" else np.ones((4, 512, 64), np.uint16)

    if where != "observe":
        monkeypatch.setattr(prediction, {"read": "read_checked", "predict": "_forward"}[where], fail)
    with pytest.raises(ZeroDivisionError):
        predict(scene, network, batch_size=1, observe=fail if where == "observe" else None)
    assert alive() == running


def test_a_prediction_left_early_stops_its_threads(tmp_path: Path, network: Network) -> None:
    running = alive()
    with scenes.open_image(scene_of(tmp_path, 600, 300)) as image:
        with closing(prediction.predicted_rows(image, BANDS, FLAT, network, 32, batch_size=2)) as rows:
            next(rows)
            assert alive() > running
        assert alive() == running


def test_what_does_not_fit_the_memory_is_computed_in_halves(
    tmp_path: Path, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = predict(scene_of(tmp_path), network)

    class Small(torch.nn.Module):
        limit = 3

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if len(images) > self.limit:
                raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes")
            return network.model(images)

    small = Small()
    predicted = predict(scene_of(tmp_path), Network(small, network.device), batch_size=16)
    assert predicted == pytest.approx(expected, abs=1e-5)
    small.limit = 0
    with pytest.raises(UserError, match="out of memory with one window of 32 px"):
        predict(scene_of(tmp_path), Network(small, network.device), batch_size=16)


def test_a_network_that_gives_nan_is_refused(tmp_path: Path) -> None:
    broken = models.build("unet", 4, 2).eval()
    for value in broken.parameters():
        value.data.fill_(float("nan"))
    with pytest.raises(UserError, match=r"a\.tif: the network gives NaN near row 0"):
        predict(scene_of(tmp_path), Network(broken, torch.device("cpu")))


# Statistics -------------------------------------------------------------------------------------------------------


def statistics_of(image: np.ndarray, folder: Path, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    scene = Scene("a", "made", write_tif(folder / "a.tif", image, **options), BANDS[: len(image)])
    with scenes.open_image(scene) as opened:
        return prediction.scene_statistics(opened, scene.bands)


def test_a_small_scene_s_statistics_are_exact(tmp_path: Path) -> None:
    image = image_of(blobs(700, 300, 9))
    image[:, :90] = 0
    mean, std = statistics_of(image, tmp_path, nodata=0)
    assert mean == pytest.approx(image[:, 90:].mean(axis=(1, 2)))
    assert std == pytest.approx(image[:, 90:].std(axis=(1, 2)), rel=1e-5)


@pytest.mark.parametrize("shape", [(2100, 600), (300, 5000)])
def test_a_large_scene_s_statistics_come_from_all_over_it(tmp_path: Path, shape: tuple[int, int]) -> None:
    image = image_of(np.zeros(shape, bool), bands=1) + np.arange(shape[1], dtype=np.uint16)
    mean, std = statistics_of(image, tmp_path)
    assert mean[0] == pytest.approx(image.mean(), rel=0.02)
    assert std[0] == pytest.approx(image.std(), rel=0.02)


def test_data_between_the_sampled_squares_count(tmp_path: Path) -> None:
    image = np.zeros((1, 64, 60_000), np.uint8)
    image[:, :, 700:710] = 7
    _, cols = prediction._spread(64, 60_000, 64)
    assert not any(col <= 700 < col + 512 for col in cols)
    mean, std = statistics_of(image, tmp_path, nodata=0)
    assert (mean[0], std[0]) == (7, 1)


@given(st.integers(1, 200_000), st.integers(1, 200_000), st.integers(1, 500))
def test_squares_lie_inside_and_are_not_too_many(height: int, width: int, windows: int) -> None:
    rows, cols = prediction._spread(height, width, windows)
    assert len(rows) * len(cols) <= max(windows, 1) and rows[0] == cols[0] == 0
    assert all(row < height and row % 512 == 0 for row in rows) and rows == sorted(set(rows))
    assert all(col < width and col % 512 == 0 for col in cols) and cols == sorted(set(cols))


def test_numbers_no_sensor_gives_are_refused(tmp_path: Path) -> None:
    image = image_of(blobs(60, 60, 3)).astype(np.float32)
    image[:, 5, 7] = 1e20
    with pytest.raises(UserError, match=r"4 values like .*probably mean no data: give it, e\.g\. --nodata "):
        statistics_of(image, tmp_path)
    mean, _ = statistics_of(image, tmp_path, nodata=np.float32(1e20))
    assert np.isfinite(mean).all()


# Ahead ------------------------------------------------------------------------------------------------------------


def test_what_is_read_ahead_comes_in_order_not_too_early_and_is_closed() -> None:
    started: list[int] = []
    closed: list[str] = []

    def items() -> Generator[int, None, None]:
        try:
            for number in range(20):
                started.append(number)
                yield number
        finally:
            closed.append(threading.current_thread().name)

    running = alive()
    with closing(processes.ahead(items(), 3)) as line:
        assert next(line) == 0
        time.sleep(0.2)
        assert len(started) <= 1 + 3 + 1  # taken, waiting, and one that waits to be put
    assert len(closed) == 1 and closed[0] != threading.current_thread().name and alive() == running
    with closing(processes.ahead(items(), 3)) as line:
        assert list(line) == list(range(20))
