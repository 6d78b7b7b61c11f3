"""Pages of the web edition made from files: numbers traced to their runs, all figures, all modules."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from pathlib import Path

import pandas as pd
from pydantic import RootModel, model_validator

from lmhld_nb.config import ROOT, Strict, UserError, read_yaml

MANIFEST = ROOT / "figures" / "manifest.yaml"
RUN_IDS = re.compile(r"[0-9a-f]{16}(\+[0-9a-f]{16})*")


class Entry(Strict):
    """What figures/manifest.yaml says of one figure or table.

    Attributes:
        chapter: that makes it.
        experiments: whose runs it is computed from.
        files: in ``figures/PROFILE/``: pictures, and the numbers behind them.
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
    def _describes_its_pictures(self) -> Entry:
        for name in self.pictures:
            if not self.alt.get(name, "").strip():
                raise ValueError(f"alt: what does {name}.png show?")
        for name in self.alt:
            if name not in self.pictures:
                raise ValueError(f"alt: {name}.png is not among the files")
        return self


class Manifest(RootModel[dict[str, Entry]]):
    """All entries, by figure or table."""


def manifest() -> dict[str, Entry]:
    """Read what belongs to each figure and table, in their order.

    Raises:
        UserError: an entry says something else than `Entry`.
    """
    return read_yaml(MANIFEST, Manifest).root


def descriptions() -> dict[str, str]:
    """Return what each picture of the book shows, by its name without ``.png``."""
    return {name: text for entry in manifest().values() for name, text in entry.alt.items()}


def run_ids(file: Path) -> list[str]:
    """Return the ids in a table's column ``run_ids``, each once; none where it has no such column.

    Raises:
        UserError: something in it is no id.
    """
    table = pd.read_csv(file, dtype=str)
    if "run_ids" not in table:
        return []
    found: dict[str, None] = {}
    for cell in table["run_ids"].dropna():
        if not RUN_IDS.fullmatch(cell):
            raise UserError(f"{file}: '{cell[:40]}' in run_ids is no run; execute its chapter again")
        found |= dict.fromkeys(cell.split("+"))
    return list(found)


def numbers(folder: Path, chapters: set[str]) -> str:
    """Return the page that traces each figure and table of the book to its runs, in Markdown.

    Args:
        folder: ``figures/PROFILE/``.
        chapters: stems of those that are part of the edition; what others make is left out, and files that this
            edition's profile has no use for (an eighth area, say).

    Raises:
        UserError: a table's ``run_ids`` are none.
    """
    lines = [
        "# Numbers in this book",
        "",
        "Where each figure and table comes from: the chapter that makes it, its files under `figures/`, the",
        "experiments whose runs it is computed from, and these runs. The folder of a run is `runs/ID/`: `spec.json`",
        "says what was trained, `environment.json` on what, `metrics.json` how it ended. Figures without runs show",
        "data or the plan.",
        "",
    ]
    for name, entry in manifest().items():
        if entry.not_made is not None or entry.chapter not in chapters:
            continue
        files = [file for file in entry.files if (folder / file).is_file()]
        if not files:
            continue
        ids = {file: run_ids(folder / file) for file in files if file.endswith(".csv")}
        every = list(dict.fromkeys(run for found in ids.values() for run in found))
        lines += [f"## {name[0].upper()}{name[1:]}", "", f"Chapter [](chapters/{entry.chapter}.ipynb)."]
        if entry.experiments:
            lines[-1] += f" Experiments: {', '.join(entry.experiments)}."
        if every:
            lines[-1] += f" Runs: {len(every)}."
        lines += ["", "| file | runs |", "|---|---|"]
        lines += [f"| `{file}` | {len(ids[file]) or '' if file in ids else ''} |" for file in files]
        if every:
            listed = " ".join(f"<code>{run}</code>" for run in every)
            lines += ["", f"<details><summary>{len(every)} run ids</summary><p>{listed}</p></details>"]
        lines.append("")
    return "\n".join(lines)


def gallery(folder: Path, titles: Mapping[str, str]) -> str:
    """Return the page of all figures, chapter by chapter, in Markdown.

    Args:
        folder: ``figures/PROFILE/``; a picture it lacks is left out.
        titles: of the chapters of this edition, by their stems, in order.

    Returns:
        Tiles that show ``_static/thumbnails/NAME.webp`` and lead to the figure in its chapter.
    """
    lines = [
        "# Gallery",
        "",
        "Every figure of the book. Each leads to its place in the chapter that makes it.",
        "",
    ]
    entries = manifest()
    for chapter, title in titles.items():
        tiles = [
            _tile(name, picture, entry)
            for name, entry in entries.items()
            if entry.chapter == chapter
            for picture in entry.pictures
            if (folder / f"{picture}.png").is_file()
        ]
        if tiles:
            lines += [f"## {title}", "", '<div class="gallery">', *tiles, "</div>", ""]
    return "\n".join(lines)


def _tile(name: str, picture: str, entry: Entry) -> str:
    words = re.sub(r"^(fig|table)\d+_", "", picture).replace("_", " ")
    belongs = f"{name[0].upper()}{name[1:]}: " if re.match(r"(figure|table|section) \d", name) else ""
    return (
        f'<figure><a href="chapters/{entry.chapter}.html#{anchor(picture)}">'
        f'<img src="_static/thumbnails/{picture}.webp" alt="{escape(entry.alt[picture])}"></a>'
        f"<figcaption>{belongs}{words}</figcaption></figure>"
    )


def anchor(picture: str) -> str:
    """Return the id that a picture has in its chapter's page."""
    return "figure-" + picture.replace("_", "-")


def modules() -> list[tuple[list[str], str]]:
    """Return the rows of CONTRIBUTING's table of modules: names, and what they do (Markdown)."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:3] for line in text.splitlines() if line.startswith("| `")]
    return [(re.findall(r"`(\w+)`", names), what.strip()) for names, what in rows]


def api() -> dict[str, str]:
    """Return the pages on the modules, in Markdown, by path: one each, and ``api/index.md``.

    What stands in them Sphinx takes from the docstrings; a package's page has all of its modules.
    """
    index = [
        "# Modules",
        "",
        "The functions behind the chapters, with shapes, units, ranges, errors and sources, in the order in which data",
        "flows: a module imports only what stands before it.",
        "",
        "| modules | what they do |",
        "|---|---|",
    ]
    pages = {}
    for names, what in modules():
        index.append(f"| {', '.join(f'[{name}]({name}.md)' for name in names)} | {what} |")
        for name in names:
            folder = ROOT / "lmhld_nb" / name
            within = sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
            whole = [f"lmhld_nb.{name}", *(f"lmhld_nb.{name}.{inner}" for inner in within)]
            # Outside of the side bar, which would be longer than any page and take a sixth of the building.
            parts = ["---", "orphan: true", "---", f"# {name}", "", *_documented(whole[0])]
            for module in whole[1:]:
                parts += [f"## {module.removeprefix('lmhld_nb.')}", "", *_documented(module)]
            pages[f"api/{name}.md"] = "\n".join(parts)
    return {"api/index.md": "\n".join([*index, ""]), **pages}


def _documented(module: str) -> list[str]:
    return ["```{eval-rst}", f".. automodule:: {module}", "   :members:", "```", ""]
