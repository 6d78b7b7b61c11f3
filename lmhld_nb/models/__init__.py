"""Networks: one architecture per file, one registry, and what training and mapping need to know of any of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lmhld_nb.config import UserError
from lmhld_nb.models.registry import (
    NAMES,
    NETWORKS,
    Network,
    network,
    one_line,
    options_of,
    source_of,
    takes_width,
)

__all__ = [
    "NAMES",
    "NETWORKS",
    "Network",
    "build",
    "encoder_levels",
    "input_conv",
    "network",
    "options_of",
    "parameter_count",
    "source_of",
    "supervised",
    "takes_width",
]


def build(name: str, in_channels: int = 4, width: int | None = None, **options: bool) -> nn.Module:
    """Build a network with fresh weights (drawn from torch's global generator).

    Args:
        name: one of `NAMES`, or ``package.module:function``; such a network keeps its own initialisation.
        in_channels: bands of the input.
        width: channels of the first level, scales all others; None as published.
        options: of the architecture: ``classification_guided`` (`unet_3p`).

    Returns:
        A module from (N, in_channels, H, W) float to (N, 1, H, W) logits, H and W multiples of 16.

    Raises:
        UserError: unknown name or option; or a network from outside cannot be built or returns something else.
    """
    entry = network(name)
    for option in options:
        if option not in options_of(name):
            known = ", ".join(options_of(name)) or "none"
            raise UserError(f"model '{name}': no option '{option}'; it has {known}")
    if width is not None and not takes_width(entry):
        raise UserError(f"model '{name}': takes no `width`; leave it out of the profile's widths")
    sizes = {} if width is None else {"width": width}
    if name in NETWORKS:
        return entry.builder(in_channels, **sizes, **options).apply(_initialise)
    try:
        model = entry.builder(in_channels, **sizes, **options)
        _check_output(model, in_channels)
    except Exception as error:  # whatever code from outside does
        raise UserError(
            f"model '{name}': cannot be used ({one_line(error)}); it must be built from the number of bands and turn "
            "(N, bands, H, W) into logits (N, 1, H, W)"
        ) from error
    return model


@torch.no_grad()
def _check_output(model: nn.Module, in_channels: int, size: int = 64) -> None:
    logits = model.eval()(torch.zeros(2, in_channels, size, size))
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if shape != (2, 1, size, size):
        raise ValueError(f"from two patches of {size} px it returned {shape}")
    model.train()


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


def input_conv(model: nn.Module) -> nn.Module | None:
    """Return the convolution that meets the bands: the first one of the network."""
    return next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)


def encoder_levels(model: nn.Module) -> list[nn.Module]:
    """Return the levels of a network's encoder from shallow to deep.

    They are its ``encoder_levels``, or its ``encoder`` where that is a ModuleList. A network from outside may have
    neither: then the list is empty and all its layers but the input convolution count as its decoder.
    """
    levels = getattr(model, "encoder_levels", None) or getattr(model, "encoder", None)
    return list(levels) if isinstance(levels, list | tuple | nn.ModuleList) else []


def supervised(model: nn.Module, images: Tensor) -> tuple[list[Tensor], Tensor | None]:
    """Return what a network is trained on.

    Returns:
        The logits (N, 1, H, W) of each head (one, but for networks with deep supervision), and the class logit (N,)
        of a classification-guided network, else None.
    """
    if hasattr(model, "supervised"):
        return model.supervised(images)  # type: ignore[operator]
    return [model(images)], None
