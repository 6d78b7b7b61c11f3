"""What the tables of experiments 1 to 4 and of the recipe study show, in words, and whether the paper's claims hold.

Every function takes a table as read from its CSV, without an index, and computes all that it says. The columns of
`tables.score_table` on certainty are optional.
"""

from math import factorial

import numpy as np
import pandas as pd
from scipy import stats

from lmhld_nb import models, paper
from lmhld_nb.evaluation import intervals

CLEAR = 0.05  # in F1, above a threshold that was fitted to the test pixels
TABLES = {"single": 5, "mix": 6, "part": 7}  # of the paper


def limits(table: pd.DataFrame) -> str:
    """Say which scores of a table rest on few blocks, one seed or trainings not converged; may be empty."""
    weak = {
        f"on fewer than {intervals.LEAST} blocks of test patches": _column(table, "blocks") < intervals.LEAST,
        "on one seed": _column(table, "seeds") < 2,
        "wholly or partly on trainings whose validation F1 still rose": _column(table, "converged") < 1,
    }
    said = [f"{rows.sum()} {text}" for text, rows in weak.items() if rows.any()]
    return f" Of {format_count(len(table), 'score')} some rest on little: {', '.join(said)}." if said else ""


def claim(text: str, holds: object) -> str:
    """Return the sentence on a claim of the paper: ``holds``, or None if the runs are too weak to tell."""
    return f" The paper's claim that {text} " + (
        "cannot be judged from these runs." if holds is None else f"{'holds' if holds else 'does not hold'} here."
    )


def span(values: pd.Series, form: str = ".3f") -> str:
    """Return mean and range of several numbers, or the single number."""
    if len(values) == 1:
        return f"{values.iloc[0]:{form}}"
    return f"{values.mean():{form}} on average ({values.min():{form}} to {values.max():{form}})"


def format_count(count: int, thing: str) -> str:
    """Return a count with its noun: ``1 patch``, ``22 patches``."""
    ending = "" if count == 1 else "es" if thing.endswith(("ch", "s")) else "s"
    return f"{count:,} {thing}{ending}"


def network_title(name: object) -> str:
    """Return a network's name in sentences and figures."""
    return models.network(str(name)).title


def _column(table: pd.DataFrame, name: str) -> pd.Series:
    return table[name] if name in table else pd.Series(np.nan, table.index)


def _same_order(f1: pd.Series, number: int) -> str:
    """Say whether networks (keys of ``f1``) come in the same order as in a table of the paper."""
    published = paper.table(number).groupby("model")["f1"].mean()
    both = pd.DataFrame({"ours": f1.rename(network_title), "published": published}).dropna()
    if 2 / factorial(len(both)) > 0.05:  # the smallest p that so few networks can reach
        return f" {format_count(len(both), 'network')}: too few to compare their order with the paper's."
    tau, p = stats.kendalltau(both["ours"], both["published"])
    agrees = "agrees with" if tau > 0 and p < 0.05 else "does not clearly agree with"
    return f" The order of {len(both)} networks {agrees} the paper's (Kendall's tau {tau:.2f}, p {p:.2g})."


def table5(table: pd.DataFrame) -> str:
    """Say which network is best in each area, how certain that is, and whether one outperforms all others."""
    groups = table.sort_values("f1", ascending=False, kind="stable").groupby("area", sort=False)
    best, second = (groups.nth(place).set_index("area") for place in (0, 1))
    top, least = (paper.area_name(str(area)) for area in (best["f1"].idxmax(), best["f1"].idxmin()))
    text = f"the best network of an area scores F1 {span(best['f1'])}, most in {top}, least in {least}."
    best = best[best.index.isin(second.index)]  # where there is a second one to compare with
    wins, low = best["model"].value_counts(sort=True), _column(best, "f1_low")
    leading = [network_title(name) for name in sorted(wins.index[wins == wins.max()])]
    if best.empty:
        return f"{text} One network is finished, so none can be called the best.{limits(table)}"
    text += (
        f" {', '.join(leading)} {'is' if len(leading) == 1 else 'are each'} best in {wins.max()} of "
        f"{format_count(len(best), 'area')}; the second best lies below the interval of the best over test patches in "
        f"{low.gt(second['f1']).sum()} of the {low.notna().sum()} that have an interval."
        + _same_order(table.pivot(index="area", columns="model", values="f1").dropna().mean(), 5)  # complete areas
    )
    if "unet_pp" in set(table["model"]):
        nested = table[table["model"] == "unet_pp"].set_index("area").reindex(best.index)
        first = (best["model"] == "unet_pp").all() and low.notna().any()
        beaten = _column(nested, "f1_high").lt(low).any()  # intervals apart are rarer by chance than one area in seven
        text += f" U-Net++ is best in {wins.get('unet_pp', 0)} of {len(best)}."
        text += claim("U-Net++ outperforms all other models", True if first else False if beaten else None)
    return text + limits(table)


