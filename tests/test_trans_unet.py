import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lmhld_nb.models import _initialise
from lmhld_nb.models.trans_unet import Block, PreActBottleneck, StdConv2d, TransUNet

WIDTH = 4


@pytest.fixture
def model():
    torch.manual_seed(0)
    network = TransUNet(4, WIDTH)
    network.apply(_initialise)
    return network.eval()


def initialised(module):
    torch.manual_seed(0)
    module.apply(_initialise)
    return module.eval()


def silence(*layers):
    """Let layers answer zero."""
    with torch.no_grad():
        for layer in layers:
            layer.weight.zero_()
            if layer.bias is not None:
                layer.bias.zero_()


def silence_attention(model):
    silence(*(block.attn.out for block in model.transformer.layer))


def silence_blocks(model):
    silence_attention(model)
    silence(*(block.ffn[3] for block in model.transformer.layer))


def close(one, two):
    return torch.allclose(one, two, rtol=1e-4, atol=1e-5)


# Size and interface


def test_published_shape():
    with torch.device("meta"):
        model = TransUNet(4)
    assert [len(stage) for stage in model.stages] == [3, 4, 9]
    assert [stage[-1].conv3.out_channels for stage in model.stages] == [256, 512, 1024]
    assert {m.num_groups for m in model.modules() if isinstance(m, nn.GroupNorm)} == {32}
    assert len(model.transformer.layer) == 12
    assert model.transformer.layer[0].ffn[0].out_features == 3072
    assert [block[1][0].out_channels for block in model.decoder] == [256, 128, 64, 16]
    # From below, and from the skip; the last has none.
    assert [block[0][0].in_channels for block in model.decoder] == [512 + 512, 256 + 256, 128 + 64, 64]
    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)] == [0.1] * (1 + 2 * 12)


@torch.no_grad()
def test_dropout_acts_in_training_only(model):
    x = torch.randn(2, 4, 32, 32)
    assert torch.equal(model(x), model(x))
    model.train()
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.eval()
    assert not close(model(x), model(x))


# ResNet


@torch.no_grad()
def test_convolutions_of_the_resnet_are_weight_standardised(model):
    standardised = [m for m in model.modules() if isinstance(m, StdConv2d)]
    resnet = [m for level in model.encoder_levels[:4] for m in level.modules() if isinstance(m, nn.Conv2d)]
    assert len(standardised) == len(resnet) == 1 + 16 * 3 + 3
    for conv in standardised:
        conv.weight.mul_(100)  # variances beside which the epsilon is nothing
    x = torch.randn(1, 4, 64, 64)
    before = model(x)
    tolerance = {"rtol": 0, "atol": 0.001 * before.std().item()}
    for conv in standardised:
        filters = len(conv.weight)
        conv.weight.mul_(2 + torch.rand(filters, 1, 1, 1)).add_(torch.randn(filters, 1, 1, 1))
    assert torch.allclose(model(x), before, **tolerance)
    model.transformer.patch_embeddings.weight.mul_(2)  # not one of them
    assert not torch.allclose(model(x), before, **tolerance)


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
    shortcut = x
    if stride == 2:
        conv, norm = unit.shortcut
        shortcut = norm(standardised_conv(x, conv))
    assert close(unit(x), F.relu(shortcut + y))
    assert unit(x).shape == (2, 16, 8 // stride, 8 // stride)


# Transformer


@torch.no_grad()
def test_only_attention_mixes_tokens():
    block = initialised(Block(24))
    x = torch.randn(1, 5, 24)
    other = x.clone()
    other[0, 0] += torch.randn(24)
    assert ((block(x) - block(other))[0].abs().amax(dim=1) > 1e-5).all()
    silence(block.attn.out)
    difference = (block(x) - block(other))[0].abs().amax(dim=1)
    assert difference[0] > 1e-5
    assert (difference[1:] == 0).all()


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
def test_transformer_without_blocks_is_embedding_plus_position(model):
    transformer = model.transformer
    silence_blocks(model)
    x = torch.randn(2, 16 * WIDTH, 14, 14)
    tokens = transformer.patch_embeddings(x) + transformer.position_embeddings
    expected = F.layer_norm(tokens.movedim(1, 3), (12 * WIDTH,), eps=1e-6).movedim(3, 1)
    assert close(transformer(x), expected)


def seen_positions(model, size):
    """Return what the first block gets when the patch embedding is silent: (tokens, channels)."""
    seen = []
    silence(model.transformer.patch_embeddings)
    handle = model.transformer.layer[0].register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0][0]))
    model(torch.randn(1, 4, size, size))
    handle.remove()
    return seen[0]


