"""ONNX files: the same probabilities as torch at any size, and metadata as Deepness reads them."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made import blobs, image_of, refuses, write_tif
from mapped import draw, read

from lmhld_nb import mapping, models
from lmhld_nb.mapping import export as exports
from lmhld_nb.mapping import onnx_files
from lmhld_nb.scenes.scene import BANDS
from lmhld_nb.training.weights import Ensemble

onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
SIZES = [(1, 16, 16), (2, 32, 48), (1, 64, 64), (3, 80, 32), (1, 112, 128)]
MEAN, STD = [100.0, 90.0, 80.0], [30.0, 20.0, 10.0]


def card_of(**changes: Any) -> dict[str, Any]:
    areas = {"made": {"patch_size": 32, "mean": MEAN, "std": STD, "resolution_m": 3.0}}
    card = {"run_id": "0" * 16, "model": "unet", "width": 2, "bands": ["blue", "green", "red"], "areas": areas}
    return {**card, "normalise": "area", **changes}


def network(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return models.build(name, 3, 8 if name == "trans_unet" else 2).eval()


def session_of(path: Path) -> Any:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def probability(model: torch.nn.Module, values: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return torch.sigmoid(model(torch.from_numpy((values - mean) / std).float())).numpy()


@pytest.mark.parametrize("name", models.NAMES)
def test_networks_agree_with_torch_at_any_size_and_batch(tmp_path, name):
    model, path = network(name), tmp_path / "net.onnx"
    onnx_files.write(path, model, card_of())
    session, random = session_of(path), np.random.default_rng(0)
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (MEAN, STD))
    for count, height, width in SIZES:
        values = random.uniform(0, 255, (count, 3, height, width)).astype(np.float32)
        (found,) = session.run(None, {"image": values})
        assert found.shape == (count, 1, height, width)
        assert np.abs(found - probability(model, values, mean, std)).max() < 1e-4
    assert onnx.load(path).opset_import[0].version >= 17


def test_a_network_of_scenes_normalises_each_image_by_itself_unless_told(tmp_path):
    path, members = tmp_path / "net.onnx", [network("unet"), network("res_unet")]
    model = Ensemble(members, [1, 3], temperature=2.0)
    onnx_files.write(path, model, card_of(normalise="scene", threshold=0.4))
    values = np.random.default_rng(0).uniform(0, 4000, (2, 3, 32, 48)).astype(np.float32)
    own = [np.array([function(image, (1, 2)) for image in values])[..., None, None] for function in (np.mean, np.std)]
    (found,) = session_of(path).run(None, {"image": values})
    assert found == pytest.approx(probability(model, values, *own), abs=1e-4)
    fed = {"mean": np.full(3, 2000, np.float32), "std": np.full(3, 900, np.float32)}
    (found,) = session_of(path).run(None, {"image": values, **fed})
    assert found == pytest.approx(probability(model, values, np.float32(2000), np.float32(900)), abs=1e-4)
    assert session_of(path).get_modelmeta().custom_metadata_map["normalisation"] == '"of each image"'


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8])
def test_deepness_reads_its_file(tmp_path, threshold):
    """As its code does: sides from the one input, values as JSON of these types, 8 bits / 255, the larger class."""
    path, model = tmp_path / "net.onnx", network("unet")
    onnx_files.write(path, model, card_of(threshold=threshold), deepness=True)
    session = session_of(path)
    (only,), (output,) = session.get_inputs(), session.get_outputs()
    assert only.shape[-3:] == [3, 512, 512] and output.shape[-3:] == [2, 512, 512]
    stored = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    assert stored["class_names"] == {"0": "background", "1": "landslide"}
    assert float(stored["resolution"]) == 300  # cm
    for key in ("tile_size", "tiles_overlap", "seg_small_segment"):
        assert type(stored[key]) is int and stored[key] >= 0
    assert stored["tile_size"] == 512 and stored["tiles_overlap"] < 100 and stored["bands"] == ["blue", "green", "red"]
    tile = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)
    (result,) = session.run(None, {only.name: np.float32(tile[None] * 1.0 / 255.0).transpose(0, 3, 1, 2)})
    result[result < stored["seg_thresh"]] = 0
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (MEAN, STD))
    expected = probability(model, tile.transpose(2, 0, 1)[None].astype(np.float32), mean, std)[:, 0]
    is_certain = np.abs(expected - threshold) > 1e-4
    assert np.array_equal(result.argmax(axis=1)[is_certain] == 1, (expected >= threshold)[is_certain])
    refuses(r"net\.onnx: not a network of this book", onnx_files.load, path)


def test_an_onnx_file_maps_as_its_network_and_its_card_has_the_fields_of_stac_mlm(tmp_path, weights):
    scene = mapping.scene_of_file(write_tif(tmp_path / "a.tif", image_of(blobs(90, 100, 5))), BANDS)
    onnx_file, _ = exports.export(str(weights), tmp_path / "net.onnx")
    outs = {path: tmp_path / path.suffix[1:] for path in (onnx_file, weights)}
    assert {draw(scene, path, out)["run_id"] for path, out in outs.items()} == {"0" * 16}
    one, other = (read(out / "probability.tif") for out in outs.values())
    assert one == pytest.approx(other, abs=1e-4)
    _, card_file = exports.export(str(weights), onnx_file)  # over an earlier export
    card = json.loads(card_file.read_text())
    required = {"mlm:name", "mlm:architecture", "mlm:tasks", "mlm:input", "mlm:output"}
    assert required <= set(card) and card["mlm:tasks"] == ["semantic-segmentation"]
    (given,), (made,) = card["mlm:input"], card["mlm:output"]
    assert given["bands"] == card["bands"] and given["input"]["shape"][1] == made["result"]["shape"][1] * 4
    assert {"shape", "dim_order", "data_type"} <= set(given["input"]) & set(made["result"])
    refuses("Deepness reads ONNX", exports.export, str(weights), tmp_path / "net.safetensors", deepness=True)
    assert [entry["value"] for entry in made["classification:classes"]] == [0, 1]


def test_files_that_are_no_network_and_a_missing_package_are_named(tmp_path, monkeypatch):
    path = tmp_path / "net.onnx"
    refuses(r"net\.onnx: no such file; write it with `lmhld export`", onnx_files.load, path)
    path.write_bytes(b"junk")
    refuses(r"net\.onnx: not a network of this book", onnx_files.load, path)
    onnx_files.write(path, network("unet"), card_of())
    stored = onnx.load(path)
    del stored.metadata_props[:]
    onnx.save(stored, path)
    refuses(r"net\.onnx: not a network of this book", onnx_files.load, path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    refuses(r"onnxruntime is not installed: .venv.bin.pip install -c", onnx_files.load, path)
