"""How sure a score is: intervals over patches and over seeds, paired tests, and their correction.

An F1 is not a mean over patches: counts are summed first. So patches are resampled, not scores. Patches that lie side
by side are alike, which no resampling of single patches sees: these intervals are rather too narrow than too wide.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from lmhld_nb.evaluation.counts import Confusion
from lmhld_nb.evaluation.metrics import METRICS, Metric

COUNTED = ["tp", "fp", "fn"]
RESAMPLES = 2000
LEVEL = 0.95
CELLS_AT_ONCE = 2**24  # of counts that a permutation test gathers at once


class Interval(NamedTuple):
    """A value and its 95 % interval; the bounds are NaN where there are too few values."""

    value: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """Half its width."""
        return (self.high - self.low) / 2

    def describe(self, form: str = ".3f") -> str:
        """Return value and interval as text; ``form`` is the format of the numbers."""
        if np.isnan([self.low, self.high]).any():
            return f"{self.value:{form}} (too few for an interval)"
        return f"{self.value:{form}} (95 % from {self.low:{form}} to {self.high:{form}})"


def f1(counts: np.ndarray) -> np.ndarray:
    """Return F1 (...) of summed counts (..., patches, 3) of tp, fp and fn; NaN where there is nothing to score."""
    return np.asarray(_confusion(np.asarray(counts).sum(axis=-2, dtype=np.float64)).f1)


def _confusion(sums: np.ndarray) -> Confusion:
    """Return counts from (..., 3) sums of tp, fp and fn; true negatives are not resampled: they are NaN."""
    tp, fp, fn = np.moveaxis(np.asarray(sums, float), -1, 0)
    return Confusion(tp, fp, fn, np.full(np.shape(tp), np.nan))  # type: ignore[arg-type]


def stacked(tables: Sequence[pd.DataFrame], keys: Sequence[str]) -> np.ndarray:
    """Return counts of the same patches (named by ``keys``, else ValueError) by several runs: (runs, patches, 3)."""
    ordered = [table.set_index(list(keys))[COUNTED].sort_index() for table in tables]
    if any(not table.index.equals(ordered[0].index) for table in ordered):
        raise ValueError("these runs were tested on different patches: they cannot be paired")
    return np.stack([table.to_numpy() for table in ordered])


def over_patches(counts: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Return F1 with its bootstrap interval (percentiles) over patches.

    ``counts`` are (patches, 3), or (runs, patches, 3) for the mean F1 of runs: the same patches are drawn for all.
    """
    counts = _runs(counts)
    return _bootstrap(lambda drawn: f1(counts[:, drawn]).mean(axis=0), [counts.shape[1]], resamples, seed)


def difference(one: np.ndarray, other: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Return F1 of ``one`` minus that of ``other`` as `over_patches`, on the same patches; runs may differ."""
    one, other = _runs(one), _runs(other)

    def statistic(drawn: np.ndarray) -> np.ndarray:
        return f1(one[:, drawn]).mean(axis=0) - f1(other[:, drawn]).mean(axis=0)

    return _bootstrap(statistic, [one.shape[1]], resamples, seed)


def mixed(
    groups: Sequence[np.ndarray], weights: Sequence[float], resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """Return all metrics where groups of patches count more or less, with bootstrap intervals.

    Patches are drawn within each group, (runs, patches, 3); the numbers of runs agree, scores are means over them.
    """
    weighted = [(group, weight) for group, weight in zip(groups, weights, strict=True) if weight and group.size]

    def statistic(metric: Metric, *drawn: np.ndarray) -> np.ndarray:
        pairs = zip(weighted, drawn, strict=True)
        sums = [weight * group[:, numbers].sum(axis=-2) for (group, weight), numbers in pairs]
        return np.asarray(metric.of(_confusion(np.sum(sums, axis=0)))).mean(axis=0)

    patches = [group.shape[1] for group, _ in weighted]
    return {name: _bootstrap(partial(statistic, metric), patches, resamples, seed) for name, metric in METRICS.items()}


def permuted(one: np.ndarray, other: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> float:
    """Return the two-sided p-value of a paired permutation test of two networks on the same patches.

    Patch by patch, the counts of the two change places at random; all ways are tried where these are no more than
    ``resamples``. NaN for a single patch. Both are (patches, 3), or (runs, patches, 3), runs paired in their order.
    """
    counts = np.concatenate([_runs(one), _runs(other)], axis=1)
    patches = counts.shape[1] // 2

    def statistic(first: np.ndarray, second: np.ndarray, axis: int) -> np.ndarray:
        return f1(counts[:, first]).mean(axis=0) - f1(counts[:, second]).mean(axis=0)

    if np.array_equal(counts[:, :patches], counts[:, patches:]):
        return 1.0
    if patches < 2:
        return float("nan")
    result = stats.permutation_test(
        (np.arange(patches), np.arange(patches) + patches), statistic, permutation_type="samples",
        vectorized=True, n_resamples=resamples, batch=max(1, CELLS_AT_ONCE // max(1, counts.size)), axis=-1,
        random_state=np.random.default_rng(seed),
    )  # fmt: skip
    return float(result.pvalue)


def over_seeds(values: Sequence[float] | np.ndarray | pd.Series) -> Interval:
    """Return the mean with Student's interval; of one value, or where one is not defined, without bounds."""
    scores = np.asarray(values, float)
    if len(scores) < 2 or np.isnan(scores).any():
        return Interval(float(scores.mean()) if len(scores) else np.nan, np.nan, np.nan)
    if np.ptp(scores) == 0:
        return Interval(float(scores[0]), float(scores[0]), float(scores[0]))
    low, high = stats.t.interval(LEVEL, len(scores) - 1, scores.mean(), stats.sem(scores))
    return Interval(float(scores.mean()), float(low), float(high))


def corrected(p: pd.Series) -> pd.Series:
    """Return p-values corrected for how many there are (Benjamini and Yekutieli 2001), NaN left out.

    Of the differences called real at a corrected 0.05, at most one in twenty is expected to be none, however the tests
    depend on one another.
    """
    known = p.dropna()
    result = pd.Series(np.nan, index=p.index)
    if len(known):
        result[p.notna()] = stats.false_discovery_control(known.to_numpy(), method="by")
    return result


def _runs(counts: np.ndarray) -> np.ndarray:
    counts = np.asarray(counts)
    return counts[None] if counts.ndim == 2 else counts


def _bootstrap(statistic: Callable[..., np.ndarray], patches: Sequence[int], resamples: int, seed: int) -> Interval:
    """Return the statistic of all patches and its interval; scipy draws the numbers of the patches of each group."""
    numbers = tuple(np.arange(count) for count in patches)
    whole = float(statistic(*numbers))
    if min(patches) < 2 or np.isnan(whole):
        return Interval(whole, np.nan, np.nan)
    result = stats.bootstrap(
        numbers, lambda *drawn, axis: statistic(*drawn), method="percentile", vectorized=True, paired=False,
        n_resamples=resamples, confidence_level=LEVEL, batch=200, random_state=np.random.default_rng(seed),
    )  # fmt: skip
    interval = result.confidence_interval
    return Interval(whole, float(interval.low), float(interval.high))
