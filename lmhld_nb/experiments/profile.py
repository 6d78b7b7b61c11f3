"""Profiles: the one YAML that says which data, models and recipe a whole book is made with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from lmhld_nb import models, paper, patches
from lmhld_nb.config import ROOT, SafeName, Strict, UserError, read_yaml
from lmhld_nb.scenes.scene import BANDS
from lmhld_nb.training.hardware import Execution
from lmhld_nb.training.specs import PARTS, Recipe, Treatment

# The networks halve it four times, and batch normalisation needs more than one value at the bottom.
PatchSize = Annotated[int, Field(ge=32, multiple_of=16)]
Experiment = Literal[1, 2, 3, 4, 5, "recipe", "beyond"]
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


class PatchSizes(Strict):
    """Experiment 1: which patch size suits an area (paper section 3.2 (1)).

    Attributes:
        areas: areas compared; empty for all.
        sizes: what the three candidates of an area are chosen from.
        candidates: sizes of single areas, instead of those that follow from its landslides.
    """

    areas: tuple[str, ...] = ()
    sizes: Annotated[tuple[PatchSize, ...], Field(min_length=3)] = patches.SIZES
    candidates: dict[str, Annotated[tuple[PatchSize, ...], Field(min_length=1)]] = {}


class Mix(Strict):
    """Experiment 3, LMHLD_mix: all areas cut to one size and trained on together (paper section 3.2 (3)).

    Attributes:
        areas: areas mixed; empty for all.
        size: of every patch.
        epochs: of these runs; None for the recipe's.
    """

    areas: tuple[str, ...] = ()
    size: PatchSize = 128
    epochs: PositiveInt | None = None


class Added(Strict):
    """An area of another data set that is added to a finished chain.

    Attributes:
        data, area: data set of the catalogue and which of its areas.
        size: of its patches.
    """

    data: str
    area: str
    size: PatchSize


class Part(Strict):
    """Experiment 4, LMHLD_part: areas learnt one after another, in several orders (paper section 3.2 (4)).

    Attributes:
        areas: areas added; empty for all.
        first, permuted, last: areas in the order of addition; those in the middle change places, one order for each
            way. Areas that the profile does not use are passed over; those named nowhere come last.
        epochs: of each stage; the last number holds for all that follow. Empty for the recipe's.
        schedule: what each stage does with each of `specs.PARTS`, one row a stage; the last row holds for all that
            follow. Empty for the paper's (`serial.schedule`).
        lr: first learning rate of the stages after the first; None for the recipe's.
        compared: network for which the strategy is compared with others (`serial_experiment.strategies`), in the
            first order of addition.
        seeds: of that comparison.
        ewc: strength of elastic weight consolidation in it.
        replay: share of earlier patches shown again in it.
        added: an area that the chains of the first order go on with; None for none.
    """

    areas: tuple[str, ...] = ()
    first: tuple[str, ...] = ("rio", "gorkha", "emilia_romagna")
    permuted: tuple[str, ...] = ("hokkaido", "taiwan", "jiuzhaigou")
    last: tuple[str, ...] = ("wenchuan",)
    epochs: tuple[PositiveInt, ...] = ()
    schedule: tuple[dict[str, Treatment], ...] = ()
    lr: PositiveFloat | None = None
    compared: str = "unet"
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0, 1, 2)
    ewc: PositiveFloat = 1000.0
    replay: Annotated[float, Field(gt=0, le=1)] = 0.05
    added: Added | None = None

    @field_validator("schedule")
    @classmethod
    def _whole_rows(cls, rows: tuple[dict[str, Treatment], ...]) -> tuple[dict[str, Treatment], ...]:
        for number, row in enumerate(rows, start=1):
            if set(row) != set(PARTS):
                raise ValueError(f"row {number} must name each of {', '.join(PARTS)} once")
        if rows and set(rows[0].values()) != {"fresh"}:
            raise ValueError("row 1 must be fresh throughout: the first stage has nothing to start from")
        return rows


class Events(Strict):
    """Scenes of unseen landslides, and what the network that maps them sees.

    Attributes:
        data: data set of the catalogue.
        areas: which of its areas; empty for all.
        bands: of the network; None for the profile's. Images without near infrared need a network trained without it.
    """

    data: str
    areas: tuple[str, ...] = ()
    bands: Annotated[tuple[str, ...], Field(min_length=1)] | None = None


class Transfer(Strict):
    """A network trained on one area alone and shown the scenes of another data set, or its own test patches.

    Attributes:
        area: trained on.
        data: data set of that area; None for the profile's.
        size: of its patches; None for the profile's rule.
        bands: that it sees; None for the profile's.
        to: data set whose scenes it is shown; None for the test patches of its own area.
        areas: which areas of that data set; empty for all.
    """

    area: str
    data: str | None = None
    size: PatchSize | None = None
    bands: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    to: str | None = None
    areas: tuple[str, ...] = ()


class Generalisation(Strict):
    """Experiment 5: landslides that no training has seen (paper section 3.2 (5)).

    Attributes:
        model: network that is tested, as experiment 4 trains it in its first order of addition.
        events: scenes it maps.
        epochs: of each stage of a chain for other bands than the profile's, as in `Part`; empty for experiment 4's.
        transfers: networks trained on one area alone.
        threshold: least probability of landslide in the maps.
    """

    model: str = "unet"
    events: tuple[Events, ...] = ()
    epochs: tuple[PositiveInt, ...] = ()
    transfers: tuple[Transfer, ...] = ()
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5


class RecipeStudy(Strict):
    """The study of batch size and epochs (paper section 3.3); the paper does not say on which area and network.

    Attributes:
        model, area: what is trained, and on which area.
        batch_sizes: of SGD.
        epochs: lengths of training; the longest is trained, the others are tested on the way.
    """

    model: str = "unet"
    area: str
    batch_sizes: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (8, 16, 32, 64)
    epochs: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (50, 100, 200, 300)


class Beyond(Strict):
    """What the paper does not ask (chapter 11): one network, one thing changed at a time (`beyond`).

    Attributes:
        model, area: what is trained, and on which area.
        seeds: one run each, of everything compared.
        sizes_area: area on which patch sizes are compared; None for ``area``.
        sizes: those compared; sizes that leave fewer than three patches are passed over.
        size_seeds: one run each of every size; empty for ``seeds``.
    """

    model: str = "unet"
    area: str
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0, 1, 2)
    sizes_area: str | None = None
    sizes: Annotated[tuple[PatchSize, ...], Field(min_length=1)] = patches.SIZES
    size_seeds: tuple[int, ...] = ()


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
        batch_size_at: batch sizes at single patch sizes, before the recipe's: where few large patches have to do.
        seeds: one run each.
        experiments: those that are made and have their chapters: 1 to 5, the study of the ``recipe``, and what goes
            ``beyond`` the paper.
        experiment_1, experiment_3, experiment_4, experiment_5, recipe_study, beyond: see there; experiment 2 follows
            from the rest. Experiment 5 without anything to map, and studies left out, are not made.
        options: of single models (`models.build`).
        micro_batch: of single models, where memory is short (`specs.Recipe`).
        execution: how runs are computed (`hardware.Execution`), no part of what names them. More than one of its
            ``threads`` makes a single run faster and several at once slower; another number can change the last
            digits of a result.
    """

    name: SafeName
    description: str
    data: str
    areas: tuple[str, ...] = ()
    models: Annotated[tuple[str, ...], Field(min_length=1)]
    width: dict[str, PositiveInt] = {}
    options: dict[str, dict[str, bool]] = {}
    micro_batch: dict[str, PositiveInt] = {}
    patches: PatchRule = PatchRule()
    recipe: Recipe
    batch_size_at: dict[PatchSize, PositiveInt] = {}
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0,)
    execution: Execution = Execution()
    experiments: Annotated[tuple[Experiment, ...], Field(min_length=1)] = get_args(Experiment)
    experiment_1: PatchSizes = PatchSizes()
    experiment_3: Mix = Mix()
    experiment_4: Part = Part()
    experiment_5: Generalisation = Generalisation()
    recipe_study: RecipeStudy | None = None
    beyond: Beyond | None = None


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
    single = {
        "experiment_4.compared": loaded.experiment_4.compared,
        "experiment_5.model": loaded.experiment_5.model,
    }
    if loaded.beyond:
        single["beyond.model"] = loaded.beyond.model
    if loaded.recipe_study:
        single["recipe_study.model"] = loaded.recipe_study.model
    for key, model in single.items():
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
    changes: dict[str, object] = {"models": chosen or profile.models}
    if chosen and profile.experiment_4.compared not in chosen:
        profile = profile.model_copy(
            update={"experiment_4": profile.experiment_4.model_copy(update={"compared": chosen[0]})}
        )
    if _names(areas):
        # The areas asked for are those of every experiment.
        changes |= {
            "areas": _names(areas),
            "experiment_1": profile.experiment_1.model_copy(update={"areas": ()}),
            "experiment_3": profile.experiment_3.model_copy(update={"areas": ()}),
            "experiment_4": profile.experiment_4.model_copy(update={"areas": (), "added": None}),
        }
        if profile.recipe_study and profile.recipe_study.area not in _names(areas):
            changes["recipe_study"] = None
        if profile.beyond and {profile.beyond.area, profile.beyond.sizes_area} - {None, *_names(areas)}:
            changes["beyond"] = None
    return profile.model_copy(update={"name": f"{profile.name}-part", **changes})


def _names(given: Sequence[str] | str) -> tuple[str, ...]:
    parts = given.split(",") if isinstance(given, str) else given
    return tuple(part.strip() for part in parts if part.strip())


def is_made(profile: Profile, name: str) -> bool:
    """Say whether a profile makes an experiment."""
    asked = profile.experiment_5
    something = {
        "5": bool(asked.events or asked.transfers),
        "recipe": profile.recipe_study is not None,
        "beyond": profile.beyond is not None,
    }
    return name in map(str, profile.experiments) and something.get(name, True)


def recipe_of(profile: Profile, model: str, size: int, epochs: int | None = None) -> Recipe:
    """Return how ``model`` is trained on patches of ``size``: the profile's recipe with what it says of the two."""
    changes = {
        "batch_size": profile.batch_size_at.get(size, profile.recipe.batch_size),
        "micro_batch": profile.micro_batch.get(model, profile.recipe.micro_batch),
        "epochs": epochs or profile.recipe.epochs,
    }
    return profile.recipe.model_copy(update=changes)


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
