"""QGIS: style files beside a map's layers, which QGIS applies by itself when it opens them."""

import shutil
from itertools import pairwise
from pathlib import Path
from string import Template

import numpy as np

STYLES = Path(__file__).parent / "styles"  # viridis: told apart with any colour vision, and in grey
CLASSES = 5  # symbols in polygons.qml
_RANGE = """
<range lower="{lower:.15f}" upper="{upper:.15f}" symbol="{number}" label="{lower:.2f} to {upper:.2f}" render="true"/>"""


def polygon_style(path: Path, threshold: float) -> None:
    """Write the style of the landslides: `CLASSES` colours from ``threshold`` to 1 of mean_probability."""
    edges = np.linspace(threshold, 1, CLASSES + 1).tolist()
    ranges = [_RANGE.format(lower=low, upper=up, number=number) for number, (low, up) in enumerate(pairwise(edges))]
    template = Template((STYLES / "polygons.qml").read_text(encoding="utf-8"))
    path.write_text(template.substitute(ranges="".join(ranges)), encoding="utf-8")


def probability_style(path: Path) -> None:
    """Write the style of the probability raster: colours from 0 to 1, no data clear."""
    shutil.copyfile(STYLES / "probability.qml", path)
