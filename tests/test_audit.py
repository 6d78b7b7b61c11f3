"""The published facts and their audit: complete, computed from the tables, fair to rounding, equal to the text."""

import json
import re
from contextlib import suppress
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
from conftest import SHARED
from hypothesis import given
from hypothesis import strategies as st
from made import refuses
from typer.testing import CliRunner

from lmhld_nb import audit, cli, paper
from lmhld_nb.audit import rules
from lmhld_nb.config import UserError

SCORES = rules.SCORES
TABLE = paper.table  # the published one, whatever a test puts in its place


@pytest.fixture(scope="module")
def checks():
    return audit.checks()


@pytest.fixture(scope="module")
def text():
    path = SHARED.parent / "paper" / "lmhld-paper.txt"
    if not path.is_file():
        pytest.skip(f"no file {path.name} beside LMHLD_SHARED_DATA: the paper's text is not here")
    return path.read_text(encoding="utf-8")


def part_of(text, section):
    if section == "abstract":
        return text[text.index("**ABSTRACT") : text.index("**Keywords")]
    if section == "references":
        return text[text.index("## References") :]
    if section.startswith("section "):
        number = re.escape(section.removeprefix("section "))
        pattern = rf"^#+ \**{number} .*?(?=^#+ \**(?:\d|CRedit))"
    elif section == "formula (3)":
        pattern = r"^[^\n]*\\quad \(3\)\$\$$"
    else:
        pattern = rf"^\**{re.escape(section.replace('Figure', 'Fig.'))}\b[^\n]*$"
    found = re.search(pattern, text, re.M | re.S)
    assert found, section
    return found[0]


def test_every_number_and_name_stands_where_it_is_said_to(text):
    assert all(part_of(text, section).strip() for section in paper.claims()["section"])
    for quote in paper.quotes().values():
        part = " ".join(part_of(text, quote.section).split())
        caption = quote.name.startswith("caption_")
        for printed in quote.printed:
            assert (f"LMHLD<sub>{printed}</sub>" if caption else printed) in part, (quote.name, quote.section)


def test_values_are_what_is_printed():
    for quote in paper.quotes().values():
        assert len(quote.values) == len(quote.printed) or len(quote.printed) == 1, quote.name
        for printed, value in zip(quote.printed, quote.values, strict=False):
            digits = re.fullmatch(r"\D*(\d[\d,]*\.?\d*)\D*", printed)
            if digits and re.fullmatch(r"[\d.]+", value):
                scale = 100 if printed.endswith("%") else 1
                assert float(digits[1].replace(",", "")) / scale == float(value), quote.name
        if quote.unit:  # of the last digit: the number is a multiple of it
            assert quote.number / quote.unit == pytest.approx(round(quote.number / quote.unit)), quote.name


def test_events_from_elsewhere_fall_into_the_time_the_paper_names():
    facts = paper.outside()
    events = facts[facts["kind"] == "event"].set_index("key")["value"]
    for area in paper.AREAS:
        if f"event_{area}" in paper.quotes():
            stated = pd.Period(paper.quotes()[f"event_{area}"].values[0])
            assert stated.start_time <= pd.Period(events[area]).start_time <= stated.end_time, area
    assert facts["source"].str.len().gt(10).all()


@pytest.mark.parametrize(("claim", "expected", "shows"), [
    ("slides_wenchuan/inventories", "contradicted", "197,481"),
    ("slides_jiuzhaigou", "holds", "4,834"),
    ("magnitude_wenchuan", "contradicted", "Mw 7.9"),
    ("large_scale", "cannot be checked", "0.44 km² in Table 1, the largest of that earthquake 7.12"),
    ("gvlm_resolution", "contradicted", "1.5m here, 0.59m there"),
    ("landslide4sense/released", "contradicted", "3799 here, 4844 there"),
])  # fmt: skip
def test_statements_are_compared_with_other_publications(claim: str, expected: str, shows: str) -> None:
    finding = audit.findings()[claim]
    assert finding.verdict == expected and shows in finding.derived


