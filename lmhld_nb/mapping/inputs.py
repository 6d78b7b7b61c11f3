"""What a map is made from: the scene described, settings checked, and what the network's card says of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lmhld_nb import scenes
from lmhld_nb.config import UserError
from lmhld_nb.mapping.files import NO_LABEL
from lmhld_nb.mapping.prediction import Statistics, scene_statistics
from lmhld_nb.scenes import mosaics, rasters
from lmhld_nb.scenes.scene import Image, Scene
from lmhld_nb.training.hardware import native_bf16

TRAINED = "trained"
OF_THE_SCENE = "scene"


def scene_of_file(
    path: Path,
    bands: tuple[str, ...] | None = None,
    nodata: float | None = None,
    truth: Path | None = None,
    truth_code: int = 1,
) -> Scene:
    """Describe an image file (the first of a mosaic, say) for mapping.

    Args:
        path: georeferenced image.
        bands: names of its bands in file order; None to take the file's own band descriptions.
        nodata: value that means no data; None to take the file's own.
        truth: mask raster on the image's grid or polygons, to score against.
        truth_code: value that means landslide in a mask; 255 means not labelled unless it is this value.

    Raises:
        UserError: the file cannot be read, its band order is unknown or not told in full, or the mask does not hold
            ``truth_code``.
    """
    with rasters.open_raster(path) as source:
        described, count = rasters.band_names(source), source.count
    if bands is None and not any(described):
        raise UserError(
            f"{path}: band order unknown ({count} bands without names); give it, e.g. --bands red,green,blue"
        )
    named = tuple(band.strip().lower() for band in bands) if bands else described
    if len(named) != count:
        raise UserError(
            f"{path}: {count} bands, but {len(named)} are named ({', '.join(named)}); name all in the file's order, "
            "e.g. --bands red,green,blue"
        )
    twice = [band for band in named if band and named.count(band) > 1]
    if twice:
        raise UserError(f"{path}: two bands are named '{twice[0]}'; tell them apart with --bands")
    vector = truth is not None and truth.suffix.lower() in (".gpkg", ".shp", ".geojson", ".json")
    if truth is not None and not vector:
        _check_truth(truth, truth_code)
    return Scene(
        name=path.stem,
        area=path.stem,
        image=path,
        bands=named,
        mask=None if vector else truth,
        polygons=truth if vector else None,
        nodata=nodata,
        landslide_codes=(truth_code,),
        label_nodata_codes=() if truth_code == NO_LABEL else (NO_LABEL,),
    )


def check_settings(
    threshold: float, overlap: float, batch_size: int | None, min_px: int, min_m2: float, precision: str
) -> None:
    """Refuse settings of `mapping.map_scene` that are out of range.

    Raises:
        UserError: one is.
    """
    if not 0 < threshold < 1 or not 0 <= overlap <= 0.9:
        raise UserError(f"threshold {threshold}, overlap {overlap}: must lie in (0, 1) and [0, 0.9]")
    if batch_size is not None and batch_size < 1:
        raise UserError(f"batch size {batch_size}: must be at least 1")
    if min_px < 0 or not 0 <= min_m2 < math.inf:
        raise UserError(f"least area {min_px} px, {min_m2} m²: must not be negative")
    if precision not in ("auto", "fp32", "bf16"):
        raise UserError(f"precision '{precision}': unknown; choose auto, fp32 or bf16")


def check_image(image: Image, bands: tuple[str, ...]) -> None:
    """Refuse an image without the network's bands, north-up grid or room for a window.

    Raises:
        UserError: it is one.
    """
    path, held = image.scene.image, image.scene.bands
    missing = [band for band in bands if band not in held]
    if missing:
        raise UserError(
            f"{path}: has no band '{missing[0]}' (it has {', '.join(band or '?' for band in held)}); the network wants "
            f"{', '.join(bands)}: correct the names with --bands, or take a network of other bands"
        )
    rasters.check_north_up(path, image.crs, image.transform)
    if min(image.shape) < mosaics.LEAST_SIDE:
        raise UserError(
            f"{path}: {image.shape[0]}×{image.shape[1]} pixels, at least {mosaics.LEAST_SIDE} are needed a side; "
            "give a larger scene"
        )


def _check_truth(truth: Path, code: int) -> None:
    codes: set[float] = set()
    with rasters.open_raster(truth) as source:
        for window in scenes.strips((source.height, source.width), 512):
            codes |= set(np.unique(rasters.read_raster(source, truth, window, [1])).tolist())
            if code in codes:
                return
    held = ", ".join(f"{value:g}" for value in sorted(codes)[:6])
    raise UserError(f"{truth}: no pixel is {code}, it holds {held}; give its code with --truth-code")


def window_of(card: dict[str, Any], weights: Path) -> int:
    """Return the side of the windows: the largest patch size the network was trained at.

    Raises:
        UserError: the card does not tell.
    """
    try:
        size = max(int(area["patch_size"]) for area in card["areas"].values())
        if size < 16 or size % 16 or not str(card["run_id"]):
            raise ValueError(f"patches of {size} px")
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{weights}: its card is not whole ({error}); give a run's weights.safetensors"
        ) from error
    return size


def precision_of(wanted: str, card: dict[str, Any], place: torch.device) -> str:
    """Return ``fp32`` or ``bf16``; ``auto`` is the one the network was tested in, bf16 only where it is native."""
    if wanted != "auto":
        return wanted
    return "bf16" if card.get("precision", "fp32") in ("auto", "bf16") and native_bf16(place) else "fp32"


def resolution_of(
    wanted: float | str | None, card: dict[str, Any], weights: Path, normalise: str, image: Image
) -> float | None:
    """Return the metres that are asked for; of a network of several areas, the one nearest to the scene's own."""
    if wanted is None:
        return None
    if wanted != TRAINED:
        try:
            metres = float(wanted)
        except ValueError:
            metres = math.nan
        if not 0 < metres < math.inf:
            raise UserError(
                f"resolution '{wanted}': give metres, e.g. --resolution 3, or --resolution trained"
            )
        return metres
    areas = card["areas"]
    known = {name: area.get("resolution_m") for name, area in areas.items()}
    if normalise in known:
        known = {normalise: known[normalise]}
    told = [float(value) for value in known.values() if value]
    if not told:
        raise UserError(
            f"{weights}: does not tell the resolution it was trained at; give it in metres, e.g. --resolution 3"
        )
    own = rasters.ground_pixel(image.crs, image.transform, image.shape)[1]
    return min(told, key=lambda value: abs(math.log(value / own)))


def statistics_of(
    image: Image, bands: tuple[str, ...], card: dict[str, Any], weights: Path, normalise: str
) -> Statistics:
    """Return mean and deviation of each band: the image's own, or those that the card holds of an area.

    Raises:
        UserError: there is no such area, or every pixel is no data.
    """
    if normalise == OF_THE_SCENE:
        return scene_statistics(image, bands)
    if normalise not in card["areas"]:
        raise UserError(
            f"area '{normalise}': {weights.name} was trained on {', '.join(card['areas'])}; choose one of them, or "
            "leave out --normalise for the scene's own statistics"
        )
    mean, std = (np.asarray(card["areas"][normalise][name], np.float32) for name in ("mean", "std"))
    if mean.shape != (len(bands),) or not np.isfinite([mean, std]).all() or (std <= 0).any():
        raise UserError(
            f"{weights}: the statistics stored for '{normalise}' are damaged; leave out --normalise"
        )
    return mean, std
