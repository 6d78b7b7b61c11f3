"""What makes each network what it is, where neither its blocks' links nor its golden digests say why."""

import pytest
import torch
from made import settled
from torch import nn
from torch.nn import functional as F

from lmhld_nb.models import _initialise
from lmhld_nb.models.attention_unet import AttentionGate
from lmhld_nb.models.res_unet import ResUNet
from lmhld_nb.models.trans_unet import TransUNet
from lmhld_nb.models.unet import UNet
from lmhld_nb.models.unet_3p import UpsampledConv


@pytest.fixture(autouse=True)
def same_draws():
    torch.manual_seed(0)


def test_without_projections_it_is_the_unet():
    image = torch.randn(1, 3, 64, 64)
    model, plain = settled(ResUNet(3, 4)), UNet(3, 4).eval()
    state = {k.replace(".residual.", "."): v for k, v in model.state_dict().items() if ".project." not in k}
    plain.load_state_dict(state)
    assert not torch.allclose(model(image), plain(image))
    for unit in (*model.encoder, *model.decoder):
        nn.init.zeros_(unit.project.weight)
        nn.init.zeros_(unit.project.bias)
    assert torch.equal(model(image), plain(image))


def test_a_gate_scales_all_channels_of_a_pixel_alike_and_pixels_differently():
    g, x = torch.randn(2, 2, 6, 8, 8)
    alpha = AttentionGate(6).eval()(g, x) / x
    assert torch.allclose(alpha, alpha[:, :1].expand_as(alpha), rtol=1e-4)
    assert alpha.min() > 0 and alpha.max() < 1 and alpha.std() > 0.01


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


@torch.no_grad()
def test_position_embeddings_start_small_and_are_interpolated_from_corner_to_corner():
    model = TransUNet(4, 4).apply(_initialise).eval()
    stored, inputs = model.transformer.position_embeddings, []
    assert stored.std().item() == pytest.approx(0.02, rel=0.05) and stored.mean().abs() < 0.002
    ramps = torch.meshgrid(torch.linspace(0, 1, 14), torch.linspace(0, 1, 14), indexing="ij")
    stored[0, :2] = torch.stack(ramps)
    for values in model.transformer.patch_embeddings.parameters():
        values.zero_()  # what the first block gets are then the positions
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
