"""The paper's tables from finished runs, and the rule that chooses a patch size."""

import itertools

import numpy as np
import pandas as pd
import pytest
from conftest import QUIET
from made import refuses

from lmhld_nb import models, paper, runs
from lmhld_nb.evaluation import Confusion
from lmhld_nb.experiments import EXPERIMENTS, load, mix, open_study, patch_size, recipe, single, tables
from lmhld_nb.experiments import examples as example_patches
from lmhld_nb.experiments.plan import plan


@pytest.fixture
def study(tiny):
    """Experiments 1 to 3 on one and two areas, and a small study of the recipe."""
    experiments = "{patch_size: {areas: [gorkha], candidates: {gorkha: [32, 64]}}, single: {}, mix: {size: 32}, "
    experiments += "recipe: {area: gorkha, batch_sizes: [2, 4], epochs: [1, 2]}}\nseeds: [0, 1]"
    tiny.write_text(tiny.read_text().replace("{single: {}}", experiments).replace("epochs: 3", "epochs: 2"))
    return open_study(load(str(tiny)), progress=False)


def test_tables_are_means_over_seeds_beside_the_published_ones(study):
    planned = plan(study)
    runs.make_runs([entry.spec for entry in planned], 1, QUIET, {one.spec.run_id for one in planned if one.whole_area})
    made = {name: entry for name, entry in EXPERIMENTS.items() if study.profile.makes(name)}
    by_experiment = {name: study.finished(entry.specs(study)) for name, entry in made.items()}
    table4 = patch_size.table_4(study, by_experiment["patch_size"])
    assert list(table4.index) == [("gorkha", "unet", 32), ("gorkha", "unet", 64)]
    for size, row in table4.droplevel([0, 1]).iterrows():
        seeds = [run for run in by_experiment["patch_size"] if run.spec.data[0].size == size]
        f1 = [(run.whole_area["all"].f1, run.whole_area["outside_training"].f1) for run in seeds]  # type: ignore[index]
        assert row[["f1", "outside_f1"]].tolist() == pytest.approx(np.mean(f1, axis=0).tolist())
        assert row["run_ids"].split("+") == [run.spec.run_id for run in seeds]
    assert table4["published_f1"].isna().all()  # Table 4 is of Wenchuan
    table5 = single.table_5(study, by_experiment["single"])
    published = paper.table(5).query("model == 'U-Net'")
    published = published.set_index(published["study_area"].map(paper.area_key))
    assert list(table5.index) == [("emilia_romagna", "unet"), ("gorkha", "unet")]
    for (area, _), row in table5.iterrows():
        finished = [run for run in by_experiment["single"] if run.spec.data[0].area == area]
        tests = [run.metrics["test"] for run in finished]
        assert row["patches"] == len(runs.store.test_patches(finished[0])) and row["blocks"] <= row["patches"]
        assert np.isnan(row["f1_low"]) == (row["blocks"] < 10) and row["seeds"] == 2
        assert row["f1_sd"] == pytest.approx(np.std([test["f1"] for test in tests], ddof=1))
        assert row["converged"] == np.mean([run.converged for run in finished])
        for score in ("precision", "f1", "recall"):
            mean = np.mean([test[score] for test in tests if test[score] is not None])
            assert row[score] == pytest.approx(mean, nan_ok=True)
            assert row[f"published_{score}"] == published.loc[area, score]
            assert row[f"difference_{score}"] == pytest.approx(row[score] - published.loc[area, score], nan_ok=True)
    table6 = mix.table_6(study, by_experiment["mix"])
    f1 = np.mean([run.metrics["test"]["f1"] for run in by_experiment["mix"]])
    assert list(table6.index) == ["unet"] and table6.loc["unet", "f1"] == pytest.approx(f1)
    assert table6.loc["unet", "published_f1"] == paper.table(6).set_index("model").loc["U-Net", "f1"]
    by_area = mix.table_6_by_area(by_experiment["mix"], by_experiment["single"])
    assert list(by_area.index) == [("emilia_romagna", "unet"), ("gorkha", "unet")]
    for run in by_experiment["mix"]:
        areas = [Confusion.from_dict(counts) for counts in run.metrics["areas"].values()]
        assert sum(areas, Confusion(0, 0, 0, 0)) == Confusion.from_dict(run.metrics["test"])
    # Both areas' own size is 32, as that of the mix here: the same test patches.
    assert by_area["alone_f1"].notna().all()
    assert by_area["gain"].tolist() == pytest.approx((by_area["f1"] - by_area["alone_f1"]).tolist())
    larger = [run for run in by_experiment["patch_size"] if run.spec.data[0].size == 64]
    for alone in ([], larger):  # other patches are not comparable
        assert mix.table_6_by_area(by_experiment["mix"], alone)["alone_f1"].isna().all()
    grid = recipe.recipe_table(study, by_experiment["recipe"])
    assert list(grid.index) == list(itertools.product((2, 4), (1, 2)))
    patches = by_experiment["recipe"][0].metrics["training_patches"]
    assert grid["steps"].tolist() == [-(-patches // batch) * epochs for batch, epochs in grid.index]


def test_table_2_counts_patches_and_an_area_the_paper_does_not_have_stands_alone(study):
    patch_sets = [study.patches(area) for area in study.areas]
    table = patch_size.table_2(patch_sets)
    for patch_set, (area, row) in zip(patch_sets, table.iterrows(), strict=True):
        assert area == patch_set.spec.area and row["patches"] == len(patch_set.index)
        dropped = sum(row[f"dropped_{reason}"] for reason in ("edge", "nodata", "share"))
        assert row["patches"] + dropped == row["windows"]
        shares = patch_set.index.groupby("split")["share"].mean()
        assert row["gap"] == pytest.approx(shares.max() - shares.min(), abs=1e-9)
    run = runs.make_run(single.specs(study)[0], QUIET)
    rows = [{**row, "area": "atlantis"} for row in single.tested([run])]
    table = tables.beside_published(rows, ["area", "model"], paper.table(5).assign(area="rio"))
    assert list(table.index) == [("atlantis", "unet")] and pd.isna(table["published_f1"].iloc[0])


def test_examples_and_thresholds_belong_to_the_test_patches(study):
    finished = [runs.make_run(spec, QUIET) for spec in single.specs(study) if spec.seed == 0]
    shown = example_patches.examples(finished)
    assert [example.area for example in shown] == ["emilia_romagna", "gorkha"]
    assert list(example_patches.example_scores(shown)["run_ids"]) == [run.spec.run_id for run in finished]
    for run, example in zip(finished, shown, strict=True):
        (patch_set,) = runs.patch_sets(run.spec)
        tests = patch_set.where("test")
        same = (patch_set.images[tests] == example.image).all(axis=(1, 2, 3))
        (number,) = tests[same & (patch_set.masks[tests] == example.truth).all(axis=(1, 2))]
        assert number == patch_set.index.iloc[tests].sort_values("share").index[len(tests) // 2], "of median share"
        assert (example.predictions["unet"] == example_patches.predict(run, patch_set, number)).all()
        assert sum(vars(single.threshold_baseline(run).confusion).values()) == len(tests) * patch_set.spec.size**2
        counted = sum(int(example_patches.predict(run, patch_set, number).sum()) for number in tests)
        assert counted == run.metrics["test"]["tp"] + run.metrics["test"]["fp"]
    rules = {run.spec.data[0].area: single.threshold_baseline(run) for run in finished}
    table = single.against_threshold(single.table_5(study, finished), rules)
    assert list(table.index) == ["emilia_romagna", "gorkha"] and set(table["network"]) == {"unet"}
    limit = rules["gorkha"].confusion.f1
    made = pd.DataFrame({"f1": {("gorkha", name): limit + k / 50 for k, name in enumerate(models.NAMES)}})
    counted = single.against_threshold(made, {"gorkha": rules["gorkha"]}).loc["gorkha"]
    counts = counted[["networks_above", "networks_clear", "networks"]].tolist()
    assert (counted["threshold_f1"], counted["network"], counts) == (limit, models.NAMES[-1], [6, 4, 7])


def choose(values, sizes):
    levels = [["rio"], models.NAMES[: len(values)], sizes]
    index = pd.MultiIndex.from_product(levels, names=["area", "model", "patch_size"])
    table = pd.DataFrame({"f1": np.ravel(values), "outside_f1": np.nan, "published_f1": np.nan}, index)
    return patch_size.patch_size_choice(table.dropna(subset="f1")).loc["rio"]


def test_the_choice_of_table_4_is_the_published_one_and_ties_go_to_more_winners():
    table = paper.table(4).assign(area="wenchuan", outside_f1=np.nan, published_f1=np.nan)
    table["model"] = table["model"].map({name: key for key, name in paper.MODELS.items()})
    choice = patch_size.patch_size_choice(table.set_index(["area", "model", "patch_size"])).loc["wenchuan"]
    assert choice.index[choice["chosen"]].tolist() == [paper.areas().loc["wenchuan", "patch_size"]]
    assert choice["models_best"].tolist() == [1, 1, 5] and not choice["tied"].any()
    assert choice.loc[64, "winners"] == "Res U-Net" and choice.loc[128, "winners"] == "Dense U-Net"
    equal = choose([[0.5, 0.9], [0.7, 0.3], [0.6, 0.6]], [64, 128])
    assert equal["tied"].all() and equal["models_best"].tolist() == [2, 2]
    assert equal["chosen"].tolist() == [True, False]
    winners = choose([[0.5, 0.51], [0.6, 0.61], [0.62, 0.6]], [64, 128])
    assert winners["tied"].all() and winners["chosen"].tolist() == [False, True]
    close = choose([[0.5, 0.5012]], [64, 128])
    assert not close["tied"].any() and close["chosen"].tolist() == [False, True]
    choice = choose([[0.8, 0.7], [0.2, np.nan]], [64, 128])
    assert choice["chosen"].tolist() == [True, False] and choice["models"].tolist() == [1, 1]
    refuses("rio: no network has runs at every size", choose, [[np.nan, 0.7], [0.2, np.nan]], [64, 128])
