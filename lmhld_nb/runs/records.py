"""Records: finished runs without weights, with the predictions that figures show; one file per edition.

``records.tar.xz`` holds RUN_ID/FILE for each run, and records.json: the version, the profile, and a digest of the files
of each run. They are read here and written by ``tools/write_records.py``, such that they compress well: files of the
same name are adjacent, a table of counts, FILE.columns, is stored by columns (`table`), and FILE.brief lacks what
follows from the rest (`unabridged`).
"""

import hashlib
import io
import json
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from lmhld_nb import seals
from lmhld_nb.config import ROOT, UserError, atomic_path, cannot_read, printable, runs_dir
from lmhld_nb.evaluation.counts import Confusion
from lmhld_nb.runs.store import RECORDED, SHOWN, Busy, lock
from lmhld_nb.training import scoring

MANIFEST = "records.json"
VERSION = 5
COLUMNS, BRIEF = ".columns", ".brief"
LARGEST = 200_000_000  # bytes, unpacked
LARGEST_MEMBER = {BRIEF: 30_000, COLUMNS: 2_000_000}  # four and thirty times the largest: both grow when they are read
_REQUIRED = ("spec.json", "history.csv", "metrics.json", scoring.PATCHES_FILE)
RUN_FILES = (*_REQUIRED, "environment.json", scoring.WHOLE_AREA_FILE, scoring.BLOCKS_FILE)
_MEMBER = re.compile(rf"([0-9a-f]{{16}})/({'|'.join(map(re.escape, RUN_FILES))}|{SHOWN}/\w[^/\\]*\.npz)")

_UNREADABLE = (
    lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, LookupError,
    TypeError, AttributeError, ArithmeticError,
)  # fmt: skip

Files = dict[str, bytes]


@dataclass(frozen=True)
class Records:
    """The records of a profile's edition: the files of each run by name, by run id."""

    profile: str
    runs: dict[str, Files]

    def metrics(self, run_id: str) -> dict[str, Any]:
        """Return the content of a run's metrics.json; raises `UserError` if the run is not recorded."""
        if run_id not in self.runs:
            raise UserError(f"run '{run_id}': not in the records of '{self.profile}', which hold {len(self.runs)} runs")
        return dict(json.loads(self.runs[run_id]["metrics.json"]))


def path(profile: str) -> Path:
    """Return the path of the records of a profile's published edition, whether or not they exist."""
    return ROOT / "figures" / profile / "records.tar.xz"


def digest(files: Mapping[str, bytes]) -> str:
    """Return the digest of a run's files in records.json: 16 hexadecimal digits, enough to detect damage."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()[:16]


def read(path: Path, profile: str) -> Records:
    """Read records and check all of them.

    UserError if they are missing, damaged, foreign, of another version, too large, or do not match their digests.
    """
    way_out = f"get the file again, or delete it and make the runs with `lmhld run {profile}`"
    try:
        content = _unpacked(path)
        manifest = json.loads(content.pop(MANIFEST))
        if manifest["version"] != VERSION:
            both = f"records of version {manifest['version']}, this is version {VERSION}"
            raise UserError(f"{path}: {both}; get the records that belong to this version of the book")
        if manifest["profile"] != profile:
            raise UserError(f"{path}: records of profile '{manifest['profile']}', not of '{profile}'; {way_out}")
        content, runs = _restored(content), dict[str, Files]()
        for name, data in content.items():
            if (named := _MEMBER.fullmatch(name)) is None or not name.isprintable():
                raise ValueError(f"holds {name!r}")
            runs.setdefault(named[1], {})[named[2]] = data
        shown = [zipfile.ZipFile(io.BytesIO(data)) for name, data in content.items() if name.endswith(".npz")]
        _check_size(path, sum(entry.file_size for arrays in shown for entry in arrays.infolist()))
        for run_id in sorted({*manifest["runs"], *runs}):
            if manifest["runs"].get(run_id) != digest(runs.get(run_id, {})):
                raise UserError(f"{path}: {run_id}: its files do not match their digest; {way_out}")
        for run_id, files in runs.items():
            if absent := [name for name in _REQUIRED if name not in files]:
                raise ValueError(f"{run_id}: {absent[0]} is missing")
            metrics = json.loads(files["metrics.json"])
            if metrics["run_id"] != run_id:
                raise ValueError(f"{run_id}: its metrics.json is that of another run")
            numbers = [metrics["seconds"], metrics["test"]["f1"] or 0.0]
            if not (all(type(number) in (int, float) and isfinite(number) for number in numbers)
                    and isinstance(metrics["portable"], str)):  # fmt: skip
                raise ValueError(f"{run_id}: its metrics.json holds no scores")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; only runs of `edition` and `real` are published") from None
    except OSError as error:
        raise cannot_read(path, error) from error
    except _UNREADABLE as error:
        raise UserError(f"{path}: damaged, or no records ({printable(str(error))[:120]}); {way_out}") from error
    return Records(profile, runs)


def _unpacked(path: Path) -> Files:
    """Return the files of an archive by name, without writing any; raises on anything that records do not contain."""
    with lzma.open(path) as packed:
        unpacked = packed.read(LARGEST + 1)
    _check_size(path, len(unpacked))
    content: Files = {}
    with tarfile.open(fileobj=io.BytesIO(unpacked)) as archive:
        for entry in archive:
            if (file := archive.extractfile(entry) if entry.isreg() else None) is None or entry.name in content:
                raise ValueError(f"holds {entry.name!r} twice, or as no file")
            content[entry.name] = file.read()
    return content


def _restored(content: Files) -> Files:
    """Return the files of runs as they were before they were stored by columns, or without what follows."""
    for suffix in (COLUMNS, BRIEF):  # what is brief lacks the digests of tables
        for member in [name for name in content if name.endswith(suffix)]:
            name, packed = member.removesuffix(suffix), content.pop(member)
            if name in content or len(packed) > LARGEST_MEMBER[suffix]:
                raise ValueError(f"holds {member!r} twice, or too large")
            files = {file: content.get(f"{name.partition('/')[0]}/{file}", b"") for file in RUN_FILES}
            content[name] = table(packed) if suffix == COLUMNS else unabridged(packed, files)
    return content


def unabridged(brief: bytes, files: Mapping[str, bytes]) -> bytes:
    """Return a sealed record (`seals`) stored without its seal, its files' digests and the scores of its counts."""
    record = json.loads(brief)
    digests = {name: hashlib.sha256(files[name]).hexdigest() for name in record.pop("files")}
    record = _scored(record)
    return (json.dumps(seals.sealed_with(record, digests), indent=1) + "\n").encode()


