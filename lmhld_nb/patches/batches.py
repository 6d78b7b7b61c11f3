"""Batches: patches of one split, drawn by index, normalised and augmented on the device."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lmhld_nb.patches.patch_sets import PatchSet
from lmhld_nb.processes import ahead

RESIDENT_SHARE = 0.5  # share of a GPU's free memory that a split may take; the rest is for the network


@dataclass(frozen=True)
class Group:
    """Patches of one size."""

    patch_sets: tuple[PatchSet, ...]
    where: np.ndarray  # (n, 2) int, for each patch the position of its PatchSet and its number there
    areas: np.ndarray  # (n,)
    mean: Tensor  # (n, bands, 1, 1) float32 on the device; normalises each patch, with std
    std: Tensor
    resident: tuple[Tensor, Tensor] | None  # images and masks on the GPU; None if read batch by batch

    def read(self, numbers: np.ndarray) -> tuple[Tensor, Tensor]:
        """Read patches from disk: images (n, bands, size, size) as stored and masks (n, size, size) uint8."""
        return _read(self.patch_sets, self.where[numbers])


@dataclass(frozen=True)
class Batches:
    """Patches of one split. Different sizes (several areas) form groups; a batch has patches of one size."""

    groups: tuple[Group, ...]
    device: torch.device

    def __len__(self) -> int:
        return sum(len(group.where) for group in self.groups)

    def order(self, batch_size: int, seed: Sequence[int] | None) -> list[tuple[int, np.ndarray]]:
        """Return batches as (group, patch numbers); shuffled by ``seed``, in file order without one."""
        random = np.random.default_rng(seed) if seed is not None else None
        batches: list[tuple[int, np.ndarray]] = []
        for number, group in enumerate(self.groups):
            n = len(group.where)
            patches = random.permutation(n) if random else np.arange(n)
            batches += [(number, patches[start : start + batch_size]) for start in range(0, n, batch_size)]
        if random and len(self.groups) > 1:
            batches = [batches[index] for index in random.permutation(len(batches))]
        return batches

    def load(self, order: Iterable[tuple[int, np.ndarray]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images (n, bands, size, size) float32, channels last, and masks (n, 1, size, size) 0/1.

        Resident patches are selected on the device; others are read by a thread, one batch ahead.
        """
        order = list(order)
        if not order:
            return
        flat = torch.from_numpy(np.concatenate([numbers for _, numbers in order])).to(self.device)
        picks = flat.split([len(numbers) for _, numbers in order])
        groups = [self.groups[number] for number, _ in order]
        unread = (group.read(numbers) for group, (_, numbers) in zip(groups, order, strict=True) if not group.resident)
        with closing(ahead(unread, 1)) as read:
            for group, pick in zip(groups, picks, strict=True):
                if group.resident is not None:
                    images, masks = (tensor.index_select(0, pick) for tensor in group.resident)
                else:
                    pinned = (tensor.pin_memory() if self.device.type == "cuda" else tensor for tensor in next(read))
                    images, masks = (tensor.to(self.device, non_blocking=True) for tensor in pinned)
                yield _scaled(images, group.mean[pick], group.std[pick]), masks[:, None].float()


def load_split(
    patch_sets: Sequence[PatchSet],
    split: str,
    device: torch.device,
    normalise: str = "area",
    only: Sequence[np.ndarray] | None = None,
) -> Batches:
    """Prepare one split of several PatchSets for drawing; ``only`` are patch numbers in each (None: all).

    ``normalise`` chooses the statistics of z-scores: those of the ``area``'s training patches or of the ``scene``.
    Patches stay on a GPU if they take at most half of its free memory.
    """
    chosen = list(zip(patch_sets, only or [patches.where(split) for patches in patch_sets], strict=True))
    first = np.zeros((1, 2), int)
    total = sum(len(numbers) * sum(t.nbytes for t in _read((patches,), first)) for patches, numbers in chosen)
    resident = total <= RESIDENT_SHARE * free_memory(device)
    groups = []
    for size in sorted({patches.spec.size for patches in patch_sets}):
        of_size = [(patches, numbers) for patches, numbers in chosen if patches.spec.size == size]
        own = tuple(patches for patches, _ in of_size)
        where = np.concatenate([np.stack([np.full_like(n, k), n], axis=1) for k, (_, n) in enumerate(of_size)])
        areas = np.concatenate([np.full(len(numbers), patches.spec.area) for patches, numbers in of_size])
        scales = zip(*(_statistics(patches, numbers, normalise) for patches, numbers in of_size), strict=True)
        mean, std = (torch.from_numpy(np.concatenate(values)).to(device) for values in scales)
        group = Group(own, where, areas, mean, std, None)
        if resident:
            images, masks = group.read(np.arange(len(where)))
            group = replace(group, resident=(images.to(device), masks.to(device)))
        groups.append(group)
    return Batches(tuple(groups), device)


def free_memory(device: torch.device) -> int:
    """Return the free memory of a GPU in bytes; 0 for the CPU, which reads from mapped files as fast as from a copy."""
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else 0


def _statistics(patches: PatchSet, numbers: np.ndarray, normalise: str) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and std (n, bands, 1, 1) float32 for the normalisation of patches (`load_split`)."""
    rows = [(patches.mean, patches.std)] * len(numbers)
    if normalise == "scene":
        rows = [patches.scene_statistics[name] for name in patches.index["scene"].to_numpy()[numbers]]
    values = np.array(rows, np.float32).reshape(len(numbers), 2, len(patches.spec.bands))  # also without patches
    mean, std = np.moveaxis(values, 1, 0)[..., None, None]
    return mean, std


def normalised(patches: PatchSet, numbers: np.ndarray, normalise: str) -> Tensor:
    """Return patches as (n, bands, size, size) float32, z-scored (`load_split`)."""
    images, _ = _read((patches,), np.stack([np.zeros_like(numbers), numbers], axis=1))
    mean, std = _statistics(patches, numbers, normalise)
    return _scaled(images, torch.from_numpy(mean), torch.from_numpy(std))


def augment(images: Tensor, masks: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Rotate and flip a whole batch (patches are square)."""
    turns, flip = int(random.integers(4)), bool(random.integers(2))
    images, masks = (torch.rot90(tensor, turns, (2, 3)) for tensor in (images, masks))
    if flip:
        images, masks = images.flip(3), masks.flip(3)
    return images.contiguous(memory_format=torch.channels_last), masks


def _read(patch_sets: Sequence[PatchSet], where: np.ndarray) -> tuple[Tensor, Tensor]:
    stored = np.result_type(*(patches.images.dtype for patches in patch_sets))
    images = np.empty((len(where), *patch_sets[0].images.shape[1:]), stored)
    masks = np.empty((len(where), *patch_sets[0].masks.shape[1:]), np.uint8)
    for row, (index, number) in enumerate(where):
        images[row], masks[row] = patch_sets[index].images[number], patch_sets[index].masks[number]
    if images.dtype == np.uint16:
        # Torch has few uint16 operations: the bits are transferred as int16 and reinterpreted when scaled.
        images = images.view(np.int16)
    elif images.dtype == np.int16:
        images = images.astype(np.float32)
    return torch.from_numpy(images), torch.from_numpy(masks)


def _scaled(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    if images.dtype == torch.int16:
        images = images.view(torch.uint16)
    scaled = images.to(torch.float32, memory_format=torch.channels_last)
    return scaled.sub_(mean).div_(std)
