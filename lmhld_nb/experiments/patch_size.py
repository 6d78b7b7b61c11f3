"""Experiment 1: which patch size suits an area (paper sections 3.2 (1) and 4.1)."""

from collections.abc import Sequence
from typing import Annotated, Any

import pandas as pd
from pydantic import Field

from lmhld_nb import models, paper, patches
from lmhld_nb.config import Strict, UserError
from lmhld_nb.evaluation import scores
from lmhld_nb.experiments import findings
from lmhld_nb.experiments.profile import Areas, PatchSize
from lmhld_nb.experiments.registry import Experiment, register
from lmhld_nb.experiments.study import Study
from lmhld_nb.experiments.tables import beside_published, tested_blocks
from lmhld_nb.patches import PatchSet
from lmhld_nb.patches.measurements import measure_area
from lmhld_nb.runs import Run
from lmhld_nb.training import scoring
from lmhld_nb.training.specs import RunSpec

TIE = 0.0005  # in mean F1: a difference lost in four printed digits


class PatchSizes(Strict):
    """Settings of experiment 1: areas (empty for all), sizes in px to choose from, ``candidates`` by area."""

    areas: Areas = ()
    sizes: Annotated[tuple[PatchSize, ...], Field(min_length=3)] = patches.SIZES
    candidates: dict[str, Annotated[tuple[PatchSize, ...], Field(min_length=1)]] = {}


def specs(study: Study) -> list[RunSpec]:
    """Return the training of each network on each area, at each of the area's candidate sizes."""
    return [
        spec
        for area in study.areas_of("patch_size")
        for size in candidates(study, area)
        for spec in study.trainings((study.patch_spec(area, size),))
    ]


def candidates(study: Study, area: str) -> tuple[int, ...]:
    """Return the sizes (px) compared in an area that fit into its scenes; UserError if none does."""
    settings, measurements = _settings(study), measure_area(study.dataset, area)
    sizes = settings.candidates.get(area) or patches.candidate_sizes(measurements.quartiles, settings.sizes)
    fitting = tuple(size for size in sizes if size <= measurements.largest_side)
    if not fitting:
        where = f"profile '{study.profile.name}': '{area}' of '{study.dataset.name}'"
        mend = "give smaller ones (key `experiments.patch_size.candidates`), or leave patch_size out of `experiments`"
        raise UserError(f"{where}: no scene is as large as the candidate sizes {', '.join(map(str, sizes))}; {mend}")
    return fitting


def _settings(study: Study) -> PatchSizes:
    return study.settings("patch_size") if study.profile.makes("patch_size") else PatchSizes()


def candidate_table(study: Study) -> pd.DataFrame:
    """Tabulate by area the quartiles of landslide size (px), the resulting candidates, and the size in use."""
    rows = {}
    for area in study.areas:
        quartiles, sizes = measure_area(study.dataset, area).quartiles, _settings(study).sizes
        rows[area] = [*map(round, quartiles), *patches.candidate_sizes(quartiles, sizes), study.patch_size(area)]
    columns = ["q1", "q2", "q3", "smallest", "middle", "largest", "chosen"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def table_2(patch_sets: Sequence[PatchSet]) -> pd.DataFrame:
    """Tabulate patch sizes, counts and landslide shares, like paper Table 2, with the dropped windows."""
    rows = []
    for patch_set in patch_sets:
        shares = patch_set.shares()
        defined = [share for share in shares.values() if share == share]
        row = {"area": patch_set.spec.area, "patch_size": patch_set.spec.size, "patches": len(patch_set.index)} | shares
        row |= {"gap": max(defined) - min(defined), "windows": patch_set.windows}
        rows.append(row | {f"dropped_{reason}": count for reason, count in patch_set.dropped.items()})
    return pd.DataFrame(rows).set_index("area")


def table_4(study: Study, finished: Sequence[Run]) -> pd.DataFrame:
    """Tabulate experiment 1 like paper Table 4: scores over the whole area (``outside_…`` the training patches)."""
    return beside_published(tested(finished), ["area", "model", "patch_size"], paper.table(4).assign(area="wenchuan"))


def tested(finished: Sequence[Run]) -> list[dict[str, Any]]:
    """Return the rows of `table_4`, one per run (`tables.score_table`); the patches are all windows of the area."""
    rows = []
    for run in finished:
        (patch_spec,), counts = run.spec.data, tested_blocks(run)
        outside = scores(scoring.whole_area(counts)["outside_training"])
        key = {"area": patch_spec.area, "model": run.spec.model, "patch_size": patch_spec.size}
        rows.append({**key, "run": run, "counts": counts, **{f"outside_{name}": f1 for name, f1 in outside.items()}})
    return rows


def patch_size_choice(table: pd.DataFrame) -> pd.DataFrame:
    """Choose each area's patch size from `table_4`: the highest mean F1 over the networks that have every size.

    Of tied means (within 0.0005) the size that is best for more networks wins, then the smaller one. UserError if none
    has all. By area, patch_size: mean_f1, models, models_best, winners, tied, chosen; ``outside_…``, ``published_…``.
    """
    choice = _choice(table["f1"])
    for reading in ("outside", "published"):
        if (f1 := table[f"{reading}_f1"].dropna()).size:
            choice = choice.join(_choice(f1)[["mean_f1", "chosen"]].add_prefix(f"{reading}_"))
    return choice


def _choice(f1: pd.Series) -> pd.DataFrame:
    choices = {}
    for area, by_size in f1.groupby("area", sort=False):
        # Means over different networks at different sizes would choose by which runs are finished.
        cells: pd.DataFrame = by_size.droplevel("area").unstack("patch_size").dropna()
        if cells.empty:
            continue
        means, best = cells.mean(), cells.eq(cells.max(axis=1), axis=0)
        tied, wins = means >= means.max() - TIE, best.sum()
        winner = min(means.index[tied], key=lambda size: (-wins[size], size))
        winners = [", ".join(models.network(name).title for name in best.index[best[size]]) for size in best]
        columns = {"mean_f1": means, "models": len(cells), "models_best": wins, "winners": winners}
        choices[area] = pd.DataFrame({**columns, "tied": tied & (tied.sum() > 1), "chosen": means.index == winner})
    if not choices:
        areas = ", ".join(f1.index.unique("area"))
        raise UserError(f"{areas}: no network has runs at every size compared; make them with `lmhld run`")
    return pd.concat(choices, names=["area"])


register(Experiment(
    name="patch_size", number=1, title="patch size", settings=PatchSizes, specs=specs, tables={"table4": table_4},
    whole_area=lambda study: {spec.run_id for spec in specs(study)}, used_areas=("areas",),
    known_areas=("candidates",), findings={"table4": findings.table4, "patch_size_choice": findings.patch_size_choice},
))  # fmt: skip
