"""The workflow on a real SLURM, of one node, that is started for the test: ``make test-slurm``.

Four small runs ask for two pretended GPUs. One is killed and one cancelled in mid-run; the next invocation finishes
them from their checkpoints, and the store is adopted elsewhere.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import safetensors
from cluster import lacking, one_node, output

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
EPOCHS = 150

# Some seconds a run: time enough to kill one after its first checkpoint.
PROFILE = f"""
name: tiny
description: four small runs, for the test of the workflow
data: twin-smoke
areas: [emilia_romagna, gorkha]
experiments: [2]
models: [unet]
width: {{unet: 2}}
recipe: {{batch_size: 4, epochs: {EPOCHS}, lr: 0.05, gamma: 0.99, momentum: 0.9}}
seeds: [0, 1]
execution: {{device: cpu, checkpoint_every: 1}}
"""

results: list[bool] = []


def check(what: str, found: bool, told: object = "") -> None:
    """Count and print one finding; ``told`` is shown when it is not as it should be."""
    results.append(found)
    print(f"{'ok    ' if found else 'FAILED'} {what}" + ("" if found else f"\n       {told}"), flush=True)


class Workflow:
    """Snakemake on the test's profile and cluster."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.profile = folder / "tiny.yaml"
        self.profile.write_text(PROFILE)
        self.environment = {**environment, "LMHLD_WORKDIR": str(folder), "LMHLD_RUNS": str(folder / "runs")}

    def start(self, *options: str, log: str) -> subprocess.Popen[bytes]:
        """Start Snakemake with the profile that the book comes with, asking SLURM more often."""
        command = [
            *(str(BIN / "snakemake"), "--snakefile", str(ROOT / "workflow" / "Snakefile")),
            *("--profile", str(ROOT / "params" / "cluster" / "slurm"), "--config", f"profile={self.profile}"),
            *("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "1"),
            *("--slurm-no-account", "--retries", "0", *options),
        ]
        with (self.folder / log).open("wb") as said:
            return subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=said, stderr=subprocess.STDOUT
            )

    def plan(self, **changed: str) -> list[dict[str, str]]:
        """Return the rows of `lmhld plan`."""
        table = output({**self.environment, **changed}, str(BIN / "lmhld"), "plan", str(self.profile), "--csv")
        return list(csv.DictReader(table.splitlines()))

    def jobs(self) -> list[dict[str, str]]:
        """Return what SLURM knows of the jobs that make runs, one dictionary each."""
        lines = output(self.environment, "scontrol", "show", "job", "-o").splitlines()
        jobs = [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in lines]
        return [job for job in jobs if job.get("Comment", "").startswith("rule_train")]


def run_of(job: dict[str, str]) -> str:
    """Return the id of the run that a job makes."""
    return job["Comment"].rpartition("_")[2]


def has_begun(workflow: Workflow, job: dict[str, str]) -> bool:
    """Say whether a job runs and has written some checkpoints."""
    return job["JobState"] == "RUNNING" and place_kept(workflow, run_of(job))[0] >= 5


def training_of(run_id: str) -> list[int]:
    """Return the processes that train a run."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it has just ended
            continue
        if words[:1] != [b"srun"] and b"train" in words and run_id.encode() in words:
            found.append(int(process.name))
    return found


def interrupt_two(workflow: Workflow, snakemake: subprocess.Popen[bytes]) -> tuple[str, str]:
    """Kill the training of one job and cancel another, each in mid-run; return the ids of their runs."""
    killed = cancelled = ""
    end = time.monotonic() + 90
    while not (killed and cancelled) and snakemake.poll() is None and time.monotonic() < end:
        for job in workflow.jobs():
            if not has_begun(workflow, job):
                continue
            if not killed:
                for process in training_of(run_of(job)):
                    os.kill(process, signal.SIGKILL)
                    killed = run_of(job)
            elif not cancelled and run_of(job) != killed:
                output(workflow.environment, "scancel", job["JobId"])
                cancelled = run_of(job)
        time.sleep(0.2)
    return killed, cancelled


def history(workflow: Workflow, run_id: str, epochs: int) -> list[str]:
    """Return the first lines of a run's history; as they hold the time each epoch took, no two are alike."""
    return (workflow.folder / "runs" / run_id / "history.csv").read_text().splitlines()[: epochs + 1]


def place_kept(workflow: Workflow, run_id: str) -> tuple[int, int]:
    """Return how many epochs, and steps of the next one, a run's checkpoint holds."""
    path = workflow.folder / "runs" / run_id / "checkpoint.safetensors"
    if not path.is_file():
        return 0, 0
    with safetensors.safe_open(path, framework="np") as file:
        state = json.loads(file.metadata()["state"])
    return state["epoch"], state["step"]


