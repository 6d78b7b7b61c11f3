"""Maps: on the scene's grid, every pixel once, scored from what is written, all files or none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import matplotlib.image
import numpy as np
import pytest
import rasterio
import safetensors.torch
import torch
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from made import blobs, image_of, scene, write_tif

from lmhld_nb import mapping, models, networks, prediction
from lmhld_nb.config import UserError
from lmhld_nb.evaluation import Confusion
from lmhld_nb.inventory import landslide_sizes
from lmhld_nb.scenes import BANDS, Scene

DEGREES = Affine(2.7e-5, 0, 103.9, 0, -2.7e-5, 33.2)
FILES = [
    "landslides.gpkg", "landslides.qml", "map.json", "mask.tif", "overlay.png", "probability.qml", "probability.tif",
]  # fmt: skip


def write_weights(path: Path, bands: tuple[str, ...] = BANDS, size: int = 32) -> Path:
    torch.manual_seed(3)
    network = models.build("unet", len(bands), 2)
    card = {
        "run_id": "0" * 16, "model": "unet", "width": 2, "bands": bands, "normalise": "area",
        "areas": {"made": {"patch_size": size, "mean": [0.0], "std": [1.0]}}, "test": {},
    }  # fmt: skip
    safetensors.torch.save_file(network.state_dict(), path, metadata={"card": json.dumps(card)})
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "weights.safetensors")


def draw(made: Scene, weights: Path, out: Path, **options: Any) -> dict[str, Any]:
    return mapping.map_scene(made, weights, out, progress=False, device="cpu", **options)


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as source:
        return source.read(1)


def median(made: Scene, weights: Path, out: Path) -> float:
    """A threshold that parts this untrained network's probabilities in two."""
    draw(made, weights, out)
    values = read(out / "probability.tif")
    return float(np.median(values[values >= 0]))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("shape", [(70, 83), (20, 25), (32, 32), (20, 100), (100, 20)])
def test_files_lie_on_the_scenes_grid_and_agree_with_each_other(
    tmp_path: Path, weights: Path, shape: tuple[int, int]
) -> None:
    mask = blobs(*shape, 4)
    made = scene(tmp_path, mask)
    cut = median(made, weights, tmp_path / "first")
    report = draw(made, weights, tmp_path / "out", threshold=cut)
    assert names(tmp_path / "out") == FILES
    with rasterio.open(made.image) as image:
        for name in ("probability.tif", "mask.tif"):
            with rasterio.open(tmp_path / "out" / name) as made_file:
                assert (made_file.crs, made_file.transform, made_file.shape) == (
                    image.crs,
                    image.transform,
                    shape,
                )
    probability, predicted = (read(tmp_path / "out" / name) for name in ("probability.tif", "mask.tif"))
    assert ((probability >= 0) & (probability <= 1)).all()
    assert ((predicted == 1) == (probability >= cut)).all()
    table = gpd.read_file(tmp_path / "out" / "landslides.gpkg")
    assert table["area_px"].sum() == predicted.sum() == report["landslide_px"] > 0
    assert sorted(table["area_px"]) == sorted(landslide_sizes(predicted))
    assert table["area_m2"].to_numpy() == pytest.approx(table["area_px"] * 9, rel=2e-3)
    assert (
        (table["mean_probability"] >= cut - 1e-6) & (table["mean_probability"] <= table["max_probability"])
    ).all()
    assert table["max_probability"].max() == pytest.approx(probability.max())
    assert ((table["compactness"] > 0) & (table["compactness"] <= np.pi / 4 + 1e-6)).all()
    truth = Confusion.of(predicted == 1, mask)
    assert {name: report["scores"][name] for name in ("tp", "fp", "fn", "tn")} == vars(truth)
    assert report["scores"]["f1"] == pytest.approx(truth.f1)
    assert json.loads((tmp_path / "out" / "map.json").read_text()) == report


