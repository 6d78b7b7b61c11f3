"""Strict YAML, names that become paths, files that are written whole or not at all, and progress as lines."""

import errno
import json
import math
import os
import pickle
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from made import refuses

from lmhld_nb import config, experiments
from lmhld_nb.config import Strict, UserError, atomic_path, printable, read_yaml, safe_name, write_json
from lmhld_nb.experiments.profile import schema
from lmhld_nb.sources import Description
from lmhld_nb.training.specs import RunSpec


class Inner(Strict):
    rate: float
    names: tuple[str, ...] = ()


class Outer(Strict):
    count: int
    inner: Inner
    nodata: float | None = None


GOOD = "count: 3\ninner: {rate: 0.1, names: [a, b]}\n"


def read(tmp_path: Path, text: str | bytes) -> Outer:
    path = tmp_path / "some.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_yaml(path, Outer)


def test_a_good_file_is_read_and_none_gives_one_line(tmp_path):
    assert read(tmp_path, GOOD) == Outer(count=3, inner=Inner(rate=0.1, names=("a", "b")))
    assert math.isnan(read(tmp_path, GOOD + "nodata: .nan\n").nodata or 0)
    refuses("no such file", read_yaml, tmp_path / "gone.yaml", Outer)
    refuses(r"cannot be read \(is a directory\); check its permissions", read_yaml, tmp_path, Outer)


# What YAML 1.1 reads as 8, 90, 16, 2, 1000, true and a date, or fails on.
AMBIGUOUS = ["010", "1:30", "0x10", "0b10", "1_000", "0x_", "yes", "2024-01-01", "2024-13-01", "9" * 5000]


@pytest.mark.parametrize(("text", "message"), [
    (GOOD + "cuont: 3\n", "unknown key 'cuont'; remove it or correct its spelling"),
    (GOOD.replace("names", "nmes"), "unknown key 'inner.nmes'"),
    (GOOD.replace("0.1", "1e-3"), r"key 'inner.rate' = '1e-3': .*write 1.0e-3"),
    (GOOD.replace("3", "1e3"), r"key 'count' = '1e3': .*write 1.0e-3"),
    (GOOD.replace("3", "3.5"), "key 'count' = 3.5"),
    (GOOD.replace("3", "'3'"), "key 'count' = '3'"),
    (GOOD.replace("[a, b]", "ab"), r"key 'inner.names' = 'ab'"),
    (GOOD.replace("[a, b]", "[a, 2]"), r"key 'inner.names.1' = 2"),
    (GOOD.replace("count: 3\n", ""), "key 'count' is missing"),
    ("inner: {}\n", r"key 'count' is missing \(and 1 more\)"),
    ("", r"key '\(top level\)' = None"),
    ("- 1\n- 2\n", r"key '\(top level\)'"),
    ("count: [3\n", "not readable as YAML"),
    (GOOD + "count: 4\n", "key 'count' is given twice"),
    ("count: !!python/object/apply:os.getcwd []\n", "not readable as YAML"),
    *((GOOD.replace("3", word), f"key 'count' = '{word[:40]}.*integer") for word in AMBIGUOUS),
    (GOOD + "nodata: 1_0.5", "key 'nodata' = '1_0.5'"),
    *((f"count: {tag} 3\n", "not readable as YAML .tags, anchors, aliases") for tag in ("!!int", "!!set", "!x", "&a")),
    ("count: &a [*a]\n", "tags, anchors, aliases"),
    ("a: " + "[" * 50_000, "more than 32 levels"),
    ("#" * 200_001, "larger than 200,000 bytes"),
    ("? [1, 2]\n: 3\n", "a key is no word or whole number"),
    ("2: a\n2.0: b\n", "a key is no word or whole number"),
    ("2: a\n'2': b\n", "key '2' is given twice"),
    (GOOD + "<<: {count: 3}\n", "unknown key '<<'"),
    (b"count: 3 # \xff\xfe\n", "not readable as YAML"),
])  # fmt: skip
def test_a_wrong_file_gives_one_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    assert refuses(message, read, tmp_path, text).startswith(str(tmp_path / "some.yaml"))


YAML = st.sampled_from([*"-:[]{},&*!|>'\"%@`#?\n\t ", "\ud800", "\0", "!!int", "<<", *AMBIGUOUS, *GOOD.split()])


@given(st.lists(YAML | st.text(max_size=3), max_size=15).map("".join))
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    for content in (text, GOOD + text):
        try:
            read(tmp_path_factory.getbasetemp(), content.encode(errors="surrogatepass"))
        except UserError as error:
            assert len(str(error)) < 1000 and printable(str(error)) == str(error)


def test_pipes_are_not_read_and_names_are_given_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    refuses("is neither a file nor a folder", read_yaml, tmp_path / "pipe.yaml", Outer)
    profile = (config.ROOT / "params" / "smoke.yaml").read_text()
    for key in ("areas", "models", "seeds"):
        twice = yaml.safe_load(profile) | {key: {"seeds": [0, 0]}.get(key, ["unet", "unet"])}
        (tmp_path / "smoke.yaml").write_text(yaml.safe_dump(twice))
        refuses(f"key '{key}' = .* is given twice; name each once", experiments.load, str(tmp_path / "smoke.yaml"))


