"""Archives unpacked safely: nothing leaves the target folder, no bombs, all or nothing."""

from __future__ import annotations

import json
import lzma
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from tqdm import tqdm

from lmhld_nb import config
from lmhld_nb.config import UserError

_SUFFIX = re.compile(r"\.(zip|tar|tgz|tbz2?|txz|tar\.(gz|bz2|xz)|rar|7z)$", re.IGNORECASE)
_MAGIC = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),  # an empty archive
    (b"PK\x07\x08", "split zip"),
    (b"\x1f\x8b", "tar"),
    (b"BZh", "tar"),
    (b"\xfd7zXZ\x00", "tar"),
    (b"Rar!", "rar"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
)
_CLUTTER = {"__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini"}
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, RuntimeError)
MARKER = ".extracted.json"


@dataclass(frozen=True)
class Limits:
    """What an archive may grow to.

    Attributes:
        files: number of files, nested archives included.
        ratio: unpacked bytes for one packed byte; judged only above ``floor`` bytes, because masks that are
            mostly zeros pack a thousandfold in all innocence.
        floor: unpacked bytes below which the ratio is not judged.
        reserve: bytes that stay free on the disk.
        depth: archives inside archives.
    """

    files: int = 2_000_000
    ratio: float = 200.0
    floor: int = 1 << 30
    reserve: int = 256 << 20
    depth: int = 3


LIMITS = Limits()


def is_archive(path: Path) -> bool:
    """Say whether ``path`` is named like an archive (also of the kinds that are refused: rar, 7z)."""
    return _SUFFIX.search(path.name) is not None


def stem(path: Path) -> str:
    """Return the name of ``path`` without its archive suffix: ``Rio.tar.gz`` gives ``Rio``."""
    return _SUFFIX.sub("", path.name)


def sniff(path: Path) -> str:
    """Return what the first bytes of ``path`` are: zip, split zip, tar, rar, 7z, html or other."""
    with path.open("rb") as file:
        head = file.read(1024)
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[257:262] == b"ustar":
        return "tar"
    if re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype html|html|head)\b", head, re.IGNORECASE):
        return "html"
    return "other"


def extract(archive: Path, folder: Path, progress: bool = True, limits: Limits | None = None) -> Path:
    """Unpack ``archive`` (zip, tar, tar.gz/bz2/xz) and the archives inside it into ``folder``.

    Everything is written to a temporary folder that takes its name at the end, so ``folder`` is complete or
    absent; a second call on the same archive does nothing. An inner archive ``Rio.zip`` becomes the folder
    ``Rio``.

    Raises:
        UserError: not an archive that can be read, truncated, encrypted, a member that would be written
            outside the folder or is a link or a device, the same name twice, too large or too many
            files, disk full.
    """
    limits = limits or LIMITS
    try:
        status = archive.stat()
    except OSError as error:
        raise UserError(
            f"{archive}: cannot be read ({error.strerror}); give an archive that exists"
        ) from error
    seal: dict[str, object] = {
        "archive": archive.name,
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
    }
    if _sealed(folder, seal):
        return folder
    budget = _Budget(archive, folder, status.st_size, limits)
    with (
        config.atomic_path(folder) as temporary,
        tqdm(desc=archive.name, unit="B", unit_scale=True, disable=not progress) as bar,
    ):
        _unpack(archive, temporary, budget, bar.update, archive.name, limits.depth)
        (temporary / MARKER).write_text(json.dumps(seal | _census(temporary)), encoding="utf-8")
    return folder


def _sealed(folder: Path, seal: dict[str, object]) -> bool:
    """Say whether ``folder`` was made from this archive and none of its files is gone or has another size."""
    try:
        found = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    return bool(found == seal | _census(folder))


def _census(folder: Path) -> dict[str, int]:
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name != MARKER]
    return {"files": len(sizes), "bytes": sum(sizes)}


class _Budget:
    """Counts what is really written, because sizes declared inside an archive may lie."""

    def __init__(self, archive: Path, folder: Path, packed: int, limits: Limits) -> None:
        self.archive, self.limits = archive, limits
        self.free = shutil.disk_usage(_existing(folder)).free - limits.reserve
        self.most = max(float(limits.floor), limits.ratio * packed)
        self.bytes = self.files = 0

    def file(self) -> None:
        self.files += 1
        if self.files > self.limits.files:
            raise UserError(
                f"{self.archive}: more than {self.limits.files} files; unpack it by hand if you trust it"
            )

    def take(self, count: int) -> None:
        self.check(self.bytes + count)
        self.bytes += count

    def check(self, total: int) -> None:
        if total > self.most:
            raise UserError(
                f"{self.archive}: unpacks to more than {self.most / 1e6:.0f} MB, {self.limits.ratio:.0f} "
                "times its size or more, like a decompression bomb; unpack it by hand if you trust it"
            )
        if total > self.free:
            raise UserError(
                f"{self.archive}: needs more than the {max(self.free, 0) / 1e9:.2f} GB free on the disk; "
                "free space or move the data folder with LMHLD_DATA"
            )


