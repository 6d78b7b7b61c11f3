"""The published numbers against each other: every checkable statement of the paper, with what follows from its tables.

Statements and numbers are data (`lmhld_nb.paper`); what follows is computed from `paper.table`. A statement that can be
read in several ways has a row for each; the rows share the part of their id before ``/``.
"""

from __future__ import annotations

import json
import re
import textwrap
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from lmhld_nb import paper
from lmhld_nb.audit import areas, patch_sets, scores, settings, strategies  # noqa: F401  (they register their derivations)
from lmhld_nb.audit.rules import DERIVATIONS, MEANS, SCORE_TABLES, VERDICTS, Finding, Verdict, f1_rows
from lmhld_nb.audit.strategies import part_less_mix, part_less_single

__all__ = [
    "MEANS",
    "SCORE_TABLES",
    "VERDICTS",
    "Check",
    "Verdict",
    "as_json",
    "checks",
    "counts",
    "f1_rows",
    "in_every_reading",
    "part_less_mix",
    "part_less_single",
    "table",
    "text",
]

_MARKS = {"holds": "=", "rounding": "~", "contradicted": "X", "cannot be checked": "?"}


@dataclass(frozen=True)
class Check:
    """One statement of the paper and what follows for it.

    Attributes:
        id: key; readings of one statement share the part before ``/``.
        place: where the statement stands, such as ``Table 4`` or ``section 4.2``.
        claim: what the paper says, in our words, with its number.
        reading: how it is understood; empty where there is only one way.
        derived: what follows from the published numbers.
        verdict: ``holds`` (as printed), ``rounding`` (not as printed, but rounding can explain it), ``contradicted``,
            or ``cannot be checked`` (what it takes is not published, or no measure is stated).
        tolerance: how far a number may lie off and still count as the same.
        detail: what a reader should know besides.
        rows: the single comparisons behind a verdict on many.
    """

    id: str
    place: str
    claim: str
    reading: str
    derived: str
    verdict: Verdict
    tolerance: str
    detail: str
    rows: tuple[dict[str, Any], ...] = ()


def checks() -> list[Check]:
    """Check every statement, in the paper's order.

    Raises:
        ValueError: a claim without a derivation says nothing of what is missing, or a derivation has no claim.
    """
    claims = paper.claims()
    if idle := set(DERIVATIONS) - set(claims.index):
        raise ValueError(f"claims.csv has no row for {', '.join(sorted(idle))}")
    found = []
    for name, claim in claims.iterrows():
        finding = _finding(str(name), str(claim["needs"]))
        found.append(Check(str(name), claim["place"], claim["claim"], claim["reading"], **_fields(finding)))
    return found


def _fields(finding: Finding) -> dict[str, Any]:
    return {field: getattr(finding, field) for field in ("derived", "verdict", "tolerance", "detail", "rows")}


def _finding(name: str, needs: str) -> Finding:
    """Return what follows for a claim; where something needed is not published, that is the verdict."""
    derive = DERIVATIONS.get(name)
    if not needs:
        if derive is None:
            raise ValueError(f"claim {name} has neither a derivation nor a need in claims.csv")
        return derive()
    missing = f"it would take {needs}"
    if derive is None:
        return Finding(missing, "cannot be checked", "none")
    finding = derive()
    return Finding(f"{missing}; {finding.derived}", "cannot be checked", "none", finding.detail, finding.rows)


def table(found: list[Check] | None = None) -> pd.DataFrame:
    """Return the checks as a table indexed by ``id``, without the single comparisons."""
    listed = checks() if found is None else found
    rows = [{key: value for key, value in asdict(check).items() if key != "rows"} for check in listed]
    return pd.DataFrame(rows).set_index("id")


def in_every_reading(found: pd.DataFrame, verdict: Verdict) -> list[str]:
    """Return the statements (ids without reading) that get this verdict however they are read."""
    statement = found.index.str.split("/").str[0]
    same = (found["verdict"] == verdict).groupby(statement, sort=False).all()
    return [str(name) for name in same.index[same]]


def counts(found: list[Check]) -> dict[str, int]:
    """Return how many checks got each verdict."""
    return {verdict: sum(check.verdict == verdict for check in found) for verdict in VERDICTS}


def as_json(found: list[Check] | None = None) -> str:
    """Return all checks as JSON: ``paper``, ``counts`` by verdict and ``checks`` with their single comparisons."""
    listed = checks() if found is None else found
    content = {
        "paper": "arXiv:2502.19866",
        "counts": counts(listed),
        "checks": [asdict(check) for check in listed],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)


def text(found: list[Check] | None = None, width: int = 100) -> str:
    """Return all checks as text to read, by place, no line longer than ``width`` letters (at least 40)."""
    listed = checks() if found is None else found
    lines: list[str] = []
    place = ""
    for check in listed:
        if check.place != place:
            place = check.place
            lines += ["", place[0].upper() + place[1:]]
        reading = f" [{check.reading}]" if check.reading else ""
        lines += _wrapped(f"{_MARKS[check.verdict]} {check.verdict}: ", f"{check.claim}{reading}", width)
        room = f" (tolerance: {check.tolerance})" if re.search(r"\d", check.tolerance) else ""
        lines += _wrapped("    → ", check.derived + room, width)
        if check.detail:
            lines += _wrapped("      ", check.detail, width)
    lines += ["", f"{len(listed)} checks"]
    lines += [f"{count:5} {_MARKS[verdict]} {verdict}" for verdict, count in counts(listed).items()]
    return "\n".join(lines).strip()


def _wrapped(start: str, told: str, width: int) -> list[str]:
    indent = " " * (len(start) if start[:1] in ("", " ") else 4)
    return textwrap.wrap(start + told, max(40, width), subsequent_indent=indent)
