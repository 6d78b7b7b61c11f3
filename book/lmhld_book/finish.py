"""What is done to each page that Sphinx has made: pictures load late, tables can be sorted, the search has texts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup, Tag
from sphinx.application import Sphinx
from sphinx.util.images import get_image_size

LABEL = "Table, scrolls sideways"
LINKS = (
    '<p class="chapter-links"><a href="../_sources/chapters/{name}.ipynb" download>Notebook of this chapter</a> · '
    '<a href="../numbers.html">its figures and tables as files</a></p>'
)
FOUND = "What we found"
"""How a printed finding begins."""
EMPTY = ("NaN", "nan", "NaT", "None", "<NA>")
"""What pandas writes where there is no value; pages show a dash."""


def finish(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Finish the body of a page before it goes into the theme's template."""
    if page == "search":
        for name in ("excerpts.js", "search.js"):
            app.add_js_file(name, loading_method="defer")  # on this page alone
    if not re.search(rf"<(img|table)\b|citation|{FOUND}", context.get("body", "")):  # most pages on modules
        return
    files = {name: Path(app.srcdir, path) for path, name in app.builder.images.items()}
    soup = BeautifulSoup(context["body"], "html.parser")
    finish_pictures(soup, files, lazy=page != app.config.root_doc)
    finish_findings(soup)
    for entry in soup.select("div.citation[role], div.citation-list[role]"):
        del entry["role"]  # docutils writes roles that no longer exist
    if page.startswith("chapters/") and (title := soup.find("h1")):
        title.insert_after(BeautifulSoup(LINKS.format(name=page.rsplit("/", 1)[-1]), "html.parser"))
    for table in soup.find_all("table"):
        tidy_table(table)
        # Wider than the page, it scrolls in a box of its own, by keyboard too.
        box = table.wrap(soup.new_tag("div"))
        box["class"] = "table-box"
        box["tabindex"], box["role"], box["aria-label"] = "0", "region", LABEL
    context["body"] = str(soup)


def write_excerpts(app: Sphinx, failed: Exception | None) -> None:
    """Write ``_static/excerpts.js``: the text of each page by its sections, from which the search shows excerpts."""
    texts = {}
    for path in sorted(Path(app.outdir).rglob("*.html")) if failed is None else ():
        article = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser").select_one("article")
        if article and (sections := sections_of(article)):
            texts[path.relative_to(app.outdir).with_suffix("").as_posix()] = sections
    if texts:
        content = f"const EXCERPTS = {json.dumps(texts, ensure_ascii=False)};\n"
        Path(app.outdir, "_static", "excerpts.js").write_text(content, encoding="utf-8")


def sections_of(article: Tag) -> dict[str, str]:
    """Return the text of each section of a page by its id: first what is written, then code and what it prints."""
    for part in article.select("script, .headerlink, nav, .math, img, h1, h2, h3, h4"):
        part.decompose()
    code: dict[int, list[str]] = {section: [] for section in map(id, article.select("section"))}
    for part in article.select("pre, table"):
        if (section := part.find_parent("section")) and part.find_parent("pre") is None:
            code[id(section)].append(part.extract().get_text(" " if part.name == "table" else ""))
    texts = {}
    for section in reversed(article.select("section")):  # inner ones first
        words = [section.extract().get_text(" ", strip=True), *code[id(section)]]
        if text := " ".join(" ".join(words).split()):
            texts[str(section.get("id"))] = text
    return dict(reversed(texts.items()))


def trim(app: Sphinx, failed: Exception | None) -> None:
    """Remove from all pages what the theme writes twice.

    The theme draws its icons with a font. It also loads a script of 1.5 MB that would draw them again as pictures. And
    it binds the menu's and the contents' buttons to the first of their kind, which lie in a header that it hides.
    """
    for path in Path(app.outdir).rglob("*.html") if failed is None else ():
        page = path.read_text(encoding="utf-8")
        page = re.sub(r"<(script|link)\b[^>]*\bfontawesome\.js[^>]*>(</script>)?\s*", "", page)
        page = re.sub(r'(<header id="pst-header"[^>]*>).*?(?=</header>)', r"\1", page, flags=re.S)
        path.write_text(page, encoding="utf-8")


def finish_pictures(soup: BeautifulSoup, files: Mapping[str, Path], lazy: bool) -> None:
    """Reserve the space of pictures, load them when they come into view, and let a click open them whole.

    Args:
        soup: the page, changed in place. A picture with the class ``figure-NAME`` gives its link that id.
        files: of pictures, by the last part of their address; their sizes are read.
        lazy: load when in view; off for a page that begins with its picture.
    """
    for picture in soup.find_all("img"):
        address = str(picture["src"])
        name = address.rsplit("/", 1)[-1]
        size = get_image_size(files[name]) if name in files else None
        if size and not picture.get("style"):
            picture["width"], picture["height"] = str(size[0]), str(size[1])
        picture["decoding"] = "async"
        if lazy:
            picture["loading"] = "lazy"
        if picture.find_parent("a") is None and picture.find_parent(class_="sd-card") is None:
            link = picture.wrap(soup.new_tag("a", href=address))
            link["class"] = "full-size"
            classes = [str(name) for name in picture.get_attribute_list("class")]
            ids = [name for name in classes if name.startswith("figure-")]
            if ids:
                link["id"] = ids[0]


