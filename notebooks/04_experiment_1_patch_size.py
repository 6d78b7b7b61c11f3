# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Experiment 1: which patch size?
#
# **Question.** How large should the patches of an area be?
#
# **The paper** (sections 3.2 (1) and 4.1) narrows five sizes to three candidates by the area's landslide sizes, trains
# seven networks at each, and compares them on the *entire* study area. It shows Wenchuan: at 224 pixels most networks
# find most (Table 4), and F1 lies between 0.47 and 0.72, far below the 0.82 to 0.88 that Table 5 gives on chosen patches.
#
# **Time.** 8 minutes to read. With finished runs 15 seconds, with the runs of `mini` to make about 2 minutes.

# %% tags=["parameters"]
profile: str = "mini"  # a profile in params/, or a YAML file of your own
models: list = []  # networks to compare; empty for all of the profile
areas: list = []  # areas to compare; empty for all of the profile
on_missing: str = "train"  # if runs are missing: train, skip or error

# %%
import pandas as pd

from lmhld_nb import (
    experiments,
    inventory,
    paper,
    plots,
    profiles,
    results,
    schemes,
    score_plots,
    style,
)

loaded = profiles.narrowed(profiles.load(profile), models, areas)
dataset = experiments.dataset_of(loaded, progress=False)
note = style.note(dataset, loaded.name)

# %% [markdown]
# ## The five experiments (Fig 3)
#
# Experiment 1 comes first, because the others are made with the sizes that it chooses. The numbers in the boxes are those
# of this profile: a training that two experiments need is made once.

# %%
planned = experiments.plan(loaded, dataset)
style.save(
    schemes.experiment_scheme(planned, experiments.areas(loaded, dataset), note),
    "fig03_experiments",
    loaded.name,
    pd.DataFrame(
        [
            {
                "run_id": entry.spec.run_id,
                "experiments": "+".join(entry.experiments),
            }
            for entry in planned
        ]
    ),
)

# %% tags=["nbval-check-output"]
for name, (title, _) in experiments.EXPERIMENTS.items():
    count = sum(name in entry.experiments for entry in planned)
    print(f"experiment {name} ({title}): {count} trainings")
print(f"different ones in all: {len(planned)}")

# %% [markdown]
# ## The candidates
#
# Each quartile Q of an area's landslide sizes asks for a patch of 10·Q pixels, in which such a landslide fills 10 %
# (chapter 02). Look at where the dashed quartiles stand: half of the landslides lie between the outer two, and yet the
# three patches differ by a factor of ten in area.

# %%
compared = experiments.compared_areas(loaded, dataset)
candidates = {
    area: experiments.candidates(loaded, dataset, area) for area in compared
}
sizes = {area: inventory.area_sizes(dataset.scenes_of(area)) for area in compared}
style.save(
    plots.size_histograms(sizes, candidates, note),
    "candidates_compared",
    loaded.name,
)

# %% tags=["nbval-check-output"]
for area, chosen in candidates.items():
    print(
        f"{area}: candidates {', '.join(map(str, chosen))} px, this profile uses {profiles.patch_size(loaded, area)}"
    )

# %% [markdown]
# ## The runs
#
# A run that is in the store is read, not made again. Each is scored on all windows of the area's scenes: windows do not
# overlap, pixels without data are left out, and landscape without any landslide counts.

# %%
finished = experiments.fetch(
    loaded,
    experiments.patch_sizes(loaded, dataset),
    on_missing,
    with_whole_area=True,
)

# %%
panels = {}
for run in finished:
    (part,) = run.spec.data
    title = f"{style.area_name(part.area)}, {part.size} px"
    panels.setdefault(title, []).append(run)
style.save(
    score_plots.learning_curves(panels, note),
    "learning_curves_patch_size",
    loaded.name,
)

# %% [markdown]
# These curves are no comparison yet: each panel is validated on patches of its own size, chosen for holding landslide.
#
# ## Table 4
#
# The first columns count every pixel of the area, those that begin with `outside_` leave the training patches out: a
# network may know these by heart. `difference` is ours less the published value.

# %%
table4 = style.save_table(results.table_4(finished), "table4", loaded.name)
table4.drop(columns="run_ids").round(3)

# %%
style.save(
    score_plots.score_heatmap(
        table4.droplevel("area") if len(compared) == 1 else table4.xs(compared[0]),
        {
            "f1": "whole area",
            "outside_f1": "outside the training patches",
            "published_f1": "published",
        },
        "patch_size",
        note,
    ),
    "table4_f1",
    loaded.name,
)

# %% tags=["nbval-check-output"]
drop = (table4["f1"] - table4["outside_f1"]).mean()
print(f"runs scored on the whole area: {len(finished)}")
print(f"F1 outside the training patches is lower on average: {bool(drop > 0)}")

# %% [markdown]
# ## The choice
#
# The rule of this book: **the size with the highest mean F1 over the networks**. Means closer than 0.0005 count as equal;
# then the size wins at which more networks are at their best, then the smaller one. The black line is the mean.

# %%
choice = style.save_table(
    results.patch_size_choice(table4), "patch_size_choice", loaded.name
)
style.save(
    score_plots.patch_size_scores(choice, table4, note),
    "patch_size_scores",
    loaded.name,
)

# %%
choice.round(3)

# %%
for area, rows in choice.groupby("area", sort=False):
    rows = rows.droplevel("area")
    picked = rows.index[rows["chosen"]][0]
    used = profiles.patch_size(loaded, area)
    print(
        f"{area}: {picked} px chosen (mean F1 {rows['mean_f1'].max():.3f}, best for {rows.loc[picked, 'models_best']} of "
        f"{rows['models_best'].sum()} networks); the profile uses {used} px"
    )

# %% [markdown]
# The book does not switch sizes by itself, because then no plan could be made before the first experiment is done. If the
# choice differs from the size in use, say so in the profile: `patches: {sizes: {wenchuan: 128}}`.
#
# ## Beside the paper
#
# Is the published choice the one that the published table leads to? And do the networks agree?

# %% tags=["nbval-check-output"]
published = paper.table(4).pivot(index="model", columns="patch_size", values="f1")
for size, mean in published.mean().items():
    best = (published.idxmax(axis=1) == size).sum()
    print(
        f"published, {size} px: mean F1 {mean:.4f}, best for {best} of {len(published)} networks"
    )

# %% [markdown]
# By this rule the paper's own choice, 224 pixels, follows from its table, and clearly so. It is not the best size for all:
# Res U-Net does best at 64 pixels and Dense U-Net at 128.
#
# Two differences remain between its table and ours. The paper does not say whether the training patches count as part of
# the "entire study area"; we give both readings. And no network of `mini` has seen enough epochs to say anything about
# patch size: the larger the patches, the fewer there are, and the fewer steps a training of equal length takes. Chapter 11
# will compare sizes at an equal number of pixels seen.
#
# ## Exercises
#
# 1. F1 on the whole area is far below F1 on the test patches (chapter 05). Which of precision and recall has fallen?
#    Which pixels have been added?
# 2. Change the rule: choose by the *median* over the networks, or by the best network. Does the choice change in the
#    published table?
# 3. Run `.venv/bin/papermill notebooks/04_experiment_1_patch_size.ipynb out.ipynb -p models unet,unet_pp`. Would these two
#    networks alone have led to another size?
#
# **Next:** chapter 05 trains on each area at its size.
