"""Exports: a run's network as one portable file, with a model card."""

import json
from pathlib import Path
from typing import Any

import safetensors
import torch

import lmhld_nb
from lmhld_nb.config import UserError, runs_dir, write_json
from lmhld_nb.mapping import onnx_files
from lmhld_nb.training import weights as networks
from lmhld_nb.training.weights import write_tensors


def export(source: str, out: Path, force: bool = False, deepness: bool = False) -> tuple[Path, Path]:
    """Write a network with its card to ``out`` (.safetensors or .onnx), and the card as JSON beside it.

    ``source`` is the id of a finished run, or a .safetensors file (e.g. from `lmhld learn`). The card holds model,
    width, bands, patch sizes, resolution, normalisation, data sets and their fingerprints, scores on the test patches,
    and versions; for an ONNX file also the fields of STAC's Machine Learning Model extension. ``deepness`` writes the
    ONNX file that the QGIS plugin Deepness reads. Returns both files. UserError if there is no such network, the suffix
    is wrong, the file cannot be written, or it exists and is not an earlier export (unless ``force``; files of the
    store are never replaced).
    """
    if out.suffix not in (".safetensors", ".onnx"):
        raise UserError(f"{out}: must end in .safetensors, or .onnx for other programs")
    if deepness and out.suffix != ".onnx":
        raise UserError(f"{out}: Deepness reads ONNX; give a file that ends in .onnx")
    card_file = out.with_suffix(".json")
    is_file = source.endswith(".safetensors")
    folder = Path(source).parent if is_file else runs_dir() / source
    for path in (out, card_file):
        is_stored = path.exists() and any(path.samefile(file) for file in folder.glob("*"))
        if is_stored or path.resolve().is_relative_to(runs_dir()):
            raise UserError(f"{path}: is in the run store; choose another file")
        if path.exists() and not force and not _is_export(path):
            reason = "exists and is not an export of this book"
            raise UserError(f"{path}: {reason}; choose another file, or replace it with --force")
    weights = Path(source) if is_file else folder / "weights.safetensors"
    tensors, card = networks.read(weights) if is_file else _of_run(folder, weights)
    card["exported_with"] = {module.__name__: module.__version__ for module in (lmhld_nb, torch, safetensors)}
    if out.suffix == ".onnx":
        model, _ = networks.load(weights)
        card |= onnx_files.mlm(card, model, deepness)
        onnx_files.write(out, model, card, deepness)
    else:
        write_tensors(out, tensors, {"card": json.dumps(card)}, sealed=True)
    write_json(card_file, card)
    return out, card_file


def _of_run(folder: Path, weights: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return a finished run's tensors, and its card completed from the run's other files."""
    names = ("spec.json", "metrics.json", "environment.json")
    try:
        spec, metrics, environment = (json.loads((folder / name).read_text("utf-8")) for name in names)
        tensors, card = networks.read(weights)
        for patch_set in spec["data"]:
            area = card["areas"][patch_set["area"]]
            area |= {name: patch_set[name] for name in ("dataset", "fingerprint", "min_share", "split")}
            area["test"] = metrics["areas"].get(patch_set["area"])
        card |= {name: metrics[name] for name in ("precision", "test")}
        card |= {name: spec[name] for name in ("recipe", "seed", "engine")} | {"trained_with": environment}
    except (FileNotFoundError, NotADirectoryError) as error:
        reason = f"no finished run ({Path(error.filename).name} is missing)"
        raise UserError(f"{folder}: {reason}; `lmhld plan PROFILE` lists them") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{folder}: damaged ({error!r}); make the run again with `lmhld run`") from error
    return tensors, card


def _is_export(path: Path) -> bool:
    try:
        if not path.is_file():
            return False
        readers = {".safetensors": networks.read, ".onnx": onnx_files.load}
        card = readers[path.suffix](path)[1] if path.suffix in readers else json.loads(path.read_text("utf-8"))
        return {"run_id", "areas", "bands"} <= set(card)
    except (UserError, OSError, ValueError, TypeError, RecursionError):
        return False
