"""Damage that leaves files readable: noticed when they are first opened, named in one line, and mended where it can."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import QUIET
from hypothesis import given
from hypothesis import strategies as st
from made import refuses

from lmhld_nb import patches, runs, seals, sources
from lmhld_nb.config import Interrupted
from lmhld_nb.mapping.export import export
from lmhld_nb.training import weights


@pytest.fixture
def spec(specs, twin_data, tmp_path, monkeypatch):
    shutil.copytree(twin_data, tmp_path / "data")
    monkeypatch.setenv("LMHLD_DATA", str(tmp_path / "data"))
    return specs[0].model_copy(update={"recipe": specs[0].recipe.model_copy(update={"epochs": 1})})


def edit(path: Path, old: bytes = b"", new: bytes = b"") -> None:
    """Replace text, or turn round 64 bytes from the middle on."""
    content = path.read_bytes()
    middle = len(content) // 2
    turned = bytes(255 - byte for byte in content[middle : middle + 64])
    changed = content.replace(old, new, 1) if old else content[:middle] + turned + content[middle + 64 :]
    assert changed != content
    path.write_bytes(changed)


@given(
    st.dictionaries(st.text(), st.integers() | st.text() | st.floats(allow_nan=True)), st.text(min_size=1), st.text()
)
def test_a_record_is_its_own_seal(content, key, value):
    record = seals.sealed(content, Path(), ())
    assert seals.damage(record, Path()) == seals.damage(json.loads(json.dumps(record)), Path()) == ""
    if record.get(key) != value:
        assert seals.damage({**record, key: value}, Path())
    assert seals.damage({name: record[name] for name in record if name != "seal"}, Path()) == "is not sealed"


@pytest.mark.parametrize(("file", "old", "new"), [
    ("metrics.json", b'"best_epoch": 1', b'"best_epoch": 2'), ("metrics.json", b'"seal"', b'"sea1"'),
    ("test_patches.csv", b",last,", b",own,"), ("history.csv", b"0.", b"0.9"),
    ("environment.json", b'"torch"', b'"t0rch"'),
])  # fmt: skip
def test_numbers_changed_in_a_run_are_noticed_and_made_again(spec, trainings, capsys, file, old, new):
    run = runs.make_run(spec, QUIET)
    edit(run.folder / file, old, new)
    assert "seal is broken" in runs.damage(spec) and runs.find(spec) is None
    again = runs.make_run(spec, QUIET)
    assert "set aside as" in capsys.readouterr().err and len(trainings) == 2
    assert again.metrics["weights"] == run.metrics["weights"]


def test_changed_weights_are_not_used(spec, tmp_path):
    run = runs.make_run(spec, QUIET)
    export(spec.run_id, tmp_path / "net.safetensors")
    for path in (run.folder / "weights.safetensors", tmp_path / "net.safetensors"):
        edit(path)
        refuses(f"{path}: not a network of this book .*damaged", weights.load, path)
    refuses(f"cannot be used .*; make it again with `lmhld train PROFILE {spec.run_id}`", run.model)
    assert runs.status(spec) == "missing" and list((run.folder.parent / "set-aside").iterdir())


def test_a_changed_checkpoint_does_not_go_on(spec, monkeypatch, capsys):
    whole = runs.make_run(spec, QUIET)
    expected = whole.metrics["weights"]
    shutil.rmtree(whole.folder)
    save = weights.save_checkpoint

    def stop(path, *arguments):
        save(path, *arguments)
        edit(path)
        raise Interrupted("stopped")

    longer = spec.model_copy(update={"recipe": spec.recipe.model_copy(update={"epochs": 2})})
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(weights, "save_checkpoint", stop)
        runs.make_run(longer, QUIET.model_copy(update={"checkpoint_every": 1}))
    runs.make_run(longer, QUIET)
    assert "checkpoint.safetensors: not usable" in capsys.readouterr().err
    assert runs.make_run(spec, QUIET).metrics["weights"] == expected


@pytest.mark.parametrize("file", ["images.npy", "masks.npy", "index.csv", "patchset.json"])
def test_changed_patches_are_cut_again(spec, capsys, file):
    (patch_set,) = runs.patch_sets(spec, False)
    before = patch_set.images[:].copy(), patch_set.index
    edit(patch_set.folder / file)
    refuses("damaged .*`lmhld run` cuts these patches again", patches.load, spec.data[0])
    (again,) = runs.patch_sets(spec, False)
    assert "damaged" in capsys.readouterr().err
    assert np.array_equal(before[0], again.images) and before[1].equals(again.index)


def test_a_changed_record_of_a_data_set_is_made_again(spec):
    name = spec.data[0].dataset
    dataset = sources.load(name)
    record = dataset.scenes[0].image.parents[1] / "dataset.json"
    for change in (lambda: edit(record, b'"red"', b'"rod"'), lambda: record.write_text('{"format":')):
        change()
        refuses("is not prepared", sources.load, name)
        assert sources.get(name, progress=False) == dataset
