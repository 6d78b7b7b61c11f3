"""Maps: on the grid, every pixel once, scored from what is written, all files or none, however they are computed."""

import json
import math
import os
import re
import subprocess
import sys
import threading
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import geopandas as gpd
import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import rasterio
import rasterio.shutil
import safetensors
import safetensors.torch
import torch
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from made import TRANSFORM, blobs, image_of, refuses, scene, write_tif
from mapped import SCORED, draw, median, names, read, write_weights
from scipy.ndimage import label, maximum, mean

import lmhld_nb
from lmhld_nb import mapping, models, scenes
from lmhld_nb.config import UserError
from lmhld_nb.evaluation import Confusion, objects
from lmhld_nb.inventory import landslide_sizes
from lmhld_nb.mapping import files, outlines, prediction
from lmhld_nb.mapping.prediction import Network
from lmhld_nb.scenes.rasters import Window, strips
from lmhld_nb.scenes.scene import BANDS, Scene
from lmhld_nb.training import weights as networks

PLAIN = image_of(blobs(60, 60, 3))


def grid(path: Path) -> tuple[Any, ...]:
    with rasterio.open(path) as raster:
        return raster.crs, raster.transform, raster.shape


def rasters(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    return read(folder / "probability.tif"), read(folder / "mask.tif")


@pytest.mark.parametrize("shape", [(70, 83), (20, 25), (20, 100)])
def test_files_lie_on_the_scenes_grid_and_agree(tmp_path, weights, shape):
    mask, out = blobs(*shape, 4), tmp_path / "out"
    event = scene(tmp_path, mask)
    cut = median(event, weights, tmp_path / "first", overlap=0.25)
    report = draw(event, weights, out, threshold=cut, overlap=0.25)
    assert names(out) == SCORED
    settings = {
        "scene": "a.tif", "crs": "EPSG:32654", "shape": list(shape), "pixel_m": [3.0, 3.0], "run_id": "0" * 16,
        "bands": list(BANDS), "resolution_m": 3.0, "resampled": False, "window": 32, "overlap": 0.25,
        "threshold": cut, "valid_px": mask.size, "lmhld_nb": lmhld_nb.__version__,
    }  # fmt: skip
    assert {key: report[key] for key in settings} == settings
    assert grid(event.image) == grid(out / "probability.tif") == grid(out / "mask.tif")
    probability, predicted = rasters(out)
    assert ((probability >= 0) & (probability <= 1)).all()
    assert ((predicted == 1) == (probability >= cut)).all()
    table = gpd.read_file(out / "landslides.gpkg", layer="landslides")
    assert table["area_px"].sum() == predicted.sum() == report["landslide_px"] > 0
    assert sorted(table["area_px"]) == sorted(landslide_sizes(predicted))
    assert table["area_m2"].to_numpy() == pytest.approx(table["area_px"] * 9, rel=2e-3)
    assert ((table["compactness"] > 0) & (table["compactness"] <= np.pi / 4 + 1e-6)).all()
    scores, tables = objects.score(lambda: iter([(probability, predicted, mask.astype(np.uint8))]), 9.0)
    assert report["scores"] == pytest.approx(scores, nan_ok=True)
    for name, expected in tables.items():
        pd.testing.assert_frame_equal(pd.read_csv(out / f"scores_{name}.csv"), expected, check_dtype=False)
    assert json.loads((out / "map.json").read_text()) == json.loads(json.dumps(report).replace("NaN", "null"))


@given(st.integers(16, 90), st.integers(16, 90), st.sampled_from([0.0, 0.5, 0.7]))
@settings(max_examples=10)
def test_bands_of_rows_give_what_the_whole_scene_gives_at_once(tmp_path_factory, weights, rows, cols, overlap):
    folder = tmp_path_factory.mktemp("whole")
    image = image_of(blobs(rows, cols, 3))
    draw(Scene("a", "made", write_tif(folder / "a.tif", image), BANDS), weights, folder / "out", overlap=overlap)
    model = networks.load(weights)[0]
    flat = image.reshape(4, -1).astype(np.float64)
    scaled = (image - flat.mean(axis=1)[:, None, None]) / flat.std(axis=1)[:, None, None]
    tall, wide = max(rows, 32), max(cols, 32)
    scaled = np.pad(scaled, ((0, 0), (0, tall - rows), (0, wide - cols))).astype(np.float32)
    total, weight = np.zeros((2, tall, wide))
    window_weight = np.outer(prediction.blend_ramp(32), prediction.blend_ramp(32))
    step = max(16, int(32 * (1 - overlap)))
    # From the lower right, one by one: another order, another batch size.
    for row in reversed(prediction.starts(rows, 32, step)):
        for col in reversed(prediction.starts(cols, 32, step)):
            window = (slice(row, row + 32), slice(col, col + 32))
            with torch.inference_mode():
                predicted = torch.sigmoid(model(torch.from_numpy(scaled[None, :, *window])))[0, 0].numpy()
            total[window] += predicted * window_weight
            weight[window] += window_weight
    assert read(folder / "out" / "probability.tif") == pytest.approx((total / weight)[:rows, :cols], abs=1e-5)


def test_no_landslide_is_a_result_too(tmp_path, weights):
    report = draw(scene(tmp_path, np.zeros((60, 60), bool)), weights, tmp_path / "out", threshold=0.999999)
    assert (report["landslides"], report["landslide_px"], report["landslide_m2"]) == (0, 0, 0)
    assert names(tmp_path / "out") == SCORED
    assert gpd.read_file(tmp_path / "out" / "landslides.gpkg", layer="landslides").empty
    stored = json.loads((tmp_path / "out" / "map.json").read_text(), parse_constant=pytest.fail)
    assert stored["scores"]["precision"] is None and stored["scores"]["tn"] == 3600


@pytest.mark.parametrize(("crs", "transform", "metres"), [
    ("EPSG:4326", Affine(2.7e-5, 0, 103.9, 0, -2.7e-5, 33.2), 2.7e-5**2 * 111_320 * 0.83676 * 110_922),
    ("EPSG:3857", Affine(3, 0, 11_566_000, 0, -3, 3_920_000), 9 * np.cos(np.radians(33.16)) ** 2),
    ("EPSG:2227", Affine(10, 0, 6_000_000, 0, -10, 2_100_000), (10 * 0.3048) ** 2),  # US survey feet
])  # fmt: skip
def test_areas_are_square_metres_in_any_coordinates(tmp_path, crs, transform, metres):
    mask = blobs(60, 60, 3).astype(np.uint8)
    path = write_tif(tmp_path / "mask.tif", mask, crs=crs, transform=transform)
    table, *_ = outlines.outline(path, outlines.measure([(Window(0, 0, 60, 60), mask, mask.astype(np.float32))]))
    assert table["area_m2"].to_numpy() == pytest.approx(table["area_px"] * metres, rel=0.01)
    assert table["lon"].between(-180, 180).all() and table["lat"].between(20, 50).all()
    assert ((table["compactness"] > 0) & (table["compactness"] <= np.pi / 4 + 0.01)).all()


def test_bands_are_matched_by_name_and_others_do_no_harm(tmp_path, weights):
    path = write_tif(tmp_path / "plain.tif", PLAIN)
    refuses("--bands red,green,blue", mapping.scene_of_file, path)
    draw(mapping.scene_of_file(path, BANDS), weights, tmp_path / "plain")
    path = write_tif(tmp_path / "other.tif", np.stack([PLAIN[3], PLAIN[0] * 0 + 9, PLAIN[2], PLAIN[1], PLAIN[0]]))
    draw(mapping.scene_of_file(path, ("NIR", "x", "red", "Green ", "blue")), weights, tmp_path / "given")
    with rasterio.open(path, "r+") as target:
        target.descriptions = ("nir", None, " RED", "Green", "blue")
    draw(mapping.scene_of_file(path), weights, tmp_path / "described")
    for name in ("given", "described"):
        assert np.array_equal(rasters(tmp_path / name), rasters(tmp_path / "plain"))
    three = write_weights(tmp_path / "w.safetensors", bands=("green", "red", "nir"))
    draw(scene(tmp_path, blobs(60, 60, 3)), three, tmp_path / "three")
    assert names(tmp_path / "three") == SCORED


@pytest.mark.parametrize(("module", "function"), [
    (prediction, "_forward"), (prediction, "read_checked"), (outlines, "outline"), (files, "draw_overlay"),
])  # fmt: skip
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device"), ValueError("x")])
def test_an_interrupted_map_leaves_nothing(tmp_path, weights, monkeypatch, module, function, error):
    monkeypatch.setattr(module, function, Mock(side_effect=error))
    with pytest.raises(UserError if isinstance(error, OSError) else type(error)):
        draw(scene(tmp_path, blobs(70, 70, 3)), weights, tmp_path / "new" / "out")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("metres", [None, 1.5, 6.0, 7.3])
def test_no_data_is_of_neither_class_at_any_resolution(tmp_path, weights, metres):
    mask, out = blobs(150, 170, 8), tmp_path / "out"
    event, codes = scene(tmp_path, mask), mask.astype(np.uint8)
    image, hole = image_of(mask), np.zeros(mask.shape, bool)
    hole[:40, 30:75] = hole[60:70, :50] = True
    image[:, hole] = 0
    codes[:, 140:] = 255
    write_tif(event.image, image, nodata=0)
    write_tif(tmp_path / "a_mask.tif", codes)
    report = draw(event, weights, out, resolution=metres, threshold=0.45)
    assert report["resampled"] == bool(metres) and report["resolution_m"] == (metres or 3)
    assert grid(event.image) == grid(out / "probability.tif")
    assert names(out) == sorted([*SCORED, "not_imaged.gpkg"])
    probability, predicted = rasters(out)
    assert np.array_equal(probability == -1, hole) and np.array_equal(predicted == 255, hole)
    counts = Confusion.of(predicted == 1, mask, ~hole & (codes != 255))
    assert {name: report["scores"][name] for name in vars(counts)} == vars(counts)
    assert metres or (matplotlib.image.imread(out / "overlay.png")[hole] == 1).all()


def test_the_trained_resolution_comes_from_the_card(tmp_path, weights):
    event = scene(tmp_path, blobs(100, 100, 6))
    refuses("not say at which resolution.*--resolution 3", draw, event, weights, tmp_path / "out", resolution="trained")
    area = {"patch_size": 16, "mean": [700.0] * 4, "std": [90.0] * 4}
    areas = {name: {**area, "resolution_m": metres} for name, metres in (("far", 0.5), ("near", 4.5), ("none", None))}
    path = write_weights(tmp_path / "w.safetensors", areas=areas)
    report = draw(event, path, tmp_path / "out", resolution="trained")
    assert report["resolution_m"] == 4.5 and report["resampled"]


def test_layers_open_in_a_gis(tmp_path, weights):
    event, out = scene(tmp_path, blobs(300, 300, 30)), tmp_path / "out"
    report = draw(event, weights, out, threshold=median(event, weights, tmp_path / "first"))
    with rasterio.open(out / "mask.tif", overview_level=0) as raster:
        assert raster.nodata == 255 and set(np.unique(raster.read(1))) <= {0, 1}  # nearest, not means
    table = gpd.read_file(out / "landslides.gpkg", layer="landslides")
    assert list(table.columns) == [
        "id", "area_px", "mean_probability", "max_probability", "uncertainty", "area_m2", "lon", "lat", "length_m",
        "width_m", "compactness", "geometry",
    ]  # fmt: skip
    assert list(table["id"]) == list(range(1, report["landslides"] + 1))
    assert table.geometry.is_valid.all() and set(table.geom_type) == {"MultiPolygon"}
    centres = table.geometry.centroid.to_crs(4326)
    assert table["lon"].to_numpy() == pytest.approx(centres.x) and table["lat"].to_numpy() == pytest.approx(centres.y)


@given(st.integers(0, 10**6), st.integers(1, 40))
@settings(max_examples=20)
def test_strips_measure_what_the_whole_does(tmp_path_factory, seed, height):
    random = np.random.default_rng(seed)
    mask = (random.random((40, 37)) < 0.45).astype(np.uint8)
    mask[random.random(mask.shape) < 0.1] = 255
    probability = random.random(mask.shape).astype(np.float32)
    cuts = [(cut, slice(cut.row, cut.row + cut.height)) for cut in strips(mask.shape, height)]
    measured = outlines.measure((cut, mask[rows], probability[rows]) for cut, rows in cuts)
    labels, count = label(mask == 1, np.ones((3, 3)))
    numbers = np.arange(1, count + 1)
    numbers = numbers[np.argsort([np.flatnonzero(labels == number)[0] for number in numbers])]
    assert list(measured["area_px"]) == [(labels == number).sum() for number in numbers]
    assert measured["mean_probability"].to_numpy() == pytest.approx(mean(probability, labels, numbers))
    assert measured["max_probability"].to_numpy() == pytest.approx(maximum(probability, labels, numbers))
    table, unseen, _ = outlines.outline(write_tif(tmp_path_factory.mktemp("mask") / "mask.tif", mask), measured)
    assert unseen.geometry.area.sum() == pytest.approx((mask == 255).sum() * 9)
    assert list(table["mean_probability"]) == list(measured["mean_probability"])
    assert table.geometry.area.to_numpy() == pytest.approx(table["area_px"] * 9)
    assert table.geometry.is_valid.all()


@pytest.mark.parametrize(("image", "options", "message"), [
    (PLAIN, {"crs": None}, "has no coordinate system; assign one"),
    (PLAIN, {"transform": TRANSFORM * Affine.rotation(20)}, "flipped; warp it north-up first (rio warp s.tif nor"),
    (PLAIN[:, :, :15], {}, "60×15 pixels as predicted, at least 16 per side are needed"),
    (PLAIN * 0, {"nodata": 0}, "every pixel is no data; check the file and its no-data value (`--nodata`)"),
    (PLAIN, {"bands": "b g r x"}, "no band 'blue' (it has b, g, r, x); the network needs blue, green, red, nir"),
    (PLAIN, {"bands": "red green blue"}, "4 bands, but 3 are named (red, green, blue); name all in the file's or"),
    (PLAIN, {"bands": "red Red blue nir"}, "two bands are named 'red'"),
])  # fmt: skip
def test_a_scene_that_cannot_be_mapped_is_named(tmp_path, weights, image, options, message):
    options = dict(options)
    bands = tuple(options.pop("bands", "blue green red nir").split())
    path = write_tif(tmp_path / "s.tif", image, **options)
    out = tmp_path / "new" / "out"
    refuses(f"^{path}: .*{re.escape(message)}", lambda: draw(mapping.scene_of_file(path, bands), weights, out))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("key", "value", "message"), [
    *(("threshold", value, "must lie in") for value in (0.0, 1.0, float("nan"))),
    ("overlap", 1.0, "must lie in"),
    *(("resolution", value, f"resolution '{value}': give metres") for value in ("three", -3.0)),
    ("min_area_px", -1, "must not be negative"),
    ("min_area_m2", float("nan"), "must not be negative"),
    ("least_slope", 10.0, "least slope: needs an elevation raster; give it with --dem FILE"),
])  # fmt: skip
def test_settings_out_of_range_are_refused(key, value, message):
    refuses(message, mapping.MapSettings, **{key: value})


