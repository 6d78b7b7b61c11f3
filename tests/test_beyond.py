"""What the paper does not ask: its runs differ in one thing each, and its tables say what the counts say."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import QUIET
from made import refuses, with_settings

from lmhld_nb import runs
from lmhld_nb.evaluation import Confusion, intervals
from lmhld_nb.experiments import Study, beyond, certainty, leave_one_out, load, mix, open_study, part, single, tables
from lmhld_nb.experiments import beyond_tables as tabled
from lmhld_nb.experiments.plan import plan
from lmhld_nb.experiments.profile import narrow
from lmhld_nb.patches import splits
from lmhld_nb.training import scoring


@pytest.fixture
def study(tiny):
    settings = "beyond: {area: emilia_romagna, seeds: [0, 1], sizes: [32, 64, 128], size_seeds: [0]}"
    text = tiny.read_text().replace("single: {}", f"single: {{}}, {settings}").replace("epochs: 3", "epochs: 1")
    tiny.write_text(text.replace("[unet]", "[unet, res_unet]").replace("{unet: 2}", "{unet: 2, res_unet: 2}"))
    return open_study(load(str(tiny)), progress=False)


def make(specs, whole_area=True):
    return [runs.make_run(spec, QUIET, whole_area=whole_area) for spec in specs]


def with_experiments(study, **settings: object):
    experiments = study.profile.experiments.model_copy(update=settings)
    return replace(study, profile=study.profile.model_copy(update={"experiments": experiments}))


def test_base_switches_and_splits_differ_in_one_thing(study):
    alone = {spec.run_id for spec in single.specs(study)}
    base = beyond.base(study)
    assert [(spec.seed, spec.run_id in alone) for spec in base] == [(0, True), (1, False)]
    shared = {entry.spec.run_id: entry for entry in plan(study) if entry.experiments == ("2", "beyond")}
    assert len(shared) == 1 and shared.pop(base[0].run_id).whole_area
    base, changed = beyond.base(study), set()
    for specs in beyond.switches(study).values():
        for spec, without in zip(specs, base, strict=True):
            assert spec.model_copy(update={"recipe": without.recipe}) == without
            old = without.recipe.model_dump()
            (name,) = {name for name, value in spec.recipe.model_dump().items() if value != old[name]}
            changed.add(name)
    assert changed == {"loss", "momentum", "normalise", "augment", "keep"}
    kinds = beyond.split_kinds(study)
    for one, other in zip(kinds["random"], kinds["blocks"], strict=True):
        (a,), (b,) = one.data, other.data
        assert (a.split, b.split, a.seed, a.gap) == ("random", "blocks", one.seed, True)
        assert b.model_copy(update={"split": "random"}) == a
        assert other.model_copy(update={"data": one.data}) == one


def test_sizes_see_equally_many_pixels_in_equally_many_steps(study):
    assert list(beyond.sizes(study)) == [32, 64], "128 px leave too few patches in its small scenes"
    changes = {"area": "jiuzhaigou", "sizes": (64, 128, 224), "seeds": (0,), "size_seeds": (), "sizes_area": None}
    profile = with_settings(load("mini").model_copy(update={"data": "twin-smoke"}), "beyond", **changes)
    falling = profile.recipe.model_copy(update={"schedule": "exponential"})
    study = Study(profile.model_copy(update={"recipe": falling, "batch_size_at": {128: 2}}), study.dataset)
    specs, recipe = beyond.sizes(study), study.profile.recipe
    assert list(specs) == [64, 128, 224] and beyond.own_size(study) == 128
    assert specs[128] == beyond.base(study), "the area's own size is trained as ever"
    pixels = []
    for size, (spec,) in specs.items():
        patches = len(runs.patch_set(spec.data[0], progress=False).where("train"))
        pixels.append(patches * size**2 * spec.recipe.epochs)
        assert spec.recipe.gamma**spec.recipe.epochs == pytest.approx(recipe.gamma**recipe.epochs)
        assert spec.recipe.batch_size == max(1, round(specs[128][0].recipe.batch_size * 128**2 / size**2))
    # A whole number of epochs and a last batch that is not full cannot hit the mark.
    assert max(pixels) / min(pixels) < 1.4, pixels


@pytest.mark.parametrize("split", ["random", "blocks"])
def test_background_leaves_the_other_patches_where_they_are(study, split):
    pair = (make(study)[0].data[0].model_copy(update={"split": split}) for make in (beyond.base, beyond.background))
    base, background = (runs.patch_set(spec, progress=False) for spec in pair)
    columns = ["scene", "row", "col", "share", "split"]
    is_kept = background.index["share"] >= base.spec.min_share
    pd.testing.assert_frame_equal(background.index[is_kept].reset_index(drop=True)[columns], base.index[columns])
    added = background.index[~is_kept]
    assert len(added) == base.dropped["share"] > 0 and background.dropped["share"] == 0
    assert set(added["split"]) == {"train", "val", "test"}
    if split == "blocks":
        blocks = splits.blocks(background.index, base.spec.block * base.spec.size)
        assert (background.index.groupby(blocks)["split"].nunique() == 1).all(), "no block is divided"


def test_the_weight_of_dropped_windows_runs_from_patches_to_the_whole_area(study, monkeypatch):
    monkeypatch.setattr(intervals, "LEAST", 1)
    base, background = make(beyond.base(study)), make(beyond.background(study))
    table = tabled.prevalence_table(base, background, resamples=50)
    without_dropped = table.xs(0.0, level="weight")
    test = base[0].metrics["test"]
    pixels = test["tp"] + test["fp"] + test["fn"] + test["tn"]
    for training, group in (("as in the paper", base), ("with background", background)):
        assert without_dropped.loc[training, "prevalence"] == pytest.approx((test["tp"] + test["fn"]) / pixels)
        assert table.loc[training, "run_ids"].unique().tolist() == ["+".join(run.spec.run_id for run in group)]
    # Without dropped windows these are the test patches, on which the base runs were scored.
    f1 = np.mean([run.metrics["test"]["f1"] for run in base])
    assert without_dropped.loc["as in the paper", "f1"] == pytest.approx(f1, nan_ok=True)
    blocks = intervals.stacked([tables.tested_patches(run) for run in base], tables.PLACE)
    own = without_dropped.loc["as in the paper", ["f1", "f1_low", "f1_high"]].tolist()
    assert own == pytest.approx(intervals.over_patches(blocks, 50), nan_ok=True), "as in Table 5"
    (patch_set,) = runs.patch_sets(background[0].spec)
    is_kept = patch_set.index["share"] >= 0.1
    tested = tabled.held_out(base[0], background[0])
    windows = tested.groupby("kept")["weight"].sum()
    assert windows[False] / windows[True] == pytest.approx((~is_kept).sum() / is_kept.sum())
    natural = table[table["natural"]].loc["as in the paper"]
    alarms = test["fp"] / (test["fp"] + test["tn"]), base[1].metrics["test"]["fp"] / (pixels - test["tp"] - test["fn"])
    assert without_dropped.loc["as in the paper", "false_alarms"] == pytest.approx(np.mean(alarms))
    assert tabled.prevalence_table(base, []).empty
    share = (tested["base_tp"] + tested["base_fn"]) @ tested["weight"] / (tested["weight"].sum() * 32**2)
    assert natural["prevalence"].item() == pytest.approx(share)
    assert share < without_dropped.loc["as in the paper", "prevalence"]


def test_tables_say_what_the_runs_say(study):
    base = make(beyond.base(study))
    kinds = {kind: make(specs) for kind, specs in beyond.split_kinds(study).items()}
    splits = tabled.split_table(kinds)
    for kind, finished in kinds.items():
        for run in finished:
            row = splits.loc[(kind, run.spec.seed)]
            assert row["f1"] == pytest.approx(run.metrics["test"]["f1"], nan_ok=True)
            assert 0 <= row["touching"] <= 1 and row["run_ids"] == run.spec.run_id
    assert (splits.loc["blocks", "touching"] == 0).all()
    assert (splits.loc["blocks", "training_patches"] == splits.loc["random", "training_patches"]).all()
    by_size = {size: make(specs) for size, specs in beyond.sizes(study).items()}
    sizes = tabled.size_table(by_size, beyond.own_size(study))
    for size, (run,) in by_size.items():
        row, counts = sizes.loc[size], run.whole_area
        assert counts is not None and row["chosen"] == (size == 32)
        assert row["f1"] == pytest.approx(counts["all"].f1, nan_ok=True)
        assert row["patches"] == runs.store.block_counts(run)["windows"].sum()
        assert row["outside_f1"] == pytest.approx(counts["outside_training"].f1, nan_ok=True)
    switched = {name: make(specs) for name, specs in list(beyond.switches(study).items())[:2]}
    table = tabled.switch_table(base, switched)
    for name, finished in switched.items():
        pairs = zip(finished, base, strict=True)
        gaps = [run.metrics["test"]["f1"] - without.metrics["test"]["f1"] for run, without in pairs]
        assert table.loc[name, "effect"] == pytest.approx(np.mean(gaps))
        assert table.loc[name, "effect_sd"] == pytest.approx(np.std(gaps, ddof=1)) and table.loc[name, "seeds"] == 2


def test_labels_are_tested_against_drawn_and_true_outlines(study):
    drawn, true = make(beyond.base(study)), make(beyond.labels(study)["true labels"])
    masks = [runs.patch_set(group[0].spec.data[0]) for group in (drawn, true)]
    assert masks[0].index.equals(masks[1].index) and (masks[0].images == masks[1].images).all()
    assert (masks[0].masks != masks[1].masks).any()
    table = tabled.label_table(drawn, true)
    for name, group in (("drawn", drawn), ("true", true)):
        own = np.mean([run.metrics["test"]["f1"] for run in group])
        assert table.loc[(name, name), "f1"] == pytest.approx(own, nan_ok=True)
    both = table["f1"].xs("true", level="tested")
    assert table.loc[("true", "true"), "gain"] == pytest.approx(both["true"] - both["drawn"])
    test, *_ = (patch_set.where("test") for patch_set in masks)
    agreed = Confusion.of(masks[0].masks[test] > 0, masks[1].masks[test] > 0).f1
    assert table["labels_f1"].unique().tolist() == [pytest.approx(agreed)]
    assert tabled.label_table(drawn, []).empty
    real = replace(study, dataset=replace(study.dataset, synthetic=False))
    assert beyond.labels(real) == {}, "nobody knows the truth of real data"


def test_part_is_compared_at_several_epochs(study):
    assert beyond.by_epochs(study) == {}
    settings = study.settings("beyond").model_copy(update={"stage_epochs": (2,), "stage_seeds": (0,)})
    study = with_experiments(study, part=part.Part(), mix=mix.Mix(size=32), beyond=settings)
    groups = beyond.by_epochs(study)
    assert list(groups) == [1, 2] and {len(group) for of in groups.values() for group in of.values()} == {1, 2}
    chain = groups[2]["part"][0].chain
    assert {spec.recipe.epochs for spec in [*chain, *groups[2]["mix"], *groups[2]["single"]]} == {2}
    assert {spec.run_id for spec in [*chain, *groups[1]["mix"]]} <= {spec.run_id for spec in beyond.specs(study)}
    finished = {}
    for epochs, of in groups.items():
        finished[epochs] = {name: [make(spec.chain, False)[-1] for spec in group] for name, group in of.items()}
    table = tabled.epochs_table(finished)
    single_f1 = scoring.total(pd.concat([runs.store.test_patches(run) for run in finished[2]["single"]])).f1
    assert table.loc[(2, "single"), "f1"] == pytest.approx(single_f1, nan_ok=True)
    gap = table.loc[(2, "part"), "f1"] - table.loc[(2, "mix"), "f1"]
    assert table.loc[(2, "mix"), "part_minus"] == pytest.approx(gap, nan_ok=True)


def test_an_area_is_left_out(study):
    study = with_experiments(study, leave_one_out=leave_one_out.LeaveOneOut(areas=("gorkha",), seeds=(0,)))
    assert leave_one_out.fetched(study, "skip") is None
    (spec,) = leave_one_out.specs(study)
    assert [data.area for data in spec.data] == ["emilia_romagna"]
    (run,) = make([spec])
    own = study.patch_spec("gorkha")
    counts = tables.tested_on(run, own)
    assert counts["number"].tolist() == runs.patch_set(own).where("test").tolist()
    table = leave_one_out.fetched(study)
    assert table.loc["gorkha", "f1"] == pytest.approx(scoring.total(counts).f1, nan_ok=True)
    assert np.isnan(table.loc["gorkha", "single_f1"])
    alone = make([spec for spec in single.specs(study) if (spec.model, spec.data[0].area) == ("unet", "gorkha")])
    f1 = alone[0].metrics["test"]["f1"]
    assert leave_one_out.fetched(study).loc["gorkha", "single_f1"] == pytest.approx(f1, nan_ok=True)
    assert not narrow(study.profile, (), "gorkha").makes("leave_one_out")
    alone = with_experiments(study, beyond=None)
    only = replace(alone, profile=alone.profile.model_copy(update={"areas": ("gorkha",)}))
    refuses("without its only area", leave_one_out.without, only)


def test_pairs(study, monkeypatch):
    study = Study(study.profile.model_copy(update={"seeds_of": {"unet": (0, 1)}}), study.dataset)
    make(single.specs(study))
    finished = certainty.table_runs(study)
    # One network has two seeds: the two are compared by the one that both have.
    first = [run for run in finished[5] if not run.spec.seed]
    f1 = {(run.spec.data[0].area, run.spec.model): run.metrics["test"]["f1"] for run in first}
    pairs = certainty.pair_table(study, finished, resamples=200)
    assert len(pairs) == 2 and list(pairs.index.names) == [*certainty.CELL, "other"]
    for (_, area, _, one, other), row in pairs.iterrows():
        assert row["difference"] == pytest.approx(f1[area, one] - f1[area, other], nan_ok=True) and row["runs"] == 1
        assert np.isnan(row["low"]) == (row["blocks"] < 10)
    assert certainty.rankings(pairs).loc[5, ["pairs", "untested"]].tolist() == [2, pairs["p"].isna().sum()]
    monkeypatch.setattr(intervals, "permuted", lambda *_: 0.02)
    both_areas = certainty.pair_table(study, finished, 50)["corrected"]
    assert both_areas.tolist() == pytest.approx([0.03] * 2), "the table is the family, not the area"
