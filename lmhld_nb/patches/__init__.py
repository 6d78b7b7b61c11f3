"""Patches: candidate sizes, tiling, filters, splits and batches."""

from lmhld_nb.patches.patch_sets import SIZES, PatchSet, PatchSpec, candidate_sizes, classify_windows, cut, load

__all__ = ["SIZES", "PatchSet", "PatchSpec", "candidate_sizes", "classify_windows", "cut", "load"]