def test_weights_that_are_none_are_refused(tmp_path, weights):
    event, path = scene(tmp_path, blobs(60, 60, 3)), tmp_path / "w.safetensors"
    tensors, card = networks.read(weights)
    for change, message in (
        ({"width": 3}, "its weights are not those of the unet"),
        ({"width": 1024}, "its weights are not those of the unet"),  # 8 GB, which are not taken
        ({"width": 20_000}, "key 'width' = 20000"),
        ({"bands": []}, "key 'bands'"),
        ({"bands": ["red"] * 4}, "red is given twice"),
        ({"model": "trans_unet"}, "cannot be built 2 wide"),
        ({"run_id": 5}, "key 'run_id'"),
        ({"threshold": math.inf}, "key 'threshold'"),
        ({"areas": {"a": {"patch_size": 20}}}, "its card is incomplete: key 'areas.a.patch_size'"),
        ({"areas": {"a": {"patch_size": 16_000}}}, "its card is incomplete: key 'areas.a.patch_size'"),
    ):
        safetensors.torch.save_file(tensors, path, metadata={"card": json.dumps({**card, **change})})
        refuses(rf"w\.safetensors: .*{message}", draw, event, path, tmp_path / "out")
    half = {name: value.half() for name, value in tensors.items()}
    safetensors.torch.save_file(half, path, metadata={"card": json.dumps(card)})
    refuses("its weights are not those of the unet", networks.load, path)
    os.mkfifo(tmp_path / "pipe.safetensors")
    refuses("is neither a file nor a folder", networks.load, tmp_path / "pipe.safetensors")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files as Linux does")
