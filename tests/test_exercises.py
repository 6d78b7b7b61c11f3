"""Exercises: their form in the chapters, solutions that pass, stubs and mistakes that fail, copies for students."""

import copy
import re
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import numpy as np
import pytest
import yaml
from made import refuses
from nbformat import v4
from student_copies import exercises, stub, student, write_copies

from lmhld_nb import paper, patches
from lmhld_nb.book import chapters
from lmhld_nb.book.exercises import exercise
from lmhld_nb.evaluation import intervals

CHAPTERS = {chapters.number_of(path): path for path in chapters.chapters()}

MISTAKES = yaml.safe_load((Path(__file__).parent / "mistakes.yaml").read_text(encoding="utf-8"))

TOOLS = {"np": np, "paper": paper, "patches": patches, "intervals": intervals}
"""What they use besides the names of chapter and solution."""


@cache
def chapter(number: str) -> nbformat.NotebookNode:
    return jupytext.read(CHAPTERS[number])


def run(code: str, names: dict[str, Any]) -> None:
    exec(compile(code, "cell", "exec"), names)


def begun(number: str) -> dict[str, Any]:
    """What a chapter's opening defines in profile smoke: its code up to the first prose after the parameters."""
    parameters, *following = chapter(number).cells[1:]
    names: dict[str, Any] = {}
    run(parameters.source, names)
    names["profile"] = "smoke"
    for cell in takewhile(lambda cell: cell.cell_type == "code", following):
        run(re.sub(r"^%.*$", "", cell.source, flags=re.M), names)  # out of a notebook there are no magics
    return names


@pytest.mark.parametrize("number", CHAPTERS)
def test_a_chapter_ends_in_exercises(number):
    own = exercises(chapter(number))
    assert 2 <= len(own) <= 4 and "**Next:**" in chapter(number).cells[-1].source
    assert {f"{number}.{each.number}" for each in own} == {key for key in MISTAKES if key.rpartition(".")[0] == number}
    for each in own:
        assert each.question, "something is asked"
        assert f"exercise({each.number}" in each.check
        # Every assertion says where to look: one without a message would end in "exercise 1: ".
        assert each.check.count("assert ") == len(re.findall(r"assert [^\0]*?, (?:\(\s*)?f?\"", each.check))


@pytest.mark.parametrize("number", CHAPTERS)
def test_solutions_pass_and_stubs_and_mistakes_do_not(number, tiny):
    first = begun(number)
    after_another = dict(first)
    for each in exercises(chapter(number)):
        start = stub(each.solution, each.check)
        with pytest.raises(AssertionError, match=rf"^exercise {each.number}: no answer yet$"):
            run(f"{start}\n{each.check}", dict(first))
        alone = dict(first)
        run(each.solution, alone)
        run(each.check, alone)
        lost = [name for name in first if alone[name] is not first[name] and name != "__builtins__"]
        assert not lost, f"exercise {each.number} takes the chapter's own {', '.join(lost)}"
        open_names = re.findall(r"^(\w+) = \.\.\.", start, re.M)
        functions = re.findall(r"^def (\w+)\(", start, re.M)
        nonsense = [f"{name} = {value}" for name in open_names for value in ("None", "-1", "'word'")]
        nonsense += [f"{name} = lambda *_: {value}" for name in functions for value in ("None", "'word'")]
        for mistake in (MISTAKES[f"{number}.{each.number}"], *nonsense):
            wrong = {**TOOLS, **alone}
            run(mistake, wrong)
            with pytest.raises(AssertionError, match=rf"^exercise {each.number}: (?!no answer yet)\S"):
                run(each.check, wrong)
        run(f"{each.solution}\n{each.check}", after_another)  # as the book does


def test_a_check_says_which_exercise_and_why(capsys):
    with exercise(3, 1, "two"):
        pass
    assert capsys.readouterr().out == "exercise 3: passed\n"
    with pytest.raises(AssertionError, match=r"^exercise 3: look there$"), exercise(3):
        raise AssertionError("look there")
    with pytest.raises(AssertionError, match=r"^exercise 3: no answer yet$"), exercise(3, 1, ...):
        raise AssertionError("not reached")
    with pytest.raises(AssertionError, match=r"^exercise 3: KeyError: 'b'; has the") as caught, exercise(3):
        {"a": 1}["b"]
    assert isinstance(caught.value.__cause__, KeyError)
    assert capsys.readouterr().out == ""


