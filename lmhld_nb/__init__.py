"""The LMHLD notebook book's supporting module.

Chapters write ``import lmhld_nb as lm`` and start with ``book = lm.open(profile)``. All else is an attribute of ``lm``:
its packages (``lm.plots``, ``lm.paper``, …), each imported on first use, and the names in `_NAMES`.
"""

import importlib
import os
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "2.0.0.dev0"

CAPS = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    # Not AVX2: MKL accepts that value on Intel processors only, and elsewhere silently uses the best it finds.
    "MKL_CBWR": "COMPATIBLE",
    "OPENBLAS_CORETYPE": "Haswell",
    # NumPy 2.4 renamed its instruction sets, and warns about unknown names.
    "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL"
    if tuple(map(int, version("numpy").split(".")[:2])) < (2, 4)
    else "X86_V4 AVX512_ICL AVX512_SPR",
}
"""Settings that restrict numerical libraries to instructions of every x86-64 processor with AVX2, so that results are
the same bits everywhere. They are read when a library is loaded or first used, so they are set before all imports."""
for _feature in os.environ.get("NPY_DISABLE_CPU_FEATURES", "").split():
    if _feature not in CAPS["NPY_DISABLE_CPU_FEATURES"].split():  # the twin is generated with even fewer
        CAPS["NPY_DISABLE_CPU_FEATURES"] += f" {_feature}"

_CPU = Path("/proc/cpuinfo")
# Without AVX2, these settings would make ATen and OpenBLAS end the process.
if CAPPED := os.environ.get("LMHLD_PORTABLE") != "0" and not (_CPU.is_file() and " avx2" not in _CPU.read_text()):
    CAPPED = "numpy" not in sys.modules or CAPS.items() <= os.environ.items()
    os.environ |= CAPS

# Wheels of rasterio include PROJ's data; those of QGIS or conda have another version.
if (_rasterio := find_spec("rasterio")) and Path(str(_rasterio.origin)).with_name("proj_data").is_dir():
    for _name in ("PROJ_DATA", "PROJ_LIB"):
        os.environ.pop(_name, None)

_PACKAGES = (
    "anatomy", "audit", "book", "config", "evaluation", "experiments", "inventory", "mapping", "models", "paper",
    "patches", "plots", "runs", "scenes", "sources", "training", "twin", "widgets",
)  # fmt: skip
_NAMES = dict.fromkeys(("open", "Book", "tidy"), "book.face")
_NAMES |= {"exercise": "book.exercises", "ledger": "book.ledger", "learn": "mapping", "view": "mapping.page"}
"""Names that this module exports, and the module that each is in, or is."""

if TYPE_CHECKING:
    from lmhld_nb.book.exercises import exercise as exercise
    from lmhld_nb.book.face import Book as Book
    from lmhld_nb.book.face import open as open
    from lmhld_nb.book.face import tidy as tidy
    from lmhld_nb.mapping import learn as learn
    from lmhld_nb.mapping.page import view as view


def __getattr__(name: str) -> Any:
    """Import a package, or one of `_NAMES`, on first use: the command's ``--help`` needs none of them."""
    if name in _NAMES:
        module = importlib.import_module(f"lmhld_nb.{_NAMES[name]}")
        return getattr(module, name, module)
    if name in _PACKAGES:
        return importlib.import_module(f"lmhld_nb.{name}")
    raise AttributeError(f"module 'lmhld_nb' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PACKAGES, *_NAMES])
