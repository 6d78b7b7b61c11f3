"""The registry of optimisers."""

from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Optimiser:
    """An optimiser; what a recipe does not set (betas, epsilon) has torch's default."""

    # Called with the parameters, ``lr``, ``weight_decay``, ``momentum`` if it takes it, and ``fused`` or ``foreach``.
    # Its state must be tensors, for checkpoints to hold it.
    builder: Callable[..., torch.optim.Optimizer]
    momentum: bool = False  # whether it takes momentum
    version: int = 1  # raised when its result changes; only runs that use it get another id


OPTIMISERS: dict[str, Optimiser] = {
    "sgd": Optimiser(torch.optim.SGD, momentum=True),  # the paper's (section 3.3)
    # Loshchilov & Hutter 2019, Decoupled weight decay regularization, ICLR
    "adamw": Optimiser(torch.optim.AdamW, version=2),
}
