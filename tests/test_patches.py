"""Patches and the inventories they are sized by."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made import blobs, image_of, refuses, scene, write_tif
from scipy import ndimage

from lmhld_nb import inventory, patches
from lmhld_nb.config import UserError
from lmhld_nb.patches import measurements, patch_sets, splits
from lmhld_nb.patches.patch_sets import PatchSpec, candidate_sizes
from lmhld_nb.sources import DataSet


@pytest.fixture(autouse=True)
def own_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LMHLD_DATA", str(tmp_path / "data"))


@pytest.fixture
def made(tmp_path):
    return scene(tmp_path, blobs(256, 256, 40))


def cut(made, **changes):
    return patches.cut(spec(**changes), [made], progress=False)


def spec(**changes):
    return PatchSpec(**{"dataset": "made", "fingerprint": "0" * 16, "area": "made", "size": 32, **changes})


@given(st.integers(20, 130), st.integers(20, 130), st.sampled_from([16, 32, 64]), st.integers(0, 99))
@settings(max_examples=40)
def test_every_window_has_one_reason(rows, cols, size, seed):
    random = np.random.default_rng(seed)
    labels = np.where(blobs(rows, cols, 3, seed), 1, 0).astype(np.uint8)
    labels[random.random(labels.shape) < 0.001] = 255
    valid = random.random(labels.shape) > 0.001
    reason, share = patches.classify_windows(labels, valid, size, 0.1)
    assert reason.shape == (-(-rows // size), -(-cols // size))
    for r, c in np.ndindex(reason.shape):
        part = (slice(r * size, (r + 1) * size), slice(c * size, (c + 1) * size))
        if (r + 1) * size > rows or (c + 1) * size > cols:
            expected = "edge"
        elif not valid[part].all() or (labels[part] == 255).any():
            expected = "nodata"
        else:
            expected = "share" if (labels[part] == 1).mean() < 0.1 else ""
            assert share[r, c] == (labels[part] == 1).mean()
        assert reason[r, c] == expected


def test_patches_are_the_scenes_pixels_and_counts_add_up(tmp_path):
    mask = blobs(420, 333, 60)
    patch_set, image = cut(scene(tmp_path, mask, labels="polygons")), image_of(mask)
    assert len(patch_set.index) + sum(patch_set.dropped.values()) == patch_set.windows == 14 * 11
    assert patch_set.images.shape == (len(patch_set.index), 4, 32, 32) and patch_set.images.dtype == np.uint16
    for number, row in patch_set.index.iterrows():
        here = (slice(row["row"], row["row"] + 32), slice(row["col"], row["col"] + 32))
        assert (patch_set.images[number] == image[:, *here]).all()
        assert (patch_set.masks[number] == mask[here]).all()
        assert row["share"] == pytest.approx(mask[here].mean(), abs=1e-6) and row["share"] >= 0.1
    train = patch_set.images[patch_set.where("train")].astype(float)
    assert patch_set.mean == pytest.approx(train.mean(axis=(0, 2, 3)))
    assert patch_set.std == pytest.approx(train.std(axis=(0, 2, 3)))


def test_windows_of_nodata_or_unlabelled_are_dropped_and_all_are_counted_in_one_reading(tmp_path, monkeypatch):
    mask, reads = np.ones((128, 128), bool), []
    made, image, codes = scene(tmp_path, mask), image_of(mask), mask.astype(np.uint8)
    image[:, :10, :10] = 0
    codes[100, 100] = 255
    write_tif(made.image, image, nodata=0)
    write_tif(made.mask, codes)
    patch_set = cut(made, seed=1)
    assert patch_set.dropped == {"edge": 0, "nodata": 2, "share": 0} and len(patch_set.index) == 14
    area, read = (made, scene(tmp_path, blobs(250, 250, 90), "b")), measurements.read_scene
    data = DataSet("made", "Made", True, area, "0" * 16)
    monkeypatch.setattr(measurements, "read_scene", lambda one, *how: reads.append(one.name) or read(one, *how))

    @given(st.sampled_from([32, 64]), st.sampled_from([0.0, 0.1]) | st.floats(0, 0.2), st.booleans())
    @settings(max_examples=30)
    def check(size, least, background):
        one = spec(size=size, min_share=least, background=background)
        assert measurements.count_patches(data, one) == len(patches.cut(one, area, progress=False).index)

    check()
    whole = measurements.measure_area(data, "made")
    assert (whole.quartiles, whole.largest_side) == (inventory.quartiles(inventory.area_sizes(area)), 250)
    (stored,) = (tmp_path / "data/made/measured").iterdir()
    monkeypatch.setattr(measurements, "write_json", Mock(side_effect=UserError("read-only")))
    for text, read_so_far in ((stored.read_text(), "ab"), ("[1", "abab")):  # as stored; damaged, or of another version
        stored.write_text(text)
        measurements._MEASURED.clear()  # as in another process
        assert [measurements.measure_area(data, "made") for _ in range(2)] == [whole] * 2
        assert "".join(reads) == read_so_far


def test_nothing_left_says_which_filter_took_them(tmp_path, made):
    few = scene(tmp_path, blobs(256, 256, 3, radius=(2, 4)), "few")
    says = r"no 64 px patch left of 16 windows \(16 hold less than 10% landslide\)"
    refuses(says, cut, few, size=64)
    write_tif(made.image, np.zeros((4, 256, 256), np.uint16), nodata=0)
    refuses(r"a\.tif: every pixel is no data", cut, made)
    floats = write_tif(tmp_path / "floats.tif", np.ones((4, 256, 256), np.float32))
    scenes = [scene(tmp_path, np.ones((64, 64), bool), "first"), replace(made, image=floats)]
    says = r"floats\.tif: float32, the scenes before it uint16; scenes of an area must"
    refuses(says, patches.cut, spec(), scenes, progress=False)
    assert not list((tmp_path / "data").rglob("*.npy"))


def test_the_same_spec_is_cut_once_by_two_at_once_too(made, monkeypatch):
    written, write = [], patch_sets._write_patches
    monkeypatch.setattr(patch_sets, "_write_patches", lambda *args: (written.append(1), write(*args)))
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(cut, [made, made])
    assert len(written) == 1 and len(first.index) == len(second.index) > 0
    first = cut(made)
    made.image.unlink()
    assert (cut(made).images == first.images).all()
    assert len({spec(**changes).folder for changes in ({}, {"size": 64}, {"seed": 1}, {"min_share": 0.2})}) == 4


@pytest.mark.parametrize(("declared", "expected"), [(None, 3.0), (2.5, 2.5)])
def test_the_record_holds_spec_and_resolution(made, declared, expected):
    patch_set = cut(replace(made, resolution_m=declared))
    assert patch_set.resolution_m == patches.load(spec()).resolution_m == expected
    path = patch_set.folder / "patchset.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    assert PatchSpec.model_validate_json(json.dumps(record["spec"])) == patch_set.spec
    path.write_text("{", encoding="utf-8")
    refuses("damaged", patches.load, spec())


@given(st.integers(30, 300), st.integers(0, 10**6))
@settings(max_examples=40)
def test_random_splits_keep_fractions_and_like_shares(count, seed):
    share = np.random.default_rng(seed).beta(1.2, 3, count) * 0.9 + 0.1
    dealt, again, other = (splits.deal(share, np.arange(count), (0.7, 0.2, 0.1), s) for s in (seed, seed, seed + 1))
    assert (dealt == again).all() and (dealt != other).any()
    for name, fraction in (("train", 0.7), ("test", 0.1)):
        assert (dealt == name).mean() == pytest.approx(fraction, abs=0.05)
    if count >= 100:
        means = [share[dealt == name].mean() for name in splits.SPLITS]
        assert max(means) - min(means) <= 0.01


def test_blocks_are_never_divided_and_a_gap_parts_test_patches_from_all_others(tmp_path):
    made = scene(tmp_path, blobs(640, 640, 300))
    patch_set = cut(made, split="blocks", block=3)
    block = patch_set.index["row"] // 96 * 100 + patch_set.index["col"] // 96
    assert (patch_set.index.groupby(block)["split"].nunique() == 1).all()
    assert set(patch_set.index["split"]) == set(splits.SPLITS)
    touching, apart = (cut(made, split="blocks", block=4, gap=gap) for gap in (False, True))
    assert touching.neighbours("test", "train") + touching.neighbours("test", "val") > 0
    assert apart.neighbours("test", "train") == apart.neighbours("test", "val") == 0
    assert (apart.where("test") == touching.where("test")).all(), "the same patches are tested"
    kept = apart.index["split"] != "unused"
    assert (apart.index["split"] == touching.index["split"])[kept].all() and not kept.all()
    thinned = cut(made, block=4, gap=True)
    assert (thinned.where("test") == cut(made).where("test")).all()
    for split in ("train", "val"):
        assert len(thinned.where(split)) == min(len(apart.where(split)), len(cut(made).where(split)))


def test_patches_that_touch_are_one_group_directly_or_by_others():
    places = [("a", 0, 0), ("a", 32, 32), ("a", 32, 64), ("a", 128, 0), ("b", 0, 0), ("a", 0, 128)]
    index = pd.DataFrame(places, columns=["scene", "row", "col"])
    groups = splits.touching(index, 32)
    assert len(set(groups[:3])) == 1 and len(set(groups)) == 4, "at a corner, at a side; not two away, not elsewhere"
    assert splits.touching(index.iloc[[3]], 32).tolist() == [0]


def test_given_splits_are_kept_and_true_labels_belong_to_synthetic_scenes_alone(tmp_path):
    mask = np.ones((64, 64), bool)
    scenes = [scene(tmp_path, mask, name, split=name) for name in splits.SPLITS]
    other = scene(tmp_path, mask, "x")
    refuses("scene 'x' has no split", patches.cut, spec(split="given"), [*scenes, other], progress=False)
    patch_set = patches.cut(spec(split="given"), scenes, progress=False)
    assert (patch_set.index["split"] == patch_set.index["scene"]).all()
    refuses("has no splits; use", patches.cut, spec(split="given", seed=1), [other], progress=False)
    refuses("has no layer 'true landslides'", cut, scene(tmp_path, blobs(256, 256, 50)), labels="true")
    assert not {"background", "gap", "labels", "thin"} & set(spec().model_dump()), "runs keep their names"
    assert len({spec(**changes).folder for changes in ({}, {"labels": "true"}, {"background": True})}) == 3


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


def test_quartiles_are_type_7_and_candidates_follow_the_papers_rule():
    # Hyndman & Fan 1996: position 1 + (n − 1)p, interpolated.
    assert inventory.quartiles(np.array([1, 2, 4, 8])) == (1.75, 3.0, 5.0)
    refuses("empty", inventory.quartiles, np.zeros(0, int))
    assert candidate_sizes((417, 1191, 4123)) == (64, 128, 224)  # Wenchuan, as the paper has it
    assert candidate_sizes((100, 105, 4000)) == (32, 64, 224)  # two of one size widen to the nearest unused
    assert candidate_sizes((1, 2, 3)) == (32, 64, 128)
    assert candidate_sizes((9000, 20_000, 90_000)) == (128, 224, 256)
    for impossible in ((0, 1, 2), (3, 2, 4), (float("nan"), 1, 2)):
        refuses("quartiles", candidate_sizes, impossible)


def test_an_area_without_landslide_is_empty_and_a_summary_has_one_row_per_area(tmp_path):
    bare, other = (scene(tmp_path, np.zeros((80, 80), bool), name) for name in "ab")
    slid = scene(tmp_path, blobs(80, 80, 3), "c")
    assert len(inventory.scene_sizes(bare)) == 0
    assert len(inventory.area_sizes([bare, slid])) > 0
    refuses(r"a_mask\.tif and 1 more: the inventory is empty", inventory.area_sizes, [bare, other])
    masks = [blobs(600, 100, 9), blobs(200, 200, 7, 1)]  # the first is read in two strips
    area = [scene(tmp_path, mask, name, labels=name) for mask, name in zip(masks, ("mask", "polygons"), strict=True)]
    sizes = np.concatenate([inventory.landslide_sizes(mask) for mask in masks])
    assert sorted(inventory.scene_sizes(area[0])) == sorted(inventory.landslide_sizes(masks[0]))
    row = inventory.summary({"made": inventory.area_sizes(area)}).loc["made"]
    assert (row["landslides"], row["total_px"], row["q2"]) == (len(sizes), sizes.sum(), np.median(sizes))
