"""Check that documents and chapters say what is there: links, targets, quoted errors, the skeleton of chapters.

`make lint` runs it. It prints one line per problem.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator

import jupytext
import pandas as pd
import yaml
from student_copies import exercises

from lmhld_nb.book.chapters import chapters, number_of
from lmhld_nb.config import ROOT

DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "benchmarks/README.md",
    "workflow/README.md",
    "book/running.md",
    "book/own_data.md",
    "book/troubleshooting.md",
)
SKELETON = (
    r"^# ",
    r"\*\*Question\.\*\*",
    r"\*\*The paper",
    r"\*\*Time\.\*\*",
    "^## Exercises$",
    r"^\*\*Next:\*\* ",
)
README_WORDS = 900
CODE_LINES, PROSE_LINES = 25, 40
"""At most, in a cell of a chapter."""


def read(path: str) -> str:
    """Return the text of a file of the repository."""
    return (ROOT / path).read_text(encoding="utf-8")


def documents() -> Iterator[str]:
    """Links and anchors lead somewhere, targets of make exist, and module names are those of files."""
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.M))
    for document in DOCUMENTS:
        text = read(document)
        if document != "CHANGELOG.md":  # it names what went, too
            for target in set(re.findall(r"(?:`|^)make ([a-z-]+)", text, re.M)) - targets:
                yield f"{document}: no target `make {target}`"
        for path in re.findall(r"`((?:lmhld_nb|book|tools|tests)/[\w./-]+)`", text):
            if not (ROOT / path).exists():
                yield f"{document}: no file {path}"
        prose = re.sub(r"```.*?```", "", text, flags=re.S)
        headings = re.findall(r"^#+ (.+)$", prose, re.M)
        anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
        for link in re.findall(r"\]\(([^)\s]+)\)", prose):
            path, _, anchor = link.partition("#")
            exists = (ROOT / document).parent.joinpath(path).exists() if path else anchor in anchors
            if not re.match(r"https?:", link) and not exists:
                yield f"{document}: the link {link} leads nowhere"


def readme() -> Iterator[str]:
    """The README is short, lists all chapters and cites as CITATION.cff does; troubleshooting quotes real errors."""
    text = read("README.md")
    listed = re.findall(r"^\| \[\d\d[^\]]*\]\(notebooks/(\w+)\.ipynb\)", text, re.M)
    if listed != [path.stem for path in chapters()]:
        yield "README.md: its table of chapters is not the list of notebooks/"
    code = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "lmhld_nb").rglob("*.py")))
    code = re.sub(r"\"\s*\n\s*f?\"", "", code)  # literals over several lines, joined
    code = re.sub(r"\{[^{}]*\}", "…", code) + read("Makefile")
    if len(text.split()) > README_WORDS:
        yield f"README.md: more than {README_WORDS} words; what not every reader needs goes into a page of book/"
    errors = read("book/troubleshooting.md")
    for message in re.findall(r"^\| `(.+?)`(?: in | \|)", errors, re.M):
        for part in re.split(r"…|'\S+'|\bnan\b|\b\d+\b%?|\S*doi:\S+", message):
            if len(part.strip(" ;:")) >= 4 and part.strip(" ;:") not in code:
                yield f"book/troubleshooting.md: no message of the code has '{part.strip()}'"
    paper = yaml.safe_load(read("CITATION.cff"))["preferred-citation"]
    for fact in (paper["title"], str(paper["year"]), paper["identifiers"][0]["value"]):
        if fact not in text.split("```bibtex")[1]:
            yield f"README.md: its citation lacks '{fact}' of CITATION.cff"


def book() -> Iterator[str]:
    """Chapters have their skeleton, the instructors' guide has every exercise, citations lead to the bibliography."""
    guide = read("book/instructor.md")
    for path in chapters():
        notebook = jupytext.read(path)
        prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
        positions = [match.start() if (match := re.search(mark, prose, re.M)) else -1 for mark in SKELETON]
        if -1 in positions or positions != sorted(positions):
            yield f"{path.name}: its parts are not {', '.join(SKELETON)}, in this order"
        for line in re.findall(r"^%.*", prose, re.M):
            yield f"{path.name}: a line that begins with % is a comment on the site, and lost: {line[:40]!r}"
        for cell in notebook.cells:
            longest = CODE_LINES if cell.cell_type == "code" else PROSE_LINES
            if len(cell.source.splitlines()) > longest:
                yield f"{path.name}: a cell of more than {longest} lines: {cell.source[:40]!r}"
        for exercise in exercises(notebook):
            if f"| {number_of(path)}.{exercise.number} {exercise.title} |" not in guide:
                yield f"book/instructor.md: no row for exercise {number_of(path)}.{exercise.number} {exercise.title}"
    entries = set(re.findall(r"^@\w+\{(\w+),", read("book/references.bib"), re.M))
    for path in sorted((ROOT / "book").glob("*.md")):
        for keys in re.findall(r"\{cite:\w\}`([^`]+)`", path.read_text(encoding="utf-8")):
            yield from (f"{path.name}: {key} is not in references.bib" for key in keys.split(",") if key not in entries)


