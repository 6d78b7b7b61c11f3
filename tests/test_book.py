"""Chapters: parameters, execution that leaves a whole notebook or none, kernels, and what all chapters keep to."""

import json
import os
import re
import sys
from concurrent.futures import Future

import jupytext
import nbformat
import pandas as pd
import pytest
from made import blobs, image_of, refuses, write_tif

from lmhld_nb.book import chapters
from lmhld_nb.config import ROOT

KERNELSPEC = {"name": "lmhld", "display_name": "LMHLD book", "language": "python"}
HEADER = """# ---
# jupyter:
#   kernelspec:
#     display_name: LMHLD book
#     language: python
#     name: lmhld
# ---

# %% [markdown]
# # A tiny chapter

# %% tags=["parameters"]
number: int = 1  # how often
colour: str = "#a:b=c"  # any text: with = and #
names: list[str] = []  # whose
table: dict[str, int] = {"a": 1}  # of what

# %%
"""
ALL = chapters.chapters()


def write_chapter(folder, code):
    path = folder / "00_tiny.py"
    path.write_text(HEADER + code + "\n", encoding="utf-8")
    return path


def test_parameters_are_read_as_papermill_does_and_unknown_ones_refused(tmp_path):
    source, target = write_chapter(tmp_path, ""), tmp_path / "out" / "a.ipynb"
    message = r"00_tiny\.py: no parameter 'nmber'; it has colour, names, number, table"
    refuses(message, chapters.execute, source, target, {"nmber": 2})
    assert not target.parent.exists()
    from papermill.cli import _resolve_type

    for text in ("True", "False", "None", "3", "-3", "1e-3", "0.5", "rio,gorkha", "true", "[1]", "", "05"):
        value, expected = chapters.parameter_value(text), _resolve_type(text)
        assert (value, type(value)) == (expected, type(expected)), text


def test_chapters_are_chosen_by_number_and_profile(tiny):
    (single,) = [path for path in ALL if chapters.number_of(path) == "05"]
    assert chapters.chapters("5") == chapters.chapters("05") == [single]
    assert [chapters.number_of(path) for path in ALL] == sorted(chapters.number_of(path) for path in ALL)
    assert [chapters.number_of(name) for name in ("08b_your_own_event", ALL[3])] == ["08b", "03"]
    refuses("chapter '77': unknown; choose from 00,", chapters.chapters, "77")
    numbers = {chapters.number_of(path) for path in chapters.chapters(profile=str(tiny))}
    assert {chapters.number_of(path) for path in ALL} - numbers == set(chapters.EXPERIMENT_OF) - {"05"}
    assert chapters.chapters(profile="mini") == ALL


def test_a_chapter_is_executed_tidily_and_the_same_again(tmp_path):
    code = "import sys\nprint(number, names)\nprint('noise', file=sys.stderr)\n\n# %% tags=[\"own\"]\n[number] * 2"
    source = write_chapter(tmp_path, code)
    first, second = tmp_path / "out" / "first.ipynb", tmp_path / "out" / "second.ipynb"
    for target in (first, second):
        chapters.execute(source, target, {"number": 3, "names": ["x"]})
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in first.parent.iterdir()) == ["first.ipynb", "second.ipynb"]
    notebook = nbformat.read(first, as_version=4)
    nbformat.validate(notebook)
    assert set(notebook.metadata) == {"kernelspec"} and "papermill" not in first.read_text()
    assert [cell.id for cell in notebook.cells] == [f"cell-{n:02d}" for n in range(len(notebook.cells))]
    tags = [cell.metadata.get("tags") for cell in notebook.cells if cell.metadata]
    assert tags == [["parameters"], ["injected-parameters"], ["own"]]
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert [output.get("text", output.get("data")) for output in outputs] == ["3 ['x']\n", {"text/plain": "[3, 3]"}]


def test_a_failing_cell_is_reported_and_kept_beside_the_missing_target(tmp_path):
    source = write_chapter(tmp_path, "print('so far')\n\n# %%\nraise ValueError('first line\\nsecond line')")
    target = tmp_path / "out" / "a.ipynb"
    message = r"00_tiny\.py: cell \d+ failed: ValueError: first line second line; see"
    refuses(message, chapters.execute, source, target, {})
    failed = tmp_path / "out" / "a.failed.ipynb"
    assert list(target.parent.iterdir()) == [failed] and "so far" in failed.read_text()
    write_chapter(tmp_path, "print('mended')")
    chapters.execute(source, target, {})
    assert list(target.parent.iterdir()) == [target]


def test_a_kernel_that_dies_is_reported(tmp_path):
    source, target = write_chapter(tmp_path, "import os\nos._exit(1)"), tmp_path / "out" / "a.ipynb"
    refuses(r"00_tiny\.py: .*[Kk]ernel died", chapters.execute, source, target, {})
    assert not list(target.parent.iterdir())


