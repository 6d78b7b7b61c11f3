import pytest
import torch
from made import settled
from torch import nn

from lmhld_nb.models.attention_unet import AttentionGate, AttentionUNet

LEVELS = range(4)  # of the decoder, from deep to shallow


def network():
    return settled(AttentionUNet(3, 4))


def hold(gate, bias):
    """Hold the sigmoid at one end: 1 for a large bias, 0 for a very negative one."""
    nn.init.zeros_(gate.psi[1].weight)
    nn.init.constant_(gate.psi[1].bias, bias)


def test_a_gate_scales_all_channels_of_a_pixel_alike():
    gate = AttentionGate(6).eval()
    g, x = torch.randn(2, 2, 6, 8, 8)
    alpha = gate(g, x) / x
    assert torch.allclose(alpha, alpha[:, :1].expand_as(alpha), rtol=1e-4)
    assert alpha.min() > 0
    assert alpha.max() < 1
    assert alpha.std() > 0.01  # and pixels differently


def test_a_gate_adds_its_two_signals():
    # Silence one and the other still steers; a gate that multiplied them would stand still.
    gate = AttentionGate(6).eval()
    coefficients = []
    gate.psi.register_forward_hook(lambda module, args, alpha: coefficients.append(alpha))
    g, other_g, x, other_x = torch.randn(4, 1, 6, 8, 8)
    for norm, steering, idle in (
        (gate.w_g[1], (g, other_x), (other_g, x)),
        (gate.w_x[1], (other_g, x), (g, other_x)),
    ):
        weight = norm.weight.detach().clone()
        nn.init.zeros_(norm.weight)
        coefficients.clear()
        for pair in ((g, x), steering, idle):
            gate(*pair)
        normal, steered, idled = coefficients
        assert torch.equal(normal, idled)
        assert not torch.allclose(normal, steered, atol=1e-3)
        norm.weight.data.copy_(weight)


@pytest.mark.parametrize("level", LEVELS)
def test_a_closed_gate_takes_the_skip_away_and_nothing_else(level):
    model = network()
    x = torch.randn(1, 3, 64, 64)
    first = model.decoder[level][0]  # its first input channels are the skip
    skip_channels = first.in_channels // 2

    def without(channels):
        kept = first.weight.detach().clone()
        with torch.no_grad():
            first.weight[:, channels] = 0
            result = model(x)
            first.weight.copy_(kept)
        return result

    skip, up = slice(skip_channels), slice(skip_channels, None)
    assert not torch.equal(model(x), without(skip))
    hold(model.gates[level], -200)
    assert torch.equal(model(x), without(skip))
    assert not torch.equal(model(x), without(up))


def test_gates_are_steered_by_the_decoder_level_below():
    model = network()
    seen = {}

    def remember(label):
        def hook(module, args, output):
            seen[label] = (args, output)

        return hook

    for label, module in model.named_modules():
        module.register_forward_hook(remember(label))
    model(torch.randn(1, 3, 64, 64))
    for level in LEVELS:
        g, skip = seen[f"gates.{level}"][0]
        below = seen[f"decoder.{level - 1}" if level else "encoder.4"][1]
        assert seen[f"up.{level}"][0][0] is below
        assert g is seen[f"up.{level}"][1]
        assert skip is seen[f"encoder.{3 - level}"][1]
