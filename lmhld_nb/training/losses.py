"""The registry of losses, which training minimises."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Loss:
    """A loss: maps logits (N, 1, H, W) and masks 0/1 of that shape to a scalar, a mean over patches."""

    function: Callable[[Tensor, Tensor], Tensor]
    version: int = 1  # raised when its result changes; only runs that use it get another id


def dice_bce(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the mean of binary cross-entropy and soft Dice, which is computed patch by patch."""
    bce = F.binary_cross_entropy_with_logits(logits, masks)
    probability, pixels = torch.sigmoid(logits), (1, 2, 3)
    overlap = 2 * (probability * masks).sum(pixels) + 1
    dice = overlap / (probability.sum(pixels) + masks.sum(pixels) + 1)
    return 0.5 * bce + 0.5 * (1 - dice).mean()


def labelled_dice_bce(logits: Tensor, codes: Tensor) -> Tensor:
    """Return `dice_bce` of the pixels whose code is not 255 (unlabelled); predictions elsewhere have no effect."""
    known, pixels = codes != 255, (1, 2, 3)
    masks, weight = torch.where(known, codes, 0.0), known.float()
    bce = F.binary_cross_entropy_with_logits(logits, masks, weight, reduction="sum") / weight.sum()
    probability = torch.sigmoid(logits) * weight
    overlap = 2 * (probability * masks).sum(pixels) + 1
    dice = overlap / (probability.sum(pixels) + masks.sum(pixels) + 1)
    return 0.5 * bce + 0.5 * (1 - dice).mean()


LOSSES: dict[str, Loss] = {
    "bce": Loss(F.binary_cross_entropy_with_logits), "dice_bce": Loss(dice_bce),
    "labelled_dice_bce": Loss(labelled_dice_bce),
}  # fmt: skip
