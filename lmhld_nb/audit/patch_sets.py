"""What follows for the paper's statements on patches and other data sets (sections 1 and 2.3, Tables 2 and 3)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pandas as pd

from lmhld_nb import paper
from lmhld_nb.audit.rules import (
    ROOM,
    Checks,
    Finding,
    at_most,
    count,
    equals,
    holds_if,
    is_size,
    listed,
    quoted,
    same_sets,
    worst,
)

_OURS = "LMHLD"
_SPLITS = ["landslide_fraction_train", "landslide_fraction_val", "landslide_fraction_test"]


def _patches(study_areas: bool = True) -> pd.DataFrame:
    """Return Table 2's rows of study areas, or those of the comparison data set."""
    table = paper.table(2)
    return table[table["study_area"].isin(set(paper.table(1)["study_area"])) == study_areas]


def _total() -> int:
    return int(_patches()["patches"].sum())


def _others() -> pd.DataFrame:
    """Return Table 3's rows of other data sets, by name."""
    return paper.table(3).set_index("dataset").drop(index=_OURS)


def _ours() -> Any:
    return paper.table(3).set_index("dataset").loc[_OURS]


def _bijie() -> Finding:
    resolution = str(_others().loc["Bijie landslide", "resolution"])
    tolerance = f"±{quoted('bijie_resolution').half:g} m"
    return equals("bijie_resolution", float(resolution.rstrip("m")), f"{resolution} in Table 3", "", tolerance)


def _fixed_sizes() -> Finding:
    sizes = {str(name): listed(text) for name, text in _others()["patch_size"].items()}
    several = [name for name, values in sizes.items() if len(values) > 1]
    present = {size for values in sizes.values() for size in values}
    unknown = [name for name, values in sizes.items() if values == ["-"]]
    return holds_if(
        not several and set(quoted("fixed_sizes").values) <= present,
        f"{len(several)} of the {len(sizes)} others in Table 3 have several sizes; "
        f"sizes there: {', '.join(sorted(present - {'-'}, key=int))}",
        f"no size is given for {', '.join(unknown)}" if unknown else "",
    )


def _single_resolution(enough: Callable[[int, int], bool]) -> Finding:
    resolutions = _others()["resolution"]
    ranges = resolutions[resolutions.str.contains("-")]
    single = len(resolutions) - len(ranges)
    derived = f"{single} of {len(resolutions)} others in Table 3 give one resolution"
    if len(ranges):
        derived += "; " + ", ".join(f"{name} {span}" for name, span in ranges.items())
    return holds_if(enough(single, len(resolutions)), derived)


def _default_sizes() -> Finding:
    sizes = {str(size) for size in _patches()["patch_size"]}
    known = set(quoted("default_sizes").values)
    return holds_if(sizes <= known, f"Table 2 uses {', '.join(sorted(sizes, key=int))}")


def _least_share() -> Finding:
    lowest = float(paper.table(2)[_SPLITS].to_numpy().min())
    return holds_if(
        lowest >= quoted("least_share").number,
        f"the lowest share in Table 2 is {lowest:.4f}",
        "necessary, not sufficient: a mean above the limit says little about single patches",
    )


def _gaps(relative: bool) -> Finding:
    table = paper.table(2).set_index("study_area")[_SPLITS]
    gaps = table.max(axis=1) - table.min(axis=1)
    room = pd.Series(ROOM, index=gaps.index)
    if relative:
        gaps, room = gaps / table.min(axis=1), room / table.min(axis=1)
    limit = quoted("split_difference").number
    verdicts = [at_most(gap, limit, inherited) for gap, inherited in zip(gaps, room, strict=True)]
    largest = f"{gaps.max():.1%} of the smallest share" if relative else f"{100 * gaps.max():.2f} points"
    within = f"{int((gaps <= limit).sum())} of {len(gaps)} rows of Table 2 stay within"
    rows = tuple(
        {"data": str(name), "difference": round(float(gap), 6), "verdict": verdict}
        for (name, gap), verdict in zip(gaps.items(), verdicts, strict=True)
    )
    derived = f"at most {largest} ({gaps.idxmax()}); {within}"
    return Finding(derived, worst(verdicts), "±0.0001 (difference of rounded shares)", rows=rows)


