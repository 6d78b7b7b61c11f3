"""The registry of metrics: scores of predicted masks, all computed from counts of pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmhld_nb.evaluation.counts import Confusion


@dataclass(frozen=True)
class Metric:
    """A score between 0 and 1, higher is better: its key in files and tables, its title in figures, its formula.

    The formula gives NaN where it is not defined. Of arrays of counts, which intervals pass, it gives an array of
    scores: `counts.ratio` divides both.
    """

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
