"""Networks for one's own event: unlabelled ground has no part in them, and their score is of ground held back."""

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

SHAPE = (136, 144)  # not a multiple of the patches
DISCS = blobs(*SHAPE, 12, seed=1, radius=(4, 9))
KNOWN = np.arange(SHAPE[1]) < 96  # columns
CODES = np.where(KNOWN, DISCS, 255).astype(np.uint8)


def learn(folder: Path, labels: np.ndarray | LabelFile = CODES, out: str = "net", **options: Any) -> dict[str, Any]:
    event = options.pop("event", None) or scene(folder, DISCS, labels="none")
    chosen = {"patch": 32, "steps": 2, "workers": 1, "device": "cpu"}
    chosen |= {name: options.pop(name) for name in [*options] if name in ("patch", "steps", "freeze", "seed")}
    file = labels if isinstance(labels, LabelFile) else LabelFile(write_tif(folder / "codes.tif", labels))
    return mapping.learn(event, file, folder / out, settings=mapping.LearnSettings(**chosen), progress=False, **options)


def tensors(path: Path) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in safetensors.torch.load_file(path).items()}


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:  # a folder and a card
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
    two = np.zeros(SHAPE, np.uint8)
    two[20:30, 20:30] = two[90:100, 90:100] = 1
    assert heldback.deal(two, 64)[1].max() == 1, "two landslides, two folds"


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
    networks.save_members(tmp_path / "bad.safetensors", members, card | {"threshold": 1.5})
    refuses("bad.safetensors: not a network of this book", networks.load, tmp_path / "bad.safetensors")


def test_a_folder_holds_a_network_to_map_with_and_what_it_is_worth(learnt):
    folder, card = learnt
    assert sorted(path.name for path in (folder / "net").iterdir()) == sorted(learning.FILES)
    names = [row["candidate"] for row in card["candidates"]]
    assert names[::2] == ["event", "all landslide"] and "chosen on the same ground" in names[1]
    share = DISCS[:, KNOWN].mean()
    assert card["kept"] == "event" and card["held_back"]["f1"] == card["candidates"][0]["f1"]
    assert card["candidates"][2]["f1"] == pytest.approx(2 * share / (1 + share))
    # Two steps are few: brightness tells these landslides apart better, and that must be said.
    assert any("better without a network: brightness from" in line for line in card["verdict"])
    pixels = image_of(DISCS)[0][:, KNOWN]
    assert card["percentiles"]["blue"] == pytest.approx(np.percentile(pixels, (1, 5, 50, 95, 99)))
    event, file = Scene("a", "a", folder / "a.tif", BANDS, nodata=0), folder / "net/network.safetensors"
    report = draw(event, file, folder / "map")
    assert report["threshold"] == card["threshold"] and report["window"] == 32
    squares = gpd.read_file(folder / "net/label_next.gpkg")  # unlabelled ground, the least certain first
    assert squares["uncertainty"].is_monotonic_decreasing and squares.crs == "EPSG:32654"
    assert squares["uncertainty"].min() > 0.5, "after two steps nothing is certain"
    assert squares.union_all().area == pytest.approx(9 * 32**2 * len(squares)) and len(squares) == 4  # none twice
    assert squares.total_bounds[0] >= 500_000 + 3 * 96


def test_whatever_lies_unlabelled_the_same_bits_come_out(tmp_path, learnt):
    searched = write_polygons(tmp_path / "searched.gpkg", np.broadcast_to(KNOWN, SHAPE))
    for number, stand_in in enumerate((True, blobs(*SHAPE, 20, seed=9))):
        file = write_polygons(tmp_path / f"{number}.gpkg", np.where(KNOWN, DISCS, stand_in))
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
    for name in (".DS_Store", "label_next.gpkg-shm"):  # left by macOS and QGIS
        (tmp_path / "net" / name).touch()
    learn(tmp_path)
    assert folds == [0, 1, 1, 2]
    assert tensors(tmp_path / "net/network.safetensors") == tensors(learnt[0] / "net/network.safetensors")


def test_a_start_network_is_compared_with_trained_on_and_averaged(tmp_path, monkeypatch, weights):
    other = scene(tmp_path / "other", blobs(96, 96, 8, seed=5), labels="mask", seed=3)
    monkeypatch.setattr(learning, "choose", lambda _: ("tuned", []))
    card = learn(tmp_path, start=weights, freeze=2, also=[(other, LabelFile(other.mask))])
    rows = {row["candidate"]: row for row in card["candidates"]}
    assert list(rows)[:5] == ["start", "event", "tuned", "joint", "mean"]
    assert card["held_back"]["f1"] == rows["tuned"]["f1"] and card["start"] == weights.name
    stored, before = tensors(tmp_path / "net/network.safetensors"), tensors(weights)
    assert stored.keys() == {f"{fold}/{name}" for fold in range(3) for name in before}
    same = {name for name, value in stored.items() if before[name[2:]] == value}
    frozen = {name for name in stored if name[2:].startswith(("encoder.0", "encoder.1"))}
    assert frozen and frozen <= same and any(name[2:].startswith("encoder.2") for name in stored.keys() - same)


