"""The line at the top of each chapter: time to read, by a rule, and time to run, measured.

`python -m lmhld_nb.book.reading` rewrites these lines; with the name of a profile it first takes the times of its last
`lmhld book` and of its runs into ``benchmarks/results/chapters.csv`` (`make times`).
"""

from __future__ import annotations

import math
import platform
import re
import sys
from pathlib import Path

import jupytext
import pandas as pd
from nbformat import NotebookNode

from lmhld_nb import runs
from lmhld_nb.book import chapters as book
from lmhld_nb.config import ROOT, UserError, atomic_path, workdir
from lmhld_nb.experiments import common as experiments
from lmhld_nb.experiments import plan as plans
from lmhld_nb.experiments import profile as profiles
from lmhld_nb.training.hardware import cpu_name

WORDS_A_MINUTE = 200
MINUTES_A_FIGURE = 0.5
MEASURED = ROOT / "benchmarks" / "results" / "chapters.csv"
_LINE = re.compile(r"^\*\*Time\.\*\* .*$", re.M)


def reading_minutes(notebook: NotebookNode) -> int:
    """Return the minutes it takes to read a chapter, up to its exercises.

    The rule: a minute for 200 words of prose, half a minute for a figure, rounded up. Exercises are not counted: they
    are done, not read. A figure is a call of ``style.save``.
    """
    words = figures = 0
    for cell in notebook.cells:
        if cell.cell_type == "code":
            figures += len(re.findall(r"\bstyle\.save\(", cell.source))
            continue
        text, exercises, _ = cell.source.partition("## Exercises")
        words += len(re.findall(r"\w[\w'’.,-]*", _LINE.sub("", text)))
        if exercises:
            break
    return math.ceil(words / WORDS_A_MINUTE + MINUTES_A_FIGURE * figures)


def spoken(seconds: float) -> str:
    """Say a duration, rounded up: to 5 seconds below a minute and a half, to minutes below ten, else to 5 minutes."""
    if seconds <= 90:
        return f"{max(5, 5 * math.ceil(seconds / 5))} seconds"
    minutes = math.ceil(seconds / 60)
    return f"{minutes if minutes < 10 else 5 * math.ceil(minutes / 5)} minutes"


def time_line(notebook: NotebookNode, chapter: str, measured: pd.DataFrame) -> str:
    """Return the line that stands at a chapter's top.

    Args:
        notebook: the chapter.
        chapter: its stem, ``04_experiment_1_patch_size``.
        measured: of `measurements`.

    Raises:
        UserError: the chapter was never timed.
    """
    if chapter not in measured.index:
        raise UserError(f"{MEASURED}: no row for {chapter}; `lmhld book mini`, then `make times`")
    row = measured.loc[[chapter]].to_dict("records")[0]
    minutes = reading_minutes(notebook)
    read = f"**Time.** {minutes} minute{'' if minutes == 1 else 's'} to read"
    if not row["runs"]:
        return f"{read}, {spoken(row['seconds'])} to run."
    return (
        f"{read}, {spoken(row['seconds'])} to run where the {row['runs']} trainings of `{row['profile']}` are there; "
        f"these take {spoken(row['training_seconds'])} one after another."
    )


def measurements() -> pd.DataFrame:
    """Read the committed measurements, index ``chapter``; see `measure` for the columns.

    Raises:
        UserError: nothing was measured yet.
    """
    if not MEASURED.is_file():
        raise UserError(
            f"{MEASURED}: not there; `lmhld book mini` on a machine that is free, then `make times`"
        )
    return pd.read_csv(MEASURED).set_index("chapter")


def measure(profile: str) -> pd.DataFrame:
    """Return how long a profile's chapters take, index ``chapter``, from its last `lmhld book` and the store of runs.

    Columns: ``profile``; ``seconds`` of execution, kernel's start included, the runs being there; ``runs`` it asks for
    and ``training_seconds``, the sum of what these recorded; ``hardware`` and ``python``.

    Raises:
        UserError: a chapter was not executed, or a run is missing.
    """
    loaded = profiles.load(profile)
    path = workdir() / "build" / loaded.name / "times.csv"
    if not path.is_file():
        raise UserError(f"{path}: not there; run `lmhld book {profile}` first")
    seconds = pd.read_csv(path).set_index("chapter")["seconds"]
    planned = plans.plan(loaded, experiments.dataset_of(loaded, progress=False))
    rows = {}
    for source in book.chapters(profile=profile):
        if source.stem not in seconds:
            raise UserError(
                f"{path}: no {source.stem}; run `lmhld book {profile} --chapter {source.stem[:2]}`"
            )
        own = [e.spec for e in planned if book.EXPERIMENT_OF.get(source.stem[:2]) in e.experiments]
        found = [run for spec in own if (run := runs.find(spec))]
        if len(found) < len(own):
            raise UserError(
                f"{loaded.name}: {len(own) - len(found)} runs are missing; `lmhld run {profile}` first"
            )
        rows[source.stem] = {
            "profile": loaded.name,
            "seconds": round(float(seconds[source.stem]), 1),
            "runs": len(own),
            "training_seconds": round(sum(run.metrics["seconds"] for run in found), 1),
            "hardware": cpu_name(),
            "python": platform.python_version(),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("chapter")


def rewrite(measured: pd.DataFrame) -> list[Path]:
    """Put the right line at the top of each chapter's source; return those that changed."""
    changed = []
    for source in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.py")):
        text = source.read_text(encoding="utf-8")
        line = f"# {time_line(jupytext.read(source), source.stem, measured)}"
        old = re.search(r"^# \*\*Time\.\*\* .*$", text, re.M)
        made = text.replace(old[0], line, 1) if old else text
        if made != text:
            with atomic_path(source) as temporary:
                temporary.write_text(made, encoding="utf-8")
            changed.append(source)
    return changed


if __name__ == "__main__":
    try:
        for name in sys.argv[1:]:
            with atomic_path(MEASURED) as part:
                measure(name).to_csv(part)
        print("\n".join(str(path) for path in rewrite(measurements())) or "all lines are right")
    except UserError as error:
        sys.exit(str(error))
