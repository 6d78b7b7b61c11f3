"""How the audit judges: verdicts, rounding carried through, and the register of derivations.

Every published score is rounded to four decimals, so the unrounded one lies within half a unit of its last digit.
What is derived from rounded numbers inherits that: the tolerance of a verdict is what rounding can do, and no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import pandas as pd

from lmhld_nb import paper
from lmhld_nb.paper import Quote

Verdict = Literal["holds", "rounding", "contradicted", "cannot be checked"]
VERDICTS: tuple[Verdict, ...] = ("holds", "rounding", "contradicted", "cannot be checked")
SCORES = ("precision", "f1", "recall")
SCORE_NAMES = {"precision": "precision", "f1": "F1", "recall": "recall"}
SCORE_TABLES = (4, 5, 6, 7)
MEANS = frozenset({7})
"""Tables whose values are means (over six orders of addition, as the caption of Table 7 says)."""
HALF = 0.5e-4
"""Half a unit in the last digit of a published score."""
ROOM = 2 * HALF
"""What rounding does to a difference of two scores, or to a rounded mean of scores."""
OF_DIFFERENCE = "±0.0001 (difference of rounded scores)"
OF_MEAN = "±0.0001 (mean of rounded scores)"
OF_RANK = "order of the printed values"
_SHORT = {"GF-2": "Gaofen-2"}  # Table 3 shortens what Table 1 writes out
_SLACK = 1e-9  # decimal fractions are not exact in binary; far below any printed digit


@dataclass(frozen=True)
class Finding:
    """What follows from the published tables for one statement.

    Attributes:
        derived: what follows, with its numbers.
        verdict: of the statement.
        tolerance: how far a number may lie off and still count as the same.
        detail: what a reader should know besides.
        rows: the single comparisons behind a verdict on many, for other programs.
    """

    derived: str
    verdict: Verdict
    tolerance: str = "exact"
    detail: str = ""
    rows: tuple[dict[str, Any], ...] = ()


Derivation = Callable[[], Finding]
DERIVATIONS: dict[str, Derivation] = {}
"""Derivations by the id of the claim they check."""
DerivationT = TypeVar("DerivationT", bound=Derivation)


def derives(name: str) -> Callable[[DerivationT], DerivationT]:
    """Register a function as the derivation of the claim with this id."""

    def register(function: DerivationT) -> DerivationT:
        if DERIVATIONS.setdefault(name, function) is not function:
            raise ValueError(f"two derivations of claim {name}")
        return function

    return register


def quoted(name: str) -> Quote:
    """Return what the paper's text says under this name."""
    return paper.quotes()[name]


def yes(true: bool) -> Verdict:
    """Return the verdict of a statement that either follows or does not."""
    return "holds" if true else "contradicted"


def compare(printed: float, derived: float, half: float, inherited: float = 0.0) -> Verdict:
    """Compare a printed number with what follows for it.

    Args:
        printed: as printed.
        derived: from published numbers.
        half: half a unit in the last printed digit of ``printed``; 0 where it is exact.
        inherited: how far ``derived`` may be off because those numbers are rounded.

    Returns:
        ``holds`` where ``derived`` rounds to ``printed``, ``rounding`` where another value within the tolerance would.
    """
    apart = abs(printed - derived)
    if apart <= half + _SLACK:
        return "holds"
    return "rounding" if apart <= half + inherited + _SLACK else "contradicted"


def above(difference: float, inherited: float = 0.0) -> Verdict:
    """Judge "higher than" from a printed difference; not above, but within the rounding, is ``rounding``."""
    if difference > _SLACK:
        return "holds"
    return "rounding" if difference >= -inherited - _SLACK else "contradicted"


def at_most(value: float, limit: float, inherited: float = 0.0) -> Verdict:
    """Judge "at most" a limit; above it, but within the rounding, is ``rounding``."""
    if value <= limit + _SLACK:
        return "holds"
    return "rounding" if value <= limit + inherited + _SLACK else "contradicted"


def worst(verdicts: Iterable[str]) -> Verdict:
    """Return the verdict of a statement about all: one exception contradicts it.

    Raises:
        ValueError: there are no verdicts; nothing would be said about nothing.
    """
    present = set(verdicts)
    order: tuple[Verdict, ...] = ("contradicted", "cannot be checked", "rounding", "holds")
    for verdict in order:
        if verdict in present:
            return verdict
    raise ValueError("no verdicts to choose from")


