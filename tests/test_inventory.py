import geopandas as gpd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made import blobs, scene, write_tif
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
    assert sorted(inventory._merge_sizes(strips)) == sorted(inventory.landslide_sizes(mask))


def test_diagonal_neighbours_are_one_landslide_and_255_is_none():
    mask = np.array([[1, 0, 255], [0, 1, 255], [0, 0, 0], [1, 0, 0]], np.uint8)
    assert sorted(inventory.landslide_sizes(mask)) == [1, 2]


def test_no_landslide_gives_an_empty_array():
    assert len(inventory.landslide_sizes(np.zeros((4, 4), np.uint8))) == 0


def test_a_ring_that_closes_over_several_strips_counts_once():
    mask = np.zeros((30, 30), np.uint8)
    mask[3:27, 3:27] = 1
    mask[6:24, 6:24] = 0
    assert list(inventory._merge_sizes([mask[:10], mask[10:20], mask[20:]])) == [mask.sum()]


def test_quartiles_are_type_7():
    # Hyndman & Fan 1996: position 1 + (n − 1)p, interpolated.
    assert inventory.quartiles(np.array([1, 2, 4, 8])) == (1.75, 3.0, 5.0)


@given(st.lists(st.integers(1, 10**6), min_size=1))
def test_quartiles_are_ordered_and_inside_the_range(sizes):
    q1, q2, q3 = inventory.quartiles(np.array(sizes))
    assert min(sizes) <= q1 <= q2 <= q3 <= max(sizes)


def test_quartiles_of_nothing_are_refused():
    with pytest.raises(UserError, match="empty"):
        inventory.quartiles(np.zeros(0, int))


@given(st.lists(st.integers(1, 10**6), min_size=1))
def test_histogram_counts_every_landslide_once(sizes):
    counts, edges = inventory.histogram(np.array(sizes))
    assert counts.sum() == len(sizes)
    assert (np.diff(edges) > 0).all()


@pytest.mark.parametrize("labels", ["mask", "polygons"])
def test_scene_sizes_equal_those_of_the_mask(tmp_path, labels):
    mask = blobs(300, 200, 25)
    made = scene(tmp_path, mask, labels=labels)
    assert sorted(inventory.scene_sizes(made, rows_at_once=64)) == sorted(inventory.landslide_sizes(mask))


def test_a_mask_without_landslide_is_an_empty_inventory(tmp_path):
    made = scene(tmp_path, np.zeros((80, 80), bool))
    with pytest.raises(UserError, match=r"a_mask\.tif.*empty"):
        inventory.scene_sizes(made)


def test_summary_has_a_row_an_area(tmp_path):
    table = inventory.summary(
        {"made": [scene(tmp_path, blobs(200, 200, 9), "a"), scene(tmp_path, blobs(200, 200, 7, 1), "b")]}
    )
    both = np.concatenate(
        [inventory.landslide_sizes(blobs(200, 200, 9)), inventory.landslide_sizes(blobs(200, 200, 7, 1))]
    )
    assert table.loc["made", "landslides"] == len(both)
    assert table.loc["made", "total_px"] == both.sum()
    assert table.loc["made", "q2"] == np.median(both)


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
    from dataclasses import replace

    checked = inventory.check_polygons(replace(made, dem=dem))
    assert checked.loc[0, "slope_deg"] == pytest.approx(26.57, abs=0.1)
    assert checked.loc[0, "relief_m"] == pytest.approx(19 * 1.5, abs=0.1)
    assert checked.loc[0, "brightness"] > checked.loc[0, "brightness_around"] + 300
    assert checked.loc[0, "flag"] == ""
    assert checked.loc[1, "flag"] == "flat, no contrast"
