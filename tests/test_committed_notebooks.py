"""What stands in the repository as .ipynb: nothing of one machine or one execution, and what its .py says."""

from __future__ import annotations

import html
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from lmhld_nb.book import chapters as book
from lmhld_nb.book import committed
from lmhld_nb.config import ROOT

COMMITTED = sorted(path for folder in committed.FOLDERS for path in folder.glob("*.ipynb"))


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_in_it_is_of_one_machine_or_one_execution(path: Path) -> None:
    assert committed.traces(nbformat.read(path, as_version=4)) == []
    text = path.read_text(encoding="utf-8")
    assert str(ROOT) not in text and str(Path.home()) + "/" not in text


def test_they_are_all_looked_at() -> None:
    names = {path.stem for path in book.chapters()}
    beside = {"explorer", "my_data"}  # not chapters: they have no reference
    for folder in committed.FOLDERS:
        more = beside if folder.name == "notebooks" else set()
        assert {path.stem for path in COMMITTED if path.parent == folder} == names | more


def seen(**output: str) -> list[str]:
    (kind, text), *_ = output.items()
    made = (
        new_output("stream", text=text)
        if kind == "stream"
        else new_output("execute_result", data={f"text/{kind}": text})
    )
    notebook = new_notebook(cells=[new_code_cell("x", outputs=[made])])
    return committed.traces(notebook)


@pytest.mark.parametrize(
    "text",
    [
        "saved to /home/ann/book/figures/a.png",
        "see /srv/x/y",
        r"C:\Users\ann\book",
        "~/book",
        "made at 14:05",
        "2026-11-24T20:30:13Z",
        "2027-01-31",
        "<pandas.io.formats.style.Styler at 0x7f0d377257d0>",
        "took 4 s of 114 s",
        "12.5 ms",
        "3 minutes",
        "seconds  7.85",
        "step (ms)",
        "id 8f14e45fceea167a5a36dedd4bea2543",
        "123e4567-e89b-12d3-a456-426614174000",
    ],
)
def test_a_trace_is_found_in_print_and_in_a_result(text: str) -> None:
    assert seen(stream=text) and seen(plain=text) and seen(html=f"<td>{html.escape(text)}</td>"), text


@pytest.mark.parametrize(
    "text",
    [
        "U-Net: F1 0.683, 9 × 9 pixels, 3 runs, 10 m",
        "images 2015-08, event 2017-08-08: 24 months earlier",
        "356 runs: 7 model(s) on 7 areas",
        "2PR / (P + R); precision/recall; TripleSat 0.5m-15m",
        "runs 5a0b3c3d4e5f6071",
        "OD1: rio, gorkha",
    ],
)
def test_what_is_no_trace_passes(text: str) -> None:
    assert seen(stream=text) == seen(html=f"<table class='dataframe'><td>{text}</td></table>") == [], text


def test_a_styled_table_with_a_random_id_is_found() -> None:
    assert seen(html="<style>#T_1a2b3_row0 {color: red}</style><table id='T_1a2b3'><td>1</td></table>")
    assert not seen(html="<style>#T_moved_row0 {color: red}</style><table id='T_moved'><td>1</td></table>")


def test_metadata_of_the_execution_is_found() -> None:
    cell = new_code_cell("x", metadata={"tags": ["a"], "execution": {"iopub.execute_input": "…"}})
    notebook = new_notebook(
        cells=[cell],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}, "papermill": {}},
    )
    assert committed.traces(notebook) == ["metadata: papermill", "cell 0: metadata execution"]


def test_a_measured_cost_may_stand_where_its_cell_says_so() -> None:
    cell = new_code_cell("x", outputs=[new_output("stream", text="EPYC: 3.2 ms")])
    assert committed.traces(new_notebook(cells=[cell]))
    cell.metadata["tags"] = [committed.TIMING]
    assert not committed.traces(new_notebook(cells=[cell]))
    cell.outputs[0].text = "EPYC: 3.2 ms at 14:05"
    assert committed.traces(new_notebook(cells=[cell]))


def test_who_measures_names_the_hardware() -> None:
    for path in book.chapters():
        for cell in jupytext.read(path).cells:
            if committed.TIMING in cell.metadata.get("tags", []):
                assert "cpu_name()" in cell.source, path.stem


# Pairs -----------------------------------------------------------------------------------------------------------


def pair(folder: Path, ours: list, theirs: list) -> Path:
    source = folder / "05_made.py"
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    jupytext.write(new_notebook(cells=ours, metadata=kernel), source, fmt="py:percent")
    nbformat.write(new_notebook(cells=theirs, metadata=kernel), source.with_suffix(".ipynb"))
    return source


def cells(prose: str = "# Title\n\nOne.", code: str = "x = 1\nprint(x)") -> list:
    return [new_markdown_cell(prose), new_code_cell(code)]


def test_equal_pairs_have_no_difference_whatever_was_printed(tmp_path: Path) -> None:
    printed = cells()
    printed[1].outputs = [new_output("stream", text="1")]
    assert committed.difference(pair(tmp_path, cells(), printed)) is None


def test_a_difference_is_shown_and_says_what_to_do(tmp_path: Path) -> None:
    told = committed.difference(pair(tmp_path, cells(), cells(prose="# Title\n\nTwo.")))
    assert told == (
        "notebooks/05_made.ipynb: cell 0 differs from its .py: 'One.' there, 'Two.' here; make notebooks"
    )
    told = committed.difference(pair(tmp_path, cells(), cells(code="x = 1\nprint(2)")))
    assert told is not None
    assert "cell 1 differs from its .py: 'print(x)' there, 'print(2)' here" in told
    assert told.endswith("lmhld book mini --chapter 05 && make notebooks")


def test_a_cell_too_many_and_a_missing_notebook_are_told(tmp_path: Path) -> None:
    source = pair(tmp_path, cells(), [*cells(), new_code_cell("more")])
    assert "cell 2 differs from its .py: 'nothing' there, 'more' here" in str(committed.difference(source))
    source.with_suffix(".ipynb").unlink()
    assert "05_made.ipynb: not there" in str(committed.difference(source))
