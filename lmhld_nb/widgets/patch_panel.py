"""Patch explorer: which windows of a scene become patches, as area, size and least share change (chapter 02)."""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import lru_cache

import ipywidgets
import numpy as np
from matplotlib.colors import to_rgba
from scipy import ndimage

from lmhld_nb import patches, scenes
from lmhld_nb.config import UserError
from lmhld_nb.experiments import common as experiments
from lmhld_nb.experiments import profile as profiles
from lmhld_nb.experiments.profile import Profile
from lmhld_nb.patches import measurements
from lmhld_nb.plots import style
from lmhld_nb.plots.data import WINDOWS
from lmhld_nb.scenes.scene import Scene
from lmhld_nb.sources import DataSet
from lmhld_nb.widgets import parts

SIDE = 560
"""Longest side of a scene's preview in pixels."""


def patch_explorer(profile: Profile, dataset: DataSet, area: str | None = None) -> ipywidgets.VBox:
    """Return a panel with the choice of area, scene, patch size and least share of landslide.

    It shows the scene with kept and dropped windows, and counts them as `patches.cut` would. While the first area is
    looked at, a thread reads the others; what is measured is kept while the panel lives.

    Args:
        profile: its areas, bands, and the values the controls begin with.
        dataset: of the profile.
        area: shown first; the profile's first where None.

    Raises:
        UserError: the profile names areas the data set does not have. Errors after that stand in the panel.
    """
    areas = experiments.areas(profile, dataset)
    begin = area if area in areas else areas[0]
    sizes = tuple(sorted({*patches.SIZES, *(profiles.patch_size(profile, name) for name in areas)}))
    bands = profile.patches.bands
    judged = lru_cache(maxsize=None)(lambda name: measurements.classify_area_windows(dataset, name, sizes, bands))
    seen = lru_cache(maxsize=32)(preview)

    chosen = parts.choice("Area", [(style.area_name(name), name) for name in areas], begin)
    scene = parts.choice("Scene", [(member.name, n) for n, member in enumerate(dataset.scenes_of(begin))])
    size = parts.choice(
        "Patch size", [(f"{side} px", side) for side in sizes], profiles.patch_size(profile, begin)
    )
    share = parts.slider("Least share of landslide (%)", round(100 * profile.patches.min_share), 0, 60, 1)
    picture, counts = ipywidgets.Image(format="png"), ipywidgets.HTML()
    figure = parts.canvas(5.6, 5.6)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set_axis_off()
    below, above = ax.imshow(np.zeros((1, 1, 3))), ax.imshow(np.zeros((1, 1, 4)))
    last = [begin]

    def draw() -> None:
        members = dataset.scenes_of(chosen.value)
        if chosen.value != last[0]:
            scene.options = [(member.name, number) for number, member in enumerate(members)]
            size.value = profiles.patch_size(profile, chosen.value)
            last[0] = chosen.value
        least = share.value / 100
        reasons = [with_share(*windows, least) for windows in judged(chosen.value)[size.value]]
        member = members[scene.value]
        thumbnail, (rows, cols) = seen(member, bands)
        below.set(data=thumbnail, extent=(0, cols, rows, 0))
        here = reasons[scene.value]
        tints = np.zeros((*here.shape, 4))
        for reason, (tint, _) in WINDOWS.items():
            tints[here == reason] = to_rgba(tint, 0.5)
        above.set(data=tints, extent=(0, here.shape[1] * size.value, here.shape[0] * size.value, 0))
        longest = max(rows, cols)
        figure.set_size_inches(5.6 * cols / longest, 5.6 * rows / longest)
        ax.set(xlim=(0, cols), ylim=(rows, 0))
        parts.show(picture, figure)
        counts.value = _told(here, reasons, least)

    def read_others() -> None:
        for name in areas:
            with suppress(UserError):  # told in the panel when the area is chosen
                judged(name)
                seen(dataset.scenes_of(name)[0], bands)

    controls = [chosen, scene, size, share]
    message = parts.answering(draw, controls, [picture, counts])
    threading.Thread(target=read_others, daemon=True).start()
    return ipywidgets.VBox(
        [
            ipywidgets.VBox(controls),
            message,
            ipywidgets.HBox([picture, counts], layout={"flex_flow": "row wrap"}),
            parts.small(style.note(dataset, profile.name)),
        ]
    )


def preview(scene: Scene, bands: tuple[str, ...]) -> tuple[np.ndarray, tuple[int, int]]:
    """Return a scene as a small picture with its landslides outlined, and its size in pixels.

    Returns:
        (rows, cols, 3) between 0 and 1, at most `SIDE` a side: every n-th pixel; (rows, cols) of the scene.
    """
    with scenes.open_image(scene) as image, scenes.open_labels(scene, image) as labels:
        step = -(-max(image.shape) // SIDE)
        values, codes = [], []
        for strip in scenes.strips(image.shape, step * max(1, 512 // step)):
            values.append(image.read(strip, bands)[:, ::step, ::step])
            codes.append(labels.read(strip)[::step, ::step])
        shape = image.shape
    colour = ("red", "green", "blue") if {"red", "green", "blue"} <= set(bands) else (bands * 3)[:3]
    small = style.rgb(np.concatenate(values, axis=1), bands, colour)
    landslide = np.concatenate(codes) == 1
    small[landslide & ~ndimage.binary_erosion(landslide)] = to_rgba("cyan")[:3]
    return small, shape


def with_share(reason: np.ndarray, share: np.ndarray, least: float) -> np.ndarray:
    """Return the reasons of `patches.classify_windows` for another least share."""
    return np.where((reason == "") & (share < least), "share", reason)


def _told(here: np.ndarray, everywhere: list[np.ndarray], least: float) -> str:
    names = {reason: text.format(share=least) for reason, (_, text) in WINDOWS.items()}
    rows = [
        (names[reason], int((here == reason).sum()), sum(int((one == reason).sum()) for one in everywhere))
        for reason in WINDOWS
    ]
    rows.append(("windows in all", here.size, sum(one.size for one in everywhere)))
    kinds = [(tint, names[reason]) for reason, (tint, _) in WINDOWS.items()]
    return parts.table(("window", "this scene", "whole area"), rows) + parts.legend(
        [*kinds, ("cyan", "outline of a landslide")], "<br>"
    )
