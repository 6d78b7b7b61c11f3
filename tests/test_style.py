"""One style everywhere: names, colours, marks and order come from one place; figures say data, profile and n."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise

import jupytext
import matplotlib.pyplot as plt
import pytest

from lmhld_nb import paper, sources
from lmhld_nb.book import chapters as book
from lmhld_nb.config import ROOT
from lmhld_nb.experiments import profile as profiles
from lmhld_nb.plots import style

DRAWING = sorted(
    path
    for path in (ROOT / "lmhld_nb").glob("*.py")
    if re.search(r"-> Figure", path.read_text(encoding="utf-8")) and path.stem != "style"
)


def figure_functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    for path in DRAWING:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.FunctionDef)
                and isinstance(node.returns, ast.Name)
                and node.returns.id == "Figure"
            ):
                yield path.stem, node


@pytest.mark.parametrize(
    ("module", "node"), list(figure_functions()), ids=lambda value: getattr(value, "name", value)
)
def test_a_figure_says_its_data_and_n(module: str, node: ast.FunctionDef) -> None:
    inside = {part for inner in node.body for part in ast.walk(inner) if isinstance(inner, ast.FunctionDef)}
    returned = [part.value for part in ast.walk(node) if isinstance(part, ast.Return) and part not in inside]
    calls = {
        inner.func.id: inner
        for inner in returned
        if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Name)
    }
    assert len(returned) == sum(isinstance(value, ast.Call) for value in returned)
    assert set(calls) <= {"signed", "_nothing"} and "signed" in calls, (
        f"{module}.{node.name}: end in `style.signed`"
    )
    n = next(word.value for word in calls["signed"].keywords if word.arg == "n")
    assert "many(" in ast.unparse(n), f"{module}.{node.name}: n counts what is shown"
    told = ast.unparse(calls["signed"].args[1])
    known = {argument.arg for argument in node.args.args} & {"note", "dataset_note"}
    assert not known or any(name in told for name in known), f"{module}.{node.name}: says data and profile"


def test_the_line_under_a_figure() -> None:
    figure = plt.figure(figsize=(8, 2))
    style.signed(figure, "made data · profile smoke", n=style.many(1, "patch"))
    assert figure.get_supxlabel() == "made data · profile smoke · n = 1 patch"
    plt.close(figure)
    assert [style.many(n, "scene") for n in (0, 1, 1200)] == ["0 scenes", "1 scene", "1,200 scenes"]
    assert style.many(2, "patch") == "2 patches"


@pytest.mark.parametrize("path", book.chapters(), ids=lambda path: path.stem)
def test_a_chapters_figures_are_given_a_note_and_saved(path) -> None:
    for cell in jupytext.read(path).cells:
        if cell.cell_type == "code":
            assert "plt." not in cell.source and ".figure(" not in cell.source, (
                "figures are drawn in lmhld_nb"
            )


def test_a_name_has_its_colour_and_mark_in_whatever_company() -> None:
    for names in (list(paper.AREAS), list(paper.MODELS)):
        together = style.colours(names)
        assert len(set(together.values())) == len(names)
        for name in names:
            assert style.colours([name])[name] == together[name]
            assert style.colours([*reversed(names), "else"])[name] == together[name]
    marks = style.markers(list(paper.MODELS))
    assert len(set(marks.values())) == len(paper.MODELS)
    assert style.markers(["unet_3p"])["unet_3p"] == marks["unet_3p"]


def in_order(names: list[str], order: list[str]) -> bool:
    places = [order.index(name) for name in names if name in order]
    return all(a < b for a, b in pairwise(places))


@pytest.mark.parametrize("profile", profiles.names())
def test_profiles_list_networks_in_one_order(profile: str) -> None:
    loaded = profiles.load(profile)
    assert in_order(list(loaded.models), list(paper.MODELS))


def test_data_sets_list_areas_in_one_order() -> None:
    for name, description in sources.catalogue().items():
        areas = list(getattr(description.source, "areas", None) or [])
        assert in_order(areas, list(paper.AREAS)), name


def test_one_matplotlib_style() -> None:
    for path in [*DRAWING, *(ROOT / "notebooks").glob("*.py")]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"rcParams|rc_context|plt\.style|set_theme|sns\.set", text), path.name


def test_colours_with_a_meaning_are_not_typed_again() -> None:
    for path in DRAWING:
        text = path.read_text(encoding="utf-8").lower()
        for name in ("HIT", "FALSE_ALARM", "MISS"):
            assert getattr(style, name) not in text, f"{path.name}: take style.{name}"
