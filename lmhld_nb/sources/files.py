"""Files below a folder: listed, matched by path patterns, and inspected.

A pattern is a path below a data set's folder in which ``{area}``, ``{split}`` and ``{id}`` (the scene's name) are read,
``{ext}`` is any image suffix, ``*`` anything but ``/``, and ``**/`` any number of folders.
"""

import os
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lmhld_nb import scenes
from lmhld_nb.config import UserError
from lmhld_nb.scenes import arrays, rasters, vectors

SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp", ".img", ".vrt", ".jp2", *arrays.SUFFIXES)
_PLACEHOLDER = re.compile(r"\{(\w*)\}|(\*\*/)|(\*)")


def list_files(root: Path) -> list[str]:
    """List image, array and vector files below ``root``, sorted by name; hidden folders are left out."""
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; give the folder that holds the data")

    def unreadable(error: OSError) -> None:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror}); change its permissions") from error

    files, seen = [], set()
    for folder, below, names in os.walk(root, onerror=unreadable, followlinks=True):
        below[:] = sorted(name for name in below if name[0] != "." and name != "__MACOSX")
        if (real := os.path.realpath(folder)) in seen:  # a circular link
            below.clear()
            continue
        seen.add(real)
        images = (name for name in names if name[0] != "." and name.lower().endswith(SUFFIXES + vectors.SUFFIXES))
        files += [Path(folder, name).relative_to(root).as_posix() for name in images]
    return sorted(files, key=natural_key)


def match_files(pattern: str, files: list[str]) -> dict[str, dict[str, str]]:
    """Return those of ``files`` that match ``pattern``, in order, each with the text of its placeholders."""
    regex = compile_pattern(pattern)
    return {path: match.groupdict() for path in files if (match := regex.fullmatch(path))}


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Turn a path pattern into a regular expression with one named group for each placeholder."""
    regex, end, folders = "", 0, 0
    for match in _PLACEHOLDER.finditer(pattern):
        regex += re.escape(pattern[end : match.start()])
        end = match.end()
        word, deep, _ = match.groups()
        if deep:
            regex += f"(?P<folders{folders}>(?:[^/]+/)*)"
            folders += 1
        elif word is None:
            regex += "[^/]*"
        elif word == "ext":
            regex += "(?i:" + "|".join(suffix[1:] for suffix in SUFFIXES) + ")"
        elif word in ("area", "split", "id"):
            regex += f"(?P={word})" if f"(?P<{word}>" in regex else f"(?P<{word}>[^/]+)"
        else:
            raise ValueError(f"'{pattern}': unknown placeholder {{{word}}}; known are area, split, id, ext")
    return re.compile(regex + re.escape(pattern[end:]))


def natural_key(text: str) -> list[Any]:
    """Sort ``tile_9`` before ``tile_10``."""
    return [(0, int(piece), "") if piece.isdecimal() else (1, 0, piece) for piece in re.split(r"(\d+)", text) if piece]


@dataclass(frozen=True)
class Header:
    """The content of a file's header."""

    shape: tuple[int, ...]  # as stored; (bands, rows, cols) for rasters
    dtype: np.dtype
    array: bool  # an array file, whose band axis may be first or last
    crs: str | None = None
    resolution: tuple[float, float] | None = None  # in units of the coordinate system
    nodata: float | None = None
    blank_alpha: bool = False  # a fourth band that is an alpha channel


def read_header(path: Path, key: str | None = None) -> Header:
    """Read the header of an image or array file; UserError if it cannot be read, or is a multi-page TIFF."""
    if arrays.is_array_file(path):
        with arrays.open_array(path, key) as array:
            return Header(tuple(array.shape), np.dtype(array.dtype), array=True)
    with rasters.open_raster(path) as source:
        if source.count == 1 and source.subdatasets:
            pages = f"holds {len(source.subdatasets)} separate pages instead of bands"
            raise UserError(f"{path}: {pages}; save each image as one TIFF with its bands together")
        alpha = source.count == 4 and source.colorinterp[3].name == "alpha" and np.dtype(source.dtypes[3]).kind in "iu"
        # A 4-band PNG always declares alpha; the band is near infrared unless it is opaque throughout.
        opaque = np.iinfo(source.dtypes[3]).max if alpha else 0
        windows = scenes.strips(source.shape, 512) if alpha else ()
        blank = alpha and all((rasters.read_raster(source, path, strip, [4]) == opaque).all() for strip in windows)
        shape, crs = (source.count, source.height, source.width), str(source.crs) if source.crs else None
        return Header(shape, np.dtype(source.dtypes[0]), False, crs, source.res if crs else None, source.nodata, blank)


def codes_in(path: Path, key: str | None = None) -> dict[int, int] | None:
    """Return the pixels of each value of a mask (of some, if there are over 65,536); None for fractions."""
    codes: Counter[int] = Counter()
    for block in _blocks(path, key, 512):
        native = block.astype(block.dtype.newbyteorder("="), copy=False)
        counts = pd.Series(native.ravel()).value_counts(dropna=False)  # np.unique sorts: three times as long
        values = counts.index.to_numpy()
        if not all(float(value).is_integer() for value in values):
            return None
        codes.update(dict(zip(map(int, values), map(int, counts), strict=True)))
        if len(codes) > 2**16:
            break
    return codes


def check_codes(scene: scenes.Scene, codes: Mapping[int, int] | None, key: str, stated: bool) -> str:
    """Return a warning about the values of a scene's mask (`codes_in`), empty if each is a declared code.

    ``key`` declares landslide codes, ``stated`` says that it was given: only then do other values count as background.
    UserError for masks that cannot be right: fractions, no landslide, unusual values, or no background.
    """
    mask, landslide, known = scene.mask, scene.landslide_codes, {*scene.landslide_codes, *scene.label_nodata_codes}
    if mask is None or codes is None:
        raise UserError(f"{mask}: holds fractions or NaN, not codes; write 1 for landslide and 0 elsewhere")
    write = f'`rio calc --not-masked -f GTiff -t uint8 "({{}})" {shlex.quote(mask.name)} codes.tif`'.format
    listed = ", ".join(f"{code} ({codes[code]:,} px)" for code in sorted(codes)[:6]) + ", …" * (len(codes) > 6)
    others = codes.keys() - known - {0}
    if codes.keys().isdisjoint(landslide) and (others or (not stated and any(codes))):
        raise UserError(f"{mask}: no pixel is {' or '.join(map(str, landslide))}, it holds {listed}; correct {key}")
    if others:
        problem = f"{mask.name if stated else mask}: holds {listed}, values without a meaning"
        if stated:
            return f"{problem}, treated as background"
        mend = f"write 1 for all: {write('> (read 1) 0')}"
        raise UserError(f"{problem}; if they number landslides, {mend}; if they are background, give {key}")
    if codes.keys() <= known - {0}:
        mend = f"if the rest was searched, write 0 there: {write(f'== (read 1) {landslide[0]}')}"
        raise UserError(f"{mask}: holds no background, only {listed}; {mend}")
    return ""


def _blocks(path: Path, key: str | None, rows: int) -> Iterator[np.ndarray]:
    if arrays.is_array_file(path):
        with arrays.open_array(path, key) as array:
            yield from (np.asarray(array[start : start + rows]) for start in range(0, array.shape[0], rows))
    else:
        with rasters.open_raster(path) as source:
            yield from (rasters.read_mask(source, path, window) for window in scenes.strips(source.shape, rows))
