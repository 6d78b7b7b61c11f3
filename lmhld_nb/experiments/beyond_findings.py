"""What the tables of chapter 11 show, in one or two sentences each: functions of a DataFrame as read from its CSV."""

from typing import Any

import numpy as np

from lmhld_nb import paper
from lmhld_nb.evaluation.intervals import LEAST, Interval, reordered


def rankings(table: Any) -> str:
    """How many pairs of networks differ (`certainty.rankings`)."""
    pairs, untested, sure = (int(table[name].sum()) for name in ("pairs", "untested", "sure"))
    left_out = f" {untested} further pairs rest on too few blocks of touching patches for a test." if untested else ""
    if pairs == untested:
        return f"no pair of networks rests on enough test patches to be compared.{left_out}"
    tested = table.assign(tested=table["pairs"] - table["untested"]).query("tested > 0")
    by_table = ", ".join(f"{row.sure} of {row.tested} in Table {row.table}" for row in tested.itertuples())
    alone = int(table["one_seed"].sum()) if "one_seed" in table else 0
    others = f"; {alone} of them rest on one seed, and with another might not" if alone else ""
    return (
        f"{sure} of {pairs - untested} pairs of networks differ beyond the chance of test patches ({by_table}; "
        f"permutation tests, p below 0.05 when corrected for all pairs of a table).{left_out} The paper gives each "
        f"network one number, without an interval; {'most of these' if sure else 'no'} pairs would keep their order on "
        f"other test patches{others}."
    )


def prevalence(table: Any) -> str:
    """What the 10 % filter hides (`beyond_tables.prevalence_table`)."""
    usual, other = (table[table["training"] == name] for name in ("as in the paper", "with background"))
    if not usual["natural"].any():
        return "the filter drops no window here."
    before, after = usual[usual["weight"] == 0].iloc[0], usual[usual["natural"]].iloc[0]
    trained = other[other["natural"]].iloc[0]
    return (
        f"from kept windows ({before['prevalence']:.0%} landslide, n = {before['kept']}) to all "
        f"({after['prevalence']:.1%}, n = {before['kept'] + before['dropped']}) F1 goes from {_score(before)} to "
        f"{_score(after)}, precision from {before['precision']:.2f} to {after['precision']:.2f}, recall from "
        f"{before['recall']:.2f} to {after['recall']:.2f}; {before['false_alarms']:.1%} and "
        f"{after['false_alarms']:.1%} of the background are false alarms. Trained with the dropped windows, it reaches "
        f"{_score(trained)} ({_seeds(after)}{_sd(max(after['f1_sd'], trained['f1_sd']))}). "
        + (_few(before["kept"]) or "A score on patches chosen for their landslides is not that of a map.")
    )


def label_noise(table: Any) -> str:
    """What drawing errors cost (`beyond_tables.label_table`)."""
    rows = table.set_index(["trained", "tested"])
    drawn, true, gain = (rows.loc[key] for key in (("drawn", "drawn"), ("drawn", "true"), ("true", "true")))
    shown = "below" if drawn["f1"] < true["f1"] else "not below"
    sure = "more" if gain["gain_low"] > 0 or gain["gain_high"] < 0 else "no more"
    verdict = f"The inventory's score is {shown} the true one; the gain is {sure} than the choice of patches explains."
    return (
        f"the drawn outlines reach F1 {drawn['labels_f1']:.3f} against the true ones. A network trained on them scores "
        f"{drawn['f1']:.3f} against drawn and {true['f1']:.3f} against true outlines (n = {drawn['patches']} patches, "
        f"{_seeds(drawn)}); training on true outlines changes the latter by "
        f"{Interval(gain['gain'], gain['gain_low'], gain['gain_high']).describe('+.3f')}. "
        + (_few(drawn["patches"]) or verdict)
    )


def split_kinds(table: Any) -> str:
    """Whether the random split leaks (`beyond_tables.split_table`)."""
    f1 = table.pivot(index="seed", columns="split", values="f1").dropna()
    if not {"random", "blocks"} <= set(f1) or len(f1) < 2:
        return "fewer than two draws of both splits are finished, so whether the random split leaks is not known."
    gaps, p = f1["random"] - f1["blocks"], reordered(f1[["random", "blocks"]].to_numpy())
    tested = "too few draws for a test" if np.isnan(p) else f"permutation test, p = {p:.3f}"
    least, most = table["patches"].min(), table["patches"].max()
    verdict = "so the random split of the paper leaks" if p < 0.05 and gaps.mean() > 0 else "so a leak is not shown"
    return (
        f"F1 on random test patches minus F1 on separate blocks, with equally many training patches, is "
        f"{gaps.mean():+.3f} (mean of {len(gaps)} draws of {least} to {most} test patches; standard deviation "
        f"{gaps.std():.3f}, {(gaps > 0).sum()} of {len(gaps)} positive; {tested}), {verdict}."
    )


