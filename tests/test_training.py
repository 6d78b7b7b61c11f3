import json
import os
import re
import signal

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from made import blobs, scene
from pydantic import ValidationError

from lmhld_nb import models, patches, training
from lmhld_nb.config import Interrupted, UserError, explain
from lmhld_nb.evaluation.counts import Confusion
from lmhld_nb.patches import batches as batches_module
from lmhld_nb.patches.batches import load_split, normalised
from lmhld_nb.patches.patch_sets import PatchSpec
from lmhld_nb.training import engine, hardware, loop, scoring
from lmhld_nb.training import weights as stored
from lmhld_nb.training.hardware import Execution
from lmhld_nb.training.losses import LOSSES, Loss
from lmhld_nb.training.specs import Recipe, RunSpec

RECIPE = Recipe(batch_size=4, epochs=4, lr=0.05, gamma=0.9, momentum=0.9)
AUGMENTED = RECIPE.model_copy(update={"augment": True})
ADAMW = Recipe(batch_size=4, epochs=4, lr=0.003, gamma=0.9, optimiser="adamw", weight_decay=0.01)


@pytest.fixture
def part(tmp_path, monkeypatch):
    monkeypatch.setenv("LMHLD_DATA", str(tmp_path / "data"))
    spec = PatchSpec(dataset="made", fingerprint="0" * 16, area="made", size=32)
    return patches.cut(spec, [scene(tmp_path, blobs(320, 320, 60))], progress=False)


def run_spec(part, **changes):
    fields = {"model": "unet", "width": 4, "data": (part.spec,), "recipe": RECIPE, "seed": 1}
    return RunSpec(**{**fields, **changes})


def train(spec, part, folder, **options):
    return training.train(spec, [part], folder, Execution(device="cpu", progress=False, **options))


def weights(folder):
    return safetensors.torch.load_file(folder / "weights.safetensors")


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_a_run_learns_and_leaves_what_the_design_promises(part, tmp_path):
    metrics = train(run_spec(part, recipe=RECIPE.model_copy(update={"epochs": 10})), part, tmp_path / "run")
    assert metrics["test"]["f1"] > 0.9  # these landslides differ by four times the noise
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "environment.json", "history.csv", "metrics.json", "spec.json", "test_patches.csv", "weights.safetensors",
    ]  # fmt: skip
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    assert list(history["epoch"]) == list(range(1, 11))
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0]
    assert history["lr"].iloc[3] == pytest.approx(0.05 * 0.9**3)
    test = metrics["test"]
    assert test["tp"] + test["fp"] + test["fn"] + test["tn"] == len(part.where("test")) * 32 * 32
    assert metrics["areas"]["made"]["tp"] == test["tp"]


