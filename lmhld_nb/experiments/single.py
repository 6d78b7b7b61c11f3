"""Experiment 2, LMHLD_single: each network on each area alone, at the area's patch size (paper section 3.2 (2))."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from lmhld_nb import paper, runs
from lmhld_nb.config import Strict
from lmhld_nb.evaluation import Threshold, best_threshold
from lmhld_nb.experiments import findings, tables
from lmhld_nb.experiments.registry import Experiment, register
from lmhld_nb.experiments.study import Study
from lmhld_nb.experiments.tables import beside_published
from lmhld_nb.runs import Run
from lmhld_nb.training.specs import RunSpec


def specs(study: Study) -> list[RunSpec]:
    """Return the trainings of each network on each area alone."""
    return [spec for area in study.areas for spec in study.trainings((study.patch_spec(area),))]


def table_5(study: Study, finished: Sequence[Run]) -> pd.DataFrame:
    """Tabulate experiment 2 by area and model like paper Table 5, mean over seeds (`beside_published`)."""
    published = paper.table(5).assign(area=lambda table: table["study_area"].map(paper.area_key))
    return beside_published(tested(finished), ["area", "model"], published)


def tested(finished: Sequence[Run]) -> list[dict[str, Any]]:
    """Return the rows of `table_5`, one per run (`tables.score_table`)."""
    return [{"area": row["run"].spec.data[0].area, **row} for row in tables.tested(finished)]


def threshold_baseline(run: Run) -> Threshold:
    """Return the best single threshold on a run's test pixels (an upper bound for thresholding)."""
    (patch_set,) = runs.patch_sets(run.spec, progress=False)
    numbers = patch_set.where("test")
    return best_threshold(patch_set.images[numbers], patch_set.masks[numbers], patch_set.spec.bands)


def against_threshold(table: pd.DataFrame, rules: dict[str, Threshold]) -> pd.DataFrame:
    """Tabulate by area the best threshold, the best network, and how many networks exceed it (clearly: by 0.05)."""
    rows = {}
    for area, rule in rules.items():
        f1, limit = table["f1"][area], rule.confusion.f1
        counts = (f1 > limit).sum(), (f1 >= limit + findings.CLEAR).sum(), len(f1)
        rows[area] = (limit, rule.feature, f1.max(), f1.idxmax(), *counts)
    columns = ["threshold_f1", "feature", "network_f1", "network", "networks_above", "networks_clear", "networks"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("area")


register(Experiment(
    name="single", number=2, title="single", settings=Strict, specs=specs, tables={"table5": table_5},
    findings={
        "table5": findings.table5, "against_threshold": findings.against_threshold,
        "fig10_predictions": findings.examples,
    },
))  # fmt: skip
