import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lmhld_nb.models import parameter_count
from lmhld_nb.models.unet_pp import UNetPlusPlus

WIDTH = 4
CHANNELS = [WIDTH * 2**level for level in range(5)]


@pytest.fixture
def model() -> UNetPlusPlus:
    torch.manual_seed(0)
    return UNetPlusPlus(3, WIDTH).eval()


@pytest.fixture
def image() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(2, 3, 32, 32)


@torch.no_grad()
def heads_of(model: UNetPlusPlus, image: torch.Tensor) -> list[torch.Tensor]:
    return model.supervised(image)[0]


def changed(before: list[torch.Tensor], after: list[torch.Tensor]) -> list[bool]:
    return [not torch.allclose(one, two, atol=1e-6) for one, two in zip(before, after, strict=True)]


def test_published_width_has_the_published_number_of_parameters():
    with torch.device("meta"):
        assert parameter_count(UNetPlusPlus()) / 1e6 == pytest.approx(9.16, abs=0.005)


@pytest.mark.parametrize("size", (32, 64, 128, 224, 256))
def test_one_set_of_weights_takes_every_patch_size(model, size):
    heads = heads_of(model, torch.zeros(1, 3, size, size))
    assert [head.shape for head in heads] == [(1, 1, size, size)] * 4
    assert model(torch.zeros(1, 3, size, size)).shape == (1, 1, size, size)


def test_gradients_reach_every_parameter(model, image):
    heads, holds = model.train().supervised(image)
    assert holds is None
    sum(head.square().mean() for head in heads).backward()
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        # A shift just before batch normalisation is taken out again: only weights have to move.
        assert parameter.grad.any() or parameter.dim() == 1, name


def test_input_convolution_and_levels_are_exposed(model):
    assert isinstance(model.input_conv, nn.Conv2d)
    assert model.input_conv.in_channels == 3
    assert len(model.encoder_levels) == 5
    assert any(module is model.input_conv for module in model.encoder_levels[0].modules())
    maps = []
    for level in model.encoder_levels:
        level.register_forward_hook(lambda _, __, out: maps.append(out.shape[1:]))
    model(torch.zeros(1, 3, 32, 32))
    assert maps == [(CHANNELS[i], 32 // 2**i, 32 // 2**i) for i in range(5)]
    outside = sum(map(parameter_count, [model.nested, model.heads]))
    assert sum(map(parameter_count, model.encoder_levels)) == parameter_count(model) - outside


def test_every_node_reads_all_nodes_before_it_and_the_one_below(model, image):
    read, made = {}, {}

    def listen(key, module):
        module.register_forward_pre_hook(lambda _, args: read.update({key: args[0]}))
        module.register_forward_hook(lambda _, __, out: made.update({key: out}))

    for i, block in enumerate(model.encoder):
        listen((i, 0), block)
    for name, block in model.nested.items():
        listen((int(name[1]), int(name[3])), block)
    model(image)
    assert sorted(made) == [(i, j) for i in range(5) for j in range(5 - i)]  # 15 nodes
    for (i, j), seen in read.items():
        if j:
            below = F.interpolate(made[i + 1, j - 1], scale_factor=2, mode="bilinear")
            assert torch.equal(seen, torch.cat([*(made[i, k] for k in range(j)), below], dim=1)), (i, j)
        elif i:
            assert torch.equal(seen, F.max_pool2d(made[i - 1, 0], 2))


def test_silencing_a_dense_link_changes_the_node_that_it_leads_to_only(model, image):
    before = heads_of(model, image)
    with torch.no_grad():
        model.nested["x0_4"][0].weight[:, WIDTH : 2 * WIDTH] = 0  # X(0, 1) → X(0, 4)
    assert changed(before, heads_of(model, image)) == [False, False, False, True]


@pytest.mark.parametrize("level", (1, 2, 3, 4))
def test_a_head_sees_the_levels_down_to_its_own_depth(model, image, level):
    """X(0, j) reaches down to level j: what lets the paper prune the network at any head."""
    before = heads_of(model, image)
    model.encoder[level].register_forward_hook(lambda _, __, out: out + 1)
    assert changed(before, heads_of(model, image)) == [j >= level for j in (1, 2, 3, 4)]


def test_the_prediction_is_the_mean_of_four_separate_heads(model, image):
    before = heads_of(model, image)
    torch.testing.assert_close(model(image), sum(before) / 4)
    for k, head in enumerate(model.heads):
        with torch.no_grad():
            head.bias += 1
        assert changed(before, heads_of(model, image)) == [k == other for other in range(4)]
        torch.testing.assert_close(model(image), sum(before) / 4 + 0.25)
        with torch.no_grad():
            head.bias -= 1


def test_bf16_and_channels_last_change_nothing_but_rounding(model, image):
    exact = model(image)
    fast = model.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = fast(image.contiguous(memory_format=torch.channels_last))
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, atol=0.05, rtol=0.05)
