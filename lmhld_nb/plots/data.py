"""Figures of scenes, inventories and patches; every function returns a matplotlib Figure."""

from collections.abc import Mapping, Sequence
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from lmhld_nb import inventory, paper, scenes
from lmhld_nb.patches import PatchSet, classify_windows
from lmhld_nb.plots import style
from lmhld_nb.scenes import Scene
from lmhld_nb.scenes.rasters import Window

WINDOWS = {
    "": (style.HIT, "kept"),
    "share": ("#e69f00", "below {share:.0%} landslide"),
    "nodata": ("#999999", "touches no data"),
    "edge": ("#cc79a7", "over the edge"),
}
"""Colour and name of a window, by the reason why it is dropped (`patches.classify_windows`)."""

_TRIGGERS = {"earthquake": "*", "rainfall": "v"}
# Three Chinese areas and Nepal are close together: labels are placed around them, with a line. In points.
_LABEL_OFFSETS = {"gorkha": (-62, -34), "jiuzhaigou": (-46, 34), "wenchuan": (-10, -62), "taiwan": (28, -26)}


def world_map() -> Figure:
    """Draw the study areas with sensor and resolution on a world map (paper Fig 1, without its susceptibility map)."""
    areas, colours = paper.areas(), style.area_colours(paper.AREAS)
    figure, ax = plt.subplots(figsize=(9, 4.6))
    paper.world().plot(ax=ax, color="0.9", edgecolor="0.7", linewidth=0.4)
    for key, row in areas.iterrows():
        point, marker = (row["lon"], row["lat"]), _TRIGGERS[row["trigger"]]
        ax.scatter(*point, s=80, marker=marker, color=colours[str(key)], edgecolor="k", linewidth=0.5, zorder=3)
        text = f"{row['short_name']}\n{row['sensor']}, {row['resolution_m']:g} m"
        offset, line = _LABEL_OFFSETS.get(str(key), (10, 8)), {"arrowstyle": "-", "color": "0.4", "linewidth": 0.6}
        ax.annotate(text, point, offset, textcoords="offset points", fontsize=7.5, arrowprops=line, zorder=4)
    for trigger, marker in _TRIGGERS.items():
        ax.scatter([], [], marker=marker, color="0.5", edgecolor="k", label=trigger)
    ax.legend(title="trigger", loc="lower left")
    ax.set(xlim=(-180, 180), ylim=(-58, 84), xlabel="longitude", ylabel="latitude")
    sources = "Locations and facts: paper Table 1. Land: Natural Earth 1:110m, public domain"
    return style.counted(figure, style.format_count(len(areas), "area"), sources)


def window_to_show(scene: Scene) -> Window:
    """Return the 160 px square of a scene with a landslide share nearest to 25 %."""
    _, labels, valid = scenes.read_all(scene, scene.bands)
    size = min(160, *labels.shape)
    _, share = classify_windows(labels, valid, size, 0)
    distance = np.where(share > 0, np.abs(share - 0.25), np.inf)
    row, col = np.unravel_index(int(np.argmin(distance)), share.shape)
    return Window(int(row) * size, int(col) * size, size, size)


def annotation_features(scene: Scene, window: Window) -> Figure:
    """Show a window in true colour, NIR, slope and brightness, if available, with outlined landslides (paper Fig 2)."""
    layers, landslide = inventory.feature_layers(scene, window)
    with scenes.open_image(scene) as image:
        crop = image.read(window, scene.bands)
    panels: list[tuple[str, np.ndarray, str | None]] = [("true colour", style.rgb(crop, scene.bands), None)]
    if "nir" in scene.bands:
        panels.append(("near infrared as red", style.rgb(crop, scene.bands, ("nir", "red", "green")), None))
    if "slope" in layers:
        panels.append(("slope (degrees)", layers["slope"], "viridis"))
    unit = "reflectance" if scene.scale != 1 else "stored units"
    panels.append((f"brightness ({unit})", layers["brightness"], "magma"))
    figure, axes = plt.subplots(2, len(panels), figsize=(0.6 + 2.5 * len(panels), 5.6), squeeze=False)
    for column, (title, picture, colormap) in zip(axes.T, panels, strict=True):
        drawn = [ax.imshow(picture, cmap=colormap) for ax in column]
        column[1].contour(landslide, [0.5], colors="white" if colormap else "cyan", linewidths=0.9)
        column[0].set_title(title)
        if colormap:
            figure.colorbar(drawn[1], ax=column, orientation="horizontal", shrink=0.8, pad=0.02)
    axes[0, 0].set_ylabel("image")
    axes[1, 0].set_ylabel("with landslides outlined")
    style.no_ticks(*axes.flat)
    size = f"{window.height} × {window.width} px of {scene.resolution_m or '?'} m"
    return style.counted(figure, style.format_count(1, "window"), f"{style.area_name(scene.area)}, {size}")


