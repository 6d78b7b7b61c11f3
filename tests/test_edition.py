"""What Sphinx is given and what is done to its pages: descriptions of pictures, thumbnails, tables, module pages."""

from __future__ import annotations

import ast
import base64
import io
import re
from html import unescape
from pathlib import Path

import jupytext
import nbformat
import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup, Tag
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lmhld_nb.book import chapters as book
from lmhld_nb.book import edition, finish, pages
from lmhld_nb.config import ROOT, UserError

PICTURE = nbformat.v4.new_output("display_data", {"image/png": "AAAA", "text/plain": "<Figure>"})


def cell(source: str, shown: int = 1) -> nbformat.NotebookNode:
    return nbformat.v4.new_code_cell(source, outputs=[PICTURE] * shown)


# Descriptions of pictures ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", book.chapters(), ids=lambda path: path.stem)
def test_every_picture_a_chapter_saves_is_described(path: Path) -> None:
    known = pages.descriptions()
    names = [
        name
        for found in jupytext.read(path).cells
        if found.cell_type == "code"
        for name in edition.saved(found.source)
    ]
    assert [name for name in names if name not in known] == [], "describe it in figures/manifest.yaml (alt)"


def test_a_description_is_a_sentence_that_names_no_result() -> None:
    for name, text in pages.descriptions().items():
        assert 30 < len(text) < 260 and text.endswith("."), name
        assert not re.search(r"\d\.\d", text), f"{name}: a picture of another profile shows another number"


def test_an_entry_must_describe_its_pictures() -> None:
    entry = {"chapter": "00_start", "files": ("a.png", "a.csv")}
    assert pages.Entry.model_validate({**entry, "alt": {"a": "A dot."}}).pictures == ["a"]
    with pytest.raises(ValueError, match=r"what does a\.png show"):
        pages.Entry.model_validate(entry)
    with pytest.raises(ValueError, match=r"b\.png is not among the files"):
        pages.Entry.model_validate({**entry, "alt": {"a": "A dot.", "b": "A line."}})


def test_saved_pictures_are_found_whatever_else_a_cell_does() -> None:
    source = '%config a = 1\nif True:\n    !ls\n    figure = style.save(f(x, "no"), "one", name)\n'
    source += 'style.save_table(t, "not", name)\n'
    assert edition.saved(source + 'style.save(\n    g(),\n    "two",\n    name,\n)') == ["one", "two"]


def test_pictures_get_their_descriptions_and_others_are_refused() -> None:
    cells_ = [cell('style.save(f(), "a_b", "mini")'), cell("plt.show()\n# Figure: A line."), cell("1", 0)]
    book_ = nbformat.v4.new_notebook(cells=cells_)
    edition.describe(book_, "00_x", {"a_b": "A dot."})
    assert [found.metadata.get("mystnb") for found in book_.cells] == [
        {"image": {"alt": "A dot.", "classes": "figure-a-b"}},
        {"image": {"alt": "A line."}},
        None,
    ]
    for wrong in (cell("plt.show()"), cell('style.save(f(), "unknown", "mini")'), cell("# Figure: One.", 2)):
        with pytest.raises(UserError, match=r"00_x, cell 0: a picture without a description"):
            edition.describe(nbformat.v4.new_notebook(cells=[wrong]), "00_x", {"a_b": "A dot."})


def test_large_pictures_become_lighter_and_show_the_same() -> None:
    rng = np.random.default_rng(0)
    noisy = np.repeat(np.repeat(rng.integers(0, 255, (60, 60, 3), dtype=np.uint8), 8, 0), 8, 1)
    noisy = np.clip(noisy + rng.normal(0, 4, noisy.shape), 0, 255).astype(np.uint8)

    def shown(pixels: np.ndarray) -> nbformat.NotebookNode:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        return nbformat.v4.new_output(
            "display_data", {"image/png": base64.b64encode(file.getvalue()).decode()}
        )

    large, small = shown(noisy), shown(noisy[:64, :64])
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=[large, small])])
    edition.lighten(made)
    large, small = made.cells[0].outputs
    assert list(small.data) == ["image/png"] and list(large.data) == ["image/jpeg"]
    jpeg = base64.b64decode(large.data["image/jpeg"])
    assert len(jpeg) < edition.HEAVY
    assert np.abs(np.asarray(Image.open(io.BytesIO(jpeg))).astype(int) - noisy).mean() < 4


def test_a_title_gets_its_number() -> None:
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Title\n\nText # no")])
    assert edition.numbered(made, "07") == "07 Title"
    assert made.cells[0].source == "# 07 Title\n\nText # no"


# Gallery and module pages ----------------------------------------------------------------------------------------


