"""What follows for the paper's statements on scores (section 4, Tables 4 to 7)."""

from typing import Any

import pandas as pd

from lmhld_nb import paper
from lmhld_nb.audit import rules
from lmhld_nb.audit.rules import ROOM, Finding, Findings, above, holds_if, listing, published, quoted


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


def leading_models() -> Findings:
    """Who is ahead in Table 5, and the highest F1 there."""
    table, leader = published(5)["f1"].unstack("model"), quoted("leader").values[0]
    means = table.mean().sort_values(ascending=False)
    first = table.idxmax(axis=1).loc[list(paper.AREAS)]
    others = (f"{paper.area_name(str(area))} {model}" for area, model in first.items() if model != leader)
    mean = f"mean F1 over areas: {listing(means.head(2))}; first in {(first == leader).sum()} of {len(table)} areas"
    row: Any = table.loc[quoted("easiest_area").values[0]]
    besides = row.drop(leader)
    return {
        "leader": Finding(
            mean,
            above(means[leader] - means.drop(leader).max(), ROOM),
            detail=f"in the other areas: {', '.join(others)}",
        ),
        "easiest_f1/besides": rules.equals("easiest_f1", row.max(), f"{row.max():.4f} ({row.idxmax()})"),
        "easiest_f1/except": rules.equals("easiest_f1", besides.max(), f"{besides.max():.4f} ({besides.idxmax()})"),
    }


def means() -> Findings:
    """Means over all rows of Table 5."""
    detail = f"mean of {len(published(5))} printed values"
    # The mean of numbers that are each off by half a unit at most is off by no more.
    return {
        f"mean_{score}": rules.equals(f"mean_{score}", mean, f"{mean:.6f}", detail, inherited=rules.HALF)
        for score, mean in published(5)[rules.SCORES].mean().items()
    }


def captions() -> Findings:
    """What the caption of Figure 10 calls the results of section 4.2."""
    same = quoted("caption_figure_10").values[0] == "single"
    return {"figure_10": holds_if(same, "section 4.2 presents it as a result of LMHLD_single")}


PARTS = (f1_scores, leading_models, means, captions)
