"""TransUNet (Chen et al. 2021, "TransUNet: Transformers Make Strong Encoders for Medical Image Segmentation").

The R50-ViT-B/16 form: a ResNet-50 of three stages computes a map at stride 16, each pixel of which becomes a token of a
ViT-B (Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", ICLR); a cascaded up-sampler brings the tokens back
to full size, joined by three skips from the ResNet.

Where the paper is silent, we follow the code published with it, with three exceptions:

- The root's max-pool is padded by 1. Theirs is not, and pads the odd-sized skips with zeros afterwards.
- Position embeddings are drawn from N(0, 0.02), as ViT does before pre-training. Theirs are zeros, but only until
  pre-trained ones replace them; zeros would make all tokens start out as an unordered set.
- A projected shortcut is normalised in 32 groups, as in ViT's code. Theirs has one group per channel, which at
  stride 16 leaves four values per group on a patch of 32 px.
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmhld_nb.models.unet import conv

GRID = 14  # tokens per side with their own position embedding: those of 224 px, as published
UNITS = (3, 4, 9)  # bottlenecks per stage: ResNet-50's 3, 4, 6, 3 with the last stage's moved into the third
DEPTH, HEADS = 12, 12  # of ViT-B
DROPOUT = 0.1  # on embeddings and in MLPs; attention has none


class StdConv2d(nn.Conv2d):
    """Convolution with filters of mean 0 and variance 1 (Qiao et al. 2019); no bias, as a group norm follows."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        # A layer norm over a filter is that standardisation in one kernel, in float32 under autocast too.
        weight = F.layer_norm(self.weight, list(self.weight.shape[1:]), eps=1e-5)
        if x.requires_grad and x.device.type == "cpu" and self.stride != (1, 1):
            # The gradient of a strided convolution is summed in blocks that oneDNN fits to the processor's caches, so
            # its last bits differ between processors. Without a stride they do not (tests/test_portable.py).
            whole = F.conv2d(x, weight, None, 1, self.padding)
            return whole[..., :: self.stride[0], :: self.stride[1]]
        return F.conv2d(x, weight, None, self.stride, self.padding)