def test_the_gallery_shows_each_picture_once(tmp_path: Path) -> None:
    folder = ROOT / "figures" / "mini"
    titles = {path.stem: f"{path.stem[:2]} Title" for path in book.chapters()}
    text = pages.gallery(folder, titles)
    tile = r'href="chapters/(\w+)\.html#([\w-]+)"><img src="_static/thumbnails/(\w+)\.webp" alt="([^"]+)"'
    shown = re.findall(tile, text)
    assert sorted(name for _, _, name, _ in shown) == sorted(path.stem for path in folder.glob("*.png"))
    entries, described = pages.manifest().values(), pages.descriptions()
    for chapter, anchor, name, alt in shown:
        assert anchor == pages.anchor(name) and unescape(alt) == described[name]
        own = [entry for entry in entries if entry.chapter == chapter]
        assert any(name in entry.pictures for entry in own)
    assert "<img" not in pages.gallery(tmp_path, titles) and "<img" not in pages.gallery(folder, {})


def test_thumbnails_are_small(tmp_path: Path) -> None:
    Image.new("RGBA", (1200, 300)).save(tmp_path / "wide.png")
    Image.new("RGB", (100, 50)).save(tmp_path / "small.png")
    edition.thumbnails(tmp_path, tmp_path / "out")
    sizes = {path.name: Image.open(path).size for path in (tmp_path / "out").iterdir()}
    assert sizes == {"wide.webp": (edition.THUMBNAIL, edition.THUMBNAIL // 4), "small.webp": (100, 50)}


def test_every_module_has_its_page() -> None:
    made = pages.api()
    documented = {name for text in made.values() for name in re.findall(r"automodule:: ([\w.]+)", text)}
    package = ROOT / "lmhld_nb"
    expected = {
        ".".join(["lmhld_nb", *path.relative_to(package).with_suffix("").parts]).removesuffix(".__init__")
        for path in package.rglob("*.py")
    } - {"lmhld_nb"}
    assert documented == expected
    listed = re.findall(r"\[(\w+)\]\(\1\.md\)", made["api/index.md"])
    assert {f"api/{name}.md" for name in listed} | {"api/index.md"} == set(made)


# Finished pages --------------------------------------------------------------------------------------------------


def tidied(frame: pd.DataFrame) -> Tag:
    table = BeautifulSoup(frame.to_html(), "html.parser").table
    assert table is not None
    finish.tidy(table)
    return table


def cells(table: Tag) -> list[list[str]]:
    return [[found.get_text() for found in row.find_all(["th", "td"])] for row in table.find_all("tr")]


def test_an_index_with_a_name_makes_one_header_row() -> None:
    frame = pd.DataFrame({"f1": [0.5, 0.25, 1.0]}, index=pd.Index(["rio", "gorkha", "taiwan"], name="area"))
    table = tidied(frame)
    assert cells(table)[0] == ["area", "f1"]
    assert [head["scope"] for head in table.find_all("th")] == ["col", "col", "row", "row", "row"]
    assert "sortable" in table["class"].split() and not table.has_attr("border")


def test_columns_of_numbers_stand_on_the_right() -> None:
    frame = pd.DataFrame({"f1": [0.5, None, -1e-9], "why": ["1 of 2", "3", "4"]}, index=["a", "b", "c"])
    table = tidied(frame)
    assert [[cell.get("class") for cell in row.find_all(["th", "td"])] for row in table.find_all("tr")] == [
        [None, "number", None]
    ] * 4


def test_a_corner_without_a_name_is_no_header() -> None:
    table = tidied(pd.DataFrame({"f1": [0.5, 0.25, 1.0]}))
    assert [found.name for found in table.find("tr").find_all(["th", "td"])] == ["td", "th"]


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from("cd"), st.sampled_from("ef")), min_size=3, max_size=9
    )
)
def test_values_of_an_index_are_written_into_each_row(keys: list[tuple[str, str, str]]) -> None:
    frame = pd.DataFrame(
        {"n": range(len(keys))}, index=pd.MultiIndex.from_tuples(keys, names=["x", "y", "z"])
    )
    table = tidied(frame)
    head, *rows = cells(table)
    assert head == ["x", "y", "z", "n"]
    assert rows == [[*key, str(number)] for number, key in enumerate(keys)]
    assert not table.find_all(rowspan=True) and "sortable" in table["class"].split()
    # What pandas leaves out is out of sight, and nothing else.
    shown = BeautifulSoup(frame.to_html(), "html.parser").find("tbody")
    assert len(table.find_all(class_="again")) == 3 * len(keys) - len(shown.find_all("th"))


def test_a_table_without_columns_is_left_as_it_is() -> None:
    table = tidied(pd.DataFrame(index=["a", "b", "c"]))
    assert "sortable" not in table["class"] and len(table.find_all("tr")) >= 3


