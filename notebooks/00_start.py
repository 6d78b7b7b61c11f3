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
# experiments. This book does the same from parameters and sets its results beside the published ones. So far it holds the
# inventories, the patches, the seven networks, experiments 1 to 4 and the study of the recipe; the rest follows.
#
# **Time.** 3 minutes to read, 10 seconds to run.
#
# A *profile* decides everything: which data set, which networks, how long they train. `smoke` is for tests, `mini`
# for a laptop, `paper` for a GPU. Change the cell below and run the chapter again.

# %% tags=["parameters"]
profile: str = "mini"  # a profile in params/, or a YAML file of your own

# %%
import pandas as pd

from lmhld_nb import experiments, plans, plots, profiles, style

loaded = profiles.load(profile)
dataset = experiments.dataset_of(loaded, progress=False)
note = style.note(dataset, loaded.name)

# %% [markdown]
# ## The data
#
# Look at the word in brackets. **Synthetic** data are made by a program from fractal terrain: they imitate the published
# sensors, resolutions, and smallest and largest landslides, but no satellite ever saw them. A score on them says that the
# code runs and can learn, not how well it does on a real disaster. The real LMHLD is used in the same way, by a profile
# that names it.

# %% tags=["nbval-check-output"]
print(f"data set: {dataset.title} ({'synthetic' if dataset.synthetic else 'real'})")
print(f"areas: {', '.join(dataset.areas)}")
print(f"bands: {', '.join(dataset.bands)}")

# %% [markdown]
# One scene of each area, in true colour, with its landslides outlined. Look for what else is bare and bright: river
# gravel, roads, fields, clouds. A network must learn to tell landslides from these.

# %%
style.save(
    plots.scene_gallery(
        [dataset.scenes_of(area)[0] for area in experiments.areas(loaded, dataset)],
        note,
    ),
    "overview",
    loaded.name,
)

# %% [markdown]
# The sizes differ from area to area, from thin scars of a few pixels to slopes that came down whole. This is why the
# paper gives each area its own patch size; chapter 02 follows its rule.
#
# ## The runs
#
# Every training is a *run*, named by a hash of all that decides it. A run that is done is never done again. The table
# counts those of this profile: rows are the experiments that ask for them (`1+2`: made once for both), columns the
# networks. `lmhld plan PROFILE` lists each with its state and cost, `lmhld run PROFILE` makes the missing ones.

# %%
planned = plans.plan(loaded, dataset)
table = plans.plan_table(planned)
pd.crosstab(table["experiments"], table["model"])[list(loaded.models)]

# %%
print(f"done: {(table['status'] == 'done').sum()} of {len(table)}")

# %% tags=["nbval-check-output"]
print(
    f"{len(planned)} runs: {len(loaded.models)} model(s) on {len(experiments.areas(loaded, dataset))} areas"
)
other = "".join(
    f", {batch} at {size} px" for size, batch in loaded.batch_size_at.items()
)
print(
    f"recipe: SGD, {loaded.recipe.epochs} epochs, batch {loaded.recipe.batch_size}{other}"
)

# %% [markdown]
# ## Beside the paper
#
# The published recipe is batch 16, 300 epochs, learning rate 0.01 falling by 1 % an epoch (section 3.3). What this
# profile changes, and why, stands in its YAML file in `params/`; what the paper leaves open stands in the fidelity
# ledger, a page of the web edition.
#
# ## Exercises
#
# 1. Set `profile` to `smoke` and run the chapter again. Which numbers change, and which do not?
# 2. Copy `params/mini.yaml` to `params/mine.yaml`, write `name: mine` in it and misspell another key. What does
#    `.venv/bin/lmhld plan mine` say?
#
# **Next:** chapter 01 measures the inventories.
