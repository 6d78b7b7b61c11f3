"""UNet++: nested nodes between encoder and decoder, all dense links.

Zhou, Siddiquee, Tajbakhsh & Liang 2018, "UNet++: A Nested U-Net Architecture for Medical Image Segmentation", DLMIA.
Node X(i, j) at level i reads all nodes X(i, 0…j−1) of its level and the up-sampled X(i+1, j−1); the column j = 0 is
the encoder. Four heads on X(0, 1…4) are trained together (deep supervision).

Inference rule: the paper's accurate mode, the mean over the four heads (of logits, since logits are what we return).
Up-sampling is bilinear, without parameters: the paper does not specify it, and 9.16 M parameters leave room for none.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from lmhld_nb.models.unet import double_conv, encode

LEVELS = 5


class UNetPlusPlus(nn.Module):
    """Fifteen nodes, four heads; 32…512 channels as published."""

    def __init__(self, in_channels: int = 4, width: int = 32) -> None:
        super().__init__()
        channels = [width * 2**level for level in range(LEVELS)]
        self.encoder = nn.ModuleList(double_conv(*pair) for pair in pairwise([in_channels, *channels]))  # X(i, 0)
        self.pool = nn.MaxPool2d(2)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear")
        self.nested = nn.ModuleDict()
        for j in range(1, LEVELS):
            for i in range(LEVELS - j):
                self.nested[f"x{i}_{j}"] = double_conv(j * channels[i] + channels[i + 1], channels[i])
        self.heads = nn.ModuleList(nn.Conv2d(width, 1, 1) for _ in range(1, LEVELS))

    def supervised(self, x: Tensor) -> list[Tensor]:
        """Return the logits of the four heads, on X(0, 1) to X(0, 4)."""
        rows = [[level] for level in encode(self.encoder, self.pool, x)]  # rows[i][j] is X(i, j)
        for j in range(1, LEVELS):
            for i in range(LEVELS - j):
                links = [*rows[i], self.up(rows[i + 1][j - 1])]
                rows[i].append(self.nested[f"x{i}_{j}"](torch.cat(links, dim=1)))
        return [head(node) for head, node in zip(self.heads, rows[0][1:], strict=True)]

    def forward(self, x: Tensor) -> Tensor:  # (N, bands, H, W) → (N, 1, H, W) logits
        return torch.stack(self.supervised(x)).mean(dim=0)