def finish_findings(soup: BeautifulSoup) -> None:
    """Set what a cell prints as a finding, one line of code type after another, as paragraphs in a box, in place."""
    for printed in soup.select("div.output.stream"):
        if not (text := printed.get_text().strip()).startswith(FOUND):
            continue
        box = soup.new_tag("div", attrs={"class": "found"})
        for finding in re.split(rf"\n(?={FOUND})", text):
            about, _, said = " ".join(finding.split()).partition(": ")
            paragraph, heading = soup.new_tag("p"), soup.new_tag("strong")
            heading.string = f"{about}:"
            paragraph.extend([heading, f" {said}"])
            box.append(paragraph)
        printed.replace_with(box)


def tidy_table(table: Tag) -> None:
    """Make a table of pandas sortable and readable aloud, in place.

    pandas writes the names of the index into a second header row, and a repeated index value once, across rows. Both
    are written out: the names into the empty cells above, the values into each row (class ``again``: hidden until the
    table is sorted). Header cells say whether they head a column or a row. Without spans in its body a table gets the
    class ``sortable``.
    """
    del table["border"]
    head, body = table.find("thead"), table.find("tbody")
    if not isinstance(head, Tag) or not isinstance(body, Tag):
        return
    _merge_index_names(head)
    _repeat_index_values(body)
    for cell in body.find_all("td"):
        if cell.get_text(strip=True) in EMPTY:
            cell.string = "—"
    for cell in head.find_all("th"):
        if not cell.get_text(strip=True):
            cell.name = "td"
        else:
            cell["scope"] = "colgroup" if _span(cell, "colspan") > 1 else "col"
    for cell in body.find_all("th"):
        cell["scope"] = "rowgroup" if _span(cell, "rowspan") > 1 else "row"
    spans = body.select("[rowspan], [colspan]")
    if head.find("th") and not spans and len(body.find_all("tr")) > 2:
        _align_numbers(head, body)
        table["class"] = " ".join([*map(str, table.get("class") or ()), "sortable"])


def _span(cell: Tag, attribute: str) -> int:
    return int(str(cell.get(attribute) or 1))


def _merge_index_names(head: Tag) -> None:
    """Move the names of the index, alone in the last header row, into the row above, unless that is taken."""
    rows = head.find_all("tr")
    if len(rows) < 2:
        return
    above, names = (row.find_all(["th", "td"]) for row in rows[-2:])
    if len(above) != len(names):
        return
    pairs = list(zip(above, names, strict=True))
    if any(over.get_text(strip=True) and under.get_text(strip=True) for over, under in pairs):
        return
    for over, under in pairs:
        if under.get_text(strip=True):
            over.replace_with(under.extract())
    rows[-1].decompose()


def _repeat_index_values(body: Tag) -> None:
    """Write each index value that spans rows into all of them."""
    spanning: dict[int, tuple[Tag, int]] = {}  # column of the index → its cell, and the rows it still covers
    for row in body.find_all("tr"):
        own = iter(row.find_all("th", recursive=False))
        count = len(row.find_all("th", recursive=False)) + len(spanning)
        for column in range(count):
            if column in spanning:
                cell, rows = spanning.pop(column)
                repeated = BeautifulSoup(f'<th><span class="again">{cell.decode_contents()}</span></th>', "html.parser")
                cells = row.find_all(["th", "td"], recursive=False)
                row.insert(row.contents.index(cells[column]) if column < len(cells) else len(row), repeated)
            else:
                cell = next(own)
                rows = _span(cell, "rowspan")
                del cell["rowspan"], cell["valign"]
            if rows > 1:
                spanning[column] = (cell, rows - 1)


def _align_numbers(head: Tag, body: Tag) -> None:
    """Give columns of numbers the class ``number``: they are aligned right, with their header."""
    header = head.find_all("tr")[-1].find_all(["th", "td"])
    rows = [row.find_all(["th", "td"]) for row in body.find_all("tr")]
    for cells in zip(header, *rows, strict=False):
        texts = [cell.get_text(strip=True) for cell in cells[1:]]
        values = [text for text in texts if text not in ("", "—", "–", "-")]
        if values and all(re.fullmatch(r"[-−+]?[\d.,]+(e[-+]?\d+)? ?[%*]?", text) for text in values):
            for cell in cells:
                cell["class"] = "number"
