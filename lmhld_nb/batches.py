"""Batches: patches of one split, normalised, resident on the device and drawn by index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lmhld_nb.patches import PatchSet


@dataclass
class Batches:
    """Patches of one split, normalised and resident on the device, drawn by index.

    Patches of different sizes (several areas) form groups; a batch holds one size.
    """

    images: list[Tensor]  # per size: (n, bands, size, size) float, channels last
    masks: list[Tensor]  # per size: (n, 1, size, size) float 0/1
    areas: list[np.ndarray]  # per size: (n,) area of each patch

    def __len__(self) -> int:
        return sum(len(images) for images in self.images)

    def order(self, batch_size: int, seed: Sequence[int] | None) -> list[tuple[int, Tensor]]:
        """Return batches as (group, patch numbers); shuffled by ``seed``, in file order without one."""
        random = np.random.default_rng(seed) if seed is not None else None
        batches: list[tuple[int, Tensor]] = []
        for group, images in enumerate(self.images):
            numbers = random.permutation(len(images)) if random else np.arange(len(images))
            batches += [
                (group, torch.from_numpy(part))
                for part in np.array_split(numbers, -(-len(numbers) // batch_size))
            ]
        if random and len(self.images) > 1:
            batches = [batches[place] for place in random.permutation(len(batches))]
        return batches


def load_split(
    patch_sets: Sequence[PatchSet], split: str, device: torch.device, normalise: str = "area"
) -> Batches:
    """Load one split of several PatchSets, z-scored band by band.

    Args:
        patch_sets: of one or more areas.
        split: ``train``, ``val`` or ``test``.
        device: where the batches shall lie.
        normalise: ``area`` with the statistics of each area's training patches, ``scene`` with those of the scene
            each patch is from.
    """
    by_size: dict[int, list[tuple[Tensor, Tensor, np.ndarray]]] = {}
    for patches in patch_sets:
        numbers = patches.where(split)
        images = torch.from_numpy(normalised(patches, numbers, normalise))
        masks = torch.from_numpy(patches.masks[numbers].astype(np.float32))[:, None]
        areas = np.full(len(numbers), patches.spec.area)
        by_size.setdefault(patches.spec.size, []).append((images, masks, areas))
    groups = [by_size[size] for size in sorted(by_size)]
    return Batches(
        [
            torch.cat([images for images, _, _ in group]).to(device, memory_format=torch.channels_last)
            for group in groups
        ],
        [torch.cat([masks for _, masks, _ in group]).to(device) for group in groups],
        [np.concatenate([areas for _, _, areas in group]) for group in groups],
    )


def normalised(patches: PatchSet, numbers: np.ndarray, normalise: str) -> np.ndarray:
    """Return patches as (n, bands, size, size) float32, z-scored as `load_split` says."""
    if normalise == "area":
        mean, std = (np.asarray(values)[None] for values in (patches.mean, patches.std))
    else:
        names = patches.index["scene"].to_numpy()[numbers]
        mean, std = (np.array([patches.scene_statistics[name][k] for name in names]) for k in (0, 1))
    shape = (-1, len(patches.spec.bands), 1, 1)
    scaled = patches.images[numbers].astype(np.float32) - mean.reshape(shape).astype(np.float32)
    scaled /= std.reshape(shape).astype(np.float32)
    return scaled


def augment(images: Tensor, masks: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Turn and flip a batch as one (patches are square)."""
    turns, flip = int(random.integers(4)), bool(random.integers(2))
    both = [torch.rot90(tensor, turns, (2, 3)) for tensor in (images, masks)]
    both = [tensor.flip(3) for tensor in both] if flip else both
    return both[0].contiguous(memory_format=torch.channels_last), both[1]
