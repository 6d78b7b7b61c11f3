"""What follows for the paper's statements on orders and scenes (section 3), and on patch sizes (section 4.1)."""

import math

import pandas as pd

from lmhld_nb import paper
from lmhld_nb.audit import rules
from lmhld_nb.audit.rules import Finding, Findings, holds_if, published, quoted, unchecked
from lmhld_nb.patches import candidate_sizes


def experiments() -> Findings:
    """Orders in which areas are added, epochs, and the scenes of experiment 5."""
    stages, epochs, orders = len(paper.AREAS), int(quoted("epochs").number), int(quoted("orders").number)
    return {
        "other_orders": unchecked(f"{orders} of {math.factorial(stages):,} orders were tried"),
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


def patch_sizes() -> Findings:
    """The candidate sizes of Wenchuan, and the three tried there (Table 4)."""
    quartiles = quoted("quartile_1").number, quoted("quartile_2").number, quoted("quartile_3").number
    sides = ", ".join(f"{(pixels / quoted('fill').number) ** 0.5:.1f}" for pixels in quartiles)
    chosen = tuple(map(str, candidate_sizes(quartiles, [int(size) for size in quoted("default_sizes").values])))
    f1 = published(4)["f1"].unstack("patch_size").reindex(list(paper.MODELS.values()))
    size = int(quoted("best_size").number)
    return {
        "candidates": holds_if(
            chosen == quoted("candidates").values, f"sides of {sides}; nearest default sizes {', '.join(chosen)}"
        ),
        "best_size/mean": _best_size("mean", f1.mean()),
        "best_size/highest": _best_size("highest", f1.max()),
        "best_size/each": rules.all_above(f1[size] - f1.drop(columns=size).max(axis=1), "models"),
    }


def _best_size(summary: str, values: pd.Series) -> Finding:
    """Judge whether a summary of F1 over the models is highest at the chosen size."""
    size = int(quoted("best_size").number)
    verdict = rules.above(values[size] - values.drop(size).max(), rules.ROOM)
    return Finding(f"{summary} F1 {rules.listing(values)}", verdict)


PARTS = (experiments, patch_sizes)
