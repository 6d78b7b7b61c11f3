"""Intervals and tests: what must hold of them whatever the counts."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lmhld_nb.evaluation import Confusion, intervals

# Every patch holds landslide, as the paper's do.
COUNTS = hnp.arrays(np.int64, st.tuples(st.integers(10, 14), st.just(3)), elements=st.integers(0, 400)).map(
    lambda counts: counts + np.array([0, 0, 1])
)
FEW = {"resamples": 200}


@given(COUNTS)
def test_f1_is_that_of_summed_counts(counts: np.ndarray) -> None:
    total = Confusion(*(int(value) for value in counts.sum(axis=0)), tn=0)
    assert float(intervals.f1(counts)) == pytest.approx(total.f1)


@given(COUNTS, st.integers(2, 5))
@settings(max_examples=25)
def test_bootstrap_laws(counts: np.ndarray, factor: int) -> None:
    interval, each = intervals.over_patches(counts, **FEW), intervals.f1(counts[:, None])
    assert 0 <= interval.low <= interval.high <= 1
    assert each.min() - 1e-12 <= interval.low and interval.high <= each.max() + 1e-12, "F1 of sums lies between"
    # Larger pixels change nothing, nor does another run with the same counts.
    for same in (factor * counts, np.stack([counts, counts])):
        assert intervals.over_patches(same, **FEW) == pytest.approx(interval)
    assert intervals.over_patches(counts, **FEW) == interval, "the same draws each time"


def test_equal_patches_leave_no_doubt_and_more_patches_less() -> None:
    same = np.tile([50, 10, 20], (10, 1))
    assert intervals.over_patches(same) == pytest.approx((100 / 130,) * 3)
    counts = np.random.default_rng(0).integers(1, 400, (10, 3))
    few, many = (intervals.over_patches(np.tile(counts, (n, 1))) for n in (1, 16))
    assert few.value == pytest.approx(many.value)
    assert few.half / many.half == pytest.approx(4, rel=0.2), "the width falls with the root of the number"


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


def test_a_permutation_test_of_few_patches_tries_all_ways() -> None:
    better, worse = np.tile([90, 5, 5], (6, 1)), np.tile([20, 40, 40], (6, 1))
    assert intervals.permuted(better, worse) == pytest.approx(2 / 2**6), "two of 64 ways are as extreme"
    for few in (worse[:5], np.concatenate([worse[:5], better[:3]])):
        assert np.isnan(intervals.permuted(better[[0] * len(few)], few)), "two of 32 ways are more than one in twenty"


def test_p_of_like_networks_is_evenly_spread() -> None:
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
    none = intervals.mixed((kept, dropped[:, :0]), (1.0, 1.0), **FEW)
    assert none["precision"].value == pytest.approx(50 / 60)


def test_too_little_has_no_interval() -> None:
    patches = [intervals.over_patches(counts) for counts in (np.ones((9, 3)), np.zeros((10, 3), int))]
    for interval in (*patches, intervals.over_seeds([0.5]), intervals.over_seeds([0.5, np.nan])):
        assert np.isnan([interval.low, interval.high]).all() and "too few" in interval.describe()
    assert intervals.Interval(0.5, 0.4, 0.6).describe(".1f") == "0.5 (95 % from 0.4 to 0.6)"


def test_over_seeds_is_students() -> None:
    half = 4.302653 * np.std([0.70, 0.72, 0.77], ddof=1) / 3**0.5  # t of 2 degrees of freedom
    expected = (0.73, 0.73 - half, 0.73 + half)
    assert intervals.over_seeds([0.70, 0.72, 0.77]) == pytest.approx(expected, abs=1e-6)
    assert intervals.over_seeds([0.5, 0.5, 0.5]) == (0.5, 0.5, 0.5)


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
