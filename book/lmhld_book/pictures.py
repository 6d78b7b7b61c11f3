"""Pictures made lighter: of pages, of the gallery, of the published edition."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

THUMBNAIL = 440
"""Pixels; a tile of the gallery is half as wide on a screen of ordinary density."""


def palette_png(picture: bytes, colours: int = 256) -> bytes:
    """Return a picture as PNG with a palette: for drawings, a third of the size without a visible difference."""
    with Image.open(io.BytesIO(picture)) as opened:
        lighter = io.BytesIO()
        # Without dithering, whose noise would not compress.
        reduced = opened.convert("RGB").quantize(colours, dither=Image.Dither.NONE)
        reduced.save(lighter, "PNG", optimize=True)
    return lighter.getvalue()


def jpeg(picture: bytes, quality: int) -> bytes:
    """Return a picture as JPEG: for photographs."""
    with Image.open(io.BytesIO(picture)) as opened:
        lighter = io.BytesIO()
        # Without chroma subsampling, which would blur thin coloured outlines.
        opened.convert("RGB").save(lighter, "JPEG", quality=quality, subsampling=0, optimize=True)
    return lighter.getvalue()


def lightest(picture: bytes, colours: int = 256, quality: int = 85) -> tuple[str, bytes]:
    """Return the MIME type and the content of the smallest of: the PNG as it is, with a palette, a JPEG."""
    candidates = [
        ("image/png", picture),
        ("image/png", palette_png(picture, colours)),
        ("image/jpeg", jpeg(picture, quality)),
    ]
    return min(candidates, key=lambda candidate: len(candidate[1]))


def thumbnails(figures: Path, target: Path) -> None:
    """Write each picture of a folder as ``target/NAME.webp``, at most `THUMBNAIL` pixels wide."""
    target.mkdir(parents=True)
    for path in sorted(figures.glob("*.png")):
        with Image.open(path) as picture:
            small = picture.convert("RGB")
            small.thumbnail((THUMBNAIL, 2 * THUMBNAIL))
            small.save(target / f"{path.stem}.webp", quality=75)
