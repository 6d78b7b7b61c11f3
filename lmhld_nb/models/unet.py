"""U-Net (Ronneberger, Fischer & Brox 2015), with batch normalisation and same-size convolutions."""

from collections.abc import Callable, Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn


def conv(in_channels: int, out_channels: int, size: int = 3, bias: bool = True) -> list[nn.Module]:
    """Same-size convolution, batch normalisation, ReLU."""
    convolution = nn.Conv2d(in_channels, out_channels, size, padding=size // 2, bias=bias)
    return [convolution, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]


def double_conv(in_channels: int, out_channels: int) -> nn.Sequential:
    """3×3 convolution, batch normalisation and ReLU, twice."""
    return nn.Sequential(*conv(in_channels, out_channels), *conv(out_channels, out_channels))


def encode(blocks: Iterable[nn.Module], pool: nn.Module, x: Tensor) -> list[Tensor]:
    """Return the map of each level of an encoder, shallow to deep, with pooling between them."""
    maps: list[Tensor] = []
    for block in blocks:
        maps.append(block(pool(maps[-1]) if maps else x))
    return maps


class UNet(nn.Module):
    """Four levels down, four up, skips by concatenation; 64…1024 channels as published."""

    block: Callable[[int, int], nn.Module] = staticmethod(double_conv)

    def __init__(self, in_channels: int = 4, width: int = 64) -> None:
        super().__init__()
        channels = [width * 2**level for level in range(5)]
        self.encoder = nn.ModuleList(self.block(*pair) for pair in pairwise([in_channels, *channels]))
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * c, c, 2, stride=2) for c in reversed(channels[:-1]))
        self.decoder = nn.ModuleList(self.block(2 * c, c) for c in reversed(channels[:-1]))
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:  # (N, bands, H, W) → (N, 1, H, W) logits
        *skips, x = encode(self.encoder, self.pool, x)
        for up, block, skip in zip(self.up, self.decoder, reversed(skips), strict=True):
            x = block(torch.cat([skip, up(x)], dim=1))
        return self.head(x)
