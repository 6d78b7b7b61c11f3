"""Data sets from archives of commits: taken, put together, and checked by their pixels."""

import io
import tarfile

import numpy as np
import pytest
from fake_zenodo import FakeZenodo, serve
from made import refuses
from test_download import QUICK
from test_layout import SIDE, image, mask, write
from test_sources import get

from lmhld_nb import sources
from lmhld_nb.experiments import EXPERIMENTS, Study, load
from lmhld_nb.scenes.scene import read_all
from lmhld_nb.sources import descriptions, download, fingerprints, github
from lmhld_nb.sources.layout import Part, resolve

DESCRIPTION = f"""name: made
title: Made tiles
licence: by area
citation: nobody
about: {{tiles: "Tiles, from a/tiles; licence: MIT"}}
bands: [red, green]
nodata: {{scene: 0}}
resolution_m: 2.0
georeferenced: false
parts:
  - {{images: "**/t/images/{{id}}.tif", masks: "**/t/masks/{{id}}.png", area: tiles, split: train, ids: "1-3"}}
  - {{images: "**/t/images/{{id}}.tif", masks: "**/t/masks/{{id}}.png", area: tiles, split: test, ids: "9 11-12"}}
  - {{images: "**/whole_rgb.{{ext}}", masks: "**/whole_mask.{{ext}}", area: scene}}
source:
  kind: github
  sha256: {{tiles: "TILES", scene: "SCENE"}}
  archives:
    - repository: a/tiles
      commit: {"a" * 40}
      sorted_as_text: 12
      files: {{"data/*/image_{{id}}.tif": "t/images/{{id}}.tif", "data/*/mask_{{id}}.png": "t/masks/{{id}}.png"}}
    - repository: b/scene
      commit: {"b" * 40}
      files: {{"img/{{id}}.tif": "img/{{id}}.tif", "label/{{id}}.png": "label/{{id}}.png"}}
      mosaics: [{{to: whole, parts: [{{images: "img/{{id}}.tif", masks: "label/{{id}}.png"}}], bands: [red, green],
                 landslide_codes: [7], georeferenced: false}}]
"""
TEXT_ORDER = (1, 10, 11, 12, 2, 3, 4, 5, 6, 7, 8, 9)


def scene():
    """Return two tiles above and one below on the left, black towards the gap and in one pixel inside."""
    whole = np.random.default_rng(0).integers(1, 200, (2, 2 * SIDE, 2 * SIDE)).astype(np.uint8)
    whole[:, SIDE:, SIDE:] = whole[:, SIDE - 2 : SIDE, SIDE + 4 :] = whole[:, 4, 4] = 0
    return whole


