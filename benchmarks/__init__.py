"""Measured comparisons: ``python -m benchmarks`` runs them, each leaves a table in ``benchmarks/results/``."""

import os

os.environ.setdefault("LMHLD_PORTABLE", "0")  # what the hardware can do, not what every hardware can
