"""The book: chapters executed by papermill, one process each, and the web edition made of them."""

from __future__ import annotations

import ast
import csv
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tokenize
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

import jupytext
import nbformat
import papermill
from papermill.exceptions import PapermillExecutionError
from tqdm import tqdm
from traitlets.config import Config

from lmhld_nb.book import edition, kernels
from lmhld_nb.config import ROOT, UserError, atomic_path, workdir
from lmhld_nb.processes import cores, side_by_side

EXPERIMENT_OF = {"04": "1", "05": "2", "06": "3", "07": "4", "08": "5", "09": "recipe", "11": "beyond"}
"""Chapters on one experiment each; a profile that leaves it out has no such chapter."""


def chapters(only: str | None = None, profile: str | None = None) -> list[Path]:
    """Return the chapters' sources in order, those of a profile, or the one whose number (``05``) is given.

    Raises:
        UserError: there is no such chapter.
    """
    found = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.py"))
    if only is None and profile is None:
        return found
    if only is None:
        from lmhld_nb.experiments import profile as profiles

        loaded = profiles.load(str(profile))
        asked = {path: EXPERIMENT_OF.get(path.stem[:2]) for path in found}
        return [path for path, name in asked.items() if name is None or profiles.is_made(loaded, name)]
    picked = [path for path in found if path.stem[:2] == only.zfill(2)]
    if not picked:
        raise UserError(
            f"chapter '{only}': unknown; choose from {', '.join(path.stem[:2] for path in found)}"
        )
    return picked


def execute(source: Path, target: Path, parameters: dict[str, object]) -> None:
    """Execute one chapter (.py or .ipynb) into ``target``; what it holds is whole or it is not there.

    The kernel talks over IPC through sockets in a folder of its own, so that chapters executed side by side can take
    neither each other's ports nor each other's sockets. It is this very Python (`kernels.own`), whatever the chapter's
    header asks for. Cells tagged ``skip-execution``, the widgets, are left out.

    Raises:
        UserError: a parameter is unknown to the chapter, or a cell failed (names chapter and error; the broken
            notebook is kept beside the target as ``….failed.ipynb``).
    """
    notebook = jupytext.read(source)
    known = {parameter["name"] for parameter in parameters_of(notebook)}
    for name in parameters:
        if name not in known:
            raise UserError(f"{source.name}: no parameter '{name}'; it has {', '.join(sorted(known))}")
    target.parent.mkdir(parents=True, exist_ok=True)
    plain = target.with_suffix(".input.ipynb")
    failed = target.with_suffix(".failed.ipynb")
    nbformat.write(notebook, plain)
    config = Config()
    config.KernelManager.transport = "ipc"
    try:
        with (
            tempfile.TemporaryDirectory(prefix="lmhld-") as sockets,
            kernels.own(),
            atomic_path(target) as temporary,
        ):
            config.KernelManager.ip = f"{sockets}/kernel"
            try:
                papermill.execute_notebook(
                    str(plain), str(temporary), parameters, cwd=str(ROOT / "notebooks"), progress_bar=False,
                    config=config, request_save_on_cell_execute=False, start_timeout=300,
                    kernel_name=kernels.NAME,
                )  # fmt: skip
            except PapermillExecutionError as error:
                shutil.copy(temporary, failed)
                reason = " ".join(f"{error.ename}: {error.evalue}".split())
                raise UserError(
                    f"{source.name}: cell {error.exec_count} failed: {reason}; see {failed}"
                ) from error
            except RuntimeError as error:  # what nbclient and jupyter_client raise about their kernels
                raise UserError(
                    f"{source.name}: {' '.join(str(error).split())} (out of memory?); run it alone with "
                    f"`--chapter {source.stem[:2]}`"
                ) from error
            _tidy(temporary)
        failed.unlink(missing_ok=True)
    finally:
        plain.unlink(missing_ok=True)


def parameters_of(notebook: nbformat.NotebookNode) -> list[dict[str, str]]:
    """Return name, type, default and help of each parameter of a chapter."""
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            tokens = tokenize.generate_tokens(io.StringIO(cell.source).readline)
            helps = {token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT}
            return [
                {
                    "name": ast.unparse(node.target),
                    "type": ast.unparse(node.annotation),
                    "default": ast.get_source_segment(cell.source, node.value) or "",
                    "help": helps.get(node.end_lineno or 0, "").lstrip("# "),
                }
                for node in ast.parse(cell.source).body
                if isinstance(node, ast.AnnAssign) and node.value is not None
            ]
    return []


