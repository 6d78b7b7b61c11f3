"""Counts of pixels, the registry of metrics computed from them, and the single-threshold baseline."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from lmhld_nb.inventory import brightness, ndvi


@dataclass(frozen=True)
class Confusion:
    """Counts of pixels, which add with ``+``. Ratios are NaN if undefined, and arrays if the counts are."""

    tp: int
    fp: int
    fn: int
    tn: int

    @classmethod
    def of(cls, predicted: np.ndarray, truth: np.ndarray, known: np.ndarray | None = None) -> Self:
        """Count boolean arrays of equal shape (else ValueError); pixels where ``known`` is False are left out."""
        predicted, truth = np.asarray(predicted, bool), np.asarray(truth, bool)
        if predicted.shape != truth.shape:
            raise ValueError(f"predicted {predicted.shape} and truth {truth.shape} must have one shape")
        if known is not None:
            predicted, truth = predicted[known], truth[known]
        tp = int((predicted & truth).sum())
        fp, fn = int(predicted.sum()) - tp, int(truth.sum()) - tp
        return cls(tp, fp, fn, truth.size - tp - fp - fn)

    @classmethod
    def from_dict(cls, row: Mapping[str, float]) -> Self:
        return cls(*(int(row[name]) for name in ("tp", "fp", "fn", "tn")))

    def __add__(self, other: Self) -> Self:
        return type(self)(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)

    @property
    def precision(self) -> float:
        """Share of predicted landslide pixels that are landslide (paper formula 1)."""
        return ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """Share of landslide pixels that are predicted (paper formula 2)."""
        return ratio(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, 2PR/(P+R); formula 3 prints half of it, published rows follow this."""
        return ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    def as_dict(self) -> dict[str, float | int]:
        return {"tp": self.tp, "fp": self.fp, "fn": self.fn, "tn": self.tn, **scores(self)}


def ratio(share: Any, whole: Any) -> Any:
    """Return share / whole, NaN where whole is 0: a float for numbers, an array for arrays."""
    if np.ndim(whole) == 0:
        return share / whole if whole else float("nan")
    return np.divide(share, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)


@dataclass(frozen=True)
class Metric:
    """A score from 0 to 1, NaN if undefined: key, title and formula, which must accept arrays (`ratio`)."""

    name: str
    title: str
    of: Callable[[Confusion], float]


METRICS: dict[str, Metric] = {
    "precision": Metric("precision", "precision", lambda counts: counts.precision),
    "f1": Metric("f1", "F1", lambda counts: counts.f1),
    "recall": Metric("recall", "recall", lambda counts: counts.recall),
}


def scores(confusion: Confusion) -> dict[str, float]:
    """Return all metrics of the counts by name, in the order of the registry."""
    return {name: metric.of(confusion) for name, metric in METRICS.items()}


CHANGE = "_change"  # suffix of a band that is the difference from an earlier image


@dataclass(frozen=True)
class Threshold:
    """A one-feature rule: landslide where ``feature`` is above (or below) ``value``."""

    feature: str
    above: bool
    value: float
    confusion: Confusion


def best_threshold(images: np.ndarray, masks: np.ndarray, bands: tuple[str, ...]) -> Threshold:
    """Find the threshold on one feature (`_features`) with the highest F1 on these same pixels: an upper bound.

    ``images`` (patches, bands, rows, cols) in stored units; ``masks`` (patches, rows, cols) 1, 0, others left out.
    """
    known = masks <= 1
    features = {name: feature[known] for name, feature in _features(images, bands).items()}
    truth = masks[known] == 1
    rules = [_best_cut(name, above, values, truth) for name, values in features.items() for above in (True, False)]
    return max(rules, key=lambda rule: rule.confusion.f1)


def _features(images: np.ndarray, bands: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Return the features that can be thresholded, each (patches, rows, cols)."""
    values = np.moveaxis(np.asarray(images), 1, 0)
    features = {"brightness": brightness(values, bands)}
    if {"blue", "green", "red"} <= set(bands):
        visible = np.maximum(features["brightness"] * 3, 1e-6)
        features["green share"] = values[bands.index("green")].astype(np.float32) / visible
    if {"red", "nir"} <= set(bands):
        features["NDVI"] = ndvi(values, bands)
    return features | {band: value for band, value in zip(bands, values, strict=True) if band.endswith(CHANGE)}


def _best_cut(name: str, above: bool, feature: np.ndarray, truth: np.ndarray) -> Threshold:
    order = np.argsort(-feature if above else feature, kind="stable")
    ranked = feature[order]
    tp = np.cumsum(truth[order])
    # No threshold separates equal values: only the last of each run is a possible cut.
    cuts = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    f1 = 2 * tp[cuts] / (cuts + 1 + tp[-1])
    value = ranked[cuts[int(np.argmax(f1))]]
    return Threshold(name, above, float(value), Confusion.of(feature >= value if above else feature <= value, truth))
