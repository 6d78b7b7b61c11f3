"""The U-Net family: one architecture a file, one registry."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from torch import Tensor, nn

from lmhld_nb.config import UserError
from lmhld_nb.models.attention_unet import AttentionUNet
from lmhld_nb.models.dense_unet import DenseUNet
from lmhld_nb.models.res_unet import ResUNet
from lmhld_nb.models.trans_unet import TransUNet
from lmhld_nb.models.unet import UNet
from lmhld_nb.models.unet_3p import UNet3Plus
from lmhld_nb.models.unet_pp import UNetPlusPlus

_REGISTRY: dict[str, Callable[..., nn.Module]] = {
    "unet": UNet,
    "res_unet": ResUNet,
    "dense_unet": DenseUNet,
    "attention_unet": AttentionUNet,
    "trans_unet": TransUNet,
    "unet_pp": UNetPlusPlus,
    "unet_3p": UNet3Plus,
}
NAMES = tuple(_REGISTRY)


def build(name: str, in_channels: int = 4, width: int | None = None, **options: bool) -> nn.Module:
    """Build a network with fresh weights (drawn from torch's global generator).

    Args:
        name: one of `NAMES`.
        in_channels: bands of the input.
        width: channels of the first level, scales all others; None as published.
        options: of the architecture: ``classification_guided`` (`unet_3p`).

    Returns:
        A module from (N, in_channels, H, W) float to (N, 1, H, W) logits, H and W multiples of 16. Its
        ``input_conv`` meets the bands; ``encoder_levels`` are its five levels from shallow to deep.

    Raises:
        UserError: unknown name or option.
    """
    if name not in _REGISTRY:
        raise UserError(f"model '{name}': unknown; choose one of {', '.join(NAMES)}")
    for option in options:
        if option not in options_of(name):
            known = ", ".join(options_of(name)) or "none"
            raise UserError(f"model '{name}': no option '{option}'; it has {known}")
    sizes = {} if width is None else {"width": width}
    model = _REGISTRY[name](in_channels, **sizes, **options)
    model.apply(_initialise)
    return model


def options_of(name: str) -> list[str]:
    """Return what can be switched on or off in an architecture."""
    parameters = inspect.signature(_REGISTRY[name]).parameters
    return [option for option in parameters if option not in ("in_channels", "width")]


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


def supervised(model: nn.Module, images: Tensor) -> tuple[list[Tensor], Tensor | None]:
    """Return what a network is trained on.

    Returns:
        The logits (N, 1, H, W) of each head (one, but for networks with deep supervision), and the class logit (N,)
        of a classification-guided network, else None.
    """
    if hasattr(model, "supervised"):
        return model.supervised(images)  # type: ignore[operator]
    return [model(images)], None
