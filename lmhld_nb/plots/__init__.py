"""Plots: one file per family of figures, and a common style; every function returns a matplotlib Figure."""

from lmhld_nb.plots import chains, data, maps, schemes, scores, style

__all__ = ["chains", "data", "maps", "schemes", "scores", "style"]
