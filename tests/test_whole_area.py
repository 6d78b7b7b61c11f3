"""Scores over whole scenes: every known pixel counts once, by windows of the patch size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import QUIET
from made import blobs, image_of, scene, write_tif
from torch import Tensor, nn

from lmhld_nb import patches, runs, scenes, sources
from lmhld_nb.evaluation.counts import Confusion
from lmhld_nb.experiments import common as experiments
from lmhld_nb.experiments import profile as profiles
from lmhld_nb.patches.patch_sets import PatchSet, PatchSpec
from lmhld_nb.runs import runner
from lmhld_nb.scenes.scene import BANDS, Scene
from lmhld_nb.training import scoring
from lmhld_nb.training.specs import Recipe

CPU = torch.device("cpu")
SHAPE = (150, 203)  # no multiple of 32: windows reach over two edges


def score(*task: Any, **options: Any) -> dict[str, Confusion]:
    return scoring.whole_area(scoring.window_counts(*task, **options))


class Bright(nn.Module):
    """Landslide where the first band is above its mean: knows no neighbours, so windows cannot matter."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.shapes.append(tuple(x.shape))
        return x[:, :1]


@pytest.fixture
def area(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[PatchSet, Scene]:
    """One scene with a strip of no data and a strip without labels, and its patches."""
    monkeypatch.setenv("LMHLD_DATA", str(tmp_path / "data"))
    mask = blobs(*SHAPE, 60)
    image = image_of(mask)
    image[:, :, :10] = 0
    made = scene(tmp_path, mask)
    labels = mask.astype(np.uint8)
    labels[:20] = 255
    write_tif(made.image, image, nodata=0)
    write_tif(made.mask, labels)  # type: ignore[arg-type]
    spec = PatchSpec(dataset="made", fingerprint="0" * 16, area="made", size=32, fractions=(0.6, 0.2, 0.2))
    return patches.cut(spec, [made], progress=False), made


@pytest.mark.parametrize("normalise", ["area", "scene"])
def test_every_known_pixel_counts_once(area: tuple[PatchSet, Scene], normalise: str) -> None:
    patch_set, made = area
    values, labels, valid = scenes.read_all(made, BANDS)
    mean, _ = (patch_set.mean, patch_set.std) if normalise == "area" else patch_set.scene_statistics["a"]
    predicted = values[0] > mean[0]
    known = valid & (labels != 255)
    counts = score(Bright(), patch_set, [made], Recipe(normalise=normalise), CPU, progress=False)
    assert counts["all"] == Confusion.of(predicted, labels == 1, known)
    assert sum(vars(counts["all"]).values()) == (SHAPE[0] - 20) * (SHAPE[1] - 10)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32", "float64"])
def test_every_stored_type_is_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    monkeypatch.setenv("LMHLD_DATA", str(tmp_path / "data"))
    mask = blobs(128, 128, 30)
    made = scene(tmp_path, mask)
    values = (image_of(mask) // 20).astype(dtype)
    write_tif(made.image, values)
    spec = PatchSpec(dataset="made", fingerprint="0" * 16, area="made", size=32, fractions=(0.6, 0.2, 0.2))
    patch_set = patches.cut(spec, [made], progress=False)
    seen = []
    monkeypatch.setattr(Bright, "forward", lambda _, x: (seen.append(x.dtype), x[:, :1])[1])
    counts = score(Bright(), patch_set, [made], Recipe(), CPU, progress=False)
    assert set(seen) == {torch.float32}
    assert counts["all"] == Confusion.of(values[0] > patch_set.mean[0], mask)


def test_the_second_score_leaves_out_the_training_patches_and_nothing_else(
    area: tuple[PatchSet, Scene],
) -> None:
    patch_set, made = area
    values, labels, valid = scenes.read_all(made, BANDS)
    known = valid & (labels != 255)
    trained = patch_set.index[patch_set.index["split"] == "train"]
    assert 0 < len(trained) < len(patch_set.index)
    for row, col in zip(trained["row"], trained["col"], strict=True):
        known[row : row + 32, col : col + 32] = False
    counts = score(Bright(), patch_set, [made], Recipe(), CPU, progress=False)
    assert counts["outside_training"] == Confusion.of(values[0] > patch_set.mean[0], labels == 1, known)


def test_windows_have_the_patch_size_and_do_not_overlap(area: tuple[PatchSet, Scene]) -> None:
    patch_set, made = area
    model = Bright()
    score(model, patch_set, [made], Recipe(micro_batch=8), CPU, progress=False)
    assert {shape[1:] for shape in model.shapes} == {(4, 32, 32)} and max(s[0] for s in model.shapes) == 8
    assert sum(shape[0] for shape in model.shapes) == 5 * 7  # those of the grid, each once


def test_scenes_add_up(area: tuple[PatchSet, Scene], tmp_path: Path) -> None:
    patch_set, made = area
    once = score(Bright(), patch_set, [made], Recipe(), CPU, progress=False)
    twice = score(Bright(), patch_set, [made, made], Recipe(), CPU, progress=False)
    assert twice["all"] == once["all"] + once["all"]


def test_a_run_is_scored_once_and_a_damaged_score_is_made_again(tiny: Path) -> None:
    profile = profiles.load(str(tiny))
    spec = experiments.single(profile, sources.load("twin-smoke"))[0]
    assert runner.make(spec, QUIET).whole_area is None
    assert runs.status(spec, whole_area=True) == "unscored" and runs.status(spec) == "done"
    run = runner.make(spec, QUIET, whole_area=True)
    assert runs.status(spec, whole_area=True) == "done"
    path = run.folder / scoring.WHOLE_AREA_FILE
    before = path.read_text()
    stamp = path.stat().st_mtime_ns
    runner.make(spec, QUIET, whole_area=True)
    assert path.stat().st_mtime_ns == stamp
    cut_off = json.dumps({"run_id": spec.run_id, "all": {}})
    for damaged in ("{", "[]", "null", cut_off, before.replace(spec.run_id, "0" * 16)):
        path.write_text(damaged)
        assert runs.status(spec, whole_area=True) == "unscored"
        runner.make(spec, QUIET, whole_area=True)
        assert path.read_text() == before
