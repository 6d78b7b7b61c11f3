import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made import blobs

from lmhld_nb import inventory
from lmhld_nb.evaluation import Confusion, objects

# Noise for the few joins of strips, blobs for landslides that reach over many.
codes = st.tuples(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32 - 1), st.booleans())


def two_masks(rows, cols, seed, noise):
    random = np.random.default_rng(seed)
    pair = []
    for _ in range(2):
        landslide = random.random((rows, cols)) < 0.4 if noise else blobs(rows, cols, 5, random.integers(99), (1, 5))
        mask = landslide.astype(np.uint8)
        mask[random.random((rows, cols)) < 0.05] = 255
        pair.append(mask)
    return pair


def scene(rows, cols, seed, noise):
    """Return probability, predicted mask and truth, no data and unlabelled pixels among them."""
    mask, truth = two_masks(rows, cols, seed, noise)
    random = np.random.default_rng(seed + 1)
    probability = np.where(mask == 1, 0.5 + 0.5 * random.random(mask.shape), 0.49 * random.random(mask.shape))
    return np.where(mask == 255, -1, probability).astype(np.float32), mask, truth


def cut(arrays, height):
    """Return what yields the strips of arrays, as often as it is called."""
    return lambda: (tuple(array[row : row + height] for array in arrays) for row in range(0, len(arrays[0]), height))


def ordered(table):
    return table.sort_values(list(table.columns)).reset_index(drop=True)


@given(codes, st.integers(1, 9))
@settings(max_examples=50, deadline=None)
def test_strips_overlap_as_the_whole_does(made, height):
    pair = two_masks(*made)
    whole, strips = objects.overlaps([tuple(pair)]), objects.overlaps(cut(pair, height)())
    pd.testing.assert_frame_equal(ordered(strips), ordered(whole))
    assert sorted(whole["size_px"]) == sorted(inventory.landslide_sizes(pair[0]))


@given(codes)
@settings(max_examples=50, deadline=None)
def test_both_directions_cover_the_true_positives(made):
    mapped, truth = two_masks(*made)
    counts = Confusion.of(mapped == 1, truth == 1, (mapped != 255) & (truth != 255))
    of_truth, of_map = objects.overlaps([(truth, mapped)]), objects.overlaps([(mapped, truth)])
    assert of_truth["covered_px"].sum() == of_map["covered_px"].sum() == counts.tp
    assert of_truth["known_px"].sum() == counts.tp + counts.fn
    assert of_map["known_px"].sum() == counts.tp + counts.fp


def test_a_landslide_knows_its_box_and_what_covers_it():
    truth, mapped = np.zeros((20, 30), np.uint8), np.zeros((20, 30), np.uint8)
    truth[4:12, 10:14] = 1
    mapped[8:16, 10:14] = 1
    mapped[4:6, 10:12] = 255
    strips = [(truth[:9], mapped[:9]), (truth[9:], mapped[9:])]
    (row,) = objects.overlaps(strips).to_dict("records")
    assert row == {
        "size_px": 32, "known_px": 28, "covered_px": 16, "top": 4, "left": 10, "bottom": 12, "right": 14,
    }  # fmt: skip
    assert objects.overlaps([]).empty
    assert list(objects.overlaps([]).columns) == list(row)


@given(codes, st.integers(1, 9))
@settings(max_examples=25, deadline=None)
def test_strips_score_as_the_whole_does(made, height):
    arrays = scene(*made)
    (whole, tables), (strips, others) = (objects.score(cut(arrays, rows), 9.0) for rows in (99, height))
    assert strips == pytest.approx(whole, nan_ok=True)
    for name, table in tables.items():
        pd.testing.assert_frame_equal(table, others[name])


@given(codes)
@settings(max_examples=25, deadline=None)
def test_counts_are_those_of_the_mask(made):
    probability, mask, truth = scene(*made)
    scores, _ = objects.score(cut((probability, mask, truth), 7), 9.0)
    known = (mask != 255) & (truth != 255)
    counts = Confusion.of(mask == 1, truth == 1, known).as_dict()
    assert {name: scores[name] for name in counts} == pytest.approx(counts, nan_ok=True)
    assert list(scores)[: len(counts)] == list(counts)
    assert scores["f1_at_best_threshold"] >= scores["f1"] or math.isnan(scores["f1_at_best_threshold"])


def test_a_perfect_map_finds_all_and_invents_nothing():
    truth = blobs(90, 80, 12).astype(np.uint8)
    truth[:3] = 255
    scores, tables = objects.score(cut((truth.clip(max=1).astype(np.float32), truth % 255, truth), 16), 9.0)
    assert scores["average_precision"] == scores["f1"] == scores["detection_rate"] == 1
    assert scores["landslides"] == scores["landslides_detected"] > 3
    assert scores["mapped_false"] == scores["brier"] == scores["calibration_error"] == 0
    assert tables["by_size"]["detection_rate"].dropna().eq(1).all()
    assert tables["by_size"]["false_share"].dropna().eq(0).all()


def test_an_empty_map_finds_nothing_and_a_map_without_landslides_is_all_false():
    landslide = blobs(60, 60, 6).astype(np.uint8)
    nothing = np.zeros_like(landslide)
    scores, _ = objects.score(cut((nothing.astype(np.float32), nothing, landslide), 16), 9.0)
    assert scores["detection_rate"] == scores["recall"] == scores["mapped"] == 0
    assert math.isnan(scores["precision"])
    assert scores["average_precision"] == pytest.approx(scores["prevalence"]) == landslide.mean()
    scores, tables = objects.score(cut((landslide.astype(np.float32), landslide, nothing), 16), 9.0)
    assert scores["mapped"] == scores["mapped_false"] == len(inventory.landslide_sizes(landslide))
    assert all(math.isnan(scores[name]) for name in ("detection_rate", "average_precision", "best_threshold"))
    assert set(tables["size_frequency"]["inventory"]) == {"mapped"}


