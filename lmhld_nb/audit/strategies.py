"""What follows for the paper's statements on LMHLD_mix and LMHLD_part (sections 4.3 to 4.5)."""

from __future__ import annotations

from typing import Any

import pandas as pd

from lmhld_nb import paper
from lmhld_nb.audit.rules import (
    OF_DIFFERENCE,
    ROOM,
    SCORE_NAMES,
    SCORES,
    Finding,
    above,
    all_above,
    at_most,
    compare,
    derives,
    listing,
    names,
    quoted,
    scores,
    worst,
    yes,
)

_OF_GAPS = "±0.0002 (difference of two differences)"
_OTHER_TESTS = "the two are tested on different patches"


def part_less_mix() -> pd.DataFrame:
    """Return Table 7 less Table 6: a row a model, a column a score."""
    return (scores(7) - scores(6))[list(SCORES)].loc[list(paper.MODELS.values())]


def part_less_single() -> pd.DataFrame:
    """Return Table 7 less Table 5: rows (area, model) in the paper's order, a column a score."""
    single = scores(5)[list(SCORES)]
    part = scores(7)[list(SCORES)].reindex(single.index, level="model")
    return part - single


def _mix_less_single(areas: tuple[str, ...]) -> pd.DataFrame:
    """Return Table 6 less Table 5 for some areas: rows (area, model), a column a score."""
    single = scores(5)[list(SCORES)].loc[list(areas)]
    mix = scores(6)[list(SCORES)].reindex(single.index, level="model")
    return mix - single


def _named(table: pd.DataFrame | pd.Series) -> dict[str, float]:
    """Return a table's cells by what their row (and score) are called in print."""
    cells: Any = table.stack() if isinstance(table, pd.DataFrame) else table
    return {" ".join(map(_printed, key)): float(value) for key, value in cells.items()}


def _printed(part: str) -> str:
    """Return an area's short name, a score's name, or a model's name as it is."""
    return part if part in paper.MODELS.values() else SCORE_NAMES.get(part) or names([part])


# Section 4.3: mix ------------------------------------------------------------------------------------------------


def _cut_at(areas: str, size: str) -> Finding:
    sizes = paper.areas().loc[list(quoted(areas).values), "patch_size"]
    told = ", ".join(f"{names([area])} {value}" for area, value in sizes.items())
    return Finding(f"Table 2: {told}", yes(bool((sizes == quoted(size).number).all())))


derives("size_of_hokkaido")(lambda: _cut_at("areas_at_128", "size_of_hokkaido"))
derives("size_of_wenchuan")(lambda: _cut_at("areas_at_224", "size_of_wenchuan"))


@derives("better_at_128/f1")
def _better_f1() -> Finding:
    gains = _mix_less_single(quoted("areas_at_128").values)["f1"]
    return all_above(_named(gains), "scores", detail=_OTHER_TESTS)


@derives("better_at_128/all")
def _better_all() -> Finding:
    gains = _mix_less_single(quoted("areas_at_128").values)
    return all_above(_named(gains), "scores", detail=_OTHER_TESTS)


@derives("improved_at_224")
def _improved() -> Finding:
    gains = _mix_less_single(quoted("areas_at_224").values)["f1"]
    means = gains.groupby(level="area", sort=False).mean()
    counts = gains.gt(0).groupby(level="area", sort=False).sum()
    told = ", ".join(
        f"{names([area])} {mean:+.4f} (higher for {counts[str(area)]} of {len(paper.MODELS)})"
        for area, mean in means.items()
    )
    return Finding(
        f"F1 on average: {told}", worst(above(mean, ROOM) for mean in means), OF_DIFFERENCE, _OTHER_TESTS
    )


@derives("declined_at_224")
def _declined() -> Finding:
    gains = _mix_less_single(quoted("areas_at_224").values)
    counts = (gains < -ROOM).sum()
    told = ", ".join(f"{SCORE_NAMES[str(score)]} {count}" for score, count in counts.items())
    lower = gains["f1"][gains["f1"] < -ROOM]
    return Finding(
        f"lower scores among {len(gains)}: {told}",
        yes(counts.sum() > 0),
        OF_DIFFERENCE,
        f"F1: {', '.join(f'{name} {value:+.4f}' for name, value in _named(lower).items())}"
        if len(lower)
        else "",
    )


@derives("slight_at_224")
def _slight() -> Finding:
    gains = _mix_less_single(quoted("areas_at_224").values)["f1"]
    others = _mix_less_single(quoted("areas_at_128").values)["f1"]
    overlap = gains[gains >= others.min()]
    return Finding(
        f"gains of F1 reach from {gains.min():+.4f} to {gains.max():+.4f}",
        "cannot be checked",
        detail=f"{len(overlap)} of {len(gains)} are no smaller than the smallest at 128 pixels ({others.min():+.4f})",
    )


# Section 4.4: part -----------------------------------------------------------------------------------------------


@derives("f1_difference/models")
def _f1_between_models() -> Finding:
    f1, quote = scores(7)["f1"], quoted("order_f1")
    spread, without = f1.max() - f1.min(), f1.drop(list(quoted("part_exception").values))
    return Finding(
        f"F1 of the models in Table 7 spans {spread:.4f}",
        at_most(spread, quote.number, quote.half + ROOM),
        OF_DIFFERENCE,
        f"{without.max() - without.min():.4f} without {quoted('part_exception')}",
    )


