"""What follows for the paper's statements on study areas and images (abstract, sections 1, 2.1 and 3.2, Table 1)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd

from lmhld_nb import paper
from lmhld_nb.audit.rules import Finding, count, derives, listed, names, quoted, same_sets, yes


@derives("areas")
def _areas() -> Finding:
    return count("areas", len(paper.table(1)), "rows in Table 1")


@derives("sensors")
def _sensors() -> Finding:
    found = sorted(set(paper.table(1)["sensor"]))
    return count("sensors", len(found), f"in Table 1: {', '.join(found)}")


@derives("years")
def _years() -> Finding:
    dates = _dates()
    stated = dict(part.split("=") for part in quoted("area_years").values)
    wrong = {area: dates[area].year for area, year in stated.items() if dates[area].year != int(year)}
    told = f"{len(stated) - len(wrong)} of {len(dates)} years are those of Table 1's dates"
    if wrong:
        told += "; Table 1: " + ", ".join(f"{names([area])} {year}" for area, year in wrong.items())
    return Finding(told, yes(not wrong and set(stated) == set(dates)))


@derives("commercial")
def _commercial() -> Finding:
    facts = paper.outside()
    free = facts[(facts["kind"] == "open_data") & facts["key"].isin(paper.table(1)["sensor"])]
    told = "; ".join(f"{row.key}: {row.value}, data free to all" for row in free.itertuples())
    return Finding(
        told or "no sensor of Table 1 is known to us as public",
        yes(free.empty),
        detail="; ".join(free["source"]),
    )


@derives("sensor_names")
def _sensor_names() -> Finding:
    listed, found = set(quoted("sensor_names").values), set(paper.table(1)["sensor"])
    return same_sets(found, listed, "Table 1")


def _extreme(table: pd.DataFrame, column: str, smallest: bool = False) -> Any:
    """Return the row with the largest (or smallest) value of a column."""
    return table.sort_values(column, ascending=smallest).iloc[0]


@derives("landslides")
def _landslides() -> Finding:
    table = paper.table(1)
    total, most = int(table["landslides"].sum()), _extreme(table, "landslides")
    without = total - int(most["landslides"])
    return count(
        "landslides",
        total,
        "in Table 1 together",
        f"without {most['study_area']} it would be {without:,}",
    )


@derives("smallest")
def _smallest() -> Finding:
    table = paper.table(1)
    row = _extreme(table, "min_area_px", smallest=True)
    return count("smallest_px", int(row["min_area_px"]), f"px in Table 1 ({row['study_area']})")


@derives("largest")
def _largest() -> Finding:
    table = paper.table(1)
    table["km2"] = table["max_area_px"] * table["resolution_m"] ** 2 / 1e6
    row, widest = _extreme(table, "max_area_px"), _extreme(table, "km2")
    named = table[table["max_area_px"] == quoted("largest_px").number]["study_area"]
    detail = f"{quoted('largest_px')} is the value of {', '.join(named)}; " if len(named) else ""
    return count(
        "largest_px",
        int(row["max_area_px"]),
        f"px in Table 1 ({row['study_area']})",
        f"{detail}on the ground the largest is that of {widest['study_area']} ({widest['km2']:.2f} km²)",
    )


def _dates() -> dict[str, pd.Period]:
    """Return the month of each area's images (Table 1)."""
    table = paper.table(1)
    return {
        paper.area_key(name): pd.Period(date.replace(".", "-"), "M")
        for name, date in zip(table["study_area"], table["date"], strict=True)
    }


def _event(key: str) -> tuple[pd.Period, str]:
    """Return when an event was (a day or a month) and who says so."""
    facts = paper.outside()
    row = facts[(facts["kind"] == "event") & (facts["key"] == key)].iloc[0]
    return pd.Period(row["value"], "D" if row["value"].count("-") == 2 else "M"), str(row["source"])


def _image_after(images: pd.Period, key: str) -> Finding:
    event, source = _event(key)
    months = (images.year - event.year) * 12 + images.month - event.month
    if images.start_time > event.end_time:
        verdict, told = "holds", _months(months, "later")
    elif images.end_time < event.start_time:
        verdict, told = "contradicted", _months(-months, "earlier")
    else:
        verdict, told = "cannot be checked", "the month of the event: before or after it"
    return Finding(
        f"images {images}, event {event}: {told}",
        verdict,  # type: ignore[arg-type]
        "one month (images)",
        f"event: {source}",
    )


def _months(count: int, direction: str) -> str:
    return (
        f"{count} month{'s' if count != 1 else ''} {direction}" if count else f"{direction} in the same month"
    )


def _after(area: str) -> Finding:
    images, facts = _dates()[area], paper.outside()
    if f"event_{area}" in paper.quotes():
        found = _image_after(images, area)
        years = dict(part.split("=") for part in quoted("area_years").values)
        if found.verdict == "contradicted" and int(years[area]) == images.year:
            found = replace(found, detail=f"{found.detail}; the abstract, too, gives {images.year}")
        return found
    known = facts[(facts["kind"] == "event") & (facts["key"] == area)]
    detail = ""
    if len(known):
        event, source = _event(area)
        detail = f"the landslides of {event} would fit ({source})" if images > event.asfreq("M") else ""
    return Finding(f"images {images}; the paper names no event", "cannot be checked", "one month", detail)


for _area in paper.AREAS:
    derives(f"after_{_area}")(lambda area=_area: _after(area))


@derives("after_luding")
def _after_luding() -> Finding:
    return _image_after(pd.Period(quoted("image_luding").values[0], "D"), "luding")


def _part_of_all(area: str) -> Finding:
    """An event's landslides cannot be fewer than those of the study area in it."""
    quote, table = quoted(f"slides_{area}"), paper.table(1)
    keys = [paper.area_key(name) for name in table["study_area"]]
    here = int(table["landslides"].iloc[keys.index(area)])
    at_least = quote.printed[0].startswith("over")
    if here <= quote.number + quote.half:
        return Finding(f"{here:,} in Table 1: a part of them", "holds", f"±{quote.half:,.0f}")
    return Finding(
        f"{here:,} in Table 1, in the study area alone",
        "cannot be checked" if at_least else "contradicted",
        f"±{quote.half:,.0f}" if quote.half else "exact",
        f"'{quote}' leaves open how many; the two counts are of different inventories" if at_least else "",
    )


for _area in ("jiuzhaigou", "wenchuan"):
    derives(f"slides_{_area}")(lambda area=_area: _part_of_all(area))


@derives("magnitude")
def _magnitude() -> Finding:
    apart = quoted("magnitude_text").number - quoted("magnitude_cited").number
    return Finding(
        f"{abs(apart):.1f} apart", "cannot be checked", detail="magnitudes of two scales may differ so much"
    )


@derives("resolution_by_sensor")
def _resolution_by_sensor() -> Finding:
    metres: dict[str, set[float]] = {}
    for sensor, resolution in paper.table(1)[["sensor", "resolution_m"]].itertuples(index=False):
        metres.setdefault(sensor, set()).add(float(resolution))
    for sensors, resolution in paper.table(3)[["sensors", "resolution"]].itertuples(index=False):
        named = listed(sensors)
        if len(named) == 1:
            ends = (float(end.rstrip("m")) for end in resolution.split("-"))
            metres.setdefault(named[0], set()).update(ends)
    several = {name: sorted(found) for name, found in metres.items() if len(found) > 1}
    return Finding(
        "; ".join(f"{name} {found} m" for name, found in several.items())
        or f"one value for each of {len(metres)} sensors",
        yes(not several),
    )
