import pytest
import torch
from torch.nn import functional as F

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
