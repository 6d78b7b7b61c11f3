"""Maps: on the scene's grid, every pixel once, scored from what is written, all files or none."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import geopandas as gpd
import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import rasterio
import rasterio.shutil
import rasterio.warp
import safetensors
import safetensors.torch
import torch
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from made import TRANSFORM, blobs, image_of, scene, write_tif
from mapped import SCORED, TABLES, draw, median, names, read, write_weights
from rasterio.features import rasterize
from scipy.ndimage import label, maximum, mean

import lmhld_nb
from lmhld_nb import mapping
from lmhld_nb.config import UserError
from lmhld_nb.evaluation import Confusion, objects
from lmhld_nb.inventory import landslide_sizes
from lmhld_nb.mapping import files, outlines, prediction
from lmhld_nb.scenes.rasters import Window
from lmhld_nb.scenes.scene import BANDS, Scene
from lmhld_nb.training import weights as networks

DEGREES = Affine(2.7e-5, 0, 103.9, 0, -2.7e-5, 33.2)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "weights.safetensors")


@pytest.mark.parametrize("shape", [(70, 83), (20, 25), (32, 32), (20, 100), (100, 20)])
def test_files_lie_on_the_scenes_grid_and_agree_with_each_other(
    tmp_path: Path, weights: Path, shape: tuple[int, int]
) -> None:
    mask, out = blobs(*shape, 4), tmp_path / "out"
    made = scene(tmp_path, mask)
    cut = median(made, weights, tmp_path / "first")
    report = draw(made, weights, out, threshold=cut)
    assert names(out) == SCORED
    with rasterio.open(made.image) as image:
        for name in ("probability.tif", "mask.tif"):
            with rasterio.open(out / name) as raster:
                grid = (raster.crs, raster.transform, raster.shape)
                assert grid == (image.crs, image.transform, shape)
    probability, predicted = read(out / "probability.tif"), read(out / "mask.tif")
    assert ((probability >= 0) & (probability <= 1)).all()
    assert ((predicted == 1) == (probability >= cut)).all()
    table = gpd.read_file(out / "landslides.gpkg")
    assert table["area_px"].sum() == predicted.sum() == report["landslide_px"] > 0
    assert sorted(table["area_px"]) == sorted(landslide_sizes(predicted))
    assert table["area_m2"].to_numpy() == pytest.approx(table["area_px"] * 9, rel=2e-3)
    assert (table["mean_probability"] >= cut - 1e-6).all()
    assert (table["mean_probability"] <= table["max_probability"]).all()
    assert table["max_probability"].max() == pytest.approx(probability.max())
    assert ((table["compactness"] > 0) & (table["compactness"] <= np.pi / 4 + 1e-6)).all()
    scores, tables = objects.score(lambda: iter([(probability, predicted, mask.astype(np.uint8))]), 9.0)
    assert report["scores"] == pytest.approx(scores, nan_ok=True)
    for name, expected in tables.items():
        pd.testing.assert_frame_equal(pd.read_csv(out / f"scores_{name}.csv"), expected, check_dtype=False)
    assert json.loads((out / "map.json").read_text()) == json.loads(json.dumps(report).replace("NaN", "null"))


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


def test_nothing_found_and_nothing_there_are_results_too(tmp_path: Path, weights: Path) -> None:
    made = scene(tmp_path, np.zeros((60, 60), bool))
    report = draw(made, weights, tmp_path / "out", threshold=0.999999)
    assert (report["landslides"], report["landslide_px"], report["landslide_m2"]) == (0, 0, 0)
    assert names(tmp_path / "out") == SCORED
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
    report = draw(made, weights, tmp_path / "out", threshold=median(made, weights, tmp_path / "first"))
    table = gpd.read_file(tmp_path / "out" / "landslides.gpkg")
    assert table["area_px"].sum() == report["landslide_px"]
    assert table["area_m2"].to_numpy() == pytest.approx(table["area_px"] * metres, rel=0.01)
    assert report["landslide_m2"] == pytest.approx(table["area_m2"].sum())
    assert table["lon"].between(-180, 180).all() and table["lat"].between(20, 50).all()
    assert ((table["compactness"] > 0) & (table["compactness"] <= np.pi / 4 + 0.01)).all()


def test_a_network_of_other_bands_maps_and_is_drawn(tmp_path: Path) -> None:
    path = write_weights(tmp_path / "w.safetensors", bands=("green", "red", "nir"))
    draw(scene(tmp_path, blobs(60, 60, 3)), path, tmp_path / "out")
    assert names(tmp_path / "out") == SCORED


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

    module, name = {
        "rows": (prediction, "predicted_rows"),
        "forward": (prediction, "_forward"),  # in a thread
        "outlines": (outlines, "outline"),
        "picture": (files.Picture, "draw"),
        "reading": (files.Picture, "add"),  # in another thread
    }[where]
    monkeypatch.setattr(module, name, stops if where == "rows" else fail)


@pytest.mark.parametrize("where", ["rows", "forward", "outlines", "picture", "reading"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device"), ValueError("x")])
def test_an_interrupted_map_leaves_nothing(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: BaseException
) -> None:
    made = scene(tmp_path, blobs(70, 70, 3))
    breaks(monkeypatch, where, error)
    expected = UserError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected):
        draw(made, weights, tmp_path / "new" / "out")
    assert not (tmp_path / "new").exists() or not list((tmp_path / "new").rglob("*.*"))


# Mosaics, resolutions, normalisation ------------------------------------------------------------------------------


def tiles(folder: Path, image: np.ndarray, names: tuple[str, ...] = BANDS, **options: Any) -> list[Path]:
    """Write a scene as four files that overlap."""
    paths = []
    for row in (0, 40):
        for col in (0, 40):
            part = image[:, row : row + 60, col : col + 60]
            place = TRANSFORM * Affine.translation(col, row)
            path = write_tif(folder / f"{row}-{col}.tif", part, transform=place, **options)
            with rasterio.open(path, "r+") as target:
                target.descriptions = names
            paths.append(path)
    return paths


def test_files_and_a_vrt_map_as_the_one_they_were_cut_from(tmp_path: Path, weights: Path) -> None:
    mask = blobs(100, 100, 6)
    image = image_of(mask)
    whole = scene(tmp_path, mask)
    expected = draw(whole, weights, tmp_path / "whole", threshold=0.45)
    first, *others = tiles(tmp_path / "tiles", image, nodata=0)
    made = mapping.scene_of_file(first, truth=whole.mask)
    mosaic = draw(made, weights, tmp_path / "mosaic", threshold=0.45, others=others)
    assert mosaic["files"] == [str(first), *map(str, others)]
    vrt = tmp_path / "whole.vrt"
    with rasterio.open(whole.image) as source:
        rasterio.shutil.copy(source, vrt, driver="VRT")
    through_vrt = draw(replace(whole, image=vrt), weights, tmp_path / "vrt", threshold=0.45)
    for folder, report in (("mosaic", mosaic), ("vrt", through_vrt)):
        assert report["scores"] == expected["scores"] and report["landslides"] == expected["landslides"]
        for raster in ("probability.tif", "mask.tif"):
            assert np.array_equal(read(tmp_path / folder / raster), read(tmp_path / "whole" / raster))


def test_a_mosaic_with_a_hole_maps_around_it(tmp_path: Path, weights: Path) -> None:
    image = image_of(blobs(100, 100, 6))
    paths = tiles(tmp_path / "tiles", image)[:3]
    report = draw(mapping.scene_of_file(paths[0]), weights, tmp_path / "out", others=paths[1:])
    probability = read(tmp_path / "out" / "probability.tif")
    hole = np.zeros((100, 100), bool)
    hole[60:, 60:] = True
    assert np.array_equal(probability == -1, hole) and report["valid_px"] == 100 * 100 - 40 * 40


@pytest.mark.parametrize("metres", [1.5, 6.0, 7.3])
def test_results_of_another_resolution_lie_on_the_scene_s_own_grid(
    tmp_path: Path, weights: Path, metres: float
) -> None:
    mask = blobs(150, 170, 8)
    made = scene(tmp_path, mask)
    image = image_of(mask)
    hole = np.zeros(mask.shape, bool)
    hole[:40, 30:75] = True
    image[:, hole] = 0
    write_tif(made.image, image, nodata=0)
    report = draw(made, weights, tmp_path / "out", resolution=metres, threshold=0.45)
    assert report["resampled"] and report["resolution_m"] == metres and report["pixel_m"] == [3, 3]
    assert names(tmp_path / "out") == SCORED
    with rasterio.open(tmp_path / "out" / "probability.tif") as raster, rasterio.open(made.image) as source:
        assert (raster.crs, raster.transform, raster.shape) == (source.crs, source.transform, source.shape)
    probability, predicted = (read(tmp_path / "out" / name) for name in ("probability.tif", "mask.tif"))
    assert np.array_equal(probability == -1, hole) and np.array_equal(predicted == 255, hole)
    counts = Confusion.of(predicted == 1, mask, ~hole)
    assert {name: report["scores"][name] for name in vars(counts)} == vars(counts)


def test_the_network_sees_the_means_and_its_answer_is_interpolated(tmp_path: Path, weights: Path) -> None:
    mask = blobs(150, 170, 8)
    made = scene(tmp_path, mask, labels="none")
    image = image_of(mask).astype(np.float32)
    write_tif(made.image, image)
    draw(made, weights, tmp_path / "out", resolution=6.0)
    coarse = image.reshape(4, 75, 2, 85, 2).mean(axis=(2, 4))
    path = write_tif(tmp_path / "c.tif", coarse, transform=TRANSFORM * Affine.scale(2))
    draw(Scene("c", "made", path, BANDS), weights, tmp_path / "coarse")
    back = np.empty(mask.shape, np.float32)
    with rasterio.open(tmp_path / "coarse" / "probability.tif") as source:
        rasterio.warp.reproject(
            source.read(1), back, src_transform=source.transform, src_crs=source.crs, src_nodata=-1,
            dst_transform=TRANSFORM, dst_crs=source.crs, resampling=rasterio.enums.Resampling.bilinear,
        )  # fmt: skip
    assert read(tmp_path / "out" / "probability.tif") == pytest.approx(back, abs=1e-5)


def test_the_trained_resolution_comes_from_the_card(tmp_path: Path, weights: Path) -> None:
    made = scene(tmp_path, blobs(100, 100, 6))
    with pytest.raises(UserError, match=r"weights\.safetensors: does not say the resolution.*--resolution 3"):
        draw(made, weights, tmp_path / "out", resolution="trained")
    areas = {
        "far": {"patch_size": 32, "mean": [700.0] * 4, "std": [90.0] * 4, "resolution_m": 0.5},
        "near": {"patch_size": 16, "mean": [900.0] * 4, "std": [300.0] * 4, "resolution_m": 4.5},
        "same": {"patch_size": 16, "mean": [900.0] * 4, "std": [300.0] * 4, "resolution_m": 3.0},
        "silent": {"patch_size": 16, "mean": [900.0] * 4, "std": [300.0] * 4},
    }
    path = write_weights(tmp_path / "w.safetensors", areas={name: areas[name] for name in ("far", "near")})
    report = draw(made, path, tmp_path / "out", resolution="trained")
    assert report["resolution_m"] == 4.5 and report["resampled"]
    report = draw(made, path, tmp_path / "out", resolution="trained", normalise="far")
    assert report["resolution_m"] == 0.5 and report["mean"] == [700.0] * 4 and report["normalise"] == "far"
    path = write_weights(tmp_path / "w.safetensors", areas=areas)
    report = draw(made, path, tmp_path / "out", resolution="trained")
    assert report["resolution_m"] == 3.0 and not report["resampled"]
    with pytest.raises(UserError, match="does not say the resolution"):
        draw(made, path, tmp_path / "out", resolution="trained", normalise="silent")


def test_an_area_s_statistics_can_normalise(tmp_path: Path) -> None:
    made = scene(tmp_path, blobs(100, 100, 6))
    with rasterio.open(made.image) as source:
        values = source.read().reshape(4, -1).astype(np.float64)
    own = {"patch_size": 32, "mean": values.mean(axis=1).tolist(), "std": values.std(axis=1).tolist()}
    path = write_weights(tmp_path / "w.safetensors", areas={"made": own})
    for name in ("scene", "made"):
        assert draw(made, path, tmp_path / name, normalise=name)["normalise"] == name
    maps = [read(tmp_path / name / "probability.tif") for name in ("scene", "made")]
    assert maps[0] == pytest.approx(maps[1], abs=1e-5)
    with pytest.raises(UserError, match=r"area 'atlantis': w\.safetensors was trained on made; choose one of them"):
        draw(made, path, tmp_path / "out", normalise="atlantis")
    own["std"] = [float("inf")] * 4
    path = write_weights(tmp_path / "w.safetensors", areas={"made": own})
    with pytest.raises(UserError, match="statistics stored for 'made' are damaged"):
        draw(made, path, tmp_path / "out", normalise="made")


# Layers -----------------------------------------------------------------------------------------------------------


def test_layers_open_in_a_gis(tmp_path: Path, weights: Path) -> None:
    mask = blobs(300, 300, 30)
    mask[100, 100] = mask[101, 101] = True  # parts that meet at a corner are one landslide
    made = scene(tmp_path, mask)
    cut = median(made, weights, tmp_path / "first")
    report = draw(made, weights, tmp_path / "out", threshold=cut)
    with rasterio.open(tmp_path / "out" / "probability.tif") as raster:
        assert raster.profile["tiled"] and raster.profile["compress"] == "deflate"
        assert raster.dtypes == ("float32",) and raster.nodata == -1 and raster.overviews(1) == [4]
    with rasterio.open(tmp_path / "out" / "mask.tif") as raster:
        assert raster.overviews(1) == [4] and raster.nodata == 255
    with rasterio.open(tmp_path / "out" / "mask.tif", overview_level=0) as raster:
        assert set(np.unique(raster.read(1))) <= {0, 1}  # nearest, not means
    table = gpd.read_file(tmp_path / "out" / "landslides.gpkg", layer="landslides")
    assert list(table.columns) == [
        "id", "area_px", "mean_probability", "max_probability", "area_m2", "lon", "lat", "compactness", "geometry",
    ]  # fmt: skip
    assert list(table["id"]) == list(range(1, report["landslides"] + 1))
    assert table.geometry.is_valid.all() and set(table.geom_type) == {"MultiPolygon"}
    centres = table.geometry.centroid.to_crs(4326)
    assert table["lon"].to_numpy() == pytest.approx(centres.x) and table["lat"].to_numpy() == pytest.approx(centres.y)
    # Each polygon's numbers are those of the pixels it covers.
    probability = read(tmp_path / "out" / "probability.tif")
    for row in table[::200].itertuples():
        inside = rasterize([row.geometry], out_shape=mask.shape, transform=TRANSFORM).astype(bool)
        assert inside.sum() == row.area_px
        assert probability[inside].mean() == pytest.approx(row.mean_probability, abs=1e-6)
        assert probability[inside].max() == pytest.approx(row.max_probability)


def test_styles_are_what_qgis_reads(tmp_path: Path, weights: Path) -> None:
    draw(scene(tmp_path, blobs(60, 60, 3)), weights, tmp_path / "out", threshold=0.25)
    style = ElementTree.parse(tmp_path / "out" / "landslides.qml").getroot()
    renderer = style.find("renderer-v2")
    assert style.tag == "qgis" and renderer is not None
    assert (renderer.get("type"), renderer.get("attr")) == ("graduatedSymbol", "mean_probability")
    ranges = [(float(r.get("lower")), float(r.get("upper")), r.get("symbol")) for r in renderer.iter("range")]  # type: ignore[arg-type]
    assert ranges[0][0] == 0.25 and ranges[-1][1] == 1
    assert all(one[1] == two[0] for one, two in pairwise(ranges))
    symbols = {symbol.get("name"): symbol for symbol in renderer.iter("symbol")}
    assert list(symbols) == [symbol for *_, symbol in ranges]
    light = []
    for symbol in symbols.values():
        (colour,) = [option.get("value") for option in symbol.iter("Option") if option.get("name") == "color"]
        red, green, blue, alpha = map(int, str(colour).split(","))
        light.append(0.2126 * red + 0.7152 * green + 0.0722 * blue)
        assert alpha == 255
    assert light == sorted(light) and min(np.diff(light)) > 15  # told apart in grey, so by any eye
    ramp = ElementTree.parse(tmp_path / "out" / "probability.qml").getroot().iter("item")
    assert [float(str(item.get("value"))) for item in ramp] == pytest.approx(np.arange(11) / 10)


def test_small_landslides_are_left_out_of_the_polygons_only(tmp_path: Path, weights: Path) -> None:
    made = scene(tmp_path, blobs(100, 100, 12))
    cut = median(made, weights, tmp_path / "first")
    whole = draw(made, weights, tmp_path / "whole", threshold=cut)
    table = gpd.read_file(tmp_path / "whole" / "landslides.gpkg")
    px, m2 = int(table["area_px"].median()) + 1, float(table["area_m2"].median()) + 1
    for name, options in (("px", {"min_area_px": px}), ("m2", {"min_area_m2": m2})):
        report = draw(made, weights, tmp_path / name, threshold=cut, **options)
        expected = table[(table["area_px"] >= px) if name == "px" else (table["area_m2"] >= m2)]
        polygons = gpd.read_file(tmp_path / name / "landslides.gpkg")
        assert 0 < report["landslides"] == len(polygons) == len(expected) < len(table)
        assert sorted(polygons["area_px"]) == sorted(expected["area_px"])
        assert report["landslide_m2"] == pytest.approx(expected["area_m2"].sum())
        assert np.array_equal(read(tmp_path / name / "mask.tif"), read(tmp_path / "whole" / "mask.tif"))
        assert report["landslide_px"] == whole["landslide_px"]


@given(st.integers(0, 10**6), st.integers(1, 40))
@settings(max_examples=20, deadline=None)
def test_landslides_gathered_in_strips_are_those_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, seed: int, height: int
) -> None:
    random = np.random.default_rng(seed)
    mask = (random.random((40, 37)) < 0.45).astype(np.uint8)
    mask[random.random(mask.shape) < 0.1] = 255
    probability = random.random(mask.shape).astype(np.float32)
    components = outlines.Components(37)
    for row in range(0, 40, height):
        part = slice(row, row + height)
        components.add(Window(row, 0, len(mask[part]), 37), mask[part], probability[part])
    labels, count = label(mask == 1, np.ones((3, 3)))
    measured, numbers = components.table(), np.arange(1, count + 1)
    numbers = numbers[np.argsort([np.flatnonzero(labels == number)[0] for number in numbers])]
    assert list(measured["area_px"]) == [(labels == number).sum() for number in numbers]
    assert measured["mean_probability"] == pytest.approx(mean(probability, labels, numbers))
    assert measured["max_probability"] == pytest.approx(maximum(probability, labels, numbers))
    path = write_tif(tmp_path_factory.mktemp("mask") / "mask.tif", mask)
    table = outlines.outline(path, components)
    for key in ("area_px", "mean_probability", "max_probability"):
        assert list(table[key]) == list(measured[key])
    assert table.geometry.area.to_numpy() == pytest.approx(table["area_px"] * 9)
    assert table.geometry.is_valid.all()


def test_the_record_holds_what_was_done(tmp_path: Path, weights: Path) -> None:
    report = draw(scene(tmp_path, blobs(60, 80, 3)), weights, tmp_path / "out", batch_size=3, overlap=0.25)
    expected = {
        "scene": "a.tif", "crs": "EPSG:32654", "shape": [60, 80], "pixel_size": [3.0, 3.0], "pixel_m": [3.0, 3.0],
        "model": "unet", "width": 2, "run_id": "0" * 16, "bands": list(BANDS), "normalise": "scene",
        "resolution_m": 3.0, "resampled": False, "window": 32, "overlap": 0.25, "batch_size": 3, "threshold": 0.5,
        "min_area_px": 1, "min_area_m2": 0.0, "valid_px": 4800, "device": "cpu", "precision": "fp32",
        "megapixels": 0.0048, "torch": torch.__version__, "rasterio": rasterio.__version__, "score_files": TABLES,
        "gdal": rasterio.__gdal_version__, "lmhld_nb": lmhld_nb.__version__,
    }  # fmt: skip
    assert {key: report[key] for key in expected} == expected
    rate = report["megapixels"] / report["seconds"]
    assert report["megapixels_per_second"] == pytest.approx(rate, rel=0.05)


# What is refused --------------------------------------------------------------------------------------------------


def like(tmp_path: Path, change: str) -> Path:
    """Write a scene with one thing wrong."""
    image = image_of(blobs(60, 60, 3))
    options: dict[str, Any] = {}
    if change in ("nan", "huge"):
        image = image.astype(np.float32)
        image[:, 5, 5] = np.nan if change == "nan" else -3.4e38
    elif change == "narrow":
        image = image[:, :, :15]
    elif change == "empty":
        image, options["nodata"] = np.zeros_like(image), 0
    elif change == "no crs":
        options["crs"] = None
    elif change == "rotated":
        options["transform"] = TRANSFORM * Affine.rotation(20)
    elif change == "upside down":
        options["transform"] = TRANSFORM * Affine.scale(1, -1)
    return write_tif(tmp_path / "s.tif", image, **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("no crs", "has no coordinate system; assign one"),
        ("rotated", "its grid is rotated or flipped; warp it north-up first (gdalwarp s.tif north_up.tif)"),
        ("upside down", "rotated or flipped; warp it north-up first"),
        ("narrow", "60×15 pixels, at least 16 are needed a side"),
        ("empty", "every pixel is no data; check the file and its no-data value (`--nodata`)"),
        ("nan", "4 NaN or infinite values near row 0, column 0; "),
        (
            "huge",
            "4 values like -3.4e+38 near row 0, column 0; they probably mean no data: give it, e.g. --nodata",
        ),
        ("no nir", "has no band 'nir' (it has blue, green, red, x); the network wants blue, green, red, nir"),
    ],
)
def test_a_scene_that_cannot_be_mapped_is_named(tmp_path: Path, weights: Path, change: str, message: str) -> None:
    bands = ("blue", "green", "red", "x") if change == "no nir" else BANDS
    made = mapping.scene_of_file(like(tmp_path, change), bands)
    with pytest.raises(UserError) as caught:
        draw(made, weights, tmp_path / "new" / "out")
    assert str(caught.value).startswith(f"{made.image}: ") and message in str(caught.value)
    assert "\n" not in str(caught.value) and not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("bands", "message"),
    [
        ("red green blue", "4 bands, but 3 are named (red, green, blue); name all in the file's order"),
        ("red green blue nir x", "4 bands, but 5 are named"),
        ("red Red blue nir", "two bands are named 'red'"),
    ],
)
def test_wrong_band_names_are_refused(tmp_path: Path, bands: str, message: str) -> None:
    path = write_tif(tmp_path / "a.tif", image_of(blobs(60, 60, 3)))
    with pytest.raises(UserError) as caught:
        mapping.scene_of_file(path, tuple(bands.split()))
    assert str(caught.value).startswith(f"{path}: ") and message in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 0.0}, "must lie in"),
        ({"threshold": 1.0}, "must lie in"),
        ({"threshold": float("nan")}, "must lie in"),
        ({"overlap": 1.0}, "must lie in"),
        ({"overlap": -0.1}, "must lie in"),
        ({"batch_size": 0}, "batch size 0: must be at least 1"),
        ({"min_area_px": -1}, "must not be negative"),
        ({"min_area_m2": float("nan")}, "must not be negative"),
        ({"precision": "fp8"}, "precision 'fp8': unknown"),
        ({"resolution": "three"}, "resolution 'three': give metres"),
        ({"resolution": -3.0}, "resolution '-3.0': give metres"),
    ],
)
def test_settings_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        mapping.MapSettings(**options)


def test_bands_are_matched_by_name_and_others_do_no_harm(tmp_path: Path, weights: Path) -> None:
    image = image_of(blobs(60, 60, 3))
    draw(mapping.scene_of_file(write_tif(tmp_path / "plain.tif", image), BANDS), weights, tmp_path / "plain")
    shuffled = np.stack([image[3], image[0] * 0 + 9, image[2], image[1], image[0]])
    path = write_tif(tmp_path / "shuffled.tif", shuffled)
    for named in (("NIR", "SWIR", "Red", "Green", "Blue"), None):
        if named is None:
            with rasterio.open(path, "r+") as target:
                target.descriptions = ("nir", None, " RED", "Green", "blue")
        draw(mapping.scene_of_file(path, named), weights, tmp_path / "shuffled")
        probability = read(tmp_path / "shuffled" / "probability.tif")
        assert np.array_equal(probability, read(tmp_path / "plain" / "probability.tif"))


def test_weights_that_are_none_are_refused(tmp_path: Path, weights: Path) -> None:
    made, path = scene(tmp_path, blobs(60, 60, 3)), tmp_path / "w.safetensors"
    for damaged in (weights.read_bytes()[:-1000], b"PK\x03\x04 a pickle", b""):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"w\.safetensors: not a network of this book"):
            draw(made, path, tmp_path / "out")
    tensors = safetensors.torch.load_file(weights)
    with safetensors.safe_open(weights, framework="pt") as file:
        card = json.loads(file.metadata()["card"])
    for change, message in (
        ({"width": 3}, "its weights are not those of the unet"),
        ({"areas": {}}, "its card is not whole"),
        ({"areas": {"a": {"patch_size": 20}}}, "its card is not whole"),
    ):
        safetensors.torch.save_file(tensors, path, metadata={"card": json.dumps({**card, **change})})
        with pytest.raises(UserError, match=rf"w\.safetensors: .*{message}"):
            draw(made, path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_truth_on_another_grid_says_how_to_mend_it(tmp_path: Path, weights: Path) -> None:
    made = scene(tmp_path, blobs(60, 60, 3))
    assert made.mask is not None
    write_tif(made.mask, blobs(30, 30, 3).astype(np.uint8), transform=TRANSFORM * Affine.scale(2))
    with pytest.raises(UserError) as caught:
        draw(made, weights, tmp_path / "out")
    assert (
        "gdalwarp -t_srs EPSG:32654 -te 500000 4699820 500180 4700000 -ts 60 60 -r near a_mask.tif aligned.tif"
    ) in str(caught.value)
    assert not (tmp_path / "out").exists()


# Files, whatever happens ------------------------------------------------------------------------------------------

# The disk is full after so many bytes: a file may not grow beyond them.
LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
sys.argv = ["lmhld", *sys.argv[2:]]
from lmhld_nb import cli
cli.main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files as Linux does")
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, weights: Path) -> None:
    made = scene(tmp_path, np.random.default_rng(0).random((200, 300)) < 0.5)
    words = ["map", str(made.image), "--weights", str(weights), "--out", str(tmp_path / "out"), "-q"]
    words += ["--bands", "blue,green,red,nir"]
    done = subprocess.run([sys.executable, "-c", LIMITED, "90000", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("lmhld: ")]
    assert line.startswith(f"lmhld: {tmp_path / 'out'}: cannot be written (") and "free space" in line
    assert not (tmp_path / "out").exists()


def test_a_raster_that_lacks_a_part_is_not_taken_for_whole(tmp_path: Path) -> None:
    path = write_tif(tmp_path / "a.tif", np.random.default_rng(0).random((1, 300, 300)), blockxsize=256, blockysize=256)
    files.finish(path, rasterio.enums.Resampling.average)
    empty = tmp_path / "b.tif"
    write_tif(empty, np.zeros((1, 300, 300), np.uint8), sparse_ok=True)
    with pytest.raises(OSError, match="a part of the file is missing"):
        files.finish(empty, rasterio.enums.Resampling.average)


# Real scenes ------------------------------------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.parametrize(
    ("image", "truth"),
    [
        ("hokkaido-2018-3m-rgb/scene_rgb.tif", "hokkaido-2018-3m-rgb/scene_partial_mask.tif"),
        ("jinsha-uav-georef/scene_C_rgb.tif", "jinsha-uav-georef/scene_C_mask.tif"),
    ],
)
def test_real_scenes_are_mapped_on_their_grid(tmp_path: Path, shared_data: Path, image: str, truth: str) -> None:
    paths = []
    for number, name in enumerate((image, truth)):
        paths.append(tmp_path / f"{number}.tif")
        with rasterio.open(shared_data / name) as source:
            window = rasterio.windows.Window(200, 300, 640, 512)
            grid = {"height": 512, "width": 640, "transform": source.window_transform(window)}
            with rasterio.open(paths[-1], "w", **{**source.profile, **grid}) as target:
                target.write(source.read(window=window))
    path = write_weights(tmp_path / "w.safetensors", bands=("blue", "green", "red"), size=64)
    made = mapping.scene_of_file(paths[0], ("red", "green", "blue"), truth=paths[1])
    report = draw(made, path, tmp_path / "out", threshold=0.45, overlap=0.25)
    with rasterio.open(paths[0]) as source:
        for name in ("probability.tif", "mask.tif"):
            with rasterio.open(tmp_path / "out" / name) as raster:
                assert (raster.crs, raster.transform, raster.shape) == (
                    source.crs, source.transform, source.shape,
                )  # fmt: skip
        hole = (source.read() == source.nodata).all(axis=0)
        table = gpd.read_file(tmp_path / "out" / "landslides.gpkg")
        assert table.crs == source.crs and len(table) == report["landslides"]
    assert np.array_equal(read(tmp_path / "out" / "mask.tif") == 255, hole)
    scored = sum(report["scores"][name] for name in ("tp", "fp", "fn", "tn"))
    assert scored == ((read(paths[1]) != 255) & ~hole).sum() > 0
