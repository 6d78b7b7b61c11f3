"""What holds of every network of the registry, and how networks from outside join it."""

import pytest
import torch
from made import refuses
from torch import nn
from torch.nn import functional as F

from lmhld_nb import models, paper
from lmhld_nb.models.unet_3p import UpsampledConv
from lmhld_nb.patches.patch_sets import PatchSpec
from lmhld_nb.training.specs import Recipe, RunSpec

PATCHES = PatchSpec(dataset="d", fingerprint="0" * 16, area="a", size=32)
# With 4 bands in, 1 out; in millions as published (TransUNet's without the embeddings of 14 × 14 positions).
PARAMETERS = {
    **{"unet": (31_044_097, 31.04), "res_unet": (32_439_937, 32.44), "dense_unet": (9_486_401, 9.5)},
    "attention_unet": (34_879_149, 34.88),
    # The published code counts 105 277 081 with 3 bands in and 9 classes out. Ours: one band more at the root's 64
    # filters of 7×7, eight filters of 3×3×16 and their biases fewer at the head.
    "trans_unet": (105_277_081 + 64 * 49 - 8 * (9 * 16 + 1), 105.13 + 768 * 14**2 / 1e6),
    **{"unet_pp": (9_163_716, 9.16), "unet_3p": (26_990_213, 26.99)},
}
every_network = pytest.mark.parametrize("name", models.NAMES)


def network(name, bands=4, width=4):
    torch.manual_seed(0)
    return models.build(name, bands, width)


@pytest.mark.parametrize("name", PARAMETERS)
def test_published_width_has_the_published_number_of_parameters(name):
    with torch.device("meta"):
        count = models.parameter_count(models.NETWORKS[name].builder(4))
    exact, millions = PARAMETERS[name]
    assert count == exact
    assert count / 1e6 == pytest.approx(millions, abs=0.05 if name == "dense_unet" else 0.006)


@every_network
@torch.no_grad()
def test_one_set_of_weights_takes_every_patch_size(name):
    model = network(name).eval()
    for height, width in ((32, 32), (64, 64), (128, 128), (224, 224), (256, 256), (48, 80)):
        assert model(torch.zeros(1, 4, height, width)).shape == (1, 1, height, width)


@every_network
@pytest.mark.parametrize("width", [4, 8])
def test_gradients_reach_every_parameter(name, width):
    model = network(name, 3, width)
    heads = models.supervised(model, torch.randn(2, 3, 32, 32))
    assert all(head.shape == (2, 1, 32, 32) for head in heads)
    sum(head.square().mean() for head in heads).backward()
    for label, parameter in model.named_parameters():
        assert torch.isfinite(parameter.grad).all(), label
        # A shift just before batch normalisation is taken out again: only weights have to move.
        assert parameter.grad.any() or parameter.dim() == 1, label


@every_network
@torch.no_grad()
def test_levels_hold_the_encoder_from_shallow_to_deep_and_nothing_else(name):
    model = network(name, 3).eval()
    first, levels = models.input_conv(model), models.encoder_levels(model)
    assert isinstance(first, nn.Conv2d) and first.in_channels == 3
    assert any(module is first for module in levels[0].modules())
    sizes = []
    for level in levels:
        level.register_forward_hook(lambda _module, _inputs, output: sizes.append(output.shape[-1]))
    model(torch.zeros(1, 3, 64, 64))
    assert sizes == ([32, 16, 8, 4, 4] if name == "trans_unet" else [64, 32, 16, 8, 4])
    own = [{id(parameter) for parameter in level.parameters()} for level in levels]
    assert sum(map(len, own)) == len(set.union(*own))
    encoder = ("root.", "stages.", "transformer.") if name == "trans_unet" else ("encoder.",)
    for label, parameter in model.named_parameters():
        assert (id(parameter) in set.union(*own)) == label.startswith(encoder), label


