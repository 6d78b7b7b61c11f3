"""What follows for the paper's statements on study areas and images (abstract, sections 1, 2.1 and 3.2, Table 1)."""

from dataclasses import replace
from functools import partial

import pandas as pd

from lmhld_nb import paper
from lmhld_nb.audit import rules
from lmhld_nb.audit.rules import Finding, count, holds_if, published, quoted, unchecked


def _sensors() -> set[str]:
    return set(paper.table(1)["sensor"])


def _dates() -> dict[str, pd.Period]:
    """Return the month of each area's images (Table 1)."""
    return {str(area): pd.Period(date.replace(".", "-"), "M") for area, date in published(1)["date"].items()}


def _stated_years() -> dict[str, int]:
    """Return the year that the abstract gives for each area's images."""
    pairs = (pair.split("=") for pair in quoted("area_years").values)
    return {area: int(year) for area, year in pairs}


def _years() -> Finding:
    years, stated = {area: month.year for area, month in _dates().items()}, _stated_years()
    wrong = [area for area, year in stated.items() if years[area] != year]
    derived = f"{len(stated) - len(wrong)} of {len(years)} years are those of Table 1's dates"
    if wrong:
        derived += "; Table 1: " + ", ".join(f"{paper.area_name(area)} {years[area]}" for area in wrong)
    return holds_if(stated == years, derived)


def _commercial() -> Finding:
    free = rules.facts("open_data").filter(sorted(_sensors()), axis=0)
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
    same = pixels.index[pixels == quoted("largest_px").number]
    if len(same):
        detail = f"{quoted('largest_px')} is the value of {', '.join(same)}; {detail}"
    return count("largest_px", int(pixels.max()), f"px in Table 1 ({pixels.idxmax()})", detail)


def _image_after(images: pd.Period, key: str) -> Finding:
    """Judge from a month or a day of the images whether they were taken after an event."""
    value, source = rules.facts("event").loc[key, ["value", "source"]]
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
    images, events = _dates()[area], rules.facts("event")
    if f"event_{area}" in paper.quotes():
        finding = _image_after(images, area)
        if finding.verdict == "contradicted" and _stated_years()[area] == images.year:
            finding = replace(finding, detail=f"{finding.detail}; the abstract, too, gives {images.year}")
        return finding
    detail = ""
    if area in events.index:
        value, source = events.loc[area, ["value", "source"]]
        detail = f"the landslides of {value} would fit ({source})" if images > pd.Period(value, "M") else ""
    return unchecked(f"images {images}; the paper names no event", detail, "one month")


def _part_of_all(area: str) -> Finding:
    """An event's landslides cannot be fewer than those of the study area in it."""
    quote, here = quoted(f"slides_{area}"), int(published(1)["landslides"][area])
    tolerance = rules.whole_tolerance(quote)
    if here <= quote.number + quote.half:
        return Finding(f"{here:,} in Table 1: a part of them", "holds", tolerance)
    derived = f"{here:,} in Table 1, in the study area alone"
    if quote.printed[0].startswith("over"):
        detail = f"'{quote}' leaves open how many; the two counts are of different inventories"
        return unchecked(derived, detail, tolerance)
    return Finding(derived, "contradicted", tolerance)


def _magnitude() -> Finding:
    apart = quoted("magnitude_text").number - quoted("magnitude_cited").number
    return unchecked(f"{abs(apart):.1f} apart", "magnitudes of two scales may differ so much")


def _resolution_by_sensor() -> Finding:
    metres: dict[str, set[float]] = {}
    for sensor, resolution in paper.table(1)[["sensor", "resolution_m"]].itertuples(index=False):
        metres.setdefault(sensor, set()).add(float(resolution))
    for sensors, resolution in paper.table(3)[["sensors", "resolution"]].itertuples(index=False):
        if len(rules.listed(sensors)) == 1:
            ends = (float(end.rstrip("m")) for end in resolution.split("-"))
            metres.setdefault(rules.listed(sensors)[0], set()).update(ends)
    several = [f"{name} {sorted(values)} m" for name, values in metres.items() if len(values) > 1]
    return holds_if(not several, "; ".join(several) or f"one value for each of {len(metres)} sensors")


_NAMED = rules.by_name(_years, _commercial, _landslides, _smallest, _largest, _magnitude, _resolution_by_sensor)
CHECKS: rules.Checks = _NAMED | {
    "areas": lambda: count("areas", len(paper.table(1)), "rows in Table 1"),
    "sensors": lambda: count("sensors", len(_sensors()), f"in Table 1: {', '.join(sorted(_sensors()))}"),
    "sensor_names": lambda: rules.same_sets(_sensors(), set(quoted("sensor_names").values), "Table 1"),
    **{f"after_{area}": partial(_after, area) for area in paper.AREAS},
    "after_luding": lambda: _image_after(pd.Period(quoted("image_luding").values[0], "D"), "luding"),
    **{f"slides_{area}": partial(_part_of_all, area) for area in ("jiuzhaigou", "wenchuan")},
}
