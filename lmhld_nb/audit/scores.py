"""What follows for the paper's statements on scores (section 4, Tables 4 to 7)."""

from typing import Any

import pandas as pd

from lmhld_nb import paper
from lmhld_nb.audit import rules
from lmhld_nb.audit.rules import ROOM, Finding, Findings, above, holds_if, listing, published, quoted, unchecked


def f1_scores() -> Findings:
    """F1 against precision and recall, in every row of Tables 4 to 7."""
    tables = {n: rules.f1_rows(n) for n in rules.SCORE_TABLES}
    rows = pd.concat(tables)
    as_printed = ((rows["f1"] - rows["derived"] / 2).abs() <= ROOM).sum()  # the formula has half the harmonic mean
    as_mean = (rows["verdict"] != "contradicted").sum()
    fits = f"fits {as_printed} of the {len(rows)} rows of Tables 4 to 7"
    return {f"table_{n}_f1": _f1(n, table) for n, table in tables.items()} | {
        "formula_3": holds_if(
            as_printed == len(rows),
            f"as printed it {fits}; the harmonic mean, 2PR / (P + R), fits {as_mean}",
            f"as printed it cannot exceed 0.5; the largest F1 in the tables is {rows['f1'].max():.4f}",
        )
    }


def _f1(n: int, rows: pd.DataFrame) -> Finding:
    counts = rows["verdict"].value_counts()
    derived = f"{counts.get('holds', 0)} of {len(rows)} rows as printed, {counts.get('rounding', 0)} within tolerance"
    if counts.get("contradicted", 0):
        derived += f", {counts['contradicted']} not"
    details = []
    row: Any
    for row in rows[rows["verdict"] == "contradicted"].itertuples():
        p, r = (row.f1 * other / (2 * other - row.f1) for other in (row.recall, row.precision))  # that would give F1
        details.append(
            f"{row.model}: F1 {row.f1:.4f}; from P {row.precision:.4f} and R {row.recall:.4f} follows "
            f"{row.derived:.4f}. The printed F1 would fit P {p:.4f} or R {r:.4f}"
        )
    tolerance = "rounding of P, R and F1 (±0.0001)"
    if n == rules.TABLE_OF_MEANS:
        tolerance += "; a mean F1 may lie lower"
        least = rows.sort_values("difference", key=abs).iloc[-1]
        furthest = f"{least['model']}, {least['difference']:+.4f} where {least['low']:+.4f} can happen"
        details.append(f"means over {quoted('orders')} orders need not fit: furthest off is {furthest}")
    return Finding(derived, rules.worst(rows["verdict"]), tolerance, "; ".join(details))


def _single(score: str) -> pd.DataFrame:
    """Return Table 5's scores, one row per area and one column per model."""
    return published(5)[score].unstack("model").loc[list(paper.AREAS), list(paper.MODELS.values())]


def leading_models() -> Findings:
    """Who is ahead in Table 5."""
    table, leader = _single("f1"), quoted("leader").values[0]
    means = table.mean().sort_values(ascending=False)
    first: pd.Series[Any] = table.idxmax(axis=1)
    led = table.index[first == leader]
    others = (f"{paper.area_name(str(area))} {model}" for area, model in first.items() if model != leader)
    mean = f"mean F1 over areas: {listing(means.head(2))}; first in {len(led)} of {len(table)} areas"
    ahead = above(means[leader] - means.drop(leader).max(), ROOM)
    ranks = means.rank(ascending=False).astype(int).sort_values()
    named = ranks.index.isin(quoted("competitive").values)
    return {
        "leader": Finding(mean, ahead, detail=f"in the other areas: {', '.join(others)}"),
        "leader_areas": holds_if(
            set(quoted("leader_areas").values) == set(led), f"first in {', '.join(map(paper.area_name, led))}"
        ),
        "competitive": unchecked(
            f"ranks by mean F1 over areas: {listing(ranks[named], 'd')} of {len(ranks)}",
            f"the others: {listing(ranks[~named], 'd')}",
        ),
    }


def easiest_area() -> Findings:
    """The area with the highest scores in Table 5."""
    table, leader, area = _single("f1"), quoted("leader").values[0], quoted("easiest_area").values[0]
    others: Any = table.idxmax().drop(leader) == area
    row: Any = table.loc[area]
    besides = row.drop(leader)
    spread = table.max(axis=1) - table.min(axis=1)
    narrower = (spread < spread[area]).sum()
    stable = f"F1 of the models spans {spread[area]:.4f} there; less in {narrower} of {len(spread) - 1} other areas"
    return {
        "easiest_area": holds_if(others.all(), f"{others.sum()} of {len(others)} models have their highest F1 there"),
        "easiest_f1/besides": rules.equals("easiest_f1", row.max(), f"{row.max():.4f} ({row.idxmax()})"),
        "easiest_f1/except": rules.equals("easiest_f1", besides.max(), f"{besides.max():.4f} ({besides.idxmax()})"),
        "easiest_stable": unchecked(stable),
    }


def means() -> Findings:
    """Means over all rows of Table 5, and how far F1 varies."""
    table = published(5)
    f1 = table["f1"]
    ends: list[Any] = [f1.idxmin(), f1.idxmax()]
    low, high = (f"{f1[end]:.4f} ({end[1]}, {paper.area_name(end[0])})" for end in ends)
    detail = f"mean of {len(table)} printed values"
    # The mean of numbers that are each off by half a unit at most is off by no more.
    findings = {
        f"mean_{score}": rules.equals(f"mean_{score}", mean, f"{mean:.6f}", detail, inherited=rules.HALF)
        for score, mean in table[rules.SCORES].mean().items()
    }
    spread = unchecked(f"F1 lies between {low} and {high}", f"standard deviation {f1.std():.4f}")
    return findings | {"fluctuation": spread}


def captions() -> Findings:
    """What the caption of Figure 10 calls the results that its section presents."""
    section = str(paper.figures()["section"][10])
    module = {"4.2": "single", "4.3": "mix", "4.4": "part"}[section]
    same = quoted("caption_figure_10").values[0] == module
    return {"figure_10": holds_if(same, f"section {section} presents it as a result of LMHLD_{module}")}


PARTS = (f1_scores, leading_models, easiest_area, means, captions)
