"""What is done to each page of the web edition after Sphinx has made it: pictures load late and open whole, tables can be sorted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup, Tag
from sphinx.application import Sphinx
from sphinx.util.images import get_image_size

LABEL = "Table, scrolls sideways"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("html-page-context", _finish, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _finish(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    if "body" not in context:
        return
    sources = {name: Path(app.srcdir, path) for path, name in app.builder.images.items()}
    sources |= {path.name: path for path in Path(app.srcdir, "_static", "thumbnails").glob("*.webp")}
    soup = BeautifulSoup(context["body"], "html.parser")
    pictures(soup, sources, late=page != app.config.root_doc)
    for table in soup.find_all("table"):
        tidy(table)
        boxed(soup, table)
    context["body"] = str(soup)


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
            ids = [name for name in picture.get("class", []) if name.startswith("figure-")]
            if ids:
                link["id"] = ids[0]


def tidy(table: Tag) -> None:
    """Make a table of pandas one that can be sorted and read aloud.

    pandas writes the index's names into a second header row and a repeated index value once, across rows. Both are written
    out: the names into the empty cells above them, the values into each row (class ``again``: out of sight until sorted).
    Cells say whether they head a column or a row. A table without spans in its body becomes ``sortable``.
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
            cell["scope"] = "colgroup" if int(str(cell.get("colspan", 1))) > 1 else "col"
    for cell in body.find_all("th"):
        cell["scope"] = "rowgroup" if int(str(cell.get("rowspan", 1))) > 1 else "row"
    spans = body.find_all(lambda cell: cell.has_attr("rowspan") or cell.has_attr("colspan"))
    if not spans and len(body.find_all("tr")) > 2:
        table["class"] = [*table.get("class", []), "sortable"]


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
                repeated = BeautifulSoup(
                    f'<th><span class="again">{cell.decode_contents()}</span></th>', "html.parser"
                )
                row.insert(_index_of(row, position), repeated.th)
                if left > 1:
                    waiting[position] = (cell, left - 1)
            elif place < len(cells):
                cell = cells[place]
                place += 1
                span = int(str(cell.get("rowspan", 1)))
                del cell["rowspan"]
                if cell.has_attr("valign"):
                    del cell["valign"]
                if span > 1:
                    waiting[position] = (cell, span - 1)


def _index_of(row: Tag, position: int) -> int:
    """Return where among a row's contents its cell number ``position`` begins, or their end."""
    cells = row.find_all(["th", "td"], recursive=False)
    return row.contents.index(cells[position]) if position < len(cells) else len(row.contents)


def boxed(soup: BeautifulSoup, table: Tag) -> None:
    """Put a table into a box of its own that scrolls, by keyboard too, where the table is wider than the page."""
    box = table.wrap(soup.new_tag("div"))
    box["class"] = "table-box"
    box["tabindex"], box["role"], box["aria-label"] = "0", "region", LABEL
