"""The front page: badges and strip are up to date, quoted errors are real, the citation is one."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml
from PIL import Image

from lmhld_nb.book import front
from lmhld_nb.config import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_badges_say_what_is_so() -> None:
    told = front.facts()
    assert {path.stem for path in front.BADGES.iterdir()} == set(told)
    for name, (label, value) in told.items():
        assert (front.BADGES / f"{name}.svg").read_text() == front.badge(label, value), "make front"
        assert f"figures/badges/{name}.svg" in README


def test_a_badge_is_whole_whatever_it_says() -> None:
    drawn = ElementTree.fromstring(front.badge('a<"&', "> 3"))
    assert drawn.get("aria-label") == 'a<"&: > 3'
    texts = [element.text for element in drawn.iter() if element.tag.endswith("text")]
    assert texts == ['a<"&', "> 3"]


def test_the_strip_shows_the_figures_there_are() -> None:
    with Image.open(front.STRIP) as picture:
        assert picture.info["comment"].decode() == front.sources_hash(ROOT / "figures" / "mini"), "make front"
    assert front.STRIP.stat().st_size < 1.5e6
    assert "figures/strip.jpg" in README
    line = next(line for line in README.splitlines() if "strip.jpg" in line)
    assert "synthetic" in line and "synthetic" in front._SIGN


def test_a_strip_is_made_of_all_its_figures(tmp_path: Path) -> None:
    assert [name for row in front._ROWS for name in row] == list(front.STEPS)
    for number, name in enumerate(front.STEPS):
        Image.new("RGB", (60 + 20 * number, 40), (40 * number, 0, 0)).save(tmp_path / f"{name}.png")
    before = front.sources_hash(tmp_path)
    made = front.strip(tmp_path, tmp_path / "strip.jpg")
    with Image.open(made) as picture:
        assert picture.info["comment"].decode() == before
        reds = {value // 40 for value in picture.convert("RGB").getchannel("R").tobytes()}
    assert reds >= {0, 1, 2, 3, 4}
    Image.new("RGB", (60, 41)).save(tmp_path / "overview.png")
    assert front.sources_hash(tmp_path) != before


def quoted() -> list[str]:
    """Return what the README's tables of errors quote, the first cell of their rows."""
    section = README.split("## When something goes wrong")[1].split("\n## ")[0]
    return re.findall(r"^\| `(.+?)`(?: in | \|)", section, re.M)


def said() -> str:
    """Return the text of package and Makefile with broken literals joined and what is filled in left out."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "lmhld_nb").rglob("*.py")))
    text = re.sub(r"\"\s*\n\s*f?\"", "", text)
    return re.sub(r"\{[^{}]*\}", "…", text) + (ROOT / "Makefile").read_text(encoding="utf-8")


def test_there_are_errors_quoted_for_each_cause_people_meet() -> None:
    assert len(quoted()) >= 10
    for cause in ("HTTPS_PROXY", "LMHLD_DATA", "--from FOLDER", "CUDA", "WSL", "PY=python3", "out of memory"):
        assert cause in README, cause


@pytest.mark.parametrize("message", quoted())
def test_a_quoted_error_is_what_the_code_says(message: str) -> None:
    text = said()
    parts = [part.strip(" ;:") for part in re.split(r"…|'\S+'|\bnan\b|\b\d+\b%?|\S*doi:\S+", message)]
    for part in parts:
        assert len(part) < 4 or part in text, f"no message has '{part}'"
    assert any(len(part) >= 6 for part in parts)


def test_the_citation_is_that_of_the_citation_file() -> None:
    paper = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["preferred-citation"]
    entry = README.split("```bibtex")[1].split("```")[0]
    assert f"{{{paper['title']}}}" in entry
    names = " and ".join(f"{who['family-names']}, {who['given-names']}" for who in paper["authors"])
    assert f"{{{names}}}" in entry
    assert f"{{{paper['year']}}}" in entry
    assert paper["identifiers"][0]["value"] in entry


@pytest.mark.parametrize(
    "document", ["README.md", "CONTRIBUTING.md", "benchmarks/README.md", "workflow/README.md"]
)
def test_local_links_and_anchors_resolve(document: str) -> None:
    path = ROOT / document
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.S)
    heads = {
        re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-")
        for head in re.findall(r"^#+ (.+)$", text, re.M)
    }
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    for target in targets:
        if target.startswith("#"):
            assert target[1:] in heads, target
        elif not re.match(r"https?:", target):
            assert (path.parent / target.partition("#")[0]).exists(), target
        else:
            assert target.startswith("https://"), target
