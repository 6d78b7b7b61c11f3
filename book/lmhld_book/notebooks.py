"""Executed chapters made ready for Sphinx: numbered titles, descriptions of pictures, lighter pictures."""

from __future__ import annotations

import ast
import base64
import re
from collections.abc import Mapping
from typing import Any

from lmhld_book import pictures

HEAVY = 300_000
"""Bytes; a larger picture is compressed, so that a page stays below 3 MB with all it loads."""
SAVING = {"book.show"}
"""Calls that save a figure (first argument) under a name (second argument)."""


def number_title(notebook: Any, number: str) -> str:
    """Put a chapter's number in front of its title; return the title."""
    first = next(cell for cell in notebook.cells if cell.cell_type == "markdown")
    heading, *rest = first.source.split("\n")
    title = f"{number} {heading.removeprefix('# ')}"
    first.source = "\n".join([f"# {title}", *rest])
    return title


def saved_names(source: str) -> list[str]:
    """Return the names under which a cell saves pictures (`SAVING`), in order."""
    python = re.sub(r"^(\s*)[%!].*$", r"\1pass", source, flags=re.M)  # without IPython's own lines
    calls = [
        node
        for node in ast.walk(ast.parse(python))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in SAVING and len(node.args) > 1
    ]
    names = [call.args[1] for call in sorted(calls, key=lambda call: (call.lineno, call.col_offset))]
    return [name.value for name in names if isinstance(name, ast.Constant) and isinstance(name.value, str)]


def anchor(picture: str) -> str:
    """Return the id of a picture in its chapter's page."""
    return "figure-" + picture.replace("_", "-")


def describe(notebook: Any, descriptions: Mapping[str, str]) -> list[str]:
    """Give myst-nb the alternative text and the anchor of each picture of a chapter; return what is missing.

    A picture that a cell saves is described in figures/manifest.yaml; any other by a line of its cell that begins with
    ``# Figure:``.
    """
    problems = []
    for number, cell in enumerate(notebook.cells):
        count = sum(
            any(mime.startswith("image/") for mime in output.get("data", {})) for output in cell.get("outputs", [])
        )
        if not count:
            continue
        names = saved_names(cell.source)
        texts = [descriptions[name] for name in names if name in descriptions]
        texts += re.findall(r"^# Figure: *(\S.*)$", cell.source, re.M)
        if len(texts) < count:
            problems.append(
                f"cell {number}: a picture without a description; give it one in figures/manifest.yaml (alt), or, if "
                "it is not saved, in a line of the cell that begins with `# Figure: `"
            )
        image = {"alt": " ".join(texts), "classes": " ".join(anchor(name) for name in names)}
        cell.metadata["mystnb"] = {"image": {key: value for key, value in image.items() if value}}
    return problems


def relink(notebook: Any) -> None:
    """Let links from a chapter to pages in ``book/``, as they work in the repository, work where Sphinx reads it."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace("](../book/", "](../")


def picture_outputs(notebook: Any) -> list[Any]:
    """Return the data of each output of a notebook that is a PNG or a JPEG."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output.data for output in outputs if {"image/png", "image/jpeg"} & set(output.get("data", {}))]


def picture_of(data: Any) -> bytes:
    """Return the picture in the data of an output."""
    return base64.b64decode(data.get("image/png") or data["image/jpeg"])


def replace_picture(data: Any, mime: str, picture: bytes) -> None:
    """Put another picture into the data of an output."""
    for old in ("image/png", "image/jpeg"):
        data.pop(old, None)
    data[mime] = base64.b64encode(picture).decode("ascii")


def lighten(notebook: Any) -> None:
    """Compress the pictures of more than `HEAVY` bytes."""
    for data in picture_outputs(notebook):
        picture = picture_of(data)
        if len(picture) > HEAVY:
            replace_picture(data, *pictures.lightest(picture))
