"""Evaluation: counts, metrics, intervals, ranking and objects."""

from lmhld_nb.evaluation.counts import (
    Confusion,
    Threshold,
    best_threshold,
    ratio,
    score_threshold,
)

__all__ = [
    "Confusion",
    "Threshold",
    "best_threshold",
    "ratio",
    "score_threshold",
]