def test_a_full_disk_leaves_nothing_behind(tmp_path, weights):
    import resource

    image = write_tif(tmp_path / "a.tif", image_of(np.random.default_rng(0).random((200, 300)) < 0.5))
    words = ["map", str(image), "--weights", str(weights), "--out", "out", "-q", "--bands", "blue,green,red,nir"]
    # The disk is full after so many bytes: a file may not grow beyond them.
    full = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (90_000, 90_000))
    done = subprocess.run(
        [sys.executable, "-m", "lmhld_nb.cli", *words],
        cwd=tmp_path, preexec_fn=full, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("lmhld: ")]
    assert line.startswith("lmhld: out: cannot be written (") and "free space" in line
    assert not (tmp_path / "out").exists()


def test_a_raster_that_lacks_a_part_is_not_taken_for_whole(tmp_path):
    noise = np.random.default_rng(0).random((1, 300, 300))
    files.finish(write_tif(tmp_path / "a.tif", noise, blockxsize=256, blockysize=256), tmp_path / "c.tif", "average")
    empty = write_tif(tmp_path / "b.tif", np.zeros((1, 300, 300), np.uint8), sparse_ok=True)
    with pytest.raises(OSError, match="a part of the file is missing"):
        files.finish(empty, tmp_path / "d.tif", "average")


