"""Scores of a landslide map beyond pixel counts: landslide by landslide, and of its probabilities (`ranking`).

A network that marks the few large landslides of an event has a high pixel F1 and may still have missed most
landslides; one whose probabilities are off scores as well as one whose are right. Both matter to users of the map.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from lmhld_nb.evaluation.counts import Confusion, ratio
from lmhld_nb.evaluation.ranking import Ranked
from lmhld_nb.inventory import components
from lmhld_nb.scenes.rasters import Window

Strips = Callable[[], Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]]
CLASSES_M2 = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
NO_LABEL = 255
_COUNTS = ["landslides", "detected", "mapped", "mapped_false"]


def overlaps(strips: Iterable[tuple[np.ndarray, np.ndarray]]) -> pd.DataFrame:
    """Measure each 8-connected landslide of one mask and how much of it another mask covers.

    Args:
        strips: (mask, other) from top to bottom, each (rows, cols): 0 background, 255 not labelled, every other value
            landslide. A landslide that reaches over strips counts once; memory depends on a strip's size only.

    Returns:
        One row per landslide of ``mask``: ``size_px``; ``known_px``, those of its pixels that ``other`` has a label
        for; ``covered_px``, those that ``other`` marks as landslide; its box as in `inventory.components`. Over all
        landslides covered_px sums up to the true positives, known_px to these and one kind of error.
    """
    layers = ((mask, other != NO_LABEL, _landslide(other)) for mask, other in strips)
    return components(layers, ("known_px", "covered_px"))


def landslides(strips: Strips) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return `overlaps` of the true landslides with the map and of the mapped ones with the truth.

    Args:
        strips: as in `score`; called twice.
    """
    return (
        overlaps((truth, _labels(probability, mask)) for probability, mask, truth in strips()),
        overlaps((_labels(probability, mask), truth) for probability, mask, truth in strips()),
    )


def by_size(
    truth: pd.DataFrame,
    mapped: pd.DataFrame,
    pixel_m2: float,
    least: float = 0.5,
    classes: Sequence[float] = CLASSES_M2,
) -> pd.DataFrame:
    """Count detected landslides and false objects by size class.

    A landslide is detected when at least ``least`` of its area is mapped, by however many objects. A mapped object is
    false when less than ``least`` of its area is landslide, of however many landslides. So the two counts need not
    match. Areas count as far as both masks have a label; landslides outside that are left out. Classes are of the whole
    size.

    Args:
        truth: true landslides, `overlaps` of truth with map.
        mapped: mapped objects, `overlaps` of map with truth.
        pixel_m2: ground area of a pixel.
        least: share, above 0 up to 1.
        classes: rising edges in m²; a class includes its lower edge.

    Returns:
        One row per class that occurs: ``area_m2`` (text) and ``from_m2``; ``landslides``, ``detected``,
        ``detection_rate`` with its 95 % Wilson interval ``detection_low`` and ``detection_high``; ``mapped``,
        ``mapped_false`` and ``false_share``. Rates of nothing are NaN.
    """
    counts = []
    for table in (truth, mapped):
        judged = _judged(table, least)
        index = np.digitize(judged["size_px"].to_numpy() * pixel_m2, classes)
        for rows in (index, index[judged["matched"].to_numpy()]):
            counts.append(np.bincount(rows, minlength=len(classes) + 1))
    edges = [f"{edge:,.10g}" for edge in classes]
    names = [f"< {edges[0]}", *(f"{a}–{b}" for a, b in pairwise(edges)), f"≥ {edges[-1]}"]
    all_true, detected, objects, matched = counts
    table = pd.DataFrame({"area_m2": names, "from_m2": np.array([0, *classes], float)})
    table[_COUNTS] = np.column_stack([all_true, detected, objects, objects - matched])
    return _rates(table[(all_true > 0) | (objects > 0)].reset_index(drop=True))


