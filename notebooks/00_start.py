# ---
# jupyter:
#   kernelspec:
#     display_name: LMHLD book
#     language: python
#     name: lmhld
# ---

# %% [markdown]
# # Start here
#
# **Question.** What is in this book, which data does it run on, and what has been computed so far?
#
# **The paper.** *LMHLD: a large-scale multi-source high-resolution landslide dataset* (Liu et al.) builds a benchmark
# of 25,365 four-band satellite patches from seven study areas and trains seven networks of the U-Net family in five
# experiments. This book does the same from parameters and sets its results beside the published ones; then it checks the
# published numbers against each other, and asks what the paper does not.
#
# **Time.** 3 minutes to read, under half a minute to run.
#
# A *profile* decides everything: which data set, which networks, how long they train. `smoke` is for tests, `mini`
# for a laptop, `paper` for a GPU. Change the cell below and run the chapter again.

# %% tags=["parameters"]
profile: str = "mini"  # a profile in params/, or a YAML file of your own

# %%
import lmhld_nb as lm
from lmhld_nb.experiments.plan import plan_table

import pandas as pd

book = lm.open(profile)

# %% [markdown]
# ## Landslides, seen from above
#
# One scene of each area in true colour, and below it the same with its landslides outlined. Look for what else is bare
# and bright: river gravel, roads, fields, clouds. A network must learn to tell landslides from these.

# %%
first_scenes = [scenes[0] for scenes in book.scenes().values()]
book.show(lm.plots.data.scene_gallery(first_scenes), "overview")

# %% [markdown]
# The sizes differ from area to area, from thin scars of a few pixels to slopes that came down whole. This is why the
# paper gives each area its own patch size; chapter 02 follows its rule.

# %% [markdown]
# ## The data
#
# Look at the word in brackets. **Synthetic** data are made by a program from fractal terrain: they imitate the published
# sensors, resolutions, and smallest and largest landslides, but no satellite ever saw them. A score on them says that the
# code runs and can learn, not how well it does on a real disaster. The real LMHLD is used in the same way, by a profile
# that names it.

# %%
kind = "synthetic" if book.dataset.synthetic else "real"
print(f"data set: {book.dataset.title} ({kind})")
print(f"areas: {', '.join(book.dataset.areas)}")
print(f"bands: {', '.join(book.dataset.bands)}")

# %% [markdown]
# ## The runs
#
# Every training is a *run*, named by a hash of everything that decides its result. A finished run is never made again. The
# table counts the runs of this profile: rows are the experiments that need them (`1+2`: made once for both), columns the
# networks. Look for the experiment that needs most. `lmhld plan PROFILE` lists each run with its state and cost,
# `lmhld run PROFILE` makes the missing ones.

# %%
planned = book.plan()
table = plan_table(planned)
titles = table["model"].map(lm.plots.style.network_title)
pd.crosstab(table["experiments"], titles)[list(dict.fromkeys(titles))]

# %%
print(f"done: {table['status'].isin(['done', 'recorded']).sum()} of {len(table)}")

# %%
recipe, batches = book.profile.recipe, book.profile.batch_size_at
print(
    f"{len(planned)} runs: {len(book.models)} model(s) on {len(book.areas)} areas"
)
other = "".join(f", {batch} at {size} px" for size, batch in batches.items())
print(
    f"recipe: {recipe.optimiser.upper()}, {recipe.epochs} epochs, batch {recipe.batch_size}{other}"
)

# %% [markdown]
# Where a profile makes all experiments, experiment 4 needs most by far: seven areas in six orders, and every stage is a run.
# What is not finished yet is made when a chapter needs it, or beforehand by the command.
#
# ## Beside the paper
#
# The published recipe is batch 16, 300 epochs, learning rate 0.01 falling by 1 % per epoch (section 3.3). What this
# profile changes, and why, stands in its YAML file in `params/`; what the paper leaves open stands in the fidelity
# ledger, a page of the web edition.

# %% [markdown]
# ## Exercises
#
# Each question says what to set or to write, and the check below it says what does not fit. The book has the solutions, folded;
# the copies that `make student` writes have none.

# %% [markdown]
# ### Exercise 1: two profiles
#
# In which fields do the recipes of the profiles `mini` and `paper` differ? Set `changed` to the list of their names, in alphabetical
# order. (`lm.experiments.load(name).recipe` is a pydantic model.)

# %% tags=["solution", "hide-cell"]
mini, published = (
    lm.experiments.load(name).recipe.model_dump() for name in ("mini", "paper")
)
changed = sorted(name for name in mini if mini[name] != published[name])

# %% tags=["check"]
with lm.exercise(1, changed):
    one, other = (
        lm.experiments.load("mini").recipe,
        lm.experiments.load("paper").recipe,
    )
    same = one.model_copy(update={name: getattr(other, name) for name in changed})
    assert same == other, "a field that differs is missing: look at all fields"
    assert all(getattr(one, name) != getattr(other, name) for name in changed), (
        "a field in the list has the same value in both"
    )
    assert list(changed) == sorted(set(changed)), "each name once, from a to z"

# %% [markdown]
# ### Exercise 2: a misspelt key
#
# Copy `params/smoke.yaml` to a temporary folder as `mine.yaml`, with `name: mine`, and misspell `epochs` in its `recipe` as
# `epoch`. Load it with `lm.experiments.load`, catch the error, and set `message` to its text. What would have happened if the loader
# left unknown keys out in silence?

# %% tags=["solution", "hide-cell"]
import tempfile
from pathlib import Path

from lmhld_nb.config import ROOT, UserError

text = (ROOT / "params" / "smoke.yaml").read_text(encoding="utf-8")
text = text.replace("name: smoke", "name: mine")
text = text.replace(
    "recipe: {batch_size: 2, epochs:", "recipe: {batch_size: 2, epoch:"
)
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        lm.experiments.load(str(path))
        message = "no error"
    except UserError as error:
        message = str(error)
# In silence the recipe's default would hold: 300 epochs instead of 3.

# %% tags=["check"]
with lm.exercise(2, message):
    assert "mine.yaml" in message, "the error names the file: is it mine.yaml?"
    assert "unknown key" in message, "nothing unknown was found: misspell the key"
    assert "'recipe.epoch'" in message, "look for the key `epochs` of `recipe`"

# %% [markdown]
# ### Exercise 3: the price of the published recipe
#
# Hokkaido has 1,915 patches, of which 70 % (rounded) are for training. How many steps does one training with the recipe of `paper`
# take? The last batch of an epoch may be smaller. Set `steps`.

# %% tags=["solution", "hide-cell"]
from math import ceil

published = lm.experiments.load("paper").recipe
training = round(0.7 * lm.paper.areas().loc["hokkaido", "patches"])
steps = ceil(training / published.batch_size) * published.epochs

# %% tags=["check"]
with lm.exercise(3, steps):
    recipe = lm.experiments.load("paper").recipe
    assert steps % recipe.epochs == 0, "every epoch has equally many steps"
    of_an_epoch = steps // recipe.epochs
    left = round(0.7 * 1915) - of_an_epoch * recipe.batch_size
    assert left <= 0, "patches are left over in an epoch"
    assert left > -recipe.batch_size, "an epoch has a step too many"

# %% [markdown]
# **To go further.** Set `profile` to `smoke` and run the chapter again: which numbers change, and which do not?
#
# **Next:** chapter 01 measures the inventories.
