"""The book's Sphinx extension: chapters and pages made from files before Sphinx reads, pages finished after it wrote.

Sphinx reads a copy of ``book/`` (`lmhld_nb.book.chapters.site` makes it) with the executed chapters in ``chapters/``,
the figures of their profile and the numbers behind these in ``figures/``, and ``manifest.yaml``.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import jupytext
import nbformat
from sphinx.application import Sphinx
from sphinx.util import logging

from lmhld_book import cells, finish, notebooks, pages, pictures
from lmhld_nb.book import ledger
from lmhld_nb.book.chapters import number_of
from lmhld_nb.config import ROOT

LOG = logging.getLogger(__name__)
OWN = ("my_data", "explorer")
"""Notebooks that are no chapters."""
NOT_RUN = (
    "*This notebook is for your own computer and is shown here without results: `make lab` opens it, "
    "or download it with the button at the top.*"
)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_config_value("lmhld_profile", "mini", "env")
    app.add_directive("cells", cells.Cells)
    app.connect("builder-inited", prepare, priority=100)
    app.connect("html-page-context", finish.finish, priority=900)
    app.connect("build-finished", finish.trim)
    app.connect("build-finished", finish.write_excerpts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def prepare(app: Sphinx) -> None:
    """Prepare the chapters and write the pages made from files; warn of pictures without a description."""
    source = Path(app.srcdir)
    manifest = pages.read_manifest(source / "manifest.yaml")
    descriptions = {name: text for entry in manifest.values() for name, text in entry.alt.items()}
    titles = {}
    for path in sorted((source / "chapters").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        titles[path.stem] = notebooks.number_title(notebook, number_of(path))
        for problem in notebooks.describe(notebook, descriptions):
            LOG.warning("%s, %s", path.stem, problem)
        notebooks.relink(notebook)
        notebooks.lighten(notebook)
        nbformat.write(notebook, path)
    _add_own(source)
    figures, real = source / "figures", source / "real"
    if (ROOT / "figures" / "real").is_dir():
        shutil.copytree(ROOT / "figures" / "real", real, ignore=shutil.ignore_patterns("*.xz"))
    pictures.thumbnails(figures, source / "thumbnails")
    written = {
        "ledger.md": pages.ledger(ledger.load()),
        "gallery.md": pages.gallery(manifest, figures, titles),
        "numbers.md": pages.numbers(manifest, figures, real, titles),
        "results.md": "\n\n".join(pages.results(ROOT / "figures")),
        "live.md": pages.live(pages.LIVE, source / "_static" / "view.html"),
    }
    for name, text in written.items():
        (source / name).write_text(text, encoding="utf-8")


def _add_own(source: Path) -> None:
    """Add the notebooks that readers run on data and runs of their own, as they are written, with a note on top."""
    (source / "own").mkdir()
    for name in OWN:
        notebook = jupytext.read(ROOT / "notebooks" / f"{name}.py")
        title, _, rest = notebook.cells[0].source.partition("\n")
        notebook.cells[0].source = f"{title}\n\n{NOT_RUN}\n{rest}"
        nbformat.write(notebook, source / "own" / f"{name}.ipynb")
    for page in source.glob("*.md"):  # whose links work in the repository
        text = page.read_text(encoding="utf-8")
        page.write_text(text.replace("](../notebooks/", "](own/"), encoding="utf-8")
