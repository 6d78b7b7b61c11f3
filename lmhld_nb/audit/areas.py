"""What follows for the paper's statements on study areas and images (abstract, sections 1, 2.1 and 3.2, Table 1)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pandas as pd

from lmhld_nb import paper
from lmhld_nb.audit.rules import (
    Checks,
    Finding,
    count,
    holds_if,
    listed,
    names,
    quoted,
    same_sets,
    unchecked,
)


def _sensors() -> set[str]:
    return set(paper.table(1)["sensor"])


def _dates() -> dict[str, pd.Period]:
    """Return the month of each area's images (Table 1)."""
    table = paper.table(1)
    return {
        paper.area_key(name): pd.Period(date.replace(".", "-"), "M")
        for name, date in zip(table["study_area"], table["date"], strict=True)
    }


def _stated_years() -> dict[str, int]:
    """Return the year that the abstract gives for each area's images."""
    pairs = (pair.split("=") for pair in quoted("area_years").values)
    return {area: int(year) for area, year in pairs}


def _years() -> Finding:
    dates, stated = _dates(), _stated_years()
    wrong = {area: dates[area].year for area, year in stated.items() if dates[area].year != year}
    derived = f"{len(stated) - len(wrong)} of {len(dates)} years are those of Table 1's dates"
    if wrong:
        derived += "; Table 1: " + ", ".join(f"{names([area])} {year}" for area, year in wrong.items())
    return holds_if(not wrong and set(stated) == set(dates), derived)


def _commercial() -> Finding:
    facts = paper.outside()
    free = facts[(facts["kind"] == "open_data") & facts["key"].isin(paper.table(1)["sensor"])]
    derived = "; ".join(f"{row.key}: {row.value}, data free to all" for row in free.itertuples())
    return holds_if(free.empty, derived or "no sensor of Table 1 is known to us as public", "; ".join(free["source"]))


def _landslides() -> Finding:
    table = paper.table(1)
    total, most = int(table["landslides"].sum()), table.sort_values("landslides").iloc[-1]
    detail = f"without {most['study_area']} it would be {total - int(most['landslides']):,}"
    return count("landslides", total, "in Table 1 together", detail)


def _smallest() -> Finding:
    row = paper.table(1).sort_values("min_area_px").iloc[0]
    return count("smallest_px", int(row["min_area_px"]), f"px in Table 1 ({row['study_area']})")


def _largest() -> Finding:
    table = paper.table(1)
    table["km2"] = table["max_area_px"] * table["resolution_m"] ** 2 / 1e6
    row, widest = table.sort_values("max_area_px").iloc[-1], table.sort_values("km2").iloc[-1]
    same = table[table["max_area_px"] == quoted("largest_px").number]["study_area"]
    detail = f"on the ground the largest is that of {widest['study_area']} ({widest['km2']:.2f} km²)"
    if len(same):
        detail = f"{quoted('largest_px')} is the value of {', '.join(same)}; {detail}"
    return count("largest_px", int(row["max_area_px"]), f"px in Table 1 ({row['study_area']})", detail)


def _event(key: str) -> tuple[pd.Period, str] | None:
    """Return when an event was (a day or a month) and who says so."""
    facts = paper.outside()
    for row in facts[(facts["kind"] == "event") & (facts["key"] == key)].itertuples():
        day_or_month = "D" if str(row.value).count("-") == 2 else "M"
        return pd.Period(str(row.value), day_or_month), str(row.source)
    return None


def _image_after(images: pd.Period, key: str) -> Finding:
    known = _event(key)
    assert known is not None, f"outside.csv has no event {key}"
    event, source = known
    months = (images.year - event.year) * 12 + images.month - event.month
    finding = unchecked("the month of the event: before or after it", f"event: {source}", "one month (images)")
    if images.start_time > event.end_time:
        finding = replace(finding, verdict="holds", derived=_months(months, "later"))
    elif images.end_time < event.start_time:
        finding = replace(finding, verdict="contradicted", derived=_months(-months, "earlier"))
    return replace(finding, derived=f"images {images}, event {event}: {finding.derived}")


def _months(months: int, direction: str) -> str:
    if not months:
        return f"{direction} in the same month"
    return f"{months} month{'s' if months != 1 else ''} {direction}"


def _after(area: str) -> Finding:
    images, event = _dates()[area], _event(area)
    if f"event_{area}" in paper.quotes():
        finding = _image_after(images, area)
        if finding.verdict == "contradicted" and _stated_years()[area] == images.year:
            finding = replace(finding, detail=f"{finding.detail}; the abstract, too, gives {images.year}")
        return finding
    detail = ""
    if event and images > event[0].asfreq("M"):
        detail = f"the landslides of {event[0]} would fit ({event[1]})"
    return unchecked(f"images {images}; the paper names no event", detail, "one month")


def _part_of_all(area: str) -> Finding:
    """An event's landslides cannot be fewer than those of the study area in it."""
    quote, table = quoted(f"slides_{area}"), paper.table(1)
    keys = [paper.area_key(name) for name in table["study_area"]]
    here = int(table["landslides"].iloc[keys.index(area)])
    if here <= quote.number + quote.half:
        return Finding(f"{here:,} in Table 1: a part of them", "holds", f"±{quote.half:,.0f}")
    derived = f"{here:,} in Table 1, in the study area alone"
    tolerance = f"±{quote.half:,.0f}" if quote.half else "exact"
    if quote.printed[0].startswith("over"):
        open_point = f"'{quote}' leaves open how many; the two counts are of different inventories"
        return unchecked(derived, open_point, tolerance)
    return Finding(derived, "contradicted", tolerance)


def _magnitude() -> Finding:
    apart = quoted("magnitude_text").number - quoted("magnitude_cited").number
    return unchecked(f"{abs(apart):.1f} apart", "magnitudes of two scales may differ so much")


def _resolution_by_sensor() -> Finding:
    metres: dict[str, set[float]] = {}
    for sensor, resolution in paper.table(1)[["sensor", "resolution_m"]].itertuples(index=False):
        metres.setdefault(sensor, set()).add(float(resolution))
    for sensors, resolution in paper.table(3)[["sensors", "resolution"]].itertuples(index=False):
        if len(listed(sensors)) == 1:
            ends = (float(end.rstrip("m")) for end in resolution.split("-"))
            metres.setdefault(listed(sensors)[0], set()).update(ends)
    several = [f"{name} {sorted(values)} m" for name, values in metres.items() if len(values) > 1]
    return holds_if(not several, "; ".join(several) or f"one value for each of {len(metres)} sensors")


CHECKS: Checks = {
    "areas": lambda: count("areas", len(paper.table(1)), "rows in Table 1"),
    "sensors": lambda: count("sensors", len(_sensors()), f"in Table 1: {', '.join(sorted(_sensors()))}"),
    "years": _years,
    "commercial": _commercial,
    "sensor_names": lambda: same_sets(_sensors(), set(quoted("sensor_names").values), "Table 1"),
    "landslides": _landslides,
    "smallest": _smallest,
    "largest": _largest,
    **{f"after_{area}": partial(_after, area) for area in paper.AREAS},
    "after_luding": lambda: _image_after(pd.Period(quoted("image_luding").values[0], "D"), "luding"),
    **{f"slides_{area}": partial(_part_of_all, area) for area in ("jiuzhaigou", "wenchuan")},
    "magnitude": _magnitude,
    "resolution_by_sensor": _resolution_by_sensor,
}
