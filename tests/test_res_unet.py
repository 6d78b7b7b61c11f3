import torch
from made import settled
from torch import nn

from lmhld_nb.models.res_unet import ResidualUnit, ResUNet
from lmhld_nb.models.unet import UNet


def network():
    return settled(ResUNet(3, 4))


def units(model):
    return [*model.encoder, *model.decoder]


def silence(layer):
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


def test_every_stage_is_a_residual_unit_with_a_projection():
    model = network()
    assert [len(model.encoder), len(model.decoder)] == [5, 4]
    for unit in units(model):
        assert isinstance(unit, ResidualUnit)
        assert unit.project.kernel_size == (1, 1)


def test_where_channels_stay_the_short_cut_is_the_identity():
    unit = ResidualUnit(6, 6).eval()
    silence(unit.residual[-1])
    x = torch.randn(2, 6, 8, 8)
    before = x.clone()
    assert torch.equal(unit(x), x.relu())
    assert torch.equal(x, before)  # rectified in place, but never the input


def test_a_unit_without_its_residual_branch_is_its_rectified_projection():
    for unit in units(network()):
        x = torch.randn(1, unit.project.in_channels, 8, 8)
        full = unit(x)
        silence(unit.residual[-1])
        assert torch.equal(unit(x), unit.project(x).relu())
        assert not torch.allclose(full, unit(x))


def test_residual_branch_is_not_rectified_before_the_sum():
    unit = ResidualUnit(3, 5).eval()
    nn.init.constant_(unit.residual[-1].bias, -1000.0)
    assert not unit(torch.rand(1, 3, 8, 8)).any()


def test_without_projections_it_is_the_unet():
    model = network()
    plain = UNet(3, 4).eval()
    state = {k.replace(".residual.", "."): v for k, v in model.state_dict().items() if ".project." not in k}
    plain.load_state_dict(state)
    x = torch.randn(1, 3, 64, 64)
    assert not torch.allclose(model(x), plain(x))
    for unit in units(model):
        silence(unit.project)
    assert torch.equal(model(x), plain(x))
