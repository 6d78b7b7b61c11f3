"""The registry of optimisers: how gradients move the weights."""

from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Optimiser:
    """An optimiser; what a recipe does not say (betas, epsilon) is as torch has it."""

    # Called with the parameters, ``lr``, ``weight_decay``, ``momentum`` if it takes it, and ``fused`` or ``foreach``.
    # Its state must be tensors, for checkpoints to hold it.
    builder: Callable[..., torch.optim.Optimizer]
    momentum: bool = False  # whether it takes momentum
    version: int = 1  # raised when it computes something else; only runs that use it get another name


OPTIMISERS: dict[str, Optimiser] = {
    "sgd": Optimiser(torch.optim.SGD, momentum=True),  # the paper's (section 3.3)
    # Loshchilov & Hutter 2019, Decoupled weight decay regularization, ICLR
    "adamw": Optimiser(torch.optim.AdamW, version=2),
}
