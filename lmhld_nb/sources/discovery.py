"""Discovery: find out how an unknown folder of patches is laid out, or say why it cannot be known.

Nobody guesses silently here. Study areas, splits, images and masks are recognised by the words in the names of
folders and files, band axis and mask codes by looking into some files. The result is a ``Layout`` with plain
patterns, the same thing a user would write; where two readings are possible it is refused with a template.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmhld_nb import paper
from lmhld_nb.config import UserError
from lmhld_nb.scenes import arrays, rasters
from lmhld_nb.sources.files import Probe, codes_in, compile_pattern, list_files, probe
from lmhld_nb.sources.layout import Layout, Part, area_rank, codes_of, slug
from lmhld_nb.sources.names import TWO, Group, group_files, marks_in, role_of

_SAMPLED_IMAGES, _SAMPLED_MASKS, _SEARCHED_MASKS = 4, 12, 200
_COLUMNS = ("area", "split", "count", "size", "type", "bands", "axis", "codes", "images")
_Pairs = list[tuple[Group, Group]]


class Ambiguous(UserError):
    """A layout that can be read in two ways; ``template`` is the YAML for the user to complete."""

    def __init__(self, message: str, template: str) -> None:
        super().__init__(message)
        self.template = template


class _Doubt(Exception):
    """What cannot be decided, in words that begin with a path."""


@dataclass(frozen=True)
class Discovery:
    """The result.

    Attributes:
        layout: ready to be read.
        rows: for each area and split a value for each of ``_COLUMNS``.
        ignored: patterns and files left out.
    """

    layout: Layout
    rows: tuple[dict[str, Any], ...]
    ignored: tuple[str, ...]

    def table(self) -> str:
        """Return a compact table: one line for each area and split."""
        lines = [_COLUMNS, *(tuple(str(row[name]) for name in _COLUMNS) for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        text = "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
        return text + "".join(f"\nleft out: {name}" for name in self.ignored)


def discover(root: Path, declared: Layout | None = None) -> Discovery:
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
    pairs: _Pairs = []
    try:
        ignored = _pair_all(root, groups, pairs)
        pairs.sort(key=_rank)
        looks = [_look_into(root, declared, image, mask, groups) for image, mask in pairs]
        rows = tuple(row for _, row in looks)
        _check_whole(root, [image for image, _ in pairs], rows)
    except _Doubt as doubt:
        raise Ambiguous(str(doubt), _template(root, declared, str(doubt), groups, pairs)) from None
    samples = [root / path for image, _ in pairs for path in image.some(_SAMPLED_IMAGES)]
    layout = declared.model_copy(
        update={
            "layout": "parts",
            "parts": tuple(part for part, _ in looks),
            "georeferenced": all(_has_crs(path) for path in samples),
        }
    )
    return Discovery(layout, rows, tuple(ignored))


# Pairs -----------------------------------------------------------------------------------------------------------


def _pair_all(root: Path, groups: list[Group], pairs: _Pairs) -> list[str]:
    """Find each image group's masks, adding to ``pairs``; return what is left out of the data set."""
    masks = [group for group in groups if group.role == "mask"]
    ignored = [f"{group.pattern} ({len(group.files)})" for group in groups if group.role == "other"]
    for image in sorted((g for g in groups if g.role in ("image", None)), key=lambda g: g.role is None):
        candidates = [mask for mask in masks if (mask.area, mask.split) == (image.area, image.split)]
        nearest = max((_shared(image.folder, mask.folder) for mask in candidates), default=0)
        candidates = [mask for mask in candidates if _shared(image.folder, mask.folder) == nearest]
        same = [mask for mask in candidates if mask.files.keys() == image.files.keys()]
        candidates = same if len(same) == 1 else candidates
        first = next(iter(image.files.values()))
        if len(candidates) > 1:
            names = " and ".join(f"'{mask.pattern}'" for mask in candidates[:2])
            raise _Doubt(f"{root / image.folder}: two possible masks, {names}")
        if candidates:
            _check_pairing(root, image, candidates[0])
            pairs.append((image, candidates[0]))
        elif arrays.is_array_file(root / first) and len(arrays.array_keys(root / first)) > 1:
            pairs.append((image, image))
        elif image.role is None and len(image.files) == 1:
            ignored.append(first)  # a lone overview picture
        else:
            raise _Doubt(f"{root / first}: no masks found for it")
    paired = {mask.pattern for _, mask in pairs}
    for mask in masks:
        if mask.pattern not in paired:
            raise _Doubt(f"{root / next(iter(mask.files.values()))}: a mask, but its images were not found")
    return ignored


