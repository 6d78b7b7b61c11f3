"""Evaluation: counts, metrics, intervals, ranking and objects."""

from lmhld_nb.evaluation.counts import METRICS, Confusion, Metric, Threshold, best_threshold, ratio, scores

__all__ = ["METRICS", "Confusion", "Metric", "Threshold", "best_threshold", "ratio", "scores"]