def packed(root, top):
    """Pack a folder as GitHub does, below one of its own, with a link beside what is wanted."""
    buffer, link = io.BytesIO(), tarfile.TarInfo(f"{top}/link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc"
    with tarfile.open(fileobj=buffer, mode="w:gz") as target:
        target.addfile(link)
        target.add(root, top)
    return buffer.getvalue()


def real_source():
    source = sources.describe("real-areas").source
    assert isinstance(source, github.GitHub)
    return source


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Two repositories, and ``made`` in the catalogue; ``first/raw`` holds what was taken from them."""
    there, catalogue = tmp_path / "there", tmp_path / "catalogue"
    for place, number in enumerate(TEXT_ORDER):
        write(there / f"tiles/data/x/image_{place}.tif", image(number, 2))
        write(there / f"tiles/data/x/mask_{place}.png", mask(number))
    for row, col in ((0, 0), (0, SIDE), (SIDE, 0)):
        write(there / f"scene/img/{row}_{col}.tif", scene()[:, row : row + SIDE, col : col + SIDE])
        write(there / f"scene/label/{row}_{col}.png", mask(0, 7))
    catalogue.mkdir()
    (catalogue / "made.yaml").write_text(DESCRIPTION)
    monkeypatch.setattr(descriptions, "CATALOGUE", catalogue)
    monkeypatch.setenv("LMHLD_DATA", str(tmp_path / "data"))
    for name, value in QUICK.items():
        monkeypatch.setattr(download, name, value)
    with serve(FakeZenodo({name: packed(there / name, f"{name}-1") for name in ("tiles", "scene")})) as fake:
        monkeypatch.setenv(github.ADDRESS_VARIABLE, fake.api.removesuffix("/api/records"))
        description = sources.describe("made")
        assert isinstance(description.source, github.GitHub)
        raw = github.fetch(description.source, tmp_path / "first", progress=False)
        found = fingerprints.of_areas(resolve(raw, description, "made"))
        text = DESCRIPTION.replace("TILES", found["tiles"]).replace("SCENE", found["scene"])
        (catalogue / "made.yaml").write_text(text)
        fake.requests.clear()
        yield fake


def test_a_download_is_the_data_set_that_a_folder_is(hub, tmp_path):
    hub.mood["tiles"] = "truncate"
    data = get("made")
    addresses = [f"/a/tiles/archive/{'a' * 40}.tar.gz"] * 2 + [f"/b/scene/archive/{'b' * 40}.tar.gz"]
    assert [path for path, _ in hub.requests] == addresses  # the one that broke off again
    assert [(s.name, s.split) for s in data.scenes][3:5] == [("tiles_train_3", "train"), ("tiles_test_9", "test")]
    values, labels, _ = read_all(data.scenes_of("tiles")[1], data.bands)
    assert np.array_equal(values, image(2, 2)) and np.array_equal(labels, mask(2))
    values, labels, valid = read_all(data.scenes_of("scene")[0], data.bands)
    assert (values[:, 4, 4] == 1).all() and (values == scene())[:, ~(np.indices(labels.shape) == 4).all(axis=0)].all()
    assert np.array_equal(valid, labels != 255) and labels[1, 1] == labels[SIDE, 0] == 1 and labels[8, 0] == 0
    assert np.array_equal(~valid, (scene() == 0).all(axis=0) & (np.indices(labels.shape) != 4).any(axis=0))
    assert "2.0 m; Tiles, from a/tiles; licence: MIT" in sources.summary(data)

    assert get("made") == data and len(hub.requests) == 3
    (tmp_path / "data/made/dataset.json").unlink()  # interrupted before the end: nothing is fetched again
    assert get("made") == data and len(hub.requests) == 3
    for path in (tmp_path / "first/raw/mosaics").glob("*.npy"):
        write(path.with_suffix(".tif"), np.load(path))
        path.unlink()
    adopted = get("made", tmp_path / "first/raw")
    assert adopted.fingerprint == data.fingerprint and adopted.scenes != data.scenes


def test_what_is_not_as_described_is_refused(hub, tmp_path):
    write(tmp_path / "first/raw/a-tiles/t/masks/2.png", mask(3))
    refuses("area 'tiles' is not as described .*expected [0-9a-f]{64}, found", get, "made", tmp_path / "first/raw")
    assert not (tmp_path / "data/made/dataset.json").exists()
    hub.files["scene"] = hub.files["scene"][:-200]
    refuses(r"b-scene.*truncated, damaged", get, "made")
    del hub.files["tiles"]
    (tmp_path / f"data/made/download/a-tiles-{'a' * 40}.tar.gz").unlink()
    refuses(r"answered 404 .*adopt it with --from", get, "made")


def test_a_part_takes_the_ids_it_names():
    files = ["2.tif", "03.tif", "12.tif", "ls_2.tif", "nls_2.tif", "x.tif"]
    for ids, fits in (("2-3", files[:2]), ("ls_2", files[3:4]), ("3 ls_1-2 9", [files[1], files[3]])):
        assert list(Part(images="{id}.tif", ids=ids).match("{id}.tif", files)) == fits


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [("a" * 40, "main", "commit"), ("repository: a/", "repository: ../", "repository"), ('"1-3"', '"3-"', "ids")],
)
def test_wrong_descriptions_are_refused(hub, tmp_path, old, new, says):
    path = tmp_path / "catalogue/made.yaml"
    path.write_text(path.read_text().replace(old, new, 1))
    refuses(says, get, "made")


def test_areas_without_a_split_are_given_blocks(hub):
    smoke = load("smoke")
    rule = smoke.patches.model_copy(update={"split": "given", "size": 32, "bands": ("red", "green")})
    nothing = smoke.experiments.model_copy(update=dict.fromkeys(EXPERIMENTS))
    profile = smoke.model_copy(update={"areas": (), "patches": rule, "experiments": nothing})
    study = Study(profile, get("made"))
    assert [study.patch_spec(area).split for area in ("tiles", "scene")] == ["given", "blocks"]


@pytest.mark.real
def test_real_areas_are_as_described(shared_data):
    scenes = resolve(shared_data, sources.describe("real-areas"), "real-areas")
    assert len({scene.area for scene in scenes}) == 7
    for area, row in (("l4s_taiwan", 41), ("l4s_iburi", 15)):  # a row is left out between training and the others
        numbers: dict[bool, list[int]] = {True: [], False: []}
        for scene in (scene for scene in scenes if scene.area == area):
            numbers[scene.split == "train"].append(int(scene.name.rsplit("_", 1)[1]))
        assert np.abs(np.subtract.outer(numbers[True], numbers[False])).min() > row
    found = fingerprints.of_areas([scene for scene in scenes if scene.area in ("hokkaido", "l4s_iburi")])
    assert found.items() <= real_source().sha256.items()
