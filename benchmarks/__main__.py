"""Run every benchmark that needs no data of its own (the real samples have `make real`)."""

from __future__ import annotations

import subprocess
import sys

from lmhld_nb.config import ROOT

if __name__ == "__main__":
    for name in ("components", "tiling", "mapping", "engine", "projection", "accuracy"):
        print(f"== {name}", flush=True)
        # A process each: what one leaves in memory must not count for the next.
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True, cwd=ROOT)
