"""Real data through the same code: what a U-Net trained on a few real samples scores, against thresholding.

    python -m benchmarks.real_samples          (make real)

Reads the samples in the folder that LMHLD_SHARED_DATA names. Three cases:

- Hokkaido 2018, 3 m, B-G-R: 128-pixel patches, trained on some tiles, tested on others;
- Jinsha, 0.5 m, B-G-R: trained on scene A, scene C mapped whole, as `lmhld map` does, and scored against its mask;
- Landslide4Sense, 10 m, B-G-R-NIR: 32-pixel patches.

- the same with windows of one patch kept together in one split.

Then experiments 1 to 3 of the book on the scenes of Hokkaido and Jinsha, as a data set of three areas
(params/real.yaml).

Each network is set beside two thresholds: the best one on the very pixels it is scored on (no threshold can do better
there), and the best one on the training pixels (what thresholding does with the knowledge the network has). Small
sample sets are dealt several times, and the counts of all deals are added up.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks import common
from lmhld_nb import evaluation, experiments, mapping, patches, runs, scenes, sources
from lmhld_nb.config import ROOT, UserError, workdir
from lmhld_nb.evaluation import METRICS
from lmhld_nb.evaluation.counts import Confusion, Threshold, _features
from lmhld_nb.experiments import mix, patch_size, single
from lmhld_nb.patches.patch_sets import PatchSpec
from lmhld_nb.training.hardware import Execution, cpu_name
from lmhld_nb.training.specs import Recipe, RunSpec

SHARED = Path(os.environ.get("LMHLD_SHARED_DATA", ROOT.parent / "shared" / "data"))
BGR = ("blue", "green", "red")
RECIPE = Recipe(batch_size=4, epochs=40, lr=0.02, gamma=0.95, momentum=0.9, augment=True, normalise="scene")
NOTHING = Confusion(0, 0, 0, 0)
Row = dict[str, object]


def adopt(name: str, folder: str) -> sources.DataSet:
    """Adopt a shared sample where it lies."""
    return sources.get(name, SHARED / folder, progress=False)


def score_threshold(rule: Threshold, images: np.ndarray, masks: np.ndarray, bands: tuple[str, ...]) -> Confusion:
    """Score a rule found elsewhere on these pixels; arguments as `evaluation.best_threshold`."""
    feature = _features(images, bands)[rule.feature]
    predicted = feature >= rule.value if rule.above else feature <= rule.value
    return Confusion.of(predicted, masks == 1, masks <= 1)


def threshold_from_training(run: runs.Run) -> Confusion:
    """Score, on the test pixels of a run, the threshold that is best on its training pixels: no better informed."""
    (patch_set,) = runs.patch_sets(run.spec, progress=False)
    pixels = {}
    for split in ("train", "test"):
        numbers = patch_set.where(split)
        pixels[split] = (patch_set.images[numbers], patch_set.masks[numbers], patch_set.spec.bands)
    return score_threshold(evaluation.best_threshold(*pixels["train"]), *pixels["test"])


def dealt(name: str, base: PatchSpec, recipe: Recipe, width: int, deals: int) -> Row:
    """Train and test on several deals of one area's patches; add up the counts."""
    network, threshold, trained_threshold, features = NOTHING, NOTHING, NOTHING, set()
    seconds, won = 0.0, 0
    for seed in range(deals):
        part = base.model_copy(update={"seed": seed})
        run = train(RunSpec(model="unet", width=width, data=(part,), recipe=recipe, seed=seed))
        network += counts_of(run.metrics["test"])
        rule = single.threshold_baseline(run)
        threshold += rule.confusion
        trained_threshold += threshold_from_training(run)
        features.add(rule.feature)
        seconds += run.metrics["seconds"]
        won += run.metrics["test"]["f1"] > rule.confusion.f1
    trained = {"deals": deals, "deals_won": won, "seconds": round(seconds, 1)}
    return {
        **about(name, part),
        **trained,
        **scores(network, threshold, trained_threshold),
        "threshold_feature": "/".join(sorted(features)),
    }


def train(spec: RunSpec) -> runs.Run:
    """Make a run on every core."""
    return runs.make_run(spec, Execution(threads=os.cpu_count() or 1))


def counts_of(stored: Mapping[str, int]) -> Confusion:
    """Return the counts of a stored score."""
    return Confusion(*(stored[name] for name in ("tp", "fp", "fn", "tn")))


def about(name: str, spec: PatchSpec) -> Row:
    """Return the columns that say what was trained on."""
    cut = patches.load(spec)
    bands = "-".join("NIR" if band == "nir" else band[0].upper() for band in spec.bands)
    return {
        "case": name,
        "bands": bands,
        "patch_px": spec.size,
        "windows": cut.windows,
        "patches_kept": len(cut.index),
    }


def scores(network: Confusion, threshold: Confusion, trained_threshold: Confusion) -> Row:
    """Return the columns of results."""
    return {
        "precision": network.precision,
        "recall": network.recall,
        "f1": network.f1,
        "threshold_f1": threshold.f1,
        "threshold_from_training_f1": trained_threshold.f1,
        "beats_threshold": network.f1 > threshold.f1,
    }


