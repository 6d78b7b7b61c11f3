# ---
# jupyter:
#   kernelspec:
#     display_name: LMHLD book
#     language: python
#     name: lmhld
# ---

# %% [markdown]
# # What the paper does not ask
#
# **Question.** How certain are the scores, what do they leave out, and which choices produced them? Eight questions
# that a reviewer might ask, answered with runs of this book.
#
# **The paper** gives each F1 as one number, without an interval, and compares networks by the third digit. It tests on patches
# that hold at least 10 % landslide, split at random. It does not say which loss, momentum or normalisation it used.
#
# **Time.** 15 minutes to read; half a minute to run once the trainings are finished.

# %% tags=["parameters"]
profile: str = "mini"  # a profile in params/, or a YAML file of your own
resamples: int = 2000  # of patches, for each interval and each test
on_missing: str = "train"  # if runs are missing: train, skip or error

# %%
import lmhld_nb as lm
from lmhld_nb.evaluation import intervals
from lmhld_nb.experiments import beyond, beyond_tables, certainty

import numpy as np
import pandas as pd

book = lm.open(profile)
print(f"profile {book.name}: {book.profile.description}")
settings = book.settings("beyond")
network = lm.models.network(settings.model).title

# %% [markdown]
# Questions 2 to 6 are answered with one network on one area (`beyond` in the profile; question 5 may use another,
# `sizes_area`), with one thing changed at a time. Each kind of run is repeated with the seeds in the profile, each
# of which draws different initial weights and a different order of patches.

# %%
fetched = book.runs("beyond", on_missing)
groups = beyond.groups_compared(book)
runs = {name: lm.runs.select(group, fetched) for name, group in groups.items()}

# %%
for name, group in groups.items():
    there = len(runs[name])
    print(
        f"{name}{' px' if isinstance(name, int) else ''}: {there} of {len(group)} runs"
    )

# %% [markdown]
# ## 1. How certain?
#
# Another draw of test patches would give another F1. The bootstrap imitates that: test patches are drawn again and again with
# replacement, and F1 is computed from the summed counts of each draw. Patches that touch are alike: they are drawn together, as one
# block. Every F1 of Tables 4 to 7 that rests on ten blocks or more has its interval that way (`f1_low`, `f1_high` in chapters 04 to
# 07); in Table 4 blocks of windows are drawn. Another seed would give another network, and another F1 too: where a network was
# trained with several seeds, `f1_sd` is the standard deviation over them.
#
# Overlapping intervals say little: networks are tested on the same patches, and a hard patch is hard for all. So each pair is
# compared patch by patch. If two networks were equally good, their counts on a block could be swapped; a permutation test
# does that. With fewer than six blocks no p can be below 0.05: such pairs are not tested. Many pairs give
# some small p-values by chance, so p is corrected for all pairs of a table (Benjamini and Yekutieli 2001,
# [doi:10.1214/aos/1013699998](https://doi.org/10.1214/aos/1013699998)).

# %%
finished = certainty.table_runs(book)
pairs = book.save(certainty.pair_table(book, finished, resamples), "score_pairs")
ranked = book.save(certainty.rankings(pairs), "rankings")
lm.tidy(ranked) if len(ranked) else None

# %% [markdown]
# `sure` counts the pairs with a corrected p below 0.05, `one seed` those of them that rest on a single seed.
# We separate two kinds of chance. *Patches*: the interval of a difference says how it would come out on other test
# patches. *Seeds*: the standard deviation says how far apart trainings of the same network end up. Both are for this
# book's networks: the published ones are wider and were trained for longer, and their spread is unknown.

# %%
book.found("rankings", ranked)

# %% [markdown]
# **Try it:** `seeds: [0, 1, 2]` in a copy of the profile trains every network three times; `seeds_of` does so for single ones.
#
# ## 2. What does the 10 % filter hide?
#
# Patches with less than 10 % landslide are dropped, even from the test set. A map has to deal with the whole landscape. Here
# the same held-out windows are scored twice: without the dropped ones (as in Table 5), and with as many of them as the area
# has (`natural`, as in Table 4). The second network was also trained with dropped windows. Look at which score changes, and
# how far apart the two networks are. A second table, here and in the questions below, is that of the real areas, from this book's runs.