def _shared(folder: str, other: str) -> int:
    """Count the folders two paths have in common from the top."""
    count = 0
    for own, others in zip(folder.split("/"), other.split("/"), strict=False):
        if own != others:
            break
        count += 1
    return count


def _check_pairing(root: Path, image: Group, mask: Group) -> None:
    alone = [path for name, path in image.files.items() if name not in mask.files]
    if alone:
        counts = f"{len(alone)} of {len(image.files)} images have none"
        raise _Doubt(f"{root / alone[0]}: no mask in '{mask.pattern}' ({counts})")
    alone = [path for name, path in mask.files.items() if name not in image.files]
    if alone:
        raise _Doubt(f"{root / alone[0]}: a mask without its image in '{image.pattern}' ({len(alone)} such)")


def _check_whole(root: Path, images: list[Group], rows: tuple[dict[str, Any], ...]) -> None:
    """Refuse an area found twice, or partly split."""
    for number, (image, row) in enumerate(zip(images, rows, strict=True)):
        for other, other_row in zip(images[:number], rows, strict=False):
            area, splits = row["area"], {row["split"], other_row["split"]}
            if area != other_row["area"]:
                continue
            if "-" in splits and len(splits) == 2:
                raise _Doubt(f"{root / image.folder}: {area} has images with and without a split")
            again = row["size"] != other_row["size"] or bool(image.files.keys() & other.files.keys())
            if len(splits) == 1 and again:
                raise _Doubt(f"{root / image.folder}: {area} is found twice, here and in {other.folder or '.'}")


def _rank(pair: tuple[Group, Group]) -> tuple[Any, ...]:
    splits, image = ("train", "val", "test", None), pair[0]
    return (area_rank(image.area or "~"), splits.index(image.split), image.pattern)


# Contents --------------------------------------------------------------------------------------------------------


def _look_into(
    root: Path, declared: Layout, image: Group, mask: Group, groups: list[Group]
) -> tuple[Part, dict[str, Any]]:
    """Open some files of a pair of groups and return its part of the layout and its row of the table."""
    folder, paths = root / image.folder, image.some(_SAMPLED_IMAGES)
    area = image.area
    if area is None and declared.known_areas:
        raise _Doubt(f"{folder}: none of the study areas {', '.join(paper.AREAS)} is named here")
    area = area or slug(image.folder.split("/")[0] or root.name) or "area"
    if TWO in area:
        raise _Doubt(f"{folder}: names two study areas, {area}")
    keys = _keys(root / paths[0]) if mask is image else (None, None)
    probes = [probe(root / path, keys[0]) for path in paths]
    first, where = probes[0], root / paths[0]
    for other, path in zip(probes, paths, strict=True):
        if (other.dtype, len(other.shape)) != (first.dtype, len(first.shape)):
            raise _Doubt(f"{root / path}: {other.dtype} {other.shape}, others are {first.dtype} {first.shape}")
    stack = len(first.shape) == 4
    channels, bands = _axis(where, first, len(declared.bands))
    if bands != len(declared.bands):
        raise _Doubt(f"{where}: {bands} bands, {len(declared.bands)} are expected ({', '.join(declared.bands)})")
    if any(item.blank_alpha for item in probes):
        raise _Doubt(f"{where}: its fourth band is an alpha channel, so there are 3 bands")
    size = _size(first.shape, channels)
    expected = (first.shape[0], *size) if stack else size
    labels = probe(root / mask.some(1)[0], keys[1]).shape
    if [side for side in labels if side > 1] != [side for side in expected if side > 1]:
        raise _Doubt(f"{root / mask.some(1)[0]}: shape {labels} does not go with the image's {first.shape}")
    codes = _landslide_codes(root, mask, keys[1], declared)
    own = compile_pattern(image.pattern)
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
        exclude=tuple(g.pattern for g in groups if g.pattern != image.pattern and own.fullmatch(g.some(1)[0])),
    )
    sizes = {_size(item.shape, channels) for item in probes}
    values = (
        area,
        image.split or "-",
        first.shape[0] if stack else len(image.files),
        "×".join(map(str, size)) if len(sizes) == 1 else "varies",
        first.dtype,
        bands,
        channels if first.array else "-",
        "/".join(map(str, sorted({0, *codes}))),
        image.pattern,
    )
    return part, dict(zip(_COLUMNS, values, strict=True))


