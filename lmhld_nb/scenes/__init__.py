"""Scenes: images with labels, read strip by strip."""

from lmhld_nb.scenes.rasters import read_decimated, strips
from lmhld_nb.scenes.scene import BANDS, TRUE_LAYER, Scene, open_image, open_labels, read_all, read_dem

__all__ = [
    "BANDS", "TRUE_LAYER", "Scene", "open_image", "open_labels", "read_all", "read_decimated", "read_dem", "strips",
]  # fmt: skip
