"""Which files are opened as images: only the book's formats, and never outside the folder of a VRT.

GDAL chooses among 150 drivers by a file's content: some contact servers, and a VRT may refer to any file or address.
"""

import html
import os
import re
from pathlib import Path
from typing import Any

from rasterio.env import ensure_env
from rasterio.io import DatasetReader

from lmhld_nb.config import UserError

DRIVERS = ("GTiff", "PNG", "JPEG", "BMP", "HFA", "ENVI", "JP2OpenJPEG", "JP2KAK", "JP2ECW")
_LARGEST_VRT = 50_000_000  # bytes; each referenced file takes some 500 per band
_REFERENCE = re.compile(r"(?i)<(?:Source(?:Filename|Dataset)|GridDataset)\b([^>]*)>([^<]*)<|VRTProcessedDataset")


@ensure_env  # type: ignore[untyped-decorator]
def open_file(path: Path, above: tuple[str, ...] = ()) -> DatasetReader:
    """Open an image; a VRT (by its suffix) only if all its references can be opened, too (``above``: outer VRTs).

    UserError for a reference to anything but a file below its own folder; raises RasterioError like `rasterio`.
    """
    if path.suffix.lower() != ".vrt":
        options: dict[str, Any] = {"num_threads": "all_cpus"} if path.suffix.lower() in (".tif", ".tiff") else {}
        return DatasetReader(str(path), driver=list(DRIVERS), **options)
    home, own = os.path.dirname(os.path.abspath(path)), os.path.abspath(path)
    if path.stat().st_size > _LARGEST_VRT:
        raise UserError(f"{path}: larger than {_LARGEST_VRT:,} bytes; make one of fewer files")
    for attributes, text in sorted(set(_REFERENCE.findall(path.read_text(encoding="utf-8", errors="replace")))):
        name = html.unescape(text).strip()
        is_relative = re.search(r"""relativetovrt\s*=\s*["']1""", attributes, re.IGNORECASE)
        target = os.path.abspath(os.path.join(home if is_relative else os.curdir, name))
        # By their names: links are the user's way to files elsewhere.
        if "\0" in name or not target.startswith(home + os.sep) or not os.path.isfile(target):
            mend = "put the files, or links to them, there, or make one GeoTIFF of it (gdal_translate)"
            raise UserError(f"{path}: refers to {name[:120]}, which is not a file below its own folder; {mend}")
        if target in (*above, own):
            raise UserError(f"{path}: refers to itself by {name[:120]}; make it again (gdalbuildvrt)")
        open_file(Path(target), (*above, own)).close()
    return DatasetReader(str(path), driver=["VRT"])
