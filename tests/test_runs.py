"""The store of runs: made once, adopted, set aside when damaged, the same whoever makes them."""

import shutil
import threading
import time
from contextlib import ExitStack
from unittest.mock import Mock

import marks
import pandas as pd
import pytest
import safetensors.torch
from conftest import QUIET
from made import FULL_DISK, refuses

from lmhld_nb import processes, runs
from lmhld_nb.config import Interrupted, UserError, runs_dir
from lmhld_nb.patches.patch_sets import PatchSpec
from lmhld_nb.runs import runner, store
from lmhld_nb.training import weights as networks
from lmhld_nb.training.hardware import Execution


def changed(spec, **recipe: object):
    return spec.model_copy(update={"recipe": spec.recipe.model_copy(update=recipe)})


def uncuttable(spec):
    return spec.model_copy(update={"data": (spec.data[0].model_copy(update={"min_share": 1.0}),)})


def weights(run_id):
    stored = safetensors.torch.load_file(runs_dir() / run_id / "weights.safetensors")
    return {name: value.numpy().tobytes() for name, value in stored.items()}


@pytest.mark.parametrize(("f1", "converged"), [
    ([0.1 * n for n in range(8)], False),  # still rising
    ([*[0.1 * n for n in range(6)], 0.5, 0.504], True),
    ([0.5] * 6 + [0.5, 0.506], False),
    ([0.5] * 9 + [0.52, 0.48, 0.51], True),  # up and down
    ([0.5] * 4, False),  # a quarter of one epoch says nothing
])  # fmt: skip
def test_a_run_has_converged_where_the_last_quarter_of_its_validation_is_flat(tmp_path, f1, converged):
    pd.DataFrame({"epoch": range(1, len(f1) + 1), "val_f1": f1}).to_csv(tmp_path / "history.csv", index=False)
    assert runs.Run(None, tmp_path, {}).converged is converged


def test_the_same_spec_is_made_once(specs, trainings):
    assert [runs.status(spec) for spec in specs] == ["missing", "missing"] and store.rates().empty
    ranks = {specs[0].run_id: 2, specs[1].run_id: 1}
    first = runs.make_runs([specs[0], *specs, specs[1]], workers=1, execution=QUIET, ranks=ranks)
    assert trainings == [specs[1].run_id, specs[0].run_id]
    assert [run.spec.run_id for run in first] == [specs[n].run_id for n in (0, 0, 1, 1)]
    again = runs.make_runs(specs, execution=QUIET)
    assert len(trainings) == 2 and len(again[0].history) == 3
    assert again[0].metrics == first[0].metrics and runs.status(specs[0]) == "done"
    assert runs.select([specs[1], specs[0].model_copy(update={"seed": 99}), specs[0]], again) == again[::-1]
    # Rates come from every whole run of the store.
    (again[1].folder / "metrics.json").write_text("{")
    (row,) = store.rates().to_dict("records")
    expected = {"model": "unet", "width": "2", "patch_size": 32}
    assert row == expected | {key: again[0].metrics[key] for key in ("device", "patches_per_second")}


@pytest.mark.parametrize(("file", "content"), [
    *[("metrics.json", content) for content in (b"{", b"[]", b'{"run_id": "of another run"}')],
    *[("weights.safetensors", content) for content in (b"\x10\0\0\0", None)],
    *[("spec.json", content) for content in (b"{}", None)],
    *[("history.csv", content) for content in (b"epoch,lr\n", None)],
])  # fmt: skip
def test_a_damaged_run_is_set_aside_and_remade(specs, trainings, capsys, file, content):
    spec = changed(specs[0], epochs=1)
    folder = runs.make_run(spec, QUIET).folder
    before = weights(spec.run_id)
    (folder / file).unlink() if content is None else (folder / file).write_bytes(content)
    # Who only looks moves nothing: the run may be on its way here, or being made.
    assert runs.status(spec) == "damaged" and runs.find(spec) is None and folder.is_dir()
    assert capsys.readouterr() == ("", "")
    runs.make_run(spec, QUIET)
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and str(folder) in message and "set aside as" in message
    assert (runs_dir() / "set-aside" / f"{spec.run_id}.0").is_dir()
    assert len(trainings) == 2 and before == weights(spec.run_id)