def pooled(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return several tables of `by_size` as one: counts added up by class, rates and intervals of the sums."""
    if not tables:
        return _rates(pd.DataFrame(columns=["from_m2", "area_m2", *_COUNTS], dtype=int))
    return _rates(pd.concat(tables).groupby(["from_m2", "area_m2"])[_COUNTS].sum().reset_index())


def _rates(counts: pd.DataFrame) -> pd.DataFrame:
    """Return counts by size class with the rates that follow from them."""
    total, detected, mapped, false = (counts[name].to_numpy() for name in _COUNTS)
    intervals = [_wilson(*pair) for pair in zip(detected.tolist(), total.tolist(), strict=True)]
    low, high = np.array(intervals, float).reshape(-1, 2).T
    return pd.DataFrame(
        {
            **counts[["area_m2", "from_m2", "landslides", "detected"]],
            "detection_rate": ratio(detected, total),
            "detection_low": low,
            "detection_high": high,
            **counts[["mapped", "mapped_false"]],
            "false_share": ratio(false, mapped),
        }
    )


def size_frequency(areas_m2: np.ndarray, bins_per_decade: int = 5) -> pd.DataFrame:
    """Return the frequency density of landslide areas, p(A) = (1/N) dN/dA (Malamud et al. 2004).

    Bins have equal widths in log area and edges at powers of ten, so inventories share them. Bins narrower than a
    pixel (at some five pixels and below) hold one size or none: the density jumps there.

    Args:
        areas_m2: area of each landslide, above 0.
        bins_per_decade: bins between 10ⁿ and 10ⁿ⁺¹ m².

    Returns:
        One row per bin that holds a landslide: ``area_m2`` (geometric middle), ``density`` (per m²; times the bins'
        widths it sums up to 1) and ``count``.
    """
    areas = np.asarray(areas_m2, float)
    if areas.size == 0:
        return pd.DataFrame({"area_m2": [], "density": [], "count": []}).astype({"count": int})
    first = math.floor(math.log10(areas.min()) * bins_per_decade) - 1  # one more bin: logarithms round
    last = math.floor(math.log10(areas.max()) * bins_per_decade) + 2
    edges = 10.0 ** (np.arange(first, last + 1) / bins_per_decade)
    count, _ = np.histogram(areas, edges)
    density = count / areas.size / np.diff(edges)
    table = pd.DataFrame({"area_m2": np.sqrt(edges[:-1] * edges[1:]), "density": density, "count": count})
    return table[count > 0].reset_index(drop=True)


@dataclass(frozen=True)
class Tally:
    """What is counted of a map against truth; several scenes add with ``+``.

    Attributes:
        ranked: probabilities by truth.
        counts: pixels of the mask.
        sizes: of `by_size`.
        true_m2, mapped_m2: area of each true and each mapped landslide of which something is labelled in the other.
    """

    ranked: Ranked
    counts: Confusion
    sizes: pd.DataFrame
    true_m2: np.ndarray
    mapped_m2: np.ndarray

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.ranked + other.ranked,
            self.counts + other.counts,
            pooled([self.sizes, other.sizes]),
            np.concatenate([self.true_m2, other.true_m2]),
            np.concatenate([self.mapped_m2, other.mapped_m2]),
        )

    def scores(self) -> dict[str, Any]:
        """Return the scores of `score`."""
        threshold, f1 = self.ranked.best()
        total, detected, mapped, false = (int(self.sizes[name].sum()) for name in _COUNTS)
        return {
            **self.counts.as_dict(),
            "prevalence": ratio(self.counts.tp + self.counts.fn, sum(vars(self.counts).values())),
            "average_precision": self.ranked.average_precision,
            "calibration_error": self.ranked.calibration_error,
            "brier": self.ranked.brier,
            "best_threshold": threshold,
            "f1_at_best_threshold": f1,
            "landslides": total,
            "landslides_detected": detected,
            "detection_rate": ratio(detected, total),
            "mapped": mapped,
            "mapped_false": false,
        }


def tally(strips: Strips, pixel_m2: float) -> Tally:
    """Count what `score` is computed from; arguments and errors as there."""
    ranked, counts = Ranked.none(), Confusion(0, 0, 0, 0)
    for probability, mask, truth in strips():
        labels, is_landslide = _labels(probability, mask), _landslide(truth)
        known = (labels != NO_LABEL) & (truth != NO_LABEL)
        ranked += Ranked.of(probability, is_landslide, known)
        counts += Confusion.of(_landslide(labels), is_landslide, known)
    true, mapped = landslides(strips)
    areas = [table.loc[table["known_px"] > 0, "size_px"].to_numpy() * pixel_m2 for table in (true, mapped)]
    return Tally(ranked, counts, by_size(true, mapped, pixel_m2), *areas)


def score(strips: Strips, pixel_m2: float) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
    """Score a landslide map of any size against truth: pixels, probabilities, landslides.

    Args:
        strips: returns the map from top to bottom, each time it is called (three times): probability (rows, cols)
            from 0 to 1, below 0 for no data; predicted mask and truth, both uint8 with 0 background, 1 landslide and
            255 no data or not labelled. Pixels that lack one of the three are left out.
        pixel_m2: ground area of a pixel.

    Returns:
        Scores, NaN where there is nothing to score: those of `Confusion.as_dict` of the mask; of the probabilities
        those of `Ranked`, the best threshold and its F1 chosen on the truth itself, hence optimistic; ``prevalence``,
        the share of landslide; by the rule of `by_size`, landslides and mapped objects.
        Tables: ``precision_recall`` of `Ranked.curve`, ``calibration`` of `Ranked.reliability`, `by_size`, and
        `size_frequency` with a column ``inventory`` (``true``, ``mapped``).

    Raises:
        ValueError: the three arrays of a strip differ in shape, or a probability is above 1.
    """
    counted = tally(strips, pixel_m2)
    frequencies = [
        size_frequency(areas).assign(inventory=name)
        for name, areas in (("true", counted.true_m2), ("mapped", counted.mapped_m2))
    ]
    return counted.scores(), {
        "precision_recall": counted.ranked.curve(),
        "calibration": counted.ranked.reliability(),
        "by_size": counted.sizes,
        "size_frequency": pd.concat(frequencies, ignore_index=True),
    }


@dataclass(frozen=True)
class CloseUp:
    """A window of a scene where a map is wrong.

    Attributes:
        kind: ``false`` object or ``missed`` landslide.
        wrong_px: its pixels that are wrong.
        window: what to show of the scene.
        box: the object's first row and column and last row and column plus one, counted in the window.
    """

    kind: Literal["false", "missed"]
    wrong_px: int
    window: Window
    box: tuple[int, int, int, int]


def close_ups(
    truth: pd.DataFrame,
    mapped: pd.DataFrame,
    shape: tuple[int, int],
    count: int = 3,
    least: float = 0.5,
    side: int = 96,
) -> list[CloseUp]:
    """Return the false objects and the missed landslides with the most wrong pixels.

    Args:
        truth, mapped: of `landslides`; no array is needed, so scenes may be of any size.
        shape: rows and columns of the scene.
        count: at most so many of each kind.
        least: as in `by_size`.
        side: least height and width of a window in pixels.

    Returns:
        False objects, then missed landslides, each from the largest down. Windows are square, hold the whole object
        with a margin of a fifth of its extent and lie inside the scene (which alone makes them smaller).
    """
    windows: list[CloseUp] = []
    tables: dict[Literal["false", "missed"], pd.DataFrame] = {"false": mapped, "missed": truth}
    for kind, table in tables.items():
        judged = _judged(table, least).assign(wrong_px=lambda rows: rows["known_px"] - rows["covered_px"])
        wrong = judged[~judged["matched"]].sort_values("wrong_px", ascending=False, kind="stable")
        columns = ["wrong_px", "top", "left", "bottom", "right"]
        for pixels, top, left, bottom, right in wrong.head(count)[columns].to_numpy().tolist():
            extent = max(side, math.ceil(1.4 * max(bottom - top, right - left)))
            row, height = _centred(top, bottom, extent, shape[0])
            col, width = _centred(left, right, extent, shape[1])
            box = (top - row, left - col, bottom - row, right - col)
            windows.append(CloseUp(kind, pixels, Window(row, col, height, width), box))
    return windows


def _centred(low: int, high: int, extent: int, length: int) -> tuple[int, int]:
    """Return first pixel and extent of a window around low … high, moved and cut to lie in 0 … length."""
    extent = min(extent, length)
    return min(max(0, (low + high - extent) // 2), length - extent), extent


def _judged(table: pd.DataFrame, least: float) -> pd.DataFrame:
    """Return landslides of which something is labelled in the other mask, and whether they are ``matched`` there."""
    judged = table[table["known_px"] > 0]
    return judged.assign(matched=judged["covered_px"] >= least * judged["known_px"])


def _labels(probability: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.where(probability >= 0, mask, np.uint8(NO_LABEL))


def _landslide(codes: np.ndarray) -> np.ndarray:
    return (codes != 0) & (codes != NO_LABEL)


def _wilson(count: int, total: int) -> tuple[float, float]:
    if not total:
        return math.nan, math.nan
    interval = binomtest(count, total).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)