def test_every_claim_is_checked_and_nothing_else(checks):
    claims = paper.claims()
    assert claims.index.is_unique
    assert [check.id for check in checks] == list(claims.index)
    assert sum(len(part()) for part in audit.PARTS) == len(audit.findings())  # each in one place
    for check in checks:
        assert check.verdict in audit.VERDICTS
        assert check.claim and check.derived and check.tolerance
        assert not re.search(r"[{}]|\bnan\b", check.claim + check.derived + check.detail), check.id
        assert bool(check.reading) == ("/" in check.id), check.id
    for _, rows in claims.groupby(claims.index.str.split("/").str[0]):  # readings of one statement
        assert rows["claim"].nunique() == rows["section"].nunique() == 1 and rows["reading"].is_unique


def test_every_claim_is_computed_or_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    first, *others = audit.PARTS
    without = {name: finding for name, finding in first().items() if name != "landslides"}
    monkeypatch.setattr(audit, "PARTS", [lambda: without, *others])
    with pytest.raises(ValueError, match="claim landslides is not computed"):
        audit.checks()
    monkeypatch.setattr(audit, "PARTS", [lambda: {"of_nothing": without["largest"]}])
    with pytest.raises(ValueError, match=r"claims\.csv has no row for of_nothing"):
        audit.checks()


@pytest.mark.parametrize(("name", "number", "row", "column", "value", "before", "after"), [
    ("split_difference/points", 2, "Gorkha, Nepal", "landslide_fraction_test", 0.2496, "holds", "rounding"),
    ("split_difference/points", 2, "Gorkha, Nepal", "landslide_fraction_test", 0.2495, "holds", "contradicted"),
    ("mean_f1", 5, 39, "f1", 0.8350, "rounding", "contradicted"),
    ("table_6_f1", 6, "U-Net+++", "f1", 0.8578, "contradicted", "rounding"),
    ("conservative_gap", 7, "U-Net", "recall", 0.8345, "holds", "rounding"),
    ("conservative_gap", 7, "U-Net", "recall", 0.8344, "holds", "contradicted"),
])  # fmt: skip
def test_the_last_digit_decides(name, number, row, column, value, before, after, monkeypatch):
    assert audit.findings()[name].verdict == before
    table = TABLE(number)
    table.loc[row if number == 5 else table.iloc[:, 0] == row, column] = value
    monkeypatch.setattr(paper, "table", lambda n: table.copy() if n == number else TABLE(n))
    assert audit.findings()[name].verdict == after


def worlds():
    """Yield a function of `paper` and one in its place, for many ways in which the published facts could differ."""
    real = {name: getattr(paper, name) for name in ("table", "quotes", "outside")}

    def other(name, edit):
        return name, lambda: edit(real[name]())

    def tables(edit, *numbers: int):
        return "table", lambda n: edit(real["table"](n)) if n in numbers else real["table"](n)

    yield tables(lambda table: table.assign(**{name: table[name].to_numpy()[::-1] for name in SCORES}), 4, 5, 6, 7)
    yield tables(lambda table: table.assign(**dict.fromkeys(SCORES, 0.8802)), 4, 5, 6, 7)
    yield tables(lambda table: table.assign(f1=rules.harmonic(table["precision"], table["recall"]) / 2), 4, 5, 6, 7)
    for factor in (0.4, 0.6, 5):
        yield tables(lambda table, by=factor: table.assign(**table.select_dtypes("number") * by), 1, 2)
    yield tables(lambda table: table.assign(**dict.fromkeys(table.columns[3:], 0.3)), 2)
    yield tables(lambda table: table.assign(sensor="Landsat", date="1990.01"), 1)
    yield tables(lambda table: table[~table["study_area"].str.startswith("Wenchuan")], 1)
    yield tables(lambda table: table[::-1].assign(dataset=table["dataset"].to_numpy()), 3)
    yield tables(lambda table: table.assign(sensors=table["sensors"].where(table["dataset"] == "LMHLD", "GF-2")), 3)
    said = {"candidates": ("32", "64"), "state_of_the_art": ("SegFormer",), "caption_figure_10": ("single",)}
    yield other("quotes", lambda all: {key: replace(one, values=said.get(key, one.values)) for key, one in all.items()})
    yield other("outside", lambda table: table.assign(value="1990-01"))
    facts = {"cited_count": "1000", "inventory": "15000", "moment_magnitude": "8.0", "resolution": "1.5m"}
    facts |= {"patches_described": "1", "patches_released": "3799"}
    yield other("outside", lambda table: table.assign(value=table["kind"].map(facts)))


