"""Label noise of the twin: what is drawn wrong, and that nothing else changes."""

import geopandas
import numpy as np
import pytest
import rasterio
from made import blobs
from scipy import ndimage

from lmhld_nb import twin
from lmhld_nb.scenes.scene import TRUE_LAYER, Scene
from lmhld_nb.twin.labels import LEVELS, LabelNoise, with_noise

NOTHING = LEVELS["none"]
LABEL = ndimage.label(blobs(200, 200, 40, seed=1), np.ones((3, 3)))[0].astype(np.int32)
OLD = np.arange(LABEL.max()) % 2 == 0


def noisy(seed: int = 0, **changes: float) -> np.ndarray:
    noise = LabelNoise(**(vars(NOTHING) | changes))  # type: ignore[arg-type]
    return with_noise(LABEL, OLD, noise, np.random.default_rng(seed))


def test_each_kind_of_noise_does_what_it_says():
    size = np.bincount(LABEL.ravel())[1:]
    numbers = set(range(1, len(size) + 1))
    assert with_noise(LABEL, OLD, NOTHING, np.random.default_rng(0)) is LABEL
    left = set(np.unique(noisy(omitted=1.0))) - {0}
    assert left == {n for n in numbers if size[n - 1] >= np.median(size)}
    assert set(np.unique(noisy(old=1.0))) - {0} == {n for n in numbers if not OLD[n - 1]}

    merged = noisy(merged=1.0)
    assert (merged[LABEL > 0] > 0).all() and (merged > 0).sum() > (LABEL > 0).sum()
    assert len(np.unique(merged)) < len(np.unique(LABEL))
    added = np.argwhere((merged > 0) & (LABEL == 0))
    for row, col in added:  # only what lies between two
        around = LABEL[max(row - 2, 0) : row + 3, max(col - 2, 0) : col + 3]
        assert len(set(around[around > 0].tolist())) > 1

    for most in (1, 2):
        shifted = noisy(shifted=1.0, shift_px=most)
        for number in numbers:
            before, after = (np.argwhere(mask == number).mean(axis=0) for mask in (LABEL, shifted))
            whole = (shifted == number).sum() == size[number - 1]
            if whole:  # not cut by a neighbour or the edge
                assert 1 <= np.abs(after - before).max() <= most


def test_a_scene_differs_in_nothing_but_its_outlines(tmp_path):
    scenes: dict[str, Scene] = {}
    for level in LEVELS:
        spec = twin.TwinSpec(seed=3, min_patches=8, max_patches=8, areas=("gorkha",), label_noise=level)
        (scenes[level],) = twin.make(tmp_path / level, spec, workers=1, progress=False)
    for scene in scenes.values():
        for path, other in ((scene.image, scenes["none"].image), (scene.dem, scenes["none"].dem)):
            with rasterio.open(path) as one, rasterio.open(other) as two:
                assert np.array_equal(one.read(), two.read())
    drawn = {level: geopandas.read_file(scene.polygons, layer=0) for level, scene in scenes.items()}
    true = {level: geopandas.read_file(scene.polygons, layer=TRUE_LAYER) for level, scene in scenes.items()}
    for level in LEVELS:
        assert true[level].equals(true["none"]) and drawn["none"].equals(true["none"])
    union = true["none"].union_all()
    unions = [table.union_all() for table in drawn.values()]
    agreed = [one.intersection(union).area / one.union(union).area for one in unions]
    assert agreed[0] == pytest.approx(1) and agreed[0] > agreed[1] > agreed[2]
