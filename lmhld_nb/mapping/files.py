"""The rasters and the picture of a map; rasters are checked to be complete."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import matplotlib.image
import numpy as np
import rasterio
import rasterio.shutil
from rasterio.enums import Resampling

from lmhld_nb import scenes
from lmhld_nb.evaluation.objects import NO_LABEL
from lmhld_nb.mapping.folder import MASK, OVERLAY
from lmhld_nb.mapping.further import is_further
from lmhld_nb.scenes.rasters import Window
from lmhld_nb.scenes.scene import Image

TILE = 256  # side of a tile
LONGEST = 1600  # px, of the picture's longer side
STEPS = 2**18  # of a stored probability, from 0 to 1: finer digits are noise that does not compress
RED = np.array([1.0, 0.1, 0.1], np.float32)


@contextmanager
def raster(
    path: Path, image: Image, dtype: str, nodata: float, name: str = "", run_id: str = "", resampling: str = "nearest"
) -> Iterator[rasterio.io.DatasetWriter]:
    """Yield a one-band raster on an image's grid, to be written tile by tile; it becomes a cloud-optimised GeoTIFF.

    ``name`` describes the band, ``run_id`` goes into the file's tags, ``resampling`` is used for the overviews. OSError
    if a part is missing: GDAL closes a file without an error when the disk is full.
    """
    raw = path.with_name(f"{path.name}.raw")
    # Level 1 takes half the time of the default 6 for 2 % more bytes (probabilities of a trained network).
    with rasterio.open(
        raw, "w", driver="GTiff", height=image.shape[0], width=image.shape[1], count=1, dtype=dtype, nodata=nodata,
        crs=image.crs, transform=image.transform, tiled=True, blockxsize=TILE, blockysize=TILE, bigtiff="if_safer",
        num_threads="all_cpus", compress="deflate", zlevel=1, predictor=3 if dtype == "float32" else 2,
    ) as target:  # fmt: skip
        target.set_band_description(1, name)
        target.update_tags(run_id=run_id)
        yield target
    finish(raw, path, resampling)
    raw.unlink()


def finish(raw: Path, path: Path, resampling: str) -> None:
    """Copy a tiled GeoTIFF to ``path`` as a cloud-optimised one with overviews; raises OSError as `raster` does."""
    with rasterio.open(raw, "r+", num_threads="all_cpus") as source:
        # From 4 on: a viewer that shows every second pixel can read the full raster, and level 2 costs most.
        factors = [2**level for level in range(2, 32) if max(source.shape) / 2**level > TILE / 4]
        if factors:
            source.build_overviews(factors, Resampling[resampling])
    check_whole(raw, len(factors))
    rasterio.shutil.copy(
        raw, path, driver="COG", overviews="FORCE_USE_EXISTING", blocksize=TILE, compress="deflate", level=1,
        predictor="yes", bigtiff="if_safer", num_threads="all_cpus",
    )  # fmt: skip
    check_whole(path, len(factors))


def check_whole(path: Path, overviews: int) -> None:
    """Raise OSError if a tile of a GeoTIFF or of its overviews is missing."""
    size = path.stat().st_size
    for level in [{}, *({"overview_level": number} for number in range(overviews))]:
        with rasterio.open(path, **level) as source:
            for (row, col), _ in source.block_windows(1):
                names = (f"BLOCK_OFFSET_{col}_{row}", f"BLOCK_SIZE_{col}_{row}")
                offset_and_size = [source.get_tag_item(name, "TIFF", bidx=1) for name in names]
                if None in offset_and_size or sum(map(int, offset_and_size)) > size:
                    raise OSError("a part of the file is missing")


def rounded(probability: np.ndarray) -> np.ndarray:
    """Round probabilities to `STEPS` steps: the last digits are rounding noise and would make up most of the file."""
    return np.rint(probability * np.float32(STEPS)) / np.float32(STEPS)


def draw_overlay(folder: Path, image: Image, bands: tuple[str, ...]) -> None:
    """Write overlay.png: the image reduced to `LONGEST` pixels, the mask in red, as in paper Figs 16–17."""
    picture, known = colours(image, bands, Window(0, 0, *image.shape), math.ceil(max(image.shape) / LONGEST))
    with rasterio.open(folder / MASK) as source:
        mask = source.read(1, out_shape=known.shape)
    picture[mask == 1] = 0.35 * picture[mask == 1] + 0.65 * RED
    picture[~known | (mask == NO_LABEL)] = 1
    # Matplotlib shows bytes unchanged.
    matplotlib.image.imsave(folder / OVERLAY, np.rint(255 * picture).astype(np.uint8))


def colours(image: Image, bands: tuple[str, ...], window: Window, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Return every ``step``-th pixel of a window for display, (rows, cols, 3) from 0 to 1, and where there is data."""
    colour: tuple[str, ...] = ("red", "green", "blue")
    bands = tuple(band for band in bands if not is_further(band))
    if not set(colour) <= set(bands):  # near infrared, red, green, say; or shades of grey
        colour = bands[::-1][:3] if len(bands) >= 3 else bands[:1] * 3
    values = scenes.read_decimated(partial(image.read, bands=colour), window, step).astype(np.float32)
    known = image.valid(values)
    values[:, ~known] = 0
    low, high = np.percentile(values[:, known], (2, 98)) if known.any() else (0, 1)
    return np.clip((values - low) * np.float32(1 / max(high - low, 1e-6)), 0, 1).transpose(1, 2, 0), known
