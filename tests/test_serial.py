"""How the store keeps parents and children of chains together, and the tables of chains."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch
from test_chains import QUIET, RECIPE, linked

from lmhld_nb import paper, runs, sources
from lmhld_nb.config import UserError, runs_dir
from lmhld_nb.experiments import profile as profiles
from lmhld_nb.experiments import results, serial_experiment, serial_results
from lmhld_nb.runs import runner
from lmhld_nb.training import chains
from lmhld_nb.training.specs import LAYER_GROUPS


def weights(spec):
    return safetensors.torch.load_file(runs_dir() / spec.run_id / "weights.safetensors")


def test_missing_parents_are_made_first_and_all_is_kept(stages):
    chain = linked(stages)
    (last,) = runner.ensure([chain[-1]], workers=1, execution=QUIET)
    assert all(runs.find(spec) for spec in chain)
    times = [(runs_dir() / spec.run_id / "metrics.json").stat().st_mtime_ns for spec in chain]
    assert times == sorted(times)
    runner.ensure([chain[-1]], workers=1, execution=QUIET)
    assert times == [(runs_dir() / spec.run_id / "metrics.json").stat().st_mtime_ns for spec in chain]
    assert last.metrics["parent_weights"] == runs.find(chain[1]).metrics["weights"]


def test_side_by_side_gives_what_one_after_another_gives(stages, monkeypatch, tmp_path):
    chains = [linked(stages), linked([stages[0], stages[2], stages[1]])]
    wanted = [spec for chain in chains for spec in chain]
    runner.ensure(wanted, workers=2, execution=QUIET)
    first = {spec.run_id: weights(spec) for spec in wanted}
    monkeypatch.setenv("LMHLD_RUNS", str(tmp_path / "other"))
    runner.ensure(wanted, workers=1, execution=QUIET)
    for spec in wanted:
        again = weights(spec)
        assert all(torch.equal(first[spec.run_id][name], again[name]) for name in again)


def test_a_corrupt_parent_is_made_again_and_its_child_knows_it(stages):
    chain = linked(stages)
    runner.make(chain[1], QUIET)
    path = runs_dir() / chain[1].run_id / "weights.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-8] + bytes(8 * [7]))  # the header is still whole
    assert runs.find(chain[1]) is not None
    child = runner.make(chain[2], QUIET)
    assert path.read_bytes() == whole
    assert list((runs_dir() / "set-aside").iterdir())
    assert runs.find(chain[2]) is not None
    assert child.metrics["parent_weights"] == runs.find(chain[1]).metrics["weights"]


def test_a_child_of_other_weights_is_not_used(stages):
    chain = linked(stages[:2])
    runner.make(chain[1], QUIET)
    path = runs_dir() / chain[0].run_id / "metrics.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "weights": "0" * 16}))
    assert runs.find(chain[1]) is None
    assert "parent" in runs.damage(chain[1])
    path.unlink()  # a chain's end alone, copied here, is whole
    assert runs.find(chain[1]) is not None


def test_a_stage_whose_scores_on_an_earlier_area_are_missing_is_not_used(stages):
    chain = linked(stages[:2])
    run = runner.make(chain[1], QUIET)
    told = {**run.metrics, "earlier": {}}
    (run.folder / "metrics.json").write_text(json.dumps(told))
    assert runs.find(chain[1]) is None
    assert "metrics.json" in runs.damage(chain[1])


@pytest.mark.parametrize("workers", [1, 2])
def test_children_of_a_failed_stage_say_so_and_others_are_made(stages, workers):
    chain = linked(stages)
    broken = chain[0].model_copy(update={"recipe": RECIPE.model_copy(update={"lr": 1e30})})
    bad = chains.link([broken, *(s.model_copy(update={"stage": None}) for s in chain[1:])], chains.paper_schedule(3))
    with pytest.raises(UserError, match="the stage before it failed"):
        runner.ensure([*bad, *chain], workers=workers, execution=QUIET)
    assert all(runs.find(spec) for spec in chain)
    assert runs.status(bad[-1]) == "failed"


def test_forgetting_by_hand(stages, monkeypatch):
    f1 = [{"a": 0.8}, {"a": 0.9, "b": 0.5}, {"a": 0.6, "b": 0.7, "c": 0.4}]
    told = [SimpleNamespace(counts={k: SimpleNamespace(f1=v) for k, v in row.items()}) for row in f1]
    monkeypatch.setattr(serial_results, "stages_of", lambda run: told)
    monkeypatch.setattr(serial_results, "counts_of", lambda run: run.counts)
    found = serial_results.forgetting(told[-1])
    assert found["forgetting"] == pytest.approx(((0.9 - 0.6) + (0.5 - 0.7)) / 2)
    assert found["backward_transfer"] == pytest.approx(((0.6 - 0.8) + (0.7 - 0.5)) / 2)


def test_tables_of_chains(stages, monkeypatch):
    chains = {"OD1": linked(stages), "OD2": linked([stages[0], stages[2], stages[1]])}
    finals = {order: [runner.make(chain[-1], QUIET)] for order, chain in chains.items()}
    scores = serial_results.order_scores(finals)
    for order, (run,) in finals.items():
        total = serial_results.total_scores(run)
        assert scores.loc[("unet", order), "f1"] == pytest.approx(total["f1"], nan_ok=True)
    monkeypatch.setattr(results, "has_published_areas", lambda dataset: dataset == "made")
    table = serial_results.table_7(finals)
    assert table.loc["unet", "published_f1"] == paper.table(7).set_index("model").loc["U-Net", "f1"]
    assert table.loc["unet", "f1"] == pytest.approx(scores["f1"].mean())
    monkeypatch.setattr(results, "has_published_areas", lambda dataset: False)
    assert serial_results.table_7(finals)["published_f1"].isna().all()
    spread = serial_results.largest_differences(scores).loc["unet", "f1"]
    assert spread == pytest.approx(abs(scores["f1"].diff().iloc[-1]))
    matrix = serial_results.stage_matrix(finals)
    assert list(matrix.columns) == ["area_0", "area_1", "area_2", "run_ids"]
    cells = matrix.loc["OD2"].drop(columns="run_ids").notna()
    assert cells.to_numpy().tolist() == [[True, False, False], [True, False, True], [True, True, True]]
    assert matrix.loc["OD2", "run_ids"].tolist() == [spec.run_id for spec in chains["OD2"]]
    by_seed = serial_results.strategy_runs({"LMHLD_part": finals["OD1"], "other": finals["OD2"]})
    steps = sum(
        s.metrics["trained_parameters"] * s.metrics["steps"] for s in serial_results.stages_of(finals["OD1"][0])
    )
    assert by_seed["trained_parameter_steps"].iloc[0] == steps
    found = serial_results.strategy_table(by_seed)
    assert found.loc["LMHLD_part", "f1_less_part"] == 0
    assert found["f1_low"].isna().all()  # one seed has no interval


def test_an_eighth_area_is_added_without_training_the_others_again(stages):
    plain = linked(stages[:2])
    runner.make(plain[-1], QUIET)
    times = [(runs_dir() / s.run_id / "metrics.json").stat().st_mtime_ns for s in plain]
    longer = linked(stages)
    assert [s.run_id for s in longer[:2]] == [s.run_id for s in plain]
    run = runner.make(longer[-1], QUIET)
    assert times == [(runs_dir() / s.run_id / "metrics.json").stat().st_mtime_ns for s in plain]
    table = serial_results.addition([run])
    assert list(table.index.get_level_values("area")) == ["area_0", "area_1", "area_2"]
    before = serial_results.counts_of(runs.find(plain[-1]))
    assert table["before"].isna().tolist() == [False, False, True]
    assert table.loc[("area_0", "unet"), "before"] == pytest.approx(before["area_0"].f1, nan_ok=True)
    assert table.loc[("area_1", "unet"), "change"] == pytest.approx(
        table.loc[("area_1", "unet"), "after"] - before["area_1"].f1, nan_ok=True
    )


def test_the_example_with_an_eighth_area_repeats_the_runs_of_mini():
    mini, example = profiles.load("mini"), profiles.load("eighth")
    changes = {"name", "description", "experiment_4"}
    assert mini.model_dump(exclude=changes) == example.model_dump(exclude=changes)
    rules = (mini.experiment_4, example.experiment_4)
    assert rules[0].model_copy(update={"added": None}) == rules[1].model_copy(update={"added": None})


def test_areas_of_two_data_sets_may_have_one_name(stages):
    other = stages[2].model_copy(update={"area": "area_0"})
    folder = other.folder  # the same patches under another data set's name
    renamed = other.model_copy(update={"dataset": "other"})
    assert not folder.exists() and not renamed.folder.exists()
    shutil.copytree(stages[2].folder, renamed.folder)
    record = json.loads((renamed.folder / "patchset.json").read_text())
    record["spec"] = renamed.model_dump(mode="json")
    (renamed.folder / "patchset.json").write_text(json.dumps(record))
    run = runner.make(linked([stages[0], renamed])[-1], QUIET)
    assert list(serial_results.counts_of(run)) == ["area_0", "area_0 (other)"]
    table = serial_results.addition([run])
    assert table.loc[("area_0", "unet"), ["before", "after", "own_input"]].notna().all()


def test_a_profile_says_how_areas_are_added(twin_data, tmp_path, monkeypatch):
    monkeypatch.setenv("LMHLD_WORKDIR", str(tmp_path))
    monkeypatch.setenv("LMHLD_DATA", str(twin_data))
    dataset = sources.load("twin-smoke")
    mini = profiles.load("mini").model_copy(update={"data": "twin-smoke", "models": ("unet",)})
    finals = serial_experiment.finals(mini, dataset)
    (last,) = finals["OD1"]
    assert [spec.data[0].area for spec in last.chain] == [
        *("rio", "gorkha", "emilia_romagna", "hokkaido", "taiwan", "jiuzhaigou", "wenchuan"),
    ]
    rule = mini.experiment_4
    epochs = [*rule.epochs, *[rule.epochs[-1]] * 7][:7]
    assert [spec.recipe.epochs for spec in last.chain] == epochs
    assert [spec.recipe.lr for spec in last.chain] == [mini.recipe.lr, *[rule.lr] * 6]
    assert len({spec.run_id for specs in finals.values() for one in specs for spec in one.chain}) == 24
    (eighth,) = serial_experiment.eighth(mini, dataset)
    assert [spec.run_id for spec in eighth.chain[:-1]] == [spec.run_id for spec in last.chain]
    compared = serial_experiment.strategies(mini, dataset)
    assert compared["LMHLD_part"][0].run_id == last.run_id
    later = {name: specs[0].chain[-1].stage for name, specs in compared.items()}
    assert later["freezing only"].treatment == ("finetune", *last.stage.treatment[1:])
    assert later["fresh input only"].treatment == ("fresh", *["finetune"] * 6)
    for name in ("plain fine-tuning", "EWC", f"replay of {rule.replay:.0%}"):
        assert set(later[name].treatment) == {"finetune"}
    assert (later["EWC"].ewc, later["EWC"].replay) == (rule.ewc, 0)
    assert later[f"replay of {rule.replay:.0%}"].replay == rule.replay
    (joint, *_) = compared["all at once"]
    assert later["all at once"] is None and len(joint.data) == 7
    # A schedule of one's own: its last row holds for all that follow.
    rows = (
        {part: "fresh" for part in LAYER_GROUPS},
        {part: "frozen" for part in LAYER_GROUPS} | {"decoder": "finetune"},
    )
    changed = mini.model_copy(update={"experiment_4": rule.model_copy(update={"schedule": rows})})
    assert serial_experiment.schedule(changed, dataset)[1:] == [rows[1]] * 6


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("schedule: [{input: fresh}]", "row 1 must name each of"),
        ("schedule: [{input: frozen, level 1: fresh, level 2: fresh, level 3: fresh, level 4: fresh, level 5: fresh, "
         "decoder: fresh}]", "row 1 must be fresh throughout"),
        ("compared: nosuch", "experiment_4.compared"),
        ("added: {data: twin, area: rio, size: 40}", "multiple of 16"),
    ],
)  # fmt: skip
def test_a_wrong_rule_for_chains_is_told_before_anything_starts(tmp_path, text, told):
    path = tmp_path / "mine.yaml"
    path.write_text(f"name: mine\ndescription: x\ndata: twin\nmodels: [unet]\nrecipe: {{}}\nexperiment_4: {{{text}}}\n")
    with pytest.raises(UserError, match=told):
        profiles.load(str(path))
