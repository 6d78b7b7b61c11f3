"""Ground that a scene does not show, under pure white or black rims and clouds: mapped as no data."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.ndimage import binary_propagation

from lmhld_nb import inventory, scenes
from lmhld_nb.config import UserError
from lmhld_nb.scenes.rasters import Window
from lmhld_nb.scenes.scene import Image, pure, pure_edges
from lmhld_nb.scenes.vectors import is_vector
from lmhld_nb.sources.files import codes_in

ROWS = 512


def without(image: Image, hidden: np.ndarray, shape: tuple[int, int]) -> Image:
    """Return an image whose ``hidden`` pixels (rows of packed bits on a grid of ``shape`` over it) are read as NaN."""
    # The pixel of that grid that contains the centre of each row and column.
    rows, cols = (
        np.minimum((np.arange(own) + 0.5) * full / own, full - 1).astype(np.intp)
        for own, full in zip(image.shape, shape, strict=True)
    )

    def read(window: Window, indices: list[int]) -> np.ndarray:
        values = image.read(window, [image.scene.bands[index] for index in indices])
        near = rows[window.row : window.row + window.height], cols[window.col : window.col + window.width]
        seen = np.unpackbits(hidden[near[0]], axis=1)[:, near[1]] == 0
        return np.where(image.valid(values) & seen, values.astype(np.float32), np.float32(np.nan))

    return Image(image.scene, replace(image._raster, read=read, nodata=float("nan"), dtype=np.dtype(np.float32)))


def hidden(image: Image, cloud_file: Path | None, keep_rims: bool) -> tuple[np.ndarray | None, dict[str, int]]:
    """Return the pixels hidden by rims and clouds as packed bits (None: none), and the number of each."""
    layers = {"rims": None if keep_rims else rims(image), "clouds": clouds(image, cloud_file) if cloud_file else None}
    found = [layer for layer in layers.values() if layer is not None]
    counts = {name: 0 if layer is None else int(np.bitwise_count(layer).sum()) for name, layer in layers.items()}
    return (np.bitwise_or.reduce(found) if found else None), counts


def rims(image: Image) -> np.ndarray | None:
    """Return the pixels of rims as packed bits (rows, cols / 8); None if the scene has no rim.

    A rim is pure white or black in all bands and connected (no data counts as a connection) to at least 16 such pixels
    in a row on the scene's border.
    """
    height, width = image.shape
    top, bottom, left, right = pure_edges(image)
    if not np.concatenate([top, bottom, left, right]).any():
        return None
    whole, unseen, rim = np.zeros((3, height, -(-width // 8)), np.uint8)  # whole is pure, unseen that or no data
    strips = [slice(strip.row, strip.row + strip.height) for strip in scenes.strips(image.shape, ROWS)]
    for rows in strips:
        where = pure(image, Window(rows.start, 0, rows.stop - rows.start, width))
        whole[rows], unseen[rows] = (np.packbits(there, axis=1) for there in where)
        seeds = np.zeros(where[0].shape, bool)
        seeds[:, 0], seeds[:, -1] = left[rows], right[rows]
        rim[rows] = np.packbits(seeds, axis=1)
    rim[0] |= np.packbits(top)
    rim[-1] |= np.packbits(bottom)
    grows = True
    while grows:
        grows = False
        for rows in [*strips, *strips[::-1]]:
            around = slice(max(0, rows.start - 1), rows.stop + 1)
            seen_before, room = (np.unpackbits(bits[around], axis=1) for bits in (rim, unseen))
            grown = np.packbits(binary_propagation(seen_before, inventory.EIGHT, room), axis=1)
            grows |= not np.array_equal(grown, rim[around])
            rim[around] = grown
    return rim & whole


def clouds(image: Image, path: Path) -> np.ndarray:
    """Return the pixels covered by polygons, or by a mask on the image's grid (all but 0), packed as in `rims`.

    UserError if the file cannot be read, holds fractions, or does not overlap the scene.
    """
    mask, polygons = (None, path) if is_vector(path) else (path, None)
    if (codes := codes_in(path) if mask else {}) is None:
        raise UserError(f"{path}: holds fractions or NaN; write 1 for cloud and 0 elsewhere")
    scene = replace(
        image.scene, mask=mask, polygons=polygons, layer=None, where=None,
        mask_key=None, landslide_codes=tuple(codes.keys() - {0}), label_nodata_codes=(),
    )  # fmt: skip
    with scenes.open_labels(scene, image) as cover:
        strips = scenes.strips(image.shape, ROWS)
        return np.concatenate([np.packbits(cover.read(strip) == 1, axis=1) for strip in strips])
