"""JupyterLab: pairs kept in step on save; and the notebook for data of one's own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import pandas as pd
import pytest
from made import blobs, image_of, write_tif

from lmhld_nb.book import chapters
from lmhld_nb.config import ROOT

SETTINGS = ROOT / "notebooks" / "jupyter_lab.json"


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
    content["metadata"] |= {"language_info": {"name": "python", "version": "3.99.1"}, "widgets": {"state": {}}}
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            cell["metadata"] |= {"execution": {"iopub.execute_input": "2026-01-01"}, "collapsed": False}
            cell["outputs"] = [nbformat.v4.new_output("stream", text="42\n")]
            cell["execution_count"] = 7
    content["cells"][0]["source"] += change
    manager.save({"type": "notebook", "format": "json", "content": content}, "notebooks/00_start.ipynb")
    return Path(manager.root_dir, "notebooks", "00_start.py").read_text(encoding="utf-8")


def test_edits_travel_both_ways_and_nothing_else_does(manager: Any) -> None:
    source = Path(manager.root_dir, "notebooks", "00_start.py")
    before = source.read_text(encoding="utf-8")
    assert saved(manager) == before, "a notebook that was run is saved"
    after = saved(manager, "\n\nA new sentence.").splitlines()
    assert [line for line in after if line not in before.splitlines()] == ["# A new sentence."]
    assert [line for line in before.splitlines() if line not in after] == []
    edited = source.read_text(encoding="utf-8").replace("# # Start here", "# # Begin here")
    source.write_text(edited, encoding="utf-8")
    opened = manager.get("notebooks/00_start.ipynb", type="notebook")["content"]
    assert opened["cells"][0]["source"].startswith("# Begin here")


@pytest.mark.slow
def test_the_book_runs_on_data_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mask = blobs(192, 192, 30, seed=3, radius=(6, 20))
    write_tif(tmp_path / "mine" / "images" / "a.tif", image_of(mask), nodata=0)
    write_tif(tmp_path / "mine" / "masks" / "a.tif", mask.astype("uint8"))
    monkeypatch.setenv("LMHLD_WORKDIR", str(tmp_path / "work"))
    monkeypatch.delenv("LMHLD_DATA", raising=False)
    monkeypatch.delenv("LMHLD_RUNS", raising=False)
    own = {"folder": str(tmp_path / "mine"), "epochs": 2, "chapters": ["02", "05"]}
    chapters.execute(ROOT / "notebooks" / "my_data.py", tmp_path / "out.ipynb", own)
    figures = tmp_path / "work" / "build" / "my-data" / "figures"
    table = pd.read_csv(figures / "table2.csv")
    assert list(table["area"]) == ["my_area"] and table["patches"].item() > 10
    assert len(pd.read_csv(figures / "table5.csv")) == 1
    assert (tmp_path / "work" / "build" / "my-data" / "05_experiment_2_single.ipynb").is_file()
    assert not (ROOT / "params" / "data" / "my-data.yaml").exists(), "in the working folder, not in the book's"
