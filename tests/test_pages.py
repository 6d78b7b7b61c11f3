"""Pages made from files: the ledger, and the numbers traced to their runs."""

from __future__ import annotations

import re
from pathlib import Path
from types import UnionType
from typing import Union, get_args, get_origin

import pandas as pd
import pytest
from pydantic import BaseModel

from lmhld_nb.book import chapters as book
from lmhld_nb.book import ledger, pages
from lmhld_nb.config import ROOT, UserError
from lmhld_nb.experiments import profile as profiles


def models_in(annotation: object) -> list[type[BaseModel]]:
    """Return the pydantic models that a field may hold, alone, optionally or in a tuple."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (tuple, Union, UnionType):
        return [model for argument in get_args(annotation) for model in models_in(argument)]
    return []


def is_key(model: type[BaseModel], key: str) -> bool:
    first, _, rest = key.partition(".")
    if first not in model.model_fields:
        return False
    return not rest or any(is_key(inner, rest) for inner in models_in(model.model_fields[first].annotation))


# The ledger ------------------------------------------------------------------------------------------------------


def test_keys_are_told_from_words() -> None:
    assert is_key(profiles.Profile, "recipe.loss") and is_key(profiles.Profile, "experiment_5.events.bands")
    assert not is_key(profiles.Profile, "recipe.los") and not is_key(profiles.Profile, "recipe.loss.kind")


@pytest.mark.parametrize(
    "row", [row for section in ledger.load().sections for row in section.rows], ids=lambda r: r.point
)
def test_every_key_of_the_ledger_is_one_of_a_profile(row: ledger.Row) -> None:
    for key in row.keys:
        assert is_key(profiles.Profile, key), key


def test_the_page_shows_every_row() -> None:
    text = ledger.page()
    rows = [row for section in ledger.load().sections for row in section.rows]
    assert len({row.point for row in rows}) == len(rows) > 0
    for row in rows:
        line = next(line for line in text.splitlines() if line.startswith(f"| {row.point} |"))
        assert row.choice in line and row.why in line
        assert re.findall(r"`([\w.]+)`", line.split(" | ")[-1]) == list(row.keys)
        assert line.count("|") == 5, "a bar in a cell would break the table"
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == [
        section.title for section in ledger.load().sections
    ]


def test_a_chapter_can_show_some_rows() -> None:
    assert len(ledger.table()) == sum(len(section.rows) for section in ledger.load().sections)
    some = ledger.table(["recipe.loss", "recipe.keep"])
    assert set(some["keys"]) == {"recipe.loss", "recipe.keep"}
    with pytest.raises(UserError, match=r"no open point has the key 'recipe\.los'; choose from"):
        ledger.table(["recipe.los"])


# Numbers ---------------------------------------------------------------------------------------------------------


def test_run_ids_of_a_table_come_once_and_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    one, two, three = ("0" * 15 + digit for digit in "123")
    pd.DataFrame({"run_ids": [f"{one}+{two}", two, None, three]}).to_csv(path)
    assert pages.run_ids(path) == [one, two, three]
    pd.DataFrame({"f1": [0.5]}).to_csv(path)
    assert pages.run_ids(path) == []
    pd.DataFrame({"run_ids": ["seed 0"]}).to_csv(path)
    with pytest.raises(UserError, match="'seed 0' in run_ids is no run"):
        pages.run_ids(path)


def test_the_page_of_numbers_traces_every_figure_of_the_edition() -> None:
    chapters = {path.stem for path in book.chapters()}
    folder = ROOT / "figures" / "mini"
    text = pages.numbers(folder, chapters)
    parts = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", text, re.M | re.S))
    made = {name: entry for name, entry in pages.manifest().items() if entry.chapter in chapters}
    assert [title.lower() for title in parts] == [name.lower() for name in made]
    for title, (name, entry) in zip(parts, made.items(), strict=True):
        part = parts[title]
        assert f"chapters/{entry.chapter}.ipynb" in part
        assert all(f"`{file}`" in part for file in entry.files), name
        tables = [folder / file for file in entry.files if file.endswith(".csv")]
        expected = {run for table in tables for run in pages.run_ids(table)}
        assert set(re.findall(r"<code>([0-9a-f]{16})</code>", part)) == expected
        assert ("Runs:" in part) == bool(expected) and (not expected or f"Runs: {len(expected)}." in part)


def test_what_is_not_part_of_the_edition_is_left_out(tmp_path: Path) -> None:
    assert "## " not in pages.numbers(ROOT / "figures" / "mini", set())
    (tmp_path / "table1.csv").write_text("area,patches\nrio,3\n")
    text = pages.numbers(tmp_path, {"01_areas_and_inventories"})
    assert re.findall(r"^## (.*)$", text, re.M) == ["Table 1"]
    assert "| `table1.csv` |  |" in text
