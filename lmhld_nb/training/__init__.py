"""Training: from a RunSpec to a finished run folder."""

from lmhld_nb.training.loop import train

__all__ = ["train"]
