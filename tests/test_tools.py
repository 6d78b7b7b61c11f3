"""What maintainers run: traces of one machine in committed notebooks, pairs that differ, publication."""

import base64
import html
from pathlib import Path

import as_published
import check_notebooks
import jupytext
import nbformat
import numpy as np
import publish
import pytest
from made import refuses
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from lmhld_nb import paper, sources
from lmhld_nb.book.chapters import chapters
from lmhld_nb.config import ROOT
from lmhld_nb.scenes.scene import read_all

KERNEL = {"kernelspec": {"name": "lmhld", "display_name": "LMHLD book", "language": "python"}}


@pytest.mark.parametrize("path", sorted((ROOT / "tests" / "reference").glob("*.ipynb")), ids=lambda path: path.stem)
def test_references_hold_nothing_of_one_machine(path: Path) -> None:
    assert path.stem in {chapter.stem for chapter in chapters()}
    assert check_notebooks.traces(nbformat.read(path, as_version=4)) == []


def traces(text: str, kind: str = "") -> list[str]:
    """Return the traces in a text that a cell printed, or showed as text/KIND."""
    result = new_output("execute_result", data={f"text/{kind}": text})
    outputs = [result if kind else new_output("stream", text=text)]
    return check_notebooks.traces(new_notebook(cells=[new_code_cell("x", outputs=outputs)]))


@pytest.mark.parametrize("text", [
    *("saved to /home/ann/book/figures/a.png", r"C:\Users\ann\book", "~/book"),
    *("made at 14:05", "2026-11-24T20:30:13Z", "took 4 s of 114 s", "seconds  7.85", "step (ms)"),
    "<pandas.io.formats.style.Styler at 0x7f0d377257d0>",
    *("id 8f14e45fceea167a5a36dedd4bea2543", "123e4567-e89b-12d3-a456-426614174000"),
])  # fmt: skip
def test_a_trace_is_found_in_print_and_in_a_result(text: str) -> None:
    assert traces(text) and traces(text, "plain") and traces(f"<td>{html.escape(text)}</td>", "html")


def test_what_is_no_trace_passes_and_ids_and_metadata_of_an_execution_are_found():
    text = "U-Net: F1 0.683, 9 × 9 pixels, 3 runs, 10 m; images 2015-08, event 2017-08-08: 24 months earlier; "
    text += "2PR / (P + R); precision/recall; runs 5a0b3c3d4e5f6071; OD1: rio"
    assert traces(text) == traces(f"<table class='dataframe'><td>{text}</td></table>", "html") == []
    styled = "<style>#T_{0}_row0 {{color: red}}</style><table id='T_{0}'><td>1</td></table>"
    assert traces(styled.format("1a2b3"), "html") and not traces(styled.format("moved"), "html")
    cell = new_code_cell("x", metadata={"tags": ["a"], "execution": {"iopub.execute_input": "…"}})
    notebook = new_notebook(cells=[cell], metadata={**KERNEL, "papermill": {}})
    assert check_notebooks.traces(notebook) == ["metadata: papermill", "cell 0: metadata execution"]
    cell = new_code_cell("x", outputs=[new_output("stream", text="EPYC: 3.2 ms at 14:05")])
    cell.metadata["tags"] = [check_notebooks.TIMING]
    assert check_notebooks.traces(new_notebook(cells=[cell])) == ["cell 0: a time of day: 14:05"]


def pair(folder: Path, ours: list, theirs: list) -> Path:
    source = folder / "05_made.py"
    jupytext.write(new_notebook(cells=ours, metadata=KERNEL), source, fmt="py:percent")
    nbformat.write(new_notebook(cells=theirs, metadata=KERNEL), source.with_suffix(".ipynb"))
    return source


def cells(prose: str = "# Title\n\nOne.", code: str = "x = 1\nprint(x)") -> list:
    return [new_markdown_cell(prose), new_code_cell(code)]