@pytest.mark.parametrize("described", [schema(), Description, RunSpec], ids=["profile", "data set", "run"])
def test_every_number_has_bounds(described: type[Strict]) -> None:
    found = list(numbers(described.model_json_schema(), ""))
    assert len(found) > 10
    # What means no data may be any number.
    assert [where for where, bounds in found if len(bounds) < 2 and "/nodata/" not in where] == []


def numbers(node: object, where: str) -> Iterator[tuple[str, set[str]]]:
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    if isinstance(node, dict) and node.get("type") in ("integer", "number") and "const" not in node:
        yield where, {key[-7:] for key in node if key.lower().endswith("imum")}
    for key, child in children:
        yield from numbers(child, f"{where}/{key}")


HOSTILE = st.text(st.sampled_from("a.-/\\\0\x1b\n \u202eé崩")) | st.text() | st.binary().map(os.fsdecode)


@given(HOSTILE)
def test_a_safe_name_is_one_visible_component_of_a_path(text: str) -> None:
    try:
        name = safe_name(text, "area")
    except UserError as error:
        assert str(error).startswith("area '") and printable(str(error)) == str(error)
        return
    path = Path("/data") / name
    assert name == text and path.parent == Path("/data") and path.name == text
    assert Path(os.path.normpath(path)) == path and not text.startswith((".", "-"))
    assert len(os.fsencode(name)) <= 200 and printable(name) == name and text.encode()


ORDINARY = ["emilia_romagna", "Hokkaidō 2018 (3 m)", "九寨沟", "a..b", "x" * 200, "می‌خواهم"]
REFUSED = ["", ".", "..", "../x", "/abs", "a/b", "a\\b", ".git", "-rf", "a\nb", "\x1b[2J", "é" * 101, "\udcff"]


def test_ordinary_names_are_safe_others_refused_and_errors_cross_processes():
    assert [safe_name(name, "area") for name in ORDINARY] == ORDINARY
    for name in REFUSED:
        refuses(r"^area '.*choose another name$", safe_name, name, "area")
    assert str(pickle.loads(pickle.dumps(UserError("a.tif: no such file")))) == "a.tif: no such file"
    assert pickle.loads(pickle.dumps(config.Interrupted("stopped", signal.SIGINT))).by == signal.SIGINT


@given(HOSTILE)
def test_no_message_can_steer_a_terminal(text: str) -> None:
    message = str(UserError(f"{text}.tif: no such file"))
    assert all(char.isprintable() or char.isspace() or char > "\xa0" for char in message)
    assert not set(message) & set("\x1b\x07\x08\x9b\n\r\u202e") and message.encode()
    assert str(UserError(message)) == message


def test_a_file_appears_whole_and_a_folder_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "a.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("whole")
        assert temporary.suffix == ".txt" and not target.exists()
    assert target.read_text() == "whole" and list(target.parent.iterdir()) == [target]
    for name in ("first", "second"):
        with atomic_path(target.parent) as temporary:
            temporary.mkdir()
            (temporary / name).write_text(name)
    names = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")]
    assert names == ["new", "new/folder", "new/folder/second"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), UserError("mine")])
@pytest.mark.parametrize("inner", ["", "inner"])
def test_a_failure_leaves_what_was_there(tmp_path: Path, error: BaseException, inner: str) -> None:
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(type(error)) as caught, atomic_path(tmp_path / "a.txt") as temporary:
        if inner:
            temporary.mkdir()
        (temporary / inner).write_text("half")
        raise error
    assert caught.value is error and {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.txt": "old"}


def test_what_the_system_refuses_gives_one_line(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    with pytest.raises(UserError) as caught, atomic_path(target) as temporary:
        temporary.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    message = "cannot be written (no space left on device); free space or choose another folder"
    assert str(caught.value) == f"{target}: {message}" and list(tmp_path.iterdir()) == []
    target.write_text("")
    with pytest.raises(UserError, match="cannot be written"), atomic_path(target / "a.txt"):
        raise AssertionError("its folder cannot be made")


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@given(JSON)
def test_json_is_read_back_null_where_not_finite(tmp_path_factory: pytest.TempPathFactory, content: object) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    write_json(path, content)
    expected = json.loads(json.dumps(content), parse_constant=lambda _: None)
    assert json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail) == expected


def test_folders_follow_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LMHLD_WORKDIR", "LMHLD_DATA", "LMHLD_RUNS"):
        monkeypatch.delenv(name, raising=False)
    root = config.ROOT
    assert (config.workdir(), config.data_dir(), config.runs_dir()) == (root, root / "data", root / "runs")
    monkeypatch.setenv("LMHLD_WORKDIR", str(tmp_path))
    assert (config.data_dir(), config.runs_dir()) == (tmp_path / "data", tmp_path / "runs")
    monkeypatch.setenv("LMHLD_DATA", str(tmp_path / "scratch"))
    monkeypatch.setenv("LMHLD_RUNS", str(tmp_path / "disk"))
    assert (config.data_dir(), config.runs_dir()) == (tmp_path / "scratch", tmp_path / "disk")
