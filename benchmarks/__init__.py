"""Measured comparisons: ``python -m benchmarks`` runs them, each leaves a table in ``benchmarks/results/``."""
