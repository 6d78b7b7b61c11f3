"""Figures of scenes, inventories and patches; every function returns a matplotlib Figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from lmhld_nb import inventory, paper, scenes
from lmhld_nb.patches.patch_sets import PatchSet, classify_windows
from lmhld_nb.plots.style import FALSE_ALARM, HIT, area_name, colours, many, no_ticks, rgb, signed
from lmhld_nb.scenes.rasters import Window
from lmhld_nb.scenes.scene import Scene

WINDOWS = {
    "": (HIT, "kept"),
    "share": ("#e69f00", "below {share:.0%} landslide"),
    "nodata": ("#999999", "touches no data"),
    "edge": ("#cc79a7", "over the edge"),
}
"""Colour and name of a window, by the reason it is dropped for (`patches.classify_windows`)."""


def world_map() -> Figure:
    """Draw the study areas with sensor and resolution on a world map (paper Fig 1, without its susceptibility map)."""
    areas = paper.areas()
    figure, ax = plt.subplots(figsize=(9, 4.6))
    paper.world().plot(ax=ax, color="0.9", edgecolor="0.7", linewidth=0.4)
    marker = {"earthquake": "*", "rainfall": "v"}
    for key, row in areas.iterrows():
        ax.scatter(row["lon"], row["lat"], s=80, marker=marker[row["trigger"]], color=colours(paper.AREAS)[str(key)],
                   edgecolor="k", linewidth=0.5, zorder=3)  # fmt: skip
    # Three Chinese areas and Nepal lie close together: labels stand around them, tied by a line.
    offset = {"gorkha": (-62, -34), "jiuzhaigou": (-46, 34), "wenchuan": (-10, -62), "taiwan": (28, -26)}
    for key, row in areas.iterrows():
        ax.annotate(
            f"{row['short_name']}\n{row['sensor']}, {row['resolution_m']:g} m",
            (row["lon"], row["lat"]), xytext=offset.get(str(key), (10, 8)), textcoords="offset points",
            fontsize=7.5, arrowprops={"arrowstyle": "-", "color": "0.4", "linewidth": 0.6}, zorder=4,
        )  # fmt: skip
    handles = [
        ax.scatter([], [], marker=symbol, color="0.5", edgecolor="k", label=trigger)
        for trigger, symbol in marker.items()
    ]
    ax.legend(handles=handles, title="trigger", loc="lower left")
    ax.set(xlim=(-180, 180), ylim=(-58, 84), xlabel="longitude", ylabel="latitude")
    return signed(
        figure,
        "Places and facts: paper Table 1. Land: Natural Earth 1:110m, public domain",
        n=many(len(areas), "area"),
    )


def place_to_show(scene: Scene, size: int = 160) -> Window:
    """Return the ``size``-pixel square of a scene whose landslide share is nearest to 25 %."""
    _, labels, valid = scenes.read_all(scene, scene.bands)
    size = min(size, *labels.shape)
    _, share = classify_windows(labels, valid, size, 0)
    distance = np.where(share > 0, np.abs(share - 0.25), np.inf)
    r, c = np.unravel_index(int(np.argmin(distance)), share.shape)
    return Window(int(r) * size, int(c) * size, size, size)


def annotation_features(scene: Scene, place: Window, dataset_note: str) -> Figure:
    """Show one place as true colour, NIR false colour, slope and brightness, landslides outlined (paper Fig 2).

    Panels whose bands or elevation the scene does not have are left out.
    """
    layers, landslide = inventory.feature_layers(scene, place)
    with scenes.open_image(scene) as image:
        crop = image.read(place, scene.bands)
    panels: list[tuple[str, np.ndarray, str | None]] = [("true colour", rgb(crop, scene.bands), None)]
    if "nir" in scene.bands:
        panels.append(("near infrared as red", rgb(crop, scene.bands, ("nir", "red", "green")), None))
    if "slope" in layers:
        panels.append(("slope (degrees)", layers["slope"], "viridis"))
    unit = "reflectance" if scene.scale != 1 else "stored units"
    panels.append((f"brightness ({unit})", layers["brightness"], "magma"))
    figure, axes = plt.subplots(2, len(panels), figsize=(0.6 + 2.5 * len(panels), 5.6), squeeze=False)
    for column, (title, picture, cmap) in enumerate(panels):
        for row, ax in enumerate(axes[:, column]):
            shown = ax.imshow(picture, cmap=cmap)
            if row == 1:
                ax.contour(landslide, [0.5], colors="cyan" if cmap is None else "white", linewidths=0.9)
        axes[0, column].set_title(title)
        if cmap:
            figure.colorbar(shown, ax=axes[:, column], orientation="horizontal", shrink=0.8, pad=0.02)
    axes[0, 0].set_ylabel("image")
    axes[1, 0].set_ylabel("with landslides outlined")
    no_ticks(*axes.flat)
    return signed(
        figure,
        f"{area_name(scene.area)}, {place.height} × {place.width} px of {scene.resolution_m or '?'} m · {dataset_note}",
        n=many(1, "place"),
    )


def scene_gallery(members: Sequence[Scene], dataset_note: str, side: int = 512) -> Figure:
    """Show the middle of one scene of each area in true colour, and again with its landslides outlined."""
    figure, axes = plt.subplots(2, len(members), figsize=(max(6.0, 1.4 * len(members)), 3.3), squeeze=False)
    for column, scene in zip(axes.T, members, strict=True):
        with scenes.open_image(scene) as image, scenes.open_labels(scene, image) as labels:
            rows, cols = image.shape
            height, width = min(side, rows), min(side, cols)
            window = Window((rows - height) // 2, (cols - width) // 2, height, width)
            picture, landslide = rgb(image.read(window, scene.bands), scene.bands), labels.read(window) == 1
        for ax in column:
            ax.imshow(picture)
        if landslide.any():
            column[1].contour(landslide, [0.5], colors="cyan", linewidths=0.6)
        metres = f"{scene.resolution_m:g} m" if scene.resolution_m else ""
        column[0].set_title(f"{area_name(scene.area)}\n{width} px of {metres}", fontsize=7)
    no_ticks(*axes.flat)
    return signed(figure, dataset_note, n=many(len(members), "scene"))


def size_histograms(
    sizes: Mapping[str, np.ndarray], candidates: Mapping[str, Sequence[int]], dataset_note: str
) -> Figure:
    """Draw each area's landslide-size histogram with quartiles and candidate patch sizes (paper Fig 9)."""
    columns = min(4, len(sizes))
    rows = -(-len(sizes) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(max(4.5, 2.75 * columns), 2.7 * rows), squeeze=False)
    for ax, (area, values) in zip(grid.flat, sizes.items(), strict=False):
        counts, edges = inventory.histogram(values, bins=18)
        ax.stairs(counts, edges, fill=True, color=colours(list(sizes))[area], alpha=0.75)
        for label, quartile in zip(("Q1", "Q2", "Q3"), inventory.quartiles(values), strict=True):
            ax.axvline(quartile, color="k", linewidth=0.9, linestyle="--")
            ax.text(quartile, counts.max() * 1.06, label, ha="center", fontsize=7)
        chosen = ", ".join(map(str, candidates[area]))
        ax.set(
            xscale="log",
            title=f"{area_name(area)} (n = {len(values)})\ncandidates {chosen} px",
            ylim=(0, counts.max() * 1.15),
        )
    for ax in grid[:, 0]:
        ax.set_ylabel("landslides")
    for ax in grid.flat[len(sizes) :]:
        ax.set_axis_off()
    for column in range(columns):
        grid[(len(sizes) - 1 - column) // columns, column].set_xlabel("landslide size (px)")
    total = sum(map(len, sizes.values()))
    return signed(figure, f"dashed: quartiles · {dataset_note}", n=many(total, "landslide"))


def windows_on_scene(scene: Scene, part: PatchSet, dataset_note: str) -> Figure:
    """Draw which windows of a scene are kept and why others are dropped (paper section 2.3)."""
    values, labels, valid = scenes.read_all(scene, scene.bands)
    size = part.spec.size
    reason, _ = classify_windows(labels, valid, size, part.spec.min_share)
    order, tint = list(WINDOWS), [tint for tint, _ in WINDOWS.values()]
    names = [text.format(share=part.spec.min_share) for _, text in WINDOWS.values()]
    step = max(1, max(labels.shape) // 900)
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.95), sharex=True, sharey=True)
    rows, cols = labels.shape
    for ax in axes:
        ax.imshow(rgb(values[:, ::step, ::step], scene.bands), extent=(0, cols, rows, 0))
    axes[0].contour(np.arange(0, cols, step), np.arange(0, rows, step), labels[::step, ::step] == 1, [0.5],
                    colors="cyan", linewidths=0.5)  # fmt: skip
    codes = np.array([order.index(str(text)) for text in reason.flat]).reshape(reason.shape)
    axes[1].imshow(codes, cmap=ListedColormap(tint), vmin=-0.5, vmax=3.5, alpha=0.55,
                   extent=(0, reason.shape[1] * size, reason.shape[0] * size, 0))  # fmt: skip
    axes[0].set_title("landslides outlined")
    axes[1].set_title(f"{size}-pixel windows")
    axes[1].set(xlim=(0, cols), ylim=(rows, 0))
    counts = [int((codes == number).sum()) for number in range(4)]
    handles = [
        Patch(color=tint[n], alpha=0.55, label=f"{names[n]}: {counts[n]}") for n in range(4) if counts[n]
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4)
    no_ticks(*axes)
    return signed(
        figure, f"{area_name(scene.area)}, scene {scene.name} · {dataset_note}", n=many(sum(counts), "window")
    )


