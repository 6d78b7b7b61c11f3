"""Labelled ground: what was searched, from polygons and masks; all else is unlabelled."""

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
from affine import Affine
from made import CRS, TRANSFORM, blobs, image_of, refuses, write_polygons, write_tif
from scipy.ndimage import distance_transform_edt
from shapely.geometry import Polygon, box

from lmhld_nb import scenes
from lmhld_nb.mapping import labelled
from lmhld_nb.mapping.labelled import LabelFile
from lmhld_nb.scenes.scene import BANDS, Scene

SHAPE = (200, 240)
DISCS = blobs(*SHAPE, 14, seed=2, radius=(6, 14))
LEFT = np.arange(SHAPE[1]) < 100  # columns


def pixels(top: int, left: int, bottom: int, right: int) -> Polygon:
    return box(*(TRANSFORM @ (left, bottom)), *(TRANSFORM @ (right, top)))


def layer(path: Path, shapes: list[Polygon], name: str = "one", **columns: list[Any]) -> Path:
    gpd.GeoDataFrame(columns, geometry=shapes, crs=CRS).to_file(path, layer=name, driver="GPKG")
    return path


def read(folder: Path, file: Path | LabelFile, values: np.ndarray | None = None, **options: Any) -> labelled.Ground:
    values = image_of(DISCS) if values is None else values
    event = Scene("event", "event", write_tif(folder / "event.tif", values, nodata=0), BANDS[: len(values)])
    with scenes.open_image(event) as image:
        return labelled.read(image, file if isinstance(file, LabelFile) else LabelFile(file), event.bands, **options)


def test_ground_around_polygons_is_searched_and_nothing_else(tmp_path):
    slides = DISCS & LEFT
    ground = read(tmp_path, write_polygons(tmp_path / "slides.gpkg", slides))
    assert ((ground.labels == 1) == slides).all()
    assert (ground.labels[:, 160:] == 255).all() and (DISCS[:, 160:]).any()
    reach = max(2 * np.sqrt(slides.sum() / np.pi), ground.patch / 4)
    rows, cols = np.nonzero(ground.labels == 0)
    assert distance_transform_edt(~slides)[rows, cols].max() <= reach + 2
    assert "around landslides" in ground.notes[0]
    assert labelled.searched(ground).area.sum() == pytest.approx(9 * (ground.labels != 255).sum())


def test_all_that_was_searched_is_labelled_and_what_lies_outside_is_not(tmp_path):
    searched = layer(tmp_path / "looked.gpkg", [pixels(0, 0, 150, 100)])
    ground = read(tmp_path, LabelFile(write_polygons(tmp_path / "slides.gpkg", DISCS), searched))
    assert (ground.labels[:150, :100] == DISCS[:150, :100]).all()
    assert (ground.labels[150:] == 255).all() and (ground.labels[:, 100:] == 255).all()
    mask = write_tif(tmp_path / "mask.tif", DISCS.astype(np.uint8))
    assert (read(tmp_path, LabelFile(mask, searched)).labels == ground.labels).all()


@pytest.mark.parametrize("kinds", [["slide", "none", "?"], [1, 0, 2], [1.0, 0.0, None]])
@pytest.mark.parametrize("around", [False, True])
def test_a_column_tells_landslides_background_and_the_rest_apart(tmp_path, kinds, around):
    shapes = [pixels(20, 20, 60, 60), pixels(100, 100, 150, 150), pixels(40, 55, 80, 95)]
    path = layer(tmp_path / "slides.gpkg", shapes, kind=kinds)
    one, other = ("slide", "none") if kinds[0] == "slide" else ("1", "0")
    labels = read(tmp_path, LabelFile(path, None, None, "kind", (one,), (other,), around)).labels
    expected = np.full(SHAPE, 255, np.uint8)
    expected[100:150, 100:150], expected[20:60, 20:60] = 0, 1
    if around:  # but for what was not looked at
        assert (labels[10:20, 20:60] == 0).all() and (labels[62:80, 57:95] == 255).all()
    else:
        assert (labels == expected).all()


def test_a_mask_is_taken_as_it_is_and_no_data_is_unlabelled(tmp_path):
    codes = np.where(LEFT, DISCS, 255).astype(np.uint8)
    values = image_of(DISCS)
    values[:, :, :10] = 0
    ground = read(tmp_path, write_tif(tmp_path / "mask.tif", codes), values)
    codes[:, :10] = 255
    assert (ground.labels == codes).all()
    assert ground.part.shape == ground.values.shape[1:] and len(ground.part) == 200
    assert 99 < ground.part.shape[1] <= 100 + ground.patch


