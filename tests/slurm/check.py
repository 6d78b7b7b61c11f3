"""The workflow and the job script on a real SLURM, of two simulated nodes, started for the test: ``make test-slurm``.

Snakemake: four small runs ask for three simulated GPUs. One is cancelled in mid-run; the next invocation finishes it
from its checkpoint. ``workflow/job.sbatch``: three jobs share a cut of `rehearsal`. One is preempted, one stopped as
before its time limit, the third loses its node; SLURM starts them again, and a last job executes a chapter.
"""

import csv
import json
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from cluster import LIMIT, output, two_nodes, wait_until

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
SCRIPT = str(ROOT / "workflow" / "job.sbatch")

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

    def snakemake(self, log: str) -> subprocess.Popen[bytes]:
        """Start Snakemake with the profile that the book comes with, asking SLURM more often."""
        command = [
            *("timeout", str(LIMIT), str(BIN / "snakemake"), "--snakefile", str(ROOT / "workflow" / "Snakefile")),
            *("--profile", str(ROOT / "params" / "cluster" / "slurm"), "--config", f"profile={self.profile}"),
            *("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "1"),
            *("--slurm-no-account", "--retries", "0"),
        ]
        with (self.folder / log).open("wb") as file:
            return subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=file, stderr=file)

    def submit(self, *arguments: str) -> str:
        """Submit a job, and return its id."""
        return output(self.environment, "sbatch", "--parsable", f"--chdir={self.folder}", *arguments).strip()

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
        """Return by id the histories of runs under way, without the last row: it may be ahead of the checkpoint."""
        folders = {path.parent for path in self.folder.glob("runs/*/checkpoint.safetensors")}
        return {path.name: self.history(path.name)[:-1] for path in folders - {path.parent for path in self.finished()}}

    def went_on(self, before: dict[str, list[str]]) -> bool:
        """Say whether histories begin with what they were."""
        return before == {run_id: self.history(run_id)[: len(rows)] for run_id, rows in before.items()}

    def finished(self) -> dict[Path, int]:
        """Return when each finished run was finished."""
        return {path: path.stat().st_mtime_ns for path in self.folder.glob("runs/*/metrics.json")}

    def weights(self) -> dict[str, str]:
        return {path.parent.name: json.loads(path.read_text())["weights"] for path in self.finished()}


def examine_workflow(work: Work) -> None:
    """Run the workflow, cancel a job in mid-run, run it again, and look at what is there."""
    status = work.statuses()
    check("four runs are planned, none is made", list(status.values()) == ["missing"] * 4, status)

    first = work.snakemake("first.log")
    wait_until("a run has begun", lambda: any(len(rows) >= 5 for rows in work.begun().values()))
    cancelled = next(run_id for run_id, rows in work.begun().items() if len(rows) >= 5)
    output(work.environment, "scancel", *(job["JobId"] for job in work.trainings() if job["run"] == cancelled))
    check("one job is cancelled, the first invocation says that it failed", first.wait() != 0)
    jobs = work.trainings()
    check("each run was a job of its own", sorted(job["run"] for job in jobs) == sorted(status), jobs)
    check("each job asked for one GPU", all(job.get("TresPerJob") == "gres:gpu:1" for job in jobs), jobs)
    check("each job has a time limit", all(job["TimeLimit"] != "UNLIMITED" for job in jobs), jobs)
    steps = [line.split() for line in (work.folder.parent / "steps").read_text().splitlines()]
    seen = {(node, gpu) for job_id, node, gpu in steps if job_id in {job["JobId"] for job in jobs}}
    check("each job saw one GPU, all three were used", seen == {("a", "0"), ("a", "1"), ("b", "0")}, steps)
    status = work.statuses()
    expected = {run_id: "begun" if run_id == cancelled else "done" for run_id in status}
    check("that run is begun, the others are done", status == expected, status)

    before = work.begun()
    check("the next invocation succeeds", work.snakemake("second.log").wait() == 0)
    made = [job["run"] for job in work.trainings()[len(jobs) :]]
    check("it made that run, no other", made == [cancelled], made)
    check("it went on from its checkpoint", work.went_on(before), before)


