"""Experiment 5: which networks map unseen events, and what its tables hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmhld_nb import runs, sources
from lmhld_nb.config import UserError
from lmhld_nb.evaluation import objects as detection
from lmhld_nb.experiments import common as experiments
from lmhld_nb.experiments import generalisation, serial_experiment, unseen_results
from lmhld_nb.experiments import profile as profiles
from lmhld_nb.experiments.profile import Events, Profile, Transfer
from lmhld_nb.sources import DataSet
from lmhld_nb.training.hardware import Execution

QUIET = Execution(progress=False, threads=1)
BGR = ("blue", "green", "red")


@pytest.fixture
def smoke(twin_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Profile, DataSet]:
    monkeypatch.setenv("LMHLD_WORKDIR", str(tmp_path))
    monkeypatch.setenv("LMHLD_DATA", str(twin_data))
    return profiles.load("smoke").model_copy(update={"execution": QUIET}), sources.load("twin-smoke")


def changed(profile: Profile, **changes: object) -> Profile:
    return profile.model_copy(update={"experiment_5": profile.experiment_5.model_copy(update=changes)})


def test_four_bands_are_mapped_by_the_run_of_experiment_4_and_three_by_a_chain_of_their_own(smoke) -> None:
    profile, dataset = smoke
    finals = next(iter(serial_experiment.finals(profile, dataset).values()))
    own = next(spec for spec in finals if spec.model == "unet")
    (four,) = generalisation.part_trained(profile, dataset)
    assert four.run_id == own.run_id
    (three,) = generalisation.part_trained(changed(profile, epochs=(3, 2)), dataset, BGR)
    assert {part.bands for spec in three.chain for part in spec.data} == {BGR}
    assert [spec.recipe.epochs for spec in three.chain] == [3, 2]
    ids = {spec.run_id for spec in generalisation.networks(profile, dataset)}
    assert four.run_id in ids and len(ids) == 2 * len(four.chain)


def test_a_plan_needs_no_data_of_events(smoke) -> None:
    profile, dataset = smoke
    away = changed(profile, events=(Events(data="gvlm", bands=BGR), Events(data="luding")))
    assert len(generalisation.networks(away, dataset)) == 4


def test_events_that_are_not_here_are_named(smoke, capsys) -> None:
    profile, _ = smoke
    assert unseen_results.found(changed(profile, events=(Events(data="gvlm", bands=BGR),))) == []
    assert "gvlm: not here; `lmhld data get gvlm" in capsys.readouterr().out


def test_experiment_5_without_anything_to_map_is_not_made(smoke) -> None:
    profile, _ = smoke
    assert profiles.is_made(profile, "5")
    assert not profiles.is_made(changed(profile, events=()), "5")


def test_a_transfer_from_an_area_that_is_not_there_is_refused(smoke) -> None:
    profile, dataset = smoke
    with pytest.raises(UserError, match=r"experiment_5\.transfers.*nowhere"):
        generalisation.transferred(profile, dataset, Transfer(area="nowhere"))


def test_maps_and_transfers_are_tabulated_with_their_runs(smoke) -> None:
    profile, dataset = smoke
    maps = []
    for events, there in unseen_results.found(profile):
        (spec,) = generalisation.part_trained(profile, dataset, events.bands)
        (run,) = experiments.fetch(profile, [spec], "train")
        maps += unseen_results.map_events(profile, there, events, run)
    table = unseen_results.events_table(maps)
    assert table["bands"].tolist() == [3, 4]
    for made in maps:
        row = table.loc[made.scene.name]
        scores = made.report["scores"]
        assert row["run_ids"] == made.run.spec.run_id == made.report["run_id"]
        assert row["all_f1"] == pytest.approx(2 * row["prevalence"] / (1 + row["prevalence"]))
        assert 0 < row["threshold_f1"] <= 1
        shown = unseen_results.view(made, longest=100)
        assert max(shown.mapped.shape) <= 100 and shown.truth.any()
        # Without writing anything, the same scores.
        again = unseen_results.score_scenes(made.run, [made.scene], profile.experiment_5.threshold, "cpu")
        assert again["recall"] == pytest.approx(scores["recall"], abs=1e-3)
        assert again["average_precision"] == pytest.approx(scores["average_precision"], abs=1e-3)
        assert again["landslides"] == scores["landslides"]
    pooled = detection.pooled([made.table("by_size") for made in maps])
    assert pooled["landslides"].sum() == table["landslides"].sum()
    asked = changed(
        profile, transfers=(Transfer(area="gorkha"), Transfer(area="gorkha", to="twin-smoke", areas=("rio",)))
    )
    finished = {
        number: runs.make_runs(generalisation.transferred(asked, dataset, transfer), 1, QUIET)
        for number, transfer in enumerate(asked.experiment_5.transfers)
    }
    moved = unseen_results.transfers_table(asked, finished)
    assert moved.index.get_level_values("tested").tolist() == ["its own test patches", "rio (twin-smoke)"]
    assert moved["run_ids"].nunique() == 1
