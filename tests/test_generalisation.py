"""Experiment 5: which networks map unseen events, and what its tables hold."""

from pathlib import Path

import pytest
from conftest import QUIET
from made import refuses, with_settings

from lmhld_nb import runs, sources
from lmhld_nb.evaluation import objects
from lmhld_nb.experiments import Study, examples, load, part, unseen
from lmhld_nb.experiments.unseen import Events, Transfer

BGR = ("blue", "green", "red")


@pytest.fixture
def smoke(tiny: Path) -> Study:
    """The profile `smoke` in the working folder of `tiny`."""
    profile = load("smoke").model_copy(update={"execution": QUIET})
    return Study(profile, sources.load("twin-smoke"))


def changed(study: Study, **changes: object) -> Study:
    return Study(with_settings(study.profile, "unseen", **changes), study.dataset)


def test_four_bands_are_mapped_by_the_run_of_experiment_4_and_three_by_a_chain_of_their_own(smoke: Study) -> None:
    three_bands, four_bands = smoke.settings("unseen").events
    (own,) = [spec for spec in next(iter(part.finals(smoke).values())) if spec.model == "unet"]
    (four,) = unseen.event_networks(smoke, four_bands)
    assert four.run_id == own.run_id
    (three,) = unseen.event_networks(changed(smoke, epochs=(3, 2)), three_bands)
    assert {data.bands for spec in three.chain for data in spec.data} == {BGR}
    assert [spec.recipe.epochs for spec in three.chain] == [3, 2]
    run_ids = {spec.run_id for spec in unseen.specs(smoke)}
    assert four.run_id in run_ids and len(run_ids) == 2 * len(four.chain)


def test_events_and_areas_that_are_not_here_are_named(smoke: Study, capsys: pytest.CaptureFixture[str]) -> None:
    away = changed(smoke, events=(Events(data="gvlm", bands=BGR), Events(data="luding")))
    assert len(unseen.specs(away)) == 4
    assert unseen.available_events(away) == []
    assert "gvlm: not here; `lmhld data get gvlm" in capsys.readouterr().out
    assert unseen.specs(changed(smoke, events=())) == []
    elsewhere = changed(smoke, transfers=(Transfer(area="nowhere"),))
    says = r"key 'experiments\.unseen\.transfers': no area 'nowhere' in 'twin-smoke'"
    refuses(says, unseen.specs, elsewhere)


def test_maps_and_transfers_are_tabulated_with_their_runs(smoke: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    maps = []
    for events, dataset in unseen.available_events(smoke):
        (run,) = smoke.fetch(unseen.event_networks(smoke, events))
        maps += unseen.map_events(smoke, dataset, events, run)
    table = unseen.events_table(maps)
    assert table["bands"].tolist() == [3, 4]
    threshold = smoke.settings("unseen").threshold
    for mapped in maps:
        row, scores = table.loc[mapped.scene.name], mapped.report["scores"]
        assert row["run_ids"] == mapped.run.spec.run_id == mapped.report["run_id"]
        assert row["all_f1"] == pytest.approx(2 * row["prevalence"] / (1 + row["prevalence"]))
        assert 0 < row["threshold_f1"] <= 1
        view = examples.view(mapped, longest=100)
        assert max(view.mapped.shape) <= 100 and view.truth is not None and view.truth.any()
        # Without writing anything, the same scores.
        again = unseen.score_scenes(mapped.run, [mapped.scene], threshold, "cpu")
        assert again["recall"] == pytest.approx(scores["recall"], abs=1e-3)
        assert again["average_precision"] == pytest.approx(scores["average_precision"], abs=1e-3)
        assert again["landslides"] == scores["landslides"]
    pooled = objects.pooled([mapped.table("by_size") for mapped in maps])
    assert pooled["landslides"].sum() == table["landslides"].sum()

    transfers = (Transfer(area="gorkha"), Transfer(area="gorkha", to="twin-smoke", areas=("rio",)))
    study = changed(smoke, events=(), transfers=transfers)
    finished = runs.make_runs(unseen.specs(study), 1, QUIET)
    moved = unseen.transfers_table(study, finished)
    assert moved.index.get_level_values("tested").tolist() == ["its own test patches", "rio (twin-smoke)"]
    assert moved["run_ids"].tolist() == [finished[0].spec.run_id] * 2
    assert unseen.transfers_table(study, []).empty
    monkeypatch.setattr(unseen, "score_scenes", lambda *_: pytest.fail("predicted again"))
    assert unseen.transfers_table(study, finished).equals(moved)
