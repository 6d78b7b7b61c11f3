"""Renew what is committed of the book's results; for maintainers.

`make publish`: notebooks/*.ipynb and figures/mini/ from what `make book` left in build/mini/, with compressed pictures,
and the records of its runs.
`make reference` (``python tools/publish.py smoke``): tests/reference/*.ipynb from build/smoke/, without pictures.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

from lmhld_nb.book.chapters import chapters
from lmhld_nb.config import ROOT, UserError, figures_dir, workdir
from lmhld_nb.experiments import load, open_study
from lmhld_nb.experiments.plan import plan
from lmhld_nb.runs import records

sys.path.insert(0, str(ROOT / "book"))

from lmhld_book.notebooks import HEAVY, picture_of, picture_outputs, replace_picture
from lmhld_book.pictures import fit, palette_png

LARGEST_NOTEBOOK = 390_000
"""Bytes, a little below what tools/check_notebooks.py allows."""


def executed(profile: str) -> dict[Path, NotebookNode]:
    """Return a profile's executed chapters by their sources.

    Raises:
        UserError: one is missing or was executed from another source.
    """
    notebooks = {}
    for source in chapters(profile=profile):
        path = workdir() / "build" / profile / f"{source.stem}.ipynb"
        if not path.is_file():
            raise UserError(f"{path}: chapter not executed; run `lmhld book {profile}` first")
        notebook = nbformat.read(path, as_version=4)
        written = [cell.source for cell in notebook.cells if not _is_injected(cell)]
        if written != [cell.source for cell in jupytext.read(source).cells]:
            raise UserError(f"{path}: older than its source; run `lmhld book {profile}` again")
        notebooks[source] = notebook
    return notebooks


def _is_injected(cell: NotebookNode) -> bool:
    """Say whether papermill put a cell there, with the parameters of this execution."""
    return "injected-parameters" in cell.metadata.get("tags", [])


def publish_notebooks(notebooks: dict[Path, NotebookNode], folder: Path) -> None:
    """Write executed chapters as ``folder/STEM.ipynb``, of `LARGEST_NOTEBOOK` bytes at most where that can be."""
    for source, notebook in notebooks.items():
        notebook.cells = [cell for cell in notebook.cells if not _is_injected(cell)]
        before = len(nbformat.writes(notebook).encode())
        outputs = picture_outputs(notebook)
        originals = [picture_of(data) for data in outputs]
        text = before - sum(map(len, originals)) * 4 / 3  # base64 takes 4 bytes for 3
        fitted = fit(originals, int((LARGEST_NOTEBOOK - text) * 3 / 4))
        for data, (mime, picture) in zip(outputs, fitted, strict=True):
            replace_picture(data, mime, picture)
        nbformat.write(notebook, folder / f"{source.stem}.ipynb")
        after = (folder / f"{source.stem}.ipynb").stat().st_size
        print(f"{source.stem}: {before // 1000} → {after // 1000} kB")


def publish_others(folder: Path) -> None:
    """Write the notebooks that are not chapters from their sources, without outputs."""
    for source in sorted(set(folder.glob("*.py")) - set(chapters())):
        notebook = jupytext.read(source)
        notebook.metadata.pop("jupytext", None)
        for number, cell in enumerate(notebook.cells):
            cell.id = f"cell-{number:02d}"
        nbformat.write(notebook, source.with_suffix(".ipynb"))


def publish_figures(figures: Path, folder: Path) -> None:
    """Replace ``folder`` by the figures and tables of a profile, none of which is left out, as palette PNG."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(figures, folder)
    for path in sorted(folder.glob("*.png")):
        picture = path.read_bytes()
        path.write_bytes(min(picture, palette_png(picture, 256 if len(picture) < HEAVY else 64), key=len))
    print(f"{folder.name}: {sum(path.stat().st_size for path in folder.iterdir()) / 1e6:.1f} MB")


def publish_records(profile: str) -> None:
    """Write the records of a profile's runs and of the maps that chapter 08 made of them.

    Raises:
        UserError: a run is not finished.
    """
    study = open_study(load(profile))
    planned = plan(study)
    scored = {entry.spec.run_id for entry in planned if entry.whole_area}
    finished = study.fetch([entry.spec for entry in planned], "error", scored)
    run_ids = {run.spec.run_id for run in finished}
    name = study.profile.name
    reports = (workdir() / "build" / name / "maps").glob("*/map.json")
    maps = {path.parent.name: path.parent for path in reports if json.loads(path.read_text())["run_id"] in run_ids}
    path = records.path(name)
    records.write(path, name, finished, maps)
    print(f"records: {len(finished)} runs, {len(maps)} maps, {path.stat().st_size / 1e6:.2f} MB")


def publish_references(notebooks: dict[Path, NotebookNode], folder: Path) -> None:
    """Replace the notebooks in ``folder``, with the outputs that `make test` compares: all but pictures."""
    for path in folder.glob("*.ipynb"):
        path.unlink()
    for source, notebook in notebooks.items():
        for cell in notebook.cells:
            if "nbval-ignore-output" in cell.metadata.get("tags", []):
                cell.outputs = []
            for output in cell.get("outputs", []):
                for mime in ("image/png", "image/jpeg"):
                    output.get("data", {}).pop(mime, None)
        nbformat.write(notebook, folder / f"{source.stem}.ipynb")


if __name__ == "__main__":
    try:
        if "smoke" in sys.argv[1:]:
            publish_references(executed("smoke"), ROOT / "tests" / "reference")
        else:
            publish_notebooks(executed("mini"), ROOT / "notebooks")
            publish_others(ROOT / "notebooks")
            publish_figures(figures_dir("mini"), ROOT / "figures" / "mini")
            publish_records("mini")
    except UserError as error:
        sys.exit(str(error))
