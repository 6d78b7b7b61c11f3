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


def _large_scale() -> Finding:
    area, (km2, source) = published(1).loc["wenchuan"], rules.facts("largest_km2").loc["wenchuan", ["value", "source"]]
    here = area["max_area_px"] * area["resolution_m"] ** 2 / 1e6
    derived = f"the largest of Wenchuan has {here:.2f} km² in Table 1, the largest of that earthquake {km2} km²"
    return unchecked(derived, f"the latter is not in the data set, or not whole: {source}")


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


def _slides(area: str, kind: str) -> Finding:
    """Judge an event's number of landslides by what others count; that the data set has fewer says nothing."""
    quote, here, counts = quoted(f"slides_{area}"), published(1)["landslides"][area], rules.facts(kind).loc[[area]]
    numbers = counts["value"].astype(float)
    derived = "; ".join(f"{number:,.0f} ({source})" for number, source in zip(numbers, counts["source"], strict=True))
    among = numbers.min() - quote.half <= quote.number <= numbers.max() + quote.half
    fewer = quote.printed[0].startswith("over") and quote.number < numbers.min()
    detail = f"Table 1 has {here:,} in the study area"
    return holds_if(among or fewer, derived, detail, rules.whole_tolerance(quote))


def _magnitude() -> Finding:
    apart = quoted("magnitude_text").number - quoted("magnitude_cited").number
    return unchecked(f"{abs(apart):.1f} apart", "magnitudes of two scales may differ so much")


def _magnitude_wenchuan() -> Finding:
    value, source = rules.facts("moment_magnitude").loc["wenchuan", ["value", "source"]]
    return rules.equals("magnitude_wenchuan", float(value), f"Mw {value}", source)


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


_NAMED = rules.by_name(_years, _commercial, _landslides, _smallest, _largest, _large_scale, _magnitude)
_NAMED |= rules.by_name(_magnitude_wenchuan, _resolution_by_sensor)
CHECKS: rules.Checks = _NAMED | {
    "areas": lambda: count("areas", len(paper.table(1)), "rows in Table 1"),
    "sensors": lambda: count("sensors", len(_sensors()), f"in Table 1: {', '.join(sorted(_sensors()))}"),
    "sensor_names": lambda: rules.same_sets(_sensors(), set(quoted("sensor_names").values), "Table 1"),
    **{f"after_{area}": partial(_after, area) for area in paper.AREAS},
    "after_luding": lambda: _image_after(pd.Period(quoted("image_luding").values[0], "D"), "luding"),
    "slides_jiuzhaigou": partial(_slides, "jiuzhaigou", "cited_count"),
    "slides_wenchuan/cited": partial(_slides, "wenchuan", "cited_count"),
    "slides_wenchuan/inventories": partial(_slides, "wenchuan", "inventory"),
}
