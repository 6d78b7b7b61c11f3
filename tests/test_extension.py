"""A network, a metric, a loss, an optimiser and an experiment of a reader's own, each one entry, in the whole book.

The entries are those of `book/extension_example.py`, which a copy of the profile `smoke` names.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import nbformat
import pandas as pd
import publish
import pytest
import yaml

import lmhld_nb as lm
from lmhld_nb import config
from lmhld_nb.book import chapters
from lmhld_nb.config import ROOT
from lmhld_nb.evaluation import METRICS
from lmhld_nb.experiments import EXPERIMENTS, load, single
from lmhld_nb.experiments.plan import plan
from lmhld_nb.runs import records
from lmhld_nb.training.losses import LOSSES
from lmhld_nb.training.optimisers import OPTIMISERS

EIGHTH = "extension_example:build_thin_net"


@pytest.fixture(scope="module")
def profile(twin_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield the file of the extended profile, in a working folder whose run store is empty."""
    folder = tmp_path_factory.mktemp("extended")
    settings = yaml.safe_load((ROOT / "params" / "smoke.yaml").read_text(encoding="utf-8"))
    settings |= {"name": "extended", "extensions": ["extension_example"], "models": ["unet", EIGHTH]}
    settings["recipe"] |= {"loss": "focal", "optimiser": "adamw", "momentum": 0.0, "lr": 0.01}
    settings["experiments"]["augmented"] = {"area": "gorkha"}
    path = folder / "extended.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    entries = [(registry, dict(registry)) for registry in (EXPERIMENTS, METRICS, LOSSES, OPTIMISERS)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(config.EXTENSIONS, "")
        patch.setenv("LMHLD_WORKDIR", str(folder))
        patch.setenv("LMHLD_DATA", str(twin_data))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "book"), os.environ.get("PYTHONPATH", "")]))
        yield path
    # Other tests know of no extension.
    sys.modules.pop("extension_example", None)
    for registry, before in entries:
        registry.clear()
        registry.update(before)


def lmhld(*arguments: object) -> str:
    command = [sys.executable, "-m", "lmhld_nb.cli", *map(str, arguments)]
    child = subprocess.run(command, check=False, capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    return child.stdout


@pytest.fixture(scope="module")
def book(profile: Path) -> lm.Book:
    lmhld("run", profile, "--experiment", "augmented", "--workers", 2, "-q")
    lmhld("run", profile, "--workers", 2, "-q")
    return lm.open(str(profile))


def test_another_loss_or_version_renames_only_the_runs_that_use_it(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_ids(loss: str) -> list[str]:
        profile = load(str(tiny))
        recipe = profile.recipe.model_copy(update={"loss": loss})
        study = lm.experiments.open_study(profile.model_copy(update={"recipe": recipe}), progress=False)
        return [spec.run_id for spec in single.specs(study)]

    before = {loss: run_ids(loss) for loss in ("bce", "dice_bce")}
    monkeypatch.setitem(LOSSES, "absolute", replace(LOSSES["bce"]))
    assert {loss: run_ids(loss) for loss in before} == before
    assert not set(run_ids("absolute")) & set(before["bce"])
    monkeypatch.setitem(LOSSES, "dice_bce", replace(LOSSES["dice_bce"], version=2))
    assert run_ids("bce") == before["bce"]
    assert not set(run_ids("dice_bce")) & set(before["dice_bce"])
    monkeypatch.setitem(OPTIMISERS, "adamw", replace(OPTIMISERS["adamw"], version=3))
    assert run_ids("bce") == before["bce"], "they use another optimiser"


def test_what_an_extension_registers_is_known_when_the_profile_is_checked(profile: Path) -> None:
    loaded = load(str(profile))
    assert loaded.recipe.loss == "focal" and loaded.settings("augmented").area == "gorkha"
    assert config.EXTENSIONS in os.environ and os.environ[config.EXTENSIONS] == "extension_example"
    study = lm.experiments.open_study(loaded, progress=False)
    labels = [label for entry in plan(study) for label in entry.experiments]
    assert labels.count("augmented") == 2 == len(plan(study, "augmented"))


@pytest.mark.slow
def test_tables_hold_the_eighth_network_the_metric_and_the_experiment(book: lm.Book) -> None:
    for number in (4, 5, 6, 7):
        table = book.table(number).reset_index("model")
        eighth = table[table["model"] == EIGHTH]
        assert len(eighth) and eighth.filter(like="published_").isna().all(axis=None), f"Table {number}"
        assert table["iou"].between(0, 1).all() and "published_iou" not in table
        saved = pd.read_csv(book.figures / f"table{number}.csv")
        assert {"iou", "published_f1"} <= set(saved) and EIGHTH in set(saved["model"])
    assert "IoU" in lm.tidy(book.table(5)) and ("Gorkha", "thin net") in lm.tidy(book.table(5)).index
    augmented = book.table("augmented")
    assert list(augmented.index) == ["unet", EIGHTH] and "iou" in augmented
    planned = pd.read_csv(pd.io.common.StringIO(lmhld("plan", config.workdir() / "extended.yaml", "--csv")))
    assert (planned["status"] == "done").all() and "augmented" in set(planned["experiments"])


@pytest.mark.slow
def test_the_eighth_network_maps_a_scene(book: lm.Book, tmp_path: Path) -> None:
    run = next(run for run in book.runs("single", "error") if run.spec.model == EIGHTH)
    scene = book.scenes()["gorkha"][0].image
    lmhld("map", scene, "--weights", run.folder / "weights.safetensors", "--out", tmp_path / "map",
          "--bands", "blue,green,red,nir", "-q")  # fmt: skip
    assert {"probability.tif", "map.json"} <= {path.name for path in (tmp_path / "map").iterdir()}


@pytest.fixture(scope="module")
def build(book: lm.Book) -> Path:
    lmhld("book", config.workdir() / "extended.yaml", "-q")
    return config.workdir() / "build" / book.name


@pytest.mark.slow
def test_the_chapters_show_the_eighth_network(book: lm.Book, build: Path) -> None:
    text = "".join(
        str(output.get("data", output.get("text")))
        for path in sorted(build.glob("[0-9]*.ipynb"))
        for cell in nbformat.read(path, as_version=4).cells
        for output in cell.get("outputs", [])
    )
    assert "thin net" in text and "IoU" in text
    pictures = {path.stem for path in book.figures.glob("*.png")}
    assert pictures and all((book.figures / f"{name}.png").stat().st_size for name in pictures)


@pytest.mark.slow
def test_records_show_the_same(book: lm.Book, build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "path", lambda profile: tmp_path / f"{profile}.zip")
    publish.publish_records(str(config.workdir() / "extended.yaml"))
    before, weights = tmp_path / "before", config.runs_dir()
    sources = [path for number in ("05", "08", "11") for path in chapters.chapters(number)]
    monkeypatch.setattr(chapters, "chapters", lambda *_: sources)
    book.figures.rename(before)
    weights.rename(tmp_path / "runs")
    try:
        store, missing = chapters.recorded_store(str(config.workdir() / "extended.yaml"))
        chapters.make(str(config.workdir() / "extended.yaml"), None, False, 2, store=store)
        assert not weights.exists() and not missing
    finally:
        (tmp_path / "runs").rename(weights)
    files = {path.name for path in book.figures.iterdir()}
    assert {"fig10_predictions.png", "fig16_maps.png", "unseen_scores.csv", "switches.csv"} <= files
    assert [name for name in files if (before / name).read_bytes() != (book.figures / name).read_bytes()] == []
