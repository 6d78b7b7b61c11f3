"""Exports: one file, taken anywhere, maps as the run it came from."""

import itertools
import json
import shutil
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import safetensors
from conftest import QUIET
from made import FULL_DISK, blobs, image_of, refuses, write_tif
from mapped import draw, read

from lmhld_nb import mapping, runs, sources
from lmhld_nb.config import runs_dir
from lmhld_nb.mapping import export as exports
from lmhld_nb.scenes.scene import BANDS
from lmhld_nb.training.specs import RunSpec


@pytest.fixture
def spec(specs: list[RunSpec]) -> RunSpec:
    return runs.make_run(specs[0], QUIET).spec


def test_a_copied_file_alone_maps_as_the_run(spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = mapping.scene_of_file(write_tif(tmp_path / "a.tif", image_of(blobs(90, 100, 5))), BANDS)
    weights, card = exports.export(spec.run_id, tmp_path / "export" / "net.safetensors")
    assert (weights.name, card.name) == ("net.safetensors", "net.json")
    draw(scene, runs_dir() / spec.run_id / "weights.safetensors", tmp_path / "run", resolution="trained")
    empty = tmp_path / "empty"
    empty.mkdir()
    shutil.copy(weights, empty)
    for name in ("export", "work"):
        shutil.rmtree(tmp_path / name)
    for name in ("LMHLD_WORKDIR", "LMHLD_DATA", "LMHLD_RUNS"):
        monkeypatch.setenv(name, str(empty))
    monkeypatch.chdir(empty)
    report = draw(scene, Path("net.safetensors"), Path("out"), resolution="trained")
    assert np.array_equal(*(read(folder / "probability.tif") for folder in (empty / "out", tmp_path / "run")))
    assert report["run_id"] == spec.run_id and report["resampled"]


def test_the_card_holds_what_a_mapper_needs(spec: RunSpec, tmp_path: Path) -> None:
    weights, card_file = exports.export(spec.run_id, tmp_path / "net.safetensors")
    card = json.loads(card_file.read_text())
    with safetensors.safe_open(weights, framework="pt") as file:
        assert json.loads(file.metadata()["card"]) == card
    run = runs.find(spec)
    (data,) = spec.data
    area = card["areas"][data.area]
    scene = sources.load(data.dataset).scenes_of(data.area)[0]
    assert (card["model"], card["width"], card["run_id"]) == (spec.model, spec.width, spec.run_id)
    assert card["bands"] == list(BANDS) and card["precision"] == run.metrics["precision"]
    assert area["patch_size"] == data.size and area["resolution_m"] == scene.resolution_m
    assert (area["dataset"], area["fingerprint"]) == (data.dataset, data.fingerprint)
    assert card["test"] == run.metrics["test"] and area["test"] == run.metrics["areas"][data.area]
    assert len(area["mean"]) == len(area["std"]) == 4 and "torch" in card["trained_with"]


def test_neither_other_files_nor_the_store_are_exported_over(spec, tmp_path):
    for name, text in itertools.product(("net.safetensors", "net.json"), ("precious", "{}", "[]", "[" * 100_000)):
        path, out = tmp_path / name, tmp_path / "net.safetensors"
        path.write_text(text)
        refuses(rf"{name}: exists and is not an export of this book; .*--force$", exports.export, spec.run_id, out)
        assert path.read_text() == text and list(tmp_path.glob("net.*")) == [path]
        exports.export(spec.run_id, out, force=True)
        exports.export(spec.run_id, out)  # over an earlier export
        out.unlink()
        out.with_suffix(".json").unlink()
    folder, name, hard_link = runs_dir() / spec.run_id, "weights.safetensors", tmp_path / "link.safetensors"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (tmp_path / "link").symlink_to(folder)
    hard_link.hardlink_to(folder / name)
    stored = [folder / other for other in (name, "metrics.safetensors", "new.safetensors")]
    for out in (*stored, folder / ".." / folder.name / name, tmp_path / "link" / name, hard_link):
        refuses("is in the run store; choose another file", exports.export, spec.run_id, out, force=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_what_cannot_be_exported_is_refused(spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "new" / "net.safetensors"
    (tmp_path / "file").write_text("")
    refuses(r"nosuch: no finished run \(spec\.json is missing\); `lmhld plan", exports.export, "nosuch", out)
    refuses(r"net\.pt: must end in \.safetensors, or \.onnx", exports.export, spec.run_id, out.with_suffix(".pt"))
    refuses("cannot be written", exports.export, spec.run_id, tmp_path / "file" / "net.safetensors")
    monkeypatch.setattr(safetensors.torch, "save_file", Mock(side_effect=FULL_DISK))
    refuses(r"net\.safetensors: cannot be written \(.*No space left", exports.export, spec.run_id, out)
    assert list((tmp_path / "new").iterdir()) == []
    for name, text in (("spec", "{}"), ("metrics", "{")):
        (runs_dir() / spec.run_id / f"{name}.json").write_text(text)
        refuses(f"{spec.run_id}: damaged .*; make the run again", exports.export, spec.run_id, out)
