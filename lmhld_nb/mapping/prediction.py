"""Prediction: a network over an image of any size, in overlapping windows blended smoothly, row after row.

Three things happen at once, joined by queues of bounded length: a thread reads and normalises ahead, threads of their
own run the network, and whoever asks for the rows blends and writes. On the CPU each processor thread computes a batch
of its own: windows are small, and operations that share one batch wait for each other (``benchmarks/mapping.py``).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lmhld_nb import processes, scenes
from lmhld_nb.config import UserError
from lmhld_nb.patches.patch_sets import mean_and_std
from lmhld_nb.scenes.rasters import Window
from lmhld_nb.scenes.scene import Image
from lmhld_nb.training import engine
from lmhld_nb.training.specs import Recipe

NO_PROBABILITY = -1.0
LARGEST = 1e9  # a larger number in a float image stands for something else
CHUNK_ROWS = 512  # read at once: as tall as the usual GeoTIFF tile
CHUNK_BYTES = 400e6
CPU_PIXELS = (
    2**20
)  # of a batch, shared by the channels of a network's first level: what a processor's caches like
GPU_PIXELS = 2**22

Statistics = tuple[np.ndarray, np.ndarray]
Rows = Generator[tuple[Window, np.ndarray], None, None]


@dataclass(frozen=True)
class Network:
    """A network as it is put to work: in evaluation mode, on ``place``, in ``precision`` (``fp32`` or ``bf16``)."""

    model: nn.Module
    place: torch.device
    precision: str = "fp32"


@dataclass
class _Batch:
    """Windows on their way: images (N, bands, size, size) at (band of rows, first column), and what was read."""

    images: Tensor
    places: list[tuple[int, int]]
    valid: list[np.ndarray]  # of each band of rows that begins in this batch, the rows that end with it


def scene_statistics(image: Image, bands: tuple[str, ...], windows: int = 64) -> Statistics:
    """Return mean and standard deviation (bands,) of an image's valid pixels.

    Up to 2048 pixels a side, all pixels count; beyond, every 4th in both directions of up to ``windows`` evenly spread
    squares of 512.

    Raises:
        UserError: every pixel is no data, or a value or a statistic is out of bounds.
    """
    height, width = image.shape
    large = max(height, width) > 2048
    step = 4 if large else 1
    rows, cols = _spread(height, width, windows) if large else (list(range(0, height, 512)), [0])
    count, sums, squares = 0, np.zeros(len(bands)), np.zeros(len(bands))
    for row in rows:
        for col in cols:
            across = min(512, width - col) if large else width
            window = Window(row, col, min(512, height - row), across)
            values = checked(image, window, bands)[:, ::step, ::step]
            pixels = values[:, image.valid(values)].astype(np.float64)
            count += pixels.shape[1]
            sums += pixels.sum(axis=1)
            squares += (pixels**2).sum(axis=1)
    if count == 0 and len(rows) * len(cols) < math.ceil(height / 512) * math.ceil(width / 512) and large:
        return scene_statistics(image, bands, height * width)  # data may lie between the squares looked at
    if count == 0:
        raise UserError(
            f"{image.scene.image}: every pixel is no data; check the file and its no-data value (`--nodata`)"
        )
    mean, std = (np.asarray(values, np.float32) for values in mean_and_std(sums, squares, count))
    if not (np.isfinite(mean).all() and np.isfinite(std).all()):
        raise UserError(
            f"{image.scene.image}: its mean or deviation is not finite; check its values and give `--nodata`"
        )
    return mean, std


def _spread(height: int, width: int, windows: int) -> tuple[list[int], list[int]]:
    """Return first rows and columns of at most ``windows`` squares of 512, spread evenly over a large image."""
    high, wide = math.ceil(height / 512), math.ceil(width / 512)
    down = min(high, windows, max(1, math.isqrt(max(1, windows * high // wide))))
    across = min(wide, max(1, windows // down))
    picked = (
        np.unique(np.linspace(0, n - 1, k).round().astype(int)) * 512
        for n, k in ((high, down), (wide, across))
    )
    rows, cols = (found.tolist() for found in picked)
    return rows, cols


def checked(image: Image, window: Window, bands: tuple[str, ...]) -> np.ndarray:
    """Read a window (bands, height, width) and refuse numbers that no sensor gives.

    Raises:
        UserError: as `Image.read`, or a valid value is beyond ±1e9.
    """
    values = image.read(window, bands)
    if values.dtype.kind == "f":
        huge = (np.abs(values) > LARGEST) & image.valid(values)
        if huge.any():
            value = float(values[huge][0])
            raise UserError(
                f"{image.scene.image}: {int(huge.sum())} values like {value:.4g} near row {window.row}, column "
                f"{window.col}; they probably mean no data: give it, e.g. --nodata {value:.9g}"
            )
    return values


def predicted_rows(
    image: Image,
    bands: tuple[str, ...],
    statistics: Statistics,
    network: Network,
    size: int,
    overlap: float = 0.5,
    batch_size: int | None = None,
    seen: Callable[[Window, np.ndarray], None] | None = None,
) -> Rows:
    """Yield an image's probabilities band of rows after band of rows; memory depends on its width only.

    Windows that hold no data at all are not predicted. Pixels without data, and what lies beyond the edge, are shown
    to the network as the mean. Close the generator (`contextlib.closing`) where it is not read to its end.

    Args:
        image: read in a thread of its own while the generator is active.
        bands: to be read, in the network's order.
        statistics: mean and standard deviation (bands,) that the values are normalised with.
        network: the network.
        size: side of a window in pixels, a multiple of 16.
        overlap: share of a window that its neighbour covers too, 0 to 0.9.
        batch_size: windows predicted at once; None for what suits the device.
        seen: called (in the reading thread) with every window read, top to bottom, and its values.

    Yields:
        Window and probabilities (rows, cols) float32, −1 for no data; together they cover the image once.

    Raises:
        UserError: the image cannot be read, the network gives NaN, or the device's memory is full.
    """
    step = max(16, int(size * (1 - overlap)))
    rows, cols = starts(image.shape[0], size, step), starts(image.shape[1], size, step)
    at_once = batch_size or batch_of(network, size)
    batches = _batches(image, bands, statistics, rows, cols, size, at_once, seen)
    with (
        _workers(network.place) as workers,
        closing(processes.ahead(batches, 2 * workers)) as read,
        closing(_predicted(read, network, workers, size)) as found,
        closing(_blended(found, image, rows, cols, size)) as blended,
    ):
        yield from blended


def blend_ramp(size: int) -> np.ndarray:
    """Return the weight (size,) of a window's predictions along one side: a raised cosine, never 0."""
    return (np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2 + 1e-3).astype(np.float32)


