"""Counts, scores and the best threshold: what must hold of them whatever the pixels."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmhld_nb import evaluation
from lmhld_nb.evaluation.counts import Confusion

counts = st.builds(Confusion, *[st.integers(0, 1000)] * 4)
BANDS = ("blue", "green", "red", "nir")


@given(counts.filter(lambda c: c.tp > 0))
def test_f1_is_the_harmonic_mean(c):
    assert c.f1 == pytest.approx(2 * c.precision * c.recall / (c.precision + c.recall))
    assert min(c.precision, c.recall) <= c.f1 <= max(c.precision, c.recall) or c.precision == pytest.approx(c.recall)


def test_what_cannot_be_scored_is_nan():
    undefined = (Confusion(0, 0, 5, 5).precision, Confusion(0, 5, 0, 5).recall, Confusion(0, 0, 0, 9).f1)
    assert all(map(math.isnan, undefined))
    assert Confusion(0, 5, 5, 0).f1 == 0


def test_counting_leaves_unknown_pixels_out():
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
    rule, known = evaluation.best_threshold(images, masks, BANDS), masks != 255
    assert evaluation.score_threshold(rule, images, masks, BANDS) == rule.confusion
    assert rule.confusion.tp + rule.confusion.fn == (masks == 1).sum()
    assert sum(vars(rule.confusion).values()) == known.sum()
    brightness = images[:, :3].mean(axis=1)
    for value in np.unique(brightness):
        assert rule.confusion.f1 >= Confusion.of(brightness >= value, masks == 1, known).f1 - 1e-9
        assert rule.confusion.f1 >= Confusion.of(brightness <= value, masks == 1, known).f1 - 1e-9
