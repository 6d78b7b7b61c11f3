"""Attention U-Net (Oktay et al. 2018, Attention U-Net: learning where to look for the pancreas, MIDL).

Each skip passes an additive attention gate: the decoder's map from the level below, which has more context, decides
pixel by pixel how much of the encoder's map goes through. The gate works at the skip's resolution, as most
two-dimensional versions do (the paper's three-dimensional one compares at the coarser grid), on the coarser map after
nearest-neighbour up-sampling and a 3×3 convolution.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmhld_nb.models.unet import conv, double_conv, encode


def pointwise(in_channels: int, out_channels: int) -> nn.Sequential:
    """1×1 convolution and batch normalisation."""
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1), nn.BatchNorm2d(out_channels))


class AttentionGate(nn.Module):
    """Scale a skip by one coefficient per pixel: α = σ(ψ(relu(W_g g + W_x x))), 0 < α < 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // 2
        self.w_g = pointwise(channels, hidden)
        self.w_x = pointwise(channels, hidden)
        self.psi = nn.Sequential(*pointwise(hidden, 1), nn.Sigmoid())

    def forward(self, g: Tensor, x: Tensor) -> Tensor:  # gating signal and skip, both (N, C, H, W)
        alpha = self.psi(F.relu(self.w_g(g) + self.w_x(x), inplace=True))  # (N, 1, H, W)
        return x * alpha


class AttentionUNet(nn.Module):
    """U-Net with an attention gate on each of its four skips; 64…1024 channels as published."""

    def __init__(self, in_channels: int = 4, width: int = 64) -> None:
        super().__init__()
        channels = [width * 2**level for level in range(5)]
        self.encoder = nn.ModuleList(double_conv(*pair) for pair in pairwise([in_channels, *channels]))
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(nn.Sequential(nn.Upsample(scale_factor=2), *conv(2 * c, c)) for c in channels[-2::-1])
        self.gates = nn.ModuleList(AttentionGate(c) for c in reversed(channels[:-1]))
        self.decoder = nn.ModuleList(double_conv(2 * c, c) for c in reversed(channels[:-1]))
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:  # (N, bands, H, W) → (N, 1, H, W) logits
        *skips, x = encode(self.encoder, self.pool, x)
        for up, gate, block, skip in zip(self.up, self.gates, self.decoder, reversed(skips), strict=True):
            x = up(x)
            x = block(torch.cat([gate(x, skip), x], dim=1))
        return self.head(x)
