# ---
# jupyter:
#   kernelspec:
#     display_name: LMHLD book
#     language: python
#     name: lmhld
# ---

# %% [markdown]
# # The published numbers against each other
#
# **Question.** Does what the text says follow from the tables?
#
# **The paper** states numbers twice, in Tables 1 to 7 and in sentences that summarise them, compare them, or draw conclusions
# from them. Here each checkable statement is one row: where it stands, what it says in our words, what follows from
# the tables, and a verdict. Where the tables are silent, a few rows compare with other publications and name them. Nothing is
# computed from images; no run and no data set is needed. Statements that hold by definition, only repeat a table (numbers of
# areas, sensors and networks, patch sizes, bold values) or give no measure ("competitive") have no row, so the number of rows per
# verdict says nothing about the paper as a whole.
#
# **Time.** 8 minutes to read, seconds to run: no training is needed.
#
# The same from the command line: `.venv/bin/lmhld audit`, and with `--json` for other programs.

# %% tags=["parameters"]
profile: str = "mini"  # only names the folder of the figures
show: str = ""  # parts to list, e.g. section 4.4,Table 6; empty for all

# %%
import lmhld_nb as lm
from lmhld_nb import audit

import numpy as np
import pandas as pd

book = lm.open(profile)
checks = audit.checks()
table = audit.table(checks)

# %% [markdown]
# ## How a verdict is reached
#
# | verdict | means |
# |---|---|
# | holds | follows as printed |
# | rounding | does not follow as printed, but may follow from unrounded numbers |
# | contradicted | does not follow, whatever the unrounded numbers are |
# | cannot be checked | the necessary numbers are not published, or the statement gives no measure |
#
# A printed score of four digits stands for all numbers within half a unit of the last digit. Anything computed from such scores
# inherits that uncertainty: a difference or a mean by up to 0.0001, F1 by as much as the corners of the box of precision and recall
# allow. There is no other tolerance. For counts it is zero.
#
# If a sentence can be read in two ways, each reading has its own row, named in brackets. A statement that is contradicted in
# one reading may hold in another, and often does.

# %%
for verdict, count in audit.counts(checks).items():
    print(f"{verdict}: {count}")
statements = table.index.str.split("/").str[0].nunique()
print(f"{len(table)} rows, {statements} statements")

# %% [markdown]
# Which parts of the paper do they come from? Look at where most cannot be checked: section 2.1, because dates are months and
# two events have no name, and section 4.4, because the scores of single orders are printed only as colours.

# %%
verdicts = pd.crosstab(table["section"], table["verdict"])
verdicts.loc[list(dict.fromkeys(table["section"]))]

# %% [markdown]
# ## All rows
#
# In the paper's order. `audit.csv` beside the figures also has the tolerance and a remark for each row, and so does the command.

# %%
book.save(table, "audit")
sections = [name.strip() for name in show.split(",") if name.strip()]
listed = table[table["section"].isin(sections)] if sections else table
reading = [f" [{text}]" if text else "" for text in listed["reading"]]
listed = listed.assign(statement=listed["claim"] + reading).set_index("section")
pd.set_option("display.max_rows", None, "display.max_colwidth", None)
listed[["verdict", "statement", "derived"]]

# %% [markdown]
# ## F1 against precision and recall
#
# F1 is the harmonic mean of precision and recall, $2PR / (P + R)$. A single test, with all pixels counted together, must
# satisfy this up to rounding. A mean over several runs need not: the formula is concave, so the mean of F1 can be a little
# lower. Only Table 7 is said to contain means (over six orders); section 4.4 gives the spread of precision and recall over the
# orders, which determines how much lower. Look at the row that does not fit.

# %%
by_table = [audit.f1_rows(n).assign(table=n) for n in audit.SCORE_TABLES]
rows = pd.concat(by_table, ignore_index=True)
_ = book.save(rows.set_index(["table", "model"]), "audit_f1")
for n, of_table in rows.groupby("table"):
    counts = of_table["verdict"].value_counts()
    names = [name for name in audit.VERDICTS if name in counts]
    print(f"Table {n}:", ", ".join(f"{counts[name]} {name}" for name in names))
for row in rows[rows["verdict"] == "contradicted"].itertuples():
    print(
        f"Table {row.table}, {row.model}: printed {row.f1:.4f}, from P and R {row.derived:.4f}"
    )

# %% [markdown]
# All rows of Tables 4 and 5 agree. In Table 7, Res U-Net is off by more than the rounding of its own numbers, but by less than averaging
# over orders can do; it is counted as `rounding`. In Table 6, one row, U-Net+++, does not agree; that table is not said to contain means, and its other rows
# fit. It is impossible to tell which of the three numbers is wrong.
#
# Formula (3) is another matter: as printed, without the factor 2, it fits no row. The tables follow the harmonic mean that the
# sentence before it names.
#
# ## LMHLD_part beside the others
#
# Section 4.4 finds LMHLD_part ahead of LMHLD_mix and of the areas alone, and concludes that mixed patch sizes help and that
# forgetting is alleviated. The table shows differences in F1: in the row `mix` Table 7 minus
# Table 6, in the others Table 7 minus Table 5. Look at the signs, of F1 first, then of precision and recall below.

