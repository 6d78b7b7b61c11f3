# ---
# jupyter:
#   kernelspec:
#     display_name: LMHLD book
#     language: python
#     name: lmhld
# ---

# %% [markdown]
# # Experiment 4: areas one after another
#
# **Question.** Can a network learn one area after another, each with its own patch size and sensor, without forgetting
# what it learnt before? Does the order matter, and is it the freezing that helps?
#
# **The paper** (sections 3.2 (4) and 4.4) calls this LMHLD_part. Seven areas are added one by one in six orders. Each stage
# starts from the weights of the previous stage, reinitialises the input convolution, and freezes the shallow levels step by
# step. The paper reports F1 between 0.83 and 0.87 (Table 7), higher than with LMHLD_mix, with hardly any difference between orders, and
# concludes that catastrophic forgetting is alleviated. It measures neither forgetting nor another strategy; this chapter does both.
#
# **Time.** 11 minutes to read; under a minute to run once the trainings are finished.

# %% tags=["parameters"]
profile: str = "mini"  # a profile in params/, or a YAML file of your own
models: list = []  # networks to show; empty for all of the profile
areas: list = []  # areas to add; empty for all of the profile
show_order: str = "OD1"  # order of addition whose matrices are drawn
on_missing: str = "train"  # if runs are missing: train, skip or error

# %%
import lmhld_nb as lm
from lmhld_nb.experiments import examples, forgetting, part

import pandas as pd

book = lm.open(profile, models, areas)
print(f"profile {book.name}: {book.profile.description}")
orders, order = part.orders(book), part.first_order(book)
rows = lm.training.chains.paper_schedule(len(order))
assert show_order in orders, (
    f"no order {show_order}; choose from {', '.join(orders)}"
)
sizes = {area: book.patch_size(area) for area in part.first_order(book)}

# %% [markdown]
# ## How it is made
#
# ### The schedule (Fig 5)
#
# The schedule is a table: one row per stage, one column per group of layers. *Fresh* weights are drawn at random, *frozen* ones
# do not change (nor do the statistics of batch normalisation), and the rest is fine-tuned. The paper describes it in words; the
# rows here follow the ledger's interpretation. Look at how the frozen part grows to the right, and where no arrow arrives.

# %%
stages = pd.RangeIndex(1, len(rows) + 1, name="stage")
schedule = pd.DataFrame(rows, index=stages)
book.show(
    lm.plots.schemes.part_strategy(part.first_order(book), sizes, rows),
    "fig05_part",
    schedule,
)

# %% [markdown]
# The same as a table, one row per stage:

# %%
schedule

# %% [markdown]
# In the paper's schedule, only the first stage trains the whole network. From the fifth on, four of five encoder levels are
# fixed, and a fresh input convolution has to feed levels that were trained with another one.
#
# ### The orders of addition (Fig 6)
#
# In the paper, three areas come first and one last; those between are permuted. Orders with the same beginning share those trainings.

# %%
book.show(
    lm.plots.schemes.addition_orders(orders, sizes),
    "fig06_orders",
    pd.DataFrame(orders).rename_axis("stage"),
)

# %%
finals = part.finals(book)
lasts = [last for group in finals.values() for last in group]
chained = sum(len(last.chain) for last in lasts)
print(f"{len(orders)} orders of {len(sizes)} areas, {len(lasts)} chains")
print(f"{len(part.unique_stages(lasts))} trainings; without sharing {chained}")

# %% [markdown]
# ### The runs
#
# A stage is a run like any other: its spec names the run that it starts from. Every stage is tested on its own area and on
# all earlier areas.

# %%
runs = book.runs("part", on_missing)
finished = part.final_runs(book, runs)
scores = part.order_scores(finished)
if not finished[show_order]:
    show_order = next(filter(finished.get, finished))

# %% [markdown]
# ## Does the order matter? (Figs 12, 13, 14)
#
# Each panel is a network, each cell the absolute difference between two orders, on the test patches of all areas together.
# White means no difference (an order compared with itself), black the largest of all networks, grey an order that is not trained. First precision, then F1, then recall. The paper gives its largest
# differences in the text (section 4.4). For F1 it gives one "on seven models", although the models of its Table 7 differ by more; we
# read it as the largest difference between orders within one network.

