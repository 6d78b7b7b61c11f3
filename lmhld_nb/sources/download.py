"""Files of a Zenodo record: listed, fetched with resume, verified before they get their name.

Zenodo's own interface lists a record with its files' sizes and MD5s. A transfer goes on where the last one stopped,
because LMHLD's archives are large (pooch would start again from nothing).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import requests
from tqdm import tqdm

from lmhld_nb import __version__, config
from lmhld_nb.config import UserError
from lmhld_nb.sources import archives

API = "https://zenodo.org/api/records"
API_VARIABLE = "LMHLD_ZENODO_API"
"""Environment variable with another base address of Zenodo's record API (a mirror, or a test server)."""

# Whole bytes: a packed transfer could not be resumed at a byte position.
_HEADERS = {"User-Agent": f"lmhld-nb/{__version__}", "Accept-Encoding": "identity"}
_CHUNK = 1 << 16  # what a stall costs at most
_PASSING = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Patience:
    """How long a transfer is waited for.

    Attributes:
        connect, read: seconds until a connection, or the next bytes on it, are given up.
        attempts: attempts in a row that bring no byte before the download is given up.
        pause: seconds before the second attempt in a row, doubled each time up to a minute.
    """

    connect: float = 15.0
    read: float = 60.0
    attempts: int = 6
    pause: float = 2.0


PATIENCE = Patience()


@dataclass(frozen=True)
class RemoteFile:
    """One file of a record: name, address, size in bytes and MD5 (hexadecimal)."""

    name: str
    url: str
    size: int
    md5: str


