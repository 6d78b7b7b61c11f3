"""How a scene differs from the training data: warnings given before the network is applied."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from typing import Any

import numpy as np
from rasterio.enums import ColorInterp

from lmhld_nb.config import UserError
from lmhld_nb.mapping import further, inputs
from lmhld_nb.mapping.prediction import Statistics
from lmhld_nb.scenes import rasters, read_decimated
from lmhld_nb.scenes.rasters import Window
from lmhld_nb.scenes.scene import Image

MOST_RESOLUTION = 2.0  # factor by which pixels may be larger or smaller than in training
MOST_SCALE = 4.0  # factor by which a band's mean may differ, for values of the same kind
MOST_RATIO = 1.5  # factor by which the ratio of two bands may differ
MOST_OUTSIDE = 0.10  # share of pixels outside the training's 1st to 99th percentile; 0.02 is expected
SIDE = 1000  # px, at most, of the sample
_COLOURS = {ColorInterp.red: "red", ColorInterp.green: "green", ColorInterp.blue: "blue"}


def unlike(image: Image, card: dict[str, Any], statistics: Statistics) -> list[str]:
    """Return one line for each way in which a scene, as predicted, differs from the card's training data.

    Compared are the pixel size, the band order with the file's own colour tags, values and ratios of bands, and the
    share of pixels outside the training percentiles, both normalised. What the card lacks is not compared.
    ``statistics`` are those that the scene is normalised with.
    """
    bands, areas = tuple(card["bands"]), list(card["areas"].values())
    step = max(1, max(image.shape) // SIDE)
    values = read_decimated(lambda window: image.read(window, bands), Window(0, 0, *image.shape), step)
    pixels = values[:, image.valid(values)].astype(np.float64)
    lines, own_m = _colours(image), image.ground_m
    metres = inputs.trained_resolution(card, own_m) if own_m else None
    if own_m and metres and not 1 / MOST_RESOLUTION <= own_m / metres <= MOST_RESOLUTION:
        mend = "predict at it with --resolution trained"
        lines.insert(0, f"a pixel is {own_m:.3g} m, in training it was {metres:.3g} m; {mend}")
    percentiles = card.get("percentiles") or {}
    known = [np.array([percentiles[band] for band in bands]).T] if set(bands) <= set(percentiles) else []
    means = [known[0][2]] if known else [np.array(area["mean"], float) for area in areas if area.get("mean")]
    kept = [number for number, band in enumerate(bands) if not further.is_further(band)]  # a change may be 0
    means = [mean for mean in means if len(mean) == len(bands) and (mean[kept] > 0).all()]
    if pixels.size and means:
        own = np.median(pixels, axis=1) if known else pixels.mean(axis=1)
        lines += _values(own[kept], [mean[kept] for mean in means], tuple(bands[number] for number in kept))
    if pixels.size and known and len(areas) == 1 and areas[0].get("std"):
        mean, std = (np.array(areas[0][name]) for name in ("mean", "std"))
        low, high = ((known[0][end] - mean) / std for end in (0, -1))
        scaled = (pixels.T - statistics[0]) / statistics[1]
        share = ((scaled < low) | (scaled > high)).mean(axis=0)
        k = int(share.argmax())
        if share[k] > MOST_OUTSIDE:
            lines.append(f"{share[k]:.0%} of the pixels lie outside what training held of {bands[k]} (its 1 to 99 %)")
    return lines


def _colours(image: Image) -> list[str]:
    with suppress(UserError), rasters.open_raster(image.scene.image) as source:  # an array file has no tags
        for number, (tag, name) in enumerate(zip(source.colorinterp, image.scene.bands, strict=False), 1):
            if name in _COLOURS.values() and name != _COLOURS.get(tag, name):
                told = f"band {number} is {name} by its name and {_COLOURS[tag]} by the file's own tag"
                return [f"{told}; check the order in --bands"]
    return []


def _values(own: np.ndarray, means: list[np.ndarray], bands: tuple[str, ...]) -> Iterator[str]:
    """Compare bands and the ratios of neighbouring bands with the most similar training area."""

    def worst(logs: list[np.ndarray]) -> tuple[int, float]:
        nearest = min(logs, key=lambda log: float(np.abs(log).max()))
        k = int(np.abs(nearest).argmax())
        return k, float(np.exp(nearest[k]))

    own = np.maximum(own, 1e-9)
    k, times = worst([np.log(own / mean) for mean in means])
    if not 1 / MOST_SCALE <= times <= MOST_SCALE:
        yield f"{bands[k]} is {times:.3g} times as bright as in training; are its values of the same kind?"
    if len(bands) < 2:
        return
    k, times = worst([np.diff(np.log(own / mean)) for mean in means])
    if not 1 / MOST_RATIO <= times <= MOST_RATIO:
        first, second = list(pairwise(bands))[k]
        change = f"{second} to {first} is {times:.3g} times what it was in training"
        yield f"{change}: another sensor, or bands in another order?"
