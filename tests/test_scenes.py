"""Scenes and mosaics: everything that can be wrong with them, and windows that agree with the whole."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from made import CRS, TRANSFORM, blobs, image_of, refuses, scene, write_tif
from rasterio.enums import ColorInterp
from rasterio.features import rasterize
from shapely.geometry import Point, Polygon, box
from test_layout import write

from lmhld_nb import scenes
from lmhld_nb.scenes import mosaics, rasters
from lmhld_nb.scenes.rasters import Window
from lmhld_nb.scenes.scene import BANDS, Scene, open_image, open_labels, read_all

MASK = blobs(96, 120, 6, seed=3)
IMAGE, CODES = image_of(MASK), MASK.astype(np.uint8)


def refused(made: Scene, path: Path | None, next_step: str, bands: tuple[str, ...] = BANDS) -> None:
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
    ({"mask": "gone.tif"}, "gone.tif", "no such file"),
    ({"mask": None, "polygons": "gone.gpkg"}, "gone.gpkg", "no such file"),
    ({"mask": None}, "a.tif", "add `masks:` or `polygons:`"),
    ({"bands": ()}, "a.tif", "name them with `bands:`"),
    ({"bands": BANDS[:3]}, "a.tif", "correct `bands:`"),
    ({"bands": ("a", "b", "c", "d")}, "a.tif", "ask for other bands"),
])  # fmt: skip
def test_a_wrong_description_is_refused(made, tmp_path, changes, file, next_step):
    paths = {key: tmp_path / value for key, value in changes.items() if isinstance(value, str)}
    refused(replace(made, **{**changes, **paths}), tmp_path / file, next_step)


def test_images_are_read_as_declared_or_refused(made):
    write_tif(made.image, IMAGE, crs=None, nodata=0)
    refused(made, made.image, "rio edit-info --crs")
    values, labels, _ = read_all(replace(made, georeferenced=False))
    assert (values == IMAGE).all() and (labels == MASK).all()
    write_tif(made.image, IMAGE)
    with open_image(made) as image:  # bands come in the order asked for
        assert (image.read(Window(7, 11, 40, 30), ("nir", "green", "red")) == IMAGE[[3, 1, 2], 7:47, 11:41]).all()
    write_tif(made.image, image_of(MASK, bands=5), nodata=0)
    assert (read_all(replace(made, extra_bands="ignore"))[0] == image_of(MASK, bands=5)[:4]).all()
    made.image.write_text("no image")
    refused(made, made.image, "cannot be read as an image")
    if os.geteuid() != 0:  # the superuser may read everything
        made.image.chmod(0)
        refused(made, made.image, "fetch or export it again")


def vrt(source: object, relative: int = 0) -> str:
    name = f'<SourceFilename relativeToVRT="{relative}">{source}</SourceFilename>'
    band = f'<VRTRasterBand dataType="UInt16" band="1"><SimpleSource>{name}</SimpleSource></VRTRasterBand>'
    return f'<VRTDataset rasterXSize="64" rasterYSize="64">{band}</VRTDataset>'


def test_only_formats_of_the_book_are_opened_and_a_vrt_stays_below_its_folder(tmp_path):
    tif, below = write_tif(tmp_path / "a.tif", image_of(blobs(64, 64, 2))), tmp_path / "below"
    write_tif(below / "b.tif", image_of(blobs(64, 64, 2)))
    wms = '<GDAL_WMS><Service name="TMS"><ServerUrl>http://127.0.0.1:9/${x}.png</ServerUrl></Service></GDAL_WMS>'
    (below / "wms.tif").write_text(wms)
    for name, text in {"x.tif": wms, "x.png": vrt(tif), "y.tif": "ncols 1\nnrows 1\ncellsize 1\n1\n"}.items():
        (below / name).write_text(text)
        refuses(rf"{name}: cannot be read as an image", rasters.open_raster, below / name)
    path = below / "x.vrt"
    hostile = [vrt(tif), vrt("../a.tif", 1), vrt("/vsicurl/http://127.0.0.1:9/a.tif"), vrt(wms.replace("<", "&lt;")),
               vrt("gone/B1.tif", 1), vrt("<![CDATA[b.tif]]>", 1), vrt(tif).replace("SourceF", "sourcef")]  # fmt: skip
    for text in hostile:
        path.write_text(text)
        refuses(r"x\.vrt: refers to .*not a file below its own folder", rasters.open_raster, path)
    path.write_text(vrt("x.vrt", 1))
    refuses("refers to itself", rasters.open_raster, path)
    path.write_text(vrt("wms.tif", 1))
    refuses("cannot be read as an image", rasters.open_raster, path)
    (below / "linked.tif").symlink_to(tif)  # the user's own way out
    for name in ("b.tif", "linked.tif"):
        path.write_text(vrt(name, 1))
        with rasters.open_raster(path) as source:
            assert source.read(1).any()


@pytest.mark.parametrize(("numbers", "message"), [
    *(((*bad, 5e5, 0, -3, 4e6), "is not a grid") for bad in ((np.nan, 0), (np.inf, 0), (1e300, 0))),
    ((0, 0, 5e5, 0, 0, 4e6), "is not a grid"),
    ((3, 3, 5e5, 3, 3, 4e6), "is not a grid"),
])  # fmt: skip
def test_impossible_grids_and_complex_numbers_are_refused(tmp_path, numbers, message):
    path = write_tif(tmp_path / "a.tif", image_of(blobs(64, 64, 2)), transform=Affine(*numbers))
    refuses(message, rasters.open_raster, path)
    refuses("complex numbers", rasters.open_raster, write_tif(path, np.ones((1, 64, 64), np.complex64)))


def test_a_cut_png_and_a_missing_geotransform_are_noticed(tmp_path):
    path = tmp_path / "a.png"
    with rasterio.open(path, "w", driver="PNG", width=64, height=64, count=4, dtype="uint8") as target:
        target.write(image_of(blobs(64, 64, 2)).astype(np.uint8))
    rasters.check_whole(path)
    path.write_bytes(path.read_bytes()[:-3000])
    refuses(r"a\.png: damaged near row 63", rasters.check_whole, path)
    message = "a coordinate system but no geotransform"
    refuses(message, rasters.check_north_up, path, rasterio.crs.CRS.from_epsg(32654), Affine.identity())


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


@pytest.mark.parametrize("kind", [np.uint16, np.float32])
@pytest.mark.parametrize("nodata", [None, 7, -9999.0, 70_000.0, 0.5, float("nan"), float("inf"), 1e300])
def test_a_pixel_is_no_data_where_all_bands_say_so(made, nodata, kind):
    values = IMAGE.astype(kind)
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


def test_mask_codes_are_decoded_and_another_size_or_grid_is_refused(made):
    codes = np.random.default_rng(1).integers(0, 5, MASK.shape).astype(np.uint8)
    write_tif(made.mask, codes)
    _, labels, _ = read_all(replace(made, landslide_codes=(1, 3), label_nodata_codes=(4,)))
    assert (labels == np.select([np.isin(codes, (1, 3)), codes == 4], [1, 255], 0)).all()
    _, labels, _ = read_all(replace(made, mask=None, unlabelled_is_background=True))
    assert labels.shape == MASK.shape and not labels.any()
    write_tif(made.mask, CODES[:-1])
    refused(made, made.mask, "export the mask on the image's grid")
    move, crooked = Affine.translation, (Affine.scale(1.01), Affine.rotation(1))
    for change in (move(1, 0), move(0, -0.8), *crooked, None):
        transform = TRANSFORM * change if change else TRANSFORM
        write_tif(made.mask, CODES, crs=CRS if change else "EPSG:32653", transform=transform)
        refused(made, made.mask, "another grid than a.tif; export the mask on the image's grid")
    write_tif(made.mask, CODES, transform=TRANSFORM * move(0.2, 0.2))
    assert (read_all(made)[1] == MASK).all()


def test_polygons_outside_are_left_out_and_none_inside_is_refused(bare, tmp_path):
    half, far = square(-5, 10, 10), square(5000, 5000, 10)
    path = polygons_of(tmp_path / "p.gpkg", [square(40, 40, 20), half, far])
    _, labels, _ = read_all(replace(bare, polygons=path))
    assert labels.sum() == 20 * 20 + 5 * 10
    path = polygons_of(tmp_path / "far.gpkg", [far] * 2)
    refused(replace(bare, polygons=path), path, "none of its 2 polygons lies in a.tif; check that the two belong")
    for shapes in ([Polygon(), None], [Point(point(10, 10))]):
        path = polygons_of(tmp_path / f"{len(shapes)}.gpkg", shapes)
        refused(replace(bare, polygons=path), path, "holds no polygons")


def test_polygons_that_cannot_be_laid_over_the_image_are_refused(tmp_path):
    loose = tmp_path / "p.shp"
    with pytest.warns(UserWarning, match="crs"):
        polygons_of(loose, [square(10, 10, 10)], crs=None)
    made = scene(tmp_path, MASK, labels="polygons")
    refused(replace(made, polygons=loose), loose, "supply the .prj file")
    whole = made.polygons.read_bytes()
    for content in (b"", b"no polygons", whole[:3000]):
        made.polygons.write_bytes(content)
        refused(made, made.polygons, "export it again as GeoPackage")
    made.polygons.write_bytes(whole)
    write_tif(made.image, IMAGE, crs=None)
    refused(replace(made, georeferenced=False), made.image, "rio edit-info --crs")


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
    ring = [list(corner) for corner in square(40, 40, 20).exterior.coords[:-1]]  # left open
    feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    crs = {"type": "name", "properties": {"name": CRS}}
    text = json.dumps({"type": "FeatureCollection", "crs": crs, "features": [feature]})
    (tmp_path / "open.geojson").write_text(text)
    assert read_all(replace(bare, polygons=tmp_path / "open.geojson"))[1].sum() == 20 * 20


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scene, np.ndarray]:
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


def tile(folder: Path, name: str, image: np.ndarray, row: int = 0, col: int = 0, **options: object) -> Path:
    return write_tif(folder / f"{name}.tif", image, transform=TRANSFORM * Affine.translation(col, row), **options)


def read(paths: list[Path], **options: object) -> tuple[np.ndarray, np.ndarray, Affine]:
    scene = Scene("a", "made", paths[0], BANDS)
    with scenes.open_image(scene, paths[1:], **options) as image:  # type: ignore[arg-type]
        values = image.read(Window(0, 0, *image.shape), BANDS)
        return values, image.valid(values), image.transform


@given(st.data())
@settings(max_examples=25)
def test_the_first_file_that_holds_data_wins(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("mosaic")
    expected, paths = np.full((4, 50, 50), -1, np.int64), []
    corners = data.draw(st.lists(st.tuples(st.integers(0, 34), st.integers(0, 34)), min_size=2, max_size=4))
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    for number, (row, col) in enumerate([*corners, (0, 0)]):
        nodata = [0, None, 7][number % 3]
        image = random.integers(0, 9, (4, 16, 16)).astype(np.uint8)
        if nodata is not None:
            image[:, random.random((16, 16)) < 0.3] = nodata
        paths.append(tile(folder, str(number), image, row, col, nodata=nodata))
        held = (image != nodata).any(axis=0) if nodata is not None else np.ones((16, 16), bool)
        here = expected[:, row : row + 16, col : col + 16]
        take = held & (here == -1).all(axis=0)
        here[:, take] = image[:, take]
    values, valid, transform = read(paths)
    assert transform == TRANSFORM and list(values.shape[1:]) == [max(ends) + 16 for ends in zip(*corners, strict=True)]
    expected = expected[:, : values.shape[1], : values.shape[2]]
    assert np.array_equal(valid, (expected != -1).all(axis=0))
    assert np.array_equal(values[:, valid], expected[:, valid])
    row, col = (data.draw(st.integers(0, side - 1)) for side in valid.shape)
    window = Window(row, col, min(20, valid.shape[0] - row), min(20, valid.shape[1] - col))
    with scenes.open_image(Scene("a", "made", paths[0], BANDS), paths[1:]) as image:
        part = image.read(window, BANDS[::-1])
    here = (slice(row, row + window.height), slice(col, col + window.width))
    assert np.array_equal(part[:, valid[here]], values[::-1, *here][:, valid[here]])


@pytest.mark.parametrize(("change", "message"), [
    ({"transform": TRANSFORM * Affine.scale(2)}, "a pixel is 6 × 6, in a.tif 3 × 3"),
    ({"transform": TRANSFORM * Affine.translation(0.4, 0)}, "its pixels do not meet those of a.tif"),
    ({"transform": TRANSFORM * Affine.rotation(10)}, "rotated or flipped; warp it north-up first"),
    ({"crs": "EPSG:32653"}, "has another coordinate system than a.tif"),
    ({"values": image_of(blobs(40, 40, 2), bands=3)}, "its bands are ? ? ?, those of a.tif ? ? ? ?"),
    ({"values": np.ones((4, 40, 40), np.float32)}, "holds float32, a.tif uint16"),
])  # fmt: skip
def test_a_file_of_another_grid_is_named(tmp_path, change, message):
    image = image_of(blobs(40, 40, 2))
    first, options = write_tif(tmp_path / "a.tif", image), dict(change)
    other = write_tif(tmp_path / "b.tif", options.pop("values", image), **options)
    refuses(f"^{other}: .*{re.escape(message)}", read, [first, other])


def test_a_folder_stands_for_its_images(tmp_path):
    for name in ("b.tif", "a.TIF", "notes.txt", "a.tif.aux.xml"):
        (tmp_path / name).write_text("")
    assert [path.name for path in mosaics.files_of([tmp_path])] == ["a.TIF", "b.tif"]
    refuses(r"b\.tif: is named twice", mosaics.files_of, [tmp_path / "b.tif", tmp_path])
    (tmp_path / "empty").mkdir()
    refuses("empty: holds no image", mosaics.files_of, [tmp_path / "empty"])


def test_coarser_pixels_are_means_and_a_fourth_band_of_bytes_is_no_alpha(tmp_path):
    whole = image_of(blobs(80, 96, 5)).astype(np.float32)
    path = tile(tmp_path, "a", whole)
    values, valid, transform = read([path], resolution_m=12)
    assert transform == TRANSFORM * Affine.scale(4) and valid.all()
    assert values == pytest.approx(whole.reshape(4, 20, 4, 24, 4).mean(axis=(2, 4)), rel=1e-5)
    # In tiles, too: a pixel of the coarse grid that two of them share is the first one's.
    paths = [tile(tmp_path, f"t{col}", whole[:, :, col : col + 32], 0, col) for col in (0, 32, 64)]
    assert read(paths, resolution_m=12)[0] == pytest.approx(values, rel=1e-5)
    values, _, transform = read([path], resolution_m=3.02)  # its own
    assert np.array_equal(values, whole) and transform == TRANSFORM
    whole = image_of(blobs(64, 64, 5)).astype(np.float32) / 16
    whole[3, :30] = 0  # water, in near infrared
    path = tile(tmp_path, "a & b", whole.astype(np.uint8), 0, 0)
    with rasterio.open(path) as source:
        assert source.colorinterp[3] == ColorInterp.alpha  # what GDAL makes of it
    values, valid, _ = read([path], resolution_m=6)
    mean = whole.astype(np.uint8).reshape(4, 32, 2, 32, 2).mean(axis=(2, 4))
    assert valid.all() and values == pytest.approx(mean, abs=0.51)


def test_impossible_resolutions_are_refused(tmp_path):
    path = tile(tmp_path, "a", image_of(blobs(64, 64, 5)), 0, 0)
    says = r"resolution .* m: a pixel of a\.tif is 3 × 3 m; choose one at most 50"
    for metres in (0.05, 151.0):
        refuses(says, read, [path], resolution_m=metres)
    bare = write_tif(tmp_path / "bare.tif", image_of(blobs(64, 64, 5)), crs=None)
    refuses(r"bare\.tif: has no coordinate system, so no resolution", read, [bare], resolution_m=6)


@pytest.mark.parametrize(("crs", "transform", "across", "down"), [
    (CRS, TRANSFORM, 3.0, 3.0),
    ("EPSG:2227", Affine(10, 0, 6_000_000, 0, -10, 2_100_000), 3.048, 3.048),
    ("EPSG:3857", Affine(3, 0, 11_566_000, 0, -3, 3_920_000), 2.5133, 2.5014),  # of the ellipsoid at 33.18° N
    ("EPSG:4326", Affine(1e-4, 0, 103.9, 0, -1e-4, 33.2), 9.33, 11.09),
])  # fmt: skip
def test_pixels_are_measured_on_the_ground(crs, transform, across, down):
    sides = rasters.ground_pixel(rasterio.crs.CRS.from_user_input(crs), transform, (100, 100))
    assert sides == pytest.approx((across, down), rel=1e-3)
    assert rasters.ground_pixel(None, transform, (100, 100)) == (1.0, 1.0)
