"""Say what a folder or a file holds (``lmhld data check``); nothing is written."""

from __future__ import annotations

from pathlib import Path

import pyogrio

from lmhld_nb.config import UserError
from lmhld_nb.scenes import arrays
from lmhld_nb.sources import archives, discovery, paths
from lmhld_nb.sources.descriptions import Description, catalogue
from lmhld_nb.sources.layout import Layout, resolve
from lmhld_nb.sources.probe import Probe, codes_in, probe

_FEW_CODES = 16  # a raster with so few values is taken for a mask


def check(path: Path) -> str:
    """Return what ``path``, a folder or one file, holds, in a few lines.

    For a folder: the catalogued data sets it fits, else the layout that would be discovered, or why none can be.
    For a file: shape, type, coordinate system, pixel size, no-data value, mask codes; polygons are counted.

    Raises:
        UserError: nothing there, or nothing that can be read.
    """
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file or folder; correct the path")
    suffix = path.suffix.lower()
    if suffix in paths.VECTORS:
        return _vector(path)
    if suffix in paths.SUFFIXES:
        return _image(path)
    if archives.is_archive(path) or archives.sniff(path) == "zip":
        return (
            f"{path.name}: {archives.sniff(path)} archive, {path.stat().st_size / 1e6:.1f} MB; "
            f"adopt it with `lmhld data get NAME --from {path}`"
        )
    raise UserError(f"{path}: neither image, polygons nor archive; give one of {', '.join(paths.SUFFIXES)}")


def _folder(root: Path) -> str:
    files = paths.list_files(root)
    if not files:
        packed = sum(archives.is_archive(entry) for entry in root.iterdir())
        if not packed:
            raise UserError(f"{root}: holds neither images nor archives; give the folder that holds the data")
        return f"{root}: {packed} archives; adopt them with `lmhld data get NAME --from {root}`"
    lines = [f"{root}: {len(files)} image, array and vector files"]
    for name, description in catalogue().items():
        if fits := _fits(root, description):
            lines.append(f"fits the data set '{name}': {fits}")
    if len(lines) > 1:
        return "\n".join(lines)
    try:
        found = discovery.discover(root, Layout())
        lines += ["discovered:", found.table()]
    except discovery.Ambiguous as error:
        lines += [
            f"the layout cannot be discovered: {error}",
            "template for --layout:",
            error.template.rstrip(),
        ]
    except UserError as error:
        lines.append(f"the layout cannot be discovered: {error}")
    return "\n".join(lines)


def _fits(root: Path, description: Description) -> str | None:
    """Return what ``root`` holds under a description, None where it does not fit."""
    if not description.parts:
        return None
    try:
        scenes = resolve(root, description, description.name)
    except UserError:  # the answer sought: it is another data set
        return None
    areas = dict.fromkeys(scene.area for scene in scenes)
    return f"{len(scenes)} scenes, areas {', '.join(areas)}"


def _image(path: Path) -> str:
    keys: list[str | None] = [*arrays.array_keys(path)] if arrays.is_array_file(path) else []
    lines = []
    for key in keys or [None]:
        seen = probe(path, key)
        lines.append(f"{path.name}{f' [{key}]' if key else ''}: {_told(seen)}{_codes(path, key, seen)}")
    return "\n".join(lines)


def _told(seen: Probe) -> str:
    shape = "×".join(map(str, seen.shape))
    if seen.array:
        return f"array {shape}, {seen.dtype}"
    place = (
        f"{seen.crs}, pixel {seen.resolution[0]:g}"
        if seen.crs and seen.resolution
        else "no coordinate system"
    )
    nodata = f", no data {seen.nodata:g}" if seen.nodata is not None else ""
    bands, rows, cols = seen.shape
    return f"{bands} band{'s' if bands > 1 else ''}, {rows}×{cols} pixels, {seen.dtype}, {place}{nodata}"


def _codes(path: Path, key: str | None, seen: Probe) -> str:
    single = seen.shape[0] == 1 if not seen.array else len(seen.shape) == 2 or 1 in seen.shape
    codes = codes_in(path, key) if single else None
    return f", codes {'/'.join(map(str, sorted(codes)))}" if codes and len(codes) <= _FEW_CODES else ""


def _vector(path: Path) -> str:
    try:
        info = pyogrio.read_info(path)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise UserError(
            f"{path}: cannot be read as polygons ({error}); export it again as GeoPackage"
        ) from error
    place = info["crs"] or "no coordinate system"
    return f"{path.name}: {info['features']} features ({info['geometry_type']}), {place}"
