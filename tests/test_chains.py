"""Chains of trainings: what is fresh, frozen and trained on, what earlier areas keep, and how the store keeps them."""

import json
import math

import pytest
import safetensors.torch
import torch
from made import refuses

from lmhld_nb import models, patches, runs
from lmhld_nb.config import runs_dir
from lmhld_nb.evaluation.counts import Confusion
from lmhld_nb.patches.batches import load_split
from lmhld_nb.training import chains, loop, scoring, train
from lmhld_nb.training import weights as stored
from lmhld_nb.training.hardware import Execution
from lmhld_nb.training.specs import LAYER_GROUPS, Recipe, RunSpec, Stage

RECIPE = Recipe(batch_size=4, epochs=2, lr=0.05, momentum=0.9, weight_decay=0.01)
QUIET = Execution(device="cpu", progress=False)
CPU = torch.device("cpu")
WIDTHS = {"dense_unet": 8}
FINE_TUNED = [dict.fromkeys(LAYER_GROUPS, "fresh"), dict.fromkeys(LAYER_GROUPS, "finetune")]


def linked(stages, model="unet", schedule=None, recipe=RECIPE, **options):
    width = WIDTHS.get(model, 4)
    plain = [RunSpec(model=model, width=width, data=(area,), recipe=recipe) for area in stages]
    return chains.link(plain, schedule or chains.paper_schedule(len(plain)), **options)


def sets_of(spec):
    return [patches.load(one) for one in spec.data]


def earlier_of(spec, folder):
    files = {stage.run_id: folder / stage.run_id / "weights.safetensors" for stage in spec.chain[:-1]}
    return [chains.EarlierStage(stage.run_id, files[stage.run_id], sets_of(stage)) for stage in spec.chain[:-1]]


def trained(chain, folder):
    for spec in chain:
        if not (folder / spec.run_id / "metrics.json").exists():
            train(spec, sets_of(spec), folder / spec.run_id, QUIET, earlier_of(spec, folder))
    folders = [folder / spec.run_id for spec in chain]
    weights = [safetensors.torch.load_file(one / "weights.safetensors") for one in folders]
    return weights, [json.loads((one / "metrics.json").read_text()) for one in folders]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


def test_schedule_freezes_one_level_more_per_stage_up_to_four():
    first, *later = chains.paper_schedule(7)
    assert set(first.values()) == {"fresh"}
    for stage, row in enumerate(later, start=2):
        assert row["input"] == row["input norm"] == "fresh" and row["level 5"] == row["decoder"] == "finetune"
        frozen = [group for group in LAYER_GROUPS if row[group] == "frozen"]
        assert frozen == [f"level {level}" for level in range(1, min(stage - 1, 4) + 1)]


@pytest.mark.parametrize("model", models.NAMES)
def test_every_tensor_has_its_layer_group(model):
    network = models.build(model, 4, WIDTHS.get(model, 4))
    groups = chains.layer_groups(network)
    assert set(groups) == set(network.state_dict())
    empty = {"level 1"} if model == "trans_unet" else set()  # its first level is the input alone
    assert set(groups.values()) == set(LAYER_GROUPS) - empty
    first = {id(value) for value in models.input_conv(network).parameters()}
    names = {name for name, value in network.named_parameters() if id(value) in first}
    assert names == {name for name, group in groups.items() if group == "input"}
    norm = models.input_norm(network).state_dict(keep_vars=True).values()
    by_id = {id(value): groups[name] for name, value in network.state_dict(keep_vars=True).items()}
    assert {by_id[id(value)] for value in norm} == {"input norm"}
    assert list(groups.values()).count("input norm") == len(norm)


@pytest.mark.parametrize("model", models.NAMES)
def test_what_is_frozen_stays_and_what_is_not_moves(stages, folder, model):
    (_, before, after), metrics = trained(linked(stages, model), folder)
    groups = chains.layer_groups(models.build(model, 4, WIDTHS.get(model, 4)))
    moved = {name for name in groups if not torch.equal(before[name], after[name])}
    assert {groups[name] for name in moved} == {*chains.INPUT, "level 3", "level 4", "level 5", "decoder"}
    # Statistics and counters of batch normalisation are among what is frozen.
    assert moved >= {name for name, group in groups.items() if group in chains.INPUT}
    assert metrics[2]["trained_parameters"] < metrics[2]["parameters"]


def test_fresh_is_drawn_anew_at_every_stage_and_finetune_starts_from_the_parent(stages, folder):
    chain = linked(stages)
    (_, parent), _ = trained(chain[:2], folder)
    torch.manual_seed(chains.seed_of(chain[2]))
    network = models.build("unet", 4, 4)
    drawn = stored.copy_of(network)
    chains.start_from_parent(network, chain[2].stage, folder / chain[1].run_id / "weights.safetensors")
    for name, group in chains.layer_groups(network).items():
        assert torch.equal(network.state_dict()[name], (drawn if group in chains.INPUT else parent)[name]), name
    assert len({chains.seed_of(spec) for spec in chain}) == 3


def test_an_area_is_seen_through_the_input_convolution_of_its_own_stage(stages, folder):
    chain = linked(stages)
    _, metrics = trained(chain, folder)
    network, _ = stored.load(folder / chain[2].run_id / "weights.safetensors")
    before = stored.copy_of(network)
    chains.copy_layer_groups(network, folder / chain[0].run_id / "weights.safetensors", chains.INPUT)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(before[name], value)}
    assert changed == {name for name, group in chains.layer_groups(network).items() if group in chains.INPUT}
    counts, _ = scoring.patch_counts(network, load_split(sets_of(chain[0]), "test", CPU), RECIPE)
    assert scoring.total(counts) == Confusion.from_dict(metrics[2]["earlier_own_input"][chain[0].run_id]["area_0"])