def make(
    profile: str, only: str | None = None, progress: bool = True, workers: int | None = None
) -> list[Path]:
    """Execute the chapters of a profile into ``build/PROFILE/``, each in a process of its own.

    Args:
        profile: name or file of a profile.
        only: number of a single chapter.
        progress: show a bar.
        workers: chapters side by side; None for one a processor core.

    Raises:
        UserError: a chapter failed; the others are there.
    """
    sources = chapters(only, profile)
    folder = workdir() / "build" / Path(profile).stem
    targets = [folder / f"{source.stem}.ipynb" for source in sources]
    if profile.endswith((".yaml", ".yml")):  # chapters run in another folder
        profile = str(Path(profile).resolve())
    # Long ones first, so that none is left to run alone at the end; long to read is mostly long to run.
    pairs = sorted(zip(sources, targets, strict=True), key=lambda pair: -pair[0].stat().st_size)
    work = partial(_execute_quietly, parameters={"profile": profile})
    bar = tqdm(total=len(sources), desc=f"book {profile}", unit="chapter", disable=not progress)
    failures, times = [], {}
    with bar:
        for (source, _), future in side_by_side(work, pairs, workers or cores()):
            try:
                times[source.stem] = future.result()
            except UserError as error:
                failures.append(str(error))
                continue
            except BrokenProcessPool:
                raise UserError(
                    "a chapter's process was killed (out of memory?); go on with `lmhld book --workers 1`"
                ) from None
            bar.set_postfix_str(source.stem)
            bar.update()
            if progress:
                tqdm.write(f"{source.stem}: {times[source.stem]:.0f} s")
    _keep_times(folder / "times.csv", times)
    if failures:
        raise UserError("; ".join(failures))
    return targets


def _keep_times(path: Path, seconds: dict[str, float]) -> None:
    """Write how long chapters took, in place of what the file says of the same ones; `reading` takes it from there."""
    kept: dict[str, str] = {}
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            kept = {row["chapter"]: row["seconds"] for row in csv.DictReader(file)}
    kept |= {chapter: f"{value:.1f}" for chapter, value in seconds.items()}
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([("chapter", "seconds"), *sorted(kept.items())])


def _execute_quietly(pair: tuple[Path, Path], parameters: dict[str, object]) -> float:
    """Execute a chapter in a process of `side_by_side`; return the seconds it took."""
    # Leave by an exception, so that the kernel is stopped and temporary files go.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("interrupted"))
    # No widgets in a page; and one thread each, for chapters run side by side and threads wait for each other.
    os.environ |= {"LMHLD_PROGRESS": "lines", "OMP_NUM_THREADS": "1"}
    with open(os.devnull, "w") as nowhere:  # what kernels say beside their outputs; errors are raised
        for stream in (1, 2):
            os.dup2(nowhere.fileno(), stream)
    began = time.perf_counter()
    execute(*pair, parameters)
    return time.perf_counter() - began


def site(profile: str, committed: bool = False) -> Path:
    """Build the web edition ``build/site/``; it is whole, or what it was before.

    Args:
        profile: whose executed chapters are taken, from ``build/PROFILE/``, and figures, from ``figures/PROFILE/``.
        committed: take those that come with the book instead, ``notebooks/*.ipynb`` and ``figures/mini/``.

    Raises:
        UserError: the chapters are not executed yet, a picture is not described, a table names runs that are none, or
            Sphinx warned.
    """
    name = Path(profile).stem
    build = workdir() / "build"
    executed = ROOT / "notebooks" if committed else build / name
    stems = [path.stem for path in chapters(profile=profile)]
    for stem in stems:
        if not (executed / f"{stem}.ipynb").is_file():
            raise UserError(f"{executed}: chapter {stem} is not executed; run `lmhld book {profile}` first")
    target = build / "site"
    build.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="site-", dir=build) as temporary:
        source, made = Path(temporary) / "source", Path(temporary) / "site"
        edition.prepare(source, executed, (ROOT if committed else workdir()) / "figures" / name, stems)
        command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
        command += ["-d", str(Path(temporary) / "doctrees"), str(source), str(made)]
        child = subprocess.run(command, check=False, capture_output=True, text=True)
        if child.returncode != 0:
            said = [
                line
                for line in child.stderr.splitlines()
                if re.search(r"WARNING|ERROR|CRITICAL|error:", line)
            ]
            shown = said or child.stderr.splitlines() or [f"sphinx ended with code {child.returncode}"]
            raise UserError(f"web edition: {shown[0].strip()} ({len(shown)} such lines)")
        shutil.rmtree(target, ignore_errors=True)
        made.rename(target)
    return target


def references(profile: str, folder: Path) -> None:
    """Replace the notebooks in ``folder`` by a profile's executed chapters, with the outputs of checked cells alone."""
    made = {}
    for source in chapters(profile=profile):
        path = workdir() / "build" / profile / f"{source.stem}.ipynb"
        if not path.is_file():
            raise UserError(f"{path}: chapter not executed; run `lmhld book {profile}` first")
        made[source] = nbformat.read(path, as_version=4)
    for old in folder.glob("*.ipynb"):
        old.unlink()
    for source, notebook in made.items():
        for cell in notebook.cells:
            if cell.cell_type == "code" and "nbval-check-output" not in cell.metadata.get("tags", []):
                cell.outputs = []
        nbformat.write(notebook, folder / f"{source.stem}.ipynb")


def _tidy(path: Path) -> None:
    """Take out what differs from one execution to the next: times, ids of papermill, machine paths."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"]}
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02d}"
        cell.metadata = {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    nbformat.write(notebook, path)
