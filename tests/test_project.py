"""The project holds together and stays thin: dependencies, import direction, the Makefile, one version, lines."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import lmhld_nb
from lmhld_nb.config import ROOT

PACKAGE = ROOT / "lmhld_nb"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")

# Import names that differ from the name of the distribution.
DISTRIBUTIONS = {"yaml": "pyyaml", "PIL": "pillow", "bs4": "beautifulsoup4"}

STARTED_BY_OTHERS = {"pyogrio"}  # geopandas reads and writes vector files through it
CONDA_NAMES = {"jupyter-server": "jupyter_server", "torch": "pytorch"}


def floors():
    project = PYPROJECT["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    requirements = [Requirement(line) for group in groups for line in group]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def test_pins_are_exact_and_conda_is_in_step_with_pyproject():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    pinned = {canonicalize_name(requirement.name): requirement for requirement in requirements}
    for name, requirement in pinned.items():
        assert [part.operator for part in requirement.specifier] == ["=="], name
        assert requirement.url is None
        assert "+" not in str(requirement.specifier), f"{name}: a local build cannot be installed elsewhere"
    for name, requirement in floors().items():
        (pin,) = pinned[name].specifier
        assert requirement.specifier.contains(pin.version), f"{name}: {pin.version} is below its floor"
    assert str(pinned["torch"].specifier) == "==2.13.0"
    listed: set[str] = set()
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    for entry in environment["dependencies"]:
        listed.update([entry] if isinstance(entry, str) else entry["pip"])
    expected = {f"{CONDA_NAMES.get(name, name)}{requirement.specifier}" for name, requirement in floors().items()}
    assert listed == expected | {f"python{PYPROJECT['project']['requires-python']}", "pip", "-e ."}


def python_files(*folders: str):
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: import by the full name"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def third_party(paths):
    ours = {path.stem for path in python_files("tests", "tools")} | {"lmhld_nb", "lmhld_book", "benchmarks"}
    names = {name.split(".")[0] for path in paths for name, _ in imported(path)}
    names -= {*sys.stdlib_module_names, *ours}
    return {canonicalize_name(DISTRIBUTIONS.get(name, name)) for name in names}


def test_what_is_imported_is_declared_and_the_other_way_round():
    project = PYPROJECT["project"]
    groups = {"run": project["dependencies"], **project["optional-dependencies"]}
    names = {key: {canonicalize_name(Requirement(line).name) for line in lines} for key, lines in groups.items()}
    package = third_party(python_files("lmhld_nb", "notebooks"))
    assert package <= names["run"] | names["lab"]
    assert names["run"] <= package | STARTED_BY_OTHERS, "drop from pyproject.toml and environment.yml"
    brought = {"markdown-it", "qgis", "osgeo"}  # by myst-nb, and by Debian's python3-qgis
    assert third_party(python_files("book", "tools")) <= names["run"] | names["site"] | names["test"] | brought
    assert third_party(python_files("tests")) <= set(floors()) | brought


def test_there_is_one_version_and_the_package_carries_its_data():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (\S+)$", citation, re.M) == [lmhld_nb.__version__]
    assert f"ersion {lmhld_nb.__version__}:" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"].items()
    globs = [(ROOT / name.replace(".", "/"), pattern) for name, several in patterns for pattern in several]
    carried = {path for folder, pattern in globs for path in folder.glob(pattern)}
    files = (path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    assert carried == {path for path in files if path.suffix != ".py"}


def test_imports_point_one_way():
    graph: dict[str, dict[str, str]] = {}  # of packages and modules of the first level, with one line of each import
    for path in python_files("lmhld_nb"):
        first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if first == "__init__":  # what chapters open: it imports anything when it is first used
            continue
        targets = graph.setdefault(first, {})
        for name, line in imported(path):
            parts = name.split(".")
            if parts[0] == "lmhld_nb" and len(parts) > 1 and parts[1] != first:
                targets.setdefault(parts[1], f"{path.relative_to(ROOT)}:{line}")
    present = {path.stem for path in PACKAGE.iterdir() if not path.name.startswith("__")}
    edges = {name: set(targets) & present for name, targets in graph.items()}
    try:
        order = list(TopologicalSorter(edges).static_order())
    except CycleError as error:
        cycle = error.args[1]
        where = [graph[user].get(used, "") for used, user in pairwise(cycle)]
        pytest.fail(f"imports go round: {' → '.join(reversed(cycle))}; {', '.join(where)}")
    assert order[0] == "config" or not edges[order[0]]
    assert not {name for name, targets in edges.items() if "widgets" in targets}, "no batch code imports widgets"


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_lists_its_targets_and_says_which_python_it_needs(tmp_path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    shown = subprocess.run(["make"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    targets = re.findall(r"^([a-z-]+):", MAKEFILE, re.M)
    assert re.findall(r"^  make ([a-z-]+) ", shown, re.M) == targets
    assert set(targets) > {"env", "book", "test", "smoke", "lab", "site", "bench", "clean", "publish"}
    (phony,) = re.findall(r"^\.PHONY: (.+)$", MAKEFILE, re.M)
    assert sorted(phony.split()) == sorted(targets)
    too_old = tmp_path / "python-too-old"
    too_old.write_text("#!/bin/sh\nexit 1\n")
    too_old.chmod(0o755)
    done = subprocess.run(["make", "env", f"PY={too_old}"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "Python 3.11 or newer is needed" in done.stderr
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize(("folder", "most"), [("lmhld_nb", 17_500), ("tests", 11_000)])
def test_lines_and_entries_stay_within_the_budget(folder: str, most: int) -> None:
    paths = (ROOT / folder).rglob("*.py")
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths) <= most
    assert len([path for path in (ROOT / "lmhld_nb").iterdir() if path.name != "__pycache__"]) <= 22
