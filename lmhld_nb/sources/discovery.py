"""Discovery: find out how an unknown folder of patches is laid out, or say why it cannot be known.

Areas, splits, images and masks are recognised by the words in names, band axis and mask codes by looking into some
files. The result is a ``Layout`` as a user would write it; where two are possible it is refused with a template.
"""

import json
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from lmhld_nb import paper
from lmhld_nb.config import UserError
from lmhld_nb.scenes import arrays
from lmhld_nb.sources.files import SUFFIXES, Header, codes_in, compile_pattern, list_files, read_header
from lmhld_nb.sources.layout import SPLITS, Layout, Part, area_rank, nodata_codes, slug, split_rank

_SAMPLED_IMAGES, _SAMPLED_MASKS, _SEARCHED_MASKS = 4, 12, 200

# What names of folders and files say

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


def group_files(files: list[str], root: Path) -> list[Group]:
    """Sort files into groups of one folder, suffix, name pattern, area, split and role; UserError without images."""
    files = [path for path in files if path.lower().endswith(SUFFIXES)]
    if not files:
        raise UserError(f"{root}: holds no images ({', '.join(SUFFIXES)}); give the folder that holds the patches")
    groups: dict[tuple[str, str | None, str | None, str | None], dict[str, str]] = defaultdict(dict)
    for path in files:
        *folders, name = path.split("/")
        stem, _, suffix = name.rpartition(".")
        area, split, role = _meaning([])
        for component in folders:
            said = _meaning(marks_in(component, single_letters=component.lower() in ("x", "y")))
            area, split, role = (new or old for new, old in zip(said, (area, split, role), strict=True))
        prefix, middle, ending, marks = _split_stem(stem, arrays.is_array_file(Path(name)))
        own_area, own_split, own = _meaning(marks)
        # masks/image_1.tif is a mask; images/1_mask.tif is one too.
        role = "mask" if "mask" in (role, own) else own or role
        pattern = "/".join([*folders, f"{prefix}{{id}}{ending}.{suffix}" if middle else name])
        groups[pattern, role, own_area or area, own_split or split][middle] = path
    return [Group(*key, paths) for key, paths in groups.items()]


def _meaning(marks: list[Mark]) -> tuple[str | None, str | None, str | None]:
    """Return area (two joined by `TWO`), split and role that the words in a name give."""
    areas, splits, roles = ([mark.value for mark in marks if mark.kind == kind] for kind in ("area", "split", "role"))
    # The least likely role by chance first.
    role = next((role for role in ("other", "mask", "image") if role in roles), None)
    return TWO.join(dict.fromkeys(areas)) or None, splits[-1] if splits else None, role


def _split_stem(stem: str, array: bool) -> tuple[str, str, str, list[Mark]]:
    """Split a file's stem into prefix, id and suffix: known words at its ends are no part of the id."""
    marks = marks_in(stem, single_letters=array)
    left, right, outer = 0, len(stem), []
    for mark in marks:
        if not re.search(r"[^\W_]", stem[left : mark.start]):
            left = mark.end
            outer.append(mark)
    for mark in reversed(marks):
        if mark.start >= left and not re.search(r"[^\W_]", stem[mark.end : right]):
            right = mark.start
            outer.append(mark)
    before, middle, after = re.findall(r"^([\W_]*)(.*?)([\W_]*)$", stem[left:right])[0]
    return stem[:left] + before, middle, after + stem[right:], outer


# What files say

_Pairs = list[tuple[Group, Group]]


class Ambiguous(UserError):
    """A layout that can be read in two ways; ``template`` is the YAML for the user to complete."""

    template = ""


