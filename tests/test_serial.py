"""Chains of trainings: what is fresh, frozen and trained on, and how the store keeps parents and children together."""

from __future__ import annotations

import json
import math
import os
import signal

import pytest
import safetensors.torch
import torch
from made import blobs, scene

from lmhld_nb import models, patches, runs, training
from lmhld_nb.config import Interrupted, UserError
from lmhld_nb.experiments.part import counts_by_area
from lmhld_nb.patches.batches import load_split
from lmhld_nb.patches.patch_sets import PatchSpec
from lmhld_nb.training import chains
from lmhld_nb.training.hardware import Execution
from lmhld_nb.training.specs import LAYER_GROUPS, Recipe, RunSpec, Stage

RECIPE = Recipe(batch_size=4, epochs=2, lr=0.05, momentum=0.9, weight_decay=0.01)
QUIET = Execution(device="cpu", progress=False)
WIDTHS = {"dense_unet": 8}


@pytest.fixture
def stages(tmp_path, monkeypatch):
    """Three areas of patches of different sizes, cut into a data folder of one's own."""
    monkeypatch.setenv("LMHLD_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("LMHLD_WORKDIR", str(tmp_path / "work"))
    monkeypatch.delenv("LMHLD_RUNS", raising=False)
    made = []
    for number, size in enumerate((32, 48, 32)):
        spec = PatchSpec(dataset="made", fingerprint=f"{number}" * 16, area=f"area_{number}", size=size)
        folder = tmp_path / f"scene_{number}"
        patches.cut(spec, [scene(folder, blobs(256, 256, 50, seed=number))], progress=False)
        made.append(spec)
    return made


def linked(stages, model="unet", rows=None, seed=0):
    width = WIDTHS.get(model, 4)
    plain = [RunSpec(model=model, width=width, data=(part,), recipe=RECIPE, seed=seed) for part in stages]
    return chains.link(plain, rows or chains.paper_schedule(len(plain)))


def weights(spec):
    return safetensors.torch.load_file(runs.runs_dir() / spec.run_id / "weights.safetensors")


def test_schedule_freezes_one_level_more_a_stage_up_to_four():
    rows = chains.paper_schedule(7)
    assert set(rows[0].values()) == {"fresh"}
    for stage, row in enumerate(rows[1:], start=2):
        assert row["input"] == "fresh"
        frozen = [part for part in LAYER_GROUPS if row[part] == "frozen"]
        assert frozen == [f"level {level}" for level in range(1, min(stage - 1, 4) + 1)]
        assert row["level 5"] == row["decoder"] == "finetune"


def test_six_orders_share_their_beginnings():
    found = chains.orders_of_addition(
        ("rio", "gorkha", "emilia_romagna"), ("hokkaido", "taiwan", "jiuzhaigou"), ("wenchuan",)
    )
    assert list(found) == ["OD1", "OD2", "OD3", "OD4", "OD5", "OD6"]
    assert len(set(found.values())) == 6
    areas = sorted(found["OD1"])
    ids = set()
    for order in found.values():
        assert sorted(order) == areas
        plain = [
            RunSpec(
                model="unet",
                data=(PatchSpec(dataset="d", fingerprint="0", area=area, size=64),),
                recipe=RECIPE,
            )
            for area in order
        ]
        ids |= {spec.run_id for spec in chains.link(plain, chains.paper_schedule(7))}
    assert len(ids) == 24  # not 42


@pytest.mark.parametrize("model", models.NAMES)
def test_every_tensor_has_its_part(model):
    network = models.build(model, 4, WIDTHS.get(model, 4))
    parts = chains.layer_groups(network)
    assert set(parts) == set(network.state_dict())
    assert set(parts.values()) == set(LAYER_GROUPS)
    first = {id(value) for value in network.input_conv.parameters()}
    assert {name for name, value in network.named_parameters() if id(value) in first} == {
        name for name, part in parts.items() if part == "input"
    }


@pytest.mark.parametrize("model", models.NAMES)
def test_what_is_frozen_stays_and_what_is_not_moves(stages, model):
    chain = linked(stages, model)
    third = runs.make_run(chain[-1], QUIET)
    before, after = weights(chain[1]), weights(chain[2])
    parts = chains.layer_groups(models.build(model, 4, WIDTHS.get(model, 4)))
    for name, part in parts.items():
        same = torch.equal(before[name], after[name])
        if part in ("level 1", "level 2"):  # statistics and counters of batch normalisation are among them
            assert same, name
        elif part == "input":
            assert not same, name
    moved = {part for name, part in parts.items() if not torch.equal(before[name], after[name])}
    assert moved == {"input", "level 3", "level 4", "level 5", "decoder"}
    assert third.metrics["trained_parameters"] < third.metrics["parameters"]


def test_fresh_is_drawn_anew_at_every_stage_and_finetune_starts_from_the_parent(stages):
    chain = linked(stages)
    runs.make_run(chain[1], QUIET)
    parent = weights(chain[1])
    torch.manual_seed(chains.seed_of(chain[2]))
    network = models.build("unet", 4, 4)
    drawn = {name: value.clone() for name, value in network.state_dict().items()}
    chains.start_from_parent(
        network, chain[2].stage, runs.runs_dir() / chain[1].run_id / "weights.safetensors"
    )
    for name, part in chains.layer_groups(network).items():
        source = drawn if part == "input" else parent
        assert torch.equal(network.state_dict()[name], source[name]), name
    assert len({chains.seed_of(spec) for spec in chain}) == 3


def test_all_finetune_is_plain_training_on_from_the_parent(stages):
    rows = [dict.fromkeys(LAYER_GROUPS, "fresh"), dict.fromkeys(LAYER_GROUPS, "finetune")]
    chain = linked(stages[:2], rows=rows)
    made = runs.make_run(chain[1], QUIET)
    assert made.metrics["trained_parameters"] == made.metrics["parameters"]
    assert chain[1].run_id != linked(stages[:2])[1].run_id
    assert chain[0].run_id == linked(stages[:2])[0].run_id


def test_a_stage_is_tested_on_all_areas_so_far(stages):
    made = runs.make_run(linked(stages)[-1], QUIET).metrics
    assert list(made["areas"]) == ["area_2"]
    before = {spec.run_id: [spec.data[0].area] for spec in linked(stages)[:-1]}
    for kind in ("earlier", "earlier_own_input"):
        assert {run_id: list(areas) for run_id, areas in made[kind].items()} == before
        for part, told in zip(stages, made[kind].values(), strict=False):
            (counts,) = told.values()
            tests = len(patches.load(part).where("test"))
            assert counts["tp"] + counts["fp"] + counts["fn"] + counts["tn"] == tests * part.size**2
    assert made["steps"] == 2 * math.ceil(made["training_patches"] / 4)


def test_an_area_is_seen_through_the_input_convolution_of_its_own_stage(stages):
    chain = linked(stages)
    run = runs.make_run(chain[-1], QUIET)
    network = run.model()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    chains.copy_layer_groups(network, run.folder / "weights.safetensors", ["input"])
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    chains.copy_layer_groups(network, runs.runs_dir() / chain[0].run_id / "weights.safetensors", ["input"])
    changed = {name for name, value in network.state_dict().items() if not torch.equal(before[name], value)}
    assert changed == {name for name, part in chains.layer_groups(network).items() if part == "input"}
    tests = load_split(runs.patch_sets(chain[0]), "test", torch.device("cpu"))
    (counts,) = training.score(network, tests, RECIPE)[0].values()
    assert counts_by_area(run, own_input=True)["area_0"] == counts
    assert counts_by_area(run)["area_2"] == counts_by_area(run, own_input=True)["area_2"]


def test_missing_parents_are_made_first_and_all_is_kept(stages):
    chain = linked(stages)
    (last,) = runs.make_runs([chain[-1]], workers=1, execution=QUIET)
    assert all(runs.find(spec) for spec in chain)
    times = [(runs.runs_dir() / spec.run_id / "metrics.json").stat().st_mtime_ns for spec in chain]
    assert times == sorted(times)
    runs.make_runs([chain[-1]], workers=1, execution=QUIET)
    assert times == [(runs.runs_dir() / spec.run_id / "metrics.json").stat().st_mtime_ns for spec in chain]
    assert last.metrics["parent_weights"] == runs.find(chain[1]).metrics["weights"]


def test_side_by_side_gives_what_one_after_another_gives(stages, monkeypatch, tmp_path):
    chains = [linked(stages), linked([stages[0], stages[2], stages[1]])]
    wanted = [spec for chain in chains for spec in chain]
    runs.make_runs(wanted, workers=2, execution=QUIET)
    first = {spec.run_id: weights(spec) for spec in wanted}
    monkeypatch.setenv("LMHLD_RUNS", str(tmp_path / "other"))
    runs.make_runs(wanted, workers=1, execution=QUIET)
    for spec in wanted:
        again = weights(spec)
        assert all(torch.equal(first[spec.run_id][name], again[name]) for name in again)


def test_a_corrupt_parent_is_made_again_and_its_child_knows_it(stages):
    chain = linked(stages)
    runs.make_run(chain[1], QUIET)
    path = runs.runs_dir() / chain[1].run_id / "weights.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-8] + bytes(8 * [7]))  # the header is still whole
    assert runs.find(chain[1]) is not None
    child = runs.make_run(chain[2], QUIET)
    assert path.read_bytes() == whole
    assert list((runs.runs_dir() / "set-aside").iterdir())
    assert runs.find(chain[2]) is not None
    assert child.metrics["parent_weights"] == runs.find(chain[1]).metrics["weights"]


def test_a_child_of_other_weights_is_not_used(stages):
    chain = linked(stages[:2])
    runs.make_run(chain[1], QUIET)
    path = runs.runs_dir() / chain[0].run_id / "metrics.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "weights": "0" * 16}))
    assert runs.find(chain[1]) is None
    assert "parent" in runs.damage(chain[1])
    path.unlink()  # a chain's end alone, copied here, is whole
    assert runs.find(chain[1]) is not None


def test_a_stage_whose_scores_on_an_earlier_area_are_missing_is_not_used(stages):
    chain = linked(stages[:2])
    run = runs.make_run(chain[1], QUIET)
    told = {**run.metrics, "earlier": {}}
    (run.folder / "metrics.json").write_text(json.dumps(told))
    assert runs.find(chain[1]) is None
    assert "metrics.json" in runs.damage(chain[1])


@pytest.mark.parametrize("workers", [1, 2])
def test_children_of_a_failed_stage_say_so_and_others_are_made(stages, workers):
    chain = linked(stages)
    broken = chain[0].model_copy(update={"recipe": RECIPE.model_copy(update={"lr": 1e30})})
    bad = chains.link(
        [broken, *(s.model_copy(update={"stage": None}) for s in chain[1:])], chains.paper_schedule(3)
    )
    with pytest.raises(UserError, match="the stage before it failed"):
        runs.make_runs([*bad, *chain], workers=workers, execution=QUIET)
    assert all(runs.find(spec) for spec in chain)
    assert runs.status(bad[-1]) == "failed"


def test_a_stage_with_other_bands_or_an_impossible_size_is_refused_before_anything_trains(stages):
    for change, told in (({"bands": ("red", "green")}, "bands"), ({"size": 40}, "multiples of 16")):
        part = stages[1].model_copy(update=change)
        with pytest.raises(UserError, match=told):
            linked([stages[0], part])


def test_a_stage_does_not_start_from_another_networks_weights(stages, tmp_path):
    stage = Stage(parent=linked(stages)[0], treatment=("fresh", *["finetune"] * 6))
    with pytest.raises(UserError, match="not the weights a stage can start from"):
        chains.start_from_parent(models.build("unet", 4, 4), stage, tmp_path / "none.safetensors")
    safetensors.torch.save_file(models.build("res_unet", 4, 4).state_dict(), tmp_path / "res.safetensors")
    with pytest.raises(UserError, match="not the weights a stage can start from"):
        chains.start_from_parent(models.build("unet", 4, 4), stage, tmp_path / "res.safetensors")


def test_the_spec_on_disk_names_the_parent(stages):
    chain = linked(stages)
    told = json.loads(chain[2].canonical())
    assert told["stage"]["parent"] == chain[1].run_id
    assert "stage" not in json.loads(chain[0].canonical())


def test_replay_trains_on_a_share_of_earlier_patches(stages):
    chain = chains.link(
        [s.model_copy(update={"stage": None}) for s in linked(stages)], chains.paper_schedule(3), replay=0.2
    )
    runs.make_run(chain[1], QUIET)
    earlier = [runs.earlier(spec) for spec in chain[:2]]
    batches = chains.training_split(chain[2], runs.patch_sets(chain[2]), earlier, torch.device("cpu"), None)
    drawn = {area: 0 for area in ("area_0", "area_1", "area_2")}
    for group in batches.groups:
        for area in group.areas:
            drawn[str(area)] += 1
    counts = [len(patches.load(part).where("train")) for part in stages]
    assert drawn == {
        "area_0": max(1, round(0.2 * counts[0])),
        "area_1": max(1, round(0.2 * counts[1])),
        "area_2": counts[2],
    }
    # Area 0 and 2 have patches of one size and share batches.
    full = math.ceil((drawn["area_0"] + drawn["area_2"]) / 4) + math.ceil(drawn["area_1"] / 4)
    assert runs.make_run(chain[2], QUIET).metrics["steps"] == 2 * full
    assert chain[2].run_id != linked(stages)[2].run_id


def test_consolidation_holds_what_mattered_and_never_diverges(stages):
    rows = [dict.fromkeys(LAYER_GROUPS, "fresh"), dict.fromkeys(LAYER_GROUPS, "finetune")]
    moved = []
    for strength in (0.0, 1e2, 1e8):
        plain = [s.model_copy(update={"stage": None}) for s in linked(stages[:2])]
        chain = chains.link(plain, rows, ewc=strength)
        runs.make_run(chain[1], QUIET)
        before, after = weights(chain[0]), weights(chain[1])
        names = [name for name in before if name.endswith("weight")]
        moved.append(float(sum((after[name] - before[name]).square().sum() for name in names)))
    assert moved[0] > moved[1] > moved[2]
    assert all(map(math.isfinite, moved))


def test_pull_minimises_the_quadratic_it_stands_for(stages):
    chain = linked(stages[:2])
    parent = runs.make_run(chain[0], QUIET)
    earlier = [runs.earlier(chain[0])]
    network = parent.model()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    pull = chains.consolidation(network, 1e6, earlier, RECIPE, torch.device("cpu"))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    pull(0.1)  # at the weights of the area itself there is nothing to pull
    for name, value in network.state_dict().items():
        assert torch.allclose(before[name], value, atol=1e-5), name


def test_a_stage_stopped_and_taken_up_again_ends_with_the_same_weights(stages, monkeypatch):
    chain = linked(stages[:2])
    runs.make_run(chain[1], QUIET)
    whole, folder = weights(chain[1]), runs.runs_dir() / chain[1].run_id
    (folder / "metrics.json").unlink()
    (folder / "weights.safetensors").unlink()
    real = training._write_history

    def stop(path, history):
        real(path, history)
        if len(history) == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(training, "_write_history", stop)
    with pytest.raises(Interrupted):
        runs.make_run(chain[1], QUIET)
    assert (folder / "checkpoint.safetensors").is_file()
    monkeypatch.setattr(training, "_write_history", real)
    runs.make_run(chain[1], QUIET)
    again = weights(chain[1])
    assert all(torch.equal(whole[name], again[name]) for name in whole)
