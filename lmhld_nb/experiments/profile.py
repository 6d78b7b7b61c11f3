"""Profiles: a YAML file that defines the data, networks and recipe of a whole book."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, create_model, model_validator

from lmhld_nb import config, models
from lmhld_nb.config import ROOT, Count, Positive, Seed, Share, Strict, UserError, each_once, listed, read_yaml
from lmhld_nb.experiments.registry import EXPERIMENTS
from lmhld_nb.scenes import BANDS
from lmhld_nb.training.hardware import Execution
from lmhld_nb.training.specs import Recipe, Width


def _known_model(name: str) -> str:
    try:
        models.network(name)
    except UserError as error:
        raise ValueError(str(error)) from error
    return name


ModelName = Annotated[str, AfterValidator(_known_model)]
"""A network of `models.NETWORKS`, or ``package.module:function`` for your own."""

# Networks halve the size four times, and batch normalisation needs more than one value at the bottom.
PatchSize = Annotated[int, Field(ge=32, le=4096, multiple_of=16)]
Areas = Annotated[tuple[str, ...], AfterValidator(each_once)]
Bands = Annotated[Areas, Field(min_length=1)]
OptionalSeeds = Annotated[tuple[Seed, ...], AfterValidator(each_once)]
Seeds = Annotated[OptionalSeeds, Field(min_length=1)]


class PatchRule(Strict, allow_inf_nan=False):
    """How patches are cut and split (`patches.PatchSpec`), and the bands that networks see.

    ``size`` is ``published`` (the choice in paper Table 2 for each area) or pixels; ``sizes`` of single areas take
    precedence. ``split: given`` is the data set's own split, or ``blocks`` in areas without one. In areas under
    ``thin``, only every n-th patch of a split is used.
    """

    size: PatchSize | Literal["published"] = "published"
    sizes: dict[str, PatchSize] = {}
    min_share: Share = 0.10
    split: Literal["random", "blocks", "given"] = "random"
    fractions: tuple[Positive, Positive, Positive] = (0.7, 0.2, 0.1)
    block: Count = 3
    thin: dict[str, Count] = {}
    bands: Bands = BANDS
    seed: Seed = 0


class Extensions(Strict, extra="ignore"):
    """The part of a profile that is read first: modules that register what it names (`config.load_extensions`)."""

    extensions: tuple[str, ...] = ()


class Profile(Strict, allow_inf_nan=False):
    """A whole book's parameters: one data set, its patches, the networks compared, and how they are trained."""

    name: str
    description: str
    data: str
    areas: Areas = ()  # used; empty for all
    models: Annotated[tuple[ModelName, ...], Field(min_length=1), AfterValidator(each_once)]
    width: dict[ModelName, Width] = {}  # channels of the first level; default: as published
    micro_batch: dict[ModelName, Count] = {}  # for single networks (`training.specs.Recipe`)
    patches: PatchRule = PatchRule()
    recipe: Recipe
    batch_size_at: dict[PatchSize, Count] = {}  # for areas with few, large patches
    seeds: Seeds = (0,)
    seeds_of: dict[ModelName, Seeds] = {}  # for single networks
    portable: bool = False  # the same bits on every x86-64 processor with AVX2: the CPU, fp32, one thread each
    execution: Execution = Execution()  # not part of a run's identity, though more ``threads`` may change last digits
    extensions: tuple[str, ...] = ()  # your own modules that register losses, optimisers, metrics or experiments
    experiments: Any  # those included, each with its chapter and its settings (``{}`` for its defaults)

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if all(settings is None for _, settings in self.experiments):
            raise ValueError("experiments: name at least one, e.g. single: {}")
        if self.recipe.portable:
            raise ValueError("write `portable: true` beside `recipe`, not in it")
        if self.portable and (self.recipe.precision == "bf16" or self.execution.threads != 1):
            raise ValueError("`portable: true` needs `precision: fp32` and `threads: 1`; change these or leave it out")
        return self

    def makes(self, experiment: str) -> bool:
        return getattr(self.experiments, experiment, None) is not None

    def settings(self, experiment: str) -> Any:
        """Return the settings of an experiment; raises `UserError` if the profile does not include it."""
        if not self.makes(experiment):
            made = [name for name in EXPERIMENTS if self.makes(name)]
            problem = f"it does not include the experiment '{experiment}', only {', '.join(made)}"
            raise UserError(f"profile '{self.name}': {problem}; add `{experiment}: {{}}` under its key `experiments`")
        return getattr(self.experiments, experiment)


