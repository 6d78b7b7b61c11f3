"""Descriptions: the catalogue of data sets in ``params/data``, one YAML each."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from lmhld_nb import config, twin
from lmhld_nb.config import UserError
from lmhld_nb.sources.github import GitHub
from lmhld_nb.sources.layout import Layout

CATALOGUE = config.ROOT / "params" / "data"


class Zenodo(config.Strict):
    """A record on Zenodo."""

    kind: Literal["zenodo"]
    doi: str = Field(pattern=r"^10\.5281/zenodo\.\d+$")


class Local(config.Strict):
    """Data that the user provides; ``where`` says where to get them."""

    kind: Literal["local"]
    where: str


class Description(Layout):
    """One entry of the catalogue, ``params/data/NAME.yaml``."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=200)
    title: str
    licence: str
    citation: str  # how its makers want to be cited
    synthetic: bool = False  # artificial; every figure made from it says so
    about: dict[str, str] = Field(default_factory=dict)  # by area if these differ: what it is, source, licence
    source: Annotated[twin.TwinSpec | Zenodo | GitHub | Local, Field(discriminator="kind")]

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        is_twin = isinstance(self.source, twin.TwinSpec)
        if not is_twin and self.layout == "parts" and not self.parts:
            raise ValueError("parts are missing; add them, or `layout: discover`")
        if is_twin and not self.synthetic:
            raise ValueError("a twin is synthetic: set `synthetic: true`")
        return self


def catalogue() -> dict[str, Description]:
    """Return the data sets by name: those of ``params/data``, and of ``LMHLD_WORKDIR`` if that is elsewhere.

    Invalid descriptions are reported and left out, so that the others remain usable.
    """
    described: dict[str, Description] = {}
    for name in sorted(_paths()):
        try:
            described[name] = describe(name)
        except UserError as error:
            config.warn(f"{error} (data set left out)")
    return described


def _paths() -> dict[str, Path]:
    own = (config.workdir() / "params" / "data").glob("*.yaml")
    return {path.stem: path for path in (*own, *CATALOGUE.glob("*.yaml"))}


def describe(name: str) -> Description:
    """Return the description of a data set; UserError if it is not in the catalogue, or invalid."""
    paths = _paths()
    if name not in paths:
        known, own = ", ".join(sorted(paths)), CATALOGUE / f"{name}.yaml"
        raise UserError(f"data set '{name}' is not in the catalogue; choose from {known}, or add {own}")
    description = config.read_yaml(paths[name], Description)
    if description.name != name:
        raise UserError(f"{paths[name]}: key 'name' = '{description.name}'; call it '{name}' like the file")
    return description


def overlaid(description: Description, path: Path) -> Description:
    """Return ``description`` with its keys overridden by a layout file; UserError if they are inconsistent."""
    layout = config.read_yaml(path, Layout)
    content = description.model_dump(exclude_unset=True) | {"layout": "parts"}
    try:
        return Description.model_validate(content | layout.model_dump(exclude_unset=True))
    except ValidationError as error:
        raise UserError(f"{path}: {config.explain(error)}") from None


def key_of(description: Description) -> str:
    """Return a hash of all that determines the data; new keys at their defaults do not invalidate prepared data."""
    words = {"title", "licence", "citation", "about", "source"}
    content = description.model_dump(mode="json", exclude=words, exclude_defaults=True)
    content["source"] = description.source.model_dump(mode="json")
    if isinstance(description.source, twin.TwinSpec):
        content["twin_version"] = twin.TWIN_VERSION
    elif isinstance(description.source, Zenodo):
        content["source"]["files"] = {}  # as in early versions, so that prepared data stay valid
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
