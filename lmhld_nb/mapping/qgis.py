"""QGIS: styles of a map's layers, which QGIS applies by itself when it opens them."""

import shutil
from pathlib import Path

import pandas as pd
import pyogrio

from lmhld_nb.mapping import folder as map_folder

SHIPPED = Path(__file__).parent / "styles"  # written by QGIS (tools/qgis_styles.py); viridis: seen by any colour vision


def copy_styles(folder: Path) -> None:
    """Write the styles of a map's rasters, and of its polygons for other formats than GeoPackage, beside them."""
    for name in map_folder.STYLES:
        shutil.copyfile(SHIPPED / name, folder / name)


def add_style(path: Path) -> None:
    """Write the style of a GeoPackage's layer, which has the file's name, into it, as the default."""
    style = (SHIPPED / f"{path.stem}.qml").read_text(encoding="utf-8")
    layer = {"f_table_catalog": "", "f_table_schema": "", "f_table_name": path.stem, "f_geometry_column": "geom"}
    names = {"styleName": path.stem, "styleQML": style, "styleSLD": "", "useAsDefault": True, "description": ""}
    # As QGIS itself makes it when it saves a style in a GeoPackage.
    table = pd.DataFrame([layer | names | {"owner": "", "ui": "", "update_time": pd.Timestamp.now("UTC")}])
    pyogrio.write_dataframe(table, path, layer="layer_styles", driver="GPKG", FID="id")
