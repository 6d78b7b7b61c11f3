"""Engine: one optimisation step, as fast as the hardware allows, and the process settings around it.

It is fast because of (each measured in ``benchmarks/engine.py``) bf16 where it is native, channels-last maps, an
optimiser that updates all weights at once, and no value that the host waits for; on a GPU, one launch a step.
"""

import math
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lmhld_nb import models
from lmhld_nb.config import UserError
from lmhld_nb.training.hardware import precision
from lmhld_nb.training.losses import LOSSES
from lmhld_nb.training.optimisers import OPTIMISERS
from lmhld_nb.training.specs import Recipe

Step = Callable[[Tensor, Tensor], Tensor]
WARM_UP = 3  # batches of a shape before they are recorded: cuDNN chooses its kernels at the first


def training_loss(model: nn.Module, images: Tensor, masks: Tensor, recipe: Recipe) -> Tensor:
    """Return the loss of a network, averaged over its heads (Zhou et al. 2018, equation 3; Huang et al. 2020, 2.2)."""
    with autocast(images.device, recipe):
        heads = models.supervised(model, images)
    loss_of = LOSSES[recipe.loss].function
    return torch.stack([loss_of(head.float(), masks) for head in heads]).mean()


def autocast(device: torch.device, recipe: Recipe) -> AbstractContextManager[None]:
    """Return the context in which a network computes in the recipe's precision."""
    bf16 = precision(recipe.precision, device) == "bf16"
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16)


def optimiser_of(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the recipe's optimiser over the weights that are not frozen."""
    # One fused update on a GPU. On the CPU torch's fused kernel copies channels-last weights back and forth: 34 ms per
    # step of the published U-Net, against 7 without. But the unfused AdamW uses MKL's square root, which is not
    # correctly rounded: its last bits differ between Intel and AMD processors.
    on_gpu = next(model.parameters()).device.type == "cuda"
    fastest = "fused" if on_gpu or recipe.optimiser == "adamw" else "foreach"
    optimiser = OPTIMISERS[recipe.optimiser]
    momentum = {"momentum": recipe.momentum} if optimiser.momentum else {}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return optimiser.builder(trained, lr=recipe.lr, weight_decay=recipe.weight_decay, **momentum, **{fastest: True})


def learning_rate(recipe: Recipe, epoch: int, done: float = 0.0) -> float:
    """Return the learning rate of a step in an ``epoch`` (from 0), after the fraction ``done`` of its steps.

    Cosine: Loshchilov & Hutter 2017. One cycle: Smith & Topin 2019, from ``lr / 25`` up and down to 0 along cosines.
    """
    if recipe.schedule == "exponential":
        return recipe.lr * recipe.gamma**epoch
    position, start, rise = (epoch + done) / recipe.epochs, 1.0, 0.0
    if recipe.schedule == "one_cycle":
        start, rise = 1 / 25, 0.3
    low, way = (start, 1 - position / rise) if position < rise else (0.0, (position - rise) / (1 - rise))
    # Rounded because the last digit of a cosine differs between C libraries.
    return recipe.lr * round(low + (1 - low) * (1 + math.cos(math.pi * way)) / 2, 6)


@contextmanager
def settings(device: torch.device, alone: bool = True) -> Iterator[None]:
    """Make a GPU the current one and, if a run has it ``alone``, let cuDNN try its kernels; undo both afterwards."""
    before = torch.backends.cudnn.benchmark
    # Trials take seconds, much longer while other runs compute (benchmarks/README.md).
    torch.backends.cudnn.benchmark = device.type == "cuda" and alone
    try:
        with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
            yield
    finally:
        torch.backends.cudnn.benchmark = before


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], int]]:
    """Hold back SIGTERM and Ctrl-C in the block; yields a function that returns the signal's number, or 0."""
    received = 0

    def stop(number: int, _: object) -> None:
        nonlocal received
        if number == signal.SIGINT and received:
            raise KeyboardInterrupt
        received = number

    main = threading.current_thread() is threading.main_thread()
    numbers = [n for n in (signal.SIGTERM, signal.SIGINT) if main and signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield lambda: received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def step_of(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    recipe: Recipe,
    pull: Callable[[float], None] | None = None,
    graphs: bool = False,
) -> Step:
    """Return a function for one step: images (N, bands, H, W), masks (N, 1, H, W) → loss, on the device.

    Gradients of micro-batches are summed: the step is that of the whole batch, except that batch normalisation sees
    micro-batches. ``pull`` (`chains.consolidation`) is called with the learning rate at the end. With ``graphs`` what
    computes gradients is `recorded`.
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

    compute = recorded(gradients, [w for w in model.parameters() if w.requires_grad]) if graphs else gradients

    def step(images: Tensor, masks: Tensor) -> Tensor:
        total = compute(images, masks)
        optimiser.step()
        if pull is not None:
            pull(optimiser.param_groups[0]["lr"])
        return total

    return step


def recorded(gradients: Step, trained: Sequence[nn.Parameter]) -> Step:
    """Return ``gradients``, recorded as a CUDA graph for each shape of batch and replayed: one launch, not hundreds.

    The optimiser's step is not part of it: a recorded one would keep its learning rate.
    """
    seen, graphs = Counter[torch.Size](), dict[torch.Size, Any]()
    aside = torch.cuda.Stream(trained[0].device)

    def compute(images: Tensor, masks: Tensor) -> Tensor:
        shape = images.shape
        seen[shape] += 1
        if seen[shape] <= WARM_UP:
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                loss = gradients(images, masks)
            torch.cuda.current_stream().wait_stream(aside)
            return loss
        if shape not in graphs:
            graph, held = torch.cuda.CUDAGraph(), (images.clone(), masks.clone())
            # All share the first one's memory: none is replayed while another's gradients are still needed.
            pool = next(iter(graphs.values()))[0].pool() if graphs else None
            with torch.cuda.graph(graph, pool, aside, "thread_local"):
                loss = gradients(*held)
            graphs[shape] = graph, held, loss, [weight.grad for weight in trained]
        graph, held, loss, grads = graphs[shape]
        for kept, new in zip(held, (images, masks), strict=True):
            kept.copy_(new)
        graph.replay()
        for weight, grad in zip(trained, grads, strict=True):
            weight.grad = grad
        return loss

    return compute


@contextmanager
def memory_errors(folder: Path, patches: int) -> Iterator[None]:
    """Turn out-of-memory errors into a `UserError` with the run's folder, the patches per batch and the next step."""
    try:
        yield
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        mend = "use fewer `--workers`, or set a smaller `micro_batch` for this model in the profile"
        raise UserError(f"{folder}: out of memory with {patches} patches at a time; {mend}") from error


def out_of_memory(error: Exception) -> bool:
    """Whether an error means that a device is out of memory."""
    # Libraries with their own allocators use other words.
    words = ("can't allocate memory", "not enough memory", "out of memory", "STATUS_ALLOC_FAILED")
    if isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in words):
        return True
    # While a graph is recorded, its end may fail for what failed before.
    return isinstance(error.__context__, Exception) and out_of_memory(error.__context__)
