"""Records: the same bytes from the same runs, refused where anything is wrong, a store in which nothing is trained."""

import hashlib
import io
import json
import lzma
import os
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import publish
import pytest
import write_records
from conftest import QUIET, TINY
from hypothesis import given
from hypothesis import strategies as st
from made import refuses

from lmhld_nb import cli, runs, seals
from lmhld_nb.book import chapters
from lmhld_nb.config import runs_dir, workdir
from lmhld_nb.evaluation import Confusion
from lmhld_nb.experiments import Study, examples, load, open_study, single
from lmhld_nb.experiments.plan import plan, plan_table
from lmhld_nb.runs import Run, records, runner

Edit = Callable[[dict[str, bytes]], None]


@pytest.fixture(scope="module")
def home(twin_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield a working folder with the runs of a tiny profile, one scored on its whole area, and its records."""
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "tiny.yaml").write_text(TINY, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMHLD_WORKDIR", str(folder))
        patch.setenv("LMHLD_DATA", str(twin_data))
        patch.setattr(records, "path", lambda profile: folder / f"{profile}.tar.xz")
        specs = single.specs(study(folder))
        made = runs.make_runs(specs, 1, QUIET, {specs[0].run_id})
        examples.examples(made)
        write_records.write(records.path("tiny"), write_records.of_runs("tiny", made))
        yield folder


def study(folder: Path) -> Study:
    loaded = load(str(folder / "tiny.yaml"))
    return open_study(loaded.model_copy(update={"execution": QUIET}), progress=False)


@pytest.fixture
def finished(home: Path) -> list[Run]:
    return study(home).finished(single.specs(study(home)))


def edited(home: Path, path: Path, edit: Edit, fit: bool = False) -> Path:
    """Write the records with an edit to their members; ``fit``: with digests that fit."""
    members = records._restored(records._unpacked(home / "tiny.tar.xz"))
    edit(members)
    if fit:
        manifest = json.loads(members[records.MANIFEST])
        for owner in manifest["runs"]:
            files = {name.partition("/")[2]: data for name, data in members.items() if name.startswith(owner)}
            manifest["runs"][owner] = records.digest(files)
        members[records.MANIFEST] = json.dumps(manifest).encode()
    return packed(path, *members.items())


def packed(path: Path, *members: tuple[str, bytes], kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(path, "w:xz", preset=0) as archive:
        for name, data in members:
            entry = tarfile.TarInfo(name)
            entry.size, entry.type, entry.linkname = len(data), kind, "records.json"
            archive.addfile(entry, io.BytesIO(data))
    return path


def test_records_hold_all_but_weights_and_are_the_same_again(home, finished, tmp_path):
    read = records.read(records.path("tiny"), "tiny")
    assert set(read.runs) == {run.spec.run_id for run in finished}
    for run in finished:
        files = read.runs[run.spec.run_id]
        assert {"spec.json", "history.csv", "metrics.json", "environment.json", "test_patches.csv"} <= set(files)
        assert not [name for name in files if "weights" in name]
        assert all(data == (run.folder / name).read_bytes() for name, data in files.items() if name[-3:] != "npz")
        assert sum(name.startswith("shown/mask-") for name in files) == 1
        assert read.metrics(run.spec.run_id) == run.metrics
    with tarfile.open(records.path("tiny")) as archive:
        assert sum(name.endswith(f".csv{records.COLUMNS}") for name in archive.getnames()) == 3, "one of a whole area"
    refuses("run 'feed': not in the records of 'tiny', which hold 2 runs", read.metrics, "feed")
    for run in finished:
        os.utime(run.folder / "metrics.json", (1, 1))
    write_records.write(tmp_path / "again.tar.xz", write_records.of_runs("tiny", finished[::-1]))
    assert (tmp_path / "again.tar.xz").read_bytes() == records.path("tiny").read_bytes()
    old = shutil.copytree(finished[0].folder, tmp_path / "old") / "history.csv"
    old.write_text(old.read_text().replace("\n1,0.", "\n1,0.644824584"))
    refuses("history.csv: 0.644824584", write_records.of_runs, "tiny", [replace(finished[0], folder=old.parent)])


COUNT, WORD = st.integers(0, 2**31 - 1).map(str), st.text("tp 0_-+", max_size=3)
ROWS = st.integers(0, 4).flatmap(lambda keys: st.lists(st.tuples(*[WORD] * keys, *[COUNT] * 4), min_size=2))


@given(ROWS, st.text("01,-\n\r _"))
def test_columns_give_back_any_table_of_counts_and_take_nothing_else(rows, other):
    counted = "".join(",".join(row) + "\n" for row in rows).encode()
    assert records.table(write_records.columns(counted)) == counted
    for content in (other.encode(), counted + other.encode()):
        packed = write_records.columns(content)
        assert not packed or records.table(packed) == content
    with suppress(ValueError):  # whatever is read, it does not grow
        assert len(records.table(other.encode())) <= 4 * len(other)


@given(st.dictionaries(WORD, st.none() | st.text() | st.tuples(*[st.integers(0, 9)] * 4)), st.binary())
def test_what_is_left_out_of_a_sealed_record_comes_back(content, other):
    scored = {key: Confusion(*value).as_dict() if isinstance(value, tuple) else value for key, value in content.items()}
    record = seals.sealed_with({"nested": scored}, {"a": hashlib.sha256(other).hexdigest()})
    text = (json.dumps(record, indent=1) + "\n").encode()
    packed = write_records.abridged(text, {"a": other})
    assert records.unabridged(packed, {"a": other}) == text and b"seal" not in packed and b"precision" not in packed
    for damaged in (text.replace(b"nested", b"rested"), text[:-3], b"{}", other):
        assert not write_records.abridged(damaged, {"a": other})
    assert not write_records.abridged(text, {"a": other + b"1"}) and not write_records.abridged(text, {})


def first_run(members: dict[str, bytes]) -> str:
    return next(name for name in members if name.endswith("/metrics.json")).partition("/")[0]


def changed_manifest(**changes: object) -> Edit:
    def edit(members: dict[str, bytes]) -> None:
        members[records.MANIFEST] = json.dumps(json.loads(members[records.MANIFEST]) | changes).encode()

    return edit


def replaced(name: str, content: bytes = b"1") -> Edit:
    return lambda members: members.update({name.replace("RUN", first_run(members)): content})


def a_metric_gone(members: dict[str, bytes]) -> None:
    del members[f"{first_run(members)}/metrics.json"]


def an_array_that_grows(members: dict[str, bytes]) -> None:
    file = io.BytesIO()
    np.savez_compressed(file, probability=np.zeros(records.LARGEST, np.uint8))
    replaced("RUN/shown/a.npz", file.getvalue())(members)


@pytest.mark.parametrize(("edit", "fit", "message"), [
    (lambda members: members.update({records.MANIFEST: b'{"version": 4}', "x.columns": b""}), False, "of version 4"),
    (changed_manifest(profile="mini"), False, "records of profile 'mini', not of 'tiny'; get the file again, or"),
    (changed_manifest(runs={}), False, "its files do not match their digest; get the file again"),
    (changed_manifest(runs=[]), False, "damaged, or no records"),
    (lambda members: members.pop(records.MANIFEST), False, "damaged, or no records"),
    (replaced(records.MANIFEST, b"{"), False, "damaged, or no records"),
    (replaced("RUN/test_patches.csv"), False, "its files do not match their digest"),
    (a_metric_gone, False, "its files do not match their digest"),
    (a_metric_gone, True, "metrics.json is missing"),
    (replaced("RUN/metrics.json", b'{"run_id": "00"}'), True, "its metrics.json is that of another run"),
    (an_array_that_grows, True, "unpacks to 200 MB, more than any records; do not trust it"),
    (replaced("RUN/shown/x.npz"), True, "damaged, or no records"),
    (replaced("RUN/spec.json.columns"), False, "/spec.json.columns' twice"),
    (replaced("x.columns", b""), False, "damaged, or no records (not enough values"),
    (replaced("x.columns", bytes(2_000_001)), False, "'x.columns' twice, or too large"),
    (replaced("RUN/metrics.json.brief"), False, "metrics.json.brief' twice"),
    (replaced("x.brief", b"{}"), False, "damaged, or no records ('files')"),
    (replaced("x.brief", b"1" * records.LARGEST_MEMBER[records.BRIEF] + b" "), False, "twice, or too large"),
    (replaced("x.brief", b'{"files": [], "a": [[]]}'), False, "damaged, or no records (a list among scores)"),
    (replaced("x.brief", b'{"files": [], "a": {"tp": 1%0400d, "fp": 0.5, "fn": 1, "tn": 1}}' % 0), False, "damaged"),
    *(
        (replaced(name), True, "holds '")
        for name in (
            *("../RUN/spec.json", "/RUN/spec.json", "evil/spec.json", "RUN\\spec.json", "RUN/spec.json/evil"),
            *("RUN/evil.py", "RUN/shown/../evil.npz", "RUN/shown/.npz", "RUN/shown/a\n.npz"),
        )
    ),
])  # fmt: skip
def test_wrong_records_are_refused_in_one_line(home, tmp_path, edit, fit, message):
    path = edited(home, tmp_path / "wrong.zip", edit, fit)
    refuses(f"^{path}: .*{re.escape(message)}", records.read, path, "tiny")
    assert [*tmp_path.iterdir()] == [path]


def test_files_that_are_no_archive_or_not_whole_are_refused(home, tmp_path):
    whole, path = records.path("tiny").read_bytes(), tmp_path / "a.xz"
    refuses(r"a\.xz: no such file; only runs of `edition` and `real` are published", records.read, path, "tiny")
    middle = len(whole) // 2
    for wrong in (b"", b"no archive", whole[:-100], whole[:middle], whole[:middle] + b"\0" * 64 + whole[middle:]):
        path.write_bytes(wrong)
        refuses(r"a\.xz: damaged, or no records \(.*\); get the file again", records.read, path, "tiny")
    twice = ("a/spec.json", b"1")
    for members, kind in (((twice, twice), tarfile.REGTYPE), ((twice,), tarfile.SYMTYPE)):
        packed(path, *members, kind=kind)
        refuses("holds 'a/spec.json' twice, or as no file", records.read, path, "tiny")
    with lzma.open(path, "wb", preset=0) as file:
        file.write(bytes(records.LARGEST + 1))
    refuses("unpacks to 200 MB, more than any records", records.read, path, "tiny")
    refuses("cannot be read", records.read, tmp_path, "tiny")


def test_records_show_the_same(finished, home, tmp_path, monkeypatch):
    store, recorded = tmp_path / "store", records.read(records.path("tiny"), "tiny")
    records.adopt(recorded, [run.spec.run_id for run in finished])
    assert not any(run.is_record for run in finished), "what was trained here keeps its weights"
    records.unpack(recorded, store)
    monkeypatch.setenv("LMHLD_RUNS", str(store))
    monkeypatch.setattr(runner, "train", lambda *_: pytest.fail("trained"))
    opened, shown = study(home), examples.example_scores(examples.examples(finished))
    stored = opened.fetch(single.specs(opened))
    assert [run.folder.parent for run in stored] == [store] * 2
    assert examples.example_scores(examples.examples(stored)).equals(shown)
    assert (plan_table(plan(opened))["status"] == "recorded").all()
    scores = next(store.glob("*/whole_area.json"))
    scores.write_text("of an earlier version", encoding="utf-8")
    records.adopt(recorded, [scores.parent.name])
    assert scores.read_bytes() == recorded.runs[scores.parent.name][scores.name]
    refuses(f"needs the weights of run {stored[0].spec.run_id}, of which only a record", stored[0].model)
    (patch_set,) = runs.patch_sets(stored[0].spec, progress=False)
    other = int(patch_set.where("val")[0])
    refuses("needs the weights of run", examples.predict, stored[0], patch_set, other)
    absent = [spec.model_copy(update={"seed": 9}) for spec in single.specs(opened)]
    refuses(rf"make them with `lmhld run tiny` \(the first is {absent[0].run_id}\)", opened.fetch, absent, "skip")
    assert opened.fetch([*absent, *single.specs(opened)], "skip") == stored, "what is recorded so far"
    (store / "mark").touch()
    records.unpack(records.read(records.path("tiny"), "tiny"), store)
    assert not (store / "mark").exists() and opened.finished(single.specs(opened)) == stored


def test_shown_predictions_are_exact_and_made_again_where_they_are_damaged(finished):
    run = finished[0]
    (patch_set,) = runs.patch_sets(run.spec, progress=False)
    number = int(patch_set.where("test")[0])
    for _ in range(2):
        predicted = examples.predict(run, patch_set, number)
        assert (predicted == (examples.logits(run, run.model(), patch_set, number) > 0)).all()
    path = next((run.folder / "shown").glob(f"mask-*-{number}-*.npz"))
    before = path.read_bytes()
    for damaged in (b"", b"no archive", before[:-30]):
        path.write_bytes(damaged)
        assert (examples.predict(run, patch_set, number) == predicted).all() and path.read_bytes() == before
    again = Run(run.spec, run.folder, run.metrics | {"weights": "f" * 16})
    assert runs.remembered(again, "a", lambda: {"x": np.array(1)})["x"] == 1
    assert runs.remembered(run, "a", lambda: {"x": np.array(2)})["x"] == 2, "of other weights"


def test_what_is_recorded_stays_published_on_a_machine_without_it(home, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("LMHLD_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(records, "path", lambda _: tmp_path / "records")
    before = (home / "tiny.tar.xz").read_bytes()
    records.path("tiny").write_bytes(before)
    more = tmp_path / "tiny.yaml"
    for text, says in ((TINY, "2 of 2 runs are recorded\n"), (f"{TINY}seeds: [0, 1]", "2 of 4 runs are recorded;")):
        more.write_text(text, encoding="utf-8")
        assert publish.publish_records(str(more)) == 2 and f"tiny: {says}" in capsys.readouterr().out
        assert records.path("tiny").read_bytes() == before
    begun = next((tmp_path / "runs").glob("*/metrics.json"))  # being trained again for its weights
    begun.unlink()
    with publish.lock(begun.parent.name):
        assert publish.publish_records(str(more)) == 2 and records.path("tiny").read_bytes() == before
        assert f"{begun.parent.name}: is being trained again" in capsys.readouterr().out and not begun.exists()
    assert publish.publish_records(str(more)) == 2 and begun.exists(), "broken off: its record is back"
    begun.unlink()
    records.path("tiny").unlink()
    assert publish.publish_records(str(more)) == 1, "what was never recorded must be finished"
    more.write_text(TINY.replace("epochs: 3", "epochs: 4"), encoding="utf-8")
    assert publish.publish_records(str(more)) == 0


def test_no_book_from_records_that_do_not_fit(home, tmp_path, call, monkeypatch):
    executed: list[object] = []
    monkeypatch.setattr(chapters, "make", lambda *arguments: executed.append(arguments[-1]) or [])
    code, out, _ = call("book", home / "tiny.yaml", "--chapter", "05", "--from-records")
    assert code == 0 and "chapter 05 needs weights, which records do not hold; `lmhld run" in out
    assert executed == [workdir() / "build" / "tiny" / "records"] and runs_dir() == home / "runs"
    changed = tmp_path / "tiny.yaml"
    changed.write_text(TINY + "seeds: [0, 1]", encoding="utf-8")
    assert call("book", changed, "--from-records")[1].startswith("2 runs are not recorded yet and left out\n")
    changed.write_text(TINY.replace("epochs: 3", "epochs: 4"), encoding="utf-8")
    says = r"tiny\.tar\.xz: holds none of the 2 runs of 'tiny' as it is now; make"
    refuses(says, cli.chapters.book, str(changed), from_records=True)
    assert len(executed) == 2