@torch.no_grad()
def test_position_embeddings_at_224_px_are_the_stored_ones(model):
    stored = model.transformer.position_embeddings
    assert torch.equal(seen_positions(model, 224), stored[0].flatten(1).T)


@torch.no_grad()
def test_position_embeddings_are_interpolated_at_other_sizes(model):
    stored = model.transformer.position_embeddings
    rows, columns = torch.meshgrid(torch.linspace(0, 1, 14), torch.linspace(0, 1, 14), indexing="ij")
    stored[0, 0], stored[0, 1] = rows, columns  # ramps stay ramps, from corner to corner
    for size in (32, 64, 256):
        grid = size // 16
        seen = seen_positions(model, size).T.unflatten(1, (grid, grid))
        ramp = torch.linspace(0, 1, grid)
        assert torch.allclose(seen[0], ramp[:, None].expand(grid, grid), atol=1e-5)
        assert torch.allclose(seen[1], ramp.expand(grid, grid), atol=1e-5)
        assert torch.allclose(seen[:, 0, 0], stored[0, :, 0, 0])
        assert torch.allclose(seen[:, -1, -1], stored[0, :, -1, -1])


@torch.no_grad()
def test_position_embeddings_break_the_symmetry_of_tokens(model):
    # Without them the transformer cannot tell where a token lies: mirrored in, mirrored out.
    x = torch.randn(1, 16 * WIDTH, 4, 4)
    transformer = model.transformer
    assert not close(transformer(x.flip(3)), transformer(x).flip(3))
    transformer.position_embeddings.zero_()
    assert close(transformer(x.flip(3)), transformer(x).flip(3))


def test_position_embeddings_start_small_and_unequal(model):
    positions = model.transformer.position_embeddings
    assert positions.std().item() == pytest.approx(0.02, rel=0.05)
    assert positions.mean().abs() < 0.002


def test_context_is_global_through_attention(model):
    # Group norms carry statistics across the map, so they are taken out: what remains must come through tokens.
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.GroupNorm):
                setattr(module, name, nn.Identity())
    model.double()

    def influence():
        """Return how much the first corner's pixel moves the last corner's logit."""
        x = torch.randn(1, 4, 256, 256, dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(model(x)[0, 0, -1, -1], x)
        return gradient[0, :, 0, 0].abs().max()

    assert influence() > 0
    silence_attention(model)
    assert influence() == 0


# Up-sampler


@torch.no_grad()
def test_skips_are_the_maps_of_the_resnet(model):
    maps, joined = [], []
    sources = [model.stages[1], model.stages[0], model.root]
    for source, block in zip(sources, model.decoder[:3], strict=True):
        source.register_forward_hook(lambda _module, _inputs, output: maps.insert(0, output.clone()))
        block.register_forward_pre_hook(lambda _module, inputs: joined.append(inputs[0]))
    model(torch.randn(1, 4, 64, 64))
    assert [m.shape[1:] for m in maps] == [(32, 8, 8), (16, 16, 16), (4, 32, 32)]
    for skip, inputs in zip(maps, joined, strict=True):
        assert torch.equal(inputs[:, -skip.shape[1] :], skip)