def hokkaido() -> Row:
    """Train on some tiles, test on others: a tile of 256 pixels holds 2 × 2 patches, which stay together."""
    dataset = adopt("hokkaido", "hokkaido-2018-3m-rgb")
    spec = PatchSpec(dataset=dataset.name, fingerprint=dataset.fingerprint, area="hokkaido", size=128, bands=BGR,
                     split="blocks", block=2, fractions=(0.6, 0.2, 0.2))  # fmt: skip
    return dealt("hokkaido", spec, RECIPE, 16, 3)


def jinsha() -> Row:
    """Train on scene A, map scene C."""
    dataset = adopt("jinsha", "jinsha-uav-georef")
    spec = PatchSpec(dataset=dataset.name, fingerprint=dataset.fingerprint, area="jinsha_a", size=128, bands=BGR,
                     split="blocks", block=2, fractions=(0.7, 0.2, 0.1))  # fmt: skip
    run = train(RunSpec(model="unet", width=16, data=(spec,), recipe=RECIPE))
    (scene,) = dataset.scenes_of("jinsha_c")
    began = time.perf_counter()
    report = mapping.map_scene(scene, run.folder / "weights.safetensors", workdir() / "build" / "real" / "jinsha_c")
    seconds = run.metrics["seconds"] + time.perf_counter() - began
    values, labels, valid = scenes.read_all(scene, BGR)
    rule = evaluation.best_threshold(values[None], np.where(valid, labels, 255)[None], BGR)
    network = counts_of(report["scores"])
    (patch_set,) = runs.patch_sets(run.spec, progress=False)
    chosen = patch_set.where("train")
    trained_rule = evaluation.best_threshold(patch_set.images[chosen], patch_set.masks[chosen], BGR)
    known = np.where(valid, labels, 255)[None]
    trained_threshold = score_threshold(trained_rule, values[None], known, BGR)
    trained = {"deals": 1, "deals_won": int(network.f1 > rule.confusion.f1), "seconds": round(seconds, 1)}
    return {
        **about("jinsha A → C", spec),
        **trained,
        **scores(network, rule.confusion, trained_threshold),
        "threshold_feature": rule.feature,
    }


def landslide4sense(apart: bool = False) -> Row:
    """Train and test on windows of the competition's patches; ``apart`` keeps those of one patch in one split."""
    dataset = adopt("landslide4sense", "landslide4sense-samples")
    spec = PatchSpec(dataset=dataset.name, fingerprint=dataset.fingerprint, area="landslide4sense", size=32,
                     split="blocks" if apart else "random", block=4, fractions=(0.6, 0.2, 0.2))  # fmt: skip
    # 15 patches to train on: a narrower network, larger batches, and Dice, which counts what F1 does.
    recipe = RECIPE.model_copy(
        update={"batch_size": 8, "lr": 0.1, "gamma": 0.97, "loss": "dice_bce", "weight_decay": 1e-3}
    )
    return dealt("landslide4sense" + (", patches apart" if apart else ""), spec, recipe, 8, 6)


CASES: dict[str, Callable[[], Row]] = {
    "hokkaido": hokkaido,
    "jinsha": jinsha,
    "landslide4sense": landslide4sense,
    "landslide4sense-apart": lambda: landslide4sense(apart=True),
}


def paper_experiments() -> pd.DataFrame:
    """Make experiments 1 to 3 on three real scenes; one row a score."""
    adopt("real-areas", ".")
    study = experiments.open_study(experiments.load("real"), progress=False)
    finished = {}
    for experiment in (patch_size, single, mix):
        specs = experiment.specs(study)
        scored = {spec.run_id for spec in specs} if experiment is patch_size else set()
        finished[experiment] = study.fetch(specs, whole_area=scored)
    whole = patch_size.table_4(study, finished[patch_size])
    print(patch_size.patch_size_choice(whole).to_string(float_format=lambda value: f"{value:.4f}"))
    tables = {
        "1 patch size (whole area)": whole.reset_index(),
        "2 single": single.table_5(study, finished[single]).reset_index(),
        "3 mix": mix.table_6(study, finished[mix]).reset_index(),
        "3 mix, by area": mix.table_6_by_area(finished[mix], finished[single]).reset_index(),
    }
    rows = pd.concat([table.assign(experiment=name) for name, table in tables.items()])
    columns = [
        "experiment",
        "area",
        "patch_size",
        "model",
        *METRICS,
        "outside_f1",
        "alone_f1",
        "run_ids",
    ]
    return rows[columns].astype({"patch_size": "Int64"})


def main() -> None:
    """Run the cases, print, store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--case",
        choices=[*CASES, "experiments"],
        help="only this one (prints; stores nothing but the experiments)",
    )
    options = parser.parse_args()
    if not SHARED.is_dir():
        raise SystemExit(f"{SHARED}: no such folder; set LMHLD_SHARED_DATA to the folder of the real samples")
    tables = {}
    try:
        if options.case != "experiments":
            rows = [make() for name, make in CASES.items() if options.case in (None, name)]
            tables["real-samples.csv"] = pd.DataFrame(rows)
        if options.case in (None, "experiments"):
            tables["real-experiments.csv"] = paper_experiments()
    except UserError as error:
        raise SystemExit(str(error)) from None
    for name, table in tables.items():
        print(table.to_string(index=False, float_format=lambda value: f"{value:.4f}", na_rep=""))
        if options.case in (None, "experiments"):
            path = common.RESULTS / name
            table.assign(hardware=cpu_name(), torch=torch.__version__).to_csv(path, index=False, float_format="%.4f")
            print(f"→ {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
