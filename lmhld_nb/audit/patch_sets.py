"""What follows for the paper's statements on patches and other data sets (sections 1 and 2.3, Tables 2 and 3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from lmhld_nb import paper
from lmhld_nb.audit.rules import (
    ROOM,
    Finding,
    at_most,
    compare,
    count,
    derives,
    listed,
    quoted,
    same_sets,
    worst,
    yes,
)

_OURS = "LMHLD"
_SPLITS = ["landslide_fraction_train", "landslide_fraction_val", "landslide_fraction_test"]


def _patches() -> pd.DataFrame:
    """Return Table 2's rows of study areas, without the comparison data set."""
    table = paper.table(2)
    known = set(paper.table(1)["study_area"])
    return table[table["study_area"].isin(known)]


def _comparison() -> pd.Series:
    table = paper.table(2)
    known = set(paper.table(1)["study_area"])
    return table[~table["study_area"].isin(known)].iloc[0]


def _others() -> pd.DataFrame:
    table = paper.table(3)
    return table[table["dataset"] != _OURS].set_index("dataset")


def _ours() -> Any:
    return paper.table(3).set_index("dataset").loc[_OURS]


@derives("patches")
def _all_patches() -> Finding:
    return count("patches", int(_patches()["patches"].sum()), "patches in Table 2's rows together")


@derives("bijie")
def _bijie() -> Finding:
    quote = quoted("bijie_resolution")
    found = str(_others().loc["Bijie landslide", "resolution"])
    return Finding(
        f"{found} in Table 3",
        compare(quote.number, float(found.rstrip("m")), quote.half),
        f"±{quote.half:g} m",
    )


@derives("fixed_sizes")
def _fixed_sizes() -> Finding:
    sizes = {name: listed(text) for name, text in _others()["patch_size"].items()}
    several = [name for name, listed in sizes.items() if len(listed) > 1]
    present = {size for listed in sizes.values() for size in listed}
    unknown = [str(name) for name, listed in sizes.items() if listed == ["-"]]
    return Finding(
        f"{len(several)} of the {len(sizes)} others in Table 3 have several sizes; "
        f"sizes there: {', '.join(sorted(present - {'-'}, key=int))}",
        yes(not several and set(quoted("fixed_sizes").values) <= present),
        detail=f"no size is given for {', '.join(unknown)}" if unknown else "",
    )


def _single_resolution(enough: Callable[[int, int], bool]) -> Finding:
    resolutions = _others()["resolution"]
    ranges = resolutions[resolutions.str.contains("-")]
    single = len(resolutions) - len(ranges)
    told = f"{single} of {len(resolutions)} others in Table 3 give one resolution"
    if len(ranges):
        told += "; " + ", ".join(f"{name} {span}" for name, span in ranges.items())
    return Finding(told, yes(enough(single, len(resolutions))))


derives("single_resolution/most")(lambda: _single_resolution(lambda single, every: 2 * single > every))
derives("single_resolution/all")(lambda: _single_resolution(lambda single, every: single == every))


@derives("default_sizes")
def _default_sizes() -> Finding:
    used = {str(size) for size in _patches()["patch_size"]}
    return Finding(
        f"Table 2 uses {', '.join(sorted(used, key=int))}", yes(used <= set(quoted("default_sizes").values))
    )


@derives("least_share")
def _least_share() -> Finding:
    lowest = float(paper.table(2)[_SPLITS].to_numpy().min())
    limit = quoted("least_share").number
    return Finding(
        f"the lowest share in Table 2 is {lowest:.4f}",
        yes(lowest >= limit),
        detail="necessary, not sufficient: a mean above the limit says little about single patches",
    )


