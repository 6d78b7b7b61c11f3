"""Splits: patches assigned to training, validation and test with similar landslide shares."""

import numpy as np
import pandas as pd
from scipy.spatial import KDTree

from lmhld_nb.inventory import joined

SPLITS = ("train", "val", "test")


def blocks(index: pd.DataFrame, side_px: int) -> np.ndarray:
    """Return for each patch (scene, row, col) the number, from 0, of its square of ``side_px`` pixels."""
    return index.groupby(["scene", index["row"] // side_px, index["col"] // side_px], sort=False).ngroup().to_numpy()


def touching(index: pd.DataFrame, side_px: int) -> np.ndarray:
    """Return for each patch (scene, row, col) its group, from 0, of patches that touch at a side or corner."""
    pairs = KDTree(_places(index)).query_pairs(side_px, p=np.inf, output_type="ndarray")
    return joined(pairs.T, len(index))[1]


def beside(index: pd.DataFrame, others: np.ndarray | pd.Series, side_px: int) -> np.ndarray:
    """Return for each patch (scene, row, col) whether it is or touches one of ``others`` (bool)."""
    places = _places(index)
    return np.asarray(KDTree(places[np.asarray(others)]).query(places, p=np.inf)[0] <= side_px)


def _places(index: pd.DataFrame) -> np.ndarray:
    scenes = index["scene"].factorize()[0] * 1e9  # far apart
    return np.column_stack([scenes, index["row"], index["col"]])


def deal(share: np.ndarray, group: np.ndarray, fractions: tuple[float, float, float], seed: int) -> np.ndarray:
    """Assign patches to train, val and test, in whole groups (paper section 2.3, Table 2).

    Of 500 seeded assignments with similar shares, the first is used whose splits differ by at most 1 % in mean
    landslide share and keep ``fractions``; otherwise the best.
    """
    weight = np.bincount(group)
    group_share = np.bincount(group, weights=share) / weight
    target = np.array(fractions) / sum(fractions)
    random = np.random.default_rng(seed)
    best, best_cost = np.zeros(len(weight), int), np.inf
    for _ in range(500):
        dealt = _deal_once(group_share, target, random)
        cost = _cost(dealt, weight, group_share, target)
        if cost < best_cost:
            best, best_cost = dealt, cost
        if best_cost <= 0.01:
            break
    return np.array(SPLITS)[best][group]


def _deal_once(share: np.ndarray, target: np.ndarray, random: np.random.Generator) -> np.ndarray:
    order = np.argsort(share + random.normal(0, 0.02, len(share)))
    counts = np.maximum(np.round(target * len(share)).astype(int), 1)
    counts[0] = max(0, len(share) - counts[1:].sum())
    # Each split's positions are evenly spaced in the order, from a random offset on.
    positions = np.concatenate([(np.arange(n) + random.random(n)) / n for n in counts])
    cards = np.repeat(np.arange(3), counts)[np.argsort(positions)]
    dealt = np.empty(len(share), int)
    dealt[order] = cards[: len(share)]
    return dealt


def _cost(dealt: np.ndarray, weight: np.ndarray, share: np.ndarray, target: np.ndarray) -> float:
    """Return the largest gap between splits in mean share, plus the deviation of patch counts from their target."""
    patches = np.bincount(dealt, weights=weight, minlength=3)
    if (patches == 0).any():
        return np.inf
    means = np.bincount(dealt, weights=weight * share, minlength=3) / patches
    missed = np.abs(patches / patches.sum() - target).max()
    return float(means.max() - means.min() + max(0.0, missed - 0.03))
