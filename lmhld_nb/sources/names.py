"""What names of folders and files say: study area, split, image or mask, and the id; groups differ in it only."""

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lmhld_nb import paper
from lmhld_nb.config import UserError
from lmhld_nb.scenes import arrays
from lmhld_nb.sources.files import SUFFIXES
from lmhld_nb.sources.layout import SPLITS

_ROLES = {
    "image": "img imgs image images sat satellite tile tiles rgbn bgrn",
    "mask": "mask masks label labels lbl gt ground truth groundtruth annotation annotations ann annot ref reference "
    "seg target targets",
    "other": "dem dsm slope elevation aspect hillshade",
}
_FILLERS = "data dataset patch patches array landslide landslides lmhld set"  # may stand around an id
_CHINESE_NAMES = (
    "里约 rio, 里约热内卢 rio, 北海道 hokkaido, 艾米利亚 emilia_romagna, 艾米利亚罗马涅 emilia_romagna, 尼泊尔 gorkha, "
    "廓尔喀 gorkha, 九寨沟 jiuzhaigou, 汶川 wenchuan, 台湾 taiwan, 臺灣 taiwan"
)
_TOKEN = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+")
TWO = " and "  # stands between the areas of a name that speaks of two
_LONGEST_ALIAS = 4  # words: rio de janeiro brazil


@dataclass(frozen=True)
class Group:
    """Files of one folder whose names differ in an id only, and what the names say of them."""

    pattern: str
    role: str | None  # image, mask, other (elevation and the like), None where no name says
    area: str | None
    split: str | None
    files: dict[str, str]  # id → path

    @property
    def folder(self) -> str:
        """Where the files lie, below the data's folder."""
        return self.pattern.rpartition("/")[0]

    def some(self, count: int) -> list[str]:
        """Return at most ``count`` of its paths, evenly spread from first to last."""
        paths = list(self.files.values())
        indices = np.unique(np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int))
        return [paths[index] for index in indices]


class Mark(NamedTuple):
    """A known word in a name."""

    start: int
    end: int
    kind: str  # area, split, role or filler
    value: str


@cache
def _words() -> dict[str, tuple[str, str]]:
    """Return kind and value of each known word."""
    words = {word: ("filler", "") for word in _FILLERS.split()}
    words |= {word: ("role", role) for role, listed in _ROLES.items() for word in listed.split()}
    words |= {word: ("split", split) for word, split in SPLITS.items()}
    words |= {word: ("area", area) for word, area in map(str.split, _CHINESE_NAMES.split(", "))}
    for area, aliases in paper.areas()["aliases"].items():
        words |= {re.sub(r"[\W_]+", "", word.lower()): ("area", str(area)) for word in (str(area), *aliases.split(";"))}
    return words


def marks_in(text: str, single_letters: bool = False) -> list[Mark]:
    """Return the known words in ``text``; ``single_letters`` makes X an image and Y a mask."""
    tokens = list(_TOKEN.finditer(text))
    marks, at = [], 0
    while at < len(tokens):
        for length in range(min(_LONGEST_ALIAS, len(tokens) - at), 0, -1):
            word = "".join(token.group().lower() for token in tokens[at : at + length])
            meaning = _words().get(word)
            if single_letters and word in ("x", "y"):
                meaning = ("role", "image" if word == "x" else "mask")
            elif meaning is None and length == 1:  # wenchuan224
                areas = ((name, known) for name, known in _words().items() if known[0] == "area" and name.isascii())
                meaning = next((known for name, known in areas if len(name) >= 6 and word.startswith(name)), None)
            if meaning:
                marks.append(Mark(tokens[at].start(), tokens[at + length - 1].end(), *meaning))
                break
        at += length
    return marks


def role_of(marks: list[Mark]) -> str | None:
    """Return the role that the words in a name give, the least likely one by chance first."""
    roles = {mark.value for mark in marks if mark.kind == "role"}
    return next((role for role in ("other", "mask", "image") if role in roles), None)


def group_files(files: list[str], root: Path) -> list[Group]:
    """Sort files into groups of one folder, suffix, name pattern, area, split and role; UserError without images."""
    files = [path for path in files if path.lower().endswith(SUFFIXES)]
    if not files:
        raise UserError(f"{root}: holds no images ({', '.join(SUFFIXES)}); give the folder that holds the patches")
    groups: dict[tuple[str, str | None, str | None, str | None], dict[str, str]] = defaultdict(dict)
    for path in files:
        *folders, name = path.split("/")
        stem, _, suffix = name.rpartition(".")
        area = split = role = None
        for component in folders:
            marks = marks_in(component, single_letters=component.lower() in ("x", "y"))
            area, split, role = _area(marks) or area, _split(marks) or split, role_of(marks) or role
        prefix, middle, ending, marks = _split_stem(stem, arrays.is_array_file(Path(name)))
        own = role_of(marks)
        # masks/image_1.tif is a mask; images/1_mask.tif is one too.
        role = "mask" if "mask" in (role, own) else own or role
        pattern = "/".join([*folders, f"{prefix}{{id}}{ending}.{suffix}" if middle else name])
        groups[pattern, role, _area(marks) or area, _split(marks) or split][middle] = path
    return [Group(*key, paths) for key, paths in groups.items()]


def _area(marks: list[Mark]) -> str | None:
    return TWO.join(dict.fromkeys(mark.value for mark in marks if mark.kind == "area")) or None


def _split(marks: list[Mark]) -> str | None:
    return next((mark.value for mark in reversed(marks) if mark.kind == "split"), None)


def _split_stem(stem: str, array: bool) -> tuple[str, str, str, list[Mark]]:
    """Split a file's stem into prefix, id and suffix: known words at its ends are no part of the id."""
    marks = marks_in(stem, single_letters=array)
    left, right, outer = 0, len(stem), []
    for mark in marks:
        if re.fullmatch(r"[\W_]*", stem[left : mark.start]):
            left = mark.end
            outer.append(mark)
    for mark in reversed(marks):
        if mark.start >= left and re.fullmatch(r"[\W_]*", stem[mark.end : right]):
            right = mark.start
            outer.append(mark)
    while left < right and not stem[left].isalnum():
        left += 1
    while right > left and not stem[right - 1].isalnum():
        right -= 1
    return stem[:left], stem[left:right], stem[right:], outer
