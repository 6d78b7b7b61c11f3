from itertools import combinations

import pytest
import torch
from made import settled
from torch import nn

from lmhld_nb.models.dense_unet import DenseBlock, DenseUNet


def network(width=8):
    return settled(DenseUNet(3, width))


def blocks(model):
    return [module for module in model.modules() if isinstance(module, DenseBlock)]


def test_published_width_has_the_published_growth():
    with torch.device("meta"):
        model = DenseUNet()
    growth = []
    for block in blocks(model):
        assert len(block.layers) == 4
        convolutions = [[m for m in layer if isinstance(m, nn.Conv2d)] for layer in block.layers]
        assert all([c.kernel_size for c in pair] == [(1, 1), (3, 3)] for pair in convolutions)
        (k,) = {narrow.out_channels for _, narrow in convolutions}
        given = convolutions[0][0].in_channels
        assert given == 4 * k  # so four layers double it
        growth.append(k)
    assert growth == [8, 16, 32, 64, 128, 64, 32, 16, 8]


@pytest.mark.parametrize(("width", "channels"), [(4, 8), (8, 8), (20, 16), (24, 24)])
def test_width_is_the_channels_after_the_first_block(width, channels):
    model = network(width=width)
    assert model.encoder[0](torch.zeros(1, 3, 32, 32)).shape[1] == channels
    assert model.head.in_channels == channels


def test_a_block_hands_on_its_input_untouched_and_then_every_layer():
    torch.manual_seed(0)
    block = DenseBlock(3).eval()
    outputs = []
    for layer in block.layers:
        layer.register_forward_hook(lambda module, args, output: outputs.append(output))
    x = torch.randn(1, 12, 8, 8)
    assert torch.equal(block(x), torch.cat([x, *outputs], dim=1))


@pytest.mark.parametrize(("early", "late"), list(combinations(range(4), 2)))
def test_every_layer_reads_every_earlier_one(early, late):
    torch.manual_seed(0)
    k = 3
    block = DenseBlock(k).eval()
    x = torch.randn(1, 4 * k, 8, 8)
    maps = [slice(4 * k + k * layer, 4 * k + k * (layer + 1)) for layer in range(4)]
    with torch.no_grad():
        before = block(x)
        block.layers[late][0].weight[:, maps[early]] = 0
        after = block(x)
    untouched = slice(maps[late].start)
    assert torch.equal(before[:, untouched], after[:, untouched])
    assert not torch.allclose(before[:, maps[late]], after[:, maps[late]])


@pytest.mark.parametrize("level", range(4))
def test_skip_and_decoder_both_reach_the_reduction(level):
    model = network()
    x = torch.randn(1, 3, 64, 64)
    first = model.reduce[level][0]
    half = first.in_channels // 2
    kept = first.weight.detach().clone()
    with torch.no_grad():
        before = model(x)
        for part in (slice(half), slice(half, None)):
            first.weight[:, part] = 0
            assert not torch.equal(before, model(x))
            first.weight.copy_(kept)
        assert torch.equal(before, model(x))


def test_the_image_is_not_added_to_the_output():
    model = network()
    nn.init.zeros_(model.head.weight)
    nn.init.constant_(model.head.bias, 3.0)
    assert (model(torch.randn(1, 3, 32, 32)) == 3).all()