def blend_weight(size: int) -> np.ndarray:
    """Return the (size, size) weight of a window's predictions, highest in the middle."""
    return np.outer(blend_ramp(size), blend_ramp(size))


def starts(length: int, size: int, step: int) -> list[int]:
    """Return first pixels of windows that cover ``length``; the last one is moved back to end at the edge."""
    if length <= size:
        return [0]
    return [*range(0, length - size, step), length - size]


def batch_of(network: Network, size: int) -> int:
    """Return how many windows of ``size`` pixels suit the device at once."""
    width = next(int(value.shape[0]) for value in network.model.parameters() if value.dim() == 4)
    pixels = CPU_PIXELS // width
    if network.place.type == "cuda":
        free, _ = torch.cuda.mem_get_info(network.place)
        # About 64 float maps of the first level at the widest place of the networks here; two batches are on the way.
        pixels = min(GPU_PIXELS, free // (2 * 64 * 4 * width))
    return int(max(1, pixels // size**2))


def _batches(
    image: Image, bands: tuple[str, ...], statistics: Statistics, rows: list[int], cols: list[int], size: int,
    at_once: int, seen: Callable[[Window, np.ndarray], None] | None,
) -> Generator[_Batch, None, None]:  # fmt: skip
    """Yield the windows in order, normalised; every row of the image is read once."""
    height, width = image.shape
    high = min(size, height)
    strip = np.zeros(
        (size, max(width, size), len(bands)), np.float32
    )  # channels last, as the network wants them
    valid = np.zeros((high, width), bool)
    fill = _reader(image, bands, statistics, seen)
    held, count = 0, 0  # rows in the strip, windows in the batch
    windows = np.empty((at_once, size, size, len(bands)), np.float32)
    batch = _Batch(torch.empty(0), [], [])
    for number, row in enumerate(rows):
        fill(strip[held:high, :width], valid[held:])
        following = rows[number + 1] if number + 1 < len(rows) else height
        done = following - row
        batch.valid.append(valid[:done].copy())
        everywhere = bool(valid.all())
        for col in cols:
            if not everywhere and not valid[:, col : col + size].any():
                continue
            windows[count] = strip[:, col : col + size]
            batch.places.append((number, col))
            count += 1
            if count == at_once:
                batch.images = torch.from_numpy(windows).permute(0, 3, 1, 2)
                yield batch
                windows, batch, count = np.empty_like(windows), _Batch(torch.empty(0), [], []), 0
        held = high - done
        strip[:held], valid[:held] = strip[done:high], valid[done:]
    batch.images = torch.from_numpy(windows[:count]).permute(0, 3, 1, 2)
    yield batch


def _reader(
    image: Image,
    bands: tuple[str, ...],
    statistics: Statistics,
    seen: Callable[[Window, np.ndarray], None] | None,
) -> Callable[[np.ndarray, np.ndarray], None]:
    """Return a function that fills (rows, cols, bands) float32 and (rows, cols) bool with the image's next rows."""
    width = image.shape[1]
    mean, std = statistics
    row_bytes = width * len(bands) * image.dtype.itemsize
    chunks = scenes.strips(image.shape, int(min(CHUNK_ROWS, max(16, CHUNK_BYTES // row_bytes))))
    values, good, used = np.empty((len(bands), 0, width)), np.empty((0, width), bool), 0

    def fill(strip: np.ndarray, valid: np.ndarray) -> None:
        nonlocal values, good, used
        filled = 0
        while filled < len(valid):
            if used == len(good):
                window = next(chunks)
                values, used = checked(image, window, bands), 0
                good = image.valid(values)
                if seen is not None:
                    seen(window, values)
            count = min(len(valid) - filled, len(good) - used)
            here, there = slice(filled, filled + count), slice(used, used + count)
            for band in range(len(bands)):
                scaled = values[band, there].astype(np.float32)
                scaled -= mean[band]
                scaled /= std[band]
                strip[here, :, band] = scaled
            valid[here] = good[there]
            if not good[there].all():
                strip[here][~good[there]] = 0  # the mean: what the network takes least notice of
            filled, used = filled + count, used + count

    return fill


@contextmanager
def _workers(place: torch.device) -> Iterator[int]:
    """Yield how many batches are computed at once, and set the threads that share one."""
    if place.type == "cuda":
        yield 2  # one is computed while the other travels
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def _predicted(
    batches: Iterator[_Batch], network: Network, workers: int, size: int
) -> Generator[tuple[_Batch, np.ndarray], None, None]:
    """Yield batches in order, with their windows' weighted probabilities (N, size, size)."""
    weight = torch.from_numpy(blend_weight(size)).to(network.place)
    recipe = Recipe(precision="bf16" if network.precision == "bf16" else "fp32")

    def work(batch: _Batch) -> np.ndarray:
        with torch.inference_mode(), engine.autocast(network.place, recipe):
            images = batch.images
            if network.place.type == "cuda":
                images = images.pin_memory().to(network.place, non_blocking=True)
            images = images.contiguous(memory_format=torch.channels_last)
            found = _forward(network.model, images).mul_(weight).cpu().numpy() if len(images) else None
        batch.images = torch.empty(0)
        return found if found is not None else np.empty((0, size, size), np.float32)

    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[tuple[_Batch, Future[np.ndarray]]] = deque()
        try:
            for batch in batches:
                waiting.append((batch, pool.submit(work, batch)))
                if len(waiting) > 2 * workers + 2:
                    done, future = waiting.popleft()
                    yield done, future.result()
            while waiting:
                done, future = waiting.popleft()
                yield done, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _forward(model: nn.Module, images: Tensor) -> Tensor:
    """Return probabilities (N, H, W) float32; what does not fit the memory at once is computed in halves."""
    try:
        return torch.sigmoid(model(images)[:, 0].float())
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not engine.out_of_memory(error):
            raise
    # Only here has the failed attempt let go of its memory.
    if len(images) == 1:
        raise UserError(
            f"out of memory with one window of {images.shape[-1]} px; free memory or use `--device cpu`"
        )
    half = len(images) // 2
    return torch.cat([_forward(model, images[:half]), _forward(model, images[half:])])


def _blended(
    parts: Iterator[tuple[_Batch, np.ndarray]], image: Image, rows: list[int], cols: list[int], size: int
) -> Rows:
    """Add up the windows' weighted probabilities and yield the rows that no later window meets."""
    height, width = image.shape
    total = np.zeros((size, max(width, size)), np.float32)
    # Every window that meets a pixel with data was predicted, so the sum of their weights is known beforehand.
    down, across = _summed(rows, size, height), _summed(cols, size, width)
    valid: deque[np.ndarray] = deque()
    current = 0

    def finish() -> tuple[Window, np.ndarray]:
        row, good = rows[current], valid.popleft()
        done = len(good)
        finished = total[:done, :width] / down[row : row + done, None]
        finished /= across
        if not np.isfinite(finished[good]).all() if not good.all() else not np.isfinite(finished).all():
            raise UserError(
                f"{image.scene.image}: the network gives NaN near row {row}; its weights are damaged, train it again"
            )
        np.minimum(finished, 1, out=finished)  # rounding
        finished[~good] = NO_PROBABILITY
        total[: size - done] = total[done:].copy()
        total[size - done :] = 0
        return Window(row, 0, done, width), finished

    for batch, found in parts:
        valid.extend(batch.valid)
        for (number, col), patch in zip(batch.places, found, strict=True):
            while current < number:
                yield finish()
                current += 1
            total[:, col : col + size] += patch
    while current < len(rows):
        yield finish()
        current += 1


def _summed(firsts: list[int], size: int, length: int) -> np.ndarray:
    """Return the sum (length,) of the windows' ramps along one side."""
    weights = np.zeros(max(length, size), np.float32)
    for first in firsts:
        weights[first : first + size] += blend_ramp(size)
    return weights[:length]
