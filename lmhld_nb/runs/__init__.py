"""Runs: the content-addressed store, and the runner that trains missing ones."""

from lmhld_nb.runs.runner import make_run, make_runs, missing_runs
from lmhld_nb.runs.store import (
    Run,
    counts_on,
    damage,
    find,
    patch_set,
    patch_sets,
    rates,
    remembered,
    select,
    status,
    test_patches,
    window_counts,
)  # fmt: skip

__all__ = [
    "Run", "counts_on", "damage", "find", "make_run", "make_runs", "missing_runs", "patch_set",
    "patch_sets", "rates", "remembered", "select", "status", "test_patches", "window_counts",
]  # fmt: skip
