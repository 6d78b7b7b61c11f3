import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmhld_nb.evaluation import Confusion
from lmhld_nb.evaluation.ranking import STEPS, Ranked


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


def test_average_precision_worked_by_hand():
    # Landslides at ranks 1, 3 and 4: (1/1 + 2/3 + 3/4) / 3.
    ranked = Ranked.of(np.array([0.9, 0.8, 0.7, 0.6, 0.1]), np.array([1, 0, 1, 1, 0]))
    assert ranked.average_precision == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    truth = np.array([1, 0, 0, 1, 0, 0, 0, 0], bool)
    assert Ranked.of(truth, truth).average_precision == Ranked.of(truth, truth).best()[1] == 1
    assert Ranked.of(np.full(8, 0.4), truth).average_precision == 0.25  # chance: the prevalence


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
def test_calibration_and_brier_equal_a_direct_computation(pixels):
    probability, truth = pixels[0].astype(float), pixels[1]
    ranked = Ranked.of(probability, truth)
    # The same edges to the last bit: 10 · probability would round across them.
    edges = np.arange(11) * (STEPS // 10) / STEPS
    index = np.minimum(np.searchsorted(edges, probability, side="right") - 1, 9)
    values = pd.DataFrame({"mean_probability": probability, "observed_share": truth.astype(float), "pixels": 1})
    expected = values.groupby(index).agg({"mean_probability": "mean", "observed_share": "mean", "pixels": "sum"})
    assert ranked.reliability().to_numpy() == pytest.approx(expected.to_numpy())
    gaps = (expected["mean_probability"] - expected["observed_share"]).abs() * expected["pixels"]
    assert ranked.calibration_error == pytest.approx(gaps.sum() / len(truth))
    assert ranked.brier == pytest.approx(((probability - truth) ** 2).mean(), abs=3e-7)


def test_nothing_to_score_is_nan():
    ranked = Ranked.of(np.empty(0), np.empty(0))
    assert np.isnan([ranked.average_precision, ranked.calibration_error, ranked.brier]).all()
    assert len(ranked.reliability()) == 0 and ranked.curve()["recall"].isna().all()
    assert ranked.confusion(0.5) == Confusion(0, 0, 0, 0)


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_what_is_no_probability_is_refused_unless_left_out(value):
    probability, truth = np.array([0.5, value]), np.array([True, False])
    with pytest.raises(ValueError, match="between 0 and 1"):
        Ranked.of(probability, truth)
    assert Ranked.of(probability, truth, np.array([True, False])).pixels.sum() == 1


def test_what_bins_cannot_tell_is_refused():
    ranked = Ranked.of(np.array([0.2]), np.array([True]))
    for threshold in (0.5004, -0.001, 1.001):
        with pytest.raises(ValueError, match="multiple"):
            ranked.confusion(threshold)
    with pytest.raises(ValueError, match="one shape"):
        Ranked.of(np.zeros(3), np.zeros(2, bool))
