"""The explorers: driven by their controls, they show what the book's own functions say; nothing in batch needs them."""

from __future__ import annotations

import ast
import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import ipywidgets
import jupytext
import numpy as np
import pytest
from conftest import QUIET
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lmhld_nb import patches, runs, widgets
from lmhld_nb.book import chapters as book
from lmhld_nb.config import ROOT, UserError
from lmhld_nb.evaluation.counts import Confusion
from lmhld_nb.experiments import common as experiments
from lmhld_nb.experiments import plan as plans
from lmhld_nb.experiments import profile as profiles
from lmhld_nb.experiments import results, serial_results
from lmhld_nb.experiments.profile import Profile
from lmhld_nb.patches import measurements
from lmhld_nb.plots import style
from lmhld_nb.sources import DataSet
from lmhld_nb.training import chains
from lmhld_nb.widgets import order_panel, parts, patch_panel, prediction_panel

# Looking at a panel ----------------------------------------------------------------------------------------------


def everything(widget: ipywidgets.Widget) -> Iterator[ipywidgets.Widget]:
    yield widget
    for child in getattr(widget, "children", ()):
        yield from everything(child)


def control(panel: ipywidgets.Widget, label: str) -> ipywidgets.Widget:
    """Return the control whose label begins so: as a person finds it."""
    (found,) = [w for w in everything(panel) if getattr(w, "description", "").startswith(label)]
    return found


def tables(panel: ipywidgets.Widget) -> list[list[list[str]]]:
    """Return the tables in sight, each as rows of texts, the head first."""
    shown = [w for w in everything(panel) if isinstance(w, ipywidgets.HTML) and w.layout.display != "none"]
    found = [text for w in shown for text in re.findall("<table.*?</table>", w.value)]
    return [
        [["".join(cell.itertext()) for cell in row] for row in ET.fromstring(text).iter("tr")]
        for text in found
    ]


def told_error(panel: ipywidgets.Widget) -> str:
    texts = [
        w.value for w in everything(panel) if isinstance(w, ipywidgets.HTML) and 'role="alert"' in w.value
    ]
    return re.sub("<[^>]+>", "", "".join(texts))


def image_of(panel: ipywidgets.Widget) -> ipywidgets.Image:
    (image,) = [w for w in everything(panel) if isinstance(w, ipywidgets.Image)]
    return image


def colours_in(panel: ipywidgets.Widget) -> set[tuple[int, ...]]:
    pixels = np.asarray(Image.open(io.BytesIO(image_of(panel).value)).convert("RGB")).reshape(-1, 3)
    return {tuple(map(int, pixel)) for pixel in np.unique(pixels, axis=0)}


def of(tint: str) -> tuple[int, ...]:
    return tuple(int(tint[i : i + 2], 16) for i in (1, 3, 5))


# A small book ----------------------------------------------------------------------------------------------------

SMALL = """
name: small
description: two areas of the smallest twin, both chains of them
data: twin-smoke
areas: [emilia_romagna, gorkha]
experiments: [2, 4]
models: [unet, res_unet]
width: {unet: 2, res_unet: 2}
recipe: {batch_size: 4, epochs: 2, lr: 0.05, gamma: 0.9, momentum: 0.9, precision: fp32}
experiment_4: {first: [], permuted: [gorkha, emilia_romagna], last: [], epochs: [1], seeds: [0]}
"""


