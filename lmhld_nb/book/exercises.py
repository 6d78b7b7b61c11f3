"""Exercises: how a chapter holds them, copies for students without solutions, and what a check says.

An exercise is a sequence of cells after ``## Exercises``: the question (Markdown, ``### Exercise N: title``), solution
(code, tags ``solution`` and ``hide-cell``; Markdown tagged ``solution`` may stand beside it) and the check (code, tag
``check``). A check reads what the chapter's opening (its code up to the first prose after the parameters) and the
solution define, nothing else.
"""

from __future__ import annotations

import ast
import re
import symtable
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmhld_nb.config import UserError, atomic_path

if TYPE_CHECKING:
    from nbformat import NotebookNode

# nbformat and jupytext are imported where they are used: they take seconds, and each chapter's checks load this module.

OPEN = "your answer"
QUESTION = re.compile(r"### Exercise (\d+): (.+)")


@dataclass(frozen=True)
class Exercise:
    """One exercise of a chapter.

    Attributes:
        number: within the chapter, from 1.
        title: of the question.
        question: Markdown below the title.
        solution: source of the solution's code.
        check: source of the check.
    """

    number: int
    title: str
    question: str
    solution: str
    check: str


@contextmanager
def exercise(number: int, *answers: object) -> Iterator[None]:
    """Put the exercise's number before the assertions of a block, and say where it has no answer yet.

    ``with exercise(2, side): assert side > 0, "what to look at"``.

    Args:
        number: of the exercise; begins each message.
        answers: names that the student sets; one that is still ``...`` is no answer.

    Raises:
        AssertionError: there is no answer yet, an assertion of the block failed, or the answer has the wrong form
            (its error is kept as the cause).
    """
    try:
        if any(answer is ... for answer in answers):
            raise NotImplementedError(OPEN)
        yield
    except NotImplementedError as error:
        if error.args != (OPEN,):
            raise
        raise AssertionError(f"exercise {number}: no answer yet") from None
    except AssertionError as error:
        raise AssertionError(f"exercise {number}: {error}") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise AssertionError(
            f"exercise {number}: {type(error).__name__}: {error}; has the answer the form that is asked for?"
        ) from error
    print(f"exercise {number}: passed")


def exercises(notebook: NotebookNode) -> list[Exercise]:
    """Return a chapter's exercises in their order; none where it has no such cells.

    Raises:
        UserError: cells are not in the order that the module describes; names the exercise.
    """
    return [each for each, _ in _exercises(notebook)]


def student(notebook: NotebookNode) -> NotebookNode:
    """Return a chapter's copy for students: solutions become stubs, outputs go, everything else stays.

    A stub keeps the solution's imports, sets each name that the check reads to ``...``, and leaves of a function its
    head and docstring. Solutions in words and injected parameters are left out.

    Raises:
        UserError: as `exercises`.
    """
    from nbformat import v4

    solutions = {id(_only(cells, "solution")): each for each, cells in _exercises(notebook)}
    student_copy = v4.new_notebook(metadata={"kernelspec": dict(notebook.metadata["kernelspec"])})
    for cell in notebook.cells:
        tags = _tags(cell)
        if "injected-parameters" in tags or ("solution" in tags and cell.cell_type != "code"):
            continue
        if cell.cell_type != "code":
            copy = v4.new_markdown_cell(cell.source)
        elif "solution" in tags:
            each = solutions[id(cell)]
            copy, tags = v4.new_code_cell(stub(each.solution, each.check)), []
        else:
            copy = v4.new_code_cell(cell.source)
        copy.id = f"cell-{len(student_copy.cells):02d}"
        copy.metadata = {"tags": tags} if tags else {}
        student_copy.cells.append(copy)
    return student_copy


