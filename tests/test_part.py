"""Experiments 4 and 5: orders, chains and strategies, networks for unseen events, and their tables."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import QUIET
from made import refuses, with_settings
from test_chains import linked

from lmhld_nb import experiments, mapping, paper, runs, sources
from lmhld_nb.evaluation import Confusion, objects
from lmhld_nb.experiments import Study, examples, forgetting, load, mix, open_study, part, single, tables, unseen
from lmhld_nb.experiments.unseen import Events
from lmhld_nb.patches import PatchSpec
from lmhld_nb.training.specs import RunSpec


@pytest.fixture
def mini(tiny: Path) -> Study:
    return open_study(load("mini").model_copy(update={"data": "twin-smoke", "models": ("unet",)}), progress=False)


def test_a_profile_says_how_areas_are_added(mini: Study) -> None:
    finals = part.finals(mini)
    assert list(finals) == ["OD1", "OD2"] and len(part.orders(mini)) == 6
    (last,) = finals["OD1"]
    order = ("rio", "gorkha", "emilia_romagna", "hokkaido", "taiwan", "jiuzhaigou", "wenchuan")
    assert tuple(spec.data[0].area for spec in last.chain) == part.first_order(mini) == order
    assert {spec.recipe.epochs for spec in last.chain} == {mini.profile.recipe.epochs}, "equal epochs in every stage"
    whole = Study(with_settings(mini.profile, "part", orders=1, orders_of={"unet": 6}), mini.dataset)
    stages = part.unique_stages([final for group in part.finals(whole).values() for final in group])
    assert len(stages) == 24, "orders that begin alike share stages"
    assert {spec.run_id for spec in stages} < {spec.run_id for spec in part.specs(whole)}


def test_strategies_differ_in_later_stages_and_all_at_once_has_as_many_steps(mini):
    last, changed = part.finals(mini)["OD1"][0], {"ewc": (10.0, 20.0), "replay": (0.1,), "without": ()}
    study = Study(with_settings(mini.profile, "part", **changed), mini.dataset)
    compared = part.strategies(study)
    assert compared["LMHLD_part"][0].run_id == last.run_id
    assert {len(specs) for specs in compared.values()} == {len(study.settings("part").seeds)}
    stages, own = {name: specs[0].stage for name, specs in compared.items()}, last.stage.treatment
    assert stages["old normalisation"].treatment == ("fresh", "finetune", *own[2:])
    assert stages["input kept"].treatment == ("finetune", "finetune", *own[2:])
    assert stages["nothing frozen"].treatment == ("fresh", "fresh", *["finetune"] * 6)
    settings = {"plain fine-tuning": (0, 0), "EWC 10": (10, 0), "EWC 20": (20, 0), "replay of 10%": (0, 0.1)}
    for name, expected in settings.items():
        assert set(stages[name].treatment) == {"finetune"} and (stages[name].ewc, stages[name].replay) == expected
    assert stages["cumulative"].treatment == own
    data = [[patches.area for patches in spec.data] for spec in compared["cumulative"][0].chain]
    assert data == [list(part.first_order(study)[:stage]) for stage in range(1, 8)]
    (joint,) = compared["all at once"]
    assert stages["all at once"] is None and len(joint.data) == 7
    assert compared.keys() - part.strategies(mini).keys() >= {"cumulative", "old normalisation"}
    wrong = Study(with_settings(mini.profile, "part", without=("accumulative",)), mini.dataset)
    refuses("no strategy 'accumulative'; there are LMHLD_part, ", part.strategies, wrong)

    def steps(spec: RunSpec) -> int:
        patches = [len(mini.patches(one.area).where("train")) for one in spec.data]
        return sum(-(-count // spec.recipe.batch_size) for count in patches) * spec.recipe.epochs

    strategies = part.strategies(mini)
    (joint,), (last,) = strategies["all at once"], strategies["LMHLD_part"]
    assert steps(joint) >= 0.9 * sum(map(steps, last.chain)), "counts are estimated, to a few patches"


def test_forgetting_by_hand_and_the_setting_that_validates_best_is_chosen(monkeypatch):
    f1 = [{"a": 0.8}, {"a": 0.9, "b": 0.5}, {"a": 0.6, "b": 0.7, "c": 0.4}]
    stages = [SimpleNamespace(counts={k: SimpleNamespace(f1=v) for k, v in row.items()}) for row in f1]
    monkeypatch.setattr(forgetting, "stages_of", lambda run: stages)
    monkeypatch.setattr(forgetting, "counts_by_area", lambda run: run.counts)
    assert forgetting.forgetting(stages[-1]) == pytest.approx(((0.9 - 0.6) + (0.5 - 0.7)) / 2)

    def run(f1: float, ewc: float = 0.0) -> SimpleNamespace:
        tp, stage = round(1000 * f1), SimpleNamespace(ewc=ewc, replay=0.0)
        validation = {"tp": tp, "fp": 1000 - tp, "fn": 1000 - tp, "tn": 0}
        return SimpleNamespace(metrics={"validation": validation}, spec=SimpleNamespace(stage=stage))

    finals = {"LMHLD_part": [run(0.5)], "weak": [run(0.6, 1)], "strong": [run(0.7, 2)], "replay": [], "all": [run(0.1)]}
    assert list(part.chosen_strategies(finals)) == ["LMHLD_part", "strong", "all"]


def test_tables_of_chains(mini: Study, stages: list[PatchSpec], monkeypatch: pytest.MonkeyPatch) -> None:
    specs = {"OD1": linked(stages), "OD2": linked([stages[0], stages[2], stages[1]])}
    finals = {order: [runs.make_run(chain[-1], QUIET)] for order, chain in specs.items()}
    scores = part.order_scores(finals)
    for order, (run,) in finals.items():
        assert scores.loc[("unet", order), "f1"] == pytest.approx(part.total_scores(run)["f1"], nan_ok=True)
        own, last = part.counts_by_area(run, own_input=True), part.counts_by_area(run)
        (area_added,) = run.metrics["areas"]
        assert own[area_added] == last[area_added] and set(own) == set(last)
    for is_published, expected in ((True, paper.table(7).set_index("model").loc["U-Net", "f1"]), (False, float("nan"))):
        monkeypatch.setattr(tables, "has_published_areas", lambda dataset, answer=is_published: answer)
        table = part.table_7([run for group in finals.values() for run in group])
        assert table.loc["unet", "published_f1"] == pytest.approx(expected, nan_ok=True)
    spread = part.largest_differences(finals).loc["unet"]
    assert spread[["f1", "orders", "seeds"]].tolist() == pytest.approx([abs(scores["f1"].diff().iloc[-1]), 2, 1])
    assert spread[["p", "f1_sd"]].isna().all(), "one seed"
    assert table.loc["unet", ["orders", "seeds", "f1"]].tolist() == pytest.approx([2, 1, scores["f1"].mean()])
    matrix = forgetting.stage_matrix(finals)
    assert list(matrix.columns) == ["area_0", "area_1", "area_2", "run_ids"]
    cells = matrix.loc["OD2"].drop(columns="run_ids").notna().to_numpy().tolist()
    assert cells == [[True, False, False], [True, False, True], [True, True, True]]
    assert matrix.loc["OD2", "run_ids"].tolist() == [spec.run_id for spec in specs["OD2"]]
    counts = part.counts_by_area(finals["OD2"][0])
    after_all = matrix.loc[("OD2", "unet", 3), [*counts]].to_numpy()
    assert after_all[0] == pytest.approx([one.f1 for one in counts.values()], nan_ok=True)
    compared = {"LMHLD_part": finals["OD1"], "other": finals["OD2"]}
    chain = forgetting.stages_of(finals["OD1"][0])
    steps = sum(stage.metrics["trained_parameters"] * stage.metrics["steps"] for stage in chain)
    strategies = forgetting.strategy_table(compared)
    assert strategies.loc["LMHLD_part", "trained_parameter_steps"] == steps
    assert strategies.loc["LMHLD_part", "f1_minus_part"] == 0
    assert strategies.loc["other", "f1_minus_part"] == pytest.approx(scores["f1"].diff().iloc[-1])
    assert strategies[["f1_low", "f1_sd"]].isna().all(axis=None) and strategies["blocks"].lt(10).all()  # one seed
    assert "3 of 3 trainings not converged" in replace(mini, seen={"": finals["OD1"][0]}).doubts(), "all its stages"
    shutil.rmtree(chain[0].folder)
    refuses("a stage of this chain is missing; make it with `lmhld run`", forgetting.stages_of, finals["OD1"][0])


def test_orders_that_a_seed_lacks_are_left_out_of_what_seeds_explain(stages: list[PatchSpec]) -> None:
    orders = [linked(stages)[-1], linked([stages[1], stages[0]])[-1]]
    runs_of = [runs.Run(spec.model_copy(update={"seed": seed}), Path(), {}) for spec in orders for seed in (0, 1)]
    table = tables.by_order_and_seed(runs_of[:3], [0.1, 0.3, 0.9])
    assert table.index.tolist() == ["area_0+area_1+area_2"] and table.to_numpy().tolist() == [[0.1, 0.3]]
    assert tables.by_order_and_seed(runs_of, [0.1, 0.3, 0.9, 0.5]).mean().std() == pytest.approx(0.1 / 2**0.5)


def test_the_strategy_stands_beside_mixing_and_training_alone(tiny: Path) -> None:
    settings = "{single: {}, mix: {size: 32}, part: {first: [], permuted: [], last: [], seeds: [0]}}"
    tiny.write_text(tiny.read_text().replace("{single: {}}", settings).replace("epochs: 3", "epochs: 1"))
    study = open_study(load(str(tiny)), progress=False)
    table = part.table_7(runs.make_runs([spec for specs in part.finals(study).values() for spec in specs], 1, QUIET))
    assert list(table.index) == ["unet"] and table["published_f1"].notna().all()
    beside = part.beside_mix_and_single(study, table)
    assert beside.loc["unet", "part_f1"] == table.loc["unet", "f1"]
    assert beside["mix_f1"].isna().all(), "none of its runs is finished"
    # The first stage of the chain is a run of experiment 2; it says nothing of the other area.
    assert len(study.finished(single.specs(study))) == 1 and beside["single_f1"].isna().all()
    runs.make_runs([*single.specs(study), *mix.specs(study)], 1, QUIET)
    row = part.beside_mix_and_single(study, table).loc["unet"]
    alone = [run.metrics["test"] for run in study.finished(single.specs(study))]
    pooled = sum(map(Confusion.from_dict, alone), Confusion(0, 0, 0, 0)).f1
    assert row[["single_f1", "same_single_f1"]].tolist() == pytest.approx([pooled] * 2), "both areas' size is mix's"
    assert row["mean_single_f1"] == pytest.approx(np.mean([test["f1"] for test in alone]))
    (mixed,) = study.finished(mix.specs(study))
    assert row["mix_f1"] == pytest.approx(mixed.metrics["test"]["f1"])
    assert row[["areas", "same_areas"]].tolist() == [2, 2]


BGR = ("blue", "green", "red")


@pytest.fixture
def smoke(tiny: Path) -> Study:
    return Study(load("smoke").model_copy(update={"execution": QUIET}), sources.load("twin-smoke"))


def changed(study: Study, **changes: object) -> Study:
    return Study(with_settings(study.profile, "unseen", **changes), study.dataset)


def test_events_are_mapped_by_chains_of_their_bands_and_what_is_not_here_is_named(smoke, capsys):
    three_bands, four_bands = smoke.settings("unseen").events
    (own,) = [spec for spec in next(iter(part.finals(smoke).values())) if spec.model == "unet"]
    (four,) = unseen.event_networks(smoke, four_bands)
    assert four.run_id == own.run_id
    (three,) = unseen.event_networks(smoke, three_bands)
    assert {data.bands for spec in three.chain for data in spec.data} == {BGR}
    run_ids = {spec.run_id for spec in unseen.specs(smoke)}
    assert four.run_id in run_ids and len(run_ids) == 2 * len(four.chain)
    away = changed(smoke, events=(Events(data="gvlm", bands=BGR), Events(data="luding")))
    assert len(unseen.specs(away)) == 4
    assert unseen.score_all(away) == []
    assert "gvlm: not here; `lmhld data get gvlm" in capsys.readouterr().out
    assert unseen.specs(changed(smoke, events=())) == []


def test_events_are_scored_at_the_threshold_of_validation_and_tabulated_with_their_runs(smoke, tmp_path, monkeypatch):
    events = []
    for asked, dataset in unseen.available_events(smoke):
        (run,) = smoke.fetch(unseen.event_networks(smoke, asked))
        events += unseen.score_events(smoke, dataset, asked.areas, run, False)
    table = unseen.events_table(events)
    assert table["bands"].tolist() == [3, 4]
    assert table.index.tolist() == ["stand-in for Kaikoura", "stand-in for Luding"]
    for event in events:
        row, (scene,) = table.loc[event.name], event.dataset.scenes_of(event.area)
        assert row["threshold"] == pytest.approx(unseen.validation(event.run).best()[0])
        # The map that `lmhld map` draws has the very same scores.
        settings = mapping.MapSettings(threshold=event.threshold, device="cpu")
        report = mapping.map_scene(scene, event.run.weights_file, tmp_path / scene.name, settings, progress=False)
        same = ["f1", "recall", "average_precision", "landslides", "landslides_detected", "mapped", "mapped_false"]
        assert row[same].tolist() == pytest.approx([report["scores"][name] for name in same], rel=1e-3)
        assert [row["run_ids"], (event.mask() == 1).sum()] == [report["run_id"], report["landslide_px"]]
        assert row["mapped_share"] == pytest.approx(report["landslide_px"] / report["valid_px"], rel=1e-3)
        assert row["f1_at_half"] == pytest.approx(event.tally.ranked.confusion(0.5).f1)
        assert row["all_f1"] == pytest.approx(2 * row["prevalence"] / (1 + row["prevalence"]))
        assert 0 < row["index_f1"] <= 1 and 0 <= row["by_chance"] <= row["landslides"]
        view = examples.view(event, longest=100)
        assert max(view.mapped.shape) <= 100 and view.truth is not None and view.truth.any()
    assert objects.pooled([event.tally.sizes for event in events])["landslides"].sum() == table["landslides"].sum()
    assert unseen.events_table([]).columns.equals(table.columns)
    monkeypatch.setattr(unseen, "_mask", lambda *_: pytest.fail("predicted again"))
    assert unseen.events_table(experiments.EXPERIMENTS["unseen"].afterwards(smoke, "skip", False)).equals(table)
    monkeypatch.setattr(runs.Run, "converged", property(lambda run: run.spec.stage is None))
    assert tables.converged([event.run for event in events]) == 0.5 and np.isnan(tables.converged([]))


def test_an_event_without_labels_has_a_mapped_share_and_no_scores(smoke):
    asked, dataset = unseen.available_events(smoke)[1]
    (run,) = smoke.fetch(unseen.event_networks(smoke, asked))
    scenes = [replace(scene, mask=None, polygons=None) for scene in dataset.scenes_of("luding")]
    bare = replace(dataset, synthetic=False, scenes=tuple(scenes), fingerprint="0" * 16)
    (event,) = unseen.score_events(smoke, bare, ["luding"], run, False)
    row = unseen.events_table([event]).loc["Luding"]
    assert not event.is_scored and 0 <= row["mapped_share"] <= 1 and event.shares.startswith("mapped")
    assert row[["f1", "index_f1", "landslides", "f1_low"]].isna().all()


EVENT = {
    "event": "A", "f1": 0.5, "f1_low": 0.4, "f1_high": 0.6, "index_f1": 0.3, "f1_at_half": 0.4, "threshold": 0.7,
    "mapped_share": 0.1, "prevalence": 0.1, "average_precision": 0.4, "landslides": 20, "landslides_detected": 15,
    "by_chance": 2.0, "mapped": 30, "mapped_false": 10, "calibration_error": 0.1, "seeds": 2,
}  # fmt: skip


@pytest.mark.parametrize(("changes", "says"), [
    ({}, "A 0.50 (95 % from 0.40 to 0.60), above the 0.30 of that threshold"),
    ({}, "Of 20 landslides 75% (95 % from 53% to 89%) are detected (mean of 2 seeds; the interval"),
    ({}, "most landslides are identified holds here. It leaves out false alarms."),
    ({"index_f1": 0.7}, "below the 0.70"),
    ({"f1_low": np.nan, "f1_high": np.nan}, "0.50 (too few blocks for an interval), not clearly"),
    ({"landslides_detected": 5}, "does not hold"),
    ({"seeds": 1}, "cannot be judged"),
    ({"landslides": 9, "landslides_detected": 8}, "Of 9 landslides 8 are detected"),
    ({"by_chance": 11.0}, "cannot be judged"),
    ({"landslides": 0}, "no event with labels has a landslide"),
    ({"mapped_share": 0.21}, "more than twice as much is mapped as is landslide at 1 of"),
    ({}, "4.0 times the share of landslide"),
])  # fmt: skip
def test_findings_say_what_a_table_holds(changes, says):
    table = pd.DataFrame([EVENT | changes, dict.fromkeys(EVENT, np.nan) | {"event": "without labels"}])
    assert says in " ".join(say(table) for say in (unseen.found_scores, unseen.found_shares, unseen.found_curves))


@pytest.mark.parametrize(("detected", "says"), [((2, 18), "grows with"), ((9, 11), "not clearly"), ((9,), "too few")])
def test_detection_grows_with_size_where_a_trend_is_beyond_chance(detected, says):
    classes = {"area_m2": ["< 100", "100–300"][: len(detected)], "from_m2": [0, 100][: len(detected)]}
    table = pd.DataFrame({**classes, "landslides": 20, "detected": detected, "mapped": 0, "mapped_false": 0})
    assert says in unseen.found_sizes(objects.pooled([table.assign(by_chance=2.0)]))
    told = unseen.found_sizes(objects.pooled([table.assign(by_chance=2.0, mapped=30, mapped_false=10)[:1]]))
    assert "Of 30 mapped objects 33% (95 % from 19% to 51%) are false" in told
