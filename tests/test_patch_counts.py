"""Counts patch by patch: they sum up to the scores that are stored."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from conftest import QUIET

from lmhld_nb import runs, sources
from lmhld_nb.config import UserError
from lmhld_nb.evaluation.counts import Confusion
from lmhld_nb.experiments import common as experiments
from lmhld_nb.experiments import profile as profiles
from lmhld_nb.experiments import serial_experiment
from lmhld_nb.runs.store import Run
from lmhld_nb.training import scoring


@pytest.fixture
def chain(tiny: Path) -> Run:
    """The last stage of a chain of two areas."""
    text = (
        tiny.read_text().replace("experiments: [2]", "experiments: [2, 4]").replace("epochs: 3", "epochs: 1")
    )
    tiny.write_text(f"{text}experiment_4: {{first: [], permuted: [], seeds: [0]}}\n")
    profile = profiles.load(str(tiny))
    finals = serial_experiment.finals(profile, sources.load("twin-smoke"))
    return runs.make_run(finals["OD1"][0], QUIET)


def single(tiny: Path) -> Run:
    profile = profiles.load(str(tiny))
    return runs.make_run(
        experiments.single(profile, sources.load("twin-smoke"))[0], QUIET, whole_area=True
    )


def test_patches_sum_up_to_what_the_run_stores(chain: Run) -> None:
    found = pd.read_csv(chain.folder / scoring.PATCHES_FILE, dtype={"stage": str})
    own = found[found["stage"] == chain.spec.run_id]
    for area, told in chain.metrics["areas"].items():
        assert scoring.by_area(own)[area] == Confusion.from_dict(told)
    first = chain.spec.chain[0]
    for key, kind in (("earlier", "last"), ("earlier_own_input", "own")):
        rows = found[(found["stage"] == first.run_id) & (found["input"] == kind)]
        told = chain.metrics[key][first.run_id]
        assert {area: Confusion.from_dict(counts) for area, counts in told.items()} == scoring.by_area(rows)
    (part,) = runs.patch_sets(chain.spec)
    assert own["number"].tolist() == part.where("test").tolist()
    landslide = part.masks[own["number"].to_numpy()].reshape(len(own), -1).sum(axis=1)
    assert (own["tp"] + own["fn"]).tolist() == landslide.tolist()


def test_a_missing_or_damaged_table_is_never_read(chain: Run) -> None:
    path = chain.folder / scoring.PATCHES_FILE
    for content in (b"", b"area,tp\nrio,1\n", b"\x00\xff"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"test_patches\.csv: missing or damaged.*`lmhld run`"):
            runs.test_patches(chain)
    path.unlink()
    assert runs.damage(chain.spec) == "test_patches.csv is missing"


def test_windows_sum_up_to_the_score_of_the_whole_area(tiny: Path) -> None:
    run = single(tiny)
    counted = runs.window_counts(run)
    assert scoring.whole_area(counted) == run.whole_area
    (part,) = runs.patch_sets(run.spec)
    trained = part.index[part.index["split"] == "train"]
    taken = counted[counted["trained"] == 1]
    assert sorted(zip(taken["scene"], taken["row"], taken["col"], strict=True)) == sorted(
        zip(trained["scene"], trained["row"], trained["col"], strict=True)
    )
    (run.folder / scoring.WINDOWS_FILE).unlink()
    with pytest.raises(UserError, match=r"whole_area\.csv: missing or damaged"):
        runs.window_counts(run)


def test_a_window_on_a_test_patch_counts_the_same(tiny: Path) -> None:
    run = single(tiny)
    (part,) = runs.patch_sets(run.spec)
    places = part.index.reset_index(names="number")
    windows = runs.window_counts(run).merge(places[["number", "scene", "row", "col"]], on=["scene", "row", "col"])
    both = runs.test_patches(run).merge(windows, on="number", suffixes=("", "_window"))
    assert len(both) == len(part.where("test")) > 0
    for cell in scoring.COUNTS:
        assert both[cell].tolist() == both[f"{cell}_window"].tolist()
