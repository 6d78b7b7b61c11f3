"""Held-back blocks: labelled ground that a network was not trained on, and how it scores there."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter
from scipy.special import expit, logit

from lmhld_nb.evaluation import Confusion, intervals, scores
from lmhld_nb.mapping.labelled import BACKGROUND, LANDSLIDE, UNLABELLED

FOLDS, BLOCKS = 3, 24  # blocks of labelled ground; fewer if a block would be smaller than a patch
BINS = 200  # of probabilities


def training_labels(labels: np.ndarray, pixels: np.ndarray, fold: int, size: int) -> np.ndarray:
    """Return labels with 255 where ``pixels`` belong to a fold, and up to an eighth of a patch around them."""
    near = maximum_filter((pixels == fold).astype(np.uint8), 2 * (size // 8) + 1)
    return np.where(near, UNLABELLED, labels).astype(np.uint8)


def deal(labels: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Divide labelled ground into square blocks, at least a patch of ``size`` pixels wide, and assign them to folds.

    Returns the number of each pixel's block (rows, cols), -1 if unlabelled, and the fold of each block (blocks + 1,),
    with -1 at the end, so that ``folds[blocks]`` is the fold of each pixel. Blocks with most landslide come first, each
    into the fold with least so far, then those without; every block is held back once. All folds are -1 if fewer than
    two blocks contain landslides, or the training set of a fold would lack a class.
    """
    known = labels != UNLABELLED
    side = max(size, math.isqrt(int(known.sum()) // BLOCKS))
    rows, cols = (np.arange(length, dtype=np.int32) // side for length in labels.shape)
    blocks = rows[:, None] * np.int32(cols[-1] + 1) + cols
    blocks[known] = np.unique(blocks[known], return_inverse=True)[1]
    blocks[~known] = -1
    area = np.bincount(blocks[known])
    landslide = np.bincount(blocks[labels == LANDSLIDE], minlength=len(area))
    folds = min(FOLDS, int(np.count_nonzero(landslide)))
    of_block, totals = np.zeros(len(area), int), np.zeros((2, FOLDS))[:, : max(folds, 1)]
    for block in np.lexsort((-area, -landslide)):
        kind = int(landslide[block] == 0)
        of_block[block] = totals[kind].argmin()
        totals[kind, of_block[block]] += landslide[block] or area[block]
    of_block = np.append(of_block, -1)
    for fold in range(max(folds, 1)):
        left = training_labels(labels, of_block[blocks], fold, size)
        if folds < 2 or not {LANDSLIDE, BACKGROUND} <= set(np.unique(left).tolist()):
            of_block[:] = -1
    return blocks, of_block


@dataclass(frozen=True)
class Judged:
    """A candidate's result on the held-back blocks."""

    counts: np.ndarray  # (blocks, 3) tp, fp and fn, each block at the best threshold of the *other* folds
    threshold: float  # best over all blocks, for calibrated probabilities
    temperature: float  # divisor of the logits that calibrates them

    @property
    def f1(self) -> float:
        """Pooled F1."""
        return float(intervals.f1(self.counts))

    @property
    def interval(self) -> intervals.Interval:
        """Pooled F1 with its bootstrap interval over non-empty blocks."""
        return intervals.over_patches(self.counts[self.counts.any(axis=1)])

    def scores(self) -> dict[str, float]:
        """Return all metrics of the pooled counts and the interval's bounds."""
        tp, fp, fn = map(int, self.counts.sum(axis=0))
        _, low, high = self.interval
        return {**scores(Confusion(tp, fp, fn, 0)), "low": low, "high": high}


def judge(probability: np.ndarray, labels: np.ndarray, blocks: np.ndarray, of_block: np.ndarray) -> Judged:
    """Score a candidate's held-back probabilities (rows, cols) by the blocks of `deal`, without unlabelled pixels."""
    known = labels != UNLABELLED
    level = np.minimum((probability[known] * BINS).astype(np.int64), BINS - 1)
    cell = (2 * blocks[known].astype(np.int64) + (labels[known] == LANDSLIDE)) * BINS + level
    shape = (len(of_block) - 1, 2, BINS)
    histogram = np.bincount(cell, minlength=math.prod(shape)).reshape(shape)
    above = histogram[..., ::-1].cumsum(axis=-1)[..., ::-1]  # mapped at the threshold k / BINS
    fp, tp = above[:, 0], above[:, 1]
    counts = np.stack([tp, fp, histogram[:, 1].sum(axis=1, keepdims=True) - tp], axis=-1)  # (blocks, BINS, 3)
    nested = np.empty((len(counts), 3), np.int64)
    for fold in range(int(of_block.max()) + 1):
        held = of_block[:-1] == fold
        nested[held] = counts[held, _best_cut(counts[~held])]
    # The temperature with the lowest cross-entropy.
    logits, tried = logit((np.arange(BINS) + 0.5) / BINS), np.geomspace(0.25, 8, 81)
    counted = histogram.sum(axis=0)
    costs = [(counted * np.logaddexp(0, [logits / one, -logits / one])).sum() for one in tried]
    temperature = float(tried[int(np.argmin(costs))])
    return Judged(nested, float(expit(logit(_best_cut(counts) / BINS) / temperature)), temperature)


def _best_cut(counts: np.ndarray) -> int:
    """Return the threshold, 1 to BINS - 1 in steps of 1 / BINS, with the highest F1 over blocks."""
    return 1 + int(np.nanargmax(intervals.f1(counts.swapaxes(0, 1))[1:]))
