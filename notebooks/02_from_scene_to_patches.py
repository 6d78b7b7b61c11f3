# ---
# jupyter:
#   kernelspec:
#     display_name: LMHLD book
#     language: python
#     name: lmhld
# ---

# %% [markdown]
# # From scene to patches
#
# **Question.** How does a satellite scene become training data, and what is thrown away on the way?
#
# **The paper** (sections 2.3 and 4.1, Tables 2 and 3) measures landslide sizes, narrows the patch sizes 32, 64, 128, 224 and 256 to three
# candidates for each area, cuts the scene into non-overlapping windows, drops windows with less than 10 % landslide or
# with no-data, and splits the rest into training (70 %), validation (20 %) and test (10 %).
#
# **Time.** 4 minutes to read, under half a minute to run.

# %% tags=["parameters"]
profile: str = "mini"  # a profile in params/, or a YAML file of your own
show_area: str = "hokkaido"  # area whose windows are drawn

# %%
import lmhld_nb as lm
from lmhld_nb.experiments import patch_size
from lmhld_nb.experiments.examples import scene_to_show
from lmhld_nb.experiments.tables import published_areas

import numpy as np
import pandas as pd

book = lm.open(profile)
print(f"profile {book.name}: {book.profile.description}")

# %% [markdown]
# ## Candidate sizes
#
# A landslide of $Q$ pixels should fill about 10 % of its patch, so the patch should have $10\,Q$ pixels and a side of
# $\sqrt{10\,Q}$. Each of the three quartiles takes the available size nearest to its ideal side. The paper does this
# for Wenchuan:

# %%
wenchuan = (417, 1191, 4123)
print("ideal sides:", ", ".join(f"{(10 * q) ** 0.5:.1f}" for q in wenchuan))
print("candidates: ", lm.patches.candidate_sizes(wenchuan))

# %% [markdown]
# These are the published sizes 64, 128 and 224. Now the same for every area of this data set, with its quartiles in pixels:

# %%
candidates = book.save(patch_size.candidate_table(book), "candidate_sizes")
lm.tidy(candidates)

# %%
sizes = candidates[["smallest", "middle", "largest"]]
among = sizes.eq(candidates["chosen"], axis=0).any(axis=1)
print(
    f"the size used is among the three candidates in {among.sum()} of {len(among)} areas"
)

# %% [markdown]
# On the twin the published size of every area is among its three candidates. Experiment 1 asks which of the three is
# best. Until then the book uses the sizes of Table 2.
#
# ## Windows kept and dropped
#
# Green windows become patches. Look at where the orange ones lie.

# %%
patch_sets = [book.patches(area) for area in book.areas]
scene = scene_to_show(book.scenes(), show_area)
figure = lm.plots.data.windows_on_scene(scene, book.patches(scene.area))
book.show(figure, "windows")

# %% [markdown]
# The rule keeps ground full of landslides. It drops the landscape without them, and small landslides that stand alone.
#
# **Try it** (in JupyterLab; the page shows the figure above). The next cell opens a panel: choose area, patch size and minimum
# share of landslide, and see which windows remain. At 5, 10 and 30 %: which landslides have no green window left, small or large ones? Which size
# keeps most of the scene?

# %% tags=["widget", "skip-execution", "nbval-skip", "hide-input"]
lm.widgets.patch_explorer(book, show_area)

# %% [markdown]
# ## Counts and shares (Table 2)
#
# `windows` = `patches` + the three columns of dropped windows: a window reaches over the scene's edge, touches pixels without data, or
# holds too little landslide; each has one reason. `train`, `val` and `test` are the shares of landslide pixels in the splits, `gap` is the largest
# difference between splits in the share of landslide pixels. The paper promises at most 1 %.

# %%
table2 = patch_size.table_2(patch_sets)
published = published_areas(book.dataset.name)[["patches"]]
table2 = book.save(table2.join(published.add_prefix("published_")), "table2")
lm.tidy(table2, list(table2))