def _existing(path: Path) -> Path:
    return next(parent for parent in (path, *path.absolute().parents) if parent.exists())


def _unpack(
    archive: Path, folder: Path, budget: _Budget, told: Callable[[int], object], label: str, depth: int
) -> None:
    """Unpack into ``folder`` (made here); ``label`` names the archive in messages, with its outer archive."""
    kind = sniff(archive)
    if kind in ("rar", "7z", "split zip"):
        raise UserError(
            f"{label}: {kind} archives cannot be read; unpack it by hand and give the folder with --from"
        )
    if kind == "html":
        raise UserError(f"{label}: is a web page, not an archive; download the file itself again")
    if kind == "other":
        raise UserError(
            f"{label}: not a zip or tar archive, or damaged; get it again or give the unpacked folder"
        )
    folder.mkdir(parents=True)
    members = _zip_members if kind == "zip" else _tar_members
    try:
        for name, open_member in members(archive, label, budget):
            budget.file()
            _write(name, open_member, folder, budget, told, label)
    except _DAMAGED as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{label}: truncated, damaged or encrypted ({reason}); delete it and get it again"
        ) from error
    for inner in sorted(path for path in folder.rglob("*") if path.is_file() and is_archive(path)):
        if depth == 0:
            raise UserError(f"{label}: archives nested too deeply ({inner.name}); unpack it by hand")
        target = inner.with_name(stem(inner))
        if target.exists():  # a folder of that name lies beside the archive
            target = inner.with_name(inner.name + ".d")
        _unpack(inner, target, budget, told, f"{label}/{inner.relative_to(folder)}", depth - 1)
        inner.unlink()


_Member = tuple[PurePosixPath, Callable[[], IO[bytes]]]


def _zip_members(archive: Path, label: str, budget: _Budget) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as source:
        entries = source.infolist()
        # Judged before anything is written; the budget counts again, in case the sizes are false.
        budget.check(budget.bytes + sum(entry.file_size for entry in entries))
        for entry in entries:
            mode = entry.external_attr >> 16
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise UserError(
                    f"{label}: member {entry.filename!r} is a link or a device; "
                    "unpack it by hand if you trust it"
                )
            name = _safe(_zip_name(entry), label)
            if not entry.is_dir() and not _CLUTTER.intersection(name.parts):
                yield name, lambda entry=entry: source.open(entry)  # type: ignore[misc]


def _tar_members(archive: Path, label: str, budget: _Budget) -> Iterator[_Member]:
    with tarfile.open(archive, "r:*") as source:
        for entry in source:
            if not (entry.isfile() or entry.isdir()):
                raise UserError(
                    f"{label}: member {entry.name!r} is a link or a device; unpack it by hand if you trust it"
                )
            name = _safe(entry.name, label)
            if entry.isfile() and not _CLUTTER.intersection(name.parts):
                budget.check(budget.bytes + entry.size)
                stream = source.extractfile(entry)
                assert stream is not None  # only links and devices give None
                yield name, lambda stream=stream: stream  # type: ignore[misc]


def _zip_name(entry: zipfile.ZipInfo) -> str:
    """Return a member's name, mending what zip tools on Chinese Windows write without saying so."""
    if entry.flag_bits & 0x800 or entry.filename.isascii():
        return entry.filename
    raw = entry.filename.encode("cp437")
    for encoding in ("utf-8", "gbk"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return entry.filename


def _safe(name: str, label: str) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or "\0" in name or re.match(r"[A-Za-z]:", name):
        raise UserError(
            f"{label}: member {name!r} would be written outside the folder; do not trust this archive"
        )
    return path


def _write(
    name: PurePosixPath,
    open_member: Callable[[], IO[bytes]],
    folder: Path,
    budget: _Budget,
    told: Callable[[int], object],
    label: str,
) -> None:
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        file = target.open("xb")
    except FileExistsError as error:
        raise UserError(
            f"{label}: holds {str(name)!r} twice; unpack it by hand and keep the right one"
        ) from error
    with open_member() as source, file:
        while chunk := source.read(1 << 20):
            budget.take(len(chunk))
            file.write(chunk)
            told(len(chunk))
