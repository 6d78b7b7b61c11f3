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
    precision: str = ""
    history: list[dict[str, float]] = field(default_factory=list)
    milestones: dict[str, dict[str, float]] = field(default_factory=dict)


def save(
    path: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    kept: dict[str, dict[str, Tensor]],
    state: State,
    run_id: str,
) -> None:
    """Write weights, momentum, ``state`` and the ``kept`` copies of weights (by name), atomically."""
    tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
    for label, copy in kept.items():
        tensors |= {f"{label}/{name}": value for name, value in copy.items()}
    for name, parameter in model.named_parameters():
        momentum = optimiser.state.get(parameter, {}).get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum/{name}"] = momentum
    write_tensors(path, tensors, {"state": json.dumps(vars(state)), "run_id": run_id})


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


def restore(
    path: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    kept: dict[str, dict[str, Tensor]],
    run_id: str,
) -> State:
    """Put a checkpoint's content back in place; without one (or with a damaged or another run's) start afresh."""
    if not path.is_file():
        return State()
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            if file.metadata()["run_id"] != run_id:
                raise ValueError("another run's")
            state = State(**json.loads(file.metadata()["state"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        for label, values in {"model": model.state_dict(), **kept}.items():
            for name, value in values.items():
                if tensors[f"{label}/{name}"].shape != value.shape:
                    raise ValueError(f"{name}: another shape")
    except (safetensors.SafetensorError, OSError, ValueError, KeyError, TypeError):
        # A checkpoint is only a shortcut: without it the run starts again.
        path.unlink()
        return State()
    model.load_state_dict({name[6:]: value for name, value in tensors.items() if name.startswith("model/")})
    for label, copy in kept.items():
        for name, value in copy.items():
            value.copy_(tensors[f"{label}/{name}"])
    for name, parameter in model.named_parameters():
        if f"momentum/{name}" in tensors:
            momentum = tensors[f"momentum/{name}"].to(parameter.device)
            optimiser.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(momentum)
    return state


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