def sizes_compared(table: Any) -> str:
    """Which patch size is best with equally many pixels (`beyond_tables.size_table`)."""
    if len(rows := table.set_index("patch_size")) < 2:
        return "fewer than two sizes are finished, so none can be called the best."
    best, chosen, deviation = rows["f1"].idxmax(), rows[rows["chosen"] > 0], rows["f1_sd"].max()
    told = f"F1 over the whole area, after equally many pixels, is highest at {best} px ({_score(rows.loc[best])})"
    about = f"{_seeds(rows.loc[best])} per size{_sd(deviation)}"
    if chosen.empty:
        return f"{told} ({about}); the size in use is not among those compared."
    size, behind = chosen.index[0], rows["f1"].max() - chosen["f1"].iloc[0]
    if size == best:
        return f"{told}, the size in use ({about})."
    verdict = "that is more than seeds explain" if behind > 2 * deviation else "no more than seeds may explain"
    near = rows.index[rows["f1"] >= rows["f1"].max() - 2 * deviation].difference([best, size])
    verdict += f"; {', '.join(f'{other} px' for other in near)} cannot be told from the best" if len(near) else ""
    weak = f"{_seeds(rows.loc[best])} cannot say whether that is luck" if rows["seeds"].min() < 3 else verdict
    return f"{told}, {behind:.3f} above the {size} px in use ({about}): {weak}."


def switches(table: Any) -> str:
    """Which open points matter (`beyond_tables.switch_table`)."""
    clear = table[((table["low"] > 0) | (table["high"] < 0)) & table["same_sign"]]
    effects = "; ".join(
        f"{row.change} {row.effect:+.3f} (95 % over patches from {row.low:+.3f} to {row.high:+.3f}{_sd(row.effect_sd)})"
        for row in clear.itertuples()
    )
    about = f"{_seeds(table.iloc[0])}, n = {table['patches'].min()} patches"
    told = (
        f"{len(clear) or 'none'} of {len(table)} other choices changes F1 beyond chance among patches with the same "
        f"sign in every seed ({about})"
    )
    return f"{told}{': ' * bool(effects)}{effects}. {_few(table['patches'].min()) or 'The paper states none of them.'}"


def leave_one_out(table: Any) -> str:
    """How a network scores in an area that it was not trained on (`leave_one_out.left_out_table`)."""
    gaps, high = table["gap"].dropna(), table["gap_high"].dropna()  # an interval needs ten blocks of test patches
    each = "; ".join(f"{paper.area_name(row['area'])} {_score(row)}" for _, row in table.iterrows())
    told = (
        f"in an area that it has never seen, a network trained on all others reaches a mean F1 of "
        f"{table['f1'].mean():.3f} in {len(table)} area{'s' * (len(table) > 1)} ({_seeds(table.iloc[0])}; {each})"
    )
    if gaps.empty or high.empty:
        return f"{told}. {_few(table['patches'].max()) or 'No network trained on that area alone is finished.'}"
    return (
        f"{told}, {abs(gaps.mean()):.3f} {'less' if gaps.mean() < 0 else 'more'} than one trained on that area "
        f"alone; the whole interval of the difference lies below 0 in {(high < 0).sum()} of the {len(high)} that have "
        "one. The paper scores networks (experiments 2 to 4) where they were trained."
    )


def epochs_per_stage(table: Any) -> str:
    """Whether the verdict on LMHLD_part depends on the epochs of a stage (`beyond_tables.epochs_table`)."""
    others = table[(table["strategy"] != "part") & table["part_minus"].notna()]
    if others.empty:
        return "there is nothing to compare LMHLD_part with."
    told = "; ".join(
        f"{name} " + ", ".join(
            f"{at.part_minus:+.3f}{_sd(at.part_minus_sd, ' (s.d. {:.3f})')} at {at.epochs}" for at in rows.itertuples()
        )
        for name, rows in others.groupby("strategy", sort=False)
    )  # fmt: skip
    if others["epochs"].nunique() < 2:
        return f"F1 of LMHLD_part less that of others is {told} epochs per stage; there is no other number to compare."
    stable = all(len(set(np.sign(rows["part_minus"]))) == 1 for _, rows in others.groupby("strategy"))
    above = others.groupby("epochs")["part_minus"].min() > 0
    ahead = "at each" if above.all() else "at none" if not above.any() else "at some"
    return (
        f"F1 of LMHLD_part less that of others, by epochs per stage: {told} ({_seeds(others)}, "
        f"{table['areas'].iloc[0]:.0f} areas, all test pixels of each strategy together). Its sign "
        f"{'does not change' if stable else 'changes'} with the epochs; that LMHLD_part is ahead of both, as in the "
        f"paper, holds {ahead} of them."
    )


def _score(row: Any) -> str:
    return Interval(row["f1"], row["f1_low"], row["f1_high"]).describe()


def _seeds(row: Any) -> str:
    few, many = (find(row["seeds"]) for find in (np.min, np.max))  # of one row or of several
    return "one seed" if many == 1 else f"{few:.0f} seeds" if few == many else f"{few:.0f} to {many:.0f} seeds"


def _few(patches: int) -> str:
    return f"With {patches:.0f} test patches this is no finding." if patches < LEAST else ""


def _sd(value: float, form: str = ", standard deviation up to {:.3f}") -> str:
    return "" if np.isnan(value) else form.format(value)


_SAY = (rankings, prevalence, label_noise, split_kinds, sizes_compared, switches, epochs_per_stage)
BEYOND = {say.__name__: say for say in _SAY}
"""Findings of the experiment `beyond`, by table."""
