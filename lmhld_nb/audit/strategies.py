"""What follows for the paper's statements on LMHLD_mix and LMHLD_part (sections 4.3 to 4.5)."""

from typing import Any

import pandas as pd

from lmhld_nb import paper
from lmhld_nb.audit import rules
from lmhld_nb.audit.rules import ROOM, Finding, Findings, above, all_above, equals, holds_if, listing, published, quoted


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


def mix() -> Findings:
    """LMHLD_mix against single areas (Table 6 minus Table 5), those cut at 128 pixels and those at 224."""
    at_128, at_224 = (_minus_single(6, quoted(f"areas_at_{size}").values) for size in (128, 224))
    by_area = at_224["f1"].unstack("area")[list(quoted("areas_at_224").values)].rename(columns=paper.area_name)
    means = (f"{n} {v.mean():+.4f} (higher for {(v > 0).sum()} of {len(v)})" for n, v in by_area.items())
    return {
        "better_at_128/f1": all_above(_named(at_128["f1"]), "scores"),
        "better_at_128/all": all_above(_named(at_128), "scores"),
        "improved_at_224": Finding(
            f"F1 on average: {', '.join(means)}", rules.worst(above(mean, ROOM) for mean in by_area.mean())
        ),
    }


def part() -> Findings:
    """LMHLD_part by itself (Table 7): differences between models, and precision above recall."""
    table, best, exception = published(7), quoted("part_best").values[0], quoted("part_exception").values[0]
    f1, gap, order = table["f1"], table["precision"] - table["recall"], quoted("order_f1")
    others, rest = f1.drop(exception), f1.drop([best, exception])
    spread, behind = f1.max() - f1.min(), f1[best] - rest.min()
    larger = listing(gap[gap > gap[best]])
    return {
        "f1_difference/models": Finding(
            f"F1 of the models in Table 7 spans {spread:.4f}",
            rules.at_most(spread, order.number, order.half + ROOM),
            detail=f"{others.max() - others.min():.4f} without {exception}",
        ),
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


def networks() -> Findings:
    """What the text says of networks other than those tested."""
    named = quoted("state_of_the_art").values
    tested = [name for name in named if name in paper.MODELS.values()]
    derived = f"{len(tested)} of these {len(named)} are among the tested networks"
    return {"state_of_the_art": holds_if(not tested, derived)}


PARTS = (mix, part, part_above_others, networks)