@pytest.fixture(scope="module")
def work(twin_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder in which all of experiment 2 and U-Net's chain in the first order are made."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "small.yaml").write_text(SMALL, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMHLD_WORKDIR", str(folder))
        patch.setenv("LMHLD_DATA", str(twin_data))
        profile, dataset = loaded(folder)
        wanted = experiments.single(profile, dataset)
        wanted += order_panel.chain_of(profile, dataset, ("gorkha", "emilia_romagna"), "unet", 0)
        runs.make_runs(list({spec.run_id: spec for spec in wanted}.values()), execution=QUIET)
    return folder


@pytest.fixture
def small(work: Path, twin_data: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Profile, DataSet]:
    monkeypatch.setenv("LMHLD_WORKDIR", str(work))
    monkeypatch.setenv("LMHLD_DATA", str(twin_data))
    monkeypatch.delenv("LMHLD_RUNS", raising=False)
    return loaded(work)


def loaded(work: Path) -> tuple[Profile, DataSet]:
    profile = profiles.load(str(work / "small.yaml"))
    return profile, experiments.dataset_of(profile, progress=False)


def single(small: tuple[Profile, DataSet]) -> list[runs.Run]:
    return [run for spec in experiments.single(*small) if (run := runs.find(spec))]


# Patch explorer --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("least", [0, 10, 37])
def test_patch_explorer_counts_what_cutting_keeps_and_drops(
    small: tuple[Profile, DataSet], least: int
) -> None:
    profile, dataset = small
    panel = widgets.patch_explorer(profile, dataset)
    control(panel, "Area").value = "gorkha"
    control(panel, "Patch size").value = 32
    control(panel, "Least share").value = least
    rule = profile.patches.model_copy(update={"min_share": least / 100})
    part = experiments.cut(
        profile.model_copy(update={"patches": rule}), dataset, "gorkha", 32, progress=False
    )
    head, *rows = tables(panel)[0]
    counts = {row[0]: int(row[-1]) for row in rows}
    assert head[-1] == "whole area"
    assert counts == {
        "kept": len(part.index),
        f"below {least}% landslide": part.dropped["share"],
        "touches no data": part.dropped["nodata"],
        "over the edge": part.dropped["edge"],
        "windows in all": part.windows,
    }
    assert not told_error(panel)


def test_patch_explorer_begins_with_the_profile_and_follows_the_area(small: tuple[Profile, DataSet]) -> None:
    panel = widgets.patch_explorer(*small, area="gorkha")
    assert control(panel, "Area").value == "gorkha"
    assert control(panel, "Patch size").value == profiles.patch_size(small[0], "gorkha")
    assert control(panel, "Least share").value == 10
    before = image_of(panel).value
    control(panel, "Area").value = "emilia_romagna"
    assert image_of(panel).value != before
    assert [name for name, _ in control(panel, "Scene").options] == [
        scene.name for scene in small[1].scenes_of("emilia_romagna")
    ]


def test_patch_explorer_tells_what_it_cannot_read_in_one_line_and_goes_on(
    small: tuple[Profile, DataSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = widgets.patch_explorer(*small, area="gorkha")
    whole = measurements.classify_area_windows

    def broken(*_: object) -> None:
        raise UserError("scene.tif: cannot be read;\nfetch it <again>")

    monkeypatch.setattr(measurements, "windows", broken)
    control(panel, "Area").value = "emilia_romagna"
    assert told_error(panel) == "scene.tif: cannot be read; fetch it &lt;again&gt;"
    assert not tables(panel) and image_of(panel).layout.display == "none", "nothing stale is left in sight"
    monkeypatch.setattr(measurements, "windows", whole)
    control(panel, "Patch size").value = 64
    assert not told_error(panel) and tables(panel) and image_of(panel).layout.display is None


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 4), st.integers(0, 2**16), st.sampled_from([0.0, 0.05, 0.1, 0.5, 1.0]))
def test_a_share_applied_later_judges_as_one_applied_at_once(side: int, seed: int, least: float) -> None:
    random = np.random.default_rng(seed)
    labels = random.choice(np.array([0, 1, 255], np.uint8), (19, 23), p=[0.6, 0.39, 0.01])
    valid = random.random((19, 23)) > 0.01
    later = patch_panel.with_share(*patches.classify_windows(labels, valid, 2 * side, 0.0), least)
    assert (later == patches.classify_windows(labels, valid, 2 * side, least)[0]).all()


# Prediction browser ----------------------------------------------------------------------------------------------


def test_prediction_browser_scores_as_the_book_does(small: tuple[Profile, DataSet]) -> None:
    finished = single(small)
    panel = widgets.prediction_browser(finished, "a note")
    control(panel, "Run").value = number = len(finished) - 1
    (part,) = runs.patch_sets(finished[number].spec, progress=False)
    for place in (1, control(panel, "Test patch").max):
        control(panel, "Test patch").value = place
        patch = int(prediction_panel.by_share(part)[place - 1])
        predicted, truth = results.predict(finished[number], part, patch), np.asarray(part.masks[patch]) == 1
        counts = Confusion.of(predicted, truth)
        told = dict(tables(panel)[0][1:])
        assert told == {
            "precision": parts.told(counts.precision),
            "F1": parts.told(counts.f1),
            "recall": parts.told(counts.recall),
            "hits (px)": str(counts.tp),
            "false alarms (px)": str(counts.fp),
            "misses (px)": str(counts.fn),
        }
    assert not told_error(panel)


def test_a_lower_threshold_finds_more_and_the_colours_say_what(small: tuple[Profile, DataSet]) -> None:
    panel = widgets.prediction_browser(single(small), "a note")
    threshold, misses = control(panel, "Threshold"), {}
    for value in (0.01, 0.99):
        threshold.value = value
        told = dict(tables(panel)[0][1:])
        misses[value] = int(told["misses (px)"])
        seen = {"hits (px)": style.HIT, "false alarms (px)": style.FALSE_ALARM, "misses (px)": style.MISS}
        for name, tint in seen.items():
            assert (of(tint) in colours_in(panel)) == (int(told[name]) > 0), f"{name} at {value}"
    assert misses[0.01] < misses[0.99]


def test_without_runs_the_browsers_say_what_to_do(small: tuple[Profile, DataSet]) -> None:
    assert "lmhld run" in told_error(widgets.prediction_browser([], "a note"))
    assert "lmhld run" in told_error(widgets.run_browser([], "a note"))


# Run browser -----------------------------------------------------------------------------------------------------


def test_run_browser_filters_and_tells_how_many_are_missing(small: tuple[Profile, DataSet]) -> None:
    planned = plans.plan(*small)
    panel = widgets.run_browser(planned, "a note")
    made = [entry for entry in planned if runs.find(entry.spec)]
    assert 0 < len(made) < len(planned)
    assert any(
        f"{len(planned) - len(made)} of {len(planned)} planned runs are not made yet" in w.value
        for w in everything(panel)
        if isinstance(w, ipywidgets.HTML)
    )

    def shown() -> set[str]:
        return {row[0] for row in tables(panel)[0][1:]}

    assert shown() == {entry.spec.run_id for entry in made}
    control(panel, "Network").value = ("unet",)
    control(panel, "Experiment").value = ("2",)
    control(panel, "Area").value = ("gorkha",)
    wanted = [e for e in made if e.spec.model == "unet" and "2" in e.experiments and "gorkha" in e.areas]
    assert shown() == {entry.spec.run_id for entry in wanted} and len(wanted) == 1
    control(panel, "Experiment").value = ("4",)
    control(panel, "Network").value = ("res_unet",)
    assert "no finished run" in told_error(panel) and not tables(panel)


def test_run_browser_draws_the_history(
    small: tuple[Profile, DataSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = []
    real = parts.show
    monkeypatch.setattr(parts, "show", lambda target, figure: (figures.append(figure), real(target, figure)))
    panel = widgets.run_browser(plans.plan(*small, experiment="2"), "a note")
    finished = single(small)
    for column in ("val_f1", "train_loss"):
        control(panel, "Show").value = column
        drawn = {tuple(line.get_ydata()) for line in figures[-1].axes[0].lines}
        assert drawn == {tuple(run.history[column]) for run in finished}
    control(panel, "Network").value = ("unet",)
    names = [text.get_text() for text in figures[-1].axes[0].get_legend().get_texts()]
    assert names == [style.area_name(area) for area in small[0].areas], "one network: areas tell curves apart"


# Order explorer --------------------------------------------------------------------------------------------------


def test_order_explorer_shows_the_schedule_and_what_is_trained(small: tuple[Profile, DataSet]) -> None:
    panel = widgets.order_explorer(*small)
    control(panel, "Order of addition").value = "OD1"
    stages, scores = tables(panel)
    areas = ("gorkha", "emilia_romagna")
    for stage, (told, row) in enumerate(zip(stages[1:], chains.paper_schedule(2), strict=True), start=1):
        size = profiles.patch_size(small[0], areas[stage - 1])
        assert told == [
            str(stage), style.area_name(areas[stage - 1]), f"{size} px", "1", *row.values()
        ]  # fmt: skip
    assert stages[0][4:] == list(chains.paper_schedule(1)[0])
    chain = order_panel.chain_of(*small, areas, "unet", 0)
    for told, spec in zip(scores[1:], chain, strict=True):
        run = runs.find(spec)
        assert run
        assert told[1] == parts.told(serial_results.total_scores(run)["f1"])
        found = {style.area_name(area): parts.told(c.f1) for area, c in serial_results.counts_of(run).items()}
        assert {name: value for name, value in zip(scores[0][2:], told[2:], strict=True) if value} == found


def test_areas_can_be_moved_and_what_is_not_trained_says_so(small: tuple[Profile, DataSet]) -> None:
    panel = widgets.order_explorer(*small)
    control(panel, "Areas").value = "emilia_romagna"
    control(panel, "Add it earlier").click()
    assert control(panel, "Order of addition").value == "OD2", "the paper's own orders keep their names"
    stages, scores = tables(panel)
    assert [row[1] for row in stages[1:]] == ["Emilia-Romagna", "Gorkha"]
    assert control(panel, "Areas").value == "emilia_romagna"
    assert [row[1] for row in scores[1:]] == ["not trained yet"] * 2
    control(panel, "Add it earlier").click()
    assert tables(panel) == [stages, scores], "the first cannot go further"
    control(panel, "Network").value = "res_unet"
    assert not told_error(panel)


# Apart from batch ------------------------------------------------------------------------------------------------


def imports_widgets(source: str) -> bool:
    names = set()
    for node in ast.walk(ast.parse(re.sub("^%.*$", "", source, flags=re.M))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return any(name.startswith("lmhld_nb.widgets") or name.split(".")[0] == "ipywidgets" for name in names)


def test_nothing_that_runs_in_batch_imports_the_widgets() -> None:
    assert imports_widgets("from lmhld_nb import (\n    style,\n    widgets,\n)") and not imports_widgets(
        "import ast"
    )
    package = ROOT / "lmhld_nb"
    for path in (*package.rglob("*.py"), *(ROOT / "workflow").glob("*.py")):
        if package / "widgets" not in path.parents:
            assert not imports_widgets(path.read_text(encoding="utf-8")), path


SKIPPED = ["widget", "skip-execution", "nbval-skip", "hide-input"]


def widget_cells(path: Path) -> list[tuple[int, list]]:
    cells = jupytext.read(path).cells
    return [(n, cells) for n, cell in enumerate(cells) if "widget" in cell.metadata.get("tags", [])]


@pytest.mark.parametrize("path", book.chapters(), ids=lambda path: path.stem)
def test_a_chapter_without_its_widgets_is_whole(path: Path) -> None:
    for cell in jupytext.read(path).cells:
        if cell.cell_type == "code" and imports_widgets(cell.source):
            assert cell.metadata["tags"] == SKIPPED, "a widget cell is left out in batch"
    for place, cells in widget_cells(path):
        assert cells[place].metadata["tags"] == SKIPPED
        assert "**Try it**" in cells[place - 1].source, "words before it say what to try"
        heads = [n for n, cell in enumerate(cells[:place]) if re.search("^## ", cell.source, re.M)]
        section = cells[max(heads) : place]
        assert any("style.save(" in cell.source for cell in section), "a figure stands beside it"


def test_the_four_explorers_are_in_their_chapters() -> None:
    found = {
        path.stem[:2]: cells[place].source for path in book.chapters() for place, cells in widget_cells(path)
    }
    wanted = {"02": "patch_explorer", "05": "prediction_browser", "07": "order_explorer", "09": "run_browser"}
    assert {number: name for number, name in wanted.items() if name in found.get(number, "")} == wanted
    whole = (ROOT / "notebooks" / "explorer.py").read_text(encoding="utf-8")
    assert all(f"widgets.{name}(" in whole for name in wanted.values())
