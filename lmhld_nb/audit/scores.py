"""What follows for the paper's statements on scores (section 4, Tables 4 to 7)."""

from functools import partial
from typing import Any

import pandas as pd

from lmhld_nb import paper
from lmhld_nb.audit import rules
from lmhld_nb.audit.rules import OF_DIFFERENCE, OF_RANK, ROOM, Finding, above, holds_if, names, published, quoted, worst


def _formula_3() -> Finding:
    rows = pd.concat([rules.f1_rows(n).assign(table=n) for n in rules.SCORE_TABLES], ignore_index=True)
    as_printed = ((rows["f1"] - rows["derived"] / 2).abs() <= ROOM).sum()  # the formula has half the harmonic mean
    as_mean = (rows["verdict"] != "contradicted").sum()
    fits = f"fits {as_printed} of the {len(rows)} rows of Tables 4 to 7"
    derived = f"as printed it {fits}; the harmonic mean, 2PR / (P + R), fits {as_mean}"
    detail = f"as printed it cannot exceed 0.5; the largest F1 in the tables is {rows['f1'].max():.4f}"
    return holds_if(as_printed == len(rows), derived, detail, "rounding of P, R and F1")


def _f1(n: int) -> Finding:
    """Check F1 against precision and recall in every row of a table."""
    rows = rules.f1_rows(n)
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
    return Finding(derived, worst(rows["verdict"]), tolerance, "; ".join(details))


def _marked(n: int, mark: str) -> pd.MultiIndex:
    table = paper.marks()
    table = table[(table["table"] == n) & (table["mark"] == mark)]
    return pd.MultiIndex.from_frame(table[["study_area", "model", "patch_size", "score"]])


def _best(n: int, within: list[str]) -> pd.MultiIndex:
    """Return the cells (study_area, model, patch_size, score) that are the largest of those alike in ``within``."""
    keys: dict[str, Any] = {"study_area": "", "model": "", "patch_size": 0}
    table = paper.table(n)
    table = table.assign(**{name: value for name, value in keys.items() if name not in table})
    cells = table.melt(list(keys), rules.SCORES, "score").set_index([*keys, "score"])["value"]
    best = cells[cells == cells.groupby(level=within).transform("max")]
    return pd.MultiIndex.from_tuples(best.index, names=cells.index.names)


def _named(cells: pd.MultiIndex) -> str:
    texts = []
    for area, model, size, score in cells:
        name = names([paper.area_key(area)]) if area else ""
        texts.append(" ".join(filter(None, (name, model, f"{size} px" if size else "", paper.SCORES[score]))))
    return ", ".join(texts)


_BOLD = {4: ["model", "score"], 5: ["study_area", "score"], 6: ["score"], 7: ["score"]}


def _bold(n: int) -> Finding:
    marked, best = _marked(n, "bold"), _best(n, _BOLD[n])
    wrong, absent = marked.difference(best, sort=False), best.difference(marked, sort=False)
    right = len(marked) - len(wrong)
    derived = f"{right} of {len(marked)} bold values are the largest; {len(absent)} largest are not bold"
    return holds_if(not len(wrong) + len(absent), derived, _named(wrong.union(absent, sort=False)), OF_RANK)


def _table_5_underlined() -> Finding:
    marked = _marked(5, "underline")
    wrong = marked.difference(_best(5, ["model", "score"]), sort=False)
    derived = f"{len(marked) - len(wrong)} of {len(marked)} underlined values are a model's best area"
    return holds_if(not len(wrong), derived, _named(wrong), OF_RANK)


def _table_5_all_underlined() -> Finding:
    best = _best(5, ["model", "score"])
    absent = best.difference(_marked(5, "underline"), sort=False)
    plain = absent.difference(_marked(5, "bold"), sort=False)
    derived = f"{len(best) - len(absent)} of {len(best)} are; of the others {len(absent) - len(plain)} are bold, "
    derived += f"{len(plain)} plain" + (f" ({_named(plain)})" if len(plain) else "")
    detail = "read off the text as supplied, where a cell that is both may have kept its bold alone"
    verdict: rules.Verdict = "contradicted" if len(plain) else "cannot be checked" if len(absent) else "holds"
    return Finding(derived, verdict, OF_RANK, detail)


def _single(score: str) -> pd.DataFrame:
    """Return Table 5's scores, one row per area and one column per model."""
    return published(5)[score].unstack("model").loc[list(paper.AREAS), list(paper.MODELS.values())]


def _led_by(model: str, score: str) -> pd.Index:
    table = _single(score)
    return table.index[table.idxmax(axis=1) == model]


