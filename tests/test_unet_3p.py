"""UNet 3+: full-scale nodes, five heads, and the cheap way to compute them."""

import pytest
import torch
from torch.nn import functional as F

from lmhld_nb.models.unet_3p import UpsampledConv


@pytest.mark.parametrize("factor", (2, 4, 8, 16))
@pytest.mark.parametrize("shape", ((1, 1), (2, 2), (3, 5)))
def test_projection_is_that_of_the_map_after_bilinear_upsampling(factor, shape):
    torch.manual_seed(0)
    conv = UpsampledConv(6, 5, factor).double()
    x = torch.randn(2, 6, *shape, dtype=torch.float64, requires_grad=True)
    large = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    expected = F.conv2d(large, conv.weight, conv.bias, padding=1)
    inputs, push = (x, conv.weight, conv.bias), torch.randn_like(expected)
    torch.testing.assert_close(conv(x), expected)
    gradients = (torch.autograd.grad(result, inputs, push) for result in (conv(x), expected))
    torch.testing.assert_close(*gradients)
