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
# `make explorer`. It shows finished runs only; `lmhld run mini` trains them.

# %% tags=["parameters"]
profile: str = "mini"  # a profile in params/, or a YAML file of your own

# %% [markdown]
# ## From scene to patches
#
# Choose area, patch size and minimum share of landslide: which windows remain?

# %% tags=["widget"]
import lmhld_nb as lm
from lmhld_nb.experiments import single

book = lm.open(profile)
lm.widgets.patch_explorer(book)

# %% [markdown]
# ## What a network finds
#
# The first scene as mapped by a run of experiment 2: choose a threshold and a minimum area. What is found, and what is missed?

# %% tags=["widget"]
finished = book.finished(single.specs(book))
lm.view(book.scenes()[book.areas[0]][0], finished[:1])