def test_a_stage_starts_from_a_network_like_itself_alone(stages, tmp_path):
    for change, message in (({"bands": ("red", "green")}, "bands"), ({"size": 40}, "multiples of 16")):
        refuses(f"stage 2, 'area_1': .*{message}", linked, [stages[0], stages[1].model_copy(update=change)])
    stage = Stage(parent=linked(stages)[0], treatment=("fresh", *["finetune"] * 7))
    safetensors.torch.save_file(models.build("res_unet", 4, 4).state_dict(), tmp_path / "res.safetensors")
    network, says = models.build("unet", 4, 4), "not the weights a stage can start from"
    for name in ("none.safetensors", "res.safetensors"):
        refuses(says, chains.start_from_parent, network, stage, tmp_path / name)


def test_replay_trains_on_a_share_of_earlier_patches(stages, folder):
    chain = linked(stages, replay=0.2)
    _, metrics = trained(chain, folder)
    batches = chains.training_split(chain[2], sets_of(chain[2]), earlier_of(chain[2], folder), CPU)
    drawn = [str(area) for group in batches.groups for area in group.areas]
    counts = [len(patches.load(area).where("train")) for area in stages]
    expected = [max(1, round(0.2 * counts[0])), max(1, round(0.2 * counts[1])), counts[2]]
    assert [drawn.count(area.area) for area in stages] == expected
    # Areas 0 and 2 have patches of one size and share batches.
    assert metrics[2]["steps"] == 2 * (math.ceil((expected[0] + expected[2]) / 4) + math.ceil(expected[1] / 4))
    assert chain[2].run_id != linked(stages)[2].run_id


def test_consolidation_holds_what_mattered_and_never_diverges(stages, folder):
    moved = []
    for strength in (0.0, 1e2, 1e8):
        (before, after), _ = trained(linked(stages[:2], schedule=FINE_TUNED, ewc=strength), folder)
        names = [name for name in before if name.endswith("weight")]
        moved.append(float(sum((after[name] - before[name]).square().sum() for name in names)))
    assert moved[0] > moved[1] > moved[2] and all(map(math.isfinite, moved))


def times(chain):
    return [(runs_dir() / spec.run_id / "metrics.json").stat().st_mtime_ns for spec in chain]


def test_missing_parents_are_made_first_and_all_is_kept(stages):
    chain = linked(stages)
    assert json.loads(chain[2].canonical())["stage"]["parent"] == chain[1].run_id
    (last,) = runs.make_runs([chain[-1]], 1, QUIET)
    before = times(chain)
    assert all(runs.find(spec) for spec in chain) and before == sorted(before)
    runs.make_runs([chain[-1]], 1, QUIET)
    assert times(chain) == before
    assert last.metrics["parent_weights"] == runs.find(chain[1]).metrics["weights"]


def test_a_corrupt_parent_is_made_again_and_its_child_knows_it(stages):
    chain = linked(stages)
    runs.make_run(chain[1], QUIET)
    path = runs_dir() / chain[1].run_id / "weights.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-8] + bytes(8 * [7]))  # the header is still whole
    assert runs.find(chain[1]) is not None
    child = runs.make_run(chain[2], QUIET)
    assert path.read_bytes() == whole
    assert list((runs_dir() / "set-aside").iterdir())
    assert runs.find(chain[2]) is not None
    assert child.metrics["parent_weights"] == runs.find(chain[1]).metrics["weights"]


def test_a_child_of_other_weights_or_without_earlier_scores_is_not_used(stages):
    chain = linked(stages[:2])
    run = runs.make_run(chain[1], QUIET)
    parent, own = (runs_dir() / spec.run_id / "metrics.json" for spec in chain)
    metrics = json.loads(parent.read_text())
    parent.write_text(json.dumps({**metrics, "weights": "0" * 16}))
    assert runs.find(chain[1]) is None and "parent" in runs.damage(chain[1])
    parent.unlink()  # a chain's end alone, copied here, is whole
    assert runs.find(chain[1]) is not None
    own.write_text(json.dumps({**run.metrics, "earlier": {}}))
    assert runs.find(chain[1]) is None and "metrics.json" in runs.damage(chain[1])


def test_a_stage_is_no_more_portable_than_the_stage_it_starts_from(stages, monkeypatch):
    first, second = linked(stages[:2])
    monkeypatch.setattr(loop, "portability", lambda _: "no: computed on a GPU")
    runs.make_run(first, QUIET)
    monkeypatch.setattr(loop, "portability", lambda _: "yes")
    assert runs.make_run(second, QUIET).metrics["portable"] == "no: computed on a GPU"


def test_children_of_a_failed_stage_say_so_and_others_are_made(stages):
    good = linked(stages[:2])
    first = good[0].model_copy(update={"recipe": RECIPE.model_copy(update={"lr": 1e30})})
    bad = chains.link([first, good[1].model_copy(update={"stage": None})], chains.paper_schedule(2))
    refuses("the stage before it failed", runs.make_runs, [*bad, *good], 1, QUIET)
    assert all(runs.find(spec) for spec in good)
    assert runs.status(bad[-1]) == "missing"