def test_columns_of_two_levels_keep_both() -> None:
    columns = pd.MultiIndex.from_product([["ours", "published"], ["f1", "recall"]])
    frame = pd.DataFrame([[1, 2, 3, 4]] * 3, index=pd.Index(["a", "b", "c"], name="area"), columns=columns)
    table = tidied(frame)
    assert [row for row in cells(table)[:2]] == [
        ["", "ours", "published"],
        ["area", "f1", "recall", "f1", "recall"],
    ]
    assert [found["scope"] for found in table.thead.find_all("th")] == ["colgroup"] * 2 + ["col"] * 5


def test_a_table_scrolls_in_a_box_that_can_be_reached() -> None:
    soup = BeautifulSoup("<div><table><tr><td>1</td></tr></table></div>", "html.parser")
    finish.boxed(soup, soup.table)
    assert soup.table.parent["class"] == "table-box"
    assert (soup.table.parent["tabindex"], soup.table.parent["role"]) == ("0", "region")
    assert soup.table.parent["aria-label"]


@pytest.mark.parametrize("late", [True, False])
def test_pictures_keep_their_place_load_late_and_open_whole(tmp_path: Path, late: bool) -> None:
    path = tmp_path / "x.png"
    Image.new("RGB", (30, 20)).save(path)
    body = '<img class="figure-a" src="../_images/x.png"><a href="y"><img src="z.png"></a>'
    soup = BeautifulSoup(body, "html.parser")
    finish.pictures(soup, {"x.png": path}, late)
    first, second = soup.find_all("img")
    assert (first["width"], first["height"]) == ("30", "20") and not second.has_attr("width")
    assert [picture.get("loading") for picture in (first, second)] == [("lazy" if late else None)] * 2
    assert (first.parent["href"], first.parent["id"]) == ("../_images/x.png", "figure-a")
    assert second.parent["href"] == "y"


# Words -----------------------------------------------------------------------------------------------------------


def test_citations_lead_to_the_bibliography() -> None:
    entries = re.findall(
        r"^@\w+\{([\w]+),", (ROOT / "book" / "references.bib").read_text(encoding="utf-8"), re.M
    )
    assert len(set(entries)) == len(entries) > 60
    listed = re.findall(r'keywords % "(\w+)"', (ROOT / "book" / "references.md").read_text(encoding="utf-8"))
    keywords = re.findall(
        r"keywords = \{(\w+)\}", (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    )
    assert len(keywords) == len(entries) and set(keywords) == set(listed), "each entry stands in one list"
    for path in sorted((ROOT / "book").glob("*.md")):
        for keys in re.findall(r"\{cite:\w\}`([^`]+)`", path.read_text(encoding="utf-8")):
            assert set(keys.split(",")) <= set(entries), path.name


def test_the_site_of_the_committed_notebooks_needs_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Sphinx itself is left out: it takes minutes, and `make test-site` looks at what it makes.
    monkeypatch.setenv("LMHLD_WORKDIR", str(tmp_path))
    asked: list[list[str]] = []

    def sphinx(command: list[str], **_: object) -> object:
        asked.append(command)
        source, made = Path(command[-2]), Path(command[-1])
        assert sorted(path.stem for path in (source / "chapters").iterdir()) == [
            path.stem for path in book.chapters()
        ]
        assert (source / "gallery.md").is_file() and (source / "api" / "index.md").is_file()
        made.mkdir()
        (made / "index.html").write_text("new")
        return type("Done", (), {"returncode": len(asked) - 1, "stderr": "a\nx.md:1: WARNING: odd\nb"})()

    monkeypatch.setattr(book.subprocess, "run", sphinx)
    assert (book.site("mini", committed=True) / "index.html").read_text() == "new"
    (tmp_path / "build" / "site" / "index.html").write_text("old")
    with pytest.raises(UserError, match=r"web edition: x\.md:1: WARNING: odd \(1 such lines\)"):
        book.site("mini", committed=True)
    assert (tmp_path / "build" / "site" / "index.html").read_text() == "old", "what was there stays"
    assert [path.name for path in (tmp_path / "build").iterdir()] == ["site"]
    with pytest.raises(UserError, match=r"chapter 00_start is not executed; run `lmhld book mini` first"):
        book.site("mini")


@pytest.mark.parametrize("path", book.chapters(), ids=lambda path: path.stem)
def test_what_a_chapter_saves_it_shows(path: Path) -> None:
    # A figure is shown where it is the last thing in its cell; the gallery links there.
    shown = set()
    for cell in jupytext.read(path).cells:
        if cell.cell_type == "code" and (names := edition.saved(cell.source)):
            last = re.sub(r"^(\s*)[%!].*$", r"\1pass", cell.source, flags=re.M)
            end = ast.unparse(ast.parse(last).body[-1])
            assert end.startswith("style.save(") or f"{end} = style.save(" in cell.source, (
                f"{names}: not shown"
            )
            shown |= set(names)
    assert shown or path.stem.startswith("00")