@pytest.mark.parametrize("name", ["lmhld", "a-kernel-nobody-has"])
def test_chapters_run_on_this_python_and_no_other(name, tmp_path, monkeypatch):
    # A kernel of the same name that somebody else installed is not taken.
    other = tmp_path / "jupyter" / "kernels" / name
    other.mkdir(parents=True)
    spec = {"argv": ["/bin/false", "{connection_file}"], "display_name": "other", "language": "python"}
    (other / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    cells = [nbformat.v4.new_code_cell("import sys\nsys.executable")]
    cells.append(nbformat.v4.new_code_cell("raise ValueError", metadata={"tags": ["widget", "skip-execution"]}))
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {**KERNELSPEC, "name": name}
    nbformat.write(notebook, tmp_path / "a.ipynb")
    chapters.execute(tmp_path / "a.ipynb", tmp_path / "out" / "a.ipynb", {})
    executed = nbformat.read(tmp_path / "out" / "a.ipynb", as_version=4)
    assert executed.cells[0].outputs[0].data["text/plain"] == repr(sys.executable)
    assert executed.cells[1].outputs == [] and executed.cells[1].metadata.tags == ["widget", "skip-execution"]
    assert executed.metadata["kernelspec"]["name"] == name
    assert os.environ["JUPYTER_PATH"] == str(tmp_path / "jupyter")


def test_times_are_written_and_parameters_passed_on(tmp_path, monkeypatch):
    # Chapters run in notebooks/: a path relative to where the command was given must not be lost.
    monkeypatch.setenv("LMHLD_WORKDIR", str(tmp_path / "work"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("")
    passed = []

    def side_by_side(work, sources, workers):
        passed.append(work.keywords["parameters"])
        for source in sources:
            done: Future[float] = Future()
            done.set_result(1.25 if "01" in source.stem else 3.0)
            yield source, done

    monkeypatch.setattr(chapters, "side_by_side", side_by_side)
    folder = tmp_path / "work" / "build" / "mine"
    assert chapters.make("mine.yaml", "00", progress=False) == [folder / "00_start.ipynb"]
    chapters.make("mine.yaml", "01", progress=False)
    chapters.make("smoke", "05", progress=False, parameters={"models": "unet"})
    assert passed == [{"profile": str(tmp_path / "mine.yaml")}] * 2 + [{"models": "unet", "profile": "smoke"}]
    seconds = pd.read_csv(folder / "times.csv").set_index("chapter")["seconds"]
    assert seconds.to_dict() == {"00_start": 3.0, "01_areas_and_inventories": 1.2}


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.py")), ids=lambda path: path.stem)
def test_a_notebook_source_keeps_to_the_form(path):
    text = path.read_text(encoding="utf-8")
    header = text.split("# ---\n")[1]
    assert set(re.findall(r"^# {3}(\w+):", header, re.M)) == {"kernelspec"}, "header: kernelspec only"
    assert re.fullmatch(r"(\d\d[a-z]?_)?[a-z0-9_]+", path.stem) and str(ROOT) not in text
    notebook = jupytext.reads(text, fmt="py:percent")
    assert notebook.metadata["kernelspec"] == KERNELSPEC
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1, "exactly one cell is tagged parameters"
    for line in tagged[0].source.splitlines():
        if line and not line.startswith("#"):
            assert re.match(r"\w+: [^=]+ = .+  # \S", line), f"annotate and comment the parameter: {line}"
    if path in ALL:  # a chapter has a profile and is compared
        assert "profile" in chapters.parameters_of(notebook)
        tags = [cell.metadata.get("tags", []) for cell in notebook.cells]
        assert tags[1] == ["parameters"] and sum("nbval-ignore-output" in each for each in tags) <= 2


@pytest.mark.slow
def test_the_book_runs_on_data_of_ones_own(tmp_path, monkeypatch):
    mask = blobs(192, 192, 30, seed=3, radius=(6, 20))
    write_tif(tmp_path / "mine" / "images" / "a.tif", image_of(mask), nodata=0)
    write_tif(tmp_path / "mine" / "masks" / "a.TIFF", mask.astype("uint8"))
    monkeypatch.setenv("LMHLD_WORKDIR", str(tmp_path / "work"))
    own = {"folder": str(tmp_path / "mine"), "epochs": 2, "chapters": "[2, 05]", "bands": "blue green red nir"}
    chapters.execute(ROOT / "notebooks" / "my_data.py", tmp_path / "out.ipynb", own)
    figures = tmp_path / "work" / "build" / "my-data" / "figures"
    table = pd.read_csv(figures / "table2.csv")
    assert list(table["area"]) == ["my_area"] and table["patches"].item() > 10
    assert len(pd.read_csv(figures / "table5.csv")) == 1
    assert (tmp_path / "work" / "build" / "my-data" / "05_experiment_2_single.ipynb").is_file()
    assert not (ROOT / "params" / "data" / "my-data.yaml").exists(), "in the working folder, not in the book's"
