"""Pages of the web edition that are made from files: the numbers of the book, traced to the runs they come from."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
from pydantic import RootModel

from lmhld_nb.config import ROOT, Strict, UserError, read_yaml

MANIFEST = ROOT / "figures" / "manifest.yaml"
RUN_IDS = re.compile(r"[0-9a-f]{16}(\+[0-9a-f]{16})*")


class Entry(Strict):
    """What figures/manifest.yaml says of one figure or table.

    Attributes:
        chapter: that makes it.
        experiments: whose runs it is computed from.
        files: in ``figures/PROFILE/``: pictures, and the numbers behind them.
        not_made: why it is not made, instead of all these.
    """

    chapter: str | None = None
    experiments: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    not_made: str | None = None


class Manifest(RootModel[dict[str, Entry]]):
    """All entries, by figure or table."""


def manifest() -> dict[str, Entry]:
    """Read what belongs to each figure and table, in their order.

    Raises:
        UserError: an entry says something else than `Entry`.
    """
    return read_yaml(MANIFEST, Manifest).root


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
