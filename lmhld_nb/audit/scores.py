"""What follows for the paper's statements on scores (section 4, Tables 4 to 7)."""

from __future__ import annotations

from typing import Any

import pandas as pd

from lmhld_nb import paper
from lmhld_nb.audit.rules import (
    HALF,
    MEANS,
    OF_DIFFERENCE,
    OF_MEAN,
    OF_RANK,
    ROOM,
    SCORE_NAMES,
    SCORE_TABLES,
    SCORES,
    Finding,
    Verdict,
    above,
    compare,
    derives,
    f1_rows,
    listing,
    names,
    quoted,
    records,
    scores,
    worst,
    yes,
)

# Every table: F1, bold and underlined cells ----------------------------------------------------------------------


@derives("formula_3")
def _formula_3() -> Finding:
    rows = pd.concat([f1_rows(n).assign(table=n) for n in SCORE_TABLES], ignore_index=True)
    half = rows["derived"] / 2  # the formula as printed
    as_printed = int(((rows["f1"] - half).abs() <= ROOM).sum())
    as_mean = int((rows["verdict"] != "contradicted").sum())
    return Finding(
        f"as printed it fits {as_printed} of the {len(rows)} rows of Tables 4 to 7; the harmonic mean, 2PR / (P + R), "
        f"fits {as_mean}",
        yes(as_printed == len(rows)),
        "rounding of P, R and F1",
        f"as printed it cannot exceed 0.5; the largest F1 in the tables is {rows['f1'].max():.4f}",
        records(rows[["table", "model", "precision", "recall", "f1", "derived"]]),
    )


def _f1(n: int) -> Finding:
    """Check F1 against precision and recall in every row of a table."""
    rows = f1_rows(n)
    counts = rows["verdict"].value_counts()
    told = f"{counts.get('holds', 0)} of {len(rows)} rows as printed, {counts.get('rounding', 0)} within tolerance"
    if counts.get("contradicted", 0):
        told += f", {counts['contradicted']} not"
    details = []
    row: Any
    for row in rows[rows["verdict"] == "contradicted"].itertuples():
        # The precision or the recall that would give the printed F1 with the other one.
        p = row.f1 * row.recall / (2 * row.recall - row.f1)
        r = row.f1 * row.precision / (2 * row.precision - row.f1)
        details.append(
            f"{row.model}: F1 {row.f1:.4f}; from P {row.precision:.4f} and R {row.recall:.4f} follows "
            f"{row.derived:.4f}. The printed F1 would fit P {p:.4f} or R {r:.4f}"
        )
    if n in MEANS:
        least = rows.sort_values("difference", key=abs).iloc[-1]
        details.append(
            f"means over {quoted('orders')} orders need not fit: furthest off is {least['model']}, "
            f"{least['difference']:+.4f} where {least['low']:+.4f} can happen"
        )
    tolerance = "rounding of P, R and F1 (±0.0001)"
    if n in MEANS:
        tolerance += "; a mean F1 may lie lower"
    return Finding(told, worst(rows["verdict"]), tolerance, "; ".join(details), records(rows))


for _n in SCORE_TABLES:
    derives(f"table_{_n}_f1")(lambda n=_n: _f1(n))


def _cells(n: int) -> pd.Series:
    """Return the scores of a table as one series by (study_area, model, patch_size, score)."""
    table = paper.table(n)
    defaults: dict[str, Any] = {"study_area": "", "patch_size": 0}
    table = table.assign(**{name: value for name, value in defaults.items() if name not in table})
    keys = ["study_area", "model", "patch_size"]
    return table.melt(keys, SCORES, "score").set_index([*keys, "score"])["value"]


def _marked(n: int, mark: str) -> pd.MultiIndex:
    table = paper.marks()
    table = table[(table["table"] == n) & (table["mark"] == mark)]
    return pd.MultiIndex.from_frame(table[["study_area", "model", "patch_size", "score"]])


def _best(n: int, within: list[str]) -> pd.MultiIndex:
    """Return the cells that are the largest of those that agree in ``within``."""
    cells = _cells(n)
    best = cells[cells == cells.groupby(level=within).transform("max")]
    return pd.MultiIndex.from_tuples(best.index, names=cells.index.names)


