"""The store of runs: made once, adopted, set aside when damaged, the same whoever makes them."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from conftest import QUIET
from made import blobs, scene

from lmhld_nb import models, patches, processes, runs, sources, training
from lmhld_nb.config import Interrupted, UserError, runs_dir
from lmhld_nb.experiments import common as experiments
from lmhld_nb.experiments import profile as profiles
from lmhld_nb.patches.patch_sets import PatchSpec
from lmhld_nb.runs import runner
from lmhld_nb.training import weights as networks
from lmhld_nb.training.specs import RunSpec


@pytest.fixture
def specs(tiny: Path) -> list[RunSpec]:
    profile = profiles.load(str(tiny))
    return experiments.single(profile, sources.load("twin-smoke"))


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the runs trained in this process, as they are."""
    seen: list[str] = []
    original = runner.train

    def counted(spec: RunSpec, *rest: object, **options: object) -> object:
        seen.append(spec.run_id)
        return original(spec, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(runner, "train", counted)
    return seen


def impossible(spec: RunSpec) -> RunSpec:
    return spec.model_copy(update={"recipe": spec.recipe.model_copy(update={"lr": 1e30})})


def uncuttable(spec: RunSpec) -> RunSpec:
    part = spec.data[0].model_copy(update={"min_share": 1.0})
    return spec.model_copy(update={"data": (part,)})


def weights(run_id: str) -> dict[str, torch.Tensor]:
    stored = safetensors.torch.load_file(runs_dir() / run_id / "weights.safetensors")
    return {name: value.clone() for name, value in stored.items()}  # not a map of a file that changes


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_the_same_spec_is_made_once(specs: list[RunSpec], trainings: list[str]) -> None:
    assert [runs.status(spec) for spec in specs] == ["missing", "missing"]
    first = runner.ensure([specs[0], *specs, specs[1]], workers=1, execution=QUIET)
    assert trainings == [spec.run_id for spec in specs]
    assert [run.spec.run_id for run in first] == [specs[n].run_id for n in (0, 0, 1, 1)]
    again = runner.ensure(specs, execution=QUIET)
    assert len(trainings) == 2
    assert again[0].metrics == first[0].metrics and runs.status(specs[0]) == "done"
    assert len(again[0].history) == 3


def test_a_run_copied_from_elsewhere_is_adopted(
    specs: list[RunSpec], trainings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = runner.make(specs[0], execution=QUIET)
    store = tmp_path / "cluster"
    shutil.copytree(made.folder, store / specs[0].run_id)
    shutil.rmtree(runs_dir())
    assert runs.find(specs[0]) is None
    monkeypatch.setenv("LMHLD_RUNS", str(store))
    found = runner.make(specs[0], execution=QUIET)
    assert found.metrics == made.metrics and len(trainings) == 1
    assert found.model()(torch.zeros(1, 4, 32, 32)).shape == (1, 1, 32, 32)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("metrics.json", b"{"),
        ("metrics.json", b"[]"),
        ("metrics.json", b'{"run_id": "of another run"}'),
        ("weights.safetensors", b"\x10\0\0\0"),
        ("weights.safetensors", None),
        ("spec.json", b"{}"),
        ("spec.json", None),
        ("history.csv", None),
        ("history.csv", b"epoch,lr\n"),
    ],
)
def test_a_damaged_run_is_set_aside_and_remade(
    specs: list[RunSpec],
    trainings: list[str],
    capsys: pytest.CaptureFixture[str],
    file: str,
    content: bytes | None,
) -> None:
    spec = specs[0].model_copy(update={"recipe": specs[0].recipe.model_copy(update={"epochs": 1})})
    made = runner.make(spec, execution=QUIET)
    before = weights(spec.run_id)
    target = made.folder / file
    target.unlink() if content is None else target.write_bytes(content)
    # Who only looks moves nothing: the run may be on its way here, or being made.
    assert runs.status(spec) == "damaged" and runs.find(spec) is None and made.folder.is_dir()
    assert capsys.readouterr() == ("", "")
    runner.make(spec, execution=QUIET)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and str(made.folder) in said and "set aside as" in said
    assert (runs_dir() / "set-aside" / f"{spec.run_id}.0").is_dir()
    assert len(trainings) == 2 and same(before, weights(spec.run_id))