def test_weights_are_xavier_and_the_registry_prints_what_the_paper_prints():
    model = network("unet", width=16)
    weight, norm = models.encoder_levels(model)[2][0].weight, models.encoder_levels(model)[0][1]
    bound = (6 / (weight.shape[1] * 9 + weight.shape[0] * 9)) ** 0.5
    assert 0.99 * bound < weight.abs().max() <= bound
    assert (norm.weight == 1).all() and (norm.bias == 0).all()
    assert torch.equal(weight, models.encoder_levels(network("unet", width=16))[2][0].weight)
    assert dict(paper.MODELS).items() <= {name: entry.title for name, entry in models.NETWORKS.items()}.items()
    for attribute in ("colour", "marker"):
        assert len({getattr(entry, attribute) for entry in models.NETWORKS.values()}) == len(models.NAMES)


def test_a_run_of_a_network_from_outside_is_named_after_its_code(outside):
    refuses("takes no `width`; leave it out", models.build, f"{outside[0]}:build_tiny_net", 4, 8)
    module, path = outside
    fields = {"data": (PATCHES,), "recipe": Recipe()}
    spec = RunSpec(model=f"{module}:Wide", **fields)
    assert spec.source == models.source_of(spec.model) != ""
    assert RunSpec.model_validate_json(spec.model_dump_json()).run_id == spec.run_id
    path.write_text(CODE.replace("width=6", "width=7"))
    assert RunSpec(model=spec.model, **fields).run_id != spec.run_id
    assert "source" not in RunSpec(model="unet", **fields).canonical()
    refuses("not in a Python file", models.source_of, "numpy:arange")


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
    torch.testing.assert_close(*(torch.autograd.grad(result, inputs, push) for result in (conv(x), expected)))


CODE = """
import torch
from torch import nn
class Wide(nn.Module):
    def __init__(self, bands, width=6):
        super().__init__()
        self.first, self.norm = nn.Conv2d(bands, width, 3, padding=1), nn.BatchNorm2d(width)
        self.last = nn.Conv2d(width, 1, 1)
        nn.init.constant_(self.first.weight, 0.25)
    def forward(self, x):
        return self.last(torch.relu(self.norm(self.first(x))))
def build_tiny_net(bands):
    return nn.Conv2d(bands, 1, 1)
def two_classes(bands):
    return nn.Conv2d(bands, 2, 1)
def broken(bands):
    raise RuntimeError("first line\\nsecond line")
"""


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A folder of one's own on the path, with a module of networks; returns the module's name and file."""
    path = tmp_path / f"nets_{tmp_path.name}.py"
    path.write_text(CODE)
    (tmp_path / f"bad_{tmp_path.name}.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    return path.stem, path


def test_a_network_from_outside_joins_the_seven_but_keeps_its_weights_and_face(outside):
    module, _ = outside
    name = f"{module}:Wide"
    model = models.build(name, 3, 8)
    assert model.training and model.first.out_channels == 8
    assert (model.first.weight == 0.25).all()
    assert models.input_conv(model) is model.first and models.encoder_levels(model) == []
    assert models.build(f"{module}:build_tiny_net", 3)(torch.zeros(1, 3, 32, 32)).shape == (1, 1, 32, 32)
    entry = models.network(f"{module}:build_tiny_net")
    assert entry.title == "tiny net" and models.network(name).title == "Wide"
    assert entry == models.network(entry.name)
    assert entry.colour not in {known.colour for known in models.NETWORKS.values()}
    assert entry.marker not in {known.marker for known in models.NETWORKS.values()}


@pytest.mark.parametrize(("name", "message"), [
    ("vnet", "unknown; choose one of unet, .*, or name your own function as package.module:function"),
    ("os:_exit", "unknown; choose one of"),
    ("no_such_package.nets:build", "cannot be imported .*No module named .*PYTHONPATH"),
    ("bad_{}:build", "cannot be imported .*ZeroDivisionError"),
    ("nets_{}:nosuch", "has no function 'nosuch'; correct the name after the colon"),
    ("nets_{}:two_classes", r"cannot be used .*returned \(2, 2, 64, 64\).*logits \(N, 1, H, W\)"),
    ("nets_{}:broken", "cannot be used .*RuntimeError: first line second line"),
])  # fmt: skip
def test_what_is_no_network_is_refused_in_one_line(outside, tmp_path, name, message):
    name = name.format(tmp_path.name)
    refuses(f"^model '{name}': .*{message}", models.build, name)
