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
# The two panels of chapters 02 and 05 on one page. Run all cells here in JupyterLab, or see the page without code:
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
