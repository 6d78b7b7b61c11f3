"""Write the records of finished runs (`lmhld_nb.runs.records` says what they are, and reads them)."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Sequence
from pathlib import Path

from lmhld_nb.config import UserError, atomic_path, cannot_read
from lmhld_nb.runs.records import MANIFEST, RUN_FILES, VERSION, Files, Records, digest
from lmhld_nb.runs.store import SHOWN, Run

UNROUNDED = re.compile(rb"(?<![\d.])(?=[\d.]*\.)(?:[0.]*[1-9](?:\.?\d){6,})(?!\d)")
"""A number of more than six digits, which `training.scoring.write` does not write."""


def of_runs(profile: str, finished: Sequence[Run]) -> Records:
    """Return the records of finished runs; `UserError` if a file cannot be read."""
    return Records(profile, {run.spec.run_id: run_files(run) for run in finished})


def write(target: Path, recorded: Records) -> None:
    """Write records, the same bytes for the same runs; where that fails (`UserError`), what was there stays."""
    digests = {run_id: digest(files) for run_id, files in recorded.runs.items()}
    manifest = {"version": VERSION, "profile": recorded.profile, "runs": digests}
    members = {MANIFEST: (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode()}
    members |= {
        f"{run_id}/{name}": content for run_id, files in recorded.runs.items() for name, content in files.items()
    }
    with atomic_path(target) as temporary, tarfile.open(temporary, "w:xz", preset=9) as archive:
        for name, content in sorted(members.items(), key=lambda member: member[0].split("/")[::-1]):
            entry = tarfile.TarInfo(name)  # dated 1970 and of nobody, whoever writes it
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def run_files(run: Run) -> Files:
    """Return what is recorded of a run; `UserError` if a file cannot be read, or the run would not verify."""
    # Predictions carry the digest of the weights: those of weights that are no longer there are left out.
    shown = sorted(path.name for path in (run.folder / SHOWN).glob(f"*-{run.metrics['weights']}.npz"))
    names = [name for name in RUN_FILES if (run.folder / name).is_file()] + [f"{SHOWN}/{name}" for name in shown]
    try:
        files = {name: (run.folder / name).read_bytes() for name in names}
    except OSError as error:
        raise cannot_read(run.folder, error) from error
    for name, content in files.items():
        if name.endswith(".csv") and (number := UNROUNDED.search(content)):
            where = f"{run.folder / name}: {number[0].decode()} was not rounded to six digits"
            raise UserError(f"{where}, so an older version made this run; remove the folder and make it again")
    return files
