"""The U-Net family: one architecture a file, one registry."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from lmhld_nb.config import UserError
from lmhld_nb.models.unet import UNet

_REGISTRY: dict[str, Callable[..., nn.Module]] = {"unet": UNet}
NAMES = tuple(_REGISTRY)


def build(name: str, in_channels: int = 4, width: int | None = None) -> nn.Module:
    """Build a network with fresh weights (drawn from torch's global generator).

    Args:
        name: one of `NAMES`.
        in_channels: bands of the input.
        width: channels of the first level; None as published.

    Returns:
        A module from (N, in_channels, H, W) float to (N, 1, H, W) logits, H and W multiples of 16.

    Raises:
        UserError: unknown name.
    """
    if name not in _REGISTRY:
        raise UserError(f"model '{name}': unknown; choose one of {', '.join(NAMES)}")
    model = _REGISTRY[name](in_channels) if width is None else _REGISTRY[name](in_channels, width)
    model.apply(_initialise)
    return model


def _initialise(module: nn.Module) -> None:
    """Apply Xavier (Glorot & Bengio 2010) to convolutions and linear layers.

    The paper names normalisation layers too (section 3.3), but Xavier is undefined for 1-D weights: they keep
    scale 1 and shift 0.
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def parameter_count(model: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
