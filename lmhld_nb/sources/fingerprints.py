"""Fingerprints of data: of their content, not of their location or date."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lmhld_nb import config
from lmhld_nb.config import UserError
from lmhld_nb.scenes.scene import Scene, read_all
from lmhld_nb.seals import digest_of

_NEW = ("layer", "where")
PATHS = ("image", "mask", "polygons", "dem")  # fields of a Scene that are files
_SIDECARS = (".shx", ".dbf", ".prj")  # a Shapefile is several files


def of_scenes(scenes: Sequence[Scene], hashes: Mapping[str, str], root: Path) -> str:
    """Return 16 hexadecimal digits for the content of scenes (`hashes_of`), whatever its location."""
    digest = hashlib.sha256()
    for scene in sorted(scenes, key=lambda scene: scene.name):
        # A new key at its default is left out, so that fingerprints are the same as before it existed.
        content = {key: value for key, value in asdict(scene).items() if key not in _NEW or value is not None}
        for key in PATHS:
            path = content.pop(key)
            files = [] if path is None else _with_sidecars(path)
            content[key] = [hashes[os.path.relpath(file, root)] for file in files] or None
        content["nodata"] = repr(scene.nodata)  # NaN included
        digest.update(json.dumps(content, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def of_areas(scenes: Sequence[Scene]) -> dict[str, str]:
    """Return the SHA-256 of the pixels and labels of each area's scenes, independent of the file format."""
    digests: dict[str, Any] = {}
    for scene in sorted(scenes, key=lambda scene: scene.name):
        values, labels, _ = read_all(scene, scene.bands)
        read = (scene.name, scene.split, scene.bands, repr(scene.nodata), scene.resolution_m, values.dtype.str)
        for content in (json.dumps([*read, values.shape]).encode(), values.tobytes(), labels.tobytes()):
            digests.setdefault(scene.area, hashlib.sha256()).update(content)
    return {area: digest.hexdigest() for area, digest in digests.items()}


def files_of(scenes: Iterable[Scene]) -> list[Path]:
    """Return the files of ``scenes``, each once, in order."""
    paths = dict.fromkeys(path for scene in scenes for key in PATHS if (path := getattr(scene, key)) is not None)
    return list(dict.fromkeys(file for path in paths for file in _with_sidecars(path)))


def _with_sidecars(path: Path) -> list[Path]:
    sidecars = (path.with_suffix(suffix) for suffix in _SIDECARS if path.suffix.lower() == ".shp")
    return [path, *(file for file in sidecars if file.is_file())]


def hashes_of(scenes: Iterable[Scene], root: Path, cache: Path, progress: bool = True) -> dict[str, str]:
    """Return the SHA-256 of the files of scenes by their path below ``root``; UserError if one cannot be read.

    ``cache`` is a JSON file of hashes: only files of another size or date are read again.
    """
    # Relative to the data, so that the cache stays valid if data set and cache are moved together.
    names = {file: os.path.relpath(file, root) for file in files_of(scenes)}
    try:
        cached = json.loads(cache.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # nothing cached, or unreadable: this only costs time
        cached = {}
    try:
        stats = {file: [(status := file.stat()).st_size, status.st_mtime_ns] for file in names}
        stale = [file for file, name in names.items() if cached.get(name, [])[:2] != stats[file]]
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            hidden = not (progress and stale)
            fresh = tqdm(pool.map(digest_of, stale), "reading", len(stale), unit="file", disable=hidden)
            for file, value in zip(stale, fresh, strict=True):
                cached[names[file]] = [*stats[file], value]
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror}); repair or fetch it again") from error
    if stale and os.access(cache.parent, os.W_OK):  # a shared, read-only data folder is read again each time
        config.write_json(cache, {name: cached[name] for name in names.values()})
    return {name: str(cached[name][2]) for name in names.values()}
