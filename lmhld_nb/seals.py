"""Seals: digests that reveal damage when files are first opened in a process.

A sealed record is JSON with ``files`` (SHA-256 by name, of files beside it) and ``seal`` (that of its other content).
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any


def digest_of(path: Path, algorithm: str = "sha256") -> str:
    """Return a file's digest in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


# 4 files per run: a cache that is too small is useless
_digest = lru_cache(maxsize=1 << 20)(lambda path, size, changed: digest_of(path))


def digest_once(path: Path) -> str:
    """Return the SHA-256 of a file, read again in this process only if its size or date has changed."""
    status = path.stat()
    return _digest(path, status.st_size, status.st_mtime_ns)


def sealed(content: Mapping[str, Any], folder: Path, names: Iterable[str]) -> dict[str, Any]:
    """Return ``content`` with the digests of files in ``folder``, and its own; raises OSError."""
    return sealed_with(content, {name: digest_of(folder / name) for name in names})


def sealed_with(content: Mapping[str, Any], digests: Mapping[str, str]) -> dict[str, Any]:
    """Return ``content`` with the digests of its files by name, and its own; what is no number becomes None."""
    record = json.loads(json.dumps({**content, "files": digests}), parse_constant=lambda _: None)
    return {**record, "seal": seal_of(record)}


def damage(record: Mapping[str, Any], folder: Path) -> str:
    """Return what has changed in a sealed record since it was written, "" if nothing; raises OSError.

    Files are read as in `digest_once`.
    """
    if record.get("seal") != seal_of(record):
        return "has other content than it was sealed with" if "seal" in record else "is not sealed"
    for name, expected in record["files"].items():
        if digest_once(folder / name) != expected:
            return f"{name} is not as it was written"
    return ""


def seal_of(record: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a record without its seal."""
    content = json.dumps({key: value for key, value in record.items() if key != "seal"}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()
