# ---
# jupyter:
#   kernelspec:
#     display_name: LMHLD book
#     language: python
#     name: lmhld
# ---

# %% [markdown]
# # Study areas and inventories
#
# **Question.** Where are the landslides, how large are they, and what distinguishes them from their surroundings?
#
# **The paper** (sections 2.1 and 2.2) chooses seven disasters, five sensors and resolutions from 0.8 to 10 m. Experts
# outline the landslides and check them against slope, elevation, brightness and the loss of vegetation. Table 1 gives
# the number of landslides and the smallest and largest, in pixels; Fig 9 shows their sizes.
#
# **Time.** 5 minutes to read, under half a minute to run.

# %% tags=["parameters"]
profile: str = "mini"  # a profile in params/, or a YAML file of your own
feature_area: str = "wenchuan"  # area shown in Fig 2

# %%
import lmhld_nb as lm
from lmhld_nb.experiments.examples import scene_to_show
from lmhld_nb.experiments.tables import published_areas

import numpy as np

book = lm.open(profile)
print(f"profile {book.name}: {book.profile.description}")

# %% [markdown]
# ## Where (Fig 1)
#
# Look at the pairs of sensor and resolution: the same landslide covers 156 times as many pixels at 0.8 m as at 10 m.

# %%
book.show(
    lm.plots.data.world_map(),
    "fig01_study_areas",
    lm.paper.areas().reset_index(),
    caption="",
)

# %% [markdown]
# Three of the seven areas lie within 2,000 km of each other in China. The paper's map also shows a global
# susceptibility model; this one does not.
#
# ## How many, how large (Table 1)
#
# Two pixels belong to one landslide if they touch, even at a corner (8-connected). Sizes are counted on the labels
# of the scenes, so a landslide drawn as two touching polygons counts once.

# %%
sizes = {
    area: lm.inventory.area_sizes(scenes) for area, scenes in book.scenes().items()
}
measured = lm.inventory.summary(sizes)
published = published_areas(book.dataset.name)
columns = ["landslides", "min_area_px", "max_area_px"]
table1 = measured.join(published[columns].add_prefix("published_"))
columns = [*measured, *(f"published_{name}" for name in columns)]
lm.tidy(book.save(table1, "table1"), columns)

# %%
for area, row in table1.iterrows():
    print(
        f"{area:15} {row['landslides']:4.0f} landslides, Q1 {row['q1']:.0f}, median {row['q2']:.0f}, Q3 {row['q3']:.0f} px"
    )
inside = (table1["min_px"] >= table1["published_min_area_px"]) & (
    table1["max_px"] <= table1["published_max_area_px"]
)
print(f"sizes within Table 1's range: {inside.sum()} of {inside.size} areas")

# %%
largest = table1[["max_px", "published_max_area_px"]].dropna().astype(int)
largest["share"] = largest["max_px"] / largest["published_max_area_px"]
lm.tidy(largest)

# %% [markdown]
# The synthetic twin has fewer landslides than the published areas, because it is small enough for a laptop. What is
# measured above are outlines as an interpreter draws them, with errors made on purpose (`label_noise`; chapter 11,
# question 4): fragments lower the first quartile in most areas, merged neighbours raise the third and the maximum. The
# landslides themselves are known here:

# %%
if book.dataset.synthetic:
    for area, scenes in book.scenes().items():
        true = [
            lm.inventory.scene_sizes(s, layer=lm.scenes.TRUE_LAYER) for s in scenes
        ]
        q1, q2, q3 = lm.inventory.quartiles(np.concatenate(true))
        print(f"{area:15} true quartiles {q1:.0f}, {q2:.0f}, {q3:.0f} px")

# %% [markdown]
# Wenchuan's quartiles are the only ones that the paper prints (417, 1191, 4123), and the twin's landslides are drawn
# from a distribution through them; the other areas' quartiles are our choice. The published largest size is
# the upper end of the distribution, which a few hundred draws need not reach. In small scenes the end is lower: no landslide may cover more
# than 2.5 % of its scene. Neighbours that were drawn as one can exceed both.
#
# ## The shape of the size distribution (Fig 9)
#
# The axis of sizes is logarithmic. Look at the right end: few landslides, but a large part of the area. The dashed
# lines are the quartiles from which chapter 02 chooses patch sizes.

# %%
candidates = {
    area: lm.patches.candidate_sizes(lm.inventory.quartiles(values))
    for area, values in sizes.items()
}
book.show(
    lm.plots.data.size_histograms(sizes, candidates),
    "fig09_sizes",
    measured.reset_index(),
)

