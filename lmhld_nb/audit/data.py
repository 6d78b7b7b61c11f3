"""What follows for the paper's statements on study areas, images, patches and other data sets (up to section 3.2)."""

from dataclasses import replace
from typing import Any

import pandas as pd

from lmhld_nb import paper
from lmhld_nb.audit import rules
from lmhld_nb.audit.rules import Finding, Findings, count, equals, facts, holds_if, listed, published, quoted, same_sets

_OURS = "LMHLD"
_SPLITS = ["landslide_fraction_train", "landslide_fraction_val", "landslide_fraction_test"]


def areas() -> Findings:
    """Sensors and landslides of Table 1."""
    table = paper.table(1).set_index("study_area")
    sensors, numbers, smallest, largest = (table[c] for c in ("sensor", "landslides", "min_area_px", "max_area_px"))
    free = facts("open_data").filter(sorted(set(sensors)), axis=0)
    operators = "; ".join(f"{sensor}: {operator}, data free to all" for sensor, operator in free["value"].items())
    km2 = largest * table["resolution_m"] ** 2 / 1e6
    widest = f"on the ground the largest is that of {km2.idxmax()} ({km2.max():.2f} km²)"
    if len(same := largest.index[largest == quoted("largest_px").number]):
        widest = f"{quoted('largest_px')} is the value of {', '.join(same)}; {widest}"
    without = f"without {numbers.idxmax()} it would be {numbers.sum() - numbers.max():,}"
    metres = list(zip(sensors, table["resolution_m"].astype(float), strict=True))
    for cell, resolution in paper.table(3)[["sensors", "resolution"]].to_numpy():
        if len(names := listed(cell)) == 1:
            metres += [(names[0], end) for end in _metres(resolution)]
    by_sensor = pd.DataFrame(metres).groupby(0, sort=False)[1].agg(lambda ends: sorted(set(ends)))
    several = "; ".join(f"{name} {ends} m" for name, ends in by_sensor.items() if len(ends) > 1)
    return {
        "areas": count("areas", len(table), "rows in Table 1"),
        "sensors": count("sensors", sensors.nunique(), f"in Table 1: {', '.join(sorted(set(sensors)))}"),
        "sensor_names": same_sets(set(sensors), set(quoted("sensor_names").values), "Table 1"),
        "commercial": holds_if(
            free.empty, operators or "no sensor of Table 1 is known to us as public", "; ".join(free["source"])
        ),
        "landslides": count("landslides", int(numbers.sum()), "in Table 1 together", without),
        "smallest": count("smallest_px", int(smallest.min()), f"px in Table 1 ({smallest.idxmin()})"),
        "largest": count("largest_px", int(largest.max()), f"px in Table 1 ({largest.idxmax()})", widest),
        "resolution_by_sensor": holds_if(not several, several or f"one value for each of {len(by_sensor)} sensors"),
    }


def _metres(text: str) -> list[float]:
    """Return the ends of a resolution as Table 3 prints it."""
    return [float(end.rstrip("m")) for end in text.split("-")]


def images() -> Findings:
    """Dates of the images, and of the events that they show."""
    months = {str(a): pd.Period(date.replace(".", "-"), "M") for a, date in published(1)["date"].items()}
    years = {area: month.year for area, month in months.items()}
    stated = {area: int(year) for area, _, year in (pair.partition("=") for pair in quoted("area_years").values)}
    wrong = [f"{paper.area_name(area)} {years[area]}" for area, year in stated.items() if years[area] != year]
    right = f"{len(stated) - len(wrong)} of {len(years)} years are those of Table 1's dates"
    findings = {"years": holds_if(stated == years, right + (f"; Table 1: {', '.join(wrong)}" if wrong else ""))}
    for area, month in months.items():
        if f"event_{area}" in paper.quotes():
            finding = _image_after(month, area)
            if finding.verdict == "contradicted" and stated[area] == month.year:
                finding = replace(finding, detail=f"{finding.detail}; the abstract, too, gives {month.year}")
        else:
            known = facts("event").filter([area], axis=0)[["value", "source"]].to_numpy()
            fits = [f"the landslides of {day} would fit ({by})" for day, by in known if month > pd.Period(day, "M")]
            finding = rules.unchecked(f"images {month}; the paper names no event", "".join(fits))
        findings[f"after_{area}"] = finding
    luding = _image_after(pd.Period(quoted("image_luding").values[0], "D"), "luding")
    return findings | {"after_luding": luding}


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
    return Finding(f"images {images}, event {event}: {distance}", verdict, detail=f"event: {source}")


