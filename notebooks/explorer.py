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
# The patch explorer of chapter 02 and the live map of chapter 05 on one page. Run all cells here in JupyterLab, or see the page without code:
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
# The first scene as a run of experiment 2 maps it: choose a threshold and a least area: what is found, what is missed?

# %% tags=["widget"]
finished = book.finished(single.specs(book))
lm.view(book.scenes()[book.areas[0]][0], finished[:1])
