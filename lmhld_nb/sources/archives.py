"""Safe unpacking of archives: nothing outside the target folder, no bombs, all or nothing."""

import json
import lzma
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from lmhld_nb import config
from lmhld_nb.config import UserError
from lmhld_nb.scenes import rasters

MARKER = ".extracted.json"
_SUFFIX = re.compile(r"\.(zip|tar|tgz|tbz2?|txz|tar\.(gz|bz2|xz)|rar|7z)$", re.IGNORECASE)
_VOLUME = re.compile(r"\.(\d{3}|z\d\d|part\d+\.rar)$", re.IGNORECASE)
_CLUTTER = {"__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini", MARKER}
Take = Callable[[str], str | None]  # from a member's name to its target path, None to leave it out
# Limits of unpacking.
FILES = 2_000_000  # including nested archives
RATIO = 200.0  # unpacked bytes per packed byte; harmless masks of zeros reach a thousand, so
FLOOR = 1 << 30  # this is checked only above so many unpacked bytes
HEADER = 1 << 16  # bytes of a member's name and attributes; tar allows 8 GB, which Python reads into memory
RESERVE = 256 << 20  # bytes to leave free on the disk
LONGEST = 1000  # bytes of a member's path
DEPTH = 3  # archives inside archives
_DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, RuntimeError, ValueError, OverflowError,
    struct.error,
)  # fmt: skip