FIELDS = {
    "article": ("journal", "volume", "pages", "doi"),
    "book": ("publisher",),
    "incollection": ("editor", "booktitle", "pages"),
    "inproceedings": ("booktitle",),
    "misc": ("howpublished",),
}
"""What an entry of the bibliography has, by its kind, beside author and title."""


def bibliography(entries: str, page: str) -> Iterator[str]:
    """Entries have their kind's fields and all authors, keys name the year, DOIs have their form; all are shown."""
    shown, dois = set(re.findall(r'keywords % "(\w+)"', page)), set()
    for kind, key, body in re.findall(r"^@(\w+)\{(\w+),\n(.*?)^\}", entries, re.M | re.S):
        fields = dict(re.findall(r"^  (\w+) = \{(.*)\},$", body, re.M))
        missing = [name for name in ("author", "title", *FIELDS[kind]) if not fields.get(name)]
        yield from (f"references.bib: {key} has no {name}" for name in missing)
        if fields.get("year", "") != "".join(re.findall(r"\d", key)):
            yield f"references.bib: {key} is of {fields.get('year', 'no year')}; name the year of the volume in both"
        if re.search(r"\b(others|et al)\b", fields.get("author", "")):
            yield f"references.bib: {key} cuts its list of authors"
        if fields.get("keywords") not in shown:
            yield f"references.bib: references.md shows no entries with the keyword of {key}"
        if "doi" in fields and not re.fullmatch(r"10\.\d{4,9}/\S+", fields["doi"]):
            yield f"references.bib: the DOI of {key} is not of the form 10.NUMBER/NAME"
        if fields.get("doi", key).lower() in dois:
            yield f"references.bib: {key} repeats another entry's DOI"
        dois.add(fields.get("doi", key).lower())


def alternative_texts() -> Iterator[str]:
    """A description is a sentence, and names no score: the picture of another profile shows another one."""
    for name, entry in yaml.safe_load(read("figures/manifest.yaml")).items():
        for picture, text in entry.get("alt", {}).items():
            if not 30 < len(text) < 260 or not text.endswith(".") or re.search(r"\d\.\d", text):
                yield f"figures/manifest.yaml: {name}: describe {picture} in a sentence or two, without numbers"


def worth_of_labels() -> Iterator[str]:
    """The mapping page's table of F1 against labelled landslides is what benchmarks/results/learn.csv holds."""
    table = pd.read_csv(ROOT / "benchmarks" / "results" / "learn.csv")
    table = table[table["landslides"] > 0]
    table = pd.concat([table, table.assign(scene="all scenes")])
    f1 = table.pivot_table(index=["scene", "landslides"], columns="candidate", values="f1")
    for scene, rows in f1[["start", "event", "tuned", "mean", "kept"]].groupby(level="scene"):
        numbers = [
            rows.index.get_level_values("landslides").astype(str),
            *(rows[name].map("{:.2f}".format) for name in rows),
        ]
        cells = " | ".join(" / ".join(each) for each in numbers)
        if f"| {cells} |" not in read("book/mapping.md"):
            yield f"book/mapping.md: learn.csv says of {scene}: {cells}"