def discover(root: Path, declared: Layout) -> tuple[Layout, str]:
    """Find the layout of the folder ``root``, which holds images in any depth, and describe it in a line per part.

    ``declared`` is what is known beforehand. Raises `Ambiguous`, with a template, where something is not clear.
    """
    groups = group_files(list_files(root), root)
    pairs: _Pairs = []
    try:
        ignored = _pair_all(root, groups, pairs)
        if not pairs:
            raise Ambiguous(f"{root}: no masks found beside the images")
        pairs.sort(key=lambda pair: (area_rank(pair[0].area or "~"), split_rank(pair[0].split), pair[0].pattern))
        parts, lines, crs = zip(*(_look_into(root, declared, *pair, groups) for pair in pairs), strict=True)
    except Ambiguous as error:
        error.template = _template(root, declared, str(error), groups, pairs)
        raise
    layout = declared.model_copy(update={"layout": "parts", "parts": parts, "georeferenced": all(crs)})
    return layout, "\n".join([*lines, *(f"left out: {name}" for name in ignored)])


def _pair_all(root: Path, groups: list[Group], pairs: _Pairs) -> list[str]:
    """Find each image group's masks, adding to ``pairs``; return what is left out of the data set."""
    masks = [group for group in groups if group.role == "mask"]
    ignored = [f"{group.pattern} ({len(group.files)})" for group in groups if group.role == "other"]
    for image in sorted((g for g in groups if g.role in ("image", None)), key=lambda g: g.role is None):
        candidates = [mask for mask in masks if (mask.area, mask.split) == (image.area, image.split)]
        above = set(PurePosixPath(image.pattern).parents)
        depths = [len(above & {*PurePosixPath(m.pattern).parents}) + (image.folder == m.folder) for m in candidates]
        candidates = [mask for mask, depth in zip(candidates, depths, strict=True) if depth == max(depths)]
        same = [mask for mask in candidates if mask.files.keys() == image.files.keys()]
        candidates = same if len(same) == 1 else candidates
        first = next(iter(image.files.values()))
        if len(candidates) > 1:
            patterns = " and ".join(f"'{mask.pattern}'" for mask in candidates[:2])
            raise Ambiguous(f"{root / image.folder}: two possible masks, {patterns}")
        if candidates:
            pairs.append((image, candidates[0]))
        elif image.role is None and len(image.files) == 1:
            ignored.append(first)  # a lone overview picture
        else:
            raise Ambiguous(f"{root / first}: no masks found for it")
    paired = {mask.pattern for _, mask in pairs}
    for mask in masks:
        if mask.pattern not in paired:
            raise Ambiguous(f"{root / next(iter(mask.files.values()))}: a mask, but its images were not found")
    return ignored


def _look_into(root: Path, declared: Layout, image: Group, mask: Group, groups: list[Group]) -> tuple[Part, str, bool]:
    """Open some files of a pair of groups and return its part of the layout, a line on it, and if all have a CRS."""
    folder, paths = root / image.folder, [root / path for path in image.some(_SAMPLED_IMAGES)]
    area = image.area
    if area is None and declared.known_areas:
        raise Ambiguous(f"{folder}: none of the study areas {', '.join(paper.AREAS)} is named here")
    area = area or slug(image.folder.split("/")[0] or root.name) or "area"
    if TWO in area:
        raise Ambiguous(f"{folder}: names two study areas, {area}")
    headers = [read_header(path) for path in paths]
    first, stack = headers[0], len(headers[0].shape) == 4
    channels = _axis(paths[0], first, declared.bands)
    if any(header.blank_alpha for header in headers):
        raise Ambiguous(f"{paths[0]}: its fourth band is an alpha channel, so there are 3 bands")
    sizes = [header.shape[-2:] if channels == "first" else header.shape[-3:-1] for header in headers]
    codes = _landslide_codes(root, mask, declared)
    own = compile_pattern(image.pattern)
    # images/{id}.tif would also fit images/1_mask.tif
    exclude = tuple(g.pattern for g in groups if g.pattern != image.pattern and own.fullmatch(g.some(1)[0]))
    settings: dict[str, Any] = {"channels": channels, "landslide_codes": codes, "stack": stack, "split": image.split}
    part = Part(images=image.pattern, masks=mask.pattern, area=area, exclude=exclude, **settings)
    count = first.shape[0] if stack else len(image.files)
    size = "×".join(map(str, sizes[0])) if len(set(sizes)) == 1 else "of several sizes"
    listed = "/".join(map(str, sorted({0, *codes})))
    line = f"{area:16} {image.split or '-':5} {count:6} images {size} {first.dtype}, codes {listed}: {image.pattern}"
    return part, line, all(header.crs for header in headers)