def _axis(path: Path, header: Probe, expected: int) -> tuple[str, int]:
    """Return which end the band axis is at, and how many bands there are."""
    shape = header.shape[1:] if len(header.shape) == 4 else header.shape
    if len(shape) != 3:
        raise _Doubt(f"{path}: shape {header.shape} is not an image of several bands")
    if not header.array:
        return "first", shape[0]
    first, last = shape[0] == expected, shape[2] == expected
    if first and last:
        raise _Doubt(f"{path}: shape {header.shape}, the band axis may be the first or the last")
    if not first and not last:  # the short end, so that the message can say how many bands it has
        if shape[0] == shape[2] or min(shape) == shape[1]:
            raise _Doubt(f"{path}: shape {header.shape}, the band axis is not clear")
        first = shape[0] < shape[2]
    return ("first", shape[0]) if first else ("last", shape[2])


def _size(shape: tuple[int, ...], channels: str) -> tuple[int, ...]:
    return shape[-2:] if channels == "first" else shape[-3:-1]


def _landslide_codes(root: Path, mask: Group, key: str | None, declared: Layout) -> tuple[int, ...]:
    """Return the codes that mean landslide: 1 or 255, or those the description states."""
    landslide, nodata = codes_of(declared, declared)
    stated = {"landslide_codes", "label_nodata_codes"} & declared.model_fields_set
    allowed = {0, *landslide, *nodata} if stated else {0, 1}
    values: set[int] = set()
    for count, path in enumerate(dict.fromkeys([*mask.some(_SAMPLED_MASKS), *mask.some(_SEARCHED_MASKS)])):
        if count >= _SAMPLED_MASKS and values != {0}:
            break
        codes = codes_in(root / path, key)
        if codes is None:
            raise _Doubt(f"{root / path}: holds values that are not whole numbers, hence no landslide codes")
        values |= codes
        if not (values <= allowed or (not stated and values <= {0, 255})):
            listed = ", ".join(map(str, sorted(values)[:6]))
            raise _Doubt(f"{root / path}: mask codes {listed}: which of them mean landslide is not clear")
    if values == {0}:
        raise _Doubt(f"{root / mask.folder}: no landslide in {count + 1} masks")
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


# Template --------------------------------------------------------------------------------------------------------

_TEMPLATE = """\
# {doubt}.
# Complete this file and give it with --layout. Patterns are paths below the data's folder; {{id}} stands for
# what differs between scenes, {{area}}, {{split}} and {{ext}} may stand for folders or parts of names.
#
# Found below {root}:
{groups}

bands: [{bands}]  # in file order
channels: {channels}  # band axis of .npy, .h5 and .mat: first or last
landslide_codes: {codes}  # values in the masks that mean landslide
label_nodata_codes: {nodata}  # values in the masks that mean not labelled
georeferenced: false  # true: the images are GeoTIFF with a coordinate system
# area: one of {areas}, or another word; split: train, val, test or null
parts:
{parts}
"""


def _template(root: Path, declared: Layout, doubt: str, groups: list[Group], pairs: _Pairs) -> str:
    """Return YAML with what was found filled in and the rest to be filled in."""
    codes, nodata = codes_of(declared, declared)
    done = {image.pattern for image, _ in pairs}
    open_groups = [g for g in groups if g.role in ("image", None) and g.pattern not in done]
    listed = [f"#   {g.role or 'unknown':8} {len(g.files):6}  {g.pattern}" for g in groups]
    parts = [
        f"  - images: {_quote(image.pattern)}\n    masks: {_quote(masks)}\n"
        f"    area: {image.area or 'FILL IN'}\n    split: {image.split or 'null'}"
        for image, masks in [*((i, m.pattern) for i, m in pairs), *((g, "FILL IN") for g in open_groups[:60])]
    ]
    return _TEMPLATE.format(
        doubt=doubt,
        root=root.name,
        groups="\n".join(sorted(listed, key=lambda line: line[18:])[:60]),
        bands=", ".join(declared.bands),
        channels=declared.channels,
        codes=list(codes),
        nodata=list(nodata),
        areas=", ".join(paper.AREAS),
        parts="\n".join(parts),
    )


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
