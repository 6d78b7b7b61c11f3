"""Prediction: a network over an image of any size, in overlapping windows blended smoothly, row after row.

Three things happen at once, joined by queues of bounded length: a thread reads and normalises ahead, threads of their
own run the network, and whoever iterates over the rows blends and writes. On the CPU each processor thread computes a
batch of its own: windows are small, and operations that share one batch wait for each other
(``benchmarks/mapping.py``).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

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
CPU_PIXELS = 2**20  # of a batch, shared by the channels of a network's first level: what a processor's caches like
GPU_PIXELS = 2**22
SQUARE = 512  # px, of the samples that a large scene's statistics are taken from

Statistics = tuple[np.ndarray, np.ndarray]
Rows = Generator[tuple[Window, np.ndarray], None, None]
Observer = Callable[[Window, np.ndarray], None]


@dataclass(frozen=True)
class Network:
    """A network in evaluation mode, on ``device``, that computes in ``precision`` (``fp32`` or ``bf16``)."""

    model: nn.Module
    device: torch.device
    precision: str = "fp32"


@dataclass
class _Batch:
    """Windows on their way through the threads.

    Attributes:
        images: (N, bands, size, size).
        corners: of each window: its band of rows, counted from 0, and its first column.
        valid: of each band of rows that begins in this batch, which pixels hold data in the rows that end with it.
    """

    images: Tensor = field(default_factory=lambda: torch.empty(0))
    corners: list[tuple[int, int]] = field(default_factory=list)
    valid: list[np.ndarray] = field(default_factory=list)


def scene_statistics(image: Image, bands: tuple[str, ...], squares: int = 64) -> Statistics:
    """Return mean and standard deviation (bands,) of an image's valid pixels.

    Up to 2048 pixels a side, all pixels count; beyond, every 4th in both directions of up to ``squares`` evenly spread
    squares of 512.

    Raises:
        UserError: every pixel is no data, or a value or a statistic is out of bounds.
    """
    height, width = image.shape
    is_large = max(height, width) > 2048
    step = 4 if is_large else 1
    rows, cols = _spread(height, width, squares) if is_large else (list(range(0, height, SQUARE)), [0])
    count, sums, sums_of_squares = 0, np.zeros(len(bands)), np.zeros(len(bands))
    for row in rows:
        for col in cols:
            across = min(SQUARE, width - col) if is_large else width
            window = Window(row, col, min(SQUARE, height - row), across)
            values = read_checked(image, window, bands)[:, ::step, ::step]
            pixels = values[:, image.valid(values)].astype(np.float64)
            count += pixels.shape[1]
            sums += pixels.sum(axis=1)
            sums_of_squares += (pixels**2).sum(axis=1)
    if count == 0 and is_large and squares < height * width:
        return scene_statistics(image, bands, height * width)  # data may lie between the sampled squares
    path = image.scene.image
    if count == 0:
        raise UserError(f"{path}: every pixel is no data; check the file and its no-data value (`--nodata`)")
    mean, std = (np.asarray(values, np.float32) for values in mean_and_std(sums, sums_of_squares, count))
    if not (np.isfinite(mean).all() and np.isfinite(std).all()):
        raise UserError(f"{path}: its mean or deviation is not finite; check its values and give `--nodata`")
    return mean, std


def _spread(height: int, width: int, squares: int) -> tuple[list[int], list[int]]:
    """Return first rows and columns of at most ``squares`` squares, spread evenly over a large image."""
    high, wide = math.ceil(height / SQUARE), math.ceil(width / SQUARE)
    down = min(high, squares, max(1, math.isqrt(max(1, squares * high // wide))))
    across = min(wide, max(1, squares // down))
    rows, cols = (
        (np.unique(np.linspace(0, total - 1, count).round().astype(int)) * SQUARE).tolist()
        for total, count in ((high, down), (wide, across))
    )
    return rows, cols


def read_checked(image: Image, window: Window, bands: tuple[str, ...]) -> np.ndarray:
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
    observe: Observer | None = None,
) -> Rows:
    """Yield an image's probabilities band of rows after band of rows; memory depends on its width only.

    Windows that hold no data at all are not predicted. Pixels without data, and what lies beyond the edge, are given to
    the network as the mean. Close the generator (`contextlib.closing`) where it is not read to its end.

    Args:
        image: read in a thread of its own while the generator is active.
        bands: to be read, in the network's order.
        statistics: mean and standard deviation (bands,) that the values are normalised with.
        network: the network.
        size: side of a window in pixels, a multiple of 16.
        overlap: share of a window that its neighbour covers too, 0 to 0.9.
        batch_size: windows predicted at once; None for what suits the device.
        observe: called (in the reading thread) with every window read, top to bottom, and its values.

    Yields:
        Window and probabilities (rows, cols) float32, −1 for no data; together they cover the image once.

    Raises:
        UserError: the image cannot be read, the network gives NaN, or the device's memory is full.
    """
    step = max(16, int(size * (1 - overlap)))
    rows, cols = starts(image.shape[0], size, step), starts(image.shape[1], size, step)
    batch_size = batch_size or suitable_batch(network, size)
    batches = _batches(image, bands, statistics, rows, cols, size, batch_size, observe)
    with (
        _workers(network.device) as workers,
        closing(processes.ahead(batches, 2 * workers)) as batches_ahead,
        closing(_predicted(batches_ahead, network, workers, size)) as predictions,
        closing(_blended(predictions, image, rows, cols, size)) as blended,
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


def suitable_batch(network: Network, size: int) -> int:
    """Return how many windows of ``size`` pixels suit the device at once."""
    width = next(int(value.shape[0]) for value in network.model.parameters() if value.dim() == 4)
    pixels = CPU_PIXELS // width
    if network.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(network.device)
        # About 64 float maps of the first level at the widest point of the networks here; two batches are on the way.
        pixels = min(GPU_PIXELS, free // (2 * 64 * 4 * width))
    return int(max(1, pixels // size**2))


def _batches(
    image: Image, bands: tuple[str, ...], statistics: Statistics, rows: list[int], cols: list[int], size: int,
    batch_size: int, observe: Observer | None,
) -> Generator[_Batch, None, None]:  # fmt: skip
    """Yield the windows in order, normalised; every row of the image is read once."""
    height, width = image.shape
    high = min(size, height)
    # Channels last, as the network computes.
    strip = np.zeros((size, max(width, size), len(bands)), np.float32)
    valid = np.zeros((high, width), bool)
    fill = _reader(image, bands, statistics, observe)
    held, count = 0, 0  # rows in the strip, windows in the batch
    windows = np.empty((batch_size, size, size, len(bands)), np.float32)
    batch = _Batch()
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
            batch.corners.append((number, col))
            count += 1
            if count == batch_size:
                batch.images = torch.from_numpy(windows).permute(0, 3, 1, 2)
                yield batch
                windows, batch, count = np.empty_like(windows), _Batch(), 0
        held = high - done
        strip[:held], valid[:held] = strip[done:high], valid[done:]
    batch.images = torch.from_numpy(windows[:count]).permute(0, 3, 1, 2)
    yield batch


def _reader(
    image: Image, bands: tuple[str, ...], statistics: Statistics, observe: Observer | None
) -> Callable[[np.ndarray, np.ndarray], None]:
    """Return a function that fills (rows, cols, bands) float32 and (rows, cols) bool with the image's next rows."""
    width = image.shape[1]
    mean, std = statistics
    row_bytes = width * len(bands) * image.dtype.itemsize
    chunks = scenes.strips(image.shape, int(min(CHUNK_ROWS, max(16, CHUNK_BYTES // row_bytes))))
    values, good, taken = np.empty((len(bands), 0, width)), np.empty((0, width), bool), 0

    def fill(strip: np.ndarray, valid: np.ndarray) -> None:
        nonlocal values, good, taken
        filled = 0
        while filled < len(valid):
            if taken == len(good):
                window = next(chunks)
                values, taken = read_checked(image, window, bands), 0
                good = image.valid(values)
                if observe is not None:
                    observe(window, values)
            count = min(len(valid) - filled, len(good) - taken)
            here, there = slice(filled, filled + count), slice(taken, taken + count)
            for band in range(len(bands)):
                scaled = values[band, there].astype(np.float32)
                scaled -= mean[band]
                scaled /= std[band]
                strip[here, :, band] = scaled
            valid[here] = good[there]
            if not good[there].all():
                strip[here][~good[there]] = 0  # the mean: what the network takes least notice of
            filled, taken = filled + count, taken + count

    return fill


@contextmanager
def _workers(device: torch.device) -> Iterator[int]:
    """Yield how many batches are computed at once, and set the threads that share one."""
    if device.type == "cuda":
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
    weight = torch.from_numpy(blend_weight(size)).to(network.device)
    recipe = Recipe(precision="bf16" if network.precision == "bf16" else "fp32")

    def work(batch: _Batch) -> np.ndarray:
        with torch.inference_mode(), engine.autocast(network.device, recipe):
            images = batch.images
            if network.device.type == "cuda":
                images = images.pin_memory().to(network.device, non_blocking=True)
            images = images.contiguous(memory_format=torch.channels_last)
            batch.images = torch.empty(0)  # memory
            if not len(images):  # bands of rows without data
                return np.empty((0, size, size), np.float32)
            return _forward(network.model, images).mul_(weight).cpu().numpy()

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
        raise UserError(f"out of memory with one window of {images.shape[-1]} px; free memory or use `--device cpu`")
    half = len(images) // 2
    return torch.cat([_forward(model, images[:half]), _forward(model, images[half:])])


def _blended(
    predictions: Iterator[tuple[_Batch, np.ndarray]],
    image: Image,
    rows: list[int],
    cols: list[int],
    size: int,
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
        if not np.isfinite(finished).all(where=good):
            raise UserError(
                f"{image.scene.image}: the network gives NaN near row {row}; its weights are damaged, train it again"
            )
        np.minimum(finished, 1, out=finished)  # rounding
        finished[~good] = NO_PROBABILITY
        total[: size - done] = total[done:].copy()
        total[size - done :] = 0
        return Window(row, 0, done, width), finished

    for batch, patches in predictions:
        valid.extend(batch.valid)
        for (number, col), patch in zip(batch.corners, patches, strict=True):
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