def against_threshold(table: pd.DataFrame) -> str:
    """Say how many networks exceed the best threshold of their area by 0.05 F1."""
    lead = (table["network_f1"] - table["threshold_f1"]).astype(float)
    return (
        f"{table['networks_clear'].sum()} of {table['networks'].sum()} networks clear the best threshold of their area "
        f"by {CLEAR} F1 or more, {table['networks_above'].sum()} lie above it. The best network of an area is ahead "
        f"by {span(lead, '+.3f')}. The paper compares with no threshold."
    )


def pooled(table: pd.DataFrame, number: int) -> str:
    """Say how networks score in Table 6 or 7, and whether they come in the paper's order."""
    best = table.nlargest(1, "f1").iloc[0].dropna()
    known = [f"F1 {best['f1']:.3f}"]
    if "f1_low" in best:
        known += [f"95 % from {best['f1_low']:.3f} to {best['f1_high']:.3f} over {best['patches']:.0f} test patches"]
    if "f1_sd" in best:
        known += [f"standard deviation {best['f1_sd']:.3f} over {best['seeds']:.0f} seeds"]
    few, many = _column(table, "orders").agg(["min", "max"])
    over = f", means over {few:.0f} to {many:.0f} orders" if few < many else ""
    return (
        f"F1 of {format_count(len(table), 'network')} is {span(table['f1'])}{over}; best is "
        f"{network_title(best['model'])} ({'; '.join(known)}). The paper has {span(paper.table(number)['f1'])}, on its "
        "own data." + _same_order(table.set_index("model")["f1"], number) + limits(table)
    )


def table6_by_area(table: pd.DataFrame) -> str:
    """Say whether mixing helps, on equal test patches."""
    pairs = table.dropna(subset="gain")
    if pairs.empty:
        return "no area was also trained alone on the same patches, so what mixing adds is not known."
    by_area, alone = pairs.groupby("area")["gain"].mean(), pairs["alone_f1"]
    low, high = _column(pairs, "f1_low"), _column(pairs, "f1_high")
    better, worse = (alone < low).sum(), (alone > high).sum()  # beyond the sampling error of test patches
    above = pairs.groupby("area")["gain"].agg(lambda gains: stats.binomtest(int((gains > 0).sum()), len(gains)).pvalue)
    alike = above[above < 0.05].index  # areas where networks agree by more than chance
    apart = (alone < low)[((alone < low) | (alone > high)) & pairs["area"].isin(alike)]
    signs = set(by_area[alike] > 0)  # networks share their test patches, which must tell scores apart the same way
    verdict = True in signs if len(signs) == 1 and signs == set(apart) else None
    return (
        f"on equal test patches mixing changes F1 by {span(by_area, '+.3f')} in {format_count(len(by_area), 'area')}. "
        f"It is better for {(pairs['gain'] > 0).sum()} of {len(pairs)} pairs of scores (networks agree beyond chance "
        f"in {format_count(len(alike), 'area')}, sign test); where the mix has an interval over test patches (for "
        f"{low.notna().sum()}), the score alone lies below it for {better}, above it for {worse}."
        + claim("models perform better mixed", verdict)
        + limits(pairs)
    )


ALIKE = {
    "": "mean F1 on all test pixels is", "mean_": "As mean over areas it is",
    "same_": "Where all have the same test patches it is",
}  # fmt: skip


