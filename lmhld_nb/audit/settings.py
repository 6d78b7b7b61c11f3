"""What follows for the paper's statements on experiments and settings (section 3), and on patch sizes (section 4.1)."""

import math

import pandas as pd

from lmhld_nb import paper, patches
from lmhld_nb.audit import rules
from lmhld_nb.audit.rules import SCORE_TABLES, Finding, compare, holds_if, published, quoted, unchecked, worst


def _experiments() -> Finding:
    models = set(paper.MODELS.values())
    full = [n for n in SCORE_TABLES if set(paper.table(n)["model"]) == models]
    derived = f"scores of {len(models)} models: Tables {', '.join(map(str, full))}, one an experiment"
    if len(full) == quoted("experiments").number:
        return Finding(derived, "holds")
    return unchecked(derived, "experiment 5 (section 4.5) is described for U-Net alone, without scores")


def _networks() -> Finding:
    counts = {n: paper.table(n)["model"].nunique() for n in SCORE_TABLES}
    derived = ", ".join(f"{count} in Table {n}" for n, count in counts.items())
    return holds_if(set(counts.values()) == {int(quoted("models").number)}, derived)


def _candidates_count() -> Finding:
    tried = sorted(paper.table(4)["patch_size"].unique())
    defaults = [int(size) for size in quoted("default_sizes").values]
    start = defaults.index(tried[0]) if tried[0] in defaults else 0
    adjacent = defaults[start : start + len(tried)] == tried
    derived = f"Table 4 tries {', '.join(map(str, tried))}, {'' if adjacent else 'not '}neighbours in the list of"
    return holds_if(adjacent and len(tried) == quoted("candidates_count").number, f"{derived} default sizes")


def _orders() -> Finding:
    fixed, moving = [*quoted("first_areas").values, *quoted("last_area").values], quoted("middle_areas").values
    count, complete = math.factorial(len(moving)), sorted([*fixed, *moving]) == sorted(paper.AREAS)
    derived = f"{len(moving)} areas can follow each other in {count} orders; with the {len(fixed)} fixed ones they are"
    derived += f" {'' if complete else 'not '}the seven areas"
    return holds_if(complete and count == quoted("orders").number, derived)


def _one_epoch() -> Finding:
    stages, epochs = len(paper.table(1)), int(quoted("epochs").number)
    detail = "if 'epoch' in section 3.2 means a stage, both can be true; epochs per stage are not stated"
    return unchecked(f"one epoch for each of {stages} data sets makes {stages} epochs, not {epochs}", detail)


def _unseen() -> Finding:
    scenes, regions = quoted("scenes_figure_7").values, rules.facts("lies_in")["value"]
    shared = regions[regions.index.isin(scenes) & regions.isin(published(1).index)]
    of_scenes = f"of {len(scenes) + 1} scenes lies in the region of a study area"
    if shared.empty:
        return Finding(f"none {of_scenes}", "holds")
    regions_shown = (f"{scene} ({paper.area_name(area)})" for scene, area in shared.items())
    detail = "the outlines of study area and scene are not published; the images themselves may be new"
    return unchecked(f"{len(shared)} {of_scenes}: {', '.join(regions_shown)}", detail)


def _tried() -> Finding:
    tried = {"batch": quoted("tried_batches").values, "epochs": quoted("tried_epochs").values}
    among = all(quoted(name).values[0] in values for name, values in tried.items())
    edges = ", ".join(name for name, values in tried.items() if quoted(name).values[0] in (values[0], values[-1]))
    detail = f"at the edge of what was tried: {edges}" if edges else ""
    return holds_if(among, f"{'' if among else 'not '}both are among them", detail)


def _quartiles() -> tuple[float, float, float]:
    return quoted("quartile_1").number, quoted("quartile_2").number, quoted("quartile_3").number


