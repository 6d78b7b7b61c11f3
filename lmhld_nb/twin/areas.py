"""Recipes of the synthetic twin's study areas and later events, read from ``recipes.toml``."""

import tomllib
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmhld_nb import paper
from lmhld_nb.scenes.scene import BANDS

Spectrum = tuple[float, float, float, float]
"""Reflectance in blue, green, red, near infrared."""


@dataclass(frozen=True)
class AreaRecipe:
    """How one study area's scenes are generated."""

    sensor: str  # this and the resolution: Table 1
    resolution_m: float
    patch: int  # side (px) and number in Table 2: they determine the size of scenes, not their content
    patches: int  # for an event: windows of its scene
    lon: float  # middle of the area, degrees
    lat: float
    epsg: int  # its UTM zone
    sizes: tuple[int, int, int, int, int]  # smallest landslide, Q1, Q2, Q3 and largest, pixels
    shapes: tuple[float, float, float]  # shares of shallow, channelised and rotational landslides
    cover: float  # share of a scene under landslides
    kept: float  # share of windows that pass the 10 % rule (measured; determines the size of scenes)
    clustering: float  # how much landslides cluster
    old: float  # share of older, partly overgrown landslides
    relief_m: float  # distance between main valleys, metres: gives slopes long enough for the area's larger landslides
    mean_slope: float  # tangent
    ruggedness: float  # variation of the uplift
    base_m: float  # height of the lowest ground
    most: int  # largest stored value
    scale: float  # stored value -> reflectance
    gains: Spectrum  # the sensor's response
    blur: float  # standard deviation of the point spread function, pixels
    noise: float  # of the sensor, reflectance
    haze: float  # path radiance, reflectance
    sun: tuple[float, float]  # azimuth and elevation, degrees
    crown_px: float  # size of trees in the texture
    forest: float  # forested share of vegetated ground
    dry: float  # how dry or leafless the remaining vegetation is
    rock: float  # bare rock on cliffs and high ground (1 is a sixth of the scene)
    snow: float  # snow-covered share of the scene, from the top
    field_m: float  # side of a field, metres
    fields: float  # this and the next five: abundance of look-alikes (0 none, 1 common)
    settlements: float
    quarries: float
    roads: float
    river: float
    clouds: float
    covers: dict[str, Spectrum] = field(default_factory=dict)  # spectra that differ from ``COVERS`` here
    bands: tuple[str, ...] = BANDS  # bands of the image, the first of ``scenes.BANDS``
    swath: bool = True  # a slanted edge of the acquisition crosses the scene; else the image fills it
    seam: float = 0.0  # change of tone where two acquisitions of a mosaic meet (0 no seam)
    sea: float = 0.0  # share of the scene under the sea
    riverside: float = 0.0  # how much landslides prefer river banks
    road_m: tuple[float, float] = (5.0, 8.0)  # widths of narrow and wide roads, metres

    @property
    def relief_px(self) -> float:
        return self.relief_m / self.resolution_m


def _with_tuples(content: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in content.items()}


_CONTENT = tomllib.loads((Path(__file__).parent / "recipes.toml").read_text(encoding="utf-8"))

COVERS: dict[str, Spectrum] = _with_tuples(_CONTENT.pop("covers"))

RECIPES = {  # names of other tables only group the keys
    area: AreaRecipe(covers=_with_tuples(tables.pop("covers", {})), **_with_tuples(ChainMap(*tables.values())))
    for area, tables in _CONTENT.items()
}
"""Areas and events. Their order numbers the random streams, so append new ones at the end."""

AREAS = {area: recipe for area, recipe in RECIPES.items() if area in paper.AREAS}
