"""Landslide inventories: sizes in pixels, quartiles, histograms, and the features that experts use."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.ndimage import find_objects, label
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lmhld_nb import scenes
from lmhld_nb.config import UserError
from lmhld_nb.scenes.rasters import Window
from lmhld_nb.scenes.scene import Scene

# scipy, which is a dependency anyway. benchmarks/components.py has the times: OpenCV, a large dependency, would save a
# third of a step that is a tenth of the tiling; connected-components-3d 4 labels wrongly in two dimensions.
EIGHT = np.ones((3, 3), int)


def landslide_sizes(mask: np.ndarray) -> np.ndarray:
    """Return the pixels of each 8-connected landslide of a mask (0 background, 255 not labelled), row by row."""
    return components([(np.asarray(mask),)])["size_px"].to_numpy()


def scene_sizes(scene: Scene, layer: str | None = None) -> np.ndarray:
    """Return the pixels of each landslide of a scene (``layer`` of its polygons), read in strips."""
    with scenes.open_image(scene) as image, scenes.open_labels(scene, image, layer) as labels:
        return components((labels.read(window),) for window in scenes.strips(image.shape, 512))["size_px"].to_numpy()


def area_sizes(area_scenes: Sequence[Scene], read: Sequence[np.ndarray] = ()) -> np.ndarray:
    """Return the pixels of each landslide of an area's scenes (``read``: of each); UserError if there is none."""
    sizes = np.concatenate(read or [scene_sizes(scene) for scene in area_scenes])
    if len(sizes) == 0:
        first, *others = area_scenes
        source = first.mask or first.polygons or first.image
        extra = f" and {len(others)} more" if others else ""
        raise UserError(f"{source}{extra}: the inventory is empty (no landslide pixel); check its landslide codes")
    return sizes


def components(strips: Iterable[tuple[np.ndarray, ...]], layers: Sequence[str] = ()) -> pd.DataFrame:
    """Measure every 8-connected landslide of a mask of any size (`landslide_sizes`), and its pixels in other layers.

    ``strips`` are, from top to bottom, the mask and one bool array of its shape per layer. One row per landslide:
    ``size_px``, the layers, and its bounding box ``top``, ``left``, ``bottom``, ``right`` (the last two exclusive).
    """
    names = ["size_px", *layers]
    parts = [np.zeros((0, len(names) + 4), np.int64)]
    seams: list[np.ndarray] = []
    total = row = 0
    above = np.zeros(0, np.int64)
    for mask, *others in strips:
        if mask.size == 0:
            continue
        labels, count = label((mask != 0) & (mask != 255), EIGHT)
        counts = [np.bincount(labels.ravel(), minlength=count + 1)[1:]]
        counts += [np.bincount(labels[other], minlength=count + 1)[1:] for other in others]
        boxes = [(y.start + row, x.start, y.stop + row, x.stop) for y, x in find_objects(labels)]
        parts.append(np.column_stack([*counts, np.array(boxes, np.int64).reshape(count, 4)]))
        top, bottom = (np.where(labels[k] > 0, labels[k].astype(np.int64) + total, 0) for k in (0, -1))
        if above.size:
            seams.extend(touching(above, top))
        above = bottom
        total += count
        row += mask.shape[0]
    table = pd.DataFrame(np.concatenate(parts), columns=[*names, "top", "left", "bottom", "right"])
    if not seams:
        return table
    _, group = joined(np.concatenate(seams, axis=1) - 1, total)
    how = {"top": "min", "left": "min", "bottom": "max", "right": "max"} | dict.fromkeys(names, "sum")
    return table.groupby(group).agg(how)[table.columns]


def joined(pairs: np.ndarray, total: int) -> tuple[int, np.ndarray]:
    """Join ``total`` parts by ``pairs`` (2, n) of their numbers; return the number of groups, and each part's group."""
    graph = coo_array((np.ones(pairs.shape[1], bool), tuple(pairs)), shape=(total, total))
    count, group = connected_components(graph, directed=False)
    return int(count), group


