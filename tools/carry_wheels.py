"""Fetch the wheels that `benchmarks.gpu` needs on a machine without a network.

    python tools/carry_wheels.py build/wheels

Such a machine is taken to have Python of this version and `THERE`; the wheels are those of everything else that the
package, pytest and hypothesis need, in the versions installed here (about 110 MB). There, in the checkout:
``pip install --no-index --no-deps build/wheels/*.whl && python -m benchmarks.gpu``
"""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

THERE = ("torch", "numpy", "pandas", "matplotlib", "scipy")
WANTED = ("lmhld_nb", "pytest", "hypothesis")


def closure(names: tuple[str, ...], left_out: set[str]) -> set[str]:
    """Return the installed distributions that ``names`` need, directly or not, themselves included."""
    found: set[str] = set()
    waiting = [canonicalize_name(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in found or name in left_out:
            continue
        found.add(name)
        for needed in map(Requirement, distribution(name).requires or ()):
            if not needed.marker or needed.marker.evaluate({"extra": ""}):
                waiting.append(canonicalize_name(needed.name))
    return found


def main(folder: str) -> None:
    """Download them into ``folder``."""
    carried = closure(WANTED, closure(THERE, set())) - {"lmhld-nb"}
    pinned = [f"{name}=={distribution(name).version}" for name in sorted(carried)]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--dest", folder]
    subprocess.run([*command, *pinned], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
