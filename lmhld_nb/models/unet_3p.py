"""UNet 3+: every decoder node reads all five scales.

Huang, Lin, Tong, Hu, Zhang, Iwamoto, Han, Chen & Wu 2020, "UNet 3+: A Full-Scale Connected UNet for Medical Image
Segmentation", ICASSP. A decoder node reads the encoder maps of its level and above, and the decoder maps below (at
the bottom, where there is none, the encoder's). Each is brought to the node's size, by max-pooling or by bilinear
up-sampling, then projected by a 3×3 convolution to 64 channels; the five are fused to 320.

Inference rule: the head at full resolution. The other four are for training only (deep supervision, section 2.2). The
optional classifier of section 2.3 is left out: every patch of LMHLD contains landslide.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmhld_nb.models.unet import conv, double_conv

SCALES = 5


def tap_matrix(size: int, factor: int, like: Tensor) -> Tensor:
    """Return what the taps of a zero-padded 3-wide filter read from a bilinearly up-sampled row of pixels.

    A matrix (factor·size, 3·size) of the kind of ``like``: at (X, k·size + x) the share of pixel x in pixel X + k − 1
    of the up-sampled row. Shares are multiples of 1 / (2·factor): bf16 holds them exactly.
    """
    fine, coarse = size * factor, torch.arange(size, device=like.device)
    seen = torch.arange(fine, device=like.device)[:, None] + torch.arange(-1, 2, device=like.device)  # (X, k)
    centre = ((seen + 0.5) / factor - 0.5).clamp(0, size - 1)  # in pixels of the coarse row
    share = (1 - (centre[..., None] - coarse).abs()).clamp(min=0)  # (X, k, x)
    inside = (seen >= 0) & (seen < fine)
    return (share * inside[..., None]).flatten(1).to(like.dtype)


class UpsampledConv(nn.Conv2d):
    """Bilinear up-sampling by ``factor``, then a 3×3 convolution.

    Up-sampling treats every channel alike, so it commutes with the mixing of channels. We mix first (once for each of
    the nine filter taps), where the map is small; two thin matrix products then enlarge, shift and sum the nine maps,
    along rows and along columns: the same map except for rounding, at a fraction of the operations and memory.
    Set ``literal`` to compute as published, or to count operations as published.
    """

    literal = False

    def __init__(self, in_channels: int, out_channels: int, factor: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:  # (N, in, h, w) → (N, c, H, W) = (N, out, factor·h, factor·w)
        if self.literal:
            return super().forward(F.interpolate(x, scale_factor=self.factor, mode="bilinear"))
        (n, _, h, w), c = x.shape, self.out_channels
        taps = self.weight.permute(2, 3, 0, 1).reshape(9 * c, -1, 1, 1)
        z = F.conv2d(x, taps).unflatten(1, (3, 3, c))  # (N, ky, kx, c, h, w)
        z = z.permute(0, 1, 4, 2, 5, 3).reshape(n * 3 * h, 3 * w, c)  # (N·ky·h, kx·w, c)
        z = tap_matrix(w, self.factor, z).expand(n * 3 * h, -1, -1) @ z  # (N·ky·h, W, c)
        z = tap_matrix(h, self.factor, z).expand(n, -1, -1) @ z.reshape(n, 3 * h, -1)  # (N, H, W·c)
        z = z.unflatten(2, (self.factor * w, c)).permute(0, 3, 1, 2)  # (N, c, H, W), channels last in memory
        return z if self.bias is None else z + self.bias[:, None, None].to(z.dtype)


class DecoderNode(nn.Module):
    """Five maps, shallow to deep, those from above already pooled → 5·width channels.

    Each branch is convolution, batch normalisation, ReLU; they are normalised jointly, which equals normalising each.
    """

    def __init__(self, factors: list[int], channels: list[int], width: int) -> None:
        super().__init__()
        self.project = nn.ModuleList(
            UpsampledConv(before, width, factor) if factor > 1 else nn.Conv2d(before, width, 3, padding=1)
            for factor, before in zip(factors, channels, strict=True)
        )
        self.norm = nn.Sequential(nn.BatchNorm2d(SCALES * width), nn.ReLU(inplace=True))
        self.fuse = nn.Sequential(*conv(SCALES * width, SCALES * width))

    def forward(self, *scales: Tensor) -> Tensor:
        branches = [project(scale) for project, scale in zip(self.project, scales, strict=True)]
        return self.fuse(self.norm(torch.cat(branches, dim=1)))


class Head(nn.Module):
    """Side output: 3×3 convolution to one logit, bilinear to full size."""

    def __init__(self, in_channels: int, factor: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 1, 3, padding=1)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return F.interpolate(x, scale_factor=self.factor, mode="bilinear") if self.factor > 1 else x


class UNet3Plus(nn.Module):
    """Encoder 64…1024 as U-Net, four full-scale decoder nodes of 320, five heads."""

    def __init__(self, in_channels: int = 4, width: int = 64) -> None:
        super().__init__()
        encoded = [width * 2**level for level in range(SCALES)]
        self.encoder = nn.ModuleList(double_conv(*pair) for pair in pairwise([in_channels, *encoded]))
        self.pool = nn.MaxPool2d(2)
        decoded = [SCALES * width] * (SCALES - 1) + encoded[-1:]
        self.decoder = nn.ModuleList()  # deep to shallow
        for level in reversed(range(SCALES - 1)):
            factors = [2 ** max(0, other - level) for other in range(SCALES)]
            self.decoder.append(DecoderNode(factors, encoded[: level + 1] + decoded[level + 1 :], width))
        self.heads = nn.ModuleList(Head(channels, 2**level) for level, channels in enumerate(decoded))

    def maps(self, x: Tensor) -> list[Tensor]:
        """Return the maps that the heads read: decoder levels 0…3, then the bottom of the encoder."""
        above: list[Tensor] = []  # encoder maps from level 0 down to here, pooled to the size here
        rows: list[list[Tensor]] = []
        for block in self.encoder[:-1]:
            # From level to level: pooling by 2 twice is pooling by 4.
            above = [self.pool(scale) for scale in above]
            above.append(block(above[-1] if above else x))
            rows.append(above)
        below = [self.encoder[-1](self.pool(above[-1]))]
        for node, row in zip(self.decoder, reversed(rows), strict=True):
            below.insert(0, node(*row, *below))
        return below

    def forward(self, x: Tensor) -> Tensor:  # (N, bands, H, W) → (N, 1, H, W) logits
        return self.heads[0](self.maps(x)[0])

    def supervised(self, x: Tensor) -> list[Tensor]:
        return [head(scale) for head, scale in zip(self.heads, self.maps(x), strict=True)]
