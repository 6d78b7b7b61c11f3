"""What follows for the paper's statements on LMHLD_mix and LMHLD_part (sections 4.3 to 4.5)."""

from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd

from lmhld_nb import paper
from lmhld_nb.audit import rules
from lmhld_nb.audit.rules import OF_DIFFERENCE, ROOM, Finding, above, all_above, equals, holds_if, published, quoted

_OTHER_TESTS = "the two are tested on different patches"


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
    """Return a table's cells by what their row (and score) are called in print."""
    cells: Any = table.stack() if isinstance(table, pd.DataFrame) else table
    printed = paper.areas()["short_name"].to_dict() | dict(paper.SCORES)
    return {" ".join(printed.get(part, part) for part in key): float(value) for key, value in cells.items()}


def _cut_at(areas: str, size: str) -> Finding:
    sizes = paper.areas().loc[list(quoted(areas).values), "patch_size"]
    same = (sizes == quoted(size).number).all()
    return holds_if(same, "Table 2: " + rules.listing(sizes.rename(paper.area_name), "d"))


def _mix_gains(size: int) -> pd.DataFrame:
    """Return Table 6 minus Table 5 for the areas that Table 2 cuts at a size."""
    return _minus_single(6, quoted(f"areas_at_{size}").values)


def _improved_at_224() -> Finding:
    gains = _mix_gains(224)["f1"].unstack("area")[list(quoted("areas_at_224").values)]
    by_area = {paper.area_name(str(area)): values for area, values in gains.items()}
    derived = ", ".join(f"{n} {v.mean():+.4f} (higher for {(v > 0).sum()} of {len(v)})" for n, v in by_area.items())
    verdict = rules.worst(above(mean, ROOM) for mean in gains.mean())
    return Finding(f"F1 on average: {derived}", verdict, OF_DIFFERENCE, _OTHER_TESTS)


def _declined_at_224() -> Finding:
    gains = _mix_gains(224)
    counts, f1 = (gains < -ROOM).sum(), pd.Series(_named(gains["f1"]))
    derived = f"lower scores among {len(gains)}: {rules.listing(counts.rename(paper.SCORES), 'd')}"
    lower = rules.listing(f1[f1 < -ROOM], "+.4f")
    return holds_if(counts.sum() > 0, derived, f"F1: {lower}" if lower else "", OF_DIFFERENCE)


def _slight_at_224() -> Finding:
    gains, least = _mix_gains(224)["f1"], _mix_gains(128)["f1"].min()
    detail = f"{(gains >= least).sum()} of {len(gains)} are no smaller than the smallest at 128 pixels ({least:+.4f})"
    return rules.unchecked(f"gains of F1 reach from {gains.min():+.4f} to {gains.max():+.4f}", detail)


def _f1_between_models() -> Finding:
    f1, quote = published(7)["f1"], quoted("order_f1")
    spread, without = f1.max() - f1.min(), f1.drop(list(quoted("part_exception").values))
    verdict = rules.at_most(spread, quote.number, quote.half + ROOM)
    detail = f"{without.max() - without.min():.4f} without {quoted('part_exception')}"
    return Finding(f"F1 of the models in Table 7 spans {spread:.4f}", verdict, OF_DIFFERENCE, detail)


def _part_best() -> Finding:
    f1 = published(7)["f1"]
    finding = equals("part_best_f1", f1.max(), f"{f1.max():.4f}, of {f1.idxmax()}")
    return finding if f1.idxmax() == quoted("part_best").values[0] else replace(finding, verdict="contradicted")


def _part_exception() -> Finding:
    f1, exception = published(7)["f1"], quoted("part_exception").values[0]
    others = f1.drop(exception)
    derived = f"{exception} {f1[exception]:.4f}, the others {others.min():.4f} to {others.max():.4f}"
    return Finding(derived, above(others.min() - f1[exception], ROOM), "the exception is the lowest")