def test_weights_and_checkpoints_of_another_run_are_never_used(specs: list[RunSpec], tmp_path: Path) -> None:
    mine, other = specs
    clean = runner.make(mine, QUIET)
    expected = weights(mine.run_id)
    foreign = runner.make(other, QUIET)
    shutil.copy(foreign.folder / "weights.safetensors", clean.folder)
    assert runs.damage(mine) == "its weights are those of another run"
    runner.make(mine, QUIET)
    assert same(weights(mine.run_id), expected)
    # A begun run of another spec, copied under this one's name: same shapes, other place and weights.
    shutil.rmtree(runs_dir() / other.run_id)
    stop = other.model_copy(update={"recipe": other.recipe})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_validate", _interrupted_after(1, training._validate))
        with pytest.raises(Interrupted):
            training.train(stop, runs.patch_sets(stop), tmp_path / "begun", checkpointing)
    assert (tmp_path / "begun" / "checkpoint.safetensors").is_file()
    for with_spec in (True, False):
        shutil.rmtree(runs_dir() / mine.run_id)
        shutil.copytree(tmp_path / "begun", runs_dir() / mine.run_id)
        if with_spec:
            assert runs.status(mine) == "damaged" and runs.damage(mine) == "it holds another spec"
        else:
            (runs_dir() / mine.run_id / "spec.json").unlink()
        runner.make(mine, QUIET)
        assert same(weights(mine.run_id), expected)


checkpointing = QUIET.model_copy(update={"checkpoint_every": 1})


def _interrupted_after(epochs: int, original: Any) -> Any:
    """Let an epoch be validated, then send the signal that stops a training."""
    done = []

    def validate(*arguments: Any) -> Any:
        done.append(1)
        if len(done) > epochs:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments)

    return validate


