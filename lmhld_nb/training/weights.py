"""Weights on disk, all as safetensors (no pickle): networks with a model card, and checkpoints."""

import hashlib
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import safetensors
import safetensors.torch
import torch
from pydantic import AfterValidator, Field, ValidationError
from torch import Tensor, nn
from tqdm import tqdm

from lmhld_nb import models, seals
from lmhld_nb.config import Positive, Strict, UserError, atomic_path, check_kind, each_once, explain, printable, short
from lmhld_nb.patches.patch_sets import PatchSet
from lmhld_nb.training.specs import RunSpec, Width

# Raised on reading a file that is damaged or something else.
_UNREADABLE = (
    OSError, safetensors.SafetensorError, ValueError, LookupError, TypeError, AttributeError, RuntimeError,
    ArithmeticError,
)  # fmt: skip


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str], sealed: bool = False) -> None:
    """Write tensors from any device into a safetensors file, atomically; UserError if it cannot be written.

    ``sealed``: with a digest of its content, for files without a metrics.json that has one.
    """
    # Tensors that share memory are refused, clones are not.
    own = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    metadata = {**metadata, "digest": _digest_of(own, metadata)} if sealed else metadata
    with atomic_path(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode
        try:
            safetensors.torch.save_file(own, temporary, metadata=metadata)  # not `save`, which needs twice their memory
        except safetensors.SafetensorError as error:
            raise OSError(str(error)) from error  # a full disk has no errno there
        temporary.chmod(mode)  # safetensors makes files that only the owner may read, whatever the umask


def _digest_of(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Return the SHA-256 of a file's content."""
    said = {name: text for name, text in metadata.items() if name != "digest"}
    content = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    for name, value in sorted(tensors.items()):
        content.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        content.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return content.hexdigest()


def digest(weights: Path) -> str:
    """Return 16 hex digits of a weights file's content."""
    return seals.digest_once(weights)[:16]


def copy_of(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of a model's weights and statistics."""
    return {name: value.clone() for name, value in model.state_dict().items()}


def save(
    path: Path, tensors: dict[str, Tensor], spec: RunSpec, patch_sets: Sequence[PatchSet], **extra: object
) -> None:
    """Write a network's tensors with its card: model, bands, each area's normalisation and resolution, and ``extra``.

    Raises as `write_tensors`.
    """
    card = {
        "run_id": spec.run_id,
        **{name: getattr(spec, name) for name in ("model", "source", "width", "bands")},
        "normalise": spec.recipe.normalise,
        "precision": spec.recipe.precision,
        "areas": {
            patch_spec.area: {
                "patch_size": patch_spec.size,
                **{name: getattr(patches, name) for name in ("mean", "std", "resolution_m")},
            }
            for patch_spec, patches in zip(spec.data, patch_sets, strict=True)
        },
        **extra,
    }
    write_tensors(path, tensors, {"card": json.dumps(card)})


def save_members(path: Path, members: Sequence[tuple[nn.Module, dict[str, Any]]], card: dict[str, Any]) -> None:
    """Write networks whose probabilities are averaged, each with its ``model``, ``width``, ``source`` and ``weight``.

    ``card`` may hold ``threshold`` and ``temperature`` (`Ensemble`). Raises as `write_tensors`.
    """
    tensors = {f"{k}/{name}": value for k, (one, _) in enumerate(members) for name, value in one.state_dict().items()}
    described = json.dumps(card | {"members": [about for _, about in members]})
    write_tensors(path, tensors, {"card": described}, sealed=True)


class Ensemble(nn.Module):
    """An ensemble: logits of the weighted mean of the members' probabilities, divided by a temperature.

    Guo et al. 2017, On calibration of modern neural networks, ICML: a temperature above 1 reduces overconfidence.
    """

    def __init__(self, members: Sequence[nn.Module], weights: Sequence[float], temperature: float = 1.0) -> None:
        super().__init__()
        if not members or min(weights) <= 0 or not 0 < temperature < math.inf:
            raise ValueError(f"members weigh {list(weights)} at temperature {temperature}: must be positive")
        self.members = nn.ModuleList(members)
        self.weights = [weight / sum(weights) for weight in weights]
        self.temperature = temperature

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, 1, H, W) float32 of images (N, bands, H, W)."""
        votes = zip(self.weights, self.members, strict=True)
        mean = torch.stack([weight * torch.sigmoid(member(images).float()) for weight, member in votes]).sum(dim=0)
        return torch.logit(mean, eps=1e-6) / self.temperature


def members_of(model: nn.Module, card: dict[str, Any]) -> list[tuple[nn.Module, dict[str, Any]]]:
    """Return the input of `save_members`: the networks of an `Ensemble`, or a single one, each with its description."""
    if isinstance(model, Ensemble):
        return list(zip(model.members, card["members"], strict=True))
    about = {key: value for key, value in card.items() if key in ("model", "source", "width")}  # its identity
    return [(model, {"weight": 1.0, "source": "", **about})]


_Numbers = tuple[Annotated[float, Field(allow_inf_nan=False)], ...]
_Word = Annotated[str, Field(min_length=1, max_length=200)]


class _Area(Strict, extra="ignore"):
    patch_size: Annotated[int, Field(ge=16, le=4096, multiple_of=16)]
    mean: _Numbers | None = None
    std: _Numbers | None = None
    resolution_m: Positive | None = None


class _Member(Strict, extra="ignore"):
    model: _Word
    width: Width | None = None
    weight: Positive


class _Card(Strict, extra="ignore"):
    """The part of a card that is read; a candidate of `lmhld learn` has bands and members only."""

    bands: Annotated[tuple[_Word, ...], Field(min_length=1, max_length=1000), AfterValidator(each_once)]
    run_id: Annotated[str, Field(pattern=r"^[\w-]{1,64}$")] = ""
    model: Annotated[str, Field(max_length=2000)] = ""
    width: Width | None = None
    precision: str = ""
    normalise: str = ""
    areas: dict[str, _Area] = {}
    members: Annotated[tuple[_Member, ...], Field(min_length=1, max_length=100)] | None = None
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    temperature: Positive = 1.0
    percentiles: dict[str, Annotated[_Numbers, Field(min_length=5, max_length=5)]] | None = None


def card_of(text: str) -> dict[str, Any]:
    """Return a card from its JSON; ValueError if a required field is not valid."""
    try:
        _Card.model_validate_json(text)
    except ValidationError as error:
        raise ValueError(f"its card is incomplete: {explain(error)}") from None
    return dict(json.loads(text))


def _check_tensors(file: Any, card: dict[str, Any]) -> None:
    """Raise ValueError if the tensors in a file's header are not those of its card's networks."""
    names = {torch.float32: "F32", torch.int64: "I64"}
    members = card.get("members") or [card]
    if any(about["model"] not in models.NETWORKS for about in members):
        return  # the size of an external network is known only to its own code
    expected: dict[str, tuple[list[int], str]] = {}
    for number, about in enumerate(members):
        with torch.device("meta"):  # needs no memory
            model = models.build(about["model"], len(card["bands"]), about.get("width"))
        prefix = f"{number}/" if "members" in card else ""
        expected |= {prefix + key: (list(one.shape), names[one.dtype]) for key, one in model.state_dict().items()}
    parts = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    if {key: (part.get_shape(), part.get_dtype()) for key, part in parts.items()} != expected:
        named = ", ".join(about["model"] for about in members)
        raise ValueError(f"its weights are not those of the {named} that its card describes")


def load(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Return a stored network, or an `Ensemble` of several, in evaluation mode, on the CPU, and its card.

    UserError if the file is missing, damaged, not a network of this book, or from code that has changed since.
    """
    tensors, card = read(path)
    with _one_line_errors(path):
        members: list[nn.Module] = []
        for about in card.get("members", [card]):
            if models.source_of(about["model"]) != about.get("source", ""):
                raise UserError(f"the code of '{about['model']}' has changed since; train it again")
            members.append(models.build(about["model"], len(card["bands"]), about["width"]))
        model = members[0]
        if "members" in card:
            weights = [float(about["weight"]) for about in card["members"]]
            model = Ensemble(members, weights, float(card.get("temperature", 1.0)))
            tensors = {f"members.{name.replace('/', '.', 1)}": value for name, value in tensors.items()}
        model.load_state_dict(tensors)
        return model.eval(), card


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return a stored network's tensors and its card; raises as `load`."""
    check_kind(path)
    with _one_line_errors(path), safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        card = card_of(metadata["card"])
        _check_tensors(file, card)
        tensors = safetensors.torch.load_file(path)
        if "digest" in metadata and metadata["digest"] != _digest_of(tensors, metadata):
            raise ValueError("damaged: it holds other numbers than were written")
        beside = path.with_name("metrics.json")  # of a run, with the digest of its weights
        if beside.is_file() and json.loads(beside.read_text("utf-8")).get("weights", "") not in ("", digest(path)):
            raise ValueError("damaged: its weights are not those the run was finished with")
        return tensors, card


@contextmanager
def _one_line_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `lmhld plan PROFILE` lists the finished runs") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except _UNREADABLE as error:
        problem = f"not a network of this book ({short(error)})"
        raise UserError(f"{path}: {problem}; give a run's weights.safetensors") from error


@dataclass
class TrainingState:
    """The progress of a training: the content of a checkpoint besides the tensors."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    best_f1: float = -1.0
    best_epoch: int = 0
    seconds: float = 0.0
    precision: str = ""
    portable: str = "yes"
    history: list[dict[str, float]] = field(default_factory=list)


Copies = Mapping[str, Mapping[str, Tensor]]  # weights of earlier epochs, by their purpose


def save_checkpoint(
    path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, copies: Copies, state: TrainingState, identity: str
) -> None:
    """Write all that is needed to resume a training, atomically."""
    tensors = _named_tensors(model, copies)
    for number, values in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser/{number}/{name}": value for name, value in values.items() if torch.is_tensor(value)}
    write_tensors(path, tensors, {"state": json.dumps(vars(state)), "identity": identity}, sealed=True)


def restore_checkpoint(
    path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, copies: Copies, identity: str
) -> TrainingState:
    """Restore a checkpoint; change nothing if there is none, or it is damaged or belongs to another training."""
    if not path.is_file():
        return TrainingState()
    targets = _named_tensors(model, copies)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            if file.metadata()["identity"] != identity:
                raise ValueError("another training's")
            state = TrainingState(**json.loads(file.metadata()["state"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            if file.metadata()["digest"] != _digest_of(tensors, file.metadata()):
                raise ValueError("it holds other numbers than were written")
        if any(tensors[name].shape != value.shape for name, value in targets.items()):
            raise ValueError("another shape")
    except _UNREADABLE as error:
        path.unlink()  # a checkpoint only saves time: without it the training starts again
        tqdm.write(f"{path}: not usable ({printable(str(error))[:80]}); the training starts again", file=sys.stderr)
        return TrainingState()
    for name, value in targets.items():
        value.copy_(tensors[name])
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    content = optimiser.state_dict()
    for key in sorted(key for key in tensors if key.startswith("optimiser/")):
        _, number, name = key.split("/")
        parameter, value = parameters[int(number)], tensors[key]
        if value.shape == parameter.shape:  # in the parameter's memory order, as before
            value = torch.empty_like(parameter).copy_(value)
        content["state"].setdefault(int(number), {})[name] = value
    optimiser.load_state_dict(content)
    return state


def _named_tensors(model: nn.Module, copies: Copies) -> dict[str, Tensor]:
    return {
        f"{label}/{name}": value
        for label, weights in {"model": model.state_dict(), **copies}.items()
        for name, value in weights.items()
    }
