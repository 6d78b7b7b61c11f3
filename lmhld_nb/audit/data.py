"""Findings on the paper's statements about data, orders and patch sizes (sections 2 to 4.1)."""

import math
from dataclasses import replace

import pandas as pd

from lmhld_nb import paper
from lmhld_nb.audit import rules
from lmhld_nb.audit.rules import Finding, Findings, equals, facts, holds_if, published, quoted, unchecked
from lmhld_nb.patches import candidate_sizes

_OURS = "LMHLD"


def areas() -> Findings:
    """Landslides of Table 1: their number, and the largest."""
    table = paper.table(1).set_index("study_area")
    numbers, largest, quote = table["landslides"], table["max_area_px"], quoted("largest_px")
    km2 = largest * table["resolution_m"] ** 2 / 1e6
    widest = f"on the ground the largest is that of {km2.idxmax()} ({km2.max():.2f} km²)"
    if len(same := largest.index[largest == quote.number]):
        widest = f"{quote} is the value of {', '.join(same)}; {widest}"
    without = f"without {numbers.idxmax()} it would be {numbers.sum() - numbers.max():,}"
    return {
        "landslides": equals("landslides", numbers.sum(), f"{numbers.sum():,} in Table 1 together", without),
        "largest": equals(quote.name, largest.max(), f"{largest.max():,} px in Table 1 ({largest.idxmax()})", widest),
    }


def images() -> Findings:
    """Dates of the images, and of the events that they show."""
    findings = {}
    stated = dict(pair.split("=") for pair in quoted("area_years").values)
    for area, date in published(1)["date"].items():
        month = pd.Period(date.replace(".", "-"), "M")
        if f"event_{area}" in paper.quotes():
            finding = _image_after(month, area)
            if finding.verdict == "contradicted" and stated[area] == str(month.year):
                finding = replace(finding, detail=f"{finding.detail}; the abstract, too, gives {month.year}")
        else:
            known = facts("event").filter([area], axis=0)[["value", "source"]].to_numpy()
            fits = [f"the landslides of {day} would fit ({by})" for day, by in known if month > pd.Period(day, "M")]
            finding = unchecked(f"images {month}; the paper names no event", "".join(fits))
        findings[f"after_{area}"] = finding
    return findings


def _image_after(images: pd.Period, area: str) -> Finding:
    """Judge from the month of an area's images whether they were taken after its event."""
    value, source = facts("event").loc[area, ["value", "source"]]
    event = pd.Period(value)
    months = abs((images.year - event.year) * 12 + images.month - event.month)
    said, apart = f"images {images}, event {event}: ", f"{months} month{'' if months == 1 else 's'}"
    if images.start_time > event.end_time:
        return holds_if(True, f"{said}{apart} later", f"event: {source}")
    if images.end_time < event.start_time:
        return holds_if(False, f"{said}{apart} earlier", f"event: {source}")
    return unchecked(f"{said}the month of the event: before or after it", f"event: {source}")


def events() -> Findings:
    """Magnitudes of the earthquakes, and numbers of landslides, in other publications."""
    area, (largest, source) = published(1).loc["wenchuan"], facts("largest_km2").loc["wenchuan", ["value", "source"]]
    here = area["max_area_px"] * area["resolution_m"] ** 2 / 1e6
    km2 = f"the largest of Wenchuan has {here:.2f} km² in Table 1, the largest of that earthquake {largest} km²"
    apart = abs(quoted("magnitude_text").number - quoted("magnitude_cited").number)
    moment, seismologists = facts("moment_magnitude").loc["wenchuan", ["value", "source"]]
    return {
        "large_scale": unchecked(km2, f"the latter is not in the data set, or not whole: {source}"),
        "magnitude": unchecked(f"{apart:.1f} apart"),
        "magnitude_wenchuan": equals("magnitude_wenchuan", float(moment), f"Mw {moment}", seismologists),
        "slides_jiuzhaigou": _slides("jiuzhaigou", "cited_count"),
        "slides_wenchuan/cited": _slides("wenchuan", "cited_count"),
        "slides_wenchuan/inventories": _slides("wenchuan", "inventory"),
    }


def _slides(area: str, kind: str) -> Finding:
    """Judge an event's number of landslides by other counts; that the data set has fewer is no evidence."""
    quote, here, counts = quoted(f"slides_{area}"), published(1)["landslides"][area], facts(kind).loc[[area]]
    numbers = counts["value"].astype(float)
    derived = "; ".join(f"{number:,.0f} ({source})" for number, source in zip(numbers, counts["source"], strict=True))
    among = numbers.min() - quote.half <= quote.number <= numbers.max() + quote.half
    fewer = quote.printed[0].startswith("over") and quote.number < numbers.min()
    return holds_if(among or fewer, derived, f"Table 1 has {here:,} in the study area", rules.tolerance_of(quote))


def patches() -> Findings:
    """Number of patches and their landslide share in the three splits (Table 2)."""
    shares = paper.table(2).set_index("study_area").filter(like="landslide_fraction")
    smallest, gaps, room = shares.min(axis=1), shares.max(axis=1) - shares.min(axis=1), rules.ROOM
    relative = gaps / smallest
    total, said = int(_of_areas()["patches"].sum()), int(published(3).loc[_OURS, "patches"])
    return {
        "split_difference/points": _gaps(gaps, room + 0 * gaps, f"{100 * gaps.max():.2f} points"),
        "split_difference/relative": _gaps(relative, room / smallest, f"{relative.max():.1%} of the smallest share"),
        "total": equals("patches", total, f"{total:,} in the rows together"),
        "table_3_patches": holds_if(said == total, f"{said:,} here, {total:,} there"),
    }


