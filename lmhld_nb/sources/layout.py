"""Layouts: how a data set's files are arranged in folders, and the resulting Scenes.

A layout is declared in YAML with the path patterns of ``lmhld_nb.sources.files``. A mask belongs to the image
with the same ``{area}``, ``{split}``, ``{id}`` and ``**/``.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from lmhld_nb import config, paper
from lmhld_nb.config import UserError
from lmhld_nb.scenes import arrays
from lmhld_nb.scenes.scene import BANDS, Scene
from lmhld_nb.sources.files import compile_pattern, list_files, match_files, natural_key, read_header

BACKGROUND = "none"  # value of `masks:` for images known to be free of landslides

Split = Literal["train", "val", "test"]
Channels = Literal["first", "last"]
_SPLIT_WORDS: dict[Split, str] = {"train": "train training", "val": "val valid validation", "test": "test testing"}
SPLIT_ORDER = (*_SPLIT_WORDS, None)
SPLITS = {word: split for split, words in _SPLIT_WORDS.items() for word in words.split()}
_RUN = r"[^\d\s]*\d{1,9}(-\d{1,9})?"  # of ids
Code = Annotated[int, Field(ge=-(2**31), lt=2**32)]  # of a pixel in a mask
Metres = Annotated[float, Field(gt=0, le=1e6)]
_Images = dict[str, dict[str, str]]  # path → text of each placeholder


class Part(config.Strict):
    """Files of one kind: path patterns of images and their labels, and differences from the layout."""

    images: str
    masks: str | None = None
    polygons: str | None = None
    dem: str | None = None
    layer: str | None = None
    where: str | None = None
    exclude: tuple[str, ...] = ()
    area: str | None = None
    ids: str | None = Field(None, pattern=rf"^{_RUN}( {_RUN})*$")  # allowed values of {id}: 1-615 ls_7
    split: Split | None = None
    stack: bool = False  # one array file holds many images
    channels: Channels | None = None
    landslide_codes: tuple[Code, ...] | None = None
    optional: bool = False  # may be missing
    unlabelled: bool = False  # images may lack labels; they can then be mapped, but not scored

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.masks is not None and self.polygons is not None and not self.unlabelled:
            raise ValueError("masks and polygons exclude each other")
        own = compile_pattern(self.images).groupindex.keys()
        for pattern in (self.masks, self.polygons, self.dem):
            if pattern and pattern != BACKGROUND and (foreign := compile_pattern(pattern).groupindex.keys() - own):
                raise ValueError(f"'{pattern}' has {', '.join(sorted(foreign))}, which '{self.images}' has not")
        for pattern in self.exclude:
            compile_pattern(pattern)
        return self

    def match(self, pattern: str, files: list[str]) -> _Images:
        """Return the files that match ``pattern`` and ``ids``, each with the text of its placeholders."""
        fits = match_files(pattern, files)
        if self.ids is None:
            return fits
        chosen: _Images = {}
        runs = re.findall(r"(\D*)(\d+)(?:-(\d+))?(?: |$)", self.ids)
        for path, text in fits.items():
            own = re.fullmatch(r"(\D*)(\d{1,9})", text.get("id", ""))
            if own and any(own[1] == word and int(low) <= int(own[2]) <= int(high or low) for word, low, high in runs):
                chosen[path] = text
        return chosen


class Layout(config.Strict):
    """How a data set's images are stored and read (as in ``--layout``); uncommented keys are those of `Scene`."""

    layout: Literal["parts", "discover"] = "parts"  # discover: recognise areas, images and masks by words in names
    parts: tuple[Part, ...] = ()
    areas: dict[str, str] = Field(default_factory=dict)  # folder name of an area → its key; compared as `bare`
    known_areas: bool = False  # every area must be one of the paper's seven
    bands: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(config.each_once)] = BANDS
    channels: Channels = "first"
    image_key: str | None = None
    mask_key: str | None = None
    landslide_codes: tuple[Code, ...] = (1,)
    label_nodata_codes: tuple[Code, ...] | None = None  # default: 255, unless that is a landslide code
    nodata: float | tuple[float, ...] | dict[str, float | tuple[float, ...]] | None = None  # for all, or by area
    scale: config.Positive = 1.0
    resolution_m: Metres | dict[str, Metres] | None = None  # for all, or by area
    georeferenced: bool = True
    extra_bands: Literal["error", "ignore"] = "error"
    patch_size: config.Count | dict[str, config.Count] | None = None  # px, as published; not used, but in `key_of`

    @model_validator(mode="after")
    def _check_codes(self) -> Self:
        for codes in (self.landslide_codes, *(part.landslide_codes or () for part in self.parts)):
            if set(codes) & set(nodata_codes(self, codes)):
                raise ValueError("a value is in both landslide_codes and label_nodata_codes")
        return self


