"""Plots: one file per family of figures, and the one style."""
