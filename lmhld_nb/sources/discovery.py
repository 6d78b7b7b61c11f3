"""Discovery: find out how an unknown folder of patches is laid out, or say why it cannot be known.

Nobody guesses silently here. Study areas, splits, images and masks are recognised by the words in the names of
folders and files, band axis and mask codes by looking into some files. The result is a ``Layout`` with plain
patterns, the same thing a user would write; where two readings are possible it is refused with a template.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lmhld_nb import paper
from lmhld_nb.config import UserError
from lmhld_nb.scenes import arrays, rasters
from lmhld_nb.sources.layout import Layout, Part, area_rank, codes_of, slug
from lmhld_nb.sources.names import TWO, Group, group_files, marks_in, role_of
from lmhld_nb.sources.paths import compile_pattern, list_files
from lmhld_nb.sources.probe import Probe, codes_in, probe

_SAMPLED_IMAGES, _SAMPLED_MASKS, _SEARCHED_MASKS = 4, 12, 200


class Ambiguous(UserError):
    """A layout that can be read in two ways; ``template`` is the YAML for the user to complete."""

    def __init__(self, message: str, template: str) -> None:
        super().__init__(message)
        self.template = template


class _Doubt(Exception):
    """What cannot be decided, in words that begin with a path."""


@dataclass(frozen=True)
class Row:
    """What was found for one area and split: a line of the table."""

    area: str
    split: str
    count: int
    size: str
    dtype: str
    bands: int
    axis: str
    codes: str
    images: str


@dataclass(frozen=True)
class Found:
    """The result: a layout ready to be read, what to print, and folders left out."""

    layout: Layout
    rows: tuple[Row, ...]
    ignored: tuple[str, ...]

    def table(self) -> str:
        """Return the compact table: one line for each area and split."""
        head = ("area", "split", "count", "size", "type", "bands", "axis", "codes", "images")
        lines = [head, *(tuple(str(getattr(row, name)) for name in Row.__annotations__) for row in self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
        text = "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
        return text + "".join(f"\nleft out: {name}" for name in self.ignored)


def discover(root: Path, declared: Layout | None = None) -> Found:
    """Find the layout of the folder ``root``.

    Args:
        root: folder with images, in any depth.
        declared: what is known beforehand: bands, codes that differ, whether areas must be the paper's seven.

    Raises:
        Ambiguous: two possible mask folders, images without masks, an unknown area, more than two mask codes,
            an unclear band axis, another number of bands than declared. It carries a template.
        UserError: no images at all, or a file that cannot be read.
    """
    declared = declared or Layout()
    groups = group_files(list_files(root), root)
    pairs: list[tuple[Group, Group]] = []
    try:
        ignored = _pair_all(root, groups, pairs)
        parts, rows = [], []
        for image, mask in sorted(pairs, key=lambda pair: _rank(pair[0])):
            part, row = _look_into(root, declared, image, mask, groups)
            parts.append(part)
            rows.append(row)
        _check_whole(root, [image for image, _ in sorted(pairs, key=lambda pair: _rank(pair[0]))], rows)
    except _Doubt as doubt:
        raise Ambiguous(str(doubt), _template(root, declared, str(doubt), groups, pairs)) from None
    georeferenced = all(_has_crs(root / path) for image, _ in pairs for path in image.some(_SAMPLED_IMAGES))
    layout = declared.model_copy(
        update={"layout": "parts", "parts": tuple(parts), "georeferenced": georeferenced}
    )
    return Found(layout, tuple(rows), tuple(ignored))


def to_yaml(layout: Layout) -> str:
    """Write a layout as YAML that ``--layout`` accepts."""
    content = layout.model_dump(mode="json", exclude_defaults=True)
    if layout.nodata is not None:
        content["nodata"] = layout.nodata  # JSON has no NaN, YAML has
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)


# Pairs -----------------------------------------------------------------------------------------------------------


def _pair_all(root: Path, groups: list[Group], pairs: list[tuple[Group, Group]]) -> list[str]:
    """Find each image group's masks, adding to ``pairs``; return what is left out of the data set."""
    masks = [group for group in groups if group.role == "mask"]
    unnamed = [group for group in groups if group.role is None]
    ignored = [f"{group.pattern} ({len(group.files)})" for group in groups if group.role == "other"]
    used: set[str] = set()
    for image in [group for group in groups if group.role == "image"] + unnamed:
        candidates = [mask for mask in masks if (mask.area, mask.split) == (image.area, image.split)]
        nearest = max((_shared(image.folder, mask.folder) for mask in candidates), default=0)
        candidates = [mask for mask in candidates if _shared(image.folder, mask.folder) == nearest]
        same = [mask for mask in candidates if mask.files.keys() == image.files.keys()]
        candidates = same if len(same) == 1 else candidates
        if not candidates and _holds_both(root, image):
            pairs.append((image, image))
        elif not candidates and image.role is None and len(image.files) == 1:
            ignored.append(next(iter(image.files.values())))  # a lone overview picture
        elif not candidates:
            raise _Doubt(f"{root / next(iter(image.files.values()))}: no masks found for it")
        elif len(candidates) > 1:
            names = " and ".join(f"'{mask.pattern}'" for mask in candidates[:2])
            raise _Doubt(f"{root / image.folder}: two possible masks, {names}")
        else:
            _check_pairing(root, image, candidates[0])
            pairs.append((image, candidates[0]))
            used.add(candidates[0].pattern)
    for mask in masks:
        if mask.pattern not in used:
            raise _Doubt(f"{root / next(iter(mask.files.values()))}: a mask, but its images were not found")
    return ignored


