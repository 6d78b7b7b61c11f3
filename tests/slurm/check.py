"""The workflow and the job script on a real SLURM, of two simulated nodes, started for the test: ``make test-slurm``.

Snakemake: four small runs ask for three simulated GPUs. One is killed and one cancelled in mid-run; the next invocation
finishes them from their checkpoints. ``workflow/job.sbatch``: three jobs share a cut of `rehearsal` in an empty folder.
One is preempted, one stopped as at its time limit, and the node of the third is lost; SLURM starts them again, and a
last job executes a chapter.
"""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from cluster import missing_commands, output, two_nodes

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
SCRIPT = str(ROOT / "workflow" / "job.sbatch")
EPOCHS = 150  # of tiny.yaml and rehearsal.yaml

LIMIT = 600  # seconds for any step, on the slowest machine

results: list[bool] = []


def check(what: str, passed: bool, details: object = "") -> None:
    results.append(passed)
    print(f"{'ok    ' if passed else 'FAILED'} {what}" + ("" if passed else f"\n       {details}"), flush=True)


class Work:
    """The runs of a profile in a folder of their own, on a cluster."""

    def __init__(self, profile: str, folder: Path, cluster: dict[str, str]) -> None:
        self.folder, self.profile = folder, str(Path(__file__).with_name(profile))
        folder.mkdir()
        (folder / ".venv").symlink_to(BIN.parent)  # as in a clone of the book
        self.environment = {**cluster, "LMHLD_WORKDIR": str(folder), "LMHLD_RUNS": str(folder / "runs")}

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

    def submit(self, *arguments: str) -> str:
        """Submit a job, and return its id."""
        command = ["sbatch", "--parsable", *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{command}: {done.stderr}")
        return done.stdout.strip()

    def statuses(self) -> dict[str, str]:
        table = output(self.environment, str(BIN / "lmhld"), "plan", self.profile, "--csv")
        return {row["run_id"]: row["status"] for row in csv.DictReader(table.splitlines())}

    def jobs(self, key: str, value: str) -> list[dict[str, str]]:
        """Return what SLURM knows of the jobs of which ``key`` begins with ``value``."""
        lines = output(self.environment, "scontrol", "show", "job", "-o").splitlines()
        jobs = [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in lines]
        return [job for job in jobs if job.get(key, "").startswith(value)]

    def trainings(self) -> list[dict[str, str]]:
        """Return Snakemake's jobs that make runs; key ``run`` is the run's id."""
        return [{**job, "run": job["Comment"].rpartition("_")[2]} for job in self.jobs("Comment", "rule_train")]

    def history(self, run_id: str) -> list[str]:
        """Return the rows of a run's history; as they hold the time each epoch took, no two are alike."""
        path = self.folder / "runs" / run_id / "history.csv"
        return path.read_text().splitlines()[1:] if path.is_file() else []

    def begun(self) -> dict[str, list[str]]:
        """Return by id the histories of unfinished runs, without the last row: it may be ahead of the checkpoint."""
        folders = [path.parent for path in self.folder.glob("runs/*/checkpoint.safetensors")]
        return {path.name: self.history(path.name)[:-1] for path in folders if not (path / "metrics.json").is_file()}

    def weights(self) -> dict[str, str]:
        """Return by id the digests of the weights of finished runs."""
        return {path.parent.name: json.loads(path.read_text())["weights"] for path in self.finished()}

    def finished(self) -> Iterator[Path]:
        return self.folder.glob("runs/*/metrics.json")


def wait_until(what: str, is_so: Callable[[], object]) -> None:
    end = time.monotonic() + LIMIT
    while not is_so():
        if time.monotonic() > end:
            raise RuntimeError(f"waited {LIMIT} s until {what}")
        time.sleep(0.2)


def kill_training(run_id: str) -> None:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            words = (process / "cmdline").read_bytes().split(b"\0")
            if words[:1] != [b"srun"] and b"train" in words and run_id.encode() in words:
                os.kill(int(process.name), signal.SIGKILL)


def interrupt_two(work: Work, snakemake: subprocess.Popen[bytes]) -> tuple[str, str]:
    """Kill the training of one job and cancel another, each in mid-run; return the ids of their runs."""
    killed = cancelled = ""
    end = time.monotonic() + LIMIT
    while not (killed and cancelled) and snakemake.poll() is None and time.monotonic() < end:
        for job in work.trainings():
            if job["JobState"] != "RUNNING" or len(work.history(job["run"])) < 5:
                continue
            if not killed:
                killed = job["run"]
                kill_training(killed)
            elif not cancelled and job["run"] != killed:
                cancelled = job["run"]
                output(work.environment, "scancel", job["JobId"])
        time.sleep(0.2)
    return killed, cancelled


def examine_workflow(work: Work) -> None:
    """Run the workflow, disturb it, run it again, and look at what is there."""
    status = work.statuses()
    check("four runs are planned, none is made", list(status.values()) == ["missing"] * 4, status)

    snakemake = work.start("first.log")
    interrupted = interrupt_two(work, snakemake)
    check("one training was killed, one job cancelled", all(interrupted), interrupted)
    check("the first invocation says that it failed", snakemake.wait(LIMIT) != 0)
    jobs = work.trainings()
    check("each run was a job of its own", sorted(job["run"] for job in jobs) == sorted(status), jobs)
    check("each job asked for one GPU", all(job.get("TresPerJob") == "gres:gpu:1" for job in jobs), jobs)
    check("each job has a time limit", all(job["TimeLimit"] != "UNLIMITED" for job in jobs), jobs)
    steps = [line.split() for line in (work.folder.parent / "steps").read_text().splitlines()]
    seen = {(node, gpu) for job_id, node, gpu in steps if job_id in {job["JobId"] for job in jobs}}
    check("each job saw one GPU, all three were used", seen == {("a", "0"), ("a", "1"), ("b", "0")}, steps)
    states = {job["JobState"] for job in jobs if job["run"] in interrupted}
    check("SLURM says so of both", states == {"FAILED", "CANCELLED"}, states)
    status = work.statuses()
    expected = {run_id: "begun" if run_id in interrupted else "done" for run_id in status}
    check("those two are begun, the others done", status == expected, status)
    if not results[-1]:
        return

    before = work.begun()  # each epoch had its checkpoint (`checkpoint_every`)
    second = work.start("second.log").wait(LIMIT)
    check("the next invocation succeeds", second == 0, f"exit code {second}")
    made = [job["run"] for job in work.trainings()[len(jobs) :]]
    check("it made the two, no other", sorted(made) == sorted(interrupted), made)
    after = {run_id: work.history(run_id)[: len(rows)] for run_id, rows in before.items()}
    check("both went on from their checkpoints", before == after, (before, after))
    lengths = [len(work.history(run_id)) for run_id in status]
    check("every run has all its epochs", lengths == [EPOCHS] * 4, lengths)


def disturb_three(work: Work, array: str, lose: Callable[[str], None]) -> None:
    """Have SLURM preempt a job on node a, stop the other one there as it does before a time limit, and lose node b."""

    def running(node: str) -> list[str]:
        jobs = [job for job in work.jobs("ArrayJobId", array) if job["JobState"] == "RUNNING"]
        return [job["JobId"] for job in jobs if job.get("NodeList") == node]

    wait_until("three runs have begun", lambda: sum(len(rows) >= 5 for rows in work.begun().values()) == 3)
    work.submit("--partition=urgent", "--nodelist=a", "--gpus=1", "--mem=1G", "--output=urgent.log", "--wrap=true")
    wait_until("a job is preempted", lambda: len(running("a")) == 1)
    output(work.environment, "scancel", "--signal=USR1", "--batch", *running("a"))
    lose("b")


def examine_script(work: Work, undisturbed: dict[str, str], lose: Callable[[str], None]) -> None:
    """Submit the job script as its own head says, disturb all of its jobs, and look at what they have made."""
    array = work.submit("--array=1-3", SCRIPT, "run", work.profile, "--workers", "1", "--quiet")
    last = work.submit(f"--dependency=afterany:{array}", SCRIPT, "book", work.profile, "--chapter", "05", "--quiet")
    disturb_three(work, array, lose)
    before, times = work.begun(), dict[Path, int]()

    def is_over() -> bool:
        for path in work.finished():
            times.setdefault(path, path.stat().st_mtime_ns)
        return work.jobs("JobId", last)[0]["JobState"] not in ("PENDING", "RUNNING", "COMPLETING")

    wait_until("the last job has ended", is_over)
    jobs, (chapters,) = work.jobs("ArrayJobId", array), work.jobs("JobId", last)
    log = (work.folder.parent / "slurmctld.log").read_text()
    check(
        "one job was preempted, one lost its node", "preempted JobId" in log and "failure of node b" in log, log[-3000:]
    )
    check("SLURM started each of the three once more", [job["Restarts"] for job in jobs] == ["1"] * 3, jobs)
    check(
        "all three succeed, and so does the last", {job["JobState"] for job in (*jobs, chapters)} == {"COMPLETED"}, jobs
    )
    stopped = [path.name for path in work.folder.glob(f"slurm-{array}_*.out") if "goes on where" in path.read_text()]
    check("two had time for a checkpoint", len(stopped) == 2, stopped)
    status = work.statuses()
    check("every run is done", len(status) > len(undisturbed) and set(status.values()) == {"done"}, status)
    after = {run_id: work.history(run_id)[: len(rows)] for run_id, rows in before.items()}
    check("those under way went on from their checkpoints", before == after and len(before) == 3, (before, after))
    lengths = [len(work.history(run_id)) for run_id in status]
    check("every run has all its epochs", set(lengths) == {EPOCHS}, lengths)
    check("none was finished twice", times == {path: path.stat().st_mtime_ns for path in work.finished()}, times)
    left = [*work.folder.glob("runs/*/.*.part*"), *work.folder.glob("runs/set-aside/*")]
    check("nothing is left half-written, nothing was set aside", not left, left)
    same = {run_id: digest for run_id, digest in work.weights().items() if run_id in undisturbed}
    check("weights are those that Snakemake's jobs made", same == undisturbed, (same, undisturbed))
    check("the last job waited for the others", chapters["StartTime"] >= max(job["EndTime"] for job in jobs), chapters)
    check("the chapter is executed", (work.folder / "build/rehearsal/05_experiment_2_single.ipynb").is_file())


def main() -> int:
    if os.geteuid() != 0 or missing_commands():
        print(f"test-slurm: needs root (it starts daemons) and {missing_commands() or 'nothing else'}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the cluster is stopped then, too
    with tempfile.TemporaryDirectory(prefix="lmhld-slurm-") as name:
        folder = Path(name)
        try:
            with two_nodes(folder) as (cluster, lose):
                workflow = Work("tiny.yaml", folder / "workflow", cluster)
                examine_workflow(workflow)
                examine_script(Work("rehearsal.yaml", folder / "script", cluster), workflow.weights(), lose)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            check("the test ran to its end", False, error)
        if not all(results):
            patterns = ("*.log", "*/*.log", "*/*.out", "*/.snakemake/slurm_logs/**/*.log")
            for log in sorted(path for pattern in patterns for path in folder.glob(pattern)):
                print(f"== {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-40:]))
    print(f"{sum(results)} passed, {results.count(False)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
