"""JupyterLab: pairs kept in step on save, and a kernel that is the book's own Python whether or not it is installed."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import pandas as pd
import pytest
from made import blobs, image_of, write_tif

from lmhld_nb.book import chapters as book
from lmhld_nb.book import diagnosis, kernels
from lmhld_nb.config import ROOT, UserError

SETTINGS = ROOT / "notebooks" / "jupyter_lab.json"


# Pairs -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def manager(tmp_path: Path) -> Any:
    """What JupyterLab saves notebooks through, on a copy of a chapter, with the folder that `make lab` opens."""
    root = json.loads(SETTINGS.read_text(encoding="utf-8"))["ServerApp"]["root_dir"]
    (tmp_path / "notebooks").mkdir()
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    source = tmp_path / "notebooks" / "00_start.py"
    shutil.copy(ROOT / "notebooks" / "00_start.py", source)
    jupytext.write(jupytext.read(source), source.with_suffix(".ipynb"))
    return jupytext.TextFileContentsManager(root_dir=str(tmp_path / root))


def saved(manager: Any, change: str = "") -> str:
    """Save the chapter's notebook as JupyterLab does, with outputs and metadata it adds; return its source then."""
    model = manager.get("notebooks/00_start.ipynb", type="notebook")
    content = model["content"]
    content["metadata"]["language_info"] = {
        "name": "python",
        "version": "3.99.1",
        "mimetype": "text/x-python",
    }
    content["metadata"]["widgets"] = {"state": {}}
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            cell["metadata"] |= {"execution": {"iopub.execute_input": "2026-01-01"}, "collapsed": False}
            cell["outputs"] = [nbformat.v4.new_output("stream", text="42\n")]
            cell["execution_count"] = 7
    content["cells"][0]["source"] += change
    manager.save({"type": "notebook", "format": "json", "content": content}, "notebooks/00_start.ipynb")
    return Path(manager.root_dir, "notebooks", "00_start.py").read_text(encoding="utf-8")


def test_saving_a_notebook_that_was_run_changes_nothing_in_its_source(manager: Any) -> None:
    before = Path(manager.root_dir, "notebooks", "00_start.py").read_text(encoding="utf-8")
    assert saved(manager) == before


def test_saving_an_edited_notebook_writes_the_edit_into_its_source(manager: Any) -> None:
    before = Path(manager.root_dir, "notebooks", "00_start.py").read_text(encoding="utf-8")
    after = saved(manager, "\n\nA new sentence.")
    old, new = before.splitlines(), after.splitlines()
    assert [line for line in new if line not in old] == ["# A new sentence."]
    assert [line for line in old if line not in new] == []
    made = json.loads(Path(manager.root_dir, "notebooks", "00_start.ipynb").read_text(encoding="utf-8"))
    assert made["cells"][0]["source"][-1] == "A new sentence."


def test_an_edited_source_is_what_the_notebook_opens_with(manager: Any) -> None:
    path = Path(manager.root_dir, "notebooks", "00_start.py")
    path.write_text(
        path.read_text(encoding="utf-8").replace("# # Start here", "# # Begin here"), encoding="utf-8"
    )
    opened = manager.get("notebooks/00_start.ipynb", type="notebook")["content"]
    assert opened["cells"][0]["source"].startswith("# Begin here")


# Kernel ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.py")), ids=lambda path: path.stem)
def test_every_notebook_asks_for_the_books_kernel(path: Path) -> None:
    asked = jupytext.read(path).metadata["kernelspec"]
    assert asked == {"name": kernels.NAME, "display_name": kernels.TITLE, "language": "python"}


