"""Recipes of the synthetic twin's study areas and later events, read from ``recipes.toml``."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmhld_nb import paper
from lmhld_nb.scenes.scene import BANDS

Spectrum = tuple[float, float, float, float]
"""Reflectance in blue, green, red, near infrared."""


@dataclass(frozen=True)
class AreaRecipe:
    """How one study area's scenes are made.

    Attributes:
        sensor, resolution_m: Table 1.
        patch, patches: patch size in pixels and number of patches, Table 2 (of an event: windows of its scene).
        lon, lat: middle of the area, degrees. epsg: its UTM zone.
        sizes: smallest landslide, Q1, Q2, Q3 and largest, pixels.
        tail: exponent of the size distribution above Q3.
        cover: share of a scene under landslides.
        kept: share of windows that pass the 10 % rule (measured, it sets the size of scenes).
        clustering: how much landslides crowd together.
        crowd: share of a window at which no more landslides are put there.
        old: share of older, partly overgrown landslides.
        mean_slope: tangent of the mean slope. ruggedness: variation of the uplift.
        base_m: height of the lowest ground.
        most: largest stored value. scale: stored value -> reflectance. gains: per band, sensor's response.
        blur: standard deviation of the point spread function, pixels.
        noise: sensor noise, reflectance. haze: path radiance, reflectance.
        sun: azimuth and elevation, degrees.
        crown_px: size of trees in the texture.
        forest: share of vegetated ground under forest; dry: how dry or leafless the rest is.
        rock: bare rock on cliffs and high ground (1 is a sixth of the scene).
        snow: share of the scene, from the top, under snow.
        fields, settlements, quarries, roads, river, clouds: abundance of look-alikes (0 none, 1 common).
        covers: spectra that differ from ``COVERS`` here (season, rock).
        bands: what the image holds, the first of ``scenes.BANDS``.
        swath: a slanted edge of the acquisition crosses the scene; else the image is full.
        seam: how much the tone changes where two acquisitions of a mosaic meet (0 no seam).
        sea: share of the scene under the sea. riverside: how much landslides prefer river banks.
        road_m: widths of narrow and wide roads, metres.
    """

    sensor: str
    resolution_m: float
    patch: int
    patches: int
    lon: float
    lat: float
    epsg: int
    sizes: tuple[int, int, int, int, int]
    tail: float
    cover: float
    kept: float
    clustering: float
    crowd: float
    old: float
    mean_slope: float
    ruggedness: float
    base_m: float
    most: int
    scale: float
    gains: Spectrum
    blur: float
    noise: float
    haze: float
    sun: tuple[float, float]
    crown_px: float
    forest: float
    dry: float
    rock: float
    snow: float
    fields: float
    settlements: float
    quarries: float
    roads: float
    river: float
    clouds: float
    covers: dict[str, Spectrum] = field(default_factory=dict)
    bands: tuple[str, ...] = BANDS
    swath: bool = True
    seam: float = 0.0
    sea: float = 0.0
    riverside: float = 0.0
    road_m: tuple[float, float] = (5.0, 8.0)


def _with_tuples(content: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in content.items()}


def _recipe(tables: dict[str, dict[str, Any]]) -> AreaRecipe:
    """Make a recipe of its tables in the file, whose names only group the keys; ``covers`` is a key itself."""
    covers = _with_tuples(tables.pop("covers", {}))
    return AreaRecipe(
        **{key: value for table in tables.values() for key, value in _with_tuples(table).items()},
        covers=covers,
    )


_CONTENT = tomllib.loads((Path(__file__).parent / "recipes.toml").read_text(encoding="utf-8"))

COVERS: dict[str, Spectrum] = _with_tuples(_CONTENT.pop("covers"))

RECIPES: dict[str, AreaRecipe] = {area: _recipe(tables) for area, tables in _CONTENT.items()}
"""Areas and events. Their order numbers the random streams: new ones go to the end."""

AREAS = {area: recipe for area, recipe in RECIPES.items() if area in paper.AREAS}
EVENTS = {area: recipe for area, recipe in RECIPES.items() if area not in paper.AREAS}