@pytest.mark.real
@pytest.mark.parametrize(("image", "truth"), [
    ("hokkaido-2018-3m-rgb/scene_rgb.tif", "hokkaido-2018-3m-rgb/scene_partial_mask.tif"),
    ("jinsha-uav-georef/scene_C_rgb.tif", "jinsha-uav-georef/scene_C_mask.tif"),
])  # fmt: skip
def test_real_scenes_are_mapped_on_their_grid(tmp_path, shared_data, image, truth):
    paths = [tmp_path / "image.tif", tmp_path / "truth.tif"]
    window = rasterio.windows.Window(200, 300, 640, 512)
    for path, name in zip(paths, (image, truth), strict=True):
        with rasterio.open(shared_data / name) as source:
            size = {"height": 512, "width": 640, "transform": source.window_transform(window)}
            with rasterio.open(path, "w", **{**source.profile, **size}) as target:
                target.write(source.read(window=window))
    weights = write_weights(tmp_path / "w.safetensors", bands=("blue", "green", "red"), size=64)
    described = mapping.scene_of_file(paths[0], ("red", "green", "blue"), truth=paths[1])
    report = draw(described, weights, tmp_path / "out", threshold=0.45, overlap=0.25)
    assert grid(paths[0]) == grid(tmp_path / "out" / "probability.tif") == grid(tmp_path / "out" / "mask.tif")
    with rasterio.open(paths[0]) as source:
        hole = (source.read() == source.nodata).all(axis=0)
        table = gpd.read_file(tmp_path / "out" / "landslides.gpkg", layer="landslides")
        assert table.crs == source.crs and len(table) == report["landslides"]
    assert np.array_equal(read(tmp_path / "out" / "mask.tif") == 255, hole)
    scored = sum(report["scores"][name] for name in ("tp", "fp", "fn", "tn"))
    assert scored == ((read(paths[1]) != 255) & ~hole).sum() > 0


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(1)
    return Network(models.build("unet", 4, 2).eval(), torch.device("cpu"))