def test_every_verdict_is_another_one_in_some_other_world(monkeypatch):
    """No verdict is typed in: each follows from tables, quotes or facts, and changes with them."""
    needs = paper.claims()["needs"]
    never = {"after_rio", "after_taiwan"}  # the paper names no event
    published = {part: part() for part in audit.PARTS}
    fixed = {part: {key for key in found if not needs[key]} - never for part, found in published.items()}
    for name, function in worlds():
        with monkeypatch.context() as patch:
            patch.setattr(paper, name, function)
            for part in filter(fixed.get, audit.PARTS):
                # Where a table lacks what a check reads, it may fail: that is no verdict.
                with suppress(ArithmeticError, AttributeError, LookupError, TypeError, ValueError, UserError):
                    found = part()
                    fixed[part] = {key for key in fixed[part] if found[key].verdict == published[part][key].verdict}
    assert not set().union(*fixed.values())


score = st.floats(0.2, 0.999)


def table_of(precision, recall, f1):
    columns = {"precision": precision, "f1": f1, "recall": recall}
    return pd.DataFrame({"model": "U-Net", **{name: np.round(values, 4) for name, values in columns.items()}})


@given(st.lists(st.tuples(score, score), min_size=1, max_size=20))
def test_scores_rounded_in_print_are_never_contradicted(pairs):
    p, r = np.array(pairs).T
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paper, "table", lambda n: table_of(p, r, 2 * p * r / (p + r)))
        assert set(audit.f1_rows(6)["verdict"]) <= {"holds", "rounding"}


@given(score, score, st.sampled_from([-1, 1]))
def test_what_rounding_cannot_do_is_contradicted(p, r, sign):
    # Rounding P and R moves F1 by less than 0.75 units here, rounding F1 by 0.5: printed and derived by less than 2.6.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paper, "table", lambda n: table_of([p], [r], [2 * p * r / (p + r) + sign * 2.6e-4]))
        assert audit.f1_rows(6)["verdict"].tolist() == ["contradicted"]


@given(st.tuples(*[st.floats(0.6, 0.95)] * 2), st.lists(st.tuples(*[st.floats(0, 1)] * 2), min_size=6, max_size=6))
def test_a_mean_of_orders_lies_no_lower_than_the_spread_allows(start, shifts):
    spread = [paper.quotes()[f"order_{name}"].number for name in ("precision", "recall")]
    p, r = (np.array(start) + np.array(shifts) * spread).T
    below = rules.harmonic(p.mean(), r.mean()) - rules.harmonic(p, r).mean()
    assert -1e-12 <= below <= 1.01 * rules.averaging_gap(p.mean(), r.mean()) + 1e-12


def test_json_and_text_are_complete(checks):
    content = json.loads(CliRunner().invoke(cli.app, ["audit", "--json"]).stdout)
    assert content["counts"] == audit.counts(checks)
    assert content["checks"] == json.loads(json.dumps([asdict(check) for check in checks]))
    assert [len(audit.f1_rows(number)) for number in rules.SCORE_TABLES] == [21, 49, 7, 7]
    text = audit.text(checks)
    for check in checks:
        for part in (check.claim, check.derived, check.detail, check.reading):
            assert part in text, check.id
    assert f"{len(checks)} checks" in text
    assert len([line for line in text.splitlines() if line and line[0] in "=~X?"]) == len(checks)
    shown = CliRunner().invoke(cli.app, ["audit"])
    assert shown.exit_code == 0 and shown.stdout.splitlines() == text.splitlines()


