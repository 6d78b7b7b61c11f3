"""Rules of the audit: verdicts that account for the rounding of published numbers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from lmhld_nb import paper

Verdict = Literal["holds", "rounding", "contradicted", "cannot be checked"]
VERDICTS: tuple[Verdict, ...] = ("holds", "rounding", "contradicted", "cannot be checked")
SCORES = list(paper.SCORES)
SCORE_TABLES = (4, 5, 6, 7)
TABLE_OF_MEANS = 7
"""Its values are means over six orders of addition, as its caption says."""
HALF = 0.5e-4
"""Half a unit in the last digit of a published score."""
ROOM = 2 * HALF
"""Effect of rounding on a difference of two scores, or on a rounded mean of scores."""
_INDEX = {1: "area", 3: "dataset", 4: ["model", "patch_size"], 5: ["area", "model"], 6: "model", 7: "model"}
_SLACK = 1e-9  # decimal fractions are not exact in binary; far below any printed digit


@dataclass(frozen=True)
class Finding:
    """What follows from the published tables for one statement, with numbers, and the verdict.

    ``rounding``: rounding can explain the deviation; ``tolerance``: up to which deviation numbers count as equal.
    """

    derived: str
    verdict: Verdict
    tolerance: str = "exact"
    detail: str = ""


Findings = dict[str, Finding]
"""Findings on claims, by their ids."""


def at_most(value: float, limit: float, inherited: float = 0.0) -> Verdict:
    """Judge "at most" a limit; above it, but within the rounding that the value inherits, is ``rounding``."""
    if value <= limit + _SLACK:
        return "holds"
    return "rounding" if value <= limit + inherited + _SLACK else "contradicted"


def above(difference: float, inherited: float = 0.0) -> Verdict:
    """Judge "higher than" by a printed difference; not above, but within the rounding, is ``rounding``."""
    if difference > _SLACK:
        return "holds"
    return "rounding" if difference >= -inherited - _SLACK else "contradicted"


def worst(verdicts: Iterable[str]) -> Verdict:
    """Return the verdict on a statement about all: one exception contradicts it; ValueError if there are none."""
    order: tuple[Verdict, ...] = ("contradicted", "cannot be checked", "rounding", "holds")
    return order[min(map(order.index, verdicts))]


def holds_if(true: Any, derived: str, detail: str = "", tolerance: str = "exact") -> Finding:
    """Return the finding on a statement that either follows or does not."""
    return Finding(derived, "holds" if true else "contradicted", tolerance, detail)


def unchecked(derived: str, detail: str = "") -> Finding:
    """Return the finding on a statement that the published numbers neither support nor contradict."""
    return Finding(derived, "cannot be checked", detail=detail)


def equals(name: str, value: float, derived: str, detail: str = "", inherited: float = 0.0) -> Finding:
    """Judge whether a computed value rounds to a quoted number; the tolerance is half its last digit."""
    quote = quoted(name)
    return Finding(derived, at_most(abs(quote.number - value), quote.half, inherited), tolerance_of(quote), detail)


def tolerance_of(quote: paper.Quote) -> str:
    """Return the allowed deviation from a quoted number as text."""
    return f"±{quote.half:,g}" if quote.half else "exact"


def all_above(differences: pd.Series | Mapping[str, float], what: str, detail: str = "") -> Finding:
    """Judge "higher in all of them" from named differences of scores; the finding lists the exceptions."""
    values = {str(name): float(value) for name, value in differences.items()}
    verdicts = {name: above(value, ROOM) for name, value in values.items()}
    exceptions = [f"{name} {values[name]:+.4f}" for name, verdict in verdicts.items() if verdict != "holds"]
    derived = f"higher in {len(values) - len(exceptions)} of {len(values)} {what}"
    if exceptions:
        derived += f", not in {', '.join(exceptions)}"
    return Finding(derived, worst(verdicts.values()), "±0.0001 (difference of rounded scores)", detail)


def quoted(name: str) -> paper.Quote:
    """Return the paper's statement with this name."""
    return paper.quotes()[name]


def facts(kind: str) -> Any:
    """Return the facts of one kind from outside the paper: value and source, by key."""
    table = paper.outside()
    return table[table["kind"] == kind].set_index("key")


def published(n: int) -> Any:
    """Return a table (not Table 2) indexed by its row keys: area key, data set, model, patch size."""
    table = paper.table(n)
    if "study_area" in table:
        table["area"] = [paper.area_key(name) for name in table["study_area"]]
    return table.set_index(_INDEX[n])


def harmonic(precision: Any, recall: Any) -> Any:
    """Return F1 = 2PR / (P + R), element by element."""
    return 2 * precision * recall / (precision + recall)


def averaging_gap(precision: Any, recall: Any) -> Any:
    """Return how far a mean F1 may lie below the F1 of mean precision and recall, to second order: F1 is concave.

    With the spreads of section 4.4; largest if half of the runs are high in one and low in the other, half opposite.
    """
    p, r = quoted("order_precision").number / 2, quoted("order_recall").number / 2
    apart = (harmonic(precision - p, recall + r) + harmonic(precision + p, recall - r)) / 2
    return harmonic(precision, recall) - apart


def f1_rows(n: int) -> pd.DataFrame:
    """Compare F1 with precision and recall in every row of Table 4, 5, 6 or 7.

    Adds derived (2PR / (P + R)), difference, low and high (allowed by rounding, in Table 7 averaging too), verdict.
    """
    table = paper.table(n)
    p, r = table["precision"], table["recall"]
    table["derived"] = harmonic(p, r)
    table["difference"] = table["f1"] - table["derived"]
    # F1 increases with both, so its extremes over the rounding box are at two corners.
    averaging = averaging_gap(p, r) if n == TABLE_OF_MEANS else 0.0
    table["low"] = harmonic(p - HALF, r - HALF) - HALF - averaging - table["derived"]
    table["high"] = harmonic(p + HALF, r + HALF) + HALF - table["derived"]
    as_printed = table["difference"].abs() <= HALF + _SLACK
    within = table["difference"].between(table["low"] - _SLACK, table["high"] + _SLACK)
    table["verdict"] = np.select([as_printed, within], ["holds", "rounding"], "contradicted")
    return table


def listing(values: pd.Series, digits: str = ".4f") -> str:
    """Return named scores as one line."""
    return ", ".join(f"{name} {value:{digits}}" for name, value in values.items())