def _shared(folder: str, other: str) -> int:
    """Count the folders two paths have in common from the top."""
    ours, theirs = folder.split("/"), other.split("/")
    count = 0
    while count < min(len(ours), len(theirs)) and ours[count] == theirs[count]:
        count += 1
    return count


def _check_pairing(root: Path, image: Group, mask: Group) -> None:
    alone = [path for name, path in image.files.items() if name not in mask.files]
    if alone:
        raise _Doubt(
            f"{root / alone[0]}: no mask in '{mask.pattern}' ({len(alone)} of {len(image.files)} images have none)"
        )
    alone = [path for name, path in mask.files.items() if name not in image.files]
    if alone:
        raise _Doubt(f"{root / alone[0]}: a mask without its image in '{image.pattern}' ({len(alone)} such)")


def _holds_both(root: Path, group: Group) -> bool:
    path = root / group.some(1)[0]
    return len(arrays.array_keys(path)) > 1 if arrays.is_array_file(path) else False


def _check_whole(root: Path, images: list[Group], rows: list[Row]) -> None:
    """Refuse an area found twice, or partly split."""
    for place, (image, row) in enumerate(zip(images, rows, strict=True)):
        for other, other_row in zip(images[:place], rows[:place], strict=True):
            if row.area != other_row.area:
                continue
            if "-" in (row.split, other_row.split) and row.split != other_row.split:
                raise _Doubt(f"{root / image.folder}: {row.area} has images with and without a split")
            same = row.split == other_row.split
            if same and (row.size != other_row.size or set(image.files) & set(other.files)):
                raise _Doubt(
                    f"{root / image.folder}: {row.area} is found twice, here and in {other.folder or '.'}"
                )


# Contents --------------------------------------------------------------------------------------------------------


