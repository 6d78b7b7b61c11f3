"""Write the records of finished runs (`lmhld_nb.runs.records` says what they are, and reads them)."""

from __future__ import annotations

import io
import json
import lzma
import re
import tarfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from lmhld_nb.config import UserError, atomic_path, cannot_read
from lmhld_nb.runs.records import (
    BRIEF,
    COLUMNS,
    MANIFEST,
    RUN_FILES,
    VERSION,
    Files,
    Records,
    digest,
    table,
    unabridged,
)
from lmhld_nb.runs.store import SHOWN, Run
from lmhld_nb.training.scoring import BLOCKS_FILE, COUNTS, WHOLE_AREA_FILE

UNROUNDED = re.compile(rb"(?<![\d.])(?=[\d.]*\.)(?:[0.]*[1-9](?:\.?\d){6,})(?!\d)")
"""A number of more than six digits, which `training.scoring.write` does not write."""

PACKING = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 4, "lp": 0, "pb": 0}
"""Smallest for text, of the contexts and alignments tried."""


def of_runs(profile: str, finished: Sequence[Run]) -> Records:
    """Return the records of finished runs; `UserError` if a file cannot be read."""
    return Records(profile, {run.spec.run_id: run_files(run) for run in finished})


def write(target: Path, recorded: Records) -> None:
    """Write records, the same bytes for the same runs; where that fails (`UserError`), what was there stays."""
    digests = {run_id: digest(files) for run_id, files in recorded.runs.items()}
    manifest = {"version": VERSION, "profile": recorded.profile, "runs": digests}
    members = {MANIFEST: (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode()}
    for run_id, files in recorded.runs.items():
        for name, content in files.items():
            packed, short = columns(content), abridged(content, files) if name.endswith(".json") else b""
            members[f"{run_id}/{name}{COLUMNS if packed else BRIEF if short else ''}"] = packed or short or content
    unpacked = io.BytesIO()
    with tarfile.open(fileobj=unpacked, mode="w") as archive:
        for name, content in sorted(members.items(), key=_place):
            entry = tarfile.TarInfo(name)  # dated 1970 and of nobody, whoever writes it
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    with atomic_path(target) as temporary:
        temporary.write_bytes(lzma.compress(unpacked.getvalue(), filters=[PACKING]))


def _place(member: tuple[str, bytes]) -> tuple[list[str], int, str]:
    """Return what members are sorted by: tables of the same patches have about the same size and compress together."""
    name, content = member
    return name.split("/")[:0:-1], len(content), name


def columns(text: bytes) -> bytes:
    """Return a table of counts, CSV, in the form that `records.table` reads; empty for what it would not give back."""
    with suppress(ValueError, OverflowError):
        names, *rows = text.removesuffix(b"\n").split(b"\n")
        *keys, _, _, _, _ = cells = list(zip(*(row.split(b",") for row in rows), strict=True))
        tp, fp, fn, tn = (np.array([int(cell) for cell in column], np.uint32) for column in cells[-4:])
        planes = np.array([tp + fn, fp, fn, fp + tn], ">u4")[..., None].view(np.uint8).transpose(0, 2, 1)
        packed = b"\n".join([names, *map(b",".join, keys), planes.tobytes()])
        if table(packed) == text:
            return packed
    return b""


def abridged(text: bytes, files: Files) -> bytes:
    """Return a sealed record in the form that `records.unabridged` reads; empty for what it would not give back."""
    with suppress(ValueError, LookupError, TypeError, AttributeError):
        record = json.loads(text)
        short = {**_unscored(record), "files": list(record["files"])}
        packed = json.dumps({key: value for key, value in short.items() if key != "seal"}, indent=1).encode()
        if unabridged(packed, files) == text:
            return packed
    return b""


def _unscored(value: Any) -> Any:
    """Leave out what `Confusion` computes from counts."""
    if not isinstance(value, dict):
        return value
    kept = COUNTS if set(COUNTS) < set(value) else value
    return {key: _unscored(value[key]) for key in kept}


def _loose(packed: bytes) -> bytes:
    """Return arrays of `np.savez_compressed` as of `np.savez`: the records are compressed as a whole."""
    with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
        np.savez(unpacked := io.BytesIO(), **arrays)
    return unpacked.getvalue()


def run_files(run: Run) -> Files:
    """Return what is recorded of a run; `UserError` if a file cannot be read, or the run would not verify."""
    # Predictions carry the digest of the weights: those of weights that are no longer there are left out.
    shown = sorted(path.name for path in (run.folder / SHOWN).glob(f"*-{run.metrics['weights']}.npz"))
    unscored = (WHOLE_AREA_FILE, BLOCKS_FILE) if run.whole_area is None else ()
    names = [name for name in RUN_FILES if name not in unscored and (run.folder / name).is_file()]
    names += [f"{SHOWN}/{name}" for name in shown]
    try:
        files = {name: (run.folder / name).read_bytes() for name in names}
    except OSError as error:
        raise cannot_read(run.folder, error) from error
    for name in shown:
        files[f"{SHOWN}/{name}"] = _loose(files[f"{SHOWN}/{name}"])
    for name, content in files.items():
        if name.endswith(".csv") and (number := UNROUNDED.search(content)):
            where = f"{run.folder / name}: {number[0].decode()} was not rounded to six digits"
            raise UserError(f"{where}, so an older version made this run; remove the folder and make it again")
    return files
