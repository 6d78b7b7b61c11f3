"""TransUNet: the hybrid encoder's order of layers, its tokens and their positions, and its skips."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lmhld_nb.models import _initialise
from lmhld_nb.models.trans_unet import Block, PreActBottleneck, TransUNet

WIDTH = 4


def initialised(module):
    torch.manual_seed(0)
    return module.apply(_initialise).eval()


@pytest.fixture
def model():
    torch.manual_seed(0)
    return initialised(TransUNet(4, WIDTH))


@torch.no_grad()
def silence(*layers):
    for layer in layers:
        layer.weight.zero_()
        layer.bias.zero_()


def close(one, two):
    return torch.allclose(one, two, rtol=1e-4, atol=1e-5)


def standardised_conv(x, conv):
    weight = conv.weight
    variance, mean = torch.var_mean(weight, dim=(1, 2, 3), correction=0, keepdim=True)
    return F.conv2d(x, (weight - mean) / (variance + 1e-5).sqrt(), None, conv.stride, conv.kernel_size[0] // 2)


@pytest.mark.parametrize(("in_channels", "stride"), [(8, 2), (16, 1)])
@torch.no_grad()
def test_bottleneck_has_the_order_of_the_hybrid_vit(in_channels, stride):
    unit = initialised(PreActBottleneck(in_channels, 4, stride))
    for norm in (m for m in unit.modules() if isinstance(m, nn.GroupNorm)):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    x = torch.randn(2, in_channels, 8, 8)  # negative values too: a ReLU in the wrong place would show
    y = F.relu(unit.gn1(standardised_conv(x, unit.conv1)))
    y = F.relu(unit.gn2(standardised_conv(y, unit.conv2)))
    y = unit.gn3(standardised_conv(y, unit.conv3))
    shortcut = unit.shortcut[1](standardised_conv(x, unit.shortcut[0])) if stride == 2 else x
    assert close(unit(x), F.relu(shortcut + y))
    assert unit(x).shape == (2, 16, 8 // stride, 8 // stride)


@pytest.mark.parametrize("silenced", [lambda block: block.attn.out, lambda block: block.ffn[3]])
@torch.no_grad()
def test_blocks_are_pre_ln(silenced):
    # The norm stands inside the residual branch, first: what a branch adds does not depend on the scale of the
    # stream, and the stream itself is never normalised. Post-LN fails on both.
    block = initialised(Block(24))
    silence(silenced(block))
    x = torch.randn(2, 5, 24, dtype=torch.float64)
    block.double()
    assert torch.allclose(block(10 * x) - 10 * x, block(x) - x, atol=1e-4)
    assert (block(x) - x).abs().max() > 0.1


@torch.no_grad()
def test_position_embeddings_start_small_and_are_interpolated_from_corner_to_corner(model):
    stored, inputs = model.transformer.position_embeddings, []
    assert stored.std().item() == pytest.approx(0.02, rel=0.05) and stored.mean().abs() < 0.002
    ramps = torch.meshgrid(torch.linspace(0, 1, 14), torch.linspace(0, 1, 14), indexing="ij")
    stored[0, :2] = torch.stack(ramps)
    silence(model.transformer.patch_embeddings)  # what the first block gets are then the positions
    model.transformer.layer[0].register_forward_pre_hook(lambda _module, args: inputs.append(args[0][0]))
    for size in (224, 32, 64, 256):
        grid = size // 16
        model(torch.randn(1, 4, size, size))
        positions, ramp = inputs.pop().T.unflatten(1, (grid, grid)), torch.linspace(0, 1, grid)
        assert torch.allclose(positions[0], ramp[:, None].expand(grid, grid), atol=1e-5)
        assert torch.allclose(positions[1], ramp.expand(grid, grid), atol=1e-5)
        assert torch.allclose(positions[:, 0, 0], stored[0, :, 0, 0])
        assert torch.allclose(positions[:, -1, -1], stored[0, :, -1, -1])
        assert size != 224 or torch.equal(positions, stored[0])