@pytest.mark.parametrize("name", [kernels.NAME, "python3", "a-kernel-nobody-has"])
def test_chapters_run_on_this_python_whatever_is_installed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A kernel of the same name that somebody else installed is not taken.
    other = tmp_path / "jupyter" / "kernels" / name
    other.mkdir(parents=True)
    spec = {"argv": ["/bin/false", "{connection_file}"], "display_name": "other", "language": "python"}
    (other / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import sys\nsys.executable")])
    notebook.metadata["kernelspec"] = {"name": name, "display_name": name, "language": "python"}
    nbformat.write(notebook, tmp_path / "a.ipynb")
    book.execute(tmp_path / "a.ipynb", tmp_path / "out" / "a.ipynb", {})
    made = nbformat.read(tmp_path / "out" / "a.ipynb", as_version=4)
    assert made.cells[0].outputs[0].data["text/plain"] == repr(sys.executable)
    assert made.metadata["kernelspec"]["name"] == name
    assert os.environ["JUPYTER_PATH"] == str(tmp_path / "jupyter")


def test_a_widget_cell_is_left_out_in_batch(tmp_path: Path) -> None:
    cells = [
        nbformat.v4.new_code_cell("1"),
        nbformat.v4.new_code_cell("raise ValueError", metadata={"tags": []}),
    ]
    cells[1].metadata["tags"] = ["widget", "skip-execution", "nbval-skip", "hide-input"]
    notebook = nbformat.v4.new_notebook(cells=[*cells, nbformat.v4.new_code_cell("2")])
    notebook.metadata["kernelspec"] = {"name": "lmhld", "display_name": "LMHLD book", "language": "python"}
    nbformat.write(notebook, tmp_path / "a.ipynb")
    book.execute(tmp_path / "a.ipynb", tmp_path / "out" / "a.ipynb", {})
    made = nbformat.read(tmp_path / "out" / "a.ipynb", as_version=4)
    assert [len(cell.outputs) for cell in made.cells] == [1, 0, 1]
    assert made.cells[1].metadata["tags"] == cells[1].metadata["tags"], "nbval reads them in the reference"


def test_the_kernel_is_installed_into_the_environment_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "environment"))
    assert not kernels.is_installed()
    assert "`lmhld kernel`" in diagnosis.report()
    place = kernels.install()
    assert place.is_relative_to(tmp_path / "environment") and kernels.is_installed()
    assert json.loads((place / "kernel.json").read_text())["display_name"] == kernels.TITLE
    assert "`lmhld kernel`" not in diagnosis.report()
    assert list(home.iterdir()) == []
    # Moved or copied environments name a Python that is not theirs.
    told = json.loads((place / "kernel.json").read_text())
    (place / "kernel.json").write_text(json.dumps({**told, "argv": ["/elsewhere/python", *told["argv"][1:]]}))
    assert not kernels.is_installed()


def test_an_environment_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "share").write_text("a file where a folder should be")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(UserError, match=r"kernels/lmhld: cannot be written"):
        kernels.install()


# Data of one's own -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_book_runs_on_data_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mask = blobs(192, 192, 30, seed=3, radius=(6, 20))
    write_tif(tmp_path / "mine" / "images" / "a.tif", image_of(mask), nodata=0)
    write_tif(tmp_path / "mine" / "masks" / "a.tif", mask.astype("uint8"))
    monkeypatch.setenv("LMHLD_WORKDIR", str(tmp_path / "work"))
    monkeypatch.delenv("LMHLD_DATA", raising=False)
    monkeypatch.delenv("LMHLD_RUNS", raising=False)
    own = {"folder": str(tmp_path / "mine"), "epochs": 2, "chapters": ["02", "05"]}
    book.execute(ROOT / "notebooks" / "my_data.py", tmp_path / "out.ipynb", own)
    table = pd.read_csv(tmp_path / "work" / "build" / "my-data" / "figures" / "table2.csv")
    assert list(table["area"]) == ["my_area"] and table["patches"].item() > 10
    assert len(pd.read_csv(tmp_path / "work" / "build" / "my-data" / "figures" / "table5.csv")) == 1
    assert (tmp_path / "work" / "build" / "my-data" / "05_experiment_2_single.ipynb").is_file()
    assert not (ROOT / "params" / "data" / "my-data.yaml").exists(), (
        "in the working folder, not in the book's"
    )
