"""An example of data of one's own: a small synthetic scene as a folder of images and masks."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import rasterio

from lmhld_nb import scenes, sources
from lmhld_nb.config import atomic_path


def write_example(folder: Path) -> Path:
    """Write ``images/a.tif`` and ``masks/a.tif`` (1 landslide, 0 none) into a folder, and return the folder.

    The scene is Gorkha's of the synthetic data set for tests.
    """
    scene = sources.get("twin-smoke", progress=False).scenes_of("gorkha")[0]
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(scene.image, folder / "images" / "a.tif")
    _, labels, _ = scenes.read_all(scene)
    with rasterio.open(scene.image) as image:
        rows, cols = image.shape
        grid = {"height": rows, "width": cols, "crs": image.crs, "transform": image.transform}
    with (
        atomic_path(folder / "masks" / "a.tif") as temporary,
        rasterio.open(temporary, "w", driver="GTiff", dtype="uint8", count=1, **grid) as mask,
    ):
        mask.write((labels == 1).astype(np.uint8), 1)
    return folder
