"""Networks for one's own event: unlabelled ground has no part in them, and their score is of ground held back."""

import json
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import safetensors.torch
import torch
from made import blobs, image_of, refuses, scene, write_polygons, write_tif
from mapped import draw, write_weights

import lmhld_nb
from lmhld_nb import mapping
from lmhld_nb.evaluation import Confusion
from lmhld_nb.mapping import candidates, heldback, learning
from lmhld_nb.mapping.heldback import Judged
from lmhld_nb.mapping.labelled import LabelFile
from lmhld_nb.scenes.scene import BANDS, Scene
from lmhld_nb.training import weights as networks
from lmhld_nb.training.losses import dice_bce, labelled_dice_bce

SHAPE = (160, 192)
DISCS = blobs(*SHAPE, 14, seed=1, radius=(4, 9))
KNOWN = np.arange(SHAPE[1]) < 128  # columns
Learnt = tuple[Path, dict[str, Any]]  # a folder and a card
CODES = np.where(KNOWN, DISCS, 255).astype(np.uint8)


def learn(folder: Path, labels: np.ndarray | LabelFile = CODES, out: str = "net", **options: Any) -> dict[str, Any]:
    event = options.pop("event", None) or scene(folder, DISCS, labels="none")
    chosen = {"patch": 32, "steps": 6, "workers": 1, "device": "cpu"}
    chosen |= {name: options.pop(name) for name in [*options] if name in ("patch", "steps", "freeze", "seed")}
    file = labels if isinstance(labels, LabelFile) else LabelFile(write_tif(folder / "codes.tif", labels))
    return mapping.learn(event, file, folder / out, settings=mapping.LearnSettings(**chosen), progress=False, **options)


def tensors(path: Path) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in safetensors.torch.load_file(path).items()}


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Learnt:
    folder = tmp_path_factory.mktemp("learnt")
    return folder, learn(folder)


def test_the_loss_of_labels_is_that_of_masks_where_all_is_known_and_blind_elsewhere():
    torch.manual_seed(0)
    logits, masks = torch.randn(3, 1, 16, 16), (torch.rand(3, 1, 16, 16) > 0.7).float()
    assert torch.allclose(labelled_dice_bce(logits, masks), dice_bce(logits, masks))
    known = torch.rand_like(masks) > 0.4
    values = []
    for stand_in in (0.0, 9.0, -9.0):
        leaf = torch.where(known, logits, stand_in).requires_grad_()
        loss = labelled_dice_bce(leaf, torch.where(known, masks, 255.0))
        loss.backward()
        values.append((loss.item(), leaf.grad))
    assert all(loss == values[0][0] and torch.equal(gradient, values[0][1]) for loss, gradient in values)
    assert (values[0][1][~known] == 0).all() and (values[0][1][known] != 0).all()


def test_every_block_is_held_back_once_and_no_label_beside_it_is_learnt_from():
    blocks, of_block = heldback.deal(CODES, 32)
    folds = of_block[blocks]
    assert folds.max() == 2 and ((folds >= 0) == (CODES != 255)).all()
    for fold in range(3):
        held = folds == fold
        left = heldback.training_labels(CODES, folds, fold, 32)
        assert (CODES[held] == 1).any() and (left == 1).any()
        assert (left[held] == 255).all() and ((left == 255) | (left == CODES)).all()
        row, col = np.argwhere(held)[0]
        assert (left[max(0, row - 4) : row + 5, max(0, col - 4) : col + 5] == 255).all()


@pytest.mark.parametrize("count", [1, 2])
def test_few_landslides_give_fewer_folds_or_none(count):
    codes = np.zeros(SHAPE, np.uint8)
    for number in range(count):
        codes[90:100, 90 + 70 * number : 100 + 70 * number] = 1
    assert heldback.deal(codes, 64)[1].max() + 1 == (0 if count == 1 else 2)


