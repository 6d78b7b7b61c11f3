"""The loop that a typical repository ships, as a yardstick: fp32, NCHW, a DataLoader over patch files, `.item()`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from lmhld_nb import models
from lmhld_nb.patches.patch_sets import PatchSet
from lmhld_nb.training.specs import Recipe


class PatchFiles(Dataset):
    """Patches as two .npy files each, z-scored when read."""

    def __init__(self, folder: Path, mean: Sequence[float], std: Sequence[float]) -> None:
        self.images = sorted(folder.glob("*-image.npy"))
        self.mean, self.std = (np.array(v, np.float32)[:, None, None] for v in (mean, std))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        path = self.images[number]
        image = (np.load(path).astype(np.float32) - self.mean) / self.std
        mask = np.load(path.with_name(path.name.replace("image", "mask"))).astype(np.float32)
        return torch.from_numpy(image), torch.from_numpy(mask)[None]


def write_files(patches: PatchSet, split: str, folder: Path) -> PatchFiles:
    """Write one split as patch files, in the split's order."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, number in enumerate(patches.where(split)):
        np.save(folder / f"{name:05d}-image.npy", patches.images[number])
        np.save(folder / f"{name:05d}-mask.npy", patches.masks[number])
    return PatchFiles(folder, patches.mean, patches.std)


def loader(
    files: PatchFiles, batch_size: int, device: torch.device, order: list[list[int]] | None = None
) -> DataLoader:
    """Return the DataLoader: shuffled batches, or those of ``order``.

    On the CPU, reading in worker processes would take the cores from the network, so there are none.
    """
    on_gpu = device.type == "cuda"
    how = {"batch_sampler": order} if order else {"batch_size": batch_size, "shuffle": True, "drop_last": True}
    return DataLoader(files, num_workers=4 if on_gpu else 0, pin_memory=on_gpu, persistent_workers=on_gpu, **how)


def step(model: nn.Module, optimiser: torch.optim.Optimizer, images: Tensor, masks: Tensor) -> float:
    """Do one step; the loss comes back as a number, for which the host waits."""
    criterion = nn.BCEWithLogitsLoss()
    optimiser.zero_grad()
    heads = models.supervised(model, images)
    loss = sum(criterion(head, masks) for head in heads) / len(heads)
    loss.backward()
    optimiser.step()
    return loss.item()


def steps(model: nn.Module, batches: DataLoader, recipe: Recipe, device: torch.device) -> Iterator[float]:
    """Train without end; yield each step's loss."""
    optimiser = torch.optim.SGD(model.parameters(), recipe.lr, momentum=recipe.momentum)
    model.train()
    while True:
        for images, masks in batches:
            yield step(model, optimiser, images.to(device), masks.to(device))
