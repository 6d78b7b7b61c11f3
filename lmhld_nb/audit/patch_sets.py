"""What follows for the paper's statements on patches and other data sets (sections 1 and 2.3, Tables 2 and 3)."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pandas as pd

from lmhld_nb import paper
from lmhld_nb.audit import rules
from lmhld_nb.audit.rules import Finding, count, holds_if, listed, published, quoted, same_sets

_OURS = "LMHLD"
_SPLITS = ["landslide_fraction_train", "landslide_fraction_val", "landslide_fraction_test"]


def _patches() -> pd.DataFrame:
    """Return Table 2's rows of study areas."""
    table = paper.table(2)
    return table[table["study_area"].isin(set(paper.table(1)["study_area"]))]


def _sizes() -> set[str]:
    """Return the patch sizes of the study areas (Table 2)."""
    return set(_patches()["patch_size"].astype(str))


def _total() -> int:
    return int(_patches()["patches"].sum())


def _others() -> pd.DataFrame:
    """Return Table 3's rows of other data sets, by name."""
    return published(3).drop(index=_OURS)


def _ours(column: str) -> str:
    return str(published(3).loc[_OURS, column])


def _bijie() -> Finding:
    resolution = str(_others().loc["Bijie landslide", "resolution"])
    tolerance = f"±{quoted('bijie_resolution').half:g} m"
    return rules.equals("bijie_resolution", float(resolution.rstrip("m")), f"{resolution} in Table 3", "", tolerance)


def _default_sizes() -> Finding:
    sizes = _sizes()
    return holds_if(sizes <= set(quoted("default_sizes").values), f"Table 2 uses {', '.join(sorted(sizes, key=int))}")


def _fixed_sizes() -> Finding:
    sizes = _others()["patch_size"].map(listed)
    several, present = (sizes.str.len() > 1).sum(), sorted(set(sizes.explode()) - {"-"}, key=int)
    derived = f"{several} of the {len(sizes)} others in Table 3 have several sizes; sizes there: {', '.join(present)}"
    unknown = ", ".join(sizes.index[sizes.str[0] == "-"])
    holds = not several and set(quoted("fixed_sizes").values) <= set(present)
    return holds_if(holds, derived, f"no size is given for {unknown}" if unknown else "")


def _single_resolution(enough: Callable[[int, int], bool]) -> Finding:
    resolutions = _others()["resolution"]
    ranges = resolutions[resolutions.str.contains("-")]
    single = len(resolutions) - len(ranges)
    derived = f"{single} of {len(resolutions)} others in Table 3 give one resolution"
    if len(ranges):
        derived += "; " + ", ".join(f"{name} {span}" for name, span in ranges.items())
    return holds_if(enough(single, len(resolutions)), derived)


def _least_share() -> Finding:
    lowest = float(paper.table(2)[_SPLITS].to_numpy().min())
    detail = "necessary, not sufficient: a mean above the limit says little about single patches"
    return holds_if(lowest >= quoted("least_share").number, f"the lowest share in Table 2 is {lowest:.4f}", detail)


def _gaps(relative: bool) -> Finding:
    table = paper.table(2).set_index("study_area")[_SPLITS]
    smallest = table.min(axis=1)
    gaps, room = table.max(axis=1) - smallest, pd.Series(rules.ROOM, index=table.index)
    if relative:
        gaps, room = gaps / smallest, room / smallest
    limit = quoted("split_difference").number
    verdict = rules.worst(rules.at_most(gap, limit, inherited) for gap, inherited in zip(gaps, room, strict=True))
    largest = f"{gaps.max():.1%} of the smallest share" if relative else f"{100 * gaps.max():.2f} points"
    derived = f"at most {largest} ({gaps.idxmax()}); {(gaps <= limit).sum()} of {len(gaps)} rows of Table 2 stay within"
    return Finding(derived, verdict, "±0.0001 (difference of rounded shares)")


