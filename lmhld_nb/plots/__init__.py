"""Plots: one file per family of figures, and the one style; every function returns a matplotlib Figure."""

from lmhld_nb.plots import beyond, chains, data, maps, schemes, scores, style

__all__ = ["beyond", "chains", "data", "maps", "schemes", "scores", "style"]
