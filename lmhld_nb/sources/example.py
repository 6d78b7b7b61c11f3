"""An example of data of one's own: a small synthetic scene as a folder of images and masks."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import rasterio

from lmhld_nb import config, scenes, sources


def write_example(folder: Path) -> Path:
    """Write Gorkha's scene of ``twin-smoke`` as ``images/a.tif`` and ``masks/a.tif`` (1 landslide, 0 none)."""
    scene = sources.get("twin-smoke", progress=False).scenes_of("gorkha")[0]
    (folder / "images").mkdir(parents=True, exist_ok=True)
    shutil.copy(scene.image, folder / "images" / "a.tif")
    _, labels, _ = scenes.read_all(scene)
    with rasterio.open(scene.image) as image, config.atomic_path(folder / "masks" / "a.tif") as temporary:
        grid = {key: image.profile[key] for key in ("driver", "height", "width", "crs", "transform")}
        with rasterio.open(temporary, "w", dtype="uint8", count=1, **grid) as mask:
            mask.write((labels == 1).astype(np.uint8), 1)
    return folder
