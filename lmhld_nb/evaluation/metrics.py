"""The registry of metrics: scores of predicted masks, all computed from counts of pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmhld_nb.evaluation.counts import Confusion


@dataclass(frozen=True)
class Metric:
    """A score between 0 and 1, higher is better.

    Attributes:
        name: its key in files and tables.
        title: what figures and prose call it.
        of: from counts to the score, NaN where it is not defined. Intervals pass arrays of counts and want an array of
            scores: `counts.ratio` divides both.
    """

    name: str
    title: str
    of: Callable[[Confusion], float]


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("precision", "precision", lambda counts: counts.precision),
        Metric("f1", "F1", lambda counts: counts.f1),
        Metric("recall", "recall", lambda counts: counts.recall),
    )
}


def scores(confusion: Confusion) -> dict[str, float]:
    """Return all metrics of some counts, by name, in the order of the registry."""
    return {name: metric.of(confusion) for name, metric in METRICS.items()}
