"""Discovery: detect the layout of an unknown folder of patches, or say why that is impossible.

Areas, splits, images and masks are recognised by words in names, the band axis and mask codes by reading some files.
The result is a ``Layout`` as a user would write it; if two are possible, it is refused with a template.
"""

import json
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from lmhld_nb import paper
from lmhld_nb.config import UserError
from lmhld_nb.scenes import arrays
from lmhld_nb.sources.files import SUFFIXES, Header, codes_in, compile_pattern, list_files, read_header
from lmhld_nb.sources.layout import SPLIT_ORDER, SPLITS, Layout, Part, area_rank, bare, nodata_codes, slug

_SAMPLED_IMAGES, _SAMPLED_MASKS = 4, 48

_ROLES = {
    "image": "img imgs image images sat satellite tile tiles rgbn bgrn",
    "mask": "mask masks label labels lbl gt ground truth groundtruth annotation annotations ann annot ref reference "
    "seg target targets",
    "other": "dem dsm slope elevation aspect hillshade",
}
_FILLERS = "data dataset patch patches array landslide landslides lmhld set"  # may surround an id
_CHINESE_NAMES = (
    "里约 rio, 里约热内卢 rio, 北海道 hokkaido, 艾米利亚 emilia_romagna, 艾米利亚罗马涅 emilia_romagna, 尼泊尔 gorkha, "
    "廓尔喀 gorkha, 九寨沟 jiuzhaigou, 汶川 wenchuan, 台湾 taiwan, 臺灣 taiwan"
)
TWO = " and "  # separates the areas in a name with two of them


@dataclass(frozen=True)
class Group:
    """Files of one folder whose names differ only in an id, and what the names tell about them."""

    pattern: str
    role: str | None  # image, mask, other (elevation and the like), None if unknown
    area: str | None
    split: str | None
    key: str  # the names without words for images and masks: equal for both of a pair
    files: dict[str, str]  # id → path

    @property
    def folder(self) -> str:
        """The folder of the files, relative to that of the data."""
        return self.pattern.rpartition("/")[0]

    def some(self, count: int) -> list[str]:
        """Return at most ``count`` of its paths, evenly spaced from first to last."""
        paths = list(self.files.values())
        return [paths[index] for index in np.unique(np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int))]


@cache
def _words(letters: bool) -> dict[str, tuple[str, str]]:  # kind: area, split, role or filler
    """Return kind and value of each known word, without separators between its parts; with ``letters`` X and Y."""
    words = {word: ("filler", "") for word in _FILLERS.split()}
    words |= {word: ("role", role) for role, listed in _ROLES.items() for word in listed.split()}
    words |= {word: ("split", split) for word, split in SPLITS.items()}
    words |= {word: ("area", area) for word, area in map(str.split, _CHINESE_NAMES.split(", "))}
    for area, aliases in paper.areas()["aliases"].items():
        words |= {bare(word): ("area", str(area)) for word in (str(area), *aliases.split(";"))}
    return words | ({"x": ("role", "image"), "y": ("role", "mask")} if letters else {})


@cache
def _known(letters: bool) -> str:
    """Return a regular expression of a known word: not inside another one, but with a capital (TrainData) beside it."""
    words = sorted(_words(letters).items(), key=lambda item: len(item[0]), reverse=True)
    between = {"area": r"[\W_]*"}  # allowed between an area's letters: EmiliaRomagna, Rio_de-Janeiro
    listed = "|".join(between.get(kind, "").join(map(re.escape, word)) for word, (kind, _) in words)
    return rf"(?:(?<![^\W\d_])|(?<=[a-z])(?=[A-Z]))(?i:{listed})(?![a-z])"


def group_files(files: list[str], root: Path) -> list[Group]:
    """Group files by folder, name pattern and suffix; UserError if there are no images."""
    groups: dict[str, dict[str, str]] = defaultdict(dict)
    for path in (path for path in files if path.lower().endswith(SUFFIXES)):
        folder, stem = path.rpartition("/")[0], PurePosixPath(path).stem
        word = _known(arrays.is_array_file(Path(path)))
        # Known words at the ends of a name are not part of the id.
        ends = rf"((?:[\W_]*{word})*[\W_]*)(.*?)([\W_]*(?:{word}[\W_]*)*)"
        before, middle, after = re.fullmatch(ends, stem).groups()  # type: ignore[union-attr]
        name = f"{before}{{id}}{after}{path[len(path) - len(PurePosixPath(path).suffix) :]}"
        groups[f"{folder}/{name}".lstrip("/") if middle else path][middle] = path
    if not groups:
        raise UserError(f"{root}: holds no images ({', '.join(SUFFIXES)}); give the folder that holds the patches")
    return [_group(pattern, paths) for pattern, paths in groups.items()]