@given(st.integers(1, 200), st.sampled_from([16, 32, 64]), st.sampled_from([0.0, 0.3, 0.5, 0.9]))
def test_windows_cover_every_pixel_and_stay_inside(length: int, size: int, overlap: float) -> None:
    starts = prediction.starts(length, size, max(16, int(size * (1 - overlap))))
    assert starts == sorted(set(starts)) and starts[0] == 0
    covered = np.zeros(max(length, size), int)
    for start in starts:
        assert start + size <= max(length, size)
        covered[start : start + size] += 1
    assert (covered > 0).all()


@given(st.integers(16, 90), st.integers(16, 90), st.sampled_from([0.0, 0.5, 0.7]))
@settings(max_examples=10, deadline=None)
def test_bands_of_rows_give_what_the_whole_scene_gives_at_once(
    tmp_path_factory: pytest.TempPathFactory, weights: Path, rows: int, cols: int, overlap: float
) -> None:
    folder = tmp_path_factory.mktemp("whole")
    image = image_of(blobs(rows, cols, 3))
    made = Scene("a", "made", write_tif(folder / "a.tif", image), BANDS)
    draw(made, weights, folder / "out", overlap=overlap)
    model = networks.load(weights)[0]
    flat = image.reshape(4, -1).astype(np.float64)
    scaled = (image - flat.mean(axis=1)[:, None, None]) / flat.std(axis=1)[:, None, None]
    tall, wide = max(rows, 32), max(cols, 32)
    scaled = np.pad(scaled, ((0, 0), (0, tall - rows), (0, wide - cols))).astype(np.float32)
    total, weight = np.zeros((2, tall, wide))
    step = max(16, int(32 * (1 - overlap)))
    # From the lower right, one by one: another order, another batch size.
    for row in reversed(prediction.starts(rows, 32, step)):
        for col in reversed(prediction.starts(cols, 32, step)):
            part = (slice(row, row + 32), slice(col, col + 32))
            with torch.inference_mode():
                predicted = torch.sigmoid(model(torch.from_numpy(scaled[None, :, *part])))[0, 0].numpy()
            total[part] += predicted * prediction.blend_weight(32)
            weight[part] += prediction.blend_weight(32)
    expected = (total / weight)[:rows, :cols]
    assert read(folder / "out" / "probability.tif") == pytest.approx(expected, abs=1e-5)


def test_the_batch_size_changes_nothing(tmp_path: Path, weights: Path) -> None:
    made = scene(tmp_path, blobs(100, 130, 5))
    maps = []
    for size in (1, 3, 64):
        draw(made, weights, tmp_path / str(size), batch_size=size)
        maps.append(read(tmp_path / str(size) / "probability.tif"))
    assert maps[1] == pytest.approx(maps[0], abs=1e-5) and maps[2] == pytest.approx(maps[0], abs=1e-5)


def test_no_data_is_neither_landslide_nor_background(tmp_path: Path, weights: Path) -> None:
    mask = blobs(90, 90, 5)
    made = scene(tmp_path, mask)
    image = image_of(mask)
    hole = np.zeros(mask.shape, bool)
    hole[:40, 30:75] = hole[60:, :50] = True
    image[:, hole] = 0
    write_tif(made.image, image, nodata=0)
    codes = mask.astype(np.uint8)
    codes[:, 80:] = 255
    assert made.mask is not None
    write_tif(made.mask, codes)
    cut = median(made, weights, tmp_path / "first")
    report = draw(made, weights, tmp_path / "out", threshold=cut)
    probability, predicted = (read(tmp_path / "out" / name) for name in ("probability.tif", "mask.tif"))
    assert (probability[hole] == -1).all() and (predicted[hole] == 255).all()
    assert (probability[~hole] >= 0).all() and np.isin(predicted[~hole], (0, 1)).all()
    truth = Confusion.of(predicted == 1, mask, ~hole & (codes != 255))
    assert {name: report["scores"][name] for name in vars(truth)} == vars(truth)
    picture = matplotlib.image.imread(tmp_path / "out" / "overlay.png")
    assert (picture[hole] == 1).all()


