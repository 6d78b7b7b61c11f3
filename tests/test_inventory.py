from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from made import blobs, image_of, refuses, scene, write_tif
from scipy import ndimage
from shapely.geometry import box

from lmhld_nb import inventory

masks = st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1)).map(
    lambda drawn: (np.random.default_rng(drawn[2]).random(drawn[:2]) < 0.4).astype(np.uint8)
)


@given(masks, st.integers(1, 9))
@settings(max_examples=60)
def test_sizes_equal_an_independent_labelling_whole_and_in_strips(mask, height):
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    expected = sorted(np.bincount(labels.ravel(), minlength=count + 1)[1:])
    strips = [(mask[row : row + height],) for row in range(0, len(mask), height)]
    assert sorted(inventory.landslide_sizes(mask)) == sorted(inventory.components(strips)["size_px"]) == expected


def test_diagonal_neighbours_are_one_landslide_255_is_none_and_a_ring_over_strips_counts_once():
    mask = np.array([[1, 0, 255], [0, 1, 255], [0, 0, 0], [1, 0, 0]], np.uint8)
    assert sorted(inventory.landslide_sizes(mask)) == [1, 2]
    mask = np.zeros((30, 30), np.uint8)
    assert len(inventory.landslide_sizes(mask)) == 0
    mask[3:27, 3:27] = 1
    mask[6:24, 6:24] = 0
    (landslide,) = inventory.components([(mask[:10],), (mask[10:20],), (mask[20:],)]).to_dict("records")
    assert landslide == {"size_px": mask.sum(), "top": 3, "left": 3, "bottom": 27, "right": 27}


def test_quartiles_are_type_7():
    # Hyndman & Fan 1996: position 1 + (n − 1)p, interpolated.
    assert inventory.quartiles(np.array([1, 2, 4, 8])) == (1.75, 3.0, 5.0)
    refuses("empty", inventory.quartiles, np.zeros(0, int))


def test_an_area_without_landslide_is_an_empty_inventory_but_a_scene_may_be(tmp_path):
    bare, other = (scene(tmp_path, np.zeros((80, 80), bool), name) for name in "ab")
    slid = scene(tmp_path, blobs(80, 80, 3), "c")
    assert len(inventory.scene_sizes(bare)) == 0
    assert len(inventory.area_sizes([bare, slid])) > 0
    refuses(r"a_mask\.tif and 1 more: the inventory is empty", inventory.area_sizes, [bare, other])


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("labels", ["polygons", "mask", "picture"])
def test_a_moved_inventory_loses_its_contrast(tmp_path, labels):
    mask = np.zeros((160, 160), bool)
    mask[20:40, 20:40] = mask[100:120, 60:80] = True
    made = scene(tmp_path, mask, labels="polygons" if labels == "polygons" else "mask")
    if labels == "picture":  # without georeference
        made = replace(made, georeferenced=False)
        for path, values in ((made.image, image_of(mask)), (made.mask, mask.astype(np.uint8))):
            write_tif(path, values, crs=None, transform=Affine.identity())
    there, moved = (inventory.check_polygons(made, shift_px=pixels) for pixels in (0, 40))
    assert list(there["area_px"]) == [400, 400] and list(there["flag"]) == ["", ""]
    assert list(moved["flag"]) == ["no contrast", "no contrast"]
    assert len(inventory.check_polygons(made, shift_px=110)) == 1  # one lies outside now


def test_summary_has_one_row_per_area(tmp_path):
    masks = [blobs(200, 200, 9), blobs(200, 200, 7, 1)]
    area = [scene(tmp_path, mask, name, labels=name) for mask, name in zip(masks, ("mask", "polygons"), strict=True)]
    sizes = np.concatenate([inventory.landslide_sizes(mask) for mask in masks])
    assert sorted(inventory.scene_sizes(area[0], rows_at_once=64)) == sorted(inventory.landslide_sizes(masks[0]))
    row = inventory.summary({"made": area}).loc["made"]
    assert (row["landslides"], row["total_px"], row["q2"]) == (len(sizes), sizes.sum(), np.median(sizes))


def test_polygons_are_held_against_their_surroundings(tmp_path):
    mask = np.zeros((120, 120), bool)
    mask[20:40, 20:40] = True
    made = scene(tmp_path, mask, labels="polygons")
    y = np.arange(120, dtype=np.float32)[:, None] * np.ones((1, 120), np.float32)
    # The upper half falls 1.5 m a pixel of 3 m (26.6°), the lower half is flat.
    dem = write_tif(tmp_path / "dem.tif", np.where(y < 60, 200 - 1.5 * y, 110).astype(np.float32))
    # A second polygon lies on flat ground that looks like everything around it.
    table = gpd.read_file(made.polygons)
    table.loc[1, ["id", "geometry"]] = [9, box(500_210, 4_699_700, 500_270, 4_699_760)]
    table.to_file(made.polygons)
    right, wrong = inventory.check_polygons(replace(made, dem=dem)).to_dict("records")
    assert (right["slope_deg"], right["relief_m"]) == pytest.approx((26.57, 19 * 1.5), abs=0.1)
    assert right["brightness"] > right["brightness_around"] + 300
    assert (right["flag"], wrong["flag"]) == ("", "flat, no contrast")
