# ---
# jupyter:
#   kernelspec:
#     display_name: LMHLD book
#     language: python
#     name: lmhld
# ---

# %% [markdown]
# # The recipe: batch size and epochs
#
# **Question.** How many patches per step, and how many epochs?
#
# **The paper** (section 3.3) tried batch sizes of 8, 16, 32 and 64 with 50, 100, 200 and 300 epochs and found 16 and 300
# best. It gives no table, and does not say for which area or network. The profiles of this book try their own numbers.
#
# **Time.** 3 minutes to read; under half a minute to run once the trainings are finished.

# %% tags=["parameters"]
profile: str = "mini"  # a profile in params/, or a YAML file of your own
on_missing: str = "train"  # if runs are missing: train, skip or error

# %%
import lmhld_nb as lm

import numpy as np

book = lm.open(profile)
print(f"profile {book.name}: {book.profile.description}")
study = book.settings("recipe")
network, area = lm.models.network(study.model).title, lm.paper.area_name(study.area)

# %% [markdown]
# ## The grid
#
# Every combination is a separate training. A schedule that depends on its end (one cycle, cosine) has a different learning
# rate at epoch 50 of 50 than at epoch 50 of 300, so a short training is not the first part of a long one.

# %%
runs = book.runs("recipe", on_missing)
print(f"{network} on {area}: {len(runs)} trainings")
print(f"batch sizes {study.batch_sizes}, epochs {study.epochs}")

# %% [markdown]
# F1 on the test patches at the epoch with the best validation score, with the number of `steps`. Look at whether rows of other
# batch sizes with as many steps have similar scores. If so, that would suggest that the number of steps matters, and that a small
# batch is only another way to take many.

# %%
grid = book.table("recipe_study")
lm.tidy(grid)

# %%
for name, values in {
    "epochs": grid.index.get_level_values("epochs"),
    "steps": grid["steps"],
}.items():
    together = "too few runs"
    if len(grid) > 2:
        together = f"{np.corrcoef(np.log(values), grid['f1'])[0, 1]:.2f}"
    print(f"correlation of F1 with the logarithm of {name}: {together}")

# %% [markdown]
# Whichever of the two is closer, this does not separate the causes: with the same number of epochs, a small batch takes more
# steps, each with a gradient from fewer patches.
#
# Scores that differ by a few hundredths may change order with another seed. On real areas, from this book's runs:

# %%
lm.tidy(book.real("recipe_study"), ["f1"], across="epochs")

# %%
book.found("recipe_study", grid)

# %% [markdown]
# ## Beside the paper
#
# The published choice is the largest number of epochs that was tried. That is the edge of the grid: whether 400 would
# have been better still is not reported. The best of our grid is also selected by its test score. And 300 epochs at
# $\gamma = 0.99$ (the schedule of `paper`) reduce the learning rate to a twentieth of its initial value:

# %%
gamma = lm.experiments.load("paper").recipe.gamma
for n in (50, 100, 200, 300):
    print(f"after {n} epochs the learning rate is {gamma**n:.3f} of the first")

# %% [markdown]
# ## Check yourself
#
# Choose an answer; it opens and says whether it is right, and why.
#
# **Of sixteen combinations of batch size and epochs, the best has an F1 of 0.72 on the test patches. What will it
# reach on new patches?**
#
# <details><summary>About 0.72.</summary>Probably less: the best of sixteen noisy numbers is partly the
# luckiest.</details>
# <details><summary>Probably less.</summary>Right: choose on validation patches and report on test patches that took
# no part in the choice.</details>

# %% [markdown]
# ## Exercises
#
# Each question says what to set or to write, and the check below it tells you what is wrong. The book contains the
# solutions, folded; the copies that `make student` writes leave them out.

# %% [markdown]
# ### Exercise 1: steps
#
# Write `steps(patches, batch, epochs)`; the last batch of an epoch may be smaller. Then set `ratio`: how many times as many steps does
# batch 8 take as batch 64, for 1,024 patches and equal epochs? By the linear scaling rule the learning rate should change by the same
# factor: which batch gets the higher one?


# %% tags=["solution", "hide-cell"]
def steps(patches, batch, epochs):
    """Return the number of optimisation steps."""
    return -(-patches // batch) * epochs


ratio = steps(1024, 8, 1) / steps(1024, 64, 1)
# Batch 64 takes an eighth of the steps, so it gets eight times the learning rate.

# %% tags=["check"]
with lm.exercise(1, ratio):
    for patches, batch, epochs in (
        (10, 4, 1),
        (12, 4, 3),
        (3, 8, 5),
        (1340, 16, 300),
    ):
        taken = sum(len(range(0, patches, batch)) for _ in range(epochs))
        assert steps(patches, batch, epochs) == taken, (
            f"{patches} patches in batches of {batch}, {epochs} epochs: is the last batch counted?"
        )
    assert ratio * steps(1024, 64, 7) == steps(1024, 8, 7), "batch 8 over batch 64"

# %% [markdown]
# ### Exercise 2: when is most of the learning done?
#
# With the recipe of `paper` the rate of epoch e is lr·γᵉ. Which share of the sum of all rates falls into the first 100 epochs? Set
# `share_100`. And after how many epochs is the rate first at or below a tenth of its initial value? Set `tenth`.

# %% tags=["solution", "hide-cell"]
from math import ceil, log

recipe = lm.experiments.load("paper").recipe
gamma = recipe.gamma
share_100 = (1 - gamma**100) / (1 - gamma**recipe.epochs)
tenth = ceil(log(0.1) / log(gamma))
# Two thirds of the way in the first third: the last hundred epochs move the weights little, whatever the data say.

# %% tags=["check"]
with lm.exercise(2, share_100, tenth):
    recipe = lm.experiments.load("paper").recipe
    rates = recipe.lr * recipe.gamma ** np.arange(recipe.epochs)
    assert 0 < share_100 < 1, "a share of the sum over all epochs"
    assert abs(share_100 - rates[:100].sum() / rates.sum()) < 0.001, (
        "sum up the rates, epoch by epoch"
    )
    assert rates[tenth] <= rates[0] / 10, "the rate is still higher then"
    assert rates[tenth - 1] > rates[0] / 10, "it was that low before"

# %% [markdown]
# ### Exercise 3: the luck of the best
#
# Suppose all 16 combinations were equally good, and each test F1 scattered around the truth with standard deviation 0.02. By how much would
# the best cell of the grid look better than it is, on average? Set `luck`, within 0.001; a simulation will do. Why is it honest to choose
# by the validation patches?

# %% tags=["solution", "hide-cell"]
luck = np.random.default_rng(0).normal(0, 0.02, (50_000, 16)).max(axis=1).mean()
# What is chosen on the test patches has been lucky there. On patches that had no part in the choice, the luck is gone.

# %% tags=["check"]
from scipy import integrate, stats

with lm.exercise(3, luck):
    best = stats.norm.cdf  # of the best of 16: cdf to the power of 16
    mean, _ = integrate.quad(
        lambda z: z * 16 * best(z) ** 15 * stats.norm.pdf(z), -8, 8
    )
    assert luck > 0, "the best of many is above the mean"
    assert abs(luck - 0.02 * mean) < 0.001, (
        "draw 16 scores many times, and keep the best of each"
    )

# %% [markdown]
# **To go further.** Set `seeds: [0, 1, 2]` in a copy of the profile: by how much do the cells of the grid move? Choose by the validation
# patches (`run.history["val_f1"]` of each run in `runs`): is it the same cell?
#
# **Next:** chapter 10 checks the published numbers against each other.
