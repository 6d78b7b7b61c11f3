"""The study of batch size and epochs (paper section 3.3); the paper does not say on which area and network."""

from collections.abc import Sequence
from itertools import product
from typing import Annotated

import pandas as pd
from pydantic import Field

from lmhld_nb.config import Count, Strict
from lmhld_nb.experiments import findings
from lmhld_nb.experiments.profile import ModelName
from lmhld_nb.experiments.registry import Experiment, register
from lmhld_nb.experiments.study import Study
from lmhld_nb.experiments.tables import score_table, tested
from lmhld_nb.runs import Run
from lmhld_nb.training.specs import RunSpec


class RecipeStudy(Strict):
    """Settings of the recipe study: its networks are trained with each batch size for each number of epochs."""

    area: str
    model: ModelName = "unet"
    batch_sizes: Annotated[tuple[Count, ...], Field(min_length=1)] = (8, 16, 32, 64)
    epochs: Annotated[tuple[Count, ...], Field(min_length=1)] = (50, 100, 200, 300)


def specs(study: Study) -> list[RunSpec]:
    """Return one training per batch size and number of epochs."""
    settings = study.settings("recipe")
    data = (study.patch_spec(settings.area),)
    return [
        spec
        for size, epochs in product(settings.batch_sizes, settings.epochs)
        for spec in study.trainings(data, (settings.model,), epochs=epochs, batch_size=size)
    ]


def recipe_table(study: Study, finished: Sequence[Run]) -> pd.DataFrame:
    """Tabulate scores by batch size and epochs, the epoch tested and the optimiser's steps; mean over seeds."""
    rows = []
    for row in tested(finished):
        recipe, metrics = row["run"].spec.recipe, row["run"].metrics
        key = {"batch_size": recipe.batch_size, "epochs": recipe.epochs}
        rows.append({**row, **key, "best_epoch": metrics["best_epoch"], "steps": metrics["steps"]})
    return score_table(rows, ["batch_size", "epochs", "model"]).droplevel("model").astype({"steps": int})


register(Experiment(
    name="recipe", title="batch size and epochs", settings=RecipeStudy, specs=specs,
    tables={"recipe_study": recipe_table}, findings={"recipe_study": findings.recipe_study}, used_areas=("area",),
))  # fmt: skip
