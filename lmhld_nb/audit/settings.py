"""What follows for the paper's statements on experiments and settings (section 3), and on patch sizes (section 4.1)."""

import math

import pandas as pd

from lmhld_nb import paper
from lmhld_nb.audit import rules
from lmhld_nb.audit.rules import SCORE_TABLES, Finding, Findings, compare, holds_if, published, quoted, unchecked, worst
from lmhld_nb.patches import candidate_sizes


def experiments() -> Findings:
    """Networks, experiments and the orders in which areas are added."""
    models = {n: set(paper.table(n)["model"]) for n in SCORE_TABLES}
    full = [str(n) for n, names in models.items() if names == set(paper.MODELS.values())]
    scores = f"scores of {len(paper.MODELS)} models: Tables {', '.join(full)}, one an experiment"
    networks = ", ".join(f"{len(names)} in Table {n}" for n, names in models.items())
    fixed, moving = [*quoted("first_areas").values, *quoted("last_area").values], quoted("middle_areas").values
    orders, complete = math.factorial(len(moving)), sorted([*fixed, *moving]) == sorted(paper.AREAS)
    follow = f"{len(moving)} areas can follow each other in {orders} orders; with the {len(fixed)} fixed ones they are"
    stages, epochs, stated = len(paper.table(1)), int(quoted("epochs").number), quoted("orders").number
    return {
        "experiments": Finding(scores, "holds" if len(full) == quoted("experiments").number else "cannot be checked"),
        "networks": holds_if({len(names) for names in models.values()} == {int(quoted("models").number)}, networks),
        "orders": holds_if(complete and orders == stated, f"{follow} {'' if complete else 'not '}the seven areas"),
        "other_orders": unchecked(f"{stated:.0f} of {math.factorial(len(paper.AREAS)):,} orders were tried"),
        "one_epoch": unchecked(f"one epoch for each of {stages} data sets makes {stages} epochs, not {epochs}"),
        "unseen": _unseen(),
    }


def _unseen() -> Finding:
    scenes, regions = quoted("scenes_figure_7").values, rules.facts("lies_in")["value"]
    shared = regions[regions.index.isin(scenes) & regions.isin(published(1).index)]
    of_scenes = f"of {len(scenes) + 1} scenes lies in the region of a study area"
    if shared.empty:
        return Finding(f"none {of_scenes}", "holds")
    regions_shown = (f"{scene} ({paper.area_name(area)})" for scene, area in shared.items())
    detail = "the outlines of study area and scene are not published; the images themselves may be new"
    return unchecked(f"{len(shared)} {of_scenes}: {', '.join(regions_shown)}", detail)


_TRIED = {"batch": "batches", "epochs": "epochs"}


def settings() -> Findings:
    """Batch and epochs among those tried (section 3.3)."""
    tried = [(name, quoted(name).values[0], quoted(f"tried_{few}").values) for name, few in _TRIED.items()]
    among = all(value in values for _, value, values in tried)
    edges = ", ".join(name for name, value, values in tried if value in (values[0], values[-1]))
    detail = f"at the edge of what was tried: {edges}" if edges else ""
    return {"tried": holds_if(among, f"{'' if among else 'not '}both are among them", detail)}


def sizes_of_landslides() -> Findings:
    """Quartiles of Wenchuan's landslides, and the patch sizes that follow."""
    lowest, highest = published(1).loc["wenchuan", ["min_area_px", "max_area_px"]]
    quartiles = q1, q2, q3 = quoted("quartile_1").number, quoted("quartile_2").number, quoted("quartile_3").number
    ordered = lowest <= q1 <= q2 <= q3 <= highest
    in_order = f"the quartiles are {'' if ordered else 'not '}in order and within Table 1's range"
    half = quoted("share_below_median").number == 0.5
    pixels = [quartile / quoted("fill").number for quartile in quartiles]
    stated = [float(value) for value in quoted("window_pixels").values]
    verdict = worst(compare(a, b, 0.5) for a, b in zip(stated, pixels, strict=True))
    defaults = [int(size) for size in quoted("default_sizes").values]
    chosen = tuple(map(str, candidate_sizes(quartiles, defaults)))
    nearest = (
        f"sides of {', '.join(f'{count**0.5:.1f}' for count in pixels)}; nearest default sizes {', '.join(chosen)}"
    )
    together, each = "between first and third quartile lie 50%", "above the first quartile lie 75%, below the third 75%"
    return {
        "between/together": _between(together, 0.5),
        "between/each": _between(each, 0.75),
        "median": holds_if(ordered and half, "below the second quartile lie 50%, by definition", in_order),
        "window_pixels": Finding(", ".join(f"{count:,.0f}" for count in pixels), verdict),
        "candidates": holds_if(chosen == quoted("candidates").values, nearest),
    }


def _between(derived: str, share: float) -> Finding:
    quote = quoted("share_between")
    verdict = compare(quote.number, share, quote.half)
    return Finding(f"{derived}, by definition", verdict, f"±{quote.half:.1%}")


def patch_sizes() -> Findings:
    """The three patch sizes tried on Wenchuan (Table 4)."""
    table, size = published(4), int(quoted("best_size").number)
    tried, defaults = sorted(table.index.unique("patch_size")), [int(size) for size in quoted("default_sizes").values]
    start = defaults.index(tried[0]) if tried[0] in defaults else 0
    adjacent = defaults[start : start + len(tried)] == tried
    neighbours = f"{'' if adjacent else 'not '}neighbours in the list of default sizes"
    by_size = {score: table[score].unstack("patch_size").reindex(list(paper.MODELS.values())) for score in rules.SCORES}
    leads = pd.DataFrame({score: by[size] - by.drop(columns=size).max(axis=1) for score, by in by_size.items()})
    best = leads[["precision", "recall"]] > 0
    counts = ", ".join(f"{score} in {count} of {len(best)}" for score, count in best.sum().items())
    both, of_wenchuan = ", ".join(best.index[best.all(axis=1)]) or "none", paper.areas()["patch_size"]["wenchuan"]
    return {
        "candidates_count": holds_if(
            adjacent and len(tried) == quoted("candidates_count").number,
            f"Table 4 tries {', '.join(map(str, tried))}, {neighbours}",
        ),
        "chosen_size": holds_if(of_wenchuan == size, f"{of_wenchuan} in Table 2"),
        "best_size/mean": _best_size("mean", by_size["f1"].mean()),
        "best_size/highest": _best_size("highest", by_size["f1"].max()),
        "best_size/each": rules.all_above(leads["f1"], "models"),
        "misjudgements": holds_if(
            best.sum().min() > 1,
            f"best of the three sizes: {counts} models",
            f"both in {both}",
            "several: at least two",
        ),
    }


def _best_size(summary: str, values: pd.Series) -> Finding:
    """Judge whether a summary of F1 over the models is highest at the chosen size."""
    size = int(quoted("best_size").number)
    verdict = rules.above(values[size] - values.drop(size).max(), rules.ROOM)
    return Finding(f"{summary} F1 {rules.listing(values)}", verdict)


PARTS = (experiments, settings, sizes_of_landslides, patch_sizes)
