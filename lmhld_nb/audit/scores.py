"""What follows for the paper's statements on scores (section 4, Tables 4 to 7)."""

from typing import Any

import pandas as pd

from lmhld_nb import paper
from lmhld_nb.audit import rules
from lmhld_nb.audit.rules import ROOM, Finding, Findings, above, holds_if, listing, names, published, quoted, unchecked


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


def marks() -> Findings:
    """Bold and underlined values against the largest (Tables 4 to 7)."""
    within = {4: ["model", "score"], 5: ["study_area", "score"], 6: ["score"], 7: ["score"]}
    findings = {}
    for n, keys in within.items():
        marked, best = _marked(n, "bold"), _best(n, keys)
        wrong, absent = marked.difference(best, sort=False), best.difference(marked, sort=False)
        derived = f"{len(marked) - len(wrong)} of {len(marked)} bold values are the largest"
        derived += f"; {len(absent)} largest are not bold"
        exceptions = _named(wrong.union(absent, sort=False))
        findings[f"table_{n}_bold"] = holds_if(not len(wrong) + len(absent), derived, exceptions)
    marked, best = _marked(5, "underline"), _best(5, ["model", "score"])
    wrong, absent = marked.difference(best, sort=False), best.difference(marked, sort=False)
    plain = absent.difference(_marked(5, "bold"), sort=False)
    derived = f"{len(best) - len(absent)} of {len(best)} are; of the others {len(absent) - len(plain)} are bold, "
    derived += f"{len(plain)} plain" + (f" ({_named(plain)})" if len(plain) else "")
    verdict: rules.Verdict = "contradicted" if len(plain) else "cannot be checked" if len(absent) else "holds"
    right = f"{len(marked) - len(wrong)} of {len(marked)} underlined values are a model's best area"
    return findings | {
        "table_5_underlined": holds_if(not len(wrong), right, _named(wrong)),
        "table_5_all_underlined": Finding(derived, verdict),
    }


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


def _single(score: str) -> pd.DataFrame:
    """Return Table 5's scores, one row per area and one column per model."""
    return published(5)[score].unstack("model").loc[list(paper.AREAS), list(paper.MODELS.values())]


def leading_models() -> Findings:
    """Who is ahead in Table 5, and the model that is cautious."""
    table, leader, cautious = _single("f1"), quoted("leader").values[0], quoted("cautious").values[0]
    means = table.mean().sort_values(ascending=False)
    first: pd.Series[Any] = table.idxmax(axis=1)
    won = first.value_counts()
    others = (f"{paper.area_name(str(area))} {model}" for area, model in first.items() if model != leader)
    mean = f"mean F1 over areas: {listing(means.head(2))}; first in {won.get(leader, 0)} of {len(table)} areas"
    mean += f", others in {won.drop(leader, errors='ignore').max()} at most"
    ahead = above(means[leader] - means.drop(leader).max(), ROOM)
    led = table.index[first == leader]
    ranks = means.rank(ascending=False).astype(int).sort_values()
    named = ranks.index.isin(quoted("competitive").values)
    precision, recall = _single("precision"), _single("recall")
    precise = precision.index[precision.idxmax(axis=1) == cautious]
    below = (precision - recall).loc[precise, cautious]
    lowest = (recall.loc[precise].idxmin(axis=1) == cautious).sum()
    lower = f"below its precision in {(below > 0).sum()} of {len(precise)} areas, by {below.min():.4f} to "
    lower += f"{below.max():.4f}; the lowest recall of all models in {lowest}"
    verdicts = ["holds" if lowest == len(precise) else "contradicted", *(above(value, ROOM) for value in below)]
    return {
        "leader": Finding(mean, ahead, detail=f"in the other areas: {', '.join(others)}"),
        "leader_areas": holds_if(set(quoted("leader_areas").values) == set(led), f"first in {names(led)}"),
        "competitive": unchecked(
            f"ranks by mean F1 over areas: {listing(ranks[named], 'd')} of {len(ranks)}",
            f"the others: {listing(ranks[~named], 'd')}",
        ),
        "cautious_precision": holds_if(
            len(precise) == quoted("cautious_areas").number,
            f"highest of all models in {len(precise)} areas: {names(precise)}",
        ),
        "cautious_recall": Finding(lower, rules.worst(verdicts)),
    }


def easiest_area() -> Findings:
    """The area with the highest scores in Table 5."""
    table, leader, area = _single("f1"), quoted("leader").values[0], quoted("easiest_area").values[0]
    there: Any = table.idxmax() == area
    row: Any = table.loc[area]
    others, besides = there.drop(leader), row.drop(list(quoted("leader").values))
    spread = table.max(axis=1) - table.min(axis=1)
    narrower = spread[spread < spread[area]].sort_values()
    stable = (
        f"F1 of the models spans {spread[area]:.4f} there; less in {len(narrower)} of {len(spread) - 1} other areas"
    )
    return {
        "easiest_area": holds_if(
            others.all(),
            f"{others.sum()} of {len(others)} models have their highest F1 there",
            f"so has {leader}" if there[leader] else "",
        ),
        "easiest_f1/besides": rules.equals("easiest_f1", row.max(), f"{row.max():.4f} ({row.idxmax()})"),
        "easiest_f1/except": rules.equals("easiest_f1", besides.max(), f"{besides.max():.4f} ({besides.idxmax()})"),
        "easiest_stable": unchecked(stable, listing(narrower.rename(paper.area_name))),
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
    """What captions call the results that a section presents."""
    findings, modules = {}, {"4.2": "single", "4.3": "mix", "4.4": "part"}
    for number, section in paper.figures()["section"].loc[[10, 11, 15]].items():
        same = quoted(f"caption_figure_{number}").values[0] == modules[section]
        findings[f"figure_{number}"] = holds_if(
            same, f"section {section} presents it as a result of LMHLD_{modules[section]}"
        )
    return findings


PARTS = (f1_scores, marks, leading_models, easiest_area, means, captions)
