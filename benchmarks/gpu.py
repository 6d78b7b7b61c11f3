"""All that a GPU has to settle, in one call that may be cut off: the CUDA tests, rates, hours, a map and an edition.

    python -m benchmarks.gpu --out FOLDER [--budget 600] [--steps tests engine …] [--profile edition] [--width 32]

Each step gets a share of the time that is left, is stopped where it takes longer, and writes its tables into ``--out``
as it goes; the last, the edition, takes all that is left. One line per step says how it ended; summary.csv holds these
lines, log.txt all that was printed. ``--tiny`` rehearses everything in a minute, without a GPU as well.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pandas as pd
import yaml

from lmhld_nb import sources
from lmhld_nb.config import ROOT
from lmhld_nb.experiments import load, open_study
from lmhld_nb.experiments.plan import plan, plan_table
from lmhld_nb.processes import scratch_folder

sys.path.append(str(ROOT / "tools"))

import write_records

# Of the budget, in per cent.
SHARES = {"tests": 8, "engine": 34, "projection": 2, "mapping": 14, "choices": 12, "edition": 30}
GRACE = 20  # seconds between being asked to stop and being killed
ALONE = ["--compile", "", "--shared", ""]
TINY = {
    "engine": ["--sizes", "32", "--rounds", "1", "--width", "8", "--side", "64", *ALONE],
    "mapping": ["--side", "512", "--rounds", "1", "--widths", "2", "--size", "64", "--keep"],
    "choices": ["--models", "unet", "--sizes", "32", "--rounds", "1", "--width", "8", "--side", "64", *ALONE],
    "edition": ["--workers", "1"],
}
# 20 s a network and size, most of it for cuDNN to try kernels; two rounds, for twelve minutes have no room for more.
FULL = {
    "engine": ["--sizes", "32,64,128,224", "--rounds", "2", *ALONE],
    "mapping": ["--side", "10000", "--rounds", "1", "--widths", "64"],
    "choices": ["--models", "unet", "--sizes", "32,224", "--rounds", "2"],  # compiled, and several runs side by side
    "edition": [],
}


def gpu_tests() -> list[str]:
    """Return the test files that need a CUDA device: only these are read, a bare machine lacks what others import."""
    files = sorted((ROOT / "tests").glob("test_*.py"))
    return [str(path) for path in files if "pytest.mark.gpu" in path.read_text(encoding="utf-8")]


def gpu_profile(name: str, width: int, runs_per_gpu: int, folder: Path) -> Path:
    """Write a profile as it would be for a GPU: wider networks, any precision, several runs at once."""
    source = Path(name) if name.endswith(".yaml") else ROOT / "params" / f"{name}.yaml"
    content = yaml.safe_load(source.read_text(encoding="utf-8"))
    content |= {"name": f"{content['name']}-gpu", "portable": False, "width": dict.fromkeys(content["models"], width)}
    content["recipe"] |= {"precision": "auto"}
    content["execution"] = {"runs_per_gpu": runs_per_gpu, "cuda_graphs": True}
    path = folder / f"{content['name']}.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def collect(profile: Path, out: Path) -> str:
    """Write the table and the records of a profile's finished runs; say how many there are."""
    loaded = load(str(profile))
    if not sources.is_ready(loaded.data):
        return "its data were not made in time"
    study = open_study(loaded, progress=False)
    planned = plan(study)
    plan_table(planned).to_csv(out / "runs.csv", index=False, float_format="%.6g")
    finished = study.finished([entry.spec for entry in planned])
    write_records.write(out / "records.tar.xz", write_records.of_runs(study.profile.name, finished))
    seconds = sum(run.metrics["seconds"] for run in finished)
    return f"{len(finished)} of {len(planned)} runs, {seconds:.0f} s of training one after another"


def limited(command: Sequence[str], limit: float, log: Path) -> str:
    """Run a command with its children for ``limit`` seconds at most; return done, failed or cut off."""
    with log.open("ab") as file:
        child = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT, start_new_session=True)
        try:
            return "failed" if child.wait(limit) else "done"
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGTERM)  # trainings write a checkpoint
            try:
                child.wait(GRACE)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
            return "cut off"


@contextmanager
def shared_context() -> Iterator[None]:
    """Let processes compute on the GPU at the same time, not in turns, if NVIDIA's Multi-Process Service starts."""
    service, before = shutil.which("nvidia-cuda-mps-control"), dict(os.environ)
    with scratch_folder() as folder:  # a short path: the pipe is a socket
        os.environ |= {f"CUDA_MPS_{what}_DIRECTORY": folder for what in ("PIPE", "LOG")}
        started = service is not None and not subprocess.run([service, "-d"], check=False).returncode
        if not started:
            print("without the Multi-Process Service", flush=True)
            os.environ.clear()
            os.environ |= before
        try:
            yield
        finally:
            if started:
                subprocess.run([str(service)], input=b"quit\n", check=False, timeout=GRACE)
            os.environ.clear()
            os.environ |= before


def main() -> None:
    """Do the steps, one after another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", type=float, default=600, help="seconds")
    parser.add_argument("--steps", nargs="+", choices=SHARES, default=list(SHARES))
    parser.add_argument("--profile", default="edition", help="name or YAML file")
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--runs-per-gpu", type=int, default=12)
    parser.add_argument("--mps", action="store_true", help="runs share the GPU by NVIDIA's Multi-Process Service")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    began, out, rows = time.monotonic(), options.out.resolve(), []
    out.mkdir(parents=True, exist_ok=True)
    os.environ["LMHLD_BENCH_RESULTS"] = str(out)
    profile = gpu_profile(options.profile, options.width, options.runs_per_gpu, out)
    arguments = TINY if options.tiny else FULL
    commands = {
        "tests": ["pytest", "-q", "-m", "gpu", *gpu_tests()],
        "engine": ["benchmarks.engine", *arguments["engine"]],
        "projection": ["benchmarks.projection"],
        "mapping": ["benchmarks.mapping", *arguments["mapping"]],
        "choices": ["benchmarks.engine", "--name", "engine-choices", *arguments["choices"]],
        "edition": ["lmhld_nb.cli", "run", str(profile), "--quiet", *arguments["edition"]],
    }
    log = out / "log.txt"
    for position, step in enumerate(options.steps):
        left, start = options.budget - (time.monotonic() - began), time.monotonic()
        limit = max(1, left * SHARES[step] / sum(SHARES[later] for later in options.steps[position:]))
        size = log.stat().st_size if log.exists() else 0
        with shared_context() if options.mps and step == "edition" else nullcontext():
            state = limited([sys.executable, "-m", *commands[step]], limit, log)
        if step == "edition":
            says = collect(profile, out)
        else:
            printed = log.read_bytes()[size:].decode(errors="replace").splitlines()
            says = next((line.strip() for line in reversed(printed) if line.strip()), "").replace(f"{out}/", "")
        seconds = time.monotonic() - start
        rows.append({"step": step, "state": state, "seconds": seconds, "limit_s": limit, "says": says})
        pd.DataFrame(rows).to_csv(out / "summary.csv", index=False, float_format="%.4g")
        print(f"{step:10} {state:7} {seconds:6.1f} of {limit:.0f} s  {says}", flush=True)


if __name__ == "__main__":
    main()