def cell(kind: str, source: str, *tags: str) -> nbformat.NotebookNode:
    metadata = {"tags": list(tags)} if tags else {}
    if kind == "markdown":
        return v4.new_markdown_cell(source, metadata=metadata)
    outputs = [v4.new_output("stream", text="SECRET output")]
    return v4.new_code_cell(source, metadata=metadata, outputs=outputs, execution_count=7)


@pytest.mark.parametrize("number", CHAPTERS)
def test_a_student_s_copy_has_everything_but_the_solutions(number):
    notebook, own = copy.deepcopy(chapter(number)), exercises(chapter(number))
    notebook.cells[-1:-1] = [cell("code", "SECRET = 1", "injected-parameters"), cell("code", "own = 1", "own")]
    whole = copy.deepcopy(notebook)
    stripped = student(notebook)
    assert notebook == whole, "the chapter itself stays as it is"
    nbformat.validate(stripped)
    assert "SECRET" not in nbformat.writes(stripped) and stripped.metadata == {"kernelspec": whole.metadata.kernelspec}
    stubs, expected = iter([stub(each.solution, each.check) for each in own]), []
    for each in whole.cells:
        tags = each.metadata.get("tags", [])
        if "solution" in tags and each.cell_type == "code":
            expected.append((next(stubs), []))
        elif not {"solution", "injected-parameters"} & set(tags):
            expected.append((each.source, tags))
    assert [(each.source, each.metadata.get("tags", [])) for each in stripped.cells] == expected


QUESTION = cell("markdown", "### Exercise 1: a title\n\nA question?")
SOLUTION = cell("code", "a = 1", "solution", "hide-cell")
CHECK = cell("code", "assert a", "check")


def notebook_of(*cells: nbformat.NotebookNode) -> nbformat.NotebookNode:
    own = [copy.deepcopy(each) for each in cells]
    for number, each in enumerate(own):
        each.id = f"cell-{number}"
    kernel = {"display_name": "P", "language": "python", "name": "python3"}
    return v4.new_notebook(cells=own, metadata={"kernelspec": kernel})


@pytest.mark.parametrize(("cells", "message"), [
    ([QUESTION, CHECK], "exercise 1: its cells are question, check; expected are question, solution, check"),
    ([QUESTION, SOLUTION, CHECK, cell("code", "a"), CHECK], "a cell tagged check belongs to no exercise"),
    ([QUESTION, cell("code", "a = 1", "solution"), CHECK], "exercise 1: its cells are question, code tagged solu"),
    ([QUESTION, SOLUTION, CHECK] * 2, "'### Exercise 1: a title': expected exercise 2; number them from 1"),
])  # fmt: skip
def test_cells_in_the_wrong_order_are_reported(cells, message):
    for read in (exercises, student):
        refuses(f"^{re.escape(message)}", read, notebook_of(*cells))


def test_copies_are_written_all_or_none_and_never_over_somebody_s_work(tmp_path):
    first, second = sources = [tmp_path / "00_made.ipynb", tmp_path / "01_made.ipynb"]
    for path in sources:
        nbformat.write(notebook_of(QUESTION, SOLUTION, CHECK), path)
    out = tmp_path / "out"
    assert write_copies(sources, out) == {out / path.name: 1 for path in sources}
    assert sorted(path.name for path in out.iterdir()) == ["00_made.ipynb", "01_made.ipynb"]
    nbformat.write(notebook_of(QUESTION, CHECK), second)
    refuses(r"^01_made\.ipynb: exercise 1: its cells are question, check;", write_copies, sources, tmp_path / "other")
    assert not (tmp_path / "other").exists()
    worked = nbformat.read(out / first.name, as_version=4)
    worked.cells[1].outputs = [v4.new_output("stream", text="seen")]
    nbformat.write(worked, out / first.name)
    write_copies([first], out)  # only executed
    worked.cells[1].source = "a = 'my own'"
    nbformat.write(worked, out / first.name)
    refuses(r"00_made\.ipynb: differs from what would be written .*--replace", write_copies, [first], out)
    assert "my own" in (out / first.name).read_text()
    write_copies([first], out, replace=True)
    assert "my own" not in (out / first.name).read_text()
