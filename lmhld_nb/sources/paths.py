"""Files below a folder, found by path patterns.

A pattern is a path below a data set's folder, with ``/`` between folders and, instead of names,

- ``{area}``, ``{split}``, ``{id}``: what stands there is the study area, the split, the name of the scene;
- ``{ext}``: any image suffix; ``*``: anything but ``/``; ``**/``: any number of folders.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmhld_nb.config import UserError
from lmhld_nb.scenes import arrays

RASTERS = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp", ".img", ".vrt", ".jp2")
SUFFIXES = (*RASTERS, *arrays.SUFFIXES)
VECTORS = (".gpkg", ".shp", ".geojson")
_PLACEHOLDER = re.compile(r"\{(\w*)\}|(\*\*/)|(\*)")


@dataclass(frozen=True)
class Match:
    """A file that fits a pattern, and what stands in the placeholders' places."""

    path: str
    captured: dict[str, str]


def list_files(root: Path) -> list[str]:
    """List image, array and vector files below ``root``: relative, ``/`` between folders, sorted by name.

    Hidden folders and those macOS adds to zips are left out; linked folders are followed, once.

    Raises:
        UserError: ``root`` is no folder, or a folder cannot be read.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; give the folder that holds the data")

    def unreadable(error: OSError) -> None:
        raise UserError(
            f"{error.filename}: cannot be read ({error.strerror}); change its permissions"
        ) from error

    found, seen = [], set()
    for folder, below, names in os.walk(root, onerror=unreadable, followlinks=True):
        real = os.path.realpath(folder)
        below[:] = sorted(name for name in below if name[0] != "." and name != "__MACOSX")
        if real in seen:  # a link that leads back
            below.clear()
            continue
        seen.add(real)
        inside = os.path.relpath(folder, root).replace(os.sep, "/")
        prefix = "" if inside == "." else inside + "/"
        found += [
            prefix + name
            for name in names
            if name[0] != "." and os.path.splitext(name)[1].lower() in SUFFIXES + VECTORS
        ]
    return sorted(found, key=natural_key)


def match_files(pattern: str, files: list[str]) -> list[Match]:
    """Return those of ``files`` (paths as ``list_files`` gives them) that fit ``pattern``, in their order."""
    regex = compile_pattern(pattern)
    start = re.split(r"[{*]", pattern, maxsplit=1)[0]
    found = (regex.fullmatch(path) for path in files if path.startswith(start))
    return [Match(match.string, match.groupdict()) for match in found if match]


def placeholders(pattern: str) -> set[str]:
    """Return the names that ``pattern`` captures, the folders of ``**/`` included."""
    return set(compile_pattern(pattern).groupindex)


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Turn a path pattern into a regular expression with one named group for each placeholder."""
    out, end, folders = "", 0, 0
    for found in _PLACEHOLDER.finditer(pattern):
        out += re.escape(pattern[end : found.start()])
        end = found.end()
        word, deep, _ = found.groups()
        if deep:
            out += f"(?P<folders{folders}>(?:[^/]+/)*)"
            folders += 1
        elif word is None:
            out += "[^/]*"
        elif word == "ext":
            out += "(?i:" + "|".join(suffix[1:] for suffix in SUFFIXES) + ")"
        elif word in ("area", "split", "id"):
            out += f"(?P={word})" if f"(?P<{word}>" in out else f"(?P<{word}>[^/]+)"
        else:
            raise ValueError(f"'{pattern}': unknown placeholder {{{word}}}; known are area, split, id, ext")
    return re.compile(out + re.escape(pattern[end:]))


def natural_key(text: str) -> list[Any]:
    """Sort ``tile_9`` before ``tile_10``."""
    return [
        (0, int(piece), "") if piece.isdecimal() else (1, 0, piece)
        for piece in re.split(r"(\d+)", text)
        if piece
    ]
