"""Does speed cost accuracy? The fast path and the plain loop, trained alike, on two areas of the twin.

    python -m benchmarks.accuracy [--areas …] [--seeds 3]

Both begin with the same weights and see the same batches in the same order, so that what is left between them is
the arithmetic (bf16 or fp32, layout). But small differences in arithmetic grow into other networks, as another seed
would, so the table gives the standard error of the mean difference too: a smaller difference is none.

Chosen to keep that error small: the two areas with most patches in the twin, four tenths of them for testing, and
a calmer recipe than the profile ``mini`` has (batches of 8). The last epoch is tested.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import pandas as pd
import torch
from tqdm import tqdm

from benchmarks import common, plain
from lmhld_nb import experiments, models, training
from lmhld_nb.evaluation.counts import Confusion
from lmhld_nb.patches.batches import load_split
from lmhld_nb.patches.patch_sets import PatchSet
from lmhld_nb.processes import cores
from lmhld_nb.training.hardware import Execution, choose_device
from lmhld_nb.training.specs import Recipe, RunSpec

RECIPE = Recipe(batch_size=8, epochs=30, lr=0.05, gamma=0.9, momentum=0.9, keep="last")
FRACTIONS = (0.5, 0.1, 0.4)


def plain_f1(spec: RunSpec, patch_set: PatchSet, device: torch.device, folder: Path) -> float:
    """Train and test with the plain loop."""
    torch.manual_seed(spec.seed)
    model = models.build(spec.model, len(spec.bands), spec.width).to(device)
    recipe = spec.recipe
    train, test = (plain.write_files(patch_set, split, folder / split) for split in ("train", "test"))
    ordered = load_split([patch_set], "train", torch.device("cpu"))
    optimiser = torch.optim.SGD(model.parameters(), recipe.lr, recipe.momentum)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, recipe.gamma)
    for epoch in range(recipe.epochs):
        order = [numbers.tolist() for _, numbers in ordered.order(recipe.batch_size, (spec.seed, epoch))]
        model.train()
        for images, masks in plain.loader(train, recipe.batch_size, device, order):
            plain.step(model, optimiser, images.to(device), masks.to(device))
        schedule.step()
    model.eval()
    total = Confusion(0, 0, 0, 0)
    with torch.no_grad():
        for number in range(len(test)):
            image, mask = test[number]
            total += Confusion.of((model(image[None].to(device)) > 0).cpu().numpy(), mask[None].numpy() > 0)
    return total.f1


def main() -> None:
    """Train all and save the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--areas", default="emilia_romagna,gorkha")
    parser.add_argument("--models", default="unet")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    device = torch.device(choose_device("auto"))
    torch.set_num_threads(cores())
    profile = experiments.load("mini")
    rule = profile.patches.model_copy(update={"fractions": FRACTIONS})
    study = experiments.open_study(profile.model_copy(update={"patches": rule}))
    rows = []
    cases = [
        (area, model, seed)
        for area in arguments.areas.split(",")
        for model in arguments.models.split(",")
        for seed in range(arguments.seeds)
    ]
    for area, model, seed in tqdm(cases, unit="pair"):
        patch_set = study.patches(area, progress=True)
        width = 2 * profile.width[model]  # mini cuts its widths to fit the book into minutes
        spec = RunSpec(model=model, width=width, data=(patch_set.spec,), recipe=RECIPE, seed=seed)
        folder = common.SCRATCH / spec.run_id
        execution = Execution(progress=False, threads=torch.get_num_threads())
        ours = training.train(spec, [patch_set], folder, execution)["test"]["f1"]  # type: ignore[index]
        theirs = plain_f1(spec, patch_set, device, folder)
        shutil.rmtree(folder)
        rows.append({"area": area, "model": model, "seed": seed, "f1": ours, "plain_f1": theirs})
    table = pd.DataFrame(rows)
    table["difference"] = table["f1"] - table["plain_f1"]
    common.save(table, "accuracy", device)
    grouped = table.groupby(["area", "model"])
    means = grouped[["f1", "plain_f1", "difference"]].mean()
    print(means.assign(standard_error=grouped["difference"].sem()).round(4).to_string())


if __name__ == "__main__":
    main()