# %%
prevalence = beyond_tables.prevalence_table(
    runs["base"], runs["background"], resamples
)
shown = ["natural", "prevalence", "f1", "precision", "recall", "false_alarms"]
lm.tidy(book.save(prevalence, "prevalence"), shown) if len(prevalence) else None

# %% [markdown]
# Recall depends only on the landslides: it changes only if those in dropped windows are easier or harder to find.
# Precision also depends on the landscape: the dropped windows add their false alarms to the same hits. Table 5 and
# Table 4 therefore differ even for the same network. (Dropped windows may contain a little landslide, up to 10 %.)

# %%
lm.tidy(book.real("prevalence"), shown)

# %%
book.found("prevalence", prevalence)

# %% [markdown]
# **Try it:** `patches: {min_share: 0.05}` changes the filter; `beyond: {area: rio}` uses an area with rarer landslides.
#
# ## 3. Does the random split leak?
#
# Adjacent patches show the same slope, so a test patch between training patches may be half known. A split by blocks keeps
# neighbours together; here no test patch touches a training or validation patch at all, and the random split uses the same
# number of training patches, drawn from its own. Each seed draws both splits again. Look at how many test patches touch a training patch
# (`touching`), and whether the two differ by more than their seeds.

# %%
kinds = {kind: runs[kind] for kind in ("random", "blocks") if runs[kind]}
split = beyond_tables.split_table(kinds)
shown = ["f1", "f1_low", "f1_high", "touching", "training_patches"]
lm.tidy(book.save(split, "split_kinds"), shown) if len(split) else None

# %%
lm.tidy(book.real("split_kinds"), shown)

# %%
book.found("split_kinds", split)

# %% [markdown]
# The two are tested on different patches, some of which are harder, so a single draw says little; over many draws this evens out.
# The test does not detect similarity beyond the gap (the same sensor, event and season): for that, a whole area has to be left
# out (question 7).
#
# **Try it:** `patches: {block: 6}` makes blocks larger, `beyond: {split_seeds: [0, 1, …, 15]}` draws more splits.
#
# ## 4. What if the labels are wrong?
#
# Landslides are outlined by people. They leave out small and old ones, merge neighbours, and are off by a pixel or two.
# On real data nobody knows the truth; for the synthetic twin it is known, and its labels are drawn with such errors on purpose
# (`label_noise` of a data set). Here the same network is trained on drawn and on true outlines, and each is tested
# against both, on the same patches. Look at which pair of rows is higher, and at `labels F1`: a perfect map would score
# that against the drawn outlines.

# %%
noise = beyond_tables.label_table(runs["base"], runs.get("true labels", []))
columns = ["f1", "f1_low", "f1_high", "f1_sd", "seeds", "labels_f1"]
lm.tidy(book.save(noise, "label_noise"), columns) if len(noise) else None

# %%
book.found("label_noise", noise)

# %% [markdown]
# A score against an inventory mixes two things, how good the map is and how good the inventory is. Networks are ranked by the
# sum. Above `labels F1` no score against drawn outlines can be trusted to mean a better map.
#
# **Try it:** your own data set in `params/data` with `label_noise: strong`.
#
# ## 5. Which patch size, really?
#
# Table 4 compares sizes at the same number of epochs. A small patch size then takes more and smaller steps, and its
# kept patches cover a different part of the area. Here all sizes see equally many pixels, in equally many steps where a
# step can be that small, with the same learning-rate schedule. What differs is the context (how far a patch reaches around a pixel) and the number of
# places in a step. Look at whether sizes differ by more than `f1_sd`.