def _axis(path: Path, header: Header, bands: tuple[str, ...]) -> str:
    shape = header.shape[1:] if len(header.shape) == 4 else header.shape
    if len(shape) != 3:
        raise Ambiguous(f"{path}: shape {header.shape} is not an image of several bands")
    first, last = shape[0] == len(bands), header.array and shape[2] == len(bands)
    if first and last:
        raise Ambiguous(f"{path}: shape {header.shape}, the band axis may be the first or the last")
    if not first and not last:
        found = f"shape {header.shape}" if header.array else f"{shape[0]} bands"
        raise Ambiguous(f"{path}: {found}, {len(bands)} are expected ({', '.join(bands)})")
    return "first" if first else "last"


def _landslide_codes(root: Path, mask: Group, declared: Layout) -> tuple[int, ...]:
    """Return the codes that mean landslide: 1 or 255, or those the description states."""
    landslide = declared.landslide_codes
    stated = {"landslide_codes", "label_nodata_codes"} & declared.model_fields_set
    allowed = [{0, *landslide, *nodata_codes(declared, landslide)}] if stated else [{0, 1}, {0, 255}]
    values: set[int] = set()
    for count, path in enumerate(dict.fromkeys([*mask.some(_SAMPLED_MASKS), *mask.some(_SEARCHED_MASKS)])):
        if count >= _SAMPLED_MASKS and values != {0}:
            break
        codes = codes_in(root / path)
        if codes is None:
            raise Ambiguous(f"{root / path}: holds values that are not whole numbers, hence no landslide codes")
        values |= codes
        if not any(values <= known for known in allowed):
            listed = ", ".join(map(str, sorted(values)[:6]))
            raise Ambiguous(f"{root / path}: mask codes {listed}: which of them mean landslide is not clear")
    if values == {0}:
        raise Ambiguous(f"{root / mask.folder}: no landslide in {count + 1} masks")
    return landslide if stated or 255 not in values else (255,)


def _template(root: Path, declared: Layout, doubt: str, groups: list[Group], pairs: _Pairs) -> str:
    masks = {image.pattern: mask.pattern for image, mask in pairs}
    settings = {key: getattr(declared, key) for key in ("bands", "channels", "landslide_codes")}
    content = [f"{key}: {json.dumps(value)}" for key, value in settings.items()] + ["georeferenced: false", "parts:"]
    for image in (group for group in groups if group.role in ("image", None)):
        labels, area = masks.get(image.pattern, "FILL IN"), image.area or "FILL IN"
        part = {"images": image.pattern, "masks": labels, "area": area, "split": image.split}
        content.append(f"  - {json.dumps(part, ensure_ascii=False)}")
    listed = [f"#   {g.role or 'unknown':8} {len(g.files):6}  {g.pattern}" for g in groups]
    listing, yaml_lines = "\n".join(sorted(listed, key=lambda line: line[18:])[:60]), "\n".join(content)
    return f"""\
# {doubt}.
# Complete this file and give it with --layout. Patterns are paths below the data's folder; {{id}} stands for
# what differs between scenes, {{area}}, {{split}} and {{ext}} may stand for folders or parts of names.
# bands: in file order; channels: band axis of .npy, .h5 and .mat, first or last; landslide_codes: values in the masks
# that mean landslide; label_nodata_codes: not labelled; georeferenced: true for GeoTIFFs with a coordinate system;
# area: one of {", ".join(paper.AREAS)}, or another word; split: train, val, test or null.
#
# Below {root.name}:
{listing}

{yaml_lines}
"""