def events() -> Findings:
    """Magnitudes and landslides of the earthquakes, as others count them."""
    area, (largest, source) = published(1).loc["wenchuan"], facts("largest_km2").loc["wenchuan", ["value", "source"]]
    here = area["max_area_px"] * area["resolution_m"] ** 2 / 1e6
    km2 = f"the largest of Wenchuan has {here:.2f} km² in Table 1, the largest of that earthquake {largest} km²"
    apart = abs(quoted("magnitude_text").number - quoted("magnitude_cited").number)
    moment, seismologists = facts("moment_magnitude").loc["wenchuan", ["value", "source"]]
    return {
        "large_scale": rules.unchecked(km2, f"the latter is not in the data set, or not whole: {source}"),
        "magnitude": rules.unchecked(f"{apart:.1f} apart"),
        "magnitude_wenchuan": equals("magnitude_wenchuan", float(moment), f"Mw {moment}", seismologists),
        "slides_jiuzhaigou": _slides("jiuzhaigou", "cited_count"),
        "slides_wenchuan/cited": _slides("wenchuan", "cited_count"),
        "slides_wenchuan/inventories": _slides("wenchuan", "inventory"),
    }


def _slides(area: str, kind: str) -> Finding:
    """Judge an event's number of landslides by what others count; that the data set has fewer says nothing."""
    quote, here, counts = quoted(f"slides_{area}"), published(1)["landslides"][area], facts(kind).loc[[area]]
    numbers = counts["value"].astype(float)
    derived = "; ".join(f"{number:,.0f} ({source})" for number, source in zip(numbers, counts["source"], strict=True))
    among = numbers.min() - quote.half <= quote.number <= numbers.max() + quote.half
    fewer = quote.printed[0].startswith("over") and quote.number < numbers.min()
    return holds_if(among or fewer, derived, f"Table 1 has {here:,} in the study area", rules.tolerance_of(quote))


def patches() -> Findings:
    """Patches of the study areas (Table 2) and what Table 3 says of them."""
    every, ours = paper.table(2).set_index("study_area"), published(3).loc[_OURS]
    own = every[every.index.isin(paper.table(1)["study_area"])]
    sizes, total, said = set(own["patch_size"].astype(str)), int(own["patches"].sum()), int(ours["patches"])
    metres, (low, high) = paper.table(1)["resolution_m"], _metres(ours["resolution"])
    shares, size = every[_SPLITS], int(every["patch_size"]["Comparison dataset"])
    lowest = float(shares.to_numpy().min())
    smallest, gaps, room = shares.min(axis=1), shares.max(axis=1) - shares.min(axis=1), rules.ROOM
    sensors = set(paper.table(1)["sensor"])
    return {
        "patches": count("patches", total, "patches in Table 2's rows together"),
        "total": count("patches", total, "in the rows together"),
        "default_sizes": holds_if(
            sizes <= set(quoted("default_sizes").values), f"Table 2 uses {', '.join(sorted(sizes, key=float))}"
        ),
        "comparison_size": holds_if(size == quoted("comparison_size").number, f"{size} in Table 2"),
        "least_share": holds_if(lowest >= quoted("least_share").number, f"the lowest share in Table 2 is {lowest:.4f}"),
        "split_difference/points": _gaps(gaps, room + 0 * gaps, f"{100 * gaps.max():.2f} points"),
        "split_difference/relative": _gaps(
            gaps / smallest, room / smallest, f"{(gaps / smallest).max():.1%} of the smallest share"
        ),
        "table_3_patches": holds_if(said == total, f"{said:,} here, {total:,} there"),
        "table_3_sizes": same_sets(sizes, set(listed(ours["patch_size"])), "Table 2"),
        "table_3_sensors": same_sets(sensors, set(listed(ours["sensors"])), "Table 1"),
        "table_3_resolution": holds_if(
            (metres.min(), metres.max()) == (low, high),
            f"{low:g} to {high:g} m here, {metres.min():g} to {metres.max():g} m there",
        ),
    }  # fmt: skip