def _scored(value: Any) -> Any:
    if isinstance(value, list):  # written with a line for each of its items
        raise ValueError("a list among scores")
    if not isinstance(value, dict):
        return value
    if list(value) != scoring.COUNTS:
        return {key: _scored(each) for key, each in value.items()}
    counts = Confusion(**value)
    return {**value, "precision": counts.precision, "f1": counts.f1, "recall": counts.recall}


def table(columns: bytes) -> bytes:
    """Return the CSV of a table of counts stored by columns; `ValueError` if it is none.

    First the names and, one a line, the columns before the counts. Then tp + fn, fp, fn and fp + tn (uint32), for the
    pixels of each class are the same in all runs with these tests; of each, the highest bytes of all rows come first.
    """
    names, rest = columns.split(b"\n", 1)
    *keys, packed = rest.split(b"\n", names.count(b",") - 3)
    positive, fp, fn, negative = np.frombuffer(packed, np.uint8).reshape(4, 4, -1).transpose(0, 2, 1).copy().view(">u4")
    counts = np.hstack([positive - fn, fp, fn, negative - fp]).tolist()
    texts = zip(*(key.split(b",") for key in keys), (b"%d,%d,%d,%d" % tuple(row) for row in counts), strict=True)
    return b"".join(b",".join(row) + b"\n" for row in [(names,), *texts])


def _check_size(path: Path, size: int) -> None:
    if size > LARGEST:
        raise UserError(f"{path}: unpacks to {size / 1e6:.0f} MB, more than any records; do not trust it")


def unpack(recorded: Records, folder: Path) -> None:
    """Write records as a store for `LMHLD_RUNS`, replacing what was there; `UserError` if it cannot be written."""
    with atomic_path(folder) as temporary:
        for run_id, files in recorded.runs.items():
            _write_run(temporary / run_id, files)


def _write_run(folder: Path, files: Files) -> None:
    with atomic_path(folder) as temporary:
        for name, content in {**files, RECORDED: b""}.items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            (temporary / name).write_bytes(content)


def adopt(recorded: Records, run_ids: Iterable[str]) -> None:
    """Add recorded runs, without weights, of which the store has nothing, or a record with another whole area."""
    for run_id in [run_id for run_id in run_ids if run_id in recorded.runs]:
        folder, files = runs_dir() / run_id, recorded.runs[run_id]
        old = {path.name: path.read_bytes() for path in folder.glob("*.json")} if (folder / RECORDED).exists() else {}
        is_older = "metrics.json" in old and any(
            files[name] != old.get(name) for name in files.keys() & {scoring.WHOLE_AREA_FILE}
        )
        if is_older or not folder.exists():
            with suppress(Busy), lock(run_id, wait=False):
                _write_run(folder, files)
