"""Progress: a bar with the time left on a terminal and in a notebook, one plain line a step anywhere else."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from typing import Any

from tqdm import tqdm


class Lines:
    """Stands in for a tqdm bar where a bar would fill a log: each `update` prints a line to stderr."""

    def __init__(self, total: int, desc: str, unit: str, initial: int = 0) -> None:
        self.total, self.desc, self.unit = total, desc, unit
        self.n = self.initial = initial
        self.said = ""
        self.began = time.monotonic()

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def set_postfix_str(self, text: str, refresh: bool = True) -> None:
        """Set what the next line says after the count."""
        self.said = text

    def update(self, n: int = 1) -> None:
        """Count ``n`` steps and print the line."""
        self.n += n
        spent = time.monotonic() - self.began
        left = spent / (self.n - self.initial) * (self.total - self.n)
        told = f"{self.desc}: {self.unit} {self.n}/{self.total}" + (f", {self.said}" if self.said else "")
        times = f"{tqdm.format_interval(spent)} spent, {tqdm.format_interval(left)} left"
        print(f"{told}, {times}", file=sys.stderr, flush=True)


def bar(total: int, desc: str, unit: str, show: bool = True, initial: int = 0) -> Any:
    """Return a progress bar with ``update`` and ``set_postfix_str``, to be used in a ``with`` block.

    Args:
        total: steps in all.
        desc: what is done.
        unit: name of a step.
        show: False for a bar that shows nothing.
        initial: steps done before.
    """
    options: dict[str, Any] = {"total": total, "desc": desc, "unit": unit, "initial": initial}
    if not show or sys.stderr.isatty():
        return tqdm(**options, disable=not show, leave=False)
    if _in_notebook():
        from tqdm.notebook import tqdm as notebook_bar

        return notebook_bar(**options, leave=False)
    return Lines(total, desc, unit, initial)


def _in_notebook() -> bool:
    """Say whether a person looks on through Jupyter (batch execution sets LMHLD_PROGRESS=lines)."""
    kernel = sys.modules.get("ipykernel.zmqshell")
    return (
        kernel is not None
        and kernel.ZMQInteractiveShell.initialized()
        and importlib.util.find_spec("ipywidgets") is not None
        and os.environ.get("LMHLD_PROGRESS") != "lines"
    )
