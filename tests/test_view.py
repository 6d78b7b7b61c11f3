"""The live map: what its page holds, that it needs nothing else, and that no name in it is taken for code."""

import base64
import html
import io
import json
import re
from unittest.mock import Mock

import numpy as np
import PIL.Image
import pytest
from made import blobs, image_of, refuses, scene, write_tif
from mapped import draw, names, read

import lmhld_nb as lm
from lmhld_nb.evaluation import Confusion
from lmhld_nb.mapping import page
from lmhld_nb.mapping.folder import digests
from lmhld_nb.patches.patch_sets import PatchSpec
from lmhld_nb.runs import Run
from lmhld_nb.scenes.scene import BANDS, Scene
from lmhld_nb.training.specs import RunSpec

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&"


def data_of(text: str) -> dict:
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    return json.loads(found)


def pixels(address: str) -> np.ndarray:
    kind, _, content = address.partition(",")
    assert kind == "data:image/webp;base64"
    return np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(content))))[..., 0]


def test_the_page_of_a_map_holds_what_the_rasters_hold(tmp_path, weights):
    event, out = scene(tmp_path / "scene", blobs(60, 70, 3)), tmp_path / "out"
    report = draw(event, weights, out, view=True, threshold=0.4637, min_area_px=7)
    text = (out / "view.html").read_text(encoding="utf-8")
    assert report["sha256"]["view.html"] == digests(out)["view.html"]
    data = data_of(text)
    assert (data["height"], data["width"], data["step"], data["least_px"]) == (60, 70, 1, 7)
    assert data["threshold"] == 0.4637 and data["threshold"] in data["levels"] and len(data["levels"]) == 100
    (network,), probability = data["networks"], read(out / "probability.tif")
    reached = pixels(network["probability"])
    for number, level in enumerate(data["levels"]):
        assert np.array_equal(reached > number, probability >= level), "a threshold of the page is one of the raster"
    truth = pixels(data["truth"])
    counts = Confusion.of(reached > data["levels"].index(0.4637), truth == 1, truth != 255)
    assert counts.f1 == pytest.approx(report["scores"]["f1"])
    draw(event, weights, out)
    assert "view.html" not in names(out), "an older map's page does not pass for this one's"


def test_no_data_is_no_probability_and_without_labels_nothing_is_scored(tmp_path, weights):
    values, out = image_of(blobs(40, 50, 3)), tmp_path / "out"
    values[:, :10] = 0
    draw(Scene("x", "x", write_tif(tmp_path / "x.tif", values, nodata=0), BANDS), weights, out, view=True)
    data = data_of((out / "view.html").read_text(encoding="utf-8"))
    assert data["truth"] is None
    assert np.array_equal(pixels(data["networks"][0]["probability"]) == 255, read(out / "probability.tif") < 0)


def test_a_large_scene_is_thinned_until_the_page_is_light_and_says_so(tmp_path, weights, monkeypatch):
    monkeypatch.setattr(page, "LONGEST", 30)
    event, out = scene(tmp_path / "scene", blobs(60, 70, 3)), tmp_path / "out"
    draw(event, weights, out, view=True, min_area_px=18)
    data = data_of((out / "view.html").read_text(encoding="utf-8"))
    assert (data["height"], data["width"], data["step"], data["least_px"]) == (20, 24, 3, 2)
    assert data["pixel_m2"] == pytest.approx(9 * np.prod(json.loads((out / "map.json").read_text())["pixel_m"]))
    assert "One pixel in 3" in data["notes"][0]


def test_names_are_text_and_the_page_asks_for_nothing(tmp_path):
    described = {"title": HOSTILE, "about": HOSTILE, "notes": [HOSTILE], "networks": [{"name": HOSTILE}]}
    text = page.page(described)
    assert data_of(text) == described and text.count("</script>") == 3 and "<img src=x" not in text
    assert not re.search(r'(src|href)="', text.split("<script>")[0])
    assert "default-src 'none'" in text and "Vladimir Agafonkin" in text and "Redistribution and use" in text
    assert len(text) < 200_000
    script = (page.FOLDER / "page.js").read_text(encoding="utf-8")
    assert not re.search("innerHTML|insertAdjacentHTML|document.write|eval", script)
    frame = page.frame(text).data
    assert frame.count("<") == 4 and HOSTILE not in frame


def test_view_takes_one_run_or_two_and_shows_the_scene_until_they_have_mapped_it(tmp_path, monkeypatch):
    event = scene(tmp_path / "scene", blobs(60, 60, 3))
    for runs in ([], [None] * 3):
        refuses(f"{len(runs)} runs given; give one, or two", lm.view, event, runs)
    display, described = Mock(), page.of_runs
    spec = RunSpec.model_construct(model="unet", data=(PatchSpec.model_construct(bands=BANDS),))

    def of_runs(scene, runs, mapped=True, **more):
        assert mapped == display.called, "a network is at work, and there is nothing to look at"
        return described(scene, runs, mapped=False, **more)

    monkeypatch.setattr(page, "display", display)
    monkeypatch.setattr(page, "of_runs", of_runs)
    lm.view(event, Run(spec, tmp_path, {}))
    first = data_of(html.unescape(display.call_args.args[0].data))
    assert first["about"].startswith("U-Net will be shown") and pixels(first["image"]).shape == (60, 60)
    display.return_value.update.assert_called_once()
