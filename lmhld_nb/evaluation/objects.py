"""Scores of a landslide map beyond pixel counts: of single landslides, and of probabilities (`ranking`)."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy import ndimage
from scipy.stats import binomtest

from lmhld_nb.evaluation.counts import Confusion, ratio
from lmhld_nb.evaluation.intervals import LEAST
from lmhld_nb.evaluation.ranking import Ranked
from lmhld_nb.inventory import components

Strips = Callable[[], Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]]
CLASSES_M2 = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
NO_LABEL = 255
SHIFTS = 50  # of a map, over which its chance level is averaged
_COUNTS = ["landslides", "detected", "mapped", "mapped_false"]


def overlaps(strips: Iterable[tuple[np.ndarray, np.ndarray]]) -> pd.DataFrame:
    """Measure each 8-connected landslide of a mask, and how much of it another mask covers.

    ``strips`` are (mask, other), (rows, cols): 0 background, 255 not labelled. Returns ``size_px``, ``known_px``
    (labelled in other), ``covered_px``, and its bounding box as in `inventory.components`.
    """
    layers = ((mask, other != NO_LABEL, _landslide(other)) for mask, other in strips)
    return components(layers, ("known_px", "covered_px"))


def by_size(truth: pd.DataFrame, mapped: pd.DataFrame, pixel_m2: float) -> pd.DataFrame:
    """Count detected landslides and false objects by size class (`CLASSES_M2`).

    The tables are `overlaps` of the true landslides with the map and of the mapped ones with the truth. A landslide is
    detected when at least half of its known area is mapped, a mapped object false when less than half is landslide. One
    row per class that occurs: ``area_m2``, ``from_m2``; landslides, detected, ``detection_rate`` with Wilson's 95 %
    (``detection_low``, ``…_high``); mapped, ``mapped_false``, ``false_share``.
    """
    counts = []
    for table in (truth, mapped):
        judged = table[table["known_px"] > 0]
        for rows in (judged, judged[judged["covered_px"] >= 0.5 * judged["known_px"]]):
            index = np.digitize(rows["size_px"].to_numpy() * pixel_m2, CLASSES_M2)
            counts.append(np.bincount(index, minlength=len(CLASSES_M2) + 1))
    edges = [f"{edge:,.10g}" for edge in CLASSES_M2]
    names = [f"< {edges[0]}", *(f"{a}–{b}" for a, b in pairwise(edges)), f"≥ {edges[-1]}"]
    all_true, detected, objects, matched = counts
    table = pd.DataFrame({"area_m2": names, "from_m2": np.array([0, *CLASSES_M2], float)})
    table[_COUNTS] = np.column_stack([all_true, detected, objects, objects - matched])
    return _rates(table[(all_true > 0) | (objects > 0)].reset_index(drop=True))


def by_chance(mask: np.ndarray, truth: np.ndarray, pixel_m2: float) -> np.ndarray:
    """Return how many true landslides a map would detect by chance, by class of `by_size`, including absent classes.

    The mean over `SHIFTS` random shifts of ``mask``, wrapped around the edges; codes as in `score`.
    """
    slides, count = ndimage.label(_landslide(truth), np.ones((3, 3)))
    rows, cols = np.nonzero(slides)
    slide = slides[rows, cols] - 1
    random, detected = np.random.default_rng(0), np.zeros(count)
    for _ in range(SHIFTS):
        down, across = random.integers(mask.shape)
        codes = mask[(rows + down) % mask.shape[0], (cols + across) % mask.shape[1]]
        known, covered = (np.bincount(slide, there, count) for there in (codes != NO_LABEL, _landslide(codes)))
        detected += (known > 0) & (covered >= 0.5 * known)
    classes = np.digitize(np.bincount(slide, minlength=count) * pixel_m2, CLASSES_M2)
    return np.bincount(classes, detected / SHIFTS, len(CLASSES_M2) + 1)


def pooled(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Merge tables of `by_size`: counts (and ``by_chance``, if present) added by class, rates of the sums."""
    joined = pd.concat([*tables] or [pd.DataFrame(columns=["from_m2", "area_m2", *_COUNTS])])
    counts = joined.groupby(["from_m2", "area_m2"])
    table = _rates(counts[_COUNTS].sum().astype(int).reset_index())
    if "by_chance" not in joined:
        return table
    chance = counts["by_chance"].sum().to_numpy(float)
    return table.assign(by_chance=chance, chance_rate=ratio(chance, table["landslides"].to_numpy()))