def test_a_score_uses_thresholds_of_other_folds_and_labelled_pixels_only():
    dealt = heldback.deal(CODES, 32)
    folds = dealt[1][dealt[0]]
    random = np.random.default_rng(0)
    # Each fold's network has another scale, so that no threshold of others fits perfectly.
    probability = np.clip(0.3 * (CODES == 1) + 0.2 * folds + random.uniform(0, 0.3, SHAPE), 0, 1)
    judged = heldback.judge(probability, CODES, *dealt)
    total = Confusion(0, 0, 0, 0)
    for fold in range(3):
        held, others = folds == fold, (folds != fold) & (CODES != 255)
        cuts = [k / heldback.BINS for k in range(1, heldback.BINS)]
        f1 = [Confusion.of(probability >= cut, CODES == 1, others).f1 for cut in cuts]
        total += Confusion.of(probability >= cuts[int(np.argmax(f1))], CODES == 1, held)
    assert judged.counts.sum(axis=0).tolist() == [total.tp, total.fp, total.fn]
    assert judged.f1 == pytest.approx(total.f1) == judged.scores()["f1"]
    other = heldback.judge(np.where(CODES == 255, random.random(SHAPE), probability), CODES, *dealt)
    assert (other.counts == judged.counts).all() and other.threshold == judged.threshold


def test_temperature_takes_back_overconfidence():
    random = np.random.default_rng(0)
    logits = random.normal(0, 1.2, (400, 400))
    truth = (random.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.uint8)
    judged = heldback.judge(1 / (1 + np.exp(-2.5 * logits)), truth, *heldback.deal(truth, 32))
    assert judged.temperature == pytest.approx(2.5, rel=0.1)
    plain = heldback.judge(1 / (1 + np.exp(-logits)), truth, *heldback.deal(truth, 32))
    assert judged.threshold == pytest.approx(plain.threshold, abs=0.03)


def test_networks_of_a_file_vote_and_a_damaged_card_is_refused(tmp_path):
    one, other = (networks.load(write_weights(tmp_path / "one.safetensors")) for _ in range(2))
    with torch.no_grad():
        for value in other[0].parameters():
            value.mul_(0.5)
    members = [(net, {**networks.members_of(net, card)[0][1]}) for net, card in (one, other)]
    members[1][1]["weight"] = 3
    card = {"bands": BANDS, "temperature": 2.0, "threshold": 0.3}
    networks.save_members(tmp_path / "two.safetensors", members, card)
    model, stored = networks.load(tmp_path / "two.safetensors")
    images = torch.randn(2, 4, 32, 32)
    with torch.no_grad():
        mean = 0.25 * torch.sigmoid(one[0](images)) + 0.75 * torch.sigmoid(other[0](images))
        assert torch.allclose(model(images), torch.logit(mean) / 2, atol=1e-5)
    assert stored["threshold"] == 0.3 and len(networks.members_of(model, stored)) == 2
    for wrong in (
        {"threshold": 1.5}, {"temperature": 0}, {"bands": BANDS[:3]},
    ):  # fmt: skip
        networks.save_members(tmp_path / "bad.safetensors", members, card | wrong)
        refuses("bad.safetensors: not a network of this book", networks.load, tmp_path / "bad.safetensors")
    networks.save_members(tmp_path / "bad.safetensors", members[:1], card)
    stored = safetensors.torch.load_file(tmp_path / "two.safetensors")
    lone = json.dumps(networks.read(tmp_path / "bad.safetensors")[1])
    safetensors.torch.save_file(stored, tmp_path / "bad.safetensors", {"card": lone})
    refuses("holds other networks than its card describes", networks.load, tmp_path / "bad.safetensors")


def test_a_folder_holds_a_network_to_map_with_and_what_it_is_worth(learnt):
    folder, card = learnt
    assert sorted(path.name for path in (folder / "net").iterdir()) == sorted(learning.FILES)
    assert json.loads((folder / "net/card.json").read_text("utf-8"))["run_id"] == card["run_id"]
    names = [row["candidate"] for row in card["candidates"]]
    assert names[::2] == ["event", "all landslide"] and "chosen on the same ground" in names[1]
    held, share = card["held_back"], DISCS[:, KNOWN].mean()
    assert card["kept"] == "event" and card["blocks"] == 20 and held["f1"] == card["candidates"][0]["f1"]
    assert card["candidates"][2]["f1"] == pytest.approx(2 * share / (1 + share))
    # Six steps are few: brightness tells these landslides apart better, and that must be said.
    assert any("better without a network: brightness from" in line for line in card["verdict"])
    pixels = image_of(DISCS)[0][:, KNOWN]
    assert card["percentiles"]["blue"] == pytest.approx(np.percentile(pixels, (1, 5, 50, 95, 99)))
    assert card["areas"]["a"]["resolution_m"] == 3 and card["labelled_px"] == KNOWN.sum() * SHAPE[0]
    model, _ = networks.load(folder / "net/network.safetensors")
    assert len(networks.members_of(model, card | {"members": [1, 2, 3]})) == 3
    event, file = Scene("a", "a", folder / "a.tif", BANDS, nodata=0), folder / "net/network.safetensors"
    report = draw(event, file, folder / "map")
    assert report["threshold"] == card["threshold"] and report["window"] == 32
    assert draw(event, file, folder / "map", threshold=0.9)["threshold"] == 0.9


