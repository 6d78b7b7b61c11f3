"""Training: one RunSpec in, one finished run folder out."""

from lmhld_nb.training.loop import train

__all__ = ["train"]
