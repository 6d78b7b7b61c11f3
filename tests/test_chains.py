"""Chains of trainings: what is fresh, frozen and trained on, and what earlier areas keep."""

from __future__ import annotations

import json
import math
import os
import signal

import pytest
import safetensors.torch
import torch

from lmhld_nb import models, patches
from lmhld_nb.config import Interrupted, UserError
from lmhld_nb.evaluation.counts import Confusion
from lmhld_nb.patches.batches import load_split
from lmhld_nb.patches.patch_sets import PatchSpec
from lmhld_nb.training import chains, loop, scoring, train
from lmhld_nb.training import weights as stored
from lmhld_nb.training.hardware import Execution
from lmhld_nb.training.specs import LAYER_GROUPS, Recipe, RunSpec, Stage

RECIPE = Recipe(batch_size=4, epochs=2, lr=0.05, momentum=0.9, weight_decay=0.01)
QUIET = Execution(device="cpu", progress=False)
CPU = torch.device("cpu")
WIDTHS = {"dense_unet": 8}
FINE_TUNED = [dict.fromkeys(LAYER_GROUPS, "fresh"), dict.fromkeys(LAYER_GROUPS, "finetune")]


def linked(stages, model="unet", schedule=None, **options):
    width = WIDTHS.get(model, 4)
    plain = [RunSpec(model=model, width=width, data=(part,), recipe=RECIPE) for part in stages]
    return chains.link(plain, schedule or chains.paper_schedule(len(plain)), **options)


def sets_of(spec):
    return [patches.load(one) for one in spec.data]


def earlier_of(spec, folder):
    return [
        chains.EarlierStage(stage.run_id, folder / stage.run_id / "weights.safetensors", sets_of(stage))
        for stage in spec.chain[:-1]
    ]


def trained(chain, folder):
    """Train the stages of a chain that are not there yet; return the weights and metrics of each."""
    for spec in chain:
        if not (folder / spec.run_id / "metrics.json").exists():
            train(spec, sets_of(spec), folder / spec.run_id, QUIET, earlier_of(spec, folder))
    folders = [folder / spec.run_id for spec in chain]
    weights = [safetensors.torch.load_file(one / "weights.safetensors") for one in folders]
    return weights, [json.loads((one / "metrics.json").read_text()) for one in folders]


def test_schedule_freezes_one_level_more_per_stage_up_to_four():
    first, *later = chains.paper_schedule(7)
    assert set(first.values()) == {"fresh"}
    for stage, row in enumerate(later, start=2):
        assert row["input"] == "fresh" and row["level 5"] == row["decoder"] == "finetune"
        frozen = [group for group in LAYER_GROUPS if row[group] == "frozen"]
        assert frozen == [f"level {level}" for level in range(1, min(stage - 1, 4) + 1)]


def test_six_orders_share_their_beginnings():
    middle = ("hokkaido", "taiwan", "jiuzhaigou")
    orders = chains.orders_of_addition(("rio", "gorkha", "emilia_romagna"), middle, ("wenchuan",))
    assert list(orders) == ["OD1", "OD2", "OD3", "OD4", "OD5", "OD6"]
    assert len(set(orders.values())) == 6 and len({frozenset(order) for order in orders.values()}) == 1
    specs = [
        [PatchSpec(dataset="d", fingerprint="0", area=area, size=64) for area in order] for order in orders.values()
    ]
    assert len({spec.run_id for order in specs for spec in linked(order)}) == 24  # not 42


@pytest.mark.parametrize("model", models.NAMES)
def test_every_tensor_has_its_layer_group(model):
    network = models.build(model, 4, WIDTHS.get(model, 4))
    groups = chains.layer_groups(network)
    assert set(groups) == set(network.state_dict())
    assert set(groups.values()) == set(LAYER_GROUPS)
    first = {id(value) for value in models.input_conv(network).parameters()}
    assert {name for name, value in network.named_parameters() if id(value) in first} == {
        name for name, group in groups.items() if group == "input"
    }


