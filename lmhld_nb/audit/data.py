"""What follows for the paper's statements on study areas, images, patches and other data sets (up to section 3.2)."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd

from lmhld_nb import paper
from lmhld_nb.audit import rules
from lmhld_nb.audit.rules import (
    Finding,
    count,
    equals,
    facts,
    holds_if,
    listed,
    published,
    quoted,
    same_sets,
    unchecked,
    whole_tolerance,
)  # fmt: skip

_OURS = "LMHLD"
_SPLITS = ["landslide_fraction_train", "landslide_fraction_val", "landslide_fraction_test"]

# Study areas and images


def _sensors() -> set[str]:
    return set(paper.table(1)["sensor"])


def _images() -> dict[str, pd.Period]:
    return {str(area): pd.Period(date.replace(".", "-"), "M") for area, date in published(1)["date"].items()}


def _stated_years() -> dict[str, int]:
    return {area: int(year) for area, _, year in (pair.partition("=") for pair in quoted("area_years").values)}


def _years() -> Finding:
    years, stated = {area: month.year for area, month in _images().items()}, _stated_years()
    wrong = [f"{paper.area_name(area)} {years[area]}" for area, year in stated.items() if years[area] != year]
    derived = f"{len(stated) - len(wrong)} of {len(years)} years are those of Table 1's dates"
    return holds_if(stated == years, derived + (f"; Table 1: {', '.join(wrong)}" if wrong else ""))


def _commercial() -> Finding:
    free = facts("open_data").filter(sorted(_sensors()), axis=0)
    derived = "; ".join(f"{sensor}: {operator}, data free to all" for sensor, operator in free["value"].items())
    return holds_if(free.empty, derived or "no sensor of Table 1 is known to us as public", "; ".join(free["source"]))


def _landslides() -> Finding:
    numbers = paper.table(1).set_index("study_area")["landslides"]
    detail = f"without {numbers.idxmax()} it would be {numbers.sum() - numbers.max():,}"
    return count("landslides", int(numbers.sum()), "in Table 1 together", detail)


def _smallest() -> Finding:
    pixels = paper.table(1).set_index("study_area")["min_area_px"]
    return count("smallest_px", int(pixels.min()), f"px in Table 1 ({pixels.idxmin()})")


def _largest() -> Finding:
    table = paper.table(1).set_index("study_area")
    pixels, km2 = table["max_area_px"], table["max_area_px"] * table["resolution_m"] ** 2 / 1e6
    detail = f"on the ground the largest is that of {km2.idxmax()} ({km2.max():.2f} km²)"
    if len(same := pixels.index[pixels == quoted("largest_px").number]):
        detail = f"{quoted('largest_px')} is the value of {', '.join(same)}; {detail}"
    return count("largest_px", int(pixels.max()), f"px in Table 1 ({pixels.idxmax()})", detail)


def _large_scale() -> Finding:
    area, (km2, source) = published(1).loc["wenchuan"], facts("largest_km2").loc["wenchuan", ["value", "source"]]
    here = area["max_area_px"] * area["resolution_m"] ** 2 / 1e6
    derived = f"the largest of Wenchuan has {here:.2f} km² in Table 1, the largest of that earthquake {km2} km²"
    return unchecked(derived, f"the latter is not in the data set, or not whole: {source}")


def _image_after(images: pd.Period, key: str) -> Finding:
    """Judge from a month or a day of the images whether they were taken after an event."""
    value, source = facts("event").loc[key, ["value", "source"]]
    event = pd.Period(value)
    months = abs((images.year - event.year) * 12 + images.month - event.month)
    verdict: rules.Verdict = "cannot be checked"
    distance = "the month of the event: before or after it"
    if images.start_time > event.end_time:
        distance, verdict = f"{months} month{'' if months == 1 else 's'} later", "holds"
    elif images.end_time < event.start_time:
        distance, verdict = f"{months} month{'' if months == 1 else 's'} earlier", "contradicted"
    return Finding(f"images {images}, event {event}: {distance}", verdict, "one month (images)", f"event: {source}")


def _after(area: str) -> Finding:
    images, detail = _images()[area], ""
    if f"event_{area}" in paper.quotes():
        finding = _image_after(images, area)
        if finding.verdict == "contradicted" and _stated_years()[area] == images.year:
            finding = replace(finding, detail=f"{finding.detail}; the abstract, too, gives {images.year}")
        return finding
    for value, source in facts("event").filter([area], axis=0)[["value", "source"]].to_numpy():
        detail = f"the landslides of {value} would fit ({source})" if images > pd.Period(value, "M") else ""
    return unchecked(f"images {images}; the paper names no event", detail, "one month")


def _slides(area: str, kind: str) -> Finding:
    """Judge an event's number of landslides by what others count; that the data set has fewer says nothing."""
    quote, here, counts = quoted(f"slides_{area}"), published(1)["landslides"][area], facts(kind).loc[[area]]
    numbers = counts["value"].astype(float)
    derived = "; ".join(f"{number:,.0f} ({source})" for number, source in zip(numbers, counts["source"], strict=True))
    among = numbers.min() - quote.half <= quote.number <= numbers.max() + quote.half
    fewer = quote.printed[0].startswith("over") and quote.number < numbers.min()
    return holds_if(among or fewer, derived, f"Table 1 has {here:,} in the study area", whole_tolerance(quote))


