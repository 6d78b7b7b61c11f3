"""Checkpoints: everything a stopped run needs to go on, as one safetensors file (no pickle)."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from lmhld_nb.config import atomic_path


@dataclass
class State:
    """Where a training stands: what a checkpoint holds beside the tensors."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    best_f1: float = -1.0
    best_epoch: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


def save(
    path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, best: dict[str, Tensor], state: State
) -> None:
    """Write weights, the best weights so far, momentum and ``state``, atomically."""
    tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"best/{name}": value for name, value in best.items()}
    for name, parameter in model.named_parameters():
        momentum = optimiser.state.get(parameter, {}).get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum/{name}"] = momentum
    write_tensors(path, tensors, {"state": json.dumps(vars(state))})


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors from any device into a safetensors file, atomically.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    # Tensors that share memory are refused: clones have their own.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            safetensors.torch.save_file(tensors, temporary, metadata=metadata)
        except safetensors.SafetensorError as error:
            raise OSError(str(error)) from error  # a full disk has no errno there


def restore(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, best: dict[str, Tensor]) -> State:
    """Put a checkpoint's content back in place; without one (or with a damaged one) start afresh."""
    if not path.is_file():
        return State()
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            state = State(**json.loads(file.metadata()["state"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (safetensors.SafetensorError, OSError, ValueError, KeyError, TypeError):
        # A checkpoint is only a shortcut: without it the run starts again.
        path.unlink()
        return State()
    model.load_state_dict({name[6:]: value for name, value in tensors.items() if name.startswith("model/")})
    for name, value in tensors.items():
        if name.startswith("best/"):
            best[name[5:]].copy_(value)
    for name, parameter in model.named_parameters():
        if f"momentum/{name}" in tensors:
            momentum = tensors[f"momentum/{name}"].to(parameter.device)
            optimiser.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(momentum)
    return state


@contextmanager
def stop_on_sigterm() -> Iterator[Callable[[], bool]]:
    """Turn SIGTERM into a flag for the length of the block (signals reach the main thread only)."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event.is_set
        return
    before = signal.signal(signal.SIGTERM, lambda *_: event.set())
    try:
        yield event.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
