"""ONNX: a network as one file for other programs, such as QGIS, and for `lmhld map`.

The graph takes values as stored in the scene, (batch, bands, height, width) float32, height and width multiples of 16,
and returns probabilities (batch, 1, height, width). Normalisation is part of it, with the initialisers ``mean`` and
``std``, which a program may replace (onnxruntime: feed them). If the network was trained on scenes normalised one by
one, they are NaN, which stands for the statistics of each input image.

The QGIS plugin Deepness needs another graph: square tiles of one size, values divided by 255, and two classes, of which
it takes the larger one.
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

from lmhld_nb.config import UserError, atomic_path, check_kind, short
from lmhld_nb.models.unet_3p import UpsampledConv
from lmhld_nb.training import weights

OPSET = 17
CLASSES = {"0": "background", "1": "landslide"}
TILE, OVERLAP, SMALL = 512, 25, 5  # of Deepness: px; percent; side of its median filter in px


class _Graph(nn.Module):
    """A network preceded by its normalisation and followed by a sigmoid; with a ``threshold``, as Deepness needs it."""

    def __init__(self, model: nn.Module, threshold: float | None) -> None:
        super().__init__()
        self.model, self.threshold = model, threshold

    def forward(self, image: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        if self.threshold is not None:
            image = image * 255
        own_mean = image.mean((2, 3), keepdim=True)
        own_std = ((image - own_mean) ** 2).mean((2, 3), keepdim=True).sqrt().clamp(min=1e-6)
        mean, std = mean[None, :, None, None], std[None, :, None, None]
        mean, std = (torch.where(value.isnan(), own, value) for value, own in ((mean, own_mean), (std, own_std)))
        logits = self.model((image - mean) / std).float()
        if self.threshold is None:
            return torch.sigmoid(logits)
        # The classes are equal where the probability is the threshold.
        landslide = torch.sigmoid(logits - math.log(self.threshold / (1 - self.threshold)))
        return torch.cat([1 - landslide, landslide], dim=1)


def write(path: Path, model: nn.Module, card: dict[str, Any], deepness: bool = False) -> None:
    """Write a network in evaluation mode with its card atomically; with ``deepness``, the file for that plugin.

    The graph holds the statistics of the card's only area if normalisation was by area; otherwise it uses each image's
    own. UserError if onnx is not installed or the file cannot be written.
    """
    onnx = _needed("onnx")
    bands, areas = len(card["bands"]), list(card["areas"].values())
    is_fixed = card.get("normalise") == "area" and len(areas) == 1
    statistics = [areas[0][name] if is_fixed else [math.nan] * bands for name in ("mean", "std")]
    for module in model.modules():
        if isinstance(module, UpsampledConv):
            module.literal = True  # the alternative is for images of one size
    names, axes = ["image", "mean", "std"], {0: "batch", 2: "height", 3: "width"}
    example = (torch.rand(2, bands, 32, 48), torch.zeros(bands), torch.ones(bands))
    graph = _Graph(model, float(card.get("threshold", 0.5)) if deepness else None).eval()
    with atomic_path(path) as temporary, warnings.catch_warnings():
        # The tracing exporter is called legacy; the other takes ten times as long and needs another package.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph, example, temporary, input_names=names, output_names=["probability"], dynamo=False,
            opset_version=OPSET, dynamic_axes={"image": axes, "probability": axes},
        )  # fmt: skip
        stored = onnx.load(temporary)
        for name, values in zip(names[1:], statistics, strict=True):
            stored.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(values, np.float32), name))
        if deepness:
            for value in (stored.graph.input[0], stored.graph.output[0]):
                for dimension in value.type.tensor_type.shape.dim[2:]:
                    dimension.dim_value = TILE
        about = metadata(card) if deepness else {"card": card}
        about |= {"bands": card["bands"], "normalisation": "fixed" if is_fixed else "of each image"}
        onnx.helper.set_model_props(stored, {key: json.dumps(value) for key, value in about.items()})
        onnx.checker.check_model(stored, full_check=True)
        onnx.save(stored, temporary)


def metadata(card: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata that Deepness reads, under its names: resolution in cm, overlap in percent."""
    metres = [area["resolution_m"] for area in card["areas"].values() if area.get("resolution_m")]
    return {
        "model_type": "Segmentor",
        "class_names": CLASSES,
        **({"resolution": 100 * float(np.median(metres))} if metres else {}),
        "tile_size": TILE,  # read by its code
        "tiles_size": TILE,  # according to its documentation
        "tiles_overlap": OVERLAP,
        "seg_thresh": 0.5,
        "seg_small_segment": SMALL,
    }


def mlm(card: dict[str, Any], model: nn.Module, deepness: bool) -> dict[str, Any]:
    """Return the fields of STAC's Machine Learning Model extension (1.4) for a network's ONNX file."""
    side = TILE if deepness else -1
    tasks = ["semantic-segmentation"]
    kind = {"dim_order": ["batch", "channel", "height", "width"], "data_type": "float32"}
    scaling = [{"type": "scale", "value": 255}] * len(card["bands"]) if deepness else None
    given = {"shape": [-1, len(card["bands"]), side, side], **kind}
    image = {"name": "image", "bands": card["bands"], "input": given, "value_scaling": scaling, "resize_type": None}
    made = {"shape": [-1, 2 if deepness else 1, side, side], **kind}
    classes = [{"value": int(value), "name": name} for value, name in CLASSES.items()]
    return {
        "mlm:name": f"{card['model']}-{card['run_id']}",
        "mlm:architecture": card["model"],
        "mlm:tasks": tasks,
        "mlm:framework": "ONNX",
        "mlm:total_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "mlm:input": [image],
        "mlm:output": [{"name": "probability", "tasks": tasks, "result": made, "classification:classes": classes}],
    }


class OnnxNetwork(nn.Module):
    """A network run by onnxruntime on the CPU: normalised images (N, bands, H, W) → logits (N, 1, H, W)."""

    def __init__(self, session: Any, bands: int, width: int) -> None:
        super().__init__()
        self.session = session
        self.normalised = {"mean": np.zeros(bands, np.float32), "std": np.ones(bands, np.float32)}
        # From this, `suitable_batch` reads the width of a network.
        self.first = nn.Parameter(torch.zeros(width, 1, 1, 1), requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        values = images.contiguous(memory_format=torch.contiguous_format).numpy()
        (probability,) = self.session.run(None, {"image": values, **self.normalised})
        return torch.logit(torch.from_numpy(probability), eps=1e-7)


def load(path: Path) -> tuple[OnnxNetwork, dict[str, Any]]:
    """Return a network written by `write` and its card; UserError for another file, or without onnxruntime."""
    runtime = _needed("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1  # windows are predicted in parallel
    check_kind(path)
    try:
        content = path.read_bytes()  # loaded from memory, a graph cannot refer to other files
        session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        card = weights.card_of(session.get_modelmeta().custom_metadata_map["card"])
        return OnnxNetwork(session, len(card["bands"]), int(card.get("width") or card["members"][0]["width"])), card
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; write it with `lmhld export`") from None
    except Exception as error:  # onnxruntime has its own classes
        problem = f"not a network of this book ({short(error)})"
        raise UserError(f"{path}: {problem}; give a file from `lmhld export`") from error


def _needed(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(f"{name} is not installed: .venv/bin/pip install -c constraints.txt -e '.[onnx]'") from None