@pytest.mark.parametrize("file", ["metrics.json", "weights.safetensors", "spec.json", "history.csv"])
def test_an_unreadable_run_is_neither_missing_nor_fatal(specs, trainings, file):
    spec, other = (changed(spec, epochs=1) for spec in specs)
    path = runs.make_run(spec, QUIET).folder / file
    path.unlink()
    path.mkdir()
    message = rf"{path}: cannot be read \(is a directory\)"
    for look in (runs.find, runs.status, runs.damage, lambda spec: runs.make_run(spec, QUIET)):
        refuses(f"^{message}", look, spec)
    says = f"1 of 2 runs failed: {spec.run_id} .*: {message}"
    refuses(says, runs.make_runs, [spec, other], workers=1, execution=QUIET)
    assert trainings == [spec.run_id, other.run_id]
    assert path.is_dir() and not (runs_dir() / "set-aside").exists()


def test_weights_and_checkpoints_of_others_are_not_used(specs, monkeypatch):
    def stop(*arguments):
        save_checkpoint(*arguments)
        raise Interrupted("stopped")

    mine, other = (changed(spec, epochs=1) for spec in specs)
    folder = runs.make_run(mine, QUIET).folder
    expected = weights(mine.run_id)
    shutil.copy(runs.make_run(other, QUIET).folder / "weights.safetensors", folder)
    assert runs.damage(mine) == "its weights are those of another run"
    runs.make_run(mine, QUIET)
    assert weights(mine.run_id) == expected
    # A begun run of another spec, copied under this one's name: same shapes, other area and weights.
    save_checkpoint = networks.save_checkpoint
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(networks, "save_checkpoint", stop)
        runs.make_run(specs[1], QUIET.model_copy(update={"checkpoint_every": 1}))
    assert runs.status(specs[1]) == "begun"
    for with_spec in (True, False):
        shutil.rmtree(folder)
        shutil.copytree(runs_dir() / specs[1].run_id, folder)
        if with_spec:
            assert runs.status(mine) == "damaged" and runs.damage(mine) == "it holds another spec"
        else:
            (folder / "spec.json").unlink()
        runs.make_run(mine, QUIET)
        assert weights(mine.run_id) == expected


def test_a_full_disk_and_other_data_than_planned_give_one_line(specs, tmp_path, monkeypatch):
    patch_spec = specs[0].data[0].model_copy(update={"fingerprint": "0" * 16})
    refuses("plan again with `lmhld plan`", runs.make_run, specs[0].model_copy(update={"data": (patch_spec,)}), QUIET)
    with monkeypatch.context() as patch:
        patch.setattr(safetensors.torch, "save_file", Mock(side_effect=FULL_DISK))
        refuses(r"weights\.safetensors: cannot be written \(.*No space left on device", runs.make_run, specs[0], QUIET)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LMHLD_RUNS", str(tmp_path / "file"))
    refuses(r"file: cannot be written \(file exists\)", runs.make_run, specs[0], QUIET)


def test_failing_runs_are_reported_and_the_others_are_the_same_whoever_makes_them(specs, tmp_path, monkeypatch):
    bad, uncut = changed(specs[0], lr=1e30), uncuttable(specs[0])
    results = []
    for workers in (1, 2):
        monkeypatch.setenv("LMHLD_RUNS", str(tmp_path / str(workers)))
        if workers > 1:  # long cutting is done by others, too
            monkeypatch.setattr(runner, "PATIENCE", 0)
            monkeypatch.setattr(store, "patch_set", lambda *_: pytest.fail("cut here"))
        said = refuses("2 of 4 runs failed", runs.make_runs, [uncut, bad, *specs], workers=workers, execution=QUIET)
        for spec, message in ((bad, "lower `lr`"), (uncut, "no 32 px patch left")):
            assert f"{spec.run_id} (unet emilia_romagna 32 px)" in said
            assert message in said
        assert [runs.status(spec) for spec in (*specs, bad, uncut)] == ["done", "done", "missing", "missing"]
        results.append([(runs.make_run(spec, QUIET).metrics["test"], weights(spec.run_id)) for spec in specs])
    assert results[0] == results[1]


