"""The project holds together: dependencies, import direction, chapters, Makefile and README agree."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import jupytext
import pandas as pd
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import lmhld_nb
from lmhld_nb import paper
from lmhld_nb.book import committed
from lmhld_nb.book.pages import manifest
from lmhld_nb.config import ROOT, Strict, read_yaml
from lmhld_nb.experiments import plan as plans

PACKAGE = ROOT / "lmhld_nb"

# Import names that differ from the name of the distribution.
DISTRIBUTIONS = {"yaml": "pyyaml", "PIL": "pillow", "bs4": "beautifulsoup4"}

# Needed at run time though nothing of ours imports them.
STARTED_BY_OTHERS = {
    "pyogrio": "geopandas reads and writes vector files through it",
}

CONDA_NAMES = {"torch": "pytorch"}


def pyproject() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def floors() -> dict[str, Requirement]:
    """Return every declared dependency, optional groups included."""
    project = pyproject()["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    requirements = [Requirement(line) for group in groups for line in group]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def pins() -> dict[str, Requirement]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def test_every_dependency_has_a_floor_and_a_reason() -> None:
    for name, requirement in floors().items():
        assert [part.operator for part in requirement.specifier] == [">="], name
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    declared = [line for line in lines if re.match(r'\s+"[\w-]+>=', line)]
    assert len(declared) == len(floors())
    for line in declared:
        floor = re.search(r'>=([\d.]+)",', line)
        assert floor, line
        assert re.search(rf"# .+\. {re.escape(floor[1])}: \S", line), f"no reason for the floor: {line}"


def test_pins_are_exact_and_satisfy_the_floors() -> None:
    pinned = pins()
    for name, requirement in pinned.items():
        assert [part.operator for part in requirement.specifier] == ["=="], name
        assert requirement.url is None
        assert "+" not in str(requirement.specifier), f"{name}: a local build cannot be installed elsewhere"
    for name, requirement in floors().items():
        (pin,) = pinned[name].specifier
        assert requirement.specifier.contains(pin.version), f"{name}: {pin.version} is below its floor"
    assert str(pinned["torch"].specifier) == "==2.13.0"


class Environment(Strict):
    """A conda environment file."""

    name: str
    channels: tuple[str, ...]
    dependencies: tuple[str | dict[str, tuple[str, ...]], ...]


def test_conda_environment_is_in_step_with_pyproject() -> None:
    environment = read_yaml(ROOT / "environment.yml", Environment)
    listed: set[str] = set()
    for entry in environment.dependencies:
        listed.update([entry] if isinstance(entry, str) else entry["pip"])
    expected = {
        f"{CONDA_NAMES.get(name, name)}{requirement.specifier}" for name, requirement in floors().items()
    }
    python = f"python{pyproject()['project']['requires-python']}"
    assert listed == expected | {python, "pip", "-e ."}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def top_level(path: Path) -> str:
    """Return the module or package of ``ORDER`` a file belongs to; empty for the package's own __init__."""
    first = path.relative_to(PACKAGE).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Yield the full name and the line of everything a file imports, wherever in the file it does so."""
    package = ["lmhld_nb", *path.relative_to(PACKAGE).parent.parts] if PACKAGE in path.parents else []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            for alias in node.names:
                yield f"{base}.{alias.name}", node.lineno


def order() -> list[str]:
    """Return the modules in the order in which data flows: the table in CONTRIBUTING.md."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.split("| module |")[1].split("\n## ")[0]
    firsts = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    return [name for cell in firsts for name in re.findall(r"`(\w+)`", cell)]


def test_every_module_has_its_place() -> None:
    listed = order()
    present = {top_level(path) for path in modules()} - {""}
    assert present - set(listed) == set(), "add a row to the table in CONTRIBUTING.md"
    assert set(listed) - present == set(), "the table in CONTRIBUTING.md names what is not there"
    assert len(set(listed)) == len(listed)