# %%
compared = {
    size: group for size, group in runs.items() if isinstance(size, int) and group
}
area = lm.paper.area_name(settings.sizes_area or settings.area)
sizes = beyond_tables.size_table(compared, beyond.own_size(book))
shown = ["f1", "f1_low", "f1_high", "outside_f1", "f1_sd", "chosen", "steps"]
print(f"{network}, {area}; chosen: the size in use")
lm.tidy(book.save(sizes, "sizes_compared"), shown) if len(sizes) else None

# %% [markdown]
# Where seeds of one size differ as much as the means of two sizes do, the order of sizes is undecided. Steps and pixels
# agree up to whole epochs, but a step of one large patch cannot be made smaller: look at `steps`.

# %%
lm.tidy(book.real("sizes_compared"), shown)

# %%
book.found("sizes_compared", sizes)

# %% [markdown]
# **Try it:** `beyond: {sizes_area: ..., sizes: [...], size_seeds: [...]}`.
#
# ## 6. How much do the open points matter?
#
# The paper leaves these choices open. The ledger says what the book does about each:

# %%
keys = [
    f"recipe.{name}"
    for name in ("loss", "momentum", "normalise", "augment", "keep")
]
lm.ledger.table(keys)[["choice", "keys"]]

# %% [markdown]
# Each choice is now changed, one at a time, with the same patches and seeds. `effect` is the mean over seeds, `effect sd` the
# standard deviation over them, and `low` and `high` the interval over test patches. Look at which intervals exclude 0, and whether
# all seeds agree.

# %%
switched = {name: runs[name] for name in beyond.switches(book)}
effects = beyond_tables.switch_table(runs["base"], switched)
lm.tidy(book.save(effects, "switches")) if len(effects) else None

# %%
lm.tidy(book.real("switches"))

# %%
book.found("switches", effects)

# %% [markdown]
# The two spreads answer two questions. The interval: would these same networks differ on other patches? The deviation: do other
# trainings differ as much? A choice of recipe is about trainings: the interval has to exclude 0, and all seeds have to agree in
# sign. A comparison that trains each variant once sees only the first.
#
# **Try it:** `beyond: {seeds: [0, 1, 2, 3, 4, 5, 6, 7]}`: do the same effects remain?
#
# ## 7. And in an area never seen?
#
# The test patches of experiments 2 to 4 lie in areas that the networks were trained on. A map of the next event has no such
# advantage. So each area is left out in turn: a network learns all others, each at its own patch size, and is tested on the
# test patches of the one left out. Look at `gap`: how far it stays behind a network that has learnt that area alone. (In the
# figure, where the profile has these runs: how far the orange dots lie below the squares.)
#
# Four of the seven real areas are not quite new: the two in Hokkaido show one earthquake, of September 2018, by two sensors, and Jinsha A
# and C are scenes of one river. Each keeps its companion among the areas learnt.

# %%
left_out = lm.experiments.leave_one_out.fetched(book, on_missing)
book.show(
    lm.plots.scores.left_out(left_out), "leave_one_out", left_out, about=network
) if left_out is not None else None

# %%
shown = [
    "f1",
    "f1_low",
    "f1_high",
    "patches",
    "single_f1",
    "gap",
    "gap_low",
    "gap_high",
]
lm.tidy(book.real("leave_one_out"), shown)

# %%
book.found("leave_one_out", left_out)

# %% [markdown]
# Images of the new area were used, but no labels: its bands are scaled with its own mean and deviation.
#
# **Try it:** `experiments: {leave_one_out: {areas: [rio], seeds: [0]}}`.
#
# ## 8. Does the verdict on LMHLD_part depend on the epochs?
#
# The verdict of chapter 07 on LMHLD_part might depend on how long each stage is trained: too short, and a stage could only destroy
# what the one before has learnt. The paper does not say how its epochs are distributed. Here a chain, LMHLD_mix and
# LMHLD_single are trained for different numbers of epochs, all three the same. Look at whether `part minus` changes
# sign.

