"""Patches: candidate sizes, windows and their filters, splits, and the PatchSet stored on disk."""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import pandas as pd
from pydantic import SerializerFunctionWrapHandler, model_serializer
from tqdm import tqdm

from lmhld_nb import config, scenes, seals
from lmhld_nb.config import UserError, safe_name
from lmhld_nb.patches import splits
from lmhld_nb.processes import lock
from lmhld_nb.scenes.scene import Scene

SIZES = (32, 64, 128, 224, 256)
RECORD = "patchset.json"  # of a PatchSet's folder, written last
CUT_VERSION = 2  # raised whenever the same spec would give other patches


class PatchSpec(config.Strict):
    """All that determines the patches of one area, and so their id."""

    dataset: str
    fingerprint: str  # of the data set's content
    area: str
    size: config.Count  # side in pixels
    min_share: config.Share = 0.10  # minimum share of landslide pixels (paper section 2.3)
    bands: tuple[str, ...] = scenes.BANDS
    split: Literal["random", "blocks", "given"] = "random"  # by landslide share, by position, or by the data set
    # Of training, validation and test patches.
    fractions: tuple[config.Positive, config.Positive, config.Positive] = (0.7, 0.2, 0.1)
    block: config.Count = 3  # side of a block of `blocks`, in patches
    seed: config.Seed = 0  # of the split
    # Also keep windows with less landslide than `min_share`. They are assigned to splits separately, so that all others
    # are in the same splits as without them.
    background: bool = False
    # With ``blocks``, training and validation patches that touch a test patch are left out; in a ``random`` split as
    # many patches are left out at random, so that the two can be compared.
    gap: bool = False
    # Masks as drawn by interpreters, or true ones (synthetic data only); windows and splits are those of ``drawn``.
    labels: Literal["drawn", "true"] = "drawn"
    thin: config.Count = 1  # use every n-th patch of a split, in the order of scenes

    @model_serializer(mode="wrap")
    def _without_defaults(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out fields added after many patches had their ids, if they change nothing."""
        late = {name: type(self).model_fields[name].default for name in ("background", "gap", "labels", "thin")}
        return {name: value for name, value in serialise(self).items() if late.get(name) != value}

    @property
    def fingerprint_of_patches(self) -> str:
        """16 hexadecimal digits that identify the patches' content."""
        canonical = json.dumps({"cut": CUT_VERSION, **self.model_dump(mode="json")}, sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @property
    def folder(self) -> Path:
        home = config.data_dir() / safe_name(self.dataset, "data set") / "patches"
        return home / f"{safe_name(self.area, 'area')}-{self.size}-{self.fingerprint_of_patches}"


@dataclass
class _Tally:
    """Counts made while scenes are cut."""

    reasons: Counter[str] = field(default_factory=Counter)
    statistics: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)
    resolutions: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class PatchSet:
    """Patches of one area on disk: memory-mapped arrays, an index and a short record."""

    spec: PatchSpec
    folder: Path  # with images.npy, masks.npy, index.csv and patchset.json (written last)
    windows: int  # classified
    dropped: dict[str, int]  # windows removed, by reason (`classify_windows`); each counts once
    mean: list[float]  # of each band over the training patches, in stored units
    std: list[float]
    scene_statistics: dict[str, tuple[list[float], list[float]]]  # the same for each scene's valid pixels
    resolution_m: float | None  # ground size of a pixel, the median over the scenes; None if unknown

    @cached_property
    def images(self) -> np.ndarray:
        """(patches, bands, size, size) in the stored data type, memory-mapped."""
        return np.load(self.folder / "images.npy", mmap_mode="r", allow_pickle=False)

    @cached_property
    def masks(self) -> np.ndarray:
        """(patches, size, size) uint8, 1 landslide, 0 background, memory-mapped."""
        return np.load(self.folder / "masks.npy", mmap_mode="r", allow_pickle=False)

    @cached_property
    def index(self) -> pd.DataFrame:
        """One row per patch: scene, row, col (of its upper left pixel), share (of landslide), split."""
        return pd.read_csv(self.folder / "index.csv", dtype={"scene": str})

    def where(self, split: str) -> np.ndarray:
        return np.flatnonzero(self.index["split"].to_numpy() == split)

    def neighbours(self, split: str, other: str) -> int:
        """Count the patches of ``split`` that touch one of ``other``, at a side or a corner."""
        is_other = self.index["split"] == other
        return int((splits.beside(self.index, is_other, self.spec.size) & (self.index["split"] == split)).sum())

    def shares(self) -> dict[str, float]:
        """Return the share of landslide pixels in each split (the columns of paper Table 2)."""
        by_split = self.index.groupby("split")["share"].mean()
        return {split: float(by_split.get(split, np.nan)) for split in splits.SPLITS}


def candidate_sizes(quartiles: tuple[float, float, float], sizes: Sequence[int] = SIZES) -> tuple[int, int, int]:
    """Choose three patch sizes for an area from its landslide-size quartiles (paper sections 3.2 (1), 4.1).

    A landslide of Q px should fill about 10 % of its patch: each quartile, from Q1 on, takes the unused size nearest to
    √(10·Q). Wenchuan's (417, 1191, 4123) give (64, 128, 224). UserError for invalid quartiles or too few sizes.
    """
    if not 0 < quartiles[0] <= quartiles[1] <= quartiles[2]:
        raise UserError(f"quartiles {quartiles}: must be positive and in order; give (Q1, Q2, Q3) in pixels")
    unused = set(sizes)
    if len(unused) < 3:
        raise UserError(f"sizes {tuple(sizes)}: at least three different ones are needed to choose from")
    for quartile in quartiles:
        unused.remove(min(sorted(unused), key=lambda size: abs(size - (10 * quartile) ** 0.5)))
    first, second, third = sorted(set(sizes) - unused)
    return first, second, third


def classify_windows(
    labels: np.ndarray, valid: np.ndarray, size: int, min_share: float
) -> tuple[np.ndarray, np.ndarray]:
    """Classify every non-overlapping window of a strip (paper section 2.3).

    ``labels`` (rows, cols) are 1, 0, 255 (not labelled). Returns (window rows, window cols) of reasons, ``""`` for kept
    ones, ``edge``, ``nodata`` (touches it, or unlabelled pixels), ``share`` (too little landslide), and of shares.
    """
    rows, cols = labels.shape[0] // size, labels.shape[1] // size
    inner, blocks = (slice(0, rows * size), slice(0, cols * size)), (rows, size, cols, size)
    landslide = (labels[inner] == 1).reshape(blocks).sum(axis=(1, 3), dtype=np.int64) / size**2
    known = (valid[inner] & (labels[inner] != 255)).reshape(blocks).all(axis=(1, 3))
    reason = np.where(known, np.where(landslide < min_share, "share", ""), "nodata")
    edge = [(0, int(length % size > 0)) for length in labels.shape]
    return np.pad(reason, edge, constant_values="edge"), np.pad(landslide, edge)


def cut(spec: PatchSpec, area_scenes: Iterable[Scene], progress: bool = True) -> PatchSet:
    """Cut or load the PatchSet of ``spec``, once even if two processes need it; nothing incomplete is left behind.

    UserError if a scene cannot be read, there is no patch or a split is empty, or the folder cannot be written.
    """
    folder = spec.folder
    with lock(folder.with_name(f".{folder.name}.lock")):
        try:
            if (folder / RECORD).is_file():
                return load(spec)
        except UserError as error:
            tqdm.write(f"{error}", file=sys.stderr)
        config.clear_left_behind(folder.parent, folder.name)
        with config.atomic_path(folder) as temporary:
            temporary.mkdir()
            _write_patches(spec, list(area_scenes), temporary, progress)
    return load(spec)


def load(spec: PatchSpec) -> PatchSet:
    """Load a finished PatchSet; UserError if it does not exist yet or a file has changed."""
    record_path = spec.folder / RECORD
    try:
        record = json.loads(record_path.read_text(encoding="utf-8"))
        if reason := seals.damage(record, spec.folder):
            raise ValueError(reason)
        said = {name: record[name] for name in ("windows", "dropped", "mean", "std", "resolution_m")}
        return PatchSet(spec, spec.folder, scene_statistics=record["scenes"], **said)
    except FileNotFoundError as error:
        if record_path.is_file():
            raise UserError(f"{error.filename}: is missing; `lmhld run` cuts these patches again") from None
        raise UserError(f"{spec.folder}: no such patches; make them with `lmhld run`") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{record_path}: damaged ({error}); `lmhld run` cuts these patches again") from None


def _write_patches(spec: PatchSpec, area_scenes: list[Scene], folder: Path, progress: bool) -> None:
    tally = _Tally()
    rows: list[dict[str, object]] = []
    sums: list[np.ndarray] = []
    side, bands = (spec.size, spec.size), len(spec.bands)
    bar = tqdm(area_scenes, f"cut {spec.area} {spec.size} px", unit="scene", disable=not progress, leave=False)
    # Plain writes, not a memory map: on a full disk they raise an error instead of killing the process.
    with (folder / "images.npy").open("wb") as images, (folder / "masks.npy").open("wb") as masks:
        stored = np.dtype(np.uint16)
        _write_header(images, stored, (0, bands, *side))
        _write_header(masks, np.dtype(np.uint8), (0, *side))
        for scene in bar:
            for patch, mask, row in _scene_patches(scene, spec, tally):
                if rows and patch.dtype != stored:
                    differs = f"{patch.dtype}, the scenes before it {stored}"
                    raise UserError(f"{scene.image}: {differs}; scenes of an area must share one data type")
                stored = patch.dtype
                images.write(np.ascontiguousarray(patch).data)
                masks.write(np.ascontiguousarray(mask).data)
                rows.append(row)
                values = patch.astype(np.float64).reshape(bands, -1)
                sums.append(np.stack([values.sum(axis=1), (values**2).sum(axis=1)]))
        _write_header(images, stored, (len(rows), bands, *side))
        _write_header(masks, np.dtype(np.uint8), (len(rows), *side))
    if not rows:
        raise UserError(_nothing_left(spec, tally))
    index = pd.DataFrame(rows)
    index["split"] = _splits(index, spec)
    index.loc[index.groupby("split").cumcount() % spec.thin > 0, "split"] = "unused"
    if absent := [split for split in splits.SPLITS if not (index["split"] == split).any()]:
        problem = f"no {absent[0]} patch among {len(index)}"
        mend = "use a larger scene, a smaller `size`, or other `fractions`"
        raise UserError(f"{spec.dataset} {spec.area} {spec.size} px: {problem}; {mend}")
    index.to_csv(folder / "index.csv", index=False, float_format="%.6f")
    train = (index["split"] == "train").to_numpy()
    total, squares = np.array(sums)[train].sum(axis=0)
    mean, std = mean_and_std(total, squares, int(train.sum()) * spec.size**2)
    dropped = {reason: tally.reasons[reason] for reason in ("edge", "nodata", "share")}
    record = {"spec": spec.model_dump(mode="json"), "windows": tally.reasons.total(), "dropped": dropped}
    resolution = float(np.median(tally.resolutions)) if tally.resolutions else None
    record |= {"mean": mean, "std": std, "scenes": tally.statistics, "resolution_m": resolution}
    config.write_json(folder / RECORD, seals.sealed(record, folder, ("images.npy", "masks.npy", "index.csv")))


def _write_header(file: BinaryIO, dtype: np.dtype, shape: tuple[int, ...]) -> None:
    """Write the header of an .npy file; NumPy pads it so that more patches and another type fit into the same space."""
    file.seek(0)
    content = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, content)


