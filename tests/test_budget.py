"""The package stays thin: lines, entries, and what a chapter imports."""

import ast
from pathlib import Path

import jupytext
import pytest

from lmhld_nb.book.chapters import chapters
from lmhld_nb.config import ROOT


@pytest.mark.parametrize(("folder", "most"), [("lmhld_nb", 17_500), ("tests", 11_000)])
def test_lines_and_entries_stay_within_the_budget(folder: str, most: int) -> None:
    paths = (ROOT / folder).rglob("*.py")
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths) <= most
    assert len([path for path in (ROOT / "lmhld_nb").iterdir() if path.name != "__pycache__"]) <= 22


def imported_names(path: Path) -> list[str]:
    code = [cell.source for cell in jupytext.read(path).cells if cell.cell_type == "code"]
    lines = [line for source in code for line in source.splitlines() if not line.lstrip().startswith(("%", "!"))]
    nodes = [node for node in ast.walk(ast.parse("\n".join(lines))) if isinstance(node, ast.Import | ast.ImportFrom)]
    pairs = {(getattr(node, "module", None) or alias.name, alias.name) for node in nodes for alias in node.names}
    return sorted({name for module, name in pairs if module.split(".")[0] == "lmhld_nb"})


@pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem)
def test_a_chapter_imports_few_names(path: Path) -> None:
    assert len(imported_names(path)) <= 6, imported_names(path)
