"""The fidelity ledger: what the paper leaves open and what the book does about it, kept in ``book/ledger.yaml``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import pandas as pd
from pydantic import Field

from lmhld_nb.config import ROOT, Strict, UserError, read_yaml


class Row(Strict):
    """An open point.

    Attributes:
        point: what is open, or printed and contradicted.
        choice: what the book does.
        why: the reason.
        keys: of a profile, that decide the point; empty where it is no parameter.
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
    """The whole ledger, with its opening paragraph."""

    intro: str
    sections: tuple[Section, ...]


def load(path: Path = ROOT / "book" / "ledger.yaml") -> Ledger:
    """Read the ledger.

    Raises:
        UserError: the file is missing or is not a `Ledger`.
    """
    return read_yaml(path, Ledger)


def table(keys: Sequence[str] = ()) -> pd.DataFrame:
    """Return the open points that one of ``keys`` of a profile decides, or all: one row per point.

    Columns: ``choice``, ``why``, ``keys`` (joined by commas); index ``point``.

    Raises:
        UserError: a key decides no point.
    """
    rows = [row for section in load().sections for row in section.rows]
    known = {key for row in rows for key in row.keys}
    for key in keys:
        if key not in known:
            raise UserError(f"ledger: no open point has the key '{key}'; choose from {', '.join(sorted(known))}")
    records = [
        {**row.model_dump(), "keys": ", ".join(row.keys)}
        for row in rows
        if not keys or not set(keys).isdisjoint(row.keys)
    ]
    return pd.DataFrame(records).set_index("point")
