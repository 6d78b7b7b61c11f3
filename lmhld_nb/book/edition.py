"""The web edition's source: executed chapters and pages made from files, laid out in a folder for Sphinx."""

from __future__ import annotations

import ast
import base64
import io
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import nbformat
from PIL import Image

from lmhld_nb.book import ledger, pages
from lmhld_nb.config import ROOT, UserError

THUMBNAIL = 440
"""Pixels: a tile of the gallery is half as wide on a screen of ordinary density."""
HEAVY = 300_000
"""Bytes: a PNG larger than this holds photographs, mostly much smaller as JPEG."""


def prepare(target: Path, executed: Path, figures: Path, stems: Sequence[str]) -> None:
    """Lay out all that Sphinx reads.

    Args:
        target: folder to make; what is there goes.
        executed: folder of the executed chapters ``STEM.ipynb``.
        figures: ``figures/PROFILE/``, made by these chapters.
        stems: of the chapters, in order.

    Raises:
        UserError: a picture has no description, or a table names runs that are none.
    """
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(ROOT / "book", target, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(figures / "overview.png", target / "overview.png")
    (target / "chapters").mkdir()
    titles, descriptions = {}, pages.descriptions()
    for stem in stems:
        notebook = nbformat.read(executed / f"{stem}.ipynb", as_version=4)
        titles[stem] = numbered(notebook, stem[:2])
        describe(notebook, stem, descriptions)
        lighten(notebook)
        nbformat.write(notebook, target / "chapters" / f"{stem}.ipynb")
    thumbnails(figures, target / "_static" / "thumbnails")
    made = {
        "ledger.md": ledger.page(),
        "numbers.md": pages.numbers(figures, set(stems)),
        "gallery.md": pages.gallery(figures, titles),
        **pages.api(),
    }
    for name, text in made.items():
        path = target / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


def numbered(notebook: nbformat.NotebookNode, number: str) -> str:
    """Put a chapter's number before its title; return the title."""
    first = next(cell for cell in notebook.cells if cell.cell_type == "markdown")
    heading, *rest = first.source.split("\n")
    title = f"{number} {heading.removeprefix('# ')}"
    first.source = "\n".join([f"# {title}", *rest])
    return title


def describe(notebook: nbformat.NotebookNode, stem: str, descriptions: dict[str, str]) -> None:
    """Tell myst-nb what each picture of a chapter shows, and by which name it is found.

    A picture that `style.save` has written is described in figures/manifest.yaml; any other by a line of its cell that
    begins with ``# Figure:``.

    Raises:
        UserError: a cell shows a picture that is not described.
    """
    for number, cell in enumerate(notebook.cells):
        shown = [output for output in cell.get("outputs", []) if _is_picture(output)]
        if not shown:
            continue
        names = saved(cell.source)
        texts = [descriptions[name] for name in names if name in descriptions]
        texts += re.findall(r"^# Figure: *(\S.*)$", cell.source, re.M)
        if len(texts) < len(shown):
            raise UserError(
                f"{stem}, cell {number}: a picture without a description; give it one in figures/manifest.yaml "
                "(alt), or, if it is not saved, in a line of the cell that begins with `# Figure: `"
            )
        classes = " ".join(pages.anchor(name) for name in names)
        cell.metadata["mystnb"] = {
            "image": {"alt": " ".join(texts), **({"classes": classes} if classes else {})}
        }


def lighten(notebook: nbformat.NotebookNode) -> None:
    """Store pictures of more than `HEAVY` bytes as JPEG, so that a page stays below 3 MB with all it loads."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            picture = base64.b64decode(data.get("image/png", ""))
            if len(picture) > HEAVY:
                lighter = io.BytesIO()
                with Image.open(io.BytesIO(picture)) as opened:
                    # Without subsampling, which would blur thin coloured outlines.
                    opened.convert("RGB").save(lighter, "JPEG", quality=88, subsampling=0, optimize=True)
                if lighter.tell() < len(picture):
                    del data["image/png"]
                    data["image/jpeg"] = base64.b64encode(lighter.getvalue()).decode("ascii")


def saved(source: str) -> list[str]:
    """Return the names under which a cell saves pictures by ``style.save(figure, NAME, …)``, in order."""
    plain = re.sub(r"^(\s*)[%!].*$", r"\1pass", source, flags=re.M)  # IPython's own lines are no Python
    calls = [
        node
        for node in ast.walk(ast.parse(plain))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "style.save" and len(node.args) > 1
    ]
    names = [call.args[1] for call in sorted(calls, key=lambda call: (call.lineno, call.col_offset))]
    return [name.value for name in names if isinstance(name, ast.Constant) and isinstance(name.value, str)]


def _is_picture(output: nbformat.NotebookNode) -> bool:
    return any(kind.startswith("image/") for kind in output.get("data", {}))


def thumbnails(figures: Path, target: Path) -> None:
    """Write each picture of a folder as ``target/NAME.webp``, at most `THUMBNAIL` pixels wide."""
    target.mkdir(parents=True)
    for path in sorted(figures.glob("*.png")):
        with Image.open(path) as picture:
            small = picture.convert("RGB")
            small.thumbnail((THUMBNAIL, 2 * THUMBNAIL))
            small.save(target / f"{path.stem}.webp", quality=75)