def touching(above: np.ndarray, below: np.ndarray) -> Iterator[np.ndarray]:
    """Yield (2, n) pairs of labels that are 8-neighbours across the seam of two rows."""
    for shift in (-1, 0, 1):
        left = above[max(0, -shift) : len(above) - max(0, shift)]
        right = below[max(0, shift) : len(below) - max(0, -shift)]
        touch = (left > 0) & (right > 0)
        if touch.any():
            yield np.unique(np.stack([left[touch], right[touch]]), axis=1)


def quartiles(sizes: np.ndarray) -> tuple[float, float, float]:
    """Return Q1, the median and Q3 of at least one landslide size (Hyndman & Fan 1996, type 7; paper 3.2 (1))."""
    if len(sizes) == 0:
        raise UserError("quartiles: the inventory is empty; give sizes of at least one landslide")
    q1, q2, q3 = np.quantile(np.asarray(sizes, float), (0.25, 0.5, 0.75), method="linear")
    return float(q1), float(q2), float(q3)


def histogram(sizes: np.ndarray, bins: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Return counts (bins,) and edges in px (bins + 1,) of sizes, with equal widths in log size (paper Fig 9)."""
    # Half a pixel of margin at both ends, so that rounding does not lose the smallest and the largest.
    edges = np.geomspace(sizes.min() - 0.5, sizes.max() + 0.5, bins + 1)
    return np.histogram(sizes, edges)[0], edges


def summary(sizes_of: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Tabulate inventories by area (the measured side of paper Table 1 and Fig 9), from their `area_sizes`."""
    rows = {}
    for area, sizes in sizes_of.items():
        rows[area] = (len(sizes), int(sizes.min()), *quartiles(sizes), int(sizes.max()), int(sizes.sum()))
    columns = ["landslides", "min_px", "q1", "q2", "q3", "max_px", "total_px"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("area")


def ndvi(values: np.ndarray, bands: tuple[str, ...]) -> np.ndarray:
    """Return (NIR − red) / (NIR + red) of (bands, …) values; 0 where both are 0."""
    red, nir = (values[bands.index(name)].astype(np.float32) for name in ("red", "nir"))
    total = nir + red
    return np.divide(nir - red, total, out=np.zeros_like(total), where=total != 0)


def brightness(values: np.ndarray, bands: tuple[str, ...]) -> np.ndarray:
    """Return the mean of the visible bands (of all where none is visible) of (bands, …) values, as stored."""
    visible = [name for name in ("blue", "green", "red") if name in bands] or bands
    return np.mean([values[bands.index(name)].astype(np.float32) for name in visible], axis=0)


def feature_layers(scene: Scene, window: Window) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return brightness, NDVI and slope (degrees) of a window, if available (section 2.2), and its landslides."""
    with scenes.open_image(scene) as image, scenes.open_labels(scene, image) as labels:
        values, landslide = image.read(window, scene.bands), labels.read(window) == 1
        layers = {"brightness": brightness(values * scene.scale, scene.bands)}
        if {"red", "nir"} <= set(scene.bands):
            layers["NDVI"] = ndvi(values, scene.bands)
        if scene.dem is not None:
            gradient = np.gradient(scenes.read_dem(scene, window), image.pixel_m)  # by central differences
            layers["slope"] = np.degrees(np.arctan(np.hypot(*gradient)))
    return layers, landslide


def feature_contrast(scene: Scene, window: Window) -> pd.DataFrame:
    """Tabulate the means of `feature_layers` on landslides and beside them; rows are features."""
    layers, landslide = feature_layers(scene, window)
    rows = {name: [np.nanmean(layer[there]) for there in (landslide, ~landslide)] for name, layer in layers.items()}
    return pd.DataFrame(rows, index=["landslide", "beside"]).T.rename_axis("feature")
