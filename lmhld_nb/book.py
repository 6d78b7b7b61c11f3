"""The book: chapters executed by papermill, one process each, and the web edition made of them."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tokenize
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jupytext
import nbformat
import papermill
from papermill.exceptions import PapermillExecutionError
from tqdm import tqdm
from traitlets.config import Config

from lmhld_nb import edition
from lmhld_nb.config import ROOT, UserError, atomic_path, workdir
from lmhld_nb.processes import cores

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
        from lmhld_nb import profiles  # here: torch takes seconds, and each chapter's process loads this

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
    neither each other's ports nor each other's sockets.

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
        with tempfile.TemporaryDirectory(prefix="lmhld-") as sockets, atomic_path(target) as temporary:
            config.KernelManager.ip = f"{sockets}/kernel"
            try:
                papermill.execute_notebook(
                    str(plain), str(temporary), parameters, cwd=str(ROOT / "notebooks"), progress_bar=False,
                    config=config, request_save_on_cell_execute=False, start_timeout=300,
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
    bar = tqdm(total=len(sources), desc=f"book {profile}", unit="chapter", disable=not progress)
    children: list[subprocess.Popen[str]] = []
    failures = []
    with bar, ThreadPoolExecutor(workers or cores()) as pool:
        # Long ones first, so that none is left to run alone at the end; long to read is mostly long to run.
        pairs = sorted(zip(sources, targets, strict=True), key=lambda pair: -pair[0].stat().st_size)
        futures = {
            source: pool.submit(_execute_in_child, source, target, profile, children)
            for source, target in pairs
        }
        try:
            for source in sources:
                future = futures[source]
                bar.set_postfix_str(source.stem)
                try:
                    seconds = future.result()
                except UserError as error:
                    failures.append(str(error))
                    continue
                bar.update()
                if progress:
                    tqdm.write(f"{source.stem}: {seconds:.0f} s")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in children:
                child.terminate()
            raise
    if failures:
        raise UserError("; ".join(failures))
    return targets


def _execute_in_child(
    source: Path, target: Path, profile: str, children: list[subprocess.Popen[str]]
) -> float:
    """Execute a chapter in a fresh Python process; return the seconds it took."""
    code = "import sys, json; from lmhld_nb import book; book.execute_as_child(json.loads(sys.argv[1]))"
    task = json.dumps({"source": str(source), "target": str(target), "parameters": {"profile": profile}})
    began = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-c", code, task], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        # No widgets in a page; and one thread each, for chapters run side by side and threads wait for each other.
        env={**os.environ, "LMHLD_PROGRESS": "lines", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    children.append(child)
    _, errors = child.communicate()
    if child.returncode != 0:
        lines = errors.strip().splitlines() or [
            f"{source.name}: its process ended with code {child.returncode}"
        ]
        raise UserError(lines[-1])
    return time.perf_counter() - began


def execute_as_child(task: dict[str, object]) -> None:
    """Execute a chapter as told by `make`; an error becomes the last line on stderr."""
    # Leave by an exception, so that the kernel is stopped and temporary files go.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("interrupted"))
    try:
        execute(Path(str(task["source"])), Path(str(task["target"])), dict(task["parameters"]))  # type: ignore[call-overload]
    except UserError as error:
        sys.exit(str(error))


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
