"""Prediction: a network applied to an image of any size, in overlapping windows, blended smoothly row by row.

One thread reads and normalises ahead, others run the network, and the consumer of the rows blends and writes.
"""

import itertools
import math
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lmhld_nb import processes, scenes
from lmhld_nb.config import UserError
from lmhld_nb.mapping import files, inputs
from lmhld_nb.patches.patch_sets import mean_and_std
from lmhld_nb.runs import Run
from lmhld_nb.scenes.rasters import Window
from lmhld_nb.scenes.scene import Image
from lmhld_nb.training import engine, hardware, weights
from lmhld_nb.training.specs import Recipe

NO_PROBABILITY = -1.0
LARGEST = 1e9  # a larger number in a float image is not a measurement
CHUNK_ROWS = 512  # read at once: as tall as the usual GeoTIFF tile
CHUNK_BYTES = 400e6
CPU_PIXELS, GPU_PIXELS = 2**20, 2**25  # per batch, times the channels of a network's first level
SQUARE = 512  # px, of the samples from which a large scene's statistics are computed

Statistics = tuple[np.ndarray, np.ndarray]
Rows = Generator[tuple[Window, np.ndarray], None, None]
_Parts = list[tuple[list[int], Future[np.ndarray]]]  # first columns of windows, and their future probabilities


@dataclass(frozen=True)
class Network:
    """A network in evaluation mode on ``device``, computing in ``precision`` (``fp32`` or ``bf16``)."""

    model: nn.Module
    device: torch.device
    precision: str = "fp32"


