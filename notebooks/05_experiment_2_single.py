# ---
# jupyter:
#   kernelspec:
#     display_name: LMHLD book
#     language: python
#     name: lmhld
# ---

# %% [markdown]
# # Experiment 2: each area alone
#
# **Question.** Can a network learn each area's landslides from that area's own patches?
#
# **The paper** (sections 3.2 (2) and 4.2) trains seven networks on each of the seven areas, at the area's own patch size,
# and reports precision, recall and F1 on the test patches (Table 5). F1 lies between 0.67 and 0.88.
#
# **Time.** 7 minutes to read. With finished runs 20 seconds, with the runs of `mini` to make about 4 minutes.

# %% tags=["parameters"]
profile: str = "mini"  # a profile in params/, or a YAML file of your own
models: list = []  # networks to show; empty for all of the profile
areas: list = []  # areas to show; empty for all of the profile
on_missing: str = "train"  # if runs are missing: train, skip or error

# %%
import pandas as pd

from lmhld_nb import (
    experiments,
    paper,
    profiles,
    results,
    runs,
    score_plots,
    style,
)

loaded = profiles.narrowed(profiles.load(profile), models, areas)
dataset = experiments.dataset_of(loaded, progress=False)
note = style.note(dataset, loaded.name)
beside = style.note(dataset, loaded.name, "Table 5")

# %% [markdown]
# ## The runs
#
# A run that is in the store is read, not made again.

# %%
finished = experiments.fetch(
    loaded, experiments.single(loaded, dataset), on_missing
)

# %% tags=["nbval-check-output"]
first = {}  # one run of each area: all of an area share their patches
for run in finished:
    first.setdefault(run.spec.data[0].area, run)
print(
    f"{len(finished)} runs: {len(loaded.models)} model(s), {len({run.spec.data[0].area for run in finished})} areas"
)

# %% [markdown]
# ## How they learned
#
# Look for curves that still rise at the end: those might gain from more epochs. The mark is the epoch with the best
# validation F1, the one that is tested. Colours and marks are the networks', the same in all chapters.

# %%
history = pd.concat(
    [
        run.history.assign(area=run.spec.data[0].area, model=run.spec.model)
        for run in finished
    ]
)
panels = {}
for run in finished:
    panels.setdefault(style.area_name(run.spec.data[0].area), []).append(run)
style.save(
    score_plots.learning_curves(panels, note),
    "learning_curves_single",
    loaded.name,
    history.drop(columns="seconds"),
)

# %% tags=["nbval-check-output"]
fell = sum(
    run.history["train_loss"].iloc[-1] < run.history["train_loss"].iloc[0]
    for run in finished
)
print(f"training loss fell in {fell} of {len(finished)} runs")
print(
    f"mean F1 of the tests, to one digit: {sum(run.metrics['test']['f1'] or 0 for run in finished) / len(finished):.1f}"
)

# %% [markdown]
# A curve that begins at 0 marks nothing at first; Trans U-Net takes longest.
#
# ## Table 5
#
# Counts are summed over all pixels of the test patches. `difference` is ours less the published value. On synthetic data
# the comparison only says that both are scores of the same kind; no agreement is to be expected. First, on how many test
# patches each row of the table rests:

# %% tags=["nbval-check-output"]
for area, run in first.items():
    (part,) = runs.patch_sets(run.spec, progress=False)
    print(
        f"{area:15} {len(part.where('test')):3d} test patches of {part.spec.size} px"
    )

# %%
table5 = style.save_table(results.table_5(finished), "table5", loaded.name)
table5.drop(columns="run_ids").round(3)

# %% [markdown]
# In `mini` the areas of 224 pixels have two test patches each: their rows are no ranking.
#
# The same F1 as a heat map. Read it by rows for the areas, by columns for the networks: is there a network that is best
# everywhere?

# %%
style.save(
    score_plots.score_heatmap(
        table5, {"f1": "this book", "published_f1": "published"}, "area", beside
    ),
    "table5_f1",
    loaded.name,
)

# %%
best = (
    table5["f1"]
    .unstack("model")
    .idxmax(axis=1)
    .map(paper.MODELS)
    .to_frame("this book")
)
if table5["published_f1"].notna().any():
    best["published"] = (
        table5["published_f1"].unstack("model").idxmax(axis=1).map(paper.MODELS)
    )
