import math

import numpy as np
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


def ranks(probability, truth):
    """Compute average precision threshold by threshold, without bins."""
    total, before = 0.0, 0.0
    for threshold in np.unique(probability)[::-1]:
        counts = Confusion.of(probability >= threshold, truth)
        total += (counts.recall - before) * counts.precision
        before = counts.recall
    return total


@given(maps(), st.integers(0, STEPS))
def test_a_threshold_cuts_as_it_cuts_the_probabilities_themselves(made, step):
    probability, truth, known = made
    threshold = step / STEPS
    expected = Confusion.of(probability >= threshold, truth, known)
    assert Ranked.of(probability, truth, known).confusion(threshold) == expected


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_an_edge_belongs_to_the_bin_above_it_in_every_type(kind):
    edges = (np.arange(STEPS + 1) / STEPS).astype(kind)
    for shifted in (edges, np.nextafter(edges, kind(2)).clip(max=1)):
        ranked = Ranked.of(shifted, np.ones(STEPS + 1, bool))
        assert (ranked.pixels[1] == 1).all()
    below = Ranked.of(np.nextafter(edges[1:], kind(0)), np.ones(STEPS, bool))
    assert (below.pixels[1, :-1] == 1).all()


@given(maps(), st.integers(0, 60))
def test_pixels_counted_apart_add_up(made, at):
    apart = Ranked.of(*(part[:at] for part in made)) + Ranked.of(*(part[at:] for part in made))
    whole = Ranked.of(*made)
    assert (apart.pixels == whole.pixels).all()
    assert apart.sums == pytest.approx(whole.sums)
    assert ((Ranked.none() + whole).pixels == whole.pixels).all()


@given(maps(least=1))
@settings(deadline=None)
def test_average_precision_equals_the_sum_over_thresholds(made):
    # Equal to the last digit where no bin holds different probabilities.
    probability, truth = np.round(made[0].astype(float) * STEPS) / STEPS, made[1]
    average = Ranked.of(probability, truth).average_precision
    assert math.isnan(average) if not truth.any() else average == pytest.approx(ranks(probability, truth))


def test_average_precision_of_a_ranking_worked_by_hand():
    # Landslides at ranks 1, 3 and 4: (1/1 + 2/3 + 3/4) / 3.
    ranked = Ranked.of(np.array([0.9, 0.8, 0.7, 0.6, 0.1]), np.array([1, 0, 1, 1, 0]))
    assert ranked.average_precision == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)


def test_a_perfect_ranking_reaches_one_and_a_constant_one_the_prevalence():
    truth = np.array([1, 0, 0, 1, 0, 0, 0, 0], bool)
    assert Ranked.of(truth, truth).average_precision == 1
    assert Ranked.of(truth, truth).best()[1] == 1
    assert Ranked.of(np.full(8, 0.4), truth).average_precision == 0.25


@given(maps(least=1))
def test_the_curve_holds_the_scores_of_each_threshold(made):
    ranked = Ranked.of(*made)
    curve = ranked.curve()
    assert len(curve) == STEPS + 1
    assert not (curve["recall"].diff() > 0).any()
    for step in (0, 1, 500, STEPS):
        counts, row = ranked.confusion(step / STEPS), curve.iloc[step]
        assert row["threshold"] == step / STEPS
        assert row["precision"] == pytest.approx(counts.precision, nan_ok=True)
        assert row["recall"] == pytest.approx(counts.recall, nan_ok=True)


@given(maps(least=1))
@settings(deadline=None, max_examples=25)
def test_no_threshold_has_a_higher_f1_than_the_best(made):
    ranked = Ranked.of(*made[:2])
    threshold, f1 = ranked.best()
    if not made[1].any():
        assert math.isnan(threshold)
        assert math.isnan(f1)
        return
    assert ranked.confusion(threshold).f1 == pytest.approx(f1)
    assert max(ranked.confusion(step / STEPS).f1 for step in range(STEPS + 1)) == pytest.approx(f1)


@given(maps(least=1), st.sampled_from([1, 4, 10, 1000]))
def test_calibration_equals_a_direct_computation(made, bins):
    probability, truth = made[0].astype(float), made[1]
    table = Ranked.of(probability, truth).reliability(bins)
    # The same edges to the last bit: bins · probability would round across them.
    edges = np.arange(bins + 1) * (STEPS // bins) / STEPS
    index = np.minimum(np.searchsorted(edges, probability, side="right") - 1, bins - 1)
    occupied = np.unique(index)
    assert list(table["pixels"]) == [(index == bin_).sum() for bin_ in occupied]
    assert list(table["mean_probability"]) == pytest.approx([probability[index == b].mean() for b in occupied])
    assert list(table["observed_share"]) == pytest.approx([truth[index == b].mean() for b in occupied])
    if bins == 10:
        gaps = [abs(probability[index == b].mean() - truth[index == b].mean()) * (index == b).mean() for b in occupied]
        assert Ranked.of(probability, truth).calibration_error == pytest.approx(sum(gaps))


@given(maps(least=1))
def test_brier_equals_the_mean_square(made):
    probability, truth = made[0].astype(float), made[1]
    assert Ranked.of(probability, truth).brier == pytest.approx(((probability - truth) ** 2).mean(), abs=3e-7)


def test_nothing_to_score_is_nan():
    ranked = Ranked.none()
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
    with pytest.raises(ValueError, match="divide"):
        ranked.reliability(7)
    with pytest.raises(ValueError, match="one shape"):
        Ranked.of(np.zeros(3), np.zeros(2, bool))
