"""Consistency of the published numbers: statements of the paper, with what follows from its tables.

Statements that hold by definition or only repeat a table are left out. Statements and numbers are data
(`lmhld_nb.paper`); what follows is computed from `paper.table`. A statement with several readings has one row for each;
the rows share the part of their id before ``/``.
"""

import json
import re
from dataclasses import asdict, dataclass, replace
from itertools import groupby

import pandas as pd

from lmhld_nb import paper
from lmhld_nb.audit import data, scores
from lmhld_nb.audit.rules import SCORE_TABLES, VERDICTS, Finding, Verdict, f1_rows, unchecked
from lmhld_nb.audit.scores import part_minus_mix, part_minus_single

__all__ = ["PARTS", "SCORE_TABLES", "VERDICTS", "Check", "as_json", "checks", "counts", "f1_rows", "findings"]
__all__ += ["in_every_reading", "part_minus_mix", "part_minus_single", "table", "text"]

PARTS = data.PARTS + scores.PARTS
"""Functions that compute the findings on claims, by their ids, for one subject each."""
_SYMBOLS = {"holds": "=", "rounding": "~", "contradicted": "X", "cannot be checked": "?"}


@dataclass(frozen=True)
class Check:
    """One statement of the paper (columns of `paper.claims`) and the finding on it (`rules.Finding`)."""

    id: str
    section: str
    claim: str
    reading: str
    derived: str
    verdict: Verdict
    tolerance: str
    detail: str


def checks() -> list[Check]:
    """Check every statement, in the paper's order; ValueError if claims and `PARTS` do not match."""
    claims, found = paper.claims(), findings()
    if unknown := set(found) - set(claims.index):
        raise ValueError(f"claims.csv has no row for {', '.join(sorted(unknown))}")
    checked = []
    for key, row in claims.iterrows():
        if str(key) not in found and not row["needs"]:
            raise ValueError(f"claim {key} is not computed, and claims.csv names nothing that it would need")
        finding = found.get(str(key), unchecked(""))
        if row["needs"]:  # was not published
            derived = "; ".join(filter(None, (f"it would take {row['needs']}", finding.derived)))
            finding = replace(finding, derived=derived, verdict="cannot be checked", tolerance="none")
        finding = replace(finding, tolerance=row["tolerance"] or finding.tolerance)
        finding = replace(finding, detail="; ".join(filter(None, (row["remark"], finding.detail))))
        checked.append(Check(str(key), row["section"], row["claim"], row["reading"], **vars(finding)))
    return checked


def findings() -> dict[str, Finding]:
    """Return the findings of all `PARTS`."""
    return {key: finding for part in PARTS for key, finding in part().items()}


def table(checked: list[Check]) -> pd.DataFrame:
    """Return the checks as a table indexed by ``id``."""
    return pd.DataFrame(checked).set_index("id")


def in_every_reading(table: pd.DataFrame, verdict: Verdict) -> list[str]:
    """Return the statements (ids without reading) that get this verdict in every reading."""
    same = (table["verdict"] == verdict).groupby(table.index.str.split("/").str[0], sort=False).all()
    return [str(key) for key in same.index[same]]


def counts(checked: list[Check]) -> dict[str, int]:
    """Return the number of checks by verdict."""
    return {verdict: sum(check.verdict == verdict for check in checked) for verdict in VERDICTS}


def as_json(checked: list[Check]) -> str:
    """Return all checks as JSON: ``paper``, ``counts`` by verdict and ``checks``."""
    content = {"paper": "arXiv:2502.19866", "counts": counts(checked), "checks": list(map(asdict, checked))}
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)


def text(checked: list[Check]) -> str:
    """Return all checks as readable text by section: one line each, followed by the finding and a remark."""
    lines: list[str] = []
    for section, of_section in groupby(checked, lambda check: check.section):
        lines += ["", section[0].upper() + section[1:]]
        for check in of_section:
            reading = f" [{check.reading}]" if check.reading else ""
            tolerance = f" (tolerance: {check.tolerance})" if re.search(r"\d", check.tolerance) else ""
            lines.append(f"{_SYMBOLS[check.verdict]} {check.verdict}: {check.claim}{reading}")
            lines += [f"    → {check.derived}{tolerance}", *([f"      {check.detail}"] if check.detail else [])]
    lines += ["", f"{len(checked)} checks"]
    lines += [f"{count:5} {_SYMBOLS[verdict]} {verdict}" for verdict, count in counts(checked).items()]
    return "\n".join(lines).strip()