# %%
for area, values in sizes.items():
    largest = np.sort(values)[::-1][: max(1, len(values) // 10)]
    print(
        f"{area:15} the largest tenth of the landslides holds {largest.sum() / values.sum():.0%} of the area"
    )

# %% [markdown]
# A score counted over pixels is therefore a score of the large landslides. Chapter 11 comes back to this.
#
# ## What an expert looks at (Fig 2)
#
# A fresh landslide is bright, has lost its vegetation (in the second column vegetation is red) and lies on a slope.
# Look for places that meet one of these conditions and are not outlined. NDVI, (NIR − red)/(NIR + red), is high where plants are green;
# brightness is the mean of blue, green and red. The table below gives the means, on the
# landslide and beside it.

# %%
scene = scene_to_show(book.scenes(), feature_area)
window = lm.plots.data.window_to_show(scene)
contrast = lm.inventory.feature_contrast(scene, window)
figure = lm.plots.data.annotation_features(scene, window)
book.show(figure, "fig02_features", contrast)

# %%
lm.tidy(contrast)

# %% [markdown]
# Compare brightness, vegetation and slope with those of the ground beside the landslide; both are part of one hillside. The paper's experts checked each outline against these features (section 2.2). Chapter 11 asks how wrong
# outlines can be, and what that costs.
#
# ## Beside the paper
#
# Table 1 gives 681,850 pixels for the largest landslide (Wenchuan), while the text of section 2.1 speaks of "as large as
# 325,589 pixels" (Taiwan's). It dates the Jiuzhaigou images to 2015.08, while section 2.1 e) dates the earthquake to
# August 2017. Table 1's counts add up to more than the "approximately 20,000 landslides" of the text:

# %%
print(f"landslides in Table 1: {lm.paper.table(1)['landslides'].sum():,}")

# %% [markdown]
# ## Check yourself
#
# Choose an answer; it opens and says whether it is right, and why.
#
# **An inventory holds 1,000 landslides. A network finds the 100 largest and none of the others. Its pixel recall
# is…**
#
# <details><summary>about 0.10</summary>No: that is the share of landslides. Recall counts pixels, and the largest
# tenth holds far more than its share of them.</details>
# <details><summary>about a half</summary>Right: in a heavy-tailed inventory the largest tenth covers a third to
# two thirds of the area, as printed above. A score over pixels is a score of the large landslides.</details>
# <details><summary>impossible to say</summary>Not to the last digit, but the histograms above say roughly: add up
# the area in their right-hand tails.</details>

# %% [markdown]
# ## Exercises
#
# Each question says what to set or to write, and the check below it tells you what is wrong. The book contains the
# solutions, folded; the copies that `make student` writes leave them out.

# %% [markdown]
# ### Exercise 1: pixels and metres
#
# What is the side of a square with the area of the smallest landslide in Table 1? Set `side_m` to a Series in metres, indexed by area
# key (`lm.paper.areas()` has what you need). What does it say about comparing counts of landslides between areas?

# %% tags=["solution", "hide-cell"]
table1_areas = lm.paper.areas()
side_m = table1_areas["min_area_px"] ** 0.5 * table1_areas["resolution_m"]
# From 2 m to 28 m: an area seen more sharply counts landslides that another one cannot show.

# %% tags=["check"]
with lm.exercise(1, side_m):
    known = lm.paper.areas()
    assert set(side_m.index) == set(known.index), (
        "one value for each of the seven areas"
    )
    pixels = (side_m / known["resolution_m"]) ** 2
    assert not np.allclose(pixels, known["min_area_px"] ** 2), "a side, not an area"
    assert np.allclose(pixels, known["min_area_px"]), (
        "a square of this side does not have the smallest landslide's number of pixels"
    )

# %% [markdown]
# ### Exercise 2: half of the area
#
# Write `half(sizes)`: how many of the largest landslides together make up at least half of the total area? Try it on
# `lm.inventory.area_sizes(...)` of an area.


# %% tags=["solution", "hide-cell"]
def half(sizes):
    """Return the least number of landslides that hold at least half of the summed sizes (pixels, any order)."""
    held = np.cumsum(np.sort(sizes)[::-1])
    return int(np.searchsorted(held, held[-1] / 2)) + 1


# %% tags=["check"]
with lm.exercise(2):
    assert half([5]) == 1, "one landslide holds all of the area"
    assert half([1, 1, 1, 1]) == 2, (
        "'at least half': two of four equal ones are enough"
    )
    assert half([1, 1, 1, 7, 1, 1]) == 1, (
        "begin with the largest, wherever it stands"
    )
    sizes = np.random.default_rng(0).integers(1, 1000, 99)
    largest = sorted(sizes.tolist(), reverse=True)
    count = half(sizes)
    assert 2 * sum(largest[:count]) >= sum(largest), "these hold less than half"
    assert 2 * sum(largest[: count - 1]) < sum(largest), "one fewer would do"

# %% [markdown]
# ### Exercise 3: what a shadow changes
#
# Suppose that a cloud's shadow halves the recorded values in all bands alike (a real one takes less of blue than of near infrared). Which
# changes, NDVI or brightness? Set `changed` to `"NDVI"`,
# `"brightness"`, `"both"` or `"neither"`, and think of a landslide that lies half in the shadow.

# %% tags=["solution", "hide-cell"]
red, nir = 0.2, 0.3
ndvi_moves = not np.isclose(
    (nir - red) / (nir + red), (nir / 2 - red / 2) / (nir / 2 + red / 2)
)
brightness_moves = red / 2 != red
changed = {
    (True, True): "both",
    (True, False): "NDVI",
    (False, True): "brightness",
}[ndvi_moves, brightness_moves]
# A ratio of bands is blind to a common factor: in the shadow NDVI still shows bare ground, brightness does not.

# %% tags=["check"]
with lm.exercise(3, changed):
    bands = ("blue", "green", "red", "nir")
    light = np.random.default_rng(0).uniform(0.05, 0.4, (4, 8, 8))
    moves = {
        name: not np.allclose(feature(light, bands), feature(light / 2, bands))
        for name, feature in (
            ("NDVI", lm.inventory.ndvi),
            ("brightness", lm.inventory.brightness),
        )
    }
    names = [name for name, moved in moves.items() if moved]
    expected = {0: "neither", 2: "both"}.get(len(names), "".join(names))
    assert changed in {"NDVI", "brightness", "both", "neither"}, (
        "one of the four words"
    )
    assert changed == expected, (
        "put half of each band into the formula of each feature"
    )

# %% [markdown]
# **To go further.** Change `feature_area` to `hokkaido`. The scene is from November: what happens to the contrast in NDVI?
#
# **Next:** chapter 02 cuts the scenes into patches.
