"""UNet 3+: full-scale nodes, five heads, the cheap way to compute them, and the classifier that guides them."""

import pytest
import torch
from torch.nn import functional as F

from lmhld_nb.models import parameter_count
from lmhld_nb.models.unet_3p import UNet3Plus, UpsampledConv, guided

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


def test_guide_learns_from_the_class_and_not_from_the_pixels(guide_model, image):
    heads, holds = guide_model.train().supervised(image)
    sum(head.mean() for head in heads).backward(retain_graph=True)
    assert guide_model.guide.conv.weight.grad is None
    guide_model.zero_grad()
    F.binary_cross_entropy_with_logits(holds, torch.tensor([0.0, 1.0])).backward()
    assert guide_model.guide.conv.weight.grad.any()
    assert all(level[0].weight.grad.any() for level in guide_model.encoder)
