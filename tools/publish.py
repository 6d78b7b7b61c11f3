"""Renew what is committed of the book's results; for maintainers.

`make publish`: the published edition, which is the profiles `EDITIONS`, from their finished runs: figures, tables and
records in figures/PROFILE/, notebooks/*.ipynb from ``edition``, and the results that the README begins with.
`make records`: the records alone, which take seconds and let another machine go on.
`make reference` (``python tools/publish.py smoke``): tests/reference/*.ipynb from build/smoke/, without pictures.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections import Counter
from collections.abc import Collection
from pathlib import Path

import jupytext
import nbformat
import write_records
import zopfli.png
from nbformat import NotebookNode

from lmhld_nb import paper, scenes
from lmhld_nb.book.chapters import chapters, make, number_of
from lmhld_nb.book.face import open as open_book
from lmhld_nb.config import ROOT, UserError, figures_dir, runs_dir, workdir, write_json
from lmhld_nb.experiments import load, open_study, single
from lmhld_nb.experiments.plan import plan
from lmhld_nb.mapping import page
from lmhld_nb.runs import damage, records
from lmhld_nb.runs.store import RECORDED, Busy, lock
from lmhld_nb.scenes.rasters import Window

sys.path.insert(0, str(ROOT / "book"))

from lmhld_book.notebooks import HEAVY, picture_of, picture_outputs, replace_picture
from lmhld_book.pages import LIVE, read_manifest, results
from lmhld_book.pictures import fit, lightest_png, palette_png

EDITIONS = ("real", "edition")  # chapters of the edition show the tables of the real areas
RESULTS = re.compile(r"(<!-- results: `make publish` computes what follows -->\n).*?(<!-- end of results -->\n)", re.S)
OF_NO_DATA = ("03", "10")
"""Chapters that say the same of every data set: they are published once."""
OF_PAPER = ("fig01_study_areas.png", "fig01_study_areas.csv")
"""Figures that show the paper's facts, whatever the data set: likewise."""

VIEWED, SIDE, LARGEST_VIEW = "hokkaido", 416, 300_000
"""Area of the front page's map, its side in px, and its bytes at most."""

LARGEST_NOTEBOOK = 390_000
"""Bytes, a little below what tools/check_notebooks.py allows."""


def executed(profile: str, partly: bool = False) -> dict[Path, NotebookNode]:
    """Return a profile's executed chapters by their sources.

    Raises:
        UserError: one is missing or was executed from another source; ``partly``: it is left out and printed.
    """
    notebooks = {}
    for source in chapters(profile=profile):
        path = workdir() / "build" / profile / f"{source.stem}.ipynb"
        notebook = nbformat.read(path, as_version=4) if path.is_file() else NotebookNode(cells=[])
        written = [cell.source for cell in notebook.cells if not _is_injected(cell)]
        if written == [cell.source for cell in jupytext.read(source).cells]:
            notebooks[source] = notebook
            continue
        problem = f"{path}: not executed from its source as it is now; run `lmhld book {profile}`"
        if not partly:
            raise UserError(problem)
        print(problem)
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


def publish_others(folder: Path, published: Collection[Path]) -> None:
    """Write the other notebooks from their sources, without outputs."""
    for source in sorted(set(folder.glob("*.py")) - set(published)):
        notebook = jupytext.read(source)
        notebook.metadata.pop("jupytext", None)
        for number, cell in enumerate(notebook.cells):
            cell.id = f"cell-{number:02d}"
        nbformat.write(notebook, source.with_suffix(".ipynb"))


def publish_figures(figures: Path, folder: Path, synthetic: bool) -> None:
    """Replace the figures and tables in ``folder`` by those of a profile, pictures as palette PNG; records stay.

    Left out are tables without a row and the pictures of their names. Of real data are also left out what `OF_NO_DATA`
    makes, and pictures that show the data or are not in the manifest.
    """
    empty = [path.stem for path in figures.glob("*.csv") if path.read_text(encoding="utf-8").count("\n") < 2]
    left_out = {f"{stem}{suffix}" for stem in empty for suffix in (".csv", ".png")}
    if not synthetic:
        entries = read_manifest(ROOT / "figures" / "manifest.yaml").values()
        left_out |= {file for entry in entries if number_of(entry.chapter or "") in OF_NO_DATA for file in entry.files}
        plots = {f"{name}.png" for entry in entries for name in set(entry.pictures) - set(entry.images)} - left_out
        left_out |= {path.name for path in figures.glob("*.png")} - plots | set(OF_PAPER)
    folder.mkdir(parents=True, exist_ok=True)
    for path in [path for path in folder.iterdir() if path.suffix in (".png", ".csv")]:
        path.unlink()
    for path in sorted(path for path in figures.iterdir() if path.name not in left_out):
        content = path.read_bytes()
        if path.suffix == ".png":
            # In drawings fewer colours would tint the paper.
            drawing = len(content) < HEAVY
            content = min(content, palette_png(content, 64), key=len) if drawing else lightest_png(content)
            content = zopfli.png.optimize(content)
        (folder / path.name).write_bytes(content)
    print(f"{folder.name}: {sum(path.stat().st_size for path in folder.iterdir()) / 1e6:.1f} MB")