# %%
book.show(
    lm.plots.chains.order_differences(scores, "precision"),
    "fig12_precision",
    scores[["precision", "run_ids"]],
)

# %%
book.show(
    lm.plots.chains.order_differences(scores, "f1"),
    "fig13_f1",
    scores[["f1", "run_ids"]],
)

# %%
book.show(
    lm.plots.chains.order_differences(scores, "recall"),
    "fig14_recall",
    scores[["recall", "run_ids"]],
)

# %%
differences = book.save(part.largest_differences(finished), "order_differences")
lm.tidy(differences, digits=4)

# %% [markdown]
# And the seed? All orders share their first stages, so what a seed makes of these stays in each of its chains. F1 by seed
# (across); a dash is a chain that was not trained:

# %%
chains = [
    {"model": run.spec.model, "order": order, "seed": run.spec.seed}
    | part.total_scores(run)
    for order, group in finished.items()
    for run in group
]
by_seed = pd.DataFrame(chains).set_index(["model", "order", "seed"])
lm.tidy(by_seed, ["f1"], across="seed")

# %% [markdown]
# The largest differences between orders on real areas, from this book's runs:

# %%
lm.tidy(book.real("order_differences"), digits=4)

# %%
book.found("order_differences", differences)

# %% [markdown]
# ## Table 7
#
# Means over the orders that a network has (`orders`), beside the published ones. Networks with other orders are not compared quite
# fairly: how much an order can matter is said above.

# %%
table7 = book.table(7)
lm.tidy(table7)

# %% [markdown]
# Check any cell yourself: [one command](../book/check.md#table-7) trains its runs again and compares every bit. The
# same on real areas, from this book's runs:

# %%
lm.tidy(book.real("table7"), ["precision", "f1", "recall"])

# %%
book.found("table7", table7)

# %% [markdown]
# ## Part, mix and single
#
# The paper compares Table 7 with Tables 5 and 6 and finds LMHLD_part ahead of both. Two of these add up the pixels of all
# areas, Table 5 does not; here all three are scored both ways: on all test pixels, and as the mean over areas. Look at whether
# the order of the three is the same for every network, and whether both ways agree. The published value for single is the mean over areas.
# How wide the gaps are may depend on the epochs of a stage: chapter 11 (question 8) has other numbers.

# %%
beside = part.beside_mix_and_single(book, table7)
book.save(beside, "table7_beside")
pattern = "^(mean_|published_)?(part|mix|single)_f1$"
lm.tidy(beside, list(beside.filter(regex=pattern).dropna(axis=1, how="all")))

# %% [markdown]
# Mix is tested on patches of its one size, part and single at each area's own. They share test patches only in areas
# whose own size is that of mix; "What we found" gives their scores on these alone. On real areas, from the published
# edition:

# %%
lm.tidy(book.real("table7_beside"), ["part_f1", "mix_f1", "single_f1"])

# %%
book.found("table7_beside", beside)

# %% [markdown]
# ## Forgetting, measured
#
# F1 after each stage (down) on each area's test patches (across), for one order of addition; `stage_matrix.csv` has
# those of all chains, and `show_order` draws another. Areas still to come are not tested. The diagonal is the area just
# learnt. Read a column downwards: where it fades, the area is being forgotten. The paper expects that LMHLD_part can
# incorporate more landslide data later: each row is such an addition, because nothing before it is trained again.

# %%
matrices = forgetting.stage_matrix(finished)
drawn = matrices.loc[show_order].drop(columns="run_ids")
book.show(
    lm.plots.chains.stage_matrices(drawn),
    "stage_matrix",
    matrices,
    about=f"order {show_order}, means over seeds",
)

# %% [markdown]
# One number sums up a matrix. *Average forgetting* (Chaudhry et al. 2018,
# [doi:10.1007/978-3-030-01252-6_33](https://doi.org/10.1007/978-3-030-01252-6_33)) is the best F1 an area had after
# any earlier stage minus its F1 at the end (negative if the last stage has improved it), averaged over all areas but the last, and here over the orders.

# %%
forgotten = forgetting.forgetting_table(finished)
forgotten = book.save(forgotten.join(scores[["f1", "own_input_f1"]]), "forgetting")
lm.tidy(forgotten.groupby("model", sort=False).mean(numeric_only=True))

