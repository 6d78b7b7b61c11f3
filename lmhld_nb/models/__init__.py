"""Networks: one architecture per file, their registry, and what training and mapping need to know about them."""

import hashlib
import importlib
import inspect
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lmhld_nb.config import UserError, short
from lmhld_nb.models.attention_unet import AttentionUNet
from lmhld_nb.models.dense_unet import DenseUNet
from lmhld_nb.models.res_unet import ResUNet
from lmhld_nb.models.trans_unet import TransUNet
from lmhld_nb.models.unet import UNet
from lmhld_nb.models.unet_3p import UNet3Plus
from lmhld_nb.models.unet_pp import UNetPlusPlus


@dataclass(frozen=True)
class Network:
    """An architecture."""

    name: str  # its key in profiles, specs and tables
    title: str  # its name in tables and figures; for the seven, as in the paper's tables
    colour: str  # in figures, a hex string
    marker: str  # in figures, one of matplotlib's
    builder: Callable[..., nn.Module]  # called with the number of bands, and ``width`` if accepted


# The first seven colours of seaborn's colour-blind palette. Markers differ too, as some people confuse some colours.
NETWORKS: dict[str, Network] = {
    entry.name: entry
    for entry in (
        Network("unet", "U-Net", "#0173B2", "o", UNet),
        Network("res_unet", "Res U-Net", "#DE8F05", "s", ResUNet),
        Network("dense_unet", "Dense U-Net", "#029E73", "D", DenseUNet),
        Network("attention_unet", "Attention U-Net", "#D55E00", "^", AttentionUNet),
        Network("trans_unet", "Trans U-Net", "#CC78BC", "v", TransUNet),
        Network("unet_pp", "U-Net++", "#CA9161", "P", UNetPlusPlus),
        Network("unet_3p", "U-Net+++", "#FBAFE4", "X", UNet3Plus),
    )
}
NAMES = tuple(NETWORKS)
# For external networks: none of them is used by the seven.
_COLOURS, _MARKERS = ("#949494", "#ECE133", "#56B4E9", "#332288", "#882255", "#44AA99"), "p*h<>d"


def network(name: str) -> Network:
    """Return the network with this name: one of `NETWORKS`, or an external ``package.module:function``.

    The title of an external one is its function's name without ``build_``; colour and marker follow from its name.
    UserError if there is no such network, or its module cannot be imported.
    """
    if name in NETWORKS:
        return NETWORKS[name]
    module, _, function = name.partition(":")
    # Weights files also name networks: nothing in Python itself may be called because a file says so.
    if not function or module.partition(".")[0] in sys.stdlib_module_names:
        mend = f"choose one of {', '.join(NETWORKS)}, or name your own function as package.module:function"
        raise UserError(f"model '{name[:80]}': unknown; {mend}")
    try:
        builder = getattr(importlib.import_module(module), function, None)
    except Exception as error:  # whatever the module does on import
        mend = "install its package or put its folder into PYTHONPATH"
        raise UserError(f"model '{name}': {module} cannot be imported ({short(error, True)}); {mend}") from error
    if not callable(builder):
        raise UserError(f"model '{name}': {module} has no function '{function}'; correct the name after the colon")
    number = int(hashlib.sha256(name.encode()).hexdigest(), 16)
    colour, marker = _COLOURS[number % len(_COLOURS)], _MARKERS[number // len(_COLOURS) % len(_MARKERS)]
    return Network(name, function.removeprefix("build_").replace("_", " "), colour, marker, builder)


def source_of(name: str) -> str:
    """Return 16 hex digits of the file with the code of an external network; empty for a registered one.

    They are part of a run's id, so that an edited network gets a new run. UserError as in `network`, or if its code is
    not in a Python file.
    """
    if name in NETWORKS:
        return ""
    try:
        return hashlib.sha256(Path(inspect.getfile(network(name).builder)).read_bytes()).hexdigest()[:16]
    except (TypeError, OSError) as error:
        mend = "name a function or class that is written in one"
        raise UserError(f"model '{name}': its code is not in a Python file; {mend}") from error


def takes_width(entry: Network) -> bool:
    """Whether a network's width can be chosen."""
    return "width" in inspect.signature(entry.builder).parameters


def build(name: str, in_channels: int = 4, width: int | None = None) -> nn.Module:
    """Build a network with fresh weights: (N, in_channels, H, W) float → (N, 1, H, W) logits, H and W multiples of 16.

    ``name`` is one of `NAMES`, with weights drawn from torch's global generator, or ``package.module:function``, which
    keeps its own initialisation. ``width`` is the number of channels of the first level and scales all others (None: as
    published). UserError if a name is unknown, or an external network cannot be built or returns something else.
    """
    entry = network(name)
    if width is not None and not takes_width(entry):
        raise UserError(f"model '{name}': takes no `width`; leave it out of the profile's widths")
    sizes = {} if width is None else {"width": width}
    if name in NETWORKS:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # about layers without weights
                return entry.builder(in_channels, **sizes).apply(_initialise)
        except (ValueError, ArithmeticError, RuntimeError, Warning) as error:
            problem = f"cannot be built {width} wide ({short(error, True)}); choose another width"
            raise UserError(f"model '{name}': {problem}") from error
    try:
        model = entry.builder(in_channels, **sizes)
        with torch.no_grad():
            logits = model.eval()(torch.zeros(2, in_channels, 64, 64))
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        if shape != (2, 1, 64, 64):
            raise ValueError(f"from two patches of 64 px it returned {shape}")
    except Exception as error:  # whatever external code does
        rule = "it must be built from the number of bands and turn (N, bands, H, W) into logits (N, 1, H, W)"
        raise UserError(f"model '{name}': cannot be used ({short(error, True)}); {rule}") from error
    return model.train()


def _initialise(module: nn.Module) -> None:
    """Apply Xavier (Glorot & Bengio 2010) to all but the normalisation layers, which the paper names too (section 3.3).

    For their 1-D weights it is undefined: they keep scale 1 and shift 0.
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def parameter_count(model: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def input_conv(model: nn.Module) -> nn.Module | None:
    """Return the convolution that reads the bands: the first one of the network."""
    return next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)


def input_norm(model: nn.Module) -> nn.Module | None:
    """Return the normalisation after `input_conv`: the next layer, if it takes as many maps; else None."""
    kinds = (nn.Conv2d, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)
    layers = [module for module in model.modules() if isinstance(module, kinds)][:2]
    if len(layers) < 2 or isinstance(layers[1], nn.Conv2d):
        return None
    maps = layers[1].num_channels if isinstance(layers[1], nn.GroupNorm) else layers[1].num_features
    return layers[1] if maps == layers[0].out_channels else None


def encoder_levels(model: nn.Module) -> list[nn.Module]:
    """Return the levels of a network's encoder from shallow to deep.

    They are its ``encoder_levels``, or its ``encoder`` if that is a ModuleList. An external network may have neither:
    then the list is empty, and all layers but the input convolution count as its decoder.
    """
    levels = getattr(model, "encoder_levels", None) or getattr(model, "encoder", None)
    return list(levels) if isinstance(levels, list | tuple | nn.ModuleList) else []


def supervised(model: nn.Module, images: Tensor) -> list[Tensor]:
    """Return the logits (N, 1, H, W) of each head for training, several only in networks with deep supervision."""
    return model.supervised(images) if hasattr(model, "supervised") else [model(images)]  # type: ignore[operator]