def resolve(root: Path, layout: Layout, name: str, tell: Callable[[str], object] = str) -> list[Scene]:
    """Return the Scenes of ``layout`` below ``root``, by area (``name`` if none is declared), split and name.

    A split with images but no masks at all, as published by competitions, is left out, with a message to ``tell``.
    UserError if no file matches, images and masks do not pair, two share a name, or an area or split is unknown.
    """
    files = list_files(root)
    by_name: dict[str, Scene] = {}
    for part in layout.parts:
        excluded = {path for pattern in part.exclude for path in match_files(pattern, files)}
        images = {path: text for path, text in part.match(part.images, files).items() if path not in excluded}
        if not images and not part.optional:
            fits = f"no file fits `images: {part.images}`"
            raise UserError(f"{root}: {fits}; give the right folder, or correct the description")
        if part.masks not in (None, BACKGROUND) and not part.unlabelled:
            held = {text.get("split") for text in part.match(part.masks, files).values()}
            for split in {text.get("split") for text in images.values()} - held if held else ():
                without = [path for path, text in images.items() if text.get("split") == split]
                tell(f"{root / without[0]}: no masks in this split ({len(without)} images); it is left out")
                images = {path: text for path, text in images.items() if path not in without}
        pairs = {kind: _pair(root, part, kind, images, files) for kind in ("masks", "polygons", "dem")}
        for path, captured in images.items():
            beside = {kind: root / pair[path] for kind, pair in pairs.items() if path in pair}
            for scene in _scenes(root / path, layout, part, captured, beside, name):
                if (other := by_name.setdefault(scene.name, scene)) is not scene:
                    same, mend = f"makes the same scene '{scene.name}' as {other.image}", "tell them apart with {id}"
                    raise UserError(f"{scene.image}: {same}; remove one of the two folders or {mend}")
    if not by_name:
        raise UserError(f"{root}: holds no image that fits `parts:`; give the right folder")
    return sorted(by_name.values(), key=lambda s: (area_rank(s.area), SPLIT_ORDER.index(s.split), natural_key(s.name)))


def slug(text: str) -> str:
    """Turn a folder's name into a key: lower-case words joined by ``_``."""
    return re.sub(r"[\W_]+", "_", text.lower()).strip("_")


def bare(text: str) -> str:
    """Return a name's letters and digits, in lower case."""
    return re.sub(r"[\W_]+", "", text.lower())


def area_rank(area: str) -> tuple[int, str]:
    """Return a sorting key: the paper's areas in Table 1's order, then the others by name."""
    return (paper.AREAS.index(area) if area in paper.AREAS else len(paper.AREAS), area)


