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
# **Time.** 6 minutes to read, 15 seconds to run where the 49 trainings of `mini` are there; these take 5 minutes one after another.

# %% tags=["parameters"]
profile: str = "mini"  # a profile in params/, or a YAML file of your own
models: list = []  # networks to show; empty for all of the profile
areas: list = []  # areas to show; empty for all of the profile
on_missing: str = "train"  # if runs are missing: train, skip or error

# %%
import pandas as pd

from lmhld_nb import paper, runs
from lmhld_nb.book import exercises as teaching
from lmhld_nb.experiments import common as experiments
from lmhld_nb.experiments import profile as profiles
from lmhld_nb.experiments import results
from lmhld_nb.plots import scores as score_plots
from lmhld_nb.plots import style

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
# A curve that begins at 0 marks nothing as landslide at first.
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
# Rows that rest on a handful of test patches are no ranking of networks.
#
# The same F1 as a heat map. Read it by rows for the areas, by columns for the networks: is there a network that is best
# everywhere? The table below names the winners.

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
# Where the winners differ from area to area, how much of that is chance? That is a question for chapter 11: here each
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
# Compare each orange place with the image on the left: is it bare and bright without having slid, as fields, roads and
# river gravel are? And a slide that is blue as a whole: is it as dark as what surrounds it? A network that goes by colour
# alone makes just these two mistakes.
#
# **Try it** (in JupyterLab; the page shows the figure above). The next cell opens a panel: choose a run, a test patch and the
# threshold of probability. A network says landslide above 0.5 here as in the paper. Does another threshold raise F1, and does
# the same one do so in the next patch?

# %% tags=["widget", "skip-execution", "nbval-skip", "hide-input"]
from lmhld_nb import widgets

widgets.prediction_browser(finished, note)

# %% [markdown]
# ## Beside the paper
#
# The paper concludes from Table 5 that all seven areas can be learned, and names Wenchuan as the best of them. Two limits
# hold for its test and for ours: every test patch holds at least 10 % landslide, and with a random split a test patch can
# touch a training patch (chapter 02).
#
# Section 4.2 says that U-Net++ "outperforms all other models". In Table 5 it is best in three of seven areas. The section also
# gives "the highest F1-score of 0.8802" to Wenchuan "apart from U-Net++"; 0.8802 is U-Net++'s own score there.

# %% [markdown]
# ## Exercises
#
# Each question says what to set or to write, and the check below it says what does not fit. The book has the solutions, folded;
# the copies that `make student` writes have none.

# %% [markdown]
# ### Exercise 1: fewer landslides
#
# A network finds a share `recall` of the landslide pixels and marks a share `false_rate` of the background. Write
# `precision(share, recall, false_rate)` for test patches of which a share `share` is landslide. Then set `suffers` to the score that
# changes when only `share` does: `"precision"` or `"recall"`.


# %% tags=["solution", "hide-cell"]
def precision(share, recall, false_rate):
    """Return the precision where ``share`` of the pixels is landslide; all are shares, 0 to 1."""
    hits, alarms = share * recall, (1 - share) * false_rate
    return hits / (hits + alarms)


suffers = (
    "precision"
    if precision(0.1, 0.8, 0.05) < precision(0.3, 0.8, 0.05)
    else "recall"
)
# Recall looks at landslide pixels alone. Precision sets the same hits against false alarms from more background.

# %% tags=["check"]
from lmhld_nb.evaluation.counts import Confusion

with teaching.exercise(1, suffers):
    found = {}
    for landslide in (300_000, 20_000):
        hits, alarms = landslide * 8 // 10, (1_000_000 - landslide) // 20
        counts = Confusion(
            hits, alarms, landslide - hits, 1_000_000 - landslide - alarms
        )
        found[landslide] = counts
        assert (
            abs(precision(landslide / 1e6, 0.8, 0.05) - counts.precision) < 1e-9
        ), "count hits and false alarms among 1,000,000 pixels"
    assert suffers in ("precision", "recall"), "one of the two words"
    many, few = (getattr(counts, suffers) for counts in found.values())
    assert many - few > 0.01, (
        "this one does not move: which pixels does it look at?"
    )

# %% [markdown]
# ### Exercise 2: how clear are the winners?
#
# In each area of Table 5, how far is the best network ahead of the second best? Set `lead` to a Series of differences in F1, indexed by
# `study_area` as printed.

# %% tags=["solution", "hide-cell"]
lead = (
    paper.table(5)
    .groupby("study_area")["f1"]
    .apply(lambda f1: f1.nlargest(2).max() - f1.nlargest(2).min())
)
# From 0.001 to 0.017. Chapter 11 asks how much of that is chance.

# %% tags=["check"]
with teaching.exercise(2, lead):
    assert len(lead) == 7, "one value for each of the seven areas"
    for name, rows in paper.table(5).groupby("study_area"):
        second, first = sorted(rows["f1"])[-2:]
        assert abs(lead[name]) < 0.2, f"{name}: a difference, not a score"
        assert abs(lead[name] - (first - second)) < 1e-9, (
            f"{name}: best less second best"
        )

# %% [markdown]
# ### Exercise 3: sums or means?
#
# The paper's rows obey F1 = 2PR/(P+R), so counts are summed over all pixels of a test. Write `pooled_f1(counts)` for a DataFrame with
# columns `tp`, `fp` and `fn`, a row a patch. When does it differ most from the mean of the patches' own F1?


# %% tags=["solution", "hide-cell"]
def pooled_f1(counts):
    """Return F1 of all patches together; ``counts`` has columns tp, fp and fn in pixels."""
    tp, fp, fn = counts[["tp", "fp", "fn"]].sum()
    return 2 * tp / (2 * tp + fp + fn)


# When patches hold very unequal numbers of landslide pixels: in the sum a full patch counts more than an empty one.

# %% tags=["check"]
from lmhld_nb.evaluation.counts import Confusion

with teaching.exercise(3):
    made = pd.DataFrame({"tp": [900, 1], "fp": [50, 30], "fn": [50, 9]})
    total = sum(
        (Confusion(*row, 0) for row in made.to_numpy().tolist()),
        Confusion(0, 0, 0, 0),
    )
    own = [Confusion(*row, 0).f1 for row in made.to_numpy().tolist()]
    assert abs(pooled_f1(made) - sum(own) / 2) > 0.1, (
        "this is the mean of the patches' F1"
    )
    assert abs(pooled_f1(made) - total.f1) < 1e-9, (
        "sum each column first, then one F1"
    )
    assert pooled_f1(made[::-1]) == pooled_f1(made), (
        "the order of patches must not matter"
    )

# %% [markdown]
# **To go further.** Run `.venv/bin/papermill notebooks/05_experiment_2_single.ipynb out.ipynb -p areas rio,taiwan` and look at two
# areas alone. Copy the profile under another `name`, set `split: blocks` and `seeds: [0, 1, 2]`, and run it: compare Table 5 in areas
# with ten or more test patches. Is the fall larger than the difference between seeds?
#
# **Next:** chapter 06 trains one network on all areas together.
