"""Files of a Zenodo record or another address: listed, downloaded, and verified before they get their name.

A transfer continues where the last one stopped: LMHLD's archives are large, and pooch would start from scratch.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import requests
from pydantic import AliasPath, Field, ValidationError
from tqdm import tqdm

from lmhld_nb import __version__, config
from lmhld_nb.config import UserError, short
from lmhld_nb.seals import digest_of

API = "https://zenodo.org/api/records"
API_VARIABLE = "LMHLD_ZENODO_API"  # environment variable with another base address (a mirror, or a test server)
TIMEOUT = (15.0, 60.0)  # time-outs in seconds of a connection, and of the next bytes on it
ATTEMPTS = 6  # in a row without a byte, before the download is abandoned
PAUSE = 2.0  # seconds before the next attempt, doubled after each without a byte, up to a minute

# No compression: a compressed transfer could not be resumed at a byte position.
_HEADERS = {"User-Agent": f"lmhld-nb/{__version__}", "Accept-Encoding": "identity"}
_CHUNK = 1 << 16  # lost in a stall at most
_LARGEST_RECORD = 16 << 20  # bytes
_LARGEST_FILE = 100 << 30  # bytes, if the size is not known beforehand
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class RemoteFile:
    """One file: name, address, size in bytes and MD5 (hexadecimal); None if not known beforehand."""

    name: str
    url: str
    size: int | None = None  # without it, a transfer cannot be resumed: it starts again
    md5: str | None = None


class _Entry(config.Strict, extra="ignore"):
    key: str
    size: int = Field(ge=1, lt=2**50)
    checksum: str = Field(pattern=r"^md5:[0-9a-f]{32}$")
    address: str = Field(validation_alias=AliasPath("links", "self"), pattern=r"^https?://")


class _Record(config.Strict, extra="ignore"):
    """The part of a Zenodo record that is read."""

    files: tuple[_Entry, ...] = Field(min_length=1, max_length=10_000)


def _answer(address: str) -> bytes:
    """Return a server's answer; requests' error if it is longer than any record, or takes more than a minute."""
    content, end = b"", time.monotonic() + 60
    with requests.get(address, headers=_HEADERS, timeout=TIMEOUT, stream=True) as answer:
        for chunk in answer.iter_content(_CHUNK):
            content += chunk
            if len(content) > _LARGEST_RECORD or time.monotonic() > end:
                raise requests.RequestException("it does not end")
    return content


def list_files(doi: str) -> list[RemoteFile]:
    """List the files of the Zenodo record ``doi``; UserError if there is no connection or no record."""
    hint = "try later, or download its files in a browser and adopt them with --from FOLDER"
    address = f"{os.environ.get(API_VARIABLE, API).rstrip('/')}/{doi.rsplit('.', 1)[-1]}"
    try:
        record = _Record.model_validate_json(_answer(address))
    except ValidationError as error:  # a web page, or an error record
        problem = f"the server's answer is not a record with files ({config.explain(error)})"
        raise UserError(f"doi:{doi}: {problem}; {hint}") from error
    except requests.RequestException as error:
        raise UserError(f"doi:{doi}: cannot reach the record ({_reason(error)}); {hint}") from error
    files = [RemoteFile(e.key, e.address, e.size, e.checksum.removeprefix("md5:")) for e in record.files]
    for file in files:
        config.safe_name(file.name, f"doi:{doi}: file")
    return files


def fetch(file: RemoteFile, folder: Path, progress: bool = True) -> Path:
    """Download a file into ``folder`` and verify it, continuing an earlier attempt (``NAME.part``)."""
    target, part = folder / file.name, folder / f"{file.name}.part"
    if target.is_file():
        if file.md5 is None or (target.stat().st_size == file.size and digest_of(target, "md5") == file.md5):
            return target
        reason = f"differs from the record (MD5 should be {file.md5})"
        raise UserError(f"{target}: {reason}; remove it and repeat the command")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tqdm(desc=file.name, total=file.size, unit="B", unit_scale=True, disable=not progress) as bar:
            _complete(file, part, bar)
        if file.md5 is not None and (md5 := digest_of(part, "md5")) != file.md5:
            part.unlink()
            problem = f"wrong content: MD5 expected {file.md5}, found {md5}"
            raise UserError(f"{file.name}: {problem}; it was deleted, repeat the command")
        part.replace(target)
    except OSError as error:
        raise config.cannot_write(part, error) from error
    return target


def _complete(file: RemoteFile, part: Path, bar: tqdm) -> None:
    """Reconnect until ``part`` has the file's size, or a transfer has reached its end."""
    silent = 0
    while file.size is None or not part.exists() or _size(part) < file.size:
        before, problem = _size(part), "the server closed the connection"
        try:
            _transfer(file, part, bar)
            if (file.size or 0) <= _size(part):
                return
        except requests.RequestException as error:
            problem = _reason(error)
            if error.response is not None and error.response.status_code not in _TRANSIENT:
                mend = "download it in a browser and adopt it with --from"
                raise UserError(f"{file.name}: {problem} for {file.url}; {mend}") from error
        silent = 0 if _size(part) > before else silent + 1
        if silent >= ATTEMPTS:
            arrived = f"{_size(part)} of {file.size or 'unknown'} bytes arrived, then {problem}"
            raise UserError(f"{file.name}: {arrived}; repeat the command to continue, or adopt the data with --from")
        time.sleep(min(PAUSE * 2**silent, 60.0))


def _transfer(file: RemoteFile, part: Path, bar: tqdm) -> None:
    have = _size(part) if file.size is not None else 0
    headers = _HEADERS | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(file.url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        answer.raise_for_status()
        if "text/html" in answer.headers.get("Content-Type", "") and not file.name.endswith(".html"):
            mend = "try later, or download it in a browser and adopt it with --from"
            raise UserError(f"{file.name}: the server sent a web page instead of the file; {mend}")
        resumed = answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        bar.n = have if resumed else 0
        with part.open("ab" if resumed else "wb") as sink:
            for chunk in answer.iter_content(_CHUNK):
                sink.write(chunk)
                bar.update(len(chunk))
                if sink.tell() > (file.size or _LARGEST_FILE):  # cannot be right: do not wait for the end
                    break


def _reason(error: requests.RequestException) -> str:
    """Say in a few words why there was no answer, or why it broke off."""
    if error.response is not None:
        return f"the server answered {error.response.status_code}"
    if isinstance(error, requests.Timeout) or "timed out" in str(error):  # the form of a time-out in mid-answer
        return f"nothing for {TIMEOUT[1]:g} s"
    return "no connection" if isinstance(error, requests.ConnectionError) else short(error)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
