"""The paper's tables from finished runs, and the rule that chooses a patch size."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import QUIET
from hypothesis import given
from hypothesis import strategies as st

from lmhld_nb import paper, runs, sources
from lmhld_nb.config import UserError
from lmhld_nb.evaluation.counts import Confusion
from lmhld_nb.experiments import common as experiments
from lmhld_nb.experiments import plan as plans
from lmhld_nb.experiments import profile as profiles
from lmhld_nb.experiments import results
from lmhld_nb.experiments.profile import Profile
from lmhld_nb.plots import scores as score_plots
from lmhld_nb.runs import runner
from lmhld_nb.sources import DataSet

MODELS = list(paper.MODELS)


@pytest.fixture
def profile(tiny: Path) -> Profile:
    """Experiments 1 to 3 on one and two areas, and a small study of the recipe."""
    text = tiny.read_text().replace("experiments: [2]", "experiments: [1, 2, 3, recipe]")
    text = text.replace("epochs: 3", "epochs: 2")
    text += "experiment_1: {areas: [gorkha], candidates: {gorkha: [32, 64]}}\n"
    text += "experiment_3: {size: 32}\nseeds: [0, 1]\n"
    text += "recipe_study: {area: gorkha, batch_sizes: [2, 4], epochs: [1, 2]}\n"
    tiny.write_text(text)
    return profiles.load(str(tiny))


@pytest.fixture
def dataset(tiny: Path) -> DataSet:
    return sources.load("twin-smoke")


def made(profile: Profile, dataset: DataSet) -> dict[str, list[runs.Run]]:
    planned = plans.plan(profile, dataset)
    runner.ensure(
        [entry.spec for entry in planned],
        1,
        QUIET,
        {entry.spec.run_id for entry in planned if entry.with_whole_area},
    )
    return {
        name: [run for entry in planned if name in entry.experiments and (run := runs.find(entry.spec))]
        for name in plans.EXPERIMENTS
    }


def test_plan_makes_each_run_once(profile: Profile, dataset: DataSet) -> None:
    planned = plans.plan(profile, dataset)
    ids = [entry.spec.run_id for entry in planned]
    assert len(set(ids)) == len(ids)
    counts = {name: sum(name in entry.experiments for entry in planned) for name in plans.EXPERIMENTS}
    assert counts == {"1": 4, "2": 4, "3": 2, "4": 0, "5": 0, "recipe": 4, "beyond": 0}
    # Gorkha at its own size, two seeds, is asked for by experiments 1 and 2.
    shared = [entry for entry in planned if entry.experiments == ("1", "2")]
    assert [entry.areas for entry in shared] == [("gorkha",)] * 2 and len(ids) == 4 + 4 + 2 + 4 - 2
    only = plans.plan(profile, dataset, "2")
    assert len(only) == 4 and {entry.spec.run_id for entry in only} < set(ids)


def test_the_published_recipe_has_the_runs_of_the_paper(dataset: DataSet) -> None:
    """7 areas × 3 sizes × 7 networks, 7 × 7, and 7 (the paper's 147, 49 and 7).

    Experiment 4: 24 stages a network; for the comparison two seeds more of U-Net's first chain, five other strategies
    of three seeds that share their first stages with it, and three trainings on all at once. Experiment 5: one chain of
    experiment 4, and one for three bands.
    """
    paper_profile = profiles.load("paper").model_copy(update={"data": "twin-smoke"})
    planned = plans.plan(paper_profile, dataset)
    counts = {name: sum(name in entry.experiments for entry in planned) for name in plans.EXPERIMENTS}
    # Beyond, each with 3 seeds: U-Net's trainings of Table 4 (those of Table 5 and the base are among them) and
    # Table 6, and its first chain of Table 7; background; two more random splits and three by blocks; four more sizes;
    # five switches.
    beyond = 7 * 3 * 3 + 3 + 3 + 3 + 2 + 3 + 4 * 3 + 5 * 3
    papers = {"1": 147, "2": 49, "3": 7, "4": 24 * 7 + 14 + 90 + 3, "5": 14, "recipe": 4}
    assert counts == {**papers, "beyond": beyond}
    assert {
        entry.spec.recipe.batch_size for entry in planned if not {"recipe", "beyond"} & set(entry.experiments)
    } == {16}
    sizes = {
        area: [part.size for entry in planned if "1" in entry.experiments for part in entry.spec.data
               if part.area == area and entry.spec.model == "unet"]
        for area in dataset.areas
    }  # fmt: skip
    assert all(len(set(found)) == 3 for found in sizes.values())


def test_tables_4_to_6_and_the_recipe_are_means_over_seeds(profile: Profile, dataset: DataSet) -> None:
    finished = made(profile, dataset)
    table4 = results.table_4(finished["1"])
    assert list(table4.index) == [("gorkha", "unet", 32), ("gorkha", "unet", 64)]
    for size, row in table4.droplevel([0, 1]).iterrows():
        mine = [run for run in finished["1"] if run.spec.data[0].size == size]
        scores = [(run.whole_area["all"].f1, run.whole_area["outside_training"].f1) for run in mine]  # type: ignore[index]
        assert row[["f1", "outside_f1"]].tolist() == pytest.approx(np.mean(scores, axis=0).tolist())
        assert row["run_ids"].split("+") == [run.spec.run_id for run in mine]
    assert table4["published_f1"].isna().all()  # Table 4 is of Wenchuan

    table6 = results.table_6(finished["3"])
    assert list(table6.index) == ["unet"]
    assert table6.loc["unet", "f1"] == pytest.approx(
        np.mean([r.metrics["test"]["f1"] for r in finished["3"]])
    )
    published = paper.table(6).set_index("model").loc["U-Net", "f1"]
    assert table6.loc["unet", "published_f1"] == published
    assert table6.loc["unet", "difference_f1"] == pytest.approx(table6.loc["unet", "f1"] - published)

    by_area = results.table_6_by_area(finished["3"], finished["2"])
    assert list(by_area.index) == [("emilia_romagna", "unet"), ("gorkha", "unet")]
    for run in finished["3"]:
        whole = sum(
            (
                Confusion(*(test[key] for key in ("tp", "fp", "fn", "tn")))
                for test in run.metrics["areas"].values()
            ),
            Confusion(0, 0, 0, 0),
        )
        assert vars(whole) == {key: run.metrics["test"][key] for key in vars(whole)}
    # Both areas' own size is 32, as that of the mix here: the same test patches.
    assert by_area["alone_f1"].notna().all()
    assert by_area["gain"].tolist() == pytest.approx((by_area["f1"] - by_area["alone_f1"]).tolist())
    assert results.table_6_by_area(finished["3"])["alone_f1"].isna().all()

    grid = results.recipe_table(finished["recipe"])
    assert list(grid.index) == list(itertools.product((2, 4), (1, 2)))
    patches = finished["recipe"][0].metrics["training_patches"]
    assert grid["steps"].tolist() == [-(-patches // b) * e for b, e in grid.index]


def test_another_size_than_the_areas_own_is_not_comparable(profile: Profile, dataset: DataSet) -> None:
    finished = made(profile, dataset)
    alone = [run for run in finished["1"] if run.spec.data[0].size == 64]
    assert results.table_6_by_area(finished["3"], alone)["alone_f1"].isna().all()


def test_the_published_table_4_leads_to_the_published_choice() -> None:
    table = paper.table(4).assign(area="wenchuan")
    table["model"] = table["model"].map({name: key for key, name in paper.MODELS.items()})
    f1 = table.set_index(["area", "model", "patch_size"])["f1"]
    choice = results._choice(f1).loc["wenchuan"]
    assert choice.index[choice["chosen"]].tolist() == [paper.areas().loc["wenchuan", "patch_size"]]
    assert choice["models_best"].tolist() == [1, 1, 5] and not choice["tied"].any()
    assert choice.loc[64, "winners"] == "Res U-Net" and choice.loc[128, "winners"] == "Dense U-Net"


def f1_table(values: list[list[float]], sizes: list[int]) -> pd.Series:
    index = pd.MultiIndex.from_product(
        [["rio"], MODELS[: len(values)], sizes], names=["area", "model", "patch_size"]
    )
    return pd.Series(np.ravel(values), index, name="f1")


def test_ties_go_to_the_size_with_more_winners_then_to_the_smaller() -> None:
    equal = results._choice(f1_table([[0.5, 0.9], [0.7, 0.3], [0.6, 0.6]], [64, 128])).loc["rio"]
    assert equal["tied"].all() and equal["models_best"].tolist() == [2, 2]
    assert equal["chosen"].tolist() == [True, False]
    more = results._choice(f1_table([[0.5, 0.51], [0.6, 0.61], [0.62, 0.6]], [64, 128])).loc["rio"]
    assert more["tied"].all() and more["chosen"].tolist() == [False, True]
    close = results._choice(f1_table([[0.5, 0.5012]], [64, 128])).loc["rio"]
    assert not close["tied"].any() and close["chosen"].tolist() == [False, True]


def test_networks_without_a_run_at_every_size_do_not_decide() -> None:
    f1 = f1_table([[0.8, 0.7], [0.2, 0.1]], [64, 128]).drop(("rio", MODELS[1], 128))
    choice = results._choice(f1).loc["rio"]
    assert choice["chosen"].tolist() == [True, False] and choice["models"].tolist() == [1, 1]
    with pytest.raises(UserError, match="rio: no network has runs at every size"):
        results._choice(f1.drop(("rio", MODELS[0], 64)))


def test_predictions_leave_a_gap_where_a_network_was_not_run(profile: Profile, dataset: DataSet) -> None:
    finished = made(profile, dataset)["2"]
    shown = results.examples(finished)
    shown[0].predictions.clear()
    figure = score_plots.predictions(shown, profile.patches.bands)
    titles = [ax.get_title().splitlines()[0] for ax in figure.axes if ax.get_title()]
    assert titles[:3] == ["image", "U-Net", "truth"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "experiment_1: {areas: [rio]}",
            "key 'experiment_1.areas': 'rio' is not among the profile's `areas`",
        ),
        (
            "experiment_3: {areas: [rio]}",
            "key 'experiment_3.areas': 'rio' is not among the profile's `areas`",
        ),
        ("recipe_study: {area: rio}", "key 'recipe_study.area': 'rio' is not among the profile's `areas`"),
        (
            "experiment_3: {size: 4096}",
            "key 'experiment_3.size' = 4096: no scene of 'twin-smoke' is that large",
        ),
        ("experiment_1: {candidates: {gorkha: [4096]}}", "no scene is as large as the candidate sizes 4096"),
    ],
)
def test_an_experiment_that_would_stay_empty_is_told(tiny: Path, line: str, told: str) -> None:
    tiny.write_text(tiny.read_text().replace("experiments: [2]\n", "") + line + "\n")
    profile = profiles.load(str(tiny))
    with pytest.raises(UserError, match=re.escape(told)):
        plans.plan(profile, experiments.dataset_of(profile, progress=False))


def test_what_is_said_of_an_experiment_that_is_left_out_does_not_matter(tiny: Path) -> None:
    # A copy of mini with other areas: its experiment 1 is on an area that is not used, and is not made.
    lines = "experiment_1: {areas: [rio]}\nexperiment_3: {areas: [rio]}\nrecipe_study: {area: rio}\n"
    tiny.write_text(tiny.read_text() + lines)
    profile = profiles.load(str(tiny))
    planned = plans.plan(profile, experiments.dataset_of(profile, progress=False))
    assert [entry.experiments for entry in planned] == [("2",), ("2",)]


def test_an_experiment_that_a_profile_leaves_out_is_told(tiny: Path) -> None:
    profile = profiles.load(str(tiny))
    with pytest.raises(UserError, match="experiment recipe: profile 'tiny' makes 2 only"):
        plans.plan(profile, experiments.dataset_of(profile, progress=False), "recipe")
    narrowed = profiles.narrowed(profiles.load("mini"), [], "rio")
    planned = plans.plan(narrowed.model_copy(update={"data": "twin-smoke"}), sources.load("twin-smoke"))
    assert {area for entry in planned for area in entry.areas} == {"rio"}
    assert not any("recipe" in entry.experiments for entry in planned)


@given(st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=7))
def test_one_size_is_chosen_and_none_is_clearly_better(values: list[list[float]]) -> None:
    choice = results._choice(f1_table(values, [64, 128, 224])).loc["rio"]
    (size,) = choice.index[choice["chosen"]]
    assert choice["mean_f1"].max() - choice.loc[size, "mean_f1"] <= results.TIE
    assert choice["models_best"].sum() >= len(values)
    # The order in which models are listed does not matter.
    turned = results._choice(f1_table(values[::-1], [64, 128, 224])).loc["rio"]
    assert turned["chosen"].tolist() == choice["chosen"].tolist()
