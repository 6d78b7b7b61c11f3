"""What the tables of chapter 11 say, each in one or two sentences: functions of a DataFrame as its CSV holds it."""

from typing import Any

import numpy as np

from lmhld_nb import paper
from lmhld_nb.evaluation.intervals import LEAST, Interval, reordered


def rankings(table: Any) -> str:
    """How many pairs of networks differ (`certainty.rankings`)."""
    counts = table[["pairs", "untested", "sure"]].sum()
    tested, by_table = (
        counts["pairs"] - counts["untested"],
        ", ".join(f"{row.sure} of {row.pairs - row.untested} in Table {row.table}" for row in table.itertuples()),
    )
    left_out = f" {counts['untested']} further pairs have too few test patches for any test." * bool(counts["untested"])
    if not tested:
        return f"no pair of networks has enough test patches to be compared.{left_out}"
    return (
        f"{counts['sure']} of {tested} tested pairs of networks differ beyond the chance of test patches ({by_table}; "
        f"permutation tests, p corrected for the pairs of a table).{left_out} The paper ranks its networks by single "
        "trainings, without an interval: that a ranking by the third digit means something does not follow from it."
    )


def prevalence(table: Any) -> str:
    """What the 10 % filter hides (`beyond_tables.prevalence_table`)."""
    kept, whole = (rows.set_index("training") for rows in (table[table["weight"] == 0], table[table["natural"]]))
    if whole.empty:
        return "the filter drops no window here."
    usual, other = "as in the paper", "with background"
    before, after = kept.loc[usual], whole.loc[usual]
    gain = whole.loc[other, "f1"] - after["f1"]
    return (
        f"from the kept windows ({before['prevalence']:.0%} landslide, n = {before['kept']}) to the whole area "
        f"({after['prevalence']:.1%}, {after['dropped']} dropped windows stand for the rest), F1 goes from "
        f"{_score(before)} to {_score(after)}, precision from {before['precision']:.2f} to {after['precision']:.2f}, "
        f"recall from {before['recall']:.2f} to {after['recall']:.2f}. {_alarms(before, after)} Training with dropped "
        f"windows changes F1 on the whole area by {gain:+.3f} (its standard deviations over {after['seeds']} seeds: "
        f"{_sd(after['f1_sd'])} without, {_sd(whole.loc[other, 'f1_sd'])} with)."
    )


def _alarms(before: Any, after: Any) -> str:
    shares = f"{before['false_alarms']:.1%} and {after['false_alarms']:.1%}"
    return f"Of the background, {shares} are mapped: the share of false alarms is not the same."


def label_noise(table: Any) -> str:
    """What drawing errors cost (`beyond_tables.label_table`)."""
    rows = table.set_index(["trained", "tested"])
    drawn, true = rows.loc[("drawn", "drawn")], rows.loc[("drawn", "true")]
    gain = rows.loc[("true", "true")]
    sure = "" if gain["gain_low"] > 0 or gain["gain_high"] < 0 else ", which these patches do not tell from none"
    if np.isnan(gain["gain_low"]):
        sure = ", from too few patches for an interval"
    return (
        f"the drawn outlines reach F1 {drawn['labels_f1']:.3f} against the true ones. A network trained on them scores "
        f"{drawn['f1']:.3f} against drawn and {true['f1']:.3f} against true outlines ({_n(drawn)}): a score against an "
        f"inventory is {'lower' if drawn['f1'] < true['f1'] else 'no lower'} than what the map is worth. Training on "
        f"true outlines gains {_interval(gain['gain'], gain['gain_low'], gain['gain_high'])} against true ones{sure}."
    )


def split_kinds(table: Any) -> str:
    """Whether the random split leaks (`beyond_tables.split_table`)."""
    f1 = table.pivot(index="seed", columns="split", values="f1").dropna()
    gaps = f1["random"] - f1["blocks"]
    p = reordered(f1[["random", "blocks"]].to_numpy()) if len(gaps) > 1 else np.nan
    verdict = "too few draws for a test" if np.isnan(p) else f"p = {p:.3f}, random against blocks within each draw"
    sure = "the random split leaks" if p < 0.05 and gaps.mean() > 0 else "a leak is not shown"
    patches = table["patches"].sum()
    return (
        f"F1 on random test patches minus F1 on blocks apart, both with as many training patches, is {gaps.mean():+.3f} "
        f"(mean of {len(gaps)} draws, standard deviation {_sd(gaps.std())}, {int((gaps > 0).sum())} of them positive, "
        f"{patches:.0f} tested patches; {verdict}): {sure}. The paper splits at random."
    )


def landslides_found(table: Any) -> str:
    """How many landslides are found (`objects.by_size`)."""
    total = table[["landslides", "detected", "mapped", "mapped_false"]].sum()
    first, last = (table[table["landslides"] > 0].iloc[place] for place in (0, -1))
    return (
        f"at least half of {total['detected']:.0f} of {total['landslides']:.0f} landslides is mapped: "
        f"{_share(first)} of those of {first['area_m2']} m², {_share(last)} of those of {last['area_m2']} m²; "
        f"{total['mapped_false']:.0f} of {total['mapped']:.0f} mapped objects are false. The paper counts pixels only."
    )


def _share(row: Any) -> str:
    return (
        f"{row['detection_rate']:.0%} (95 % from {row['detection_low']:.0%} to {row['detection_high']:.0%}, "
        f"n = {row['landslides']:.0f})"
    )


