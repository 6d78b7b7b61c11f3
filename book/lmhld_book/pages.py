"""Pages made from files, in Markdown: numbers traced to their runs, the gallery, the ledger."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from pydantic import RootModel, model_validator

from lmhld_book.notebooks import anchor
from lmhld_nb.book.ledger import Ledger
from lmhld_nb.config import Strict, UserError, read_yaml

RUN_IDS = re.compile(r"[0-9a-f]{16}(\+[0-9a-f]{16})*")


class Entry(Strict):
    """What figures/manifest.yaml says of one figure or table.

    Attributes:
        chapter: that makes it.
        experiments: whose runs it is computed from.
        files: pictures (``.png``), and the numbers behind them (``.csv``).
        alt: of each picture, by its name without ``.png``: what it shows, for those who do not see it.
        not_made: why it is not made, instead of all these.
    """

    chapter: str | None = None
    experiments: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    alt: dict[str, str] = {}
    not_made: str | None = None

    @property
    def pictures(self) -> list[str]:
        """Names of the pictures among the files, without ``.png``."""
        return [file.removesuffix(".png") for file in self.files if file.endswith(".png")]

    @model_validator(mode="after")
    def _names_and_describes_its_files(self) -> Entry:
        for file in self.files:
            if not re.fullmatch(r"[\w-]+\.(png|csv)", file):
                raise ValueError(f"files: '{file}' is not the name of a .png or .csv")
        for name in self.pictures:
            if not self.alt.get(name, "").strip():
                raise ValueError(f"alt: what does {name}.png show?")
        for name in self.alt:
            if name not in self.pictures:
                raise ValueError(f"alt: {name}.png is not among the files")
        return self


class Manifest(RootModel[dict[str, Entry]]):
    """All entries, by figure or table."""


def read_manifest(path: Path) -> dict[str, Entry]:
    """Read what belongs to each figure and table, in order.

    Raises:
        UserError: an entry is not an `Entry`.
    """
    return read_yaml(path, Manifest).root


def plain(text: str) -> str:
    """Return text as Markdown that shows it literally, on one line: nothing in it is a mark or a tag."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(text.split()))


def title_of(name: str) -> str:
    """Return the name of an entry, figure 9, as a title: Figure 9."""
    return name[0].upper() + name[1:]


def run_ids(file: Path) -> list[str]:
    """Return the ids in a table's column ``run_ids``, each once; none where it has no such column.

    Raises:
        UserError: the column holds something else.
    """
    table = pd.read_csv(file, dtype=str)
    ids: dict[str, None] = {}
    for cell in table["run_ids"].dropna() if "run_ids" in table else ():
        if not RUN_IDS.fullmatch(cell):
            raise UserError(f"{file}: '{cell[:40]}' in run_ids is not a run id; execute its chapter again")
        ids |= dict.fromkeys(cell.split("+"))
    return list(ids)


def numbers(manifest: Mapping[str, Entry], figures: Path, titles: Mapping[str, str]) -> str:
    """Return the page that traces each figure and table to its runs.

    Args:
        manifest: of the book.
        figures: folder of this edition's figures; an entry without any of its files is left out.
        titles: of this edition's chapters, by their stems; entries of others are left out.

    Raises:
        UserError: a column ``run_ids`` holds something else.
    """
    lines = [
        "# Numbers in this book",
        "",
        "Where each figure and table comes from: the chapter that makes it, its files (in `figures/` beside the",
        "executed chapters), the experiments whose runs it is computed from, and these runs. The folder of a run is",
        "`runs/ID/`: `spec.json` says what was trained, `environment.json` on what, `metrics.json` with what result.",
        "Figures without runs show data or the plan.",
        "",
    ]
    for name, entry in manifest.items():
        files = [file for file in entry.files if (figures / file).is_file()]
        if entry.chapter not in titles or not files:
            continue
        ids = {file: run_ids(figures / file) for file in files if file.endswith(".csv")}
        distinct = list(dict.fromkeys(run for listed in ids.values() for run in listed))
        facts = [f"Chapter [](chapters/{entry.chapter}.ipynb)."]
        if entry.experiments:
            facts.append(f"Experiments: {', '.join(entry.experiments)}.")
        if distinct:
            facts.append(f"Runs: {len(distinct)}.")
        lines += [f"## {plain(title_of(name))}", "", " ".join(facts), "", "| file | runs |", "|---|---|"]
        lines += [f"| `{file}` | {len(ids.get(file, ())) or ''} |" for file in files]
        if distinct:
            listed = " ".join(f"`{run}`" for run in distinct)
            lines += ["", f":::{{dropdown}} {len(distinct)} run ids", listed, ":::"]
        lines.append("")
    return "\n".join(lines)


def gallery(manifest: Mapping[str, Entry], figures: Path, titles: Mapping[str, str]) -> str:
    """Return the page of all figures, chapter by chapter: tiles that lead to the figure in its chapter.

    Args:
        manifest: of the book.
        figures: folder of this edition's figures; a picture it lacks is left out.
        titles: of this edition's chapters, by their stems, in order.
    """
    lines = [
        "# Gallery",
        "",
        "Every figure of the book. Each leads to its position in the chapter that makes it.",
        "",
    ]
    for chapter, title in titles.items():
        tiles = [
            line
            for name, entry in manifest.items()
            if entry.chapter == chapter
            for picture in entry.pictures
            if (figures / f"{picture}.png").is_file()
            for line in _tile(name, picture, entry)
        ]
        if tiles:
            lines += [
                f"## {plain(title)}",
                "",
                "::::{grid} 1 2 3 4",
                ":gutter: 2",
                ":class-container: gallery",
                "",
            ]
            lines += [*tiles, "::::", ""]
    return "\n".join(lines)


def _tile(name: str, picture: str, entry: Entry) -> list[str]:
    words = re.sub(r"^(fig|table)\d+_", "", picture).replace("_", " ")
    caption = f"{title_of(name)}: {words}" if re.match(r"(figure|table|section) \d", name) else words
    options = {
        "img-top": f"thumbnails/{picture}.webp",
        "img-alt": entry.alt[picture],
        "link": f"chapters/{entry.chapter}.html#{anchor(picture)}",
        "link-alt": caption,
    }
    return [
        ":::{grid-item-card}",
        *(f":{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in options.items()),  # quoted as in YAML
        "",
        plain(caption),
        ":::",
    ]


def ledger(content: Ledger) -> str:
    """Return the ledger as a page; its texts are Markdown."""
    lines = ["# Fidelity ledger", "", content.intro, ""]
    for section in content.sections:
        lines += [f"## {section.title}", "", "| open point | what the book does | why | key of a profile |"]
        lines += ["|---|---|---|---|"]
        for row in section.rows:
            keys = ", ".join(f"`{key}`" for key in row.keys)
            lines.append(f"| {row.point} | {row.choice} | {row.why} | {keys} |")
        lines.append("")
    return "\n".join(lines)
