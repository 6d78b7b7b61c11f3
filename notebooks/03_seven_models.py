# ---
# jupyter:
#   kernelspec:
#     display_name: LMHLD book
#     language: python
#     name: lmhld
# ---

# %% [markdown]
# # Seven models
#
# **Question.** What does each of the seven networks add to U-Net, what does that cost, and how far does each one see?
#
# **The paper** (section 3.1) takes U-Net and six of its descendants, because they "represent key innovation trends" from
# residual connections to transformers. It cites the seven publications but gives no widths and no numbers of parameters.
# This book builds each network as described in its own publication (the fidelity ledger lists what those leave open).
#
# **Time.** 13 minutes to read, under a minute to run.

# %% tags=["parameters"]
profile: str = "mini"  # a profile in params/, or a YAML file of your own
models: list = []  # networks in the tables at the end; empty for all of the profile
draws: int = 2  # random networks behind each receptive field

# %%
import copy
from itertools import permutations

import lmhld_nb as lm
from lmhld_nb.anatomy import architecture, dataflow, diagrams

import numpy as np
import pandas as pd
import torch

book = lm.open(profile, models)
print(f"profile {book.name}: {book.profile.description}")
# Networks this small run slower on several threads when other processes use the cores too.
torch.set_num_threads(book.profile.execution.threads)

# %% [markdown]
# No network is trained in this chapter. Paths, extents, parameters and operations do not depend on the weights; shares of
# influence and effective fields do: here they are those of untrained networks. A *MAC* is one multiplication and one addition. All seven are
# drawn; the measurements at the end cover the networks that the profile compares (`edition`: all seven; `mini`: three;
# `smoke`, for tests: two).
#
# The drawings are made from the networks themselves: PyTorch follows a patch through the code (`torch.fx`) and records which
# block passes what to which. Each box is a block with its number of channels. Resolution falls from top to bottom, and
# computation runs from left to right. Boxes that plain U-Net does not have are in colour.
#
# ## U-Net: the far view and the outline
#
# Whether a bright pixel is a landslide depends on the slope around it, so a network must see far. Halving the
# resolution four times makes that cheap, but it blurs the outline. U-Net (Ronneberger et al. 2015) therefore comes back
# up level by level, and at each level lays the sharp map from the way down beside the blurred one: a *skip*.

# %%
book.show(diagrams.architecture("unet"), "architecture_unet", caption="")

# %% [markdown]
# How much do the skips carry? We set to zero the weights that read them, and measure by gradients which input pixels
# the middle pixel's logit depends on.

# %%
torch.manual_seed(0)
whole = lm.models.build("unet", 4, 8).eval()
cut = copy.deepcopy(whole)
for block in cut.decoder:  # of what a block reads, the skip is the first half
    skip = block[0].in_channels // 2
    _ = torch.nn.init.zeros_(block[0].weight[:, :skip])
patch = torch.randn(1, 4, 64, 64)
near = {}
for label, network in (("with skips", whole), ("without skips", cut)):
    influence = architecture.centre_gradient(network, patch)
    near[label] = float(influence[28:37, 28:37].sum() / influence.sum())
    print(f"{label}: {near[label]:.0%} of the influence is within 9 × 9 pixels")

# %%
unet = dataflow.graph("unet")
print(f"ways from the patch to the logits: {unet.ways('input', 'head')}")
print(
    f"most influence is near with skips: {near['with skips'] > 0.5}, without: {near['without skips'] > 0.5}"
)

# %% [markdown]
# Without skips, the output for a pixel hardly depends on that pixel: everything goes through the coarse map. There are as many
# paths through a U-Net as it has levels, and the shortest keeps the outline.
#
# ## Res U-Net: add, do not replace
#
# In Res U-Net (Xiao et al. 2018) a block no longer replaces its input by what it has computed: it *adds* it (He et al.
# 2016). A convolution of one pixel brings the input to the new number of channels. If the two 3×3 convolutions have
# nothing to add, the input still passes; and in training the gradient has a short way back, through one small
# convolution instead of two 3×3 ones.

# %%
book.show(diagrams.architecture("res_unet"), "architecture_res_unet", caption="")

# %% [markdown]
# Silence what the 3×3 convolutions compute, in all blocks of both networks (the last normalisation's scale is set to
# zero), and look at whether the output still depends on the input:

# %%
for name in ("unet", "res_unet"):
    torch.manual_seed(0)
    network = lm.models.build(name, 4, 8).eval()
    for block in (*network.encoder, *network.decoder):
        convolutions = block.residual if name == "res_unet" else block[:-1]
        torch.nn.init.zeros_(convolutions[-1].weight)
    with torch.no_grad():
        varies = bool(network(patch).std() > 0)
    title = lm.models.network(name).title
    print(f"{title}, silenced: output varies over the patch: {varies}")

# %% [markdown]
# ## Dense U-Net: keep everything
#
# A dense block (Huang et al. 2017; in this U-Net: Guan et al. 2020) never throws a map away. Each layer reads all maps
# before it, adds a few of its own, and lays them beside the rest. Since nothing must be computed twice, each layer can
# be narrow, and at the published width the whole network has less than a third of U-Net's parameters.

# %%
book.show(
    diagrams.architecture("dense_unet"), "architecture_dense_unet", caption=""
)

# %% [markdown]
# A layer can be skipped or taken, so the number of paths through a block doubles with each layer: one through a block of U-Net, two
# through a residual unit, $2^4$ through four dense layers.

# %%
share = architecture.parameters("dense_unet") / architecture.parameters("unet")
print(f"Dense U-Net's parameters, as a share of U-Net's: {share:.0%}")

# %% [markdown]
# ## Attention U-Net: ask before you pass
#
# A skip carries everything the shallow level has found, every bright field and road as well. In Attention U-Net (Oktay
# et al. 2018) the coarser map, which has seen the surroundings, decides through a *gate* how much passes: one
# number between 0 and 1 for each pixel, the same for all channels.

# %%
figure = diagrams.architecture("attention_unet")
book.show(figure, "architecture_attention_unet", caption="")

# %%
torch.manual_seed(0)
gate = lm.models.build("attention_unet", 4, 8).eval().gates[-1]
skip, coarse = torch.rand(1, 8, 64, 64) + 1, torch.randn(1, 8, 64, 64)
with torch.no_grad():
    passed = gate(coarse, skip) / skip
    gate.psi[1].bias.fill_(-100)
    shut = gate(coarse, skip)
one_number = bool((passed - passed[:, :1]).abs().max() < 1e-5)
print(f"one number per pixel: {one_number}")
print(f"between 0 and 1: {bool((passed > 0).all() and (passed < 1).all())}")
print(f"a gate that is shut passes nothing: {bool(shut.max() < 1e-6)}")

# %% [markdown]
# Maps of these numbers are often shown as explanations. An untrained gate has such a map too, and it means nothing: what
# a gate lets through shows what the network uses, not why.
#
# ## Trans U-Net: everything looks at everything
#
# A convolution sees its neighbours; to relate two ends of a patch takes many of them. A transformer relates all positions
# at once. Trans U-Net (Chen et al. 2021) shrinks the patch by a ResNet to one *token* per 16 × 16 pixels, lets twelve
# transformer blocks exchange information between tokens, and comes back up with three skips. (`PreActBottleneck`, the ResNet's
# block, has its name from the published code; its order is convolution, normalisation, ReLU.)

# %%
book.show(
    diagrams.architecture("trans_unet"), "architecture_trans_unet", caption=""
)

# %% [markdown]
# The cost of attention grows with the square of the number of tokens. Look at how few there are in small patches, and
# how small a part of the total cost the two products of attention are:

