"""What the paper does not ask: its runs differ in one thing each, and its tables say what the counts say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import QUIET

from lmhld_nb import paper, runs, sources
from lmhld_nb.config import UserError
from lmhld_nb.evaluation import intervals
from lmhld_nb.experiments import beyond, beyond_results, interval_results
from lmhld_nb.experiments import common as experiments
from lmhld_nb.experiments import plan as plans
from lmhld_nb.experiments import profile as profiles
from lmhld_nb.experiments.profile import Profile
from lmhld_nb.patches.patch_sets import PatchSpec
from lmhld_nb.runs.store import Run
from lmhld_nb.sources import DataSet
from lmhld_nb.training import scoring


@pytest.fixture
def profile(tiny: Path) -> Profile:
    text = (
        tiny.read_text()
        .replace("experiments: [2]", "experiments: [2, beyond]")
        .replace("epochs: 3", "epochs: 1")
    )
    text = text.replace("models: [unet]", "models: [unet, res_unet]").replace(
        "{unet: 2}", "{unet: 2, res_unet: 2}"
    )
    text += "beyond: {area: emilia_romagna, seeds: [0, 1], sizes: [32, 64, 128], size_seeds: [0]}\n"
    tiny.write_text(text)
    return profiles.load(str(tiny))


@pytest.fixture
def dataset(tiny: Path) -> DataSet:
    return sources.load("twin-smoke")


def made(specs: list) -> list[Run]:
    return [runs.make_run(spec, QUIET, with_whole_area=True) for spec in specs]


# Runs ------------------------------------------------------------------------------------------------------------


def test_base_runs_are_those_of_experiment_2(profile: Profile, dataset: DataSet) -> None:
    single = {spec.run_id for spec in experiments.single(profile, dataset)}
    base = beyond.base(profile, dataset)
    assert [spec.run_id in single for spec in base] == [True, False]
    assert [spec.seed for spec in base] == [0, 1]
    planned = plans.plan(profile, dataset)
    shared = {entry.spec.run_id: entry for entry in planned if entry.experiments == ("2", "beyond")}
    # The other one is the same network on the other area, which is repeated with all seeds.
    assert len(shared) == 2 and shared.pop(base[0].run_id).with_whole_area
    assert not any(entry.with_whole_area for entry in shared.values())
    ids = [entry.spec.run_id for entry in planned]
    assert len(set(ids)) == len(ids)


def test_each_switch_changes_one_thing(profile: Profile, dataset: DataSet) -> None:
    base = beyond.base(profile, dataset)
    found = beyond.switches(profile, dataset)
    changed = set()
    for specs in found.values():
        for spec, without in zip(specs, base, strict=True):
            assert spec.model_copy(update={"recipe": without.recipe}) == without
            differs = {
                name
                for name, value in spec.recipe.model_dump().items()
                if value != getattr(without.recipe, name)
            }
            assert len(differs) == 1
            changed |= differs
    assert changed == {"loss", "momentum", "normalise", "augment", "keep"}


def test_repeated_trainings_are_scored_on_the_whole_area_for_table_4_alone(dataset: DataSet) -> None:
    loaded = profiles.load("mini").model_copy(update={"data": "twin-smoke"})
    again = beyond.repeated(loaded, dataset)
    assert list(again) == [4, 5, 6, 7]
    for table, specs in again.items():
        assert {spec.model for spec in specs} == {"unet"} and {spec.seed for spec in specs} == {0, 1, 2}, (
            table
        )
    scored = beyond.scored_on_whole_area(loaded, dataset)
    assert {spec.run_id for spec in again[4]} <= scored
    assert not {spec.run_id for spec in again[6]} & scored
    planned = {entry.spec.run_id: entry for entry in plans.plan(loaded, dataset)}
    assert {run for run, entry in planned.items() if entry.with_whole_area} >= scored


def test_splits_come_in_pairs(profile: Profile, dataset: DataSet) -> None:
    kinds = beyond.split_kinds(profile, dataset)
    assert kinds["random"][0] == beyond.base(profile, dataset)[0]
    for one, other in zip(kinds["random"], kinds["blocks"], strict=True):
        (a,), (b,) = one.data, other.data
        assert (a.split, b.split, a.seed) == ("random", "blocks", one.seed)
        assert (
            other.model_copy(update={"data": one.data}) == one
            and b.model_copy(update={"split": "random"}) == a
        )


def test_sizes_see_equally_many_pixels_in_equally_many_steps(dataset: DataSet) -> None:
    loaded = profiles.load("mini").model_copy(update={"data": "twin-smoke"})
    rule = profiles.Beyond(area="jiuzhaigou", sizes=(64, 128, 224), seeds=(0,))
    loaded = loaded.model_copy(update={"beyond": rule})
    found = beyond.sizes(loaded, dataset)
    assert list(found) == [64, 128, 224] and beyond.own_size(loaded) == 128
    assert found[128] == beyond.base(loaded, dataset), "the area's own size is trained as ever"
    last = loaded.recipe.gamma**loaded.recipe.epochs
    seen = {}
    for size, (spec,) in found.items():
        patches = len(runs.patch_set(spec.data[0], progress=False).where("train"))
        steps = -(-patches // spec.recipe.batch_size) * spec.recipe.epochs
        seen[size] = (steps, patches * size**2 * spec.recipe.epochs)
        assert spec.recipe.gamma**spec.recipe.epochs == pytest.approx(last)
        assert spec.recipe.batch_size == max(1, round(2 * 128**2 / size**2))
    pixels = [own for _, own in seen.values()]
    # A whole number of epochs and a last batch that is not full cannot hit the mark.
    assert max(pixels) / min(pixels) < 1.4, seen


def test_sizes_that_do_not_fit_are_passed_over(profile: Profile, dataset: DataSet) -> None:
    assert list(beyond.sizes(profile, dataset)) == [32, 64]  # the smallest twin's scenes are 256 px at most


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("beyond: {area: rio}", "key 'beyond.area': 'rio' is not among"),
        ("beyond: {area: gorkha, sizes_area: nowhere}", "key 'beyond.sizes_area': no area 'nowhere'"),
        ("beyond: {area: gorkha, model: vgg}", "key 'beyond.model': unknown model 'vgg'"),
        ("beyond: {area: gorkha, sizes: [40]}", "key 'beyond.sizes.0' = 40"),
    ],
)
def test_mistakes_are_told(tiny: Path, dataset: DataSet, line: str, told: str) -> None:
    tiny.write_text(tiny.read_text().replace("[2]", "[beyond]") + line + "\n")
    with pytest.raises(UserError, match=told):
        plans.plan(profiles.load(str(tiny)), dataset)


def test_a_profile_without_it_does_not_make_it(tiny: Path, dataset: DataSet) -> None:
    tiny.write_text(tiny.read_text().replace("[2]", "[2, beyond]"))
    loaded = profiles.load(str(tiny))
    assert not profiles.is_made(loaded, "beyond")
    with pytest.raises(UserError, match="key 'beyond' is missing"):
        beyond.networks(loaded, dataset)
    narrowed = profiles.narrowed(profiles.load("mini"), [], "gorkha")
    assert narrowed.beyond is None, "it compares sizes on another area"
    assert profiles.narrowed(profiles.load("mini"), [], "gorkha,wenchuan").beyond is not None


# Background ------------------------------------------------------------------------------------------------------


def test_background_leaves_the_other_patches_where_they_are(profile: Profile, dataset: DataSet) -> None:
    base, more = (
        runs.patch_set(beyond_of(profile, dataset)[0].data[0], False)
        for beyond_of in (beyond.base, beyond.background)
    )
    keys = ["scene", "row", "col", "share", "split"]
    kept = more.index[more.index["share"] >= base.spec.min_share]
    pd.testing.assert_frame_equal(kept[keys].reset_index(drop=True), base.index[keys])
    added = more.index[more.index["share"] < base.spec.min_share]
    assert len(added) == base.dropped["share"] > 0 and more.dropped["share"] == 0
    assert set(added["split"]) == {"train", "val", "test"}


def test_patches_without_background_keep_their_names() -> None:
    spec = PatchSpec(dataset="made", fingerprint="0" * 16, area="made", size=32)
    assert "background" not in spec.model_dump(mode="json")
    more = spec.model_copy(update={"background": True})
    assert more.model_dump()["background"] is True
    assert more.fingerprint_of_patches != spec.fingerprint_of_patches


def test_background_and_blocks_are_refused(profile: Profile, dataset: DataSet) -> None:
    part = beyond.background(profile, dataset)[0].data[0].model_copy(update={"split": "blocks"})
    with pytest.raises(UserError, match="would divide blocks"):
        runs.patch_set(part, progress=False)


# Tables ----------------------------------------------------------------------------------------------------------


def test_the_weight_of_dropped_windows_runs_from_patches_to_the_whole_area(
    profile: Profile, dataset: DataSet
) -> None:
    base, more = made(beyond.base(profile, dataset)), made(beyond.background(profile, dataset))
    table = beyond_results.prevalence_table(list(zip(base, more, strict=True)), resamples=50)
    kept = table.xs(0.0, level="weight")
    for training, group in (("as in the paper", base), ("with background", more)):
        tests = base[0].metrics["test"]
        (part,) = runs.patch_sets(base[0].spec)
        assert kept.loc[training, "prevalence"] == pytest.approx(
            (tests["tp"] + tests["fn"]) / (len(part.where("test")) * 32**2)
        )
        assert table.loc[training, "run_ids"].unique().tolist() == ["+".join(r.spec.run_id for r in group)]
    # Without dropped windows these are the test patches, on which the base runs were scored.
    f1 = [run.metrics["test"]["f1"] for run in base]
    assert kept.loc["as in the paper", "f1"] == pytest.approx(np.mean(f1), nan_ok=True)
    (all_of_it,) = runs.patch_sets(more[0].spec)
    natural = table[table["natural"]].loc["as in the paper"]
    found = beyond_results.held_out(base[0], more[0])
    counts = all_of_it.index.assign(kept=all_of_it.index["share"] >= 0.1).groupby("kept").size()
    weighted = found.groupby("kept")["weight"].sum()
    assert weighted[False] / weighted[True] == pytest.approx(counts[False] / counts[True])
    assert natural["prevalence"].iloc[0] < kept.loc["as in the paper", "prevalence"]


def test_tables_say_what_the_runs_say(profile: Profile, dataset: DataSet) -> None:
    base = made(beyond.base(profile, dataset))
    kinds = {kind: made(specs) for kind, specs in beyond.split_kinds(profile, dataset).items()}
    split = beyond_results.split_table(kinds, resamples=50)
    for kind, finished in kinds.items():
        for run in finished:
            row = split.loc[(kind, run.spec.seed)]
            assert row["f1"] == pytest.approx(run.metrics["test"]["f1"], nan_ok=True)
            assert 0 <= row["touching"] <= 1 and row["run_ids"] == run.spec.run_id

    by_size = {size: made(specs) for size, specs in beyond.sizes(profile, dataset).items()}
    sizes = beyond_results.size_table(by_size, beyond.own_size(profile), resamples=50)
    for size, (run,) in by_size.items():
        row, counts = sizes.loc[(size, 0)], run.whole_area
        assert counts is not None and row["chosen"] == (size == 32)
        assert row["f1"] == pytest.approx(counts["all"].f1, nan_ok=True)
        assert row["outside_f1"] == pytest.approx(counts["outside_training"].f1, nan_ok=True)

    switched = {name: made(specs) for name, specs in list(beyond.switches(profile, dataset).items())[:2]}
    table = beyond_results.switch_table(base, switched, resamples=50)
    for name, finished in switched.items():
        gaps = [
            run.metrics["test"]["f1"] - without.metrics["test"]["f1"]
            for run, without in zip(finished, base, strict=True)
        ]
        assert table.loc[name, "effect"] == pytest.approx(np.mean(gaps))
        assert table.loc[name, ["effect", "seeds_low", "seeds_high"]].tolist() == pytest.approx(
            list(intervals.over_seeds(gaps))
        )


def test_landslides_add_up_to_pixels(profile: Profile, dataset: DataSet) -> None:
    (run,) = made(beyond.base(profile, dataset)[:1])
    true, mapped, pixel_m2 = beyond_results.landslides(run)
    counts = run.whole_area
    assert counts is not None and pixel_m2 > 0
    assert true["covered_px"].sum() == mapped["covered_px"].sum() == counts["all"].tp
    assert true["known_px"].sum() == counts["all"].tp + counts["all"].fn
    assert mapped["size_px"].sum() == counts["all"].tp + counts["all"].fp
    both = beyond_results.size_frequencies(true, mapped, pixel_m2)
    assert both.groupby("inventory")["count"].sum().to_dict() == {"true": len(true), "mapped": len(mapped)}


def test_cells_and_pairs(profile: Profile, dataset: DataSet) -> None:
    made(experiments.single(profile, dataset))
    cells = interval_results.cells(interval_results.finished(profile, dataset))
    table = interval_results.interval_table(cells, resamples=50)
    assert [key[1:] for key in table.index] == [
        (area, 32, model) for area in ("emilia_romagna", "gorkha") for model in ("unet", "res_unet")
    ]
    for cell in cells:
        (run,) = cell.runs
        row = table.loc[(5, cell.area, 32, cell.model)]
        assert row["f1"] == pytest.approx(run.metrics["test"]["f1"], nan_ok=True)
        published = paper.table(5)
        here = (published["study_area"].map(paper.area_key) == cell.area) & (
            published["model"] == paper.MODELS[cell.model]
        )
        assert row["published_f1"] == published.loc[here, "f1"].item()
    pairs = interval_results.pair_table(cells, resamples=200)
    assert len(pairs) == 2 and list(pairs.index.names) == [*interval_results.CELL, "other"]
    for (_, area, size, one, other), row in pairs.iterrows():
        gap = table.loc[(5, area, size, one), "f1"] - table.loc[(5, area, size, other), "f1"]
        assert row["difference"] == pytest.approx(gap, nan_ok=True)
    ranked = interval_results.rankings(pairs, table)
    assert ranked.loc[5, ["pairs", "published"]].tolist() == [2, 2]
    assert np.isnan(ranked.loc[5, ["luck", "published_beyond_luck"]].astype(float)).all(), (
        "one seed tells nothing"
    )

    made(beyond.repeated(profile, dataset)[5])
    several = interval_results.cells(interval_results.repeated(profile, dataset))
    assert {(cell.table, cell.model, len(cell.runs)) for cell in several} == {(5, "unet", 2)}
    with_seeds = interval_results.interval_table(cells, several, resamples=50)
    for cell in several:
        row = with_seeds.loc[(5, cell.area, 32, "unet")]
        f1 = [run.metrics["test"]["f1"] for run in cell.runs]
        assert row["seeds"] == 2 and row["f1"] == table.loc[row.name, "f1"]
        assert row["seeds_f1"] == pytest.approx(np.mean(f1)) and row["run_ids"] == cell.run_ids
    assert (with_seeds.xs("res_unet", level="model")["seeds"] == 1).all()
    one_network = [cell for cell in cells if cell.model == "unet"]
    alone = interval_results.rankings(interval_results.pair_table(one_network, 50), with_seeds)
    assert alone.empty, "nothing to rank"
    ranked = interval_results.rankings(pairs, with_seeds)
    beyond_it = (pairs["published_difference"].abs() > ranked.loc[5, "luck"]).sum()
    assert ranked.loc[5, "luck"] > 0 and ranked.loc[5, "published_beyond_luck"] == beyond_it


def test_luck_covers_two_seeds_of_one_network() -> None:
    # Of two further trainings of a network whose luck was measured on three cells of three seeds, 95 pairs in 100 end
    # closer to each other.
    random = np.random.default_rng(0)
    index = pd.MultiIndex.from_tuples(
        [(5, str(n), 32, "unet") for n in range(3)], names=interval_results.CELL
    )
    inside = []
    for _ in range(1000):
        scatter = random.normal(0.5, 0.02, (3, 3))
        scores = pd.DataFrame({"seeds": 3, "seeds_sd": scatter.std(axis=1, ddof=1)}, index)
        inside.append(np.abs(np.diff(random.normal(0.5, 0.02, 2)))[0] < interval_results.luck(scores).loc[5])
    assert np.mean(inside) == pytest.approx(0.95, abs=0.02)
    assert np.isnan(interval_results.luck(scores.assign(seeds=1)).loc[5])


def test_the_share_of_landslide_follows_from_precision() -> None:
    found = beyond_results.implied_prevalence()
    assert list(found.index) == list(paper.MODELS.values())
    # Put back into the definition of precision, the implied share gives Table 4's.
    table5, table4 = paper.table(5), paper.table(4)
    alone = table5[table5["study_area"].map(paper.area_key) == "wenchuan"].set_index("model")
    whole = table4[table4["patch_size"] == 224].set_index("model")
    background = 1 - found["patches"]
    alarms = alone["recall"] * found["patches"] * (1 / alone["precision"] - 1) / background
    hits = whole["recall"] * found["implied"]
    assert (hits / (hits + alarms * (1 - found["implied"]))).tolist() == pytest.approx(
        whole["precision"].tolist()
    )


def test_a_gap_without_data_parts_landslides(
    profile: Profile, dataset: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run,) = made(beyond.base(profile, dataset)[:1])
    truth = np.ones((4, 6), bool)

    def two_strips(model, part, scene, recipe, place):  # type: ignore[no-untyped-def]
        for row in (0, 8):
            yield scoring.Window(row, 0, 4, 6), truth, truth, truth

    monkeypatch.setattr(scoring, "predict_strips", two_strips)
    true, mapped, _ = beyond_results.landslides(run)
    scenes = len(dataset.scenes_of("emilia_romagna"))
    assert true["size_px"].tolist() == mapped["size_px"].tolist() == [24] * 2 * scenes
