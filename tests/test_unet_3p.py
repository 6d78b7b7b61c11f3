"""UNet 3+: full-scale nodes, five heads, the cheap way to compute them, and the classifier that guides them."""

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from lmhld_nb.models import parameter_count
from lmhld_nb.models.unet_3p import DecoderNode, UNet3Plus, UpsampledConv, guided

WIDTH = 4
BOTTOM = 16 * WIDTH


@pytest.fixture
def model():
    torch.manual_seed(0)
    return UNet3Plus(3, WIDTH).eval()


@pytest.fixture
def guide_model():
    torch.manual_seed(0)
    return UNet3Plus(3, WIDTH, classification_guided=True).eval()


@pytest.fixture
def image():
    torch.manual_seed(1)
    return torch.randn(2, 3, 32, 32)


@torch.no_grad()
def heads_of(model, image):
    return model.supervised(image)[0]


def changed(before, after):
    return [not torch.allclose(one, two, atol=1e-6) for one, two in zip(before, after, strict=True)]


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


def test_literal_computation_is_the_same_network_with_more_operations(model, image):
    results = []
    upsampled = [module for module in model.modules() if isinstance(module, UpsampledConv)]
    assert [module.factor for module in upsampled] == [2, 2, 4, 2, 4, 8, 2, 4, 8, 16]
    for literal in (False, True):
        for module in upsampled:
            module.literal = literal
        with FlopCounterMode(display=False) as counter:
            results.append((heads_of(model, image), counter.get_total_flops()))
    (heads, flops), (literal_heads, literal_flops) = results
    torch.testing.assert_close(literal_heads, heads, atol=1e-4, rtol=1e-4)
    assert literal_flops > 1.3 * flops


@pytest.mark.parametrize("branch", range(5))
def test_a_node_hears_each_of_its_five_scales_through_its_own_branch(branch):
    torch.manual_seed(0)
    factors, channels, widths = [1, 1, 2, 4, 8], [4, 8, 20, 20, 64], []
    node = DecoderNode(factors, channels, WIDTH).eval()
    maps = [torch.rand(1, c, 16 // f, 16 // f) for c, f in zip(channels, factors, strict=True)]
    for project in node.project:
        project.register_forward_hook(lambda _, __, out: widths.append(out.shape[1]))

    def heard():
        before = node(*maps)
        assert before.shape == (1, 5 * WIDTH, 16, 16)
        louder = [[*maps[:k], maps[k] + 1, *maps[k + 1 :]] for k in range(5)]
        return [not torch.equal(before, node(*scales)) for scales in louder]

    assert heard() == [True] * 5 and set(widths) == {WIDTH}
    with torch.no_grad():
        node.project[branch].weight.zero_()
    assert heard() == [k != branch for k in range(5)]


@torch.no_grad()
def test_each_head_reads_its_own_map_the_deepest_one_the_bottom(model, image):
    before = heads_of(model, image)
    for k, source in enumerate([*reversed(model.decoder), model.encoder[4]]):
        with source.register_forward_hook(lambda _, __, out: out + 1):
            # What is decoded at a level reaches the levels above it, never those below.
            assert changed(before, heads_of(model, image)) == [head <= k for head in range(5)]
    for k, head in enumerate(model.heads):
        head.conv.bias += 1
        assert changed(before, heads_of(model, image)) == [k == other for other in range(5)]
        head.conv.bias -= 1


def test_guided_logit_is_that_of_the_product_of_probabilities():
    a = torch.linspace(-12, 12, 25, dtype=torch.float64).reshape(1, 1, 5, 5).expand(3, -1, -1, -1)
    c = torch.tensor([-9.0, 0.3, 9.0], dtype=torch.float64)
    product = torch.sigmoid(a) * torch.sigmoid(c)[:, None, None, None]
    torch.testing.assert_close(guided(a, c).double(), torch.logit(product), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16))
def test_guided_logit_holds_at_extreme_values(dtype):
    ends = torch.tensor([-1e4, -100.0, 0.0, 100.0, 1e4], dtype=dtype)
    a = ends.reshape(1, 1, 1, 5).expand(5, -1, -1, -1).clone().requires_grad_()
    out = guided(a, ends)
    out.sum().backward()
    assert torch.isfinite(out).all() and torch.isfinite(a.grad).all()
    sure = guided(a, torch.full((5,), 1e4, dtype=dtype))[:, :, :, :4]  # certain of a landslide: as it was
    torch.testing.assert_close(sure, a.float()[:, :, :, :4])
    none = guided(a, torch.full((5,), -1e4, dtype=dtype))  # certain of none: no pixel is more likely than that
    assert (none < -9000).all()


@torch.no_grad()
def test_guide_multiplies_probabilities_in_training_and_prediction(guide_model, model, image):
    assert parameter_count(guide_model) == parameter_count(model) + BOTTOM + 1
    assert model.supervised(image)[1] is None
    model.load_state_dict(guide_model.state_dict(), strict=False)
    plain, conv = heads_of(model, image), guide_model.guide.conv
    conv.weight.zero_()
    for bias, probability in ((-20.0, 2e-9), (0.0, 0.5), (20.0, 1.0)):
        conv.bias.fill_(bias)
        heads, holds = guide_model.supervised(image)
        assert (holds == bias).all()
        for head, free in zip([*heads, guide_model(image)], [*plain, plain[0]], strict=True):
            torch.testing.assert_close(torch.sigmoid(head), probability * torch.sigmoid(free), rtol=0.05, atol=1e-7)
    conv.bias.fill_(-20.0)
    assert (torch.sigmoid(guide_model.train()(image)) < 1e-8).all()


@torch.no_grad()
def test_guide_reports_the_strongest_pixel_of_the_bottom_map(guide_model):
    bottom, guide = torch.zeros(2, BOTTOM, 2, 2), guide_model.guide
    guide.conv.weight.fill_(1)
    guide.conv.bias.fill_(0)
    bottom[1, 3, 0, 1], bottom[1, 3, 1, 0] = 5, -7
    assert guide(bottom).tolist() == [0, 5]
    dropped = guide.train()(torch.ones(2, BOTTOM, 2, 2))  # dropout: each kept value counts double
    assert not torch.equal(dropped, torch.full((2,), float(BOTTOM)))


def test_guide_learns_from_the_class_and_not_from_the_pixels(guide_model, image):
    heads, holds = guide_model.train().supervised(image)
    sum(head.mean() for head in heads).backward(retain_graph=True)
    assert guide_model.guide.conv.weight.grad is None
    guide_model.zero_grad()
    F.binary_cross_entropy_with_logits(holds, torch.tensor([0.0, 1.0])).backward()
    assert guide_model.guide.conv.weight.grad.any()
    assert all(level[0].weight.grad.any() for level in guide_model.encoder)