def test_imports_point_one_way() -> None:
    place = {name: position for position, name in enumerate(order())}
    wrong = []
    for path in modules():
        here = top_level(path)
        if here and here not in place:
            continue  # told by the test above
        for name, line in imported(path):
            parts = name.split(".")
            target = parts[1] if parts[0] == "lmhld_nb" and len(parts) > 1 else None
            if target in place and target != here and place[target] >= place.get(here, -1):
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {here} imports {target}")
    assert not wrong, "\n".join(wrong)


def third_party(paths: list[Path]) -> set[str]:
    ours = {"lmhld_nb", "benchmarks", *(path.stem for path in (ROOT / "tests").glob("*.py"))}
    names = {name.split(".")[0] for path in paths for name, _ in imported(path)}
    names -= {*sys.stdlib_module_names, *ours}
    return {canonicalize_name(DISTRIBUTIONS.get(name, name)) for name in names}


def test_what_is_imported_is_declared() -> None:
    project = pyproject()["project"]
    runtime = {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}
    optional = project["optional-dependencies"]
    parts = {canonicalize_name(Requirement(line).name) for line in (*optional["site"], *optional["lab"])}
    sources = sorted((ROOT / "notebooks").glob("*.py"))
    # The web edition and the widgets are optional parts of the package: whoever uses them has their groups.
    assert third_party([*modules(), *sources]) <= runtime | parts
    assert third_party(sorted((ROOT / "tests").glob("*.py"))) <= set(floors())


def test_what_is_declared_is_imported() -> None:
    runtime = {canonicalize_name(Requirement(line).name) for line in pyproject()["project"]["dependencies"]}
    used = third_party([*modules(), *sorted((ROOT / "notebooks").glob("*.py"))])
    unused = runtime - used - set(STARTED_BY_OTHERS)
    assert not unused, f"drop from pyproject.toml and environment.yml: {', '.join(sorted(unused))}"


def test_package_carries_its_facts() -> None:
    patterns = pyproject()["tool"]["setuptools"]["package-data"]["lmhld_nb.paper"]
    carried = {path.name for pattern in patterns for path in (PACKAGE / "paper").glob(pattern)}
    present = {path.name for path in (PACKAGE / "paper").iterdir() if path.is_file() and path.suffix != ".py"}
    assert carried == present


def test_one_version() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (\S+)$", citation, re.M) == [lmhld_nb.__version__]


def chapters(suffix: str) -> list[str]:
    return sorted(path.stem for path in (ROOT / "notebooks").glob(f"[0-9][0-9]_*{suffix}"))


def notebooks(suffix: str) -> list[str]:
    """Return the chapters, and the notebooks beside them that are no chapter."""
    return sorted(path.stem for path in (ROOT / "notebooks").glob(f"*{suffix}"))


def test_notebooks_are_paired() -> None:
    assert notebooks(".py") == notebooks(".ipynb") != []
    assert set(notebooks(".py")) - set(chapters(".py")) == {"explorer", "my_data"}


@pytest.mark.parametrize("chapter", notebooks(".py"))
def test_notebook_says_what_its_source_says(chapter: str) -> None:
    assert committed.difference(ROOT / "notebooks" / f"{chapter}.py") is None


@pytest.mark.parametrize("chapter", notebooks(".py"))
def test_notebook_source_keeps_the_conventions(chapter: str) -> None:
    text = (ROOT / "notebooks" / f"{chapter}.py").read_text(encoding="utf-8")
    header = text.split("# ---\n")[1]
    assert set(re.findall(r"^# {3}(\w+):", header, re.M)) == {"kernelspec"}, "header: kernelspec only"
    assert re.fullmatch(r"(\d\d_)?[a-z0-9_]+", chapter)
    cells = jupytext.reads(text, fmt="py:percent").cells
    tagged = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1, "exactly one cell is tagged parameters"
    for line in tagged[0].source.splitlines():
        if line and not line.startswith("#"):
            assert re.match(r"\w+: [^=]+ = .+  # \S", line), f"annotate and comment the parameter: {line}"


