"""Landslide inventories: sizes in pixels, quartiles, histograms, and checks of each polygon's plausibility."""

from collections.abc import Iterable, Iterator, Sequence

import geopandas as gpd
import numpy as np
import pandas as pd
from rasterio.features import rasterize
from rasterio.features import shapes as vectorise
from rasterio.transform import array_bounds
from scipy.ndimage import binary_dilation, find_objects, label
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from shapely.geometry import box, shape

from lmhld_nb import scenes
from lmhld_nb.config import UserError
from lmhld_nb.scenes.rasters import Window
from lmhld_nb.scenes.scene import Labels, Scene, read_polygons

# scipy, which is here anyway. benchmarks/components.py has the times: OpenCV would save a third of a step that is a
# tenth of the tiling, for a large dependency; connected-components-3d 4 labels wrongly in two dimensions.
EIGHT = np.ones((3, 3), int)
NDVI_DROP, BRIGHTER = 0.03, 1.02  # least plausible fall of NDVI and ratio of brightness against the surroundings


def landslide_sizes(mask: np.ndarray) -> np.ndarray:
    """Return the pixels of each 8-connected landslide of a mask (0 background, 255 not labelled), row by row."""
    return components([(np.asarray(mask),)])["size_px"].to_numpy()


def scene_sizes(scene: Scene, rows_at_once: int = 512) -> np.ndarray:
    """Return the pixels of each landslide of a scene of any size, read in strips of ``rows_at_once``."""
    with scenes.open_image(scene) as image, scenes.open_labels(scene, image) as labels:
        strips = scenes.strips(image.shape, rows_at_once)
        return components((labels.read(window),) for window in strips)["size_px"].to_numpy()


def area_sizes(area_scenes: Sequence[Scene]) -> np.ndarray:
    """Return the pixels of each landslide of an area's scenes; a UserError says that none of them holds any."""
    sizes = np.concatenate([scene_sizes(scene) for scene in area_scenes])
    if len(sizes) == 0:
        first, *others = area_scenes
        source = first.mask or first.polygons or first.image
        extra = f" and {len(others)} more" if others else ""
        raise UserError(f"{source}{extra}: the inventory is empty (no landslide pixel); check its landslide codes")
    return sizes


def components(strips: Iterable[tuple[np.ndarray, ...]], layers: Sequence[str] = ()) -> pd.DataFrame:
    """Measure every 8-connected landslide of a mask of any size (`landslide_sizes`), and its pixels in other layers.

    ``strips`` are, from top to bottom, the mask and one bool array of its shape per layer. One row per landslide:
    ``size_px``, the layers, and its box ``top``, ``left``, and one beyond the last pixel ``bottom``, ``right``.
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
    """Join ``total`` parts by ``pairs`` (2, n) of their numbers; return how many groups, and each part's group."""
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
    """Return counts (bins,) and edges in px (bins + 1,) of one size or more, equally wide in log size (paper Fig 9)."""
    # Half a pixel of room at both ends: rounding must not lose the smallest and the largest.
    edges = np.geomspace(sizes.min() - 0.5, sizes.max() + 0.5, bins + 1)
    return np.histogram(sizes, edges)[0], edges