def test_next_to_label_are_squares_of_unlabelled_ground_the_least_certain_first(learnt):
    squares = gpd.read_file(learnt[0] / "net/label_next.gpkg")
    assert squares["rank"].tolist() == list(range(1, len(squares) + 1)) and len(squares) == 10
    assert squares["uncertainty"].is_monotonic_decreasing and squares.crs == "EPSG:32654"
    assert squares.area.to_numpy() == pytest.approx(9 * 32**2)
    assert squares.union_all().area == pytest.approx(9 * 32**2 * 10)  # none twice
    assert squares.total_bounds[0] >= 500_000 + 3 * 128


def test_whatever_lies_unlabelled_the_same_bits_come_out(tmp_path, learnt):
    searched = write_polygons(tmp_path / "searched.gpkg", np.broadcast_to(KNOWN, SHAPE))
    for number, stand_in in enumerate((False, True, blobs(*SHAPE, 20, seed=9))):
        slides = np.where(KNOWN, DISCS, stand_in)
        file = write_polygons(tmp_path / f"{number}.gpkg", slides)
        card = learn(tmp_path, LabelFile(file, searched), str(number))
        assert tensors(tmp_path / f"{number}/network.safetensors") == tensors(learnt[0] / "net/network.safetensors")
        same = ("held_back", "candidates", "percentiles", "threshold", "temperature", "areas")
        assert {key: card[key] for key in same} == {key: learnt[1][key] for key in same}


def test_an_interrupted_learning_goes_on_where_it_stopped(tmp_path, monkeypatch, learnt):
    train, folds = candidates._train, []

    def stopped(task: Any, device: Any) -> None:
        folds.append(task.fold)
        if len(folds) == 2:
            raise KeyboardInterrupt
        train(task, device)

    monkeypatch.setattr(candidates, "_train", stopped)
    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path)
    assert [path.name for path in (tmp_path / "net").iterdir()] == [".learn"]
    learn(tmp_path)
    assert folds == [0, 1, 1, 2]
    assert tensors(tmp_path / "net/network.safetensors") == tensors(learnt[0] / "net/network.safetensors")
    learn(tmp_path, seed=1)  # its own earlier result may be replaced
    assert tensors(tmp_path / "net/network.safetensors") != tensors(learnt[0] / "net/network.safetensors")


def test_a_start_network_is_compared_with_trained_on_and_averaged(tmp_path, monkeypatch, weights):
    other = scene(tmp_path / "other", blobs(96, 96, 8, seed=5), labels="mask", seed=3)
    assert other.mask is not None
    tuned: dict[str, bytes] = {}
    work = candidates._work

    def noted(task: Any) -> Any:
        result = work(task)
        if task.candidate == "tuned":
            tuned.update(tensors(task.weights))
        return result

    monkeypatch.setattr(candidates, "_work", noted)
    card = learn(tmp_path, start=weights, freeze=2, also=[(other, LabelFile(other.mask))])
    rows = {row["candidate"]: row for row in card["candidates"]}
    assert list(rows)[:5] == ["start", "event", "tuned", "joint", "mean"]
    assert card["held_back"]["f1"] == rows[card["kept"]]["f1"] and card["start"] == weights.name
    before = tensors(weights)
    same = {name for name, value in tuned.items() if before[name[2:]] == value}
    levels = {name for name in tuned if name.startswith(("0/encoder.0", "0/encoder.1"))}
    assert levels and levels <= same and any(name.startswith("0/encoder.2") for name in set(tuned) - same)
    model, stored = networks.load(tmp_path / "net/network.safetensors")
    assert len(networks.members_of(model, stored)) == {"start": 1, "mean": 4}.get(card["kept"], 3)


def judged(tp: list[int], fn: list[int]) -> Judged:
    return Judged(np.stack([tp, np.zeros_like(tp), fn], axis=1), 0.5, 1.0)