def judged(tp: list[int], fn: list[int]) -> Judged:
    return Judged(np.stack([tp, np.zeros_like(tp), fn], axis=1), 0.5, 1.0)


def test_the_best_is_kept_only_where_held_back_ground_can_tell():
    start, better = judged([10] * 12, [10] * 12), judged([15] * 12, [5] * 12)
    assert learning.choose({"start": better, "event": start, "mean": start})[0] == "start"
    # Blocks that hold nothing are no evidence: five say too little, whatever lies around them.
    few = [5] * 5 + [0] * 20
    kept, notes = learning.choose({"mean": judged(few, few), "tuned": judged([2 * n for n in few], [0] * 25)})
    assert kept == "mean" and "too little is held back to tell" in notes[0] and "5 blocks" in notes[0]
    # One block with much landslide decides for it, all others against it.
    mixed = judged([9] * 11 + [200], [11] * 11 + [0])
    assert mixed.f1 > start.f1
    kept, notes = learning.choose({"mean": start, "tuned": mixed})
    assert kept == "mean" and "from -" in notes[0]
    assert learning.choose({"event": better, "joint": start}) == ("event", ["kept: event"])


def test_one_landslide_alone_in_one_grey_band_of_8_bits_gives_a_network_without_a_score(tmp_path):
    codes = np.full(SHAPE, 255, np.uint8)
    codes[20:80, 20:80], codes[40:55, 40:55] = 0, 1
    path = write_tif(tmp_path / "event.tif", (image_of(DISCS, bands=1) // 16).astype(np.uint8))
    card = learn(tmp_path, codes, event=mapping.scene_of_file(path, ("grey",)))
    assert card["held_back"] is None and card["threshold"] == 0.5 and card["candidates"] == []
    assert "no score can be given" in card["verdict"][0] and card["bands"] == ("grey",)
    assert len(networks.load(tmp_path / "net/network.safetensors")[0].members) == 1


@pytest.mark.parametrize(("options", "message"), [
    ({"start": "infrared.safetensors"}, "has no band 'swir'"),
    ({"start": "net/network.safetensors"}, "is in the folder for the results"),
    ({"start": "net/network.safetensors", "out": "new"}, "was trained on a.tif, so nothing could be held back"),
    ({"out": "full"}, r"holds other files \(thesis.doc\)"),
    ({"patch": 40}, "patches of 40 px: must be a multiple of 16"),
    ({"freeze": 5}, "--freeze 5"),
    ({"freeze": 1}, "--freeze: needs a start network"),
])  # fmt: skip
def test_what_cannot_be_learnt_from_or_written_to_is_refused(learnt, options, message):
    folder, _ = learnt
    write_weights(folder / "infrared.safetensors", ("nir", "swir"))
    write_tif(folder / "full/thesis.doc", CODES)
    if "start" in options:
        options = options | {"start": folder / options["start"]}
    refuses(message, learn, folder, **options)


def test_the_command_learns_from_a_review(tmp_path, call, weights):
    event = scene(tmp_path, DISCS, labels="none")
    slides = write_polygons(tmp_path / "slides.gpkg", DISCS & KNOWN)
    names = ("--bands", ",".join(BANDS), "--nodata", 0, "--steps", 2, "--workers", 1, "--quiet")
    table = gpd.read_file(slides)
    table["review"] = ["right", "wrong", None] + ["right"] * (len(table) - 3)
    table.to_file(tmp_path / "seen.gpkg")
    seen = (event.image, tmp_path / "seen.gpkg")
    more = ("--review", "--from", weights, "--also", *seen)
    code, out, err = call("learn", *seen, "--out", tmp_path / "next", *names, *more)
    assert (code, err) == (0, "") and " joint (" in out and "landslides, " in out and "held-back F1" in out
    for match, wrong in (("its own classes", ("--review", "--landslide", "x")), ("--also x: give", ("--also", "x")),
                         ("belong together", ("--class-column", "x", "--landslide", ",")),
                         ("belong together", ("--background", "x")),
                         ("is wrog, it holds right, wrong; correct --background",
                          ("--class-column", "review", "--landslide", ", right", "--background", "wrong, wrog ")),
                         ("not a directory", ("--out", slides / "x"))):  # fmt: skip
        code, _, err = call("learn", *seen, "--out", tmp_path / "no", *names, *wrong)
        assert code == 2 and match in err and err.count("\n") == 1
    assert lmhld_nb.learn is mapping.learn
