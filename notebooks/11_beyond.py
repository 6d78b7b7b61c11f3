# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What the paper does not ask
#
# **Question.** How sure are the scores, what do they leave out, and which choices made them? Six questions that a reviewer
# might ask, answered with runs of this book.
#
# **The paper** gives each F1 as one number, without an interval, and compares networks by the third digit. It tests on patches
# that hold at least 10 % landslide, split at random, and counts pixels. It does not say which loss, momentum or normalisation it used.
#
# **Time.** 15 minutes to read. With finished runs 40 seconds, with the runs of `mini` to make about 2 minutes.

# %% tags=["parameters"]
profile: str = "mini"  # a profile in params/, or a YAML file of your own
resamples: int = 2000  # of patches, for each interval and each test
on_missing: str = "train"  # if runs are missing: train, skip or error

# %%
from lmhld_nb import (
    beyond,
    beyond_plots,
    beyond_results,
    detection,
    experiments,
    intervals,
    ledger,
    map_plots,
    paper,
    plans,
    profiles,
    runs,
    serial_experiment,
    style,
)

loaded = profiles.load(profile)
dataset = experiments.dataset_of(loaded, progress=False)
asked = loaded.beyond
network, area = paper.MODELS[asked.model], style.area_name(asked.area)
note = style.note(dataset, loaded.name)
own_note = f"{network}, {area} · {note}"

# %% [markdown]
# All but the first question are asked of one network on one area (`beyond` in the profile), so that one thing at a time can be
# changed. Each run has several seeds: they draw other first weights and another order of patches.

# %%
made = {
    run.spec.run_id: run
    for run in experiments.fetch(
        loaded,
        beyond.networks(loaded, dataset),
        on_missing,
        with_whole_area=True,
    )
}


def done(specs):
    """Return those of some runs that are finished."""
    return [made[spec.run_id] for spec in specs if spec.run_id in made]


base = done(beyond.base(loaded, dataset))

# %% tags=["nbval-check-output"]
groups = {
    "base": beyond.base(loaded, dataset),
    "background": beyond.background(loaded, dataset),
    **{
        f"split: {kind}": specs
        for kind, specs in beyond.split_kinds(loaded, dataset).items()
    },
    **{
        f"{size} px": specs
        for size, specs in beyond.sizes(loaded, dataset).items()
    },
    **beyond.switches(loaded, dataset),
}
for name, specs in groups.items():
    print(f"{name}: {len(specs)} runs")

# %% [markdown]
# ## 1. How sure?
#
# Another draw of test patches would give another F1. The bootstrap imitates that: test patches are drawn again with
# replacement, and F1 is computed of the summed counts of each draw. Every F1 of Tables 4 to 7 gets its interval that way. In
# Table 4 whole windows of the area are drawn. Look at how many intervals of one column overlap.

# %%
store = {
    4: experiments.patch_sizes(loaded, dataset)
    if profiles.is_made(loaded, "1")
    else [],
    5: experiments.single(loaded, dataset),
    6: experiments.mix(loaded, dataset)
    if profiles.is_made(loaded, "3")
    else [],
    7: [
        spec
        for specs in serial_experiment.finals(loaded, dataset).values()
        for spec in specs
    ]
    if profiles.is_made(loaded, "4")
    else [],
}
finished = {
    table: [run for spec in specs if (run := runs.find(spec))]
    for table, specs in store.items()
}
cells = beyond_results.cells(finished)
scores = beyond_results.interval_table(cells, resamples)
_ = style.save(
    beyond_plots.score_intervals(
        scores, style.note(dataset, loaded.name, "Tables 4 to 7")
    ),
    "score_intervals",
    loaded.name,
    scores,
)
_