def scene_of(folder: Path, image: np.ndarray | None = None, **options: Any) -> Scene:
    image = image_of(blobs(90, 110, 4)) if image is None else image
    return Scene("a", "made", write_tif(folder / "a.tif", image, **options), BANDS[: len(image)])


def predict(scene: Scene, network: Network, batch_size: int | None = None) -> np.ndarray:
    flat = np.full(4, 800, np.float32), np.full(4, 100, np.float32)
    with (
        scenes.open_image(scene) as image,
        closing(prediction.predicted_rows(image, BANDS, flat, network, 32)) as rows,
        pytest.MonkeyPatch.context() as patch,
    ):
        if batch_size:
            patch.setattr(prediction, "suitable_batch", lambda *_: batch_size)
        bands = list(rows)
    tops = [window.row for window, _ in bands]
    assert tops == list(np.cumsum([0, *(window.height for window, _ in bands[:-1])]))
    return np.concatenate([values for _, values in bands])


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


def test_a_network_that_gives_nan_and_numbers_no_sensor_gives_are_refused(tmp_path):
    broken = Network(models.build("unet", 4, 2).eval(), torch.device("cpu"))
    broken.model.head.bias.data.fill_(float("nan"))
    refuses(r"a\.tif: the network gives NaN near row 0", predict, scene_of(tmp_path), broken)
    image = image_of(blobs(60, 60, 3)).astype(np.float32)
    image[:, 5, 7] = 1e20
    refuses(r"4 values like .*probably mean no data: give it, e\.g\. --nodata ", statistics_of, image, tmp_path)
    assert np.isfinite(statistics_of(image, tmp_path, nodata=np.float32(1e20))[0]).all()


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
