"""Maps one can open: cleaned polygons, terrain, what is not imaged, and warnings before a map is drawn."""

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from made import CRS, blobs, image_of, refuses, scene, write_tif
from mapped import draw, median, read, write_weights
from rasterio.enums import ColorInterp
from shapely.geometry import box

from lmhld_nb.mapping import outlines
from lmhld_nb.mapping.outlines import Cleaning
from lmhld_nb.mapping.unlike import unlike
from lmhld_nb.scenes import open_image
from lmhld_nb.scenes.rasters import Window
from lmhld_nb.scenes.scene import BANDS, Scene

ALL = {"threshold": 1e-6}  # all that is imaged is landslide


def polygons(
    folder: Path, mask: np.ndarray, cleaning: Cleaning | None = None, crs: str | None = CRS
) -> tuple[gpd.GeoDataFrame, dict[str, int]]:
    measured = outlines.measure([(Window(0, 0, *mask.shape), mask, mask.astype(np.float32))])
    table, _, counts = outlines.outline(write_tif(folder / "mask.tif", mask, crs=crs), measured, cleaning or Cleaning())
    return table, counts


def test_small_holes_are_filled_with_what_lies_in_them(tmp_path):
    mask = np.zeros((40, 60), np.uint8)
    mask[2:30, 2:30] = 1
    mask[5:10, 5:10] = 0  # 25 px, with an island
    mask[7, 7] = 1
    mask[12:22, 12:22] = 0  # 100 px, with an island
    mask[15:18, 15:18] = 1
    table, counts = polygons(tmp_path, mask, Cleaning(fill_holes_px=50))
    assert counts == {"found": 3, "holes": 1, "small": 0}
    assert list(table.geometry.area / 9) == [28 * 28 - 100, 9]
    table, counts = polygons(tmp_path, mask, Cleaning(min_area_px=5, fill_holes_px=500))
    assert counts == {"found": 3, "holes": 2, "small": 1} and list(table.geometry.area / 9) == [28 * 28]


@given(st.integers(0, 10**6), st.floats(0.2, 0.7))
@settings(max_examples=15, deadline=None)
def test_smoothed_outlines_stay_within_half_a_pixel_and_apart(tmp_path_factory, seed, share):
    mask = (np.random.default_rng(seed).random((24, 30)) < share).astype(np.uint8)
    folder = tmp_path_factory.mktemp("mask")
    plain, smooth = (polygons(folder, mask, Cleaning(smooth=smooth), None)[0] for smooth in (False, True))
    assert list(smooth["area_px"]) == list(plain["area_px"]) and smooth.geometry.is_valid.all()
    pairs = zip(plain.geometry.boundary, smooth.geometry.boundary, strict=True)
    assert max(shapely.hausdorff_distance(*pair) for pair in pairs) <= 0.5 * 3 + 1e-6
    shapes = smooth.geometry.to_numpy()
    assert shapely.STRtree(shapes).query(shapes, predicate="overlaps").size == 0


@pytest.mark.parametrize(("metres", "least"), [(None, 10), (6.0, 40)])
def test_polygons_below_ten_pixels_as_predicted_are_left_out(tmp_path, weights, metres, least):
    event, out = scene(tmp_path, blobs(150, 150, 30)), tmp_path / "out"
    cut = median(event, weights, out, resolution=metres)
    found = draw(event, weights, out, threshold=cut, resolution=metres)["polygons"]["found"]
    report = draw(event, weights, out, threshold=cut, resolution=metres, min_area_px=None)
    table = gpd.read_file(out / "landslides.gpkg", layer="landslides")
    assert 0 < len(table) == found - report["polygons"]["small"] < found and table["area_px"].min() >= least
    assert table["area_px"].sum() < report["landslide_px"] == (read(out / "mask.tif") == 1).sum()
    draw(event, weights, out, threshold=cut, resolution=metres, min_area_px=None, min_area_m2=5000.0)
    assert gpd.read_file(out / "landslides.gpkg", layer="landslides")["area_m2"].min() >= 5000


