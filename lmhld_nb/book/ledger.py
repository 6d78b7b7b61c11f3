"""The fidelity ledger: what the paper leaves open and what the book does about it, kept in ``book/ledger.yaml``."""

from collections.abc import Sequence
from typing import Annotated

import pandas as pd
from pydantic import Field

from lmhld_nb.config import ROOT, Strict, UserError, read_yaml


class Row(Strict):
    """An open point, what the book does and why, and the profile keys that decide it (if any)."""

    point: str
    choice: str
    why: str
    keys: tuple[str, ...] = ()


class Section(Strict):
    """Open points on one subject."""

    title: str
    rows: Annotated[tuple[Row, ...], Field(min_length=1)]


class Ledger(Strict):
    """The whole ledger, with its introduction."""

    intro: str
    sections: tuple[Section, ...]


def load() -> Ledger:
    """Read the ledger."""
    return read_yaml(ROOT / "book" / "ledger.yaml", Ledger)


def table(keys: Sequence[str] = ()) -> pd.DataFrame:
    """Return the open points decided by ``keys``, or all: point, choice, why, keys; UserError for an unknown key."""
    rows = [row for section in load().sections for row in section.rows]
    known = {key for row in rows for key in row.keys}
    if foreign := [key for key in keys if key not in known]:
        raise UserError(f"ledger: no open point has the key '{foreign[0]}'; choose from {', '.join(sorted(known))}")
    chosen = [row for row in rows if not keys or set(keys) & set(row.keys)]
    return pd.DataFrame([{**row.model_dump(), "keys": ", ".join(row.keys)} for row in chosen]).set_index("point")