def scene_gallery(shown: Sequence[Scene]) -> Figure:
    """Show part of one scene per area in true colour, without and with outlined landslides: where they are most."""
    figure, axes = plt.subplots(2, len(shown), figsize=(max(6.0, 1.4 * len(shown)), 3.3), squeeze=False)
    for column, scene in zip(axes.T, shown, strict=True):
        with scenes.open_image(scene) as image, scenes.open_labels(scene, image) as labels:
            rows, cols = image.shape
            height, width = min(512, rows), min(512, cols)
            corners = product(range(0, rows - height + 1, 256), range(0, cols - width + 1, 256))
            windows = (Window(row, col, height, width) for row, col in corners)
            window = max(windows, key=lambda window: np.count_nonzero(labels.read(window) == 1))
            picture, landslide = style.rgb(image.read(window, scene.bands), scene.bands), labels.read(window) == 1
        for ax in column:
            ax.imshow(picture)
        if landslide.any():
            column[1].contour(landslide, [0.5], colors="cyan", linewidths=0.6)
        metres = f"{scene.resolution_m:g} m" if scene.resolution_m else ""
        column[0].set_title(f"{style.area_name(scene.area)}\n{width} px of {metres}", fontsize=7)
    style.no_ticks(*axes.flat)
    return style.counted(figure, style.format_count(len(shown), "scene"))


def size_histograms(sizes: Mapping[str, np.ndarray], candidates: Mapping[str, Sequence[int]]) -> Figure:
    """Draw each area's landslide-size histogram with quartiles and candidate patch sizes (paper Fig 9)."""
    figure, panels, left, bottom = style.grid(len(sizes), (2.75, 2.7), narrowest=4.5)
    colours = style.area_colours(list(sizes))
    for ax, (area, values) in zip(panels, sizes.items(), strict=True):
        counts, edges = inventory.histogram(values, bins=18)
        ax.stairs(counts, edges, fill=True, color=colours[area], alpha=0.75)
        for label, quartile in zip(("Q1", "Q2", "Q3"), inventory.quartiles(values), strict=True):
            ax.axvline(quartile, color="k", linewidth=0.9, linestyle="--")
            ax.text(quartile, counts.max() * 1.06, label, ha="center", fontsize=7)
        chosen = ", ".join(map(str, candidates[area]))
        title = f"{style.area_name(area)} (n = {len(values)})\ncandidates {chosen} px"
        ax.set(xscale="log", title=title, ylim=(0, counts.max() * 1.15))
    plt.setp(left, ylabel="landslides")
    plt.setp(bottom, xlabel="landslide size (px)")
    return style.counted(figure, style.format_count(sum(map(len, sizes.values())), "landslide"), "dashed: quartiles")


def windows_on_scene(scene: Scene, patch_set: PatchSet) -> Figure:
    """Draw which windows of a scene are kept and why others are dropped (paper section 2.3)."""
    values, labels, valid = scenes.read_all(scene, scene.bands)
    size, least = patch_set.spec.size, patch_set.spec.min_share
    reasons, _ = classify_windows(labels, valid, size, least)
    step, (rows, cols) = max(1, max(labels.shape) // 900), labels.shape
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.95), sharex=True, sharey=True)
    for ax in axes:
        ax.imshow(style.rgb(values[:, ::step, ::step], scene.bands), extent=(0, cols, rows, 0))
    outline = (np.arange(0, cols, step), np.arange(0, rows, step), labels[::step, ::step] == 1)
    axes[0].contour(*outline, [0.5], colors="cyan", linewidths=0.5)
    axes[0].set_title("landslides outlined")
    fills = {reason: to_rgba(colour, 0.55) for reason, (colour, _) in WINDOWS.items()}  # with their opacity
    picture = np.array([fills[str(reason)] for reason in reasons.flat]).reshape(*reasons.shape, 4)
    axes[1].imshow(picture, extent=(0, reasons.shape[1] * size, reasons.shape[0] * size, 0))
    axes[1].set(xlim=(0, cols), ylim=(rows, 0), title=f"{size}-pixel windows")
    counts = {reason: (reasons == reason).sum() for reason in WINDOWS}
    texts = {reason: f"{name.format(share=least)}: {counts[reason]}" for reason, (_, name) in WINDOWS.items()}
    handles = [Patch(color=fills[reason], label=label) for reason, label in texts.items() if counts[reason]]
    figure.legend(handles=handles, loc="outside upper center", ncols=4)
    style.no_ticks(*axes)
    explanation = f"{style.area_name(scene.area)}, scene {scene.name}"
    return style.counted(figure, style.format_count(reasons.size, "window"), explanation)
