"""The registry of metrics: scores of predicted masks, all computed from counts of pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmhld_nb.evaluation.counts import Confusion


@dataclass(frozen=True)
class Metric:
    """A score from 0 to 1, NaN where not defined: key, title and formula, which must take arrays (`counts.ratio`)."""

    name: str
    title: str
    of: Callable[[Confusion], float]


METRICS: dict[str, Metric] = {
    "precision": Metric("precision", "precision", lambda counts: counts.precision),
    "f1": Metric("f1", "F1", lambda counts: counts.f1),
    "recall": Metric("recall", "recall", lambda counts: counts.recall),
}


def scores(confusion: Confusion) -> dict[str, float]:
    """Return all metrics of some counts, by name, in the order of the registry."""
    return {name: metric.of(confusion) for name, metric in METRICS.items()}