# %%
for area, row in table2.iterrows():
    print(
        f"{area:15} {row['patch_size']:3.0f} px: {row['patches']:3.0f} of {row['windows']:3.0f} windows kept"
    )
counted = table2.filter(like="dropped").sum(axis=1) + table2["patches"]
print(f"all windows accounted for: {(counted == table2['windows']).all()}")

# %%
gaps = table2["gap"]
print(
    f"splits differ by at most 1 % in {(gaps <= 0.01).sum()} of {len(gaps)} areas (largest gap {gaps.max():.4f})"
)

# %% [markdown]
# With a handful of test patches the promised 1 % (a difference of 0.01) may not be met; the column `gap` says where. The profiles `mini`,
# `edition` and `real` split 60, 15 and 25 % rather than the paper's 70, 20 and 10: a score needs enough test patches.
#
# ## What the network sees
#
# Chapters 05 and 06 show patches with the networks' predictions. With the published rule every patch contains landslide. A network trained and tested on these has never seen a landscape
# without one, and its test score says nothing about false alarms there. Experiment 1 scores the whole scene instead.
#
# ## Random or in blocks?
#
# If patches are split at random, many have neighbours in another split: parts of one landslide can be in training and in
# test. A split by blocks keeps squares of neighbouring windows together, though patches on both sides of a border still
# touch. Chapter 11 asks how many test patches touch a training patch, and how much F1 that adds.
#
# ## LMHLD beside other data sets (Table 3)
#
# Look at sizes and numbers of patches. The last column names the entry of this book's catalogue that reads the data set (`lmhld data list`).

# %%
table3 = lm.paper.table(3)
table3["read by"] = ["bijie", "landslide4sense", "hr-gldd", "gvlm", "cas", "lmhld"]
assert set(table3["read by"]) <= set(lm.sources.catalogue())
book.save(table3, "table3")

# %% [markdown]
# LMHLD is the largest by number of patches. Counted in pixels, the order changes: a patch with sides of 512 pixels has 256
# times as many as one with 32.
#
# ## Beside the paper
#
# Table 2's landslide shares follow from the 10 % rule: an area's share lies above 10 % whatever its landscape. Its splits
# differ by at most 0.9 %, inside the promised 1 %. The paper prints quartiles for Wenchuan alone, so the candidate sizes of
# the other six areas cannot be checked.

# %% [markdown]
# ## Check yourself
#
# Choose an answer; it opens and says whether it is right, and why.
#
# **Every patch of the test set holds at least 10 % landslide. What does its precision say about a map of the whole
# region?**
#
# <details><summary>The same: precision is a ratio.</summary>No: its denominator counts false alarms, and most of the
# region's ground, where only false alarms can arise, is not in the test set.</details>
# <details><summary>It is too low.</summary>No: the ground that was left out is mostly without landslides, so it adds
# false alarms and few hits.</details>
# <details><summary>It is too high.</summary>Right: the filter removed ground with little or no landslide. Experiment 1 scores
# whole areas; chapter 11 measures the difference.</details>

# %% [markdown]
# ## Exercises
#
# Each question says what to set or to write, and the check below it tells you what is wrong. The book contains the
# solutions, folded; the copies that `make student` writes leave them out.

# %% [markdown]
# ### Exercise 1: fuller patches
#
# What would Wenchuan's candidates be if a landslide should fill 20 % of its patch instead of 10 %? Set `fuller` to the three sizes.
# (The quartiles are 417, 1191 and 4123 pixels.)

# %% tags=["solution", "hide-cell"]
# A patch of 5·Q pixels instead of 10·Q is what the rule gives for half the quartile.
fuller = lm.patches.candidate_sizes(tuple(q / 2 for q in (417, 1191, 4123)))