def _gaps(relative: bool) -> Finding:
    table = paper.table(2).set_index("study_area")[_SPLITS]
    gaps = table.max(axis=1) - table.min(axis=1)
    room = pd.Series(ROOM, index=gaps.index)
    if relative:
        gaps, room = gaps / table.min(axis=1), room / table.min(axis=1)
    limit = quoted("split_difference").number
    verdicts = [at_most(gap, limit, inherited) for gap, inherited in zip(gaps, room, strict=True)]
    over = int((gaps > limit).sum())
    shown = f"{gaps.max():.1%} of the smallest share" if relative else f"{100 * gaps.max():.2f} points"
    rows = tuple(
        {"data": str(name), "difference": round(float(gap), 6), "verdict": verdict}
        for (name, gap), verdict in zip(gaps.items(), verdicts, strict=True)
    )
    return Finding(
        f"at most {shown} ({gaps.idxmax()}); {len(gaps) - over} of {len(gaps)} rows of Table 2 stay within",
        worst(verdicts),
        "±0.0001 (difference of rounded shares)",
        rows=rows,
    )


derives("split_difference/points")(lambda: _gaps(relative=False))
derives("split_difference/relative")(lambda: _gaps(relative=True))


@derives("public_datasets")
def _public_datasets() -> Finding:
    return count("public_datasets", len(_others()), "others in Table 3")


@derives("volume/patches")
def _volume_patches() -> Finding:
    others, ours = _others()["patches"], int(_ours()["patches"])
    return Finding(
        f"{ours:,}; next {others.idxmax()}, {others.max():,}; all others together {others.sum():,}",
        yes(ours > others.max()),
    )


@derives("volume/pixels")
def _volume_pixels() -> Finding:
    own = _patches()
    ours = int((own["patches"] * own["patch_size"] ** 2).sum())
    others = _others()
    sides = pd.to_numeric(others["patch_size"], errors="coerce")
    pixels = (others["patches"] * sides**2).dropna()
    missing = [str(name) for name in others.index if name not in pixels.index]
    return Finding(
        f"{ours / 1e6:,.0f} million (Table 2); {pixels.idxmax()}: {pixels.max() / 1e6:,.0f} million",
        yes(ours > pixels.max()),
        detail=f"no patch size is given for {', '.join(missing)}" if missing else "",
    )


def _diversity(column: str, unknown: tuple[str, ...] = ()) -> Finding:
    counts = {
        str(name): len(set(listed(text)) - set(unknown))
        for name, text in paper.table(3).set_index("dataset")[column].items()
    }
    ours = counts.pop(_OURS)
    above = {name: count for name, count in counts.items() if count >= ours}
    told = f"{ours} of {_OURS}, more than {len(counts) - len(above)} of {len(counts)}"
    if above:
        told += "; " + ", ".join(f"{count} of {name}" for name, count in above.items())
    joined = [part for text in paper.table(3)[column] for part in listed(text) if "/" in part]
    return Finding(told, yes(not above), detail=f"{', '.join(joined)} counted as one" if joined else "")


derives("size_diversity")(lambda: _diversity("patch_size", ("-",)))
derives("sensor_diversity")(lambda: _diversity("sensors"))


@derives("comparison_size")
def _comparison_size() -> Finding:
    size = int(_comparison()["patch_size"])
    return Finding(f"{size} in Table 2", yes(size == quoted("comparison_size").number))


@derives("total")
def _total() -> Finding:
    return count("patches", int(_patches()["patches"].sum()), "in the rows together")


@derives("table_3_patches")
def _table_3_patches() -> Finding:
    total, ours = int(_patches()["patches"].sum()), int(_ours()["patches"])
    return Finding(f"{ours:,} here, {total:,} there", yes(total == ours))


@derives("table_3_sizes")
def _table_3_sizes() -> Finding:
    return same_sets(
        {str(size) for size in _patches()["patch_size"]}, set(listed(_ours()["patch_size"])), "Table 2"
    )


@derives("table_3_sensors")
def _table_3_sensors() -> Finding:
    ours = set(listed(_ours()["sensors"]))
    return same_sets(set(paper.table(1)["sensor"]), ours, "Table 1")


@derives("table_3_resolution")
def _table_3_resolution() -> Finding:
    metres = paper.table(1)["resolution_m"]
    ends = [float(end.rstrip("m")) for end in _ours()["resolution"].split("-")]
    low, high = ends[0], ends[-1]
    return Finding(
        f"{low:g} to {high:g} m here, {metres.min():g} to {metres.max():g} m there",
        yes((metres.min(), metres.max()) == (low, high)),
    )
