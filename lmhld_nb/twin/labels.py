"""Label noise: how the outlines drawn by an interpreter differ from the true landslides.

Inventories of one event by different people omit small landslides, disagree on old ones, merge neighbours and are
slightly displaced (Guzzetti et al. 2012). Image and elevation show the true landslides.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lmhld_nb.twin.terrain import Mask

Level = Literal["none", "mild", "strong"]
Labels = NDArray[np.int32]
NEIGHBOURS = 5  # pixels between two landslides, edges included, that may be drawn as one


@dataclass(frozen=True)
class LabelNoise:
    """How much is drawn wrongly; shares are 0 to 1."""

    omitted: float  # share of landslides below the scene's median size that are not drawn
    old: float  # share of old, partly overgrown landslides that are not drawn
    merged: float  # share of pairs of close neighbours that are drawn as one
    shifted: float  # share of outlines that are displaced
    shift_px: int  # largest displacement in pixels, down and right


LEVELS: dict[Level, LabelNoise] = {
    "none": LabelNoise(0, 0, 0, 0, 0),
    "mild": LabelNoise(0.1, 0.2, 0.2, 0.5, 1),
    "strong": LabelNoise(0.4, 0.8, 0.6, 1.0, 2),
}


def with_noise(label: Labels, old: NDArray[np.bool_], noise: LabelNoise, rng: np.random.Generator) -> Labels:
    """Return a scene's landslides as drawn, numbered as in ``label`` (merged ones have the smallest number).

    ``label`` (rows, cols) is 0 or a number from 1; ``old`` says for each number whether it is an old landslide.
    """
    if noise == LEVELS["none"] or not len(old):
        return label
    size = np.bincount(label.ravel(), minlength=len(old) + 1)[1:]
    chance, steps = rng.random((3, len(old))), rng.random((2, len(old)))
    small = size < np.median(size)
    gone = (small & (chance[0] < noise.omitted)) | (old & (chance[1] < noise.old))
    drawn = np.where(np.append(True, gone)[label], 0, label).astype(label.dtype)
    drawn = _merged(drawn, noise.merged, rng)
    return _shifted(drawn, chance[2] < noise.shifted, steps, noise.shift_px)


def _merged(label: Labels, share: float, rng: np.random.Generator) -> Labels:
    """Merge some pairs of close neighbours, including the ground between them."""
    highest = ndimage.maximum_filter(label, NEIGHBOURS, mode="constant")
    beyond = np.iinfo(label.dtype).max
    lowest = ndimage.minimum_filter(np.where(label > 0, label, beyond), NEIGHBOURS, mode="constant", cval=beyond)
    between = (label == 0) & (lowest < highest)
    pairs, which = np.unique(np.stack([lowest[between], highest[between]]), axis=1, return_inverse=True)
    chosen = rng.random(size=(pairs.shape[1],)) < share
    name = np.arange(label.max(initial=0) + 1, dtype=label.dtype)
    for low, high in pairs[:, chosen].T:
        one, other = sorted((name[low], name[high]))
        name[name == other] = one
    merged = label.copy()
    merged[between] = np.where(chosen[which.ravel()], pairs[0][which.ravel()], 0)
    return name[merged]


def _shifted(label: Labels, chosen: Mask, steps: NDArray[np.float64], most: int) -> Labels:
    """Shift some outlines as a whole by up to ``most`` pixels; ``steps`` are (2, landslides), 0 to 1."""
    side = 2 * most + 1  # of the square of shifts, whose centre is left out: never by zero
    place = (steps[0] * (side**2 - 1)).astype(int)
    place += place >= side**2 // 2
    down, right = (np.where(chosen, shift - most, 0) for shift in divmod(place, side))
    row, col = np.nonzero(label)
    number = label[row, col]
    row, col = row + down[number - 1], col + right[number - 1]
    inside = (row >= 0) & (row < label.shape[0]) & (col >= 0) & (col < label.shape[1])
    shifted = np.zeros_like(label)
    shifted[row[inside], col[inside]] = number[inside]
    return shifted
