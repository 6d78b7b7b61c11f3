"""Write the styles that maps carry, by QGIS's own classes, into lmhld_nb/mapping/styles/ (Debian's python3-qgis).

QT_HASH_SEED=0 QT_QPA_PLATFORM=offscreen /usr/bin/python3 tools/qgis_styles.py
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from osgeo import gdal
from qgis.core import (
    QgsApplication,
    QgsColorRampShader,
    QgsFillSymbol,
    QgsGradientColorRamp,
    QgsGraduatedSymbolRenderer,
    QgsMapLayer,
    QgsPalettedRasterRenderer,
    QgsRasterLayer,
    QgsRasterShader,
    QgsRendererRange,
    QgsSingleBandPseudoColorRenderer,
    QgsSingleSymbolRenderer,
    QgsStyle,
    QgsVectorLayer,
)
from qgis.PyQt.QtGui import QColor

OUT = Path(__file__).resolve().parents[1] / "lmhld_nb" / "mapping" / "styles"
ALIASES = {
    "id": "Number",
    "area_px": "Area of the mask (pixels)",
    "mean_probability": "Mean probability",
    "max_probability": "Largest probability",
    "uncertainty": "Mean uncertainty (0 to 1)",
    "area_m2": "Area (m²)",
    "lon": "Longitude of the centroid (°)",
    "lat": "Latitude of the centroid (°)",
    "length_m": "Length (m)",
    "width_m": "Width (m)",
    "compactness": "Compactness (1 for a disc)",
    "slope_deg": "Mean slope (°)",
    "relief_m": "Relief (m)",
    "searched_m": "Distance from the searched ground (m)",
}
FLOATS = set(ALIASES) - {"id", "area_px"}


def save(layer: QgsMapLayer, name: str, parts: int) -> None:
    """Save a layer's style as NAME.qml."""
    message, saved = layer.saveNamedStyle(str(OUT / name), categories=QgsMapLayer.StyleCategory(parts))
    if not saved:
        sys.exit(message)
    path = OUT / name
    path.write_text(path.read_text(encoding="utf-8").rstrip() + "\n", encoding="utf-8")


def polygons() -> None:
    """Ten classes of mean probability, the same in every map, and names of the columns."""
    fields = "&".join(f"field={name}:{'double' if name in FLOATS else 'integer'}" for name in ALIASES)
    layer = QgsVectorLayer(f"MultiPolygon?crs=EPSG:32654&{fields}", "landslides", "memory")
    ramp = QgsStyle.defaultStyle().colorRamp("Viridis") or QgsGradientColorRamp(QColor("#440154"), QColor("#fde725"))
    ranges = []
    for k in range(10):
        symbol = QgsFillSymbol.createSimple({"outline_color": "black", "outline_width": "0.2"})
        symbol.setColor(ramp.color((k + 0.5) / 10))
        symbol.setOpacity(0.7)
        ranges.append(QgsRendererRange(k / 10, (k + 1) / 10, symbol, f"{k / 10:.1f} to {(k + 1) / 10:.1f}"))
    layer.setRenderer(QgsGraduatedSymbolRenderer("mean_probability", ranges))
    for name, alias in ALIASES.items():
        layer.setFieldAlias(layer.fields().indexOf(name), alias)
    save(layer, "landslides.qml", QgsMapLayer.Symbology | QgsMapLayer.Fields)


def not_imaged() -> None:
    """Grey hatching."""
    layer = QgsVectorLayer("MultiPolygon?crs=EPSG:32654", "not_imaged", "memory")
    symbol = QgsFillSymbol.createSimple({"style": "b_diagonal", "color": "#808080", "outline_color": "#808080"})
    layer.setRenderer(QgsSingleSymbolRenderer(symbol))
    save(layer, "not_imaged.qml", QgsMapLayer.Symbology)


def rasters(folder: Path) -> None:
    """Viridis for probability, magma for uncertainty, red for the mask."""
    for name, kind, nodata, top, label in (
        ("probability", gdal.GDT_Float32, -1, 1.0, "{:.1f}"), ("uncertainty", gdal.GDT_Byte, 255, 100.0, "{:.0f} %"),
        ("mask", gdal.GDT_Byte, 255, 1.0, ""),
    ):  # fmt: skip
        path = str(folder / f"{name}.tif")
        raster = gdal.GetDriverByName("GTiff").Create(path, 8, 8, 1, kind)
        raster.GetRasterBand(1).SetNoDataValue(nodata)
        raster.GetRasterBand(1).WriteArray(np.linspace(0, top, 64).reshape(8, 8).astype("f4"))
        raster = None
        layer = QgsRasterLayer(path, name)
        if name == "mask":
            landslide = QgsPalettedRasterRenderer.Class(1, QColor("#d7191c"), "landslide")
            background = QgsPalettedRasterRenderer.Class(0, QColor(0, 0, 0, 0), "background")
            renderer = QgsPalettedRasterRenderer(layer.dataProvider(), 1, [background, landslide])
        else:
            ramp = QgsStyle.defaultStyle().colorRamp("Viridis" if name == "probability" else "Magma")
            shader = QgsColorRampShader(0, top, ramp)
            shader.setColorRampItemList([
                QgsColorRampShader.ColorRampItem(top * k / 10, ramp.color(k / 10), label.format(top * k / 10))
                for k in range(11)
            ])  # fmt: skip
            raster_shader = QgsRasterShader()
            raster_shader.setRasterShaderFunction(shader)
            renderer = QgsSingleBandPseudoColorRenderer(layer.dataProvider(), 1, raster_shader)
            renderer.setClassificationMin(0)
            renderer.setClassificationMax(top)
        renderer.setOpacity(0.7)
        layer.setRenderer(renderer)
        save(layer, f"{name}.qml", QgsMapLayer.Symbology)


if __name__ == "__main__":
    application = QgsApplication([], False)
    application.initQgis()
    with tempfile.TemporaryDirectory() as temporary:
        polygons()
        not_imaged()
        rasters(Path(temporary))
    application.exitQgis()