def test_the_best_is_kept_only_where_held_back_ground_can_tell():
    start, better = judged([10] * 12, [10] * 12), judged([15] * 12, [5] * 12)
    assert learning.choose({"start": start, "event": start, "mean": better})[0] == "mean"
    # Blocks that hold nothing are no evidence: five say too little, whatever lies around them.
    few = [5] * 5 + [0] * 20
    kept, notes = learning.choose({"start": judged(few, few), "mean": judged([2 * n for n in few], [0] * 25)})
    assert kept == "start" and "too little is held back to tell" in notes[0] and "5 blocks" in notes[0]
    # One block with much landslide decides for the mean, all others against it.
    mixed = judged([9] * 11 + [200], [11] * 11 + [0])
    assert mixed.f1 > start.f1
    kept, notes = learning.choose({"start": start, "tuned": mixed})
    assert kept == "start" and "from -" in notes[0]
    assert learning.choose({"event": start, "joint": mixed})[0] == "event"
    assert learning.choose({"event": better, "joint": start}) == ("event", ["kept: event"])


def test_one_landslide_alone_gives_a_network_without_a_score(tmp_path):
    codes = np.full(SHAPE, 255, np.uint8)
    codes[20:80, 20:80], codes[40:55, 40:55] = 0, 1
    card = learn(tmp_path, codes)
    assert card["held_back"] is None and card["threshold"] == 0.5 and card["candidates"] == []
    assert "no score can be given" in card["verdict"][0]
    assert len(networks.load(tmp_path / "net/network.safetensors")[0].members) == 1


@pytest.mark.parametrize(("bands", "dtype"), [(1, np.uint8), (3, np.uint16)])
def test_one_band_or_16_bits_that_are_8_will_do(tmp_path, bands, dtype):
    values = (image_of(DISCS, bands=bands) // 16).astype(dtype)
    path = write_tif(tmp_path / "event.tif", values)
    event = mapping.scene_of_file(path, ("grey", "b", "c")[:bands])
    card = learn(tmp_path, event=event, steps=2)
    assert card["bands"] == ("grey", "b", "c")[:bands] and np.isfinite(card["held_back"]["f1"])


def test_what_cannot_be_learnt_from_or_written_to_is_refused(tmp_path, learnt):
    start = learnt[0] / "net/network.safetensors"
    foreign = write_weights(tmp_path / "infrared.safetensors", ("nir", "swir"))
    refuses("has no band 'swir'", learn, tmp_path, start=foreign)
    refuses("lies in the folder of the results", learn, learnt[0], start=start)
    refuses("has learnt from a.tif, so nothing could be held back", learn, tmp_path, start=start)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.doc").write_text("years")
    refuses(r"holds other files \(thesis.doc\)", learn, tmp_path, out="full")
    refuses("patches of 40 px: must be a multiple of 16", learn, tmp_path, patch=40)
    refuses("--freeze 5", learn, tmp_path, freeze=5)
    refuses("--freeze: is of a start network", learn, tmp_path, freeze=1)


def test_the_command_learns_reviews_and_maps(tmp_path, call, weights):
    event = scene(tmp_path, DISCS, labels="none")
    slides = write_polygons(tmp_path / "slides.gpkg", DISCS & KNOWN)
    names, quick = ("--bands", ",".join(BANDS), "--nodata", 0), ("--steps", 2, "--workers", 1, "--quiet")
    code, out, err = call("learn", event.image, slides, "--out", tmp_path / "net", *names, *quick)
    assert (code, err) == (0, "") and "landslides, " in out and "kept: event" in out and "held-back F1" in out
    network = tmp_path / "net/network.safetensors"
    code, out, err = call("map", event.image, "--weights", network, "--out", tmp_path / "map", *names, "--quiet")
    assert (code, err) == (0, "")
    table = gpd.read_file(slides)
    table["review"] = ["right", "wrong", None] + ["right"] * (len(table) - 3)
    table.to_file(tmp_path / "seen.gpkg")
    seen = (event.image, tmp_path / "seen.gpkg")
    more = ("--review", "--from", weights, "--also", *seen)
    code, out, err = call("learn", *seen, "--out", tmp_path / "next", *names, *quick, *more)
    assert (code, err) == (0, "") and " joint\n" in out
    for match, wrong in (("--review has classes of its own", ("--review", "--landslide", "x")),
                         ("belong together", ("--class-column", "x"))):  # fmt: skip
        code, _, err = call("learn", event.image, slides, "--out", tmp_path / "no", *names, *wrong)
        assert code == 2 and match in err and err.count("\n") == 1
    assert lmhld_nb.learn is mapping.learn
