"""What follows for the paper's statements on experiments and settings (section 3), and on patch sizes (section 4.1)."""

from __future__ import annotations

import math
from itertools import permutations

import pandas as pd

from lmhld_nb import paper, patches
from lmhld_nb.audit.rules import (
    OF_DIFFERENCE,
    OF_MEAN,
    ROOM,
    SCORE_TABLES,
    Finding,
    Verdict,
    above,
    all_above,
    compare,
    derives,
    listing,
    names,
    quoted,
    scores,
    worst,
    yes,
)


@derives("experiments")
def _experiments() -> Finding:
    wanted = set(paper.MODELS.values())
    full = [n for n in SCORE_TABLES if set(paper.table(n)["model"]) == wanted]
    enough = len(full) == quoted("experiments").number
    return Finding(
        f"scores of {len(wanted)} models: Tables {', '.join(map(str, full))}, one an experiment",
        "holds" if enough else "cannot be checked",
        detail="" if enough else "experiment 5 (section 4.5) is described for U-Net alone, without scores",
    )


@derives("networks")
def _networks() -> Finding:
    counts = {n: paper.table(n)["model"].nunique() for n in SCORE_TABLES}
    told = ", ".join(f"{count} in Table {n}" for n, count in counts.items())
    return Finding(told, yes(set(counts.values()) == {int(quoted("models").number)}))


@derives("candidates_count")
def _candidates_count() -> Finding:
    tried = sorted(paper.table(4)["patch_size"].unique())
    defaults = [int(size) for size in quoted("default_sizes").values]
    start = defaults.index(tried[0]) if tried[0] in defaults else 0
    in_a_row = defaults[start : start + len(tried)] == tried
    return Finding(
        f"Table 4 tries {', '.join(map(str, tried))}, "
        + ("neighbours" if in_a_row else "not neighbours")
        + " in the list of default sizes",
        yes(in_a_row and len(tried) == quoted("candidates_count").number),
    )


@derives("orders")
def _orders() -> Finding:
    fixed = [*quoted("first_areas").values, *quoted("last_area").values]
    moving = quoted("middle_areas").values
    count = sum(1 for _ in permutations(moving))
    complete = sorted([*fixed, *moving]) == sorted(paper.AREAS)
    return Finding(
        f"{len(moving)} areas can follow each other in {count} orders; with the {len(fixed)} fixed ones they are "
        + ("the seven areas" if complete else "not the seven areas"),
        yes(complete and count == quoted("orders").number),
    )


@derives("other_orders")
def _other_orders() -> Finding:
    every = math.factorial(len(paper.AREAS))
    return Finding(f"{quoted('orders').number:.0f} of {every:,} orders were tried", "cannot be checked")


@derives("one_epoch")
def _one_epoch() -> Finding:
    stages, epochs = len(paper.table(1)), int(quoted("epochs").number)
    return Finding(
        f"one epoch for each of {stages} data sets makes {stages} epochs, not {epochs}",
        "cannot be checked",
        detail="if 'epoch' in section 3.2 means a stage, both can be true; epochs a stage are not stated",
    )


@derives("unseen")
def _unseen() -> Finding:
    facts = paper.outside()
    inside = facts[(facts["kind"] == "lies_in") & facts["key"].isin(quoted("scenes_figure_7").values)]
    shared = inside[inside["value"].isin([paper.area_key(name) for name in paper.table(1)["study_area"]])]
    scenes = len(quoted("scenes_figure_7").values) + 1
    told = f"none of {scenes} scenes lies in the region of a study area"
    if len(shared):
        told = f"{len(shared)} of {scenes} scenes lies in the region of a study area: " + ", ".join(
            f"{scene} ({names([area])})" for scene, area in zip(shared["key"], shared["value"], strict=True)
        )
    return Finding(
        told,
        "cannot be checked" if len(shared) else "holds",
        detail="the outlines of study area and scene are not published; the images themselves may be new"
        if len(shared)
        else "",
    )


@derives("tried")
def _tried() -> Finding:
    pairs = {"batch": "tried_batches", "epochs": "tried_epochs"}
    among = [quoted(name).values[0] in quoted(listed).values for name, listed in pairs.items()]
    edges = [
        name
        for name, listed in pairs.items()
        if quoted(name).number
        in (max(map(float, quoted(listed).values)), min(map(float, quoted(listed).values)))
    ]
    return Finding(
        "both are among them" if all(among) else "not both are among them",
        yes(all(among)),
        detail=f"at the edge of what was tried: {', '.join(edges)}" if edges else "",
    )


