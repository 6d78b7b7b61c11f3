"""The workflow on a real SLURM, of one node, that is started for the test: ``make test-slurm``.

Four small runs ask for two simulated GPUs. One is killed and one cancelled in mid-run; the next invocation finishes
them from their checkpoints.
"""

import csv
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from cluster import missing_commands, one_node, output

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
EPOCHS = 150  # of tiny.yaml

LIMIT = 600  # seconds for any step, on the slowest machine

results: list[bool] = []


def check(what: str, passed: bool, details: object = "") -> None:
    results.append(passed)
    print(f"{'ok    ' if passed else 'FAILED'} {what}" + ("" if passed else f"\n       {details}"), flush=True)


class Workflow:
    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.profile = Path(__file__).with_name("tiny.yaml")
        self.environment = {**environment, "LMHLD_WORKDIR": str(folder), "LMHLD_RUNS": str(folder / "runs")}

    def start(self, log: str) -> subprocess.Popen[bytes]:
        """Start Snakemake with the profile that the book comes with, asking SLURM more often."""
        command = [
            *(str(BIN / "snakemake"), "--snakefile", str(ROOT / "workflow" / "Snakefile")),
            *("--profile", str(ROOT / "params" / "cluster" / "slurm"), "--config", f"profile={self.profile}"),
            *("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "1"),
            *("--slurm-no-account", "--retries", "0"),
        ]
        with (self.folder / log).open("wb") as file:
            return subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=file, stderr=subprocess.STDOUT
            )

    def statuses(self) -> dict[str, str]:
        table = output(self.environment, str(BIN / "lmhld"), "plan", str(self.profile), "--csv")
        return {row["run_id"]: row["status"] for row in csv.DictReader(table.splitlines())}

    def jobs(self) -> list[dict[str, str]]:
        """Return what SLURM knows of the jobs that make runs; key ``run`` is the run's id."""
        lines = output(self.environment, "scontrol", "show", "job", "-o").splitlines()
        jobs = [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in lines]
        jobs = [job for job in jobs if job.get("Comment", "").startswith("rule_train")]
        return [{**job, "run": job["Comment"].rpartition("_")[2]} for job in jobs]

    def history(self, run_id: str) -> list[str]:
        """Return the rows of a run's history; as they hold the time each epoch took, no two are alike."""
        path = self.folder / "runs" / run_id / "history.csv"
        return path.read_text().splitlines()[1:] if path.is_file() else []


def kill_training(run_id: str) -> None:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            words = (process / "cmdline").read_bytes().split(b"\0")
            if words[:1] != [b"srun"] and b"train" in words and run_id.encode() in words:
                os.kill(int(process.name), signal.SIGKILL)


def interrupt_two(workflow: Workflow, snakemake: subprocess.Popen[bytes]) -> tuple[str, str]:
    """Kill the training of one job and cancel another, each in mid-run; return the ids of their runs."""
    killed = cancelled = ""
    end = time.monotonic() + LIMIT
    while not (killed and cancelled) and snakemake.poll() is None and time.monotonic() < end:
        for job in workflow.jobs():
            if job["JobState"] != "RUNNING" or len(workflow.history(job["run"])) < 5:
                continue
            if not killed:
                killed = job["run"]
                kill_training(killed)
            elif not cancelled and job["run"] != killed:
                cancelled = job["run"]
                output(workflow.environment, "scancel", job["JobId"])
        time.sleep(0.2)
    return killed, cancelled


def examine(workflow: Workflow) -> None:
    """Run the workflow, disturb it, run it again, and look at what is there."""
    status = workflow.statuses()
    check("four runs are planned, none is made", list(status.values()) == ["missing"] * 4, status)

    snakemake = workflow.start("first.log")
    interrupted = interrupt_two(workflow, snakemake)
    check("one training was killed, one job cancelled", all(interrupted), interrupted)
    check("the first invocation says that it failed", snakemake.wait(LIMIT) != 0)
    jobs = workflow.jobs()
    check("each run was a job of its own", sorted(job["run"] for job in jobs) == sorted(status), jobs)
    check("each job asked for one GPU", all(job.get("TresPerJob") == "gres:gpu:1" for job in jobs), jobs)
    check("each job has a time limit", all(job["TimeLimit"] != "UNLIMITED" for job in jobs), jobs)
    steps = [line.split() for line in (workflow.folder / "steps").read_text().splitlines()]
    seen = {step[-1] for step in steps if step[0] in {job["JobId"] for job in jobs}}
    check("each job saw one GPU, both were used", seen == {"0", "1"}, steps)
    states = {job["JobState"] for job in jobs if job["run"] in interrupted}
    check("SLURM says so of both", states == {"FAILED", "CANCELLED"}, states)
    status = workflow.statuses()
    expected = {run_id: "begun" if run_id in interrupted else "done" for run_id in status}
    check("those two are begun, the others done", status == expected, status)
    if not results[-1]:
        return

    # Each epoch had its checkpoint (`checkpoint_every`); the row of the last one may be ahead of it.
    before = {run_id: workflow.history(run_id)[:-1] for run_id in interrupted}
    second = workflow.start("second.log").wait(LIMIT)
    check("the next invocation succeeds", second == 0, f"exit code {second}")
    made = [job["run"] for job in workflow.jobs()[len(jobs) :]]
    check("it made the two, no other", sorted(made) == sorted(interrupted), made)
    after = {run_id: workflow.history(run_id)[: len(rows)] for run_id, rows in before.items()}
    check("both went on from their checkpoints", before == after, (before, after))
    lengths = [len(workflow.history(run_id)) for run_id in status]
    check("every run has all its epochs", lengths == [EPOCHS] * 4, lengths)


def main() -> int:
    if os.geteuid() != 0 or missing_commands():
        print(f"test-slurm: needs root (it starts daemons) and {missing_commands() or 'nothing else'}", file=sys.stderr)
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
