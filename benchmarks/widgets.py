"""How long does a panel of `lmhld_nb.widgets` take to answer?

    LMHLD_DATA=… LMHLD_RUNS=… python -m benchmarks.widgets [--profile mini] [--rounds 5]

Controls are set as JupyterLab sets them, and the clock runs until the new picture and table are there; what a browser
and the network add is not in it. Runs of the profile are read, none is made. ``first``: something is shown that was not
looked at before (an area's scenes are read, a network maps a scene); ``again``: everything else. The live map
shows the scene's picture until the network has mapped it.
Targets: 0.3 s; 2 s for that picture.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import ipywidgets
import pandas as pd
import torch

import lmhld_nb as lm
from benchmarks import common
from lmhld_nb import widgets
from lmhld_nb.mapping import page

READING = 4.0
"""Seconds a reader looks at a panel before the first change; the patch explorer reads the other areas meanwhile."""


def control(panel: ipywidgets.Widget, label: str) -> Any:
    """Return the control whose label begins so."""
    return next(one for one in _everything(panel) if getattr(one, "description", "").startswith(label))


def _everything(widget: ipywidgets.Widget) -> Iterator[ipywidgets.Widget]:
    yield widget
    for child in getattr(widget, "children", ()):
        yield from _everything(child)


def stopwatch() -> Callable[[], dict[str, float]]:
    """Return what says the seconds since now, and those of the processor: other programs take none of these."""
    began, used = time.perf_counter(), time.process_time()
    return lambda: {"seconds": time.perf_counter() - began, "cpu_s": time.process_time() - used}


def timed(change: Callable[[], object]) -> dict[str, float]:
    """Return the seconds that a change takes, as `stopwatch`."""
    taken = stopwatch()
    change()
    return taken()


def _set(panel: ipywidgets.Widget, label: str, value: object) -> Callable[[], object]:
    return lambda: setattr(control(panel, label), "value", value)


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="mini")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)  # or the processor's seconds count each thread's waiting
    book = lm.open(options.profile)
    areas, single = book.areas, book.runs("single", "skip")
    rows: list[dict[str, object]] = []

    def add(panel: str, change: str, kind: str, taken: dict[str, float]) -> None:
        rows.append({"panel": panel, "change": change, "kind": kind, **taken})

    panel = widgets.patch_explorer(book)
    time.sleep(READING)
    for area in areas[1:]:
        add("patches", "area", "first", timed(_set(panel, "Area", area)))
    for number in range(options.rounds):
        add("patches", "area", "again", timed(_set(panel, "Area", areas[number % len(areas)])))
        add("patches", "size", "again", timed(_set(panel, "Patch size", (64, 256)[number % 2])))
        add("patches", "least share", "again", timed(_set(panel, "Least share", 20 + number)))

    for run in single[:: max(1, len(single) // (2 * options.rounds))]:
        scene = book.scenes()[run.spec.data[0].area][0]
        shown: list[dict[str, float]] = []
        taken = stopwatch()
        with patch.object(page, "display", lambda *_, shown=shown, taken=taken, **__: shown.append(taken())):
            lm.view(scene, run)
        add("live map", "picture of a scene", "first", shown[0])
        add("live map", "map of a scene", "first", taken())

    summary = pd.DataFrame(rows).groupby(["panel", "change", "kind"], sort=False, as_index=False).agg(
        median_s=("seconds", "median"), slowest_s=("seconds", "max"), median_cpu_s=("cpu_s", "median"),
        changes=("seconds", "size"),
    )  # fmt: skip
    load = os.getloadavg()[0] / (os.cpu_count() or 1)  # over 1: other programs took part of the time
    common.save(summary.assign(profile=book.name, load_a_core=load), "widgets")


if __name__ == "__main__":
    main()
