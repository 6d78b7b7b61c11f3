"""The LMHLD notebook book's supporting module.

Chapters write ``import lmhld_nb as lm`` and begin with ``book = lm.open(profile)``. What else they need is an attribute
of ``lm``: its packages (``lm.plots``, ``lm.paper``, …), each imported when it is first used, and the names in `_NAMES`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "2.0.0.dev0"

_PACKAGES = (
    "anatomy", "audit", "book", "config", "evaluation", "experiments", "inventory", "mapping", "models", "paper",
    "patches", "plots", "runs", "scenes", "sources", "training", "twin", "widgets",
)  # fmt: skip
_NAMES = {
    "open": "lmhld_nb.book.face",
    "Book": "lmhld_nb.book.face",
    "tidy": "lmhld_nb.book.face",
    "exercise": "lmhld_nb.book.exercises",
}

_MODULES = {"ledger": "lmhld_nb.book.ledger"}

if TYPE_CHECKING:
    from lmhld_nb.book.exercises import exercise as exercise
    from lmhld_nb.book.face import Book as Book
    from lmhld_nb.book.face import open as open
    from lmhld_nb.book.face import tidy as tidy


def __getattr__(name: str) -> Any:
    """Import a package, or one of `_NAMES`, when it is first asked for: the command's ``--help`` needs none of them."""
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    if name in _PACKAGES or name in _MODULES:
        return importlib.import_module(_MODULES.get(name, f"lmhld_nb.{name}"))
    raise AttributeError(f"module 'lmhld_nb' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PACKAGES, *_MODULES, *_NAMES])
