"""The catalogue, and data sets made, downloaded, adopted, and taken from archives of commits."""

import errno
import io
import json
import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from fake_zenodo import FakeZenodo, serve
from made import CRS, refuses, write_polygons, write_tif
from test_layout import SIDE, image, mask, pairs, write

from lmhld_nb import patches, sources, twin
from lmhld_nb.experiments import EXPERIMENTS, Study, load
from lmhld_nb.scenes.scene import Scene, read_all
from lmhld_nb.sources import descriptions, download, fingerprints, github
from lmhld_nb.sources.layout import resolve

ABOUT = "name: {name}\ntitle: Made tiles\nlicence: none\ncitation: nobody\n"
PLAIN = ABOUT.format(name="plain") + """source: {kind: local, where: nowhere}
parts: [{images: "**/rio/images/{id}.tif", masks: "**/rio/masks/{id}.png"}]
georeferenced: false
"""  # fmt: skip
RECORD = ABOUT.format(name="record") + "source: {{kind: zenodo, doi: {doi}}}\nlayout: discover\nknown_areas: true\n"
TWIN = ABOUT.format(name="tiny") + "synthetic: true\nsource: {kind: twin, seed: SEED, areas: [rio]}\n"


@pytest.fixture(autouse=True)
def catalogue_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder, and a catalogue with a made entry beside the project's own."""
    catalogue = tmp_path / "catalogue"
    shutil.copytree(descriptions.CATALOGUE, catalogue)
    (catalogue / "plain.yaml").write_text(PLAIN)
    monkeypatch.setattr(descriptions, "CATALOGUE", catalogue)
    monkeypatch.setenv("LMHLD_DATA", str(tmp_path / "data"))
    return catalogue


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return pairs(tmp_path / "mine", count=4)


def zipped(folder: Path, path: Path) -> Path:
    return Path(shutil.make_archive(str(path.with_suffix("")), "zip", folder))


def get(name: str = "plain", from_path: Path | None = None, layout: Path | None = None) -> sources.DataSet:
    return sources.get(name, from_path, progress=False, layout=layout)


def refused(says: str, name: str = "plain", from_path: Path | None = None, layout: Path | None = None) -> str:
    return refuses(says, get, name, from_path, layout)


