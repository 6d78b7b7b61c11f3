"""QGIS: style files beside a map's layers, which QGIS applies by itself when it opens them."""

from __future__ import annotations

import itertools
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np

COLOURS = "viridis"  # told apart with any colour vision, and in grey
CLASSES = 5
_TOP = {"version": "3.22", "styleCategories": "Symbology"}


def polygon_style(path: Path, threshold: float) -> None:
    """Write the style of the landslides: `CLASSES` colours from ``threshold`` to 1 of mean_probability."""
    top = ElementTree.Element("qgis", _TOP)
    renderer = ElementTree.SubElement(
        top,
        "renderer-v2",
        {"type": "graduatedSymbol", "attr": "mean_probability", "graduatedMethod": "GraduatedColor"},
    )
    ranges = ElementTree.SubElement(renderer, "ranges")
    symbols = ElementTree.SubElement(renderer, "symbols")
    edges = np.linspace(threshold, 1, CLASSES + 1)
    for number, (lower, upper) in enumerate(itertools.pairwise(edges)):
        label = f"{lower:.2f} to {upper:.2f}"
        shown = {"lower": f"{lower:.15f}", "upper": f"{upper:.15f}", "symbol": str(number), "label": label}
        ElementTree.SubElement(ranges, "range", {**shown, "render": "true"})
        symbol = ElementTree.SubElement(
            symbols, "symbol", {"type": "fill", "name": str(number), "alpha": "0.7"}
        )
        layer = ElementTree.SubElement(symbol, "layer", {"class": "SimpleFill", "enabled": "1", "pass": "0"})
        options = ElementTree.SubElement(layer, "Option", {"type": "Map"})
        colour = ",".join(map(str, _rgb(number / (CLASSES - 1))))
        fill = {"color": f"{colour},255", "style": "solid", "outline_color": "0,0,0,255"}
        for name, value in {**fill, "outline_style": "solid", "outline_width": "0.2"}.items():
            ElementTree.SubElement(options, "Option", {"type": "QString", "name": name, "value": value})
    ElementTree.SubElement(top, "layerGeometryType").text = "2"  # polygons
    _write(path, top)


def probability_style(path: Path) -> None:
    """Write the style of the probability raster: colours from 0 to 1, no data clear."""
    top = ElementTree.Element("qgis", _TOP)
    pipe = ElementTree.SubElement(top, "pipe")
    told = {"type": "singlebandpseudocolor", "band": "1", "opacity": "0.7", "alphaBand": "-1"}
    renderer = ElementTree.SubElement(
        pipe, "rasterrenderer", {**told, "classificationMin": "0", "classificationMax": "1"}
    )
    shader = ElementTree.SubElement(renderer, "rastershader")
    ramp = ElementTree.SubElement(
        shader, "colorrampshader", {"colorRampType": "INTERPOLATED", "classificationMode": "1", "clip": "0"}
    )
    for value in np.linspace(0, 1, 2 * CLASSES + 1):
        colour = "#{:02x}{:02x}{:02x}".format(*_rgb(float(value)))
        item = {"value": f"{value:.2f}", "label": f"{value:.1f}", "color": colour, "alpha": "255"}
        ElementTree.SubElement(ramp, "item", item)
    _write(path, top)


def _rgb(share: float) -> tuple[int, int, int]:
    red, green, blue, _ = matplotlib.colormaps[COLOURS](share, bytes=True)
    return int(red), int(green), int(blue)


def _write(path: Path, top: ElementTree.Element) -> None:
    ElementTree.indent(top, " ")
    text = ElementTree.tostring(top, encoding="unicode")
    kind = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
    path.write_text(kind + text + "\n", encoding="utf-8")