def test_a_scene_without_data_is_refused(tmp_path: Path, weights: Path) -> None:
    made = scene(tmp_path, blobs(60, 60, 3))
    write_tif(made.image, np.zeros((4, 60, 60), np.uint16), nodata=0)
    with pytest.raises(UserError, match=r"a\.tif: every pixel is no data"):
        draw(made, weights, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_found_and_nothing_there_are_results_too(tmp_path: Path, weights: Path) -> None:
    made = scene(tmp_path, np.zeros((60, 60), bool))
    report = draw(made, weights, tmp_path / "out", threshold=0.999999)
    assert (report["landslides"], report["landslide_px"], report["landslide_m2"]) == (0, 0, 0)
    assert names(tmp_path / "out") == FILES
    assert len(gpd.read_file(tmp_path / "out" / "landslides.gpkg")) == 0
    stored = json.loads((tmp_path / "out" / "map.json").read_text(), parse_constant=pytest.fail)
    assert stored["scores"]["precision"] is None and stored["scores"]["tn"] == 3600
    other = scene(tmp_path, blobs(60, 60, 3), name="b")
    report = draw(other, weights, tmp_path / "out2", threshold=1e-6, min_area_px=5000)
    assert report["landslides"] == 0 and report["landslide_px"] == 3600


@pytest.mark.parametrize(
    ("crs", "transform", "metres"),
    [
        ("EPSG:4326", DEGREES, 2.7e-5 * 111_320 * np.cos(np.radians(33.2)) * 2.7e-5 * 110_922),
        ("EPSG:3857", Affine(3, 0, 11_566_000, 0, -3, 3_920_000), 9 * np.cos(np.radians(33.16)) ** 2),
        ("EPSG:2227", Affine(10, 0, 6_000_000, 0, -10, 2_100_000), (10 * 0.3048) ** 2),  # US survey feet
    ],
)
def test_areas_are_square_metres_whatever_the_coordinates(
    tmp_path: Path, weights: Path, crs: str, transform: Affine, metres: float
) -> None:
    made = scene(tmp_path, blobs(60, 60, 3), labels="none")
    write_tif(made.image, image_of(blobs(60, 60, 3)), crs=crs, transform=transform)
    cut = median(made, weights, tmp_path / "first")
    report = draw(made, weights, tmp_path / "out", threshold=cut)
    table = gpd.read_file(tmp_path / "out" / "landslides.gpkg")
    assert (
        table["area_px"].sum() == report["landslide_px"] == (read(tmp_path / "out" / "mask.tif") == 1).sum()
    )
    assert table["area_m2"].to_numpy() == pytest.approx(table["area_px"] * metres, rel=0.01)
    assert report["landslide_m2"] == pytest.approx(table["area_m2"].sum())
    assert table["lon"].between(-180, 180).all() and table["lat"].between(20, 50).all()
    assert ((table["compactness"] > 0) & (table["compactness"] <= np.pi / 4 + 0.01)).all()


def test_a_network_of_other_bands_maps_and_is_drawn(tmp_path: Path) -> None:
    path = write_weights(tmp_path / "w.safetensors", bands=("green", "red", "nir"))
    draw(scene(tmp_path, blobs(60, 60, 3)), path, tmp_path / "out")
    assert names(tmp_path / "out") == FILES


def test_a_missing_band_is_told(tmp_path: Path, weights: Path) -> None:
    image = write_tif(tmp_path / "rgb.tif", image_of(blobs(60, 60, 3), bands=3))
    made = mapping.scene_of_file(image, ("red", "green", "blue"))
    with pytest.raises(UserError, match=r"rgb\.tif: has no band 'nir' \(it has red, green, blue\)"):
        draw(made, weights, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_can_name_its_bands(tmp_path: Path, weights: Path) -> None:
    path = write_tif(tmp_path / "a.tif", image_of(blobs(60, 60, 3)))
    with pytest.raises(UserError, match="--bands red,green,blue"):
        mapping.scene_of_file(path)
    with rasterio.open(path, "r+") as target:
        target.descriptions = ("Blue", "Green", "Red", "NIR")
    made = mapping.scene_of_file(path, truth=tmp_path / "truth.gpkg")
    assert made.bands == BANDS and made.polygons == tmp_path / "truth.gpkg" and made.mask is None
    truth = write_tif(tmp_path / "truth.tif", blobs(60, 60, 3).astype(np.uint8))
    assert mapping.scene_of_file(path, truth=truth).mask == truth


def test_a_truth_coded_0_255_must_be_said_to_be(tmp_path: Path) -> None:
    path = write_tif(tmp_path / "a.tif", image_of(blobs(60, 60, 3)))
    truth = write_tif(tmp_path / "truth.tif", blobs(60, 60, 3).astype(np.uint8) * 255)
    with pytest.raises(UserError, match=r"truth\.tif: no pixel is 1, it holds 0, 255; .*--truth-code"):
        mapping.scene_of_file(path, BANDS, truth=truth)
    made = mapping.scene_of_file(path, BANDS, truth=truth, truth_code=255)
    assert (made.landslide_codes, made.label_nodata_codes) == ((255,), ())


def breaks(monkeypatch: pytest.MonkeyPatch, where: str, error: BaseException) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    original = prediction.predicted_rows

    def stops(*arguments: Any) -> Iterator[Any]:
        rows = original(*arguments)
        yield next(rows)
        raise error

    place, name = {
        "rows": (prediction, "predicted_rows"),
        "forward": (prediction, "_forward"),  # in a thread
        "outlines": (mapping.outlines, "outline"),
        "picture": (mapping.map_files.Picture, "draw"),
        "reading": (mapping.map_files.Picture, "take"),  # in another thread
    }[where]
    monkeypatch.setattr(place, name, stops if where == "rows" else fail)


@pytest.mark.parametrize("where", ["rows", "forward", "outlines", "picture", "reading"])
@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), OSError(28, "No space left on device"), ValueError("x")]
)
def test_an_interrupted_map_leaves_nothing(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: BaseException
) -> None:
    made = scene(tmp_path, blobs(70, 70, 3))
    breaks(monkeypatch, where, error)
    expected = UserError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected):
        draw(made, weights, tmp_path / "new" / "out")
    assert not (tmp_path / "new").exists() or not list((tmp_path / "new").rglob("*.*"))


def test_what_was_in_the_folder_stays(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = scene(tmp_path, blobs(70, 70, 3))
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    (out / "map").mkdir()
    draw(made, weights, out)
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    breaks(monkeypatch, "picture", ValueError("x"))
    with pytest.raises(ValueError, match="x"):
        draw(made, weights, out)
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before
    assert names(out) == sorted([*FILES, "map", "notes.txt"]) and before["notes.txt"] == b"mine"


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file: cannot be written"):
        draw(scene(tmp_path, blobs(60, 60, 3)), weights, tmp_path / "file")


def test_impossible_settings_are_told(tmp_path: Path, weights: Path) -> None:
    made = scene(tmp_path, blobs(60, 60, 3))
    for options in ({"threshold": 0.0}, {"threshold": 1.0}, {"overlap": 1.0}, {"overlap": -0.1}):
        with pytest.raises(UserError, match="must lie in"):
            draw(made, weights, tmp_path / "out", **options)
    with pytest.raises(UserError, match=r"gone\.gpkg: cannot be read as polygons"):
        draw(replace(made, mask=None, polygons=tmp_path / "gone.gpkg"), weights, tmp_path / "out")
    assert not (tmp_path / "out").exists()
