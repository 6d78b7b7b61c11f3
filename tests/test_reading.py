"""How long a chapter takes to read and to run: the rule, the measurement, and the line at its top."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import jupytext
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from lmhld_nb.book import chapters as book
from lmhld_nb.book import reading
from lmhld_nb.config import UserError


def chapter(words: int, figures: int, exercises: int = 0) -> object:
    return new_notebook(
        cells=[
            new_markdown_cell("**Time.** 99 minutes to read, of which nothing counts.\n\n" + "word " * words),
            *(new_code_cell('style.save(\n    draw(), "a", "mini"\n)') for _ in range(figures)),
            new_code_cell("# comments are not prose " * 50),
            new_markdown_cell("last\n\n## Exercises\n\n" + "word " * exercises),
            new_markdown_cell("word " * exercises),
        ]
    )


@pytest.mark.parametrize(
    ("words", "figures", "minutes"),
    [(1, 0, 1), (199, 0, 1), (200, 0, 2), (199, 1, 2), (199, 2, 2), (0, 7, 4)],
)
def test_the_rule(words: int, figures: int, minutes: int) -> None:
    # One word more stands before the exercises, which do not count.
    assert reading.reading_minutes(chapter(words, figures, exercises=5000)) == minutes


@given(st.floats(0, 1e5))
def test_a_duration_is_rounded_up_and_not_by_much(seconds: float) -> None:
    number, unit = reading.spoken(seconds).split()
    told = int(number) * {"seconds": 1, "minutes": 60}[unit]
    assert seconds <= told
    assert told - seconds <= (5 if unit == "seconds" else 60 if told < 600 else 300)


def test_what_is_said_of_a_chapter() -> None:
    rows = {
        "00_a": {"profile": "mini", "seconds": 7.2, "runs": 0, "training_seconds": 0.0},
        "01_b": {"profile": "mini", "seconds": 31.0, "runs": 12, "training_seconds": 130.0},
    }
    measured = pd.DataFrame.from_dict(rows, orient="index")
    made = chapter(300, 1)
    assert reading.time_line(made, "00_a", measured) == "**Time.** 3 minutes to read, 10 seconds to run."
    assert reading.time_line(made, "01_b", measured) == (
        "**Time.** 3 minutes to read, 35 seconds to run where the 12 trainings of `mini` are there; these take "
        "3 minutes one after another."
    )
    with pytest.raises(UserError, match="no row for 02_c; `lmhld book mini`, then `make times`"):
        reading.time_line(made, "02_c", measured)


@pytest.mark.parametrize("path", book.chapters(), ids=lambda path: path.stem)
def test_the_line_of_a_chapter_is_what_rule_and_measurement_say(path: Path) -> None:
    notebook = jupytext.read(path)
    line = reading.time_line(notebook, path.stem, reading.measurements())
    assert line in notebook.cells[0].source.splitlines(), "make times"


def test_the_measurement_names_profile_and_hardware() -> None:
    measured = reading.measurements()
    assert list(measured.index) == [path.stem for path in book.chapters()]
    assert (measured["profile"] == "mini").all() and measured["hardware"].str.len().min() > 3
    assert (measured["seconds"] > 0).all()
    assert ((measured["runs"] > 0) == (measured["training_seconds"] > 0)).all()


def test_only_the_line_is_rewritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "notebooks"
    folder.mkdir()
    text = "# %% [markdown]\n# # A\n#\n# **Time.** 1 minute.\n# More.\n\n# %%\nx = 1  # **Time.** no\n"
    (folder / "00_a.py").write_text(text)
    monkeypatch.setattr(reading, "ROOT", tmp_path)
    measured = pd.DataFrame({"profile": ["mini"], "seconds": [3.0], "runs": [0]}, index=["00_a"])
    assert reading.rewrite(measured) == [folder / "00_a.py"]
    assert (folder / "00_a.py").read_text() == text.replace(
        "1 minute.", "1 minute to read, 5 seconds to run."
    )
    assert reading.rewrite(measured) == []


def test_the_book_keeps_how_long_chapters_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMHLD_WORKDIR", str(tmp_path))

    def side_by_side(work: object, pairs: list, workers: int) -> Iterator[tuple[object, Future]]:
        for source, target in pairs:
            done: Future[float] = Future()
            done.set_result(1.25 if "01" in source.stem else 3.0)
            yield (source, target), done

    monkeypatch.setattr(book, "side_by_side", side_by_side)
    for number in ("00", "01", "00"):
        book.make("mini", number, progress=False)
    kept = pd.read_csv(tmp_path / "build" / "mini" / "times.csv").set_index("chapter")["seconds"]
    assert kept.to_dict() == {"00_start": 3.0, "01_areas_and_inventories": 1.2}


def test_measuring_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMHLD_WORKDIR", str(tmp_path))
    with pytest.raises(UserError, match=r"times\.csv: not there; run `lmhld book smoke` first"):
        reading.measure("smoke")