best

# %% tags=["nbval-check-output"]
published = paper.table(5).pivot(index="study_area", columns="model", values="f1")
wins = published.idxmax(axis=1).value_counts()
print(
    f"published: {wins.index[0]} is best in {wins.iloc[0]} of {len(published)} areas, {len(wins)} networks are best somewhere"
)

# %% [markdown]
# The winners differ from area to area. How much of such differences is chance is a question for chapter 11: here each
# network is trained once.
#
# ## Is it more than a threshold?
#
# Landslides are bare and bright, so a threshold on NDVI or brightness finds many of them. The grey bars show the best
# that any single threshold can do: it is chosen on the very test pixels it is scored on. The green bars are the best of all
# networks, also picked on the test. A network below the grey bar does no better than one threshold that knows the answer;
# one above it uses more than a single index, which may still be colour only.

# %%
rules = {area: results.threshold_baseline(run) for area, run in first.items()}
f1 = table5["f1"]
baseline = pd.DataFrame(
    {
        area: {
            "feature": rule.feature,
            "threshold_f1": rule.confusion.f1,
            "network_f1": f1[area].max(),
            "network": f1[area].idxmax(),
            "networks_above": (f1[area] > rule.confusion.f1).sum(),
        }
        for area, rule in rules.items()
    }
).T
style.save(
    score_plots.against_threshold(rules, f1, note),
    "against_threshold",
    loaded.name,
    baseline.reset_index(names="area"),
)

# %%
clear = (baseline["networks_above"] > 0).sum()
print(
    f"the best network clears the best threshold in {clear} of {len(rules)} areas, "
    f"{baseline['networks_above'].sum()} of {len(f1)} networks do"
)

# %% [markdown]
# The threshold is an upper bound that no method without the truth can know, and the networks of `mini` are narrow and
# trained for few epochs: clearing it is not a matter of course. Published widths and epochs are in the profile `paper`.
#
# ## What is found and what is missed (Fig 10)
#
# One test patch an area: the one whose share of landslide is nearest to the middle of its test set. Green is a hit, orange
# a false alarm, blue a miss. Look for what lies under the orange, and whether the blue is only rims or whole slides. (The
# paper's caption names LMHLD_part, its text LMHLD_single, which is what is shown here.)

# %%
examples = results.examples(finished)
style.save(
    score_plots.predictions(examples, loaded.patches.bands, note),
    "fig10_predictions",
    loaded.name,
    results.example_scores(examples),
)

# %% [markdown]
# **Try it** (in JupyterLab; the page shows the figure above). The next cell opens a panel: choose a run, a test patch and the
# threshold of probability. A network says landslide above 0.5 here as in the paper. Does another threshold raise F1, and does
# the same one do so in the next patch?

# %% tags=["widget", "skip-execution", "nbval-skip", "hide-input"]
from lmhld_nb import widgets

widgets.prediction_browser(finished, note)

# %% [markdown]
# Most of the orange covers what is bare and bright without having slid: fields, roads, river gravel. Where whole slides are
# blue, they are about as dark as what surrounds them.
#
# ## Beside the paper
#
# The paper concludes from Table 5 that all seven areas can be learned, and names Wenchuan as the best of them. Two limits
# hold for its test and for ours: every test patch holds at least 10 % landslide, and with a random split a test patch can
# touch a training patch (chapter 02).
#
# Section 4.2 says that U-Net++ "outperforms all other models". In Table 5 it is best in three of seven areas. The section also
# gives "the highest F1-score of 0.8802" to Wenchuan "apart from U-Net++"; 0.8802 is U-Net++'s own score there.
#
# ## Exercises
#
# 1. Which score suffers first when the test patches hold fewer landslides, precision or recall? Why?
# 2. Run `.venv/bin/papermill notebooks/05_experiment_2_single.ipynb out.ipynb -p areas rio,taiwan` and look at two areas alone.
# 3. Copy the profile under another `name`, set `split: blocks` and `seeds: [0, 1, 2]`, and run it. Compare Table 5 in areas
#    with ten or more test patches. Is the fall larger than the difference between seeds?
#
# **Next:** chapter 06 trains one network on all areas together.
