# ---
# jupyter:
#   kernelspec:
#     display_name: LMHLD book
#     language: python
#     name: lmhld
# ---

# %% [markdown]
# # Experiment 3: all areas in one size
#
# **Question.** Does one network learn all areas, sensors and resolutions at once, if all patches have the same size?
#
# **The paper** (sections 3.2 (3) and 4.3) cuts all seven areas to 128 pixels (the *comparison dataset* of Table 2), trains
# the seven networks on all of it, and calls this LMHLD_mix. F1 on the common test set lies between 0.84 and 0.87
# (Table 6). The paper says that mixing helps the areas whose own size is 128 pixels, but hardly helps Wenchuan and Taiwan,
# whose own size is 224.
#
# **Time.** 5 minutes to read; half a minute to run once the trainings are finished.

# %% tags=["parameters"]
profile: str = "mini"  # a profile in params/, or a YAML file of your own
models: list = []  # networks to show; empty for all of the profile
areas: list = []  # areas to mix; empty for all of the profile
on_missing: str = "train"  # if runs are missing: train, skip or error

# %%
import lmhld_nb as lm
from lmhld_nb.experiments import examples, mix, patch_size

book = lm.open(profile, models, areas)
print(f"profile {book.name}: {book.profile.description}")

# %% [markdown]
# ## How it is made
#
# ### The strategy (Fig 4)
#
# Every area keeps its sensor, its resolution and its own normalisation; only the number of pixels in a patch is the same.
# At 0.8 m a patch of 128 pixels shows 102 m of ground, at 10 m it shows 1,280 m. Look at how unequal the shares become:
# scenes that are small in pixels contain few windows of this size, and many of these touch the edge or missing data.

# %%
size = book.settings("mix").size
patch_sets = [book.patches(area, size) for area in mix.mixed_areas(book)]
table2 = patch_size.table_2(patch_sets)
book.show(
    lm.plots.schemes.mix_strategy(patch_sets, mix.specs(book)),
    "fig04_mix",
    table2.reset_index(),
)

# %%
left_out = [area for area in book.areas if area not in table2.index]
print(
    f"{len(table2)} areas mixed at {size} px, left out: {', '.join(left_out) or 'none'}"
)
print(f"patches: {table2['patches'].sum()}")
tests = [f"{part.spec.area} {len(part.where('test'))}" for part in patch_sets]
print("test patches:", ", ".join(tests))

# %% [markdown]
# The fewer test patches an area has, the less its score says.
#
# ### The runs
#
# Look at how far apart the curves are, and whether they are still rising.

# %%
runs = book.runs("mix", on_missing)
book.show(
    lm.plots.scores.learning_curves({"all areas": runs}), "learning_curves_mix"
)

# %% [markdown]
# Where curves are still rising, longer training may change the scores below; where they lie closer together than a curve
# moves from one epoch to the next, their order is chance. Chapter 11 (question 8) trains a network twice as long.
#
# ## Table 6
#
# One row per network; all test patches of all areas form one test set. Areas with many patches weigh more. Look at how
# far apart the networks are, and ask whether the best would remain the best with other test patches or another seed.

# %%
table6 = book.table(6)
lm.tidy(table6)

# %% [markdown]
# Check any cell yourself: [one command](../book/check.md#table-6) trains its runs again and compares every bit. The
# same on real areas, from this book's runs:

# %%
lm.tidy(book.real("table6"), ["precision", "f1", "recall"])

# %%
book.found("table6", table6)

# %% [markdown]
# ## Area by area
#
# The paper also tested on each area's own test set ("similar patterns", section 4.3) and gives no scores. Here they
# are. `alone` shows networks trained on that area only, on exactly the same patches, so it exists only for areas
# whose own size is this one; the others are grey. Where `mix` is higher, the other areas may have helped.

# %%
by_area = book.save(
    mix.table_6_by_area(runs, mix.runs_alone(book)), "table6_by_area"
)
columns = {"f1": "mix", "alone_f1": "alone (grey: of another size)"}
book.show(lm.plots.scores.score_heatmap(by_area, columns, "area"), "table6_f1")

# %%
same = by_area.dropna(subset="gain")
for area, rows in same.groupby("area", sort=False):
    print(
        f"{lm.paper.area_name(area)}: mixing changes F1 by {rows['gain'].mean():+.3f} on average, better for "
        f"{(rows['gain'] > 0).sum()} of {len(rows)} networks"
    )

# %% [markdown]
# With equal epochs, one thing differs besides the mixing: the mix has several times as many patches, and so takes more
# steps, a smaller share of them on this area's own patches. On real areas, from this book's runs, mixing changes F1
# by:

# %%
lm.tidy(book.real("table6_by_area"), ["gain"], across="model")

# %%
book.found("table6_by_area", by_area)

# %% [markdown]
# ## What is found and what is missed (Fig 11)
#
# One test patch per area, the one with the median share of landslide. Green is a hit, orange a false alarm, blue a
# miss. Areas whose own size is that of the mix show the same patch as Fig 10 in chapter 05, so these rows can be compared;
# areas with smaller patches now show more surroundings. Look at whether that helps or distracts.

# %%
shown = examples.examples(runs)
scores = examples.example_scores(shown)
book.show(
    lm.plots.scores.predictions(shown, book.bands), "fig11_predictions", scores
)

# %%
book.found("fig11_predictions", scores)

# %% [markdown]
# ## Beside the paper
#
# Section 4.3 says that "the DL models perform better" when mixed, comparing Table 6 with Table 5's rows of the two areas
# cut at 128 pixels. From the published numbers:

# %%
mixed = lm.paper.table(6).set_index("model")["f1"]
alone = lm.paper.table(5).pivot(index="model", columns="study_area", values="f1")
for area in (
    "Hokkaido Japan",
    "Jiuzhaigou China",
    "Wenchuan China",
    "Taiwan China",
):
    gain = mixed - alone[area]
    print(
        f"Table 6 minus Table 5, {area}: {gain.mean():+.4f} on average, higher for {(gain > 0).sum()} of {len(gain)} networks"
    )

# %% [markdown]
# The first statement holds for the published numbers. The second, marginal gains and some declines where 128 pixels do not
# suit, fits Wenchuan but not Taiwan, where all seven are higher. One reservation applies to both: the two scores are from
# different test sets. Table 6 tests on all areas, Table 5 on one. A test set that contains easier areas raises F1 without
# a better network. The heat map above compares on equal patches; the paper has no such table.

# %% [markdown]
# ## Check yourself
#
# Choose an answer; it opens and says whether it is right, and why.
#
# **Mix cuts all areas to one patch size. Which areas lose landslide pixels that way?**
#
# <details><summary>Areas with small landslides.</summary>Right: in a larger window a small landslide covers less
# than 10 %, and the filter drops the window.</details>
# <details><summary>Areas with large landslides.</summary>No: large landslides fill a window of any of the
# sizes.</details>
# <details><summary>All lose the same share.</summary>No: compare patches times their pixels times their share of landslide,
# here and in chapter 02.</details>

# %% [markdown]
# ## Exercises
#
# Each question says what to set or to write, and the check below it tells you what is wrong. The book contains the
# solutions, folded; the copies that `make student` writes leave them out.

# %% [markdown]
# ### Exercise 1: what cutting to 128 px does to counts
#
# If all the ground of the kept patches of Table 2 were cut again into windows of 128 px, how many windows would each area have? Set
# `recut` to a Series indexed by area key (`lm.paper.areas()` has `patch_size` and `patches`; no rounding). Which areas gain? Table 2 gives
# 28,185 patches for the comparison set: what could explain the difference from your sum?

# %% tags=["solution", "hide-cell"]
own = lm.paper.areas()
recut = own["patches"] * (own["patch_size"] / 128) ** 2
# Wenchuan and Taiwan gain (224 px), areas of 32 and 64 px lose. The sum is about 36,000, not 28,185, for the 10 % rule is applied anew: a window of
# 128 px may fail it where small ones passed, and pass where a large one failed.

# %% tags=["check"]
with lm.exercise(1, recut):
    table = lm.paper.areas()
    assert set(recut.index) == set(table.index), (
        "one value for each area, by its key"
    )
    for area, windows in recut.items():
        ground = table.loc[area, "patches"] * table.loc[area, "patch_size"] ** 2
        assert abs(windows * 128**2 / ground - 1) < 1e-9, (
            f"{area}: new windows and old patches must have equally many pixels in all"
        )

# %% [markdown]
# ### Exercise 2: one area, one vote
#
# What is each network's mean F1 over the areas of Table 5 if all areas weigh the same, and if each weighs as much as it has patches
# (Table 2)? Set `equal` and `weighted` to Series indexed by the network's name as printed. How far is each from Table 6, where all test
# patches are one set, and does either give its order of networks? Why not?

# %% tags=["solution", "hide-cell"]
by_network = lm.paper.table(5).pivot(
    index="study_area", columns="model", values="f1"
)
by_network.index = by_network.index.map(lm.paper.area_key)
weight = lm.paper.areas()["patches"].loc[by_network.index]
equal = by_network.mean()
weighted = by_network.mul(weight / weight.sum(), axis=0).sum()
# Neither: Table 6 lies about 0.05 above both, and Trans U-Net leads it, U-Net++ both means. Its weights are the patches of 128 px
# (exercise 1), its pixels are counted together, and its networks were trained on all areas.

# %% tags=["check"]
with lm.exercise(2, equal, weighted):
    patches_of = lm.paper.areas()["patches"].to_dict()
    assert len(equal) == len(weighted) == 7, "one value for each network"
    for name, rows in lm.paper.table(5).groupby("model"):
        counts = [
            patches_of[lm.paper.area_key(area)] for area in rows["study_area"]
        ]
        heavy = sum(f1 * n for f1, n in zip(rows["f1"], counts, strict=True))
        assert abs(equal[name] - sum(rows["f1"]) / 7) < 1e-9, (
            f"equal, {name}: seven areas"
        )
        assert abs(weighted[name] - heavy / sum(counts)) < 1e-9, (
            f"weighted, {name}: each F1 times its area's patches, over all patches"
        )

# %% [markdown]
# ### Exercise 3: which areas can be compared?
#
# The heat map has a column `alone` only where an area's own patch size is that of the mix. With `experiments: {mix: {size: 64}}` in a profile
# with published sizes, which areas would that be? Set `alone_at_64` to the list of their keys.

# %% tags=["solution", "hide-cell"]
own_sizes = lm.paper.areas()["patch_size"]
alone_at_64 = [area for area in lm.paper.AREAS if own_sizes[area] == 64]

# %% tags=["check"]
with lm.exercise(3, alone_at_64):
    assert set(alone_at_64) <= set(lm.paper.AREAS), (
        "keys of areas, as in `lm.paper.AREAS`"
    )
    table = lm.paper.table(2).iloc[:7]
    for name, size in zip(table["study_area"], table["patch_size"], strict=True):
        assert (lm.paper.area_key(name) in alone_at_64) == (size == 64), (
            f"{name}: look up its patch size in Table 2"
        )

# %% [markdown]
# **To go further.** Average the F1 of `by_area` over areas, instead of summing counts: which network of this book wins now? Does
# cutting to one size increase or decrease the number of patches of your areas?
#
# **Next:** chapter 07 learns the areas one after another, each at its own patch size.
