"""The command: help, one-line errors, and a run that may be interrupted at any moment."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from io import StringIO
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import typer
from conftest import QUIET, TINY
from made import blobs, image_of, refuses, write_tif
from typer.testing import CliRunner

from lmhld_nb import cli, config, experiments, runs, sources
from lmhld_nb.book import chapters
from lmhld_nb.experiments import load, open_study, single
from lmhld_nb.runs import store


def commands() -> dict[str, typer.core.TyperCommand]:
    group = typer.main.get_command(cli.app)
    by_name = {"": group}
    for name in group.list_commands(None):  # type: ignore[attr-defined]
        command = by_name[name] = group.get_command(None, name)  # type: ignore[attr-defined]
        by_name |= {f"{name} {k}": command.get_command(None, k) for k in getattr(command, "commands", ())}
    return by_name


@pytest.mark.parametrize("name", commands())
def test_help_says_what_explains_every_option_and_shows_an_example(name):
    command, environment = commands()[name], {"COLUMNS": "200", "NO_COLOR": "1"}
    shown = CliRunner().invoke(cli.app, [*name.split(), "--help"], env=environment)
    assert shown.exit_code == 0 and command.help
    assert f"Example: lmhld {name}" in shown.output or hasattr(command, "commands")
    for option in command.params:
        word = next((word for word in option.opts if word.startswith("-")), str(option.metavar).lower())
        line = next((line for line in shown.output.splitlines() if word in line.lower()), "")
        assert re.search(r"[a-z]{3,} [a-z`]+", line.replace(word, "")), f"{word} is not explained: {line}"
    assert not re.search(r"<[a-z]|[a-z,]\.\.\.$", shown.output, re.M), "types of Python, or a sentence cut off"


@pytest.mark.parametrize(("line", "message"), [
    ("plan nosuch", "profile 'nosuch': unknown; choose one of "),
    ("plan {elsewhere}", "data set 'nosuch' is not in the catalogue; choose from"),
    ("plan {unprepared}", "run `lmhld data get hokkaido`"),
    (f"run {{unprepared}} --device {'9' * 5000}", "999': unknown; choose auto, cpu or cuda"),  # before data are made
    (f"map {{scene}} --out {{out}} --run x --bands b,g,r,n --nodata {'9' * 5000}", "no-data value (inf,): give finite"),
    ("train {tiny} 0123456789abcdef", "run '0123456789abcdef': not in profile 'tiny'; `lmhld plan"),
    ("data get hokkaido", "lmhld data get hokkaido --from FOLDER"),
    ("book {tiny} --chapter 05 -p profil mini", "-p profil: no chapter has this parameter; choose from areas, "),
    ("book {tiny} -p models", "-p models: give a name and its value, e.g. -p models unet"),
    ("book {tiny} -p profile mini", "-p profile: the profile is the command's first argument"),
    ("map {scene} --out {out} --run x --weights y", "give either --run RUN_ID or --weights FILE"),
    ("map {scene} --out {out} --weights {tiny} --bands b,g,r,n", "tiny.yaml: not a network of this book"),
    ("map {scene} --run x", "Missing option '--out'; see `lmhld map --help`"),
])  # fmt: skip
def test_bad_input_is_one_line(call, tiny, tmp_path, line, message):
    changes = {"elsewhere": ("twin-smoke", "nosuch"), "unprepared": ("twin-smoke", "hokkaido")}
    profile_texts = {name: tiny.read_text().replace(*words) for name, words in changes.items()}
    paths = {"tiny": tiny, "out": tmp_path / "out"}
    paths["scene"] = write_tif(tmp_path / "a.tif", image_of(blobs(64, 64, 2)))
    paths |= {name: tmp_path / f"{name}.yaml" for name in profile_texts}
    for name, content in profile_texts.items():
        paths[name].write_text(content.replace("name: tiny", f"name: {name}"))
    code, _, error = call(*(word.format(**paths) for word in line.split()))
    assert (code, error.count("\n")) == (2, 1) and len(error) < 700, error
    assert error.startswith("lmhld: ") and message in error and "Traceback" not in error
    assert not paths["out"].exists()


def test_parameters_of_chapters_are_passed_on(call, tiny, monkeypatch):
    passed: list[object] = []
    monkeypatch.setattr(chapters, "make", lambda *arguments: passed.extend(arguments) or [])
    assert call("book", "-p", "models", "unet,a=b", tiny, "-p", "epochs", "-1", "--chapter", "05", "-q")[0] == 0
    assert passed == [str(tiny), "05", False, None, {"models": "unet,a=b", "epochs": "-1"}, None]


@pytest.mark.parametrize(("error", "code", "message"), [
    (PermissionError(13, "Permission denied", "/some/file"), 2, "/some/file: permission denied; check the path"),
    (KeyboardInterrupt(), 130, "interrupted; repeat it: trainings and downloads continue"),
    (config.Interrupted("stopped"), 143, "interrupted; repeat it: trainings and downloads continue"),
])  # fmt: skip
def test_what_comes_from_outside_is_one_line_too(call, monkeypatch, error, code, message):
    monkeypatch.setattr(experiments, "load", Mock(side_effect=error))
    exit_code, _, printed = call("plan", "smoke")
    assert exit_code == code and message in printed and printed.strip().count("\n") == 0


def test_a_mistake_of_ours_keeps_its_traceback_and_debug_shows_all(call, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["lmhld", "--debug", "plan", "nosuch"])
    refuses("nosuch", cli.main)
    monkeypatch.setattr(experiments, "load", lambda _: 1 / 0)
    monkeypatch.setattr(sys, "argv", ["lmhld", "plan", "smoke"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_plan_train_and_run(call, tiny, monkeypatch):
    code, out, _ = call("plan", tiny)
    assert code == 0 and "2 runs: 2 missing" in out and "no measured rate yet" in out
    columns = ["run_id", "experiments", "model", "width", "areas", "patch_size", "epochs", "batch_size", "seed"]
    columns += ["status", "seconds", "f1"]
    assert columns in [line.split() for line in out.splitlines()]
    table = pd.read_csv(StringIO(call("plan", tiny, "--csv")[1]))
    assert list(table) == [*columns, "parent", "files"] and list(table["areas"]) == ["emilia_romagna", "gorkha"]
    assert call("train", tiny, table["run_id"][0], "-q")[1].startswith(f"{table['run_id'][0]}: F1 ")
    assert "2 runs: 1 done, 1 missing" in call("plan", tiny)[1]
    assert call("run", tiny, "--dry-run", "-q") == (0, "tiny: 2 runs, 1 to train\n", "")
    assert call("run", tiny, "--workers", 1, "-q") == (0, "tiny: 2 runs, 1 to train\n", "")
    told: list[object] = []
    note = {"afterwards": lambda study, *how: told.extend([study.profile.execution.device, *how])}
    monkeypatch.setitem(experiments.EXPERIMENTS, "single", replace(experiments.EXPERIMENTS["single"], **note))
    with store.lock("tiny-single"):  # as another job that computes what chapters show
        assert "single: left to another process" in call("run", tiny, "-q")[2] and told == []
    assert call("run", tiny, "-q", "--device", "cpu", "--experiment", 2)[0] == 0 and told == ["cpu", "skip", False]
    table = pd.read_csv(StringIO(call("plan", tiny, "--csv", "--experiment", 2)[1]))
    assert list(table["status"]) == ["done", "done"] and (table["seconds"] > 0).all()


def test_map_and_export(call, specs, tmp_path):
    run = runs.make_run(specs[0], QUIET)
    mask = blobs(70, 80, 5)
    scene, out = write_tif(tmp_path / "a.tif", image_of(mask)), tmp_path / "out"
    truth = write_tif(tmp_path / "truth.tif", mask.astype(np.uint8))
    bands = ("--bands", "blue, green, red, nir", "-q")
    words = ("map", scene, "--run", run.spec.run_id, "--out", out, *bands)
    code, printed, error = call(*words)
    assert code == 0 and re.fullmatch(r".*/out: \d+ landslides, \d+\.\d{3} km²\n", printed)
    assert re.match(r"lmhld: a\.tif: a pixel is 3 m, in training it was 10 m; ", error)
    code, printed, _ = call(*words, "--truth", truth, "--threshold", 0.01)
    assert code == 0 and re.search(r"^precision \S+, F1 \S+, recall \S+$", printed, re.M)
    net = tmp_path / "net.safetensors"  # as an exported file
    code, printed, _ = call("export", run.spec.run_id, "--out", net)
    assert (code, printed.split()) == (0, [str(net), str(net.with_suffix(".json"))])
    small = ("--truth", truth, "--min-area-px", 5, "--min-area-m2", 100)
    assert call("map", scene, "--weights", net, "--out", tmp_path / "net", *bands, *small)[0] == 0


def test_data_and_doctor(call, tiny, twin_data):
    code, out, _ = call("data", "list")
    assert code == 0 and re.search(r"^twin-smoke +synthetic +ready ", out, re.M)
    assert {line.split()[0] for line in out.splitlines()} == set(sources.catalogue())
    code, out, _ = call("data", "get", "twin-smoke", "-q")
    assert code == 0 and "bands blue, green, red, nir; fingerprint" in out
    code, out, _ = call("doctor")
    assert code == 0
    for word in ("Python", "torch", "CUDA", str(twin_data), "twin-smoke", "smoke"):
        assert word in out, word
    assert call("--version")[1].startswith("lmhld ")


def alive(session: int) -> list[str]:
    lines = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                lines.append((entry / "cmdline").read_text().replace("\0", " "))
    return lines


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for stray processes in /proc")
def test_an_interrupted_run_ends_as_any_other(tiny, tmp_path, monkeypatch):
    # Trainings that last long enough to be met.
    tiny.write_text(TINY.replace("epochs: 3", "epochs: 12") + "execution: {checkpoint_every: 3}\n")
    specs = single.specs(open_study(load(str(tiny)), progress=False))
    store = tmp_path / "stopped"
    process = subprocess.Popen(
        [sys.executable, "-m", "lmhld_nb.cli", "run", str(tiny), "--workers", "2", "-q"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "LMHLD_RUNS": str(store)},
    )  # fmt: skip
    until = time.monotonic() + 60
    while not list(store.glob("*/history.csv")) and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(random.uniform(0, 0.3))
    # To the command alone: it must stop its workers. Ctrl-C in mid-training: test_training.
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode in (143, 0)
    if process.returncode:
        assert error == "lmhld: interrupted; repeat it: trainings and downloads continue\n"
    until = time.monotonic() + 20
    while alive(process.pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive(process.pid)
    whole = runs.make_runs(specs, workers=1, execution=QUIET)
    monkeypatch.setenv("LMHLD_RUNS", str(store))
    for expected, run in zip(whole, runs.make_runs(specs, workers=1, execution=QUIET), strict=True):
        assert (run.metrics["test"], run.metrics["weights"]) == (expected.metrics["test"], expected.metrics["weights"])
    assert not [path for path in store.rglob("*") if "part" in path.name or "checkpoint" in path.name]
