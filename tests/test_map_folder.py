"""The folder of a map: no file that is not an older map's is ever replaced, and all files appear or none."""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from made import blobs, refuses, scene, write_tif
from mapped import FILES, SCORED, draw, names

from lmhld_nb.config import UserError
from lmhld_nb.mapping import folder as map_folder
from lmhld_nb.seals import digest_of

NO_PROCESS = 2**22 + 1  # more than any process has


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def record(folder: Path) -> None:
    (folder / "map.json").write_text(json.dumps({"sha256": map_folder.digests(folder)}))


def write(out: Path, files: Sequence[str] = SCORED, text: str = "1", inputs: Sequence[Path] = ()) -> None:
    with map_folder.all_or_nothing(out, inputs) as folder:
        for name in set(files) - {"map.json"}:
            (folder / name).write_text(text)
        record(folder)


def refused(out: Path, match: str, inputs: Sequence[Path] = ()) -> None:
    before = content(out)
    refuses(match, write, out, text="2", inputs=inputs)
    assert content(out) == before


def test_scene_tiles_truth_and_weights_are_inputs(tmp_path, weights):
    event, out = scene(tmp_path / "scene", blobs(60, 60, 3)), tmp_path / "out"
    draw(event, weights, out)
    path, before = out / "mask.tif", content(out)
    scenes = [replace(event, **{role: path}) for role in ("image", "mask", "polygons")]
    cases = [*((s, weights, []) for s in scenes), (event, weights, [path]), (event, path, [])]
    for described, network, others in cases:
        refuses("is an input of this map", draw, described, network, out, others=others)
    assert content(out) == before


@pytest.mark.parametrize("name", SCORED)
def test_no_input_is_replaced_however_it_is_spelled(tmp_path, name):
    out, link = tmp_path / "out", tmp_path / "link"
    write(out)  # an older map, whose files may be replaced where they are no input
    (tmp_path / "folder").symlink_to(out)
    link.symlink_to(out / name)
    os.link(out / name, tmp_path / "hard link")
    spellings = [out, tmp_path / "folder", tmp_path / "folder" / ".." / "out"]
    for path in (link, tmp_path / "hard link", *(folder / name for folder in spellings)):
        for folder in spellings:
            refused(folder, f"{name}: is an input of this map", [tmp_path / "other", path])


def test_the_files_behind_a_vrt_are_inputs_too(tmp_path):
    with map_folder.all_or_nothing(tmp_path / "out") as folder:
        write_tif(folder / "probability.tif", np.zeros((20, 20), np.float32))
        record(folder)
    for source, target in (("out/probability.tif", "a.vrt"), ("a.vrt", "b.vrt")):
        with rasterio.open(tmp_path / source) as raster:
            rasterio.shutil.copy(raster, tmp_path / target, driver="VRT")
    refused(tmp_path / "out", r"probability\.tif: is an input of this map", [tmp_path / "b.vrt"])


@pytest.mark.parametrize("name", SCORED)
def test_a_foreign_file_is_never_replaced(tmp_path, name):
    foreign = f"{name}: is not part of an older map"
    (tmp_path / "folder" / name).mkdir(parents=True)
    refused(tmp_path / "folder", foreign)
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / name).symlink_to("nowhere")
    refused(tmp_path / "link", foreign)
    write(tmp_path / "map")
    (tmp_path / "map" / name).write_text("drawn by hand")  # of an older map, but changed
    refused(tmp_path / "map", "is not part of an older map")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / name).write_text("{}")
    refused(tmp_path / "other", foreign)


def test_a_folder_of_other_files_is_refused(tmp_path):
    (tmp_path / "a.tif").write_text("mine")
    refused(tmp_path, r"holds other files \(a\.tif\).*new or empty folder")
    refused(tmp_path / "a.tif", "a.tif: cannot be written")


