"""Prediction: reading, computing and blending side by side give what one after the other would, or one error."""

import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made import blobs, image_of, refuses, write_tif

from lmhld_nb import models, scenes
from lmhld_nb.mapping import prediction
from lmhld_nb.mapping.prediction import Network
from lmhld_nb.scenes.scene import BANDS, Scene

FLAT = np.full(4, 800, np.float32), np.full(4, 100, np.float32)


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(1)
    return Network(models.build("unet", 4, 2).eval(), torch.device("cpu"))


def scene_of(folder: Path, image: np.ndarray | None = None, **options: Any) -> Scene:
    image = image_of(blobs(90, 110, 4)) if image is None else image
    return Scene("a", "made", write_tif(folder / "a.tif", image, **options), BANDS[: len(image)])


def predict(scene: Scene, network: Network, **options: Any) -> np.ndarray:
    with (
        scenes.open_image(scene) as image,
        closing(prediction.predicted_rows(image, BANDS, FLAT, network, 32, **options)) as rows,
    ):
        bands = list(rows)
    tops = [window.row for window, _ in bands]
    assert tops == list(np.cumsum([0, *(window.height for window, _ in bands[:-1])]))
    return np.concatenate([values for _, values in bands])


@pytest.mark.parametrize("threads", [1, 3])
def test_neither_threads_nor_batches_change_the_result(tmp_path, network, threads):
    scene = scene_of(tmp_path, nodata=0)
    expected, before = predict(scene, network, batch_size=1), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for size in (1, 5, 1000, None):
            assert predict(scene, network, batch_size=size) == pytest.approx(expected, abs=1e-5)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_gpu_predicts_what_the_cpu_does(tmp_path, network):
    scene, device = scene_of(tmp_path), torch.device("cuda")
    other = models.build("unet", 4, 2).eval()
    other.load_state_dict(network.model.state_dict())
    for size in (3, None):
        predicted = predict(scene, Network(other.to(device), device), batch_size=size)
        assert predicted == pytest.approx(predict(scene, network), abs=2e-3)


@pytest.mark.parametrize("function", ["read_checked", "_forward"])
def test_a_fault_in_any_thread_is_raised_and_all_threads_end(tmp_path, network, monkeypatch, function):
    results = iter([torch.zeros(1, 32, 32) if function == "_forward" else np.ones((4, 512, 64), np.uint16)])

    def fail_second(*_: Any) -> Any:
        for result in results:
            return result
        raise ZeroDivisionError

    monkeypatch.setattr(prediction, function, fail_second)
    running = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        predict(scene_of(tmp_path, image_of(blobs(700, 64, 4))), network, batch_size=1)
    assert threading.active_count() == running


def test_what_does_not_fit_the_memory_is_computed_in_halves(tmp_path, network):
    class Small(torch.nn.Module):
        limit = 3

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if len(images) > self.limit:
                raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes")
            return network.model(images)

    scene, small = scene_of(tmp_path), Small()
    predicted = predict(scene, Network(small, network.device), batch_size=16)
    assert predicted == pytest.approx(predict(scene, network), abs=1e-5)
    small.limit = 0
    refuses("out of memory with one window of 32 px", predict, scene, Network(small, network.device), batch_size=16)


def test_a_network_that_gives_nan_is_refused(tmp_path):
    broken = Network(models.build("unet", 4, 2).eval(), torch.device("cpu"))
    broken.model.head.bias.data.fill_(float("nan"))
    refuses(r"a\.tif: the network gives NaN near row 0", predict, scene_of(tmp_path), broken)


def statistics_of(image: np.ndarray, folder: Path, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    scene = scene_of(folder, image, **options)
    with scenes.open_image(scene) as opened:
        return prediction.scene_statistics(opened, scene.bands)


@pytest.mark.parametrize(("shape", "tolerance"), [((700, 300), 1e-5), ((2100, 600), 0.02), ((300, 5000), 0.02)])
def test_statistics_are_exact_of_a_small_scene_and_come_from_all_over_a_large_one(tmp_path, shape, tolerance):
    image = image_of(np.zeros(shape, bool), bands=1) + np.arange(shape[1], dtype=np.uint16)
    image[:, :, :90] = 0
    mean, std = statistics_of(image, tmp_path, nodata=0)
    assert (mean[0], std[0]) == pytest.approx((image[:, :, 90:].mean(), image[:, :, 90:].std()), rel=tolerance)


def test_data_between_the_sampled_squares_count(tmp_path):
    image = np.zeros((1, 64, 60_000), np.uint8)
    image[:, :, 700:710] = 7
    assert not any(col <= 700 < col + 512 for col in prediction._spread(64, 60_000, 64)[1])
    mean, std = statistics_of(image, tmp_path, nodata=0)
    assert (mean[0], std[0]) == (7, 1)


def test_numbers_no_sensor_gives_are_refused(tmp_path):
    image = image_of(blobs(60, 60, 3)).astype(np.float32)
    image[:, 5, 7] = 1e20
    refuses(r"4 values like .*probably mean no data: give it, e\.g\. --nodata ", statistics_of, image, tmp_path)
    assert np.isfinite(statistics_of(image, tmp_path, nodata=np.float32(1e20))[0]).all()
