import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from lmhld_nb.models import parameter_count
from lmhld_nb.models.unet_3p import DecoderNode, UNet3Plus, UpsampledConv, guided, tap_matrix

WIDTH = 4
CHANNELS = [WIDTH * 2**level for level in range(5)]


@pytest.fixture(params=[False, True], ids=["plain", "guided"])
def either(request) -> UNet3Plus:
    torch.manual_seed(0)
    return UNet3Plus(3, WIDTH, classification_guided=request.param).eval()


@pytest.fixture
def model() -> UNet3Plus:
    torch.manual_seed(0)
    return UNet3Plus(3, WIDTH).eval()


@pytest.fixture
def guide_model() -> UNet3Plus:
    torch.manual_seed(0)
    return UNet3Plus(3, WIDTH, classification_guided=True).eval()


@pytest.fixture
def image() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(2, 3, 32, 32)


@torch.no_grad()
def heads_of(model: UNet3Plus, image: torch.Tensor) -> list[torch.Tensor]:
    return model.supervised(image)[0]


def changed(before: list[torch.Tensor], after: list[torch.Tensor]) -> list[bool]:
    return [not torch.allclose(one, two, atol=1e-6) for one, two in zip(before, after, strict=True)]


def levels_of(model: UNet3Plus) -> list[nn.Module]:
    """Decoder nodes, shallow to deep."""
    return list(reversed(model.decoder))


@pytest.mark.parametrize("factor", (2, 4, 8, 16))
@pytest.mark.parametrize("shape", ((1, 1), (2, 2), (3, 5)))
def test_projection_is_that_of_the_map_after_bilinear_upsampling(factor, shape):
    torch.manual_seed(0)
    conv = UpsampledConv(6, 5, factor).double()
    x = torch.randn(2, 6, *shape, dtype=torch.float64, requires_grad=True)
    told = F.conv2d(
        F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False),
        conv.weight,
        conv.bias,
        padding=1,
    )
    got = conv(x)
    torch.testing.assert_close(got, told)
    inputs = (x, conv.weight, conv.bias)
    push = torch.randn_like(told)
    for ours, theirs in zip(
        torch.autograd.grad(got, inputs, push), torch.autograd.grad(told, inputs, push), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_literal_computation_is_the_same_network_with_more_operations(model, image):
    def counted() -> tuple[list[torch.Tensor], int]:
        with FlopCounterMode(display=False) as counter:
            heads = heads_of(model, image)
        return heads, counter.get_total_flops()

    before, fewer = counted()
    upsampled = [module for module in model.modules() if isinstance(module, UpsampledConv)]
    assert [module.factor for module in upsampled] == [2, 2, 4, 2, 4, 8, 2, 4, 8, 16]
    for module in upsampled:
        module.literal = True
    after, more = counted()
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)
    assert more > 1.3 * fewer


def test_nodes_read_pooled_encoder_maps_from_above_and_decoder_maps_from_below(model, image):
    read, made = {}, {}
    for level, block in enumerate(model.encoder):
        block.register_forward_hook(lambda _, __, out, key=("E", level): made.update({key: out}))
    for level, node in enumerate(levels_of(model)):
        node.register_forward_pre_hook(lambda _, args, key=level: read.update({key: args}))
        node.register_forward_hook(lambda _, __, out, key=("D", level): made.update({key: out}))
    model(image)
    for level in range(4):
        above = [F.max_pool2d(made["E", k], 2 ** (level - k)) for k in range(level + 1)]
        below = [made["D", k] for k in range(level + 1, 4)] + [made["E", 4]]
        assert len(read[level]) == 5
        for k, (seen, expected) in enumerate(zip(read[level], above + below, strict=True)):
            assert torch.equal(seen, expected), f"node of level {level + 1}, scale {k + 1}"


