"""FD-UNet (Guan, Khan, Sikdar & Chitnis 2020).

Fully Dense UNet for 2-D sparse photoacoustic tomography artifact removal, IEEE Journal of Biomedical and Health
Informatics 24(2). A U-Net whose stages are dense blocks (Huang et al. 2017) in both paths: every layer sees the maps of
all earlier layers of its block. A block learns only as many maps as it is given, so the network has a third of U-Net's
parameters.

The original adds its input to its output, because it predicts artefacts; ours segments and has no such link. Max
pooling leads down; a transposed convolution, normalised and rectified like all others, leads up.
"""

import torch
from torch import Tensor, nn

from lmhld_nb.models.unet import conv, encode

LAYERS = 4  # in each dense block


class DenseBlock(nn.Module):
    """Four layers of k new maps each, on 4k given maps: doubles the channels."""

    def __init__(self, k: int) -> None:
        super().__init__()
        given = LAYERS * k
        # The 1×1 bottleneck reduces the accumulated maps to the block's input channels before the 3×3.
        self.layers = nn.ModuleList(
            nn.Sequential(*conv(given + layer * k, given, 1), *conv(given, k, 3)) for layer in range(LAYERS)
        )

    def forward(self, x: Tensor) -> Tensor:  # (N, 4k, H, W) → (N, 8k, H, W): the input, then k maps per layer
        for layer in self.layers:
            x = torch.cat([x, layer(x)], dim=1)
        return x


class DenseUNet(nn.Module):
    """Five dense blocks down, four up, skips by concatenation; k = 8, 16, 32, 64, 128 and back as published.

    `width` counts the channels after the first block, 8k: it is rounded down to a multiple of 8, at least 8.
    """

    def __init__(self, in_channels: int = 4, width: int = 64) -> None:
        super().__init__()
        growth = [max(1, width // 8) * 2**level for level in range(5)]
        first, *deeper = (DenseBlock(k) for k in growth)
        self.encoder = nn.ModuleList([nn.Sequential(*conv(in_channels, 4 * growth[0], 3), first), *deeper])
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(16 * k, 8 * k, 2, stride=2), nn.BatchNorm2d(8 * k), nn.ReLU(inplace=True))
            for k in reversed(growth[:-1])
        )
        # Skip and up-sampled map together have four times the channels that the next block takes.
        self.reduce = nn.ModuleList(nn.Sequential(*conv(16 * k, 4 * k, 1)) for k in reversed(growth[:-1]))
        self.decoder = nn.ModuleList(DenseBlock(k) for k in reversed(growth[:-1]))
        self.head = nn.Conv2d(8 * growth[0], 1, 1)

    def forward(self, x: Tensor) -> Tensor:  # (N, bands, H, W) → (N, 1, H, W) logits
        *skips, x = encode(self.encoder, self.pool, x)
        for up, reduce, block, skip in zip(self.up, self.reduce, self.decoder, reversed(skips), strict=True):
            x = block(reduce(torch.cat([skip, up(x)], dim=1)))
        return self.head(x)
