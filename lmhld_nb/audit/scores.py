"""Findings on the paper's statements about scores, LMHLD_mix and LMHLD_part (section 4, Tables 4 to 7)."""

from typing import Any

import pandas as pd

from lmhld_nb import paper
from lmhld_nb.audit import rules
from lmhld_nb.audit.rules import ROOM, Finding, Findings, above, all_above, equals, holds_if, listing, published, quoted


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
    """Leading networks in Table 5, and the highest F1 there."""
    table, leader = published(5)["f1"].unstack("model"), quoted("leader").values[0]
    means = table.mean().sort_values(ascending=False)
    first = table.idxmax(axis=1).loc[list(paper.AREAS)]
    others = (f"{paper.area_name(str(area))} {model}" for area, model in first.items() if model != leader)
    mean = f"mean F1 over areas: {listing(means.head(2))}; first in {(first == leader).sum()} of {len(table)} areas"
    row: Any = table.loc[quoted("easiest_area").values[0]]
    besides, ahead = row.drop(leader), above(means[leader] - means.drop(leader).max(), ROOM)
    return {
        "leader": Finding(mean, ahead, detail=f"in the other areas: {', '.join(others)}"),
        "easiest_f1/besides": equals("easiest_f1", row.max(), f"{row.max():.4f} ({row.idxmax()})"),
        "easiest_f1/except": equals("easiest_f1", besides.max(), f"{besides.max():.4f} ({besides.idxmax()})"),
    }


def means() -> Findings:
    """Means over all rows of Table 5."""
    detail = f"mean of {len(published(5))} printed values"
    # The mean of numbers that are each off by at most half a unit is off by no more.
    return {
        f"mean_{score}": equals(f"mean_{score}", mean, f"{mean:.6f}", detail, inherited=rules.HALF)
        for score, mean in published(5)[rules.SCORES].mean().items()
    }


def part_minus_mix() -> pd.DataFrame:
    """Return Table 7 minus Table 6: one row per model, one column per score."""
    return (published(7) - published(6))[rules.SCORES].loc[list(paper.MODELS.values())]


def part_minus_single() -> pd.DataFrame:
    """Return Table 7 minus Table 5: rows (area, model) in the paper's order, one column per score."""
    return _minus_single(7, paper.AREAS)


def _minus_single(n: int, areas: tuple[str, ...]) -> pd.DataFrame:
    """Return Table ``n`` minus Table 5 for some areas: rows (area, model), one column per score."""
    single = published(5)[rules.SCORES]
    single = single[single.index.isin(areas, level="area")]
    return published(n)[rules.SCORES].reindex(single.index, level="model") - single


def _named(table: pd.DataFrame | pd.Series) -> dict[str, float]:
    """Return a table's cells by the printed names of their row (and score)."""
    cells: Any = table.stack() if isinstance(table, pd.DataFrame) else table
    printed = paper.areas()["short_name"].to_dict() | dict(paper.SCORES)
    return {" ".join(printed.get(part, part) for part in key): float(value) for key, value in cells.items()}


def mix() -> Findings:
    """LMHLD_mix against single areas (Table 6 minus Table 5), those cut at 128 pixels and those at 224."""
    at_128, at_224 = (_minus_single(6, quoted(f"areas_at_{size}").values) for size in (128, 224))
    by_area = at_224["f1"].unstack("area")[list(quoted("areas_at_224").values)].rename(columns=paper.area_name)
    means = (f"{n} {v.mean():+.4f} (higher for {(v > 0).sum()} of {len(v)})" for n, v in by_area.items())
    verdict = rules.worst(above(mean, ROOM) for mean in by_area.mean())
    return {
        "better_at_128/f1": all_above(_named(at_128["f1"]), "scores"),
        "better_at_128/all": all_above(_named(at_128), "scores"),
        "improved_at_224": Finding(f"F1 on average: {', '.join(means)}", verdict),
    }


def part() -> Findings:
    """LMHLD_part by itself (Table 7): differences between models, and precision above recall."""
    table, best, exception = published(7), quoted("part_best").values[0], quoted("part_exception").values[0]
    f1, gap, order = table["f1"], table["precision"] - table["recall"], quoted("order_f1")
    others, rest = f1.drop(exception), f1.drop([best, exception])
    spread, behind = f1.max() - f1.min(), f1[best] - rest.min()
    larger, within = listing(gap[gap > gap[best]]), rules.at_most(spread, order.number, order.half + ROOM)
    spans = f"F1 of the models in Table 7 spans {spread:.4f}"
    return {
        "f1_difference/models": Finding(spans, within, detail=f"{others.max() - others.min():.4f} without {exception}"),
        "conservative_gap": equals("conservative_gap", gap[best], f"{gap[best]:.4f} (Table 7)", inherited=ROOM),
        "less_conservative": _smaller_gaps(gap, "less_conservative", f"larger still: {larger}"),
        "more_stable/gap": _smaller_gaps(gap, "state_of_the_art"),
        "part_f1_gap": equals("part_f1_gap", behind, f"{behind:.4f} ({rest.idxmin()})", inherited=ROOM),
    }


def _smaller_gaps(gap: pd.Series, models: str, detail: str = "") -> Finding:
    """Judge whether some models' gaps are smaller than that of the model with the best F1."""
    size, model, others = gap.abs(), quoted("part_best").values[0], quoted(models).values
    verdict = rules.worst(above(size[model] - size[name], 2 * ROOM) for name in others)
    return Finding(listing(size[[model, *others]]), verdict, detail=detail)


def part_above_others() -> Findings:
    """LMHLD_part against LMHLD_mix and single areas."""
    gains, single = part_minus_mix(), part_minus_single()
    by_model, by_area = (_named(single.groupby(level=level, sort=False).mean()) for level in ("model", "area"))
    findings = {
        f"part_above_mix/{reading}": Finding(
            f"{paper.SCORES[score]} {of.mean():+.4f}; higher for {(of > 0).sum()} of {len(of)} models",
            above(of.mean(), ROOM),
        )
        for reading, score in {"f1_mean": "f1", "precision": "precision", "recall": "recall"}.items()
        for of in [gains[score]]
    }
    return findings | {
        "part_above_mix/f1_each": all_above(gains["f1"], "models", f"by model: {listing(gains['f1'], '+.4f')}"),
        "part_above_single/models": all_above(by_model, "means"),
        "part_above_single/areas": all_above(by_area, "means"),
        "part_above_single/cells": all_above(_named(single["f1"]), "scores"),
    }


def words() -> Findings:
    """What the text says about untested networks, and the caption of Figure 10 about its results."""
    same = quoted("caption_figure_10").values[0] == "single"
    named = quoted("state_of_the_art").values
    tested = [name for name in named if name in paper.MODELS.values()]
    return {
        "figure_10": holds_if(same, "section 4.2 presents it as a result of LMHLD_single"),
        "state_of_the_art": holds_if(not tested, f"{len(tested)} of these {len(named)} are among the tested networks"),
    }


PARTS = (f1_scores, leading_models, means, mix, part, part_above_others, words)
