# ---
# jupyter:
#   kernelspec:
#     display_name: LMHLD book
#     language: python
#     name: lmhld
# ---

# %% [markdown]
# # The explorers
#
# The four panels of chapters 02, 05, 07 and 09 on one page. Run all cells here in JupyterLab, or see the page without code:
# `make explorer`. Finished runs are only looked at, none is made; `lmhld run mini` makes them.

# %% tags=["parameters"]
profile: str = "mini"  # a profile in params/, or a YAML file of your own

# %% [markdown]
# ## From scene to patches
#
# Choose area, patch size and least share of landslide: which windows stay?

# %% tags=["widget"]
from lmhld_nb import runs, widgets
from lmhld_nb.experiments import common as experiments
from lmhld_nb.experiments import plan as plans
from lmhld_nb.experiments import profile as profiles
from lmhld_nb.plots import style

loaded = profiles.load(profile)
dataset = experiments.dataset_of(loaded, progress=False)
note = style.note(dataset, loaded.name)
widgets.patch_explorer(loaded, dataset)

# %% [markdown]
# ## What a network finds
#
# Choose a run of experiment 2, a test patch and a threshold: what is found, what is missed?

# %% tags=["widget"]
single = [
    run for spec in experiments.single(loaded, dataset) if (run := runs.find(spec))
]
widgets.prediction_browser(single, note)

# %% [markdown]
# ## How runs learned
#
# Choose experiment, network, area and patch size: which curves still rise at the end?

# %% tags=["widget"]
widgets.run_browser(plans.plan(loaded, dataset), note)

# %% [markdown]
# ## Areas one after another
#
# Choose an order of addition, or move areas to one of your own: what does each stage do, and what is left of the first area?

# %% tags=["widget"]
widgets.order_explorer(loaded, dataset)
