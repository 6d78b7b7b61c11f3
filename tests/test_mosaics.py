"""Mosaics: files on one grid read as one image, and images at another resolution."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from made import CRS, TRANSFORM, blobs, image_of, refuses, write_tif
from rasterio.enums import ColorInterp

from lmhld_nb import scenes
from lmhld_nb.scenes import mosaics, rasters
from lmhld_nb.scenes.rasters import Window
from lmhld_nb.scenes.scene import BANDS, Scene


def tile(folder: Path, name: str, image: np.ndarray, row: int = 0, col: int = 0, **options: object) -> Path:
    return write_tif(folder / f"{name}.tif", image, transform=TRANSFORM * Affine.translation(col, row), **options)


def read(paths: list[Path], **options: object) -> tuple[np.ndarray, np.ndarray, Affine]:
    scene = Scene("a", "made", paths[0], BANDS)
    with scenes.open_image(scene, paths[1:], **options) as image:  # type: ignore[arg-type]
        values = image.read(Window(0, 0, *image.shape), BANDS)
        return values, image.valid(values), image.transform


def test_tiles_are_the_scene_they_were_cut_from(tmp_path):
    whole = image_of(blobs(80, 90, 5))
    corners = itertools.product((30, 60, 0), (40, 80, 0))
    paths = [tile(tmp_path, f"{r}-{c}", whole[:, r : r + 30, c : c + 40], r, c) for r, c in corners]
    values, valid, transform = read(paths)
    assert np.array_equal(values, whole) and valid.all() and transform == TRANSFORM
    with scenes.open_image(Scene("a", "made", paths[0], BANDS), paths[1:]) as image:
        for row, col, height, width in ((10, 3, 20, 50), (63, 63, 1, 1), (16, 16, 16, 16)):
            values = image.read(Window(row, col, height, width), ("nir", "red"))
            assert np.array_equal(values, whole[[3, 2], row : row + height, col : col + width])


@given(st.data())
@settings(max_examples=25)
def test_the_first_file_that_holds_data_wins(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("mosaic")
    expected, paths = np.full((4, 50, 50), -1, np.int64), []
    corners = data.draw(st.lists(st.tuples(st.integers(0, 34), st.integers(0, 34)), min_size=2, max_size=4))
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    for number, (row, col) in enumerate([(0, 0), *corners]):
        nodata = [0, None, 7][number % 3]
        image = random.integers(0, 9, (4, 16, 16)).astype(np.uint8)
        hole = random.random((16, 16)) < 0.3
        if nodata is not None:
            image[:, hole] = nodata
        paths.append(tile(folder, str(number), image, row, col, nodata=nodata))
        held = (image != nodata).any(axis=0) if nodata is not None else np.ones((16, 16), bool)
        here = expected[:, row : row + 16, col : col + 16]
        take = held & (here == -1).all(axis=0)
        here[:, take] = image[:, take]
    values, valid, _ = read(paths)
    assert values.shape[1:] == (max(row for row, _ in corners) + 16, max(col for _, col in corners) + 16)
    expected = expected[:, : values.shape[1], : values.shape[2]]
    assert np.array_equal(valid, (expected != -1).all(axis=0))
    assert np.array_equal(values[:, valid], expected[:, valid])


@pytest.mark.parametrize(("change", "message"), [
    ({"transform": TRANSFORM * Affine.scale(2)}, "a pixel is 6 × 6, in a.tif 3 × 3"),
    ({"transform": TRANSFORM * Affine.translation(0.4, 0)}, "its pixels do not meet those of a.tif"),
    ({"transform": TRANSFORM * Affine.rotation(10)}, "rotated or flipped; warp it north-up first"),
    ({"crs": "EPSG:32653"}, "has another coordinate system than a.tif"),
    ({"values": image_of(blobs(40, 40, 2), bands=3)}, "its bands are ? ? ?, those of a.tif ? ? ? ?"),
    ({"values": np.ones((4, 40, 40), np.float32)}, "holds float32, a.tif uint16"),
    ({"names": "red green blue nir"}, "its bands are red green blue nir, those of a.tif ? ? ? ?"),
])  # fmt: skip
def test_a_file_of_another_grid_is_named(tmp_path, change, message):
    image = image_of(blobs(40, 40, 2))
    first, options = write_tif(tmp_path / "a.tif", image), dict(change)
    names = options.pop("names", "")
    other = write_tif(tmp_path / "b.tif", options.pop("values", image), **options)
    if names:
        with rasterio.open(other, "r+") as target:
            target.descriptions = names.split()
    refuses(f"^{other}: .*{re.escape(message)}", read, [first, other])


def test_undeclared_nan_in_one_file_is_refused(tmp_path):
    image = image_of(blobs(40, 40, 2)).astype(np.float32)
    first = tile(tmp_path, "a", image)
    image[:, 3, 3] = np.nan
    refuses(r"b\.tif: 4 NaN", read, [first, tile(tmp_path, "b", image, 0, 40)])
    _, valid, _ = read([first, tile(tmp_path, "b", image, 0, 40, nodata=np.nan)])
    assert not valid[3, 43] and valid.sum() == valid.size - 1


def test_a_folder_stands_for_its_images(tmp_path):
    for name in ("b.tif", "a.TIF", "notes.txt", "a.tif.aux.xml"):
        (tmp_path / name).write_text("")
    assert [path.name for path in mosaics.files_of([tmp_path])] == ["a.TIF", "b.tif"]
    refuses(r"b\.tif: is named twice", mosaics.files_of, [tmp_path / "b.tif", tmp_path])
    (tmp_path / "empty").mkdir()
    refuses("empty: holds no image", mosaics.files_of, [tmp_path / "empty"])


def test_coarser_pixels_are_the_means_of_those_below(tmp_path):
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


def test_finer_pixels_lie_between_their_neighbours(tmp_path):
    ramp = np.broadcast_to(np.arange(40, dtype=np.float32) * 10, (4, 30, 40))
    values, _, transform = read([tile(tmp_path, "a", ramp)], resolution_m=1.5)
    assert transform == TRANSFORM * Affine.scale(0.5) and values.shape == (4, 60, 80)
    assert values[0, 30, 2:-2] == pytest.approx(np.arange(80)[2:-2] * 5 - 2.5, abs=1e-3)


def test_no_data_stay_no_data_and_single_zeros_are_data(tmp_path):
    whole = image_of(blobs(64, 64, 5))
    whole[0, :, :] = 0  # a dark band is no hole
    whole[:, :16, :16] = 0
    path = tile(tmp_path, "a", whole, nodata=0)
    for metres, side in ((6.0, 8), (1.5, 32)):
        _, valid, _ = read([path], resolution_m=metres)
        # GDAL lets a neighbour count whose share is rounding noise: one pixel at the edge is left open.
        assert not valid[: side - 1, : side - 1].any()
        assert valid[side:].all() and valid[:, side:].all()


def test_a_fourth_band_of_bytes_is_no_alpha(tmp_path):
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