def summary(area_scenes: dict[str, Sequence[Scene]]) -> pd.DataFrame:
    """Tabulate each area's inventory, one row per area (the measured side of paper Table 1 and Fig 9)."""
    rows = {}
    for area, scenes_of_area in area_scenes.items():
        sizes = area_sizes(scenes_of_area)
        rows[area] = (len(sizes), int(sizes.min()), *quartiles(sizes), int(sizes.max()), int(sizes.sum()))
    columns = ["landslides", "min_px", "q1", "q2", "q3", "max_px", "total_px"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("area")


def slope_degrees(dem: np.ndarray, resolution_m: float) -> np.ndarray:
    """Return the slope in degrees of an elevation grid (rows, cols) in metres, by central differences."""
    dy, dx = np.gradient(dem.astype(np.float32), resolution_m)
    return np.degrees(np.arctan(np.hypot(dx, dy)))


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
    """Return brightness, NDVI and slope (degrees) of a window, as far as known (section 2.2); and its landslides."""
    with scenes.open_image(scene) as image, scenes.open_labels(scene, image) as labels:
        values, landslide = image.read(window, scene.bands), labels.read(window) == 1
        layers = {"brightness": brightness(values * scene.scale, scene.bands)}
        if {"red", "nir"} <= set(scene.bands):
            layers["NDVI"] = ndvi(values, scene.bands)
        if scene.dem is not None:
            layers["slope"] = slope_degrees(scenes.read_dem(scene, window), image.pixel_m)
    return layers, landslide


def feature_contrast(scene: Scene, window: Window) -> pd.DataFrame:
    """Tabulate the means of `feature_layers` on landslides and beside them; rows are features."""
    layers, landslide = feature_layers(scene, window)
    rows = {name: [np.nanmean(layer[there]) for there in (landslide, ~landslide)] for name, layer in layers.items()}
    return pd.DataFrame(rows, index=["landslide", "beside"]).T.rename_axis("feature")


def check_polygons(scene: Scene, ring_px: int = 12, flat_degrees: float = 8.0, shift_px: int = 0) -> pd.DataFrame:
    """Hold every polygon of an inventory against its surroundings, ``ring_px`` wide (paper section 2.2).

    Flagged ``flat`` is a mean slope below ``flat_degrees``, ``no contrast`` one that has neither lost NDVI nor gained
    brightness: a second look is due. Masks are outlined; ``shift_px`` moves polygons along the rows first. Returns
    area_px, slope_deg, relief_m (NaN without elevation), ndvi, brightness and …_around, flag.
    """
    bands = tuple(band for band in scenes.BANDS if band in scene.bands)
    rows = []
    with scenes.open_image(scene) as image, scenes.open_labels(scene, image) as labels:
        outlines = _outlines(scene, image, labels).translate(shift_px * image.transform.a, shift_px * image.transform.d)
        index = outlines.sindex
        for geometry in outlines:
            window = _window_around(geometry.bounds, image, ring_px + 1)
            if window is None:
                continue  # moved out of the scene
            values = image.read(window, bands)
            valid = image.valid(values)
            transform = image.window_transform(window)
            near = outlines.iloc[index.query(box(*array_bounds(*valid.shape, transform)))]
            grid = {"out_shape": valid.shape, "transform": transform}
            inside, landslides = (rasterize(shapes, **grid).astype(bool) for shapes in ([geometry], near))
            inside &= valid
            if not inside.any():
                continue  # the same, or all of it lies on no-data
            around = binary_dilation(inside, iterations=ring_px) & ~landslides & valid
            row = {"area_px": int(inside.sum()), **_contrast(values, bands, inside, around)}
            row |= _relief(scene, window, inside, image)
            rows.append(row | {"flag": _flag(row, flat_degrees)})
    return pd.DataFrame(rows)


def _outlines(scene: Scene, image: scenes.Image, labels: Labels) -> gpd.GeoSeries:
    """Return the inventory's polygons; where the scene has a mask, the outlines of its landslides."""
    if scene.polygons is not None:
        return read_polygons(scene, image)
    mask = labels.read(Window(0, 0, *image.shape))
    outlines = vectorise(mask, mask == 1, connectivity=8, transform=image.transform)
    return gpd.GeoSeries([shape(outline) for outline, _ in outlines], crs=image.crs)


def _window_around(bounds: tuple[float, ...], image: scenes.Image, margin: int) -> Window | None:
    """Return the window of ``bounds`` and a margin, cut to the image; None where they lie outside it."""
    # By hand: a picture without georeference counts rows downwards, which rasterio's from_bounds refuses.
    corners = np.array([~image.transform * corner for corner in (bounds[:2], bounds[2:])])[:, ::-1]  # rows, columns
    row, col = (int(start) for start in np.maximum(np.floor(corners.min(axis=0)) - margin, 0))
    bottom, right = (int(stop) for stop in np.minimum(np.ceil(corners.max(axis=0)) + margin, image.shape))
    return Window(row, col, bottom - row, right - col) if bottom > row and right > col else None


def _contrast(values: np.ndarray, bands: tuple[str, ...], inside: np.ndarray, around: np.ndarray) -> dict[str, float]:
    layers = {"brightness": brightness(values, bands)}
    if {"red", "nir"} <= set(bands):
        layers["ndvi"] = ndvi(values, bands)
    row = {}
    for name, layer in layers.items():
        row[name] = float(layer[inside].mean())
        row[f"{name}_around"] = float(layer[around].mean()) if around.any() else np.nan
    return row


def _relief(scene: Scene, window: Window, inside: np.ndarray, image: scenes.Image) -> dict[str, float]:
    if scene.dem is None:
        return {"slope_deg": np.nan, "relief_m": np.nan}
    dem = scenes.read_dem(scene, window)
    slope, height = slope_degrees(dem, image.pixel_m)[inside], dem[inside]
    return {"slope_deg": float(np.nanmean(slope)), "relief_m": float(np.nanmax(height) - np.nanmin(height))}


def _flag(row: dict[str, float], flat_degrees: float) -> str:
    flags = ["flat"] if row["slope_deg"] < flat_degrees else []
    greener = row.get("ndvi_around", np.nan) - row.get("ndvi", np.nan)
    ratio = row["brightness"] / (row["brightness_around"] or np.nan)
    # A comparison with NaN is False: what cannot be measured is not held against the polygon.
    if ratio < BRIGHTER and not greener >= NDVI_DROP:
        flags.append("no contrast")
    return ", ".join(flags)