def _leader() -> Finding:
    table, leader = _single("f1"), quoted("leader").values[0]
    means = table.mean().sort_values(ascending=False)
    first: pd.Series[Any] = table.idxmax(axis=1)
    won = first.value_counts()
    others = (f"{paper.area_name(str(area))} {model}" for area, model in first.items() if model != leader)
    derived = f"mean F1 over areas: {rules.listing(means.head(2))}; first in {won.get(leader, 0)} of {len(table)} areas"
    derived += f", others in {won.drop(leader, errors='ignore').max()} at most"
    verdict = above(means[leader] - means.drop(leader).max(), ROOM)
    return Finding(derived, verdict, rules.OF_MEAN, f"in the other areas: {', '.join(others)}")


def _leader_areas() -> Finding:
    won = _led_by(quoted("leader").values[0], "f1")
    same = set(quoted("leader_areas").values) == set(won)
    return holds_if(same, f"first in {names(won)}", "Table 5 calls the area in Nepal Gorkha", OF_RANK)


def _competitive() -> Finding:
    ranks = _single("f1").mean().rank(ascending=False).astype(int).sort_values()
    named = ranks.index.isin(quoted("competitive").values)
    derived = f"ranks by mean F1 over areas: {rules.listing(ranks[named], 'd')} of {len(ranks)}"
    return rules.unchecked(derived, f"the others: {rules.listing(ranks[~named], 'd')}")


def _cautious_precision() -> Finding:
    won = _led_by(quoted("cautious").values[0], "precision")
    derived = f"highest of all models in {len(won)} areas: {names(won)}"
    return holds_if(len(won) == quoted("cautious_areas").number, derived, tolerance=OF_RANK)


def _cautious_recall() -> Finding:
    model = quoted("cautious").values[0]
    won = _led_by(model, "precision")
    recall = _single("recall").loc[won]
    below = _single("precision").loc[won, model] - recall[model]
    lowest = (recall.idxmin(axis=1) == model).sum()
    verdict = worst(["holds" if lowest == len(won) else "contradicted", *(above(value, ROOM) for value in below)])
    derived = f"below its precision in {(below > 0).sum()} of {len(won)} areas, by {below.min():.4f} to "
    derived += f"{below.max():.4f}; the lowest recall of all models in {lowest}"
    return Finding(derived, verdict, OF_DIFFERENCE)


def _easiest_area() -> Finding:
    leader = quoted("leader").values[0]
    there = _single("f1").idxmax() == quoted("easiest_area").values[0]
    others = there.drop(leader)
    derived = f"{others.sum()} of {len(others)} models have their highest F1 there"
    return holds_if(others.all(), derived, f"so has {leader}" if there[leader] else "", OF_RANK)


def _easiest_f1(without: tuple[str, ...]) -> Finding:
    row: Any = _single("f1").loc[quoted("easiest_area").values[0]].drop(list(without))
    return rules.equals("easiest_f1", row.max(), f"{row.max():.4f} ({row.idxmax()})")


def _easiest_stable() -> Finding:
    table, area = _single("f1"), quoted("easiest_area").values[0]
    spread = table.max(axis=1) - table.min(axis=1)
    narrower = spread[spread < spread[area]].sort_values()
    less = f"less in {len(narrower)} of {len(spread) - 1} other areas"
    derived = f"F1 of the models spans {spread[area]:.4f} there; {less}"
    return rules.unchecked(derived, rules.listing(narrower.rename(paper.area_name)))


def _mean(score: str) -> Finding:
    values = published(5)[score]
    derived, detail = f"{values.mean():.6f}", f"mean of {len(values)} printed values"
    # The mean of numbers that are each off by half a unit at most is off by no more.
    return rules.equals(f"mean_{score}", values.mean(), derived, detail, rules.OF_MEAN, rules.HALF)


def _fluctuation() -> Finding:
    values = published(5)["f1"]
    ends: list[Any] = [values.idxmin(), values.idxmax()]
    low, high = (f"{values[end]:.4f} ({end[1]}, {paper.area_name(end[0])})" for end in ends)
    return rules.unchecked(f"F1 lies between {low} and {high}", f"standard deviation {values.std():.4f}")


def _caption(number: int) -> Finding:
    section = str(paper.figures().loc[number, "section"])
    module = {"4.2": "single", "4.3": "mix", "4.4": "part"}[section]
    stated = quoted(f"caption_figure_{number}").values[0]
    return holds_if(stated == module, f"section {section} presents it as a result of LMHLD_{module}")


CHECKS: rules.Checks = rules.by_name(globals()) | {
    **{f"table_{n}_f1": partial(_f1, n) for n in rules.SCORE_TABLES},
    **{f"table_{n}_bold": partial(_bold, n) for n in rules.SCORE_TABLES},
    "easiest_f1/besides": partial(_easiest_f1, ()),
    "easiest_f1/except": lambda: _easiest_f1(without=quoted("leader").values),
    **{f"mean_{score}": partial(_mean, score) for score in rules.SCORES},
    **{f"figure_{number}": partial(_caption, number) for number in (10, 11, 15)},
}
