# ---
# jupyter:
#   kernelspec:
#     display_name: LMHLD book
#     language: python
#     name: lmhld
# ---

# %% [markdown]
# # Your own event
#
# **Question.** It is the second day of an event. You have one image, QGIS, and outlines of the landslides in one part of it.
# Which map can you make of the rest, and how far would you trust it?
#
# **The paper** ends with "a pre-trained model … for downstream landslide detection tasks in fixed regions", and leaves this to
# others. Chapter 08 gives a network an event about which it knows nothing; here it gets a few labels.
#
# **Time.** 10 minutes to read; half a minute to run. Without a notebook: `lmhld learn` and `lmhld map`, and the page
# *A map of your own scene*.

# %% tags=["parameters"]
profile: str = "mini"  # a profile in params/, or a YAML file of your own
image: str = ""  # your own: a georeferenced image; empty: a made-up event
mask: str = ""  # and its labels: 1 landslide, 0 background, 255 not known; for the scores at the end, all of it
bands: str = "red,green,blue"  # of your own image, in the file's order
columns: float = 0.4  # share of the image, from the left, in which somebody has outlined the landslides
patch: int = 32  # px, a patch's side; `lmhld learn` has its own rule
steps: int = 200  # of each network's training; `lmhld learn`: 200 to 600

# %%
from pathlib import Path

import lmhld_nb as lm
from lmhld_nb.experiments.examples import View

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
from rasterio.features import shapes
from shapely.geometry import box, shape

book = lm.open(profile)
folder = lm.config.workdir() / "build" / book.name / "your-own-event"

# %% [markdown]
# ## An image, and a part that has been searched
#
# Without your own image, this is a synthetic one: the stand-in for Luding from chapter 08's smallest set. With your own
# and a mask of its landslides: `lmhld book mini --chapter 08b -p image /path/to/scene.tif -p mask /path/to/mask.tif -p bands red,green,blue`.

# %%
if image:
    scene = lm.mapping.scene_of_file(
        Path(image), tuple(bands.split(",")), truth=Path(mask)
    )
else:
    scene = lm.sources.get("unseen-smoke", progress=False).scenes_of("luding")[0]
values, truth, valid = lm.scenes.read_all(scene, scene.bands)
with lm.scenes.open_image(scene) as opened:
    transform, crs = opened.transform, opened.crs
truth[~valid] = 255
print(
    f"{truth.shape[0]} x {truth.shape[1]} pixels of {transform.a:g} m, bands {', '.join(scene.bands)}"
)

# %% [markdown]
# A mapper would draw two layers in QGIS: the landslides, and the outline of the ground searched for them. Here they are taken
# from the truth in the left part of the image. The rest counts as **not labelled**, not as ground without landslides.

# %%
searched = int(columns * truth.shape[1])
in_corner = np.where(np.arange(truth.shape[1]) < searched, truth, 255).astype(
    np.uint8
)
outlines = [
    shape(ring) for ring, _ in shapes(in_corner, in_corner == 1, 8, transform)
]
corner = box(*transform @ (0, truth.shape[0]), *transform @ (searched, 0))
folder.mkdir(parents=True, exist_ok=True)
gpd.GeoDataFrame(geometry=outlines, crs=crs).to_file(folder / "slides.gpkg")
gpd.GeoDataFrame(geometry=[corner], crs=crs).to_file(folder / "searched.gpkg")
print(
    f"{len(outlines)} outlines in {(in_corner < 255).sum() / valid.sum():.0%} of the image"
)

# %% [markdown]
# ## Learn
#
# In a terminal: `lmhld learn scene.tif slides.gpkg --searched searched.gpkg --out net/`. Labelled ground is divided into blocks; three
# networks are trained, each on two thirds of them, and each is scored on the third that it has not seen. With `--from FILE` an earlier
# network is compared, too: unchanged, fine-tuned, and averaged with the new ones. `--also SCENE LABELS` adds another place.

# %% tags=["nbval-ignore-output"]
drawn = lm.mapping.LabelFile(folder / "slides.gpkg", folder / "searched.gpkg")
settings = lm.mapping.LearnSettings(steps, patch, workers=1, device="cpu")
card = lm.learn(scene, drawn, folder / "net", settings=settings, progress=False)