def all_above(
    differences: Mapping[str, float] | pd.Series, what: str, tolerance: str = OF_DIFFERENCE, detail: str = ""
) -> Finding:
    """Judge "higher in all of them" from named differences of scores; the finding lists the exceptions."""
    values = {str(name): float(value) for name, value in differences.items()}
    verdicts = {name: above(value, ROOM) for name, value in values.items()}
    exceptions = [f"{name} {values[name]:+.4f}" for name, verdict in verdicts.items() if verdict != "holds"]
    told = f"higher in {len(values) - len(exceptions)} of {len(values)} {what}"
    if exceptions:
        told += f", not in {', '.join(exceptions)}"
    rows = tuple(
        {"case": name, "difference": round(value, 6), "verdict": verdicts[name]}
        for name, value in values.items()
    )
    return Finding(told, worst(verdicts.values()), tolerance, detail, rows)


def scores(n: int) -> pd.DataFrame:
    """Return Table 4, 5, 6 or 7 indexed by model (5: by area key and model; 4: by model and patch size)."""
    table = paper.table(n)
    if n == 4:
        return table.set_index(["model", "patch_size"])
    if n == 5:
        table["area"] = [paper.area_key(name) for name in table.pop("study_area")]
        return table.set_index(["area", "model"])
    return table.set_index("model")


def harmonic(precision: Any, recall: Any) -> Any:
    """Return F1 = 2PR / (P + R), element by element."""
    return 2 * precision * recall / (precision + recall)


def averaging_gap(precision: Any, recall: Any) -> Any:
    """Return how far a mean F1 may lie below the F1 of mean precision and mean recall.

    F1 is concave in precision and recall, so that the mean over runs never lies above. Section 4.4 says how far
    precision and recall of the orders spread at most. The gap is largest, to second order, where half the runs have the
    highest precision with the lowest recall and the other half the opposite.
    """
    p = quoted("order_precision").number / 2
    r = quoted("order_recall").number / 2
    apart = (harmonic(precision - p, recall + r) + harmonic(precision + p, recall - r)) / 2
    return harmonic(precision, recall) - apart


def f1_rows(n: int) -> pd.DataFrame:
    """Compare F1 with precision and recall in every row of Table 4, 5, 6 or 7.

    Returns:
        The table's rows with derived (2PR / (P + R)), difference (printed less derived), low and high (the differences
        that rounding allows, in Table 7 averaging too) and verdict.
    """
    table = paper.table(n)
    p, r = table["precision"], table["recall"]
    table["derived"] = harmonic(p, r)
    table["difference"] = table["f1"] - table["derived"]
    # F1 rises with both, so that its extremes over the rounding box lie at two corners.
    averaging = averaging_gap(p, r) if n in MEANS else 0.0
    table["low"] = harmonic(p - HALF, r - HALF) - HALF - averaging - table["derived"]
    table["high"] = harmonic(p + HALF, r + HALF) + HALF - table["derived"]
    within = table["difference"].between(table["low"] - _SLACK, table["high"] + _SLACK)
    table["verdict"] = np.select(
        [table["difference"].abs() <= HALF + _SLACK, within], ["holds", "rounding"], "contradicted"
    )
    return table


def names(keys: Iterable[Any]) -> str:
    """Join areas' keys as names to read."""
    known = paper.areas()["short_name"]
    return ", ".join(str(known.get(key, key)) for key in keys)


def records(table: pd.DataFrame) -> tuple[dict[str, Any], ...]:
    """Return a table's rows for JSON, numbers rounded far below the printed digit."""
    return tuple(
        {str(key): round(value, 8) if isinstance(value, float) else value for key, value in row.items()}
        for row in table.to_dict("records")
    )


def count(name: str, found: int, what: str, detail: str = "") -> Finding:
    """Compare a quoted whole number with a count."""
    quote = quoted(name)
    return Finding(
        f"{found:,} {what}",
        compare(quote.number, found, quote.half),
        f"±{quote.half:,.0f}" if quote.half else "exact",
        detail,
    )


def same_sets(found: set[str], stated: set[str], where: str) -> Finding:
    """Compare names found in a table (``where``) with those stated."""
    more, less = sorted(found - stated), sorted(stated - found)
    told = f"the same {len(found)} in {where}"
    if more or less:
        told = f"only in {where}: {', '.join(more) or 'none'}; only here: {', '.join(less) or 'none'}"
    return Finding(told, yes(found == stated))


def listed(text: str) -> list[str]:
    """Return what a cell of Table 3 lists, sensors by the names Table 1 has."""
    parts = [part.strip() for part in text.split(",")]
    return [_SHORT.get(part, part) for part in parts]


def listing(values: pd.Series) -> str:
    """Return named scores as one line."""
    return ", ".join(f"{name} {value:.4f}" for name, value in values.items())
