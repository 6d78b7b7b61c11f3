"""The workflow asks for what the store lacks, and for nothing else (on SLURM: tests/slurm/check.py)."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import QUIET

from lmhld_nb import runs
from lmhld_nb.config import ROOT, runs_dir
from lmhld_nb.experiments import load, open_study, part

pytest.importorskip("snakemake", reason="snakemake is not installed (group 'workflow')")


def snakemake(profile: Path | str, *options: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "workflow" / "Snakefile")]
    command += ["--profile", str(ROOT / "params" / "cluster" / "local"), "--config", f"profile={profile}"]
    return subprocess.run([*command, *options], cwd=folder, capture_output=True, text=True, check=False)


def ids_of_jobs(process: subprocess.CompletedProcess[str]) -> set[str]:
    """Return the ids of the runs that Snakemake makes, or would make."""
    assert process.returncode == 0, process.stdout + process.stderr
    return set(re.findall(r"wildcards: run_id=(\w+)", process.stdout + process.stderr))


def test_missing_runs_are_made_whole_ones_left_alone_and_an_unknown_profile_named(tiny, specs, tmp_path):
    first, second = specs
    run = runs.make_run(first, QUIET)  # as `lmhld run` would; Snakemake has no note of it
    before = (run.folder / "metrics.json").stat().st_mtime_ns
    assert ids_of_jobs(snakemake(tiny, "-n", "book", folder=tmp_path)) == {second.run_id}
    assert ids_of_jobs(snakemake(tiny, folder=tmp_path)) == {second.run_id} and runs.find(second)
    assert (run.folder / "metrics.json").stat().st_mtime_ns == before
    assert "Nothing to be done" in snakemake(tiny, "-n", folder=tmp_path).stdout
    process = snakemake("nosuch", "-n", folder=tmp_path)
    assert process.returncode != 0
    assert "lmhld: profile 'nosuch': unknown" in process.stderr and "Traceback" not in process.stderr


def test_a_stage_waits_for_the_stage_before_it(tiny: Path, tmp_path: Path) -> None:
    serial = "part: {first: [gorkha], permuted: [], last: [emilia_romagna], seeds: [0]}"
    text = tiny.read_text(encoding="utf-8").replace("single: {}", serial)
    tiny.write_text(text.replace("epochs: 3", "epochs: 1"), encoding="utf-8")
    ((last,),) = part.finals(open_study(load(str(tiny)), progress=False)).values()
    target = f"{runs_dir()}/{last.run_id}/metrics.json"
    process = snakemake(tiny, "--cores", "2", target, folder=tmp_path)
    assert ids_of_jobs(process) == {last.stage.parent.run_id, last.run_id} and runs.find(last)
