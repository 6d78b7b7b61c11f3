"""The certainty of scores: intervals over patches and over seeds, paired tests, and their correction.

F1 is not a mean over patches: counts are summed first. So patches are resampled, not scores, and patches that touch are
resampled together (`patches.splits.touching`): their counts are summed beforehand, and a *block* here is such a sum.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import factorial
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from lmhld_nb.evaluation.counts import METRICS, Confusion, Metric

COUNTED = ["tp", "fp", "fn"]
RESAMPLES = 2000
LEVEL = 0.95
LEAST = 10  # minimum number of blocks for an interval, and of test patches for an unmarked score
# Permutations in a test: its smallest p must survive the correction for the 147 pairs of Table 5.
PERMUTATIONS = 20_000


class Interval(NamedTuple):
    """A value and its 95 % interval; the bounds are NaN where there are too few values."""

    value: float
    low: float
    high: float

    def columns(self, name: str) -> dict[str, float]:
        """Return table columns: NAME, NAME_low and NAME_high."""
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}

    def describe(self, form: str = ".3f") -> str:
        """Return value and interval as text; ``form`` is the format of the numbers."""
        if np.isnan([self.low, self.high]).any():
            return f"{self.value:{form}} (too few blocks for an interval)"
        return f"{self.value:{form}} (95 % from {self.low:{form}} to {self.high:{form}})"


def f1(counts: np.ndarray) -> np.ndarray:
    """Return F1 (...) of summed counts (..., blocks, 3) of tp, fp and fn; NaN if there is nothing to score."""
    return _f1(np.asarray(counts).sum(axis=-2, dtype=np.float64))


def _confusion(sums: np.ndarray) -> Confusion:
    """Return counts from (..., 3) sums of tp, fp and fn; true negatives are not resampled: they are NaN."""
    tp, fp, fn = np.moveaxis(np.asarray(sums, float), -1, 0)
    return Confusion(tp, fp, fn, np.full(np.shape(tp), np.nan))  # type: ignore[arg-type]


def stacked(tables: Sequence[pd.DataFrame], keys: Sequence[str]) -> np.ndarray:
    """Return several runs' counts, summed over equal ``keys``: (runs, blocks, 3); ValueError if patches differ."""
    ordered = [table.groupby(list(keys))[COUNTED].sum() for table in tables]
    alike = (len(tables[0]) == len(table) and ordered[0].index.equals(by_key.index)
             for table, by_key in zip(tables, ordered, strict=True))  # fmt: skip
    if not all(alike):
        raise ValueError("these runs were tested on different patches: they cannot be paired")
    return np.stack([by_key.to_numpy() for by_key in ordered])


def over_patches(counts: np.ndarray, resamples: int = RESAMPLES) -> Interval:
    """Return (the mean over runs of) F1 of counts ([runs,] blocks, 3), with a percentile bootstrap over blocks."""
    return _bootstrap(lambda sums: _f1(sums).mean(axis=0), [np.array(counts, ndmin=3)], resamples)


def difference(one: np.ndarray, other: np.ndarray, resamples: int = RESAMPLES) -> Interval:
    """Return F1 of ``one`` minus that of ``other`` as `over_patches`, on the same blocks; runs may differ."""
    one, other = np.array(one, ndmin=3), np.array(other, ndmin=3)
    both, first = np.concatenate([one, other]), len(one)
    return _bootstrap(lambda sums: _f1(sums[:first]).mean(axis=0) - _f1(sums[first:]).mean(axis=0), [both], resamples)


def mixed(groups: Sequence[np.ndarray], weights: Sequence[float], resamples: int = RESAMPLES) -> dict[str, Interval]:
    """Return all metrics of weighted groups of blocks, (runs, blocks, 3), with bootstrap intervals."""
    weighted = [(group, weight) for group, weight in zip(groups, weights, strict=True) if weight and group.size]

    def statistic(metric: Metric, *sums: np.ndarray) -> np.ndarray:
        parts = [weight * part for (_, weight), part in zip(weighted, sums, strict=True)]
        return np.asarray(metric.of(_confusion(np.sum(parts, axis=0)))).mean(axis=0)

    drawn = [group for group, _ in weighted]
    return {name: _bootstrap(partial(statistic, metric), drawn, resamples) for name, metric in METRICS.items()}


def permuted(one: np.ndarray, other: np.ndarray, ways: int = PERMUTATIONS) -> float:
    """Return the two-sided p of a paired permutation test of two networks on the same blocks ([runs,] blocks, 3).

    Their counts are swapped block by block, in ``ways`` random ways or in all. NaN if fewer than six blocks differ.
    """
    one, other = np.array(one, ndmin=3), np.array(other, ndmin=3)
    differs = (one != other).any(axis=(0, 2))
    blocks = int(differs.sum())
    if 2.0 ** (1 - blocks) > 1 - LEVEL:
        return float("nan")
    if 2**blocks <= ways:
        swaps = (np.arange(2**blocks)[:, None] >> np.arange(blocks)) & 1
    else:
        swaps = np.random.default_rng(0).integers(0, 2, (ways, blocks))
        swaps[0] = 0  # the observed order
    moved = swaps.astype(float) @ (other - one)[:, differs]
    sums = [network.sum(axis=1, keepdims=True) for network in (one, other)]
    gaps = np.abs((_f1(sums[0] + moved) - _f1(sums[1] - moved)).mean(axis=0))
    return float((gaps >= gaps[0] - 1e-12).mean())


def reordered(scores: np.ndarray) -> float:
    """Return p of the largest difference between orders' mean ``scores`` (seeds, orders), if all were equally good.

    Orders are permuted within each seed; NaN if the smallest possible p exceeds 0.05.
    """
    seeds, orders = scores.shape
    if float(factorial(orders)) ** (1 - seeds) > 1 - LEVEL:
        return float("nan")
    tried = np.random.default_rng(0).permuted(np.tile(scores, (PERMUTATIONS, 1, 1)), axis=2)
    tried[0] = scores
    spreads = np.ptp(tried.mean(axis=1), axis=1)
    return float((spreads >= spreads[0] - 1e-12).mean())


def corrected(p: pd.Series) -> pd.Series:
    """Return p-values corrected for their number under any dependence (Benjamini and Yekutieli 2001), without NaN."""
    known = p.dropna()
    result = pd.Series(np.nan, index=p.index)
    if len(known):
        result[p.notna()] = stats.false_discovery_control(known.to_numpy(), method="by")
    return result


def _f1(sums: np.ndarray) -> np.ndarray:
    return np.asarray(_confusion(sums).f1)


def _bootstrap(statistic: Callable[..., np.ndarray], groups: Sequence[np.ndarray], resamples: int) -> Interval:
    """Return a statistic of the sums of groups, (runs, draws, 3), with blocks drawn per group, and its interval."""
    whole = float(statistic(*(group.sum(axis=1, keepdims=True) for group in groups))[0])
    blocks = [group.shape[1] for group in groups]
    if min(blocks) < LEAST or np.isnan(whole):
        return Interval(whole, np.nan, np.nan)
    random = np.random.default_rng(0)
    drawn = [random.multinomial(count, np.full(count, 1 / count), resamples).astype(float) for count in blocks]
    values = statistic(*(times @ group for times, group in zip(drawn, groups, strict=True)))
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(whole, float(low), float(high))
