"""Further bands: change since an image from before the event, elevation and slope, stacked on a scene's own."""

import json
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from made import CRS, TRANSFORM, blobs, image_of, refuses, scene, write_tif
from mapped import draw, read, write_weights

from lmhld_nb import mapping, scenes, twin
from lmhld_nb.mapping import further, start
from lmhld_nb.mapping.labelled import LabelFile
from lmhld_nb.scenes.rasters import Window
from lmhld_nb.scenes.scene import BANDS, Scene
from lmhld_nb.training import weights as networks

SHAPE = (128, 144)
DISCS = blobs(*SHAPE, 12, seed=1, radius=(4, 9))
OLD = blobs(*SHAPE, 40, seed=2, radius=(4, 9)) & ~DISCS  # bare ground before and after: bright as landslides
CHANGES = tuple(f"{band}_change" for band in BANDS)
HEIGHTS = np.add.outer(np.zeros(SHAPE[0]), 3 * np.tan(np.radians(20)) * np.arange(SHAPE[1])).astype(np.float32)


@pytest.fixture(scope="module")
def event(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Scene]:
    folder = tmp_path_factory.mktemp("pair")
    write_tif(folder / "before.tif", image_of(OLD), nodata=0)
    write_tif(folder / "dem.tif", HEIGHTS)
    write_tif(folder / "codes.tif", DISCS.astype(np.uint8))
    return folder, scene(folder, DISCS | OLD, labels="none", seed=3)


def test_changes_are_differences_and_what_lacks_data_in_one_lacks_it_in_all(tmp_path, event):
    folder, _ = event
    earlier, later = image_of(OLD), image_of(DISCS | OLD, 3)
    earlier[:, 5, 7], earlier[0, 9, 9], later[:, 6, 8] = 0, 0, 0  # (9, 9) is only dark in one band
    before, image = (write_tif(tmp_path / f"{k}.tif", one, nodata=0) for k, one in enumerate((earlier, later)))
    bands = (*BANDS, *CHANGES, *further.TERRAIN)
    with ExitStack() as stack:
        opened = stack.enter_context(scenes.open_image(Scene("b", "b", image, BANDS)))
        stacked = further.stacked(stack, opened, bands, before, folder / "dem.tif")
        values = stacked.read(Window(4, 5, 40, 50), bands)
        assert stacked.scene.bands == bands
        red = stacked.read(Window(4, 5, 40, 50), ("red",))
        hidden = ~stacked.valid(values)
    assert np.argwhere(hidden).tolist() == [[1, 2], [2, 3]] and np.isfinite(red[0, 1, 2])  # seen, if not before
    later, earlier = (one[:, 4:44, 5:55].astype(float) for one in (later, earlier))
    assert np.array_equal(values[:8, ~hidden], np.concatenate([later, later - earlier])[:, ~hidden])
    assert values[9, 8:, 10:] == pytest.approx(20, abs=0.01)
    assert np.nanmax(np.abs(values[8] - HEIGHTS[4:44, 5:55])) < 12 * np.tan(np.radians(20))  # cells of 12 m


def test_a_pair_of_the_twin_differs_by_its_landslides_and_noise(tmp_path):
    task = twin.SceneTask("gorkha", 0, 8, seed=1)
    twin.scene.make_scene(tmp_path, task)
    twin.scene.write_before(tmp_path / "before.tif", task)
    slides = twin.scene.lay_out(task).slides.label > 0
    change = read(tmp_path / "gorkha/gorkha_0.tif").astype(float) - read(tmp_path / "before.tif")
    assert np.median(np.abs(change[slides])) > 5 * np.median(np.abs(change[~slides]))


