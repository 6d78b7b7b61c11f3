"""Counts patch by patch and window by window: they sum up to the scores that are stored."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import QUIET

from lmhld_nb import patches, runs, sources
from lmhld_nb.config import UserError
from lmhld_nb.evaluation.counts import Confusion
from lmhld_nb.runs import Run
from lmhld_nb.training import chains, scoring
from lmhld_nb.training.specs import Recipe, RunSpec

POSITION = ["scene", "row", "col"]


def stages(epochs: int) -> list[RunSpec]:
    """Return a tiny chain of two areas."""
    data = sources.load("twin-smoke")
    recipe = Recipe(batch_size=4, epochs=epochs, lr=0.05, gamma=0.9, momentum=0.9)
    specs = []
    for area in ("emilia_romagna", "gorkha"):
        spec = patches.PatchSpec(dataset=data.name, fingerprint=data.fingerprint, area=area, size=32)
        specs.append(RunSpec(model="unet", width=2, data=(spec,), recipe=recipe))
    return chains.link(specs, chains.paper_schedule(2))


@pytest.fixture
def chain(tiny: Path) -> Run:
    """The last stage of a chain."""
    return runs.make_run(stages(epochs=1)[-1], QUIET)


@pytest.fixture
def single(tiny: Path) -> Run:
    return runs.make_run(stages(epochs=3)[0], QUIET, whole_area=True)


def test_patches_sum_up_to_what_the_run_stores(chain: Run) -> None:
    counts = runs.test_patches(chain)
    own = counts[counts["stage"] == chain.spec.run_id]
    for area, stored in chain.metrics["areas"].items():
        assert scoring.by_area(own)[area] == Confusion.from_dict(stored)
    first = chain.spec.chain[0]
    for key, kind in (("earlier", "last"), ("earlier_own_input", "own")):
        rows = counts[(counts["stage"] == first.run_id) & (counts["input"] == kind)]
        stored = chain.metrics[key][first.run_id]
        assert {area: Confusion.from_dict(cells) for area, cells in stored.items()} == scoring.by_area(rows)
    (patch_set,) = runs.patch_sets(chain.spec)
    assert own["number"].tolist() == patch_set.where("test").tolist()
    landslide = patch_set.masks[own["number"].to_numpy()].reshape(len(own), -1).sum(axis=1)
    assert (own["tp"] + own["fn"]).tolist() == landslide.tolist()


def test_a_missing_or_damaged_table_is_never_read(chain: Run) -> None:
    path = chain.folder / scoring.PATCHES_FILE
    for content in (b"", b"area,tp\nrio,1\n", b"\x00\xff"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"test_patches\.csv: missing or damaged.*`lmhld run`"):
            runs.test_patches(chain)
    path.unlink()
    assert runs.damage(chain.spec) == "test_patches.csv is missing"


def test_windows_sum_up_to_the_score_of_the_whole_area(single: Run) -> None:
    counts = runs.window_counts(single)
    assert scoring.whole_area(counts) == single.whole_area
    (patch_set,) = runs.patch_sets(single.spec)
    trained = patch_set.index[patch_set.index["split"] == "train"]
    taken = counts[counts["trained"] == 1]
    assert sorted(taken[POSITION].itertuples(index=False)) == sorted(trained[POSITION].itertuples(index=False))
    # A window that is a test patch counts the same.
    numbered = counts.merge(patch_set.index.reset_index(names="number")[["number", *POSITION]], on=POSITION)
    same = runs.test_patches(single).merge(numbered, on="number", suffixes=("", "_window"))
    assert len(same) == len(patch_set.where("test")) > 0
    for cell in scoring.COUNTS:
        assert same[cell].tolist() == same[f"{cell}_window"].tolist()
    (single.folder / scoring.WINDOWS_FILE).unlink()
    with pytest.raises(UserError, match=r"whole_area\.csv: missing or damaged"):
        runs.window_counts(single)