def list_files(doi: str) -> list[RemoteFile]:
    """List the files of the Zenodo record that ``doi`` names.

    Raises:
        UserError: no connection, no such record, or an answer that is not a record.
    """
    hint = "; try later, or download its files in a browser and adopt them with --from FOLDER"
    address = f"{os.environ.get(API_VARIABLE, API).rstrip('/')}/{doi.rsplit('.', 1)[-1]}"
    try:
        answer = requests.get(address, headers=_HEADERS, timeout=(PATIENCE.connect, PATIENCE.read))
        files = [
            RemoteFile(
                str(entry["key"]),
                entry["links"]["self"],
                int(entry["size"]),
                entry["checksum"].removeprefix("md5:"),
            )
            for entry in answer.json()["files"]
        ]
    except requests.exceptions.JSONDecodeError as error:
        raise UserError(f"doi:{doi}: the server sent a web page instead of the record's list{hint}") from error
    except requests.ConnectionError as error:
        raise UserError(f"doi:{doi}: cannot reach the record (no connection){hint}") from error
    except requests.RequestException as error:
        raise UserError(f"doi:{doi}: cannot reach the record ({_short(error)}){hint}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"doi:{doi}: the server's answer is not a record with files ({_short(error)}){hint}") from error
    if not files:
        raise UserError(f"doi:{doi}: the record has no files; correct the DOI in the data set's YAML")
    for file in files:
        config.safe_name(file.name, f"doi:{doi}: file")
        if not re.fullmatch(r"[0-9a-f]{32}", file.md5):
            raise UserError(f"doi:{doi}: no MD5 for {file.name}{hint}")
    return files


def choose(files: list[RemoteFile], pinned: dict[str, str], doi: str) -> list[RemoteFile]:
    """Return the files that ``pinned`` (name to MD5) names, or all where it is empty.

    Raises:
        UserError: a pinned file is missing, or the record lists another MD5 for it.
    """
    by_name = {file.name: file for file in files}
    for name, md5 in pinned.items():
        if name not in by_name:
            raise UserError(f"doi:{doi}: holds no {name}; correct `files:` in the data set's YAML")
        if by_name[name].md5 != md5.lower():
            raise UserError(
                f"doi:{doi}: lists MD5 {by_name[name].md5} for {name}, the data set's YAML says {md5}; "
                "the record was changed: correct `files:` once you know why"
            )
    return [by_name[name] for name in pinned] or files


def fetch_all(files: list[tuple[RemoteFile, Path]], progress: bool = True) -> list[Path]:
    """Fetch each file into its folder and return the paths; space is checked before the first byte.

    Raises:
        UserError: not enough space, or anything ``fetch`` raises.
    """
    missing = 0
    for file, folder in files:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(folder, error) from error
        target = folder / file.name
        missing += max(file.size - max(_size(target), _size(_part(target))), 0)
    if files and missing > (free := shutil.disk_usage(files[0][1]).free):
        raise UserError(
            f"{files[0][1]}: {missing / 1e9:.2f} GB to download, {free / 1e9:.2f} GB free; "
            "free space or move the data folder with LMHLD_DATA"
        )
    return [fetch(file, folder, progress) for file, folder in files]


def fetch(file: RemoteFile, folder: Path, progress: bool = True) -> Path:
    """Fetch one file into ``folder``, continuing where an earlier attempt stopped, and verify it.

    What arrives is kept in ``NAME.part``; the final name appears only when size and MD5 are right.

    Raises:
        UserError: the server stays silent or refuses, sends a web page or wrong bytes, or the disk is full.
    """
    target = folder / file.name
    part = _part(target)
    if target.is_file():
        if target.stat().st_size == file.size and file_md5(target) == file.md5:
            return target
        raise UserError(
            f"{target}: differs from the record (MD5 should be {file.md5}); remove it and repeat the command"
        )
    silent = 0
    bar = tqdm(desc=file.name, total=file.size, unit="B", unit_scale=True, disable=not progress)
    try:
        with bar:
            while (have := _size(part)) < file.size or not part.exists():
                problem = _transfer(file, part, bar)
                silent = 0 if _size(part) > have else silent + 1
                if problem and silent >= PATIENCE.attempts:
                    raise UserError(
                        f"{file.name}: {_size(part)} of {file.size} bytes arrived, then {problem}; "
                        "repeat the command to continue from there"
                    )
                if problem:
                    time.sleep(min(PATIENCE.pause * 2**silent, 60.0))
        _verify(file, part)
        part.replace(target)
    except OSError as error:
        raise _unwritable(part, error) from error
    return target


def file_md5(path: Path) -> str:
    """Return the MD5 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _transfer(file: RemoteFile, part: Path, bar: tqdm) -> str | None:
    """Append to ``part`` what one connection brings; return why it ended early, or None."""
    have = _size(part)
    headers = _HEADERS | ({"Range": f"bytes={have}-"} if have else {})
    timeout = (PATIENCE.connect, PATIENCE.read)
    try:
        with requests.get(file.url, headers=headers, stream=True, timeout=timeout) as answer:
            if answer.status_code == 416:  # our part is not a beginning of what the server has
                part.unlink()
                return "the server refused to continue"
            if answer.status_code in _PASSING:
                return f"the server answered {answer.status_code}"
            if answer.status_code >= 400:
                raise UserError(
                    f"{file.name}: the server answered {answer.status_code} for {file.url}; "
                    "download it in a browser and adopt it with --from"
                )
            if "text/html" in answer.headers.get("Content-Type", "") and not file.name.endswith(".html"):
                raise _web_page(file)
            content_range = answer.headers.get("Content-Range", "")
            resumed = answer.status_code == 206 and content_range.startswith(f"bytes {have}-")
            bar.n = have if resumed else 0
            with part.open("ab" if resumed else "wb") as sink:
                for chunk in answer.iter_content(_CHUNK):
                    sink.write(chunk)
                    bar.update(len(chunk))
                    if sink.tell() > file.size:  # cannot be right: no use waiting for the end
                        return None
    except requests.Timeout:
        return f"nothing for {PATIENCE.read:g} s"
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
        if "timed out" in str(error):  # what requests makes of a time-out in mid-answer
            return f"nothing for {PATIENCE.read:g} s"
        return f"the connection broke ({_short(error)})"
    except requests.RequestException as error:
        raise UserError(f"{file.name}: cannot be fetched ({_short(error)}); correct the data set's YAML") from error
    return None if _size(part) >= file.size else "the server closed the connection"


def _verify(file: RemoteFile, part: Path) -> None:
    md5 = file_md5(part)
    if md5 == file.md5:
        return
    page = archives.sniff(part) == "html"
    part.unlink()
    if page:
        raise _web_page(file)
    raise UserError(
        f"{file.name}: wrong content: MD5 expected {file.md5}, found {md5}; it was deleted, repeat the command"
    )


def _web_page(file: RemoteFile) -> UserError:
    return UserError(
        f"{file.name}: the server sent a web page instead of the file; try later, "
        "or download it in a browser and adopt it with --from"
    )


def _unwritable(path: Path, error: OSError) -> UserError:
    reason = (error.strerror or str(error)).lower()
    return UserError(f"{path}: cannot be written ({reason}); free space or move the data folder with LMHLD_DATA")


def _part(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _short(error: object) -> str:
    return " ".join(str(error).split())[:120]
