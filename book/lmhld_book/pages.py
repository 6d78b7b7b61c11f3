"""Pages made from files, in Markdown: numbers traced to their runs, the gallery, the ledger."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import RootModel, model_validator

from lmhld_book.notebooks import anchor
from lmhld_nb import paper
from lmhld_nb.book.ledger import Ledger
from lmhld_nb.config import ROOT, Strict, UserError, read_yaml
from lmhld_nb.mapping import page as live_map
from lmhld_nb.models import NETWORKS

LIVE = ROOT / "figures" / "edition" / "view.json"
"""What the map on the front page shows (`make publish` writes it); of the published edition, as `results` are."""

RUN_IDS = re.compile(r"[0-9a-f]{16}(\+[0-9a-f]{16})*")


class Entry(Strict):
    """What figures/manifest.yaml says of one figure or table.

    Attributes:
        chapter: that makes it.
        experiments: whose runs it is computed from.
        files: pictures (``.png``), and the numbers behind them (``.csv``).
        images: those of the pictures, without ``.png``, that show the data themselves: of real areas not published.
        alt: of each picture, by its name without ``.png``: what it shows, for those who do not see it.
        not_made: why it is not made, instead of all these.
    """

    chapter: str | None = None
    experiments: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
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
        for key, names in (("alt", self.alt), ("images", self.images)):
            for name in names:
                if name not in self.pictures:
                    raise ValueError(f"{key}: {name}.png is not among the files")
        return self


class Manifest(RootModel[dict[str, Entry]]):
    """All entries, by figure or table."""


def read_manifest(path: Path) -> dict[str, Entry]:
    """Read what belongs to each figure and table, in order.

    Raises:
        UserError: an entry is not an `Entry`.
    """
    return read_yaml(path, Manifest).root


def results(figures: Path) -> list[str]:
    """Return the best true result of the published edition, the paper's main claim and the most sobering result.

    They are computed from the tables of real areas; where these are not published, from those of the synthetic twin.

    Args:
        figures: folder of the editions, ``real`` and ``edition``; what one lacks is left out.
    """
    lines = []
    for line in (_best, _main_claim, _most_sobering):
        for edition, where in (("real", "real images"), ("edition", "synthetic data")):
            names = ("table7_beside", "leave_one_out", "unseen_scores")
            paths = {name: figures / edition / f"{name}.csv" for name in names}
            if text := line({name: pd.read_csv(path) for name, path in paths.items() if path.is_file()}, where):
                lines.append(text)
                break
    return lines


COMPANIONS = ("hokkaido", "l4s_iburi", "jinsha_a", "jinsha_c")
"""Real areas of one earthquake (September 2018, two sensors) and of one river: of each pair one is always learnt."""

Tables = Mapping[str, pd.DataFrame]  # tables of an edition by name, those that are there


def _several(number: float, noun: str) -> str:
    return f"{number:.0f} {noun}{'s' if number > 1 else ''}"


def _score(row: Mapping[Any, Any], name: str = "f1") -> str:
    interval = f"95 % interval {row[f'{name}_low']:.2f} to {row[f'{name}_high']:.2f}"
    return f"F1 {row[name]:.2f} ({interval}, {row['patches']:.0f} test patches, {_several(row['seeds'], 'seed')})"


def _best(tables: Tables, where: str) -> str:
    rows = tables["table7_beside"] if "table7_beside" in tables else pd.DataFrame(columns=["single_f1_low"])
    if (rows := rows.dropna(subset="single_f1_low")).empty:  # without an interval: too few test patches
        return ""
    row = rows.sort_values("single_f1").to_dict("records")[-1]
    reached = f"{NETWORKS[row['model']].title} reaches {_score(row, 'single_f1')}"
    caveat = "All patches hold at least 10 % landslide; over whole scenes F1 can be far lower (chapter 11)."
    areas = f"with {_several(row['areas'], 'area')} each learnt alone"
    return f"**The best result.** On {where}, {areas}, {reached}. {caveat}"


def _main_claim(tables: Tables, where: str) -> str:
    if (table := tables.get("table7_beside")) is None:
        return ""
    ours = table[["part_f1", "mix_f1", "single_f1"]].dropna()
    if ours.empty:
        return ""
    (part, mix, single), printed = ours.mean(), [paper.table(number)["f1"].mean() for number in (7, 6, 5)]
    said = "In the paper, areas learnt one after another ({:.3f}) beat all at once ({:.3f}) and each alone ({:.3f})."
    beats = "they do, too" if part > max(mix, single) else "they do not"
    if len(ours) < 6:  # no sign test over so few networks can tell
        beats = f"{beats} so far, on too few networks to judge"
    few, many = table.loc[ours.index, "orders"].agg(["min", "max"])
    orders = _several(many, "order") if few == many else f"{few:.0f} to {many:.0f} orders"
    count = f"F1 of all test pixels; {_several(len(ours), 'network')}, {orders}"
    told = f"{part:.3f}, {mix:.3f} and {single:.3f} ({count})."
    if (without := tables.get("leave_one_out")) is not None and len(both := without.dropna(subset="single_f1")):
        several, there = _several(len(both), "area"), both[["f1", "single_f1"]].mean()
        told += f" A network trained on all areas but one reaches {there['f1']:.3f} there, trained on that one"
        pairs = both["area"].isin(COMPANIONS).sum()
        near = f"; {pairs} with a companion among the others" if pairs else ""
        seeds = _several(both["seeds"].min(), "seed")
        told += f" alone {there['single_f1']:.3f} (means of {several}, {seeds}{near})."
    return f"**The main claim.** {said.format(*printed)} On {where} {beats}: {told}"


def _most_sobering(tables: Tables, where: str) -> str:
    """Return the lower of two: the lowest score in an area that was left out, or on an unseen event."""
    found = []
    if (table := tables.get("leave_one_out")) is not None and len(rows := table.dropna(subset=["f1_low", "single_f1"])):
        row = rows.sort_values("f1").to_dict("records")[0]
        area = paper.area_name(row["area"])
        lowest = f"the lowest of {len(table)} areas left out in turn"
        alone = f"Trained on {area} alone, it reaches {row['single_f1']:.2f}."
        reached = f"a network trained on every area except {area} reaches {_score(row)} there"
        found.append((row["f1"], f"{reached}, {lowest}. {alone}"))
    if (table := tables.get("unseen_scores")) is not None and len(rows := table.dropna(subset="f1_low")):
        row = rows.sort_values("f1").to_dict("records")[0]
        interval = f"95 % interval {row['f1_low']:.2f} to {row['f1_high']:.2f}"
        counts = f"{_several(row['blocks'], 'block')} of the images, {_several(row['seeds'], 'seed')}"
        reached = f"a network that learnt all areas one after another reaches F1 {row['f1']:.2f} ({interval}, {counts})"
        index = f"the best threshold on one spectral index reaches {row['index_f1']:.2f}"
        learnt = f"on what it had learnt, {row['seen_f1']:.2f}"
        found.append((row["f1"], f"{reached} on an unseen event, {plain(row['event'])}, where {index}; {learnt}."))
    return f"**The most sobering one.** On {where}, {min(found)[1]}" if found else ""


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


def numbers(manifest: Mapping[str, Entry], figures: Path, real: Path, titles: Mapping[str, str]) -> str:
    """Return the page that traces each figure and table to its runs.

    Args:
        manifest: of the book.
        figures: folder of this edition's figures; an entry without any of its files is left out.
        real: folder of those of the real areas; may lack any.
        titles: of this edition's chapters, by their stems; entries of others are left out.

    Raises:
        UserError: a column ``run_ids`` holds something else.
    """
    lines = [
        "# Numbers in this book",
        "",
        "Every figure and table of the book as a file to download, and where it comes from: the chapter that makes",
        "it, the experiments whose runs it is computed from, and these runs. Beside the book's own tables stand those",
        "of the seven real areas, where these are published. The folder of a run is `runs/ID/`: `spec.json` says what",
        "was trained, `environment.json` on what, `metrics.json` with what result. Figures without runs show data or",
        "the plan.",
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
        lines += [
            f"## {plain(title_of(name))}",
            "",
            " ".join(facts),
            "",
            "| file | runs | of real areas |",
            "|---|---|---|",
        ]
        lines += [
            f"| {_link(figures / file)} | {len(ids.get(file, ())) or ''} | {_link(real / file)} |" for file in files
        ]
        if distinct:
            listed = " ".join(f"`{run}`" for run in distinct)
            lines += ["", f":::{{dropdown}} {len(distinct)} run ids", listed, ":::"]
        lines.append("")
    return "\n".join(lines)


def live(path: Path, page: Path) -> str:
    """Write the live map of a file that `make publish` has written to ``page``; return what the front page shows of it.

    Without such a file there is no map, and nothing to show.
    """
    if not path.is_file():
        return ""
    described = json.loads(path.read_text(encoding="utf-8"))
    page.write_text(live_map.page(described), encoding="utf-8")
    title = html.escape(f"Live map: {described['title']}")
    link = f'<a href="_static/{page.name}">Open the map on a page of its own</a>'
    return (
        f'<iframe class="live-map" src="_static/{page.name}" title="{title}"></iframe>\n'
        f'<p class="live-map-link">{link}. <a href="mapping.html">Make one of an image of your own</a>.</p>\n'
    )


def _link(file: Path) -> str:
    """Return a link that downloads a file in a folder beside the pages; nothing where there is no such file."""
    return f"{{download}}`{file.name} <{file.parent.name}/{file.name}>`" if file.is_file() else ""


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