@pytest.mark.parametrize("model", models.NAMES)
def test_what_is_frozen_stays_and_what_is_not_moves(stages, tmp_path, model):
    (_, before, after), metrics = trained(linked(stages, model), tmp_path)
    groups = chains.layer_groups(models.build(model, 4, WIDTHS.get(model, 4)))
    for name, group in groups.items():
        same = torch.equal(before[name], after[name])
        if group in ("level 1", "level 2"):  # statistics and counters of batch normalisation are among them
            assert same, name
        elif group == "input":
            assert not same, name
    moved = {group for name, group in groups.items() if not torch.equal(before[name], after[name])}
    assert moved == {"input", "level 3", "level 4", "level 5", "decoder"}
    assert metrics[2]["trained_parameters"] < metrics[2]["parameters"]


def test_fresh_is_drawn_anew_at_every_stage_and_finetune_starts_from_the_parent(stages, tmp_path):
    chain = linked(stages)
    (_, parent), _ = trained(chain[:2], tmp_path)
    torch.manual_seed(chains.seed_of(chain[2]))
    network = models.build("unet", 4, 4)
    drawn = stored.copy_of(network)
    chains.start_from_parent(network, chain[2].stage, tmp_path / chain[1].run_id / "weights.safetensors")
    for name, group in chains.layer_groups(network).items():
        source = drawn if group == "input" else parent
        assert torch.equal(network.state_dict()[name], source[name]), name
    assert len({chains.seed_of(spec) for spec in chain}) == 3


def test_a_stage_that_freezes_nothing_is_another_run_that_trains_all(stages, tmp_path):
    chain = linked(stages[:2], schedule=FINE_TUNED)
    _, metrics = trained(chain, tmp_path)
    assert metrics[1]["trained_parameters"] == metrics[1]["parameters"]
    assert chain[1].run_id != linked(stages[:2])[1].run_id
    assert chain[0].run_id == linked(stages[:2])[0].run_id


def test_a_stage_is_tested_on_all_areas_so_far(stages, tmp_path):
    chain = linked(stages)
    _, (first, _, last) = trained(chain, tmp_path)
    assert "earlier" not in first and list(last["areas"]) == ["area_2"]
    for kind in ("earlier", "earlier_own_input"):
        assert list(last[kind]) == [spec.run_id for spec in chain[:-1]]
        for part, areas in zip(stages, last[kind].values(), strict=False):
            ((area, counts),) = areas.items()
            tests = len(patches.load(part).where("test"))
            assert area == part.area
            assert sum(vars(Confusion.from_dict(counts)).values()) == tests * part.size**2
    assert last["steps"] == 2 * math.ceil(last["training_patches"] / 4)


def test_an_area_is_seen_through_the_input_convolution_of_its_own_stage(stages, tmp_path):
    chain = linked(stages)
    _, metrics = trained(chain, tmp_path)
    network, _ = stored.load(tmp_path / chain[2].run_id / "weights.safetensors")
    before = stored.copy_of(network)
    chains.copy_layer_groups(network, tmp_path / chain[0].run_id / "weights.safetensors", ["input"])
    changed = {name for name, value in network.state_dict().items() if not torch.equal(before[name], value)}
    assert changed == {name for name, group in chains.layer_groups(network).items() if group == "input"}
    counts, _ = scoring.patch_counts(network, load_split(sets_of(chain[0]), "test", CPU), RECIPE)
    told = metrics[2]["earlier_own_input"][chain[0].run_id]["area_0"]
    assert scoring.total(counts) == Confusion.from_dict(told)


def test_a_stage_with_other_bands_or_an_impossible_size_is_refused_before_anything_trains(stages):
    for change, message in (({"bands": ("red", "green")}, "bands"), ({"size": 40}, "multiples of 16")):
        with pytest.raises(UserError, match=message):
            linked([stages[0], stages[1].model_copy(update=change)])