@derives("part_best")
def _part_best() -> Finding:
    f1, quote = scores(7)["f1"], quoted("part_best_f1")
    right = f1.idxmax() == quoted("part_best").values[0]
    return Finding(
        f"{f1.max():.4f}, of {f1.idxmax()}",
        compare(quote.number, f1.max(), quote.half) if right else "contradicted",
        f"±{quote.half:g}",
    )


@derives("part_exception")
def _part_exception() -> Finding:
    f1, exception = scores(7)["f1"], quoted("part_exception").values[0]
    others = f1.drop(exception)
    return Finding(
        f"{exception} {f1[exception]:.4f}, the others {others.min():.4f} to {others.max():.4f}",
        above(others.min() - f1[exception], ROOM),
        "the exception is the lowest",
    )


@derives("part_above_mix/f1_mean")
def _above_mix_f1() -> Finding:
    return _above_mix_mean("f1")


@derives("part_above_mix/precision")
def _above_mix_precision() -> Finding:
    return _above_mix_mean("precision")


@derives("part_above_mix/recall")
def _above_mix_recall() -> Finding:
    return _above_mix_mean("recall")


def _above_mix_mean(score: str) -> Finding:
    gains = part_less_mix()[score]
    return Finding(
        f"{SCORE_NAMES[score]} {gains.mean():+.4f}; higher for {(gains > 0).sum()} of {len(gains)} models",
        above(gains.mean(), ROOM),
        OF_DIFFERENCE,
        _OTHER_TESTS,
    )


@derives("part_above_mix/f1_each")
def _above_mix_each() -> Finding:
    gains = part_less_mix()["f1"]
    return all_above(
        gains,
        "models",
        detail=f"{_OTHER_TESTS}; by model: "
        + ", ".join(f"{name} {value:+.4f}" for name, value in gains.items()),
    )


@derives("part_above_single/models")
def _above_single_models() -> Finding:
    gains = part_less_single().groupby(level="model", sort=False).mean()
    detail = "the mean gives each area the same weight, whatever its number of patches"
    return all_above(_named(gains), "means", detail=detail)


@derives("part_above_single/areas")
def _above_single_areas() -> Finding:
    gains = part_less_single().groupby(level="area", sort=False).mean()
    return all_above(_named(gains), "means", detail=_OTHER_TESTS)


@derives("part_above_single/cells")
def _above_single_cells() -> Finding:
    return all_above(_named(part_less_single()["f1"]), "scores", detail=_OTHER_TESTS)


def _gap() -> pd.Series:
    """Return precision less recall of each model in Table 7."""
    return scores(7)["precision"] - scores(7)["recall"]


@derives("conservative_gap")
def _conservative_gap() -> Finding:
    quote, gap = quoted("conservative_gap"), _gap()[quoted("part_best").values[0]]
    return Finding(f"{gap:.4f} (Table 7)", compare(quote.number, gap, quote.half, ROOM), OF_DIFFERENCE)


def _smaller_gaps(models: tuple[str, ...], detail: str) -> Finding:
    """Judge whether some models' gaps are smaller than that of the model with the best F1."""
    gap, model = _gap().abs(), quoted("part_best").values[0]
    return Finding(
        listing(gap[[model, *models]]),
        worst(above(gap[model] - gap[name], 2 * ROOM) for name in models),
        _OF_GAPS,
        detail,
    )


@derives("less_conservative")
def _less_conservative() -> Finding:
    gap = _gap()
    larger = gap[gap > gap[quoted("part_best").values[0]]]
    detail = f"larger still: {listing(larger)}" if len(larger) else ""
    return _smaller_gaps(quoted("less_conservative").values, detail)


@derives("more_stable/gap")
def _more_stable() -> Finding:
    return _smaller_gaps(quoted("state_of_the_art").values, "the one measure that the paragraph gives")


@derives("part_f1_gap")
def _part_f1_gap() -> Finding:
    f1, quote = scores(7)["f1"], quoted("part_f1_gap")
    best = quoted("part_best").values[0]
    others = f1.drop([best, *quoted("part_exception").values])
    gap = f1[best] - others.min()
    return Finding(
        f"{gap:.4f} ({others.idxmin()})", compare(quote.number, gap, quote.half, ROOM), OF_DIFFERENCE
    )


@derives("state_of_the_art")
def _state_of_the_art() -> Finding:
    both = [name for name in quoted("state_of_the_art").values if name in paper.MODELS.values()]
    return Finding(
        f"of these, {len(both)} are among the tested networks: {', '.join(both)}"
        if both
        else "none of these was tested",
        yes(not both),
        detail="both statements stand in section 4.4",
    )


# Section 4.5: unseen scenes --------------------------------------------------------------------------------------


@derives("figure_16")
def _figure_16() -> Finding:
    before, after = set(quoted("scenes_figure_7").values), set(quoted("scenes_figure_16").values)
    return Finding(f"{len(before & after)} of {len(before)} scenes are in both", yes(before == after))
