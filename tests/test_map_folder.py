"""The folder of a map: no file that is not an older map's is ever replaced, and all files appear or none."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from made import blobs, image_of, scene, write_tif
from mapped import FILES, SCORED, draw, names, write_weights

from lmhld_nb import cli
from lmhld_nb.config import UserError
from lmhld_nb.mapping import folder as map_folder
from lmhld_nb.scenes.scene import Scene


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "weights.safetensors")


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(made: Scene, weights: Path, out: Path, match: str, **options: Any) -> None:
    """Check that a map is refused in one line and that not a byte below ``out`` changes."""
    before = content(out)
    with pytest.raises(UserError, match=match) as caught:
        draw(made, weights, out, **options)
    assert "\n" not in str(caught.value) and content(out) == before


def test_truth_beside_the_scene_is_not_replaced_by_its_prediction(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = blobs(60, 60, 3)
    image = write_tif(tmp_path / "d" / "image.tif", image_of(mask))
    truth = write_tif(tmp_path / "d" / "mask.tif", mask.astype(np.uint8))
    before = content(tmp_path)
    words = ["map", image, "--truth", truth, "--out", tmp_path / "d", "--weights", weights, "-q"]
    monkeypatch.setattr(sys, "argv", ["lmhld", *map(str, words), "--bands", "blue,green,red,nir"])
    with pytest.raises(SystemExit) as code:
        cli.main()
    error = capsys.readouterr().err
    assert code.value.code == 2 and error.count("\n") == 1 and f"{truth}: is an input of this map" in error
    assert content(tmp_path) == before


@pytest.mark.parametrize(
    "name", ["mask.tif", "probability.tif", "overlay.png", "map.json", "landslides.gpkg"]
)
@pytest.mark.parametrize("role", ["image", "mask", "polygons", "others", "weights"])
@pytest.mark.parametrize("spelling", ["same", "dots", "symlink", "hard link", "folder link"])
def test_no_input_is_replaced_however_it_is_spelled(
    tmp_path: Path, weights: Path, name: str, role: str, spelling: str
) -> None:
    made, out = scene(tmp_path / "scene", blobs(60, 60, 3)), tmp_path / "out"
    draw(made, weights, out)  # an older map, whose files may be replaced where they are no input
    path = out / name
    if spelling == "dots":
        (tmp_path / "x").mkdir()
        path = tmp_path / "x" / ".." / "out" / name
    elif spelling == "folder link":
        (tmp_path / "x").symlink_to(out)
        path = tmp_path / "x" / name
    elif spelling == "symlink":
        path = tmp_path / "link"
        path.symlink_to(out / name)
    elif spelling == "hard link":
        path = tmp_path / "link"
        os.link(out / name, path)
    if role == "others":
        refused(made, weights, out, "is an input of this map", others=[path])
    elif role == "weights":
        refused(made, path, out, "is an input of this map")
    else:
        refused(replace(made, **{role: path}), weights, out, "is an input of this map")


def test_the_files_behind_a_vrt_are_inputs_too(tmp_path: Path, weights: Path) -> None:
    made, out = scene(tmp_path / "scene", blobs(60, 60, 3)), tmp_path / "out"
    draw(made, weights, out)
    with rasterio.open(out / "probability.tif") as source:
        rasterio.shutil.copy(source, tmp_path / "a.vrt", driver="VRT")
    with rasterio.open(tmp_path / "a.vrt") as source:
        rasterio.shutil.copy(source, tmp_path / "b.vrt", driver="VRT")
    refused(
        replace(made, image=tmp_path / "b.vrt"), weights, out, r"probability\.tif: is an input of this map"
    )


@pytest.mark.parametrize("name", [*SCORED, "scores_by_size.csv"])
def test_a_foreign_file_is_never_replaced(tmp_path: Path, weights: Path, name: str) -> None:
    made, out = scene(tmp_path / "scene", blobs(60, 60, 3)), tmp_path / "out"
    out.mkdir()
    (out / name).write_text("{}")
    refused(made, weights, out, f"{name}: is not of an older map")
    (out / name).unlink()
    (out / name).mkdir()
    refused(made, weights, out, f"{name}: is not of an older map")
    (out / name).rmdir()
    (out / name).symlink_to("nowhere")
    refused(made, weights, out, f"{name}: is not of an older map")


def test_a_folder_of_other_files_is_no_place_for_a_map(tmp_path: Path, weights: Path) -> None:
    made = scene(tmp_path / "scene", blobs(60, 60, 3))
    refused(made, weights, tmp_path / "scene", r"scene: holds other files \(a\.tif\).*new or empty folder")


@pytest.mark.parametrize("name", [name for name in SCORED if name != "map.json"])
def test_an_older_map_s_file_that_was_changed_is_kept(tmp_path: Path, weights: Path, name: str) -> None:
    made, out = scene(tmp_path / "scene", blobs(60, 60, 3)), tmp_path / "out"
    draw(made, weights, out)
    with (out / name).open("ab") as file:
        file.write(b" ")
    refused(made, weights, out, f"{name}: is not of an older map")


def test_an_older_map_is_replaced_and_files_of_other_names_stay(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, out = scene(tmp_path / "scene", blobs(60, 60, 3)), tmp_path / "out"
    draw(made, weights, out)
    (out / "notes.txt").write_text("mine")
    (out / "scores_mine.csv").write_text("mine")
    (out / "map").mkdir()
    (out / "overlay.png").unlink()  # less than an older map is one, too
    before = content(out)
    with monkeypatch.context() as patch:
        patch.setattr(map_folder, "digests", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            draw(made, weights, out)
    assert content(out) == before
    draw(replace(made, mask=None), weights, out)  # scores of the older map would pass for this one's
    assert names(out) == sorted([*FILES, "map", "notes.txt", "scores_mine.csv"])
    assert (out / "notes.txt").read_text() == "mine"


def test_nothing_is_deleted_because_a_file_says_so(tmp_path: Path, weights: Path) -> None:
    made, out = scene(tmp_path / "scene", blobs(60, 60, 3), labels="none"), tmp_path / "out"
    draw(made, weights, out)
    precious = {"precious.txt": b"1", "scores_old.csv": b"2", "sub/mask.tif": b"3"}
    (out / "sub").mkdir()
    for name, value in precious.items():
        (out / name).write_bytes(value)
    (tmp_path / "outside.txt").write_text("4")
    digests = map_folder.digests(out) | {name: map_folder.digest(out / name) for name in precious}
    digests["../outside.txt"] = map_folder.digest(tmp_path / "outside.txt")
    report = json.loads((out / "map.json").read_text())
    (out / "map.json").write_text(json.dumps(report | {"score_files": list(digests), "sha256": digests}))
    killed = out / f"{map_folder.temporary_prefix()}{2**22 + 1}-x"  # more than any process has
    (killed / "sub").mkdir(parents=True)
    (killed / "precious.txt").write_text("5")
    (killed / "mask.tif").write_text("half")
    draw(made, weights, out)
    assert {name: (out / name).read_bytes() for name in precious} == precious
    assert (tmp_path / "outside.txt").read_text() == "4"
    assert names(killed) == ["precious.txt", "sub"]


@pytest.mark.parametrize("planted", ["", "[]", "{", '{"sha256": []}', '{"sha256": {"mask.tif": 3}}', "\xff"])
def test_a_record_that_is_none_proves_nothing(tmp_path: Path, weights: Path, planted: str) -> None:
    made, out = scene(tmp_path / "scene", blobs(60, 60, 3), labels="none"), tmp_path / "out"
    draw(made, weights, out)
    (out / "map.json").write_text(planted, encoding="latin-1")
    refused(made, weights, out, "is not of an older map")


def test_what_appears_while_a_map_is_computed_is_not_replaced(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, out = scene(tmp_path / "scene", blobs(60, 60, 3)), tmp_path / "out"
    original = map_folder.digests

    def late(folder: Path) -> dict[str, str]:
        (out / "mask.tif").write_text("drawn by hand meanwhile")
        return original(folder)

    monkeypatch.setattr(map_folder, "digests", late)
    with pytest.raises(UserError, match=r"mask\.tif: is not of an older map"):
        draw(made, weights, out)
    assert content(out) == {"mask.tif": b"drawn by hand meanwhile"}


class Killed(BaseException):
    pass


@pytest.mark.parametrize("moves", range(1, len(FILES)))
@pytest.mark.parametrize("older", [[], FILES, SCORED])
def test_a_map_killed_while_its_files_move_is_never_taken_for_whole_and_heals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves: int, older: list[str]
) -> None:
    def write(version: str, files: list[str]) -> None:
        with map_folder.all_or_nothing(tmp_path) as folder:
            for name in set(files) - {"map.json"}:
                (folder / name).write_text(version)
            (folder / "map.json").write_text(json.dumps({"sha256": map_folder.digests(folder)}))

    if older:
        write("1", older)
    left, original = moves + bool(older), Path.replace

    def kill(path: Path, target: Path) -> Path:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        return original(path, target)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Path, "replace", kill)
        patch.setattr(os, "getpid", lambda: 2**22 + 1)  # more than any process has
        patch.setattr(map_folder, "_is_alive", lambda _: True)
        write("2", FILES)
    assert not (tmp_path / "map.json").exists() and len(names(tmp_path)) > 1
    write("3", FILES)
    assert names(tmp_path) == FILES
    assert {path.read_text() for path in tmp_path.iterdir() if path.name != "map.json"} == {"3"}


@pytest.mark.skipif(sys.platform != "linux", reason="kills as Linux does")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_killed_map_leaves_is_removed_by_the_next(tmp_path: Path, weights: Path, number: int) -> None:
    made, out = scene(tmp_path, blobs(400, 400, 9)), tmp_path / "out"
    out.mkdir()
    words = ["map", str(made.image), "--weights", str(weights), "--out", str(out), "--overlap", "0.9"]
    words += ["--batch-size", "1", "--bands", "blue,green,red,nir", "-q"]
    process = subprocess.Popen(
        [sys.executable, "-m", "lmhld_nb.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 60
    while not list(out.glob(".map-*/*.tif")) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    (temporary,) = out.iterdir()
    # Another map into this folder does not touch what belongs to one that lives.
    with map_folder.all_or_nothing(out):
        assert temporary.is_dir()
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    if number == signal.SIGKILL:
        assert process.returncode == -number and temporary.is_dir()
    else:
        assert process.returncode == 128 + number and error.count("\n") == 1
        assert names(out) == []
    draw(made, weights, out)
    assert names(out) == SCORED
