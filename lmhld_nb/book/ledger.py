"""The fidelity ledger: what the paper leaves open and what the book does about it, kept in ``book/ledger.yaml``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import pandas as pd
from pydantic import Field

from lmhld_nb.config import ROOT, Strict, UserError, read_yaml

FILE = ROOT / "book" / "ledger.yaml"


class Row(Strict):
    """An open point.

    Attributes:
        point: what is open, or printed and contradicted.
        choice: what the book does.
        why: and why.
        keys: of a profile, that decide it; empty where it is no parameter.
    """

    point: str
    choice: str
    why: str
    keys: tuple[str, ...] = ()


class Section(Strict):
    """Open points on one subject."""

    title: str
    rows: Annotated[tuple[Row, ...], Field(min_length=1)]


class Ledger(Strict):
    """The whole ledger, with the paragraph it begins with."""

    intro: str
    sections: tuple[Section, ...]


def load() -> Ledger:
    """Read the ledger.

    Raises:
        UserError: the file is missing or says something else than `Ledger`.
    """
    return read_yaml(FILE, Ledger)


def table(keys: Sequence[str] = ()) -> pd.DataFrame:
    """Tabulate open points for a chapter.

    Args:
        keys: those decided by one of these keys of a profile; empty for all.

    Returns:
        Rows by point: choice, why, keys (joined by commas).

    Raises:
        UserError: no point is decided by a key that is given.
    """
    rows = [row for section in load().sections for row in section.rows]
    known = {key for row in rows for key in row.keys}
    for key in keys:
        if key not in known:
            raise UserError(
                f"ledger: no open point has the key '{key}'; choose from {', '.join(sorted(known))}"
            )
    shown = [row for row in rows if not keys or set(keys) & set(row.keys)]
    columns = {
        "point": [row.point for row in shown],
        "choice": [row.choice for row in shown],
        "why": [row.why for row in shown],
        "keys": [", ".join(row.keys) for row in shown],
    }
    return pd.DataFrame(columns).set_index("point")


def page() -> str:
    """Return the ledger as a page of the web edition, in Markdown."""
    found = load()
    lines = ["# Fidelity ledger", "", found.intro, ""]
    for section in found.sections:
        lines += [f"## {section.title}", "", "| open point | what the book does | why | key of a profile |"]
        lines += ["|---|---|---|---|"]
        for row in section.rows:
            keys = ", ".join(f"`{key}`" for key in row.keys)
            lines.append(f"| {row.point} | {row.choice} | {row.why} | {keys} |")
        lines.append("")
    return "\n".join(lines)
