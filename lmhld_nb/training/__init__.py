"""Training: one RunSpec in, one finished run folder out."""

from lmhld_nb.training.loop import (
    copy_of,
    digest,
    train,
)

__all__ = [
    "copy_of",
    "digest",
    "train",
]
