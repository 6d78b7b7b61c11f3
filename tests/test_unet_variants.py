"""What makes each variant of U-Net with skips what it is: residual units, gates, dense blocks, nested nodes."""

import pytest
import torch
from made import settled
from torch import nn
from torch.nn import functional as F

from lmhld_nb.models.attention_unet import AttentionGate
from lmhld_nb.models.res_unet import ResUNet
from lmhld_nb.models.unet import UNet
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