def nodata_codes(layout: Layout, landslide_codes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the codes that mean not labelled."""
    if layout.label_nodata_codes is not None:
        return layout.label_nodata_codes
    return () if 255 in landslide_codes else (255,)


def _scenes(
    image: Path, layout: Layout, part: Part, captured: dict[str, str], beside: dict[str, Path], name: str
) -> list[Scene]:
    """Return the scene of an image, or those of a stack; ``beside`` has its masks, polygons and elevation."""
    area, word = _area(image, layout, part, captured, name), captured.get("split", "")
    split = part.split or SPLITS.get(word.lower())
    if word and split is None:
        expected = ", ".join(SPLITS)
        raise UserError(f"{image}: '{word}' is not a split; expected {expected}: fix it in the part with `split:`")
    mask, polygons = beside.get("masks"), beside.get("polygons")
    if mask is not None and polygons is not None:
        raise UserError(f"{image}: has both {mask.name} and {polygons.name}; remove one of them")
    codes = layout.landslide_codes if part.landslide_codes is None else part.landslide_codes
    label = "_".join(text for text in (area, split, captured.get("id")) if text)
    label = config.safe_name(re.sub(r"[^\w.-]+", "_", label), f"{image}: scene")
    keys = ("bands", "scale", "georeferenced", "extra_bands", "image_key", "mask_key", "nodata", "resolution_m")
    settings: dict[str, Any] = {key: getattr(layout, key) for key in keys}
    settings = {key: value.get(area) if isinstance(value, dict) else value for key, value in settings.items()}
    scene = Scene(
        label, area, image, mask=mask, polygons=polygons, layer=part.layer, where=part.where, dem=beside.get("dem"),
        unlabelled_is_background=part.masks == BACKGROUND, split=split, channels=part.channels or layout.channels,
        landslide_codes=codes, label_nodata_codes=nodata_codes(layout, codes), **settings,
    )  # fmt: skip
    if not part.stack:
        return [scene]
    length = _stack_length(image, layout.image_key)
    if mask is not None and (labels := _stack_length(mask, layout.mask_key)) != length:
        raise UserError(f"{mask}: {labels} masks for the {length} images of {image.name}; fetch both again")
    return [replace(scene, name=f"{label}_{index:05d}", index=index) for index in range(length)]


def _stack_length(path: Path, key: str | None) -> int:
    if (shape := read_header(path, key).shape)[2:] and arrays.is_array_file(path):
        return shape[0]
    raise UserError(f"{path}: shape {shape} in a {path.suffix} file is not a stack of images; leave out `stack: true`")


def _area(image: Path, layout: Layout, part: Part, captured: dict[str, str], name: str) -> str:
    text = part.area or captured.get("area") or name
    text = {bare(folder): key for folder, key in layout.areas.items()}.get(bare(text), text)
    if not layout.known_areas:
        return config.safe_name(slug(text) if part.area is None else text, f"{image}: area")
    try:
        return paper.area_key(text)
    except UserError as error:
        raise UserError(f"{image}: {error}, or name it under `areas:`, e.g. `areas: {{{text}: rio}}`") from error


def _pair(root: Path, part: Part, kind: str, images: _Images, files: list[str]) -> dict[str, str]:
    """Map each image's path to that of its mask, polygons or elevation."""
    pattern = getattr(part, kind)
    if pattern is None or pattern == BACKGROUND or not images:
        return {}
    names = sorted(compile_pattern(pattern).groupindex)
    by_key: dict[tuple[str, ...], str] = {}
    for path, captured in part.match(pattern, files).items():
        if (other := by_key.setdefault(tuple(captured[name] for name in names), path)) != path:
            raise UserError(f"{root / path}: fits `{kind}: {pattern}` like {other}; make the pattern more exact")
    keys = {path: tuple(captured[name] for name in names) for path, captured in images.items()}
    pairs = {path: by_key[key] for path, key in keys.items() if key in by_key}
    alone = [path for path in keys if path not in pairs]
    if alone and kind != "dem" and not part.unlabelled:  # elevation may exist for some scenes only
        count = f"{len(alone)} of {len(images)} images have none"
        fits = f"no file fits `{kind}: {pattern}` ({count})"
        raise UserError(f"{root / alone[0]}: {fits}; complete the data or correct the pattern")
    unused = sorted(set(by_key.values()) - set(pairs.values()))
    # If labels are optional, outlines under a wrong name would be ignored silently.
    if unused and (kind == "masks" or (kind == "polygons" and part.unlabelled)):
        what = "a mask" if kind == "masks" else "a file of polygons"
        count = f"without its image ({len(unused)} such)"
        raise UserError(f"{root / unused[0]}: {what} {count}; complete the data or correct `images: {part.images}`")
    return pairs
