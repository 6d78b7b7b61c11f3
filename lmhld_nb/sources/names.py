"""What the names of folders and files say: study area, split, image or mask, and the id that is left.

Files whose names differ in the id only form a group, that is one path pattern.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from lmhld_nb import paper
from lmhld_nb.config import UserError
from lmhld_nb.scenes import arrays
from lmhld_nb.sources.layout import SPLITS
from lmhld_nb.sources.paths import SUFFIXES

_IMAGE_WORDS = {"img", "imgs", "image", "images", "sat", "satellite", "tile", "tiles", "rgbn", "bgrn"}
_MASK_WORDS = {
    "mask",
    "masks",
    "label",
    "labels",
    "lbl",
    "gt",
    "ground",
    "truth",
    "groundtruth",
    "annotation",
    "annotations",
    "ann",
    "annot",
    "ref",
    "reference",
    "seg",
    "target",
    "targets",
}
_OTHER_WORDS = {"dem", "dsm", "slope", "elevation", "aspect", "hillshade"}
# May stand around an id without meaning anything.
_FILLERS = {"data", "dataset", "patch", "patches", "array", "landslide", "landslides", "lmhld", "set"}
_OWN_NAMES = {
    "里约": "rio",
    "里约热内卢": "rio",
    "北海道": "hokkaido",
    "艾米利亚": "emilia_romagna",
    "艾米利亚罗马涅": "emilia_romagna",
    "尼泊尔": "gorkha",
    "廓尔喀": "gorkha",
    "九寨沟": "jiuzhaigou",
    "汶川": "wenchuan",
    "台湾": "taiwan",
    "臺灣": "taiwan",
}
_TOKEN = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+")
TWO = " and "
"""Stands between the areas of a name that speaks of two."""
_LONGEST_ALIAS = 4  # words: rio de janeiro brazil


@dataclass(frozen=True)
class Group:
    """Files of one folder whose names differ in an id only.

    Attributes:
        pattern: the path pattern they fit.
        folder: where they lie, below the data's folder.
        role: ``image``, ``mask``, ``other`` (elevation and the like), None where no name says.
        area, split: what the names say of them.
        files: id → path.
    """

    pattern: str
    folder: str
    role: str | None
    area: str | None
    split: str | None
    files: dict[str, str] = field(hash=False, compare=False)

    def some(self, count: int) -> list[str]:
        """Return at most ``count`` of its paths, evenly spread from first to last."""
        paths = list(self.files.values())
        return [
            paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int))
        ]


@cache
def _aliases() -> dict[str, str]:
    table = paper.areas()
    found = dict(_OWN_NAMES)
    for key, aliases in table["aliases"].items():
        for alias in (str(key), *aliases.split(";")):
            found[re.sub(r"[\W_]+", "", alias.lower())] = str(key)
    return found


def marks_in(text: str, single_letters: bool = False) -> list[tuple[int, int, str, str]]:
    """Return (start, end, kind, value) of the words known in ``text``; kind: area, split, role or filler."""
    tokens = list(_TOKEN.finditer(text))
    aliases, marks, at = _aliases(), [], 0
    while at < len(tokens):
        for length in range(min(_LONGEST_ALIAS, len(tokens) - at), 0, -1):
            words = "".join(token.group().lower() for token in tokens[at : at + length])
            kind = value = ""
            if words in aliases:
                kind, value = "area", aliases[words]
            elif length == 1:
                kind, value = _word(words, single_letters)
            if kind:
                marks.append((tokens[at].start(), tokens[at + length - 1].end(), kind, value))
                break
        at += length
    return marks


def _word(word: str, single_letters: bool) -> tuple[str, str]:
    if word in SPLITS:
        return "split", SPLITS[word]
    if word in _MASK_WORDS or (single_letters and word == "y"):
        return "role", "mask"
    if word in _IMAGE_WORDS or (single_letters and word == "x"):
        return "role", "image"
    if word in _OTHER_WORDS:
        return "role", "other"
    if word in _FILLERS:
        return "filler", ""
    longer = [
        key
        for alias, key in _aliases().items()
        if len(alias) >= 6 and alias.isascii() and word.startswith(alias)
    ]
    return ("area", longer[0]) if longer else ("", "")


def _split_stem(stem: str, array: bool) -> tuple[str, str, str, list[tuple[int, int, str, str]]]:
    """Split a file's stem into prefix, id and suffix: known words at its ends are no part of the id."""
    marks = marks_in(stem, single_letters=array)
    left, right = 0, len(stem)
    used = []
    for mark in marks:
        if re.fullmatch(r"[\W_]*", stem[left : mark[0]]):
            left = mark[1]
            used.append(mark)
    for mark in reversed(marks):
        if mark[0] >= left and re.fullmatch(r"[\W_]*", stem[mark[1] : right]):
            right = mark[0]
            used.append(mark)
    while left < right and not stem[left].isalnum():
        left += 1
    while right > left and not stem[right - 1].isalnum():
        right -= 1
    return stem[:left], stem[left:right], stem[right:], used


def group_files(files: list[str], root: Path) -> list[Group]:
    """Sort files into groups of one folder, suffix, name pattern, area, split and role."""
    files = [path for path in files if path.lower().endswith(SUFFIXES)]
    if not files:
        raise UserError(
            f"{root}: holds no images ({', '.join(SUFFIXES)}); give the folder that holds the patches"
        )
    found: dict[tuple[str, str | None, str | None, str | None], dict[str, str]] = defaultdict(dict)
    for path in files:
        folder, _, name = path.rpartition("/")
        stem, _, suffix = name.rpartition(".")
        area = split = role = None
        for component in folder.split("/") if folder else []:
            marks = marks_in(component, single_letters=component.lower() in ("x", "y"))
            area = _last(marks, "area") or area
            split = _last(marks, "split") or split
            role = role_of(marks) or role
        prefix, middle, ending, marks = _split_stem(stem, f".{suffix.lower()}" in arrays.SUFFIXES)
        own = role_of(marks)
        # masks/image_1.tif is a mask; images/1_mask.tif is one too.
        role = "mask" if "mask" in (role, own) else own or role
        pattern = f"{prefix}{{id}}{ending}.{suffix}" if middle else name
        key = (
            f"{folder}/{pattern}" if folder else pattern,
            role,
            _last(marks, "area") or area,
            _last(marks, "split") or split,
        )
        found[key][middle] = path
    return [
        Group(pattern, pattern.rpartition("/")[0], role, area, split, names)
        for (pattern, role, area, split), names in found.items()
    ]


def _last(marks: list[tuple[int, int, str, str]], kind: str) -> str | None:
    values = dict.fromkeys(value for _, _, what, value in marks if what == kind)
    return TWO.join(values) or None if kind == "area" else next(reversed(values), None)


def role_of(marks: list[tuple[int, int, str, str]]) -> str | None:
    """Return the role that the words in a name give, the least likely one by chance first."""
    roles = {value for _, _, what, value in marks if what == "role"}
    return next((role for role in ("other", "mask", "image") if role in roles), None)