def test_an_older_map_is_replaced_and_files_of_other_names_stay(tmp_path, weights):
    event, out = scene(tmp_path / "scene", blobs(60, 60, 3)), tmp_path / "out"
    draw(event, weights, out)
    (out / "notes.txt").write_text("mine")
    (out / "scores_mine.csv").write_text("mine")
    (out / "map").mkdir()
    (out / "overlay.png").unlink()  # an incomplete map is an older map, too
    before = content(out)
    with pytest.raises(ZeroDivisionError), map_folder.all_or_nothing(out) as folder:
        (folder / "mask.tif").write_text("half")
        raise ZeroDivisionError
    assert content(out) == before
    draw(replace(event, mask=None), weights, out)  # scores of the older map would pass for this one's
    assert names(out) == sorted([*FILES, "map", "notes.txt", "scores_mine.csv"])
    assert (out / "notes.txt").read_text() == "mine"
    assert json.loads((out / "map.json").read_text())["sha256"] == map_folder.digests(out)


def test_nothing_is_deleted_because_a_file_says_so(tmp_path):
    out = tmp_path / "out"
    write(out, FILES)
    precious = {"precious.txt": b"1", "scores_old.csv": b"2", "sub/mask.tif": b"3", "../outside.txt": b"4"}
    (out / "sub").mkdir()
    for name, value in precious.items():
        (out / name).write_bytes(value)
    digests = map_folder.digests(out) | {name: digest_of(out / name) for name in precious}
    (out / "map.json").write_text(json.dumps({"score_files": list(digests), "sha256": digests}))
    killed = out / f"{map_folder.TEMPORARY}{NO_PROCESS}-x"
    (killed / "sub").mkdir(parents=True)
    (killed / "precious.txt").write_text("5")
    (killed / "mask.tif").write_text("half")
    write(out, FILES)
    assert {name: (out / name).read_bytes() for name in precious} == precious
    assert names(killed) == ["precious.txt", "sub"]


def test_what_a_living_map_has_begun_is_not_cleared(tmp_path):
    with map_folder.all_or_nothing(tmp_path) as living:
        (living / "mask.tif").write_text("half")
        with map_folder.all_or_nothing(tmp_path):
            assert (living / "mask.tif").exists()


@pytest.mark.parametrize("planted", ["", "[]", "{", '{"sha256": []}', '{"sha256": {"mask.tif": 3}}', "\xff"])
def test_a_record_that_is_none_proves_nothing(tmp_path, planted):
    write(tmp_path)
    (tmp_path / "map.json").write_text(planted, encoding="latin-1")
    refused(tmp_path, "is not part of an older map")


def test_what_appears_while_a_map_is_computed_is_not_replaced(tmp_path):
    with pytest.raises(UserError, match="is not part of an older map"), map_folder.all_or_nothing(tmp_path) as folder:
        (folder / "mask.tif").write_text("1")
        (tmp_path / "mask.tif").write_text("drawn by hand meanwhile")
    assert content(tmp_path) == {"mask.tif": b"drawn by hand meanwhile"}


class Killed(BaseException):
    pass


@pytest.mark.parametrize("moves", [1, 3, len(FILES) - 1])
@pytest.mark.parametrize("older", [[], FILES, SCORED])
def test_a_map_killed_midway_heals(tmp_path, monkeypatch, moves, older):
    if older:
        write(tmp_path, older)
    left, original = moves + bool(older), Path.replace

    def kill(path: Path, target: Path) -> Path:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        return original(path, target)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Path, "replace", kill)
        patch.setattr(os, "getpid", lambda: NO_PROCESS)
        patch.setattr(map_folder, "is_alive", lambda _: True)
        write(tmp_path, FILES, "2")
    assert not (tmp_path / "map.json").exists() and len(names(tmp_path)) > 1
    write(tmp_path, FILES, "3")
    assert names(tmp_path) == FILES
    assert {path.read_text() for path in tmp_path.iterdir() if path.name != "map.json"} == {"3"}
