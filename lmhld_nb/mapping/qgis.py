"""QGIS: style files beside a map's layers, which QGIS applies by itself when it opens them."""

from __future__ import annotations

import itertools
from pathlib import Path

import matplotlib
import numpy as np

COLOURS = "viridis"  # told apart with any colour vision, and in grey
CLASSES = 5
_QGIS = """<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.22" styleCategories="Symbology">
{content}
</qgis>
"""
_POLYGONS = """<renderer-v2 type="graduatedSymbol" attr="mean_probability" graduatedMethod="GraduatedColor">
<ranges>{ranges}</ranges>
<symbols>{symbols}</symbols>
</renderer-v2>
<layerGeometryType>2</layerGeometryType>"""
_RANGE = """
<range lower="{lower:.15f}" upper="{upper:.15f}" symbol="{number}" label="{lower:.2f} to {upper:.2f}" render="true"/>"""
_SYMBOL = """
<symbol type="fill" name="{number}" alpha="0.7"><layer class="SimpleFill" enabled="1" pass="0"><Option type="Map">
 <Option type="QString" name="color" value="{red},{green},{blue},255"/>
 <Option type="QString" name="style" value="solid"/>
 <Option type="QString" name="outline_color" value="0,0,0,255"/>
 <Option type="QString" name="outline_style" value="solid"/>
 <Option type="QString" name="outline_width" value="0.2"/>
</Option></layer></symbol>"""
_RASTER = """<pipe>
<rasterrenderer type="singlebandpseudocolor" band="1" opacity="0.7" alphaBand="-1" classificationMin="0"
 classificationMax="1"><rastershader>
<colorrampshader colorRampType="INTERPOLATED" classificationMode="1" clip="0">{items}</colorrampshader>
</rastershader></rasterrenderer>
</pipe>"""
_ITEM = """
<item value="{value:.2f}" label="{value:.1f}" color="#{red:02x}{green:02x}{blue:02x}" alpha="255"/>"""


def polygon_style(path: Path, threshold: float) -> None:
    """Write the style of the landslides: `CLASSES` colours from ``threshold`` to 1 of mean_probability."""
    edges = np.linspace(threshold, 1, CLASSES + 1).tolist()
    ranges = [
        _RANGE.format(lower=lower, upper=upper, number=number)
        for number, (lower, upper) in enumerate(itertools.pairwise(edges))
    ]
    symbols = [_SYMBOL.format(number=number, **_colour(number / (CLASSES - 1))) for number in range(CLASSES)]
    content = _POLYGONS.format(ranges="".join(ranges), symbols="".join(symbols))
    path.write_text(_QGIS.format(content=content), encoding="utf-8")


def probability_style(path: Path) -> None:
    """Write the style of the probability raster: colours from 0 to 1, no data clear."""
    values = np.linspace(0, 1, 2 * CLASSES + 1).tolist()
    items = "".join(_ITEM.format(value=value, **_colour(value)) for value in values)
    path.write_text(_QGIS.format(content=_RASTER.format(items=items)), encoding="utf-8")


def _colour(share: float) -> dict[str, int]:
    rgba = matplotlib.colormaps[COLOURS](share, bytes=True)
    return dict(zip(("red", "green", "blue"), map(int, rgba), strict=False))
