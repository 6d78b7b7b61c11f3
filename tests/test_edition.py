"""The web edition: pictures described and made lighter, pages made from files, tables of finished pages."""

import json
import re
import shlex
from io import BytesIO
from pathlib import Path

import jupytext
import nbformat
import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup, Tag
from lmhld_book import cells, finish, notebooks, pages, pictures
from made import refuses
from PIL import Image

from lmhld_nb.book import chapters, ledger
from lmhld_nb.config import ROOT
from lmhld_nb.experiments import EXPERIMENTS
from lmhld_nb.experiments.profile import schema
from lmhld_nb.runs.records import Records

PICTURE = nbformat.v4.new_output("display_data", {"image/png": "AAAA", "text/plain": "<Figure>"})
MANIFEST = pages.read_manifest(ROOT / "figures" / "manifest.yaml")
HOSTILE = '<script>alert("1")</script> & `*_a_*` [b](c) | {{d}} $e$ : # "f"'


def cell(source: str, count: int = 1) -> nbformat.NotebookNode:
    return nbformat.v4.new_code_cell(source, outputs=[PICTURE] * count)


@pytest.mark.parametrize(("colours", "error"), [(2, 0), (20, 0), (300, 11), (5000, 30)])
def test_the_lightest_png_looks_like_the_picture(colours, error):
    pixels = (rng := np.random.default_rng(0)).integers(256, size=(colours, 3), dtype=np.uint8)
    pixels = pixels[rng.integers(0, colours, (60, 60))]
    pixels[0] = 227, 181, 206  # a legend's, which a palette by area alone would lose
    Image.fromarray(pixels).save(whole := BytesIO(), "PNG")
    light = pictures.lightest_png(whole.getvalue())
    errors = np.asarray(Image.open(BytesIO(light)).convert("RGB"), float) - pixels
    assert np.sqrt((errors**2).mean()) <= error and not errors[0].any() and len(light) < len(whole.getvalue())