def _look_into(
    root: Path, declared: Layout, image: Group, mask: Group, groups: list[Group]
) -> tuple[Part, Row]:
    """Open some files of a pair of groups and return its part of the layout and its line of the table."""
    area = image.area
    if area is None:
        if declared.known_areas:
            raise _Doubt(
                f"{root / image.folder}: none of the study areas {', '.join(paper.AREAS)} is named here"
            )
        area = slug(image.folder.split("/")[0] or root.name) or "area"
    if TWO in area:
        raise _Doubt(f"{root / image.folder}: names two study areas, {area}")
    keys = _keys(root / image.some(1)[0]) if mask is image else (None, None)
    seen = [probe(root / path, keys[0]) for path in image.some(_SAMPLED_IMAGES)]
    first, where = seen[0], root / image.some(1)[0]
    for other, path in zip(seen, image.some(_SAMPLED_IMAGES), strict=True):
        if (other.dtype, len(other.shape)) != (first.dtype, len(first.shape)):
            raise _Doubt(
                f"{root / path}: {other.dtype} {other.shape}, others are {first.dtype} {first.shape}"
            )
    stack = len(first.shape) == 4
    channels, bands = _axis(where, first, len(declared.bands))
    if bands != len(declared.bands):
        raise _Doubt(
            f"{where}: {bands} bands, {len(declared.bands)} are expected ({', '.join(declared.bands)})"
        )
    if any(item.blank_alpha for item in seen):
        raise _Doubt(f"{where}: its fourth band is an alpha channel, so there are 3 bands")
    _check_mask_shape(root, first, channels, stack, mask, keys[1])
    codes = _landslide_codes(root, mask, keys[1], declared)
    own, others = compile_pattern(image.pattern), [group.pattern for group in groups if group is not image]
    part = Part(
        images=image.pattern,
        masks=mask.pattern,
        area=area,
        split=image.split,  # type: ignore[arg-type]
        stack=stack,
        channels=None if channels == declared.channels else channels,  # type: ignore[arg-type]
        image_key=keys[0],
        mask_key=keys[1],
        landslide_codes=None if codes == declared.landslide_codes else codes,
        # images/{id}.tif would also fit images/1_mask.tif
        exclude=tuple(
            group.pattern
            for group in groups
            if group.pattern in others and any(own.fullmatch(path) for path in group.some(1))
        ),
    )
    count = first.shape[0] if stack else len(image.files)
    sizes = {_size(item.shape, channels) for item in seen}
    row = Row(
        area,
        image.split or "-",
        count,
        sizes.pop() if len(sizes) == 1 else "varies",
        str(first.dtype),
        bands,
        channels if first.array else "-",
        "/".join(map(str, sorted({0, *codes}))),
        image.pattern,
    )
    return part, row


def _axis(path: Path, seen: Probe, wanted: int) -> tuple[str, int]:
    """Return which end the band axis is at, and how many bands there are."""
    shape = seen.shape[1:] if len(seen.shape) == 4 else seen.shape
    if len(shape) != 3:
        raise _Doubt(f"{path}: shape {seen.shape} is not an image of several bands")
    if not seen.array:
        return "first", shape[0]
    first, last = shape[0] == wanted, shape[2] == wanted
    if first and last:
        raise _Doubt(f"{path}: shape {seen.shape}, the band axis may be the first or the last")
    if not first and not last:  # the short end, so that the message can say how many bands it has
        if shape[0] == shape[2] or min(shape) == shape[1]:
            raise _Doubt(f"{path}: shape {seen.shape}, the band axis is not clear")
        first = shape[0] < shape[2]
    return ("first", shape[0]) if first else ("last", shape[2])


def _size(shape: tuple[int, ...], channels: str) -> str:
    rows, cols = shape[-2:] if channels == "first" else shape[-3:-1]
    return f"{rows}×{cols}"


def _check_mask_shape(
    root: Path, image: Probe, channels: str, stack: bool, mask: Group, key: str | None
) -> None:
    path = root / mask.some(1)[0]
    seen = probe(path, key)
    size = image.shape[-2:] if channels == "first" else image.shape[-3:-1]
    wanted = (image.shape[0], *size) if stack else size
    if tuple(length for length in seen.shape if length > 1) != tuple(
        length for length in wanted if length > 1
    ):
        raise _Doubt(f"{path}: shape {seen.shape} does not go with the image's {image.shape}")