def _volume_in_patches() -> Finding:
    others, ours = _others()["patches"], int(_ours()["patches"])
    derived = f"{ours:,}; next {others.idxmax()}, {others.max():,}; all others together {others.sum():,}"
    return holds_if(ours > others.max(), derived)


def _volume_in_pixels() -> Finding:
    areas, others = _patches(), _others()
    ours = int((areas["patches"] * areas["patch_size"] ** 2).sum())
    sides = pd.to_numeric(others["patch_size"], errors="coerce")
    pixels = (others["patches"] * sides**2).dropna()
    missing = [str(name) for name in others.index if name not in pixels.index]
    return holds_if(
        ours > pixels.max(),
        f"{ours / 1e6:,.0f} million (Table 2); {pixels.idxmax()}: {pixels.max() / 1e6:,.0f} million",
        f"no patch size is given for {', '.join(missing)}" if missing else "",
    )


def _diversity(column: str, unknown: str = "") -> Finding:
    cells = paper.table(3).set_index("dataset")[column]
    counts = {str(name): len(set(listed(text)) - {unknown}) for name, text in cells.items()}
    ours = counts.pop(_OURS)
    above = {name: count for name, count in counts.items() if count >= ours}
    derived = f"{ours} of {_OURS}, more than {len(counts) - len(above)} of {len(counts)}"
    if above:
        derived += "; " + ", ".join(f"{count} of {name}" for name, count in above.items())
    joined = [item for text in cells for item in listed(text) if "/" in item]
    return holds_if(not above, derived, f"{', '.join(joined)} counted as one" if joined else "")


def _table_3_patches() -> Finding:
    ours = int(_ours()["patches"])
    return holds_if(_total() == ours, f"{ours:,} here, {_total():,} there")


def _table_3_sizes() -> Finding:
    sizes = {str(size) for size in _patches()["patch_size"]}
    return same_sets(sizes, set(listed(_ours()["patch_size"])), "Table 2")


def _table_3_resolution() -> Finding:
    metres = paper.table(1)["resolution_m"]
    ends = [float(end.rstrip("m")) for end in _ours()["resolution"].split("-")]
    return holds_if(
        (metres.min(), metres.max()) == (ends[0], ends[-1]),
        f"{ends[0]:g} to {ends[-1]:g} m here, {metres.min():g} to {metres.max():g} m there",
    )


CHECKS: Checks = {
    "patches": lambda: count("patches", _total(), "patches in Table 2's rows together"),
    "total": lambda: count("patches", _total(), "in the rows together"),
    "bijie": _bijie,
    "fixed_sizes": _fixed_sizes,
    "single_resolution/most": partial(_single_resolution, lambda single, every: 2 * single > every),
    "single_resolution/all": partial(_single_resolution, lambda single, every: single == every),
    "default_sizes": _default_sizes,
    "least_share": _least_share,
    "split_difference/points": partial(_gaps, relative=False),
    "split_difference/relative": partial(_gaps, relative=True),
    "public_datasets": lambda: count("public_datasets", len(_others()), "others in Table 3"),
    "volume/patches": _volume_in_patches,
    "volume/pixels": _volume_in_pixels,
    "size_diversity": partial(_diversity, "patch_size", "-"),
    "sensor_diversity": partial(_diversity, "sensors"),
    "comparison_size": lambda: is_size("comparison_size", _patches(study_areas=False)["patch_size"].iloc[0]),
    "table_3_patches": _table_3_patches,
    "table_3_sizes": _table_3_sizes,
    "table_3_sensors": lambda: same_sets(set(paper.table(1)["sensor"]), set(listed(_ours()["sensors"])), "Table 1"),
    "table_3_resolution": _table_3_resolution,
}
