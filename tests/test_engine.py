"""The engine's step: the same mathematics however it is computed."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmhld_nb import models
from lmhld_nb.config import UserError
from lmhld_nb.training import engine
from lmhld_nb.training.losses import LOSSES
from lmhld_nb.training.specs import Recipe

RECIPE = Recipe(batch_size=8, lr=0.1, momentum=0.9, precision="fp32")


def plain() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 1, 1))


def batch(n: int = 8, size: int = 32) -> tuple[Tensor, Tensor]:
    images = torch.randn(n, 4, size, size, generator=torch.Generator().manual_seed(1))
    return images, (images[:, :1] > 0.5).float()


def stepped(model: nn.Module, recipe: Recipe = RECIPE, steps: int = 3) -> tuple[list[float], Tensor]:
    step = engine.step_of(model, engine.optimiser_of(model, recipe), recipe)
    losses = [float(step(*batch())) for _ in range(steps)]
    return losses, torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("micro_batch", [1, 3, 8, 50])
def test_micro_batches_make_the_same_step(monkeypatch: pytest.MonkeyPatch, micro_batch: int, loss: str) -> None:
    recipe, sizes, original = RECIPE.model_copy(update={"loss": loss}), [], engine.training_loss
    losses, weights = stepped(plain(), recipe)
    monkeypatch.setattr(engine, "training_loss", lambda *a: sizes.append(len(a[1])) or original(*a))
    micro_losses, micro_weights = stepped(plain(), recipe.model_copy(update={"micro_batch": micro_batch}))
    assert max(sizes) == min(8, micro_batch) and sum(sizes) == 3 * 8
    assert micro_losses == pytest.approx(losses, rel=1e-5)
    torch.testing.assert_close(micro_weights, weights, rtol=1e-4, atol=1e-6)


on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("name", models.NAMES)
def test_a_step_on_the_gpu_is_that_on_the_cpu(name: str) -> None:
    losses = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        model = models.build(name, width=8).to(device)
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0  # the devices draw other numbers
        step = engine.step_of(model, engine.optimiser_of(model, RECIPE), RECIPE)
        losses.append([float(step(*(tensor.to(device) for tensor in batch()))) for _ in range(3)])
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)  # convolutions on a GPU round to TF32


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize(
    ("name", "micro_batch"), [("plain", None), ("unet", 3), *((name, None) for name in models.NAMES)]
)
def test_steps_replayed_as_graphs_are_those_launched_one_by_one(name: str, micro_batch: int | None) -> None:
    ended, recipe = [], RECIPE.model_copy(update={"micro_batch": micro_batch})
    for graphs in (False, True):
        torch.manual_seed(0)
        model = (plain() if name == "plain" else models.build(name, width=8)).to("cuda")
        next(model.parameters()).requires_grad_(name != "unet")
        optimiser = engine.optimiser_of(model, recipe)
        step, results = engine.step_of(model, optimiser, recipe, graphs=graphs), []
        for number in range(12):  # two shapes of batches take turns
            # Only the plain network learns, at changing rates: in deep ones small differences grow from step to step.
            optimiser.param_groups[0]["lr"] = 0.01 / (1 + number) if name == "plain" else 0.0
            torch.manual_seed(number)  # dropout
            results += [step(*(tensor.to("cuda") for tensor in batch(8 - number % 2, 32 + 32 * (number % 2)))).clone()]
            if number >= 10:
                results += [p.grad.flatten().clone() for p in model.parameters() if p.requires_grad]
        ended.append(torch.cat([result.reshape(-1).cpu() for result in results]))
    torch.testing.assert_close(ended[1], ended[0], rtol=1e-2, atol=1e-3)


def test_only_lack_of_memory_is_taken_for_it() -> None:
    for error in (torch.OutOfMemoryError("full"), RuntimeError("CUBLAS_STATUS_ALLOC_FAILED")):
        says = r"run: out of memory with 4 patches.*`--workers`.*`micro_batch`"
        with pytest.raises(UserError, match=says), engine.memory_errors(Path("run"), 4):
            raise error
    with pytest.raises(RuntimeError, match="channels"), engine.memory_errors(Path("run"), 4):
        stepped(nn.Conv2d(3, 1, 1))  # the batch has 4 bands


def test_losses_average_heads_and_dice_is_zero_for_a_perfect_answer():
    images, masks = batch(2)

    class Two(nn.Module):
        def supervised(self, x: Tensor) -> list[Tensor]:
            return [x[:, :1], 2 * x[:, 1:2]]

    losses = [F.binary_cross_entropy_with_logits(head, masks) for head in (images[:, :1], 2 * images[:, 1:2])]
    torch.testing.assert_close(engine.training_loss(Two(), images, masks, RECIPE), sum(losses) / 2)
    masks = batch(2)[1]
    right, wrong = (float(LOSSES["dice_bce"].function(sign * 50 * (2 * masks - 1), masks)) for sign in (1, -1))
    assert (right, wrong) == pytest.approx((0, 0.5 * 50 + 0.5), rel=0.01, abs=1e-3)


def test_bf16_computes_in_bf16_and_keeps_weights_in_fp32() -> None:
    model, half = plain(), RECIPE.model_copy(update={"precision": "bf16"})
    for recipe, dtype in ((half, torch.bfloat16), (RECIPE, torch.float32)):
        with engine.autocast(torch.device("cpu"), recipe):
            assert model(batch()[0]).dtype == dtype
    losses, weights = stepped(model, half)
    assert weights.dtype == torch.float32
    assert losses == pytest.approx(stepped(plain())[0], rel=0.02)