def group_norm(channels: int) -> nn.GroupNorm:
    """32 groups; fewer in narrow networks, where a group keeps two channels as in the published root."""
    return nn.GroupNorm(math.gcd(32, channels // 2), channels, eps=1e-6)


class PreActBottleneck(nn.Module):
    """1×1, 3×3, 1×1 convolution beside a shortcut, each followed by its norm; the last ReLU follows the sum.

    The name is the published code's, the order the hybrid ViT's, not He et al.'s (2016) with 3 456 parameters fewer.
    """

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        out_channels = 4 * channels
        self.conv1 = StdConv2d(in_channels, channels, 1)
        self.gn1 = group_norm(channels)
        self.conv2 = StdConv2d(channels, channels, 3, stride)
        self.gn2 = group_norm(channels)
        self.conv3 = StdConv2d(channels, out_channels, 1)
        self.gn3 = group_norm(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = nn.Sequential(StdConv2d(in_channels, out_channels, 1, stride), group_norm(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.gn1(self.conv1(x)))
        y = self.relu(self.gn2(self.conv2(y)))
        return self.relu(self.shortcut(x) + self.gn3(self.conv3(y)))


def stage(in_channels: int, channels: int, units: int, stride: int) -> nn.Sequential:
    """Bottlenecks of one resolution; the first one reduces to it."""
    return nn.Sequential(
        PreActBottleneck(in_channels, channels, stride),
        *(PreActBottleneck(4 * channels, channels) for _ in range(units - 1)),
    )


class Attention(nn.Module):
    """Multi-head self-attention: every token attends to every other; (N, tokens, channels) in and out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # Queries, keys and values in one product. The keys' bias has no effect (softmax cancels it), but is published.
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(x).unflatten(2, (3, HEADS, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind()  # each (N, heads, tokens, channels / heads)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Transformer block, pre-LN: each residual branch starts with its own layer norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(channels, eps=1e-6)
        self.attn = Attention(channels)
        self.ffn_norm = nn.LayerNorm(channels, eps=1e-6)
        hidden = nn.Sequential(nn.Linear(channels, 4 * channels), nn.GELU(), nn.Dropout(DROPOUT))
        self.ffn = nn.Sequential(*hidden, nn.Linear(4 * channels, channels), nn.Dropout(DROPOUT))

    def forward(self, x: Tensor) -> Tensor:  # (N, tokens, channels), same out
        x = x + self.attn(self.attention_norm(x))
        return x + self.ffn(self.ffn_norm(x))


class Transformer(nn.Module):
    """Patch embedding, position embeddings, blocks, final norm: from a map to a map."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.patch_embeddings = nn.Conv2d(in_channels, channels, 1)
        self.position_embeddings = nn.Parameter(torch.empty(1, channels, GRID, GRID))
        nn.init.normal_(self.position_embeddings, std=0.02)
        self.dropout = nn.Dropout(DROPOUT)
        self.layer = nn.Sequential(*(Block(channels) for _ in range(DEPTH)))
        self.encoder_norm = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:  # (N, in_channels, h, w) → (N, channels, h, w)
        x = self.patch_embeddings(x)
        height, width = x.shape[2:]
        # Corners stay aligned, as when the published code resizes pre-trained embeddings; 14×14 stay unchanged.
        positions = F.interpolate(self.position_embeddings, (height, width), mode="bilinear", align_corners=True)
        x = self.dropout((x + positions).flatten(2).transpose(1, 2))  # (N, h·w, channels)
        x = self.encoder_norm(self.layer(x))
        return x.transpose(1, 2).unflatten(2, (height, width))  # strides of channels_last, without a copy


def convs(*channels: int) -> nn.Sequential:
    """3×3 convolutions, each with batch normalisation, which replaces their biases, and ReLU."""
    return nn.Sequential(*(nn.Sequential(*conv(*pair, bias=False)) for pair in pairwise(channels)))


class TransUNet(nn.Module):
    """R50-ViT-B/16 encoder, cascaded up-sampler of 256-128-64-16 channels with three skips."""

    def __init__(self, in_channels: int = 4, width: int = 64) -> None:
        super().__init__()
        w = width
        self.root = nn.Sequential(StdConv2d(in_channels, w, 7, 2), group_norm(w), nn.ReLU(inplace=True))
        self.pool = nn.MaxPool2d(3, 2, padding=1)
        sizes = ((w, w, UNITS[0], 1), (4 * w, 2 * w, UNITS[1], 2), (8 * w, 4 * w, UNITS[2], 2))
        self.stages = nn.ModuleList(stage(*size) for size in sizes)
        self.transformer = Transformer(16 * w, 12 * w)
        self.conv_more = nn.Sequential(*conv(12 * w, 8 * w, bias=False))
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        # Inputs from below and from the skip; at full size the ResNet has no map.
        channels = ((8 * w + 8 * w, 4 * w), (4 * w + 4 * w, 2 * w), (2 * w + w, w), (w, w // 4))
        self.decoder = nn.ModuleList(convs(before, after, after) for before, after in channels)
        self.head = nn.Conv2d(w // 4, 1, 3, padding=1)

    @property
    def encoder_levels(self) -> list[nn.Module]:  # root, three stages of the ResNet, transformer
        return [self.root, *self.stages, self.transformer]

    def forward(self, x: Tensor) -> Tensor:  # (N, bands, H, W) → (N, 1, H, W) logits
        half = self.root(x)  # (N, w, H/2, W/2)
        quarter = self.stages[0](self.pool(half))  # (N, 4w, H/4, W/4)
        eighth = self.stages[1](quarter)  # (N, 8w, H/8, W/8)
        x = self.transformer(self.stages[2](eighth))  # (N, 12w, H/16, W/16)
        x = self.conv_more(x)
        for block, skip in zip(self.decoder, (eighth, quarter, half), strict=False):
            x = block(torch.cat([self.up(x), skip], dim=1))
        return self.head(self.decoder[-1](self.up(x)))