def _rates(counts: pd.DataFrame) -> pd.DataFrame:
    total, detected, mapped, false = (counts[name].to_numpy() for name in _COUNTS)
    pairs = zip(detected.tolist(), total.tolist(), strict=True)
    bounds = [binomtest(k, n).proportion_ci(method="wilson") if n >= LEAST else (math.nan, math.nan) for k, n in pairs]
    table = counts[["area_m2", "from_m2", "landslides", "detected"]].assign(detection_rate=ratio(detected, total))
    table[["detection_low", "detection_high"]] = np.array(bounds, float).reshape(-1, 2)
    return table.assign(mapped=mapped, mapped_false=false, false_share=ratio(false, mapped))


@dataclass(frozen=True)
class Tally:
    """Counts of a map against truth; several scenes add with ``+``."""

    ranked: Ranked  # probabilities by truth
    counts: Confusion  # pixels of the mask
    sizes: pd.DataFrame  # of `by_size`

    def __add__(self, other: Self) -> Self:
        return type(self)(self.ranked + other.ranked, self.counts + other.counts, pooled([self.sizes, other.sizes]))

    def scores(self) -> dict[str, Any]:
        threshold, f1 = self.ranked.best()
        total, detected, mapped, false = (int(self.sizes[name].sum()) for name in _COUNTS)
        return {
            **self.counts.as_dict(),
            "prevalence": ratio(self.counts.tp + self.counts.fn, sum(vars(self.counts).values())),
            **{name: getattr(self.ranked, name) for name in ("average_precision", "calibration_error")},
            **{"best_threshold": threshold, "f1_at_best_threshold": f1},
            **{"landslides": total, "landslides_detected": detected, "detection_rate": ratio(detected, total)},
            **{"mapped": mapped, "mapped_false": false},
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the counts as arrays by name, for storage; `of_arrays` is the inverse."""
        table = {f"sizes {name}": self.sizes[name].to_numpy() for name in self.sizes.columns.drop("area_m2")}
        table["sizes area_m2"] = np.array(self.sizes["area_m2"], str)
        counts = np.array([*vars(self.counts).values()])
        return {"pixels": self.ranked.pixels, "counts": counts, **table}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        sizes = {name.removeprefix("sizes "): values for name, values in arrays.items() if name.startswith("sizes ")}
        return cls(Ranked(arrays["pixels"]), Confusion(*arrays["counts"].tolist()), pooled([pd.DataFrame(sizes)]))


def tally_whole(probability: np.ndarray, mask: np.ndarray, truth: np.ndarray, pixel_m2: float) -> Tally:
    """Return `tally` of a map in memory, (rows, cols) each, with its chance level (`by_chance`)."""
    counted = tally(lambda: iter([(probability, mask, truth)]), pixel_m2)
    chance = by_chance(_labels(probability, mask), truth, pixel_m2)[np.digitize(counted.sizes["from_m2"], CLASSES_M2)]
    return replace(counted, sizes=pooled([counted.sizes.assign(by_chance=chance)]))


def tally(strips: Strips, pixel_m2: float) -> Tally:
    """Return the counts from which `score` is computed; arguments and errors as there."""
    ranked, counts = Ranked.of(np.empty(0), np.empty(0)), Confusion(0, 0, 0, 0)
    for probability, mask, truth in strips():
        labels, is_landslide = _labels(probability, mask), _landslide(truth)
        known = (labels != NO_LABEL) & (truth != NO_LABEL)
        ranked += Ranked.of(probability, is_landslide, known)
        counts += Confusion.of(_landslide(labels), is_landslide, known)
    true = overlaps((truth, _labels(probability, mask)) for probability, mask, truth in strips())
    mapped = overlaps((_labels(probability, mask), truth) for probability, mask, truth in strips())
    return Tally(ranked, counts, by_size(true, mapped, pixel_m2))


def score(strips: Strips, pixel_m2: float) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
    """Score a landslide map of any size against truth: pixels, probabilities, landslides.

    Each call of ``strips`` yields, from top to bottom, (probability 0 to 1, below 0 for no data; mask; truth), the
    latter uint8 0, 1, 255 for unknown; ValueError for other shapes or values. Returns scores (`Tally.scores`; the best
    threshold is chosen on the truth, hence optimistic), and tables ``precision_recall``, ``calibration``, ``by_size``.
    """
    counted = tally(strips, pixel_m2)
    tables = {"precision_recall": counted.ranked.curve(), "calibration": counted.ranked.reliability()}
    return counted.scores(), {**tables, "by_size": counted.sizes}


def _labels(probability: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.where(probability >= 0, mask, np.uint8(NO_LABEL))


def _landslide(codes: np.ndarray) -> np.ndarray:
    return (codes != 0) & (codes != NO_LABEL)
