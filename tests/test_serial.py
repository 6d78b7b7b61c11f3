"""Chains of trainings: what is fresh, frozen and trained on, and how the store keeps parents and children together."""

from __future__ import annotations

import json
import math

import pytest
import safetensors.torch
import torch
from made import blobs, scene

from lmhld_nb import models, patches, runner, runs, serial
from lmhld_nb.config import UserError
from lmhld_nb.hardware import Execution
from lmhld_nb.patches import PatchSpec
from lmhld_nb.specs import PARTS, Recipe, RunSpec, Stage

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
    return serial.chain(plain, rows or serial.schedule(len(plain)))


def weights(spec):
    return safetensors.torch.load_file(runs.runs_dir() / spec.run_id / "weights.safetensors")


def test_schedule_freezes_one_level_more_a_stage_up_to_four():
    rows = serial.schedule(7)
    assert set(rows[0].values()) == {"fresh"}
    for stage, row in enumerate(rows[1:], start=2):
        assert row["input"] == "fresh"
        frozen = [part for part in PARTS if row[part] == "frozen"]
        assert frozen == [f"level {level}" for level in range(1, min(stage - 1, 4) + 1)]
        assert row["level 5"] == row["decoder"] == "finetune"


def test_six_orders_share_their_beginnings():
    found = serial.orders(
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
        ids |= {spec.run_id for spec in serial.chain(plain, serial.schedule(7))}
    assert len(ids) == 24  # not 42


@pytest.mark.parametrize("model", models.NAMES)
def test_every_tensor_has_its_part(model):
    network = models.build(model, 4, WIDTHS.get(model, 4))
    parts = serial.part_of(network)
    assert set(parts) == set(network.state_dict())
    assert set(parts.values()) == set(PARTS)
    first = {id(value) for value in network.input_conv.parameters()}
    assert {name for name, value in network.named_parameters() if id(value) in first} == {
        name for name, part in parts.items() if part == "input"
    }


@pytest.mark.parametrize("model", models.NAMES)
def test_what_is_frozen_stays_and_what_is_not_moves(stages, model):
    chain = linked(stages, model)
    third = runner.make(chain[-1], QUIET)
    before, after = weights(chain[1]), weights(chain[2])
    parts = serial.part_of(models.build(model, 4, WIDTHS.get(model, 4)))
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
    runner.make(chain[1], QUIET)
    parent = weights(chain[1])
    torch.manual_seed(serial.seed_of(chain[2]))
    network = models.build("unet", 4, 4)
    drawn = {name: value.clone() for name, value in network.state_dict().items()}
    serial.begin(network, chain[2].stage, runs.runs_dir() / chain[1].run_id / "weights.safetensors")
    for name, part in serial.part_of(network).items():
        source = drawn if part == "input" else parent
        assert torch.equal(network.state_dict()[name], source[name]), name
    assert len({serial.seed_of(spec) for spec in chain}) == 3


def test_all_finetune_is_plain_training_on_from_the_parent(stages):
    rows = [dict.fromkeys(PARTS, "fresh"), dict.fromkeys(PARTS, "finetune")]
    chain = linked(stages[:2], rows=rows)
    made = runner.make(chain[1], QUIET)
    assert made.metrics["trained_parameters"] == made.metrics["parameters"]
    assert chain[1].run_id != linked(stages[:2])[1].run_id
    assert chain[0].run_id == linked(stages[:2])[0].run_id


def test_a_stage_is_tested_on_all_areas_so_far(stages):
    made = runner.make(linked(stages)[-1], QUIET).metrics
    assert list(made["areas"]) == ["area_2"]
    assert list(made["earlier"]) == list(made["earlier_own_input"]) == ["area_0", "area_1"]
    for area, part in zip(made["earlier"], stages, strict=False):
        tests = len(patches.load(part).where("test"))
        for kind in ("earlier", "earlier_own_input"):
            counts = made[kind][area]
            assert counts["tp"] + counts["fp"] + counts["fn"] + counts["tn"] == tests * part.size**2
    assert made["steps"] == 2 * math.ceil(made["training_patches"] / 4)


def test_own_input_of_the_last_stage_is_what_it_has(stages):
    chain = linked(stages)
    run = runner.make(chain[-1], QUIET)
    network = run.model()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    serial.load_own_input(network, run.folder / "weights.safetensors")
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    serial.load_own_input(network, runs.runs_dir() / chain[0].run_id / "weights.safetensors")
    changed = {name for name, value in network.state_dict().items() if not torch.equal(before[name], value)}
    assert changed == {name for name, part in serial.part_of(network).items() if part == "input"}


def test_missing_parents_are_made_first_and_all_is_kept(stages):
    chain = linked(stages)
    (last,) = runner.ensure([chain[-1]], workers=1, execution=QUIET)
    assert all(runs.find(spec) for spec in chain)
    times = [(runs.runs_dir() / spec.run_id / "metrics.json").stat().st_mtime_ns for spec in chain]
    assert times == sorted(times)
    runner.ensure([chain[-1]], workers=1, execution=QUIET)
    assert times == [(runs.runs_dir() / spec.run_id / "metrics.json").stat().st_mtime_ns for spec in chain]
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
    path = runs.runs_dir() / chain[1].run_id / "weights.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-8] + bytes(8 * [7]))  # the header is still whole
    assert runs.find(chain[1]) is not None
    child = runner.make(chain[2], QUIET)
    assert path.read_bytes() == whole
    assert list((runs.runs_dir() / "set-aside").iterdir())
    assert runs.find(chain[2]) is not None
    assert child.metrics["parent_weights"] == runs.find(chain[1]).metrics["weights"]


def test_a_child_of_other_weights_is_not_used(stages):
    chain = linked(stages[:2])
    runner.make(chain[1], QUIET)
    path = runs.runs_dir() / chain[0].run_id / "metrics.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "weights": "0" * 16}))
    assert runs.find(chain[1]) is None
    assert "parent" in runs.damage(chain[1])
    path.unlink()  # a chain's end alone, copied here, is whole
    assert runs.find(chain[1]) is not None


def test_children_of_a_failed_stage_say_so_and_others_are_made(stages):
    chain = linked(stages)
    broken = chain[0].model_copy(update={"recipe": RECIPE.model_copy(update={"lr": 1e30})})
    bad = serial.chain(
        [broken, *(s.model_copy(update={"stage": None}) for s in chain[1:])], serial.schedule(3)
    )
    with pytest.raises(UserError, match="the stage before it failed"):
        runner.ensure([*bad, *chain], workers=1, execution=QUIET)
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
        serial.begin(models.build("unet", 4, 4), stage, tmp_path / "none.safetensors")
    safetensors.torch.save_file(models.build("res_unet", 4, 4).state_dict(), tmp_path / "res.safetensors")
    with pytest.raises(UserError, match="not the weights a stage can start from"):
        serial.begin(models.build("unet", 4, 4), stage, tmp_path / "res.safetensors")


def test_the_spec_on_disk_names_the_parent(stages):
    chain = linked(stages)
    told = json.loads(chain[2].canonical())
    assert told["stage"]["parent"] == chain[1].run_id
    assert "stage" not in json.loads(chain[0].canonical())
