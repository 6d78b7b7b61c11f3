"""Pictures made lighter: of pages, of the gallery, of the published edition."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

THUMBNAIL = 440
"""Pixels; a tile of the gallery is half as wide on a screen of ordinary density."""
LEVELS = (
    (256, 85, 1.0),
    (128, 80, 1.0),
    (64, 70, 1.0),
    (64, 70, 0.8),
    (32, 60, 0.7),
    (32, 50, 0.6),
    (16, 40, 0.5),
)
"""Colours of a palette, quality of a JPEG, and scale, from the best to the smallest."""
PALETTES = (24, 36, 64, 128, 256)
"""Colours of the palettes that `lightest_png` tries."""
COMMON = 10
"""Most frequent colours, of which the palette keeps those with a hue: of lines, fills and legends."""
LARGEST_ERROR = 11.0
"""Root mean square error of a channel (0 to 255); above it, photographs and maps of a continuous scale show steps."""


def palette_png(picture: bytes, colours: int, scale: float = 1.0) -> bytes:
    """Return a picture as PNG with a palette: for drawings, a third of the size without a visible difference."""
    # Without dithering, whose noise would not compress.
    reduced = _opened(picture, scale).quantize(colours, dither=Image.Dither.NONE)
    return _written(reduced, "PNG", optimize=True)


def lightest_png(picture: bytes) -> bytes:
    """Return a picture as PNG with as few colours as show it as it is (`LARGEST_ERROR`), or the most (`PALETTES`)."""
    pixels = _opened(picture, 1)
    found, counts = np.unique(np.asarray(pixels).reshape(-1, 3), axis=0, return_counts=True)
    common = found[np.argsort(-counts, kind="stable")[:COMMON]].astype(int)
    common = common[np.ptp(common, axis=1) > 30]  # no greys: these are never far off
    near = np.abs(common[:, None] - common).max(axis=2) < 30
    kept = common[~np.tril(near, -1).any(axis=1)]  # one of a scale's neighbours
    seen = np.asarray(pixels)[::3, ::3].reshape(-1, 3)
    rest = seen[~(seen[:, None] == kept).all(axis=2).any(axis=1)]  # what the other colours are chosen for
    sample = Image.fromarray((rest if len(rest) else seen)[None])
    for colours in PALETTES:
        # A palette refined by k-means, until 1 % of the pixels change, is worth one of twice the colours.
        others, moved = colours - len(kept), sample.width // 100
        palette = sample.quantize(others, kmeans=moved, dither=Image.Dither.NONE)
        palette.putpalette([*(palette.getpalette() or [])[: 3 * others], *kept.ravel().tolist()])
        reduced = pixels.quantize(palette=palette, dither=Image.Dither.NONE)
        errors = np.asarray(reduced.convert("RGB"), float) - np.asarray(pixels, float)
        if np.sqrt((errors**2).mean()) <= LARGEST_ERROR:
            break
    return min(picture, _written(reduced, "PNG", optimize=True), key=len)


def jpeg(picture: bytes, quality: int, scale: float = 1.0) -> bytes:
    """Return a picture as JPEG: for photographs."""
    # Without chroma subsampling, which would blur thin coloured outlines. Pillow cannot optimise noisy JPEGs in memory.
    return _written(_opened(picture, scale), "JPEG", quality=quality, subsampling=0)


def _opened(picture: bytes, scale: float) -> Image.Image:
    with Image.open(io.BytesIO(picture)) as opened:
        pixels = opened.convert("RGB")
    return pixels if scale == 1 else pixels.resize([round(side * scale) for side in pixels.size])


def _written(picture: Image.Image, kind: str, **options: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def lightest(picture: bytes, level: int = 0) -> tuple[str, bytes]:
    """Return MIME type and content of the smallest of: a picture as it is, as palette PNG, as JPEG (`LEVELS`)."""
    colours, quality, scale = LEVELS[level]
    candidates = [
        ("image/jpeg" if picture.startswith(b"\xff\xd8") else "image/png", picture),
        ("image/png", palette_png(picture, colours, scale)),
        ("image/jpeg", jpeg(picture, quality, scale)),
    ]
    return min(candidates, key=lambda candidate: len(candidate[1]))


def fit(pictures: Sequence[bytes], limit: int) -> list[tuple[str, bytes]]:
    """Return pictures by `lightest`, together of at most ``limit`` bytes where `LEVELS` allow it.

    The largest one goes down a level until the sum fits.
    """
    levels = [0] * len(pictures)
    fitted = [lightest(picture) for picture in pictures]
    while sum(len(content) for _, content in fitted) > limit:
        reducible = [index for index, level in enumerate(levels) if level + 1 < len(LEVELS)]
        if not reducible:
            break
        largest = max(reducible, key=lambda index: len(fitted[index][1]))
        levels[largest] += 1
        fitted[largest] = lightest(pictures[largest], levels[largest])
    return fitted


def thumbnails(figures: Path, target: Path) -> None:
    """Write each picture of a folder as ``target/NAME.webp``, at most `THUMBNAIL` pixels wide."""
    target.mkdir(parents=True)
    for path in sorted(figures.glob("*.png")):
        with Image.open(path) as picture:
            small = picture.convert("RGB")
            small.thumbnail((THUMBNAIL, 2 * THUMBNAIL))
            small.save(target / f"{path.stem}.webp", quality=75)
