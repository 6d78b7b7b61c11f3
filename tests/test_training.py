"""One training: what it learns and leaves, and that nothing that interrupts it changes its weights."""

import json
import os
import pickle
import signal
import subprocess
import sys

import jupytext
import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from made import blobs, refuses, scene

from lmhld_nb import models, patches, training
from lmhld_nb.config import ROOT, Interrupted
from lmhld_nb.evaluation import Confusion
from lmhld_nb.patches import batches as batches_module
from lmhld_nb.patches.batches import load_split, normalised
from lmhld_nb.patches.patch_sets import PatchSpec
from lmhld_nb.training import engine, hardware, loop, scoring
from lmhld_nb.training import weights as stored
from lmhld_nb.training.hardware import Execution
from lmhld_nb.training.specs import Recipe, RunSpec

RECIPE = Recipe(batch_size=4, epochs=4, lr=0.05, gamma=0.9, momentum=0.9)
ONE_EPOCH, LAST = RECIPE.model_copy(update={"epochs": 1}), RECIPE.model_copy(update={"keep": "last"})
AUGMENTED = RECIPE.model_copy(update={"augment": True})
ADAMW = Recipe(batch_size=4, epochs=4, lr=0.003, gamma=0.9, optimiser="adamw", weight_decay=0.01)
CPU = torch.device("cpu")
SPEC = PatchSpec(dataset="made", fingerprint="0" * 16, area="made", size=32)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMHLD_DATA", str(folder))
        made = scene(folder, blobs(320, 320, 60))
        patches.cut(SPEC, [made], progress=False)
        yield made


@pytest.fixture
def part(data):
    return patches.load(SPEC)


def run_spec(**changes):
    return RunSpec(**{"model": "unet", "width": 4, "data": (SPEC,), "recipe": RECIPE, "seed": 1, **changes})


def train(spec, part, folder, **options):
    return training.train(spec, [part], folder, Execution(device="cpu", progress=False, **options))


def weights(folder):
    return safetensors.torch.load_file(folder / "weights.safetensors")


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    train(run_spec(), patches.load(SPEC), folder)
    return folder


def test_a_run_learns_and_leaves_what_the_design_promises(part, tmp_path):
    metrics = train(run_spec(recipe=RECIPE.model_copy(update={"epochs": 10})), part, tmp_path / "run")
    assert metrics["test"]["f1"] > 0.9  # these landslides differ by four times the noise
    files = "environment.json history.csv metrics.json spec.json test_patches.csv weights.safetensors"
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == files.split()
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    assert list(history["epoch"]) == list(range(1, 11))
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0]
    assert history["lr"].iloc[3] == pytest.approx(0.05 * 0.9**3)
    test = metrics["test"]
    assert test["tp"] + test["fp"] + test["fn"] + test["tn"] == len(part.where("test")) * 32 * 32
    assert metrics["areas"]["made"]["tp"] == test["tp"]


def test_same_spec_same_bits_other_seed_other_bits_and_the_best_epoch_is_tested(part, tmp_path, whole):
    for name, seed in (("same", 1), ("other", 2)):
        train(run_spec(seed=seed), part, tmp_path / name)
        assert same(weights(tmp_path / name), weights(whole)) == (name == "same")
    best = json.loads((whole / "metrics.json").read_text())["best_epoch"]
    assert best == 1 + pd.read_csv(whole / "history.csv")["val_f1"].idxmax()
    assert train(run_spec(recipe=LAST), part, tmp_path)["best_epoch"] == 4