def sizes_compared(table: Any) -> str:
    """Which patch size is best with equally many pixels (`beyond_tables.size_table`)."""
    rows = table.set_index("patch_size")
    best, spread = rows["f1"].idxmax(), rows["f1"].max() - rows["f1"].min()
    chosen = rows[rows["chosen"] > 0]
    holds = "is not among them" if chosen.empty else f"{_score(chosen.iloc[0])} at the 10 % rule's {chosen.index[0]} px"
    return (
        f"with equally many pixels in training, F1 over the whole area is highest at {best} px "
        f"({_score(rows.loc[best])}), and {holds}; means differ by up to {spread:.3f}, and {rows['seeds'].min():.0f} seeds "
        f"of one size have a standard deviation of up to {_sd(rows['f1_sd'].max())}. {_size_claim(rows, chosen)}"
    )


def _size_claim(rows: Any, chosen: Any) -> str:
    sd = rows["f1_sd"].max()
    if chosen.empty or np.isnan(sd):
        return "Whether the rule's size is the best cannot be said from this."
    behind = rows["f1"].max() - chosen["f1"].iloc[0]
    return f"That the rule chooses the best size {'is not contradicted' if behind <= 2 * sd else 'does not hold'} here."


def switches(table: Any) -> str:
    """Which open points matter (`beyond_tables.switch_table`)."""
    seeds, clear = int(table["seeds"].min()), table[((table["low"] > 0) | (table["high"] < 0)) & table["same_sign"]]
    effects = "; ".join(
        f"{row.change} {row.effect:+.3f} (95 % over patches from {row.low:+.3f} to {row.high:+.3f}, standard deviation "
        f"over seeds {_sd(row.effect_sd)})"
        for row in clear.itertuples()
    )
    about = f"n = {table['patches'].min():.0f} patches, {seeds} seeds" if seeds > 1 else "one seed, which may be luck"
    if clear.empty:
        return f"none of {len(table)} other choices changes F1 beyond patches and seeds ({about})."
    return f"{len(clear)} of {len(table)} other choices change F1 beyond patches in every seed ({about}): {effects}."


def leave_one_out(table: Any) -> str:
    """What is found in an area that was not learnt (`leave_one_out.left_out_table`)."""
    enough = table[table["patches"] >= LEAST]
    worst, best = (table.loc[table["f1"].agg(which)] for which in ("idxmin", "idxmax"))
    gaps = table["gap"].dropna()
    below = int((enough["gap_high"] < 0).sum())
    compared = (
        f"that is {-gaps.mean():.3f} less than one that has learnt that area alone (mean of {len(gaps)} areas; less "
        f"beyond the chance of patches in {below} of {len(enough)} with {LEAST} test patches or more)"
        if len(gaps)
        else "none that has learnt the area alone is there to compare with"
    )
    return (
        f"in an area that it has not learnt, a network that has learnt all others reaches F1 {table['f1'].mean():.3f} "
        f"(mean of {len(table)} areas, {table['seeds'].min():.0f} seeds; from {_score(worst)} in "
        f"{paper.area_name(worst['area'])} to {_score(best)} in {paper.area_name(best['area'])}); {compared}. "
        "The paper's test patches come from areas that its networks have learnt."
    )


def epochs_per_stage(table: Any) -> str:
    """Whether the verdict on LMHLD_part depends on the epochs of a stage (`beyond_tables.epochs_table`)."""
    told, signs = [], set()
    others = table[(table["strategy"] != "part") & table["part_minus"].notna()]
    for epochs, rows in others.groupby("epochs"):
        parts = [
            f"{row.part_minus:+.3f} (sd {_sd(row.part_minus_sd)}) over {row.strategy}" for row in rows.itertuples()
        ]
        told.append(f"{epochs} epochs {' and '.join(parts)}")
    if not told:
        return "there is nothing to compare LMHLD_part with."
    for _, rows in others.groupby("strategy"):
        signs.add(len(set(np.sign(rows["part_minus"]))) == 1)
    stable = "keeps its sign" if all(signs) else "changes its sign with the epochs"
    ahead = (others["part_minus"] > 0).all()
    return (
        f"F1 of LMHLD_part by epochs of a stage ({table['seeds'].min():.0f} seeds, {table['areas'].iloc[0]:.0f} areas, "
        f"{table['patches'].min():.0f} patches or more): {'; '.join(told)}. The difference {stable}. That LMHLD_part is "
        f"ahead, as the paper has it, {'holds' if ahead else 'does not hold throughout'} here."
    )


def _score(row: Any) -> str:
    return _interval(row["f1"], row["f1_low"], row["f1_high"], "")


def _interval(value: float, low: float, high: float, sign: str = "+") -> str:
    return Interval(value, low, high).describe(f"{sign}.3f")


def _n(row: Any) -> str:
    return f"n = {row['patches']:.0f} patches, {row['seeds']:.0f} seed{'s' * (row['seeds'] > 1)}"


def _sd(value: float) -> str:
    return "unknown" if np.isnan(value) else f"{value:.3f}"


BEYOND = {
    "rankings": rankings, "prevalence": prevalence, "label_noise": label_noise, "split_kinds": split_kinds,
    "landslides_found": landslides_found, "sizes_compared": sizes_compared, "switches": switches,
    "epochs_per_stage": epochs_per_stage,
}  # fmt: skip
"""Findings of the experiment `beyond`, by table."""
