"""Experiment 5: which networks map unseen events, and what its tables hold."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import QUIET
from made import with_settings

from lmhld_nb import mapping, sources
from lmhld_nb.evaluation import objects
from lmhld_nb.experiments import Study, examples, load, part, unseen
from lmhld_nb.experiments.unseen import Events

BGR = ("blue", "green", "red")


@pytest.fixture
def smoke(tiny: Path) -> Study:
    profile = load("smoke").model_copy(update={"execution": QUIET})
    return Study(profile, sources.load("twin-smoke"))


def changed(study: Study, **changes: object) -> Study:
    return Study(with_settings(study.profile, "unseen", **changes), study.dataset)


def test_four_bands_are_mapped_by_the_run_of_experiment_4_and_three_by_a_chain_of_their_own(smoke):
    three_bands, four_bands = smoke.settings("unseen").events
    (own,) = [spec for spec in next(iter(part.finals(smoke).values())) if spec.model == "unet"]
    (four,) = unseen.event_networks(smoke, four_bands)
    assert four.run_id == own.run_id
    (three,) = unseen.event_networks(smoke, three_bands)
    assert {data.bands for spec in three.chain for data in spec.data} == {BGR}
    run_ids = {spec.run_id for spec in unseen.specs(smoke)}
    assert four.run_id in run_ids and len(run_ids) == 2 * len(four.chain)


def test_events_and_areas_that_are_not_here_are_named(smoke, capsys):
    away = changed(smoke, events=(Events(data="gvlm", bands=BGR), Events(data="luding")))
    assert len(unseen.specs(away)) == 4
    assert unseen.score_all(away) == []
    assert "gvlm: not here; `lmhld data get gvlm" in capsys.readouterr().out
    assert unseen.specs(changed(smoke, events=())) == []


def test_events_are_scored_at_the_threshold_of_validation_and_tabulated_with_their_runs(smoke, tmp_path, monkeypatch):
    events = []
    for asked, dataset in unseen.available_events(smoke):
        (run,) = smoke.fetch(unseen.event_networks(smoke, asked))
        events += unseen.score_events(smoke, dataset, asked.areas, run)
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
        assert row["run_ids"] == event.run.spec.run_id == report["run_id"]
        assert row["mapped_share"] == pytest.approx(report["landslide_px"] / report["valid_px"], rel=1e-3)
        assert row["f1_at_half"] == pytest.approx(event.tally.ranked.confusion(0.5).f1)
        assert row["all_f1"] == pytest.approx(2 * row["prevalence"] / (1 + row["prevalence"]))
        assert 0 < row["index_f1"] <= 1 and 0 <= row["by_chance"] <= row["landslides"]
        view = examples.view(event, longest=100)
        assert max(view.mapped.shape) <= 100 and view.truth is not None and view.truth.any()
        assert examples.worst(event)[0].title.startswith(event.name)
    assert objects.pooled([event.tally.sizes for event in events])["landslides"].sum() == table["landslides"].sum()
    assert unseen.events_table([]).columns.equals(table.columns)

    monkeypatch.setattr(unseen, "_score", lambda *_: pytest.fail("predicted again"))
    assert unseen.events_table(unseen.score_all(smoke, "skip")).equals(table)


def test_an_event_without_labels_has_a_mapped_share_and_no_scores(smoke):
    asked, dataset = unseen.available_events(smoke)[1]
    (run,) = smoke.fetch(unseen.event_networks(smoke, asked))
    scenes = [replace(scene, mask=None, polygons=None) for scene in dataset.scenes_of("luding")]
    bare = replace(dataset, synthetic=False, scenes=tuple(scenes), fingerprint="0" * 16)
    (event,) = unseen.score_events(smoke, bare, ["luding"], run)
    row = unseen.events_table([event]).loc["Luding"]
    assert not event.is_scored and 0 <= row["mapped_share"] <= 1 and event.shares.startswith("mapped")
    assert row[["f1", "index_f1", "landslides", "f1_low"]].isna().all()


EVENT = {
    "event": "A", "f1": 0.5, "f1_low": 0.4, "f1_high": 0.6, "index_f1": 0.3, "f1_at_half": 0.4, "threshold": 0.7,
    "mapped_share": 0.1, "prevalence": 0.1, "average_precision": 0.4, "landslides": 20, "landslides_detected": 15,
    "by_chance": 2.0, "mapped": 30, "mapped_false": 10, "calibration_error": 0.1,
}  # fmt: skip


@pytest.mark.parametrize(("changes", "says"), [
    ({}, "A 0.50 (95 % from 0.40 to 0.60), above the 0.30 of that threshold"),
    ({}, "Of 20 landslides 75% (95 % from 53% to 89%) are detected, 10% by the same maps"),
    ({}, "most landslides are identified holds"),
    ({"index_f1": 0.7}, "below the 0.70"),
    ({"f1_low": np.nan, "f1_high": np.nan}, "0.50 (too few for an interval), not surely"),
    ({"landslides_detected": 5}, "does not hold"),
    ({"landslides_detected": 11}, "cannot be judged"),
    ({"by_chance": 11.0}, "cannot be judged"),
    ({"landslides": 0}, "no event with labels has a landslide"),
    ({"mapped_share": 0.21}, "more than twice as much is mapped at 1 of 1."),
    ({}, "4.0 times the share of landslide"),
    ({}, "of 30 mapped objects 33% (95 % from 19% to 51%) are false"),
    ({"mapped": 0, "mapped_false": 0}, "nothing is mapped"),
])  # fmt: skip
def test_findings_say_what_a_table_holds(changes, says):
    table = pd.DataFrame([EVENT | changes, dict.fromkeys(EVENT, np.nan) | {"event": "without labels"}])
    assert says in " ".join(say(table) for say in (unseen.found_scores, unseen.found_shares, unseen.found_curves,
                                                   unseen.found_mistakes))  # fmt: skip


@pytest.mark.parametrize(("detected", "says"), [((2, 18), "grows with"), ((9, 11), "not surely"), ((9,), "too few")])
def test_detection_grows_with_size_where_the_intervals_do_not_meet(detected, says):
    classes = {"area_m2": ["< 100", "100–300"][: len(detected)], "from_m2": [0, 100][: len(detected)]}
    table = pd.DataFrame({**classes, "landslides": 20, "detected": detected, "mapped": 0, "mapped_false": 0})
    assert says in unseen.found_sizes(objects.pooled([table.assign(by_chance=2.0)]))
