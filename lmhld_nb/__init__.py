"""Supporting module of the LMHLD notebook book: what more than one chapter needs, nothing else."""

__version__ = "0.1.0"