def test_same_spec_same_bits_other_seed_other_bits(part, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(run_spec(part, seed=seed), part, tmp_path / name)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


@pytest.fixture
def signals_heard():
    """Tests started in the background of a shell inherit that Ctrl-C is ignored, and training respects that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("number", "stop_after"), [(signal.SIGTERM, 1), (signal.SIGINT, 23)])
@pytest.mark.parametrize("recipe", [RECIPE, AUGMENTED, ADAMW], ids=["sgd", "augmented", "adamw"])
def test_a_stopped_run_ends_with_the_same_weights(
    part, tmp_path, monkeypatch, signals_heard, number, stop_after, recipe
):
    spec = run_spec(part, recipe=recipe)
    train(spec, part, tmp_path / "whole")
    steps = 0
    original = engine.training_loss

    def counting(*arguments):
        nonlocal steps
        if torch.is_grad_enabled():
            steps += 1
            if steps == stop_after:
                os.kill(os.getpid(), number)
        return original(*arguments)

    monkeypatch.setattr(engine, "training_loss", counting)
    with pytest.raises(Interrupted, match="same command") as stopped:
        train(spec, part, tmp_path / "stopped")
    assert stopped.value.by == number
    assert not (tmp_path / "stopped" / "metrics.json").exists()
    train(spec, part, tmp_path / "stopped")
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "stopped"))
    first, second = (
        pd.read_csv(tmp_path / name / "history.csv").drop(columns="seconds") for name in ("whole", "stopped")
    )
    pd.testing.assert_frame_equal(first, second)
    assert not (tmp_path / "stopped" / "checkpoint.safetensors").exists()


def test_a_killed_run_goes_on_from_its_last_checkpoint(part, tmp_path, monkeypatch):
    train(run_spec(part), part, tmp_path / "whole")

    class Killed(BaseException):
        pass

    original = loop._validate

    def killed(job, *rest):
        if job.state.epoch == 2:
            raise Killed
        return original(job, *rest)

    monkeypatch.setattr(loop, "_validate", killed)
    with pytest.raises(Killed):
        train(run_spec(part), part, tmp_path / "killed", checkpoint_every=1)
    monkeypatch.undo()
    monkeypatch.setenv("LMHLD_DATA", str(tmp_path / "data"))
    epochs = []
    monkeypatch.setattr(loop, "_validate", lambda job, *rest: epochs.append(job.state.epoch) or original(job, *rest))
    train(run_spec(part), part, tmp_path / "killed", checkpoint_every=1)
    assert epochs == [2, 3]
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "killed"))


def test_a_damaged_checkpoint_only_costs_time(part, tmp_path):
    train(run_spec(part), part, tmp_path / "whole")
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "checkpoint.safetensors").write_bytes(b"\x10\0\0")
    train(run_spec(part), part, tmp_path / "again")
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "again"))


def test_a_diverging_loss_is_reported(part, tmp_path):
    spec = run_spec(part, recipe=RECIPE.model_copy(update={"lr": 1e30}))
    with pytest.raises(UserError, match=r"loss (nan|inf) in epoch 1; lower `lr`.* the weights it began with"):
        train(spec, part, tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.json").exists()
    torch.manual_seed(spec.seed)
    first = models.build("unet", 4, 4).state_dict()
    assert same(first, safetensors.torch.load_file(tmp_path / "run" / "last_good.safetensors"))


def test_the_weights_before_a_divergence_are_kept(part, tmp_path, monkeypatch):
    spec = run_spec(part, recipe=RECIPE.model_copy(update={"keep": "last"}))
    train(run_spec(part, recipe=spec.recipe.model_copy(update={"epochs": 2})), part, tmp_path / "two")
    original = engine.training_loss
    batches = len(load_split([part], "train", torch.device("cpu")).order(4, None))
    calls = 0

    def broken(*arguments):
        nonlocal calls
        calls += 1
        return original(*arguments) * (float("nan") if calls == 2 * batches + 2 else 1)

    monkeypatch.setattr(engine, "training_loss", broken)
    with pytest.raises(UserError, match=r"loss nan in epoch 3; .* holds the weights of epoch 2"):
        train(spec, part, tmp_path / "run")
    model, card = stored.load(tmp_path / "run" / "last_good.safetensors")
    assert same(model.state_dict(), weights(tmp_path / "two"))
    assert card["run_id"] == spec.run_id
    assert len(pd.read_csv(tmp_path / "run" / "history.csv")) == 2


def test_best_epoch_is_the_one_tested(part, tmp_path):
    best = train(run_spec(part), part, tmp_path / "best")
    last = train(run_spec(part, recipe=RECIPE.model_copy(update={"keep": "last"})), part, tmp_path / "last")
    history = pd.read_csv(tmp_path / "best" / "history.csv")
    assert best["best_epoch"] == history.loc[history["val_f1"].idxmax(), "epoch"]
    assert last["best_epoch"] == 4


def test_batches_are_normalised_with_training_statistics(part):
    batches = load_split([part], "train", torch.device("cpu"))
    order = batches.order(4, (1, 2))
    images = torch.cat([images for images, _ in batches.load(order)])
    assert images.mean(dim=(0, 2, 3)).abs().max() < 1e-4
    assert images.std(dim=(0, 2, 3)) == pytest.approx(1, abs=1e-3)
    numbers = np.concatenate([numbers for _, numbers in order])
    assert sorted(numbers) == list(range(len(batches)))
    assert [len(numbers) for _, numbers in order[:-1]] == [4] * (len(order) - 1)


def test_run_ids_follow_from_everything_that_decides(part):
    base = run_spec(part)
    others = [
        run_spec(part, seed=2),
        run_spec(part, width=8),
        run_spec(part, recipe=RECIPE.model_copy(update={"lr": 0.01})),
        run_spec(part, data=(part.spec.model_copy(update={"fingerprint": "1" * 16}),)),
    ]
    assert len({base.run_id, *(other.run_id for other in others)}) == 5
    assert RunSpec.model_validate_json(json.dumps(base.model_dump(mode="json"))).run_id == base.run_id


def _stop_at_once(spec, part, folder):
    original = engine.training_loss

    def stopping(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(engine, "training_loss", stopping)
        train(spec, part, folder)


def test_a_run_taken_up_elsewhere_keeps_its_precision(part, tmp_path, monkeypatch):
    monkeypatch.setattr(hardware, "native_bf16", lambda _: False)
    _stop_at_once(run_spec(part), part, tmp_path / "run")
    monkeypatch.setattr(hardware, "native_bf16", lambda _: True)
    assert train(run_spec(part), part, tmp_path / "run")["precision"] == "fp32"
    assert train(run_spec(part), part, tmp_path / "new")["precision"] == "bf16"


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("full"), RuntimeError("CUBLAS_STATUS_ALLOC_FAILED")])
def test_lack_of_memory_while_scoring_is_reported(part, tmp_path, monkeypatch, error):
    def full(*_):
        raise error

    monkeypatch.setattr(scoring, "patch_counts", full)
    with pytest.raises(UserError, match=r"run: out of memory beside the training steps; use fewer `--workers`"):
        train(run_spec(part), part, tmp_path / "run")


def test_patches_of_two_sizes_are_read_from_disk_as_from_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("LMHLD_DATA", str(tmp_path / "data"))
    scenes = [scene(tmp_path, blobs(320, 320, 60))]
    specs = [PatchSpec(dataset="made", fingerprint="0" * 16, area="made", size=size) for size in (32, 64)]
    parts = [patches.cut(spec, scenes, progress=False) for spec in specs]
    drawn = []
    for resident in (True, False):
        batches = load_split(parts, "train", torch.device("cpu"), resident=resident)
        drawn.append(list(batches.load(batches.order(3, (1, 2)))))
        assert {images.shape[-1] for images, _ in drawn[-1]} == {32, 64}
        assert sum(len(images) for images, _ in drawn[-1]) == len(batches)
    for one, two in zip(*drawn, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_every_stored_type_is_normalised_alike(part, dtype, resident):
    values = np.random.default_rng(0).integers(-9 if dtype == np.int16 else 0, 250, part.images.shape)
    values[0, 0, 0, 0] = min(60_000, np.iinfo(dtype).max) if dtype != np.float32 else 60_000
    part.__dict__["images"] = values.astype(dtype)  # in place of the memory map
    batches = load_split([part], "val", torch.device("cpu"), resident=resident)
    numbers = part.where("val")
    mean, std = (np.float32(v).reshape(1, -1, 1, 1) for v in (part.mean, part.std))
    expected = (values[numbers].astype(np.float32) - mean) / std
    got = torch.cat([images for images, _ in batches.load(batches.order(3, None))]).numpy()
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(normalised(part, numbers, "area").numpy(), expected)


def test_no_memory_means_reading_from_disk(part, monkeypatch):
    assert load_split([part], "train", torch.device("cpu")).groups[0].resident is not None
    monkeypatch.setattr(batches_module, "free_memory", lambda _: 1000)
    assert load_split([part], "train", torch.device("cpu")).groups[0].resident is None


def test_off_a_terminal_each_epoch_is_one_line(part, tmp_path, capfd):
    training.train(run_spec(part), [part], tmp_path / "run", Execution(device="cpu"))
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 4
    assert re.fullmatch(
        r"unet made 32 px: epoch 4/4, loss \d\.\d{3}, val F1 \d\.\d{3}, \d\d:\d\d spent, 00:00 left", lines[3]
    )


@pytest.mark.parametrize("name", models.NAMES)
def test_every_network_trains_and_comes_back(part, tmp_path, name):
    recipe = RECIPE.model_copy(update={"epochs": 1})
    options = {"classification_guided": True} if name == "unet_3p" else {}
    spec = run_spec(part, model=name, recipe=recipe, options=options)
    metrics = train(spec, part, tmp_path / "run")
    model, card = stored.load(tmp_path / "run" / "weights.safetensors")
    assert card["options"] == options
    assert card["areas"]["made"]["resolution_m"] == 3.0 and card["precision"] == metrics["precision"]
    counts, _ = scoring.patch_counts(model, load_split([part], "test", torch.device("cpu")), recipe)
    assert scoring.by_area(counts) == {"made": Confusion.from_dict(metrics["test"])}


@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize("name", ["unet", "trans_unet"])  # without dropout, and with
def test_a_shorter_training_is_the_beginning_of_a_longer_one(part, tmp_path, keep, name):
    recipe = RECIPE.model_copy(update={"keep": keep})
    long = train(run_spec(part, model=name, recipe=recipe, milestones=(1, 3)), part, tmp_path / "long")
    plain = train(run_spec(part, model=name, recipe=recipe), part, tmp_path / "plain")
    # Scoring on the way changes nothing of the training ...
    assert same(weights(tmp_path / "long"), weights(tmp_path / "plain"))
    assert plain["milestones"] == {} and sorted(long["milestones"]) == ["1", "3"]
    for epochs in (1, 3):  # ... and says what the shorter training says.
        shorter = run_spec(part, model=name, recipe=recipe.model_copy(update={"epochs": epochs}))
        short = train(shorter, part, tmp_path / str(epochs))
        found = long["milestones"][str(epochs)]
        assert repr(found) == repr({"best_epoch": short["best_epoch"], **short["test"]})  # NaN included


def test_milestones_survive_an_interruption(part, tmp_path, monkeypatch):
    spec = run_spec(part, milestones=(1, 2))
    whole = train(spec, part, tmp_path / "whole")
    original, epochs = loop._run_steps, []

    def stopping(*arguments):
        original(*arguments)
        epochs.append(1)
        if len(epochs) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(loop, "_run_steps", stopping)
    with pytest.raises(Interrupted):
        train(spec, part, tmp_path / "stopped")
    assert train(spec, part, tmp_path / "stopped")["milestones"] == whole["milestones"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_weights_and_checkpoints_follow_the_umask(part, tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        _stop_at_once(run_spec(part), part, tmp_path / "run")
        assert (tmp_path / "run" / "checkpoint.safetensors").stat().st_mode & 0o777 == mode
        train(run_spec(part), part, tmp_path / "run")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "run").iterdir()} == {mode}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"loss": "focal"}, "key 'loss' = 'focal': .*unknown loss; choose one of bce, dice_bce"),
        ({"optimiser": "adam"}, "key 'optimiser' = 'adam': .*unknown optimiser; choose one of sgd, adamw"),
        (
            {"optimiser": "adamw", "momentum": 0.9},
            "key 'momentum' = 0.9: .*adamw has no momentum; set it to 0",
        ),
    ],
)
def test_what_no_registry_has_is_refused(fields, message):
    with pytest.raises(ValidationError) as refused:
        Recipe(**fields)
    assert re.fullmatch(message, explain(refused.value))


def test_a_loss_of_ones_own_is_one_entry_and_its_version_renames_only_its_runs(part, tmp_path, monkeypatch):
    before = run_spec(part).run_id
    monkeypatch.setitem(LOSSES, "mse", Loss(lambda logits, masks: (logits.sigmoid() - masks).square().mean()))
    spec = run_spec(part, recipe=Recipe(batch_size=4, epochs=1, lr=0.05, loss="mse"))
    assert train(spec, part, tmp_path / "run")["test_loss"] < 1
    names = [spec.run_id]
    for version in (1, 2):
        monkeypatch.setitem(LOSSES, "mse", Loss(LOSSES["mse"].function, version))
        names.append(spec.run_id)
    assert names[0] == names[1] != names[2]
    assert run_spec(part).run_id == before


def test_a_network_whose_code_has_changed_is_not_loaded(part, tmp_path, monkeypatch):
    code = "from lmhld_nb.models.unet import UNet\nclass Own(UNet): pass\n"
    (tmp_path / "own_nets.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    spec = run_spec(part, model="own_nets:Own", recipe=RECIPE.model_copy(update={"epochs": 1}))
    train(spec, part, tmp_path / "run")
    assert stored.load(tmp_path / "run" / "weights.safetensors")[1]["source"] == spec.source
    (tmp_path / "own_nets.py").write_text(code + "# edited")
    with pytest.raises(UserError, match=r"weights\.safetensors: the code of 'own_nets:Own' has changed"):
        stored.load(tmp_path / "run" / "weights.safetensors")