def _of_areas() -> pd.DataFrame:
    """Return the rows of Table 2 for study areas, without the comparison data set."""
    table = paper.table(2)
    return table[table["study_area"].isin(paper.table(1)["study_area"])]


def _gaps(gaps: pd.Series, room: pd.Series, largest: str) -> Finding:
    limit = quoted("split_difference").number
    verdict = rules.worst(rules.at_most(gap, limit, inherited) for gap, inherited in zip(gaps, room, strict=True))
    derived = f"at most {largest} ({gaps.idxmax()}); {(gaps <= limit).sum()} of {len(gaps)} rows of Table 2 stay within"
    return Finding(derived, verdict)


def volume() -> Findings:
    """In which respects LMHLD is ahead of the others in Table 3."""
    table, areas = published(3), _of_areas()
    ours, others = table.loc[_OURS], table.drop(index=_OURS)
    next_patches, missing = others["patches"].max(), others.index[others["patch_size"] == "-"]
    numbers = f"{ours['patches']:,}; next {others['patches'].idxmax()}, {next_patches:,}"
    pixels = int((areas["patches"] * areas["patch_size"] ** 2).sum())
    theirs = others["patches"] * pd.to_numeric(others["patch_size"], errors="coerce") ** 2
    millions = f"{pixels / 1e6:,.0f} million (Table 2); {theirs.idxmax()}: {theirs.max() / 1e6:,.0f} million"
    sensors = table["sensors"].map(lambda cell: len(set(cell.split(", "))))
    as_many = sensors.drop(_OURS)[lambda counts: counts >= sensors[_OURS]]
    more = ", ".join(f"{number} of {name}" for name, number in as_many.items()) or "fewer of all others"
    kinds = f"{sensors[_OURS]} of {_OURS}; {more}"
    return {
        "volume/patches": holds_if(ours["patches"] > next_patches, numbers),
        "volume/pixels": holds_if(pixels > theirs.max(), millions, f"no patch size is given for {', '.join(missing)}"),
        "sensor_diversity": holds_if(as_many.empty, kinds, "WorldView2/3 counted as one"),
    }


def other_data() -> Findings:
    """What Table 3 and the authors of other data sets say about these."""
    return {
        "gvlm_resolution": _of_authors("GVLm", "resolution", "resolution"),
        "landslide4sense/described": _of_authors("Landslide4sense", "patches", "patches_described"),
        "landslide4sense/released": _of_authors("Landslide4sense", "patches", "patches_released"),
    }


def _of_authors(name: str, column: str, kind: str) -> Finding:
    """Compare what Table 3 says about another data set with what its authors say."""
    here, (there, source) = str(published(3).loc[name, column]), facts(kind).loc[name, ["value", "source"]]
    return holds_if(here == there, f"{here} here, {there} there", source)


def experiments() -> Findings:
    """Orders in which areas are added, epochs, and the scenes of experiment 5."""
    stages, epochs, orders = len(paper.AREAS), int(quoted("epochs").number), int(quoted("orders").number)
    scenes, regions = quoted("scenes_figure_7").values, facts("lies_in")["value"]
    shared = regions[regions.index.isin(scenes) & regions.isin(published(1).index)]
    of_scenes = f"of {len(scenes) + 1} scenes lies in the region of a study area"
    regions_shown = (f"{scene} ({paper.area_name(area)})" for scene, area in shared.items())
    detail = "the outlines of study area and scene are not published; the images themselves may be new"
    unseen = unchecked(f"{len(shared)} {of_scenes}: {', '.join(regions_shown)}", detail)
    return {
        "other_orders": unchecked(f"{orders} of {math.factorial(stages):,} orders were tried"),
        "one_epoch": unchecked(f"one epoch for each of {stages} data sets makes {stages} epochs, not {epochs}"),
        "unseen": Finding(f"none {of_scenes}", "holds") if shared.empty else unseen,
    }


def patch_sizes() -> Findings:
    """The candidate sizes of Wenchuan, and the three tried there (Table 4)."""
    quartiles = quoted("quartile_1").number, quoted("quartile_2").number, quoted("quartile_3").number
    sides = ", ".join(f"{(pixels / quoted('fill').number) ** 0.5:.1f}" for pixels in quartiles)
    chosen = tuple(map(str, candidate_sizes(quartiles, [int(size) for size in quoted("default_sizes").values])))
    nearest = f"sides of {sides}; nearest default sizes {', '.join(chosen)}"
    f1 = published(4)["f1"].unstack("patch_size").reindex(list(paper.MODELS.values()))
    size = int(quoted("best_size").number)
    return {
        "candidates": holds_if(chosen == quoted("candidates").values, nearest),
        "best_size/mean": _best_size("mean", f1.mean()),
        "best_size/highest": _best_size("highest", f1.max()),
        "best_size/each": rules.all_above(f1[size] - f1.drop(columns=size).max(axis=1), "models"),
    }


def _best_size(summary: str, values: pd.Series) -> Finding:
    """Judge whether a summary of F1 over the models is highest at the chosen size."""
    size = int(quoted("best_size").number)
    verdict = rules.above(values[size] - values.drop(size).max(), rules.ROOM)
    return Finding(f"{summary} F1 {rules.listing(values)}", verdict)


PARTS = (areas, images, events, patches, volume, other_data, experiments, patch_sizes)
