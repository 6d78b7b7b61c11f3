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
# `make explorer`. It only shows finished runs and makes none; `lmhld run mini` makes them.

# %% tags=["parameters"]
profile: str = "mini"  # a profile in params/, or a YAML file of your own

# %% [markdown]
# ## From scene to patches
#
# Choose area, patch size and least share of landslide: which windows stay?

# %% tags=["widget"]
import lmhld_nb as lm
from lmhld_nb.experiments import single

book = lm.open(profile)
lm.widgets.patch_explorer(book)

# %% [markdown]
# ## What a network finds
#
# Choose a run of experiment 2, a test patch and a threshold: what is found, what is missed?

# %% tags=["widget"]
lm.widgets.prediction_browser(book, book.finished(single.specs(book)))

# %% [markdown]
# ## How runs learned
#
# Choose experiment, network, area and patch size: which curves still rise at the end?

# %% tags=["widget"]
lm.widgets.run_browser(book)

# %% [markdown]
# ## Areas one after another
#
# Choose an order of addition, or move areas to one of your own: what does each stage do, and what is left of the first area?

# %% tags=["widget"]
lm.widgets.order_explorer(book)
