"""Res-UNet (Xiao, Lian, Luo & Li 2018, Weighted Res-UNet for high-quality retina vessel segmentation, ITME).

U-Net's skeleton with each of its nine double convolutions, in the encoder and in the decoder, made a residual unit
(He et al. 2016): the output of the convolutions is added to a linear projection of their input. Everything
else is as in `unet.UNet`. The title's weights are a mask of the visible eye disc: a landslide patch has none.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from lmhld_nb.models.unet import UNet, double_conv


class ResidualUnit(nn.Module):
    """Double convolution plus 1×1 projection, then ReLU: relu(F(x) + W x)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        # Without the last ReLU: the sum must be able to decrease as well as increase before it is rectified.
        self.residual = double_conv(in_channels, out_channels)[:-1]
        # In U-Net's skeleton every unit changes the number of channels, except a narrow network's first one.
        same = in_channels == out_channels
        self.project = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:  # (N, in, H, W) → (N, out, H, W)
        return F.relu(self.residual(x) + self.project(x), inplace=True)


class ResUNet(UNet):
    """U-Net of residual units."""

    block = ResidualUnit
