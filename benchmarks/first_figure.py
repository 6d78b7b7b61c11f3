"""How long does it take from a clone to the first figure (`make first`), with nothing installed and no cache?"""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
import time
from pathlib import Path

import pandas as pd

from benchmarks.common import RESULTS
from lmhld_nb.config import ROOT
from lmhld_nb.training.hardware import cpu_name

# What the project's own environment would pass on must not help.
PASSED_ON = {
    name: value for name, value in os.environ.items() if not name.startswith(("LMHLD_", "PYTHON", "VIRTUAL_ENV"))
}


def main() -> None:
    """Clone the committed state into a temporary folder, follow the README, and write the seconds of each step."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="lmhld-first-") as folder:
        steps = {
            "clone": ["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), f"{folder}/book"],
            "install": ["make", "-C", f"{folder}/book", ".venv/.core"],
            "data and chapter 00": ["make", "-C", f"{folder}/book", "first"],
        }
        rows = []
        for step, command in steps.items():
            began = time.perf_counter()
            subprocess.run(command, check=True, env={**PASSED_ON, "PIP_NO_CACHE_DIR": "1"})
            rows.append({"step": step, "seconds": round(time.perf_counter() - began, 1)})
        figure = Path(folder) / "book" / "build" / "mini" / "figures" / "overview.png"
        executed = Path(folder) / "book" / "build" / "mini" / "00_start.ipynb"
        assert executed.is_file() and figure.is_file()
    table = pd.DataFrame(rows)
    table.loc[len(table)] = ["all", table["seconds"].sum()]
    table = table.assign(
        hardware=cpu_name(),
        cores=os.cpu_count(),
        load_before=round(load, 1),
        python=platform.python_version(),
    )
    table.to_csv(RESULTS / "first-figure.csv", index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
