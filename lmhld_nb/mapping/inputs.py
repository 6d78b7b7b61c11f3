"""The inputs of a map: its settings, the scene's description, and what the network's card says about both."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmhld_nb.config import UserError, warn
from lmhld_nb.evaluation.objects import NO_LABEL
from lmhld_nb.scenes import mosaics, rasters
from lmhld_nb.scenes.rasters import Nodata
from lmhld_nb.scenes.scene import Image, Scene
from lmhld_nb.scenes.vectors import is_vector
from lmhld_nb.sources.files import check_codes, codes_in

LEAST_SIDE = 16  # px
LEAST_PX = 10  # of a polygon, if no area is given: benchmarks/results/cleaning.csv
MOST_MEMORY = 2e9  # bytes, for a row of windows across a scene
TRAINED = "trained"


@dataclass(frozen=True)
class MapSettings:
    """How a scene is mapped."""

    threshold: float | None = None  # minimum landslide probability, in (0, 1); None: the card's, or 0.5
    overlap: float = 0.5  # fraction of a window that its neighbour also covers, 0 to 0.9
    min_area_px: int | None = None  # smaller polygons are left out of the GeoPackage (not of the rasters)
    min_area_m2: float | None = None  # the same; if neither is given, `LEAST_PX` pixels as predicted
    fill_holes_m2: float = 0.0  # smaller holes in polygons are filled
    smooth: bool = True  # outlines stay within half a pixel of the pixel edges
    dem: Path | None = None  # elevation in metres, on any grid, for slope and relief of landslides, and for bands
    least_slope: float = 0.0  # degrees; flatter ground is not mapped (needs ``dem``)
    clouds: Path | None = None  # polygons, or a mask on the scene's grid, treated as no data
    keep_rims: bool = False  # do not treat pure white or black rims as no data
    searched: Path | None = None  # searched ground (polygons), from which distances are measured
    resolution: float | str | None = None  # pixel size for prediction in metres, or ``trained``; None: the scene's
    device: str = "auto"  # or ``cpu``, ``cuda``
    view: bool = False  # also write the live map (`page`)
    before: Path | None = None  # pre-event scene on the same grid, for networks trained on pairs

    def __post_init__(self) -> None:
        if not (self.threshold is None or 0 < self.threshold < 1) or not 0 <= self.overlap <= 0.9:
            raise UserError(f"threshold {self.threshold}, overlap {self.overlap}: must lie in (0, 1) and [0, 0.9]")
        areas = [self.min_area_px or 0, self.min_area_m2 or 0, self.fill_holes_m2]
        if not all(0 <= area < math.inf for area in areas):
            raise UserError("least area {} px, {} m², holes below {} m²: must not be negative".format(*areas))
        if not 0 <= self.least_slope < 90:
            raise UserError(f"least slope {self.least_slope}: must lie in [0, 90) degrees")
        if self.least_slope and self.dem is None:
            raise UserError("least slope: needs an elevation raster; give it with --dem FILE")
        try:
            if self.resolution not in (None, TRAINED) and not 0 < float(str(self.resolution)) < math.inf:
                raise ValueError
        except ValueError:
            raise UserError(f"resolution '{self.resolution}': give metres, e.g. --resolution 3, or 'trained'") from None


def scene_of_file(
    path: Path, bands: tuple[str, ...] | None = None, nodata: Nodata = None, truth: Path | None = None,
    truth_code: int | None = None, layer: str | None = None, where: str | None = None, others: Sequence[Path] = (),
) -> Scene:  # fmt: skip
    """Describe an image file for mapping: the only one, or the first of a mosaic or of one-band files (``others``).

    ``bands`` are names in file order, ``nodata`` the no-data value; None for the file's own. ``truth`` is a mask raster
    on the image's grid or polygons, to score against; ``truth_code`` is the value of landslide in a mask (None for 1;
    255 means not labelled, unless it is this value); ``layer`` and ``where`` select polygons (`vectors.read`).
    UserError if a file cannot be read, the bands are not all named exactly once, or a mask holds undefined values.
    """
    if "inf" in str(nodata):  # too large a number, too
        raise UserError(f"{path}: no-data value {nodata}: give finite numbers, or nan, which covers infinities too")
    with rasters.open_raster(path) as source:
        described, count = rasters.band_names(source), source.count
    if others and count == 1 and (bands is None or len(bands) > 1):
        described = tuple(map(mosaics.band_of_file, (path, *others)))
        count = len(described)
    names = tuple(band.strip().lower() for band in bands) if bands else described
    example = "e.g. --bands red,green,blue"
    if not any(names):
        raise UserError(f"{path}: band order unknown ({count} bands without names); give it, {example}")
    if len(names) != count:
        named = f"{len(names)} are named ({', '.join(names)})"
        raise UserError(f"{path}: {count} bands, but {named}; name all in the file's order, {example}")
    if repeated := [band for band in names if band and names.count(band) > 1]:
        raise UserError(f"{path}: two bands are named '{repeated[0]}'; tell them apart with --bands")
    mask, polygons = (None, truth) if truth is not None and is_vector(truth) else (truth, None)
    if (layer or where) and polygons is None:
        raise UserError(f"{truth or path}: --layer and --where choose among polygons; give these with --truth")
    code = 1 if truth_code is None else truth_code
    scene = Scene(
        path.stem, path.stem, path, names, mask, polygons, layer, where, nodata=nodata, landslide_codes=(code,),
        label_nodata_codes=() if code == NO_LABEL else (NO_LABEL,),
    )  # fmt: skip
    if mask is not None:
        codes = codes_in(mask)
        if codes is not None and code not in codes:
            listed = ", ".join(map(str, sorted(codes)[:6]))
            raise UserError(f"{mask}: no pixel is {code}, it holds {listed}; give its code with --truth-code")
        if told := check_codes(scene, codes, f"--truth-code {code}", truth_code is not None):
            warn(told)
    return scene


def check_image(image: Image, bands: tuple[str, ...], window: int = 256) -> None:
    """Raise UserError for an image that lacks the network's bands, is not north-up, or is too small or too wide."""
    path, names = image.scene.image, image.scene.bands
    if missing := [band for band in bands if band not in names]:
        held, wanted = ", ".join(name or "?" for name in names), ", ".join(bands)
        mend = "correct the names with --bands, or use a network trained on other bands"
        raise UserError(f"{path}: has no band '{missing[0]}' (it has {held}); the network needs {wanted}: {mend}")
    rasters.check_north_up(path, image.crs, image.transform)
    need = 8 * window * image.shape[1] * (len(bands) + 2)  # float32, doubled while strips are joined
    if need > MOST_MEMORY:
        mend = f"cut it (gdal_translate -srcwin) into parts of at most {int(image.shape[1] * MOST_MEMORY / need):,} px"
        raise UserError(f"{path}: {image.shape[1]:,} pixels wide need {need / 1e9:.1f} GB of memory; {mend}")
    if min(image.shape) < LEAST_SIDE:
        size = f"{image.shape[0]}×{image.shape[1]} pixels as predicted, at least {LEAST_SIDE} per side are needed"
        raise UserError(f"{path}: {size}; give a larger scene, or a finer `--resolution`")


def window_of(card: dict[str, Any], weights: Path) -> int:
    """Return the side of the windows: the largest patch size that the network was trained with."""
    if not card.get("areas") or "run_id" not in card:
        raise UserError(f"{weights}: its card is incomplete (no areas, or no run); give a run's weights.safetensors")
    return max(area["patch_size"] for area in card["areas"].values())


def resolution_of(settings: MapSettings, card: dict[str, Any], weights: Path, image: Image) -> float | None:
    """Return the pixel size for prediction in metres: of several training areas, the one nearest to the scene's own."""
    if settings.resolution != TRAINED:
        return None if settings.resolution is None else float(settings.resolution)
    metres = trained_resolution(card, rasters.ground_pixel(image.crs, image.transform, image.shape)[1])
    if metres is None:
        reason = "does not say at which resolution it was trained"
        raise UserError(f"{weights}: {reason}; give it in metres, e.g. --resolution 3")
    return metres


def trained_resolution(card: dict[str, Any], own: float) -> float | None:
    """Return the resolution of the training areas (metres) that is nearest to a scene's own; None if unknown."""
    known = [float(area["resolution_m"]) for area in card["areas"].values() if area.get("resolution_m")]
    return min(known, key=lambda metres: abs(math.log(metres / own)), default=None)