def _above_mix(score: str) -> Finding:
    gains = part_minus_mix()[score]
    derived = f"{paper.SCORES[score]} {gains.mean():+.4f}; higher for {(gains > 0).sum()} of {len(gains)} models"
    return Finding(derived, above(gains.mean(), ROOM), OF_DIFFERENCE, _OTHER_TESTS)


def _above_mix_each() -> Finding:
    gains = part_minus_mix()["f1"]
    return all_above(gains, "models", f"{_OTHER_TESTS}; by model: {rules.listing(gains, '+.4f')}")


def _above_single(level: str, detail: str) -> Finding:
    means = part_minus_single().groupby(level=level, sort=False).mean()
    return all_above(_named(means), "means", detail)


def _gap() -> pd.Series:
    return published(7)["precision"] - published(7)["recall"]


def _conservative_gap() -> Finding:
    gap = _gap()[quoted("part_best").values[0]]
    return equals("conservative_gap", gap, f"{gap:.4f} (Table 7)", tolerance=OF_DIFFERENCE, inherited=ROOM)


def _smaller_gaps(models: str, detail: str) -> Finding:
    """Judge whether some models' gaps are smaller than that of the model with the best F1."""
    gap, model, others = _gap().abs(), quoted("part_best").values[0], quoted(models).values
    verdict = rules.worst(above(gap[model] - gap[name], 2 * ROOM) for name in others)
    tolerance = "±0.0002 (difference of two differences)"
    return Finding(rules.listing(gap[[model, *others]]), verdict, tolerance, detail)


def _less_conservative() -> Finding:
    gap = _gap()
    larger = rules.listing(gap[gap > gap[quoted("part_best").values[0]]])
    return _smaller_gaps("less_conservative", f"larger still: {larger}" if larger else "")


def _part_f1_gap() -> Finding:
    f1, best = published(7)["f1"], quoted("part_best").values[0]
    others = f1.drop([best, *quoted("part_exception").values])
    gap = f1[best] - others.min()
    derived = f"{gap:.4f} ({others.idxmin()})"
    return equals("part_f1_gap", gap, derived, tolerance=OF_DIFFERENCE, inherited=ROOM)


def _state_of_the_art() -> Finding:
    tested = [name for name in quoted("state_of_the_art").values if name in paper.MODELS.values()]
    derived = f"of these, {len(tested)} are among the tested networks: {', '.join(tested)}"
    detail = "both statements stand in section 4.4"
    return holds_if(not tested, derived if tested else "none of these was tested", detail)


def _figure_16() -> Finding:
    before, after = set(quoted("scenes_figure_7").values), set(quoted("scenes_figure_16").values)
    return holds_if(before == after, f"{len(before & after)} of {len(before)} scenes are in both")


CHECKS: rules.Checks = rules.by_name(globals()) | {
    "size_of_hokkaido": partial(_cut_at, "areas_at_128", "size_of_hokkaido"),
    "size_of_wenchuan": partial(_cut_at, "areas_at_224", "size_of_wenchuan"),
    "better_at_128/f1": lambda: all_above(_named(_mix_gains(128)["f1"]), "scores", _OTHER_TESTS),
    "better_at_128/all": lambda: all_above(_named(_mix_gains(128)), "scores", _OTHER_TESTS),
    "f1_difference/models": _f1_between_models,
    "part_above_mix/f1_mean": partial(_above_mix, "f1"),
    "part_above_mix/f1_each": _above_mix_each,
    "part_above_mix/precision": partial(_above_mix, "precision"),
    "part_above_mix/recall": partial(_above_mix, "recall"),
    "part_above_single/models": partial(
        _above_single, "model", "the mean gives each area the same weight, whatever its number of patches"
    ),
    "part_above_single/areas": partial(_above_single, "area", _OTHER_TESTS),
    "part_above_single/cells": lambda: all_above(_named(part_minus_single()["f1"]), "scores", _OTHER_TESTS),
    "more_stable/gap": partial(_smaller_gaps, "state_of_the_art", "the one measure that the paragraph gives"),
}
