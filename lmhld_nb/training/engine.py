"""Engine: one optimisation step, as fast as the hardware lets it be, and what the process keeps around it.

What makes it fast, each measured in ``benchmarks/engine.py``: bf16 where it is native, channels-last maps, an optimiser
that moves all weights at once, and no value that the host waits for.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmhld_nb import models
from lmhld_nb.config import UserError
from lmhld_nb.training.hardware import Execution, precision
from lmhld_nb.training.losses import LOSSES
from lmhld_nb.training.optimisers import OPTIMISERS
from lmhld_nb.training.specs import Recipe


def training_loss(model: nn.Module, images: Tensor, masks: Tensor, recipe: Recipe) -> Tensor:
    """Return the loss a network is trained with.

    Deep supervision: the mean over its heads (Zhou et al. 2018, equation 3 and Huang et al. 2020, section 2.2). A
    classification-guided network adds the cross-entropy of "this patch holds landslide" (Huang et al. 2020, 2.3).
    """
    with autocast(images.device, recipe):
        heads, class_logit = models.supervised(model, images)
    loss_of = LOSSES[recipe.loss].function
    loss = torch.stack([loss_of(head.float(), masks) for head in heads]).mean()
    if class_logit is not None:
        holds = masks.amax(dim=(1, 2, 3))
        loss = loss + F.binary_cross_entropy_with_logits(class_logit.float(), holds)
    return loss


@contextmanager
def autocast(device: torch.device, recipe: Recipe) -> Iterator[None]:
    """Compute in the recipe's precision."""
    bf16 = precision(recipe.precision, device) == "bf16"
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        yield


def optimiser_of(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the recipe's optimiser over the weights that are not frozen."""
    # One fused update on a GPU. On the CPU torch's fused kernel copies channels-last weights to and fro: 34 ms a step
    # of the published U-Net, against 7 without.
    fastest = "fused" if next(model.parameters()).device.type == "cuda" else "foreach"
    optimiser = OPTIMISERS[recipe.optimiser]
    momentum = {"momentum": recipe.momentum} if optimiser.momentum else {}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return optimiser.builder(trained, lr=recipe.lr, weight_decay=recipe.weight_decay, **momentum, **{fastest: True})


@contextmanager
def settings(device: torch.device, execution: Execution) -> Iterator[None]:
    """Set what torch keeps for the whole process, and put it back afterwards."""
    before = (
        torch.backends.cudnn.benchmark,
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    on_gpu = device.type == "cuda"
    torch.backends.cudnn.benchmark = on_gpu and not execution.deterministic
    if on_gpu and execution.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with torch.cuda.device(device) if on_gpu else nullcontext():
            yield
    finally:
        torch.backends.cudnn.benchmark = before[0]
        torch.use_deterministic_algorithms(before[1], warn_only=before[2])


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], int]]:
    """Keep SIGTERM and Ctrl-C for the block to ask for: yields a function that returns the signal's number, or 0.

    A second Ctrl-C interrupts at once. Signals reach the main thread only, and one that this process ignores stays
    ignored.
    """
    came = 0
    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return

    def stop(number: int, _: object) -> None:
        nonlocal came
        if number == signal.SIGINT and came:
            raise KeyboardInterrupt
        came = number

    numbers = [n for n in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield lambda: came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


Step = Callable[[Tensor, Tensor], Tensor]


def step_of(model: nn.Module, optimiser: torch.optim.Optimizer, recipe: Recipe) -> Step:
    """Return the function that does one step: images (N, bands, H, W), masks (N, 1, H, W) → loss, on the device.

    Batches larger than ``recipe.micro_batch`` are computed in micro-batches whose gradients are summed, so that the
    step is that of the whole batch (but for batch normalisation, which sees the micro-batches).

    Raises:
        OutOfMemory: (by the function) names the micro-batch that would fit.
    """

    def gradients(images: Tensor, masks: Tensor) -> Tensor:
        optimiser.zero_grad(set_to_none=True)
        total = torch.zeros((), device=images.device)
        size = recipe.micro_batch or len(images)
        for some, truth in zip(images.split(size), masks.split(size), strict=True):
            share = training_loss(model, some, truth, recipe) * (len(some) / len(images))
            share.backward()
            total += share.detach()
        return total

    def step(images: Tensor, masks: Tensor) -> Tensor:
        try:
            loss = gradients(images, masks)
            optimiser.step()  # its first call allocates its state
            return loss
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
        # Only here has the failed step let go of its memory.
        optimiser.zero_grad(set_to_none=True)
        raise OutOfMemory(_memory_advice(gradients, images, masks, recipe))

    return step


class OutOfMemory(Exception):
    """The device's memory is full; the message says what would fit."""


@contextmanager
def memory_errors(folder: Path) -> Iterator[None]:
    """Turn lack of memory, wherever it shows, into a `UserError` that names the run's folder and the next step."""
    try:
        yield
    except OutOfMemory as error:
        raise UserError(f"{folder}: {error}") from error
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise UserError(
            f"{folder}: out of memory beside the training steps; use fewer `--workers`, or a `micro_batch` in the "
            "profile, which scoring obeys too"
        ) from error


def out_of_memory(error: Exception) -> bool:
    """Say whether an error means that a device's memory is full."""
    # Libraries that allocate by themselves have words of their own.
    words = ("can't allocate memory", "not enough memory", "out of memory", "STATUS_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in words)


def _memory_advice(gradients: Step, images: Tensor, masks: Tensor, recipe: Recipe) -> str:
    """Say how many patches at a time would fit, by trying."""
    size = min(recipe.micro_batch or len(images), len(images))
    message = f"out of memory with {size} patches of {images.shape[-1]} px at a time"
    while size > 1:
        size //= 2
        try:
            gradients(images[:size], masks[:size])
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
        else:
            return (
                f"{message}; use fewer `--workers`, or set this model's `micro_batch: {size}` in the profile "
                f"(a step stays one of {recipe.batch_size})"
            )
    return f"{message}, and not even 1 fits; use fewer `--workers`, a smaller `width` or another device"