# %% [markdown]
# How good is it? Two rows need no network: the best threshold on one index (NDVI where there is a near infrared band, brightness or the green
# share; chosen on the same ground that it is scored on, so its score is flattering), and calling everything landslide.

# %%
scores = pd.DataFrame(card["candidates"]).set_index("candidate")
scores[["f1", "low", "high", "precision", "recall"]].round(3)

# %%
for line in (*card["notes"], *card["verdict"]):
    print(line)

# %% [markdown]
# The interval is over blocks. With fewer than ten non-empty blocks there is none: so few cannot tell how much the score
# would differ in the next corner. The threshold of the map is the one with the best F1 on held-back blocks, not 0.5.
#
# ## Map
#
# In a terminal: `lmhld map scene.tif --weights net/network.safetensors --out map/`.

# %% tags=["nbval-ignore-output"]
report = lm.mapping.map_scene(
    scene,
    folder / "net" / "network.safetensors",
    folder / "map",
    lm.mapping.MapSettings(device="cpu"),
    progress=False,
)

# %%
names = sorted(path.name for path in (folder / "map").iterdir())
print(
    f"{report['landslides']} landslides at a threshold of {report['threshold']:.2f}; files for QGIS:"
)
print(
    *[name for name in names if name.endswith((".gpkg", ".tif", ".qml"))], sep=", "
)

# %% [markdown]
# Drag the `.gpkg` and `.tif` files into QGIS: the styles are applied automatically. Below, (a) the outlines drawn, and (b) the map over the
# truth that nobody had.

# %%
with rasterio.open(folder / "map" / "mask.tif") as source:
    mapped = source.read(1)
known, nothing = in_corner == 1, np.zeros(truth.shape, bool)
views = [
    View("outlines drawn", values, scene.bands, nothing, known),
    View(
        "the map, all true outlines", values, scene.bands, mapped == 1, truth == 1
    ),
]
about = (
    f"real image {scene.name}"
    if image
    else "made-up event: synthetic data, no real place"
)
figure = lm.plots.maps.overlays(views)
_ = lm.plots.style.add_caption(figure, about)
# Figure: An image twice. Left with outlines of landslides in its left part; right with mapped pixels and the outlines of all.

# %% [markdown]
# ## Was the score honest?
#
# In practice you never have this number: the F1 of the map on unsearched ground, beside the score that the held-back blocks promised.

# %%
rest = (np.arange(truth.shape[1]) >= searched) & (truth < 255)
counts = lm.evaluation.Confusion.of(mapped == 1, truth == 1, rest)
every = 2 * (truth[rest] == 1).mean() / (1 + (truth[rest] == 1).mean())
promised = card["held_back"]["f1"] if card["held_back"] else float("nan")
print(
    f"What we found: F1 {counts.f1:.3f} where nobody had looked; held-back blocks promised {promised:.3f}."
)
print(
    f"All landslide there: {every:.3f}. One image and one part of it: no more than an example."
)

# %% [markdown]
# ## Go on
#
# `label_next.gpkg` beside the network holds ten squares without labels in which it is least certain: draw there next. Or review
# the map: save a copy of `landslides.gpkg`, write `right` or `wrong` into a column `review` of the copy, correct outlines and add
# missed ones, and train on it with `lmhld learn scene.tif reviewed.gpkg --review --bands red,green,blue --out net2/`.

# %%
squares = gpd.read_file(folder / "net" / "label_next.gpkg")
print(
    f"{len(squares)} squares, uncertainty {squares['uncertainty'].min():.2f} to {squares['uncertainty'].max():.2f}"
)

# %% [markdown]
# ## Check yourself
#
# Choose an answer; it opens and says whether it is right, and why.
#
# **You outline 30 landslides in a corner of the image and nothing else. What may the network treat as background?**
#
# <details><summary>Everything outside the outlines.</summary>No: the rest of the image holds landslides that you
# have not drawn. It would learn that they are background.</details>
# <details><summary>Only ground that you searched.</summary>Right: draw its outline, and give it as
# <code>--searched</code>. Without it, the book uses a margin around your landslides and says so.</details>

# %% [markdown]
# ## Exercises
#
# Each question says what to set or to write, and the check below it tells you what is wrong. The book contains the
# solutions, folded; the copies that `make student` writes leave them out.