def makefile_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))


def test_makefile_has_its_targets() -> None:
    promised = {
        "env",
        "book",
        "smoke",
        "test",
        "test-slurm",
        "test-site",
        "lab",
        "explorer",
        "site",
        "bench",
        "clean",
        "real",
        "reference",
        "notebooks",
        "student",
        "first",
        "nbval-mini",
        "check-pairs",
        "times",
        "front",
    }
    assert promised | {"help", "lint"} == makefile_targets()
    phony = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert phony
    assert set(phony[1].split()) == makefile_targets()


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "book/index.md", "workflow/README.md"])
def test_documents_name_targets_and_files_that_exist(document: str) -> None:
    path = ROOT / document
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"(?:`|^)make ([a-z-]+)", text, re.M):
        assert target in makefile_targets(), f"{document}: make {target}"
    links = set(re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text))
    if document == "book/index.md":
        # Made when the site is built; the last is written beside the chapters and left out where it is not.
        links -= {"overview.png", "ledger.md", "numbers.md", "gallery.md", "api/index.md", "instructor.md"}
        links = {link for link in links if not link.startswith("chapters/")}
    for link in links:
        assert (path.parent / link).exists(), f"{document}: {link}"


def test_readme_lists_the_chapters_there_are() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[\d\d[^\]]*\]\(notebooks/(\w+)\.ipynb\)", text, re.M)
    assert listed == chapters(".ipynb")


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_says_which_python_it_needs(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    too_old = tmp_path / "python-too-old"
    too_old.write_text("#!/bin/sh\nexit 1\n")
    too_old.chmod(0o755)
    done = subprocess.run(
        ["make", "env", f"PY={too_old}"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed" in done.stderr
    assert not (tmp_path / ".venv").exists()


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_alone_lists_the_targets() -> None:
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^  make ([a-z-]+) ", shown, re.M)) == makefile_targets()


def test_every_figure_and_table_of_the_paper_has_an_entry() -> None:
    figures = {f"figure {number}" for number in paper.figures().index}
    tables = {f"table {number}" for number in paper.TABLES}
    others = {
        "overview",
        "polygons",
        "networks",
        "section 3.3",
        "section 4.5",
        "audit",
        *(f"beyond {number}" for number in range(1, 7)),
    }
    assert set(manifest()) == figures | tables | others


@pytest.mark.parametrize("name", sorted(manifest()))
def test_manifest_entry_leads_from_chapter_and_runs_to_files(name: str) -> None:
    entry = manifest()[name]
    if entry.not_made is not None:
        assert (entry.chapter, entry.files, entry.experiments) == (None, (), ())
        return
    source = (ROOT / "notebooks" / f"{entry.chapter}.py").read_text(encoding="utf-8")
    tables = [file for file in entry.files if file.endswith(".csv")]
    assert tables or name == "overview", "a picture without the numbers behind it"
    for file in entry.files:
        assert f'"{Path(file).stem}"' in source, f"{entry.chapter} does not make {file}"
        assert (ROOT / "figures" / "mini" / file).is_file(), file
    assert set(entry.experiments) <= set(plans.EXPERIMENTS)
    if entry.experiments and name not in ("figure 3", "figure 4"):  # these show the plan, not results
        ids = pd.read_csv(ROOT / "figures" / "mini" / tables[0])["run_ids"]
        assert ids.str.fullmatch(r"[0-9a-f]{16}(\+[0-9a-f]{16})*").all(), f"{tables[0]}: no run ids"


def test_every_committed_figure_is_made_by_a_chapter() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "notebooks").glob("*.py")))
    for path in sorted((ROOT / "figures" / "mini").iterdir()):
        stem = path.stem
        loops = stem.startswith("architecture_")  # named after the model
        assert loops or f'"{stem}"' in sources, f"{path.name}: no chapter makes it any more; delete it"