def test_a_network_of_pairs_and_terrain_says_so_and_maps_only_with_them(event, call):
    folder, after = event
    given = {"before": folder / "before.tif", "dem": folder / "dem.tif"}
    settings = mapping.LearnSettings(2, 32, workers=1, device="cpu", **given)
    card = mapping.learn(after, LabelFile(folder / "codes.tif"), folder / "net", settings=settings, progress=False)
    assert card["bands"] == (*BANDS, *CHANGES, *further.TERRAIN)
    assert (card["settings"]["before"], card["settings"]["dem"]) == ("before.tif", "dem.tif")
    # What shone before and shines now is told apart by the change alone: so a plain threshold is tried on it.
    assert any("_change from" in row["candidate"] for row in card["candidates"])
    file = folder / "net/network.safetensors"
    report = draw(after, file, folder / "map", **given)
    assert report["bands"] == list(card["bands"]) and report["valid_px"] == DISCS.size and not report["unlike"]
    coarse = draw(after, file, folder / "coarse", **given, resolution=6.0)
    assert coarse["resampled"] and coarse["valid_px"] == DISCS.size
    refuses("needs the change since a pre-event image; give that image with --before", draw, after, file, folder / "no")
    refuses("needs elevation and slope", draw, after, file, folder / "no", before=folder / "before.tif")
    names = ("--bands", ",".join(BANDS), "--quiet", "--dem", given["dem"])
    pair = ("--before", given["before"])
    assert call("map", after.image, "--weights", file, "--out", folder / "again", *names, *pair)[::2] == (0, "")
    assert np.array_equal(read(folder / "again/probability.tif"), read(folder / "map/probability.tif"))
    plain = write_weights(folder / "plain.safetensors")
    code, _, err = call("learn", after.image, folder / "codes.tif", "--out", folder / "x", *names, "--from", plain)
    assert code == 2 and "plain.safetensors: was not trained on elevation" in err and err.count("\n") == 1


@pytest.mark.parametrize(("values", "crs", "name", "message"), [
    (image_of(OLD)[:, 1:], CRS, "other.tif", "is on another grid than a.tif"),
    (image_of(OLD), "EPSG:32655", "other.tif", "is on another grid than a.tif"),
    (image_of(OLD)[:3], CRS, "other.tif", "export it with the same bands in the same order"),
    (image_of(DISCS), CRS, "a.tif", "is the scene itself"),
])  # fmt: skip
def test_an_earlier_image_that_does_not_fit_is_refused(tmp_path, values, crs, name, message):
    after = scene(tmp_path, DISCS, labels="mask")
    write_tif(tmp_path / name, values, crs, TRANSFORM, nodata=0)
    settings = mapping.LearnSettings(2, 32, before=tmp_path / name)
    refuses(message, mapping.learn, after, LabelFile(after.mask), tmp_path / "net", settings=settings)
    plain = write_weights(tmp_path / "plain.safetensors")
    refuses("was not trained on pairs", draw, after, plain, tmp_path / "map", before=tmp_path / name)


def test_the_network_to_begin_with_is_the_one_that_its_card_describes(tmp_path, call, monkeypatch):
    card = json.loads(start.FILE.with_suffix(".json").read_text(encoding="utf-8"))
    model, stored = networks.load(start.FILE)
    assert {key: stored[key] for key in card} == card and start.FILE.stat().st_size < 6e6
    assert len(model.members) == len(card["trained_on"]) and set(card["trained_on"]) == set(card["areas"])
    never = {area for area, row in card["scores"].items() if row["seen"] == "never"}
    assert never and not never & set(card["areas"]) and "MIT" in card["licence"]
    monkeypatch.setenv("LMHLD_DATA", str(tmp_path))
    code, out, _ = call("data", "get", "weights")
    assert code == 0 and all(f"F1 {row['f1']:.3f}" in out for row in card["scores"].values())
    page = (Path(__file__).parents[1] / "book" / "mapping.md").read_text(encoding="utf-8")
    for area, row in card["scores"].items():
        assert f"| {row['f1']:.2f} | {row['index_f1']:.2f} | {row['all_landslide_f1']:.2f} |" in page, area
    got = tmp_path / "weights" / start.FILE.name
    assert draw(scene(tmp_path, DISCS, labels="none"), got, tmp_path / "map")["valid_px"] == DISCS.size
