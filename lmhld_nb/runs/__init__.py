"""Runs: the content-addressed store, and what makes the missing ones."""

from lmhld_nb.runs.store import (
    FAILURE,
    Run,
    damage,
    earlier,
    failure,
    files,
    find,
    patch_set,
    patch_sets,
    rates,
    scored_windows,
    set_aside,
    status,
    tell_failure,
    test_patches,
    those_of,
    weights_damage,
    windows,
)

__all__ = [
    "FAILURE",
    "Run",
    "damage",
    "earlier",
    "failure",
    "files",
    "find",
    "patch_set",
    "patch_sets",
    "rates",
    "scored_windows",
    "set_aside",
    "status",
    "tell_failure",
    "test_patches",
    "those_of",
    "weights_damage",
    "windows",
]

from lmhld_nb.runs.runner import ensure as _ensure, make as _make
from lmhld_nb.runs.store import windows as window_counts, those_of as select, files
def make_runs(specs, workers=None, execution=None, whole_area=()):
    return _ensure(specs, workers, execution, whole_area)
def make_run(spec, execution=None, whole_area=False):
    return _make(spec, execution, whole_area)
