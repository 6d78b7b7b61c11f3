# ---
# jupyter:
#   kernelspec:
#     display_name: LMHLD book
#     language: python
#     name: lmhld
# ---

# %% [markdown]
# # Experiment 2: each area alone
#
# **Question.** Can a network learn each area's landslides from that area's own patches?
#
# **The paper** (sections 3.2 (2) and 4.2) trains seven networks on each of the seven areas, at the area's own patch size,
# and reports precision, recall and F1 on the test patches (Table 5). F1 lies between 0.67 and 0.88.
#
# **Time.** 6 minutes to read; half a minute to run once the trainings are finished.

# %% tags=["parameters"]
profile: str = "mini"  # a profile in params/, or a YAML file of your own
models: list = []  # networks to show; empty for all of the profile
areas: list = []  # areas to show; empty for all of the profile
on_missing: str = "train"  # if runs are missing: train, skip or error

# %%
import lmhld_nb as lm
from lmhld_nb.experiments import examples, single

import pandas as pd

book = lm.open(profile, models, areas)
print(f"profile {book.name}: {book.profile.description}")

# %% [markdown]
# ## How it is made
#
# Runs already in the store are read, not trained again.

# %%
runs = book.runs("single", on_missing)

# %%
by_area = {
    area: [run for run in runs if run.spec.data[0].area == area]
    for area in book.areas
}
first = {
    area: group[0] for area, group in by_area.items() if group
}  # all of an area share their patches
networks = {run.spec.model for run in runs}
print(
    f"{len(runs)} runs: {len(networks)} of {len(book.models)} networks, {len(first)} areas"
)

# %% [markdown]
# ### How they learned
#
# Look for curves that still rise at the end: those might gain from more epochs. The mark is the epoch with the best
# validation F1, the one that is tested. Each network has the same colour and marker in all chapters.

# %%
panels = {
    lm.paper.area_name(area): group for area, group in by_area.items() if group
}
book.show(lm.plots.scores.learning_curves(panels), "learning_curves_single")

# %%
losses = [run.history["train_loss"] for run in runs]
fell = sum(loss.iloc[-1] < loss.iloc[0] for loss in losses)
print(f"training loss fell in {fell} of {len(runs)} runs")

# %% [markdown]
# A curve that begins at 0 marks nothing as landslide at first.
#
# ### One training, in plain PyTorch
#
# All networks of this book are trained by one module, `lmhld_nb/training/`, which also validates, saves its state, and rotates
# and flips patches. Without all this, what remains is the loop below. Read it once; every experiment of the book is this loop on
# other patches, from other weights, with the profile's own optimiser, schedule and loss (ledger). An *epoch* shows the network each training patch once, in a new random order. A *step* takes
# a batch of patches, computes the loss (how far the probabilities are from the mask), lets PyTorch work out in which
# direction each weight would lower it (`backward`), and moves all weights a little that way (`step`), less with each epoch.

# %%
import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits


def train_plainly(network, images, masks, recipe, seed):
    """Train a network, in place, on patches (n, bands, H, W) and masks (n, 1, H, W)."""
    start = recipe.lr, recipe.momentum
    optimiser = torch.optim.SGD(network.parameters(), *start)
    network.train()
    for epoch in range(recipe.epochs):
        optimiser.param_groups[0]["lr"] = recipe.lr * recipe.gamma**epoch
        order = np.random.default_rng((seed, epoch)).permutation(len(images))
        ends = range(recipe.batch_size, len(order), recipe.batch_size)
        for batch in np.split(order, ends):
            logits = network(images[batch])
            loss = binary_cross_entropy_with_logits(logits, masks[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()


# %% [markdown]
# Does it do what the module does? Both train a narrow U-Net on the patches of the first area for two epochs, from the same
# initial weights, with SGD (momentum 0.9) and the loss of the profile `paper`.

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

from lmhld_nb.patches.batches import normalised

from safetensors.torch import load_file

some = book.patches(book.areas[0])
recipe = lm.training.specs.Recipe(
    batch_size=8, epochs=2, momentum=0.9, keep="last", precision="fp32"
)
spec = lm.training.specs.RunSpec(
    model="unet", width=4, data=(some.spec,), recipe=recipe
)
chosen = some.where("train")
images = normalised(some, chosen, "area")
masks = torch.from_numpy(some.masks[chosen][:, None].astype("float32"))

# %%
torch.manual_seed(spec.seed)
network = lm.models.build("unet", len(book.bands), spec.width)
network = network.to(memory_format=torch.channels_last)  # as the module lays it out
train_plainly(network, images, masks, recipe, spec.seed)
with TemporaryDirectory() as folder:
    quiet = lm.training.hardware.Execution(device="cpu", progress=False)
    lm.training.train(spec, [some], Path(folder), quiet)
    weights = load_file(f"{folder}/weights.safetensors")
mine = network.state_dict()
same = all(torch.equal(weights[name], mine[name]) for name in weights)
print("the same weights, bit for bit:", same)

# %% [markdown]
# The module adds that it keeps the weights of the epoch with the best validation F1, resumes after an interruption as if there
# had been none, and tests at the end.
#
# ## Table 5
#
# Counts are summed over all pixels of the test patches. On synthetic data, do not expect F1 to agree with the published
# values. First, the number of test patches behind each row of the table (a handful is too few to rank networks):

# %%
for area in first:
    tests = book.patches(area).where("test")
    print(f"{area:15} {len(tests):3d} test patches of {book.patch_size(area)} px")

# %%
table5 = book.table(5)
lm.tidy(table5)

# %% [markdown]
# Check any cell yourself: [one command](../book/check.md#table-5) trains its runs again and compares every bit.
#
# The same F1 as a heat map. Read it by rows for the areas, by columns for the networks: is there a network that is best
# everywhere?

# %%
columns = {"f1": "this book", "published_f1": "published"}
book.show(
    lm.plots.scores.score_heatmap(table5, columns, "area"),
    "table5_f1",
    published="Table 5",
)

# %%
published = lm.paper.table(5).pivot(
    index="study_area", columns="model", values="f1"
)
wins = published.idxmax(axis=1).value_counts()
print(
    f"published: {wins.index[0]} is best in {wins.iloc[0]} of {len(published)} areas, {len(wins)} networks are best somewhere"
)

# %% [markdown]
# Where the winners differ from area to area, how much of that is chance? Chapter 11 compares them pair by pair.
#
# F1 of each network trained on one real area alone, from this book's runs on real areas:

# %%
real = book.real("table5")
if real is not None:
    for area, rows in real.groupby("area", sort=False):
        patches, blocks = rows[["patches", "blocks"]].iloc[0].astype(int)
        print(
            f"{lm.paper.area_name(area)}: {patches} test patches, {blocks} blocks of patches that touch"
        )
lm.tidy(real, ["f1"], across="model")

# %% [markdown]
# For comparison, others have reported the following on two of these data sets. Landslide4Sense's own baseline, a U-Net on
# all 14 bands, has F1 0.578 on its 245 validation patches ([its
# repository](https://github.com/iarai/Landslide4Sense-2022)). A DeepLabV3 on Bijie has a Dice score, which is F1, of
# 0.75 to 0.79 on validation images, a quarter of them with landslides ([the
# repository](https://github.com/Atharva1601/landslide-detection-deeplabv3) that our images come from). Neither is a
# like-for-like comparison: theirs are larger networks and all patches, ours are tested only on patches with at least
# 10 % landslide (section 2.3 of the paper), which hold fewer pixels for false alarms. That rule alone raises the F1 of
# any network. On whole pictures of Landslide4Sense, without it, the start networks of `lmhld learn` reach what the page
# on mapping says. Of U-Nets on Bijie we found no score whose test images are described.

# %%
book.found("table5", table5)

# %% [markdown]
# ## Is it more than a threshold?
#
# Landslides are bare and bright, so a threshold on NDVI (where there is a near infrared band), on brightness or on the green share,
# green / (red + green + blue), finds many of them. The table shows the best that a threshold on one of these indices
# can do: it is chosen on the very test pixels it is scored on. Beside it is the best of all
# networks, also selected on the test pixels. A network below the threshold does no better than a single rule that knows the
# answer; one above it uses more than a single index, though perhaps still only colour.

# %%
rules = {area: single.threshold_baseline(run) for area, run in first.items()}
baseline = single.against_threshold(table5, rules)
baseline = book.save(baseline, "against_threshold")
columns = ["threshold_f1", "feature", "network_f1", "networks_clear", "networks"]
lm.tidy(baseline, columns)

# %% [markdown]
# The best threshold can only be known from the true outlines, so beating it is no small thing. We say that a network
# clears it when its F1 is at least 0.05 higher. On real areas, from this book's runs:

# %%
lm.tidy(book.real("against_threshold"), columns)

# %%
book.found("against_threshold", baseline)

# %% [markdown]
# ## What is found and what is missed (Fig 10)
#
# One test patch per area: the one whose landslide share is nearest to the median of its test set. Green is a hit,
# orange a false alarm, blue a miss. Look at what is under the orange, and whether the blue is only rims or whole
# landslides. (The paper's caption names LMHLD_part, its text LMHLD_single, which is shown here.)

# %%
shown = examples.examples(runs)
scores = examples.example_scores(shown)
book.show(
    lm.plots.scores.predictions(shown, book.bands), "fig10_predictions", scores
)

# %% [markdown]
# Compare each orange patch of ground with the image on the left: is it bare and bright without having slid, like fields, roads
# and river gravel? And is a landslide that is entirely blue as dark as its surroundings? A network that relies on colour
# alone makes exactly these two mistakes.
#
# **Try it** (in JupyterLab; on the site, the front page has such a map). The next cell maps a whole scene with two networks:
# move the probability threshold and the minimum landslide area, and drag the line between the two. A network maps
# landslide above 0.5 here as in the paper. Which threshold gives the best F1 on the whole scene? Is precision there the same as
# in Table 5, whose patches all contain landslides?

# %% tags=["widget", "skip-execution", "nbval-skip", "hide-input"]
area, group = next((area, group) for area, group in by_area.items() if group)
lm.view(book.scenes()[area][0], group[:: max(1, len(group) - 1)])  # first, last

# %%
book.found("fig10_predictions", scores)

# %% [markdown]
# ## Beside the paper
#
# The paper concludes from Table 5 that all seven areas can be learned, and names Wenchuan as the best of them. Two
# limitations apply to its test and to ours: every test patch has at least 10 % landslide, and with a random split a test
# patch can touch a training patch (chapter 02).
#
# Section 4.2 says that U-Net++ "outperforms all other models". In Table 5 it is best in three of seven areas. The section also
# gives "the highest F1-score of 0.8802" to Wenchuan "apart from U-Net++"; 0.8802 is U-Net++'s own score there.

# %% [markdown]
# ## Check yourself
#
# Choose an answer; it opens and says whether it is right, and why.
#
# **A network reaches F1 0.60 in an area where the best threshold on one band reaches 0.58. What has it learnt?**
#
# <details><summary>To map landslides.</summary>Little is known: whoever labels every bright pixel a landslide does
# almost as well.</details>
# <details><summary>Perhaps no more than that landslides are bright.</summary>Right: the score means something only
# as far as it exceeds the threshold by more than chance explains.</details>
#
# **F1 is computed once from counts summed over all test patches, and once as a mean of the patches' F1. Which one
# can a patch with three landslide pixels change most?**
#
# <details><summary>The one from summed counts.</summary>No: there it adds three pixels to many thousands.</details>
# <details><summary>The mean.</summary>Right: in a mean each patch has one vote, however little it holds.</details>

# %% [markdown]
# ## Exercises
#
# Each question says what to set or to write, and the check below it tells you what is wrong. The book contains the
# solutions, folded; the copies that `make student` writes leave them out.

# %% [markdown]
# ### Exercise 1: fewer landslides
#
# A network finds a share `recall` of the landslide pixels and marks a share `false_rate` of the background. Write
# `precision(share, recall, false_rate)` for test patches of which a share `share` is landslide. Then set `suffers` to the score that
# changes when only `share` does: `"precision"` or `"recall"`.


# %% tags=["solution", "hide-cell"]
def precision(share, recall, false_rate):
    """Return the precision where ``share`` of the pixels is landslide; all are shares, 0 to 1."""
    hits, alarms = share * recall, (1 - share) * false_rate
    return hits / (hits + alarms)


suffers = (
    "precision"
    if precision(0.1, 0.8, 0.05) < precision(0.3, 0.8, 0.05)
    else "recall"
)
# Recall looks at landslide pixels alone. Precision sets the same hits against false alarms from more background.

# %% tags=["check"]
from lmhld_nb.evaluation import Confusion

with lm.exercise(1, suffers):
    found = {}
    for landslide in (300_000, 20_000):
        hits, alarms = landslide * 8 // 10, (1_000_000 - landslide) // 20
        counts = Confusion(
            hits, alarms, landslide - hits, 1_000_000 - landslide - alarms
        )
        found[landslide] = counts
        assert (
            abs(precision(landslide / 1e6, 0.8, 0.05) - counts.precision) < 1e-9
        ), "count hits and false alarms among 1,000,000 pixels"
    assert suffers in ("precision", "recall"), "one of the two words"
    many, few = (getattr(counts, suffers) for counts in found.values())
    assert many - few > 0.01, (
        "this one does not move: which pixels does it look at?"
    )

# %% [markdown]
# ### Exercise 2: how clear are the winners?
#
# In each area of Table 5, how far ahead of the second best is the best network? Set `lead` to a Series of differences in F1, indexed by
# `study_area` as printed.

# %% tags=["solution", "hide-cell"]
lead = (
    lm.paper.table(5)
    .groupby("study_area")["f1"]
    .apply(lambda f1: f1.nlargest(2).max() - f1.nlargest(2).min())
)
# From 0.001 to 0.017. Chapter 11 asks of this book's own networks which leads are more than chance.

# %% tags=["check"]
with lm.exercise(2, lead):
    assert len(lead) == 7, "one value for each of the seven areas"
    for name, rows in lm.paper.table(5).groupby("study_area"):
        second, first = sorted(rows["f1"])[-2:]
        assert abs(lead[name]) < 0.2, f"{name}: a difference, not a score"
        assert abs(lead[name] - (first - second)) < 1e-9, (
            f"{name}: best minus second best"
        )

# %% [markdown]
# ### Exercise 3: sums or means?
#
# The rows of Table 5 satisfy F1 = 2PR/(P+R) up to rounding, as they must if counts are summed over all pixels of a test; a mean of the
# patches' own F1 need not. Write `pooled_f1(counts)` for a DataFrame with
# columns `tp`, `fp` and `fn`, one row per patch. When does it differ most from the mean of the patches' own F1?


# %% tags=["solution", "hide-cell"]
def pooled_f1(counts):
    """Return F1 of all patches together; ``counts`` has columns tp, fp and fn in pixels."""
    tp, fp, fn = counts[["tp", "fp", "fn"]].sum()
    return 2 * tp / (2 * tp + fp + fn)


# When patches hold very unequal numbers of landslide pixels: in the sum a full patch counts more than an empty one.

# %% tags=["check"]
from lmhld_nb.evaluation import Confusion

with lm.exercise(3):
    made = pd.DataFrame({"tp": [900, 1], "fp": [50, 30], "fn": [50, 9]})
    total = sum(
        (Confusion(*row, 0) for row in made.to_numpy().tolist()),
        Confusion(0, 0, 0, 0),
    )
    own = [Confusion(*row, 0).f1 for row in made.to_numpy().tolist()]
    assert abs(pooled_f1(made) - sum(own) / 2) > 0.1, (
        "this is the mean of the patches' F1"
    )
    assert abs(pooled_f1(made) - total.f1) < 1e-9, (
        "sum each column first, then one F1"
    )
    assert pooled_f1(made[::-1]) == pooled_f1(made), (
        "the order of patches must not matter"
    )

# %% [markdown]
# **To go further.** Run `.venv/bin/papermill notebooks/05_experiment_2_single.ipynb out.ipynb -p areas rio,taiwan` and look at two
# areas alone. Copy the profile under another `name`, set `split: blocks` and `seeds: [0, 1, 2]`, and run it: compare Table 5 in areas
# with ten or more test patches. Is there a drop, and is it larger than the difference between seeds?
#
# **Next:** chapter 06 trains one network on all areas together.