def restore_broken_off(recorded: records.Records, run_ids: Collection[str]) -> None:
    """Put back the records of runs that were being trained again for their weights; name those that still are.

    While that lasts a run counts as unfinished, and tables would be published without it. Checkpoints stay.
    """
    for run_id in recorded.runs.keys() & set(run_ids):
        folder, files = runs_dir() / run_id, recorded.runs[run_id]
        if (folder / "metrics.json").exists():
            continue
        try:
            with lock(run_id, wait=False):
                if not (folder / "metrics.json").exists():  # it may just have been finished
                    for name in sorted({*files, RECORDED}, key=lambda name: name == "metrics.json"):
                        (folder / name).parent.mkdir(parents=True, exist_ok=True)
                        (folder / name).write_bytes(files.get(name, b""))
        except Busy:
            print(f"{run_id}: is being trained again: tables and figures will lack it; publish again afterwards")


def publish_records(profile: str) -> int:
    """Write the records of a profile's finished runs; say what is missing.

    What was recorded before is kept, in the run store too, also where training for its weights was broken off. Returns
    how many runs are recorded.
    """
    study = open_study(load(profile))
    planned, name = {entry.spec.run_id: entry for entry in plan(study)}, study.profile.name
    before, path = records.Records(name, {}), records.path(name)
    if path.is_file():
        before = records.read(path, name)
        records.adopt(before, planned)
        restore_broken_off(before, planned)
    scored = {run_id for run_id, entry in planned.items() if entry.whole_area}
    finished = study.finished([entry.spec for entry in planned.values()], scored)
    new = write_records.of_runs(name, finished)
    for run_id, files in before.runs.items():  # of runs that are being made again
        if run_id in planned and not damage(planned[run_id].spec):
            new.runs.setdefault(run_id, files)
    missing = Counter(label for run_id in planned.keys() - new.runs.keys() for label in planned[run_id].experiments)
    listed = ", ".join(f"{count} of experiment {label}" for label, count in sorted(missing.items()))
    print(f"{name}: {len(new.runs)} of {len(planned)} runs are recorded" + f"; missing: {listed}" * bool(missing))
    if new.runs:
        write_records.write(path, new)
        print(f"{name}: records of {path.stat().st_size / 1e6:.2f} MB")
    return len(new.runs)


def publish_view(profile: str, target: Path) -> None:
    """Write what the map on the site's front page shows: a scene of `VIEWED` as two of a profile's networks map it.

    Where no run has its weights here, nothing is written: what was published stays.
    """
    book = open_book(profile)
    specs = [spec for spec in single.specs(book) if spec.data[0].area == VIEWED]
    preferred = {name: place for place, name in enumerate(("unet", "unet_pp"))}  # what the paper begins and ends with
    by_model = {run.spec.model: run for run in reversed(book.finished(specs))}  # the first seed of each
    here = [run for run in by_model.values() if not run.is_record]
    runs = sorted(here, key=lambda run: preferred.get(run.spec.model, 2))[:2]
    if not runs:
        print(f"{profile}: no network of {VIEWED} is here with its weights; the front page has no new map")
        return
    scene = book.scenes()[VIEWED][0]
    with scenes.open_image(scene) as image:
        row, col = ((side - SIDE) // 2 for side in image.shape)
    about = "The middle of a synthetic scene, some of whose patches were trained on"
    about = book.caption(about, run_ids=[run.spec.run_id for run in runs])
    described = page.of_runs(scene, runs, about=about, largest=LARGEST_VIEW, window=Window(row, col, SIDE, SIDE))
    described["title"] = f"{paper.area_name(VIEWED)}, a made-up scene: what networks find"
    write_json(target, described)
    print(f"{target.name}: {target.stat().st_size / 1e6:.2f} MB")


def publish(profile: str) -> None:
    """Execute a profile's chapters on what is finished of it, and publish what they show.

    A chapter that none of its runs is there for is published without outputs; what cannot be made is printed.
    """
    synthetic, figures = open_study(load(profile)).dataset.synthetic, figures_dir(profile)
    shutil.rmtree(figures, ignore_errors=True)
    try:
        make(profile, parameters={"on_missing": "skip"})
    except UserError as error:
        print(error)
    if synthetic:
        notebooks = executed(profile, partly=True)
        publish_notebooks(notebooks, ROOT / "notebooks")
        publish_others(ROOT / "notebooks", notebooks)
    publish_figures(figures, ROOT / "figures" / profile, synthetic)
    if synthetic:
        publish_view(profile, LIVE)


def publish_results(readme: Path, figures: Path) -> None:
    """Write what `results` says of the editions in a folder between the marks of the README."""
    text = readme.read_text(encoding="utf-8")
    readme.write_text(RESULTS.sub(lambda marks: marks[1] + results_block(figures) + marks[2], text), encoding="utf-8")


def results_block(figures: Path) -> str:
    """Return what stands between the marks of the README: the picture of the edition, and its results."""
    pictures = []
    if (figures / "edition" / "overview.png").is_file():
        alt = read_manifest(ROOT / "figures" / "manifest.yaml")["overview"].alt["overview"]
        pictures.append(f"![{alt} (synthetic data)](figures/edition/overview.png)")
    return "".join(f"{line}\n\n" for line in [*pictures, *results(figures)])


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
    chosen = sys.argv[1:]
    if chosen == ["smoke"]:
        publish_references(executed("smoke"), ROOT / "tests" / "reference")
    else:
        for edition in EDITIONS:
            try:
                if publish_records(edition) and chosen != ["records"]:
                    publish(edition)
                    publish_records(edition)  # with the predictions that the chapters have shown
            except UserError as error:
                print(f"{edition}: not published: {error}")
        if chosen != ["records"]:
            publish_results(ROOT / "README.md", ROOT / "figures")