def test_a_stage_does_not_start_from_another_networks_weights(stages, tmp_path):
    stage = Stage(parent=linked(stages)[0], treatment=("fresh", *["finetune"] * 6))
    safetensors.torch.save_file(models.build("res_unet", 4, 4).state_dict(), tmp_path / "res.safetensors")
    for name in ("none.safetensors", "res.safetensors"):
        with pytest.raises(UserError, match="not the weights a stage can start from"):
            chains.start_from_parent(models.build("unet", 4, 4), stage, tmp_path / name)


def test_the_spec_on_disk_names_the_parent(stages):
    chain = linked(stages)
    assert json.loads(chain[2].canonical())["stage"]["parent"] == chain[1].run_id
    assert "stage" not in json.loads(chain[0].canonical())


def test_replay_trains_on_a_share_of_earlier_patches(stages, tmp_path):
    chain = linked(stages, replay=0.2)
    _, metrics = trained(chain, tmp_path)
    batches = chains.training_split(chain[2], sets_of(chain[2]), earlier_of(chain[2], tmp_path), CPU, None)
    drawn = [str(area) for group in batches.groups for area in group.areas]
    counts = [len(patches.load(part).where("train")) for part in stages]
    expected = [max(1, round(0.2 * counts[0])), max(1, round(0.2 * counts[1])), counts[2]]
    assert [drawn.count(part.area) for part in stages] == expected
    # Areas 0 and 2 have patches of one size and share batches.
    assert metrics[2]["steps"] == 2 * (math.ceil((expected[0] + expected[2]) / 4) + math.ceil(expected[1] / 4))
    assert chain[2].run_id != linked(stages)[2].run_id


def test_consolidation_holds_what_mattered_and_never_diverges(stages, tmp_path):
    moved = []
    for strength in (0.0, 1e2, 1e8):
        (before, after), _ = trained(linked(stages[:2], schedule=FINE_TUNED, ewc=strength), tmp_path)
        names = [name for name in before if name.endswith("weight")]
        moved.append(float(sum((after[name] - before[name]).square().sum() for name in names)))
    assert moved[0] > moved[1] > moved[2]
    assert all(map(math.isfinite, moved))


def test_nothing_pulls_at_the_weights_of_the_area_itself(stages, tmp_path):
    chain = linked(stages[:2])
    trained(chain[:1], tmp_path)
    network, _ = stored.load(tmp_path / chain[0].run_id / "weights.safetensors")
    before = stored.copy_of(network)
    pull = chains.consolidation(network, 1e6, earlier_of(chain[1], tmp_path), RECIPE, CPU)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    pull(0.1)
    for name, value in network.state_dict().items():
        assert torch.allclose(before[name], value, atol=1e-5), name


def test_a_stage_stopped_and_taken_up_again_ends_with_the_same_weights(stages, tmp_path, monkeypatch):
    chain = linked(stages[:2])
    (_, whole), _ = trained(chain, tmp_path)
    (tmp_path / chain[1].run_id / "metrics.json").unlink()
    write = loop._write_history

    def stop(path, history):
        write(path, history)
        if len(history) == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(loop, "_write_history", stop)
        trained(chain, tmp_path)
    assert (tmp_path / chain[1].run_id / "checkpoint.safetensors").is_file()
    (_, again), _ = trained(chain, tmp_path)
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_a_network_without_levels_can_be_chained_but_has_nothing_to_freeze(stages, tmp_path, monkeypatch):
    (tmp_path / "flat_nets.py").write_text(
        "from torch import nn\n"
        "def build_flat(bands):\n"
        "    return nn.Sequential(nn.Conv2d(bands, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    plain = [RunSpec(model="flat_nets:build_flat", data=(part,), recipe=RECIPE) for part in stages]
    chain = chains.link(plain, chains.paper_schedule(3))
    _, metrics = trained(chain, tmp_path / "runs")
    assert metrics[2]["trained_parameters"] == metrics[2]["parameters"]
    groups = chains.layer_groups(models.build("flat_nets:build_flat"))
    assert {name for name, group in groups.items() if group == "input"} == {"0.weight", "0.bias"}
    assert set(groups.values()) == {"input", "decoder"}