# %% [markdown]
# ### Exercise 1: not labelled is not background
#
# Write `labelled_shares(codes)` for an array of 1 (landslide), 0 (background) and 255 (not labelled): it returns the share of
# the ground that is labelled, and the share of landslide in labelled ground.


# %% tags=["solution", "hide-cell"]
def labelled_shares(codes):
    """Return the labelled share of all ground, and the share of landslide in labelled ground."""
    known = codes != 255
    return known.mean(), (codes[known] == 1).mean()


# Who takes 255 for background finds a smaller share of landslide, and teaches a network that the rest of the slides are none.

# %% tags=["check"]
with lm.exercise(1, labelled_shares):
    random = np.random.default_rng(0)
    for _ in range(3):
        codes = random.choice([0, 1, 255], (20, 30), p=[0.2, 0.1, 0.7]).astype(
            np.uint8
        )
        labelled, landslide = labelled_shares(codes)
        counted = {code: int((codes == code).sum()) for code in (0, 1, 255)}
        assert np.isclose(labelled * codes.size, counted[0] + counted[1]), (
            "labelled: 0 and 1"
        )
        assert np.isclose(landslide * (counted[0] + counted[1]), counted[1]), (
            "landslide: of labelled ground only"
        )

# %% [markdown]
# ### Exercise 2: the best of five
#
# Five candidates are equally good: each one's held-back F1 is 0.60, give or take luck with a standard deviation of 0.05, each
# independently (on the same blocks they vary together, and there is less to gain). You keep the
# one with the highest. Set `promised_f1` to what its held-back F1 is on average, to two digits. What will the map have?

# %% tags=["solution", "hide-cell"]
draws = np.random.default_rng(0).normal(0.60, 0.05, (20_000, 5))
promised_f1 = round(draws.max(axis=1).mean(), 2)
# 0.66, and the map still has 0.60. So `lmhld learn` leaves its usual candidate only for one whose lead is larger than luck explains.

# %% tags=["check"]
with lm.exercise(2, promised_f1):
    assert promised_f1 > 0.60, "you keep the luckiest, not any"
    # The mean of the largest of five standard normal numbers is 1.163.
    assert abs(promised_f1 - (0.60 + 1.163 * 0.05)) < 0.006, (
        "the mean of the highest of five, over many repetitions"
    )

# %% [markdown]
# ### Exercise 3: ground around landslides
#
# Without an outline of the searched ground, the ground around each landslide counts as searched, up to its own diameter. Write
# `share_of(radius, reach)`: for a round landslide with this radius, the share of landslide in the labelled ground, the disc
# of `radius + reach`. Set `by_default` to that share for the default, and compare it with the share of landslide in ground that was
# searched: the precision of the row `all landslide` above. Which false alarms does held-back ground of either kind not show?


# %% tags=["solution", "hide-cell"]
def share_of(radius, reach):
    """Return the share of landslide in a disc that reaches so much further than the landslide."""
    return radius**2 / (radius + reach) ** 2


by_default = share_of(1, 2)
# One ninth, whatever the landslide's size; the ground searched here has about one tenth, a whole landscape often a few percent or less.
# Around landslides there are few rivers, roads and fields: false alarms far from any landslide are not counted, and the map's precision
# is lower than that of held-back blocks. Draw the outline of what you have searched, and let it hold such ground.

# %% tags=["check"]
with lm.exercise(3, by_default):
    y, x = np.mgrid[-150:151, -150:151]
    for radius, reach in ((30, 60), (40, 20)):
        inside = [np.hypot(x, y) <= side for side in (radius, radius + reach)]
        drawn_share = inside[0].sum() / inside[1].sum()
        assert abs(share_of(radius, reach) - drawn_share) < 0.01, (
            "areas grow with the square of the radius"
        )
    assert np.isclose(by_default, 1 / 9), "the diameter is twice the radius"

# %% [markdown]
# **To go further.** Label twice as much, and see whether the score or only its interval changes. Take a network of this book as
# the start (`lmhld export RUN_ID --out start.safetensors`, then `--from`).
#
# **Next:** chapter 09 asks how batch size and epochs were chosen.