def table7_beside(table: pd.DataFrame) -> str:
    """Say whether part beats mix and single, scored alike (`ALIKE`), for how many networks, and if by chance."""
    names = [name for name in TABLES if table[f"{name}_f1"].notna().any()]
    rows = table.dropna(subset=[f"{name}_f1" for name in names])
    if rows.empty or len(names) < 2 or "part" not in names:
        return "no network is finished in part and in mix or single, so they cannot be compared."
    sure = stats.binomtest(0, len(rows)).pvalue <= 0.05  # whether a sign test can be significant with so few networks
    said, chance = [], []
    for kind, how in ALIKE.items():
        f1 = {name: _column(rows, f"{kind}{name}_f1") for name in names}
        if any(values.isna().any() for values in f1.values()):
            continue
        text = f"{how} {', '.join(f'{name} {values.mean():.3f}' for name, values in f1.items())}"
        for other in names[:-1]:
            above = int((f1["part"] > f1[other]).sum())
            chance.append(stats.binomtest(above, len(rows)).pvalue)
            text += f"; part is above {other} for {above}" + (f" (sign test: p {chance[-1]:.2g})" if sure else "")
        said.append(text)
    gap, low, high = (_column(rows, f"part_minus_single{end}").dropna() for end in ("", "_low", "_high"))
    if len(low):
        said.append(
            f"On the same patches, part minus single is {span(gap[low.index], '+.3f')}; of {len(low)} 95 % intervals, "
            f"from {low.min():+.3f} to {high.max():+.3f}, {(high < 0).sum()} lie below 0, {(low > 0).sum()} above it"
        )
    published = (f"{name} {paper.table(number)['f1'].mean():.3f}" for name, number in TABLES.items())
    best = rows[[f"{name}_f1" for name in names]].mean().idxmax() == "part_f1"
    shown = not best or max(chance[: len(names) - 1]) < 0.05  # the lead, if any, is beyond chance
    return (
        f"of {format_count(len(rows), 'network')}, {'. '.join(said)}. In the paper {', '.join(published)}."
        + claim("part is best", best if sure and shown else None)
    )  # fmt: skip


def order_differences(table: pd.DataFrame) -> str:
    """Say whether the order of addition changes F1 by more than the seed does."""
    table = table[_column(table, "orders").fillna(2) > 1]
    if table.empty:
        return "no network has two orders finished, so their effect is not known."
    published, largest = paper.quotes()["order_f1"].number, table.nlargest(1, "f1").iloc[0]  # "on seven models"
    tested, text = table.dropna(subset="p") if "p" in table else table[:0], "the order hardly matters"
    p, orders = _column(tested, "p"), _column(table, "orders").fillna(2)
    by_network = ", ".join(f"{network_title(row.model)} p {row.p:.2g}" for row in tested.itertuples())
    agrees = f" These seeds neither contradict nor confirm the paper's statement that {text}."
    return (
        f"between orders F1 of a network differs by up to {largest['f1']:.3f} ({network_title(largest['model'])}); "
        f"{(table['f1'] <= published).sum()} of {len(table)} networks ({orders.min():.0f} to {orders.max():.0f} orders "
        f"each) stay within the paper's largest difference, {published}. Permutation test, where orders and seeds are "
        f"enough for one: {by_network or 'nowhere'}."
        + (agrees if len(p) and (p >= 0.05).all() else claim(text, False if len(p) else None))
    )


def forgetting(table: pd.DataFrame) -> str:
    """Say how much chains forget, and how much each area's own input convolution recovers."""
    lost = table["forgetting"].dropna()
    if lost.empty:
        return "no chain has two stages, so there was nothing to forget."
    chains = table.loc[lost.index, "run_ids"].str.split("+").explode().nunique()
    return (
        f"in {format_count(chains, 'chain')} areas lose {span(lost)} of the highest F1 that they had; through each "
        f"area's own input convolution F1 changes by {span(table['own_input_f1'] - table['f1'], '+.3f')}."
    )


def strategies(table: pd.DataFrame) -> str:
    """Say which strategies differ from LMHLD_part by more than the test patches explain, and whether freezing helps."""
    others = table[table["strategy"] != "LMHLD_part"].set_index("strategy").dropna(subset="f1_minus_part")
    if others.empty:
        return "LMHLD_part and another strategy are not both finished, so they cannot be compared."
    low, high = others["f1_minus_part_low"], others["f1_minus_part_high"]
    sure = (low > 0) | (high < 0)
    columns = ["f1_minus_part", "f1_minus_part_low", "f1_minus_part_high"]
    gaps = [f"{name} {intervals.Interval(*row).describe('+.3f')}" for name, row in others[columns].iterrows()]
    seeds, blocks = others["seeds"].min(), _column(others, "blocks").min()
    text = f"F1 minus that of LMHLD_part (seeds: {seeds:.0f}; {blocks:.0f} blocks of test patches): {', '.join(gaps)}."
    text += f" Beyond what the choice of test patches explains: {', '.join(others.index[sure]) or 'none'}."
    text += " One seed does not say what another would change." if seeds == 1 else ""
    plain, unfrozen = "plain fine-tuning", "nothing frozen"
    lost = _column(table, "forgetting").set_axis(table["strategy"])
    if {"LMHLD_part", plain} <= {*lost.index}:
        text += f" Areas lose {lost['LMHLD_part']:.3f} of the highest F1 that they had, with {plain} {lost[plain]:.3f}."
    can_tell = sure.get(unfrozen, False) and seeds > 1  # orders and seeds differ as much
    return text + claim("the freezing helps", high[unfrozen] < 0 if can_tell else None)


