# ---
# jupyter:
#   kernelspec:
#     display_name: LMHLD book
#     language: python
#     name: lmhld
# ---

# %% [markdown]
# # Experiment 5: landslides nobody has seen
#
# **Question.** A network has learnt seven areas. What does it find in the image of an event it has never seen, taken by
# another sensor, in another season, over different ground? And how far can its map be trusted?
#
# **The paper** (sections 3.2 (5) and 4.5) uses the U-Net of LMHLD_part to map five sites of the GVLM data set and a PlanetScope
# scene of Luding after the earthquake of 2022. It shows the maps (Figs 16, 17), says that most landslides are identified and that
# a few roads are mistaken for landslides, and gives no score. This chapter draws maps of that kind and scores them.
#
# **Time.** 8 minutes to read; half a minute to run once the trainings are finished.

# %% tags=["parameters"]
profile: str = "mini"  # a profile in params/, or a YAML file of your own
on_missing: str = "train"  # if runs are missing: train, skip or error

# %%
import lmhld_nb as lm
from lmhld_nb.evaluation import objects
from lmhld_nb.experiments import examples, unseen

import numpy as np

# Photographs: as PNG this page would be several megabytes.
# %config InlineBackend.figure_formats = ["jpeg"]

book = lm.open(profile)
print(f"profile {book.name}: {book.profile.description}")

# %% [markdown]
# ## The events (Figs 7, 8)
#
# Five of the paper's sites have no near infrared: GVLM comes from Google Earth. Luding has all four bands. In books of
# synthetic data six artificial events stand in for them: they show nothing of the real places, and no score here can be
# compared with one from there. Their sensors, seasons and ground differ from those of the seven areas, with roads, river bars
# and bare fields that look like landslides. If the real images are available (`lmhld data get gvlm --from FOLDER`, the same
# for `luding`), the profile `paper` uses them; `real` maps Gorkha, a real event that its networks have never seen; no
# picture of it is published.

# %%
for event, dataset in unseen.available_events(book):
    bands = ", ".join(event.bands or book.bands)
    print(f"{dataset.title}; network of {bands}")
    for area in event.areas or dataset.areas:
        print("  ", unseen.about(dataset, area))

# %% [markdown]
# ## The networks
#
# The network is the last stage of LMHLD_part in its first order: with the profile's own bands it is the run of chapter
# 07. For images without near infrared, a separate chain is trained on blue, green and red. A missing band is
# never invented.
#
# Above which probability is a pixel mapped as landslide? There is no reason for 0.5, and the best threshold for the
# event itself is not known beforehand. So we take the threshold with the best F1 on the **validation** windows of the
# areas that the network has learnt. These include windows with little or no landslide, which training leaves out
# (chapter 02), because most of a scene looks like that.

# %%
print(f"{len(unseen.specs(book))} trainings, stages of chains among them")
events = unseen.score_all(book, on_missing)
table = unseen.events_table(events)
one_seed = unseen.one_seed(events)  # figures draw the first
numbers = unseen.events_table(one_seed)
shown = events[0].dataset if events else book.dataset  # under the figures
seed = f"seed {one_seed[0].run.spec.seed}" if one_seed else ""

# %%
for run in {e.run.spec.run_id: e.run for e in one_seed}.values():
    validation = unseen.validation(run)
    threshold, f1 = validation.best()
    print(
        f"network of {', '.join(run.spec.bands)}: threshold {threshold:.3f}, F1 {f1:.3f} on validation"
    )

# %% [markdown]
# ## The maps (Figs 16, 17)
#
# Each scene is cut into overlapping windows; predictions are blended, and the scene is normalised with its own mean and
# deviation, since nothing else is known of it. That is what `lmhld map` does. First the scenes alone:
# where would you look for landslides?

# %% tags=["nbval-ignore-output"]
with_nir = [e.name for e in one_seed if "nir" in e.run.spec.bands]
without_nir = [e.name for e in one_seed if e.name not in with_nir]
about = ["bands", "resolution_m", "prevalence"]

# %%
pictures = [examples.view(e) for e in one_seed if e.name in without_nir]
figure = lm.plots.maps.images(pictures)
book.show(figure, "fig07_unseen", numbers.loc[without_nir, about], dataset=shown)

# %%
pictures = [examples.view(e) for e in one_seed if e.name in with_nir]
figure = lm.plots.maps.images(pictures)
book.show(figure, "fig08_luding", numbers.loc[with_nir, about], dataset=shown)

# %% [markdown]
# Now the same scenes with the network's map in red. The cyan outline is the truth, which the paper's figures do not show.
# The title of each map says how much of it is red, and how much is landslide. Look for red outside the cyan lines:
# along rivers, on roads, on bare fields.

# %%
overlays = {e.name: examples.view(e, f"{e.name}\n{e.shares}") for e in one_seed}
figure = lm.plots.maps.overlays([overlays[e] for e in without_nir])
book.show(figure, "fig16_maps", numbers.loc[without_nir], about=seed, dataset=shown)