def worth_of_freezing() -> Iterator[str]:
    """The mapping page says of `--freeze 2` what learn--freeze-2.csv has beside learn.csv, draw by draw."""
    results = ROOT / "benchmarks" / "results"
    plain, frozen = (
        table[table["candidate"] == "tuned"].set_index(["scene", "landslides", "draw"])["f1"]
        for table in (pd.read_csv(results / "learn.csv"), pd.read_csv(results / "learn--freeze-2.csv"))
    )
    gain = (frozen - plain).dropna()
    by_count = " / ".join(gain.groupby("landslides").mean().map("{:+.3f}".format).str.replace("-", "−"))
    spread = f"{gain.min():+.2f} to {gain.max():+.2f}".replace("-", "−")
    said = f"changes its F1 by {by_count} on average ({spread} in {len(gain)} draws"
    if said not in read("book/mapping.md"):
        yield f"book/mapping.md: learn--freeze-2.csv: {said}"


def attacks() -> Iterator[str]:
    """The troubleshooting page's table of `make attack` is what its last run of all rows left."""
    for row in pd.read_csv(ROOT / "benchmarks" / "results" / "attack.csv").itertuples():
        if f"| {row.row} | {row.cases:,} | {row.short} |" not in read("book/troubleshooting.md"):
            yield f"book/troubleshooting.md: attack.csv says of {row.row}: {row.cases:,} cases, {row.short} fell short"


def labelled_corner() -> Iterator[str]:
    """The mapping page's score of the corner of Jinsha C is what benchmarks/results/corner.csv holds."""
    row = pd.read_csv(ROOT / "benchmarks" / "results" / "corner.csv").iloc[0]
    held_back = "{held_back_f1:.2f} ({held_back_low:.2f} to {held_back_high:.2f})".format(**row)
    said = f"was {held_back} and F1 on the rest {row['f1']:.2f} (`benchmarks"
    if said not in read("book/mapping.md"):
        yield f"book/mapping.md: corner.csv says: {said}"


def worth_of_recipe() -> Iterator[str]:
    """The ledger says of the fast recipe what benchmarks/results/recipes--amd-epyc.csv holds."""
    table = pd.read_csv(ROOT / "benchmarks" / "results" / "recipes--amd-epyc.csv")

    def each(recipe: str) -> str:
        rows = table[table["recipe"] == recipe]
        return " and ".join(f"{row.test_f1:.3f} ± {row.test_f1_sd:.3f}" for row in rows.itertuples())

    changed = [name for name in table["recipe"].unique() if "the " not in name and name != "profile"]
    scores = table[table["recipe"].isin(changed)].groupby("area", sort=False)["test_f1"].agg(["min", "max"])
    span = " and ".join(f"{low:.3f} to {high:.3f}" for low, high in scores.to_numpy())
    paper = each("the paper's")
    said = (
        f"F1 {each('profile')}, the paper's {paper}; with one thing changed (SGD with momentum, rate, "
        f"cosine, cross-entropy, no flips) {span}; with twice the epochs {each('twice the epochs')}"
    )
    if said not in " ".join(read("book/ledger.yaml").split()):
        yield f"book/ledger.yaml: recipes--amd-epyc.csv: {said}"


def docstrings() -> Iterator[str]:
    """No docstring has a name that ends in an underscore outside quotes: Sphinx takes it for a link, and stops."""
    for path in sorted((ROOT / "lmhld_nb").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                bare = re.sub(r"``.*?``|`[^`]*`", "", ast.get_docstring(node) or "", flags=re.DOTALL)
                for name in re.findall(r"(?<!\w)\w+_(?=[\s….,;:!?)\]}'\"/-]|$)", bare):
                    yield f"{path.relative_to(ROOT)}: '{name}' in a docstring: put it into double backquotes"


if __name__ == "__main__":
    references = bibliography(read("book/references.bib"), read("book/references.md"))
    lines = [
        *documents(),
        *readme(),
        *book(),
        *references,
        *alternative_texts(),
        *worth_of_labels(),
        *worth_of_freezing(),
        *worth_of_recipe(),
        *labelled_corner(),
        *docstrings(),
        *attacks(),
    ]
    print("\n".join(lines) or "documents and chapters say what is there")
    sys.exit(bool(lines))