# Section 4.1: patch sizes of Wenchuan ----------------------------------------------------------------------------


def _quartiles() -> tuple[float, float, float]:
    return quoted("quartile_1").number, quoted("quartile_2").number, quoted("quartile_3").number


@derives("between/together")
def _between_together() -> Finding:
    return Finding(
        f"between first and third quartile lie {0.75 - 0.25:.0%}, by definition",
        compare(quoted("share_between").number, 0.75 - 0.25, quoted("share_between").half),
        f"±{quoted('share_between').half:.1%}",
        "section 3.2 calls the three numbers quartiles",
    )


@derives("between/each")
def _between_each() -> Finding:
    return Finding(
        f"above the first quartile lie {1 - 0.25:.0%}, below the third {0.75:.0%}, by definition",
        worst(
            compare(quoted("share_between").number, share, quoted("share_between").half)
            for share in (1 - 0.25, 0.75)
        ),
        f"±{quoted('share_between').half:.1%}",
    )


@derives("median")
def _median() -> Finding:
    table = paper.table(1)
    row = table.iloc[[paper.area_key(name) for name in table["study_area"]].index("wenchuan")]
    q1, q2, q3 = _quartiles()
    ordered = row["min_area_px"] <= q1 <= q2 <= q3 <= row["max_area_px"]
    return Finding(
        f"below the second quartile lie {0.5:.0%}, by definition",
        yes(ordered and quoted("share_below_median").number == 0.5),
        detail=f"the quartiles are {'' if ordered else 'not '}in order and within Table 1's range",
    )


@derives("window_pixels")
def _window_pixels() -> Finding:
    wanted = [quartile / quoted("fill").number for quartile in _quartiles()]
    stated = [float(value) for value in quoted("window_pixels").values]
    return Finding(
        ", ".join(f"{pixels:,.0f}" for pixels in wanted),
        worst(compare(a, b, 0.5) for a, b in zip(stated, wanted, strict=True)),
        "±0.5 px",
    )


@derives("candidates")
def _candidates() -> Finding:
    sides = [(quartile / quoted("fill").number) ** 0.5 for quartile in _quartiles()]
    defaults = [int(size) for size in quoted("default_sizes").values]
    chosen = patches.candidate_sizes(_quartiles(), defaults)
    return Finding(
        f"sides of {', '.join(f'{side:.1f}' for side in sides)}; nearest default sizes {', '.join(map(str, chosen))}",
        yes([str(size) for size in chosen] == list(quoted("candidates").values)),
        detail="the rule (nearest size) is our reading; the text gives the outcome",
    )


def _by_size(score: str) -> pd.DataFrame:
    return scores(4)[score].unstack("patch_size").reindex(list(paper.MODELS.values()))


@derives("best_size/mean")
def _best_size_mean() -> Finding:
    means, size = _by_size("f1").mean(), int(quoted("best_size").number)
    return Finding(f"mean F1 {listing(means)}", above(means[size] - means.drop(size).max(), ROOM), OF_MEAN)


@derives("best_size/highest")
def _best_size_highest() -> Finding:
    largest, size = _by_size("f1").max(), int(quoted("best_size").number)
    return Finding(
        f"highest F1 {listing(largest)}", above(largest[size] - largest.drop(size).max(), ROOM), OF_DIFFERENCE
    )


def _lead(score: str) -> pd.Series:
    """Return each model's score at the chosen size less the best of its other two."""
    table, size = _by_size(score), int(quoted("best_size").number)
    return table[size] - table.drop(columns=size).max(axis=1)


@derives("best_size/each")
def _best_size_each() -> Finding:
    return all_above(_lead("f1"), "models", detail="the text speaks of multiple models")


def _several(count: int) -> Verdict:
    return yes(count > 1)


@derives("misjudgements")
def _misjudgements() -> Finding:
    counts = {score: int((_lead(score) > 0).sum()) for score in ("precision", "recall")}
    both = (_lead("precision") > 0) & (_lead("recall") > 0)
    told = ", ".join(f"{score} in {count} of {len(paper.MODELS)}" for score, count in counts.items())
    return Finding(
        f"best of the three sizes: {told} models",
        yes(min(counts.values()) > 1),
        "several: at least two",
        f"both in {', '.join(both.index[both]) or 'none'}",
    )


@derives("chosen_size")
def _chosen_size() -> Finding:
    size = _sizes()["wenchuan"]
    return Finding(f"{size} in Table 2", yes(size == quoted("best_size").number))


def _sizes() -> dict[str, int]:
    sizes = paper.areas()["patch_size"]
    return {str(area): int(size) for area, size in sizes.items()}