# %% [markdown]
# `own input F1` is that of the last network, but with the input convolution of each area's own stage. If F1
# rises, the fresh input layer lost the area; if it falls, the later levels have changed. The F1
# forgotten on real areas, by network and order, from this book's runs:

# %%
lm.tidy(book.real("forgetting"), ["forgetting"], across="order")

# %%
book.found("forgetting", forgotten)

# %% [markdown]
# ## Is it the freezing?
#
# The same areas in the first order, learnt in other ways. First come variants of LMHLD_part with one ingredient
# changed: the old normalisation after the fresh input, the input kept, nothing frozen, or all data so far in each
# stage (cumulative). Then comes plain fine-tuning: on its own, with elastic weight consolidation (EWC, Kirkpatrick et
# al. 2017, [doi:10.1073/pnas.1611835114](https://doi.org/10.1073/pnas.1611835114)), which holds back weights that mattered
# before, and with a replay of some earlier patches. Strength and share are those that do best on validation patches,
# of a few tried: the best may lie beyond the lowest or the highest of them.
# Last come all areas at once, as a reference. Look at which intervals do not reach LMHLD_part, and at the cost:
# trained parameters times steps, the same on every machine (`strategies.csv` also has the seconds). A
# profile may leave some of these out (`without`), as `mini` does.

# %%
compared = part.chosen_strategies(
    {
        name: lm.runs.select(specs, runs)
        for name, specs in part.strategies(book).items()
    }
)
strategies = None
if "LMHLD_part" in compared:
    strategies = book.save(forgetting.strategy_table(compared), "strategies")
    print(lm.models.network(book.settings("part").compared).title)

# %%
gap = ["f1_minus_part", "f1_minus_part_low", "f1_minus_part_high"]
spread = ["f1_sd", "forgetting", "forgetting_sd", "seeds"]
lm.tidy(strategies, ["f1", *gap, *spread, "trained_parameter_steps"])

# %% [markdown]
# `all at once` sees all areas from its first step on, each at its own patch size, with as many steps as a chain: a reference for
# training that cannot forget, but no upper bound. On real areas, from this book's runs:

# %%
lm.tidy(book.real("strategies"), ["f1", *gap, "forgetting"])

# %%
book.found("strategies", strategies)

# %% [markdown]
# ## What is found and what is missed (Fig 15)
#
# One test patch per area, as in chapter 05, by the last stage of the order above. Green is a hit, orange a false alarm,
# blue a miss. The areas are in the order in which they were learnt: do the first look worse than the last?

# %%
shown = examples.examples(finished[show_order], forgetting.patch_sets_of)
seen = examples.example_scores(shown)
book.show(
    lm.plots.scores.predictions(shown, book.bands),
    "fig15_predictions",
    seen,
    about=f"order {show_order}",
)

# %%
book.found("fig15_predictions", seen)

# %% [markdown]
# ## Beside the paper
#
# How does LMHLD_part compare, by the paper's tables alone?

# %%
published = {n: lm.paper.table(n).groupby("model")["f1"].mean() for n in (5, 6, 7)}
alone, mixed, serial = published[5], published[6], published[7]
print(f"part above mix: {(serial > mixed).sum()} of {len(serial)} networks")
print(
    f"part above the mean over areas of single: {(serial > alone).sum()} of {len(serial)}"
)
print(f"F1 of the networks in Table 7 spans {serial.max() - serial.min():.4f}")

# %% [markdown]
# ## Check yourself
#
# Choose an answer; it opens and says whether it is right, and why.
#
# **After seven stages the network scores worse on the first area than after stage one. Which explanation can this
# chapter's runs exclude?**
#
# <details><summary>The weights that were good for the first area were overwritten.</summary>No: that is forgetting,
# and the section on it measures it.</details>
# <details><summary>The input convolution is new in each stage, and no longer fits the first area.</summary>Not
# excluded: compare the scores with each area's own input convolution.</details>
# <details><summary>The last stages had fewer epochs than the first.</summary>Right: in this book all stages have the
# same number. Whether that is enough, chapter 11 asks: it repeats the comparison with other numbers.</details>