def table4(table: pd.DataFrame) -> str:
    """Say how whole-area scores change outside the training patches."""
    by_area = [
        f"{span(rows['f1'])} in {paper.area_name(str(area))}, outside the training patches {span(rows['outside_f1'])}"
        for area, rows in table.groupby("area", sort=False)
    ]
    best = table.nlargest(1, "f1").iloc[0]
    interval = intervals.Interval(*best.reindex(["f1", "f1_low", "f1_high"]).astype(float))
    return (
        f"F1 on the whole area is {'; '.join(by_area)}. Best is {network_title(best['model'])} at {best['patch_size']} "
        f"px in {paper.area_name(best['area'])} ({interval.describe()}). The paper (F1 {span(paper.table(4)['f1'])} in "
        "Wenchuan) does not say whether its scores count the training patches." + limits(table)
    )


def patch_size_choice(table: pd.DataFrame) -> str:
    """Say for each area which size is best, how clearly, and whether it is the one in use."""
    said = []
    for area, rows in table.groupby("area", sort=False):
        best, others = rows[rows["chosen"]].iloc[0], rows.loc[~rows["chosen"], "mean_f1"]
        lead = f"best for {best['models_best']} of {best['models']} networks, mean F1 {best['mean_f1']:.3f}"
        tied, outside = (rows["patch_size"][_column(rows, name) == 1] for name in ("tied", "outside_chosen"))
        other = "".join(f"; outside the training patches {px} px" for px in outside if px != best["patch_size"])
        alike = "".join(f", tied with {px} px" for px in tied if px != best["patch_size"])
        lead += f", the next {others.max():.3f}{other}"
        said.append(f"{paper.area_name(str(area))} {best['patch_size']} px{alike} ({lead})")
    used = (table["chosen"] | _column(table, "tied").eq(1)) & (_column(table, "used") == 1)
    published = table["chosen"] & (_column(table, "published_chosen") == 1)
    text = f"{'; '.join(said)}. The size in use is best, or tied with the best, in {used.sum()} of {len(said)} areas."
    rows = table[table["area"].isin(table["area"][_column(table, "published_chosen") == 1])]
    if rows.empty:
        return text
    best = rows[rows["chosen"]].iloc[0]  # among so many sizes, for so many networks that chance does not explain it
    chance = stats.binomtest(int(best["models_best"]), int(best["models"]), 1 / len(rows), alternative="greater").pvalue
    shaky = chance >= 0.05 or (_column(rows, "outside_chosen")[rows["chosen"]] == 0).any()  # another is best there
    return text + claim("224 px are best in Wenchuan", None if shaky else published.any())


def recipe_study(table: pd.DataFrame) -> str:
    """Say which batch size and number of epochs are best, and whether the most epochs are."""
    rows = table.sort_values("f1", ascending=False, kind="stable")
    rows = rows[rows.groupby("batch_size")["epochs"].transform("nunique") > 1]  # where there is something to compare
    if rows.empty:
        return f"{format_count(len(table), 'combination')} finished, of one number of epochs each: nothing to compare."
    best, longest = rows.iloc[0], rows.groupby("batch_size")["epochs"].first() == rows["epochs"].max()
    shorter = rows["f1"][rows["epochs"] < rows["epochs"].max()].max()
    longer = rows[rows["epochs"] == rows["epochs"].max()]
    holds = True if _column(longer, "f1_low").max() > shorter else None  # by more than the test patches explain
    if _column(rows, "f1_low").iloc[0] > longer["f1"].max():
        holds = False
    return (
        f"batch {best['batch_size']} with {best['epochs']} epochs is best of {len(rows)} combinations (F1 "
        f"{best['f1']:.3f}; the next {rows['f1'].iloc[1:].max():.3f}). The most epochs are best for {longest.sum()} of "
        f"{len(longest)} batch sizes." + claim("the most epochs are best", holds) + limits(table)
    )


def examples(table: pd.DataFrame) -> str:
    """Say which errors the patches shown have: false alarms or misses."""
    hits, alarms, missed = table[["tp", "fp", "fn"]].sum()
    return (
        f"on {table['area'].nunique()} patches the networks find {hits / (hits + missed):.0%} of the landslide pixels; "
        f"{alarms / max(1, alarms + missed):.0%} of the wrong pixels are false alarms. (Examples, no measurement.)"
    )
