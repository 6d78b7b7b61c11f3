"""Exercises of the chapters: how they are held, and copies for students without solutions (`make student`).

    python tools/student_copies.py [--out FOLDER] [--replace]

An exercise is a sequence of cells after ``## Exercises``: the question (Markdown, ``### Exercise N: title``), solution
(code, tags ``solution`` and ``hide-cell``; Markdown tagged ``solution`` may stand beside it) and the check (code, tag
``check``). A check reads what the chapter's opening (its code up to the first prose after the parameters) and the
solution define, nothing else.
"""

from __future__ import annotations

import argparse
import ast
import re
import symtable
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbformat import NotebookNode, v4

from lmhld_nb.book.chapters import chapters
from lmhld_nb.book.exercises import OPEN
from lmhld_nb.config import UserError, atomic_path, workdir

QUESTION = re.compile(r"### Exercise (\d+): (.+)")
_KINDS: dict[tuple[str, ...], str] = {  # of cells, by type and tags
    ("markdown",): "question", ("markdown", "solution"): "words", ("code", "hide-cell", "solution"): "solution",
    ("code", "check"): "check",
}  # fmt: skip


@dataclass(frozen=True)
class Exercise:
    """One exercise of a chapter: its number from 1, title, Markdown below it, and the code of solution and check."""

    number: int
    title: str
    question: str
    solution: str
    check: str


def exercises(notebook: NotebookNode) -> list[Exercise]:
    """Return a chapter's exercises; raises `UserError` where cells are not in the order that the module describes."""
    groups: list[list[NotebookNode]] = []
    current: list[NotebookNode] = []  # empty outside of an exercise
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and QUESTION.match(cell.source):
            groups.append(current := [cell])
        elif not {"solution", "check"} & set(cell.metadata.get("tags", [])):
            current = []
        elif current:
            current.append(cell)
        else:
            raise UserError(f"a cell tagged {', '.join(cell.metadata.tags)} belongs to no exercise")
    found = []
    for number, cells in enumerate(groups, start=1):
        heading, _, question = cells[0].source.partition("\n")
        match = QUESTION.fullmatch(heading)
        if match is None or int(match[1]) != number:
            raise UserError(f"'{heading}': expected exercise {number}; number them from 1")
        tags = [(cell.cell_type, *sorted(cell.metadata.get("tags", []))) for cell in cells]
        kinds = [_KINDS.get(each, f"{each[0]} tagged {', '.join(each[1:])}") for each in tags]
        if [kind for kind in kinds if kind != "words"] != ["question", "solution", "check"] or kinds[-1] != "check":
            listed = f"its cells are {', '.join(kinds)}; expected are question, solution, check"
            raise UserError(f"exercise {number}: {listed}")
        solution = cells[kinds.index("solution")].source
        found.append(Exercise(number, match[2].strip(), question.strip(), solution, cells[-1].source))
    return found


def student(notebook: NotebookNode) -> NotebookNode:
    """Return a chapter's copy for students: solutions become stubs; outputs and injected parameters go."""
    stubs = iter([stub(each.solution, each.check) for each in exercises(notebook)])
    student_copy = v4.new_notebook(metadata={"kernelspec": dict(notebook.metadata["kernelspec"])})
    for cell in notebook.cells:
        tags, code = list(cell.metadata.get("tags", [])), cell.cell_type == "code"
        if "injected-parameters" in tags or ("solution" in tags and not code):
            continue
        solution = "solution" in tags
        copy = v4.new_code_cell(next(stubs) if solution else cell.source) if code else v4.new_markdown_cell(cell.source)
        copy.id = f"cell-{len(student_copy.cells):02d}"
        copy.metadata = {"tags": tags} if tags and not solution else {}
        student_copy.cells.append(copy)
    return student_copy


def stub(solution: str, check: str) -> str:
    """Return what a student starts from: the imports, each answer that the check reads as ``...``, empty heads."""
    names = [node for node in ast.walk(ast.parse(check)) if isinstance(node, ast.Name)]
    set_by_check = {node.id for node in names if not isinstance(node.ctx, ast.Load)}
    symbols = symtable.symtable(solution, "solution", "exec").get_symbols()
    assigned = {symbol.get_name() for symbol in symbols if symbol.is_assigned() and not symbol.is_imported()}
    answers = assigned & ({node.id for node in names} - set_by_check)
    body = ast.parse(solution).body
    imports = [ast.unparse(node) for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    functions = [node for node in body if isinstance(node, ast.FunctionDef) and node.name in answers]
    mentions = {name: len(re.split(rf"\b{name}\b", solution)[0]) for name in answers}
    values = sorted(answers - {node.name for node in functions}, key=mentions.__getitem__)
    blocks = ["\n".join(imports)] if imports else []
    blocks.append("\n".join([f"# {OPEN}", *(f"{name} = ..." for name in values)]))
    return "\n\n".join([*blocks, *(f"\n{_head(node)}" for node in functions)])


def _head(function: ast.FunctionDef) -> str:
    """Return a function's signature and docstring, with a body that raises `OPEN`."""
    documented = ast.get_docstring(function) is not None
    fields: dict[str, Any] = dict(ast.iter_fields(function)) | {"body": [*function.body[:documented], ast.Pass()]}
    text = ast.unparse(ast.fix_missing_locations(ast.FunctionDef(**fields)))
    return f'{text.removesuffix("pass")}raise NotImplementedError("{OPEN}")'


def write_copies(sources: Sequence[Path], folder: Path, replace: bool = False) -> dict[Path, int]:
    """Write students' copies of chapters into ``folder``, all or none; count exercises. UserError over changed ones."""
    copies, counts = {}, {}
    for source in sources:
        path = folder / f"{source.stem}.ipynb"
        try:
            notebook = jupytext.read(source)
            copies[path], counts[path] = student(notebook), len(exercises(notebook))
        except UserError as error:
            raise UserError(f"{source.name}: {error}") from error
    for path, copy in copies.items():
        if not replace and path.exists() and _cell_sources(path) != [cell.source for cell in copy.cells]:
            reason = "differs from what would be written (somebody's answers, or an older edition?)"
            raise UserError(f"{path}: {reason}; move it away, give another --out, or --replace")
    with ExitStack() as files:  # a file takes its name when all are written
        for path, copy in copies.items():
            nbformat.write(copy, files.enter_context(atomic_path(path)))
    return counts


def _cell_sources(path: Path) -> list[str]:
    """Return the cells of a notebook's file; none where it is no notebook."""
    try:
        return [cell.source for cell in nbformat.read(path, as_version=4).cells]
    except (OSError, ValueError, AttributeError):
        return []


def main() -> None:
    """Write the copies of all chapters."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, help="folder; build/student/ if none is given")
    parser.add_argument("--replace", action="store_true", help="overwrite copies that were worked in, too")
    options = parser.parse_args()
    try:
        copies = write_copies(chapters(), options.out or workdir() / "build" / "student", options.replace)
    except UserError as error:
        sys.exit(f"student copies: {error}")
    for path, count in copies.items():
        print(f"{path}: {count} exercises")


if __name__ == "__main__":
    main()