def mean_and_std(total: np.ndarray, squares: np.ndarray, count: int) -> tuple[list[float], list[float]]:
    """Return mean and deviation (1 if constant) of each band from sums and sums of squares over ``count`` pixels."""
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return mean.tolist(), np.where(std > 1e-9 * np.abs(mean), std, 1.0).tolist()


def _scene_patches(
    scene: Scene, spec: PatchSpec, tally: _Tally
) -> Iterator[tuple[np.ndarray, np.ndarray, dict[str, object]]]:
    """Yield image, mask and index row of each patch kept from a scene."""
    size = spec.size
    height = size * max(1, 512 // size)  # about as tall as the usual GeoTIFF tile, a whole number of windows
    with ExitStack() as opened:
        image = opened.enter_context(scenes.open_image(scene))
        labels = opened.enter_context(scenes.open_labels(scene, image))
        targets = labels
        if spec.labels == "true":
            targets = opened.enter_context(scenes.open_labels(scene, image, scenes.TRUE_LAYER))
        if image.ground_m is not None:
            tally.resolutions.append(image.ground_m)
        # For a large scene's statistics, every 8th pixel of every 8th row is enough.
        step = 8 if max(image.shape) > 2048 else 1
        count, total, squares = 0, np.zeros(len(spec.bands)), np.zeros(len(spec.bands))
        for strip in scenes.strips(image.shape, height):
            values, codes = image.read(strip, spec.bands), labels.read(strip)
            masks = codes if targets is labels else targets.read(strip)
            valid = image.valid(values)
            pixels = values[:, ::step, ::step][:, valid[::step, ::step]].astype(np.float64)
            count += pixels.shape[1]
            total, squares = total + pixels.sum(axis=1), squares + (pixels**2).sum(axis=1)
            reason, share = classify_windows(codes, valid, size, 0.0 if spec.background else spec.min_share)
            tally.reasons.update(reason.ravel().tolist())
            for r, c in zip(*np.nonzero(reason == ""), strict=True):
                window = (slice(r * size, (r + 1) * size), slice(c * size, (c + 1) * size))
                row = {"scene": scene.name, "row": strip.row + r * size, "col": c * size, "share": share[r, c]}
                row |= {"given": scene.split} if scene.split else {}
                yield values[(slice(None), *window)], masks[window], row
        if not count:
            raise UserError(f"{scene.image}: every pixel is no data; check the file and its `nodata:` value")
        tally.statistics[scene.name] = mean_and_std(total, squares, count)


def _nothing_left(spec: PatchSpec, tally: _Tally) -> str:
    texts = {
        "share": (f"hold less than {spec.min_share:.0%} landslide", "lower `min_share` or use a smaller size"),
        "nodata": ("touch no-data or unlabelled pixels", "use a smaller size or check `nodata:`"),
        "edge": ("reach over the scene's edge", "use a smaller size"),
    }
    counts = ", ".join(f"{tally.reasons[name]} {text}" for name, (text, _) in texts.items() if tally.reasons[name])
    next_step = texts[max(texts, key=lambda name: tally.reasons[name])][1]
    left = f"no {spec.size} px patch left of {tally.reasons.total()} windows ({counts})"
    return f"{spec.dataset} {spec.area}: {left}; {next_step}"


def _splits(index: pd.DataFrame, spec: PatchSpec) -> np.ndarray:
    share = index["share"].to_numpy()
    if spec.split == "given":
        if "given" not in index:
            raise UserError(f"{spec.dataset}: has no splits; use `split: random` or `blocks`")
        unknown = index.loc[~index["given"].isin(splits.SPLITS), "scene"]
        if len(unknown):
            raise UserError(f"{spec.dataset}: scene '{unknown.iloc[0]}' has no split; give it one, or use `random`")
        return index["given"].to_numpy()
    if spec.split == "blocks":
        return _in_blocks(index, spec)
    by_patch = np.full(len(index), splits.SPLITS[0], object)
    for chosen in (share >= spec.min_share, share < spec.min_share):
        if chosen.any():
            by_patch[chosen] = splits.deal(share[chosen], np.arange(chosen.sum()), spec.fractions, spec.seed)
    if spec.gap:
        wanted, random = pd.Series(_in_blocks(index, spec)).value_counts(), np.random.default_rng(spec.seed)
        for split in splits.SPLITS[:2]:
            numbers = random.permutation(np.flatnonzero(by_patch == split))
            by_patch[numbers[wanted.get(split, 0) :]] = "unused"
    return by_patch


def _in_blocks(index: pd.DataFrame, spec: PatchSpec) -> np.ndarray:
    share, side = index["share"].to_numpy(), spec.block * spec.size
    kept, groups = share >= spec.min_share, splits.blocks(index, side)
    dealt = splits.deal(share[kept], splits.blocks(index[kept], side), spec.fractions, spec.seed)
    dealt_of = dict(zip(groups[kept], dealt, strict=True))
    # Blocks with background only are assigned separately, so that all others are in the same splits as without them.
    if len(bare := np.setdiff1d(groups, groups[kept])):
        dealt = splits.deal(np.zeros(len(bare)), np.arange(len(bare)), spec.fractions, spec.seed)
        dealt_of |= zip(bare, dealt, strict=True)
    dealt = np.array([dealt_of[group] for group in groups])
    if spec.gap:
        is_test = dealt == "test"
        dealt = np.where(splits.beside(index, is_test, spec.size) & ~is_test, "unused", dealt)
    return dealt
