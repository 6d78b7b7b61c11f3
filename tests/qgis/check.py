"""Open a map's folder as QGIS does, check what a reader would see, and draw it (Debian's python3-qgis).

    QT_QPA_PLATFORM=offscreen /usr/bin/python3 tests/qgis/check.py MAP_FOLDER PICTURE.png

Exit code 1 and a line where something does not apply by itself.
"""

import json
import sys
from pathlib import Path

from osgeo import gdal
from qgis import core
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor


def check(is_so: bool, what: str) -> None:
    """End with a line where something is not so."""
    if not is_so:
        sys.exit(f"qgis: {what}")


def opened(folder: Path) -> list[core.QgsMapLayer]:
    """Open the layers from top to bottom, as if they were dragged into the window."""
    report = json.loads((folder / "map.json").read_text(encoding="utf-8"))
    landslides = core.QgsVectorLayer(str(folder / "landslides.gpkg") + "|layername=landslides", "landslides", "ogr")
    check(landslides.isValid(), "landslides.gpkg cannot be opened")
    layers: list[core.QgsMapLayer] = [landslides]
    renderer = landslides.renderer()
    check(renderer.type() == "graduatedSymbol", "the style of the landslides does not apply by itself")
    check(renderer.classAttribute() == "mean_probability", "landslides are not coloured by their probability")
    names = {field.name(): landslides.attributeAlias(k) for k, field in enumerate(landslides.fields())}
    missing = [name for name, alias in names.items() if name != "fid" and not alias]
    check(not missing, f"columns without a name for people: {missing}")
    check(landslides.featureCount() == report["landslides"], "the number of landslides differs from map.json")
    for feature in landslides.getFeatures():
        check(feature.geometry().isGeosValid(), f"landslide {feature['id']} is not valid")
    if (folder / "not_imaged.gpkg").exists():
        unseen = core.QgsVectorLayer(str(folder / "not_imaged.gpkg"), "not imaged", "ogr")
        check(unseen.isValid(), "not_imaged.gpkg cannot be opened")
        check(unseen.renderer().symbol().symbolLayer(0).brushStyle() > 1, "what is not imaged is not hatched")
        layers.append(unseen)
    kinds = {"mask": "paletted", "uncertainty": "singlebandpseudocolor", "probability": "singlebandpseudocolor"}
    for name, kind in kinds.items():
        raster = core.QgsRasterLayer(str(folder / f"{name}.tif"), name)
        check(raster.isValid(), f"{name}.tif cannot be opened")
        check(raster.renderer().type() == kind, f"the style of {name}.tif does not apply by itself")
        file = gdal.Open(raster.source())
        check("LAYOUT=COG" in file.GetMetadata_List("IMAGE_STRUCTURE"), f"{name}.tif is not cloud-optimised")
        levels = file.GetRasterBand(1).GetOverviewCount()
        check(levels > 0 or max(raster.width(), raster.height()) <= 256, f"{name}.tif has no overviews")
        layers.append(raster)
    for layer in layers:
        check(layer.crs() == layers[0].crs() and layer.crs().isValid(), f"{layer.name()} has another coordinate system")
    return layers


def draw(layers: list[core.QgsMapLayer], path: Path) -> None:
    """Draw landslides, what is not imaged, and the probability below."""
    settings = core.QgsMapSettings()
    settings.setLayers([layer for layer in layers if layer.name() not in ("mask", "uncertainty")])
    settings.setDestinationCrs(layers[0].crs())
    settings.setExtent(layers[-1].extent())
    settings.setOutputSize(QSize(900, 900))
    settings.setBackgroundColor(QColor("white"))
    job = core.QgsMapRendererSequentialJob(settings)
    job.start()
    job.waitForFinished()
    check(not job.errors(), f"drawing failed: {[error.message for error in job.errors()]}")
    check(job.renderedImage().save(str(path)), f"{path} cannot be written")


def main() -> None:
    """Check and draw."""
    application = core.QgsApplication([], False)
    application.initQgis()
    layers = opened(Path(sys.argv[1]))
    core.QgsProject.instance().addMapLayers(layers)
    draw(layers, Path(sys.argv[2]))
    core.QgsProject.instance().clear()
    print(f"qgis: {sys.argv[1]} opens with its styles; see {sys.argv[2]}")
    application.exitQgis()


if __name__ == "__main__":
    main()
