"""QGIS: styles of a map's layers, which QGIS applies by itself when it opens them."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from lmhld_nb.mapping import folder as map_folder

SHIPPED = Path(__file__).parent / "styles"  # written by QGIS (tools/qgis_styles.py); viridis: seen by any colour vision
# As QGIS itself makes it when it saves a style in a GeoPackage.
_TABLE = """CREATE TABLE layer_styles (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, f_table_catalog TEXT(256),
    f_table_schema TEXT(256), f_table_name TEXT(256), f_geometry_column TEXT(256), styleName TEXT(30), styleQML TEXT,
    styleSLD TEXT, useAsDefault BOOLEAN, description TEXT, owner TEXT(30), ui TEXT(30),
    update_time DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))"""


def copy_styles(folder: Path) -> None:
    """Write the styles of a map's rasters, and of its polygons for other formats than GeoPackage, beside them."""
    for name in map_folder.STYLES:
        shutil.copyfile(SHIPPED / name, folder / name)


def add_style(path: Path) -> None:
    """Write the style of a GeoPackage's layer, which has the file's name, into it, as the default."""
    style = (SHIPPED / f"{path.stem}.qml").read_text(encoding="utf-8")
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(_TABLE)
        listed = ("layer_styles", "attributes", "layer_styles")
        database.execute("INSERT INTO gpkg_contents (table_name, data_type, identifier) VALUES (?, ?, ?)", listed)
        database.execute(
            "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName, "
            "styleQML, styleSLD, useAsDefault, description, owner) VALUES ('', '', ?, 'geom', ?, ?, '', 1, '', '')",
            (path.stem, path.stem, style),
        )