def scene_statistics(image: Image, bands: tuple[str, ...], squares: int = 64) -> Statistics:
    """Return mean and standard deviation (bands,) of an image's valid pixels; UserError if there are none.

    Up to 2048 pixels per side, all pixels count; beyond that, every 4th in both directions in up to ``squares`` evenly
    spaced squares of 512 pixels.
    """
    height, width = image.shape
    is_large = max(height, width) > 2048
    high, wide = math.ceil(height / SQUARE), math.ceil(width / SQUARE) if is_large else 1
    down = min(high, squares, max(1, math.isqrt(max(1, squares * high // wide)))) if is_large else high
    step, side, across = (4, SQUARE, min(wide, max(1, squares // down))) if is_large else (1, width, 1)
    pairs = ((high, down), (wide, across))
    rows, cols = ((SQUARE * np.unique(np.linspace(0, n - 1, k).round().astype(int))).tolist() for n, k in pairs)
    count, sums, sums_of_squares = 0, np.zeros(len(bands)), np.zeros(len(bands))
    for row, col in itertools.product(rows, cols):
        window = Window(row, col, min(SQUARE, height - row), min(side, width - col))
        values = read_checked(image, window, bands)[:, ::step, ::step]
        pixels = values[:, image.valid(values)].astype(np.float64)
        count += pixels.shape[1]
        sums += pixels.sum(axis=1)
        sums_of_squares += (pixels**2).sum(axis=1)
    if count == 0:
        if is_large and squares < height * width:
            return scene_statistics(image, bands, height * width)  # data may lie between the sampled squares
        mend = "check the file and its no-data value (`--nodata`)"
        raise UserError(f"{image.scene.image}: every pixel is no data; {mend}")
    mean, std = (np.asarray(values, np.float32) for values in mean_and_std(sums, sums_of_squares, count))
    return mean, std


def read_checked(image: Image, window: Window, bands: tuple[str, ...]) -> np.ndarray:
    """Read a window (bands, height, width); UserError for values that no sensor records (beyond ±1e9)."""
    values = image.read(window, bands)
    if values.dtype.kind == "f":
        huge = values[(np.abs(values) > LARGEST) & image.valid(values)]
        if huge.size:
            where = f"{huge.size} values like {float(huge[0]):.4g} near row {window.row}, column {window.col}"
            mend = f"they probably mean no data: give it, e.g. --nodata {float(huge[0]):.9g}"
            raise UserError(f"{image.scene.image}: {where}; {mend}")
    return values


def whole(image: Image, bands: tuple[str, ...], network: Network, size: int) -> np.ndarray:
    """Return the probabilities (rows, cols) of a whole image (`predicted_rows`), normalised by its own statistics."""
    with closing(predicted_rows(image, bands, scene_statistics(image, bands), network, size)) as rows:
        return np.concatenate([values for _, values in rows])


def of_run(run: Run, device: str = "auto") -> Callable[[Image], np.ndarray]:
    """Return what maps images with a finished run's network: probabilities (rows, cols), as `map_scene` writes them."""
    model, card = weights.load(run.weights_file)
    target = torch.device(hardware.choose_device(device))
    model = model.to(target).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network, size = Network(model, target, run.recipe.precision), inputs.window_of(card, run.weights_file)
    return lambda image: files.rounded(whole(image, run.spec.bands, network, size))


def predicted_rows(
    image: Image, bands: tuple[str, ...], statistics: Statistics, network: Network, size: int, overlap: float = 0.5
) -> Rows:
    """Yield one strip of rows after another: window and probabilities (rows, cols) float32, −1 for no data.

    Memory depends on the image's width only. Windows without data are not predicted; pixels without data, or beyond the
    edge, are set to the mean. Close the generator (`contextlib.closing`) if it is not read to the end: it runs threads.
    ``bands`` are in the network's order, ``statistics`` are those for normalisation, ``size`` is the side of windows in
    px (a multiple of 16), ``overlap`` the fraction of a window that its neighbour also covers (0 to 0.9). UserError if
    the image cannot be read, the network returns NaN, or the device runs out of memory.
    """
    step, (height, width) = max(16, int(size * (1 - overlap))), image.shape
    rows, cols = starts(height, size, step), starts(width, size, step)
    batch_size = suitable_batch(network, size)
    total = np.zeros((size, max(width, size)), np.float32)
    # Every window that contains a pixel with data is predicted, so the sum of the weights is known beforehand.
    down, across = _summed(rows, size, height), _summed(cols, size, width)

    def blend(row: int, good: np.ndarray, parts: _Parts) -> tuple[Window, np.ndarray]:
        """Add up a strip's weighted probabilities and return the rows that no later strip touches."""
        for firsts, future in parts:
            for col, patch in zip(firsts, future.result(), strict=True):
                total[:, col : col + size] += patch
        done = len(good)
        finished = total[:done, :width] / down[row : row + done, None] / across
        if not np.isfinite(finished).all(where=good):
            where = f"{image.scene.image}: the network gives NaN near row {row}"
            raise UserError(f"{where}; its weights are damaged, train it again")
        np.minimum(finished, 1, out=finished)  # rounding
        finished[~good] = NO_PROBABILITY
        total[: size - done] = total[done:].copy()
        total[size - done :] = 0
        return Window(row, 0, done, width), finished

    waiting: deque[tuple[int, np.ndarray, _Parts]] = deque()
    with _workers(network.device) as workers, ExitStack() as stack:
        pool = ThreadPoolExecutor(workers)
        stack.callback(pool.shutdown, cancel_futures=True)
        read = stack.enter_context(closing(processes.ahead(_bands(image, bands, statistics, rows, size), 2)))
        for row, strip, valid, good in read:
            meeting = cols if valid.all() else [col for col in cols if valid[:, col : col + size].any()]
            parts = [meeting[first : first + batch_size] for first in range(0, len(meeting), batch_size)]
            waiting.append((row, good, [(part, pool.submit(_weighted, network, strip, part, size)) for part in parts]))
            # Wait for the first while others keep the workers busy; the number limits what is in memory.
            while len(waiting) > 2 * workers or sum(len(later[2]) for later in [*waiting][1:]) >= 2 * workers:
                yield blend(*waiting.popleft())
        while waiting:
            yield blend(*waiting.popleft())


def blend_ramp(size: int) -> np.ndarray:
    """Return the weight (size,) of a window's predictions along one side: a raised cosine, never 0."""
    return (np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2 + 1e-3).astype(np.float32)


def starts(length: int, size: int, step: int) -> list[int]:
    """Return first pixels of windows that cover ``length``; the last one is moved back to end at the edge."""
    if length <= size:
        return [0]
    return [*range(0, length - size, step), length - size]


def suitable_batch(network: Network, size: int) -> int:
    """Return how many windows of ``size`` pixels the device should take at once; `_forward` halves larger ones."""
    width = next(int(value.shape[0]) for value in network.model.parameters() if value.dim() == 4)
    return max(1, (GPU_PIXELS if network.device.type == "cuda" else CPU_PIXELS) // width // size**2)


def _bands(
    image: Image, bands: tuple[str, ...], statistics: Statistics, rows: list[int], size: int
) -> Generator[tuple[int, np.ndarray, np.ndarray, np.ndarray], None, None]:
    """Yield each strip of windows, from chunks that are read once.

    Each is its first row, the pixels (height, cols, bands), where there is data (height, cols), and the same for the
    rows that no later strip touches.
    """
    chunk_rows = int(min(CHUNK_ROWS, max(16, CHUNK_BYTES // (4 * image.shape[1] * len(bands)))))
    chunks = scenes.strips(image.shape, chunk_rows)
    strip, valid = np.zeros((0, image.shape[1], len(bands)), np.float32), np.zeros((0, image.shape[1]), bool)
    high = min(size, image.shape[0])
    for row, following in itertools.pairwise([*rows, image.shape[0]]):
        while len(valid) < high:
            values = read_checked(image, next(chunks), bands)
            known = image.valid(values)
            chunk = np.ascontiguousarray(scaled(values, known, statistics).transpose(1, 2, 0))
            strip, valid = np.concatenate([strip, chunk]), np.concatenate([valid, known])
        yield row, strip[:high], valid[:high], valid[: following - row]
        strip, valid = strip[following - row :], valid[following - row :]


def scaled(values: np.ndarray, valid: np.ndarray, statistics: Statistics) -> np.ndarray:
    """Return normalised values (bands, rows, cols) float32, with no data set to the mean, which disturbs least."""
    mean, std = (value[:, None, None] for value in statistics)
    scaled = values.astype(np.float32)
    scaled[:, ~valid] = 0  # the no-data value may be too large to compute with
    scaled -= mean
    scaled /= std
    scaled[:, ~valid] = 0
    return scaled


@contextmanager
def _workers(device: torch.device) -> Iterator[int]:
    """Yield how many batches are computed at once, and set the number of threads per batch."""
    if device.type == "cuda":
        yield 2  # one is computed while the other is transferred
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # windows are small: threads sharing a batch would wait for each other
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def _weighted(network: Network, strip: np.ndarray, cols: list[int], size: int) -> np.ndarray:
    """Return the weighted probabilities (N, size, size) of a strip's windows that begin at ``cols``."""
    windows = np.zeros((len(cols), size, size, strip.shape[2]), np.float32)  # channels last, as the network computes
    for window, col in zip(windows, cols, strict=True):
        part = strip[:, col : col + size]
        window[: part.shape[0], : part.shape[1]] = part
    images = torch.from_numpy(windows).permute(0, 3, 1, 2)
    weight = torch.from_numpy(np.outer(blend_ramp(size), blend_ramp(size))).to(network.device)
    recipe = Recipe(precision="bf16" if network.precision == "bf16" else "fp32")
    with torch.inference_mode(), engine.autocast(network.device, recipe):
        if network.device.type == "cuda":
            images = images.pin_memory().to(network.device, non_blocking=True)
        images = images.contiguous(memory_format=torch.channels_last)
        return _forward(network.model, images).mul_(weight).cpu().numpy()


def _forward(model: nn.Module, images: Tensor) -> Tensor:
    """Return probabilities (N, H, W) float32; a batch that does not fit into memory is computed in halves."""
    try:
        return torch.sigmoid(model(images)[:, 0].float())
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not engine.out_of_memory(error):
            raise
    # The failed attempt has released its memory only here.
    if len(images) == 1:
        raise UserError(f"out of memory with one window of {images.shape[-1]} px; free memory or use `--device cpu`")
    half = len(images) // 2
    return torch.cat([_forward(model, images[:half]), _forward(model, images[half:])])


def _summed(firsts: list[int], size: int, length: int) -> np.ndarray:
    """Return the sum (length,) of the windows' ramps along one side."""
    weights = np.zeros(max(length, size), np.float32)
    for first in firsts:
        weights[first : first + size] += blend_ramp(size)
    return weights[:length]
