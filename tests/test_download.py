"""Downloads and archives, against a local server and made archives that misbehave."""

import errno
import hashlib
import io
import json
import random
import shutil
import socket
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest
from fake_zenodo import FakeZenodo, serve
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from made import refuses

from lmhld_nb.config import UserError
from lmhld_nb.sources import archives, download

CONTENT = random.Random(1).randbytes(700_000)


@pytest.fixture
def zenodo(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeZenodo]:
    with serve(FakeZenodo({"a.bin": CONTENT, "b.bin": CONTENT[:1000]})) as fake:
        monkeypatch.setenv(download.API_VARIABLE, fake.api)
        yield fake


def fetch(fake: FakeZenodo, folder: Path, name: str = "a.bin") -> Path:
    (file,) = [file for file in download.list_files(fake.doi) if file.name == name]
    return download.fetch(file, folder, progress=False)


def test_a_file_is_listed_and_fetched_once(zenodo: FakeZenodo, tmp_path: Path) -> None:
    files = download.list_files(zenodo.doi)
    assert [(file.name, file.size) for file in files] == [("a.bin", 700_000), ("b.bin", 1000)]
    assert files[0].md5 == hashlib.md5(CONTENT).hexdigest()
    path = fetch(zenodo, tmp_path)
    assert path.read_bytes() == CONTENT
    assert fetch(zenodo, tmp_path) == path
    assert zenodo.fetched("a.bin") == [None]
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("mood", ["truncate", "stall"])
def test_a_broken_download_goes_on_where_it_stopped(zenodo: FakeZenodo, tmp_path: Path, mood: str) -> None:
    zenodo.mood["a.bin"], zenodo.step = mood, 300_000
    assert fetch(zenodo, tmp_path).read_bytes() == CONTENT
    starts = [int(header.removeprefix("bytes=")[:-1]) for header in zenodo.fetched("a.bin")[1:] if header]
    assert len(starts) >= 2
    assert starts == sorted(set(starts)) and starts[0] >= 65536


@pytest.mark.parametrize(("mood", "part", "ranges"), [
    ("good", CONTENT[:400_000], ["bytes=400000-"]),  # where the first call was killed
    ("no-range", b"x" * 400_000, ["bytes=400000-"]),  # from the beginning
    ("busy", b"", [None] * 3),
])  # fmt: skip
def test_a_part_goes_on(zenodo: FakeZenodo, tmp_path: Path, mood: str, part: bytes, ranges: list[str | None]) -> None:
    zenodo.mood["a.bin"] = mood
    (tmp_path / "a.bin.part").write_bytes(part)
    assert fetch(zenodo, tmp_path).read_bytes() == CONTENT
    assert zenodo.fetched("a.bin") == ranges


