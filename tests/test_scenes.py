"""Scenes: everything that can be wrong with an image, a mask or an inventory, and windows that agree with the whole."""

import os
import re
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from made import CRS, TRANSFORM, blobs, image_of, refuses, scene, write_tif
from rasterio.features import rasterize
from shapely.geometry import Point, Polygon, box
from test_layout import write

from lmhld_nb import scenes
from lmhld_nb.scenes.rasters import Window
from lmhld_nb.scenes.scene import BANDS, Scene, open_image, open_labels, read_all

MASK = blobs(96, 120, 6, seed=3)
IMAGE, CODES = image_of(MASK), MASK.astype(np.uint8)
WHOLE = Window(0, 0, *MASK.shape)


def refused(made: Scene, path: Path | None, next_step: str, bands: tuple[str, ...] = BANDS) -> None:
    """Assert that reading the scene ends in one line that names the file and the next step."""
    assert str(path) in refuses(re.escape(next_step), read_all, made, bands)


def polygons_of(path: Path, shapes: list, crs: str | None = CRS) -> Path:
    gpd.GeoDataFrame({"id": range(len(shapes))}, geometry=shapes, crs=crs).to_file(path)
    return path


def point(row: float, col: float) -> tuple[float, float]:
    return TRANSFORM * (col, row)


def square(row: float, col: float, side: float) -> Polygon:
    return box(*point(row + side, col), *point(row, col + side))


@pytest.fixture
def made(tmp_path: Path) -> Scene:
    return scene(tmp_path, MASK)


@pytest.fixture
def bare(tmp_path: Path) -> Scene:
    return scene(tmp_path, MASK, labels="none")


@pytest.mark.parametrize(("changes", "file", "next_step"), [
    ({"image": "gone.tif"}, "gone.tif", "no such file"),
    ({"image": "gone.npy"}, "gone.npy", "no such file"),
    ({"image": "."}, "", "no such file"),
    ({"mask": "gone.tif"}, "gone.tif", "no such file"),
    ({"mask": None, "polygons": "gone.gpkg"}, "gone.gpkg", "export it again"),
    ({"mask": None}, "a.tif", "add `masks:` or `polygons:`"),
    ({"bands": ()}, "a.tif", "name them with `bands:`"),
    ({"bands": BANDS[:3]}, "a.tif", "correct `bands:`"),
    ({"bands": (*BANDS, "swir")}, "a.tif", "correct `bands:`"),
    ({"bands": ("a", "b", "c", "d")}, "a.tif", "ask for other bands"),
])  # fmt: skip
def test_a_wrong_description_is_refused(made, tmp_path, changes, file, next_step):
    paths = {key: tmp_path / value for key, value in changes.items() if isinstance(value, str)}
    refused(replace(made, **{**changes, **paths}), tmp_path / file, next_step)


def test_images_are_read_as_declared_or_refused(made):
    write_tif(made.image, IMAGE, crs=None, nodata=0)
    refused(made, made.image, "gdal_edit.py -a_srs")
    values, labels, _ = read_all(replace(made, georeferenced=False))
    assert (values == IMAGE).all() and (labels == MASK).all()
    write_tif(made.image, IMAGE)
    with open_image(made) as image:  # bands come in the order asked for
        assert (image.read(Window(7, 11, 40, 30), ("nir", "green", "red")) == IMAGE[[3, 1, 2], 7:47, 11:41]).all()
    write_tif(made.image, image_of(MASK, bands=5), nodata=0)
    assert (read_all(replace(made, extra_bands="ignore"))[0] == image_of(MASK, bands=5)[:4]).all()
    made.image.write_text("<html>not found</html>")
    refused(made, made.image, "cannot be read as an image")
    if os.geteuid() != 0:  # the superuser may read everything
        made.image.chmod(0)
        refused(made, made.image, "fetch or export it again")


