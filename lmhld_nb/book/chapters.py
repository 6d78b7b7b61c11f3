"""Chapters executed by papermill, one process each, and the web edition built from them."""

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import partial
from pathlib import Path

import jupytext
import nbformat
import pandas as pd
import papermill
from ipykernel.kernelspec import write_kernel_spec
from papermill.exceptions import PapermillExecutionError
from tqdm import tqdm
from traitlets.config import Config

from lmhld_nb.config import ROOT, UserError, atomic_path, environment_set, figures_dir, short, workdir
from lmhld_nb.processes import cores, scratch_folder, side_by_side

KERNEL = "lmhld"
"""Name of the kernel in the chapters' headers; `make env` installs it for JupyterLab as "LMHLD book"."""

EXPERIMENT_OF = {
    "04": "patch_size", "05": "single", "06": "mix", "07": "part", "08": "unseen", "09": "recipe", "11": "beyond",
}  # fmt: skip
"""Chapters on one experiment each; a profile without that experiment lacks the chapter."""


def number_of(stem: str | Path) -> str:
    """Return a chapter's number, the part of its file name before the first ``_``: 08, or 08b."""
    return Path(stem).stem.partition("_")[0]


def chapters(number: str | None = None, profile: str | None = None) -> list[Path]:
    """Return the sources of all chapters, those of a profile, or one by number (``05``; `UserError` if unknown)."""
    paths = {number_of(path): path for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]*_*.py"))}
    if number is not None:
        padded = number.zfill(2 + number[-1:].isalpha())
        if padded not in paths:
            raise UserError(f"chapter '{number}': unknown; choose from {', '.join(paths)}")
        return [paths[padded]]
    if profile is None:
        return list(paths.values())
    from lmhld_nb import experiments

    loaded = experiments.load(profile)
    return [path for name, path in paths.items() if name not in EXPERIMENT_OF or loaded.makes(EXPERIMENT_OF[name])]


def parameters_of(notebook: nbformat.NotebookNode) -> list[str]:
    """Return the names of a chapter's parameters."""
    cells = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    nodes = [node for cell in cells for node in ast.parse(cell.source).body]
    return [ast.unparse(node.target) for node in nodes if isinstance(node, ast.AnnAssign)]


def parameter_value(text: str) -> object:
    """Return a parameter's value from the command line, by papermill's rules: a truth value, None, a number or text."""
    if text in ("True", "False", "None"):
        return ast.literal_eval(text)
    for number in (int, float):
        with suppress(ValueError):
            return number(text)
    return text


def execute(source: Path, target: Path, parameters: Mapping[str, object]) -> None:
    """Execute one chapter (.py or .ipynb) with this Python into ``target``, which is written completely or not at all.

    Cells tagged ``skip-execution`` are left out. UserError: unknown parameter, failed cell (``….failed.ipynb`` stays).
    """
    notebook = jupytext.read(source)
    known = sorted(parameters_of(notebook))
    if unknown := [name for name in parameters if name not in known]:
        raise UserError(f"{source.name}: no parameter '{unknown[0]}'; it has {', '.join(known)}")
    target.parent.mkdir(parents=True, exist_ok=True)
    failed = target.with_suffix(".failed.ipynb")
    with (
        scratch_folder() as scratch,
        environment_set("JUPYTER_PATH", os.pathsep.join(filter(None, [scratch, os.environ.get("JUPYTER_PATH")]))),
        atomic_path(target) as temporary,
    ):
        write_kernel_spec(Path(scratch) / "kernels" / KERNEL)  # Jupyter finds it there as this Python
        nbformat.write(notebook, f"{scratch}/input.ipynb")
        config = Config()
        # Sockets in a separate folder: chapters executed in parallel would share names or ports.
        config.KernelManager.transport = "ipc"
        config.KernelManager.ip = f"{scratch}/kernel"
        try:
            papermill.execute_notebook(
                f"{scratch}/input.ipynb", str(temporary), dict(parameters), cwd=str(ROOT / "notebooks"), config=config,
                progress_bar=False, request_save_on_cell_execute=False, start_timeout=300, kernel_name=KERNEL,
            )  # fmt: skip
        except PapermillExecutionError as error:
            shutil.copy(temporary, failed)
            reason = " ".join(f"{error.ename}: {error.evalue}".split())
            raise UserError(f"{source.name}: cell {error.exec_count} failed: {reason}; see {failed}") from error
        except RuntimeError as error:  # raised by nbclient and jupyter_client about their kernels
            problem = f"{short(error)} (out of memory?)"
            raise UserError(f"{source.name}: {problem}; run it alone with `--chapter {number_of(source)}`") from error
        _tidy(temporary)
    failed.unlink(missing_ok=True)


