"""What is done to each page that Sphinx has made: pictures load late and open whole, tables can be sorted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup, Tag
from sphinx.application import Sphinx
from sphinx.util.images import get_image_size

LABEL = "Table, scrolls sideways"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("html-page-context", _finish, priority=900)
    app.connect("build-finished", _trim)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _finish(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    if not re.search(r"<(img|table)\b|citation", context.get("body", "")):  # most pages on modules
        return
    sources = {name: Path(app.srcdir, path) for path, name in app.builder.images.items()}
    sources |= {path.name: path for path in Path(app.srcdir, "_static", "thumbnails").glob("*.webp")}
    soup = BeautifulSoup(context["body"], "html.parser")
    pictures(soup, sources, late=page != app.config.root_doc)
    references(soup)
    for table in soup.find_all("table"):
        tidy(table)
        boxed(soup, table)
    context["body"] = str(soup)


def _trim(app: Sphinx, failed: Exception | None) -> None:
    if failed is None:
        for path in Path(app.outdir).rglob("*.html"):
            path.write_text(trimmed(path.read_text(encoding="utf-8")), encoding="utf-8")


def trimmed(page: str) -> str:
    """Return a page without what the theme loads twice, and with a name for the arrows in its side bar.

    The theme draws its icons with a font. It also loads a script of 1.5 MB that would draw them again as pictures.
    """
    page = re.sub(r"<(script|link)\b[^>]*\bfontawesome\.js[^>]*>(</script>)?\s*", "", page)
    arrow = '<span class="toctree-toggle"'
    return page.replace(f"<summary>{arrow}", f'<summary aria-label="Pages below">{arrow}')


def references(soup: BeautifulSoup) -> None:
    """Take the roles off the entries of a bibliography: docutils gives them ones that are no longer used."""
    for entry in soup.select("div.citation[role], div.citation-list[role]"):
        del entry["role"]


def pictures(soup: BeautifulSoup, sources: dict[str, Path], late: bool = True) -> None:
    """Let pictures load when they come into view, keep their place until then, and open whole when clicked or tapped.

    Args:
        soup: the page, changed in place. A picture with the class ``figure-NAME`` gives its link that id.
        sources: file of each picture, by the last part of its address; their sizes are read.
        late: load when in view; off for a page that begins with its picture.
    """
    for picture in soup.find_all("img"):
        address = str(picture["src"])
        size = get_image_size(sources[name]) if (name := address.rsplit("/", 1)[-1]) in sources else None
        if size and not picture.get("style"):
            picture["width"], picture["height"] = str(size[0]), str(size[1])
        picture["decoding"] = "async"
        if late:
            picture["loading"] = "lazy"
        if picture.find_parent("a") is None:
            link = picture.wrap(soup.new_tag("a", href=address))
            link["class"] = "full-size"
            ids = [
                name for name in picture.get_attribute_list("class") if name and name.startswith("figure-")
            ]
            if ids:
                link["id"] = ids[0]


def tidy(table: Tag) -> None:
    """Make a table of pandas one that can be sorted and read aloud.

    pandas writes the index's names into a second header row and a repeated index value once, across rows. Both are
    written out: the names into the empty cells above them, the values into each row (class ``again``: out of sight
    until sorted). Cells say whether they head a column or a row. Without spans in its body a table is ``sortable``.
    """
    del table["border"]
    head, body = table.find("thead"), table.find("tbody")
    if not isinstance(head, Tag) or not isinstance(body, Tag):
        return
    _merge_names(head)
    _write_out(body)
    for cell in head.find_all("th"):
        if not cell.get_text(strip=True):
            cell.name = "td"
        else:
            cell["scope"] = "colgroup" if span(cell, "colspan") > 1 else "col"
    for cell in body.find_all("th"):
        cell["scope"] = "rowgroup" if span(cell, "rowspan") > 1 else "row"
    spans = body.find_all(lambda cell: cell.has_attr("rowspan") or cell.has_attr("colspan"))
    if head.find("th") and not spans and len(body.find_all("tr")) > 2:
        _align(head, body)
        table["class"] = " ".join([*map(str, table.get("class") or ()), "sortable"])


def _align(head: Tag, body: Tag) -> None:
    """Mark columns of numbers (class ``number``), so that they stand on the right with their header."""
    header = head.find_all("tr")[-1].find_all(["th", "td"])
    rows = [row.find_all(["th", "td"]) for row in body.find_all("tr")]
    for cells in zip(header, *rows, strict=False):
        texts = [
            text for cell in cells[1:] if (text := cell.get_text(strip=True)) not in ("", "NaN", "None", "-")
        ]
        if texts and all(re.fullmatch(r"[-−+]?[\d.,]+(e[-+]?\d+)? ?%?", text) for text in texts):
            for cell in cells:
                cell["class"] = "number"


def span(cell: Tag, which: str) -> int:
    """Return how many rows or columns a cell goes over, by its ``rowspan`` or ``colspan``."""
    return int(str(cell.get(which) or 1))


def _merge_names(head: Tag) -> None:
    """Put the names of the index, alone in the last header row, into the row above; where that is taken, leave both."""
    rows = head.find_all("tr")
    if len(rows) < 2:
        return
    above, names = (row.find_all(["th", "td"]) for row in rows[-2:])
    if len(above) != len(names):
        return
    texts = [
        (over.get_text(strip=True), under.get_text(strip=True))
        for over, under in zip(above, names, strict=True)
    ]
    if any(over and under for over, under in texts):
        return
    for over, under in zip(above, names, strict=True):
        if under.get_text(strip=True):
            over.replace_with(under.extract())
    rows[-1].decompose()


def _write_out(body: Tag) -> None:
    """Repeat each index value that spans rows in all of them."""
    waiting: dict[int, tuple[Tag, int]] = {}
    for row in body.find_all("tr"):
        cells = row.find_all("th", recursive=False)
        place = 0
        for position in range(len(cells) + len(waiting)):
            if position in waiting:
                cell, left = waiting.pop(position)
                text = f'<th><span class="again">{cell.decode_contents()}</span></th>'
                row.insert(_index_of(row, position), BeautifulSoup(text, "html.parser"))
                if left > 1:
                    waiting[position] = (cell, left - 1)
            elif place < len(cells):
                cell = cells[place]
                place += 1
                rows = span(cell, "rowspan")
                del cell["rowspan"]
                if cell.has_attr("valign"):
                    del cell["valign"]
                if rows > 1:
                    waiting[position] = (cell, rows - 1)


def _index_of(row: Tag, position: int) -> int:
    """Return where among a row's contents its cell number ``position`` begins, or their end."""
    cells = row.find_all(["th", "td"], recursive=False)
    return row.contents.index(cells[position]) if position < len(cells) else len(row.contents)


def boxed(soup: BeautifulSoup, table: Tag) -> None:
    """Put a table into a box of its own that scrolls, by keyboard too, where the table is wider than the page."""
    box = table.wrap(soup.new_tag("div"))
    box["class"] = "table-box"
    box["tabindex"], box["role"], box["aria-label"] = "0", "region", LABEL
