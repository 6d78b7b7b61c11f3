from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from made import blobs, image_of, scene, write_tif
from scipy import ndimage
from shapely.geometry import box

from lmhld_nb import inventory
from lmhld_nb.config import UserError

masks = st.integers(1, 40).flatmap(
    lambda rows: st.integers(1, 40).flatmap(
        lambda cols: st.integers(0, 2**32 - 1).map(
            lambda seed: (np.random.default_rng(seed).random((rows, cols)) < 0.4).astype(np.uint8)
        )
    )
)


def scipy_sizes(mask):
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    return np.bincount(labels.ravel(), minlength=count + 1)[1:]


@given(masks)
@settings(max_examples=60, deadline=None)
def test_sizes_equal_an_independent_labelling(mask):
    assert sorted(inventory.landslide_sizes(mask)) == sorted(scipy_sizes(mask))


@given(masks, st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_strips_give_the_same_sizes_as_the_whole(mask, height):
    strips = [mask[row : row + height] for row in range(0, len(mask), height)]
    assert sorted(inventory.components((strip,) for strip in strips)["size_px"]) == sorted(
        inventory.landslide_sizes(mask)
    )


def test_diagonal_neighbours_are_one_landslide_and_255_is_none():
    mask = np.array([[1, 0, 255], [0, 1, 255], [0, 0, 0], [1, 0, 0]], np.uint8)
    assert sorted(inventory.landslide_sizes(mask)) == [1, 2]
    assert len(inventory.landslide_sizes(np.zeros((4, 4), np.uint8))) == 0


def test_a_ring_that_closes_over_several_strips_counts_once():
    mask = np.zeros((30, 30), np.uint8)
    mask[3:27, 3:27] = 1
    mask[6:24, 6:24] = 0
    (landslide,) = inventory.components([(mask[:10],), (mask[10:20],), (mask[20:],)]).to_dict("records")
    assert landslide == {"size_px": mask.sum(), "top": 3, "left": 3, "bottom": 27, "right": 27}


def test_quartiles_are_type_7():
    # Hyndman & Fan 1996: position 1 + (n − 1)p, interpolated.
    assert inventory.quartiles(np.array([1, 2, 4, 8])) == (1.75, 3.0, 5.0)
    for measure in (inventory.quartiles, inventory.histogram):
        with pytest.raises(UserError, match="empty"):
            measure(np.zeros(0, int))


@given(st.lists(st.integers(1, 10**6), min_size=1))
def test_quartiles_are_ordered_and_histograms_count_every_landslide_once(sizes):
    q1, q2, q3 = inventory.quartiles(np.array(sizes))
    assert min(sizes) <= q1 <= q2 <= q3 <= max(sizes)
    counts, edges = inventory.histogram(np.array(sizes))
    assert counts.sum() == len(sizes)
    assert (np.diff(edges) > 0).all()


@pytest.mark.parametrize("labels", ["mask", "polygons"])
def test_scene_sizes_equal_those_of_the_mask(tmp_path, labels):
    mask = blobs(300, 200, 25)
    made = scene(tmp_path, mask, labels=labels)
    assert sorted(inventory.scene_sizes(made, rows_at_once=64)) == sorted(inventory.landslide_sizes(mask))


def test_an_area_without_landslide_is_an_empty_inventory_but_a_scene_may_be(tmp_path):
    bare, other = (scene(tmp_path, np.zeros((80, 80), bool), name) for name in "ab")
    slid = scene(tmp_path, blobs(80, 80, 3), "c")
    assert len(inventory.scene_sizes(bare)) == 0
    assert len(inventory.area_sizes([bare, slid])) > 0
    with pytest.raises(UserError, match=r"a_mask\.tif and 1 more: the inventory is empty"):
        inventory.area_sizes([bare, other])


def test_a_moved_inventory_loses_its_contrast(tmp_path):
    mask = np.zeros((160, 160), bool)
    mask[20:40, 20:40] = mask[100:120, 60:80] = True
    for made in (scene(tmp_path, mask, labels="polygons"), scene(tmp_path, mask, "b")):
        there, moved = (inventory.check_polygons(made, shift_px=pixels) for pixels in (0, 40))
        assert list(there["flag"]) == ["", ""]
        assert list(moved["flag"]) == ["no contrast", "no contrast"]
        assert len(inventory.check_polygons(made, shift_px=110)) == 1  # one lies outside now


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_pictures_without_georeference_are_checked_too(tmp_path):
    mask = np.zeros((160, 160), bool)
    mask[20:40, 60:80] = True
    made = replace(scene(tmp_path, mask), georeferenced=False)
    for path, values in ((made.image, image_of(mask)), (made.mask, mask.astype(np.uint8))):
        write_tif(path, values, crs=None, transform=Affine.identity())
    checked = inventory.check_polygons(made)
    assert list(checked["area_px"]) == [400]
    assert checked.loc[0, "brightness"] > checked.loc[0, "brightness_around"] + 300


def test_summary_has_one_row_per_area(tmp_path):
    masks = [blobs(200, 200, 9), blobs(200, 200, 7, 1)]
    table = inventory.summary({"made": [scene(tmp_path, mask, str(n)) for n, mask in enumerate(masks)]})
    sizes = np.concatenate([inventory.landslide_sizes(mask) for mask in masks])
    row = table.loc["made"]
    assert (row["landslides"], row["total_px"], row["q2"]) == (len(sizes), sizes.sum(), np.median(sizes))


def test_polygons_are_held_against_their_surroundings(tmp_path):
    mask = np.zeros((120, 120), bool)
    mask[20:40, 20:40] = True
    made = scene(tmp_path, mask, labels="polygons")
    y = np.arange(120, dtype=np.float32)[:, None] * np.ones((1, 120), np.float32)
    # The upper half falls 1.5 m a pixel of 3 m (26.6°), the lower half is flat.
    dem = write_tif(tmp_path / "dem.tif", np.where(y < 60, 200 - 1.5 * y, 110).astype(np.float32))
    # A second polygon lies on flat ground that looks like everything around it.
    wrong = box(500_000 + 3 * 70, 4_700_000 - 3 * 100, 500_000 + 3 * 90, 4_700_000 - 3 * 80)
    table = gpd.read_file(made.polygons)
    table.loc[1, ["id", "geometry"]] = [9, wrong]
    table.to_file(made.polygons)
    checked = inventory.check_polygons(replace(made, dem=dem))
    assert checked.loc[0, "slope_deg"] == pytest.approx(26.57, abs=0.1)
    assert checked.loc[0, "relief_m"] == pytest.approx(19 * 1.5, abs=0.1)
    assert checked.loc[0, "brightness"] > checked.loc[0, "brightness_around"] + 300
    assert checked.loc[0, "flag"] == ""
    assert checked.loc[1, "flag"] == "flat, no contrast"
