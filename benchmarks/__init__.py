"""Measured comparisons: ``python -m benchmarks`` runs all of them, each leaves a table in ``benchmarks/results/``."""
