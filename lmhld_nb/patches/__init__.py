"""Patches: candidate sizes, tiling, filters, splits and batches."""

from lmhld_nb.patches import patch_sets
from lmhld_nb.patches.patch_sets import (
    Damaged,
    PatchSet,
    PatchSpec,
    candidate_sizes,
    classify_windows,
    cut,
    is_cut,
    load,
)

SIZES = patch_sets.SIZES

__all__ = ["SIZES", "Damaged", "PatchSet", "PatchSpec", "candidate_sizes", "classify_windows", "cut", "is_cut", "load"]
