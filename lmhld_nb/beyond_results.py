"""Results beyond the paper's tables: how sure they are, and what its choices are worth. Tables have ``run_ids``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from lmhld_nb import intervals, paper, results, runs, serial_results
from lmhld_nb.intervals import Interval
from lmhld_nb.runs import Run
from lmhld_nb.whole_area import totals

PLACE = ["scene", "row", "col"]
PATCH = ["dataset", "area", "number"]
CELL = ["table", "area", "patch_size", "model"]
WEIGHTS = (0.0, *np.geomspace(0.05, 100, 14).round(3))


@dataclass(frozen=True)
class Cell:
    """An F1 of the paper's tables 4 to 7 as our runs have it.

    Attributes:
        table, area, patch_size, model: which; area ``all`` and size 0 where all areas count together.
        runs: the seeds, and in Table 7 the orders of addition, whose mean it is.
        counts: (runs, patches, 3) of tp, fp, fn; in Table 4 of windows.
    """

    table: int
    area: str
    patch_size: int
    model: str
    runs: tuple[Run, ...]
    counts: np.ndarray

    @property
    def run_ids(self) -> str:
        """Ids of the runs."""
        return "+".join(run.spec.run_id for run in self.runs)


def tested(run: Run) -> pd.DataFrame:
    """Return the counts of all test patches that a run's final score is of: dataset, area, number, tp, fp, fn, tn."""
    datasets = {spec.run_id: spec.data[0].dataset for spec in run.spec.chain}
    found = runs.test_patches(run)
    found = found[found["input"] == "last"]
    return found.assign(dataset=found["stage"].map(datasets)).drop(columns=["stage", "input"])


def cells(finished: Mapping[int, Sequence[Run]]) -> list[Cell]:
    """Return the cells of tables 4 to 7.

    Args:
        finished: runs by table; of Table 7 the last stages of all orders.
    """
    groups: dict[tuple[int, str, int, str], list[Run]] = {}
    for table, made in finished.items():
        for run in made:
            (first, *_), one = run.spec.data, table in (4, 5)
            key = (table, first.area if one else "all", first.size if one else 0, run.spec.model)
            groups.setdefault(key, []).append(run)
    found = []
    for key, group in groups.items():
        if key[0] == 4:
            counts = intervals.stacked([runs.windows(run) for run in group], PLACE)
        else:
            counts = intervals.stacked([tested(run) for run in group], PATCH)
        found.append(Cell(*key, tuple(group), counts))
    return found


def interval_table(found: Sequence[Cell]) -> pd.DataFrame:
    """Tabulate cells with their intervals, beside the published F1.

    Returns:
        Rows (table, area, patch_size, model): f1; low, high (bootstrap over patches); patches; seeds; seeds_low,
        seeds_high (Student's t; NaN for one seed); published_f1; run_ids.
    """
    rows = []
    for cell in found:
        by_patches = intervals.over_patches(cell.counts)
        by_seed = pd.Series(intervals.f1(cell.counts)).groupby([run.spec.seed for run in cell.runs]).mean()
        seeds = intervals.over_seeds(by_seed)
        rows.append(
            {
                **{name: getattr(cell, name) for name in CELL},
                "f1": by_patches.value,
                "low": by_patches.low,
                "high": by_patches.high,
                "patches": cell.counts.shape[1],
                "seeds": len(by_seed),
                "seeds_low": seeds.low,
                "seeds_high": seeds.high,
                "published_f1": _published(cell),
                "run_ids": cell.run_ids,
            }
        )
    return pd.DataFrame(rows).set_index(CELL)


def _published(cell: Cell) -> float:
    made: dict[int, Callable[[Sequence[Run]], pd.DataFrame]] = {
        4: results.table_4,
        5: results.table_5,
        6: results.table_6,
        7: lambda finished: serial_results.table_7({"": finished}),
    }
    return float(made[cell.table](cell.runs)["published_f1"].iloc[0])