# %%
figure = lm.plots.maps.overlays([overlays[e] for e in with_nir])
book.show(figure, "fig17_luding", numbers.loc[with_nir], about=seed, dataset=shown)

# %%
book.found("fig16_maps", numbers)

# %% [markdown]
# ## How far to trust them
#
# The paper says of its own maps that most landslides are identified. The eye is forgiving; scores are not. Four
# reference values accompany the scores of each event. `all_f1` is the F1 of a map that calls everything landslide. `index_f1`
# is the best F1 of a single threshold on brightness, NDVI or the green share, fitted to the same event: more than anyone
# could know beforehand, but a rule without any training. `seen_f1` is the F1 of the same network on test patches of
# the areas that it was trained on, and `f1_at_half` is F1 at a probability of 0.5 instead of the validation threshold.

# %%
scores = ["threshold", "mapped_share", "prevalence", "precision", "recall"]
yardsticks = ["all_f1", "index_f1", "seen_f1", "f1_at_half"]
columns = ["f1", "f1_low", "f1_high", *yardsticks, *scores]
lm.tidy(book.save(table, "unseen_scores"), columns)

# %% [markdown]
# A map also finds landslides by chance: red that covers a third of a scene hits a third of everything in it.
# `by_chance` is what the same map detects when it is shifted to random places of the scene, averaged over 50 shifts; its
# share and the shapes of its objects stay the same.

# %%
detections = ["landslides", "landslides_detected", "by_chance", "mapped_share"]
lm.tidy(table, [*detections, "mapped", "mapped_false", "blocks", "seeds", "f1_sd"])

# %%
book.found("unseen_scores", table)

# %% [markdown]
# ## Every threshold at once
#
# The threshold of a map is one choice. The curve shows the others: how many of the landslide pixels are found (recall)
# at the cost of how many false ones (precision). The dashed line is the landslide share, which is the level of a map
# without skill: average precision must be compared with it, not with 1.

# %%
scored = [e for e in one_seed if e.is_scored]
rows = numbers.loc[[e.name for e in scored]]
curves = {e.name: e.tally.ranked.curve() for e in scored}
figure = lm.plots.maps.precision_recall(curves, rows)
book.show(figure, "unseen_curves", rows, about=seed, dataset=shown)

# %% [markdown]
# Is a probability of 0.8 right in eight of ten pixels? The calibration error says by how much the two differ on average. Where it
# is large, probabilities learnt in one place do not hold in another.

# %%
book.found("unseen_curves", rows)

# %% [markdown]
# ## Landslides, not pixels
#
# An inventory is a list of landslides. One counts as detected when at least half of its area is mapped; a mapped object is
# false when less than half of it is landslide. Large landslides dominate pixel scores. Look at the small sizes here, and at
# `chance_rate`: the share of landslides of that size that the same maps would detect in random places.

# %%
by_size = objects.pooled([e.tally.sizes for e in scored])
ids = "+".join(dict.fromkeys(rows["run_ids"]))
sizes = by_size.set_index("area_m2").drop(columns="from_m2")
book.save(by_size.assign(run_ids=ids), "unseen_by_size")
sizes.round(2)

# %% [markdown]
# Does `detection_rate` grow with size by more than its interval is wide? Above which size is a mapped object more often true
# than false?

# %%
book.found("unseen_by_size", by_size)

# %% [markdown]
# A false object that covers much of a scene has merged from rivers, roads and fields. Leaving out objects of unusual shape
# (`compactness`) is the first thing a mapper would try; exercise 3 asks what that costs. Chapter 11 asks the reverse of this
# chapter's question: there each area in turn is the one that the network trained on the others has never seen.
#
# ## Your own image
#
# `lmhld export RUN_ID --out network.safetensors` writes a network with everything needed to use it. Then
#
#     lmhld map scene.tif --weights network.safetensors --out map/
#
# writes a probability raster, a mask, polygons with area, probability and position (GeoPackage), QGIS styles, a picture and
# a report. With `--truth` it computes the scores above. `lmhld map --help` has the rest: bands, no data, resolution, minimum area.
#
# ## Beside the paper
#
# Section 4.5 says in words what Figs 16 and 17 show. It gives no number to compare ours with, and GVLM's masks were not
# used.

# %%
print("published scores of experiment 5: none")
print(f"events mapped here: {len(one_seed)}, scored: {len(scored)}")

# %% [markdown]
# ## Check yourself
#
# Choose an answer; it opens and says whether it is right, and why.
#
# **In a scene of which 1 % is landslide, a map has recall 0.8 and marks 5 % of the scene. Its precision is…**
#
# <details><summary>0.80</summary>No: that is recall. Of 10,000 px, 100 are landslide, 80 of them marked; 500 are
# marked in all.</details>
# <details><summary>0.16</summary>Right: 80 of 500 marked pixels. The same network would look far better on test
# patches with 10 % landslide.</details>
# <details><summary>0.05</summary>No: that is the share of the scene that is marked, or the precision of a map drawn
# at random if landslides covered 5 %.</details>

# %% [markdown]
# ## Exercises
#
# Each question says what to set or to write, and the check below it tells you what is wrong. The book contains the
# solutions, folded; the copies that `make student` writes leave them out.

