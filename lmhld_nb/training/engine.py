"""Engine: one optimisation step, as fast as the hardware lets it be.

What makes it fast, each measured in ``benchmarks/engine.py``: bf16 where it is native, channels-last maps, SGD over all
weights at once, and no value that the host waits for. On CUDA a step of small patches can be recorded and replayed as
one graph, since launching its many small kernels takes longer than computing them.
"""

from __future__ import annotations

import os
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

GRAPH_SIZE = 64  # px; larger patches keep a GPU busy between launches


def training_loss(
    model: nn.Module,
    images: Tensor,
    masks: Tensor,
    recipe: Recipe,
    outputs: Callable[[nn.Module, Tensor], tuple[list[Tensor], Tensor | None]] = models.supervised,
) -> Tensor:
    """Return the loss a network is trained with; ``outputs`` may be a compiled `models.supervised`.

    Deep supervision: the mean over its heads (Zhou et al. 2018, equation 3 and Huang et al. 2020, section 2.2). A
    classification-guided network adds the cross-entropy of "this patch holds landslide" (Huang et al. 2020, 2.3).
    """
    place = images.device
    with autocast(place, recipe):
        heads, held = outputs(model, images)
    loss = torch.stack([LOSSES[recipe.loss].function(head.float(), masks) for head in heads]).mean()
    if held is not None:
        loss = loss + F.binary_cross_entropy_with_logits(held.float(), masks.amax(dim=(1, 2, 3)))
    return loss


@contextmanager
def autocast(place: torch.device, recipe: Recipe) -> Iterator[None]:
    """Compute in the recipe's precision."""
    # Weights are cast once a step; a recorded graph must cast them itself, at every replay.
    recording = place.type == "cuda" and torch.cuda.is_current_stream_capturing()
    bf16 = precision(recipe.precision, place) == "bf16"
    with torch.autocast(place.type, torch.bfloat16, enabled=bf16, cache_enabled=not recording):
        yield


def optimiser_of(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the recipe's optimiser over the weights that are not frozen."""
    # One fused update on a GPU. On the CPU torch's fused kernel copies channels-last weights to and fro: 34 ms a step
    # of the published U-Net, against 7 without.
    on_gpu = next(model.parameters()).device.type == "cuda"
    implementation = {"fused": True} if on_gpu else {"foreach": True}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return OPTIMISERS[recipe.optimiser].build(trained, recipe, implementation)


@contextmanager
def settings(place: torch.device, execution: Execution) -> Iterator[None]:
    """Set what torch keeps for the whole process, and put it back afterwards."""
    before = (
        torch.backends.cudnn.benchmark,
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    on_gpu = place.type == "cuda"
    torch.backends.cudnn.benchmark = on_gpu and not execution.deterministic
    if on_gpu and execution.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with torch.cuda.device(place) if on_gpu else nullcontext():
            yield
    finally:
        torch.backends.cudnn.benchmark = before[0]
        torch.use_deterministic_algorithms(before[1], warn_only=before[2])


Step = Callable[[Tensor, Tensor], Tensor]


def step_of(model: nn.Module, optimiser: torch.optim.Optimizer, recipe: Recipe, execution: Execution) -> Step:
    """Return the function that does one step: images (N, bands, H, W), masks (N, 1, H, W) → loss, on the device.

    Batches larger than ``recipe.micro_batch`` are computed in parts of that size whose gradients are summed, so that
    the step is that of the whole batch (but for batch normalisation, which sees the parts).

    Raises:
        OutOfMemory: (by the function) names the micro-batch that would fit.
    """
    outputs = models.supervised
    if execution.compile:
        torch._dynamo.reset()  # what it compiled for another network counts against its limit
        outputs = torch.compile(models.supervised)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    graphs: dict[tuple[int, ...], Callable[[Tensor, Tensor], Tensor]] = {}

    def gradients(images: Tensor, masks: Tensor) -> Tensor:
        optimiser.zero_grad(set_to_none=True)
        total = torch.zeros((), device=images.device)
        size = recipe.micro_batch or len(images)
        for part, truth in zip(images.split(size), masks.split(size), strict=True):
            whole = len(part) == (recipe.micro_batch or recipe.batch_size)  # compiled for one size only
            loss = training_loss(model, part, truth, recipe, outputs if whole else models.supervised)
            share = loss * (len(part) / len(images))
            share.backward()
            total += share.detach()
        return total

    def step(images: Tensor, masks: Tensor) -> Tensor:
        small = images.shape[-1] <= GRAPH_SIZE and len(images) == recipe.batch_size
        compute: Step = gradients
        full = True
        try:
            if execution.graphs and small and images.device.type == "cuda":
                shape = tuple(images.shape)
                if shape not in graphs:
                    graphs[shape] = _recorded(gradients, model, parameters, images, masks)
                compute = graphs[shape]
            value = compute(images, masks)
            optimiser.step()  # its first call allocates the momentum
            full = False
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
        if full:  # only here has the failed step let go of its memory
            optimiser.zero_grad(set_to_none=True)
            raise OutOfMemory(_memory_advice(gradients, images, masks, recipe))
        return value

    return step


def _recorded(
    gradients: Step, model: nn.Module, parameters: list[nn.Parameter], images: Tensor, masks: Tensor
) -> Step:
    """Record the computation of gradients for one shape of batch as a CUDA graph; return its replay."""
    held = images.clone(memory_format=torch.preserve_format), masks.clone()
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    # A few rounds first, on a stream of their own: libraries allocate and choose algorithms then.
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            gradients(*held)
    torch.cuda.current_stream().wait_stream(side)
    for parameter in parameters:
        parameter.grad = None  # the graph shall own its gradients
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side):
        value = gradients(*held)
    owned = [parameter.grad for parameter in parameters]
    with torch.no_grad():
        for buffer, before in buffers:
            buffer.copy_(before)  # the rounds counted in the batch normalisation's means

    def replay(images: Tensor, masks: Tensor) -> Tensor:
        held[0].copy_(images)
        held[1].copy_(masks)
        graph.replay()
        for parameter, gradient in zip(parameters, owned, strict=True):
            parameter.grad = gradient  # a step outside the graph may have put others in place
        return value

    return replay


class OutOfMemory(Exception):
    """The device's memory is full; the message says what would fit."""


@contextmanager
def memory_told(folder: Path) -> Iterator[None]:
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
    """Say how many patches at a time would fit, found by trying."""
    size = min(recipe.micro_batch or len(images), len(images))
    told = f"out of memory with {size} patches of {images.shape[-1]} px at a time"
    while size > 1:
        size //= 2
        try:
            gradients(images[:size], masks[:size])
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
        else:
            return (
                f"{told}; use fewer `--workers`, or set this model's `micro_batch: {size}` in the profile "
                f"(a step stays one of {recipe.batch_size})"
            )
    return f"{told}, and not even 1 fits; use fewer `--workers`, a smaller `width` or another device"