def schema() -> type[Profile]:
    """Return `Profile` with a key under ``experiments`` for each registered experiment."""
    keys: dict[str, Any] = {name: (entry.settings | None, None) for name, entry in EXPERIMENTS.items()}
    experiments = create_model("Experiments", __base__=Strict, **keys)
    return create_model("Profile", __base__=Profile, experiments=(experiments, ...))


def names() -> list[str]:
    """Return the names of the profiles that come with the book."""
    return sorted(path.stem for path in (ROOT / "params").glob("*.yaml"))


def load(profile: str) -> Profile:
    """Load a profile by its name (``params/NAME.yaml``) or the path of a YAML file, or raise `UserError`."""
    path = Path(profile) if profile.endswith((".yaml", ".yml")) else ROOT / "params" / f"{profile}.yaml"
    if not path.is_file():
        known = ", ".join(names()) or f"{ROOT / 'params'} (empty: install by `pip install -e .` in the book's folder)"
        raise UserError(f"profile '{profile}': unknown; choose one of {known}, or give a YAML file")
    try:
        config.load_extensions(read_yaml(path, Extensions).extensions)
    except UserError as error:
        about = "" if str(error).startswith(str(path)) else f"{path}: key 'extensions': "
        raise UserError(f"{about}{error}") from error
    loaded = read_yaml(path, schema())
    config.safe_name(loaded.name, f"{path}: key 'name'")
    if loaded.name != path.stem:
        # Results go into folders of this name: a copied profile must not overwrite those of its original.
        raise UserError(f"{path}: key 'name' = '{loaded.name}': must be the file's own name, '{path.stem}'")
    if loaded.portable and loaded.execution.device == "auto":
        return loaded.model_copy(update={"execution": loaded.execution.model_copy(update={"device": "cpu"})})
    return loaded


def narrow(profile: Profile, models: Sequence[str] | str, areas: Sequence[str] | str) -> Profile:
    """Return the profile (NAME-part) with only some networks and areas: lists or comma-separated texts, empty for all.

    Experiments on one area that is not chosen are left out. UserError if a network is not in the profile.
    """
    chosen_models, chosen_areas = listed(models), listed(areas)
    for model in chosen_models:
        if model not in profile.models:
            raise UserError(f"model '{model}': not in profile '{profile.name}', which has {', '.join(profile.models)}")
    if not chosen_models and not chosen_areas:
        return profile
    settings: dict[str, Any] = {}
    for name, entry in EXPERIMENTS.items():
        if profile.makes(name):
            own = profile.settings(name)
            keys = {key: getattr(own, key) for key in entry.used_areas}
            if chosen_areas and any(isinstance(area, str) and area not in chosen_areas for area in keys.values()):
                settings[name] = None
                continue
            everything = {key: () for key, value in keys.items() if chosen_areas and isinstance(value, tuple)}
            own = own.model_copy(update=everything)
            settings[name] = entry.narrow(own, chosen_models, chosen_areas) if entry.narrow else own
    changes = {"models": chosen_models or profile.models, "areas": chosen_areas or profile.areas}
    experiments = profile.experiments.model_copy(update=settings)
    return profile.model_copy(update={"name": f"{profile.name}-part", "experiments": experiments, **changes})
