"""What makes each network what it is: residual units, gates, nested and full-scale nodes, a hybrid transformer."""

import pytest
import torch
from made import settled
from torch import nn
from torch.nn import functional as F

from lmhld_nb.models import _initialise
from lmhld_nb.models.attention_unet import AttentionGate
from lmhld_nb.models.res_unet import ResUNet
from lmhld_nb.models.trans_unet import Block, PreActBottleneck, TransUNet
from lmhld_nb.models.unet import UNet
from lmhld_nb.models.unet_3p import UpsampledConv
from lmhld_nb.models.unet_pp import UNetPlusPlus


@pytest.fixture(autouse=True)
def same_draws():
    torch.manual_seed(0)


@pytest.fixture
def image():
    return torch.randn(1, 3, 64, 64)


# Res U-Net


def test_without_projections_it_is_the_unet(image):
    model, plain = settled(ResUNet(3, 4)), UNet(3, 4).eval()
    state = {k.replace(".residual.", "."): v for k, v in model.state_dict().items() if ".project." not in k}
    plain.load_state_dict(state)
    assert not torch.allclose(model(image), plain(image))
    for unit in (*model.encoder, *model.decoder):
        nn.init.zeros_(unit.project.weight)
        nn.init.zeros_(unit.project.bias)
    assert torch.equal(model(image), plain(image))


# Attention U-Net


def test_a_gate_scales_all_channels_of_a_pixel_alike_and_pixels_differently():
    g, x = torch.randn(2, 2, 6, 8, 8)
    alpha = AttentionGate(6).eval()(g, x) / x
    assert torch.allclose(alpha, alpha[:, :1].expand_as(alpha), rtol=1e-4)
    assert alpha.min() > 0 and alpha.max() < 1 and alpha.std() > 0.01


# U-Net++


def test_every_node_reads_all_nodes_before_it_and_the_one_below(image):
    model, inputs, outputs = UNetPlusPlus(3, 4).eval(), {}, {}
    nodes = {(i, 0): block for i, block in enumerate(model.encoder)}
    nodes |= {(int(name[1]), int(name[3])): block for name, block in model.nested.items()}
    for key, module in nodes.items():
        module.register_forward_pre_hook(lambda _, args, key=key: inputs.update({key: args[0]}))
        module.register_forward_hook(lambda _, __, out, key=key: outputs.update({key: out}))
    model(image)
    assert sorted(outputs) == [(i, j) for i in range(5) for j in range(5 - i)]  # 15 nodes
    for (i, j), read in inputs.items():
        if j:
            below = F.interpolate(outputs[i + 1, j - 1], scale_factor=2, mode="bilinear")
            assert torch.equal(read, torch.cat([*(outputs[i, k] for k in range(j)), below], dim=1)), (i, j)
        elif i:
            assert torch.equal(read, F.max_pool2d(outputs[i - 1, 0], 2))


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


def initialised(module):
    torch.manual_seed(0)
    return module.apply(_initialise).eval()


@pytest.fixture
def trans_unet():
    return initialised(TransUNet(4, 4))


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
def test_position_embeddings_start_small_and_are_interpolated_from_corner_to_corner(trans_unet):
    model = trans_unet
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
