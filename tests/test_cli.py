"""The command: help, one-line errors, and a run that may be interrupted at any moment."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
import rasterio.windows
import safetensors.torch
import torch
import typer
from conftest import QUIET, TINY
from made import blobs, image_of, write_tif
from typer.testing import CliRunner

from lmhld_nb import cli, config, runs, sources
from lmhld_nb.experiments import common as experiments
from lmhld_nb.experiments import profile as profiles
from lmhld_nb.training.specs import RunSpec

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """Run the command in this process; gives exit code, stdout and stderr."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # SIGTERM stays pytest's

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lmhld", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main()
        said = capfd.readouterr()
        return int(left.value.code or 0), said.out, said.err

    return run


def commands() -> list[list[str]]:
    group = typer.main.get_command(cli.app)
    found: list[list[str]] = [[]]
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        found.append([name])
        found += [[name, inner] for inner in getattr(command, "commands", {})]
    return found


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_help_says_what_and_mentions_every_option(command: list[str]) -> None:
    shown = CliRunner().invoke(cli.app, [*command, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert shown.exit_code == 0
    inner = typer.main.get_command(cli.app)
    for name in command:
        inner = inner.commands[name]  # type: ignore[attr-defined]
    for option in inner.params:
        names = [name for name in option.opts if name.startswith("-")] or option.opts
        line = next((line for line in shown.output.splitlines() if names[0] in line.lower()), None)
        assert line is not None, f"{names[0]} is missing"
        assert re.search(r"[a-z]{3,} [a-z`]+", line.replace(names[0], "")), (
            f"{names[0]} is not explained: {line}"
        )
    assert inner.help


def test_the_design_s_commands_are_there() -> None:
    there = {" ".join(command) for command in commands()}
    assert there >= {
        "data list", "data get", "data check", "plan", "run", "train", "book", "map", "doctor", "kernel", "site",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("plan {renamed}", "renamed.yaml: key 'name' = 'tiny': write the file's own name, 'renamed'"),
        ("plan nosuch", "profile 'nosuch': unknown; choose one of "),
        ("plan {bad}", "bad.yaml: unknown key 'recipe.epoch'; remove it"),
        ("plan {text}", "text.yaml: key 'recipe.lr' = '1e-3'"),
        ("plan {elsewhere}", "data set 'nosuch' is not in the catalogue; choose from"),
        ("plan {unprepared}", "run `lmhld data get hokkaido`"),
        ("plan {area}", "no area 'atlantis' in 'twin-smoke'; it has rio,"),
        ("plan {sizes}", "key 'patches.sizes': no area 'atlantis' in 'twin-smoke'; it has rio,"),
        ("plan {tiny} --experiment 99", "experiment 99: unknown; choose from 1, 2, 3, 4, 5, recipe"),
        ("run {tiny} --workers 0", "'--workers'"),
        ("run {tiny} --device abacus", "device 'abacus': unknown; choose auto, cpu or cuda"),
        ("train {tiny} 0123456789abcdef", "run '0123456789abcdef': not in profile 'tiny'; `lmhld plan"),
        ("data get nosuch", "data set 'nosuch' is not in the catalogue"),
        ("data get hokkaido", "lmhld data get hokkaido --from FOLDER"),
        ("data check {gone}", "gone: no such file or folder"),
        ("book {tiny} --chapter 99", "chapter '99': unknown; choose from 00,"),
        ("book nosuch", "profile 'nosuch': unknown"),
        ("map {scene} --out {out} --run x --bands blue,green,red,nir", "lmhld plan"),
        ("map {scene} --out {out}", "give either --run RUN_ID or --weights FILE"),
        ("map {scene} --out {out} --run x --weights y", "give either --run RUN_ID or --weights FILE"),
        (
            "map {scene} --out {out} --run x",
            "band order unknown (4 bands without names); give it, e.g. --bands",
        ),
        ("map {gone} --out {out} --run x", "gone: no such file"),
        ("map {tiny} --out {out} --run x", "tiny.yaml: cannot be read as an image"),
        ("map {folder} --out {out} --run x", "holds no image; give a folder of .tif,"),
        ("map {scene} {scene} --out {out} --run x", "a.tif: is named twice"),
        ("map {scene} --out {out} --run x --bands red,green", "a.tif: 4 bands, but 2 are named (red, green)"),
        ("map {scene} --out {out} --weights {tiny} --bands b,g,r,n", "tiny.yaml: not a network of this book"),
        ("map {scene} --out {out} --run x --bands b,g,r,n --min-area-m2 -3", "must not be negative"),
        (
            "map {scene} --out {out} --run x --bands b,g,r,n --threshold 1.5",
            "threshold 1.5, overlap 0.5: must lie",
        ),
        (
            "map {scene} --out {out} --run x --bands b,g,r,n --batch-size 0",
            "batch size 0: must be at least 1",
        ),
        ("export nosuch --out {out}/net.safetensors", "nosuch: no finished run (spec.json is missing)"),
        ("export nosuch --out {out}/net.pt", "net.pt: must end in .safetensors"),
        ("map {scene} --run x", "Missing option '--out'; see `lmhld map --help`"),
        ("plan", "Missing argument 'profile'; see `lmhld plan --help`"),
        ("plan smoke --fast", "No such option: --fast; see `lmhld plan --help`"),
        ("fly", "No such command 'fly'; see `lmhld --help`"),
    ],
)
def test_bad_input_is_told_in_one_line(call: Call, tiny: Path, tmp_path: Path, line: str, said: str) -> None:
    text = tiny.read_text()
    variants = {
        "bad": text.replace("epochs", "epoch"),
        "text": text.replace("0.05", "1e-3"),
        "elsewhere": text.replace("twin-smoke", "nosuch"),
        "unprepared": text.replace("twin-smoke", "hokkaido"),
        "area": text.replace("gorkha", "atlantis"),
        "sizes": text + "patches: {sizes: {atlantis: 64}}\n",
    }
    places = {"tiny": tiny, "gone": tmp_path / "gone", "out": tmp_path / "out", "scene": tmp_path / "a.tif"}
    places["folder"] = tmp_path / "folder"
    places["folder"].mkdir()
    for name, content in variants.items():
        places[name] = tmp_path / f"{name}.yaml"
        places[name].write_text(content.replace("name: tiny", f"name: {name}"))
    places["renamed"] = tmp_path / "renamed.yaml"
    places["renamed"].write_text(text)
    write_tif(places["scene"], image_of(blobs(64, 64, 2)))
    code, _, error = call(*(word.format(**places) for word in line.split()))
    assert (code, error.count("\n")) == (2, 1), error
    assert error.startswith("lmhld: ") and said in error and "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_debug_shows_the_traceback(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["lmhld", "--debug", "plan", "nosuch"])
    with pytest.raises(config.UserError, match="nosuch"):
        cli.main()


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            PermissionError(13, "Permission denied", "/some/file"),
            2,
            "/some/file: permission denied; check the path",
        ),
        (KeyboardInterrupt(), 130, "interrupted; the same command goes on where it stopped"),
        (config.Interrupted("stopped"), 143, "interrupted; the same command goes on where it stopped"),
    ],
)
def test_what_comes_from_outside_is_one_line_too(
    call: Call, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    def fail(_: str) -> None:
        raise error

    monkeypatch.setattr(profiles, "load", fail)
    left, _, told = call("plan", "smoke")
    assert left == code and said in told and told.strip().count("\n") == 0


def test_a_mistake_of_ours_keeps_its_traceback(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "load", lambda _: 1 / 0)
    monkeypatch.setattr(sys, "argv", ["lmhld", "plan", "smoke"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_plan_train_and_run(call: Call, tiny: Path) -> None:
    code, out, _ = call("plan", tiny)
    assert code == 0 and "2 runs: 2 missing" in out and "no measured rate yet" in out
    columns = [
        *("run_id", "experiments", "model", "width", "areas", "patch_size", "epochs", "batch_size", "seed"),
        *("status", "seconds", "f1"),
    ]
    assert columns in [line.split() for line in out.splitlines()]
    table = pd.read_csv(pd.io.common.StringIO(call("plan", tiny, "--csv")[1]))
    assert list(table.columns) == [*columns, "parent", "files", "failure"] and list(table["areas"]) == [
        "emilia_romagna",
        "gorkha",
    ]
    code, out, _ = call("train", tiny, table["run_id"][0], "-q")
    assert code == 0 and out.startswith(f"{table['run_id'][0]}: F1 ")
    out = call("plan", tiny)[1]
    assert "2 runs: 1 done, 1 missing" in out
    code, out, error = call("run", tiny, "--workers", 1, "-q")
    assert (code, out, error) == (0, "tiny: 2 runs, 1 to make\n", "")
    assert call("run", tiny, "-q")[1] == "tiny: 2 runs, 0 to make\n"
    table = pd.read_csv(pd.io.common.StringIO(call("plan", tiny, "--csv", "--experiment", 2)[1]))
    assert list(table["status"]) == ["done", "done"] and (table["seconds"] > 0).all()


def test_map_prints_areas_and_scores(call: Call, tiny: Path, tmp_path: Path) -> None:
    profile = profiles.load(str(tiny))
    (spec, _) = experiments.single(profile, sources.load("twin-smoke"))
    runs.make_run(spec, execution=QUIET)
    mask = blobs(70, 80, 5)
    scene = write_tif(tmp_path / "a.tif", image_of(mask))
    truth = write_tif(tmp_path / "truth.tif", mask.astype(np.uint8))
    words = (
        "map",
        scene,
        "--run",
        spec.run_id,
        "--out",
        tmp_path / "out",
        "--bands",
        "blue, green, red, nir",
        "-q",
    )
    code, out, error = call(*words)
    assert (code, error) == (0, "") and re.fullmatch(r".*/out: \d+ landslides, \d+\.\d{3} km²\n", out)
    code, out, _ = call(*words, "--truth", truth, "--threshold", 0.01)
    assert code == 0 and re.search(r"^precision \S+, F1 \S+, recall \S+$", out, re.M)
    code, _, error = call(*words, "--threshold", 2)
    assert code == 2 and "threshold 2" in error
    # As an exported file, on the tiles of the scene, given one by one and as their folder.
    (tmp_path / "tiles").mkdir()
    tiles = []
    for col in (0, 40):
        with rasterio.open(scene) as source:
            part = rasterio.windows.Window(col, 0, 40, 70)
            values, place = source.read(window=part), source.window_transform(part)
        tiles.append(write_tif(tmp_path / "tiles" / f"{col}.tif", values, transform=place))
    code, out, _ = call("export", spec.run_id, "--out", tmp_path / "net.safetensors")
    assert (code, out.split()) == (0, [str(tmp_path / "net.safetensors"), str(tmp_path / "net.json")])
    with rasterio.open(tmp_path / "out" / "probability.tif") as source:
        expected = source.read()
    for given in (tiles, [tmp_path / "tiles"]):
        code, _, error = call(
            "map", *given, "--weights", tmp_path / "net.safetensors", "--out", tmp_path / "tiled", "-q",
            "--bands", "blue,green,red,nir", "--truth", truth, "--min-area-px", 5, "--min-area-m2", 100,
        )  # fmt: skip
        assert (code, error) == (0, "")
        with rasterio.open(tmp_path / "tiled" / "probability.tif") as source:
            assert np.array_equal(source.read(), expected)
    code, _, error = call(*words, "--resolution", "trained", "--normalise", "atlantis")
    assert code == 2 and "area 'atlantis'" in error and "choose one of them" in error
    (tmp_path / "file").write_text("")
    code, _, error = call(*words[:4], "--out", tmp_path / "file", "--bands", "blue,green,red,nir")
    assert code == 2 and f"{tmp_path / 'file'}: cannot be written" in error and error.count("\n") == 1


def test_data_and_doctor(call: Call, tiny: Path, twin_data: Path) -> None:
    code, out, _ = call("data", "list")
    assert code == 0 and re.search(r"^twin-smoke +synthetic +ready ", out, re.M)
    assert {line.split()[0] for line in out.splitlines()} == set(sources.catalogue())
    code, out, _ = call("data", "get", "twin-smoke", "-q")
    assert code == 0 and "bands blue, green, red, nir; fingerprint" in out
    code, out, _ = call("data", "check", twin_data / "twin-smoke" / "rio" / "rio_0.tif")
    assert code == 0 and out.startswith("rio_0.tif: 4 bands, ")
    code, out, _ = call("doctor")
    assert code == 0
    for word in ("Python", "torch", "CUDA", str(twin_data), "twin-smoke", "smoke"):
        assert word in out, word
    assert call("--version")[1].startswith("lmhld ")


# Interruptions ---------------------------------------------------------------------------------------------------


def start(profile: Path, workers: int, store: Path) -> subprocess.Popen[str]:
    """Start ``lmhld run`` in a process group (and session) of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "lmhld_nb.cli", "run", str(profile), "--workers", str(workers), "-q"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "LMHLD_RUNS": str(store)},
    )  # fmt: skip


def left_over(session: int) -> list[str]:
    """Return the command lines of the processes of a session that are still alive."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                found.append((entry / "cmdline").read_text().replace("\0", " "))
        except OSError:  # it has just ended
            continue
    return found


def results(store: Path, ids: list[str]) -> list[tuple[object, dict[str, torch.Tensor]]]:
    found: list[tuple[object, dict[str, torch.Tensor]]] = []
    for run_id in ids:
        metrics = pd.read_json(store / run_id / "metrics.json", typ="series")
        weights = safetensors.torch.load_file(store / run_id / "weights.safetensors")
        found.append((metrics["test"], weights))
    return found


@pytest.fixture(scope="module")
def uninterrupted(
    twin_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[RunSpec], Path]:
    """A profile whose trainings last long enough to be met, its runs, and a store that holds them."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    profile = folder / "tiny.yaml"
    profile.write_text(TINY.replace("epochs: 3", "epochs: 24") + "execution: {checkpoint_every: 3}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMHLD_DATA", str(twin_data))
        patch.setenv("LMHLD_RUNS", str(folder))
        specs = experiments.single(profiles.load(str(profile)), sources.load("twin-smoke"))
        runs.make_runs(specs, workers=1, execution=QUIET)
    return profile, specs, folder


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for stray processes in /proc")
@pytest.mark.parametrize(
    ("number", "workers", "code"),
    [(signal.SIGINT, 2, 130), (signal.SIGTERM, 2, 143), (signal.SIGKILL, 2, -9)],
)
def test_an_interrupted_run_ends_as_one_that_was_not(
    uninterrupted: tuple[Path, list[RunSpec], Path],
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    workers: int,
    code: int,
) -> None:
    profile, specs, whole = uninterrupted
    ids = [spec.run_id for spec in specs]
    store = tmp_path / "stopped"
    process = start(profile, workers, store)
    until = time.monotonic() + 60
    while not list(store.glob("*/history.csv")) and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(random.uniform(0, 0.3))
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # Ctrl-C reaches the whole group
    else:
        process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode in (code, 0)
    if process.returncode == code and code > 0:
        assert error == "lmhld: interrupted; the same command goes on where it stopped\n"
    until = time.monotonic() + 20
    while (alive := left_over(process.pid)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive
    monkeypatch.setenv("LMHLD_RUNS", str(store))
    runs.make_runs(specs, workers=1, execution=QUIET)
    for (test, one), (other, two) in zip(results(whole, ids), results(store, ids), strict=True):
        assert test == other
        assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    assert not [path for path in store.rglob("*") if "part" in path.name or "checkpoint" in path.name]