# %%
minus_mix, minus_single = audit.part_minus_mix(), audit.part_minus_single()
mix = minus_mix.assign(area="mix").set_index("area", append=True).swaplevel()
beside = book.save(pd.concat([mix, minus_single]), "audit_part")
lm.tidy(beside, ["f1"], 4, across="model")

# %%
print("part minus mix, F1:")
for model, value in minus_mix["f1"].items():
    print(f"  {model}: {value:+.4f}")
for score, values in minus_mix.items():
    higher = f"{(values > 0).sum()} of {len(values)}"
    print(f"{score}: {values.mean():+.4f} on average, higher for {higher}")
means = minus_single.groupby(level="model").mean()
above = (means > 0).sum().sum()
print(f"part above the mean over areas of single: {above} of {means.size} scores")
above = (minus_single["f1"] > 0).sum()
print(f"part above single in each area, F1: {above} of {len(minus_single)}")

# %% [markdown]
# On average both statements hold for F1. Model by model, the first has two exceptions (Res U-Net and Trans U-Net) and
# the second has three, all in Wenchuan. What LMHLD_part gains over LMHLD_mix is precision; recall is lower for five of
# seven models. And the differences in F1 are small, and between different test patches: six orders are behind each row
# of Table 7, an unknown number of runs behind Table 6, and the tables do not say whether the differences would
# persist with another seed.
#
# ## Beside other publications
#
# Some statements are about an event or about other people's data, and the tables cannot decide them. Look at the number of
# landslides of the Wenchuan earthquake: that the data set has fewer does not make the number right.

# %%
named = [
    "magnitude_wenchuan",
    "slides_wenchuan/cited",
    "slides_wenchuan/inventories",
]
named += ["large_scale", "gvlm_resolution", "landslide4sense/released"]
for row in table.loc[named].itertuples():
    reading = f" [{row.reading}]" if row.reading else ""
    print(f"{row.verdict}: {row.claim}{reading}\n    {row.derived}")
outside = lm.paper.outside()
inventories = outside[outside["kind"] == "inventory"]["value"].astype(int)
part = lm.paper.areas().loc["wenchuan", "landslides"] / inventories
print(
    f"Table 1 has {part.min():.0%} to {part.max():.0%} of the landslides in these inventories"
)

# %% [markdown]
# The text quotes an early count, of "more than" so many landslides, rockfalls and debris flows; inventories drawn from images
# of the whole area found several times as many. So the study area holds a small part of the event, and the largest landslide
# of that earthquake is not in it, or not completely. Mw and Ms are two scales: the cited article gives Ms. GVLM's images are much finer
# than Table 3 says, which matters when a network trained here is tried on them (chapter 08). And Landslide4Sense is counted by
# its training part: its article has no more, but the released data do (labels of the other two parts came after the competition).
#
# ## Beside the paper
#
# Statements contradicted however they are read:

# %%
for name in audit.in_every_reading(table, "contradicted"):
    row = table[table.index.str.split("/").str[0] == name].iloc[0]
    print(f"{row['section']}: {row['claim']}\n    {row['derived']}")

# %% [markdown]
# Statements contradicted in one reading but not in another:

# %%
everywhere = audit.in_every_reading(table, "contradicted")
for name, row in table[table["verdict"] == "contradicted"].iterrows():
    if name.split("/")[0] not in everywhere:
        print(f"{row['section']}: {row['claim']} [{row['reading']}]")

# %% [markdown]
# How much does it matter? Most of these affect no result: a formula, a caption, a magnitude, numbers of landslides and
# the size of the largest one in the text. Three call for care when using the data or the conclusions.
#
# - **Jiuzhaigou.** Its images are dated two years before the earthquake that the text names. One of the two dates
#   has another meaning, or the inventory is not of that earthquake. Only the data themselves can tell.
# - **Table 6, U-Net+++.** Its three numbers cannot come from one test. Whichever of them is wrong, LMHLD_part stays ahead of
#   LMHLD_mix in F1 for this network.
# - **LMHLD_part.** It is ahead of LMHLD_mix on average, but not for every model; and ahead of the areas alone, except for some models in
#   Wenchuan. The conclusion on forgetting rests on these averages, without a measurement; chapter 07 measures it.
#
# The arithmetic of the results holds. All totals of patches, all averages (up to rounding), the gaps quoted in section 4.4, and the
# candidate sizes of Wenchuan follow from the tables. Whether other runs give the same results is what chapters 04 to 09 ask. The text we read is the preprint's; a later version may differ.