@pytest.mark.parametrize("branch", range(5))
def test_a_node_hears_each_of_its_five_scales_through_its_own_branch(branch):
    torch.manual_seed(0)
    node = DecoderNode([1, 1, 2, 4, 8], [4, 8, 20, 20, 64], WIDTH).eval()
    maps = [torch.rand(1, c, 16 // f, 16 // f) for c, f in zip([4, 8, 20, 20, 64], [1, 1, 2, 4, 8], strict=True)]
    widths = []
    for project in node.project:
        project.register_forward_hook(lambda _, __, out: widths.append(out.shape[1]))

    def heard() -> list[bool]:
        before = node(*maps)
        assert before.shape == (1, 5 * WIDTH, 16, 16)
        louder = [[*maps[:k], maps[k] + 1, *maps[k + 1 :]] for k in range(5)]
        return [not torch.equal(before, node(*scales)) for scales in louder]

    assert heard() == [True] * 5
    assert set(widths) == {WIDTH}
    with torch.no_grad():
        node.project[branch].weight.zero_()
    assert heard() == [k != branch for k in range(5)]


def test_each_head_reads_its_own_map_the_deepest_one_the_bottom(model, image):
    before = heads_of(model, image)
    for k, source in enumerate([*levels_of(model), model.encoder[4]]):
        with source.register_forward_hook(lambda _, __, out: out + 1):
            # What is decoded at a level reaches the levels above it, never those below.
            assert changed(before, heads_of(model, image)) == [head <= k for head in range(5)]
    for k, head in enumerate(model.heads):
        with torch.no_grad():
            head.conv.bias += 1
        assert changed(before, heads_of(model, image)) == [k == other for other in range(5)]
        with torch.no_grad():
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
    assert torch.isfinite(out).all()
    assert torch.isfinite(a.grad).all()
    sure = guided(a, torch.full((5,), 1e4, dtype=dtype))[:, :, :, :4]  # certain of a landslide: as it was
    torch.testing.assert_close(sure, a.float()[:, :, :, :4])
    none = guided(a, torch.full((5,), -1e4, dtype=dtype))  # certain of none: no pixel is more likely than that
    assert (none < -9000).all()


def test_guide_multiplies_probabilities_in_training_and_prediction(guide_model, model, image):
    model.load_state_dict(guide_model.state_dict(), strict=False)
    plain = heads_of(model, image)
    with torch.no_grad():
        guide_model.guide.conv.weight.zero_()
        for bias, probability in ((-20.0, 2e-9), (0.0, 0.5), (20.0, 1.0)):
            guide_model.guide.conv.bias.fill_(bias)
            heads, holds = guide_model.supervised(image)
            assert (holds == bias).all()
            for head, free in zip([*heads, guide_model(image)], [*plain, plain[0]], strict=True):
                expected = probability * torch.sigmoid(free)
                torch.testing.assert_close(torch.sigmoid(head), expected, rtol=0.05, atol=1e-7)
        guide_model.train()
        guide_model.guide.conv.bias.fill_(-20.0)
        assert (torch.sigmoid(guide_model(image)) < 1e-8).all()


def test_guide_reports_the_strongest_place_of_the_bottom_map(guide_model):
    bottom = torch.zeros(2, CHANNELS[4], 2, 2)
    with torch.no_grad():
        guide_model.guide.conv.weight.fill_(1)
        guide_model.guide.conv.bias.fill_(0)
        bottom[1, 3, 0, 1] = 5
        bottom[1, 3, 1, 0] = -7
        assert guide_model.guide(bottom).tolist() == [0, 5]
        guide_model.guide.train()
        bottom.fill_(1)
        seen = guide_model.guide(bottom.expand(2, -1, -1, -1))  # dropout: each kept value counts double
        assert not torch.equal(seen, torch.full((2,), float(CHANNELS[4])))


def test_guide_learns_from_the_class_and_not_from_the_pixels(guide_model, image):
    guide_model.train()
    heads, holds = guide_model.supervised(image)
    sum(head.mean() for head in heads).backward(retain_graph=True)
    assert guide_model.guide.conv.weight.grad is None
    guide_model.zero_grad()
    F.binary_cross_entropy_with_logits(holds, torch.tensor([0.0, 1.0])).backward()
    assert guide_model.guide.conv.weight.grad.any()
    assert all(level[0].weight.grad.any() for level in guide_model.encoder)


@torch.no_grad()
def test_the_classifier_adds_one_weight_per_channel_of_the_bottom_map_and_a_bias(model, guide_model, image):
    assert parameter_count(guide_model) == parameter_count(model) + CHANNELS[4] + 1
    assert model.supervised(image)[1] is None


@torch.no_grad()
def test_upsampled_maps_stay_channels_last_and_their_shares_exact_in_bf16(model, image):
    layouts = []
    for module in model.modules():
        if isinstance(module, UpsampledConv):
            module.register_forward_hook(
                lambda _, __, out: layouts.append(out.is_contiguous(memory_format=torch.channels_last))
            )
    with torch.autocast("cpu", torch.bfloat16):
        model(image.contiguous(memory_format=torch.channels_last))
    assert layouts == [True] * 10
    for factor in (2, 4, 8, 16):
        rounded = tap_matrix(16, factor, torch.zeros((), dtype=torch.bfloat16))
        assert torch.equal(rounded.double(), tap_matrix(16, factor, torch.zeros((), dtype=torch.float64)))
