"""Counts patch by patch and window by window: they sum up to stored scores, and every known pixel counts once."""

import json

import numpy as np
import pytest
import torch
from conftest import QUIET
from made import blobs, image_of, refuses, scene, write_tif
from torch import nn

from lmhld_nb import patches, runs, scenes, seals, sources
from lmhld_nb.evaluation.counts import Confusion
from lmhld_nb.patches.patch_sets import PatchSpec
from lmhld_nb.scenes.scene import BANDS
from lmhld_nb.training import chains, scoring
from lmhld_nb.training.specs import Recipe

SHAPE = (150, 203)  # no multiple of 32: windows reach over two edges
POSITION = ["scene", "row", "col"]
SPEC = PatchSpec(dataset="made", fingerprint="0" * 16, area="made", size=32, fractions=(0.6, 0.2, 0.2))


class Bright(nn.Module):
    """Landslide where the first band is above its mean: knows no neighbours, so windows cannot matter."""

    def __init__(self):
        super().__init__()
        self.place = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return x[:, :1]


def score(area, times=1, **recipe):
    patch_set, made = area
    counts = scoring.window_counts(Bright(), patch_set, [made] * times, Recipe(**recipe), progress=False)
    return scoring.whole_area(counts)


@pytest.fixture
def area(tmp_path, monkeypatch):
    """One scene with a strip of no data and a strip without labels, and its patches."""
    monkeypatch.setenv("LMHLD_DATA", str(tmp_path / "data"))
    mask = blobs(*SHAPE, 60)
    image, labels = image_of(mask), mask.astype(np.uint8)
    image[:, :, :10], labels[:20] = 0, 255
    made = scene(tmp_path, mask)
    write_tif(made.image, image, nodata=0)
    write_tif(made.mask, labels)  # type: ignore[arg-type]
    return patches.cut(SPEC, [made], progress=False), made


@pytest.mark.parametrize("normalise", ["area", "scene"])
def test_every_known_pixel_counts_once(area, normalise):
    patch_set, made = area
    values, labels, valid = scenes.read_all(made, BANDS)
    mean, _ = (patch_set.mean, patch_set.std) if normalise == "area" else patch_set.scene_statistics["a"]
    known = valid & (labels != 255)
    counts = score(area, normalise=normalise)["all"]
    assert counts == Confusion.of(values[0] > mean[0], labels == 1, known)
    assert known.sum() == (SHAPE[0] - 20) * (SHAPE[1] - 10)
    assert score(area, times=2, normalise=normalise)["all"] == counts + counts


def test_the_second_score_leaves_out_the_training_patches_and_nothing_else(area):
    patch_set, made = area
    values, labels, valid = scenes.read_all(made, BANDS)
    known = valid & (labels != 255)
    trained = patch_set.index[patch_set.index["split"] == "train"]
    assert 0 < len(trained) < len(patch_set.index)
    for row, col in zip(trained["row"], trained["col"], strict=True):
        known[row : row + 32, col : col + 32] = False
    assert score(area)["outside_training"] == Confusion.of(values[0] > patch_set.mean[0], labels == 1, known)


@pytest.fixture
def chain(specs):
    return chains.link(specs, chains.paper_schedule(2))


def test_patches_sum_up_to_what_the_run_stores(chain):
    run = runs.make_run(chain[-1], QUIET)
    counts = runs.store.test_patches(run)
    own = counts[counts["stage"] == run.spec.run_id]
    for area, stored in run.metrics["areas"].items():
        assert scoring.by_area(own)[area] == Confusion.from_dict(stored)
    for key, kind in (("earlier", "last"), ("earlier_own_input", "own")):
        rows = counts[(counts["stage"] == chain[0].run_id) & (counts["input"] == kind)]
        stored = run.metrics[key][chain[0].run_id]
        assert {area: Confusion.from_dict(cells) for area, cells in stored.items()} == scoring.by_area(rows)
    (patch_set,) = runs.patch_sets(run.spec)
    assert own["number"].tolist() == patch_set.where("test").tolist()
    landslide = patch_set.masks[own["number"].to_numpy()].reshape(len(own), -1).sum(axis=1)
    assert (own["tp"] + own["fn"]).tolist() == landslide.tolist()
    refused(run, scoring.PATCHES_FILE, runs.store.test_patches)
    assert runs.damage(run.spec) == "test_patches.csv is missing"


def refused(run, name, read):
    for content in (b"", b"area,tp\nrio,1\n", b"\x00\xff", None):
        path = run.folder / name
        path.unlink() if content is None else path.write_bytes(content)
        refuses(rf"{name}: missing or damaged.*`lmhld run`", read, run)


def test_windows_sum_up_to_the_score_of_the_whole_area(chain):
    run = runs.make_run(chain[0], QUIET, whole_area=True)
    blocks = runs.store.block_counts(run)
    assert scoring.whole_area(blocks) == run.whole_area
    (patch_set,) = runs.patch_sets(run.spec)
    scenes = sources.load(patch_set.spec.dataset).scenes_of(patch_set.spec.area)
    counts = scoring.window_counts(run.model(), patch_set, scenes, run.recipe, progress=False)
    side = patch_set.spec.block * patch_set.spec.size
    assert blocks["windows"].sum() == len(counts) > len(blocks) == len(blocks.drop_duplicates([*POSITION, "trained"]))
    assert not (blocks["row"] % side).any() and not (blocks["col"] % side).any()
    one = blocks[blocks["windows"] > 1].iloc[0]
    squares = counts.assign(**{key: counts[key] // side * side for key in ("row", "col")})
    inside = counts[(squares[blocks.columns[:4]] == one[:4]).all(axis=1)]
    assert [len(inside), *inside[scoring.COUNTS].sum()] == [*one[["windows", *scoring.COUNTS]]]
    trained = patch_set.index[patch_set.index["split"] == "train"]
    taken = counts[counts["trained"] == 1]
    assert sorted(taken[POSITION].itertuples(index=False)) == sorted(trained[POSITION].itertuples(index=False))
    # A window that is a test patch counts the same.
    numbered = counts.merge(patch_set.index.reset_index(names="number")[["number", *POSITION]], on=POSITION)
    same = runs.store.test_patches(run).merge(numbered, on="number", suffixes=("", "_window"))
    assert len(same) == len(patch_set.where("test")) > 0
    assert all(same[cell].equals(same[f"{cell}_window"]) for cell in scoring.COUNTS)
    refused(run, scoring.BLOCKS_FILE, runs.store.block_counts)


def test_a_run_is_scored_once_and_a_damaged_score_is_made_again(chain):
    spec = chain[0]
    assert runs.make_run(spec, QUIET).whole_area is None
    assert runs.status(spec, whole_area=True) == "unscored" and runs.status(spec) == "done"
    path = runs.make_run(spec, QUIET, whole_area=True).folder / scoring.WHOLE_AREA_FILE
    assert runs.status(spec, whole_area=True) == "done"
    before, stamp = path.read_text(), path.stat().st_mtime_ns
    runs.make_run(spec, QUIET, whole_area=True)
    assert path.stat().st_mtime_ns == stamp
    cut_off = json.dumps({"run_id": spec.run_id, "all": {}})
    by_windows = json.dumps(seals.sealed(json.loads(before), path.parent, ["history.csv"]))  # without blocks
    for damaged in ("{", "[]", "null", cut_off, by_windows, before.replace(spec.run_id, "0" * 16)):
        path.write_text(damaged)
        assert runs.status(spec, whole_area=True) == "unscored"
        runs.make_run(spec, QUIET, whole_area=True)
        assert path.read_text() == before
