"""Committed chapters: nothing in them is of one execution only, and each `.ipynb` says what its `.py` says.

`python -m lmhld_nb.book.committed` prints what is wrong, one line each, with the next step; `make check-pairs` and the
pre-commit hook run it.
"""

from __future__ import annotations

import html
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

from lmhld_nb.config import ROOT

FOLDERS = (ROOT / "notebooks", ROOT / "tests" / "reference")
TIMING = "timing"
"""Tag of cells whose output is a measured duration: a result, told with the hardware it was measured on."""

_TRACES = {
    "a path of this machine": r"(?<![\w./:~$<>-])/[\w.+-]+(?:/[\w.+-]+)+|\b[A-Za-z]:\\\w+|~/\w+",
    "a time of day": r"\b(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d)?\b",
    # The events of the book end in 2023; it is written from 2026 on.
    "a date of execution": r"\b20(?:2[6-9]|[3-9]\d)-\d\d-\d\d",
    "a memory address": r"\b0x[0-9a-fA-F]{5,}",
    "a random id": r"\b[0-9a-f]{32}\b|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\bT_[0-9a-f]{5}\b",
}
_DURATION = (
    r"\b\d+(?:\.\d+)? ?(?:ms|s|sec|min|seconds?|minutes?|hours?)\b|\bseconds\b|(?<!\w)\((?:ms|s|min)\)"
)
_DURATIONS = re.compile(_DURATION)
_KEPT_METADATA = {"tags", "lines_to_next_cell"}  # the second: how jupytext lays out the .py


def traces(notebook: NotebookNode) -> list[str]:
    """Return what in an executed notebook is of one machine or one execution, a line each.

    Paths, times of day, dates of execution, durations (but in cells tagged ``timing``), memory addresses, random ids
    (of styled tables, displays, widgets) in outputs; metadata of the execution in cells and in the notebook.
    """
    found = [f"metadata: {key}" for key in notebook.metadata if key != "kernelspec"]
    for number, cell in enumerate(notebook.cells):
        here = f"cell {number}"
        found += [f"{here}: metadata {key}" for key in cell.metadata if key not in _KEPT_METADATA]
        timed = TIMING in cell.metadata.get("tags", [])
        for output in cell.get("outputs", []):
            if output.get("transient") or "display_id" in str(output.get("metadata", {})):
                found.append(f"{here}: a display id")
            for text in _texts(output):
                for what, pattern in _TRACES.items():
                    found += [f"{here}: {what}: {match[0]}" for match in re.finditer(pattern, text)]
                if not timed:
                    found += [f"{here}: a duration: {match[0]}" for match in _DURATIONS.finditer(text)]
    return list(dict.fromkeys(found))


def _texts(output: NotebookNode) -> Iterator[str]:
    """Yield what a reader sees of an output, and of HTML the names of its parts, where random ids hide."""
    if output.output_type == "stream":
        yield output.text
    elif output.output_type == "error":
        yield "\n".join(output.traceback)
    for kind, content in output.get("data", {}).items():
        if kind == "text/html":
            yield html.unescape(re.sub(r"<style.*?</style>|<[^>]*>", " ", content, flags=re.S))
            yield " ".join(re.findall(r"\b(?:id|class|for|href)=[\"']([^\"'/]*)[\"']", content))
        elif kind.startswith("text/"):
            yield content
        elif "widget" in kind:
            yield str(content.get("model_id", ""))


def difference(source: Path) -> str | None:
    """Return how a chapter's ``.ipynb`` differs from its ``.py``, and what to do; None where they say the same."""
    number, name = source.stem[:2], f"notebooks/{source.stem}.ipynb"
    execute = f"lmhld book mini --chapter {number} && make notebooks"
    pair = source.with_suffix(".ipynb")
    if not pair.is_file():
        return f"{name}: not there; {execute}"
    ours = [(cell.cell_type, cell.source) for cell in jupytext.read(source).cells]
    theirs = [(cell.cell_type, cell.source) for cell in nbformat.read(pair, as_version=4).cells]
    if ours == theirs:
        return None
    code = [[text for kind, text in cells if kind == "code"] for cells in (ours, theirs)]
    step = "make notebooks" if code[0] == code[1] else execute
    places = [number for number, (mine, other) in enumerate(zip(ours, theirs, strict=False)) if mine != other]
    place = places[0] if places else min(len(ours), len(theirs))
    lines = [cells[place][1].splitlines() if place < len(cells) else [] for cells in (ours, theirs)]
    row = next((n for n, (a, b) in enumerate(zip(*lines, strict=False)) if a != b), min(map(len, lines)))
    told = [text[row].strip()[:60] if row < len(text) else "nothing" for text in lines]
    return f"{name}: cell {place} differs from its .py: '{told[0]}' there, '{told[1]}' here; {step}"


def problems() -> list[str]:
    """Return what is wrong with the committed chapters, a line each, with the next step."""
    found = [difference(source) for source in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.py"))]
    lines = [line for line in found if line is not None]
    for folder in FOLDERS:
        for path in sorted(folder.glob("*.ipynb")):
            seen = traces(nbformat.read(path, as_version=4))
            lines += [f"{path.relative_to(ROOT)}: {line}; mend the cell in its .py" for line in seen]
    return lines


if __name__ == "__main__":
    wrong = problems()
    print(
        "\n".join(wrong) or "every chapter's .py and .ipynb say the same, and nothing of one execution only"
    )
    sys.exit(1 if wrong else 0)
