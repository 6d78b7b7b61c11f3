"""Profiles and experiments: stable plans, the paper's tables beside ours, what a chapter does about missing runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import QUIET

from lmhld_nb import models, paper, runs, sources
from lmhld_nb.config import UserError
from lmhld_nb.experiments import common as experiments
from lmhld_nb.experiments import plan as plans
from lmhld_nb.experiments import profile as profiles
from lmhld_nb.experiments import results
from lmhld_nb.experiments.profile import Profile
from lmhld_nb.sources import DataSet
from lmhld_nb.training.hardware import Execution


@pytest.fixture
def profile(tiny: Path) -> Profile:
    return profiles.load(str(tiny))


@pytest.fixture
def dataset(tiny: Path) -> DataSet:
    return sources.load("twin-smoke")


def changed(profile: Profile, **patches: object) -> Profile:
    return profile.model_copy(update={"patches": profile.patches.model_copy(update=patches)})


@pytest.mark.parametrize("name", profiles.names())
def test_every_profile_of_the_book_loads(name: str) -> None:
    loaded = profiles.load(name)
    assert loaded.name == name and loaded.data in sources.catalogue()
    assert set(loaded.models) <= set(models.NAMES)
    assert "\n" not in loaded.description


def test_the_book_has_the_profiles_the_design_names() -> None:
    assert set(profiles.names()) >= {"smoke", "mini", "paper"}
    recipe = profiles.load("paper").recipe
    assert (recipe.batch_size, recipe.epochs, recipe.lr, recipe.gamma) == (16, 300, 0.01, 0.99)
    assert (recipe.momentum, recipe.weight_decay, recipe.loss) == (0.0, 0.0, "bce")
    assert profiles.load("paper").width == {}


@pytest.mark.parametrize("name", sorted(path.stem for path in sources.descriptions.CATALOGUE.glob("*.yaml")))
def test_every_entry_of_the_catalogue_loads(name: str) -> None:
    assert sources.describe(name).name == name


def test_plans_are_stable(profile: Profile, dataset: DataSet) -> None:
    planned = plans.plan(profile, dataset, "2")
    assert [entry.spec.run_id for entry in planned] == [
        entry.spec.run_id for entry in plans.plan(profile, dataset, "2")
    ]
    assert [entry.areas for entry in planned] == [("emilia_romagna",), ("gorkha",)]
    renamed = profile.model_copy(
        update={"name": "other", "description": "", "execution": Execution(threads=2, checkpoint_every=1)}
    )
    assert [entry.spec.run_id for entry in plans.plan(renamed, dataset, "2")] == [
        entry.spec.run_id for entry in planned
    ]
    turned = profile.model_copy(update={"areas": profile.areas[::-1]})
    assert [entry.spec for entry in plans.plan(turned, dataset, "2")] == [entry.spec for entry in planned]
    seeds = plans.plan(profile.model_copy(update={"seeds": (0, 1)}), dataset, "2")
    assert len({entry.spec.run_id for entry in seeds}) == 4
    assert {entry.spec.run_id for entry in planned} < {entry.spec.run_id for entry in seeds}
    assert changed(profile, min_share=0.2).patches != profile.patches
    assert not {entry.spec.run_id for entry in plans.plan(changed(profile, min_share=0.2), dataset, "2")} & {
        entry.spec.run_id for entry in planned
    }
    with pytest.raises(UserError, match="experiment 9: unknown"):
        plans.plan(profile, dataset, "9")


def test_areas_follow_the_data_set_and_unknown_ones_are_told(profile: Profile, dataset: DataSet) -> None:
    everything = profile.model_copy(update={"areas": ()})
    assert experiments.areas(everything, dataset) == tuple(paper.areas().index)
    with pytest.raises(UserError, match=r"key 'areas': no area 'atlantis' in 'twin-smoke'; it has rio, "):
        experiments.areas(profile.model_copy(update={"areas": ("rio", "atlantis")}), dataset)
    with pytest.raises(UserError, match=r"key 'patches.sizes': no area 'gorka'"):
        experiments.areas(changed(profile, sizes={"gorka": 64}), dataset)


def test_patch_sizes_follow_the_rule(profile: Profile, dataset: DataSet) -> None:
    published = paper.areas()["patch_size"]
    for area in dataset.areas:
        assert profiles.patch_size(profile, area) == published[area]
    mixed = changed(profile, size=64, sizes={"gorkha": 128})
    assert (profiles.patch_size(mixed, "gorkha"), profiles.patch_size(mixed, "rio")) == (128, 64)
    assert experiments.patch_spec(mixed, dataset, "gorkha").size == 128
    assert experiments.patch_spec(mixed, dataset, "gorkha", 32).size == 32
    with pytest.raises(
        UserError, match=r"no published patch size for 'atlantis'; add it under `patches: sizes:`"
    ):
        profiles.patch_size(profile, "atlantis")


def test_profiles_are_narrowed(profile: Profile) -> None:
    assert profiles.narrowed(profile, [], []) == profile
    assert profiles.narrowed(profile, ["unet"], ["gorkha"]).areas == ("gorkha",)
    with pytest.raises(UserError, match="model 'resnet': not in profile 'tiny', which has unet"):
        profiles.narrowed(profile, ["resnet"], [])


@pytest.mark.parametrize(("key", "text"), [("models", "models: [resnet]"), ("width", "width: {resnet: 4}")])
def test_unknown_models_are_told(tiny: Path, key: str, text: str) -> None:
    lines = [line for line in tiny.read_text().splitlines() if not line.startswith(f"{key}:")]
    tiny.write_text("\n".join([*lines, text]))
    with pytest.raises(UserError, match=rf"key '{key}': unknown model 'resnet'; choose from unet"):
        profiles.load(str(tiny))


def test_missing_runs_are_skipped_trained_or_an_error(
    profile: Profile, dataset: DataSet, capsys: pytest.CaptureFixture[str]
) -> None:
    specs = experiments.single(profile, dataset)
    for on_missing in ("skip", "error"):
        with pytest.raises(UserError, match="2 of 2 runs are missing; make them with `lmhld run tiny`"):
            experiments.fetch(profile, specs, on_missing)
    runs.make_run(specs[1], execution=QUIET)
    capsys.readouterr()
    assert [run.spec for run in experiments.fetch(profile, specs, "skip")] == [specs[1]]
    assert capsys.readouterr().out == "1 of 2 runs are missing and left out\n"
    with pytest.raises(UserError, match="1 of 2 runs are missing"):
        experiments.fetch(profile, specs, "error")
    assert [run.spec for run in experiments.fetch(profile, specs, "train")] == specs
    with pytest.raises(UserError, match="on_missing 'wait': unknown; choose train, skip or error"):
        experiments.fetch(profile, specs, "wait")
    plan = plans.plan_table(plans.plan(profile, dataset, "2"))
    assert list(plan["status"]) == ["done", "done"]
    with pytest.raises(UserError, match="2 of 2 runs are missing"):
        experiments.fetch(profile, specs, "skip", with_whole_area=True)
    scored = experiments.fetch(profile, specs, "train", with_whole_area=True)
    assert all(run.whole_area for run in scored)


def test_table_5_stands_beside_the_published_one(profile: Profile, dataset: DataSet) -> None:
    twice = profile.model_copy(update={"seeds": (0, 1)})
    finished = runs.make_runs(experiments.single(twice, dataset), workers=1, execution=QUIET)
    table = results.table_5(finished)
    assert list(table.index) == [("emilia_romagna", "unet"), ("gorkha", "unet")]
    rows = paper.table(5)
    for area, title in (("emilia_romagna", "Emilia-Romagna"), ("gorkha", "Gorkha")):
        published = rows[
            (rows["study_area"].map(paper.area_key) == area) & (rows["model"].str.lower() == "u-net")
        ]
        assert len(published) == 1, title
        ours = [run.metrics["test"] for run in finished if run.spec.data[0].area == area]
        for score in ("precision", "f1", "recall"):
            row = table.loc[(area, "unet")]
            mean = np.mean([test[score] for test in ours if test[score] is not None])
            assert row[score] == pytest.approx(mean, nan_ok=True)
            assert row[f"published_{score}"] == published[score].iloc[0]
            assert row[f"difference_{score}"] == pytest.approx(
                row[score] - row[f"published_{score}"], nan_ok=True
            )


def test_an_area_the_paper_does_not_have_stands_alone(profile: Profile, dataset: DataSet) -> None:
    run = runs.make_run(experiments.single(profile, dataset)[0], execution=QUIET)
    part = run.spec.data[0].model_copy(update={"area": "atlantis"})
    elsewhere = runs.Run(run.spec.model_copy(update={"data": (part,)}), run.folder, run.metrics)
    table = results.table_5([elsewhere])
    assert list(table.index) == [("atlantis", "unet")] and pd.isna(table["published_f1"].iloc[0])


def test_estimates_come_from_finished_runs_alike(profile: Profile, dataset: DataSet) -> None:
    first, second = experiments.single(profile, dataset)
    for spec in (first, second):
        runs.patch_sets(spec, progress=False)
    made = runs.make_run(first, execution=QUIET)
    table = plans.plan_table(plans.plan(profile, dataset, "2")).set_index("run_id")
    assert table.loc[first.run_id, "seconds"] == made.metrics["seconds"]
    seen = [
        sum(len(part.where(split)) for part in runs.patch_sets(spec) for split in ("train", "val"))
        for spec in (first, second)
    ]
    expected = made.metrics["seconds"] * seen[1] / seen[0]
    assert table.loc[second.run_id, "seconds"] == pytest.approx(expected, rel=0.01)


def test_table_2_counts_patches_and_shares(profile: Profile, dataset: DataSet) -> None:
    parts = [experiments.cut(profile, dataset, area, progress=False) for area in profile.areas]
    table = results.table_2(parts)
    for part, (area, row) in zip(parts, table.iterrows(), strict=True):
        assert area == part.spec.area and row["patches"] == len(part.index)
        assert (
            row["patches"] + sum(row[f"dropped_{why}"] for why in ("edge", "nodata", "share"))
            == row["windows"]
        )
        shares = part.index.groupby("split")["share"].mean()
        assert row["gap"] == pytest.approx(shares.max() - shares.min(), abs=1e-9)


def test_examples_and_the_threshold_belong_to_the_test_patches(profile: Profile, dataset: DataSet) -> None:
    finished = runs.make_runs(experiments.single(profile, dataset), workers=1, execution=QUIET)
    shown = results.examples(finished)
    assert [example.area for example in shown] == ["emilia_romagna", "gorkha"]
    scores = results.example_scores(shown)
    assert list(scores["run_ids"]) == [run.spec.run_id for run in finished]
    examples = {example.area: (example.image, example.truth, example.predictions) for example in shown}
    for run in finished:
        (part,) = runs.patch_sets(run.spec)
        image, truth, predicted = examples[part.spec.area]
        tests = part.where("test")
        assert any(
            (part.images[number] == image).all() and (part.masks[number] == truth).all() for number in tests
        )
        assert predicted["unet"].shape == truth.shape and predicted["unet"].dtype == bool
        rule = results.threshold_baseline(run)
        assert sum(vars(rule.confusion).values()) == len(tests) * part.spec.size**2
        counted = sum(int(results.predict(run, part, number).sum()) for number in tests)
        assert counted == run.metrics["test"]["tp"] + run.metrics["test"]["fp"]