def test_a_statement_holds_in_every_reading_or_not():
    holds = {"a/1": False, "a/2": True, "b/1": False, "b/2": False, "c": False, "d": True}
    table = pd.DataFrame({"verdict": {name: "holds" if true else "contradicted" for name, true in holds.items()}})
    assert audit.in_every_reading(table, "contradicted") == ["b", "c"]
    assert audit.in_every_reading(table, "holds") == ["d"]


def test_every_table_is_complete_and_typed_and_a_caller_changes_a_copy():
    for number, rows in {1: 7, 2: 8, 3: 6, 4: 21, 5: 49, 6: 7, 7: 7}.items():
        table = paper.table(number)
        assert len(table) == rows and not table.isna().any(axis=None)
        if number > 3:
            assert list(table["model"].unique()) == list(paper.MODELS.values())
            assert table[list(paper.SCORES)].stack().between(0.3, 1, "neither").all()
    assert paper.table(1)["date"].tolist()[3] == "2015.12"  # a month, not the number 2015.12
    assert paper.table(1).dtypes[["max_area_px", "resolution_m"]].tolist() == [int, float]
    assert paper.table(3)["patch_size"].tolist()[-1] == "32, 64, 128, 224"
    assert paper.areas()["patches"].sum() == paper.table(3).set_index("dataset")["patches"]["LMHLD"] == 25365
    for read in (paper.areas, paper.world, lambda: paper.table(5)):
        first = read()
        column = first.columns[0]
        before = first[column].tolist()
        first[column] = "changed"
        assert read()[column].tolist() == before


@pytest.mark.parametrize("number", [0, 8, -1, "1", True, 1.5, None])
def test_no_other_table(number: object) -> None:
    refuses("Tables 1 to 7", paper.table, number)


def test_areas_stand_in_the_order_of_table_1_and_every_published_spelling_resolves():
    areas = paper.areas()
    assert tuple(areas.index) == paper.AREAS
    assert areas["name"].tolist() == paper.table(1)["study_area"].tolist()
    assert set(areas["trigger"]) == {"earthquake", "rainfall"}
    columns = ["sensor", "resolution_m", "patch_size", "patches"]
    assert areas.loc["wenchuan", columns].tolist() == ["IKONOS", 0.8, 224, 2603]
    for number in (1, 2, 5):
        names = [name for name in paper.table(number)["study_area"].unique() if name != "Comparison dataset"]
        assert tuple(paper.area_key(name) for name in names) == paper.AREAS
    spellings = ("Kathmandu (Nepal)", "Wenchuan_224", " RIO DE JANEIRO ", "Emília-Romagna")
    assert [paper.area_key(name) for name in spellings] == ["gorkha", "wenchuan", "rio", "emilia_romagna"]
    for key, *names, aliases in areas[["name", "short_name", "aliases"]].itertuples():
        assert {paper.area_key(spelling) for spelling in (key, *names, *aliases.split(";"))} == {key}


@pytest.mark.parametrize("text", ["China", "Taitung_China", "", "224", "Comparison dataset", "四川"])
def test_what_names_no_area_is_refused(text: str) -> None:
    refuses("use one of rio, hokkaido", paper.area_key, text)


def test_tables_equal_the_ones_supplied_with_the_paper() -> None:
    supplied = SHARED.parent / "paper"
    if not supplied.is_dir():
        pytest.skip(f"no folder {supplied.name}/ beside LMHLD_SHARED_DATA: the supplied tables are not here")
    for number, name in paper.TABLES.items():
        ours = pd.read_csv(paper.FOLDER / name, dtype=str)
        pd.testing.assert_frame_equal(ours, pd.read_csv(supplied / name, dtype=str))
        assert paper.table(number).shape == ours.shape
