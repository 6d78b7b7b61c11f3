"""ONNX: a network as one file for other programs, among them QGIS with the plugin Deepness, and `lmhld map`.

The graph takes values as a scene stores them, (batch, bands, height, width) float32, height and width multiples of 16,
and gives probabilities (batch, 1, height, width). It normalises by itself, with its initialisers ``mean`` and ``std``,
which a program may replace (onnxruntime: feed them). NaN, in the file of a network that was trained on scenes
normalised each by itself, stands for the statistics of each image that the graph is given.
"""

import importlib
import json
import math
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lmhld_nb.config import UserError, atomic_path
from lmhld_nb.mapping import prediction
from lmhld_nb.models.unet_3p import UpsampledConv

OPSET = 17
CLASSES = {"0": "background", "1": "landslide"}
TILE, OVERLAP, SMALL = 512, 25, 5  # of Deepness: px; percent; side of its median filter in px


class _Graph(nn.Module):
    """A network with its normalisation in front and a sigmoid behind."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        own_mean = image.mean((2, 3), keepdim=True)
        own_std = ((image - own_mean) ** 2).mean((2, 3), keepdim=True).sqrt().clamp(min=1e-6)
        mean, std = mean[None, :, None, None], std[None, :, None, None]
        mean, std = (torch.where(value.isnan(), own, value) for value, own in ((mean, own_mean), (std, own_std)))
        return torch.sigmoid(self.model((image - mean) / std).float())


def write(path: Path, model: nn.Module, card: dict[str, Any]) -> None:
    """Write a network in evaluation mode with its card and the metadata of Deepness, atomically.

    Statistics in the graph are the card's ``statistics``, or those of its one area where it was normalised by area;
    otherwise each image's own. UserError where onnx is not installed or the file cannot be written.
    """
    onnx = _needed("onnx")
    bands = len(card["bands"])
    statistics = statistics_of(card) or (np.full(bands, math.nan), np.full(bands, math.nan))
    for module in model.modules():
        if isinstance(module, UpsampledConv):
            module.literal = True  # the other way is for images of one size
    names, axes = ["image", "mean", "std"], {0: "batch", 2: "height", 3: "width"}
    example = (torch.rand(2, bands, 32, 48), torch.zeros(bands), torch.ones(bands))
    with atomic_path(path) as temporary, warnings.catch_warnings():
        # The exporter that traces is called legacy; the other one takes ten times as long, and a package more.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Graph(model).eval(), example, temporary, input_names=names, output_names=["probability"], dynamo=False,
            opset_version=OPSET, dynamic_axes={"image": axes, "probability": axes},
        )  # fmt: skip
        stored = onnx.load(temporary)
        for name, values in zip(names[1:], statistics, strict=True):
            stored.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(values, np.float32), name))
        for dimension in stored.graph.output[0].type.tensor_type.shape.dim:
            if dimension.dim_param in ("height", "width"):
                dimension.ClearField("dim_param")  # Deepness refuses an output whose sides have different names
        onnx.helper.set_model_props(stored, {key: json.dumps(value) for key, value in metadata(card).items()})
        onnx.checker.check_model(stored, full_check=True)
        onnx.save(stored, temporary)


def statistics_of(card: dict[str, Any]) -> prediction.Statistics | None:
    """Return the mean and standard deviation that a card fixes; None where each image has its own."""
    areas = list(card["areas"].values())
    if (stored := prediction.stored_statistics(card)) is None and card.get("normalise") == "area" and len(areas) == 1:
        return np.asarray(areas[0]["mean"], np.float32), np.asarray(areas[0]["std"], np.float32)
    return stored


def metadata(card: dict[str, Any]) -> dict[str, Any]:
    """Return what Deepness reads from a file, by its names, and the ``card``.

    Deepness divides by 255, takes ``standardization_mean`` away and divides by ``standardization_std``: 0 and 1 / 255
    give the graph the stored values back. It reads images of 8 bits, bands in the order of ``bands``.
    """
    bands, metres = len(card["bands"]), [a["resolution_m"] for a in card["areas"].values() if a.get("resolution_m")]
    return {
        "model_type": "Segmentor",
        "class_names": CLASSES,
        **({"resolution": 100 * float(np.median(metres))} if metres else {}),
        "tile_size": TILE,
        "tiles_overlap": OVERLAP,
        "seg_thresh": float(card.get("threshold", 0.5)),
        "seg_small_segment": SMALL,
        "standardization_mean": [0.0] * bands,
        "standardization_std": [1 / 255] * bands,
        "bands": card["bands"],
        "normalisation": "fixed" if statistics_of(card) else "of each image",
        "card": card,
    }


def mlm(card: dict[str, Any], parameters: int) -> dict[str, Any]:
    """Return the fields of STAC's Machine Learning Model extension (1.4) for a network's ONNX file."""
    order, tasks = ["batch", "channel", "height", "width"], ["semantic-segmentation"]
    bands = card["bands"]
    classes = [{"value": int(value), "name": name} for value, name in CLASSES.items()]
    return {
        "mlm:name": f"{card['model']}-{card['run_id']}",
        "mlm:architecture": card["model"],
        "mlm:tasks": tasks,
        "mlm:framework": "ONNX",
        "mlm:total_parameters": parameters,
        "mlm:pretrained": True,
        "mlm:batch_size_suggestion": 1,
        "mlm:input": [{
            "name": "image", "bands": list(bands), "value_scaling": None, "resize_type": None,
            "input": {"shape": [-1, len(bands), -1, -1], "dim_order": order, "data_type": "float32"},
        }],
        "mlm:output": [{
            "name": "probability", "tasks": tasks, "classification:classes": classes,
            "result": {"shape": [-1, 1, -1, -1], "dim_order": order, "data_type": "float32"},
        }],
    }  # fmt: skip


class OnnxNetwork(nn.Module):
    """A network that onnxruntime computes on the CPU: normalised images (N, bands, H, W) → logits (N, 1, H, W)."""

    def __init__(self, session: Any, bands: int, width: int) -> None:
        super().__init__()
        self.session = session
        self.normalised = {"mean": np.zeros(bands, np.float32), "std": np.ones(bands, np.float32)}
        # What `suitable_batch` reads the width of a network from.
        self.first = nn.Parameter(torch.zeros(width, 1, 1, 1), requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        values = images.contiguous(memory_format=torch.contiguous_format).numpy()
        (probability,) = self.session.run(None, {"image": values, **self.normalised})
        return torch.logit(torch.from_numpy(probability), eps=1e-7)


def load(path: Path) -> tuple[OnnxNetwork, dict[str, Any]]:
    """Return a network of `write` and its card; UserError where the file is none, or onnxruntime is not installed."""
    runtime = _needed("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1  # windows are predicted side by side
    try:
        content = path.read_bytes()  # from memory, a graph cannot refer to other files
        session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        card = json.loads(session.get_modelmeta().custom_metadata_map["card"])
        width = int(card.get("width") or card["members"][0]["width"])
        return OnnxNetwork(session, len(card["bands"]), width), card
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; write it with `lmhld export`") from None
    except Exception as error:  # onnxruntime has its own
        detail = " ".join(str(error).split())[:120]
        raise UserError(f"{path}: no network of this book ({detail}); give a file of `lmhld export`") from error


def _needed(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(f"{name} is not installed; pip install 'lmhld-nb[onnx]' brings it") from None
