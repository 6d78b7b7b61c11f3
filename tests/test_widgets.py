"""The patch explorer: driven by its controls, it shows what the book's own functions say; nothing in batch needs it."""

import re
import xml.etree.ElementTree as ET
from unittest.mock import Mock

import ipywidgets
import jupytext
import pytest

from lmhld_nb import runs, widgets
from lmhld_nb.book import chapters
from lmhld_nb.config import ROOT, UserError
from lmhld_nb.patches import measurements


def visible(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        if child.layout.display != "none":
            yield from visible(child)


def control(panel, label):
    """Return the control whose label begins so: as a person finds it."""
    (control,) = [w for w in visible(panel) if getattr(w, "description", "").startswith(label)]
    return control


def html_of(panel):
    return "".join(widget.value for widget in visible(panel) if isinstance(widget, ipywidgets.HTML))


def tables(panel):
    """Return the visible tables, each as rows of texts, the head first."""
    trees = [ET.fromstring(text) for text in re.findall("(?s)<table.*?</table>", html_of(panel))]
    return [[["".join(cell.itertext()) for cell in row] for row in tree.iter("tr")] for tree in trees]


def error_in(panel):
    return "".join(re.findall('<b role="alert"[^>]*>(.*?)</b>', html_of(panel)))


@pytest.mark.parametrize("least", [0, 10, 37])
def test_patch_explorer_counts_what_cutting_keeps_and_drops(book, least):
    panel = widgets.patch_explorer(book)
    control(panel, "Area").value = "gorkha"
    control(panel, "Patch size").value = 32
    control(panel, "Least share").value = least
    spec = book.patch_spec("gorkha", 32).model_copy(update={"min_share": least / 100})
    patch_set = runs.patch_set(spec, progress=False)
    head, *rows = tables(panel)[0]
    assert head[-1] == "whole area"
    assert {row[0]: int(row[-1]) for row in rows} == {
        "kept": len(patch_set.index),
        f"below {least}% landslide": patch_set.dropped["share"],
        "touches no data": patch_set.dropped["nodata"],
        "over the edge": patch_set.dropped["edge"],
        "windows in all": patch_set.windows,
    }
    assert not error_in(panel) and "profile tiny" in html_of(panel)


def test_what_cannot_be_read_is_said_in_one_line(book, monkeypatch):
    error = UserError("scene.tif: cannot be read;\nfetch it <again>")
    with monkeypatch.context() as patch:
        patch.setattr(measurements, "read_scene", Mock(side_effect=error))
        panel = widgets.patch_explorer(book, area="gorkha")
        assert error_in(panel) == "scene.tif: cannot be read; fetch it &lt;again&gt;"
        assert not tables(panel), "nothing stale is visible"
    control(panel, "Patch size").value = 64
    assert not error_in(panel) and tables(panel)


def test_each_explorer_has_a_cell_in_its_chapter_that_batch_leaves_out():
    by_chapter = {"02": "widgets.patch_explorer", "05": "lm.view"}
    shown = {}
    for path in chapters.chapters():
        cells = [cell for cell in jupytext.read(path).cells if cell.cell_type == "code"]
        for cell in cells:
            is_widget = "widget" in cell.metadata.get("tags", [])
            assert is_widget == bool(re.search(r"\b((ipy)?widgets|lm\.view)\b", cell.source)), path
            if is_widget:
                assert cell.metadata["tags"] == ["widget", "skip-execution", "nbval-skip", "hide-input"], path
                shown[chapters.number_of(path)] = cell.source
    assert all(f"{name}(" in shown[number] for number, name in by_chapter.items())
    whole = (ROOT / "notebooks" / "explorer.py").read_text(encoding="utf-8")
    assert all(f"{name}(" in whole for name in by_chapter.values())