def _between(derived: str, shares: tuple[float, ...], detail: str = "") -> Finding:
    quote = quoted("share_between")
    verdict = worst(compare(quote.number, share, quote.half) for share in shares)
    return Finding(f"{derived}, by definition", verdict, f"±{quote.half:.1%}", detail)


def _median() -> Finding:
    lowest, highest = published(1).loc["wenchuan", ["min_area_px", "max_area_px"]]
    q1, q2, q3 = _quartiles()
    ordered = lowest <= q1 <= q2 <= q3 <= highest
    detail = f"the quartiles are {'' if ordered else 'not '}in order and within Table 1's range"
    half = quoted("share_below_median").number == 0.5
    return holds_if(ordered and half, "below the second quartile lie 50%, by definition", detail)


def _window_pixels() -> Finding:
    pixels = [quartile / quoted("fill").number for quartile in _quartiles()]
    stated = [float(value) for value in quoted("window_pixels").values]
    verdict = worst(compare(a, b, 0.5) for a, b in zip(stated, pixels, strict=True))
    return Finding(", ".join(f"{count:,.0f}" for count in pixels), verdict, "±0.5 px")


def _candidates() -> Finding:
    sides = [(quartile / quoted("fill").number) ** 0.5 for quartile in _quartiles()]
    defaults = [int(size) for size in quoted("default_sizes").values]
    chosen = tuple(str(size) for size in patches.candidate_sizes(_quartiles(), defaults))
    derived = f"sides of {', '.join(f'{side:.1f}' for side in sides)}; nearest default sizes {', '.join(chosen)}"
    detail = "the rule (nearest size) is our reading; the text gives the outcome"
    return holds_if(chosen == quoted("candidates").values, derived, detail)


def _by_size(score: str) -> pd.DataFrame:
    return published(4)[score].unstack("patch_size").reindex(list(paper.MODELS.values()))


def _best_size(summary: str, values: pd.Series, tolerance: str) -> Finding:
    """Judge whether a summary of F1 over the models is highest at the chosen size."""
    size = int(quoted("best_size").number)
    verdict = rules.above(values[size] - values.drop(size).max(), rules.ROOM)
    return Finding(f"{summary} F1 {rules.listing(values)}", verdict, tolerance)


def _lead(score: str) -> pd.Series:
    """Return each model's score at the chosen size minus the best of its other two."""
    table, size = _by_size(score), int(quoted("best_size").number)
    return table[size] - table.drop(columns=size).max(axis=1)


def _misjudgements() -> Finding:
    best = pd.DataFrame({score: _lead(score) > 0 for score in ("precision", "recall")})
    counts = best.sum()
    derived = ", ".join(f"{score} in {count} of {len(paper.MODELS)}" for score, count in counts.items())
    derived, both = f"best of the three sizes: {derived} models", ", ".join(best.index[best.all(axis=1)])
    return holds_if(counts.min() > 1, derived, f"both in {both or 'none'}", "several: at least two")


_AS_NAMED = "section 3.2 calls the three numbers quartiles"
CHECKS: rules.Checks = rules.by_name(globals()) | {
    "other_orders": lambda: unchecked(
        f"{quoted('orders').number:.0f} of {math.factorial(len(paper.AREAS)):,} orders were tried"
    ),
    "chosen_size": lambda: holds_if(
        (size := paper.areas()["patch_size"]["wenchuan"]) == quoted("best_size").number, f"{size} in Table 2"
    ),
    "between/together": lambda: _between("between first and third quartile lie 50%", (0.5,), _AS_NAMED),
    "between/each": lambda: _between("above the first quartile lie 75%, below the third 75%", (0.75, 0.75)),
    "best_size/mean": lambda: _best_size("mean", _by_size("f1").mean(), rules.OF_MEAN),
    "best_size/highest": lambda: _best_size("highest", _by_size("f1").max(), rules.OF_DIFFERENCE),
    "best_size/each": lambda: rules.all_above(_lead("f1"), "models", "the text speaks of multiple models"),
}
