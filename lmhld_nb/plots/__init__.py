"""Plots: one file a family of figures, and the one style."""