def _volume_in_patches() -> Finding:
    others, ours = _others()["patches"], int(_ours("patches"))
    derived = f"{ours:,}; next {others.idxmax()}, {others.max():,}; all others together {others.sum():,}"
    return holds_if(ours > others.max(), derived)


def _volume_in_pixels() -> Finding:
    areas, others = _patches(), _others()
    ours = int((areas["patches"] * areas["patch_size"] ** 2).sum())
    pixels = others["patches"] * pd.to_numeric(others["patch_size"], errors="coerce") ** 2
    missing = ", ".join(pixels.index[pixels.isna()])
    derived = f"{ours / 1e6:,.0f} million (Table 2); {pixels.idxmax()}: {pixels.max() / 1e6:,.0f} million"
    return holds_if(ours > pixels.max(), derived, f"no patch size is given for {missing}" if missing else "")


def _diversity(column: str) -> Finding:
    items = published(3)[column].map(listed)
    counts = items.map(lambda cell: len(set(cell) - {"-"}))  # "-": not known
    ours, others = counts[_OURS], counts.drop(_OURS)
    as_many = others[others >= ours]
    derived = f"{ours} of {_OURS}, more than {len(others) - len(as_many)} of {len(others)}"
    if len(as_many):
        derived += "; " + ", ".join(f"{count} of {name}" for name, count in as_many.items())
    joined = [item for item in items.explode() if "/" in item]
    return holds_if(as_many.empty, derived, f"{', '.join(joined)} counted as one" if joined else "")


def _table_3_resolution() -> Finding:
    metres = paper.table(1)["resolution_m"]
    low, high = (float(end.rstrip("m")) for end in _ours("resolution").split("-"))
    derived = f"{low:g} to {high:g} m here, {metres.min():g} to {metres.max():g} m there"
    return holds_if((metres.min(), metres.max()) == (low, high), derived)


def _of_authors(name: str, column: str, kind: str) -> Finding:
    """Compare what Table 3 says of another data set with what its authors say."""
    here, (there, source) = str(_others().loc[name, column]), rules.facts(kind).loc[name, ["value", "source"]]
    return holds_if(here == there, f"{here} here, {there} there", source)


def _comparison_size() -> Finding:
    size: Any = paper.table(2).set_index("study_area").loc["Comparison dataset", "patch_size"]
    return holds_if(size == quoted("comparison_size").number, f"{size} in Table 2")


CHECKS: rules.Checks = rules.by_name(
    _table_3_resolution, _bijie, _default_sizes, _fixed_sizes, _least_share, _comparison_size
) | {
    "patches": lambda: count("patches", _total(), "patches in Table 2's rows together"),
    "total": lambda: count("patches", _total(), "in the rows together"),
    "single_resolution/most": partial(_single_resolution, lambda single, every: 2 * single > every),
    "single_resolution/all": partial(_single_resolution, lambda single, every: single == every),
    "split_difference/points": partial(_gaps, relative=False),
    "split_difference/relative": partial(_gaps, relative=True),
    "public_datasets": lambda: count("public_datasets", len(_others()), "others in Table 3"),
    "volume/patches": _volume_in_patches,
    "volume/pixels": _volume_in_pixels,
    "size_diversity": partial(_diversity, "patch_size"),
    "sensor_diversity": partial(_diversity, "sensors"),
    "table_3_patches": lambda: holds_if((n := int(_ours("patches"))) == _total(), f"{n:,} here, {_total():,} there"),
    "table_3_sizes": lambda: same_sets(_sizes(), set(listed(_ours("patch_size"))), "Table 2"),
    "gvlm_resolution": partial(_of_authors, "GVLm", "resolution", "resolution"),
    "landslide4sense/described": partial(_of_authors, "Landslide4sense", "patches", "patches_described"),
    "landslide4sense/released": partial(_of_authors, "Landslide4sense", "patches", "patches_released"),
    "table_3_sensors": lambda: same_sets(set(paper.table(1)["sensor"]), set(listed(_ours("sensors"))), "Table 1"),
}