def test_length_and_width_are_those_of_the_smallest_rectangle(tmp_path):
    mask = np.zeros((40, 60), np.uint8)
    mask[10:14, 5:45] = 1
    table, _ = polygons(tmp_path, mask)
    assert (table["length_m"][0], table["width_m"][0]) == pytest.approx((120, 12))
    mercator = polygons(tmp_path, mask, crs="EPSG:3857")[0]  # at 39° north
    assert mercator["length_m"][0] == pytest.approx(120 * np.cos(np.radians(38.8)), rel=0.01)


def test_rasters_are_cloud_optimised_and_say_what_they_are(tmp_path, weights):
    draw(scene(tmp_path, blobs(300, 600, 30)), weights, tmp_path / "out")
    probability, mask = (read(tmp_path / "out" / f"{name}.tif") for name in ("probability", "mask"))
    doubt = read(tmp_path / "out" / "uncertainty.tif")
    assert np.abs(doubt / 100 - (1 - np.abs(2 * probability - 1))).max() <= 0.005 + 1e-6
    for name in ("probability", "uncertainty", "mask"):
        with rasterio.open(tmp_path / "out" / f"{name}.tif") as source:
            assert source.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG" and source.overviews(1) == [4, 8]
            assert source.tags()["run_id"] == "0" * 16 and name in source.descriptions[0].replace("landslide (", "mask")
            first = [int(source.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", 1, ovr=level)) for level in (1, 0)]
            assert first == sorted(first) and first[-1] < int(source.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", 1))
    assert set(np.unique(mask)) <= {0, 1}


@pytest.mark.parametrize("resolution", [None, 6.0])
def test_rims_are_not_imaged(tmp_path, resolution):
    weights = write_weights(tmp_path / "w.safetensors", bands=("red", "green", "blue"))
    values = np.clip(image_of(blobs(120, 160, 8), bands=3) / 8, 1, 250).astype(np.uint8)
    rim = np.zeros((120, 160), bool)
    rim[:20] = rim[20:100, :8] = True
    values[:, rim] = 255
    values[:, 100:, 140:] = 0  # black, in the other corner
    values[:, 60:90, 60:90] = 255  # a white roof
    values[:, 110, 30:36] = values[:, 119, 30:36] = 255  # a few white pixels at the border
    rim[100:, 140:] = True
    event = Scene("a", "a", write_tif(tmp_path / "a.tif", values), ("red", "green", "blue"))
    report = draw(event, weights, tmp_path / "out", resolution=resolution, **ALL)
    assert np.array_equal(read(tmp_path / "out" / "mask.tif") == 255, rim)
    assert report["not_imaged_px"] == {"rims": rim.sum(), "clouds": 0} and report["valid_px"] == (~rim).sum()
    assert gpd.read_file(tmp_path / "out" / "not_imaged.gpkg", layer="not_imaged").area.sum() == rim.sum() * 9
    report = draw(event, weights, tmp_path / "out", keep_rims=True, **ALL)
    assert report["valid_px"] == rim.size and not (tmp_path / "out" / "not_imaged.gpkg").exists()


def test_a_rim_winds_around_no_data_and_over_strips(tmp_path, weights):
    values = image_of(np.zeros((1100, 40), bool))
    values[:, :, :5] = 65535
    values[:, :, 5:8] = 0  # no data beside it
    values[:, 600:, 8:12] = 65535  # that joins the rim across no data
    values[:, 1090:, 30:] = 65535  # 10 px at the border are no rim
    event = Scene("a", "a", write_tif(tmp_path / "a.tif", values, nodata=0), BANDS)
    assert draw(event, weights, tmp_path / "out", **ALL)["not_imaged_px"]["rims"] == 1100 * 5 + 500 * 4


@pytest.mark.parametrize("kind", ["polygons", "mask"])
def test_clouds_are_not_imaged_and_do_not_count_in_statistics(tmp_path, weights, kind):
    event, cloud = scene(tmp_path, blobs(100, 120, 8)), np.zeros((100, 120), np.uint8)
    cloud[30:60, 40:90] = 3
    values = image_of(blobs(100, 120, 8))
    reports = []
    for brightness in (3000, 4000):
        values[:, cloud > 0] = brightness
        write_tif(event.image, values, nodata=0)
        path = write_tif(tmp_path / "clouds.tif", cloud)
        if kind == "polygons":
            path = tmp_path / "clouds.gpkg"
            shape = box(500_000 + 40 * 3, 4_700_000 - 60 * 3, 500_000 + 90 * 3, 4_700_000 - 30 * 3)
            gpd.GeoDataFrame(geometry=[shape], crs=CRS).to_crs(4326).to_file(path)
        reports.append(draw(event, weights, tmp_path / "out", clouds=path, **ALL))
        assert np.array_equal(read(tmp_path / "out" / "mask.tif") == 255, cloud > 0)
    assert reports[0]["mean"] == reports[1]["mean"] and reports[0]["not_imaged_px"]["clouds"] == 1500
    share = write_tif(tmp_path / "share.tif", cloud * np.float32(0.3))
    refuses(r"share\.tif: holds fractions.*write 1 for cloud", draw, event, weights, tmp_path / "out", clouds=share)


def test_slope_and_relief_come_from_a_dem_of_any_grid(tmp_path, weights):
    event, out = scene(tmp_path, blobs(200, 200, 12)), tmp_path / "out"
    x = np.arange(-2, 40) * 20.0  # m, cells of 20 m, from beyond the scene
    heights = np.where(x < 300, 0, (x - 300) * np.tan(np.radians(30))).astype(np.float32)
    where = Affine(20, 0, 499_950, 0, -20, 4_700_050)
    dem = write_tif(tmp_path / "dem.tif", np.tile(heights, (42, 1)), transform=where)
    draw(event, weights, out, dem=dem, least_slope=20, **ALL)
    mask, table = read(out / "mask.tif"), gpd.read_file(out / "landslides.gpkg", layer="landslides")
    assert not mask[:, :90].any() and mask[:, 125:].all()
    assert len(table) == 1 and table["slope_deg"][0] == pytest.approx(30, abs=2)
    assert table["relief_m"][0] == pytest.approx(300 * np.tan(np.radians(30)), rel=0.1)
    draw(event, weights, out, dem=dem, **ALL)
    assert read(out / "mask.tif").all()
    for crs in (None, "EPSG:4978"):  # geocentric
        plain = write_tif(tmp_path / "plain.tif", np.tile(heights, (42, 1)), crs=crs)
        refuses(r"plain\.tif: has no geographic or .*--dem needs", draw, event, weights, out, dem=plain)


def test_distance_from_the_searched_ground(tmp_path, weights):
    event = scene(tmp_path, np.zeros((60, 80), bool))
    searched = gpd.GeoDataFrame(geometry=[box(500_000, 4_699_820, 500_060, 4_700_000)], crs=CRS)
    searched.to_file(tmp_path / "searched.gpkg")  # beside the weights
    net = write_weights(tmp_path / "w.safetensors")
    assert draw(event, net, tmp_path / "out", **ALL)["searched"] == str(tmp_path / "searched.gpkg")
    table = gpd.read_file(tmp_path / "out" / "landslides.gpkg", layer="landslides")
    assert list(table["searched_m"]) == [0]
    searched.geometry = searched.translate(150)
    searched.to_file(tmp_path / "other.gpkg")
    clouds = gpd.GeoDataFrame(geometry=[box(500_090, 4_699_820, 500_240, 4_700_000)], crs=CRS)
    clouds.to_file(tmp_path / "clouds.gpkg")
    options = {"searched": tmp_path / "other.gpkg", "clouds": tmp_path / "clouds.gpkg"}
    draw(event, weights, tmp_path / "out", **options, **ALL)
    table = gpd.read_file(tmp_path / "out" / "landslides.gpkg", layer="landslides")
    assert list(table["searched_m"]) == pytest.approx([60], abs=0.2)
    searched.translate(1e5).to_file(tmp_path / "searched.gpkg")  # the network learnt elsewhere
    assert draw(event, net, tmp_path / "out", **ALL)["searched"] is None
    assert "searched_m" not in gpd.read_file(tmp_path / "out" / "landslides.gpkg", layer="landslides")
    says = r"searched\.gpkg: none of its 1 polygons lies in a\.tif"
    refuses(says, draw, event, weights, tmp_path / "out", searched=tmp_path / "searched.gpkg")


def warned(folder: Path, values: np.ndarray, bands: tuple[str, ...] = BANDS, **card: Any) -> list[str]:
    """Map an image with a network that was trained on `image_of`, as far as its card says."""
    mask = blobs(60, 60, 3)
    trained = image_of(mask).reshape(4, -1).astype(float)
    area = {"patch_size": 32, "mean": trained.mean(axis=1).tolist(), "std": trained.std(axis=1).tolist()}
    path = write_weights(folder / "w.safetensors", areas={"made": {**area, "resolution_m": 3.0, **card}})
    return draw(Scene("a", "a", write_tif(folder / "a.tif", values), bands), path, folder / "out")["unlike"]


def test_a_scene_unlike_the_training_is_named_beforehand(tmp_path, capsys):
    own = image_of(blobs(60, 60, 3))
    own[3] *= 3  # near infrared is brighter
    mean = own.reshape(4, -1).mean(axis=1).tolist()
    assert warned(tmp_path, own, mean=mean) == [] and capsys.readouterr().err == ""
    (line,) = warned(tmp_path, own, mean=mean, resolution_m=0.5)
    assert line == "a pixel is 3 m, in training it was 0.5 m; predict at it with --resolution trained"
    assert capsys.readouterr().err == f"lmhld: a.tif: {line}\n"
    (line,) = warned(tmp_path, own // 20, mean=mean)
    assert "times as bright as in training; are its values of the same kind?" in line
    (line,) = warned(tmp_path, own, ("nir", "green", "red", "blue"), mean=mean)
    assert "times what it was in training: another sensor, or bands in another order?" in line
    assert warned(tmp_path, own, mean=None, resolution_m=None) == []  # a card that says nothing


def test_the_files_own_colours_are_compared_with_the_names(tmp_path):
    values = image_of(blobs(60, 60, 3))
    assert warned(tmp_path, values) == []
    path = write_tif(tmp_path / "a.tif", values)
    with rasterio.open(path, "r+") as target:
        target.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.undefined]
    weights = tmp_path / "w.safetensors"
    (line,) = draw(Scene("a", "a", path, BANDS), weights, tmp_path / "out")["unlike"]
    assert line == "band 1 is blue by its name and red by the file's own tag; check the order in --bands"
    assert draw(Scene("a", "a", path, ("red", "green", "blue", "nir")), weights, tmp_path / "out")["unlike"] == []


def test_pixels_outside_the_trainings_percentiles_are_counted(tmp_path, weights):
    values = image_of(blobs(60, 60, 3))
    flat = values.reshape(4, -1).astype(float)
    shares = np.percentile(flat, (1, 5, 50, 95, 99), axis=1).T.tolist()
    own = flat.mean(axis=1), flat.std(axis=1)
    card = {"bands": BANDS, "percentiles": dict(zip(BANDS, shares, strict=True)), "areas": {"made": {
        "mean": own[0].tolist(), "std": own[1].tolist()}}}  # fmt: skip
    with open_image(Scene("a", "a", write_tif(tmp_path / "a.tif", values), BANDS)) as image:
        assert unlike(image, card, own) == []
        (line,) = unlike(image, card, (own[0] - 600, own[1]))
        assert "of the pixels lie outside what training held of" in line