def _magnitude() -> Finding:
    apart = quoted("magnitude_text").number - quoted("magnitude_cited").number
    return unchecked(f"{abs(apart):.1f} apart", "magnitudes of two scales may differ so much")


def _magnitude_wenchuan() -> Finding:
    value, source = facts("moment_magnitude").loc["wenchuan", ["value", "source"]]
    return equals("magnitude_wenchuan", float(value), f"Mw {value}", source)


def _metres(text: str) -> list[float]:
    """Return the ends of a resolution as Table 3 prints it."""
    return [float(end.rstrip("m")) for end in text.split("-")]


def _resolution_by_sensor() -> Finding:
    pairs = [(sensor, float(metres)) for sensor, metres in paper.table(1)[["sensor", "resolution_m"]].to_numpy()]
    for sensors, resolution in paper.table(3)[["sensors", "resolution"]].to_numpy():
        if len(names := listed(sensors)) == 1:
            pairs += [(names[0], end) for end in _metres(resolution)]
    by_sensor = pd.DataFrame(pairs).groupby(0, sort=False)[1].agg(lambda metres: sorted(set(metres)))
    several = [f"{name} {values} m" for name, values in by_sensor.items() if len(values) > 1]
    return holds_if(not several, "; ".join(several) or f"one value for each of {len(by_sensor)} sensors")


# Patches and other data sets


def _patches() -> pd.DataFrame:
    table = paper.table(2)
    return table[table["study_area"].isin(set(paper.table(1)["study_area"]))]


def _sizes() -> set[str]:
    return set(_patches()["patch_size"].astype(str))


def _total() -> int:
    return int(_patches()["patches"].sum())


def _others() -> pd.DataFrame:
    return published(3).drop(index=_OURS)


def _ours(column: str) -> str:
    return str(published(3).loc[_OURS, column])


def _bijie() -> Finding:
    resolution = str(_others().loc["Bijie landslide", "resolution"])
    tolerance = f"±{quoted('bijie_resolution').half:g} m"
    return equals("bijie_resolution", _metres(resolution)[0], f"{resolution} in Table 3", "", tolerance)


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
    derived = [f"{single} of {len(resolutions)} others in Table 3 give one resolution"]
    derived += [", ".join(f"{name} {span}" for name, span in ranges.items())] if len(ranges) else []
    return holds_if(enough(single, len(resolutions)), "; ".join(derived))


def _least_share() -> Finding:
    lowest = float(paper.table(2)[_SPLITS].to_numpy().min())
    detail = "necessary, not sufficient: a mean above the limit says little about single patches"
    return holds_if(lowest >= quoted("least_share").number, f"the lowest share in Table 2 is {lowest:.4f}", detail)


def _gaps(relative: bool) -> Finding:
    table = paper.table(2).set_index("study_area")[_SPLITS]
    smallest, limit = table.min(axis=1), quoted("split_difference").number
    gaps, room = table.max(axis=1) - smallest, pd.Series(rules.ROOM, index=table.index)
    if relative:
        gaps, room = gaps / smallest, room / smallest
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
    derived = [f"{ours} of {_OURS}, more than {len(others) - len(as_many)} of {len(others)}"]
    derived += [", ".join(f"{count} of {name}" for name, count in as_many.items())] if len(as_many) else []
    joined = ", ".join(item for item in items.explode() if "/" in item)
    return holds_if(as_many.empty, "; ".join(derived), f"{joined} counted as one" if joined else "")


def _table_3_resolution() -> Finding:
    metres, (low, high) = paper.table(1)["resolution_m"], _metres(_ours("resolution"))
    derived = f"{low:g} to {high:g} m here, {metres.min():g} to {metres.max():g} m there"
    return holds_if((metres.min(), metres.max()) == (low, high), derived)


def _of_authors(name: str, column: str, kind: str) -> Finding:
    """Compare what Table 3 says of another data set with what its authors say."""
    here, (there, source) = str(_others().loc[name, column]), facts(kind).loc[name, ["value", "source"]]
    return holds_if(here == there, f"{here} here, {there} there", source)


def _comparison_size() -> Finding:
    size: Any = paper.table(2).set_index("study_area").loc["Comparison dataset", "patch_size"]
    return holds_if(size == quoted("comparison_size").number, f"{size} in Table 2")


CHECKS: rules.Checks = rules.by_name(globals()) | {
    "areas": lambda: count("areas", len(paper.table(1)), "rows in Table 1"),
    "sensors": lambda: count("sensors", len(_sensors()), f"in Table 1: {', '.join(sorted(_sensors()))}"),
    "sensor_names": lambda: same_sets(_sensors(), set(quoted("sensor_names").values), "Table 1"),
    **{f"after_{area}": partial(_after, area) for area in paper.AREAS},
    "after_luding": lambda: _image_after(pd.Period(quoted("image_luding").values[0], "D"), "luding"),
    "slides_jiuzhaigou": partial(_slides, "jiuzhaigou", "cited_count"),
    "slides_wenchuan/cited": partial(_slides, "wenchuan", "cited_count"),
    "slides_wenchuan/inventories": partial(_slides, "wenchuan", "inventory"),
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
    "table_3_sensors": lambda: same_sets(_sensors(), set(listed(_ours("sensors"))), "Table 1"),
}