def _named(cells: pd.MultiIndex) -> str:
    return ", ".join(
        " ".join(
            [
                *([names([paper.area_key(area)])] if area else []),
                model,
                *([f"{size} px"] if size else []),
                SCORE_NAMES[score],
            ]
        )
        for area, model, size, score in cells
    )


_BOLD = {4: ["model", "score"], 5: ["study_area", "score"], 6: ["score"], 7: ["score"]}


def _bold(n: int) -> Finding:
    marked, best = _marked(n, "bold"), _best(n, _BOLD[n])
    wrong, absent = marked.difference(best, sort=False), best.difference(marked, sort=False)
    right = len(marked) - len(wrong)
    told = f"{right} of {len(marked)} bold values are the largest; {len(absent)} largest are not bold"
    return Finding(
        told, yes(not len(wrong) and not len(absent)), OF_RANK, _named(wrong.union(absent, sort=False))
    )


for _n in SCORE_TABLES:
    derives(f"table_{_n}_bold")(lambda n=_n: _bold(n))


@derives("table_5_underlined")
def _underlined() -> Finding:
    marked, best = _marked(5, "underline"), _best(5, ["model", "score"])
    wrong = marked.difference(best, sort=False)
    return Finding(
        f"{len(marked) - len(wrong)} of {len(marked)} underlined values are a model's best area",
        yes(not len(wrong)),
        OF_RANK,
        _named(wrong),
    )


@derives("table_5_all_underlined")
def _all_underlined() -> Finding:
    best = _best(5, ["model", "score"])
    absent = best.difference(_marked(5, "underline"), sort=False)
    plain = absent.difference(_marked(5, "bold"), sort=False)
    verdict: Verdict = "contradicted" if len(plain) else "cannot be checked" if len(absent) else "holds"
    return Finding(
        f"{len(best) - len(absent)} of {len(best)} are; of the others {len(absent) - len(plain)} are bold, "
        f"{len(plain)} plain" + (f" ({_named(plain)})" if len(plain) else ""),
        verdict,
        OF_RANK,
        "read off the text as supplied, where a cell that is both may have kept its bold alone",
    )


# Section 4.2: areas alone ----------------------------------------------------------------------------------------


def _single(score: str) -> pd.DataFrame:
    """Return Table 5's scores, a row an area, a column a model."""
    table = scores(5)[score].unstack("model")
    return table.loc[list(paper.AREAS), list(paper.MODELS.values())]


@derives("leader")
def _leader() -> Finding:
    table, leader = _single("f1"), quoted("leader").values[0]
    means = table.mean().sort_values(ascending=False)
    first: pd.Series[Any] = table.idxmax(axis=1)
    won = first.value_counts()
    return Finding(
        f"mean F1 over areas: {listing(means.head(2))}; first in {won.get(leader, 0)} of {len(table)} areas, "
        f"others in {won.drop(leader, errors='ignore').max()} at most",
        above(means[leader] - means.drop(leader).max(), ROOM),
        OF_MEAN,
        "in the other areas: "
        + ", ".join(f"{names([area])} {model}" for area, model in first.items() if model != leader),
    )


@derives("leader_areas")
def _leader_areas() -> Finding:
    table, leader = _single("f1"), quoted("leader").values[0]
    won = table.index[table.idxmax(axis=1) == leader]
    stated = quoted("leader_areas").values
    return Finding(
        f"first in {names(won)}",
        yes(set(stated) == set(won)),
        OF_RANK,
        "Table 5 calls the area in Nepal Gorkha",
    )


@derives("competitive")
def _competitive() -> Finding:
    ranks = _single("f1").mean().rank(ascending=False).astype(int)
    named = ranks[list(quoted("competitive").values)]
    told, others = (
        ", ".join(f"{name} {rank}" for name, rank in part.sort_values().items())
        for part in (named, ranks.drop(named.index))
    )
    return Finding(
        f"ranks by mean F1 over areas: {told} of {len(ranks)}",
        "cannot be checked",
        detail=f"the others: {others}",
    )