# %%
by_epochs = {
    epochs: {name: lm.runs.select(group, fetched) for name, group in of.items()}
    for epochs, of in beyond.by_epochs(book).items()
}
lengths = beyond_tables.epochs_table(by_epochs)
columns = ["f1", "f1_sd", "areas", "seeds", "part_minus", "part_minus_sd"]
lm.tidy(book.save(lengths, "epochs_per_stage"), columns) if len(lengths) else None

# %%
lm.tidy(book.real("epochs_per_stage"), columns)

# %%
book.found("epochs_per_stage", lengths)

# %% [markdown]
# **Try it:** `beyond: {stage_epochs: [5, 40]}`.
#
# ## Beside the paper
#
# Question 2 can also be asked of the published tables: Table 5 has each network's precision and recall on Wenchuan's test patches, Table 4 those
# on the whole area with the same patch size.

# %%
table5, table4 = lm.paper.table(5), lm.paper.table(4)
on_patches = table5[table5["study_area"] == "Wenchuan China"].set_index("model")
on_area = table4[table4["patch_size"] == 224].set_index("model")
for name, row in on_patches.iterrows():
    print(
        f"{name}: precision {row['precision']:.2f} on patches, {on_area.loc[name, 'precision']:.2f} on the area; "
        f"recall {row['recall']:.2f} and {on_area.loc[name, 'recall']:.2f}"
    )

# %% [markdown]
# Precision falls from patches to the area where less of it is landslide, and also where background is mapped more
# often. The paper says neither how much of the area is landslide nor how often background is mapped there, so its
# tables cannot tell the two apart; question 2 measures both on this book's networks. Either way, Table 5 alone raises
# expectations that the map does not meet.

# %% [markdown]
# ## Check yourself
#
# Choose an answer; it opens and says whether it is right, and why.
#
# **Two networks differ by 0.03 F1. The interval over patches of the difference is −0.01 to +0.07. You may say
# that…**
#
# <details><summary>they are equally good.</summary>No: the interval also contains a difference of 0.07. Nothing has
# been shown to be equal.</details>
# <details><summary>these patches are too few to tell them apart.</summary>Right: the interval contains 0 and
# differences that would matter.</details>
# <details><summary>the first is better with a probability of 97 %.</summary>No: an interval does not give that
# probability.</details>

# %% [markdown]
# ## Exercises
#
# Each question says what to set or to write, and the check below it tells you what is wrong. The book contains the
# solutions, folded; the copies that `make student` writes leave them out.

# %% [markdown]
# ### Exercise 1: one per cent landslide
#
# A network has precision P and recall R where a share s is landslide. Write `precision_at(share, P, R, s)`: its precision where `share` is
# landslide, if it finds the same share of the landslides and marks the same share of the background. Then set `district` to the precision of
# U-Net on Wenchuan (Table 5; s is Table 2's share of test patches) for a district with 1 % landslide.


# %% tags=["solution", "hide-cell"]
def precision_at(share, P, R, s):
    """Return the precision at another share of landslide; all arguments are shares, 0 to 1."""
    false_rate = R * s * (1 / P - 1) / (1 - s)
    return share * R / (share * R + (1 - share) * false_rate)


unet = (
    lm.paper.table(5)
    .query("model == 'U-Net' and study_area == 'Wenchuan China'")
    .iloc[0]
)
test_share = (
    lm.paper.table(2)
    .set_index("study_area")
    .loc["Wenchuan, China", "landslide_fraction_test"]
)
district = precision_at(0.01, unet["precision"], unet["recall"], test_share)
# About one mapped pixel in nine is landslide: the precision of Table 5 says little about such a district.

# %% tags=["check"]
with lm.exercise(1, district):
    assert abs(precision_at(0.3, 0.8, 0.7, 0.3) - 0.8) < 1e-9, (
        "at its own share nothing changes"
    )
    # 1,000 pixels, half landslide: 400 hits and 100 of 500 background pixels; then 100 of 1,000.
    assert abs(precision_at(0.1, 0.8, 0.8, 0.5) - 80 / (80 + 180)) < 1e-9, (
        "count: which part of the background is marked, and how much background is there now?"
    )
    alone = (
        lm.paper.table(5)
        .set_index(["study_area", "model"])
        .loc[("Wenchuan China", "U-Net")]
    )
    cuts = lm.paper.table(2).set_index("study_area")
    share = cuts.loc["Wenchuan, China", "landslide_fraction_test"]
    told = precision_at(0.01, alone["precision"], alone["recall"], share)
    assert abs(district - told) < 1e-6, (
        "U-Net's row of Wenchuan, and Table 2's share of test patches"
    )