def tree(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(("name", "key"), [("hokkaido", "88c79b6d450d64d6"), ("lmhld", "79379d0ef4d86e57")])
def test_what_does_not_change_the_data_leaves_them_ready(name, key):
    description = sources.describe(name)
    # A key at its default, as one that later versions add, is no change.
    same = description.model_copy(update={"title": "Other", "citation": "Other", "channels": "first"})
    assert descriptions.key_of(description) == descriptions.key_of(same) == key
    assert descriptions.key_of(description.model_copy(update={"scale": 3.0})) != key


@pytest.mark.parametrize(("old", "new", "says"), [
    ("name: wrong", "name: other", "call it 'wrong' like the file"),
    ("georef", "channel: last\ngeoref", "unknown key 'channel'"),
    ("kind: local", "kind: ftp", "source"),
    ("parts:", "exclude: []\nother:", r"unknown key|parts are missing"),
    ("{kind: local, where: nowhere}", "{kind: twin}", "synthetic: true"),
    ("{kind: local, where: nowhere}", "{kind: zenodo, doi: 10.1/2}", "doi"),
])  # fmt: skip
def test_wrong_descriptions_are_refused(catalogue_folder, old, new, says):
    (catalogue_folder / "wrong.yaml").write_text(PLAIN.replace("name: plain", "name: wrong").replace(old, new))
    refuses(says, sources.describe, "wrong")
    refuses(r"'\.\./plain' is not in the catalogue; choose from bijie", sources.describe, "../plain")


def test_a_folder_is_adopted_where_it_lies(folder, tmp_path, monkeypatch):
    before = tree(folder)
    data = get(from_path=folder)
    assert data.areas == ("plain",) and len(data.scenes) == 4 and data.bands[0] == "blue"
    assert data.scenes[0].image == folder / "rio/images/0.tif" and data.scenes_of("plain") == data.scenes
    assert tree(folder) == before
    assert {path.name for path in (tmp_path / "data/plain").iterdir()} - {".lock"} == {"dataset.json", "hashes.json"}
    values, labels, _ = read_all(data.scenes[2])
    assert np.array_equal(values, image(2)) and np.array_equal(labels, mask(2))
    refuses("has no area 'rio'; it has plain", data.scenes_of, "rio")
    before = tree(tmp_path / "data")  # getting again reads and changes nothing
    with monkeypatch.context() as context:
        context.setattr(fingerprints, "digest_of", lambda path: pytest.fail(f"read {path}"))
        assert get() == sources.load("plain") == data
    assert tree(tmp_path / "data") == before and get(from_path=folder) == data
    (tmp_path / "data/plain/hashes.json").unlink()  # a read-only data set that is ready is loaded
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert get() == sources.load("plain") == data
    assert not (tmp_path / "data/plain/hashes.json").exists()


def test_an_archive_is_unpacked_and_gives_the_same_fingerprint(folder, tmp_path):
    first = get(from_path=folder).fingerprint
    archive = zipped(folder, tmp_path / "tiles.zip")
    data = get(from_path=archive)
    assert data.fingerprint == first
    data.scenes[0].image.unlink()
    assert get(from_path=archive) == data and data.scenes[0].image.is_file()  # it comes back
    assert data.scenes[0].image == tmp_path / "data/plain/raw/tiles/rio/images/0.tif"
    data = get(from_path=zipped(folder, tmp_path / "downloads" / "other.zip").parent)
    assert data.fingerprint == first and data.scenes[0].image.is_relative_to(tmp_path / "data/plain/raw/other")
    assert not (tmp_path / "data/plain/raw/tiles").exists()


def test_fingerprints_follow_the_content_and_not_the_place(folder, tmp_path, catalogue_folder, monkeypatch):
    first = get(from_path=folder).fingerprint
    moved = tmp_path / "elsewhere" / "deep" / "copy"
    shutil.copytree(folder, moved)
    os.utime(moved / "rio/images/0.tif", (1, 1))
    assert get(from_path=moved).fingerprint == first
    get(from_path=zipped(folder, tmp_path / "tiles.zip"))
    (tmp_path / "data").rename(tmp_path / "data2")  # the whole data folder moves
    monkeypatch.setenv("LMHLD_DATA", str(tmp_path / "data2"))
    assert sources.load("plain").fingerprint == first
    for change in ("landslide_codes: [1, 2]", "channels: last", "nodata: .nan", "bands: [red, green, blue, nir]"):
        (catalogue_folder / "plain.yaml").write_text(PLAIN + change)
        assert get(from_path=moved).fingerprint != first, change
    (catalogue_folder / "plain.yaml").write_text(PLAIN.replace("Made tiles", "Other words"))
    assert get(from_path=moved).fingerprint == first
    write(moved / "rio/masks/0.png", mask(3))
    assert get(from_path=moved).fingerprint != first


def test_changed_and_missing_files_are_noticed(folder, catalogue_folder):
    first = get(from_path=folder)
    os.utime(folder / "rio/images/0.tif", (1, 1))  # another date alone is no change
    assert sources.load("plain") == first
    write(folder / "rio/masks/0.png", mask(3))
    refuses(f"masks/0.png: a file of data set 'plain' has changed since; .* --from {folder}`", sources.load, "plain")
    second = get()
    assert second.fingerprint != first.fingerprint and sources.load("plain") == second
    (catalogue_folder / "plain.yaml").write_text(PLAIN + "resolution_m: 2.0\n")
    refuses("prepared from another description of 'plain'; run `lmhld data get plain`", sources.load, "plain")
    assert get().scenes[0].resolution_m == 2.0
    (folder / "rio/masks/0.png").unlink()
    refuses(r"masks/0\.png: a file of data set 'plain' is gone; .*--from", sources.load, "plain")
    refused(r"images/0\.tif: no file fits `masks")


def test_what_cannot_be_adopted_says_so(folder, tmp_path):
    refused(r"not downloaded by itself \(nowhere\).*lmhld data get plain --from FOLDER")
    refused("no such file or folder; correct --from", from_path=tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    refused("holds neither images nor archives", from_path=tmp_path / "empty")
    write(folder / "rio/images/0.tif", image(1, bands=3))
    refused(r"images/0\.tif: 3 bands, but 4 are declared", from_path=folder)
    refuses("data set 'plain' is not prepared; run `lmhld data get plain`", sources.load, "plain")


@pytest.mark.parametrize("name", ["../../x", "..", "/abs/x", "a\\b", "\x1b[31m", "-x", ".x", "x" * 250])
def test_no_area_or_data_set_can_be_called_so_that_it_lies_outside(folder, tmp_path, name):
    says, part = "no file or folder can be named after it", {"images": "rio/images/{id}.tif", "masks": "none"}
    layout = tmp_path / "layout.yaml"
    layout.write_text(json.dumps({"parts": [part | {"area": name}]}), encoding="utf-8")
    refused(says, from_path=folder, layout=layout)
    for dataset, area in ((name, "rio"), ("plain", name)):  # a spec may come from a file, too
        spec = patches.PatchSpec(dataset=dataset, fingerprint="0", area=area, size=4)
        refuses(says, lambda spec=spec: spec.folder)


def test_a_data_folder_that_cannot_be_written(folder, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LMHLD_DATA", str(tmp_path / "file" / "data"))
    refused("cannot be written .*choose another folder", from_path=folder)
    monkeypatch.setenv("LMHLD_DATA", str(tmp_path / "data"))
    left = tmp_path / "data/plain/raw/.tiles.999999.part"  # of a killed process
    write(left / "1.tif", mask(1))
    real = Path.write_text

    def full(path: Path, *args: object, **options: object) -> int:
        if "dataset" in path.name:
            real(path, '{"format": 1')
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, *args, **options)

    with monkeypatch.context() as context:
        context.setattr(Path, "write_text", full)
        refused(r"dataset\.json: cannot be written \(no space left on device\)", from_path=folder)
    assert not [path for path in (tmp_path / "data/plain").rglob("*") if "dataset" in path.name or path == left]
    assert len(get(from_path=folder).scenes) == 4


def test_a_record_is_fetched_and_loaded(tmp_path, catalogue_folder, monkeypatch, capsys):
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w") as target:
        for area in ("Rio", "Wenchuan"):
            for split, count in {"train": 4, "val": 2, "test": 1}.items():
                pairs(tmp_path / "made" / area / split, "data", count)
            target.writestr(f"{area}.zip", zipped(tmp_path / "made" / area, tmp_path / "inner.zip").read_bytes())
    with serve(FakeZenodo({"LMHLD.zip": outer.getvalue(), "readme.md": b"hello"}, step=60_000)) as zenodo:
        monkeypatch.setenv(download.API_VARIABLE, zenodo.api)
        (catalogue_folder / "record.yaml").write_text(RECORD.format(doi=zenodo.doi))
        zenodo.mood["LMHLD.zip"] = "wrong"
        refused(r"LMHLD\.zip: .*MD5 expected", "record")
        assert not list((tmp_path / "data/record/download").iterdir())
        zenodo.mood["LMHLD.zip"] = "no-range"
        data = sources.get("record")
        assert data.areas == ("rio", "wenchuan") and len(data.scenes) == 14
        assert [scene.split for scene in data.scenes_of("rio")] == ["train"] * 4 + ["val"] * 2 + ["test"]
        assert "wenchuan         train      4 images" in capsys.readouterr().out
        requests = len(zenodo.requests)
        assert get("record") == data and len(zenodo.requests) == requests
        (tmp_path / "data/record/dataset.json").unlink()  # interrupted before the end: nothing is fetched again
        assert get("record") == data
        assert [path for path, _ in zenodo.requests[requests:]] == ["/api/records/4242"]


def test_an_ambiguous_folder_is_refused_with_a_template_to_complete(tmp_path):
    root = pairs(tmp_path / "patches", "Gorkha")
    pairs(root, "Gorkha", code=255, masks="label")
    template = tmp_path / "data/lmhld/layout.yaml"
    error = refused("two possible masks", "lmhld", root)
    assert error.startswith(f"{root}/Gorkha/images: ")
    assert error.endswith(f"complete {template} and repeat with --layout {template}")
    assert not (tmp_path / "data/lmhld/dataset.json").exists()
    refused("no file fits `masks: FILL IN`", "lmhld", root, template)
    completed = template.read_text().replace("FILL IN", "Gorkha/label/{id}.png")
    template.write_text(completed.replace("landslide_codes: [1]", "landslide_codes: [255]"))
    completed = template.read_text()
    data = get("lmhld", from_path=root, layout=template)
    assert data.areas == ("gorkha",) and data.scenes[0].resolution_m == 10.0
    assert read_all(data.scenes[1])[1].sum() == mask(1).sum()
    assert get("lmhld") == data
    refused(r"layout-2\.yaml", "lmhld", root)  # a completed template is not overwritten
    assert template.read_text() == completed
    write(root / "Gorkha/label/0.png", mask(3, 255))
    assert get("lmhld").fingerprint != data.fingerprint  # remembers the layout
    template.write_text("bandz: [red]")
    refused(r"layout\.yaml: unknown key 'bandz'", "lmhld", root, template)


def test_the_twin_is_made_and_made_again_when_its_recipe_changes(tmp_path, catalogue_folder, monkeypatch):
    made: list[twin.TwinSpec] = []

    def make(folder: Path, spec: twin.TwinSpec, workers: int = 2, progress: bool = True) -> list[Scene]:
        made.append(spec)
        path = write(folder / "rio/rio_0.tif", image(spec.seed))
        return [Scene("rio_0", "rio", path, ("blue", "green", "red", "nir"))]

    monkeypatch.setattr(twin, "make", make)
    (catalogue_folder / "tiny.yaml").write_text(TWIN.replace("SEED", "1"))
    first = get("tiny")
    assert first.synthetic and first.areas == ("rio",) and get("tiny") == first and len(made) == 1
    assert first.scenes[0].image == tmp_path / "data/tiny/rio/rio_0.tif"
    refused("is generated, not adopted; leave out --from", "tiny", tmp_path)
    first.scenes[0].image.unlink()
    refuses(r"rio_0\.tif: a file of data set 'tiny' is gone; run `lmhld data get tiny`", sources.load, "tiny")
    assert get("tiny") == first
    (catalogue_folder / "tiny.yaml").write_text(TWIN.replace("SEED", "2"))
    second = get("tiny")
    assert second.fingerprint != first.fingerprint and made[-1].seed == 2
    monkeypatch.setattr(twin, "TWIN_VERSION", 99)
    assert get("tiny").fingerprint not in (first.fingerprint, second.fingerprint)


SITES = {"Kodagu_India": "kodagu", "KAIKOURA_new zealand": "kaikoura", "A Luoi_Vietnam": "a_luoi"}
SITES |= {"Big Sur_United States": "big_sur_united_states", "Jiuzhaigou_China": "jiuzhaigou_china"}  # not the paper's


@pytest.mark.parametrize(("packing", "later", "code"), [
    ("GVLM_Change_Detection", "im2.png", 255),
    ("GVLM_Object_Extraction", "im.png", 1),
])  # fmt: skip
def test_gvlm_is_read_in_both_packings(tmp_path, packing, later, code):
    folder = tmp_path / "GVLM v1.0" / packing
    for number, site in enumerate(SITES):
        values = (image(number, bands=3) % 256).astype(np.uint8)
        write(folder / site / later, values)
        write(folder / site / "ref.png", mask(number, code))
        if later == "im2.png":
            write(folder / site / "im1.png", 255 - values)
    data = get("gvlm", from_path=folder.parent)
    assert set(data.areas) == set(SITES.values()) and data.bands == ("red", "green", "blue")
    for number, area in enumerate(SITES.values()):
        (scene,) = data.scenes_of(area)
        assert scene.name == area and scene.resolution_m == 0.59
        values, labels, valid = read_all(scene, ("blue", "green", "red"))
        assert np.array_equal(values, (image(number, bands=3) % 256)[::-1]) and valid.all()
        assert np.array_equal(labels, mask(number))


def test_a_luding_scene_of_ones_own_needs_no_labels(tmp_path):
    root = tmp_path / "planet"
    for name in ("plain", "masked", "outlined"):
        write(root / f"luding_{name}.tif", image(1), CRS)
    write(root / "luding_masked_mask.tif", mask(1), CRS)
    write_polygons(root / "luding_outlined_landslides.gpkg", mask(1) == 1)
    data = get("luding", from_path=root)
    assert data.areas == ("luding",) and data.bands == ("blue", "green", "red", "nir")
    masked, outlined, plain = data.scenes
    refuses("no mask and no polygons", read_all, plain)
    assert all(np.array_equal(read_all(scene)[1], mask(1)) for scene in (masked, outlined))
    write_polygons(root / "luding_masked_landslides.gpkg", mask(1) == 1)
    refused(r"has both luding_masked_mask\.tif and .*; remove one", "luding", root)


def test_check_says_what_is_there(folder, tmp_path):
    assert "fits the data set 'plain': 4 scenes, areas plain" in sources.check(folder)
    report = sources.check(pairs(pairs(tmp_path / "other", "taiwan", masks="gt", count=2), "taiwan", count=2))
    assert "two possible masks" in report and "template for --layout" in report
    mask_file = sources.check(folder / "rio/masks/0.png")
    assert mask_file.endswith("1 band, 16×16 pixels, uint8, no coordinate system, codes 0/1")
    assert "a.zip: archive, " in sources.check(zipped(folder, tmp_path / "a.zip"))
    path = write_tif(tmp_path / "float.tif", np.ones((4, 16, 16), np.float32), photometric="RGB", alpha="YES")
    assert "4 bands, 16×16 pixels, float32" in sources.check(path)
    refuses("neither image, polygons nor archive", sources.check, tmp_path / "catalogue/plain.yaml")
    refuses("no such file or folder", sources.check, tmp_path / "absent")


@pytest.mark.real
@pytest.mark.parametrize(("name", "sample", "scenes", "area", "share", "fingerprint"), [
    ("hokkaido", "hokkaido-2018-3m-rgb", 14, "hokkaido", 0.3771, "1e471d4bdb0b110f"),
    ("hokkaido-block", "hokkaido-2018-3m-rgb", 2, "hokkaido", None, "bef7e97c4d9007ec"),
    ("jinsha", "jinsha-uav-georef", 2, "jinsha_a", 0.219, "cc92e56a76e2b5a9"),
    ("landslide4sense", "landslide4sense-samples", 14, "landslide4sense", None, "513620c9c6c0a2c4"),
    ("bijie-flat", "bijie-landslide", 160, "bijie", None, "511bb841b39852a9"),
    ("gvlm", "gvlm-figure-thumbs", 4, "asakura_japan", 0.059, "f83614abfe9c1ec9"),
])  # fmt: skip
def test_real_samples_are_adopted_and_read(shared_data, name, sample, scenes, area, share, fingerprint):
    data = get(name, from_path=shared_data / sample)
    assert len(data.scenes) == scenes and data.areas[0] == area and data.fingerprint == fingerprint
    scene = data.scenes[0]
    bands = [band for band in ("blue", "green", "red", "nir") if band in scene.bands]
    values, labels, valid = read_all(scene, bands)
    assert values.shape == (len(bands), *labels.shape) and valid.any()
    if share is not None:
        assert (labels == 1).sum() / (labels != 255).sum() == pytest.approx(share, abs=1e-3)
    assert sources.load(name) == data
    if name == "jinsha":  # half of it is neither labelled nor data
        assert (labels != 255).mean() == pytest.approx(0.472, abs=5e-4) and valid[labels == 255].mean() < 0.001


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


def scene():
    """Return two tiles above and one below on the left, black towards the gap and in one pixel inside."""
    whole = np.random.default_rng(0).integers(1, 200, (2, 2 * SIDE, 2 * SIDE)).astype(np.uint8)
    whole[:, SIDE:, SIDE:] = whole[:, SIDE - 2 : SIDE, SIDE + 4 :] = whole[:, 4, 4] = 0
    return whole


def packed(root, top):
    buffer, link = io.BytesIO(), tarfile.TarInfo(f"{top}/link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc"
    with tarfile.open(fileobj=buffer, mode="w:gz") as target:
        target.addfile(link)
        target.add(root, top)
    return buffer.getvalue()


@pytest.fixture
def hub(tmp_path, catalogue_folder, monkeypatch):
    """Two repositories, and ``made`` in the catalogue; ``first/raw`` holds what was taken from them."""
    there, catalogue = tmp_path / "there", catalogue_folder
    for place, number in enumerate((1, 10, 11, 12, 2, 3, 4, 5, 6, 7, 8, 9)):  # as text is sorted
        write(there / f"tiles/data/x/image_{place}.tif", image(number, 2))
        write(there / f"tiles/data/x/mask_{place}.png", mask(number))
    for row, col in ((0, 0), (0, SIDE), (SIDE, 0)):
        write(there / f"scene/img/{row}_{col}.tif", scene()[:, row : row + SIDE, col : col + SIDE])
        write(there / f"scene/label/{row}_{col}.png", mask(0, 7))
    (catalogue / "made.yaml").write_text(DESCRIPTION)
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
    whole = hub.files["scene"]
    hub.files["scene"] = whole[:-200]
    refuses(r"b-scene.*truncated, damaged", get, "made")
    hub.files["scene"] = whole
    get("made")  # the rest of it is fetched, too
    shutil.rmtree(tmp_path / "data/made/raw")
    del hub.files["tiles"]
    (tmp_path / f"data/made/download/a-tiles-{'a' * 40}.tar.gz").unlink()
    refuses(r"answered 404 .*adopt it with --from", get, "made")


@pytest.mark.parametrize(("old", "new", "says"), [("a" * 40, "main", "commit"), ('"1-3"', '"3-"', "ids")])
def test_wrong_descriptions_of_archives_are_refused(catalogue_folder, old, new, says):
    (catalogue_folder / "made.yaml").write_text(DESCRIPTION.replace(old, new, 1))
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
    assert found.items() <= sources.describe("real-areas").source.sha256.items()