@derives("cautious_precision")
def _cautious_precision() -> Finding:
    table, model = _single("precision"), quoted("cautious").values[0]
    won = table.index[table.idxmax(axis=1) == model]
    return Finding(
        f"highest of all models in {len(won)} areas: {names(won)}",
        yes(len(won) == quoted("cautious_areas").number),
        OF_RANK,
    )


@derives("cautious_recall")
def _cautious_recall() -> Finding:
    table, recall, model = _single("precision"), _single("recall"), quoted("cautious").values[0]
    won = table.index[table.idxmax(axis=1) == model]
    below = table.loc[won, model] - recall.loc[won, model]
    lowest = int((recall.loc[won].idxmin(axis=1) == model).sum())
    return Finding(
        f"below its precision in {(below > 0).sum()} of {len(won)} areas, by {below.min():.4f} to {below.max():.4f}; "
        f"the lowest recall of all models in {lowest}",
        worst([*(above(value, ROOM) for value in below), yes(lowest == len(won))]),
        OF_DIFFERENCE,
    )


@derives("easiest_area")
def _easiest_area() -> Finding:
    table, area, leader = _single("f1"), quoted("easiest_area").values[0], quoted("leader").values[0]
    best = table.idxmax()
    there = best[best == area].index
    others = [model for model in best.index if model != leader]
    count = sum(model in there for model in others)
    return Finding(
        f"{count} of {len(others)} models have their highest F1 there",
        yes(count == len(others)),
        OF_RANK,
        f"so has {leader}" if leader in there else "",
    )


@derives("easiest_f1/besides")
def _easiest_besides() -> Finding:
    return _easiest(without=())


@derives("easiest_f1/except")
def _easiest_except() -> Finding:
    return _easiest(without=quoted("leader").values)


def _easiest(without: tuple[str, ...]) -> Finding:
    row = _single("f1").T[quoted("easiest_area").values[0]].drop(list(without))
    quote = quoted("easiest_f1")
    return Finding(
        f"{row.max():.4f} ({row.idxmax()})",
        compare(quote.number, float(row.max()), quote.half),
        f"±{quote.half:g}",
    )


@derives("easiest_stable")
def _easiest_stable() -> Finding:
    table, area = _single("f1"), quoted("easiest_area").values[0]
    spread = table.max(axis=1) - table.min(axis=1)
    narrower = spread[spread < spread[area]].sort_values()
    return Finding(
        f"F1 of the models spans {spread[area]:.4f} there; less in {len(narrower)} of {len(spread) - 1} other areas",
        "cannot be checked",
        detail=", ".join(f"{names([name])} {value:.4f}" for name, value in narrower.items()),
    )


def _mean(score: str) -> Finding:
    quote, values = quoted(f"mean_{score}"), scores(5)[score]
    return Finding(
        f"{values.mean():.6f}",
        # The mean of numbers that are each off by half a unit at most is off by no more.
        compare(quote.number, values.mean(), quote.half, HALF),
        OF_MEAN,
        f"mean of {len(values)} printed values",
    )


for _score in SCORES:
    derives(f"mean_{_score}")(lambda score=_score: _mean(score))


@derives("fluctuation")
def _fluctuation() -> Finding:
    values = scores(5)["f1"]
    ends: list[Any] = [values.idxmin(), values.idxmax()]
    low, high = (f"{values[end]:.4f} ({end[1]}, {names([end[0]])})" for end in ends)
    return Finding(
        f"F1 lies between {low} and {high}",
        "cannot be checked",
        detail=f"standard deviation {values.std():.4f}",
    )


_MODULES = {"4.2": "single", "4.3": "mix", "4.4": "part"}


def _caption(number: int) -> Finding:
    section = str(paper.figures().loc[number, "section"])
    return Finding(
        f"section {section} presents it as a result of LMHLD_{_MODULES[section]}",
        yes(quoted(f"caption_figure_{number}").values[0] == _MODULES[section]),
    )


for _number in (10, 11, 15):
    derives(f"figure_{_number}")(lambda number=_number: _caption(number))
