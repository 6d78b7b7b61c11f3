import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmhld_nb import evaluation, paper
from lmhld_nb.evaluation.counts import Confusion

counts = st.builds(Confusion, *[st.integers(0, 1000)] * 4)


@given(counts, counts)
def test_counts_add(a, b):
    total = a + b
    assert (total.tp, total.fp, total.fn, total.tn) == (a.tp + b.tp, a.fp + b.fp, a.fn + b.fn, a.tn + b.tn)


@given(counts.filter(lambda c: c.tp > 0))
def test_f1_is_the_harmonic_mean(c):
    assert c.f1 == pytest.approx(2 * c.precision * c.recall / (c.precision + c.recall))
    assert min(c.precision, c.recall) <= c.f1 <= max(c.precision, c.recall) or c.precision == pytest.approx(c.recall)


def test_published_rows_obey_this_f1_and_not_formula_3():
    table = paper.table(5)
    twice = 2 * table["precision"] * table["recall"] / (table["precision"] + table["recall"])
    assert (twice - table["f1"]).abs().max() < 2e-4
    assert (twice / 2 - table["f1"]).abs().min() > 0.3


def test_what_cannot_be_scored_is_nan():
    assert math.isnan(Confusion(0, 0, 5, 5).precision)
    assert math.isnan(Confusion(0, 5, 0, 5).recall)
    assert Confusion(0, 5, 5, 0).f1 == 0
    assert math.isnan(Confusion(0, 0, 0, 9).f1)


def test_counting_leaves_unknown_pixels_out():
    predicted = np.array([1, 1, 0, 0, 1], bool)
    truth = np.array([1, 0, 1, 0, 0], bool)
    assert Confusion.of(predicted, truth) == Confusion(1, 2, 1, 1)
    assert Confusion.of(predicted, truth, np.array([1, 1, 1, 1, 0], bool)) == Confusion(1, 1, 1, 1)
    with pytest.raises(ValueError, match="one shape"):
        Confusion.of(predicted, truth[:3])


@given(st.integers(0, 500))
def test_best_threshold_beats_every_threshold(seed):
    random = np.random.default_rng(seed)
    images = random.integers(1, 9, (2, 4, 6, 6)).astype(np.uint16)
    masks = (random.random((2, 6, 6)) < 0.3).astype(np.uint8)
    masks[0, 0, 0] = 1
    rule = evaluation.best_threshold(images, masks, ("blue", "green", "red", "nir"))
    brightness = images[:, :3].mean(axis=1)
    for value in np.unique(brightness):
        assert rule.confusion.f1 >= Confusion.of(brightness >= value, masks == 1).f1 - 1e-9
        assert rule.confusion.f1 >= Confusion.of(brightness <= value, masks == 1).f1 - 1e-9


def test_a_rule_scores_on_its_own_pixels_as_when_it_was_found():
    random = np.random.default_rng(2)
    images = random.integers(1, 2000, (3, 4, 16, 16)).astype(np.uint16)
    masks = (random.random((3, 16, 16)) < 0.3).astype(np.uint8)
    masks[0, :2] = 255
    rule = evaluation.best_threshold(images, masks, ("blue", "green", "red", "nir"))
    assert evaluation.score_threshold(rule, images, masks, ("blue", "green", "red", "nir")) == rule.confusion


def test_best_threshold_counts_what_its_rule_predicts():
    random = np.random.default_rng(1)
    images = random.integers(1, 2000, (3, 4, 16, 16)).astype(np.uint16)
    masks = (images[:, 0] > 1500).astype(np.uint8)
    masks[0, :2] = 255
    rule = evaluation.best_threshold(images, masks, ("blue", "green", "red", "nir"))
    assert rule.confusion.tp + rule.confusion.fn == (masks == 1).sum()
    assert sum(vars(rule.confusion).values()) == (masks != 255).sum()