def test_an_interruption_stops_the_others_and_a_failed_score_is_reported(specs, monkeypatch):
    errors: list[BaseException] = [OSError("the disk was away"), Interrupted("stopped in epoch 1")]
    with monkeypatch.context() as patch:
        patch.setattr(runner, "train", Mock(side_effect=errors))
        refuses(r"1 of 1 runs failed.*the disk was away", runs.make_runs, specs[:1], workers=1, execution=QUIET)
        with pytest.raises(Interrupted):  # a third call of `train` would be StopIteration
            runs.make_runs(specs, workers=1, execution=QUIET)
    runs.make_runs(specs[:1], workers=1, execution=QUIET)
    assert [runs.status(spec) for spec in specs] == ["done", "missing"]
    runs.make_run(specs[0], QUIET)
    monkeypatch.setattr(store, "score_whole_area", Mock(side_effect=UserError("a.tif: damaged")))
    refuses(r"a\.tif: damaged", runs.make_runs, specs[:1], 1, QUIET, whole_area={specs[0].run_id})
    assert runs.status(specs[0], whole_area=True) == "unscored" and runs.status(specs[0]) == "done"


def test_what_another_runner_has_begun_waits_while_there_is_work(specs, trainings):
    (first, second), end = specs, time.monotonic() + 90
    with store.lock(first.run_id):
        with pytest.raises(store.Busy):
            runs.make_run(first, QUIET, wait=False)
        thread = threading.Thread(target=runs.make_runs, args=(specs, 1, QUIET), daemon=True)
        thread.start()
        while runs.status(second) != "done" and time.monotonic() < end:
            time.sleep(0.02)
        assert trainings == [second.run_id]
    thread.join(60)
    assert trainings == [second.run_id, first.run_id] and runs.status(first) == "done"


def test_after_a_kill_it_goes_on_with_fewer_at_a_time(specs, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(marks.FOLDER, str(tmp_path))
    monkeypatch.setattr(processes, "_prepare_worker", marks.kill_first_worker)
    assert [run.spec for run in runs.make_runs(specs, workers=2, execution=QUIET)] == specs
    assert "was killed (out of memory?); continuing with 1 at a time" in capsys.readouterr().err
    monkeypatch.setattr(processes, "_prepare_worker", marks.kill_worker)
    others = [changed(spec, epochs=1) for spec in specs]
    says = "2 of 2 runs failed.*its process was killed .*use fewer `--workers`"
    refuses(says, runs.make_runs, others, workers=2, execution=QUIET)


def test_patches_are_cut_once_however_many_need_them(specs, monkeypatch):
    def broken(spec, progress=True):
        cut.append(spec)
        if spec == specs[1].data[0]:
            raise ZeroDivisionError("a bug")
        return original(spec, progress)

    cut, original = list[PatchSpec](), store.patch_set
    monkeypatch.setattr(store, "patch_set", broken)
    bad = uncuttable(specs[0])
    several = [bad.model_copy(update={"seed": seed}) for seed in range(3)]
    mixed = specs[0].model_copy(update={"data": (*bad.data, *specs[0].data)})
    says = r"5 of 6 runs failed.*ZeroDivisionError\('a bug'\)"
    said = refuses(says, runs.make_runs, [*several, mixed, *specs], workers=1, execution=QUIET)
    assert cut == [*bad.data, *specs[0].data, *specs[1].data, *specs[0].data]  # the last for the training
    assert [runs.status(spec) for spec in specs] == ["done", "missing"]
    # One reason for the three together, and once with the way out of a mix.
    assert (said.count("no 32 px patch left"), said.count("; or leave the area out")) == (2, 1)


ALL = ["cuda:0", "cuda:1", "cuda:2"]


def taken(count: int, execution: Execution | None = None) -> list[str]:
    with ExitStack() as stack:
        return [stack.enter_context(runner.gpu_slot(execution or Execution())).device for _ in range(count)]


def test_each_run_gets_a_gpu_of_its_own_and_a_named_device_is_not_locked(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "choose_device", lambda device: "cuda" if device == "auto" else device)
    monkeypatch.setattr(runner.torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(runner, "WAIT", 0.001)
    monkeypatch.setenv("LMHLD_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert taken(3) == ALL and runner.gpu_room(Execution()) == 3
    with pytest.raises(ValueError), runner.gpu_slot(Execution()):
        raise ValueError
    assert taken(3) == ALL
    # The locks lie where only who may make runs can take them.
    assert [path.name[:5] for path in (tmp_path / "runs").iterdir()] == [".gpu-"] * 3
    shared = Execution(runs_per_gpu=2)
    assert taken(6, shared) == ALL * 2 and runner.gpu_room(shared) == 6  # empty ones come before shared ones
    for device in ("cpu", "cuda:1"):
        assert taken(2, Execution(device=device)) == [device] * 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")  # more than there are
    assert taken(3) == ALL and runner.gpu_room(Execution()) == 3
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")  # that of a batch job, which no other has
    assert taken(1) == ["auto"]
