"""Common to all figures: style, names and colours, the line below, grids of panels, and heat maps."""

import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize, to_rgb
from matplotlib.figure import Figure

from lmhld_nb import paper
from lmhld_nb.experiments.findings import format_count as format_count
from lmhld_nb.experiments.findings import network_title as network_title
from lmhld_nb.paper import area_name as area_name

RGB = tuple[float, float, float]
HIT, FALSE_ALARM, MISS = "#009e73", "#d55e00", "#56b4e9"  # colour-blind safe
MISSING = "0.88"
"""Grey of cells and panels without a value."""
_STYLE: dict[Any, Any] = {
    "figure.dpi": 100, "savefig.dpi": 120, "figure.constrained_layout.use": True, "image.interpolation": "nearest",
    "font.size": 9, "axes.titlesize": 9, "axes.titleweight": "bold", "axes.axisbelow": True,
    "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False, "legend.fontsize": 8,
}  # fmt: skip
plt.rcParams.update(_STYLE)


def area_colours(names: Sequence[str]) -> dict[str, RGB]:
    """Return a colour for each area or scene, fixed for the paper's areas."""
    ordered = list(dict.fromkeys([*paper.AREAS, *names]))
    palette = dict(zip(ordered, sns.color_palette("colorblind", max(10, len(ordered))), strict=False))
    return {name: palette[name] for name in names}


def tint(colour: Sequence[float], strength: float) -> RGB:
    """Return a colour mixed with white: 1 leaves it unchanged, 0 is white."""
    red, green, blue = (1 - strength * (1 - value) for value in colour)
    return red, green, blue


def by_network(table: pd.DataFrame, column: str) -> str:
    """Return how many ``seeds`` or ``orders`` (a column) networks have: ``seeds: 3 (U-Net), 1 (Res U-Net)``."""
    counts = table[column].groupby(level="model", sort=False).max()
    if counts.nunique() == 1:
        return f"{column}: {counts.iloc[0]} per network"
    groups = counts.groupby(counts, sort=False)
    return f"{column}: " + ", ".join(f"{n} ({', '.join(map(network_title, g.index))})" for n, g in groups)


def counted(figure: Figure, count: str, explanation: str = "") -> Figure:
    """Write below a figure the meaning of its marks and the number of items shown (`format_count`); return it."""
    return _write_below(figure, f"{explanation} · n = {count}" if explanation else f"n = {count}")


def add_caption(figure: Figure, caption: str) -> Figure:
    """Put a caption, such as data and profile, before the text below a figure; return the figure."""
    return _write_below(figure, " · ".join(filter(None, [caption, figure.get_supxlabel()])))


def _write_below(figure: Figure, text: str) -> Figure:
    lines = textwrap.wrap(text, int(18.5 * figure.get_figwidth()))  # characters of this size per inch
    figure.supxlabel("\n".join(lines), fontsize=7, color="0.4", x=0.01, ha="left")
    return figure


def grid(
    count: int,
    panel: tuple[float, float],
    margin: tuple[float, float] = (0, 0),
    across: int = 4,
    narrowest: float = 0,
    widest: float = np.inf,
    **options: Any,
) -> tuple[Figure, list[Axes], list[Axes], list[Axes]]:
    """Return a figure, its ``count`` panels, the first ones of rows, and the last ones of columns.

    ``panel``: width and height (inches) of each, at most ``across`` per row; ``margin``: those of the space around;
    ``narrowest`` and ``widest`` limit the figure's width; options of `plt.subplots`.
    """
    columns = min(across, count)
    rows = -(-count // columns)
    width = min(widest, max(narrowest, margin[0] + panel[0] * columns))
    figure, axes = plt.subplots(rows, columns, figsize=(width, margin[1] + panel[1] * rows), squeeze=False, **options)
    panels = list(axes.flat)
    for ax in panels[count:]:
        ax.set_axis_off()
    return figure, panels[:count], list(axes[:, 0]), panels[max(0, count - columns) : count]


def heatmap(
    ax: Axes,
    values: np.ndarray,
    label: Callable[[float], str] = "{:.2f}".format,
    limits: tuple[float, float] = (0.0, 1.0),
    colormap: Colormap | str = "viridis",
    bold: np.ndarray | None = None,
    fontsize: float = 7.5,
    marked: np.ndarray | None = None,
) -> None:
    """Draw (rows, columns) cells with labels, black or white depending on the fill; missing ones (NaN) are grey.

    ``limits`` are the values of the first and last colour; ``bold`` and ``marked`` (with ``*``) are arrays of bools.
    """
    colours, scale = plt.get_cmap(colormap), Normalize(*limits)
    labels = np.vectorize(label, otypes=[object])(values)
    if marked is not None:
        labels = labels + np.where(marked, "*", "").astype(object)
    ax.set_facecolor(MISSING)
    sns.heatmap(values, ax=ax, annot=labels, fmt="", vmin=limits[0], vmax=limits[1], cmap=colours, cbar=False,
                linewidths=0.6, linecolor="0.8", annot_kws={"fontsize": fontsize})  # fmt: skip
    ax.set(xticks=[], yticks=[], xlabel="", ylabel="")
    ax.tick_params(length=0)
    known = ~np.isnan(values)
    heavy = np.zeros(known.sum(), bool) if bold is None else bold[known]
    for text, value, is_bold in zip(ax.texts, values[known], heavy, strict=True):
        # Relative luminance (WCAG 2.1): black and white text are equally readable at 0.18.
        linear = np.array(to_rgb(colours(scale(value)))) ** 2.2
        text.set_color("k" if linear @ (0.2126, 0.7152, 0.0722) > 0.18 else "w")
        text.set_fontweight("bold" if is_bold else "normal")


def name_cells(ax: Axes, columns: Sequence[str] = (), rows: Sequence[str] = (), **text: Any) -> None:
    """Name the columns and rows of a heat map; other arguments are those of the column text."""
    if columns:
        ax.set_xticks(np.arange(len(columns)) + 0.5, columns, **text)
    if rows:
        ax.set_yticks(np.arange(len(rows)) + 0.5, rows, rotation=0, fontsize=text.get("fontsize"))


def rgb(values: np.ndarray, bands: Sequence[str], shown: Sequence[str] = ("red", "green", "blue")) -> np.ndarray:
    """Stretch three bands of (bands, rows, cols) to (rows, cols, 3) between 0 and 1, by the 2nd and 98th percentile."""
    picked = np.stack([values[bands.index(name)] for name in shown]).astype(np.float32)
    known = (values != 0).any(axis=0)
    pixels = picked[:, known] if known.any() else picked.reshape(3, -1)
    low, high = np.percentile(pixels, (2, 98), axis=1)
    stretched = (picked - low[:, None, None]) / np.maximum(high - low, 1e-6)[:, None, None]
    picture = np.clip(stretched, 0, 1).transpose(1, 2, 0)
    picture[~known] = 1
    return picture


def no_ticks(*axes: Axes) -> None:
    """Remove ticks and grid from axes with pictures."""
    for ax in axes:
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
