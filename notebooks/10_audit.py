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
# **The paper** states numbers twice, in Tables 1 to 7 and in sentences that sum them up, compare them, or draw conclusions
# from them. Here each statement that can be checked is a row: where it stands, what it says in our words, what follows from
# the tables, and a verdict. Nothing is computed from images; no run and no data set is needed.
#
# **Time.** 10 minutes to read, 5 seconds to run. The same from the command line: `.venv/bin/lmhld audit`, and with `--json`
# for other programs.

# %% tags=["parameters"]
profile: str = "mini"  # only names the folder of the figures
show: str = ""  # parts to list, e.g. section 4.4,Table 6; empty for all

# %%
import pandas as pd

from lmhld_nb import audit, audit_plots, profiles, style

loaded = profiles.load(profile)
note = "published numbers, the real LMHLD: no run of this book"
checks = audit.checks()
table = audit.table(checks)

# %% [markdown]
# ## How a verdict is reached
#
# | verdict | means |
# |---|---|
# | holds | follows as printed |
# | rounding | does not follow as printed, but from unrounded numbers it can |
# | contradicted | does not follow, whatever the unrounded numbers are |
# | cannot be checked | what it would take is not published, or the statement gives no measure |
#
# A printed score of four digits stands for all numbers within half a unit of the last one. What is computed from such scores
# inherits that: a difference or a mean of them by up to 0.0001, F1 by what the corners of the box round precision and recall
# allow. There is no other tolerance. For counts it is zero.
#
# Where a sentence can be read in two ways, each reading has a row of its own, named in brackets. A row that is contradicted in
# one reading may hold in another, and often does.

# %% tags=["nbval-check-output"]
for verdict, count in audit.counts(checks).items():
    print(f"{verdict}: {count}")
statements = table.index.str.split("/").str[0].nunique()
print(f"{len(table)} rows, {statements} statements")

# %% [markdown]
# Which parts of the paper do they come from? Look at where most cannot be checked: section 2.1, because dates are months and
# two events have no name, and section 4.4, because the scores of single orders are printed only as colours.

# %%
style.save(
    audit_plots.verdicts(table, note),
    "audit_verdicts",
    loaded.name,
    pd.crosstab(table["place"], table["verdict"]),
)

# %% [markdown]
# ## All rows
#
# In the paper's order. `audit.csv` beside the figures has the tolerance and a remark for each row as well; so has the command.

# %%
style.save_table(table, "audit", loaded.name)
wanted = [place.strip() for place in show.split(",") if place.strip()]
listed = table[table["place"].isin(wanted)] if wanted else table
claim = listed["claim"] + [
    f" [{text}]" if text else "" for text in listed["reading"]
]
pd.set_option("display.max_rows", None, "display.max_colwidth", None)
listed.assign(statement=claim).set_index("place")[
    ["statement", "derived", "verdict"]
]

# %% [markdown]
# ## F1 against precision and recall
#
# F1 is the harmonic mean of precision and recall, $2PR / (P + R)$. A single test, whose pixels are counted together, must
# obey this up to rounding. A mean over several runs need not: the formula is concave, so that the mean of F1 can lie a little
# below. Only Table 7 is said to hold means (over six orders); section 4.4 says how far precision and recall of the orders
# spread, and from that follows how far below. Look at the two marks that lie apart.

# %%
rows = pd.concat(
    [audit.f1_rows(n).assign(table=n) for n in audit.SCORE_TABLES],
    ignore_index=True,
)
style.save(
    audit_plots.f1_differences(rows, note),
    "audit_f1",
    loaded.name,
    rows.set_index(["table", "model"]),
)

# %% tags=["nbval-check-output"]
for n, part in rows.groupby("table"):
    counted = part["verdict"].value_counts()
    print(
        f"Table {n}: "
        + ", ".join(
            f"{counted[name]} {name}" for name in audit.VERDICTS if name in counted
        )
    )
for row in rows[rows["verdict"] == "contradicted"].itertuples():
    print(
        f"Table {row.table}, {row.model}: printed {row.f1:.4f}, from P and R {row.derived:.4f}"
    )