def pair_table(found: Sequence[Cell]) -> pd.DataFrame:
    """Compare all networks of a table two by two on the same patches.

    Returns:
        Rows (table, area, patch_size, model, other): difference in F1 with low and high (bootstrap over patches); p of
        the paired permutation test; corrected, over all pairs on the same patches; published_difference; noise, half
        the interval's width, and noise_published, what is left of it with as many test patches as the paper's (NaN in
        Table 4, whose windows are not counted); run_ids.
    """
    groups: dict[tuple[int, str, int], list[Cell]] = {}
    for cell in found:
        groups.setdefault((cell.table, cell.area, cell.patch_size), []).append(cell)
    published = {id(cell): _published(cell) for cell in found}
    rows = []
    for (table, area, size), group in groups.items():
        for one, other in combinations(group, 2):
            gap = intervals.difference(one.counts, other.counts)
            paired = one.counts.shape == other.counts.shape
            patches = one.counts.shape[1]
            rows.append(
                {
                    "table": table,
                    "area": area,
                    "patch_size": size,
                    "model": one.model,
                    "other": other.model,
                    "difference": gap.value,
                    "low": gap.low,
                    "high": gap.high,
                    "p": intervals.permuted(one.counts, other.counts) if paired else np.nan,
                    "corrected": np.nan,
                    "published_difference": published[id(one)] - published[id(other)],
                    "noise": gap.half,
                    "noise_published": gap.half * np.sqrt(patches / _published_patches(table, area)),
                    "run_ids": f"{one.run_ids}+{other.run_ids}",
                }
            )
    pairs = pd.DataFrame(rows, columns=[*CELL, "other", "difference", "low", "high", "p", "corrected",
                                        "published_difference", "noise", "noise_published", "run_ids"])  # fmt: skip
    same_patches = pairs.groupby(["table", "area", "patch_size"], sort=False)
    pairs["corrected"] = same_patches["p"].transform(intervals.corrected)
    return pairs.set_index([*CELL, "other"])


def _published_patches(table: int, area: str) -> float:
    """Return how many test patches the paper's split leaves (a tenth); NaN where it does not say."""
    counts = paper.table(2)
    areas = counts["study_area"].map(lambda name: paper.area_key(name) if "," in name else "comparison")
    by_area = dict(zip(areas, counts["patches"].astype(float), strict=True))
    if table == 6:
        return by_area["comparison"] / 10
    if table == 7:
        return (sum(by_area.values()) - by_area["comparison"]) / 10
    return by_area.get(area, np.nan) / 10 if table == 5 else np.nan


def rankings(pairs: pd.DataFrame) -> pd.DataFrame:
    """Count by table how many differences between networks exceed the noise.

    Args:
        pairs: of `pair_table`.

    Returns:
        Rows by table: pairs; ours_sure (corrected p below 0.05); published (pairs with a published difference);
        published_beyond_noise and published_beyond_scaled (those that exceed our noise, and what is left of it with as
        many test patches as the paper's); run_ids.
    """
    size = pairs["published_difference"].abs()
    told = pd.DataFrame(
        {
            "pairs": 1,
            "ours_sure": pairs["corrected"] < 0.05,
            "published": size.notna(),
            "published_beyond_noise": size > pairs["noise"],
            "published_beyond_scaled": (size > pairs["noise_published"]).where(
                pairs["noise_published"].notna()
            ),
        }
    )
    counts = told.groupby("table", sort=False).sum(min_count=1)
    ids = pairs["run_ids"].groupby("table", sort=False).agg(lambda ids: _unique("+".join(ids).split("+")))
    return counts.join(ids)


def _unique(ids: Sequence[str]) -> str:
    return "+".join(dict.fromkeys(ids))


def held_out(base: Run, more: Run) -> pd.DataFrame:
    """Return the windows that a network and the same one trained with background were both tested on.

    Args:
        base, more: runs on the same split, without and with `PatchSpec.background`.

    Returns:
        Rows by window: its place, kept (whether the paper's rule keeps it), base_tp, …, more_fn, and weight: how many
        windows of the area it stands for, so that both kinds together are the whole area.
    """
    (part,) = runs.patch_sets(more.spec, progress=False)
    index = part.index.assign(kept=part.index["share"] >= part.spec.min_share)
    tests = index[index["split"] == "test"]
    stands_for = index.groupby("kept").size() / tests.groupby("kept").size()
    found = tests[[*PLACE, "kept"]]
    for name, run in (("base", base), ("more", more)):
        windows = runs.windows(run)[[*PLACE, *intervals.COUNTED]]
        renamed = {cell: f"{name}_{cell}" for cell in intervals.COUNTED}
        found = found.merge(windows.rename(columns=renamed), on=PLACE, validate="1:1")
    return found.assign(
        weight=found["kept"].map(stands_for / stands_for.get(True, np.nan)), pixels=part.spec.size**2
    )


