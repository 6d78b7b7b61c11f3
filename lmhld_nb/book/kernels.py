"""The kernel of the chapters: named after the book, and always this very Python."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ipykernel import kernelspec

from lmhld_nb.config import atomic_path

NAME, TITLE = "lmhld", "LMHLD book"
"""What the chapters' headers ask for, and what JupyterLab calls it."""


def folder() -> Path:
    """Return where the kernel of this environment is described (installed or not)."""
    return Path(sys.prefix) / "share" / "jupyter" / "kernels" / NAME


def is_installed() -> bool:
    """Say whether Jupyter in this environment knows the kernel, and it is this Python."""
    try:
        told = json.loads((folder() / "kernel.json").read_text(encoding="utf-8"))
        return bool(told["argv"][0] == sys.executable)
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return False


def install() -> Path:
    """Tell Jupyter in this environment of the kernel; nothing outside the environment is changed.

    Raises:
        UserError: the environment's folder cannot be written.
    """
    with atomic_path(folder()) as temporary:
        _describe(temporary)
    return folder()


@contextmanager
def own() -> Iterator[None]:
    """Let Jupyter in this process find the kernel as this very Python, whether or not one is installed."""
    before = os.environ.get("JUPYTER_PATH")
    with tempfile.TemporaryDirectory(prefix="lmhld-kernel-") as place:
        described = Path(place) / "kernels" / NAME
        described.parent.mkdir()
        _describe(described)
        os.environ["JUPYTER_PATH"] = os.pathsep.join([place, *([before] if before else [])])
        try:
            yield
        finally:
            if before is None:
                del os.environ["JUPYTER_PATH"]
            else:
                os.environ["JUPYTER_PATH"] = before


def _describe(place: Path) -> None:
    # Not by ipykernel's `install`, which makes a folder in the user's home while it looks round.
    kernelspec.write_kernel_spec(place, overrides={"display_name": TITLE})