# %% [markdown]
# All rows of Tables 4 and 5 agree. In Table 7, Res U-Net is off by more than rounding explains and by less than averaging
# can. In Table 6, one row, U-Net+++, does not agree; that table is not said to hold means, and its other rows fit. Which of
# the three numbers is meant otherwise cannot be told.
#
# Formula (3) is another matter: as printed, without the factor 2, it fits no row. The tables follow the harmonic mean that the
# sentence before it names.
#
# ## LMHLD_part beside the others
#
# Section 4.4 finds LMHLD_part ahead of LMHLD_mix and of the areas alone, and concludes that mixed patch sizes help and that
# forgetting is mitigated. On the left, Table 7 less Table 6; on the right, Table 7 less Table 5, where small marks are single areas.
# Look at which side of zero the marks lie, F1 first, then precision and recall.

# %%
less_mix, less_single = audit.part_less_mix(), audit.part_less_single()
style.save(
    audit_plots.part_beside(less_mix, less_single, note),
    "audit_part",
    loaded.name,
    pd.concat(
        [
            less_mix.assign(area="mix").set_index("area", append=True).swaplevel(),
            less_single,
        ]
    ),
)

# %% tags=["nbval-check-output"]
print("part less mix, F1:")
for model, value in less_mix["f1"].items():
    print(f"  {model}: {value:+.4f}")
for score in less_mix:
    print(
        f"{score}: {less_mix[score].mean():+.4f} on average, higher for {(less_mix[score] > 0).sum()} of {len(less_mix)}"
    )
means = less_single.groupby(level="model").mean()
print(
    f"part above the mean over areas of single: {(means > 0).sum().sum()} of {means.size} scores"
)
print(
    f"part above single in each area, F1: {(less_single['f1'] > 0).sum()} of {len(less_single)}"
)

# %% [markdown]
# On average both statements hold for F1. Model by model, the first has two exceptions (Res U-Net and Trans U-Net) and the second
# has three, all in Wenchuan. What LMHLD_part gains over LMHLD_mix is precision; recall is lower for five of seven models.
# And the differences of F1 are small, and of different test patches: six orders are behind each row of Table 7, an unknown
# number of runs behind Table 6, and whether the differences would outlast another seed the tables do not say.
#
# ## Beside the paper
#
# What is contradicted however it is read:

# %% tags=["nbval-check-output"]
for name in audit.in_every_reading(table, "contradicted"):
    row = table[table.index.str.split("/").str[0] == name].iloc[0]
    print(f"{row['place']}: {row['claim']}\n    {row['derived']}")

# %% [markdown]
# What is contradicted in one reading and not in another:

# %% tags=["nbval-check-output"]
everywhere = audit.in_every_reading(table, "contradicted")
for name, row in table[table["verdict"] == "contradicted"].iterrows():
    if name.split("/")[0] not in everywhere:
        print(f"{row['place']}: {row['claim']} [{row['reading']}]")

# %% [markdown]
# How much does it matter? Most of these touch no result: a formula, a caption, the number of landslides and the size of the
# largest one in the text. Three ask for care from whoever uses the data or the conclusions.
#
# - **Jiuzhaigou.** Its images are dated two years before the earthquake that the text names. One of the two dates
#   is meant otherwise, or the inventory is not of that earthquake. The data themselves can tell.
# - **Table 6, U-Net+++.** Its three numbers are not those of one test. Whichever is meant otherwise, LMHLD_part stays ahead of
#   LMHLD_mix in F1 for this network.
# - **LMHLD_part.** It is ahead of LMHLD_mix on average, not for every model; and ahead of the areas alone, but for some models in
#   Wenchuan. Forgetting is concluded from these averages and not measured; chapter 07 measures it.
#
# The larger part holds. All totals of patches, all bold values, all averages (up to rounding), the gaps quoted in section 4.4, and the
# candidate sizes of Wenchuan follow from the tables. The text we read is the preprint's, turned into plain text, and
# marks such as underlining may have been lost on the way; a later version may differ.
#
# ## Exercises
#
# 1. Section 2.1 speaks of about 20,000 landslides, Table 1 adds up to more. Which areas would have to be left out to arrive
#    at 20,000?
# 2. Suppose precision of U-Net+++ in Table 6 were the wrong number. Which value would restore F1? Would it still be
#    second highest? (`audit.text()` helps.)
# 3. Means of 49 rounded scores are themselves known better than to 0.00005 if the errors are independent. By how much? Would
#    the averages of section 4.2 then still count as rounding?
# 4. Find a statement that is not in the table. Add a row to `lmhld_nb/paper/claims.csv` and a function to `lmhld_nb/audit/`.
#
# **Next:** chapter 11 asks what the paper does not: how sure its scores are, and what its choices are worth.