# %%
sizes = pd.Index(architecture.SIZES, name="patch size")
tokens = (sizes // 16) ** 2
attention = (
    12 * 2 * tokens**2 * 768
)  # 12 blocks, two products of tokens × tokens × 768
macs = [architecture.macs("trans_unet", size) for size in sizes]
shares = [f"{part:.2%}" for part in attention / macs]
pd.DataFrame(
    {"tokens": tokens, "attention's share of all MACs": shares}, index=sizes
)

# %%
torch.manual_seed(0)
transformer = lm.models.build("trans_unet", 4, 8).eval().transformer
tokens = torch.randn(1, 128, 14, 14, requires_grad=True)
no_blocks = torch.nn.Identity()
for label, blocks in ("with its blocks", transformer.layer), ("without", no_blocks):
    transformer.layer = blocks
    middle = transformer(tokens)[0, :, 7, 7].square().sum()
    (gradient,) = torch.autograd.grad(middle, tokens)
    everywhere = bool(gradient.abs().sum(dim=1).min() > 0)
    print(
        f"transformer {label}: a token in the middle depends on all 14 × 14: {everywhere}"
    )

# %% [markdown]
# In a patch of 32 pixels, as the paper uses for two areas, four tokens are all that the transformer has to relate.
#
# ## U-Net++: many U-Nets in one
#
# Nobody knows beforehand how deep a U-Net should be. U-Net++ (Zhou et al. 2018) contains U-Nets of depth one to four that
# share their encoder: nodes fill the space between the way down and the way up, and each reads all nodes before it on
# its level. Four heads are trained at once, one for each depth (*deep supervision*); the prediction is their mean.

# %%
book.show(diagrams.architecture("unet_pp"), "architecture_unet_pp", caption="")

# %% [markdown]
# Each head is a complete network. A network that answers from an early head needs only what leads up to it, which few
# paths reach:

# %%
nested = dataflow.graph("unet_pp")
heads = [node.name for node in nested.nodes if node.kind == "head"]
for head in heads:
    print(f"{head}: {nested.ways('input', head):2} ways to it")

# %% [markdown]
# ## U-Net+++: all scales at once
#
# In U-Net+++ (UNet 3+, Huang et al. 2020) every decoder node reads all five scales: finer encoder maps, pooled, for
# the outline; its own level's; coarser decoder maps, enlarged, for the context. Each is first brought to as few channels
# as the first level has, so the network has fewer parameters than U-Net. But it computes with hundreds of channels at
# full resolution, and that costs operations. Five heads (diamonds) are trained; the one at full resolution predicts. Huang
# et al.'s optional classification-guided module is left out.

# %%
book.show(diagrams.architecture("unet_3p"), "architecture_unet_3p", caption="")

# %%
full = dataflow.graph("unet_3p")
for node in full.nodes:
    if node.kind == "DecoderNode":
        scales = sorted(full.sources(node.name), key=lambda source: source.level)
        channels = ", ".join(str(source.channels) for source in scales)
        print(
            f"{dataflow.SIZE >> node.level} px: reads {len(scales)} scales of {channels} channels, gives {node.channels}"
        )
as_published = architecture.macs("unet_3p", 64)
ours = architecture.macs("unet_3p", 64, literal=False)
print(f"MACs at 64 px: {as_published:,} as published, {ours:,} as computed here")

# %% [markdown]
# The last line is a lesson in linear algebra. "Enlarge, then mix the channels" and "mix (once for each of the nine
# filter taps), then enlarge and shift" give the same map except for rounding, but the second multiplies where the map
# is small. The network is the same; its cost is not.
#
# ## How far they see
#
# The *receptive field* of a pixel is what its logit depends on. We measure it by gradients on random networks: the
# dashed square holds all pixels with any influence, the full one 95 % of the influence (the *effective* receptive
# field, Luo et al. 2016). Look at how much smaller it is, and at which ideas make it larger.

# %%
reaches = architecture.receptive_fields(book.models, draws)
book.show(
    diagrams.influence(reaches),
    "receptive_fields",
    caption=f"random weights, 8 channels at the first level · profile {book.name}",
)

# %% [markdown]
# For U-Net the extent can be worked out with paper and pencil: each 3×3 convolution adds a pixel on either side, and each level
# doubles what is below it. The gradient gives the same number. The effective field of untrained U-Nets is a
# small part of it; training widens it. In Trans U-Net it is nearly the whole patch, but here that is mostly group
# normalisation, which shares its statistics over the map: an untrained transformer adds little to it.
#
# Not every difference comes from a network's main idea: Attention U-Net sees 220 px instead of U-Net's 188 because of how a
# map is enlarged. A 2×2 transposed convolution reads one pixel, and so does nearest-neighbour up-sampling, but the 3×3 convolution
# after it also reads neighbours (as bilinear up-sampling does in U-Net++ and U-Net+++). A gate is 1×1 and adds no reach. We now remove the neighbours from the up-sampling convolutions of
# Attention U-Net, and the blocks from the transformer:


# %%
def read_no_neighbours(network):
    """Set all but the middle of the convolutions that enlarge to zero."""
    centre = torch.zeros(3, 3)
    centre[1, 1] = 1
    for up in network.up:
        up[1].weight.data *= centre


def without_transformer(network):
    """Take the blocks out of the transformer."""
    network.transformer.layer = torch.nn.Identity()


# %%
for name, label, change in (
    ("attention_unet", "enlarging without neighbours", read_no_neighbours),
    ("trans_unet", "without transformer blocks", without_transformer),
):
    before = architecture.receptive_field(name, draws=1)
    after = architecture.receptive_field(name, draws=1, change=change)
    title = lm.models.network(name).title
    print(f"{title}: sees {before.extent} px, {label} {after.extent} px")
    if before.whole:
        share = after.effective / before.effective
        print(f"… more than 95 % of the effective field is left: {share > 0.95}")

# %% [markdown]
# Dense U-Net, with four 3×3 convolutions in a block, has the largest extent of the convolutional networks and one of the
# smallest effective fields. But do not infer small differences from one drawing. Single random networks vary by a few px,
# some by more than ten:

# %%
for name in ("unet", "dense_unet", "res_unet", "unet_3p"):
    if name in book.models:
        single = [
            architecture.receptive_field(name, draws=1, first=seed).effective
            for seed in range(4)
        ]
        print(f"{lm.models.network(name).title:10} 95 % within {single} px")

# %% [markdown]
# ## Side by side
#
# The table is for the widths of this profile, the lines below it are for the networks as published, all with four input bands.

# %%
published = architecture.table(book.models)
published["extent"] = [reach.extent for reach in reaches.values()]
published["extent_is_patch"] = [reach.whole for reach in reaches.values()]
_ = book.save(published, "architecture")
own = architecture.table(book.models, book.profile.width)
lm.tidy(book.save(own, "architecture_profile"))

# %%
for name, row in published.iterrows():
    title = lm.models.network(name).title
    sees = "the whole patch" if row["extent_is_patch"] else f"{row['extent']} px"
    print(
        f"{title:16} {row['parameters']:11,} parameters {row['macs_64']:14,} MACs at 64 px, sees {sees}"
    )

# %% [markdown]
# MACs of U-Net+++ are those of the published computation.

# %%
widths = [book.profile.width.get(name) for name in ("unet", "dense_unet")]
unet, dense = (width or "published" for width in widths)
print(f"channels of the first level: U-Net {unet}, Dense U-Net {dense}")
unet, dense = map(architecture.parameters, ("unet", "dense_unet"), widths)
print(f"Dense U-Net has fewer parameters than U-Net: {dense < unet}")

# %% [markdown]
# A profile may give Dense U-Net more channels than the others; then it need not be the smaller network.
#
# Parameters and operations are two different costs, and they are not proportional. Look in the lines above for the
# network with the most parameters, and for the one with the most operations.
#
# Parameters are shared by all pixels: they cost memory for the weights. Operations are done for each pixel, and are
# expensive where the map is large. The transformer keeps its parameters where there are few tokens; U-Net+++ computes
# at full resolution.
#
# ## Beside the paper
#
# The paper sees in the seven a progression towards "deeper feature extraction, stronger attention mechanisms", and finds
# (section 4.4, trained on all areas) that all but Res U-Net differ by at most 0.011 in F1. Trained on one area at a
# time (Table 5) they differ more. Does the larger network do better there? (Numbers of parameters are those of this book's
# networks; the paper gives none.)

# %%
alone, all_areas = (lm.paper.table(n).query("model != 'Res U-Net'") for n in (5, 7))
gap = np.ptp(all_areas["f1"])
print(f"largest gap in F1 but for Res U-Net: {gap:.4f} on all areas (Table 7),")
gaps = alone.groupby("study_area")["f1"].agg(np.ptp)
print(f"{gaps.min():.3f} to {gaps.max():.3f} on one area (Table 5)")

# %% [markdown]
# Now size against score: parameters of all seven, and the mean F1 over the areas of Table 5.

# %%
seven = {lm.models.network(name).title: name for name in lm.paper.MODELS}
scores = lm.paper.table(5).groupby("model")["f1"].mean()[list(seven)]
beside = scores.to_frame()
beside["parameters"] = list(map(architecture.parameters, seven.values()))
for model, row in beside.iterrows():
    print(
        f"{model:16} {row['parameters'] / 1e6:6.1f} M parameters, mean F1 {row['f1']:.3f}"
    )

# %%
parameters, f1 = beside["parameters"].rank(), beside["f1"].rank()
correlation = parameters.corr(f1)
orders = [np.corrcoef(parameters, order)[0, 1] for order in permutations(f1)]
as_large = np.mean(np.abs(orders) >= abs(correlation) - 1e-9)
print(
    f"rank correlation: {correlation:.2f}; of all orders of seven, {as_large:.0%} give one as large"
)

# %% [markdown]
# With seven networks, a rank correlation of this size is no more than chance would give: these scores do not show that
# size alone helps.

# %% [markdown]
# ## Check yourself
#
# Choose an answer; it opens and says whether it is right, and why.
#
# **U-Net+++ has fewer parameters than U-Net. Is it faster?**
#
# <details><summary>Yes: fewer weights, fewer multiplications.</summary>No: a weight of a convolution is used once
# per pixel, and U-Net+++ works with hundreds of channels at full resolution.</details>
# <details><summary>No.</summary>Right: parameters cost memory, operations cost time, and operations grow with the
# number of pixels on which a weight is used.</details>

# %% [markdown]
# ## Exercises
#
# Each question says what to set or to write, and the check below it tells you what is wrong. The book contains the
# solutions, folded; the copies that `make student` writes leave them out.

# %% [markdown]
# ### Exercise 1: how far a U-Net sees
#
# Work out U-Net's extent by hand. Start from one pixel of the output and go backwards: two pixels on either side for each double
# convolution, halve where you retrace the way up, double where you retrace the way down. Set `extent` in pixels. (Try pixel 192 of
# 384.)

# %% tags=["solution", "hide-cell"]
first = last = 192
for _ in range(4):  # up the decoder, backwards: a coarse pixel feeds two fine ones
    first, last = (first - 2) // 2, (last + 2) // 2
for _ in range(4):  # down the encoder, backwards: a pool reads two pixels
    first, last = 2 * (first - 2), 2 * (last + 2) + 1
first, last = first - 2, last + 2
extent = last - first + 1

# %% tags=["check"]
with lm.exercise(1, extent):
    measured = architecture.receptive_field("unet", size=256).extent
    assert extent >= measured / 2, "too small: did you go down to the lowest level?"
    assert extent == measured, (
        "gradients find another extent; there are nine double convolutions, four ups, four downs"
    )

# %% [markdown]
# ### Exercise 2: the short way back
#
# A residual unit of Res U-Net maps 64 channels to 128. How many weights (without biases and normalisation) are on the path
# through its two 3×3 convolutions, and how many on the path around them? Set `weights = (through, around)`. On which path does
# the gradient change less, and what does that mean for the effective field?

# %% tags=["solution", "hide-cell"]
through = 64 * 128 * 3 * 3 + 128 * 128 * 3 * 3
around = 64 * 128 * 1 * 1
weights = (through, around)
# Around: one small convolution, no rectifier. In this network, where far pixels are reached only through the deep levels, more of their
# influence survives. That is no general rule: Luo et al. find smaller fields with skip connections.

# %% tags=["check"]
with lm.exercise(2, weights):
    unit = lm.models.build("res_unet", 4, 64).encoder[1]
    counted = [
        sum(
            layer.weight.numel()
            for layer in part.modules()
            if isinstance(layer, torch.nn.Conv2d)
        )
        for part in (unit.residual, unit.project)
    ]
    assert len(weights) == 2, "two numbers: through, around"
    assert weights[0] == counted[0], (
        "through: two convolutions of 3×3, each from all its channels to all"
    )
    assert weights[1] == counted[1], "around: this convolution sees one pixel"

# %% [markdown]
# ### Exercise 3: when attention takes over
#
# Attention costs 12·2·n²·768 MACs for n tokens, and a token is 16 × 16 pixels. Everything else in Trans U-Net costs the same for each
# pixel. At about which patch side does attention make up half of `architecture.macs("trans_unet", size)`? Set `half_at` in pixels;
# within 5 % is close enough.


# %% tags=["solution", "hide-cell"]
def attention(side):
    """Return the MACs of attention over a patch of a side in pixels."""
    return 12 * 2 * (side / 16) ** 4 * 768


small = 224
other = (architecture.macs("trans_unet", small) - attention(small)) / small**2
# attention(side) = other · side², solved for the side
half_at = (other / (attention(small) / small**4)) ** 0.5

# %% tags=["check"]
with lm.exercise(3, half_at):
    assert half_at > 224, "a side in pixels; at 224 attention is a small part"
    side = 32 * round(half_at / 32)  # a side that the network takes
    tokens = (side // 16) ** 2
    share = 12 * 2 * tokens**2 * 768 / architecture.macs("trans_unet", side)
    assert share > 0.45, "attention makes up less than half there: go further up"
    assert share < 0.55, "attention makes up more than half there: go further down"

# %% [markdown]
# **To go further.** Write your own network (`CONTRIBUTING.md`, *Add a network*), and draw it with `diagrams.architecture`.
#
# **Next:** chapter 04 compares patch sizes.
