"""The registry of optimisers: how gradients move the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from lmhld_nb.training.specs import Recipe


@dataclass(frozen=True)
class Optimiser:
    """An optimiser.

    Attributes:
        build: called with the parameters, the recipe (``lr``, ``momentum``, ``weight_decay``) and the implementation
            that is fastest here (``fused`` or ``foreach``), to be passed on to torch.
        momentum: whether it has the recipe's ``momentum``.
        version: raised when it is computed differently; only runs that use it are named anew.
    """

    build: Callable[[Iterable[nn.Parameter], Recipe, dict[str, Any]], torch.optim.Optimizer]
    momentum: bool = False
    version: int = 1


def sgd(
    parameters: Iterable[nn.Parameter], recipe: Recipe, implementation: dict[str, Any]
) -> torch.optim.Optimizer:
    """Stochastic gradient descent, the paper's (section 3.3)."""
    return torch.optim.SGD(
        parameters, recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay, **implementation
    )


def adamw(
    parameters: Iterable[nn.Parameter], recipe: Recipe, implementation: dict[str, Any]
) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019) with torch's betas and epsilon; weight decay is the recipe's."""
    return torch.optim.AdamW(parameters, recipe.lr, weight_decay=recipe.weight_decay, **implementation)


OPTIMISERS: dict[str, Optimiser] = {"sgd": Optimiser(sgd, momentum=True), "adamw": Optimiser(adamw)}
