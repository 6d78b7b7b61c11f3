"""Additional bands from other files: the change since an image from before the event, and the terrain."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
from rasterio.transform import array_bounds

from lmhld_nb import scenes
from lmhld_nb.config import UserError
from lmhld_nb.evaluation.counts import CHANGE
from lmhld_nb.mapping import terrain
from lmhld_nb.mapping.terrain import Terrain
from lmhld_nb.scenes import rasters
from lmhld_nb.scenes.rasters import Window
from lmhld_nb.scenes.scene import Image

TERRAIN = ("elevation", "slope")  # metres and degrees, in the cells of `terrain.read`


def names(bands: Sequence[str], before: Path | None, dem: Path | None) -> tuple[str, ...]:
    """Return the bands that the files add to ``bands``: a change for each of them; elevation and slope."""
    return (*(f"{band}{CHANGE}" for band in bands if before), *(TERRAIN if dem else ()))


def is_further(band: str) -> bool:
    """Whether a band of this name is one of `names`."""
    return band in TERRAIN or band.endswith(CHANGE)


def _joined(image: Image, further: Sequence[str], before: Image | None, ground: Terrain | None) -> Image:
    """Return an image with additional bands, float32; a pixel without data in one of the bands is NaN in all of them.

    ``before`` is subtracted band by band, in stored units; ``ground`` lies on the image's grid.
    """
    own, every = image.scene.bands, (*image.scene.bands, *further)

    def read(window: Window, indices: list[int]) -> np.ndarray:
        bands = [every[index] for index in indices]
        held = [band for band in own if band in bands or f"{band}{CHANGE}" in bands] or own
        after = image.read(window, held)
        known, layers = image.valid(after), dict(zip(held, after.astype(np.float32), strict=True))
        if before is not None and (changed := [band for band in held if f"{band}{CHANGE}" in bands]):
            earlier = before.read(window, changed)
            known &= before.valid(earlier)
            layers |= {f"{band}{CHANGE}": layers[band] - one for band, one in zip(changed, earlier, strict=True)}
        if ground is not None and set(TERRAIN) & set(bands):
            layers |= {name: one for name, one in zip(TERRAIN, ground.at(window), strict=True) if name not in own}
        values = np.stack([layers[band] for band in bands]).astype(np.float32)
        values[:, ~(known & np.isfinite(values).all(axis=0))] = np.nan
        return values

    raster = replace(image._raster, read=read, nodata=float("nan"), dtype=np.dtype(np.float32))
    return Image(replace(image.scene, bands=every), raster)


def stacked(
    stack: ExitStack, image: Image, bands: Sequence[str], before: Path | None, dem: Path | None,
    metres: float | None = None,
) -> Image:  # fmt: skip
    """Return an image with the missing ones of ``bands`` added from the files, which stay open with ``stack``.

    ``metres`` is the resolution at which the image was opened, None for its own. UserError if a file is missing, is not
    needed (``before``), or does not match the image.
    """
    path, further = image.scene.image, [band for band in bands if band not in image.scene.bands and is_further(band)]
    wants_change, wants_terrain = any(band.endswith(CHANGE) for band in further), bool(set(TERRAIN) & set(further))
    if wants_change and before is None:
        raise UserError(f"{path}: the network needs the change since a pre-event image; give that image with --before")
    if wants_terrain and dem is None:
        raise UserError(f"{path}: the network needs {' and '.join(TERRAIN)}; give elevation in metres with --dem")
    if before is not None and not wants_change:
        raise UserError(f"{before}: the network was not trained on pairs ({', '.join(bands)}); leave out --before")
    earlier = _opened(stack, image, before, metres) if before is not None else None
    ground = terrain.read(dem, image) if dem is not None and wants_terrain else None
    return _joined(image, further, earlier, ground) if further else image


def _opened(stack: ExitStack, image: Image, before: Path, metres: float | None) -> Image:
    """Open the pre-event image; UserError unless its bands are the same, and its pixels to a twentieth of one."""
    scene = image.scene
    with rasters.open_raster(before) as source:
        described = rasters.band_names(source)
        if source.count != len(scene.bands) or (any(described) and described != scene.bands):
            held = ", ".join(name or "?" for name in described)
            problem = f"its bands are {held}, those of {scene.image.name} {', '.join(scene.bands)}"
            raise UserError(f"{before}: {problem}; export it with the same bands in the same order")
    if before.samefile(scene.image):
        raise UserError(f"{before}: is the scene itself; give an image from before the event")
    earlier = stack.enter_context(scenes.open_image(replace(scene, image=before), resolution_m=metres))
    shift = np.abs(np.subtract(*(array_bounds(*one.shape, one.transform) for one in (earlier, image)))).max()
    if (earlier.shape, earlier.crs) != (image.shape, image.crs) or shift > abs(image.transform.a) / 20:
        mend = "warp it to the scene's grid first (gdalwarp -te … -ts …)"
        raise UserError(f"{before}: is on another grid than {scene.image.name}; {mend}")
    return earlier