def _landslide_codes(root: Path, mask: Group, key: str | None, declared: Layout) -> tuple[int, ...]:
    """Return the codes that mean landslide: 1 or 255, or those the description states."""
    landslide, nodata = codes_of(declared, declared)
    stated = {"landslide_codes", "label_nodata_codes"} & declared.model_fields_set
    allowed = {0, *landslide, *nodata} if stated else {0, 1}
    values: set[int] = set()
    looked = 0
    for path in dict.fromkeys([*mask.some(_SAMPLED_MASKS), *mask.some(_SEARCHED_MASKS)]):
        if looked >= _SAMPLED_MASKS and values != {0}:
            break
        found = codes_in(root / path, key)
        if found is None:
            raise _Doubt(f"{root / path}: holds values that are not whole numbers, hence no landslide codes")
        values |= found
        looked += 1
        if not (values <= allowed or (not stated and values <= {0, 255})):
            listed = ", ".join(map(str, sorted(values)[:6]))
            raise _Doubt(f"{root / path}: mask codes {listed}: which of them mean landslide is not clear")
    if values == {0}:
        raise _Doubt(f"{root / mask.folder}: no landslide in {looked} masks")
    return landslide if stated or 255 not in values else (255,)


def _keys(path: Path) -> tuple[str, str]:
    """Name the image's and the mask's variable in a file that holds both."""
    roles = {name: role_of(marks_in(name, single_letters=True)) for name in arrays.array_keys(path)}
    images = [name for name, role in roles.items() if role == "image"]
    masks = [name for name, role in roles.items() if role == "mask"]
    if len(images) != 1 or len(masks) != 1:
        raise _Doubt(f"{path}: holds {', '.join(roles)}: which is the image and which the mask is not clear")
    return images[0], masks[0]


def _has_crs(path: Path) -> bool:
    if arrays.is_array_file(path):
        return False
    with rasters.open_raster(path) as source:
        return source.crs is not None


def _rank(group: Group) -> tuple[Any, ...]:
    splits = ("train", "val", "test", None)
    return (area_rank(group.area or "~"), splits.index(group.split), group.pattern)


# Template --------------------------------------------------------------------------------------------------------


def _template(
    root: Path, declared: Layout, doubt: str, groups: list[Group], pairs: list[tuple[Group, Group]]
) -> str:
    """Return YAML with what was found filled in and the rest to be filled in."""
    lines = [
        f"# {doubt}.",
        "# Complete this file and give it with --layout. Patterns are paths below the data's folder; {id} stands for",
        "# what differs between scenes, {area}, {split} and {ext} may stand for folders or parts of names.",
        "#",
        f"# Found below {root.name}:",
    ]
    lines += [
        f"#   {group.role or 'unknown':8} {len(group.files):6}  {group.pattern}"
        for group in sorted(groups, key=lambda group: group.pattern)[:60]
    ]
    codes, nodata = codes_of(declared, declared)
    lines += [
        "",
        f"bands: [{', '.join(declared.bands)}]  # in file order",
        f"channels: {declared.channels}  # band axis of .npy, .h5 and .mat: first or last",
        f"landslide_codes: {list(codes)}  # values in the masks that mean landslide",
        f"label_nodata_codes: {list(nodata)}  # values in the masks that mean not labelled",
        "georeferenced: false  # true: the images are GeoTIFF with a coordinate system",
        f"# area: one of {', '.join(paper.AREAS)}, or another word; split: train, val, test or null",
        "parts:",
    ]
    done = {image.pattern for image, _ in pairs}
    todo = [g for g in groups if g.role in ("image", None) and g.pattern not in done]
    for image, masks in [*((i, m.pattern) for i, m in pairs), *((i, "FILL IN") for i in todo[:60])]:
        lines += [
            f"  - images: {_quote(image.pattern)}",
            f"    masks: {_quote(masks)}",
            f"    area: {image.area or 'FILL IN'}",
            f"    split: {image.split or 'null'}",
        ]
    return "\n".join(lines) + "\n"


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