@pytest.mark.parametrize("name", ["a.tif", "a_mask.tif", "a.npy", "a.h5", "a.mat"])
def test_truncated_files_are_refused(tmp_path, name):
    path, mask = tmp_path / name, np.random.default_rng(1).integers(0, 2, (400, 400)).astype(bool)
    made = scene(tmp_path, mask)
    if path.suffix != ".tif":
        made = replace(made, image=write(path, image_of(mask)), mask=None, unlabelled_is_background=True)
    read_all(made)
    whole = path.read_bytes()
    for left in (0, 10, 200, len(whole) // 2, len(whole) - 2000):
        path.write_bytes(whole[:left])
        refused(made, path, "fetch or export it again")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinite_pixels_are_refused(made, bad):
    values = IMAGE.astype(np.float32)
    values[2, 40, 50] = bad
    write_tif(made.image, values)
    refused(made, made.image, "1 NaN or infinite values near row 0, column 0; declare `nodata: .nan`")
    _, _, valid = read_all(replace(made, nodata=float("nan")))
    assert not valid[40, 50] and valid.sum() == valid.size - 1


@pytest.mark.parametrize("nodata", [None, 7, -9999.0, 70_000.0, 0.5, float("nan"), float("inf"), 1e300])
def test_a_pixel_is_no_data_where_all_bands_say_so(made, nodata):
    values = IMAGE.copy()
    values[:, :5] = values[1, 20, 20] = 0
    write_tif(made.image, values, nodata=0)
    _, _, valid = read_all(replace(made, nodata=nodata))
    expected = np.ones_like(valid)
    expected[:5] = nodata is not None  # what the type cannot hold, or no pixel has, marks nothing
    assert (valid == expected).all()


@pytest.mark.parametrize("suffix", ["npy", "h5"])
@pytest.mark.parametrize("channels", ["first", "last"])
@pytest.mark.parametrize("stacked", [False, True])
def test_array_files_give_what_rasters_give(tmp_path, suffix, channels, stacked):
    stored, codes = IMAGE if channels == "first" else IMAGE.transpose(1, 2, 0), CODES
    if stacked:
        stored, codes = np.stack([stored * 0, stored]), np.stack([codes * 0, codes])
    image, mask = write(tmp_path / f"a.{suffix}", stored), write(tmp_path / f"m.{suffix}", codes)
    made = Scene("a", "made", image, BANDS, mask, channels=channels, index=1 if stacked else None)
    values, labels, valid = read_all(made)
    assert (values == IMAGE).all() and (labels == MASK).all() and valid.all()
    with open_image(made) as opened, open_labels(made, opened) as marks:
        window = Window(3, 5, 20, 10)
        assert (opened.read(window, ("red", "blue")) == IMAGE[[2, 0], 3:23, 5:15]).all()
        assert (marks.read(window) == MASK[3:23, 5:15]).all()


@pytest.mark.parametrize(("values", "codes", "index", "file", "next_step"), [
    (IMAGE[0], CODES, None, "a.npy", "set `channels:` and `stack:`"),
    (IMAGE.transpose(1, 2, 0), CODES, None, "a.npy", "correct `bands:`"),
    (IMAGE, CODES[:-1], None, "m.npy", "correct the pairing"),
    (np.stack([IMAGE] * 3), np.stack([CODES] * 2), 2, "m.npy", "correct the pairing"),
    (np.stack([IMAGE] * 3), np.stack([CODES] * 2), 3, "a.npy", "correct the pairing"),
])  # fmt: skip
def test_arrays_of_the_wrong_shape_are_refused(tmp_path, values, codes, index, file, next_step):
    image, mask = write(tmp_path / "a.npy", values), write(tmp_path / "m.npy", codes)
    refused(Scene("a", "made", image, BANDS, mask, index=index), tmp_path / file, next_step)


def test_a_mask_of_another_size_or_grid_is_refused(made):
    assert made.mask is not None
    write_tif(made.mask, CODES[:-1])
    refused(made, made.mask, "export the mask on the image's grid")
    move, crooked = Affine.translation, (Affine.scale(1.01), Affine.rotation(1))
    for change in (move(1, 0), move(0, -0.8), *crooked, None):
        transform = TRANSFORM * change if change else TRANSFORM
        write_tif(made.mask, CODES, crs=CRS if change else "EPSG:32653", transform=transform)
        refused(made, made.mask, "another grid than a.tif; export the mask on the image's grid")
    write_tif(made.mask, CODES, transform=TRANSFORM * move(0.2, 0.2))
    assert (read_all(made)[1] == MASK).all()


def test_mask_codes_are_decoded(made):
    assert made.mask is not None
    codes = np.random.default_rng(1).integers(0, 5, MASK.shape).astype(np.uint8)
    write_tif(made.mask, codes)
    _, labels, _ = read_all(replace(made, landslide_codes=(1, 3), label_nodata_codes=(4,)))
    assert (labels == np.select([np.isin(codes, (1, 3)), codes == 4], [1, 255], 0)).all()
    _, labels, _ = read_all(replace(made, mask=None, unlabelled_is_background=True))
    assert labels.shape == MASK.shape and not labels.any()


@pytest.mark.parametrize(("suffix", "crs"), [("geojson", 4326), ("gpkg", 32653), ("shp", 3857)])
def test_polygons_in_another_coordinate_system_give_the_same_mask(tmp_path, suffix, crs):
    made = scene(tmp_path, MASK, labels="polygons")
    other = tmp_path / f"other.{suffix}"
    options = {"COORDINATE_PRECISION": 15} if suffix == "geojson" else {}
    gpd.read_file(made.polygons).to_crs(crs).to_file(other, **options)
    assert (read_all(made)[1] == MASK).all()
    assert (read_all(replace(made, polygons=other))[1] == MASK).all()


def test_polygons_outside_are_left_out_and_all_outside_is_an_error(bare, tmp_path):
    half, far = square(-5, 10, 10), square(5000, 5000, 10)
    path = polygons_of(tmp_path / "p.gpkg", [square(40, 40, 20), half, far])
    _, labels, _ = read_all(replace(bare, polygons=path))
    assert labels.sum() == 20 * 20 + 5 * 10
    path = polygons_of(tmp_path / "far.gpkg", [far] * 2)
    refused(replace(bare, polygons=path), path, "none of its 2 polygons lies in a.tif; check that the two belong")


def test_an_inventory_without_polygons_is_refused(bare, tmp_path):
    for shapes in ([Polygon(), None], [Point(point(10, 10))]):
        path = polygons_of(tmp_path / f"{len(shapes)}.gpkg", shapes)
        refused(replace(bare, polygons=path), path, "holds no polygons")
    pd.DataFrame({"id": [1]}).to_csv(tmp_path / "table.csv")
    for path in (polygons_of(tmp_path / "empty.gpkg", []), tmp_path / "table.csv"):
        refused(replace(bare, polygons=path), path, "the inventory is empty")


def test_polygons_that_cannot_be_laid_over_the_image_are_refused(tmp_path):
    loose = tmp_path / "p.shp"
    with pytest.warns(UserWarning, match="crs"):
        polygons_of(loose, [square(10, 10, 10)], crs=None)
    made = scene(tmp_path, MASK, labels="polygons")
    assert made.polygons is not None
    refused(replace(made, polygons=loose), loose, "supply the .prj file")
    whole = made.polygons.read_bytes()
    for content in (b"", b"no polygons", whole[:3000]):
        made.polygons.write_bytes(content)
        refused(made, made.polygons, "export it again as GeoPackage")
    made.polygons.write_bytes(whole)
    write_tif(made.image, IMAGE, crs=None)
    refused(replace(made, georeferenced=False), made.image, "rasterise")


def test_self_crossing_polygons_are_repaired(bare, tmp_path):
    bow = Polygon([point(10, 10), point(30, 30), point(30, 10), point(10, 30)])
    # A polygon with a spike: repaired, it is a polygon and a line; the line covers no ground.
    spiked = Polygon([point(50, 50), point(50, 70), point(50, 110), point(50, 70), point(70, 70), point(70, 50)])
    flat = Polygon([point(80, 10), point(80, 30), point(80, 20)])
    path = polygons_of(tmp_path / "p.gpkg", [bow, spiked, flat, square(80, 80, 10)])
    _, labels, _ = read_all(replace(bare, polygons=path))
    rows, cols = np.mgrid[:96, :120] + 0.5
    expected = (abs(rows - 20) > abs(cols - 20)) & (abs(rows - 20) < 10) & (abs(cols - 20) < 10)
    on_the_edge = (abs(rows - 20) == abs(cols - 20)) & (abs(rows - 20) < 10)
    assert (labels == 1)[~on_the_edge].sum() == expected.sum() + 20 * 20 + 10 * 10
    assert not labels[45:75, 71:].any()


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scene, np.ndarray]:
    """Polygons of any shape over one scene, and the mask they give at once."""
    folder, random = tmp_path_factory.mktemp("many"), np.random.default_rng(5)
    shapes = [Point(point(*random.uniform(-5, 125, 2))).buffer(random.uniform(3, 60), 2) for _ in range(60)]
    made = replace(scene(folder, MASK, labels="none"), polygons=polygons_of(folder / "p.gpkg", shapes))
    return made, rasterize(shapes, out_shape=MASK.shape, transform=TRANSFORM, dtype=np.uint8)


