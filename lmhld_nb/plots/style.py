"""What all figures share: the style, names and colours, the line below, grids of panels and heat maps."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lmhld_nb import models, paper
from lmhld_nb.config import figures_dir
from lmhld_nb.paper import area_name as area_name
from lmhld_nb.sources import DataSet

RGB = tuple[float, float, float]
# Colour-blind safe, one per class: hit, false alarm, miss.
HIT, FALSE_ALARM, MISS = "#009e73", "#d55e00", "#56b4e9"
MISSING = "0.88"
"""Grey of cells and panels that have no value."""
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


# Names and colours -----------------------------------------------------------------------------------------------


def area_colours(names: Sequence[str]) -> dict[str, RGB]:
    """Return a colour for each area or scene, always the same for the paper's areas."""
    ordered = [*paper.AREAS, *(name for name in names if name not in paper.AREAS)]
    palette = dict(zip(ordered, sns.color_palette("colorblind", max(10, len(ordered))), strict=False))
    return {name: palette[name] for name in names}


def network_colours(names: Sequence[str]) -> dict[str, RGB]:
    """Return the colour of each network, as `models.network` has it."""
    return {name: to_rgb(models.network(name).colour) for name in names}


def network_markers(names: Sequence[str]) -> dict[str, str]:
    """Return the marker of each network, as `models.network` has it: some colours are alike to some eyes."""
    return {name: models.network(name).marker for name in names}


def network_title(name: str) -> str:
    """Return what figures call a network."""
    return models.network(name).title


def network_handles(names: Sequence[str], **line: Any) -> list[Line2D]:
    """Return one handle for a legend per network; further arguments are those of `Line2D`."""
    colours, markers = network_colours(names), network_markers(names)
    return [
        Line2D([], [], color=colours[name], marker=markers[name], label=network_title(name), **line) for name in names
    ]


def in_order(table: pd.DataFrame, level: str) -> list[Any]:
    """Return the values of an index level, each once, in the table's order."""
    return list(dict.fromkeys(table.index.get_level_values(level)))


def format_count(count: int, thing: str) -> str:
    """Return how many there are of something: ``1 patch``, ``22 patches``."""
    ending = "" if count == 1 else "es" if thing.endswith(("ch", "s")) else "s"
    return f"{count:,} {thing}{ending}"


# The line below a figure, and its files --------------------------------------------------------------------------


def note(dataset: DataSet, profile: str, published: str = "") -> str:
    """Return the line under every figure that says which data and profile it shows.

    ``published`` names the paper's table where its numbers stand beside ours: those are scores on the real LMHLD.
    """
    kind = "synthetic data, no satellite image" if dataset.synthetic else "real data"
    ours = f"{dataset.title} ({kind}) · profile {profile}"
    return f"this book: {ours} · published: the real LMHLD, paper {published}" if published else ours


def counted(figure: Figure, count: str, explanation: str = "") -> Figure:
    """Write below a figure how many of what it shows (`format_count`), after what its marks mean; return it."""
    return _write_below(figure, f"{explanation} · n = {count}" if explanation else f"n = {count}")


def add_caption(figure: Figure, caption: str) -> Figure:
    """Put a caption, such as data and profile, before the text below a figure; return the figure."""
    return _write_below(figure, " · ".join(filter(None, [caption, figure.get_supxlabel()])))


def _write_below(figure: Figure, text: str) -> Figure:
    lines = textwrap.wrap(text, int(18.5 * figure.get_figwidth()))  # letters of this size per inch
    figure.supxlabel("\n".join(lines), fontsize=7, color="0.4", x=0.01, ha="left")
    return figure


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


# Panels and what they hold ---------------------------------------------------------------------------------------


class Grid(NamedTuple):
    """Panels in rows; ``left`` begins each row, ``bottom`` ends each column."""

    figure: Figure
    panels: list[Axes]
    left: list[Axes]
    bottom: list[Axes]


def grid(
    count: int,
    panel: tuple[float, float],
    margin: tuple[float, float] = (0, 0),
    across: int = 4,
    narrowest: float = 0,
    widest: float = np.inf,
    **options: Any,
) -> Grid:
    """Return a figure of ``count`` panels, at most ``across`` per row.

    Args:
        count: number of panels, at least 1.
        panel: width and height of one, in inches.
        margin: width beside and height below all of them, in inches.
        across: panels per row.
        narrowest, widest: least and greatest width of the figure, in inches.
        options: of `plt.subplots`.
    """
    columns = min(across, count)
    rows = -(-count // columns)
    width = min(widest, max(narrowest, margin[0] + panel[0] * columns))
    size = (width, margin[1] + panel[1] * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, **options)
    panels = list(axes.flat)
    for ax in panels[count:]:
        ax.set_axis_off()
    return Grid(figure, panels[:count], list(axes[:, 0]), panels[max(0, count - columns) : count])


def heatmap(
    ax: Axes,
    values: np.ndarray,
    label: Callable[[float], str] = "{:.2f}".format,
    limits: tuple[float, float] = (0.0, 1.0),
    colormap: Colormap | str = "viridis",
    bold: np.ndarray | None = None,
    fontsize: float = 7.5,
) -> None:
    """Draw cells with their values, black or white by the fill; a missing one is grey.

    Args:
        ax: what to draw on; it gets no ticks.
        values: (rows, columns), NaN where missing.
        label: from a value to what its cell says.
        limits: values of the first and the last colour.
        colormap: name or object.
        bold: (rows, columns), true where the letters are bold.
        fontsize: of the letters, in points.
    """
    colours, scale = plt.get_cmap(colormap), Normalize(*limits)
    labels = np.vectorize(label, otypes=[object])(values)
    ax.set_facecolor(MISSING)
    sns.heatmap(values, ax=ax, annot=labels, fmt="", vmin=limits[0], vmax=limits[1], cmap=colours, cbar=False,
                linewidths=0.6, linecolor="0.8", annot_kws={"fontsize": fontsize})  # fmt: skip
    ax.set(xticks=[], yticks=[], xlabel="", ylabel="")
    ax.tick_params(length=0)
    known = ~np.isnan(values)
    heavy = np.zeros(known.sum(), bool) if bold is None else bold[known]
    for text, value, is_bold in zip(ax.texts, values[known], heavy, strict=True):
        # Relative luminance (WCAG 2.1): black and white letters are equally readable at 0.18.
        linear = np.array(to_rgb(colours(scale(value)))) ** 2.2
        text.set_color("k" if linear @ (0.2126, 0.7152, 0.0722) > 0.18 else "w")
        text.set_fontweight("bold" if is_bold else "normal")


def name_cells(ax: Axes, columns: Sequence[str] = (), rows: Sequence[str] = (), **text: Any) -> None:
    """Name the columns and rows of a heat map; further arguments are those of the columns' text."""
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
    """Take ticks and grid off axes that hold pictures."""
    for ax in axes:
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