def stub(solution: str, check: str) -> str:
    """Return what a student starts from instead of ``solution``, so that ``check`` runs and finds no answer.

    Raises:
        SyntaxError: one of them is no Python.
    """
    used = [node for node in ast.walk(ast.parse(check)) if isinstance(node, ast.Name)]
    set_by_check = {node.id for node in used if not isinstance(node.ctx, ast.Load)}
    answers = {
        symbol.get_name()
        for symbol in symtable.symtable(solution, "solution", "exec").get_symbols()
        if symbol.is_assigned() and not symbol.is_imported()
    } & ({node.id for node in used} - set_by_check)
    body = ast.parse(solution).body
    imports = [ast.unparse(node) for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    functions = [node for node in body if isinstance(node, ast.FunctionDef) and node.name in answers]
    plain = _in_order(solution, answers - {node.name for node in functions})
    blocks = ["\n".join(imports)] if imports else []
    blocks.append("\n".join([f"# {OPEN}", *(f"{name} = ..." for name in plain)]))
    return "\n\n".join([*blocks, *(f"\n{_head(node)}" for node in functions)])


def write_copies(sources: Sequence[Path], folder: Path, replace: bool = False) -> dict[Path, int]:
    """Write the students' copies of chapters (.py or .ipynb) into ``folder`` as .ipynb; all of them or none.

    Args:
        sources: the chapters.
        folder: made where it is missing.
        replace: overwrite copies that were changed, too.

    Returns:
        The number of exercises in each file written.

    Raises:
        UserError: a chapter's exercises are not in order, a copy was changed since it was written, or the folder cannot
            be written.
    """
    import jupytext
    import nbformat

    copies, counts = {}, {}
    for source in sources:
        path = folder / f"{source.stem}.ipynb"
        try:
            notebook = jupytext.read(source)
            copies[path], counts[path] = student(notebook), len(exercises(notebook))
        except UserError as error:
            raise UserError(f"{source.name}: {error}") from error
    for path, copy in copies.items():
        if not replace and path.exists() and _sources(path) != [cell.source for cell in copy.cells]:
            raise UserError(
                f"{path}: differs from what would be written (somebody's answers, or an older edition?); move it "
                "away, give another --out, or --replace"
            )
    with ExitStack() as files:  # a file takes its name when all are written
        for path, copy in copies.items():
            nbformat.write(copy, files.enter_context(atomic_path(path)))
    return counts


def _exercises(notebook: NotebookNode) -> list[tuple[Exercise, list[NotebookNode]]]:
    """Return each exercise with its cells: its question and the tagged cells that follow it."""
    groups: list[list[NotebookNode]] = []
    inside = False
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and QUESTION.match(cell.source):
            groups.append([cell])
            inside = True
        elif {"solution", "check"} & set(_tags(cell)):
            if not inside:
                raise UserError(f"a cell tagged {', '.join(_tags(cell))} belongs to no exercise")
            groups[-1].append(cell)
        else:
            inside = False
    return [(_exercise(number, cells), cells) for number, cells in enumerate(groups, start=1)]


def _exercise(number: int, cells: list[NotebookNode]) -> Exercise:
    heading, _, question = cells[0].source.partition("\n")
    match = QUESTION.fullmatch(heading)
    if match is None or int(match[1]) != number:
        raise UserError(f"'{heading}': expected exercise {number}; number them from 1")
    kinds = [_kind(cell) for cell in cells]
    if [kind for kind in kinds if kind != "words"] != ["question", "solution", "check"] or kinds[-1] != "check":
        raise UserError(f"exercise {number}: its cells are {', '.join(kinds)}; expected are question, solution, check")
    solution = _only(cells, "solution").source
    return Exercise(number, match[2].strip(), question.strip(), solution, cells[-1].source)


def _only(cells: list[NotebookNode], kind: str) -> NotebookNode:
    return next(cell for cell in cells if _kind(cell) == kind)


def _kind(cell: NotebookNode) -> str:
    tags, code = set(_tags(cell)), cell.cell_type == "code"
    if not tags:
        return "question"
    if tags == {"solution"} and not code:
        return "words"
    if tags == {"solution", "hide-cell"} and code:
        return "solution"
    return "check" if tags == {"check"} and code else f"{cell.cell_type} tagged {', '.join(sorted(tags))}"


def _head(node: ast.FunctionDef) -> str:
    """Return a function's signature and docstring, with a body that raises `OPEN`."""
    docstring = ast.get_docstring(node, clean=False)
    body: list[ast.stmt] = [] if docstring is None else [ast.Expr(ast.Constant(docstring))]
    fields: dict[str, Any] = {**dict(ast.iter_fields(node)), "body": [*body, ast.Pass()]}
    text = ast.unparse(ast.fix_missing_locations(ast.FunctionDef(**fields)))
    return f'{text.removesuffix("pass")}raise NotImplementedError("{OPEN}")'


def _in_order(source: str, names: set[str]) -> list[str]:
    """Return names in the order in which a source assigns them."""
    assignments = [
        (node.lineno, node.col_offset, node.id)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Name) and node.id in names and isinstance(node.ctx, ast.Store)
    ]
    ordered = [name for *_, name in sorted(assignments)]
    return list(dict.fromkeys([*ordered, *sorted(names)]))  # a class is assigned without a Name


def _tags(cell: NotebookNode) -> list[str]:
    return list(cell.metadata.get("tags", []))


def _sources(path: Path) -> list[str]:
    """Return the cells of a notebook's file; none where it is no notebook."""
    import nbformat

    try:
        return [cell.source for cell in nbformat.read(path, as_version=4).cells]
    except (OSError, ValueError, AttributeError):
        return []