def test_labels_in_other_coordinates_or_crossing_themselves_are_mended_and_it_is_said(tmp_path):
    path = write_polygons(tmp_path / "slides.gpkg", DISCS)
    plain = read(tmp_path, path)
    gpd.read_file(path).to_crs(4326).to_file(tmp_path / "degrees.gpkg")
    degrees = read(tmp_path, tmp_path / "degrees.gpkg")
    assert (degrees.labels != plain.labels).mean() < 0.002
    assert any("reprojected" in note for note in degrees.notes)
    bow = Polygon([TRANSFORM @ corner for corner in ((20, 20), (80, 80), (80, 20), (20, 80))])
    crossing = read(tmp_path, layer(tmp_path / "bow.gpkg", [bow]))
    assert (crossing.labels == 1).sum() == pytest.approx(1800, rel=0.05)
    assert any("1 polygons crossed themselves" in note for note in crossing.notes)


def test_patches_follow_the_landslides_and_the_ground(tmp_path):
    shapes = [pixels(30 * k, 30 * k, 30 * k + 5, 30 * k + 5) for k in range(5)]
    assert read(tmp_path, layer(tmp_path / "small.gpkg", shapes)).patch == 64, "the middle one of three candidates"
    slides = layer(tmp_path / "large.gpkg", [pixels(0, 0, 60, 60)])
    assert read(tmp_path, slides).patch == 128
    searched = layer(tmp_path / "looked.gpkg", [pixels(0, 0, 70, 200)])
    narrow = read(tmp_path, LabelFile(slides, searched))
    assert narrow.patch == 64 and "patches of 64 px instead of 128" in narrow.notes[-1]
    assert read(tmp_path, LabelFile(slides, searched), patch=48).patch == 48


def test_bad_labels_are_refused_in_one_line(tmp_path):
    slides = [pixels(20, 20, 60, 60)]
    two = layer(layer(tmp_path / "two.gpkg", slides), slides, "other")
    assert read(tmp_path, LabelFile(two, layer="other")).landslides == 1
    kinds = layer(tmp_path / "kinds.gpkg", slides, kind=["scar"])
    for match, file in (
        ("a mask has no layers and no columns", LabelFile(tmp_path / "event.tif", layer="one")),
        ("the inventory is empty", LabelFile(layer(tmp_path / "empty.gpkg", []))),
        ("event.tif: cannot be read as polygons", LabelFile(two, tmp_path / "event.tif", "one")),
        ("no column 'type', it has kind", LabelFile(kinds, column="type", landslide=("scar",))),
        ("no ground without landslide.*--searched", LabelFile(layer(tmp_path / "all.gpkg", [pixels(0, 0, 200, 240)]))),
        ("covers a pixel centre", LabelFile(layer(tmp_path / "dot.gpkg", [pixels(9, 9, 9, 9).buffer(0.1)]))),
        ("covers a pixel centre", LabelFile(kinds, layer(tmp_path / "s.gpkg", [pixels(100, 100, 150, 150)]))),
    ):  # fmt: skip
        refuses(match, read, tmp_path, file)
    flows = layer(tmp_path / "flows.gpkg", slides, kind=["flow"])
    both = [LabelFile(path, column="kind", landslide=("scar", "flow"), around=True) for path in (kinds, flows)]
    labelled.check_words(both)
    refuses("kinds.gpkg: no 'kind' is flow, it holds scar; correct --landslide", labelled.check_words, both[:1])
    for match, codes in (
        ("holds 0, 255; write 1 for landslide", np.where(DISCS, 255, 0)),
        ("holds 0, 1, 2; write 1 for landslide", DISCS.astype(int) + (DISCS & LEFT)),
        ("holds fractions", DISCS * 0.5),
        ("no ground without landslide", np.where(DISCS, 1, 255)),
    ):
        mask = write_tif(tmp_path / "mask.tif", codes.astype(np.float32 if codes.dtype.kind == "f" else np.uint8))
        refuses(match, read, tmp_path, mask)
    moved = write_tif(tmp_path / "moved.tif", DISCS.astype(np.uint8), transform=TRANSFORM * Affine.translation(10, 0))
    refuses("is on another grid", read, tmp_path, moved)
    values = image_of(DISCS)
    values[:, 10:70, 10:70] = 0
    refuses("no landslide where event.tif has data", read, tmp_path, kinds, values)