@pytest.fixture
def signals_heard():
    """Tests started in the background of a shell inherit that Ctrl-C is ignored, and training respects that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def train_until(step, number, spec, part, folder):
    """Send this process a signal in the training step counted ``step`` from 1 on."""
    steps, original = 0, engine.training_loss

    def counting(*arguments):
        nonlocal steps
        steps += torch.is_grad_enabled()
        if steps == step:
            os.kill(os.getpid(), number)
        return original(*arguments)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted, match="same command") as stopped:
        patch.setattr(engine, "training_loss", counting)
        train(spec, part, folder)
    assert stopped.value.by == number and not (folder / "metrics.json").exists()


@pytest.mark.parametrize(("number", "step", "recipe"), [
    (signal.SIGTERM, 1, ADAMW), (signal.SIGINT, 23, RECIPE), (signal.SIGINT, 9, AUGMENTED),
])  # fmt: skip
def test_a_stopped_run_ends_with_the_same_weights(part, tmp_path, signals_heard, number, step, recipe):
    spec = run_spec(recipe=recipe)
    train(spec, part, tmp_path / "whole")
    train_until(step, number, spec, part, tmp_path / "stopped")
    train(spec, part, tmp_path / "stopped")
    folders = (tmp_path / "whole", tmp_path / "stopped")
    assert same(*map(weights, folders))
    first, second = (pd.read_csv(folder / "history.csv").drop(columns="seconds") for folder in folders)
    pd.testing.assert_frame_equal(first, second)
    assert not (tmp_path / "stopped" / "checkpoint.safetensors").exists()


def test_a_killed_run_goes_on_from_its_last_checkpoint(part, tmp_path, monkeypatch, whole):
    epochs, validate = [], loop._Training.validate

    def killed(run, *rest):
        epochs.append(run.state.epoch)
        if epochs == [0, 1, 2]:
            raise KeyboardInterrupt
        return validate(run, *rest)

    monkeypatch.setattr(loop._Training, "validate", killed)
    with pytest.raises(KeyboardInterrupt):
        train(run_spec(), part, tmp_path, checkpoint_every=1)
    train(run_spec(), part, tmp_path, checkpoint_every=1)
    assert epochs == [0, 1, 2, 2, 3]
    assert same(weights(whole), weights(tmp_path))


def test_a_diverging_loss_is_reported(part, tmp_path):
    spec = run_spec(recipe=RECIPE.model_copy(update={"lr": 1e30}))
    refuses(r"loss (nan|inf) in epoch 1; lower `lr` in the profile$", train, spec, part, tmp_path)
    assert not (tmp_path / "metrics.json").exists()


def test_run_ids_follow_from_everything_that_decides():
    changes = [{"seed": 2}, {"width": 8}, {"recipe": RECIPE.model_copy(update={"lr": 0.01})}]
    changes += [{}, {"data": (SPEC.model_copy(update={"fingerprint": "1" * 16}),)}]
    specs = [run_spec(**change) for change in changes]
    assert len({spec.run_id for spec in specs}) == 5
    assert RunSpec.model_validate_json(specs[0].model_dump_json()).run_id == specs[0].run_id


def test_a_run_taken_up_elsewhere_keeps_its_precision_and_is_not_called_portable(part, tmp_path, monkeypatch):
    on_gpu, spec = "no: computed on a GPU", run_spec(recipe=ONE_EPOCH)
    monkeypatch.setattr(hardware, "native_bf16", lambda _: False)
    monkeypatch.setattr(loop, "portability", lambda _: on_gpu)
    train_until(1, signal.SIGTERM, spec, part, tmp_path / "run")
    monkeypatch.setattr(hardware, "native_bf16", lambda _: True)
    monkeypatch.setattr(loop, "portability", lambda _: "yes")
    for name, expected in (("run", ("fp32", on_gpu)), ("new", ("bf16", "yes"))):
        metrics = train(spec, part, tmp_path / name)
        assert (metrics["precision"], metrics["portable"]) == expected
        assert json.loads((tmp_path / name / "environment.json").read_text())["portable"] == expected[1]


def test_patches_are_read_from_disk_as_from_memory_and_where_there_is_none(data, part, monkeypatch):
    parts = [part, patches.cut(SPEC.model_copy(update={"size": 64}), [data], progress=False)]
    drawn = []
    for resident in (True, False):
        monkeypatch.setattr(batches_module, "free_memory", lambda _, free=resident * 1e12: free)
        batches = load_split(parts, "train", CPU)
        assert all((group.resident is not None) == resident for group in batches.groups)
        drawn.append(list(batches.load(batches.order(3, (1, 2)))))
        assert {images.shape[-1] for images, _ in drawn[-1]} == {32, 64}
        assert sum(len(images) for images, _ in drawn[-1]) == len(batches)
    for one, two in zip(*drawn, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_every_stored_type_is_normalised_alike(part, dtype, resident, monkeypatch):
    monkeypatch.setattr(batches_module, "free_memory", lambda _: resident * 1e12)
    values = np.random.default_rng(0).integers(-9 if dtype == np.int16 else 0, 250, part.images.shape)
    values[0, 0, 0, 0] = min(60_000, np.iinfo(dtype).max) if dtype != np.float32 else 60_000
    part.__dict__["images"] = values.astype(dtype)  # in place of the memory map
    batches = load_split([part], "val", CPU)
    numbers = part.where("val")
    mean, std = (np.float32(v).reshape(1, -1, 1, 1) for v in (part.mean, part.std))
    expected = (values[numbers].astype(np.float32) - mean) / std
    images = torch.cat([images for images, _ in batches.load(batches.order(3, None))]).numpy()
    np.testing.assert_array_equal(images, expected)
    np.testing.assert_array_equal(normalised(part, numbers, "area").numpy(), expected)


@pytest.mark.parametrize("name", models.NAMES)
def test_every_network_trains_and_comes_back(part, tmp_path, name):
    metrics = train(run_spec(model=name, recipe=ONE_EPOCH), part, tmp_path)
    model, card = stored.load(tmp_path / "weights.safetensors")
    assert card["areas"]["made"]["resolution_m"] == 3.0 and card["precision"] == metrics["precision"]
    counts, _ = scoring.patch_counts(model, load_split([part], "test", CPU), ONE_EPOCH)
    assert scoring.by_area(counts) == {"made": Confusion.from_dict(metrics["test"])}


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_weights_and_checkpoints_follow_the_umask(part, tmp_path, umask, mode):
    spec, before = run_spec(recipe=ONE_EPOCH), os.umask(umask)
    try:
        train_until(1, signal.SIGTERM, spec, part, tmp_path)
        assert (tmp_path / "checkpoint.safetensors").stat().st_mode & 0o777 == mode
        train(spec, part, tmp_path)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {mode}


def test_a_network_whose_code_has_changed_is_not_loaded(part, tmp_path, monkeypatch):
    code, path = "from lmhld_nb.models.unet import UNet\nclass Own(UNet): pass\n", tmp_path / "own_nets.py"
    path.write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    spec = run_spec(model="own_nets:Own", recipe=ONE_EPOCH)
    train(spec, part, tmp_path / "run")
    assert stored.load(tmp_path / "run" / "weights.safetensors")[1]["source"] == spec.source
    path.write_text(code + "# edited")
    says = "safetensors: the code of 'own_nets:Own' has changed"
    refuses(says, stored.load, tmp_path / "run" / "weights.safetensors")


def test_the_loop_shown_in_chapter_05_trains_as_the_engine_does(part, tmp_path):
    """The chapter's own cell, bit for bit."""
    cells = jupytext.read(ROOT / "notebooks" / "05_experiment_2_single.py").cells
    (shown,) = [cell.source for cell in cells if cell.source.count("def train_plainly")]
    assert len(shown.splitlines()) <= 30
    chapter = {}
    exec(shown, chapter)
    spec = run_spec(recipe=Recipe(batch_size=8, epochs=3, lr=0.05, gamma=0.9, momentum=0.9, keep="last"))
    train(spec, part, tmp_path)
    chosen = part.where("train")
    torch.manual_seed(spec.seed)
    network = models.build("unet", len(spec.bands), spec.width).to(memory_format=torch.channels_last)
    masks = torch.from_numpy(part.masks[chosen][:, None]).float()
    chapter["train_plainly"](network, normalised(part, chosen, "area"), masks, spec.recipe, spec.seed)
    for name, value in weights(tmp_path).items():
        assert torch.equal(value, network.state_dict()[name]), name


def test_batches_left_half_drawn_in_a_cycle_of_references_do_not_hold_up_the_process(part):
    code = "import gc, pickle, sys, torch; from lmhld_nb.patches.batches import load_split; gc.disable()\n"
    code += "batches = load_split([pickle.loads(bytes.fromhex(sys.argv[1]))], 'train', torch.device('cpu'))\n"
    code += (
        "cycle = [batches.load(batches.order(1, None))]; next(cycle[0]); cycle.append(cycle); del cycle; gc.collect()"
    )
    subprocess.run([sys.executable, "-c", code, pickle.dumps(part).hex()], check=True, timeout=60)
