"""Experiments: one file each, with its settings, its runs and its tables."""
