"""Counts, thresholds, rankings, objects and intervals: what must hold of them whatever the pixels."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from made import blobs

from lmhld_nb import evaluation, inventory
from lmhld_nb.evaluation import Confusion, intervals, objects
from lmhld_nb.evaluation.ranking import STEPS, Ranked


def test_counts_leave_unknown_pixels_out_and_what_cannot_be_scored_is_nan():
    undefined = (Confusion(0, 0, 5, 5).precision, Confusion(0, 5, 0, 5).recall, Confusion(0, 0, 0, 9).f1)
    assert all(map(math.isnan, undefined))
    assert Confusion(0, 5, 5, 0).f1 == 0
    predicted, truth = np.array([1, 1, 0, 0, 1], bool), np.array([1, 0, 1, 0, 0], bool)
    assert Confusion.of(predicted, truth) == Confusion(1, 2, 1, 1)
    assert Confusion.of(predicted, truth, np.array([1, 1, 1, 1, 0], bool)) == Confusion(1, 1, 1, 1)
    with pytest.raises(ValueError, match="one shape"):
        Confusion.of(predicted, truth[:3])


@given(st.integers(0, 500))
def test_best_threshold_beats_every_threshold(seed):
    random = np.random.default_rng(seed)
    images = random.integers(1, 9, (2, 4, 6, 6)).astype(np.uint16)
    masks = (random.random((2, 6, 6)) < 0.3).astype(np.uint8)
    masks[0, 0, 0], masks[0, 1] = 1, 255
    rule, known = evaluation.best_threshold(images, masks, ("blue", "green", "red", "nir")), masks != 255
    assert rule.confusion.tp + rule.confusion.fn == (masks == 1).sum()
    assert sum(vars(rule.confusion).values()) == known.sum()
    brightness = images[:, :3].mean(axis=1)
    for value in np.unique(brightness):
        assert rule.confusion.f1 >= Confusion.of(brightness >= value, masks == 1, known).f1 - 1e-9
        assert rule.confusion.f1 >= Confusion.of(brightness <= value, masks == 1, known).f1 - 1e-9


@st.composite
def maps(draw, least=0):
    """Probabilities of some type, many of them on the edges of bins, with a truth and what is known."""
    size = draw(st.integers(least, 60))
    kind = draw(st.sampled_from([np.float32, np.float64]))
    steps = st.integers(0, STEPS).map(lambda step: step / STEPS)
    values = draw(st.lists(st.one_of(steps, st.floats(0, 1)), min_size=size, max_size=size))
    flags = st.lists(st.booleans(), min_size=size, max_size=size)
    return np.array(values, kind), np.array(draw(flags), bool), np.array(draw(flags), bool)


@given(maps(), st.integers(0, STEPS))
def test_a_threshold_cuts_as_it_cuts_the_probabilities_themselves(pixels, step):
    probability, truth, known = pixels
    threshold = step / STEPS
    expected = Confusion.of(probability >= threshold, truth, known)
    assert Ranked.of(probability, truth, known).confusion(threshold) == expected


@given(maps(least=1))
@settings(max_examples=50)
def test_average_precision_equals_the_sum_over_thresholds(pixels):
    # Equal to the last digit where no bin holds different probabilities.
    probability, truth = np.round(pixels[0].astype(float) * STEPS) / STEPS, pixels[1]
    total, before = 0.0, 0.0
    for threshold in np.unique(probability)[::-1]:
        counts = Confusion.of(probability >= threshold, truth)
        total += (counts.recall - before) * counts.precision
        before = counts.recall
    assert Ranked.of(probability, truth).average_precision == pytest.approx(total, nan_ok=True)


@given(maps(least=1))
@settings(max_examples=25)
def test_the_curve_holds_the_scores_of_each_threshold_and_none_is_better_than_the_best(pixels):
    ranked = Ranked.of(*pixels)
    curve, (threshold, f1) = ranked.curve(), ranked.best()
    counts = [ranked.confusion(step / STEPS) for step in range(STEPS + 1)]
    assert curve["threshold"].tolist() == [step / STEPS for step in range(STEPS + 1)]
    assert curve["precision"].tolist() == pytest.approx([one.precision for one in counts], nan_ok=True)
    assert curve["recall"].tolist() == pytest.approx([one.recall for one in counts], nan_ok=True)
    if math.isnan(threshold):
        assert math.isnan(f1) and not pixels[1][pixels[2]].any()
    else:
        assert ranked.confusion(threshold).f1 == pytest.approx(f1) == max(one.f1 for one in counts)


@given(maps(least=1))
@settings(max_examples=50)
def test_calibration_equals_a_direct_computation(pixels):
    probability, truth = pixels[0].astype(float), pixels[1]
    ranked = Ranked.of(probability, truth)
    # The same edges to the last bit: 10 · probability would round across them.
    edges = np.arange(11) * (STEPS // 10) / STEPS
    index = np.minimum(np.searchsorted(edges, probability, side="right") - 1, 9)
    values = pd.DataFrame({"mean_probability": probability, "observed_share": truth.astype(float), "pixels": 1})
    expected = values.groupby(index).agg({"mean_probability": "mean", "observed_share": "mean", "pixels": "sum"})
    assert ranked.reliability().to_numpy() == pytest.approx(expected.to_numpy(), abs=1 / STEPS)
    gaps = (expected["mean_probability"] - expected["observed_share"]).abs() * expected["pixels"]
    assert ranked.calibration_error == pytest.approx(gaps.sum() / len(truth), abs=1 / STEPS)


def test_nothing_to_rank_is_nan_and_what_bins_cannot_tell_is_refused():
    ranked = Ranked.of(np.empty(0), np.empty(0))
    assert np.isnan([ranked.average_precision, ranked.calibration_error]).all()
    assert len(ranked.reliability()) == 0 and ranked.curve()["recall"].isna().all()
    assert ranked.confusion(0.5) == Confusion(0, 0, 0, 0)
    ranked = Ranked.of(np.array([0.2]), np.array([True]))
    for threshold in (0.5004, -0.001, 1.001):
        with pytest.raises(ValueError, match="multiple"):
            ranked.confusion(threshold)
    with pytest.raises(ValueError, match="one shape"):
        Ranked.of(np.zeros(3), np.zeros(2, bool))


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_what_is_no_probability_is_refused_unless_left_out(value):
    probability, truth = np.array([0.5, value]), np.array([True, False])
    with pytest.raises(ValueError, match="between 0 and 1"):
        Ranked.of(probability, truth)
    assert Ranked.of(probability, truth, np.array([True, False])).pixels.sum() == 1


# Noise for the few joins of strips, blobs for landslides that reach over many.
codes = st.tuples(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32 - 1), st.booleans())


def scene(rows, cols, seed, noise):
    random, pair = np.random.default_rng(seed), []
    for _ in range(2):
        landslide = random.random((rows, cols)) < 0.4 if noise else blobs(rows, cols, 5, random.integers(99), (1, 5))
        pair.append(np.where(random.random((rows, cols)) < 0.05, 255, landslide).astype(np.uint8))
    mask, truth = pair
    probability = np.where(mask == 1, 0.5 + 0.5 * random.random(mask.shape), 0.49 * random.random(mask.shape))
    return np.where(mask == 255, -1, probability).astype(np.float32), mask, truth


def cut(arrays, height):
    return lambda: (tuple(array[row : row + height] for array in arrays) for row in range(0, len(arrays[0]), height))


@given(codes, st.integers(1, 9))
@settings(max_examples=25)
def test_strips_score_as_the_whole_does_and_counts_are_those_of_the_mask(case, height):
    arrays = scene(*case)
    _, mask, truth = arrays
    (whole, tables), (strips, others) = (objects.score(cut(arrays, rows), 9.0) for rows in (99, height))
    assert strips == pytest.approx(whole, nan_ok=True)
    for name, table in tables.items():
        pd.testing.assert_frame_equal(table, others[name])
    counts = Confusion.of(mask == 1, truth == 1, (mask != 255) & (truth != 255))
    assert {name: whole[name] for name in counts.as_dict()} == pytest.approx(counts.as_dict(), nan_ok=True)
    of_truth, of_map = objects.overlaps([(truth, mask)]), objects.overlaps([(mask, truth)])
    assert of_truth["covered_px"].sum() == of_map["covered_px"].sum() == counts.tp
    assert (of_truth["known_px"].sum(), of_map["known_px"].sum()) == (counts.tp + counts.fn, counts.tp + counts.fp)
    assert whole["f1_at_best_threshold"] >= whole["f1"] or math.isnan(whole["f1_at_best_threshold"])


def test_a_perfect_map_an_empty_one_and_one_of_nothing_but_false_objects():
    truth = blobs(90, 80, 12).astype(np.uint8)
    truth[:3] = 255
    scores, tables = objects.score(cut((truth.clip(max=1).astype(np.float32), truth % 255, truth), 16), 9.0)
    assert scores["average_precision"] == scores["f1"] == scores["detection_rate"] == 1
    assert scores["landslides"] == scores["landslides_detected"] > 3
    assert scores["mapped_false"] == scores["calibration_error"] == 0
    assert tables["by_size"]["detection_rate"].dropna().eq(1).all()
    landslide = blobs(60, 60, 6).astype(np.uint8)
    nothing = np.zeros_like(landslide)
    scores, _ = objects.score(cut((nothing.astype(np.float32), nothing, landslide), 16), 9.0)
    assert scores["detection_rate"] == scores["recall"] == scores["mapped"] == 0 and math.isnan(scores["precision"])
    assert scores["average_precision"] == pytest.approx(scores["prevalence"]) == landslide.mean()
    scores, tables = objects.score(cut((landslide.astype(np.float32), landslide, nothing), 16), 9.0)
    assert scores["mapped"] == scores["mapped_false"] == len(inventory.landslide_sizes(landslide))
    assert all(math.isnan(scores[name]) for name in ("detection_rate", "average_precision", "best_threshold"))


def table(*rows):
    return pd.DataFrame(rows, columns=["size_px", "known_px", "covered_px"])


def test_landslides_count_in_their_class_if_half_covered_and_pooled_counts_are_added():
    truth = table((10, 10, 5), (10, 10, 4), (11, 4, 2), (200, 200, 200), (5, 0, 0))
    counts = objects.by_size(truth, table((250, 250, 205), (3, 3, 1)), 10.0)
    columns = ["area_m2", "landslides", "detected", "mapped", "mapped_false"]
    assert counts[columns].to_numpy().tolist() == [
        ["< 100", 0, 0, 1, 1], ["100–300", 3, 2, 0, 0], ["1,000–3,000", 1, 1, 1, 0],
    ]  # fmt: skip
    assert counts["detection_rate"].tolist() == pytest.approx([math.nan, 2 / 3, 1], nan_ok=True)
    bounds = ["detection_low", "detection_high"]
    assert counts[bounds].isna().all(axis=None), "three are too few for an interval"
    # Wilson's interval at 95 %, worked by hand: (20 + z²/2 ± z √(20 · 10 / 30 + z²/4)) / (30 + z²).
    assert objects.pooled([counts] * 10).loc[1, bounds].tolist() == pytest.approx([0.48780, 0.80769], abs=2e-5)
    two, one = table((9, 9, 9), (90, 90, 0)), table((9, 9, 0))
    pooled = objects.pooled([objects.by_size(rows, table(), 10.0) for rows in (two, one)])
    assert pooled[["landslides", "detected"]].to_numpy().tolist() == [[2, 1], [1, 0]]
    assert list(objects.pooled([]).columns) == list(pooled.columns) and objects.overlaps([]).empty


def test_chance_is_what_the_same_map_detects_elsewhere():
    truth = blobs(200, 200, 30, radius=(2, 5)).astype(np.uint8)
    slides = len(inventory.landslide_sizes(truth))
    right = np.zeros_like(truth)
    right[:, 100:] = 1
    assert objects.by_chance(np.ones_like(truth), truth, 9.0).sum() == slides
    assert objects.by_chance(np.zeros_like(truth), truth, 9.0).sum() == 0
    # Half of the scene in one piece detects half of the small landslides, wherever it lies.
    assert objects.by_chance(right, truth, 9.0).sum() == pytest.approx(slides / 2, rel=0.2)
    whole = objects.tally_whole(truth.astype(np.float32), truth, truth, 9.0)
    assert whole.sizes["detected"].sum() == slides > 3 * whole.sizes["by_chance"].sum()
    back = objects.Tally.of_arrays((whole + whole).arrays())
    assert back.scores() == (whole + whole).scores() and back.sizes.equals((whole + whole).sizes)
    assert back.sizes["by_chance"].sum() == pytest.approx(2 * whole.sizes["by_chance"].sum())


# Every patch holds landslide, as the paper's do.
COUNTS = hnp.arrays(np.int64, st.tuples(st.integers(10, 14), st.just(3)), elements=st.integers(0, 400)).map(
    lambda counts: counts + np.array([0, 0, 1])
)
FEW = {"resamples": 200}


@given(COUNTS, st.integers(2, 5))
@settings(max_examples=25)
def test_bootstrap_laws(counts: np.ndarray, factor: int) -> None:
    interval, each = intervals.over_patches(counts, **FEW), intervals.f1(counts[:, None])
    assert interval.value == pytest.approx(Confusion(*map(int, counts.sum(axis=0)), tn=0).f1)
    assert 0 <= interval.low <= interval.high <= 1
    assert each.min() - 1e-12 <= interval.low and interval.high <= each.max() + 1e-12, "F1 of sums lies between"
    # Larger pixels change nothing, nor does another run with the same counts.
    for same in (factor * counts, np.stack([counts, counts])):
        assert intervals.over_patches(same, **FEW) == pytest.approx(interval)
    assert intervals.over_patches(counts, **FEW) == interval, "the same draws each time"


def test_the_interval_covers_what_it_promises() -> None:
    random, hits = np.random.default_rng(1), 0
    world = random.gamma(2, 50, (4000, 3)).astype(int)
    for _ in range(200):
        interval = intervals.over_patches(world[random.integers(0, len(world), 40)], resamples=400)
        hits += interval.low <= float(intervals.f1(world)) <= interval.high
    # 95 %, give or take four standard errors and the percentile method's known few percent at 40 patches.
    assert hits / 200 >= 0.86


@given(COUNTS)
@settings(max_examples=25)
def test_pairs_change_sign_with_their_order(counts: np.ndarray) -> None:
    other = counts[::-1] + np.array([1, 0, 0])
    gap, back = intervals.difference(counts, other, **FEW), intervals.difference(other, counts, **FEW)
    assert (gap.value, gap.low, gap.high) == pytest.approx((-back.value, -back.high, -back.low), abs=1e-12)
    p = intervals.permuted(counts, other, 200)
    assert 0 < p <= 1 and p == pytest.approx(intervals.permuted(other, counts, 200))
    assert np.isnan(intervals.permuted(counts, counts, 200)), "no block differs: nothing to test"
    assert intervals.difference(counts, counts, **FEW) == (0, 0, 0)


def test_a_permutation_test_of_few_tries_all_ways_and_p_of_like_networks_is_even():
    better, worse = np.tile([90, 5, 5], (6, 1)), np.tile([20, 40, 40], (6, 1))
    assert intervals.permuted(better, worse) == pytest.approx(2 / 2**6), "two of 64 ways are as extreme"
    for few in (worse[:5], np.concatenate([worse[:5], better[:3]])):
        assert np.isnan(intervals.permuted(better[[0] * len(few)], few)), "two of 32 ways are more than one in twenty"
    random = np.random.default_rng(3)
    pairs = random.gamma(2, 50, (200, 2, 12, 3)).astype(int)
    p = np.array([intervals.permuted(one, other, 500) for one, other in pairs])
    assert 0.02 < (p < 0.1).mean() < 0.19, "one in ten, give or take four standard errors"


def test_the_order_matters_where_seeds_agree_on_it() -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, (3, 6))
    assert intervals.reordered(noise) > 0.05
    assert intervals.reordered(noise + 0.1 * np.arange(6)) < 0.01
    # What a seed does to all orders is not the order's.
    assert intervals.reordered(noise + np.array([[0.0], [0.5], [0.9]])) == intervals.reordered(noise)
    for few in (noise[:1], noise[:, :1], noise[:, :2]):
        assert np.isnan(intervals.reordered(few)), "two orders of three seeds change places in 8 ways"


def test_weights_change_what_counts() -> None:
    kept, dropped = np.tile([50, 10, 10], (1, 10, 1)), np.tile([0, 30, 0], (1, 10, 1))
    for weight, precision in ((0.0, 50 / 60), (1.0, 50 / 90), (2.0, 50 / 120)):
        mixed = intervals.mixed((kept, dropped), (1.0, weight), **FEW)
        assert mixed["precision"].value == pytest.approx(precision)
        assert mixed["recall"] == pytest.approx((50 / 60,) * 3)
    assert intervals.mixed((kept, dropped[:, :0]), (1.0, 1.0), **FEW)["precision"].value == pytest.approx(50 / 60)


def test_too_little_has_no_interval():
    for interval in [intervals.over_patches(counts) for counts in (np.ones((9, 3)), np.zeros((10, 3), int))]:
        assert np.isnan([interval.low, interval.high]).all() and "too few" in interval.describe()
    assert intervals.Interval(0.5, 0.4, 0.6).describe(".1f") == "0.5 (95 % from 0.4 to 0.6)"


@given(st.lists(st.floats(0, 1) | st.just(float("nan")), max_size=12))
def test_correction_raises_p_and_keeps_its_order(values: list[float]) -> None:
    p = pd.Series(values, dtype=float)
    corrected = intervals.corrected(p)
    assert corrected.isna().tolist() == p.isna().tolist()
    known = p.notna()
    assert corrected[known].between(p[known] - 1e-12, 1).all()
    assert corrected[p[known].sort_values(kind="stable").index].is_monotonic_increasing


def test_other_patches_are_not_paired() -> None:
    table = pd.DataFrame({"number": [3, 1], "tp": [1, 2], "fp": [3, 4], "fn": [5, 6]})
    assert intervals.stacked([table, table[::-1]], ["number"]).tolist() == [[[2, 4, 6], [1, 3, 5]]] * 2
    assert intervals.stacked([table.assign(number=1)], ["number"]).tolist() == [[[3, 7, 11]]], "a block is a sum"
    for other in (table.assign(number=[3, 2]), pd.concat([table, table])):
        with pytest.raises(ValueError, match="different patches"):
            intervals.stacked([table, other], ["number"])