def test_a_pixel_without_probability_is_left_out_whatever_the_mask_says():
    probability, mask, truth = scene(20, 20, 3, False)
    mask[mask == 255] = 1
    assert (probability < 0).any()
    scores, tables = objects.score(cut((probability, mask, truth), 6), 9.0)
    mask[probability < 0] = 255
    expected, others = objects.score(cut((probability, mask, truth), 6), 9.0)
    assert scores == pytest.approx(expected)
    pd.testing.assert_frame_equal(tables["by_size"], others["by_size"])


def table(*rows):
    return pd.DataFrame(rows, columns=["size_px", "known_px", "covered_px"])


def test_a_landslide_counts_in_its_class_and_by_the_share_that_is_covered():
    truth = table((10, 10, 5), (10, 10, 4), (11, 4, 2), (200, 200, 200), (5, 0, 0))
    mapped = table((250, 250, 205), (3, 3, 1))
    counts = objects.by_size(truth, mapped, 10.0)
    columns = ["area_m2", "landslides", "detected", "mapped", "mapped_false"]
    assert counts[columns].to_numpy().tolist() == [
        ["< 100", 0, 0, 1, 1], ["100–300", 3, 2, 0, 0], ["1,000–3,000", 1, 1, 1, 0],
    ]  # fmt: skip
    assert counts["detection_rate"].tolist() == pytest.approx([math.nan, 2 / 3, 1], nan_ok=True)
    strict = objects.by_size(truth, mapped, 10.0, least=0.9, classes=(1000,))
    columns = ["area_m2", "detected", "mapped_false"]
    assert strict[columns].to_numpy().tolist() == [["< 1,000", 0, 1], ["≥ 1,000", 1, 1]]


def test_pooled_counts_are_added_by_class():
    tables = [
        objects.by_size(table((9, 9, 9), (90, 90, 0)), table(), 10.0),
        objects.by_size(table((9, 9, 0)), table(), 10.0),
    ]
    pooled = objects.pooled(tables)
    assert pooled[["landslides", "detected"]].to_numpy().tolist() == [[2, 1], [1, 0]]
    assert list(objects.pooled([]).columns) == list(pooled.columns)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_is_wilsons(counts):
    count, total = counts
    truth = table(*[(5, 5, 5)] * count, *[(5, 5, 0)] * (total - count))
    (row,) = objects.by_size(truth, table(), 9.0).to_dict("records")
    share, z = count / total, 1.959963984540054
    middle = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * math.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    assert row["detection_low"] == pytest.approx(middle - half, abs=1e-9)
    assert row["detection_high"] == pytest.approx(middle + half, abs=1e-9)


@given(st.lists(st.floats(0.25, 1e7), min_size=1), st.integers(1, 20))
def test_the_density_sums_up_to_one(areas, bins):
    frequency = objects.size_frequency(np.array(areas), bins)
    half = 10 ** (0.5 / bins)
    assert (frequency["density"] * frequency["area_m2"] * (half - 1 / half)).sum() == pytest.approx(1)
    assert frequency["count"].sum() == len(areas) and frequency["count"].min() > 0


@pytest.mark.parametrize("exponent", range(-1, 7))
def test_bins_start_at_powers_of_ten(exponent):
    (middle,) = objects.size_frequency(np.array([10.0**exponent]), 5)["area_m2"]
    assert middle == pytest.approx(10 ** (exponent + 0.1))


def test_the_density_of_a_power_law_has_its_slope():
    areas = 100 * (1 - np.random.default_rng(0).random(200_000)) ** (-1 / 1.4)  # p(A) ~ A^-2.4
    frequency = objects.size_frequency(areas).query("count > 500")
    slope = np.polyfit(np.log(frequency["area_m2"]), np.log(frequency["density"]), 1)[0]
    assert slope == pytest.approx(-2.4, abs=0.05)


def test_close_ups_show_the_worst_places_whole_and_inside_the_scene():
    truth, mapped = np.zeros((300, 200), np.uint8), np.zeros((300, 200), np.uint8)
    truth[:10, :10] = 1  # missed, in the corner
    truth[100:104, 50:180] = 1  # missed, long
    truth[200:210, 20:30] = mapped[200:210, 20:30] = 1  # found
    mapped[290:295, 190:199] = 1  # false
    mapped[280, 20:22] = 1  # false, small
    strips = cut((mapped.astype(np.float32), mapped, truth), 64)
    tables = objects.landslides(strips)
    close_ups = objects.close_ups(*tables, truth.shape, count=2, side=40)
    assert [(up.kind, up.wrong_px) for up in close_ups] == [
        ("false", 45), ("false", 2), ("missed", 520), ("missed", 100),
    ]  # fmt: skip
    for up in close_ups:
        window = up.window
        part = np.s_[window.row : window.row + window.height, window.col : window.col + window.width]
        top, left, bottom, right = up.box
        inside = (truth[part] != mapped[part])[top:bottom, left:right]
        assert inside.sum() == inside.size == up.wrong_px  # all of them are rectangles
        assert min(window.row, window.col) >= 0
        assert window.row + window.height <= 300
        assert window.col + window.width <= 200
    assert close_ups[2].window.width == close_ups[2].window.height == 182
    assert {up.window.height for up in (close_ups[0], close_ups[3])} == {40}
    first = objects.close_ups(*tables, truth.shape, side=999)[0].window
    assert (first.row, first.col, first.height, first.width) == (0, 0, 300, 200)
    assert objects.close_ups(*objects.landslides(cut((truth, truth, truth), 64)), truth.shape) == []