def examine_script(work: Work, undisturbed: dict[str, str], lose: Callable[[str], None]) -> None:
    """Submit the job script as its own head says, disturb all of its jobs, and look at what they have made."""
    array = work.submit("--array=1-3", SCRIPT, "run", work.profile, "--workers", "1", "--quiet")
    last = work.submit(f"--dependency=afterany:{array}", SCRIPT, "book", work.profile, "--chapter", "05", "--quiet")

    def running_on_a() -> list[str]:
        jobs = [job for job in work.jobs("ArrayJobId", array) if job["JobState"] == "RUNNING"]
        return [job["JobId"] for job in jobs if job["NodeList"] == "a"]

    wait_until("three runs have begun", lambda: sum(len(rows) >= 5 for rows in work.begun().values()) == 3)
    work.submit("--partition=urgent", "--nodelist=a", "--gpus=1", "--mem=1G", "--output=urgent.log", "--wrap=true")
    wait_until("one job is preempted", lambda: len(running_on_a()) == 1)
    output(work.environment, "scancel", "--signal=USR1", "--batch", *running_on_a())  # as before its time limit
    lose("b")
    before, times = work.begun(), work.finished()

    def is_over() -> bool:
        times.update({path: time for path, time in work.finished().items() if path not in times})
        return work.jobs("JobId", last)[0]["JobState"] not in ("PENDING", "RUNNING", "COMPLETING")

    wait_until("the last job has ended", is_over)
    jobs, (chapter,) = work.jobs("ArrayJobId", array), work.jobs("JobId", last)
    log = (work.folder.parent / "slurmctld.log").read_text()
    check("SLURM preempted a job and lost a node", "preempted JobId" in log and "failure of node b" in log)
    check("each of the three was started once more", [job["Restarts"] for job in jobs] == ["1"] * 3, jobs)
    check("they succeed, and so does the last", {job["JobState"] for job in [*jobs, chapter]} == {"COMPLETED"}, jobs)
    check("it waited for them", chapter["StartTime"] >= max(job["EndTime"] for job in jobs), chapter)
    stopped = [path.name for path in work.folder.glob(f"slurm-{array}_*.out") if "interrupted;" in path.read_text()]
    check("two had time for a checkpoint", len(stopped) == 2, stopped)
    status = work.statuses()
    check("every run is done", len(status) > len(undisturbed) and set(status.values()) == {"done"}, status)
    check("what was under way went on from its checkpoint", len(before) >= 2 and work.went_on(before), before)
    check("none was finished twice", times == work.finished(), times)
    left = [*work.folder.glob("runs/*/.*.part*"), *work.folder.glob("runs/set-aside/*")]
    check("nothing is left half-written, nothing was set aside", not left, left)
    check("weights are those that Snakemake's jobs made", undisturbed.items() <= work.weights().items(), undisturbed)
    check("the chapter is executed", (work.folder / "build/rehearsal/05_experiment_2_single.ipynb").is_file())


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the cluster is stopped then, too
    with tempfile.TemporaryDirectory(prefix="lmhld-slurm-") as name:
        folder = Path(name)
        try:
            with two_nodes(folder) as (cluster, lose):
                workflow = Work("tiny.yaml", folder / "workflow", cluster)
                examine_workflow(workflow)
                examine_script(Work("rehearsal.yaml", folder / "script", cluster), workflow.weights(), lose)
        except RuntimeError as error:
            check("the test ran to its end", False, error)
        if not all(results):
            patterns = ("*.log", "*.out", "*/*.log", "*/*.out", "*/.snakemake/slurm_logs/**/*.log")
            for log in sorted(path for pattern in patterns for path in folder.glob(pattern)):
                print(f"== {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-40:]))
    print(f"{sum(results)} passed, {results.count(False)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
