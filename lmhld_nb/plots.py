"""Figures: every function returns a matplotlib Figure; one style, one order and one colour for each area and model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from lmhld_nb import inventory, paper, scenes
from lmhld_nb.evaluation import Confusion, Threshold
from lmhld_nb.patches import PatchSet, classify_windows
from lmhld_nb.rasters import Window
from lmhld_nb.runs import Run
from lmhld_nb.scenes import Scene
from lmhld_nb.style import FALSE_ALARM, HIT, MISS, area_name, colours, no_ticks, rgb, signed


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
    return signed(figure, "Places and facts: paper Table 1. Land: Natural Earth 1:110m, public domain")


def annotation_features(scene: Scene, dataset_note: str, size: int = 160) -> Figure:
    """Show one place as true colour, NIR false colour, slope and brightness, landslides outlined (paper Fig 2).

    The place is the ``size``-pixel square with the landslide share nearest to 25 %. Panels whose bands or elevation the
    scene does not have are left out.
    """
    bands = scene.bands
    values, labels, valid = scenes.read_all(scene, bands)
    size = min(size, *labels.shape)
    _, share = classify_windows(labels, valid, size, 0)
    whole = np.where(share > 0, np.abs(share - 0.25), np.inf)
    r, c = np.unravel_index(int(np.argmin(whole)), share.shape)
    part = (slice(r * size, (r + 1) * size), slice(c * size, (c + 1) * size))
    bright = inventory.brightness(values[(slice(None), *part)] * scene.scale, bands)
    crop = values[(slice(None), *part)]
    panels: list[tuple[str, np.ndarray, str | None]] = [("true colour", rgb(crop, bands), None)]
    if "nir" in bands:
        panels.append(("near infrared as red", rgb(crop, bands, ("nir", "red", "green")), None))
    if scene.dem is not None:
        with scenes.open_image(scene) as image:
            slope = inventory.slope_degrees(scenes.read_dem(scene), image.pixel_m)
        panels.append(("slope (degrees)", slope[part], "viridis"))
    panels.append(
        ("brightness (reflectance)" if scene.scale != 1 else "brightness (stored units)", bright, "magma")
    )
    figure, axes = plt.subplots(2, len(panels), figsize=(0.6 + 2.5 * len(panels), 5.6), squeeze=False)
    for column, (title, picture, cmap) in enumerate(panels):
        for row, ax in enumerate(axes[:, column]):
            shown = ax.imshow(picture, cmap=cmap)
            if row == 1:
                ax.contour(
                    labels[part] == 1, [0.5], colors="cyan" if cmap is None else "white", linewidths=0.9
                )
        axes[0, column].set_title(title)
        if cmap:
            figure.colorbar(shown, ax=axes[:, column], orientation="horizontal", shrink=0.8, pad=0.02)
    axes[0, 0].set_ylabel("image")
    axes[1, 0].set_ylabel("with landslides outlined")
    no_ticks(*axes.flat)
    return signed(
        figure,
        f"{area_name(scene.area)}, {size} × {size} px of {scene.resolution_m or '?'} m · {dataset_note}",
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
    return signed(figure, dataset_note)


def size_histograms(
    sizes: Mapping[str, np.ndarray], candidates: Mapping[str, Sequence[int]], dataset_note: str
) -> Figure:
    """Draw each area's landslide-size histogram with quartiles and candidate patch sizes (paper Fig 9)."""
    rows = -(-len(sizes) // 4)
    figure, grid = plt.subplots(rows, 4, figsize=(11, 2.7 * rows), squeeze=False)
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
    figure.supxlabel(f"landslide size (pixels) · {dataset_note}", fontsize=8)
    return figure


def windows_on_scene(scene: Scene, part: PatchSet, dataset_note: str) -> Figure:
    """Draw which windows of a scene are kept and why others are dropped (paper section 2.3)."""
    values, labels, valid = scenes.read_all(scene, scene.bands)
    size = part.spec.size
    reason, _ = classify_windows(labels, valid, size, part.spec.min_share)
    order = ["", "share", "nodata", "edge"]
    names = ["kept", f"below {part.spec.min_share:.0%} landslide", "touches no data", "over the edge"]
    tint = ["#009e73", "#e69f00", "#999999", "#cc79a7"]
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
    return signed(figure, f"{area_name(scene.area)}, scene {scene.name} · {dataset_note}")


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
    return signed(figure, f"percentage: landslide share of the patch · {dataset_note}")


def learning_curves(finished: Sequence[Run], dataset_note: str) -> Figure:
    """Draw training loss and validation F1 over epochs, a line for each run, grouped by area."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2))
    areas = list(dict.fromkeys(run.spec.data[0].area for run in finished))
    tints = colours(areas)
    for run in finished:
        area = run.spec.data[0].area
        for ax, column in zip(axes, ("train_loss", "val_f1"), strict=True):
            ax.plot(run.history["epoch"], run.history[column], color=tints[area], linewidth=1.2)
        axes[1].plot(run.metrics["best_epoch"], run.metrics["val_f1"], "o", color=tints[area], markersize=4)
    handles = [Line2D([], [], color=tints[area], label=area_name(area)) for area in areas]
    axes[0].set(xlabel="epoch", ylabel="training loss")
    axes[1].set(xlabel="epoch", ylabel="validation F1 (dot: epoch tested)", ylim=(0, 1))
    figure.legend(handles=handles, loc="outside right center")
    return signed(figure, dataset_note)


def score_heatmap(table: pd.DataFrame, score: str, dataset_note: str) -> Figure:
    """Draw a score of Table 5 as areas × models, ours and published side by side.

    Args:
        table: of `results.table_5`.
        score: precision, f1 or recall.
        dataset_note: of `note`.
    """
    columns = [score, f"published_{score}"] if table[f"published_{score}"].notna().any() else [score]
    models = list(dict.fromkeys(table.index.get_level_values("model")))
    areas = list(dict.fromkeys(table.index.get_level_values("area")))
    size = (2.2 + (1.1 + 0.75 * len(models)) * len(columns), 0.4 * len(areas) + 1.4)
    figure, axes = plt.subplots(1, len(columns), figsize=size, sharey=True, squeeze=False)
    for ax, column in zip(axes[0], columns, strict=True):
        cells = table[column].unstack("model").reindex(index=areas, columns=models)
        cells = cells.rename(index=area_name, columns=dict(paper.MODELS))
        sns.heatmap(
            cells, ax=ax, annot=True, fmt=".3f", vmin=0.4, vmax=1, cmap="viridis", cbar=False, linewidths=1
        )
        ax.set(title="this book" if column == score else "published", xlabel="", ylabel="")
        ax.tick_params(length=0)
    axes[0, 0].tick_params(axis="y", labelrotation=0)
    return signed(figure, f"{score} · {dataset_note}")


def against_threshold(rules: Mapping[str, Threshold], f1: Mapping[str, float], dataset_note: str) -> Figure:
    """Draw the trained model's F1 beside the best single threshold's, area by area."""
    figure, ax = plt.subplots(figsize=(8, 3))
    places = np.arange(len(rules))
    ax.bar(
        places - 0.2,
        [rules[area].confusion.f1 for area in rules],
        0.38,
        color="0.7",
        label="best single threshold",
    )
    ax.bar(
        places + 0.2,
        [f1[area] for area in rules],
        0.38,
        color=[colours(list(rules))[area] for area in rules],
        label="best network",
    )
    for place, (area, rule) in zip(places, rules.items(), strict=True):
        ax.text(place - 0.2, rule.confusion.f1 + 0.01, rule.feature, ha="center", fontsize=7, color="0.3")
        ax.text(place + 0.2, f1[area] + 0.01, f"{f1[area]:.2f}", ha="center", fontsize=7)
    ax.set(ylim=(0, 1.05), ylabel="F1 on the test patches")
    ax.set_xticks(places, [area_name(area) for area in rules])
    figure.legend(loc="outside upper right", ncols=2)
    return signed(figure, f"threshold chosen on the test pixels themselves: its upper bound · {dataset_note}")


def errors(predicted: np.ndarray, truth: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Colour hits, false alarms and misses over a grey (rows, cols, 3) picture."""
    picture = np.repeat(background.mean(axis=2, keepdims=True) * 0.6 + 0.4, 3, axis=2)
    for cells, tint in (
        (predicted & truth, HIT),
        (predicted & ~truth, FALSE_ALARM),
        (~predicted & truth, MISS),
    ):
        picture[cells] = np.array([int(tint[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return picture


def predictions(
    examples: Mapping[str, tuple[np.ndarray, np.ndarray, Mapping[str, np.ndarray]]],
    bands: Sequence[str],
    dataset_note: str,
) -> Figure:
    """Show image, each model's prediction as hits, false alarms and misses, and truth (paper Fig 10).

    Args:
        examples: of each area, image (bands, rows, cols), truth (rows, cols) bool, and predictions by model.
        bands: of the images.
        dataset_note: of `note`.
    """
    models = list(next(iter(examples.values()))[2])
    figure, axes = plt.subplots(
        len(examples),
        len(models) + 2,
        figsize=(1.75 * (len(models) + 2), 1.75 * len(examples)),
        squeeze=False,
    )
    for row, (area, (image, truth, by_model)) in enumerate(examples.items()):
        picture = rgb(image, bands)
        axes[row, 0].imshow(picture)
        axes[row, 0].set_ylabel(area_name(area), fontsize=8)
        for ax, model in zip(axes[row, 1:-1], models, strict=True):
            ax.imshow(errors(by_model[model], truth, picture))
            ax.set_title(f"F1 {Confusion.of(by_model[model], truth).f1:.2f}", fontsize=7, pad=2)
        axes[row, -1].imshow(truth, cmap="gray", vmin=0, vmax=1)
    for ax, title in zip(
        axes[0], ["image", *(paper.MODELS[model] for model in models), "truth"], strict=True
    ):
        ax.set_title(title + (f"\n{ax.get_title()}" if ax.get_title() else ""), fontsize=8)
    handles = [
        Patch(color=HIT, label="hit"),
        Patch(color=FALSE_ALARM, label="false alarm"),
        Patch(color=MISS, label="miss"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    no_ticks(*axes.flat)
    return signed(figure, dataset_note)


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
    return signed(figure, dataset_note)
