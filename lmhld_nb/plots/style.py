"""What all figures share: names, colours, the note on data and profile, and how they are saved."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lmhld_nb import paper
from lmhld_nb.config import figures_dir
from lmhld_nb.paper import area_name as area_name
from lmhld_nb.sources import DataSet

# Colour-blind safe, one a class: hit, false alarm, miss.
HIT, FALSE_ALARM, MISS = "#009e73", "#d55e00", "#56b4e9"
_STYLE: dict[Any, Any] = {
    "figure.dpi": 100,
    "savefig.dpi": 120,
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.constrained_layout.use": True,
    "image.interpolation": "nearest",
}
plt.rcParams.update(_STYLE)


def colours(names: Sequence[str]) -> dict[str, tuple[float, float, float]]:
    """Return a colour for each name, always the same for the paper's areas and models."""
    known = list(paper.AREAS if set(names) & set(paper.AREAS) else paper.MODELS)
    ordered = known + [name for name in names if name not in known]
    return dict(zip(ordered, sns.color_palette("colorblind", max(10, len(ordered))), strict=False))


def note(dataset: DataSet, profile: str, published: str = "") -> str:
    """Return the line under every figure that says which data and profile it shows.

    ``published`` names the paper's table where its numbers stand beside ours: those are scores on the real LMHLD.
    """
    kind = "synthetic data, no satellite image" if dataset.synthetic else "real data"
    ours = f"{dataset.title} ({kind}) · profile {profile}"
    return f"this book: {ours} · published: the real LMHLD, paper {published}" if published else ours


def markers(models: Sequence[str]) -> dict[str, str]:
    """Return a marker for each model, always the same: some colours are alike to some eyes."""
    known = dict(zip(paper.MODELS, "osD^vPX", strict=True))
    return {model: known.get(model, ".") for model in models}


def save(figure: Figure, name: str, profile: str, numbers: pd.DataFrame | None = None) -> Figure:
    """Write ``build/PROFILE/figures/NAME.png`` and the numbers behind it as CSV; return the figure for display."""
    folder = figures_dir(profile)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.png", metadata={"Software": None})
    if numbers is not None:
        save_table(numbers, name, profile)
    plt.close(figure)
    return figure


def save_table(table: pd.DataFrame, name: str, profile: str) -> pd.DataFrame:
    """Write ``build/PROFILE/figures/NAME.csv``; return the table for display."""
    folder = figures_dir(profile)
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / f"{name}.csv", float_format="%.6g")
    return table


def rgb(
    values: np.ndarray, bands: Sequence[str], colour: Sequence[str] = ("red", "green", "blue")
) -> np.ndarray:
    """Stretch three bands of (bands, rows, cols) to (rows, cols, 3) between 0 and 1, by the 2nd and 98th percentile."""
    picked = np.stack([values[bands.index(name)] for name in colour]).astype(np.float32)
    known = (values != 0).any(axis=0)
    pixels = picked[:, known] if known.any() else picked.reshape(3, -1)
    low, high = np.percentile(pixels, (2, 98), axis=1)
    stretched = (picked - low[:, None, None]) / np.maximum(high - low, 1e-6)[:, None, None]
    picture = np.clip(stretched, 0, 1).transpose(1, 2, 0)
    picture[~known] = 1
    return picture


def many(count: int, thing: str) -> str:
    """Return how many there are of something: ``1 patch``, ``22 patches``."""
    ending = "" if count == 1 else "es" if thing.endswith(("ch", "s")) else "s"
    return f"{count:,} {thing}{ending}"


def signed(figure: Figure, text: str, n: str) -> Figure:
    """Write under a figure its data and profile, and how many of what it shows (`many`)."""
    lines = textwrap.wrap(
        f"{text} · n = {n}", int(18.5 * figure.get_figwidth())
    )  # letters of this size an inch
    figure.supxlabel("\n".join(lines), fontsize=7, color="0.4", x=0.01, ha="left")
    return figure


def no_ticks(*axes: Axes) -> None:
    """Take ticks and grid off axes that hold pictures."""
    for ax in axes:
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