# %% tags=["check"]
with lm.exercise(1, fuller):
    assert len(fuller) == 3 and set(fuller) <= set(lm.patches.SIZES), (
        f"three of the sizes {lm.patches.SIZES}"
    )
    for size, quartile in zip(fuller, (417, 1191, 4123), strict=True):
        side = (quartile / 0.2) ** 0.5
        nearest = min(lm.patches.SIZES, key=lambda offered: abs(offered - side))
        assert size == nearest, (
            f"quartile {quartile}: what side has a square in which it fills a fifth?"
        )

# %% [markdown]
# ### Exercise 2: the rule, by hand
#
# Write `kept(mask, size, least)`: of the adjacent windows of `size` pixels in a mask (1 landslide, 0 background), how many
# have a landslide share of at least `least`? Rows and columns that do not fill a window are left out.


# %% tags=["solution", "hide-cell"]
def kept(mask, size, least):
    """Return how many whole windows of a (rows, cols) mask hold at least a share ``least`` of landslide pixels."""
    rows, cols = (length // size for length in mask.shape)
    whole = mask[: rows * size, : cols * size].reshape(rows, size, cols, size)
    return int((whole.mean(axis=(1, 3)) >= least).sum())


# %% tags=["check"]
with lm.exercise(2):
    random = np.random.default_rng(0)
    mask = (random.random((70, 100)) < np.linspace(0, 0.5, 100)).astype(np.uint8)
    counts = [kept(mask, 32, least) for least in (0, 0.1, 0.3, 1)]
    assert counts[0] == 6, (
        "2 by 3 whole windows fit, and all have a share of at least 0"
    )
    assert counts == sorted(counts, reverse=True), (
        "a stricter rule cannot keep more"
    )
    everywhere = np.ones(mask.shape, bool)
    for least, count in zip((0, 0.1, 0.3, 1), counts, strict=True):
        reason, _ = lm.patches.classify_windows(mask, everywhere, 32, least)
        assert count == (reason == "").sum(), (
            f"at least {least}: compare window by window"
        )

# %% [markdown]
# ### Exercise 3: what the filter does to shares
#
# Suppose half of all windows are kept, and the dropped ones hold from 0 to 10 % landslide. What are the bounds of each area's share
# in the landscape, if Table 2 gives that of the kept windows (`landslide_fraction_train`)? Set `bounds` to a DataFrame with columns `low` and
# `high`, indexed by area key (`lm.paper.area_key`), without the comparison dataset.

# %% tags=["solution", "hide-cell"]
rows = lm.paper.table(2).query("study_area != 'Comparison dataset'")
patch_share = rows.set_index(rows["study_area"].map(lm.paper.area_key))[
    "landslide_fraction_train"
]
bounds = pd.DataFrame(
    {"low": 0.5 * patch_share, "high": 0.5 * patch_share + 0.5 * 0.1}
)
# Even the upper bound lies below the share in the patches: the filter takes out what is low.

# %% tags=["check"]
with lm.exercise(3, bounds):
    assert set(bounds.index) == set(lm.paper.AREAS), "the seven areas, by key"
    table = lm.paper.table(2)[:7]
    share = dict(
        zip(
            table["study_area"].map(lm.paper.area_key),
            table["landslide_fraction_train"],
            strict=True,
        )
    )
    for area, row in bounds.iterrows():
        emptiest, fullest = (
            np.mean([share[area], dropped]) for dropped in (0, 0.1)
        )
        assert np.isclose(row["low"], emptiest), (
            f"{area}: low is for empty dropped windows"
        )
        assert np.isclose(row["high"], fullest), (
            f"{area}: high is for the fullest ones"
        )

# %% [markdown]
# **To go further.** Copy `params/mini.yaml`, set `min_share: 0.0`, and run the chapter with your file (`name:` must match the file
# name). How many windows become patches now, and what happens to the shares?
#
# **Next:** chapter 03 opens the seven networks.