# %% [markdown]
# ## Exercises
#
# Each question says what to set or to write, and the check below it tells you what is wrong. The book contains the
# solutions, folded; the copies that `make student` writes leave them out.

# %% [markdown]
# ### Exercise 1: what shared beginnings save
#
# Orders with the same beginning share those trainings. Write `trainings(orders)`: how many different trainings do several orders need for one
# network? `orders` maps a name to a tuple of areas.


# %% tags=["solution", "hide-cell"]
def trainings(orders):
    """Return the number of different beginnings of all orders, whole orders included."""
    return len(
        {order[:k] for order in orders.values() for k in range(1, len(order) + 1)}
    )


# %% tags=["check"]
with lm.exercise(1):
    assert trainings({"OD1": ("a", "b", "c")}) == 3, "one order: each of its stages"
    assert trainings({"OD1": ("a", "b"), "OD2": ("b", "a")}) == 4, (
        "a after b is not a alone"
    )
    assert trainings({"OD1": ("a", "b", "c"), "OD2": ("a", "c", "b")}) == 5, (
        "both begin with a: that stage is trained once"
    )
    finals = part.finals(book)
    firsts = [specs[0] for specs in finals.values()]  # the first network's chains
    ids = {stage.run_id for last in firsts for stage in last.chain}
    assert trainings({name: orders[name] for name in finals}) == len(ids), (
        "count the runs of this profile's own orders"
    )

# %% [markdown]
# ### Exercise 2: how much stays free?
#
# In the ledger's schedule, stage k (from 2 on) freezes the encoder levels 1 to min(k − 1, 4). For seven stages, set `frozen` to a list: the
# number of frozen groups of layers in each stage (`lm.training.chains.paper_schedule` gives the rows). From which stage on does the schedule no longer change?

# %% tags=["solution", "hide-cell"]
paper_rows = lm.training.chains.paper_schedule(7)
frozen = [list(row.values()).count("frozen") for row in paper_rows]
# From stage 5 on: four of five levels are fixed, only the input, the lowest level and the decoder learn.

# %% tags=["check"]
with lm.exercise(2, frozen):
    assert len(frozen) == 7, "one number per stage"
    assert frozen[0] == 0, "the first stage is trained as a whole"
    assert list(frozen) == [min(stage, 4) for stage in range(7)], (
        "from one stage to the next one level more is frozen, up to four"
    )

# %% [markdown]
# ### Exercise 3: forgetting, measured
#
# Row k of a stage matrix has F1 on each area after stage k, with columns in the order of addition. Write `mean_forgetting(matrix)` for a square
# DataFrame: for each area but the last, the highest F1 in any row before the last, minus that in the last row; then the mean. (Here rows
# before an area's own stage are filled and count, too; in this book's matrices they are empty.)


# %% tags=["solution", "hide-cell"]
def mean_forgetting(matrix):
    """Return the mean loss of F1 since the best earlier stage, over all areas but the last."""
    lost = matrix.iloc[:-1].max() - matrix.iloc[-1]
    return lost.iloc[:-1].mean()


# %% tags=["check"]
with lm.exercise(3):
    steady = pd.DataFrame([[0.8, 0.2, 0.1], [0.8, 0.7, 0.1], [0.8, 0.7, 0.6]])
    assert abs(mean_forgetting(steady)) < 1e-9, "nothing falls here: no forgetting"
    fallen = steady.copy()
    fallen.iloc[-1, :2] -= [0.2, 0.4]
    assert abs(mean_forgetting(fallen) - 0.3) < 1e-9, (
        "the mean of two falls, without the last area"
    )
    risen = steady.copy()
    risen.iloc[-1, 0] += 0.1
    assert mean_forgetting(risen) < 0, (
        "an area may gain in the last stage: that counts against it"
    )
    middle = steady.copy()
    middle.iloc[1, 0] += 0.1
    assert mean_forgetting(middle) > 0, (
        "the best earlier stage need not be the area's own"
    )

# %% [markdown]
# **To go further.** Raise `replay` in `experiments: {part: {replay: [...]}}` of a copy of the profile to 0.5 (and, in one of `mini`, take
# plain fine-tuning and the replay out of `without`):
# how much does it gain over plain fine-tuning, and at what cost?
#
# **Next:** chapter 08 shows the last network of a chain landslides that it has never seen in training.
