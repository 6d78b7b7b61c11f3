"""What a scene does not show, rims of pure white or black and clouds: mapped as no data, never as a landslide."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.ndimage import binary_opening, binary_propagation

from lmhld_nb import inventory, scenes
from lmhld_nb.mapping.inputs import LEAST_SIDE, POLYGON_SUFFIXES
from lmhld_nb.scenes.rasters import Window
from lmhld_nb.scenes.scene import Image
from lmhld_nb.sources.files import codes_in

ROWS = 512
WHITE_OF_FLOATS = (1.0, 255.0)


class Imaged(Image):
    """An image some of whose pixels are ``hidden`` (rows of packed bits, on the grid of ``whole``): they read NaN."""

    def __init__(self, image: Image, hidden: np.ndarray, whole: Image) -> None:
        super().__init__(image.scene, image._raster)
        self._image, self._hidden = image, hidden
        self.nodata, self.dtype = float("nan"), np.dtype(np.float32)
        # The pixel of the whole that holds the centre of each row and column.
        self._rows, self._cols = (
            np.minimum((np.arange(own) + 0.5) * full / own, full - 1).astype(np.intp)
            for own, full in zip(image.shape, whole.shape, strict=True)
        )

    def read(self, window: Window, bands: tuple[str, ...]) -> np.ndarray:  # type: ignore[override]
        values = self._image.read(window, bands)
        rows = self._rows[window.row : window.row + window.height]
        cols = self._cols[window.col : window.col + window.width]
        hidden = np.unpackbits(self._hidden[rows], axis=1)[:, cols].astype(bool)
        return np.where(self._image.valid(values) & ~hidden, values.astype(np.float32), np.float32(np.nan))


def hidden(image: Image, cloud_file: Path | None, keep_rims: bool) -> tuple[np.ndarray | None, dict[str, int]]:
    """Return what is hidden by rims and clouds as packed bits (None: nothing), and the pixels of each."""
    layers = {"rims": None if keep_rims else rims(image), "clouds": clouds(image, cloud_file) if cloud_file else None}
    found = [layer for layer in layers.values() if layer is not None]
    counts = {name: 0 if layer is None else int(np.bitwise_count(layer).sum()) for name, layer in layers.items()}
    return (np.bitwise_or.reduce(found) if found else None), counts


def rims(image: Image) -> np.ndarray | None:
    """Return what belongs to a rim, (rows, cols / 8) as packed bits; None where the scene has no rim.

    A rim is pure white or black in all bands and connected, across no data too, with at least 16 such pixels in a row
    on the scene's border.
    """
    height, width = image.shape
    sides = [Window(row, 0, 1, width) for row in (0, height - 1)]
    sides += [Window(0, col, height, 1) for col in (0, width - 1)]
    top, bottom, left, right = (binary_opening(_pure(image, side)[0].ravel(), np.ones(LEAST_SIDE)) for side in sides)
    if not np.concatenate([top, bottom, left, right]).any():
        return None
    pure, unseen, rim = np.zeros((3, height, -(-width // 8)), np.uint8)  # unseen is pure or no data
    strips = [slice(strip.row, strip.row + strip.height) for strip in scenes.strips(image.shape, ROWS)]
    for rows in strips:
        where = _pure(image, Window(rows.start, 0, rows.stop - rows.start, width))
        pure[rows], unseen[rows] = (np.packbits(there, axis=1) for there in where)
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
    return rim & pure


def clouds(image: Image, path: Path) -> np.ndarray:
    """Return what a file of polygons, or a mask on the image's grid (all but 0), covers, as packed bits as `rims`.

    UserError where the file cannot be read or lies elsewhere.
    """
    is_vector = path.suffix.lower() in POLYGON_SUFFIXES
    codes = () if is_vector else tuple((codes_in(path) or {1}) - {0})
    scene = replace(
        image.scene, mask=None if is_vector else path, polygons=path if is_vector else None,
        mask_key=None, landslide_codes=codes, label_nodata_codes=(),
    )  # fmt: skip
    with scenes.open_labels(scene, image) as cover:
        strips = scenes.strips(image.shape, ROWS)
        return np.concatenate([np.packbits(cover.read(strip) == 1, axis=1) for strip in strips])


def _pure(image: Image, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """Return where a window is pure white or black in all bands, and where it is that or no data."""
    values = image.read(window, image.scene.bands)
    valid = image.valid(values)
    ends = (0, np.iinfo(values.dtype).max) if values.dtype.kind in "iu" else (0, *WHITE_OF_FLOATS)
    pure = valid & np.any([(values == end).all(axis=0) for end in ends], axis=0)
    return pure, pure | ~valid