def test_pairs_that_differ_are_reported_with_the_next_step(tmp_path: Path) -> None:
    printed = cells()
    printed[1].outputs = [new_output("stream", text="1")]
    assert check_notebooks.difference(pair(tmp_path, cells(), printed)) is None
    message = check_notebooks.difference(pair(tmp_path, cells(), cells(code="x = 1\nprint(2)")))
    says = "05_made.ipynb: cell 1 differs from its .py: 'print(x)' there, 'print(2)' here; make publish"
    assert message == f"notebooks/{says}"
    source = pair(tmp_path, cells(), [*cells(), new_code_cell("more")])
    assert "3 cells, its .py has 2" in str(check_notebooks.difference(source))
    source.with_suffix(".ipynb").unlink()
    assert "05_made.ipynb: not there" in str(check_notebooks.difference(source))


def test_published_notebooks_and_figures_are_light(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (600, 600, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    png = (tmp_path / "a.png").read_bytes()
    output = new_output("display_data", {"image/png": base64.b64encode(png).decode()})
    injected = new_code_cell("profile = 'mini'", metadata={"tags": ["injected-parameters"]})
    notebook = new_notebook(cells=[injected, new_code_cell("1", outputs=[output])], metadata=KERNEL)
    publish.publish_notebooks({Path("05_made.py"): notebook}, tmp_path)
    written = tmp_path / "05_made.ipynb"
    assert written.stat().st_size <= check_notebooks.LARGEST_NOTEBOOK < len(png)
    assert [cell.source for cell in nbformat.read(written, as_version=4).cells] == ["1"]
    figures, published = tmp_path / "figures", tmp_path / "published"
    for folder in (figures, published):
        folder.mkdir()
        (folder / f"{folder.name}.csv").write_text("f1\n0.5\n")
    (figures / "a.png").write_bytes(png)
    (published / "records.tar.xz").touch()
    (figures / "unseen_sizes.csv").write_text("scene,f1\n")
    (figures / "unseen_sizes.png").write_bytes(png)
    for name in ("overview", "table5_f1", "table6_f1"):
        (figures / f"{name}.png").write_bytes(png)
    publish.publish_figures(figures, published, synthetic=True)
    files = ["a.png", "figures.csv", "overview.png", "records.tar.xz", "table5_f1.png", "table6_f1.png"]
    assert sorted(path.name for path in published.iterdir()) == files
    assert (published / "a.png").stat().st_size < len(png) / 2
    publish.publish_figures(figures, published, synthetic=False)
    files = ["figures.csv", "records.tar.xz", "table5_f1.png", "table6_f1.png"]
    assert sorted(path.name for path in published.iterdir()) == files, "no picture of real data, or of unknown content"


def test_the_readme_begins_with_what_the_published_tables_say(tmp_path: Path) -> None:
    marks = publish.RESULTS.search((ROOT / "README.md").read_text(encoding="utf-8"))
    assert marks and marks[0] == marks[1] + publish.results_block(ROOT / "figures") + marks[2], "make publish"

    def write(name: str, *rows: str, header: str = "model,area,f1,f1_low,f1_high,patches,seeds,single_f1") -> list[str]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("\n".join((header, *rows)))
        return publish.results_block(tmp_path).strip().split("\n\n")

    beside = "model,single_f1,single_f1_low,single_f1_high,patches,seeds,orders,areas,"
    beside += "part_f1,mix_f1"
    (made,) = write("edition/table7_beside.csv", "unet,0.5,0.4,0.6,12,1,,7,,", header=beside)
    assert "7 areas each learnt alone, U-Net reaches F1 0.50 (95 % interval 0.40 to 0.60, 12 test patches, 1 " in made
    assert write("real/table7_beside.csv", "unet_pp,0.9,,,3,3,,7,,", header=beside) == [made], "too few real patches"
    write("real/table7_beside.csv", "unet,0.7,0.6,0.8,30,3,2,7,0.8,0.9", "unet_pp,0.9,,,3,3,,7,,", header=beside)
    rows = ("unet,rio,0.5,0.4,0.6,12,3,0.9", "unet,hokkaido,0.6,0.5,0.7,12,3,0.8")
    _, claim, sobering = write("real/leave_one_out.csv", *rows)
    assert claim.endswith("on that one alone 0.850 (means of 2 areas, 3 seeds; 1 with a companion among the others).")
    assert "do not so far, on too few networks to judge: 0.800, 0.900 and 0.700 (F1 of all test pixels; 1" in claim
    assert "every area except Rio reaches F1 0.50 (" in sobering and "lowest of 2 areas left out in turn." in sobering
    header, name = "event,f1,f1_low,f1_high,blocks,seeds,index_f1,seen_f1", "real/unseen_scores.csv"
    assert write(name, "A,0.6,0.5,0.7,12,1,0.3,0.8", header=header)[2] == sobering, "not the lower one"
    *_, sobering = write(name, "A_b,0.2,0.1,0.3,12,1,0.4,0.7", header=header)
    assert "(95 % interval 0.10 to 0.30, 12 blocks of the images, 1 seed) on an unseen event, A\\_b, where" in sobering
    assert sobering.endswith("on one spectral index reaches 0.40; on what it had learnt, 0.70.")


def test_an_outdated_execution_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMHLD_WORKDIR", str(tmp_path))
    source = pair(tmp_path, cells(), cells(code="x = 0"))
    monkeypatch.setattr(publish, "chapters", lambda **_: [source])
    says = r"05_made\.ipynb: not executed from its source as it is now; run `lmhld book mini`"
    refuses(says, publish.executed, "mini")
    target = tmp_path / "build" / "mini" / "05_made.ipynb"
    target.parent.mkdir(parents=True)
    source.with_suffix(".ipynb").rename(target)
    refuses(says, publish.executed, "mini")
    assert publish.executed("mini", partly=True) == {}


@pytest.mark.parametrize("name", as_published.LAYOUTS)
def test_patches_as_they_may_be_published_are_adopted_without_a_word(name, twin_data, tmp_path, call, monkeypatch):
    monkeypatch.setenv("LMHLD_DATA", str(twin_data))
    patches = sources.load("twin-smoke")
    counts = {area: 2 if area == "wenchuan" else 12 for area in patches.areas}  # more than there are are repeated
    layout = as_published.LAYOUTS[name]
    assert as_published.write("twin-smoke", tmp_path / "published", layout, counts) == 2 * sum(counts.values())
    monkeypatch.setenv("LMHLD_WORKDIR", str(tmp_path))
    monkeypatch.setenv("LMHLD_DATA", str(tmp_path / "data"))
    assert call("data", "get", "lmhld", "--from", tmp_path / "published", "-q")[0] == 0
    monkeypatch.setattr("lmhld_nb.patches.measurements.read_scene", lambda *_: pytest.fail("read again by a plan"))
    assert call("plan", "rehearsal")[0] == 0
    adopted = sources.load("lmhld")
    assert adopted.areas == tuple(paper.AREAS) and len(adopted.scenes) == sum(counts.values())
    assert {scene.landslide_codes for scene in adopted.scenes} == {(layout.code,)}
    assert any(scene.split for scene in adopted.scenes) == (name == "splits")
    first, *others = (read_all(scene) for scene in adopted.scenes_of("wenchuan"))
    assert first[0].shape == (4, 224, 224) and 0.1 <= first[1].mean() < 1 and (first[0] != others[0][0]).any()


def test_events_as_they_may_be_published_are_adopted(twin_data, tmp_path, call, monkeypatch):
    monkeypatch.setenv("LMHLD_DATA", str(twin_data))
    sources.get("unseen-smoke")
    assert as_published.write_events("unseen-smoke", tmp_path / "events", 500) == 12
    monkeypatch.setenv("LMHLD_DATA", str(tmp_path / "data"))
    for name, areas in (("gvlm", set(as_published.SITES)), ("luding", {"luding"})):
        assert call("data", "get", name, "--from", tmp_path / "events", "-q")[0] == 0
        adopted = sources.load(name)
        assert set(adopted.areas) == areas
        for scene in adopted.scenes:
            image, labels, _ = read_all(scene, adopted.bands)
            assert min(labels.shape) >= 500 and image.shape == (len(adopted.bands), *labels.shape)
            assert 0 < (labels == 1).mean() < 0.5