# %% [markdown]
# ### Exercise 2: patches of one scene are alike
#
# `intervals.over_patches` draws its rows as if they were independent. Write `over_scenes(counts, scene)`: F1 with its interval when whole scenes are
# drawn. `counts` is an array (patches, 3) of tp, fp, fn; `scene` names each patch's scene. Sum by scene, then use
# `intervals.over_patches`. When are these intervals wider?


# %% tags=["solution", "hide-cell"]
def over_scenes(counts, scene):
    """Return F1 with its interval (`intervals.Interval`) when whole scenes are drawn."""
    return intervals.over_patches(
        pd.DataFrame(counts).groupby(list(scene)).sum().to_numpy()
    )


# Wider where patches of one scene are alike: then there are as many independent draws as scenes, not as patches.

# %% tags=["check"]
with lm.exercise(2):
    random = np.random.default_rng(0)
    of_scene = random.integers(20, 200, (12, 3))
    counts, scene = (
        np.repeat(of_scene, 10, axis=0),
        np.repeat(list("abcdefghijkl"), 10),
    )
    by_patch, by_scene = intervals.over_patches(counts), over_scenes(counts, scene)
    assert abs(by_patch.value - by_scene.value) < 1e-9, (
        "the sums, and so F1, stay the same"
    )
    width = by_scene.high - by_scene.low
    assert width > 2 * (by_patch.high - by_patch.low), (
        "twelve scenes of equal patches: still 120 draws?"
    )
    mixed = random.permutation(len(scene))
    again = over_scenes(counts[mixed], scene[mixed])
    assert 0.7 < (again.high - again.low) / width < 1.4, (
        "patches of a scene need not stand side by side"
    )

# %% [markdown]
# ### Exercise 3: how many seeds?
#
# Two networks differ by `gap` in F1 on average; over seeds, the differences have the standard deviation `spread`. Write
# `seeds(gap, spread)`: the smallest number of seeds (at least 2) for which Student's 95 % interval of the mean difference excludes 0. How many for a
# gap of 0.01, the size of many gaps in Table 6, and a spread of 0.02?

# %% tags=["solution", "hide-cell"]
from itertools import count

from scipy import stats


def seeds(gap, spread):
    """Return the least number of seeds whose interval, as wide as expected, leaves out 0."""
    return next(
        n for n in count(2) if stats.t.ppf(0.975, n - 1) * spread / n**0.5 < gap
    )


# seeds(0.01, 0.02) is 18. Half the gap takes about four times as many.

# %% tags=["check"]
with lm.exercise(3):
    for gap, spread in ((0.01, 0.02), (0.02, 0.02), (0.05, 0.02), (0.01, 0.03)):
        least = seeds(gap, spread)
        for number in (n for n in (least - 1, least) if n > 1):
            z = np.linspace(-1, 1, number)
            values = gap + spread * z / z.std(
                ddof=1
            )  # of exactly this mean and spread
            half = stats.t.ppf(0.975, number - 1) * stats.sem(values)
            sure = values.mean() > half
            told = "fewer seeds would do" if sure else "0 is still inside"
            assert sure == (number == least), (
                f"gap {gap}, spread {spread}: {told} with {number}"
            )

# %% [markdown]
# **To go further.** Use this book's spread over seeds (question 1) in `seeds`. Combine questions 2 and 3: a split by blocks that
# also holds out background. What has to be changed in `patches.cut`?
#
# This is the last chapter. The fidelity ledger, a page of the web edition, lists what the paper leaves open.
#
# **Next:** nothing; go back to chapter 00 with your own profile.
