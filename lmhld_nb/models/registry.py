"""The registry of networks: the book's seven, and networks from outside, named as ``package.module:function``."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from lmhld_nb.config import UserError
from lmhld_nb.models.attention_unet import AttentionUNet
from lmhld_nb.models.dense_unet import DenseUNet
from lmhld_nb.models.res_unet import ResUNet
from lmhld_nb.models.trans_unet import TransUNet
from lmhld_nb.models.unet import UNet
from lmhld_nb.models.unet_3p import UNet3Plus
from lmhld_nb.models.unet_pp import UNetPlusPlus


@dataclass(frozen=True)
class Network:
    """An architecture.

    Attributes:
        name: its key in profiles, specs and tables.
        title: its name in tables and figures; of the seven, as the paper's tables print it.
        colour, marker: of figures, a hex string and a marker of matplotlib.
        builder: called with the number of bands, ``width`` if it takes one, and options.
    """

    name: str
    title: str
    colour: str
    marker: str
    builder: Callable[..., nn.Module]


# The first seven colours of seaborn's colour-blind palette. Markers differ too: some colours are alike to some eyes.
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
_COLOURS, _MARKERS = ("#949494", "#ECE133", "#56B4E9", "#332288", "#882255", "#44AA99"), "p*h<>d"
"""Of networks from outside: none is one of the seven's."""


def network(name: str) -> Network:
    """Return the network that a profile names.

    Args:
        name: one of `NETWORKS`, or ``package.module:function`` for one from outside. Its title is then the function's
            name without ``build_``; its colour and marker follow from its name.

    Raises:
        UserError: there is no such network, or its module cannot be imported.
    """
    if name in NETWORKS:
        return NETWORKS[name]
    module, _, function = name.partition(":")
    # A file of weights may name a network too: nothing that comes with Python is called because a file says so.
    if not function or module.partition(".")[0] in sys.stdlib_module_names:
        raise UserError(
            f"model '{name}': unknown; choose one of {', '.join(NETWORKS)}, or name a function of your own as "
            "package.module:function"
        )
    try:
        builder = getattr(importlib.import_module(module), function, None)
    except Exception as error:  # whatever the module does when it is imported
        raise UserError(
            f"model '{name}': {module} cannot be imported ({one_line(error)}); install its package or put its folder "
            "into PYTHONPATH"
        ) from error
    if not callable(builder):
        raise UserError(f"model '{name}': {module} has no function '{function}'; correct the name after the colon")
    number = int(hashlib.sha256(name.encode()).hexdigest(), 16)
    colour, marker = _COLOURS[number % len(_COLOURS)], _MARKERS[number // len(_COLOURS) % len(_MARKERS)]
    return Network(name, function.removeprefix("build_").replace("_", " "), colour, marker, builder)


def source_of(name: str) -> str:
    """Return 16 hex digits of the file that holds the code of a network from outside; empty for a registered one.

    They are part of what names a run, so that a network that was edited gets another run.

    Raises:
        UserError: as `network`, or the network is not written in a Python file.
    """
    if name in NETWORKS:
        return ""
    try:
        return hashlib.sha256(Path(inspect.getfile(network(name).builder)).read_bytes()).hexdigest()[:16]
    except (TypeError, OSError) as error:
        raise UserError(
            f"model '{name}': its code is in no Python file; name a function or class that is written in one"
        ) from error


def options_of(name: str) -> list[str]:
    """Return what can be switched on or off in an architecture; raises as `network`."""
    return [option for option in _parameters(network(name))[1:] if option != "width"]


def takes_width(entry: Network) -> bool:
    """Say whether a network's width can be chosen."""
    return "width" in _parameters(entry)


def _parameters(entry: Network) -> list[str]:
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(entry.builder).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind not in variadic]


def one_line(error: Exception) -> str:
    """Return an error of code from outside in the form in which messages quote it."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:160]
