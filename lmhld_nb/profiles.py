"""Profiles: the one YAML that says which data, models and recipe a whole book is made with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from lmhld_nb import models, paper
from lmhld_nb.config import ROOT, Strict, UserError, read_yaml
from lmhld_nb.hardware import Execution
from lmhld_nb.scenes import BANDS
from lmhld_nb.specs import Recipe

# The networks halve it four times, and batch normalisation needs more than one value at the bottom.
PatchSize = Annotated[int, Field(ge=32, multiple_of=16)]
Share = Annotated[float, Field(ge=0, le=1)]


class PatchRule(Strict, allow_inf_nan=False):
    """How patches are cut and split.

    Attributes:
        size: ``published`` (paper Table 2's choice for each area) or one size in pixels for all areas.
        sizes: sizes of single areas in pixels, before ``size``.
        min_share, split, fractions, block: see `patches.PatchSpec`.
        bands: bands the models see.
        seed: of the split.
    """

    size: PatchSize | Literal["published"] = "published"
    sizes: dict[str, PatchSize] = {}
    min_share: Share = 0.10
    split: Literal["random", "blocks", "given"] = "random"
    fractions: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.7, 0.2, 0.1)
    block: PositiveInt = 3
    bands: Annotated[tuple[str, ...], Field(min_length=1)] = BANDS
    seed: int = 0


class Profile(Strict, allow_inf_nan=False):
    """A whole book's parameters.

    Attributes:
        name: also names the output folders.
        description: one line for `lmhld plan`.
        data: data set of the catalogue.
        areas: areas used; empty for all of the data set.
        models: architectures compared.
        width: first-level channels of single models; those not named are built as published.
        patches, recipe: see there.
        seeds: one run each.
        options: of single models (`models.build`).
        micro_batch: of single models, where memory is short (`specs.Recipe`).
        execution: how runs are computed (`hardware.Execution`), no part of what names them. More than one of its
            ``threads`` makes a single run faster and several at once slower; another number can change the last
            digits of a result.
    """

    name: str
    description: str
    data: str
    areas: tuple[str, ...] = ()
    models: Annotated[tuple[str, ...], Field(min_length=1)]
    width: dict[str, PositiveInt] = {}
    options: dict[str, dict[str, bool]] = {}
    micro_batch: dict[str, PositiveInt] = {}
    patches: PatchRule = PatchRule()
    recipe: Recipe
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0,)
    execution: Execution = Execution()


def names() -> list[str]:
    """Return the names of the profiles that come with the book."""
    return sorted(path.stem for path in (ROOT / "params").glob("*.yaml"))


def load(profile: str) -> Profile:
    """Load a profile by its name (``params/NAME.yaml``) or by the path of a YAML file of one's own.

    Raises:
        UserError: no such profile, an unknown key, a wrong type, or an unknown model.
    """
    path = Path(profile) if profile.endswith((".yaml", ".yml")) else ROOT / "params" / f"{profile}.yaml"
    if not path.is_file():
        raise UserError(
            f"profile '{profile}': unknown; choose one of {', '.join(names())}, or give a YAML file"
        )
    loaded = read_yaml(path, Profile)
    if loaded.name != path.stem:
        # Results go into folders of this name: a copied profile must not write over those of its original.
        raise UserError(f"{path}: key 'name' = '{loaded.name}': write the file's own name, '{path.stem}'")
    for key in ("models", "width", "options", "micro_batch"):
        for model in getattr(loaded, key):
            if model not in models.NAMES:
                raise UserError(
                    f"{path}: key '{key}': unknown model '{model}'; choose from {', '.join(models.NAMES)}"
                )
    for model, switched in loaded.options.items():
        for option in switched:
            if option not in models.options_of(model):
                known = ", ".join(models.options_of(model)) or "none"
                raise UserError(f"{path}: key 'options.{model}': no option '{option}'; it has {known}")
    return loaded


def narrowed(profile: Profile, models: Sequence[str] | str, areas: Sequence[str] | str) -> Profile:
    """Return the profile with only some of its models and areas; nothing given keeps all.

    Each is a list or, as ``papermill -p`` passes it, a text with commas. The name gets ``-part`` added, so that
    figures of a part do not replace those of the whole.

    Raises:
        UserError: a model is not one of the profile's.
    """
    chosen = _names(models)
    for model in chosen:
        if model not in profile.models:
            raise UserError(
                f"model '{model}': not in profile '{profile.name}', which has {', '.join(profile.models)}"
            )
    if not chosen and not _names(areas):
        return profile
    changes = {"models": chosen or profile.models, "areas": _names(areas) or profile.areas}
    return profile.model_copy(update={"name": f"{profile.name}-part", **changes})


def _names(given: Sequence[str] | str) -> tuple[str, ...]:
    parts = given.split(",") if isinstance(given, str) else given
    return tuple(part.strip() for part in parts if part.strip())


def patch_size(profile: Profile, area: str) -> int:
    """Return an area's patch size under the profile's rule.

    Raises:
        UserError: the rule is ``published`` and the paper has no such area.
    """
    if area in profile.patches.sizes:
        return profile.patches.sizes[area]
    if profile.patches.size != "published":
        return profile.patches.size
    published = paper.areas()["patch_size"]
    if area not in published.index:
        raise UserError(
            f"profile '{profile.name}': no published patch size for '{area}'; add it under `patches: sizes:`"
        )
    return int(published[area])