@given(st.integers(0, 95), st.integers(0, 119), st.integers(1, 96), st.integers(1, 120))
@settings(max_examples=60)
def test_windows_fit_the_whole(many, row, col, height, width):
    made, whole = many
    window = Window(row, col, min(height, 96 - row), min(width, 120 - col))
    with open_image(made) as image, open_labels(made, image) as labels:
        part = labels.read(window)
    assert (part == whole[row : row + window.height, col : col + window.width]).all()


@given(st.integers(1, 300), st.integers(1, 50), st.integers(1, 120), st.integers(1, 60))
def test_strips_cover_every_row_once(rows, cols, height, step):
    whole = np.arange(2 * rows * cols).reshape(2, rows, cols)
    strips = list(scenes.strips((rows, cols), height))
    assert all((strip.col, strip.width) == (0, cols) and strip.height <= height for strip in strips)
    assert [row for strip in strips for row in range(strip.row, strip.row + strip.height)] == list(range(rows))

    def read(window: Window) -> np.ndarray:
        return whole[:, window.row :, window.col :][:, : window.height, : window.width]

    window = Window(rows // 3, cols // 3, rows - rows // 3, cols - cols // 3)
    decimated = scenes.read_decimated(read, window, step)
    assert (decimated == whole[:, rows // 3 :: step, cols // 3 :: step]).all()


def test_elevation_is_read_on_the_images_grid(made, tmp_path):
    height = np.random.default_rng(0).normal(1000, 50, MASK.shape).astype(np.float32)
    height[3, 4] = -9999
    refuses("add `dem:`", scenes.read_dem, made)
    made = replace(made, dem=write_tif(tmp_path / "dem.tif", height, nodata=-9999))
    read = scenes.read_dem(made)
    assert np.isnan(read[3, 4]) and np.isfinite(read).sum() == read.size - 1
    assert (scenes.read_dem(made, Window(10, 20, 5, 6)) == height[10:15, 20:26]).all()
    for values, shift in ((height[1:], 0), (height, 30)):
        write_tif(tmp_path / "dem.tif", values, transform=TRANSFORM * Affine.translation(shift, 0))
        refuses(r"dem\.tif: .*; resample it", scenes.read_dem, made)
