"""Patches: candidate sizes, tiling, filters, splits and batches."""

from lmhld_nb.patches.patch_sets import (
    CUT_VERSION,
    SIZES,
    PatchSet,
    PatchSpec,
    candidate_sizes,
    classify_windows,
    cut,
    is_cut,
    load,
    mean_and_std,
)

__all__ = [
    "CUT_VERSION",
    "SIZES",
    "PatchSet",
    "PatchSpec",
    "candidate_sizes",
    "classify_windows",
    "cut",
    "is_cut",
    "load",
    "mean_and_std",
]
