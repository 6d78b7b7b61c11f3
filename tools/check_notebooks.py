"""Check what is committed of the book: `.ipynb` and `.py` agree, nothing is of one machine only, sizes, figures.

`make lint` and the pre-commit hook run it. It prints one line per problem, with the next step.
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

sys.path.insert(0, str(ROOT / "book"))

from lmhld_book.pages import read_manifest

FOLDERS = (ROOT / "notebooks", ROOT / "tests" / "reference")
PUBLISHED = ROOT / "figures"
LARGEST_NOTEBOOK = 400_000
LARGEST_FIGURES = 5_000_000
"""Bytes; of one notebook, and of figures/ altogether, records included."""

TIMING = "timing"
"""Tag of cells whose output is a measured duration: a result, printed with the hardware it was measured on."""

TRACES = {
    "a path of this machine": r"(?<![\w./:~$<>-])/[\w.+-]+(?:/[\w.+-]+)+|\b[A-Za-z]:\\\w+|~/\w+",
    "a time of day": r"\b(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d)?\b",
    # The events of the book end in 2023; it is written from 2026 on.
    "a date of execution": r"\b20(?:2[6-9]|[3-9]\d)-\d\d-\d\d",
    "a memory address": r"\b0x[0-9a-fA-F]{5,}",
    "a random id": r"\b[0-9a-f]{32}\b|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\bT_[0-9a-f]{5}\b",
}
DURATION = r"\b\d+(?:\.\d+)? ?(?:ms|s|sec|min|seconds?|minutes?|hours?)\b|\bseconds\b|(?<!\w)\((?:ms|s|min)\)"


def traces(notebook: NotebookNode) -> list[str]:
    """Return what in an executed notebook is of one machine or one execution, one line each.

    Paths, times of day, dates of execution, durations (but in cells tagged ``timing``), memory addresses, random ids
    (of styled tables, displays, widgets) in outputs; metadata of the execution in cells and in the notebook.
    """
    problems = [f"metadata: {key}" for key in notebook.metadata if key != "kernelspec"]
    for number, cell in enumerate(notebook.cells):
        label = f"cell {number}"
        # jupytext's lines_to_next_cell says how the .py is laid out; jupyter, that a solution is folded.
        known = ("tags", "lines_to_next_cell", "jupyter")
        problems += [f"{label}: metadata {key}" for key in cell.metadata if key not in known]
        patterns = dict(TRACES)
        if TIMING not in cell.metadata.get("tags", []):
            patterns["a duration"] = DURATION
        for output in cell.get("outputs", []):
            if output.get("transient") or "display_id" in str(output.get("metadata", {})):
                problems.append(f"{label}: a display id")
            for text in _texts(output):
                for what, pattern in patterns.items():
                    problems += [f"{label}: {what}: {match[0]}" for match in re.finditer(pattern, text)]
    return list(dict.fromkeys(problems))


def _texts(output: NotebookNode) -> Iterator[str]:
    """Yield what a reader sees of an output, and the ids and classes of its HTML, where random ids hide."""
    if output.output_type == "stream":
        yield output.text
    elif output.output_type == "error":
        yield "\n".join(output.traceback)
    for mime, content in output.get("data", {}).items():
        if mime == "text/html":
            yield html.unescape(re.sub(r"<style.*?</style>|<[^>]*>", " ", content, flags=re.S))
            yield " ".join(re.findall(r"\b(?:id|class|for|href)=[\"']([^\"'/]*)[\"']", content))
        elif mime.startswith("text/"):
            yield content
        elif "widget" in mime:
            yield str(content.get("model_id", ""))


def difference(source: Path) -> str | None:
    """Return how a chapter's ``.ipynb`` differs from its ``.py``, and the next step; None where they agree."""
    name = f"notebooks/{source.stem}.ipynb"
    step = "make publish"
    pair = source.with_suffix(".ipynb")
    if not pair.is_file():
        return f"{name}: not there; {step}"
    ours = [(cell.cell_type, cell.source) for cell in jupytext.read(source).cells]
    theirs = [(cell.cell_type, cell.source) for cell in nbformat.read(pair, as_version=4).cells]
    for number, (mine, other) in enumerate(zip(ours, theirs, strict=False)):
        if mine != other:
            lines = zip(mine[1].splitlines(), other[1].splitlines(), strict=False)
            first, second = next((pair for pair in lines if pair[0] != pair[1]), ("…", "…"))
            return f"{name}: cell {number} differs from its .py: '{first[:60]}' there, '{second[:60]}' here; {step}"
    if len(ours) != len(theirs):
        return f"{name}: {len(theirs)} cells, its .py has {len(ours)}; {step}"
    return None


def problems() -> Iterator[str]:
    """Yield what is wrong, one line each, with the next step."""
    for source in sorted((ROOT / "notebooks").glob("*.py")):
        if problem := difference(source):
            yield problem
    for folder in FOLDERS:
        for path in sorted(folder.glob("*.ipynb")):
            for trace in traces(nbformat.read(path, as_version=4)):
                yield f"{path.relative_to(ROOT)}: {trace}; correct the cell in its .py"
            if folder == ROOT / "notebooks" and path.stat().st_size > LARGEST_NOTEBOOK:
                yield f"{path.relative_to(ROOT)}: {path.stat().st_size // 1000} kB; make publish compresses it"
    sizes = [path.stat().st_size for path in PUBLISHED.rglob("*") if path.is_file()]
    if sum(sizes) > LARGEST_FIGURES:
        yield f"figures/: {sum(sizes) / 1e6:.1f} MB; make pictures lighter, or record less of a run"
    entries = read_manifest(PUBLISHED / "manifest.yaml").values()
    files = {file for entry in entries for file in entry.files}
    images = {f"{name}.png" for entry in entries for name in entry.images}
    for path in sorted(PUBLISHED.glob("*/*.png")):
        if path.name not in files and not path.name.startswith("architecture_"):
            yield f"{path.relative_to(ROOT)}: not in figures/manifest.yaml; delete it or describe it there"
        if path.parent.name == "real" and path.name in images:
            yield f"{path.relative_to(ROOT)}: shows data that may not be copied; delete it"


if __name__ == "__main__":
    lines = list(problems())
    print("\n".join(lines) or "what is committed of the book is in order")
    sys.exit(bool(lines))
