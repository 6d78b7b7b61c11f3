"""Mapping: whole scenes to rasters, polygons and styles."""

from lmhld_nb.mapping.maps import (
    COARSE,
    Bar,
    Strips,
    map_scene,
)

__all__ = [
    "COARSE",
    "Bar",
    "Strips",
    "map_scene",
]