def examine(workflow: Workflow) -> None:
    """Run the workflow, disturb it, run it again, and look at what is there."""
    planned = workflow.plan()
    check("four runs are planned, none is made", [row["status"] for row in planned] == ["missing"] * 4, planned)

    snakemake = workflow.start(log="first.log")
    interrupted = interrupt_two(workflow, snakemake)
    check("one training was killed, one job cancelled", all(interrupted), interrupted)
    check("the first invocation says that it failed", snakemake.wait(120) != 0)
    jobs = workflow.jobs()
    check(
        "each run was a job of its own",
        sorted(map(run_of, jobs)) == sorted(row["run_id"] for row in planned),
        jobs,
    )
    check("each job asked for one GPU", all(job.get("TresPerJob") == "gres:gpu:1" for job in jobs), jobs)
    check("each job has a time limit", all(job["TimeLimit"] != "UNLIMITED" for job in jobs), jobs)
    steps = [line.split() for line in (workflow.folder / "steps").read_text().splitlines()]
    seen = {step[-1] for step in steps if step[0] in {job["JobId"] for job in jobs}}
    check("each job saw one GPU, both were used", seen == {"0", "1"}, steps)
    states = {job["JobState"] for job in jobs if run_of(job) in interrupted}
    check("SLURM says so of both", states == {"FAILED", "CANCELLED"}, states)
    status = {row["run_id"]: row["status"] for row in workflow.plan()}
    expected = {run_id: "begun" if run_id in interrupted else "done" for run_id in status}
    check("those two are begun, the others done", status == expected, status)
    if not results[-1]:
        return

    kept = {run_id: place_kept(workflow, run_id) for run_id in interrupted}
    # A killed training leaves the checkpoint of its last whole epoch; a cancelled one is told so, and writes another.
    check(
        "the cancelled one kept its last steps too",
        [step > 0 for _, step in kept.values()] == [False, True],
        kept,
    )
    before = {run_id: history(workflow, run_id, epochs) for run_id, (epochs, _) in kept.items()}
    second = workflow.start(log="second.log").wait(120)
    check("the next invocation succeeds", second == 0, f"exit code {second}")
    made = [run_of(job) for job in workflow.jobs()[len(jobs) :]]
    check("it made the two, no other", sorted(made) == sorted(interrupted), made)
    after = {run_id: history(workflow, run_id, epochs) for run_id, (epochs, _) in kept.items()}
    check("both went on from their checkpoints", before == after, (before, after))
    lengths = [len(history(workflow, run_id, EPOCHS)) - 1 for run_id in status]
    check("every run has all its epochs", lengths == [EPOCHS] * 4, lengths)
    check("all are done", {row["status"] for row in workflow.plan()} == {"done"}, workflow.plan())
    third = workflow.start(log="third.log").wait(60)
    said = (workflow.folder / "third.log").read_text()
    check("a third invocation has nothing to do", third == 0 and "Nothing to be done" in said, said[-300:])

    elsewhere = workflow.folder / "elsewhere"
    shutil.copytree(workflow.folder / "runs", elsewhere)
    adopted = workflow.plan(LMHLD_RUNS=str(elsewhere))
    check("a copy of the store is adopted", [row["status"] for row in adopted] == ["done"] * 4, adopted)
    environment = {**workflow.environment, "LMHLD_RUNS": str(elsewhere)}
    said = output(environment, str(BIN / "lmhld"), "run", str(workflow.profile), "--quiet")
    check("lmhld run has nothing to make of it", "4 runs, 0 to make" in said, said)


def main() -> int:
    """Return 0 where all is as it should be, 1 where not, 2 where the test cannot be made."""
    if os.geteuid() != 0 or lacking():
        wanted = f"not installed: {', '.join(lacking())}" if lacking() else "it starts daemons, which needs root"
        print(f"test-slurm: {wanted}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the cluster is stopped then, too
    with tempfile.TemporaryDirectory(prefix="lmhld-slurm-") as name:
        folder = Path(name)
        try:
            with one_node(folder) as environment:
                examine(Workflow(folder, environment))
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            check("the test ran to its end", False, error)
        if not all(results):
            for log in sorted([*folder.glob("*.log"), *folder.glob(".snakemake/slurm_logs/**/*.log")]):
                print(f"== {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-40:]))
    print(f"{sum(results)} passed, {results.count(False)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