def patch_gallery(parts: Sequence[PatchSet], dataset_note: str, each: int = 6) -> Figure:
    """Show patches of each area with their landslides outlined, from the least to the greatest share."""
    figure, axes = plt.subplots(
        len(parts), each, figsize=(0.95 * each + 0.5, 1.05 * len(parts)), squeeze=False
    )
    for row, part in enumerate(parts):
        order = part.index["share"].sort_values().index.to_numpy()
        picked = order[np.linspace(0, len(order) - 1, each).astype(int)]
        for ax, number in zip(axes[row], picked, strict=True):
            ax.imshow(rgb(part.images[number], part.spec.bands))
            ax.contour(part.masks[number], [0.5], colors="cyan", linewidths=0.8)
            ax.set_title(f"{part.index.loc[number, 'share']:.0%}", fontsize=7, pad=2)
        axes[row, 0].set_ylabel(f"{area_name(part.spec.area)}\n{part.spec.size} px", fontsize=7.5)
    no_ticks(*axes.flat)
    return signed(
        figure,
        f"percentage: landslide share of the patch · {dataset_note}",
        n=f"{each * len(parts)} of {many(sum(len(part.index) for part in parts), 'patch')}",
    )


def polygon_checks(checked: pd.DataFrame, dataset_note: str) -> Figure:
    """Draw slope, NDVI and brightness of every polygon against its surroundings, flagged ones marked."""
    flagged = checked["flag"] != ""
    size = checked["area_px"]
    panels = [
        ("area_px", "slope_deg", "slope (degrees) against size (px)"),
        ("ndvi_around", "ndvi", "NDVI"),
        ("brightness_around", "brightness", "brightness (stored units)"),
    ]
    panels = [panel for panel in panels if panel[1] in checked and checked[panel[1]].notna().any()]
    figure, axes = plt.subplots(1, len(panels), figsize=(1 + 3 * len(panels), 3.2), squeeze=False)
    for ax, (x, y, title) in zip(axes[0], panels, strict=True):
        shown = ax.scatter(checked[x], checked[y], c=size, norm=LogNorm(), s=12, cmap="viridis")
        ax.scatter(
            checked.loc[flagged, x],
            checked.loc[flagged, y],
            s=45,
            facecolor="none",
            edgecolor=FALSE_ALARM,
            label=f"flagged: {flagged.sum()}",
        )
        ax.set_title(title)
        if x == "area_px":
            ax.set(xscale="log", xlabel="area (px)", ylabel="mean slope")
        else:
            low, high = np.nanmin(checked[[x, y]]), np.nanmax(checked[[x, y]])
            ax.plot([low, high], [low, high], color="0.6", linewidth=0.8)
            ax.set(xlabel="surroundings", ylabel="landslide")
    axes[0, 0].legend()
    figure.colorbar(shown, ax=axes, label="area (px)", shrink=0.8)
    return signed(figure, dataset_note, n=many(len(checked), "polygon"))