# %% [markdown]
# ## Check yourself
#
# Choose an answer; it opens and says whether it is right, and why.
#
# **A published row prints precision 0.80, recall 0.90 and F1 0.87. All are rounded to two decimals. Can the row be
# right?**
#
# <details><summary>Yes: rounding can do that.</summary>No: the largest F1 that rounds from these is 2 · 0.805 ·
# 0.905 / (0.805 + 0.905) = 0.852.</details>
# <details><summary>No.</summary>Right: F1 lies between 0.842 and 0.852. Means over areas would not help: a mean of F1 can
# only be lower than the F1 of mean precision and recall, and 0.87 is higher.</details>

# %% [markdown]
# ## Exercises
#
# Each question says what to set or to write, and the check below it tells you what is wrong. The book contains the
# solutions, folded; the copies that `make student` writes leave them out.

# %% [markdown]
# ### Exercise 1: the 20,000 landslides
#
# Section 2.1 speaks of about 20,000 landslides, but Table 1 adds up to more. Which areas would have to be left out to come as close to 20,000 as
# possible? Set `left_out` to the set of their keys (`lm.paper.areas()`).

# %% tags=["solution", "hide-cell"]
from itertools import chain, combinations

landslides = lm.paper.areas()["landslides"]
choices = chain.from_iterable(combinations(lm.paper.AREAS, n) for n in range(7))
left_out = set(
    min(choices, key=lambda areas: abs(landslides.drop(list(areas)).sum() - 20_000))
)

# %% tags=["check"]
with lm.exercise(1, left_out):
    counts = lm.paper.areas()["landslides"]
    assert set(left_out) < set(counts.index), "keys of areas, not all of them"
    bits = np.arange(2**7)[:, None] >> np.arange(7) & 1  # every choice, a row each
    nearest = np.abs(bits @ counts.to_numpy() - 20_000).min()
    rest = counts.drop(list(left_out)).sum()
    assert abs(rest - 20_000) == nearest, (
        f"{rest:,} are left; another choice comes nearer"
    )

# %% [markdown]
# ### Exercise 2: mend a row
#
# Suppose the precision of U-Net+++ in Table 6 were the wrong number of the three. Which value would restore F1? Set `restored`. What rank would it
# have among the seven precisions, 1 being the highest? Set `place`.

# %% tags=["solution", "hide-cell"]
table6 = lm.paper.table(6).set_index("model")
f1, recall = table6.loc["U-Net+++", ["f1", "recall"]]
restored = f1 * recall / (2 * recall - f1)  # F1 = 2PR / (P + R), solved for P
place = 1 + int((table6["precision"].drop("U-Net+++") > restored).sum())

# %% tags=["check"]
with lm.exercise(2, restored, place):
    table6 = lm.paper.table(6).set_index("model")
    row = table6.loc["U-Net+++"]
    from_it = 2 * restored * row["recall"] / (restored + row["recall"])
    assert abs(from_it - row["f1"]) < 0.00005, (
        "put it into 2PR / (P + R): not the printed F1"
    )
    others = sorted(table6["precision"].drop("U-Net+++"), reverse=True)
    assert sorted([*others, restored], reverse=True).index(restored) + 1 == place, (
        "sort the other six precisions and this one"
    )

# %% [markdown]
# ### Exercise 3: how well is a mean of rounded scores known?
#
# A score of four digits is off by at most 0.00005, evenly spread. If the errors of the 49 rows of Table 5 are independent, what is the
# standard deviation of the error of their mean? Set `spread`. The means that section 4.2 prints are rounded to four digits as well: which of
# `"precision"`, `"f1"` and `"recall"` lies further from Table 5's mean than half a digit and three spreads? Set `off` to a list.
# (`lm.paper.quotes()["mean_f1"].number` is the printed one.)

# %% tags=["solution", "hide-cell"]
spread = 0.0001 / 12**0.5 / 49**0.5
names = ["precision", "f1", "recall"]
printed = {name: lm.paper.quotes()[f"mean_{name}"].number for name in names}
means = lm.paper.table(5)[names].mean()
off = [
    name
    for name in names
    if abs(means[name] - printed[name]) > 0.00005 + 3 * spread
]
# F1 is off by much more than chance allows, but all three agree when digits are cut off instead of rounded.

# %% tags=["check"]
with lm.exercise(3, spread, off):
    exact = np.random.default_rng(0).random((20_000, 49))
    simulated = (exact.round(4) - exact).mean(axis=1).std()
    assert abs(spread / simulated - 1) < 0.05, (
        f"{spread:.1e}: an even error of width w has w / √12, a mean of n has that over √n"
    )
    for name in ("precision", "f1", "recall"):
        mean, quote = (
            lm.paper.table(5)[name].to_numpy().sum() / 49,
            lm.paper.quotes()[f"mean_{name}"],
        )
        beyond = abs(mean - quote.number) - quote.half > 3 * simulated
        assert (name in off) == beyond, (
            f"{name}: compare with the mean of its 49 rows"
        )

# %% [markdown]
# **To go further.** Find a statement that is not in the table. Add a row to `lmhld_nb/paper/claims.csv` and a function to
# `lmhld_nb/audit/`.
#
# **Next:** chapter 11 asks what the paper does not: how certain its scores are, and how much its choices matter.