def prevalence_table(pairs: Sequence[tuple[Run, Run]]) -> pd.DataFrame:
    """Tabulate scores on the same held-out windows while those that the paper's rule drops count more and more.

    Args:
        pairs: by seed, runs without and with background, all on one split.

    Returns:
        Rows (training, weight of a dropped window beside a kept one): prevalence (share of landslide); precision, f1
        and recall with …_low and …_high; natural (the weight at which both kinds are as frequent as in the area);
        run_ids.
    """
    tables = [held_out(base, more) for base, more in pairs]
    kept, side = tables[0]["kept"].to_numpy(), pairs[0][0].spec.data[0].size
    natural = float(tables[0]["weight"][~kept].iloc[0]) if (~kept).any() else 0.0
    rows = []
    for place, (name, training) in enumerate({"base": "as in the paper", "more": "with background"}.items()):
        columns = [f"{name}_{cell}" for cell in intervals.COUNTED]
        counts = np.stack([table[columns].to_numpy() for table in tables])
        for weight in sorted({*WEIGHTS, natural} if natural else {0.0}):
            groups, weights = (counts[:, kept], counts[:, ~kept]), (1.0, weight)
            # One run tells: all see the same windows.
            landslide = sum(w * float(g[0][:, [0, 2]].sum()) for g, w in zip(groups, weights, strict=True))
            pixels = sum(w * g.shape[1] for g, w in zip(groups, weights, strict=True)) * side**2
            row: dict[str, Any] = {
                "training": training,
                "weight": weight,
                "prevalence": landslide / pixels,
                "natural": weight == natural,
            }
            for score, interval in intervals.mixed(groups, weights).items():
                row |= _bounds(score, interval)
            rows.append(row | {"run_ids": "+".join(pair[place].spec.run_id for pair in pairs)})
    return pd.DataFrame(rows).set_index(["training", "weight"])


def split_table(kinds: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """Tabulate runs on patches split in several ways.

    Returns:
        Rows (split, seed): f1 with low and high (bootstrap over patches); test_patches; touching, the share of them
        that touch a training patch at a side or a corner; run_ids.
    """
    rows = []
    for kind, finished in kinds.items():
        for run in finished:
            (part,) = runs.patch_sets(run.spec, progress=False)
            found = intervals.over_patches(tested(run)[intervals.COUNTED].to_numpy())
            patches = len(part.where("test"))
            rows.append(
                {
                    "split": kind,
                    "seed": run.spec.seed,
                    **found._asdict(),
                    "test_patches": patches,
                    "touching": part.neighbours("test", "train") / patches,
                    "run_ids": run.spec.run_id,
                }
            )
    return pd.DataFrame(rows).rename(columns={"value": "f1"}).set_index(["split", "seed"])


def size_table(by_size: Mapping[int, Sequence[Run]], own: int) -> pd.DataFrame:
    """Tabulate runs on patches of several sizes, scored over the whole area.

    Args:
        by_size: finished runs.
        own: the size the 10 % rule chooses.

    Returns:
        Rows (patch_size, seed): f1 with low and high (bootstrap over windows); outside_f1, outside the training
        patches; training_patches, steps, megapixels (seen in training); chosen; run_ids.
    """
    rows = []
    for size, finished in by_size.items():
        for run in finished:
            windows = runs.windows(run)
            found = intervals.over_patches(windows[intervals.COUNTED].to_numpy())
            recipe, patches = run.spec.recipe, run.metrics["training_patches"]
            rows.append(
                {
                    "patch_size": size,
                    "seed": run.spec.seed,
                    **found._asdict(),
                    "outside_f1": totals(windows)["outside_training"].f1,
                    "training_patches": patches,
                    "steps": -(-patches // recipe.batch_size) * recipe.epochs,
                    "megapixels": patches * size**2 * recipe.epochs / 1e6,
                    "chosen": size == own,
                    "run_ids": run.spec.run_id,
                }
            )
    return pd.DataFrame(rows).rename(columns={"value": "f1"}).set_index(["patch_size", "seed"])


def switch_table(base: Sequence[Run], switched: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """Tabulate what each change does to F1 on the same test patches, seed by seed.

    Args:
        base: runs without any change.
        switched: runs by what is changed.

    Returns:
        Rows by change: f1; effect (mean over seeds of F1 with the change less without); seeds_low, seeds_high
        (Student's t over seeds); low, high (bootstrap over patches); p (paired t-test over seeds) and corrected;
        seeds; run_ids.
    """
    by_seed = {run.spec.seed: run for run in base}
    rows = []
    for name, finished in switched.items():
        pairs = [(run, by_seed[run.spec.seed]) for run in finished if run.spec.seed in by_seed]
        if not pairs:
            continue
        with_it, without = (
            intervals.stacked([tested(pair[place]) for pair in pairs], PATCH) for place in (0, 1)
        )
        gaps = intervals.f1(with_it) - intervals.f1(without)
        seeds, patches = intervals.over_seeds(gaps), intervals.difference(with_it, without)
        known = len(gaps) > 1 and np.isfinite(gaps).all() and np.ptp(gaps) > 0
        rows.append(
            {
                "change": name,
                "f1": intervals.f1(with_it).mean(),
                "effect": patches.value,
                "seeds_low": seeds.low,
                "seeds_high": seeds.high,
                "low": patches.low,
                "high": patches.high,
                "p": float(stats.ttest_1samp(gaps, 0).pvalue) if known else np.nan,
                "corrected": np.nan,
                "seeds": len(pairs),
                "run_ids": "+".join(run.spec.run_id for pair in pairs for run in pair),
            }
        )
    table = pd.DataFrame(rows).set_index("change")
    table["corrected"] = intervals.corrected(table["p"])
    return table


def _bounds(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