@pytest.mark.parametrize(("mood", "says"), [
    ("html", "sent a web page instead of the file"),
    ("wrong", f"MD5 expected {hashlib.md5(CONTENT).hexdigest()}, found {hashlib.md5(bytes(700_000)).hexdigest()}"),
    ("gone", "answered 404"),
])  # fmt: skip
def test_what_is_not_the_file_is_refused_and_removed(zenodo: FakeZenodo, tmp_path: Path, mood: str, says: str) -> None:
    zenodo.mood["a.bin"] = mood
    refuses(f"^a.bin: .*{says}", fetch, zenodo, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_file_is_kept_and_a_foreign_part_thrown_away(zenodo: FakeZenodo, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"mine")
    refuses("differs from the record", fetch, zenodo, tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == b"mine"
    (tmp_path / "a.bin").unlink()
    (tmp_path / "a.bin.part").write_bytes(CONTENT + b"more")
    refuses("wrong content", fetch, zenodo, tmp_path)
    assert fetch(zenodo, tmp_path).read_bytes() == CONTENT


def test_what_arrived_is_never_lost(zenodo: FakeZenodo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, part = Path.open, tmp_path / "a.bin.part"
    part.write_bytes(CONTENT[:400_000])
    zenodo.mood["a.bin"], zenodo.step = "stall", 0
    refuses(r"a\.bin: 400000 of 700000 bytes .* nothing for 0\.3 s; repeat", fetch, zenodo, tmp_path)

    def full(path: Path, mode: str = "r", *args: object, **options: object) -> object:
        if path.suffix == ".part" and mode != "rb":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, mode, *args, **options)

    zenodo.mood.clear()
    with monkeypatch.context() as context:
        context.setattr(Path, "open", full)
        refuses(r"part: cannot be written \(no space left", fetch, zenodo, tmp_path)
    assert part.stat().st_size == 400_000


def test_records_that_cannot_be_listed(zenodo: FakeZenodo, monkeypatch: pytest.MonkeyPatch) -> None:
    refuses(r"doi:10\.5281/zenodo\.1: .*not a record with files.*--from", download.list_files, "10.5281/zenodo.1")
    zenodo.files = {"../a.bin": b"1"}
    refuses(r"file '\.\./a\.bin': no file", download.list_files, zenodo.doi)
    zenodo.files = {}
    refuses("not a record with files", download.list_files, zenodo.doi)
    zenodo.listing = "html"
    refuses("not a record with files", download.list_files, zenodo.doi)
    entry = {"key": "a.zip", "size": 10, "checksum": "md5:" + "0" * 32, "links": {"self": "http://127.0.0.1/a"}}
    for change in ({"size": -1}, {"size": 0}, {"size": 1e999}, {"size": 10**20}, {"key": 5}, {"links": 3},
                   {"links": {"self": "file:///etc/passwd"}}, {"checksum": "md5:"}):  # fmt: skip
        body = json.dumps({"files": [{**entry, **change}]}).encode()
        with monkeypatch.context() as context:
            context.setattr(download, "_answer", lambda _, body=body: body)
            refuses("not a record with files .key 'files", download.list_files, zenodo.doi)
    zenodo.listing = "good"
    with monkeypatch.context() as context:
        context.setattr(download, "_LARGEST_RECORD", 3)
        refuses("cannot reach the record .it does not end", download.list_files, zenodo.doi)
    with socket.socket() as idle:  # bound but not listening: nobody answers
        idle.bind(("127.0.0.1", 0))
        monkeypatch.setenv(download.API_VARIABLE, f"http://127.0.0.1:{idle.getsockname()[1]}/api/records")
        refuses(r"cannot reach the record \(no connection\).*--from FOLDER", download.list_files, zenodo.doi)


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in members.items():
            target.writestr(name, content)
    return path


def tarred(path: Path, entries: list[tarfile.TarInfo], content: bytes = b"x") -> Path:
    with tarfile.open(path, "w:gz") as target:
        for entry in entries:
            entry.size = len(content) if entry.isfile() else 0
            target.addfile(entry, io.BytesIO(content) if entry.isfile() else None)
    return path


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def unpack(archive: Path) -> Path:
    return archives.extract(archive, archive.parent / "out", progress=False)


def refused(archive: Path, says: str) -> None:
    """Assert that an archive is refused in one line that names it, and that nothing is left of it."""
    before = sorted(archive.parent.rglob("*"))
    assert archive.name in refuses(says, unpack, archive)
    assert sorted(archive.parent.rglob("*")) == before


def test_a_zip_of_zips_becomes_folders_and_is_unpacked_once(tmp_path: Path) -> None:
    inner = zipped(tmp_path / "Rio.zip", {"img/1.tif": b"1", "__MACOSX/x": b"", "dir/.DS_Store": b""}).read_bytes()
    archive = zipped(tmp_path / "all.zip", {"data/Rio.zip": inner, "data/readme.txt": b"hello"})
    out = unpack(archive)
    names = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert names == [archives.MARKER, "data/Rio/img/1.tif", "data/readme.txt"]
    stamp = (out / "data/readme.txt").stat().st_ino
    assert (unpack(archive) / "data/readme.txt").stat().st_ino == stamp
    (out / "data/Rio/img/1.tif").unlink()
    assert (unpack(archive) / "data/Rio/img/1.tif").read_bytes() == b"1"


def test_a_tar_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tarred(tmp_path / "a.tar.gz", [entry("d", tarfile.DIRTYPE), entry("d/1.tif"), entry("./2.tif")])
    with monkeypatch.context() as context:
        context.setattr(tarfile.TarFile, "extract", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
        refuses("no space left on device", unpack, archive)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]
    out = unpack(archive)
    assert (out / "d/1.tif").read_bytes() == (out / "2.tif").read_bytes() == b"x"


@given(st.lists(st.sampled_from(["..", ".", "a", "b.tif", "", "C:", "\\", "-x", "\x01"]), min_size=1, max_size=4))
@example(["..", "evil.tif"])
@example(["a", "..", "..", "evil.tif"])
@example(["", "tmp", "evil.tif"])
@example(["..\\evil.tif"])
@settings(max_examples=60)
def test_no_member_leaves_the_folder(tmp_path_factory: pytest.TempPathFactory, parts: list[str]) -> None:
    root, name = tmp_path_factory.mktemp("slip"), "/".join(parts)
    assume(name)
    zipped(root / "in.zip", {"ok.tif": b"1", name: b"2"})
    tarred(root / "in.tar.gz", [entry("ok.tif"), entry(name)])
    for archive in (root / "in.zip", root / "in.tar.gz"):
        try:
            out = archives.extract(archive, root / "target" / "out", progress=False)
        except UserError as error:
            assert "\n" not in str(error) and list((root / "target").iterdir()) == []
            shutil.rmtree(root / "target")
            continue
        assert ".." not in name.replace("\\", "/").split("/") and not name.startswith(("/", "\\", "C:"))
        assert all(path.resolve().is_relative_to(out) for path in out.rglob("*"))
        shutil.rmtree(root / "target")
    assert sorted(path.name for path in root.iterdir()) == ["in.tar.gz", "in.zip"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    entries = [entry("ok.tif"), entry("l", kind, "ok.tif"), entry("l/x")]
    refused(tarred(tmp_path / "link.tar.gz", entries), "is a link or a device")
    info = zipfile.ZipInfo("l")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as target:
        target.writestr(info, "/etc/passwd")
    refused(tmp_path / "link.zip", "is a link or a device")


def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = zipped(tmp_path / "bomb.zip", {"zeros.tif": bytes(3_000_000)})
    for name, limit in {"RATIO": 100, "FLOOR": 100_000, "FILES": 10, "RESERVE": 600_000}.items():
        monkeypatch.setattr(archives, name, limit)
    refused(archive, "decompression bomb")
    refused(tarred(tmp_path / "bomb.tar.gz", [entry("zeros.tif")], bytes(3_000_000)), "bomb")
    nested = zipped(tmp_path / "outer.zip", {"inner.zip": archive.read_bytes()})
    refused(nested, "decompression bomb")
    refused(zipped(tmp_path / "many.zip", {str(i): b"" for i in range(20)}), "too many files")
    for depth in range(5):
        nested = zipped(tmp_path / f"deep{depth}.zip", {"inner.zip": nested.read_bytes()})
    refused(nested, "nested too deeply")
    refused(zipped(tmp_path / "name.zip", {"..zip": archive.read_bytes()}), "no file or folder can be named after it")
    false = archive.read_bytes().replace((3_000_000).to_bytes(4, "little"), (100).to_bytes(4, "little"))
    (tmp_path / "liar.zip").write_bytes(false)  # says that it holds 100 bytes
    refused(tmp_path / "liar.zip", "damaged|bomb")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 10**6))
    whole = zipped(tmp_path / "whole.zip", {"a.tif": CONTENT})
    refused(whole, "more than is free")
    monkeypatch.setattr(archives, "RESERVE", 0)
    assert (unpack(whole) / "a.tif").read_bytes() == CONTENT, "what hardly shrinks is no bomb"


def test_damaged_and_foreign_archives_are_refused(tmp_path: Path) -> None:
    whole = zipped(tmp_path / "whole.zip", {"a.tif": CONTENT}).read_bytes()
    tar = tarred(tmp_path / "whole.tar.gz", [entry("a.tif")], CONTENT).read_bytes()
    for name, content, says in [
        ("cut.zip", whole[:-200_000], "truncated, damaged"),
        ("bad.zip", whole[:1000] + bytes(100) + whole[1100:], "truncated, damaged"),
        ("cut.tar.gz", tar[: len(tar) // 2], "truncated, damaged"),
        ("a.rar", b"Rar!\x1a\x07\x01\x00", "no zip or tar archive"),
        ("page.zip", b"\n<!doctype HTML><html>", "no zip or tar archive"),
        ("plain.tar.gz", b"\x1f\x8b\x08\x00garbage", "truncated, damaged"),
    ]:
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, says)
    refused(tarred(tmp_path / "twice.tar.gz", [entry("a.tif"), entry("a.tif")]), "holds 'a.tif' twice")
    refused(tarred(tmp_path / "case.tar.gz", [entry("d/a.tif"), entry("D/A.tif")]), "or once more in capitals")
    refused(zipped(tmp_path / "empty.zip", {"a.tif": b"1", ".": b"2"}), "has no name")
    for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE):
        header = entry("a", kind)
        header.size = 4_000_000_000
        (tmp_path / "header.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(10_000))
        refused(tmp_path / "header.tar", "a header of 4000000000 bytes|no zip or tar archive")
    out = unpack(zipped(tmp_path / "marker.zip", {f"{archives.MARKER}/x": b"1", "a.tif": b"1"}))
    assert (out / archives.MARKER).is_file()
    shutil.rmtree(out)
    refuses(r"absent\.zip: cannot be read", unpack, tmp_path / "absent.zip")


@pytest.mark.parametrize("encoding", ["gbk", "utf-8"])
def test_chinese_names_without_the_utf8_flag_are_read(tmp_path: Path, encoding: str) -> None:
    name = "汶川".encode(encoding)
    content = zipped(tmp_path / "a.zip", {"x" * len(name) + ".tif": b"1"}).read_bytes()
    (tmp_path / "a.zip").write_bytes(content.replace(b"x" * len(name), name))
    assert (unpack(tmp_path / "a.zip") / "汶川.tif").read_bytes() == b"1"
