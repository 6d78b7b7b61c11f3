"""The effect of the paper's choices: the runs of `beyond` as tables, each with a column ``run_ids``."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from lmhld_nb import runs
from lmhld_nb.evaluation import Confusion, intervals
from lmhld_nb.evaluation.intervals import RESAMPLES
from lmhld_nb.experiments.tables import PLACE, join_ids, score_table, tested_blocks, tested_on, tested_patches
from lmhld_nb.patches import splits
from lmhld_nb.runs import Run, store
from lmhld_nb.training import scoring


def held_out(base: Run, with_background: Run) -> pd.DataFrame:
    """Return the windows on which a network and one trained with background were both tested.

    Columns: position, kept (by the paper's rule), base_tp … background_fn, weight (windows of the area represented).
    """
    (spec,) = with_background.spec.data
    index = runs.patch_set(spec, progress=False).index.assign(kept=lambda table: table["share"] >= spec.min_share)
    tests = index[index["split"] == "test"]
    stands_for = index.groupby("kept").size() / tests.groupby("kept").size()
    table = tests[["scene", "row", "col", "kept"]]
    for name, counts in (("base", store.counts_on(base, spec)), ("background", store.test_patches(with_background))):
        table = table.join(counts.set_index("number")[intervals.COUNTED].add_prefix(f"{name}_"), validate="1:1")
    return table.assign(weight=table["kept"].map(stands_for / stands_for.get(True, np.nan)))


def prevalence_table(base: Sequence[Run], background: Sequence[Run], resamples: int = RESAMPLES) -> pd.DataFrame:
    """Tabulate scores on held-out windows for the seeds that both have: on those that the paper's rule keeps, and all.

    Rows (training, weight of a dropped window: 0, or natural, as in the area): prevalence; scores with …_low and
    …_high over blocks (kept windows that touch, squares of others), f1_sd; false_alarms (share of the background);
    kept, dropped, seeds, run_ids. Empty without pairs.
    """
    by_seed = {run.spec.seed: run for run in background}
    pairs = [(run, by_seed[run.spec.seed]) for run in base if run.spec.seed in by_seed]
    if not pairs:
        return pd.DataFrame()
    tables = [held_out(*pair) for pair in pairs]
    kept, spec = tables[0]["kept"].to_numpy(), pairs[0][0].spec.data[0]
    blocks = splits.touching(tables[0][kept], spec.size), splits.blocks(tables[0][~kept], spec.block * spec.size)
    natural = float(tables[0]["weight"][~kept].iloc[0]) if (~kept).any() else 0.0
    rows = []
    for index, (name, training) in enumerate({"base": "as in the paper", "background": "with background"}.items()):
        columns = [f"{name}_{cell}" for cell in intervals.COUNTED]
        counts = np.stack([table[columns].to_numpy() for table in tables])
        groups = [
            np.stack([pd.DataFrame(each).groupby(block).sum().to_numpy() for each in counts[:, which]])
            for which, block in ((kept, blocks[0]), (~kept, blocks[1]))
        ]
        for weight in sorted({0.0, natural}):
            weights = (1.0, weight)
            sums = sum(w * g.sum(axis=1) for g, w in zip(groups, weights, strict=True))
            landslide = float(sums[0, [0, 2]].sum())  # the first run represents all: they see the same windows
            pixels = (kept.sum() + weight * (~kept).sum()) * spec.size**2
            row: dict[str, Any] = {"training": training, "weight": weight, "prevalence": landslide / pixels}
            row |= {"natural": weight == natural, "kept": int(kept.sum()), "dropped": int((~kept).sum())}
            row |= {"false_alarms": (sums[:, 1] / (pixels - landslide)).mean()}
            row |= {"f1_sd": pd.Series(2 * sums[:, 0] / (2 * sums[:, 0] + sums[:, 1] + sums[:, 2])).std()}
            for score, interval in intervals.mixed(groups, weights, resamples).items():
                row |= interval.columns(score)
            rows.append(row | {"seeds": len(pairs), "run_ids": join_ids([pair[index].spec.run_id for pair in pairs])})
    return pd.DataFrame(rows).set_index(["training", "weight"])


def split_table(kinds: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """Tabulate runs by (split, seed): training_patches, the share of test patches ``touching`` one, `score_table`."""
    rows = []
    for kind, finished in kinds.items():
        for run in finished:
            (patch_set,) = runs.patch_sets(run.spec, progress=False)
            touching = patch_set.neighbours("test", "train") / len(patch_set.where("test"))
            row = {"split": kind, "seed": run.spec.seed, "training_patches": run.metrics["training_patches"]}
            rows.append({**row, "touching": touching, "run": run, "counts": tested_patches(run)})
    return score_table(rows, ["split", "seed"]) if rows else pd.DataFrame()


def size_table(by_size: Mapping[int, Sequence[Run]], own: int) -> pd.DataFrame:
    """Tabulate whole-area scores by patch_size (``own``: the chosen one): outside_f1, pixels seen, `score_table`."""
    rows = []
    for size, finished in by_size.items():
        for run in finished:
            counts, patches = tested_blocks(run), run.metrics["training_patches"]
            row = {"patch_size": size, "outside_f1": scoring.whole_area(counts)["outside_training"].f1}
            row |= {"training_patches": patches, "steps": run.metrics["steps"], "chosen": int(size == own)}
            row |= {"megapixels": patches * size**2 * run.spec.recipe.epochs / 1e6}
            rows.append({**row, "run": run, "counts": counts})
    return score_table(rows, ["patch_size"]) if rows else pd.DataFrame()


def label_table(drawn: Sequence[Run], true: Sequence[Run]) -> pd.DataFrame:
    """Tabulate networks trained on drawn and on true outlines, tested against both on the same patches.

    Rows (trained, tested): labels_f1 (drawn against true), `score_table`; gain from true ones, …_low, …_high, …_sd.
    """
    if not (drawn and true):
        return pd.DataFrame()
    specs = {"drawn": drawn[0].spec.data[0], "true": true[0].spec.data[0]}
    masks = {name: runs.patch_set(spec, progress=False) for name, spec in specs.items()}
    tests = [patch_set.masks[patch_set.where("test")] > 0 for patch_set in masks.values()]
    agreement, rows = Confusion.of(*tests).f1, []
    for (trained, finished), (tested, spec) in product({"drawn": drawn, "true": true}.items(), specs.items()):
        row = {"trained": trained, "tested": tested, "labels_f1": agreement}
        rows += [{**row, "run": run, "counts": tested_on(run, spec)} for run in finished]
    table, by_row = score_table(rows, ["trained", "tested"]), pd.DataFrame(rows)
    by_row["seed"] = [run.spec.seed for run in by_row["run"]]
    for tested in specs:
        pairs = by_row[by_row["tested"] == tested].pivot(index="seed", columns="trained", values="counts").dropna()
        from_drawn, from_true = (intervals.stacked(list(pairs[name]), PLACE) for name in ("drawn", "true"))
        gain = intervals.difference(from_true, from_drawn)
        by_seed = intervals.f1(from_true) - intervals.f1(from_drawn)
        table.loc[("true", tested), ["gain", "gain_low", "gain_high"]] = list(gain)
        table.loc[("true", tested), "gain_sd"] = pd.Series(by_seed).std()
    return table


def epochs_table(by_epochs: Mapping[int, Mapping[str, Sequence[Run]]]) -> pd.DataFrame:
    """Tabulate LMHLD_part beside mix and single at several numbers of epochs (per stage), on their common areas.

    Rows (epochs, strategy): areas, `score_table`; part_minus (F1 of part minus this, mean over common seeds), …_sd.
    """
    finished = pd.DataFrame(
        {"epochs": epochs, "strategy": name, "seed": run.spec.seed, "run": run, "counts": tested_patches(run)}
        for epochs, strategies in by_epochs.items()
        for name, group in strategies.items()
        for run in group
    )
    if finished.empty or (chains := finished[finished["strategy"] == "part"]).empty:
        return pd.DataFrame()
    keys, common = ["epochs", "strategy"], set.intersection(*(set(counts["area"]) for counts in chains["counts"]))
    rows: list[dict[str, Any]] = []
    for (*key, seed), group in finished.groupby([*keys, "seed"], sort=False):
        counts = pd.concat(list(group["counts"]))
        counts = counts[counts["area"].isin(common)]
        if counts["area"].nunique() == len(common):  # else a run of that seed is missing
            run, *also = group["run"]
            row = dict(zip(keys, key, strict=True)) | {"run": run, "also": also, "counts": counts, "seed": seed}
            rows.append({**row, "areas": len(common), "pooled": scoring.total(counts).f1})
    by_seed = pd.DataFrame(rows)
    part_f1 = by_seed[by_seed["strategy"] == "part"].set_index(["epochs", "seed"])["pooled"]
    own = part_f1.reindex(pd.MultiIndex.from_frame(by_seed[["epochs", "seed"]])).to_numpy()
    minus = by_seed.assign(gap=own - by_seed["pooled"]).groupby(keys)["gap"]
    table = score_table(rows, keys).drop(columns=["seed", "pooled"])
    return table.assign(part_minus=minus.mean(), part_minus_sd=minus.std())


def switch_table(base: Sequence[Run], switched: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """Tabulate the effect of each change on F1, on the same test patches, seed by seed.

    By change: f1; effect with low, high (over patches), effect_sd, same_sign (over seeds); seeds, patches, run_ids.
    """
    by_seed = {run.spec.seed: run for run in base}
    rows = []
    for name, finished in switched.items():
        pairs = [(run, by_seed[run.spec.seed]) for run in finished if run.spec.seed in by_seed]
        if not pairs:
            continue
        tested = [[tested_patches(pair[index]) for pair in pairs] for index in (0, 1)]
        with_it, without = (intervals.stacked(counts, PLACE) for counts in tested)
        gaps, interval = intervals.f1(with_it) - intervals.f1(without), intervals.difference(with_it, without)
        row = {"change": name, "f1": intervals.f1(with_it).mean(), "effect": interval.value}
        row |= {"low": interval.low, "high": interval.high, "effect_sd": pd.Series(gaps).std()}
        row |= {"same_sign": abs(np.sign(gaps).sum()) == len(gaps), "seeds": len(pairs), "patches": len(tested[0][0])}
        rows.append(row | {"run_ids": join_ids([run.spec.run_id for pair in pairs for run in pair])})
    return pd.DataFrame(rows).set_index("change") if rows else pd.DataFrame()
