"""The directive ``cells``: a table's F1 as buttons, each of which leads to the command that makes the number again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import pandas as pd
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from lmhld_book.pages import read_manifest
from lmhld_nb import paper
from lmhld_nb.book.chapters import number_of
from lmhld_nb.config import UserError
from lmhld_nb.models import NETWORKS
from lmhld_nb.runs import records
from lmhld_nb.runs.records import Records

KEYS = ("area", "patch_size")
DIGITS = 12
"""Shown of a digest of weights."""


class Cells(SphinxDirective):
    """Show a table of the edition cell by cell; the argument is its number."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the table as HTML, or one sentence where this edition lacks it."""
        number, profile, source = int(self.arguments[0]), self.config.lmhld_profile, Path(self.env.srcdir)
        path = source / "figures" / f"table{number}.csv"
        chapter = read_manifest(source / "manifest.yaml")[f"table {number}"].chapter
        if not path.is_file() or not (source / "chapters" / f"{chapter}.ipynb").is_file():
            html = f"<p>The profile <code>{escape(profile)}</code> makes no Table {number}.</p>"
            return [nodes.raw("", html, format="html")]
        name = Path(profile).stem
        try:
            recorded = records.read(records.path(name), name) if records.path(name).is_file() else None
        except UserError as error:
            raise self.error(str(error)) from None
        html = table_html(number, pd.read_csv(path, dtype={"patch_size": str}), profile, recorded)
        link = f'<p>The whole table: <a href="chapters/{chapter}.html">chapter {number_of(str(chapter))}</a>.</p>'
        return [nodes.raw("", link + html, format="html")]


@dataclass(frozen=True)
class Cell:
    """A cell of a table: the titles of its row, its network, F1, and the runs that this is the mean of."""

    row: tuple[str, ...]
    model: str
    f1: float
    run_ids: tuple[str, ...]

    @property
    def name(self) -> str:
        """Row and network, as they are read aloud."""
        return ", ".join([*self.row, self.model])


def cells_of(table: pd.DataFrame) -> list[Cell]:
    """Return the cells of a table as chapters save it: one for each of its rows, those without F1 left out."""
    titles = {"area": paper.area_name, "patch_size": lambda size: f"{size} px"}
    return [
        Cell(
            row=tuple(titles[key](row[key]) for key in KEYS if key in table),
            model=NETWORKS[row["model"]].title if row["model"] in NETWORKS else row["model"],
            f1=row["f1"],
            run_ids=tuple(row["run_ids"].split("+")),
        )
        for row in table.dropna(subset=["f1", "run_ids"]).to_dict("records")
    ]


def trainings(run_ids: Sequence[str], recorded: Records) -> list[str]:
    """Return the runs to train for these: they and all stages before them; none where one of them has no record."""
    needed = list(dict.fromkeys(run_ids))
    for run in needed:  # which grows
        if run not in recorded.runs:
            return []
        stage = json.loads(recorded.runs[run]["spec.json"]).get("stage")
        if stage and stage["parent"] not in needed:
            needed.append(stage["parent"])
    return needed


def format_duration(seconds: float) -> str:
    """Return a duration for reading: 4 s, 1.5 min, 12 h."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.{int(seconds < 9.95 * length)}f} {unit}"
    return f"{max(seconds, 1):.0f} s"


def cell_html(number: int, cell: Cell, profile: str, recorded: Records | None) -> str:
    """Return what is said of a cell: its name, the command, how long that takes, the digests of recorded weights."""
    mean = f", the mean of {len(cell.run_ids)} runs" if len(cell.run_ids) > 1 else ""
    command = shlex.join([".venv/bin/lmhld", "verify", profile, *cell.run_ids])
    text = f"<strong>Table {number}, {escape(cell.name)}</strong>: F1 {cell.f1:.3f}{mean}. "
    text += f'<code class="command">{escape(command)}</code> '
    if recorded and (needed := trainings(cell.run_ids, recorded)):
        time = format_duration(sum(recorded.metrics(run)["seconds"] for run in needed))
        earlier = ", earlier stages of the chain among them" if len(needed) > len(cell.run_ids) else ""
        digests = [escape(str(recorded.metrics(run)["weights"])[:DIGITS]) for run in cell.run_ids]
        listed = ", ".join(f"<code>{digest}</code>" for digest in digests)
        text += f"{len(needed)} training{'s' * (len(needed) > 1)}{earlier}: about {time}. "
        return text + f"Digest of the weights: {listed}."
    return text + "Not in the records: there is nothing to compare with." if recorded else text


def note_html(cells: Collection[Cell], profile: str, recorded: Records | None) -> str:
    """Return the sentence on the machine that the times were measured on, or on why there are none."""
    text = f"Profile <code>{escape(profile)}</code>"
    if recorded is None:
        why = "how long a command takes is not known, and <code>lmhld verify</code> has nothing to compare with"
        return f"<p>{text} has no records here: {why} unless you name a file (<code>--records FILE</code>).</p>"
    files = [recorded.runs[run] for cell in cells for run in cell.run_ids if run in recorded.runs]
    environments = [json.loads(each.get("environment.json", b"{}")) for each in files]
    devices = dict.fromkeys(str(each["device"]) for each in environments if "device" in each)
    return f"<p>{text}. Times: one training after another{escape(''.join(f', {name}' for name in devices))}.</p>"


def table_html(number: int, table: pd.DataFrame, profile: str, recorded: Records | None) -> str:
    """Return F1 of a table as HTML: a button per cell, one column per network; below, what is said of each cell."""
    cells = {f"cell-{number}-{count}": cell for count, cell in enumerate(cells_of(table), start=1)}
    places = {(cell.row, cell.model): anchor for anchor, cell in cells.items()}
    rows, networks = dict.fromkeys(row for row, _ in places), dict.fromkeys(network for _, network in places)
    heads = [key.replace("_", " ") for key in KEYS if key in table] or [""]
    lines = [note_html(cells.values(), profile, recorded), '<div class="cells"><table class="dataframe"><thead><tr>']
    lines += [*(f"<th>{escape(name)}</th>" for name in [*heads, *networks]), "</tr></thead><tbody>"]
    for row in rows:
        buttons = [_button(places[row, network], cells) if (row, network) in places else "" for network in networks]
        lines += ["<tr>", *(f"<th>{escape(title)}</th>" for title in row or ("F1",))]
        lines += [*(f"<td>{button}</td>" for button in buttons), "</tr>"]
    lines += ["</tbody></table>", '<div class="chosen-cell" role="status"></div>']
    lines.append('<button type="button" class="copy-command" hidden>Copy the command</button></div>')
    lines.append(f"<details><summary>The commands of all {len(cells)} cells</summary><ul>")
    lines += [f'<li id="{anchor}">{cell_html(number, cell, profile, recorded)}</li>' for anchor, cell in cells.items()]
    return "\n".join([*lines, "</ul></details>"])


def _button(anchor: str, cells: dict[str, Cell]) -> str:
    name, f1 = escape(cells[anchor].name), f"{cells[anchor].f1:.3f}"
    return f'<button type="button" data-cell="{anchor}" aria-pressed="false" aria-label="{name}: F1 {f1}">{f1}</button>'