def test_failing_runs_are_reported_and_the_others_are_the_same_whoever_makes_them(
    specs: list[RunSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []
    for workers in (1, 2):
        monkeypatch.setenv("LMHLD_RUNS", str(tmp_path / str(workers)))
        fails(specs, workers)
        results.append([(runner.make(spec).metrics["test"], weights(spec.run_id)) for spec in specs])
    for (test, one), (other, two) in zip(*results, strict=True):
        assert test == other and same(one, two)


def fails(specs: list[RunSpec], workers: int) -> None:
    bad, uncut = impossible(specs[0]), uncuttable(specs[0])
    with pytest.raises(UserError, match="2 of 4 runs failed") as caught:
        runner.ensure([uncut, bad, *specs], workers=workers, execution=QUIET)
    assert f"{bad.run_id} (unet emilia_romagna 32 px)" in str(caught.value) and "lower `lr`" in str(
        caught.value
    )
    assert f"{uncut.run_id} (unet emilia_romagna 32 px)" in str(
        caught.value
    ) and "no 32 px patch left" in str(caught.value)
    assert [runs.status(spec) for spec in specs] == ["done", "done"]
    assert (runs.status(bad), runs.status(uncut)) == ("failed", "failed")
    assert "lower `lr`" in runs.failure(bad) and "no 32 px patch left" in runs.failure(uncut)


def test_a_run_that_is_told_to_stop_stops_the_others_too(
    specs: list[RunSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []

    def stopped(spec: RunSpec, *_: object, **__: object) -> None:
        begun.append(spec.run_id)
        raise Interrupted("stopped in epoch 1")

    monkeypatch.setattr(runner, "train", stopped)
    with pytest.raises(Interrupted):
        runner.ensure(specs, workers=1, execution=QUIET)
    assert begun == [specs[0].run_id]


def child(script: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a Python process that runs ``script`` with a spec's JSON in ``spec``."""
    start = "import json, os, signal, sys\nfrom lmhld_nb import runner\nfrom lmhld_nb.training.specs import RunSpec\n"
    start += "from conftest import QUIET\n"
    start += "spec = RunSpec.model_validate_json(sys.argv[1])\n"
    return subprocess.Popen(
        [sys.executable, "-c", start + textwrap.dedent(script), *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parent,
    )  # fmt: skip


def test_failed_runs_leave_no_network_in_memory(
    specs: list[RunSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their errors are kept to be told at the end, and errors hold on to what was in use."""
    networks: list[weakref.ref[torch.nn.Module]] = []
    alive: list[int] = []
    build = models.build

    def remembered(*arguments: Any, **options: Any) -> torch.nn.Module:
        gc.collect()
        alive.append(sum(network() is not None for network in networks))
        made = build(*arguments, **options)
        networks.append(weakref.ref(made))
        return made

    monkeypatch.setattr(models, "build", remembered)
    recipe = specs[0].recipe.model_copy(update={"lr": 1e30})
    bad = [specs[0].model_copy(update={"recipe": recipe, "seed": seed}) for seed in range(3)]
    with pytest.raises(UserError, match="3 of 3 runs failed"):
        runner.ensure(bad, workers=1, execution=QUIET)
    assert alive == [0, 0, 0]


def test_two_processes_train_once(specs: list[RunSpec]) -> None:
    script = """
        real = runner.train
        runner.train = lambda *a, **k: (print("trained"), real(*a, **k))[1]
        print(runner.make(spec, execution=QUIET).metrics["test"]["f1"])
    """
    both = [child(script, specs[0].model_dump_json()) for _ in range(2)]
    said = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    lines = sorted(out.split() for out, _ in said)
    assert sorted(map(len, lines)) == [1, 2]
    assert lines[0][-1] == lines[1][-1]


def test_a_killed_worker_gives_a_clear_error(specs: list[RunSpec], monkeypatch: pytest.MonkeyPatch) -> None:
    for spec in specs:
        runs.patch_sets(spec, progress=False)
    monkeypatch.setattr(processes, "_worker_starts", _kill_yourself)
    with pytest.raises(UserError, match=r"its process was killed .*use fewer `--workers`"):
        runner.ensure(specs, workers=2, execution=QUIET)


def _kill_yourself(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


_killed_once = "LMHLD_TEST_KILLED_ONCE"


def test_after_a_kill_it_goes_on_with_fewer_at_a_time(
    specs: list[RunSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(processes, "_worker_starts", _kill_the_first)
    monkeypatch.setenv(_killed_once, str(tmp_path / "mark"))
    made = runner.ensure(specs, workers=2, execution=QUIET)
    assert [run.spec for run in made] == specs
    assert "its process was killed" not in capsys.readouterr().out
    assert (tmp_path / "mark").exists()


def _kill_the_first() -> None:
    try:
        Path(os.environ[_killed_once]).touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_failed_run_is_tried_again_and_forgets_its_failure(
    specs: list[RunSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, tries = runner.train, []

    def shaky(*arguments: Any) -> object:
        tries.append(arguments[0].run_id)
        if len(tries) < 3:
            raise OSError("the disk was away")
        return real(*arguments)

    monkeypatch.setattr(runner, "train", shaky)
    with pytest.raises(UserError, match=r"1 of 1 runs failed.*the disk was away"):
        runner.ensure(specs[:1], workers=1, execution=QUIET)
    assert runs.status(specs[0]) == "failed" and "the disk was away" in runs.failure(specs[0])
    (run,) = runner.ensure(specs[:1], workers=1, execution=QUIET, retries=1)
    assert len(tries) == 3 and runs.status(specs[0]) == "done" and runs.failure(specs[0]) == ""
    assert not (run.folder / runs.FAILURE).exists()


def test_what_another_runner_has_begun_is_left_to_it_while_there_is_other_work(
    specs: list[RunSpec], trainings: list[str]
) -> None:
    first, second = specs
    with runner._locked(first):
        with pytest.raises(runner.Busy):
            runner.make(first, QUIET, wait=False)
        thread = threading.Thread(target=runner.ensure, args=(specs, 1, QUIET))
        thread.start()
        until = time.monotonic() + 60
        while runs.status(second) != "done" and time.monotonic() < until:
            time.sleep(0.02)
        assert trainings == [second.run_id]
    thread.join(60)
    assert trainings == [second.run_id, first.run_id] and runs.status(first) == "done"


def test_rates_come_from_every_whole_run_of_the_store(specs: list[RunSpec]) -> None:
    assert runs.rates().empty
    run = runner.make(specs[0], QUIET)
    (runs_dir() / "damaged").mkdir()
    (runs_dir() / "damaged" / "metrics.json").write_text("{")
    (row,) = runs.rates().to_dict("records")
    assert row == {
        "model": "unet", "width": "2", "device": run.metrics["device"], "patch_size": 32,
        "patches_per_second": run.metrics["patches_per_second"],
    }  # fmt: skip


def test_a_signal_in_the_last_moments_of_a_run_stops_the_runner(
    specs: list[RunSpec], trainings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = training._finish

    def late(*arguments: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments)

    monkeypatch.setattr(training, "_finish", late)
    with pytest.raises(Interrupted, match="finished when the signal came"):
        runner.ensure(specs, workers=1, execution=QUIET)
    assert len(trainings) == 1 and runs.status(next(s for s in specs if s.run_id == trainings[0])) == "done"


def test_why_a_run_failed_is_known_until_it_succeeds(
    specs: list[RunSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = impossible(specs[0])
    with pytest.raises(UserError):
        runner.ensure([bad], workers=1, execution=QUIET)
    assert "lower `lr`" in runs.failure(bad)
    # The next command is stopped before it comes to that run.
    monkeypatch.setattr(runner, "train", lambda *_: (_ for _ in ()).throw(Interrupted("stopped")))
    with pytest.raises(Interrupted):
        runner.ensure([bad, specs[1]], workers=1, execution=QUIET)
    assert runs.status(bad) == "failed" and "lower `lr`" in runs.failure(bad)


def test_an_unforeseen_error_in_cutting_does_not_cost_the_other_runs(
    specs: list[RunSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = runs.patch_set
    bad = specs[0].data[0]

    def broken(part: PatchSpec, progress: bool = True) -> Any:
        if part == bad:
            raise ZeroDivisionError("a bug")
        return original(part, progress)

    monkeypatch.setattr(runs, "patch_set", broken)
    with pytest.raises(UserError, match=r"1 of 2 runs failed.*ZeroDivisionError\('a bug'\)"):
        runner.ensure(specs, workers=1, execution=QUIET)
    assert [runs.status(spec) for spec in specs] == ["failed", "done"]


def test_runs_are_picked_in_the_order_of_their_specs(specs: list[RunSpec]) -> None:
    made = [runner.make(spec, QUIET) for spec in specs[:2]]
    absent = specs[0].model_copy(update={"seed": 99})
    assert runs.those_of([specs[1], absent, specs[0]], made) == made[::-1]


def test_a_failed_score_of_the_whole_area_is_told(
    specs: list[RunSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    runner.make(specs[0], QUIET)

    def broken(*_: object, **__: object) -> None:
        raise UserError("a.tif: damaged")

    monkeypatch.setattr(runs, "scored_windows", broken)
    with pytest.raises(UserError, match=r"a\.tif: damaged"):
        runner.ensure(specs[:1], 1, QUIET, with_whole_area={specs[0].run_id})
    assert runs.status(specs[0], with_whole_area=True) == "failed" and runs.status(specs[0]) == "done"
    assert runs.failure(specs[0]) == "a.tif: damaged"


def test_patches_are_cut_once_however_many_runs_want_them(
    specs: list[RunSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts = []
    original = runs.patch_set
    monkeypatch.setattr(
        runs, "patch_set", lambda part, progress=True: (cuts.append(part), original(part, progress))[1]
    )
    bad = uncuttable(specs[0])
    several = [bad.model_copy(update={"seed": seed}) for seed in range(3)]
    mixed = specs[0].model_copy(update={"data": (*bad.data, *specs[1].data)})
    with pytest.raises(UserError, match="4 of 4 runs failed") as caught:
        runner.ensure([*several, mixed], workers=1, execution=QUIET)
    assert len(cuts) == len(set(cuts)) == 2
    assert (
        str(caught.value).count("no 32 px patch left") == 2
    )  # told together, and once with the way out of a mix
    assert str(caught.value).count("leave the area out (key `experiment_3.areas`)") == 1


def test_a_store_that_cannot_be_written_is_told(
    specs: list[RunSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LMHLD_RUNS", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"file: cannot be written \(file exists\)"):
        runner.make(specs[0], execution=QUIET)


def test_a_full_disk_is_told(specs: list[RunSpec], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(
        UserError, match=r"weights\.safetensors: cannot be written \(.*No space left on device"
    ):
        runner.make(specs[0], execution=QUIET)
    assert runs.status(specs[0]) == "failed"
    assert "No space left on device" in runs.failure(specs[0])


def test_a_run_planned_on_other_data_is_refused(specs: list[RunSpec]) -> None:
    part = specs[0].data[0].model_copy(update={"fingerprint": "0" * 16})
    with pytest.raises(UserError, match="plan again with `lmhld plan`"):
        runner.make(specs[0].model_copy(update={"data": (part,)}), execution=QUIET)


def test_what_is_no_network_is_told(specs: list[RunSpec], tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(UserError, match="no such file"):
        networks.load(path)
    for content in (b"", b"\x08\0\0\0\0\0\0\0{}      ", b"PK\x03\x04"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"w\.safetensors: not a network of this book"):
            networks.load(path)
    with pytest.raises(UserError, match="not a network of this book"):
        networks.load(tmp_path)
    for card in ("[]", "{}", json.dumps({"model": "unet", "bands": ["red"], "width": 2})):
        safetensors.torch.save_file({"x": torch.zeros(1)}, path, metadata={"card": card})
        with pytest.raises(UserError, match="not a network of this book") as caught:
            networks.load(path)
        assert "\n" not in str(caught.value)


def test_a_refused_cut_can_be_repeated_while_its_error_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A notebook keeps the last error: the lock of the patches must not live as long as it does.
    monkeypatch.setenv("LMHLD_DATA", str(tmp_path / "data"))
    spec = PatchSpec(dataset="made", fingerprint="0" * 16, area="made", size=32)
    with pytest.raises(UserError) as caught:
        patches.cut(spec, [], progress=False)
    began = time.perf_counter()
    script = "import sys; from filelock import FileLock; FileLock(sys.argv[1], timeout=0).acquire()"
    lock = spec.folder.parent / f".{spec.folder.name}.lock"
    assert subprocess.run([sys.executable, "-c", script, str(lock)], check=False).returncode == 0
    assert len(patches.cut(spec, [scene(tmp_path, blobs(256, 256, 40))], progress=False).index) > 0
    assert caught.value is not None and time.perf_counter() - began < 30