# %% [markdown]
# ### Exercise 1: a stricter threshold
#
# Write `pixel_scores(probability, truth, threshold)` for arrays of probabilities and of 0 and 1: it returns precision and recall of the pixels at
# or above the threshold. Then set `can_rise` to the score that may increase when the threshold is raised: `"precision"` or `"recall"`.


# %% tags=["solution", "hide-cell"]
def pixel_scores(probability, truth, threshold):
    """Return precision and recall of the pixels with at least this probability."""
    mapped = probability >= threshold
    hits = (mapped & (truth == 1)).sum()
    return hits / mapped.sum(), hits / (truth == 1).sum()


can_rise = "precision"
# A stricter map is part of the looser one: it can lose hits, never gain any. Of what is lost, more may be false.

# %% tags=["check"]
from lmhld_nb.evaluation import Confusion

with lm.exercise(1, can_rise):
    random = np.random.default_rng(0)
    truth = (random.random(2000) < 0.3).astype(int)
    probability = np.clip(0.4 * truth + 0.6 * random.random(2000), 0, 1)
    pairs = {
        threshold: pixel_scores(probability, truth, threshold)
        for threshold in (0.3, 0.5)
    }
    for threshold, (precision, recall) in pairs.items():
        counts = Confusion.of(probability >= threshold, truth == 1)
        assert np.isclose(precision, counts.precision), (
            "precision: hits of what is mapped"
        )
        assert np.isclose(recall, counts.recall), "recall: hits of what is there"
    rises = {
        score: pairs[0.5][index] - pairs[0.3][index]
        for index, score in enumerate(("precision", "recall"))
    }
    assert can_rise in rises, "one of the two words"
    assert rises[can_rise] > 0, "try your function at two thresholds"

# %% [markdown]
# ### Exercise 2: the same landslide, other pixels
#
# A network knows sizes in pixels. How many pixels does a landslide of 1,000 m² fill at the resolution of each area? Set `pixels` to a
# Series indexed by area key. A chain ends with Wenchuan (0.8 m): what does the network look for at Luding (3 m), and what
# does `lmhld map ... --resolution trained` change?

# %% tags=["solution", "hide-cell"]
pixels = 1000 / lm.paper.areas()["resolution_m"] ** 2
# 1,563 pixels at 0.8 m, 111 at 3 m: what was last learnt is 14 times as large. `trained` brings the image to the pixel size it was last
# learnt at; it makes no detail that is not there.

# %% tags=["check"]
with lm.exercise(2, pixels):
    known = lm.paper.areas()["resolution_m"]
    assert set(pixels.index) == set(known.index), (
        "one value for each area, by its key"
    )
    ground = pixels * known * known
    assert not (pixels * known).round(6).eq(1000).all(), "a pixel has two sides"
    assert ground.round(6).eq(1000).all(), (
        "pixels times the ground of one is not 1,000 m²"
    )

# %% [markdown]
# ### Exercise 3: a rule on shape
#
# Polygons of a map have a column `compactness`, 4πA/P² (area A, perimeter P). Write `compactness(polygon)` for a shapely polygon, and set `removed`
# to those of the three that a rule "at least 0.2" removes: `"road"` (200 m by 5 m), `"slide"` (90 m by 30 m), `"debris flow"` (300 m by
# 10 m). What does such a rule cost?

# %% tags=["solution", "hide-cell"]
import math

from shapely.geometry import box


def compactness(polygon):
    """Return 4πA/P²: 1 for a disc, towards 0 for what is long and thin."""
    return 4 * math.pi * polygon.area / polygon.length**2


shapes = {"road": (200, 5), "slide": (90, 30), "debris flow": (300, 10)}
removed = [
    name for name, sides in shapes.items() if compactness(box(0, 0, *sides)) < 0.2
]
# Roads go, and long thin landslides with them: shape alone cannot tell a debris flow from a road.

# %% tags=["check"]
from shapely.geometry import Point, Polygon

with lm.exercise(3, removed):
    disc = Point(0, 0).buffer(7, quad_segs=99)
    assert abs(compactness(disc) - 1) < 0.01, "a disc has 1, whatever its size"
    square = Polygon([(0, 0), (1, 0), (1, 1), (0, 1)])
    assert abs(compactness(square) - np.pi / 4) < 1e-9, (
        "a square of 1 has A = 1 and P = 4"
    )
    sides = {"road": (200, 5), "slide": (90, 30), "debris flow": (300, 10)}
    assert set(removed) <= set(sides), "names of the three shapes"
    for name, (long, wide) in sides.items():
        thin = np.pi * long * wide / (long + wide) ** 2 < 0.2
        assert (name in removed) == thin, f"{name}: what is its compactness?"

# %% [markdown]
# **To go further.** Map an event with `lmhld map --threshold 0.8`: what happens to landslides detected and to false objects? Map Luding at the resolution the network was last trained at: better or worse? Which look-alike costs most
# precision? Use the maps above, then the polygons in QGIS.
#
# **Next:** chapter 08b gives a network a few labels of the event that it is to map.