def _tidy(path: Path) -> None:
    """Remove what differs between executions: times, papermill's ids, paths, and logging on stderr."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"]}
    folded = {"solution"}  # in JupyterLab; also default parameters if papermill's cell with the actual values follows
    if any("injected-parameters" in cell.metadata.get("tags", []) for cell in notebook.cells):
        folded.add("parameters")
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02d}"
        cell.metadata = {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
        if cell.cell_type == "code":
            if folded & set(cell.metadata.get("tags", [])):
                cell.metadata["jupyter"] = {"source_hidden": True}
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    nbformat.write(notebook, path)


def make(
    profile: str,
    number: str | None = None,
    progress: bool = True,
    workers: int | None = None,
    parameters: Mapping[str, str] | None = None,
    store: Path | None = None,
) -> list[Path]:
    """Execute the chapters of a profile, or one of them, into ``build/PROFILE/``, each in a separate process.

    ``parameters`` are texts, for the chapters that have them; ``store`` holds records, whose missing runs are skipped.
    Run times go to ``times.csv``. UserError if no chapter has a parameter (nothing is started), or if a chapter fails.
    """
    sources = chapters(number, profile)
    folder = workdir() / "build" / Path(profile).stem
    if profile.endswith((".yaml", ".yml")):  # chapters run in another folder
        profile = str(Path(profile).resolve())
    values = {name: parameter_value(text) for name, text in (parameters or {}).items()}
    if "profile" in values:
        raise UserError("-p profile: the profile is the command's first argument")
    known = {name for source in sources for name in parameters_of(jupytext.read(source))}
    if unknown := [name for name in values if name not in known]:
        raise UserError(f"-p {unknown[0]}: no chapter has this parameter; choose from {', '.join(sorted(known))}")
    # Long ones first, so that none runs alone at the end; long texts mostly take long to run.
    sources_by_size = sorted(sources, key=lambda source: -source.stat().st_size)
    values = ({"on_missing": "skip"} if store else {}) | values | {"profile": profile}
    work = partial(_execute_quietly, folder=folder, parameters=values, store=store)
    failures, seconds = [], {}
    executed = side_by_side(work, sources_by_size, workers or cores())
    for source, future in tqdm(executed, f"book {profile}", len(sources), unit="chapter", disable=not progress):
        try:
            seconds[source.stem] = future.result()
        except UserError as error:
            failures.append(str(error))
        except BrokenProcessPool:
            message = f"a chapter's process was killed (out of memory?); try `lmhld book {profile} --workers 1`"
            raise UserError(message) from None
        else:
            if progress:
                tqdm.write(f"{source.stem}: {seconds[source.stem]:.0f} s")
    times = pd.Series(seconds, name="seconds", dtype=float).rename_axis("chapter")
    if (folder / "times.csv").is_file():  # chapters not executed now keep their times
        times = times.combine_first(pd.read_csv(folder / "times.csv", index_col="chapter")["seconds"])
    with atomic_path(folder / "times.csv") as temporary:
        times.sort_index().to_csv(temporary, float_format="%.1f")
    if failures:
        raise UserError("; ".join(failures))
    return [folder / f"{source.stem}.ipynb" for source in sources]


def recorded_store(profile: str) -> tuple[Path, int]:
    """Unpack a profile's published records into ``build/PROFILE/records/``; return it, and the number of missing runs.

    UserError as in `records.read`, or if it has none of the profile's current runs.
    """
    from lmhld_nb import experiments
    from lmhld_nb.experiments.plan import plan
    from lmhld_nb.runs import records

    loaded = experiments.load(profile)
    path, folder = records.path(loaded.name), workdir() / "build" / Path(profile).stem / "records"
    recorded = records.read(path, loaded.name)
    planned = [entry.spec.run_id for entry in plan(experiments.open_study(loaded, progress=False))]
    missing = len(planned) - len(recorded.runs.keys() & planned)
    if missing == len(planned):
        lacking = f"holds none of the {missing} runs of '{loaded.name}' as it is now"
        raise UserError(f"{path}: {lacking}; make them with `lmhld run {profile}` and leave --from-records out")
    records.unpack(recorded, folder)
    return folder, missing


def _execute_quietly(source: Path, folder: Path, parameters: dict[str, object], store: Path | None) -> float:
    """Execute a chapter in a worker process with those parameters that it has; return the time (s)."""
    # Exit by an exception, so that the kernel is stopped and temporary files are removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("interrupted"))
    # No widgets in a page; one thread each, because chapters run in parallel.
    os.environ |= {"LMHLD_PROGRESS": "lines", "OMP_NUM_THREADS": "1"}
    os.environ |= {"LMHLD_RUNS": str(store)} if store else {}
    with open(os.devnull, "w") as nowhere:  # kernels also write to the terminal; errors are raised
        for stream in (1, 2):
            os.dup2(nowhere.fileno(), stream)
    began = time.perf_counter()
    own = {name: parameters[name] for name in parameters_of(jupytext.read(source)) if name in parameters}
    execute(source, folder / f"{source.stem}.ipynb", own)
    return time.perf_counter() - began


def site(profile: str, committed: bool = False) -> Path:
    """Build the web edition ``build/site/``; if that fails (UserError, e.g. a Sphinx warning), the old one is kept.

    Sphinx reads a copy of ``book/`` with executed chapters and figures: from ``build/PROFILE/``, or as ``committed``.
    """
    name = Path(profile).stem
    build = workdir() / "build"
    executed = ROOT / "notebooks" if committed else build / name
    figures = ROOT / "figures" / name if committed else figures_dir(name)
    notebooks = [executed / f"{source.stem}.ipynb" for source in chapters(profile=profile)]
    for path in notebooks:
        if not path.is_file():
            raise UserError(f"{executed}: chapter {path.stem} is not executed; run `lmhld book {profile}` first")
    build.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="site-", dir=build) as temporary:
        source, pages = Path(temporary) / "source", Path(temporary) / "site"
        shutil.copytree(ROOT / "book", source, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(figures, source / "figures")
        shutil.copy(ROOT / "figures" / "manifest.yaml", source)
        (source / "chapters").mkdir()
        for path in notebooks:
            shutil.copy(path, source / "chapters")
        command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
        command += ["-D", f"lmhld_profile={Path(profile).name}", "-d", f"{temporary}/doctrees", str(source), str(pages)]
        sphinx = subprocess.run(command, check=False, capture_output=True, text=True)
        if sphinx.returncode != 0:
            lines = sphinx.stderr.splitlines() or [f"sphinx ended with code {sphinx.returncode}"]
            problems = [line for line in lines if re.search(r"WARNING|ERROR|CRITICAL|[Ee]rror:", line)] or lines
            raise UserError(f"web edition: {problems[0].strip()} ({len(problems)} such lines)")
        shutil.rmtree(build / "site", ignore_errors=True)
        pages.rename(build / "site")
    return build / "site"
