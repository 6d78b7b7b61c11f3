# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Experiment 5: landslides nobody has seen
#
# **Question.** A network has learnt seven areas. What does it find in the image of an event it knows nothing of, taken by
# another sensor, in another season, over other ground? And how far may its map be trusted?
#
# **The paper** (sections 3.2 (5) and 4.5) lets the U-Net of LMHLD_part map five sites of the GVLM data set and a PlanetScope
# scene of Luding after the earthquake of 2022. It shows the maps (Figs 16, 17), says that most landslides are identified and that
# a few roads are taken for landslides, and gives no score. This chapter draws the same maps and scores them.
#
# **Time.** 8 minutes to read. With finished runs 30 seconds, with the runs of `mini` to make about 1 minute.

# %% tags=["parameters"]
profile: str = "mini"  # a profile in params/, or a YAML file of your own
show_errors: int = 3  # false and missed landslides shown, of each kind
on_missing: str = "train"  # if runs are missing: train, skip or error

# %%
import pandas as pd

from lmhld_nb import (
    experiments,
    generalisation,
    map_plots,
    profiles,
    style,
    unseen_results,
)

loaded = profiles.load(profile)
dataset = experiments.dataset_of(loaded, progress=False)

# %% [markdown]
# ## The events (Figs 7, 8)
#
# Five sites have no near infrared: GVLM comes from Google Earth. Luding has all four bands. In `mini` synthetic events stand in
# for all six. They are made with other sensors, seasons and ground than the seven areas, and have roads, river bars and bare
# fields that look like landslides. With the real images at hand (`lmhld data get gvlm --from FOLDER`, the same for `luding`) the
# profile `paper` uses those.

# %%
events = unseen_results.found(loaded)
for asked, there in events:
    bands = ", ".join(asked.bands or loaded.patches.bands)
    print(
        f"{there.title}: {', '.join(asked.areas or there.areas)}; network of {bands}"
    )

# %% [markdown]
# ## The networks
#
# The network is the last stage of LMHLD_part in its first order: for four bands the very run of chapter 07. Images without near
# infrared get a chain of their own, trained on blue, green and red. A band is never made up.

# %%
runs_of = [
    experiments.fetch(
        loaded,
        generalisation.part_trained(loaded, dataset, asked.bands),
        on_missing,
    )
    for asked, _ in events
]

# %% tags=["nbval-check-output"]
needed = generalisation.networks(loaded, dataset)
print(f"{len(needed)} trainings, stages of chains among them")

# %% [markdown]
# ## The maps (Figs 16, 17)
#
# Each scene is cut into overlapping windows; predictions are blended, and the scene is normalised with its own mean and
# deviation, since nothing else is known of it. That is what `lmhld map` does. First the scenes alone.
