"""Scenes: everything that can be wrong with an image, a mask or an inventory, and windows that agree with the whole."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import h5py
import numpy as np
import pandas as pd
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from made import CRS, TRANSFORM, blobs, image_of, scene, write_tif
from rasterio.features import rasterize
from shapely.affinity import translate
from shapely.geometry import Point, Polygon, box

from lmhld_nb import scenes
from lmhld_nb.config import UserError
from lmhld_nb.scenes.rasters import Window
from lmhld_nb.scenes.scene import BANDS, Scene, open_image, open_labels, read_all

MASK = blobs(96, 120, 6, seed=3)
WHOLE = Window(0, 0, *MASK.shape)


def refused(made: Scene, path: Path | None, next_step: str, bands: tuple[str, ...] = BANDS) -> None:
    """Assert that reading the scene ends in one line that names the file and the next step."""
    with pytest.raises(UserError) as caught:
        read_all(made, bands)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    assert next_step in text


def polygons_of(path: Path, shapes: list, crs: str | None = CRS) -> Path:
    gpd.GeoDataFrame({"id": range(len(shapes))}, geometry=shapes, crs=crs).to_file(path)
    return path


def point(row: float, col: float) -> tuple[float, float]:
    return TRANSFORM * (col, row)


def square(row: float, col: float, side: float) -> Polygon:
    return box(*point(row + side, col), *point(row, col + side))


# Images ----------------------------------------------------------------------------------------------------------


def test_an_image_without_coordinate_system_is_refused_unless_declared(tmp_path: Path) -> None:
    made = scene(tmp_path, MASK)
    write_tif(made.image, image_of(MASK), crs=None, nodata=0)
    refused(made, made.image, "gdal_edit.py -a_srs")
    values, labels, _ = read_all(replace(made, georeferenced=False))
    assert (values == image_of(MASK)).all() and (labels == MASK).all()


def test_missing_and_unreadable_files_are_refused(tmp_path: Path) -> None:
    made = scene(tmp_path, MASK)
    gone = {suffix: tmp_path / f"gone.{suffix}" for suffix in ("tif", "npy", "gpkg")}
    refused(replace(made, image=gone["tif"]), gone["tif"], "no such file")
    refused(replace(made, image=gone["npy"]), gone["npy"], "no such file")
    refused(replace(made, image=tmp_path), tmp_path, "no such file")
    refused(replace(made, mask=gone["tif"]), gone["tif"], "no such file")
    refused(replace(made, mask=None, polygons=gone["gpkg"]), gone["gpkg"], "export it again")
    made.image.write_text("<html>not found</html>")
    refused(made, made.image, "cannot be read as an image")
    if os.geteuid() != 0:  # the superuser may read everything
        made.image.chmod(0)
        refused(made, made.image, "fetch or export it again")


@pytest.mark.parametrize("role", ["image", "mask"])
def test_a_truncated_geotiff_is_refused(tmp_path: Path, role: str) -> None:
    made = scene(tmp_path, np.random.default_rng(1).integers(0, 2, (400, 400)).astype(bool))
    path: Path = getattr(made, role)
    whole = path.read_bytes()
    for left in (10, 200, len(whole) // 2, len(whole) - 2000):
        path.write_bytes(whole[:left])
        refused(made, path, "fetch or export it again")


@pytest.mark.parametrize("count", [1, 3, 5])
def test_wrong_and_unknown_bands_are_refused(tmp_path: Path, count: int) -> None:
    made = scene(tmp_path, MASK)
    refused(replace(made, bands=()), made.image, "name them with `bands:`")
    refused(made, made.image, "ask for other bands", bands=("red", "swir"))
    write_tif(made.image, image_of(MASK, bands=count), nodata=0)
    refused(made, made.image, "correct `bands:`")
    if count == 5:
        values, _, _ = read_all(replace(made, extra_bands="ignore"))
        assert (values == image_of(MASK, bands=5)[:4]).all()


@given(st.permutations(BANDS), st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_bands_come_in_the_wanted_order(tmp_path_factory: pytest.TempPathFactory, bands: list[str], count: int) -> None:
    folder = tmp_path_factory.getbasetemp() / "bands"
    made = replace(scene(folder, MASK), bands=("nir", "red", "green", "blue"))
    stored = dict(zip(made.bands, image_of(MASK), strict=True))
    window = Window(7, 11, 40, 30)
    with open_image(made) as image:
        values = image.read(window, bands[:count])
    for band, plane in zip(bands, values, strict=False):
        assert (plane == stored[band][7:47, 11:41]).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinite_pixels_are_refused(tmp_path: Path, bad: float) -> None:
    made = scene(tmp_path, MASK)
    values = image_of(MASK).astype(np.float32)
    values[2, 40, 50] = bad
    write_tif(made.image, values)
    refused(made, made.image, "1 NaN or infinite values near row 0, column 0; declare `nodata: .nan`")
    _, _, valid = read_all(replace(made, nodata=float("nan")))
    assert not valid[40, 50] and valid.sum() == valid.size - 1


def test_a_pixel_is_no_data_where_all_bands_say_so(tmp_path: Path) -> None:
    made = scene(tmp_path, MASK)
    values = image_of(MASK)
    values[:, :5] = 0
    values[1, 20, 20] = 0
    write_tif(made.image, values, nodata=0)
    _, _, valid = read_all(made)
    assert not valid[:5].any() and valid[5:].all()
    _, _, valid = read_all(replace(made, nodata=7))
    assert valid.all()


@pytest.mark.parametrize("nodata", [-9999.0, 70_000.0, 0.5, float("nan"), float("inf"), 1e300])
def test_a_nodata_value_that_the_type_cannot_hold_marks_nothing(tmp_path: Path, nodata: float) -> None:
    made = scene(tmp_path, MASK)
    values = image_of(MASK)
    values[:, :5] = 0
    write_tif(made.image, values)
    _, _, valid = read_all(replace(made, nodata=nodata))
    assert valid.all()


# Array files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["npy", "h5"])
@pytest.mark.parametrize("channels", ["first", "last"])
@pytest.mark.parametrize("stacked", [False, True])
def test_array_files_give_what_rasters_give(tmp_path: Path, suffix: str, channels: str, stacked: bool) -> None:
    image, codes = image_of(MASK), MASK.astype(np.uint8)
    stored = image if channels == "first" else image.transpose(1, 2, 0)
    if stacked:
        stored, codes = np.stack([stored * 0, stored]), np.stack([codes * 0, codes])
    made = Scene(
        name="a", area="made", image=tmp_path / f"a.{suffix}", bands=BANDS, mask=tmp_path / f"m.{suffix}",
        channels=channels, index=1 if stacked else None, georeferenced=False,
    )  # fmt: skip
    for path, content in ((made.image, stored), (made.mask, codes)):
        assert path is not None
        if suffix == "npy":
            np.save(path, content)
        else:
            with h5py.File(path, "w") as file:
                file["content"] = content
    values, labels, valid = read_all(made)
    assert (values == image).all() and (labels == MASK).all() and valid.all()
    with open_image(made) as opened, open_labels(made, opened) as marks:
        window = Window(3, 5, 20, 10)
        assert (opened.read(window, ("red", "blue")) == image[[2, 0], 3:23, 5:15]).all()
        assert (marks.read(window) == MASK[3:23, 5:15]).all()


@pytest.mark.parametrize("suffix", ["npy", "h5", "mat"])
def test_truncated_array_files_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "npy":
        np.save(path, image_of(MASK))
    else:
        with h5py.File(path, "w") as file:
            file.create_dataset("content", data=image_of(MASK), chunks=(1, 32, 32))
    whole = path.read_bytes()
    made = Scene(name="a", area="made", image=path, bands=BANDS, unlabelled_is_background=True)
    read_all(made)
    for left in (0, 5, 100, len(whole) // 2, len(whole) - 100):
        path.write_bytes(whole[:left])
        refused(made, path, "fetch")


def test_damaged_chunks_of_an_h5_file_are_refused(tmp_path: Path) -> None:
    codes = np.random.default_rng(0).integers(0, 2, MASK.shape).astype(np.uint8)
    paths = {"image": tmp_path / "a.h5", "mask": tmp_path / "m.h5"}
    for path, content in ((paths["image"], image_of(MASK)), (paths["mask"], codes)):
        with h5py.File(path, "w") as file:
            file.create_dataset("content", data=content, compression="gzip", fletcher32=True)
    made = Scene(name="a", area="made", bands=BANDS, georeferenced=False, **paths)  # type: ignore[arg-type]
    read_all(made)
    for path in paths.values():
        whole = path.read_bytes()
        middle = whole.index(b"\x78\x5e") if b"\x78\x5e" in whole else len(whole) // 2
        path.write_bytes(whole[: middle + 40] + bytes(60) + whole[middle + 100 :])
        refused(made, path, "fetch")
        path.write_bytes(whole)


def test_arrays_of_the_wrong_shape_are_refused(tmp_path: Path) -> None:
    image, mask = tmp_path / "a.npy", tmp_path / "m.npy"
    made = Scene(name="a", area="made", image=image, bands=BANDS, mask=mask)
    np.save(mask, MASK)
    np.save(image, image_of(MASK)[0])
    refused(made, image, "set `channels:` and `stack:`")
    np.save(image, image_of(MASK).transpose(1, 2, 0))
    refused(made, image, "correct `bands:`")
    np.save(image, image_of(MASK))
    np.save(mask, MASK[:-1])
    refused(made, mask, "correct the pairing")
    np.save(image, np.stack([image_of(MASK)] * 3))
    np.save(mask, np.stack([MASK] * 2))
    refused(replace(made, index=2), mask, "correct the pairing")
    refused(replace(made, index=3), image, "correct the pairing")


# Masks -----------------------------------------------------------------------------------------------------------


def test_a_mask_of_another_size_or_grid_is_refused(tmp_path: Path) -> None:
    made = scene(tmp_path, MASK)
    assert made.mask is not None
    codes = MASK.astype(np.uint8)
    write_tif(made.mask, codes[:-1])
    refused(made, made.mask, "export the mask on the image's grid")
    for crs, transform in [
        ("EPSG:32653", TRANSFORM),
        (CRS, TRANSFORM * Affine.translation(1, 0)),
        (CRS, TRANSFORM * Affine.translation(0, -0.8)),
        (CRS, TRANSFORM * Affine.scale(1.01)),
        (CRS, TRANSFORM * Affine.rotation(1)),
    ]:
        write_tif(made.mask, codes, crs=crs, transform=transform)
        refused(made, made.mask, "another grid than a.tif; export the mask on the image's grid")
    write_tif(made.mask, codes, transform=TRANSFORM * Affine.translation(0.2, 0.2))
    assert (read_all(made)[1] == MASK).all()


def test_mask_codes_are_decoded(tmp_path: Path) -> None:
    made = scene(tmp_path, MASK)
    assert made.mask is not None
    codes = np.random.default_rng(1).integers(0, 5, MASK.shape).astype(np.uint8)
    write_tif(made.mask, codes)
    _, labels, _ = read_all(replace(made, landslide_codes=(1, 3), label_nodata_codes=(4,)))
    expected = np.select([np.isin(codes, (1, 3)), codes == 4], [1, 255], 0)
    assert (labels == expected).all()


def test_an_image_without_labels_is_refused_or_known_to_be_background(tmp_path: Path) -> None:
    made = scene(tmp_path, MASK, labels="none")
    refused(made, made.image, "add `masks:` or `polygons:`")
    _, labels, _ = read_all(replace(made, unlabelled_is_background=True))
    assert labels.shape == MASK.shape and not labels.any()


# Polygons --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32653", "EPSG:3857"])
@pytest.mark.parametrize("suffix", ["gpkg", "geojson", "shp"])
def test_polygons_in_another_coordinate_system_give_the_same_mask(tmp_path: Path, crs: str, suffix: str) -> None:
    if suffix == "geojson" and crs != "EPSG:4326":
        pytest.skip("GeoJSON knows EPSG:4326 only")
    made = scene(tmp_path, MASK, labels="polygons")
    other = tmp_path / f"other.{suffix}"
    options = {"COORDINATE_PRECISION": 15} if suffix == "geojson" else {}
    gpd.read_file(made.polygons).to_crs(crs).to_file(other, **options)
    assert (read_all(made)[1] == MASK).all()
    assert (read_all(replace(made, polygons=other))[1] == MASK).all()


def test_polygons_outside_are_counted_and_all_outside_is_an_error(tmp_path: Path) -> None:
    made = scene(tmp_path, MASK, labels="none")
    half, far = square(-5, 10, 10), square(5000, 5000, 10)
    path = polygons_of(tmp_path / "p.gpkg", [square(40, 40, 20), half, far])
    made = replace(made, polygons=path)
    with open_image(made) as image, open_labels(made, image) as labels:
        assert labels.read(WHOLE).sum() == 20 * 20 + 5 * 10
    refused(replace(made, polygons=polygons_of(tmp_path / "far.gpkg", [far] * 2)), tmp_path / "far.gpkg",
         "none of its 2 polygons lies in a.tif; check that the two belong together")  # fmt: skip


def test_an_inventory_without_polygons_is_refused(tmp_path: Path) -> None:
    made = scene(tmp_path, MASK, labels="none")
    empty = tmp_path / "empty.gpkg"
    gpd.GeoDataFrame({"id": []}, geometry=[], crs=CRS).to_file(empty)
    refused(replace(made, polygons=empty), empty, "the inventory is empty")
    hollow = polygons_of(tmp_path / "hollow.gpkg", [Polygon(), None])
    refused(replace(made, polygons=hollow), hollow, "holds no polygons")
    points = polygons_of(tmp_path / "points.gpkg", [Point(point(10, 10))])
    refused(replace(made, polygons=points), points, "holds no polygons")
    table = tmp_path / "table.csv"
    pd.DataFrame({"id": [1]}).to_csv(table)
    refused(replace(made, polygons=table), table, "the inventory is empty")


def test_polygons_that_cannot_be_laid_over_the_image_are_refused(tmp_path: Path) -> None:
    bare = tmp_path / "p.shp"
    with pytest.warns(UserWarning, match="crs"):
        polygons_of(bare, [square(10, 10, 10)], crs=None)
    made = scene(tmp_path, MASK, labels="polygons")
    assert made.polygons is not None
    refused(replace(made, polygons=bare), bare, "supply the .prj file")
    whole = made.polygons.read_bytes()
    for content in (b"", b"no polygons", whole[:3000]):
        made.polygons.write_bytes(content)
        refused(made, made.polygons, "export it again as GeoPackage")
    made.polygons.write_bytes(whole)
    write_tif(made.image, image_of(MASK), crs=None)
    refused(replace(made, georeferenced=False), made.image, "rasterise")


def test_self_crossing_polygons_are_repaired_and_counted(tmp_path: Path) -> None:
    made = scene(tmp_path, MASK, labels="none")
    bow = Polygon([point(10, 10), point(30, 30), point(30, 10), point(10, 30)])
    # A polygon with a spike: repaired, it is a polygon and a line; the line covers no ground.
    spiked = Polygon([point(50, 50), point(50, 70), point(50, 110), point(50, 70), point(70, 70), point(70, 50)])
    flat = Polygon([point(80, 10), point(80, 30), point(80, 20)])
    made = replace(made, polygons=polygons_of(tmp_path / "p.gpkg", [bow, spiked, flat, square(80, 80, 10)]))
    with open_image(made) as image, open_labels(made, image) as labels:
        marked = labels.read(WHOLE)
    rows, cols = np.mgrid[:96, :120] + 0.5
    expected = (abs(rows - 20) > abs(cols - 20)) & (abs(rows - 20) < 10) & (abs(cols - 20) < 10)
    on_the_edge = (abs(rows - 20) == abs(cols - 20)) & (abs(rows - 20) < 10)
    assert (marked == 1)[~on_the_edge].sum() == expected.sum() + 20 * 20 + 10 * 10
    assert not marked[45:75, 71:].any()


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scene, np.ndarray]:
    """Polygons of any shape over one scene, and the mask they give at once."""
    folder = tmp_path_factory.mktemp("many")
    random = np.random.default_rng(5)
    shapes = []
    for _ in range(60):
        around = [Point(random.normal(0, 30, 2)) for _ in range(8)]
        shape = gpd.GeoSeries(around).union_all().convex_hull
        shapes.append(translate(shape, *point(random.uniform(-5, 100), random.uniform(-5, 125))))
    made = scene(folder, MASK, labels="none")
    made = replace(made, polygons=polygons_of(folder / "p.gpkg", shapes))
    whole = rasterize(shapes, out_shape=MASK.shape, transform=TRANSFORM, dtype=np.uint8)
    return made, whole


@given(st.integers(0, 95), st.integers(0, 119), st.integers(1, 96), st.integers(1, 120))
@settings(max_examples=60, deadline=None)
def test_windows_of_polygons_are_parts_of_the_whole(
    many: tuple[Scene, np.ndarray], row: int, col: int, height: int, width: int
) -> None:
    made, whole = many
    window = Window(row, col, min(height, 96 - row), min(width, 120 - col))
    with open_image(made) as image, open_labels(made, image) as labels:
        part = labels.read(window)
    assert (part == whole[row : row + window.height, col : col + window.width]).all()


@given(st.integers(1, 300), st.integers(1, 50), st.integers(1, 120), st.integers(1, 60))
def test_strips_cover_every_row_once(rows: int, cols: int, height: int, step: int) -> None:
    whole = np.arange(2 * rows * cols).reshape(2, rows, cols)
    strips = list(scenes.strips((rows, cols), height))
    assert all((strip.col, strip.width) == (0, cols) and strip.height <= height for strip in strips)
    assert [row for strip in strips for row in range(strip.row, strip.row + strip.height)] == list(range(rows))

    def read(window: Window) -> np.ndarray:
        return whole[:, window.row :, window.col :][:, : window.height, : window.width]

    window = Window(rows // 3, cols // 3, rows - rows // 3, cols - cols // 3)
    decimated = scenes.read_decimated(read, window, step)
    assert (decimated == whole[:, rows // 3 :: step, cols // 3 :: step]).all()


def test_elevation_is_read_on_the_images_grid(tmp_path: Path) -> None:
    made = scene(tmp_path, MASK)
    height = np.random.default_rng(0).normal(1000, 50, MASK.shape).astype(np.float32)
    height[3, 4] = -9999
    made = replace(made, dem=write_tif(tmp_path / "dem.tif", height, nodata=-9999))
    read = scenes.read_dem(made)
    assert np.isnan(read[3, 4]) and np.isfinite(read).sum() == read.size - 1
    assert (scenes.read_dem(made, Window(10, 20, 5, 6)) == height[10:15, 20:26]).all()
    with pytest.raises(UserError, match="add `dem:`"):
        scenes.read_dem(replace(made, dem=None))
    write_tif(tmp_path / "dem.tif", height[1:])
    with pytest.raises(UserError, match="resample it"):
        scenes.read_dem(made)
    write_tif(tmp_path / "dem.tif", height, transform=TRANSFORM * Affine.translation(30, 0))
    with pytest.raises(UserError, match=r"dem\.tif: lies on another grid"):
        scenes.read_dem(made)


# Real samples ----------------------------------------------------------------------------------------------------

RGB = ("red", "green", "blue")


@pytest.mark.real
def test_jinsha_unlabelled_pixels_are_respected(shared_data: Path) -> None:
    image, mask = (shared_data / "jinsha-uav-georef" / f"scene_A_{kind}.tif" for kind in ("rgb", "mask"))
    _, labels, valid = read_all(Scene("a", "jinsha_a", image, RGB, mask), RGB)
    assert labels.shape == (2176, 2304)
    assert (labels != 255).mean() == pytest.approx(0.472, abs=5e-4)
    assert (labels == 1).sum() / (labels != 255).sum() == pytest.approx(0.219, abs=5e-4)
    with rasterio.open(mask) as source:
        assert ((labels == 255) == (source.read(1) == 255)).all()
    assert valid[labels == 255].mean() < 0.001


@pytest.mark.real
def test_hokkaido_tiles_hold_the_landslides_they_should(shared_data: Path) -> None:
    folder = shared_data / "hokkaido-2018-3m-rgb"
    shares = []
    for mask in sorted((folder / "masks").glob("*.png")):
        image = folder / "images" / f"{mask.stem}.tif"
        made = Scene(mask.stem, "hokkaido", image, RGB, mask, georeferenced=False, extra_bands="ignore")
        shares.append((read_all(made, RGB)[1] == 1).mean())
    assert len(shares) == 14
    assert np.mean(shares) == pytest.approx(0.293, abs=1e-3)
    assert (min(shares), max(shares)) == pytest.approx((0.139, 0.564), abs=1e-3)


@pytest.mark.real
def test_chattograms_border_is_no_data(shared_data: Path) -> None:
    image = shared_data / "chattogram-sentinel2-4band" / "scene_rgbn_uint16.tif"
    values, _, valid = read_all(Scene("c", "c", image, (*RGB, "nir"), unlabelled_is_background=True))
    assert valid.mean() == pytest.approx(0.5, abs=0.01)
    assert not values[:, ~valid].any()
    assert values[2:, valid].mean(axis=1) == pytest.approx([717, 2180], abs=2)