def test_pictures_get_their_descriptions():
    cells = [cell('book.show(f(), "a_b")'), cell("plt.show()\n# Figure: A line."), cell("1", 0)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    assert notebooks.describe(notebook, {"a_b": "A dot."}) == []
    images = [each.metadata.get("mystnb", {}).get("image") for each in notebook.cells]
    assert images == [{"alt": "A dot.", "classes": "figure-a-b"}, {"alt": "A line."}, None]
    for wrong in (cell("plt.show()"), cell('book.show(f(), "unknown")'), cell("# Figure: One.", 2)):
        (problem,) = notebooks.describe(nbformat.v4.new_notebook(cells=[wrong]), {"a_b": "A dot."})
        assert problem.startswith("cell 0: a picture without a description")


def entry(**changes: object) -> pages.Entry:
    fields = {"chapter": "05_x", "experiments": ("2",), "files": ("a_b.png", "a_b.csv"), "alt": {"a_b": "A dot."}}
    return pages.Entry.model_validate({**fields, **changes})


def test_an_entry_names_and_describes_its_files() -> None:
    assert entry().pictures == ["a_b"]
    for changes, message in (
        ({"alt": {}}, r"what does a_b\.png show"),
        ({"alt": {"a_b": "A dot.", "b": "A line."}}, r"b\.png is not among the files"),
        ({"images": ("b",)}, r"images: b\.png is not among the files"),
        ({"files": ("../a.csv",)}, r"'\.\./a\.csv' is not the name"),
        ({"files": ("<b>.csv",)}, "'<b>.csv' is not the name"),
    ):
        with pytest.raises(ValueError, match=message):
            entry(**changes)


def test_every_chapter_makes_and_describes_the_figures_of_the_manifest() -> None:
    described = {name for each in MANIFEST.values() if each.not_made is None for name in each.alt}
    for name, each in MANIFEST.items():
        assert set(each.experiments) <= {experiment.label for experiment in EXPERIMENTS.values()}, name
        if each.chapter in {path.stem for path in chapters.chapters()} and name != "overview":
            assert any(file.endswith(".csv") for file in each.files), f"{name}: no numbers behind the picture"
    cells = [each for path in chapters.chapters() for each in jupytext.read(path).cells if each.cell_type == "code"]
    saved = {name for each in cells for name in notebooks.saved_names(each.source)}
    assert saved - described == set(), "describe them in figures/manifest.yaml (alt)"
    numbered = {f"figure {number}" for number in range(1, 18)} | {f"table {number}" for number in range(1, 8)}
    assert numbered <= set(MANIFEST)


def test_run_ids_of_a_table_come_once_and_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    one, two, three = ("0" * 15 + digit for digit in "123")
    pd.DataFrame({"run_ids": [f"{one}+{two}", two, None, three]}).to_csv(path)
    assert pages.run_ids(path) == [one, two, three]
    pd.DataFrame({"f1": [0.5]}).to_csv(path)
    assert pages.run_ids(path) == []
    pd.DataFrame({"run_ids": ["seed 0"]}).to_csv(path)
    refuses("'seed 0' in run_ids is not a run id", pages.run_ids, path)


@pytest.fixture
def figures(tmp_path: Path) -> Path:
    Image.new("RGB", (30, 20)).save(tmp_path / "a_b.png")
    run = "0123456789abcdef"
    pd.DataFrame({"f1": [0.5, 0.6], "run_ids": [run, f"{run}+{'f' * 16}"]}).to_csv(tmp_path / "a_b.csv")
    return tmp_path


def test_numbers_and_gallery_show_what_the_edition_has(figures: Path) -> None:
    manifest = {"figure 9": entry(), "figure 8": entry(chapter="06_not_made")}
    manifest["table 1"] = entry(files=("gone.csv",), alt={})
    (figures / "real").mkdir()
    pd.DataFrame({"f1": [0.7]}).to_csv(figures / "real" / "a_b.csv")
    text = pages.numbers(manifest, figures, figures / "real", {"05_x": "05 Title"})
    assert re.findall(r"^## (.*)$", text, re.M) == ["Figure 9"]
    file = "{download}`a_b.csv"
    assert "[](chapters/05_x.ipynb). Experiments: 2. Runs: 2." in text
    assert f"{file} <{figures.name}/a_b.csv>` | 2 | {file} <real/a_b.csv>` |" in text
    assert ":::{dropdown} 2 run ids\n`0123456789abcdef` `ffffffffffffffff`" in text
    text = pages.gallery(manifest, figures, {"05_x": "05 Title", "06_empty": "06 None"})
    assert text.count("grid-item-card") == 1 and ':link: "chapters/05_x.html#figure-a-b"' in text
    assert ':img-alt: "A dot."' in text and "Figure 9\\: a b" in text


def test_the_front_page_begins_with_the_live_map_if_there_is_one(tmp_path: Path) -> None:
    page, file = tmp_path / "view.html", tmp_path / "view.json"
    assert pages.live(file, page) == "" and not page.exists()
    file.write_text(json.dumps({"title": HOSTILE}), encoding="utf-8")
    shown = BeautifulSoup(pages.live(file, page), "html.parser")
    frame = shown.find("iframe")
    assert frame and frame["title"] == f"Live map: {HOSTILE}" and frame["src"] == "_static/view.html"
    assert len(shown.find_all()) == 4 and "leaflet" in page.read_text(encoding="utf-8")


def test_names_from_files_are_shown_literally(figures: Path) -> None:
    from markdown_it import MarkdownIt

    manifest, titles = {HOSTILE: entry(alt={"a_b": HOSTILE})}, {"05_x": HOSTILE}
    text = pages.numbers(manifest, figures, figures / "real", titles) + pages.gallery(manifest, figures, titles)
    assert pages.plain("a\n\nb:::\n<c>") == r"a b\:\:\: \<c\>"
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert len(headings) == 2
    for heading in headings:
        rendered = BeautifulSoup(MarkdownIt().render(heading), "html.parser")
        assert [tag.name for tag in rendered.find_all(True)] == ["h2"]
        assert rendered.get_text().strip() == HOSTILE
    # Options of directives are quoted YAML; Sphinx escapes them where it writes HTML.
    (line,) = [line for line in text.splitlines() if "<script>" in line]
    assert line == ":img-alt: " + '"' + HOSTILE.replace('"', '\\"') + '"'


def record(seconds: float, parent: str | None = None, weights: str = "0123456789abcdef") -> dict[str, bytes]:
    files = {
        "spec.json": {"stage": {"parent": parent}} if parent else {},
        "metrics.json": {"seconds": seconds, "weights": weights},
        "environment.json": {"device": "A <fast> one"},
    }
    return {name: json.dumps(content).encode() for name, content in files.items()}


def test_each_cell_of_a_table_names_its_command_its_time_and_its_weights() -> None:
    # Two chains, c after b after a, d after b: b and a are trained once.
    runs = {"a": record(30), "b": record(30, "a"), "c": record(30, "b", "c" * 64), "d": record(60, "b", "d" * 64)}
    rows = [("rio", 64, "unet", 0.5, "c+d"), ("rio", 64, HOSTILE, 0.25, "a"), ("x", 128, "unet", 0.75, "gone")]
    columns = ["area", "patch_size", "model", "f1", "run_ids"]
    table = pd.DataFrame([*rows, ("x", 128, HOSTILE, None, None)], columns=columns)
    for records in (Records("own", runs), None):
        soup = BeautifulSoup(cells.table_html(4, table, "own profile.yaml", records), "html.parser")
        head, *scores = texts(soup)
        assert head == ["area", "patch size", "U-Net", HOSTILE]
        assert scores == [["Rio", "64 px", "0.500", "0.250"], ["X", "128 px", "0.750", ""]]
        assert not soup.find("script") and soup.find("p").get_text().startswith("Profile own profile.yaml")
        entries = {button["aria-label"]: soup.find(id=button["data-cell"]) for button in soup.select("td button")}
        labels = ("Rio, 64 px, U-Net: F1 0.500", f"Rio, 64 px, {HOSTILE}: F1 0.250", "X, 128 px, U-Net: F1 0.750")
        assert tuple(entries) == labels
        commands = [shlex.split(entry.find(class_="command").get_text())[2:] for entry in entries.values()]
        assert commands == [["own profile.yaml", *ids] for ids in (["c", "d"], ["a"], ["gone"])]
        mean, one, absent = (" ".join(entry.get_text().split()) for entry in entries.values())
        assert mean.startswith("Table 4, Rio, 64 px, U-Net: F1 0.500, the mean of 2 runs.")
        if records:
            assert "4 trainings, earlier stages of the chain among them: about 2.5 min." in mean
            assert f"Digest of the weights: {'c' * 12}, {'d' * 12}." in mean and "1 training: about 30 s." in one
            assert absent.endswith("Not in the records: there is nothing to compare with.")
            assert "A <fast> one" in soup.find("p").get_text()
        else:
            assert "no records here" in soup.find("p").get_text() and "about" not in mean + one + absent
    (only,) = cells.cells_of(pd.DataFrame([("unet", 0.5, "a")], columns=["model", "f1", "run_ids"]))
    assert only.row == () and only.name == "U-Net"


def is_key(key: str) -> bool:
    whole = schema().model_json_schema()
    models = [whole]
    for name in key.split("."):
        described = [model["properties"][name] for model in models if name in model.get("properties", {})]
        models = [whole["$defs"][inner] for inner in re.findall(r"#/\$defs/(\w+)", str(described))]
        if not described:
            return False
    return True


def test_the_ledger_names_keys_of_profiles_and_has_a_page_and_a_table():
    assert is_key("recipe.loss") and not is_key("recipe.los")
    content = ledger.load()
    rows = [row for section in content.sections for row in section.rows]
    assert [key for row in rows for key in row.keys if not is_key(key)] == []
    lines = pages.ledger(content).splitlines()
    for row in rows:
        (line,) = [line for line in lines if line.startswith(f"| {row.point} | {row.choice} | {row.why} |")]
        assert line.count("|") == 5, "a bar in a cell would break the table"
    assert list(ledger.table().index) == [row.point for row in rows]
    assert set(ledger.table(["recipe.loss", "recipe.keep"])["keys"]) == {"recipe.loss", "recipe.keep"}
    refuses(r"no open point has the key 'recipe\.los'; choose from", ledger.table, ["recipe.los"])


def texts(table: Tag) -> list[list[str]]:
    return [[each.get_text() for each in row.find_all(["th", "td"])] for row in table.find_all("tr")]


def test_a_table_has_one_header_row_and_numbers_on_the_right() -> None:
    index = pd.Index(["rio", "gorkha", "taiwan"], name="area")
    frame = pd.DataFrame({"f1": [0.5, None, -1e-9], "why": ["1 of 2", "3", "4"]}, index=index)
    table = BeautifulSoup(frame.to_html(), "html.parser").find("table")
    finish.tidy_table(table)
    assert texts(table)[0] == ["area", "f1", "why"]
    assert [head["scope"] for head in table.find_all("th")] == ["col"] * 3 + ["row"] * 3
    assert "sortable" in table["class"].split() and not table.has_attr("border")
    classes = [[each.get("class") for each in row.find_all(["th", "td"])] for row in table.find_all("tr")]
    assert classes == [[None, "number", None]] * 4


def test_the_site_of_the_committed_notebooks_needs_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Sphinx itself is left out: it takes a minute, and `make test-site` looks at what it makes.
    monkeypatch.setenv("LMHLD_WORKDIR", str(tmp_path))
    committed = tmp_path / "committed"
    (committed / "figures" / "smoke").mkdir(parents=True)
    (committed / "figures" / "smoke" / "overview.png").touch()
    (committed / "figures" / "manifest.yaml").touch()
    for name in ("book", "notebooks"):
        (committed / name).symlink_to(ROOT / name)
    monkeypatch.setattr(chapters, "ROOT", committed)
    commands: list[list[str]] = []

    def sphinx(command: list[str], **_: object) -> object:
        commands.append(command)
        source, site = Path(command[-2]), Path(command[-1])
        stems = sorted(path.stem for path in (source / "chapters").iterdir())
        assert stems == [path.stem for path in chapters.chapters()]
        for name in ("conf.py", "lmhld_book/__init__.py", "manifest.yaml", "figures/overview.png"):
            assert (source / name).is_file()
        site.mkdir()
        (site / "index.html").write_text("new")
        return type("Done", (), {"returncode": len(commands) - 1, "stderr": "a\nx.md:1: WARNING: odd\nb"})()

    monkeypatch.setattr(chapters.subprocess, "run", sphinx)
    assert (chapters.site("smoke", committed=True) / "index.html").read_text() == "new"
    (tmp_path / "build" / "site" / "index.html").write_text("old")
    refuses(r"web edition: x\.md:1: WARNING: odd \(1 such lines\)", chapters.site, "smoke", committed=True)
    assert (tmp_path / "build" / "site" / "index.html").read_text() == "old", "what was there stays"
    assert [path.name for path in (tmp_path / "build").iterdir()] == ["site"]
    refuses(r"chapter 00_start is not executed; run `lmhld book smoke` first", chapters.site, "smoke")
