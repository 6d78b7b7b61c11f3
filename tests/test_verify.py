"""`lmhld verify`: published runs made again are the same, and whatever is not is found."""

import json
import os
import re
import shutil
from dataclasses import replace

import pytest
import write_records
from conftest import QUIET, TINY

from lmhld_nb import runs, seals
from lmhld_nb.config import environment_set, workdir
from lmhld_nb.experiments import load, open_study
from lmhld_nb.experiments.plan import plan
from lmhld_nb.runs import records, store, verify

SETTINGS = "patch_size: {areas: [gorkha], candidates: {gorkha: [32]}}, part: {seeds: [0], ewc: [10], replay: [0.1]}"
PROFILE = TINY.replace("epochs: 3", "epochs: 2").replace("single: {}", f"single: {{}}, {SETTINGS}")


@pytest.fixture(scope="module")
def published(twin_data, tmp_path_factory):
    """A folder with a profile, tiny.yaml, and the records of its runs, records.tar.xz."""
    folder = tmp_path_factory.mktemp("published")
    (folder / "tiny.yaml").write_text(PROFILE, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMHLD_DATA", str(twin_data))
        patch.setenv("LMHLD_RUNS", str(folder / "runs"))
        planned = plan(open_study(load(str(folder / "tiny.yaml")), progress=False))
        whole_area = {entry.spec.run_id for entry in planned if entry.whole_area}
        finished = runs.make_runs([entry.spec for entry in planned], 1, QUIET, whole_area)
    write_records.write(folder / "records.tar.xz", write_records.of_runs("tiny", finished))
    return folder


@pytest.fixture
def recorded(published, tiny):
    tiny.write_text(PROFILE, encoding="utf-8")
    return records.read(published / "records.tar.xz", "tiny")


@pytest.fixture
def specs(recorded, tiny):
    return [entry.spec for entry in plan(open_study(load(str(tiny)), progress=False))]


@pytest.fixture
def verified(call, tiny, published):
    good = published / "records.tar.xz"
    before = good.read_bytes()
    yield lambda *words, file=good: call("verify", tiny, *words, "--records", file, "--workers", 1, "-q")
    assert good.read_bytes() == before


def test_runs_again_are_identical(verified, specs, recorded, trainings):
    code, out, error = verified()
    first, *lines, last = out.splitlines()
    assert (code, error, last) == (0, "", f"{len(specs)} of {len(specs)} runs are identical")
    assert first.startswith(f"tiny: {len(specs)} of {len(specs)} runs, {len(specs)} trainings") and "about " in first
    assert sorted(lines) == sorted(f"{spec.run_id} {spec.label}: identical" for spec in specs)
    assert any("whole_area_blocks.csv" in files for files in recorded.runs.values())
    # The stages before a run are trained, and compared, too; what an earlier call has finished is made anew.
    last_stage = next(spec for spec in specs if len(spec.chain) == 2)
    code, out, _ = verified(last_stage.run_id)
    assert code == 0 and f"1 of {len(specs)} runs, 2 trainings" in out and out.count(": identical\n") == 2
    assert trainings[len(specs) :] == [stage.run_id for stage in last_stage.chain]
    assert not (workdir() / "runs").exists() and "LMHLD_RUNS" not in os.environ


def test_another_machine_goes_on_from_records(call, recorded, specs, tiny, trainings, monkeypatch):
    first, second, *_ = (spec.chain for spec in specs if len(spec.chain) == 2)
    assert first[0] == second[0]
    known = {key: files for key, files in recorded.runs.items() if key != first[1].run_id}
    monkeypatch.setattr(records, "path", lambda _: tiny.parent / "known")
    write_records.write(records.path("tiny"), replace(recorded, runs=known))
    code, out, error = call("run", tiny, "--workers", 1, "-q")
    says = f"tiny: {len(specs)} runs, {{}} to train; {{}} are recorded, {{}} of them again for their weights\n"
    assert (code, out, error) == (0, says.format(2, len(specs) - 1, 1), "")
    assert trainings == [stage.run_id for stage in first], "what is missing, and what it starts from"
    made = write_records.of_runs("tiny", [run for spec in specs if (run := runs.find(spec))])
    assert made.runs.keys() == recorded.runs.keys()
    assert not any(verify.difference(recorded.runs[run_id], made.runs[run_id]) for run_id in made.runs)
    assert [runs.status(stage) for stage in (first[0], second[1])] == ["done", "recorded"]
    assert call("run", tiny, "-q")[1] == says.format(0, len(specs) - 2, 0)
    code, out, _ = call("train", tiny, second[1].run_id, "-q")
    assert code == 0 and trainings[2:] == [second[1].run_id] and runs.status(second[1]) == "done"
    # Where the same bits cannot be made, what was recorded of later stages is of no use.
    later = [(spec.run_id, "parent_weights") for spec in specs if spec.stage]
    for run_id, name in ((first[0].run_id, "weights"), *later):
        if run_id in known:
            known[run_id] = edited(known[run_id], "metrics.json", f'"{name}": "..', f'"{name}": "??')
    write_records.write(records.path("tiny"), replace(recorded, runs=known))
    shutil.rmtree(workdir() / "runs")
    code, out, error = call("run", tiny, "--workers", 1, "-q")
    assert code == 0 and f"{first[0].run_id}: its weights differ from the recorded ones" in error
    assert runs.damage(second[1]) == "its parent was trained again, with other weights"


def edited(files, name, pattern, replacement):
    text, count = re.subn(pattern, replacement, files[name].decode(), count=1, flags=re.M)
    assert count == 1
    if name == "metrics.json" and "seal" in (content := json.loads(text)):
        text = json.dumps({**content, "seal": seals.seal_of(content)})
    return {**files, name: text.encode()}


@pytest.mark.parametrize(("name", "pattern", "replacement", "message"), [
    ("spec.json", '^ "seed": 0', ' "seed": 7', "spec.json: seed is 0, recorded 7; test F1 as recorded"),
    ("test_patches.csv", r"(gorkha,\d+),\d+", r"\1,9999", "test_patches.csv line 2 (stage {id}, input last, area"),
    ("test_patches.csv", r"\n(.+\n)$", r"\n\1\1", "): stage is absent, recorded {id}; test"),
    ("history.csv", r"^1,0\.05", "1,0.06", "history.csv line 2 (epoch 1): lr is 0.05, recorded 0.06"),
    ("whole_area_blocks.csv", r"(,0,0,[01],\d+),\d+", r"\1,9999", "line 2 (scene gorkha_0, row 0, col 0, trained "),
    ("metrics.json", '"f1": [^,]+', '"f1": 2.0', "metrics.json: test.f1 is "),
    ("metrics.json", r'"weights": "\w+', '"weights": "0', "all scores and counts agree, but metrics.json: weights"),
    ("metrics.json", '"areas": {', r'"areas": {"\\u001b[31m": 1,', r"areas.\x1b[31m is absent, recorded 1"),
])  # fmt: skip
def test_what_differs_is_named(recorded, specs, name, pattern, replacement, message):
    files = recorded.runs[specs[0].run_id]
    slower = edited(files, "metrics.json", '"seconds": ', '"seconds": 9')
    assert verify.difference(files, files) == "" == verify.difference(slower, files)
    text = verify.difference(edited(files, name, pattern, replacement), files)
    assert message.format(id=specs[0].run_id) in text and "; test F1 " in text


def test_a_run_that_differs_is_shown(verified, recorded, specs, tmp_path):
    first, second = specs[0].run_id, specs[1].run_id
    true = recorded.metrics(first)["test"]["f1"]
    changed = edited(recorded.runs[first], "metrics.json", '"f1": [^,]+', f'"f1": {true + 0.25}')
    code, out, _ = verified(first, second, file=repacked(tmp_path, recorded, first, changed))
    assert code == 1 and f"recorded {true + 0.25:.4f}, 0.25 apart\n" in out
    assert f"{second} unet emilia_romagna 32 px: identical\n1 of 2 runs are identical\n" in out
    assert (workdir() / "build" / "verify" / "tiny" / first / "metrics.json").is_file()


def repacked(folder, recorded, run_id, files):
    """Return records with other files of a run, None for none of it, and a digest that fits."""
    others = {key: value for key, value in recorded.runs.items() if key != run_id}
    changed = replace(recorded, runs={**others, run_id: files} if files else others)
    write_records.write(folder / "changed", changed)
    return folder / "changed"


@pytest.mark.parametrize(("words", "message"), [
    ("{tiny}", "figures/tiny/records.tar.xz: no such file; only runs of `edition` and `real` are published"),
    ("{tiny} --records {good} 0123456789abcdef", "run '0123456789abcdef': not in profile 'tiny'; `lmhld plan"),
    ("{tiny} --records {lacking} {run}", "run '{run}' has no record: {known} of the {planned} planned runs are"),
    ("{tiny} --records {wordy}", "{run}: its metrics.json holds no scores"),
    ("{tiny} --records {spoilt}", "record of run '{run}': incomplete (JSONDecodeError("),
    ("{tiny} --records {good} --sample 0", "'--sample'"),
    ("{tiny} --records {good} --experiment 9", "experiment 9: unknown"),
])  # fmt: skip
def test_bad_input_is_one_line_and_trains_nothing(call, recorded, specs, published, tiny, words, message):
    folder, run_id, good = tiny.parent, specs[0].run_id, published / "records.tar.xz"
    names = {"tiny": tiny, "good": good, "run": run_id, "planned": len(specs), "known": len(specs) - 1}
    spoilt = {**recorded.runs[run_id], "spec.json": b"{"}
    wordy = edited(recorded.runs[run_id], "metrics.json", '"seconds": [^,]+', '"seconds": "12"')
    for name, files in (("lacking", None), ("spoilt", spoilt), ("wordy", wordy)):
        names[name] = repacked(folder, recorded, run_id, files).rename(folder / name)
    code, out, error = call("verify", *(word.format(**names) for word in words.split()), "-q")
    assert (code, out, error.count("\n")) == (2, "", 1) and message.format(**names) in error, error
    assert not (workdir() / "build").exists()


def test_a_draw_can_be_repeated(recorded, specs):
    draws = [verify.choose(specs, recorded, sample=3, seed=seed) for seed in ("a", "a", "b", "c", "d")]
    assert draws[0] == draws[1] and len(draws[0]) == 3 and any(draw != draws[0] for draw in draws)
    assert verify.choose(specs, recorded, sample=99) == specs == verify.choose(specs, recorded)
    partly = replace(recorded, runs={spec.run_id: recorded.runs[spec.run_id] for spec in specs[1:]})
    assert verify.choose(specs, partly) == specs[1:], "what is published so far"
    slow = edited(recorded.runs[specs[0].run_id], "metrics.json", '"seconds": ', '"seconds": 9000')
    costly = replace(recorded, runs={**recorded.runs, specs[0].run_id: slow})
    assert verify.choose(specs, costly, sample=99) == [spec for spec in specs if specs[0] not in spec.chain]
    assert verify.choose(specs, costly, [specs[0].run_id], sample=1) == [specs[0]], "there is no shorter one"
    ids = [specs[1].run_id, specs[0].run_id]
    assert verify.choose(specs, recorded, [*ids, *ids]) == specs[:2]


def test_a_second_call_is_one_line(verified, specs):
    folder = workdir() / "build" / "verify" / "tiny"
    with environment_set("LMHLD_RUNS", str(folder)):
        held = store.lock("verify")
    with held:
        code, _, error = verified(specs[0].run_id)
    assert (code, error.count("\n")) == (2, 1) and f"{folder}: another `lmhld verify` is using it" in error
    assert verified(specs[0].run_id)[1].endswith("1 of 1 runs are identical\n")
