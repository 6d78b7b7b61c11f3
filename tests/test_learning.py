"""The twin is worth learning: a small trained network clears what any single threshold can do."""

from __future__ import annotations

import pytest

from lmhld_nb import patches, training, twin
from lmhld_nb.evaluation.counts import best_threshold
from lmhld_nb.patches.patch_sets import PatchSpec
from lmhld_nb.training.hardware import Execution
from lmhld_nb.training.specs import Recipe, RunSpec


@pytest.mark.slow
@pytest.mark.parametrize("area", ["emilia_romagna", "gorkha"])
def test_network_clears_every_threshold_by_a_tenth(area, tmp_path, monkeypatch):
    monkeypatch.setenv("LMHLD_DATA", str(tmp_path / "data"))
    source = twin.TwinSpec(seed=2024, scale=0.04, min_patches=150, max_patches=240, areas=(area,))
    made = twin.make(tmp_path / "twin", source, workers=1, progress=False)
    spec = PatchSpec(dataset="made", fingerprint="0" * 16, area=area, size=twin.AREAS[area].patch)
    part = patches.cut(spec, made, progress=False)
    recipe = Recipe(batch_size=2, epochs=20, lr=0.05, gamma=0.9, momentum=0.9, precision="fp32")
    run = RunSpec(model="unet", width=8, data=(spec,), recipe=recipe)
    metrics = training.train(run, [part], tmp_path / "run", Execution(device="cpu", progress=False))
    tests = part.where("test")
    rule = best_threshold(part.images[tests], part.masks[tests], spec.bands)
    assert metrics["test"]["f1"] >= rule.confusion.f1 + 0.10, rule