def _gaps(gaps: pd.Series, room: pd.Series, largest: str) -> Finding:
    limit = quoted("split_difference").number
    verdict = rules.worst(rules.at_most(gap, limit, inherited) for gap, inherited in zip(gaps, room, strict=True))
    derived = f"at most {largest} ({gaps.idxmax()}); {(gaps <= limit).sum()} of {len(gaps)} rows of Table 2 stay within"
    return Finding(derived, verdict)


def other_data() -> Findings:
    """The other data sets of Table 3."""
    others = published(3).drop(index=_OURS)
    sizes = others["patch_size"].map(listed)
    several, present = (sizes.str.len() > 1).sum(), sorted(set(sizes.explode()) - {"-"}, key=int)
    fixed = f"{several} of the {len(sizes)} others in Table 3 have several sizes; sizes there: {', '.join(present)}"
    unknown = ", ".join(sizes.index[sizes.str[0] == "-"])
    resolutions = others["resolution"]
    ranges = resolutions[resolutions.str.contains("-")]
    single, spans = len(others) - len(ranges), ", ".join(f"{name} {span}" for name, span in ranges.items())
    one = f"{single} of {len(others)} others in Table 3 give one resolution{'; ' if spans else ''}{spans}"
    bijie = resolutions["Bijie landslide"]
    return {
        "public_datasets": count("public_datasets", len(others), "others in Table 3"),
        "bijie": equals("bijie_resolution", _metres(bijie)[0], f"{bijie} in Table 3"),
        "fixed_sizes": holds_if(
            not several and set(quoted("fixed_sizes").values) <= set(present), fixed,
            f"no size is given for {unknown}" if unknown else "",
        ),
        "single_resolution/most": holds_if(2 * single > len(others), one),
        "single_resolution/all": holds_if(single == len(others), one),
        "gvlm_resolution": _of_authors("GVLm", "resolution", "resolution"),
        "landslide4sense/described": _of_authors("Landslide4sense", "patches", "patches_described"),
        "landslide4sense/released": _of_authors("Landslide4sense", "patches", "patches_released"),
    }  # fmt: skip


def _of_authors(name: str, column: str, kind: str) -> Finding:
    """Compare what Table 3 says of another data set with what its authors say."""
    here, (there, source) = str(published(3).loc[name, column]), facts(kind).loc[name, ["value", "source"]]
    return holds_if(here == there, f"{here} here, {there} there", source)


def volume() -> Findings:
    """Where LMHLD is ahead of the others in Table 3."""
    table, areas = published(3), paper.table(2)
    ours, others = int(table.loc[_OURS, "patches"]), table["patches"].drop(_OURS)
    areas = areas[areas["study_area"].isin(paper.table(1)["study_area"])]
    pixels = int((areas["patches"] * areas["patch_size"] ** 2).sum())
    theirs = others * pd.to_numeric(table["patch_size"].drop(_OURS), errors="coerce") ** 2
    millions = f"{pixels / 1e6:,.0f} million (Table 2); {theirs.idxmax()}: {theirs.max() / 1e6:,.0f} million"
    missing = ", ".join(theirs.index[theirs.isna()])
    return {
        "volume/patches": holds_if(
            ours > others.max(),
            f"{ours:,}; next {others.idxmax()}, {others.max():,}; all others together {others.sum():,}",
        ),
        "volume/pixels": holds_if(
            pixels > theirs.max(), millions, f"no patch size is given for {missing}" if missing else ""
        ),
        "size_diversity": _diversity(table["patch_size"]),
        "sensor_diversity": _diversity(table["sensors"]),
    }


def _diversity(cells: Any) -> Finding:
    items = cells.map(listed)
    counts = items.map(lambda cell: len(set(cell) - {"-"}))  # "-": not known
    ours, others = counts[_OURS], counts.drop(_OURS)
    as_many = others[others >= ours]
    derived = [f"{ours} of {_OURS}, more than {len(others) - len(as_many)} of {len(others)}"]
    derived += [", ".join(f"{count} of {name}" for name, count in as_many.items())] if len(as_many) else []
    joined = ", ".join(item for item in items.explode() if "/" in item)
    return holds_if(as_many.empty, "; ".join(derived), f"{joined} counted as one" if joined else "")


PARTS = (areas, images, events, patches, other_data, volume)
