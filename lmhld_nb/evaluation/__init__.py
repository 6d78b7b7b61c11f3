"""Evaluation: counts, metrics, intervals, ranking and objects."""

from lmhld_nb.evaluation.counts import Confusion, Threshold, best_threshold, ratio, score_threshold
from lmhld_nb.evaluation.metrics import METRICS, Metric, scores

__all__ = ["METRICS", "Confusion", "Metric", "Threshold", "best_threshold", "ratio", "score_threshold", "scores"]
