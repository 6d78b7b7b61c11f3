"""Architecture: a network's cost and receptive field, measured on the network itself."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lmhld_nb import models

SIZES = (32, 64, 128, 224)
"""Patch sizes of LMHLD (paper Table 2), px."""

BANDS = 4


def empty(name: str, width: int | None = None) -> nn.Module:
    """Return a network without values (on torch's meta device): only shapes are computed."""
    with torch.device("meta"):
        return models.build(name, BANDS, width).eval()


def parameters(name: str, width: int | None = None) -> int:
    """Return the number of trainable parameters with 4 input bands and 1 class."""
    return models.parameter_count(empty(name, width))


@cache
def macs(name: str, size: int, width: int | None = None, literal: bool = True) -> int:
    """Return the multiply-accumulates of predicting one 4-band patch of ``size`` px, without normalisation or the like.

    ``literal`` counts the published computation if a network has a cheaper one (`unet_3p.UpsampledConv`).
    """
    model = empty(name, width)
    for module in list(model.modules()):
        if hasattr(module, "literal"):
            module.literal = literal  # type: ignore[assignment]
        for name_of_child, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d | nn.LayerNorm | nn.GroupNorm | nn.ReLU):
                setattr(module, name_of_child, nn.Identity())  # not counted, but would take half of the time
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, BANDS, size, size, device="meta"))
    return int(counter.get_total_flops()) // 2  # multiplications and additions: two per MAC


@dataclass(frozen=True)
class Reach:
    """The input region that one predicted pixel depends on.

    ``extent`` is the side in px of the region with any influence, ``effective`` that of the centred square with 95 % of
    it; ``influence`` (size, size) is the mean absolute gradient of the centre logit by each pixel, summed over bands.
    """

    extent: int
    effective: int
    influence: np.ndarray

    @property
    def whole(self) -> bool:
        return self.extent >= len(self.influence)


Change = Callable[[nn.Module], object]


def receptive_field(
    name: str, width: int | None = 8, size: int = 384, draws: int = 2, first: int = 0, change: Change | None = None
) -> Reach:
    """Measure the receptive field of the pixel in the middle of a patch, by gradients (Luo et al. 2016).

    Mean over ``draws`` random networks (`_influence`) and inputs, from seed ``first`` on; ValueError if there is no
    influence at all. ``size`` is a multiple of 32 px; ``change`` is applied to each network first.
    """
    influence = np.mean([_influence(name, width, size, seed, change) for seed in range(first, first + draws)], axis=0)
    if not influence.any():
        raise ValueError(f"{name}: nothing reaches the centre in {draws} draws; take more, or a larger width")
    extent = 1 + max(int(np.ptp(np.flatnonzero(influence.any(axis=axis)))) for axis in (0, 1))
    ring = np.abs(np.indices(influence.shape) - len(influence) // 2).max(axis=0)
    held = np.cumsum(np.bincount(ring.ravel(), weights=influence.ravel()))  # by growing centred squares
    return Reach(extent, min(2 * int(np.searchsorted(held, 0.95 * held[-1])) + 1, len(influence)), influence)


def receptive_fields(names: Sequence[str], draws: int = 2) -> dict[str, Reach]:
    """Measure receptive fields by name of network; networks with a fixed width as they are."""
    widths = {name: 8 if models.takes_width(models.network(name)) else None for name in names}
    return {name: receptive_field(name, width, draws=draws) for name, width in widths.items()}


@cache
def _influence(name: str, width: int | None, size: int, seed: int, change: Change | None) -> np.ndarray:
    """Return (size, size): how much the centre's logit depends on each pixel in one random network."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = models.build(name, BANDS, width).eval()
        for module in model.modules():  # as if its normalisation had seen data
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.running_mean, 0, 0.2)  # type: ignore[arg-type]
                nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.2)
        if change:
            change(model)
        return centre_gradient(model, torch.randn(1, BANDS, size, size)).numpy()


def centre_gradient(model: nn.Module, images: Tensor) -> Tensor:
    """Return (H, W): the absolute gradient of the centre logit by images (1, bands, H, W), summed over bands."""
    images = images.clone().requires_grad_()
    logits = model(images)
    row, column = (side // 2 for side in logits.shape[-2:])
    (gradient,) = torch.autograd.grad(logits[0, 0, row, column], images)
    return gradient.abs().sum(dim=(0, 1))


def table(names: Sequence[str], width: Mapping[str, int | None] | None = None) -> pd.DataFrame:
    """Return networks' parameters and MACs per patch (macs_SIZE), by name, at a width (empty: as published)."""
    rows = []
    for name in names:
        own = (width or {}).get(name)
        counts = {f"macs_{size}": macs(name, size, own) for size in SIZES}
        rows.append({"width": own, "parameters": parameters(name, own), **counts})
    return pd.DataFrame(rows, index=pd.Index(list(names), name="model")).astype({"width": "Int64"})