def _group(pattern: str, paths: dict[str, str]) -> Group:
    """Interpret the words in the names of folders and files; the innermost one counts."""
    *folders, stem = PurePosixPath(pattern).with_suffix("").parts
    area, split, role = None, None, None
    key: list[str] = []
    for depth, name in enumerate((*folders, stem)):
        last = depth == len(folders)
        letters = name.lower() in ("x", "y") or (last and arrays.is_array_file(Path(pattern)))
        words = re.findall(_known(letters), name)
        marks = [_words(letters)[bare(word)] for word in words]
        areas, splits, roles = ([value for kind, value in marks if kind == one] for one in ("area", "split", "role"))
        area, split = TWO.join(dict.fromkeys(areas)) or area, splits[-1] if splits else split
        own = next((role for role in ("other", "mask", "image") if role in roles), None)
        # masks/image_1.tif is a mask, and so is images/1_mask.tif.
        role = "mask" if last and role == "mask" else own or role
        for word, (kind, _) in zip(words, marks, strict=True):
            name = name.replace(word, "", 1) if kind == "role" else name
        key.append(bare(name))
    return Group(pattern, role, area, split, "/".join(key), paths)


_Pairs = list[tuple[Group, Group]]


class Ambiguous(UserError):
    """A layout with two possible readings; ``template`` is the YAML for the user to complete."""

    template = ""


def discover(root: Path, declared: Layout) -> tuple[Layout, str]:
    """Detect the layout of the folder ``root``, with images at any depth, and describe it in one line per part.

    ``declared`` is what is known beforehand: with parts, everything. Raises `Ambiguous`, with a template, if
    something is unclear.
    """
    if declared.parts:
        return declared, ""
    groups = group_files(list_files(root), root)
    pairs: _Pairs = []
    try:
        ignored = _pair_all(root, groups, pairs)
        if not pairs:
            raise Ambiguous(f"{root}: no masks found beside the images")
        pairs.sort(key=lambda pair: (area_rank(pair[0].area or "~"), SPLIT_ORDER.index(pair[0].split), pair[0].pattern))
        parts, lines, crs = zip(*(_look_into(root, declared, *pair, groups) for pair in pairs), strict=True)
    except Ambiguous as error:
        error.template = _template(root, declared, str(error), groups, pairs)
        raise
    layout = declared.model_copy(update={"layout": "parts", "parts": parts, "georeferenced": all(crs)})
    return layout, "\n".join([*lines, *(f"left out: {name}" for name in ignored)])


def _pair_all(root: Path, groups: list[Group], pairs: _Pairs) -> list[str]:
    """Find the masks of each image group, adding to ``pairs``; return what the data set leaves out."""
    masks = [group for group in groups if group.role == "mask"]
    ignored = [f"{group.pattern} ({len(group.files)})" for group in groups if group.role == "other"]
    for image in sorted((g for g in groups if g.role in ("image", None)), key=lambda g: g.role is None):
        candidates = [mask for mask in masks if mask.key == image.key]
        first = next(iter(image.files.values()))
        if len(candidates) > 1:
            patterns = " and ".join(f"'{mask.pattern}'" for mask in candidates[:2])
            raise Ambiguous(f"{root / image.folder}: two possible masks, {patterns}")
        if candidates:
            pairs.append((image, candidates[0]))
        elif image.role is None and len(image.files) == 1:
            ignored.append(first)  # a single overview picture
        else:
            raise Ambiguous(f"{root / first}: no masks found for it")
    if alone := [mask for mask in masks if mask not in [paired for _, paired in pairs]]:
        raise Ambiguous(f"{root / alone[0].some(1)[0]}: a mask, but its images were not found")
    return ignored


def _look_into(root: Path, declared: Layout, image: Group, mask: Group, groups: list[Group]) -> tuple[Part, str, bool]:
    """Open some files of a pair of groups; return its part of the layout, a line about it, and if all have a CRS."""
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
    # images/{id}.tif would also match images/1_mask.tif
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
    """Return the codes that mean landslide: 1 or 255, or those in the description."""
    landslide = declared.landslide_codes
    stated = {"landslide_codes", "label_nodata_codes"} & declared.model_fields_set
    allowed = [{0, *landslide, *nodata_codes(declared, landslide)}] if stated else [{0, 1}, {0, 255}]
    values: set[int] = set()
    sample = mask.some(_SAMPLED_MASKS)
    for path in sample:
        codes = codes_in(root / path)
        values.update(codes or ())
        if codes is None or not any(values <= known for known in allowed):
            listed = "with fractions" if codes is None else ", ".join(map(str, sorted(values)[:6]))
            raise Ambiguous(f"{root / path}: mask codes {listed}: which of them mean landslide is not clear")
    if values == {0}:
        raise Ambiguous(f"{root / mask.folder}: no landslide in {len(sample)} masks")
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
