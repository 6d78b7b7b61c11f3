"""Runs: the content-addressed store, and the runner that trains missing ones."""

from lmhld_nb.runs.runner import make_run, make_runs, missing_runs
from lmhld_nb.runs.store import Run, damage, find, patch_set, patch_sets, remembered, select, status

__all__ = [
    "Run", "damage", "find", "make_run", "make_runs", "missing_runs", "patch_set", "patch_sets", "remembered", "select",
    "status",
]  # fmt: skip
