"""Scores of predicted probabilities at all thresholds: precision and recall, calibration."""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

from lmhld_nb.evaluation.counts import Confusion, ratio

STEPS = 1000  # of probability; thresholds are multiples of 1/STEPS


@dataclass(frozen=True, eq=False)
class Ranked:
    """Pixels counted by predicted probability (bins of 1/1000, exact at their edges) and truth; adds with +.

    ``pixels`` (2, STEPS + 1) int64 are counts of background and landslide.
    """

    pixels: np.ndarray

    @classmethod
    def of(cls, probability: np.ndarray, truth: np.ndarray, known: np.ndarray | None = None) -> Self:
        """Count probabilities (0 to 1, else ValueError) by a boolean truth of equal shape, where ``known``."""
        probability, truth = np.asarray(probability), np.asarray(truth, bool)
        if probability.shape != truth.shape:
            raise ValueError(f"probability {probability.shape} and truth {truth.shape} must have one shape")
        if probability.dtype.kind != "f":
            probability = probability.astype(np.float64)
        values, landslide = (probability, truth) if known is None else (probability[known], truth[known])
        values, landslide = values.ravel(), landslide.ravel()
        if values.size and not (values.min() >= 0 and values.max() <= 1):
            raise ValueError(f"probabilities must lie between 0 and 1, not {values.min()} to {values.max()}")
        # Edges have the type of the values: 0.3 is another number in float32, and numpy compares in that type, too.
        edges = (np.arange(STEPS + 1) / STEPS).astype(values.dtype)
        bins = np.searchsorted(edges, values, side="right") - 1 + landslide * (STEPS + 1)
        return cls(np.bincount(bins, minlength=2 * (STEPS + 1)).reshape(2, -1))

    def __add__(self, other: Self) -> Self:
        return type(self)(self.pixels + other.pixels)

    def confusion(self, threshold: float) -> Confusion:
        """Return the counts of a map that is landslide at or above ``threshold``, a multiple of 1/1000."""
        step = round(threshold * STEPS)
        if not 0 <= step <= STEPS or abs(threshold * STEPS - step) > 1e-4:
            raise ValueError(f"threshold {threshold} must be a multiple of {1 / STEPS} between 0 and 1")
        (fp, tp), (background, landslide) = self.pixels[:, step:].sum(axis=1), self.pixels.sum(axis=1)
        return Confusion(int(tp), int(fp), int(landslide - tp), int(background - fp))

    def curve(self) -> pd.DataFrame:
        """Return ``threshold``, ``precision`` and ``recall`` at every multiple of 1/1000; NaN as in `Confusion`."""
        fp, tp = self._above()
        recall = ratio(tp, np.broadcast_to(tp[0], tp.shape))
        thresholds = np.arange(STEPS + 1) / STEPS
        return pd.DataFrame({"threshold": thresholds, "precision": ratio(tp, tp + fp), "recall": recall})

    def _above(self) -> np.ndarray:
        """Return false and true positives (2, STEPS + 1) at every threshold."""
        return self.pixels[:, ::-1].cumsum(axis=1)[:, ::-1]

    @property
    def average_precision(self) -> float:
        """Σ (Rₙ − Rₙ₋₁) Pₙ over falling thresholds (Manning et al. 2008, section 8.4); NaN without landslide."""
        occupied = self.pixels[1] > 0
        precision = self.curve()["precision"].to_numpy()[occupied]
        return ratio(float((precision * self.pixels[1, occupied]).sum()), int(self.pixels[1].sum()))

    def best(self) -> tuple[float, float]:
        """Return the threshold with the highest F1 on these same pixels, and that F1; NaN without landslide."""
        fp, tp = self._above()
        if tp[0] == 0:
            return math.nan, math.nan
        f1 = 2 * tp / (tp + fp + tp[0])
        best = int(f1.argmax())
        return best / STEPS, float(f1[best])

    def reliability(self) -> pd.DataFrame:
        """Return ``mean_probability`` (cut to 1/1000), ``observed_share``, ``pixels``, of ten bins, if not empty."""
        starts = np.arange(10) * (STEPS // 10)
        _, landslide = np.add.reduceat(self.pixels, starts, axis=1)
        pixels = np.add.reduceat(self.pixels.sum(axis=0), starts)
        sums = np.add.reduceat(self.pixels.sum(axis=0) * (np.arange(STEPS + 1) / STEPS), starts)
        table = {"mean_probability": ratio(sums, pixels), "observed_share": ratio(landslide, pixels)}
        return pd.DataFrame({**table, "pixels": pixels})[pixels > 0].reset_index(drop=True)

    @property
    def calibration_error(self) -> float:
        """Expected calibration error (Naeini, Cooper & Hauskrecht 2015): mean gap of `reliability`."""
        table = self.reliability()
        gaps = (table["mean_probability"] - table["observed_share"]).abs() * table["pixels"]
        return ratio(float(gaps.sum()), int(table["pixels"].sum()))
