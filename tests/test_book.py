"""Chapters: parameters, execution that leaves a whole notebook or none, and the skeleton they all share."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import jupytext
import nbformat
import pytest

from lmhld_nb.book import chapters as book
from lmhld_nb.config import ROOT, UserError

HEADER = """# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A tiny chapter

# %% tags=["parameters"]
number: int = 1  # how often
colour: str = "#a:b=c"  # any text: with = and #
names: list[str] = []  # whose
table: dict[str, int] = {"a": 1}  # of what

# %%
"""


def chapter(folder: Path, code: str, name: str = "00_tiny") -> Path:
    path = folder / f"{name}.py"
    path.write_text(HEADER + code + "\n", encoding="utf-8")
    return path


def chapters() -> list[Path]:
    return book.chapters()


# Parameters ------------------------------------------------------------------------------------------------------


def test_parameters_are_found(tmp_path: Path) -> None:
    found = book.parameters_of(jupytext.read(chapter(tmp_path, "")))
    assert found == [
        {"name": "number", "type": "int", "default": "1", "help": "how often"},
        {"name": "colour", "type": "str", "default": '"#a:b=c"', "help": "any text: with = and #"},
        {"name": "names", "type": "list[str]", "default": "[]", "help": "whose"},
        {"name": "table", "type": "dict[str, int]", "default": '{"a": 1}', "help": "of what"},
    ]
    assert (
        book.parameters_of(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("a: int = 1  # x")]))
        == []
    )


@pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem)
def test_every_chapter_has_its_profile_as_a_parameter(path: Path) -> None:
    found = {parameter["name"]: parameter for parameter in book.parameters_of(jupytext.read(path))}
    assert found["profile"]["type"] == "str"
    assert all(parameter["help"] for parameter in found.values())


def test_an_unknown_parameter_is_refused_before_anything_starts(tmp_path: Path) -> None:
    target = tmp_path / "out" / "a.ipynb"
    with pytest.raises(
        UserError, match=r"00_tiny\.py: no parameter 'nmber'; it has colour, names, number, table"
    ):
        book.execute(chapter(tmp_path, ""), target, {"nmber": 2})
    assert not target.parent.exists()


def test_chapters_are_chosen_by_number() -> None:
    assert [path.stem for path in book.chapters("5")] == [path.stem for path in book.chapters("05")]
    assert [path.stem[:2] for path in book.chapters()] == sorted(path.stem[:2] for path in book.chapters())
    with pytest.raises(UserError, match="chapter '77': unknown; choose from 00,"):
        book.chapters("77")


# Execution -------------------------------------------------------------------------------------------------------


def test_a_profile_has_the_chapters_of_its_experiments(tmp_path: Path) -> None:
    mini = (ROOT / "params" / "mini.yaml").read_text()
    numbers = {}
    for name, line in {"whole": "", "one": "experiments: [2]\n"}.items():
        path = tmp_path / f"{name}.yaml"
        path.write_text(mini.replace("name: mini", f"name: {name}") + line)
        numbers[name] = [chapter.stem[:2] for chapter in book.chapters(profile=str(path))]
    assert numbers["whole"] == [path.stem[:2] for path in chapters()]
    assert set(numbers["whole"]) - set(numbers["one"]) == set(book.EXPERIMENT_OF) - {"05"}


def test_a_chapter_is_executed_tidily_and_the_same_again(tmp_path: Path) -> None:
    code = "import sys\nprint(number, names)\nprint('noise', file=sys.stderr)\n\n# %% tags=[\"own\"]\n[number] * 2"
    source = chapter(tmp_path, code)
    first, second = tmp_path / "out" / "first.ipynb", tmp_path / "out" / "second.ipynb"
    for target in (first, second):
        book.execute(source, target, {"number": 3, "names": ["x"]})
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in first.parent.iterdir()) == ["first.ipynb", "second.ipynb"]
    made = nbformat.read(first, as_version=4)
    nbformat.validate(made)
    assert set(made.metadata) == {"kernelspec"}
    assert "papermill" not in first.read_text()
    assert [cell.id for cell in made.cells] == [f"cell-{number:02d}" for number in range(len(made.cells))]
    tags = [cell.metadata.get("tags") for cell in made.cells if cell.metadata]
    assert tags == [["parameters"], ["injected-parameters"], ["own"]]
    outputs = [output for cell in made.cells if cell.cell_type == "code" for output in cell.outputs]
    assert [output.get("text", output.get("data")) for output in outputs] == [
        "3 ['x']\n",
        {"text/plain": "[3, 3]"},
    ]


def test_a_failing_cell_is_told_and_kept_and_the_target_is_not_there(tmp_path: Path) -> None:
    source = chapter(tmp_path, "print('so far')\n\n# %%\nraise ValueError('first line\\nsecond line')")
    target = tmp_path / "out" / "a.ipynb"
    with pytest.raises(
        UserError, match=r"00_tiny\.py: cell \d+ failed: ValueError: first line second line; see"
    ):
        book.execute(source, target, {})
    failed = tmp_path / "out" / "a.failed.ipynb"
    assert list(target.parent.iterdir()) == [failed]
    assert "so far" in failed.read_text()
    chapter(tmp_path, "print('mended')")
    book.execute(source, target, {})
    assert list(target.parent.iterdir()) == [target]


def test_a_kernel_that_dies_is_told(tmp_path: Path) -> None:
    target = tmp_path / "out" / "a.ipynb"
    with pytest.raises(UserError, match=r"00_tiny\.py: .*[Kk]ernel died"):
        book.execute(chapter(tmp_path, "import os\nos._exit(1)"), target, {})
    assert not target.exists()
    assert not [path for path in target.parent.iterdir() if ".part" in path.name or ".input" in path.name]


def test_the_book_passes_on_a_profile_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Chapters run in notebooks/: a path relative to where the command was given must not be lost.
    monkeypatch.setenv("LMHLD_WORKDIR", str(tmp_path / "work"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("")
    seen = []

    def side_by_side(work: partial, pairs: list, workers: int) -> list:
        seen.append(work.keywords["parameters"]["profile"])
        return []

    monkeypatch.setattr(book, "side_by_side", side_by_side)
    targets = book.make("mine.yaml", "00", progress=False)
    assert targets == [tmp_path / "work" / "build" / "mine" / "00_start.ipynb"]
    assert seen[0] == str(tmp_path / "mine.yaml")
    book.make("smoke", "00", progress=False)
    assert seen[1] == "smoke"


def test_what_a_child_says_reaches_the_caller_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = chapter(tmp_path, "raise ValueError('first line\\nsecond line')")
    text = source.read_text().replace("number: int", 'profile: str = "smoke"  # a profile\nnumber: int')
    source.write_text(text)
    monkeypatch.setattr(book, "chapters", lambda *_: [source])
    monkeypatch.setenv("LMHLD_WORKDIR", str(tmp_path / "work"))
    with pytest.raises(UserError, match=r"00_tiny\.py: cell \d+ failed: ValueError: first line second line"):
        book.make("smoke", progress=False)


# Skeleton --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem)
def test_a_chapter_has_the_skeleton(path: Path) -> None:
    cells = jupytext.read(path).cells
    prose = [cell.source for cell in cells if cell.cell_type == "markdown"]
    whole = "\n".join(prose)
    places = [whole.find(mark) for mark in ("# ", "**Question.**", "**The paper", "**Time.**")]
    assert -1 not in places and places == sorted(places) and places[0] == 0, "title, question, paper, time"
    assert all(mark in prose[0] for mark in ("**Question.**", "**The paper", "**Time.**"))
    assert re.search(r"minutes? to read", prose[0]), "time to read"
    tags = [cell.metadata.get("tags", []) for cell in cells]
    assert [place for place, found in enumerate(tags) if "parameters" in found] == [1], (
        "parameters come second"
    )
    beside, exercises, following = (
        whole.find(mark) for mark in ("## Beside the paper", "## Exercises", "**Next:**")
    )
    assert 0 < beside < exercises < following, "beside the paper, exercises, next"
    assert re.search(r"^### Exercise 1: ", whole[exercises:], re.M), "exercises are numbered"
    assert any("nbval-check-output" in found for found in tags), "something that is compared"


@pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem)
def test_a_chapter_has_prose_between_its_steps(path: Path) -> None:
    cells = jupytext.read(path).cells
    run = longest = 0
    for cell in cells:
        run = run + 1 if cell.cell_type == "code" else 0
        longest = max(longest, run)
        most = 25 if cell.cell_type == "code" else 40
        assert len(cell.source.splitlines()) <= most, f"longer than {most} lines: {cell.source[:60]}"
        assert str(ROOT) not in cell.source
    assert longest <= 3, f"{longest} code cells without a word between them"