class _Member(tarfile.TarInfo):
    """A member of a tar whose extended header is refused if it is large."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        extended = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE)
        if self.type in (*extended, tarfile.SOLARIS_XHDTYPE) and not 0 <= self.size <= HEADER:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        return super()._proc_member(archive)  # type: ignore[misc]


@dataclass
class _Unpacking:
    """An archive being unpacked, and the remaining limits, by declared sizes (false ones mean damage)."""

    archive: Path
    files: int
    bytes: float
    bar: tqdm
    take: Take
    names: set[str] = field(default_factory=set)

    def count(self, size: int) -> None:
        """Count a member before it is written; refuse too many, or too many bytes."""
        self.files, self.bytes = self.files - 1, self.bytes - size
        self.bar.update(size)
        if self.files < 0:
            raise UserError(f"{self.archive}: holds too many files; unpack it by hand if you trust it")
        if self.bytes < 0:
            problem = "unpacks to more than is free, or than its size suggests (a decompression bomb)"
            mend = "free space or move the data folder with LMHLD_DATA, or unpack it by hand if you trust it"
            raise UserError(f"{self.archive}: {problem}; {mend}")


def is_archive(path: Path) -> bool:
    """Whether ``path`` is named like an archive (including the refused kinds: rar, 7z, volumes)."""
    return (_SUFFIX.search(path.name) or _VOLUME.search(path.name)) is not None


def stem(path: Path, label: str = "") -> str:
    """Return the name of ``path`` without its archive suffix; UserError if it cannot be the name of a folder."""
    return config.safe_name(_SUFFIX.sub("", path.name), f"{label or path}: folder")


def extract(archive: Path, folder: Path, progress: bool = True, take: Take = str) -> Path:
    """Unpack ``archive`` (zip, tar, tar.gz/bz2/xz) and archives inside it, once; ``folder`` is complete or absent.

    ``take`` selects members of a tar. UserError if it is not an archive, damaged, encrypted, too large or unsafe.
    """
    config.check_kind(archive)
    if _VOLUME.search(archive.name) or archive.with_suffix(".z01").exists():
        raise UserError(f"{archive}: is one volume of several; unpack them (7-Zip) and give the folder with --from")
    with rasters.readable(archive, "cannot be read", "give an archive that exists", OSError):
        status = archive.stat()
    seal = {"archive": archive.name, "size": status.st_size, "mtime_ns": status.st_mtime_ns}
    with suppress(FileNotFoundError, NotADirectoryError, ValueError):
        if json.loads((folder / MARKER).read_text(encoding="utf-8")) == seal | _count_files(folder):
            return folder
    existing = next(parent for parent in folder.absolute().parents if parent.exists())
    size = min(max(FLOOR, RATIO * status.st_size), shutil.disk_usage(existing).free - RESERVE)
    with (
        config.atomic_path(folder) as temporary,
        tqdm(desc=archive.name, unit="B", unit_scale=True, disable=not progress) as bar,
    ):
        _unpack(archive, temporary, _Unpacking(archive, FILES, size, bar, take), archive.name, DEPTH)
        (temporary / MARKER).write_text(json.dumps(seal | _count_files(temporary)), encoding="utf-8")
    return folder


def _count_files(folder: Path) -> dict[str, int]:
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name != MARKER]
    return {"files": len(sizes), "bytes": sum(sizes)}


def _unpack(archive: Path, folder: Path, state: _Unpacking, label: str, depth: int) -> None:
    """Unpack into ``folder`` (created here); ``label`` names the archive in messages, with its outer archive."""
    folder.mkdir(parents=True)
    problem = "no zip or tar archive, or truncated, damaged or encrypted"
    mend = "get it again, or unpack it by hand and give the folder with --from"
    with rasters.readable(label, problem, mend, *_DAMAGED):
        (_unzip if zipfile.is_zipfile(archive) else _untar)(archive, folder, state, label)
    for inner in sorted(path for path in folder.rglob("*") if path.is_file() and is_archive(path)):
        if depth == 0:
            raise UserError(f"{label}: archives nested too deeply ({inner.name}); unpack it by hand")
        inner_label = f"{label}/{inner.relative_to(folder)}"
        target = inner.with_name(stem(inner, inner_label))
        if target.exists():  # there is a folder of that name beside the archive
            target = inner.with_name(inner.name + ".d")
        _unpack(inner, target, state, inner_label, depth - 1)
        inner.unlink()


def _unzip(archive: Path, folder: Path, state: _Unpacking, label: str) -> None:
    with _open_zip(archive) as source:
        for entry in source.infolist():
            plain = stat.S_IFMT(entry.external_attr >> 16) in (0, stat.S_IFREG, stat.S_IFDIR)
            if name := _member_name(entry.orig_filename, plain, entry.filename.endswith("/"), folder, label, state):
                state.count(entry.file_size)
                entry.filename = name
                source.extract(entry, folder)


def _untar(archive: Path, folder: Path, state: _Unpacking, label: str) -> None:
    with tarfile.open(archive, "r:*", tarinfo=_Member) as source:
        for entry in source:
            if (taken := state.take(entry.name)) is None:
                state.count(entry.size)  # it is read, although not written
                continue
            if name := _member_name(taken, entry.isfile() or entry.isdir(), entry.isdir(), folder, label, state):
                state.count(entry.size)
                # Files get permissions from this user's umask, not those in the archive.
                source.extract(entry.replace(name=name, deep=False), folder, set_attrs=False, filter="data")


def _open_zip(archive: Path) -> zipfile.ZipFile:
    """Open a zip, including names that tools on Chinese Windows write without declaring the encoding."""
    for encoding in ("utf-8", "gbk"):
        with suppress(UnicodeDecodeError):
            return zipfile.ZipFile(archive, metadata_encoding=encoding)
    return zipfile.ZipFile(archive)


def _member_name(name: str, plain: bool, is_folder: bool, folder: Path, label: str, state: _Unpacking) -> str | None:
    """Return a member's target path below ``folder``, None for folders and clutter; refuse unsafe ones."""
    if not plain:
        raise UserError(f"{label}: member {name!r} is a link or a device; unpack it by hand if you trust it")
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or "\0" in name or re.match(r"[A-Za-z]:", name):
        raise UserError(f"{label}: member {name!r} would be written outside the folder; do not trust this archive")
    if is_folder or _CLUTTER.intersection(path.parts):
        return None
    if not path.name or len(name.encode(errors="surrogateescape")) > LONGEST:
        raise UserError(f"{label}: member {name[:80]!r} has no name, or one that is too long; unpack it by hand")
    # Some file systems treat a.tif and A.tif as one file: the result must not depend on that.
    key = str(folder / path).casefold()
    if key in state.names or (folder / path).exists():
        problem = f"holds {str(path)!r} twice, or once more in capitals"
        raise UserError(f"{label}: {problem}; unpack it by hand and keep the right one")
    state.names.add(key)
    return str(path)
