import pytest
import safetensors.torch
import torch
from torch import nn

from lmhld_nb import models
from lmhld_nb.config import UserError
from lmhld_nb.training import checkpoints

SIZES = (32, 64, 128, 224, 256)
NARROW = 4
# Million parameters with 4 bands in, 1 out; TransUNet's with a position embedding for each of 14 × 14 tokens.
PUBLISHED = {
    "unet": 31.04,
    "res_unet": 32.44,
    "dense_unet": 9.5,
    "attention_unet": 34.88,
    "trans_unet": 105.13 + 768 * 14**2 / 1e6,
    "unet_pp": 9.16,
    "unet_3p": 26.99,
}


@pytest.mark.parametrize("name", models.NAMES)
def test_published_width_has_the_published_number_of_parameters(name):
    with torch.device("meta"):
        model = models.NETWORKS[name].builder(4)
    about = 0.05 if name == "dense_unet" else 0.006
    assert models.parameter_count(model) / 1e6 == pytest.approx(PUBLISHED[name], abs=about)


@pytest.mark.parametrize("name", models.NAMES)
def test_one_set_of_weights_takes_every_patch_size(name):
    model = models.build(name, 4, NARROW).eval()
    for size in SIZES:
        assert model(torch.zeros(1, 4, size, size)).shape == (1, 1, size, size)


@pytest.mark.parametrize("name", models.NAMES)
def test_gradients_reach_every_parameter(name):
    torch.manual_seed(0)
    model = models.build(name, 3, NARROW)
    heads, _ = models.supervised(model, torch.randn(2, 3, 32, 32))
    assert all(head.shape == (2, 1, 32, 32) for head in heads)
    sum(head.square().mean() for head in heads).backward()
    for label, parameter in model.named_parameters():
        assert parameter.grad is not None, label
        assert torch.isfinite(parameter.grad).all(), label


@pytest.mark.parametrize("name", models.NAMES)
def test_input_convolution_and_levels_are_exposed(name):
    model = models.build(name, 3, NARROW)
    assert isinstance(model.input_conv, nn.Conv2d)
    assert model.input_conv.in_channels == 3
    assert len(model.encoder_levels) == 5
    known = {id(parameter) for parameter in model.parameters()}
    assert {id(p) for level in model.encoder_levels for p in level.parameters()} <= known


def test_xavier_where_it_is_defined():
    torch.manual_seed(0)
    model = models.build("unet", 4, 16)
    weight = model.encoder_levels[2][0].weight
    bound = (6 / (weight.shape[1] * 9 + weight.shape[0] * 9)) ** 0.5
    assert weight.abs().max() <= bound
    assert weight.abs().max() > 0.99 * bound
    norm = model.encoder_levels[0][1]
    assert (norm.weight == 1).all()
    assert (norm.bias == 0).all()


def test_same_seed_same_weights():
    def first():
        torch.manual_seed(3)
        return models.build("unet", 4, 4).state_dict()

    one, two = first(), first()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_skips_carry_detail():
    model = models.build("unet", 4, 4).eval()
    x = torch.randn(1, 4, 64, 64)
    before = model(x)
    with torch.no_grad():
        # The first decoder halves of the last block see the skip: silence them.
        model.decoder[-1][0].weight[:, :4] = 0
    assert not torch.allclose(before, model(x))


@pytest.mark.parametrize("name", models.NAMES)
def test_forward_follows_the_heads(name):
    torch.manual_seed(0)
    model = models.build(name, 4, NARROW).eval()
    x = torch.randn(2, 4, 32, 32)
    with torch.no_grad():
        heads, _ = models.supervised(model, x)
        answer = model(x)
    mean = torch.stack(heads).mean(dim=0)
    torch.testing.assert_close(answer, mean if name == "unet_pp" else heads[0])


@pytest.mark.parametrize("name", models.NAMES)
def test_weights_come_back_from_a_file(name, tmp_path):
    torch.manual_seed(1)
    model = models.build(name, 4, NARROW).eval()
    checkpoints.write_tensors(tmp_path / "weights.safetensors", model.state_dict(), {})
    torch.manual_seed(2)
    other = models.build(name, 4, NARROW).eval()
    x = torch.randn(1, 4, 64, 64)
    assert not torch.equal(other(x), model(x))
    other.load_state_dict(safetensors.torch.load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(other(x), model(x))


def test_options_are_checked():
    assert models.build("unet_3p", 4, NARROW, classification_guided=True).guide is not None
    with pytest.raises(UserError, match="model 'unet': no option 'classification_guided'; it has none"):
        models.build("unet", 4, NARROW, classification_guided=True)


def test_unknown_models_are_named():
    with pytest.raises(UserError, match="'vnet': unknown; choose one of unet"):
        models.build("vnet")
