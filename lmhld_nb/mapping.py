"""Mapping: a trained network over a whole scene → probability and mask GeoTIFF, polygons, picture, record."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import geopandas as gpd
import matplotlib.image
import numpy as np
import pandas as pd
import pyogrio
import rasterio
import rasterio.errors
import shapely
import torch
from rasterio.features import shapes as vectorise
from shapely.geometry import shape as to_geometry
from torch import nn
from tqdm import tqdm

import lmhld_nb
from lmhld_nb import networks, rasters, scenes
from lmhld_nb.config import UserError, cannot_write, write_json
from lmhld_nb.evaluation import Confusion
from lmhld_nb.hardware import choose_device
from lmhld_nb.patches import mean_and_std
from lmhld_nb.rasters import Window
from lmhld_nb.scenes import Image, Scene

NO_PROBABILITY = -1.0
NO_LABEL = 255
REPORT = "map.json"  # written last: without it a map is not finished


def map_scene(
    scene: Scene,
    weights: Path,
    out: Path,
    threshold: float = 0.5,
    overlap: float = 0.5,
    batch_size: int = 8,
    min_area_px: int = 1,
    device: str = "auto",
    progress: bool = True,
) -> dict[str, Any]:
    """Map the landslides of a scene of any size.

    Overlapping windows of the patch size the network was trained at are predicted and blended with a smooth weight,
    band of rows after band of rows, so memory for images depends on the scene's width only; outlining the
    finished mask takes one byte a pixel more. The scene is normalised with its own
    statistics (ledger: per-scene for unseen scenes). Files appear together once all is done.

    Args:
        scene: image with the bands the network wants.
        weights: a run's weights.safetensors.
        out: folder of the results, made where absent.
        threshold: least probability of landslide, between 0 and 1.
        overlap: share of a window that its neighbour covers too, 0 to 0.9.
        batch_size: windows predicted at once.
        min_area_px: smaller polygons are left out of the GeoPackage (not of the rasters).
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: show a bar with ETA.

    Returns:
        The content of map.json: counts, area totals, model and versions; with labels also scores.

    Raises:
        UserError: the scene lacks a band or georeference, holds no data, or ``out`` cannot be written.
    """
    if not 0 < threshold < 1 or not 0 <= overlap <= 0.9:
        raise UserError(f"threshold {threshold}, overlap {overlap}: must lie in (0, 1) and [0, 0.9]")
    model, card = networks.load(weights)
    place = torch.device(choose_device(device))
    model = model.to(place)
    bands = tuple(card["bands"])
    size = max(area["patch_size"] for area in card["areas"].values())
    with scenes.open_image(scene) as image, _all_or_nothing(out) as folder, ExitStack() as stack:
        mean, std = scene_statistics(image, bands)
        profile = {
            "driver": "GTiff", "height": image.shape[0], "width": image.shape[1], "count": 1, "crs": image.crs,
            "transform": image.transform, "tiled": True, "blockxsize": 256, "blockysize": 256,
            "compress": "deflate", "bigtiff": "if_safer",
        }  # fmt: skip
        try:
            probabilities = stack.enter_context(
                rasterio.open(
                    folder / "probability.tif",
                    "w",
                    dtype="float32",
                    nodata=NO_PROBABILITY,
                    predictor=3,
                    **profile,
                )
            )
            masks = stack.enter_context(
                rasterio.open(folder / "mask.tif", "w", dtype="uint8", nodata=NO_LABEL, **profile)
            )
            labels = None
            if scene.mask or scene.polygons:
                labels = stack.enter_context(scenes.open_labels(scene, image))
            total, area_px = Confusion(0, 0, 0, 0), 0
            normalise = (mean, std)
            for rows, probability in _predicted_rows(
                image, bands, normalise, model, place, size, overlap, batch_size, progress
            ):
                known = probability >= 0
                predicted = known & (probability >= threshold)
                mask = np.where(known, predicted, NO_LABEL).astype(np.uint8)
                part = rows.as_rasterio
                probabilities.write(probability[None], window=part)
                masks.write(mask[None], window=part)
                area_px += int(predicted.sum())
                if labels is not None:
                    truth = labels.read(rows)
                    total += Confusion.of(predicted, truth == 1, known & (truth != NO_LABEL))
        except rasterio.errors.RasterioIOError as error:
            raise UserError(
                f"{out}: cannot be written ({' '.join(str(error).split())[:120]}); free space or choose another folder"
            ) from error
        stack.close()
        polygons = _polygons(folder, min_area_px)
        try:
            polygons.to_file(folder / "landslides.gpkg", layer="landslides", driver="GPKG")
        except (
            pyogrio.errors.DataSourceError,
            pyogrio.errors.DataLayerError,
            pyogrio.errors.FeatureError,
        ) as error:
            raise cannot_write(out, OSError(" ".join(str(error).split())[:120])) from error
        _overlay(scene, image, bands, folder)
        report = {
            "scene": scene.image.name,
            "model": card["model"],
            "run_id": card["run_id"],
            "bands": list(bands),
            "window": size,
            "threshold": threshold,
            "landslide_px": area_px,
            "landslides": len(polygons),
            "landslide_m2": float(polygons["area_m2"].sum()) if image.crs else None,
            "scores": total.as_dict() if labels is not None else None,
            "lmhld_nb": lmhld_nb.__version__,
            "torch": torch.__version__,
        }
        write_json(folder / REPORT, report)
    return report


def scene_of_file(
    path: Path,
    bands: tuple[str, ...] | None = None,
    nodata: float | None = None,
    truth: Path | None = None,
    truth_code: int = 1,
) -> Scene:
    """Describe a single image file for mapping.

    Args:
        path: georeferenced image.
        bands: names of its bands in file order; None to take the file's own band descriptions.
        nodata: value that means no data; None to take the file's own.
        truth: mask raster on the image's grid or polygons, to score against.
        truth_code: value that means landslide in a mask; 255 means not labelled unless it is this value.

    Raises:
        UserError: the file cannot be read, its band order is unknown, or the mask does not hold ``truth_code``.
    """
    with rasters.open_raster(path) as source:
        described = tuple((text or "").strip().lower() for text in source.descriptions)
        if bands is None and not {"blue", "green", "red"} <= set(described):
            raise UserError(
                f"{path}: band order unknown ({source.count} bands without names); give it, e.g. --bands red,green,blue"
            )
    vector = truth is not None and truth.suffix.lower() in (".gpkg", ".shp", ".geojson", ".json")
    if truth is not None and not vector:
        with rasters.open_raster(truth) as source:
            codes: set[int] = set()
            for window in scenes.strips((source.height, source.width), 512):
                codes |= set(np.unique(rasters.read_raster(source, truth, window, [1])).tolist())
        if truth_code not in codes:
            held = ", ".join(f"{code:g}" for code in sorted(codes)[:6])
            raise UserError(
                f"{truth}: no pixel is {truth_code}, it holds {held}; give its code with --truth-code"
            )
    return Scene(
        name=path.stem,
        area=path.stem,
        image=path,
        bands=bands or described,
        mask=None if vector else truth,
        polygons=truth if vector else None,
        nodata=nodata,
        landslide_codes=(truth_code,),
        label_nodata_codes=() if truth_code == NO_LABEL else (NO_LABEL,),
    )


@contextmanager
def _all_or_nothing(out: Path) -> Iterator[Path]:
    """Yield a temporary folder whose files move to ``out`` if the block succeeds, map.json last.

    Files of other names in ``out`` are left alone; if it fails, folders made for it go again.
    """
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".map-", dir=out) as temporary:
            yield Path(temporary)
            (out / REPORT).unlink(missing_ok=True)
            for path in sorted(Path(temporary).iterdir(), key=lambda path: path.name == REPORT):
                path.replace(out / path.name)
    except BaseException as error:
        for folder in made:
            with suppress(OSError):  # somebody else has put something there
                folder.rmdir()
        if isinstance(error, OSError):
            raise cannot_write(out, error) from error
        raise


def scene_statistics(image: Image, bands: tuple[str, ...], strips: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation (bands,) of valid pixels, from up to ``strips`` evenly spread strips.

    Raises:
        UserError: every pixel looked at is no data.
    """
    windows = list(scenes.strips(image.shape, 64))
    picked = windows[:: max(1, math.ceil(len(windows) / strips))]
    count, sums, squares = 0, np.zeros(len(bands)), np.zeros(len(bands))
    for window in picked:
        values = image.read(window, bands)
        pixels = values[:, image.valid(values)].astype(np.float64)
        count += pixels.shape[1]
        sums += pixels.sum(axis=1)
        squares += (pixels**2).sum(axis=1)
    if count == 0 and len(picked) < len(windows):
        # Data may lie between the strips looked at: look at all of them.
        return scene_statistics(image, bands, len(windows))
    if count == 0:
        raise UserError(
            f"{image.scene.image}: every pixel is no data; check the file and its `nodata:` value"
        )
    mean, std = mean_and_std(sums, squares, count)
    return np.asarray(mean, np.float32), np.asarray(std, np.float32)


def _predicted_rows(
    image: Image, bands: tuple[str, ...], normalise: tuple[np.ndarray, np.ndarray], model: nn.Module,
    place: torch.device, size: int, overlap: float, batch_size: int, progress: bool,
) -> Iterator[tuple[Window, np.ndarray]]:  # fmt: skip
    """Yield finished bands of rows, top to bottom: their window and probabilities (rows, cols), −1 for no data."""
    height, width = image.shape
    step = max(16, int(size * (1 - overlap)))
    row_starts, col_starts = _starts(height, size, step), _starts(width, size, step)
    weight = blend_weight(size)
    wide = max(width, size)
    total, weights = np.zeros((size, wide), np.float32), np.zeros((size, wide), np.float32)
    bar = tqdm(row_starts, desc=f"map {image.scene.name}", unit="row", disable=not progress, leave=False)
    for place_in_list, row in enumerate(bar):
        window = Window(row, 0, min(size, height - row), width)
        values = image.read(window, bands)
        valid = image.valid(values)
        scaled = (values.astype(np.float32) - normalise[0][:, None, None]) / normalise[1][:, None, None]
        scaled[:, ~valid] = 0  # the scene's mean: what the network takes least notice of
        if scaled.shape[1:] != (size, wide):
            scaled = np.pad(scaled, ((0, 0), (0, size - scaled.shape[1]), (0, wide - scaled.shape[2])))
        # Windows without any data are not worth predicting.
        cols = [col for col in col_starts if valid[:, col : col + size].any()]
        for first in range(0, len(cols), batch_size):
            batch = cols[first : first + batch_size]
            stack = torch.from_numpy(np.stack([scaled[:, :, col : col + size] for col in batch])).to(place)
            with torch.inference_mode():
                probability = torch.sigmoid(model(stack))[:, 0].float().cpu().numpy()
            for col, patch in zip(batch, probability, strict=True):
                total[:, col : col + size] += patch * weight
                weights[:, col : col + size] += weight
        following = row_starts[place_in_list + 1] if place_in_list + 1 < len(row_starts) else height
        done = following - row
        known = valid[:done] & (weights[:done, :width] > 0)
        finished = np.full((done, width), NO_PROBABILITY, np.float32)
        finished[known] = total[:done, :width][known] / weights[:done, :width][known]
        yield Window(row, 0, done, width), finished
        for buffer in (total, weights):
            buffer[:-done] = buffer[done:].copy()
            buffer[-done:] = 0


def blend_weight(size: int) -> np.ndarray:
    """Return the (size, size) weight of a window's predictions: a raised cosine, highest in the middle, never 0."""
    ramp = np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2 + 1e-3
    return np.outer(ramp, ramp).astype(np.float32)


def _starts(length: int, size: int, step: int) -> list[int]:
    """Return first pixels of windows that cover ``length``; the last one is moved back to end at the edge."""
    if length <= size:
        return [0]
    return [*range(0, length - size, step), length - size]


def _polygons(folder: Path, min_area_px: int) -> gpd.GeoDataFrame:
    """Outline the mask's landslides with area, probability, centre and compactness."""
    with (
        rasterio.open(folder / "mask.tif") as masks,
        rasterio.open(folder / "probability.tif") as probabilities,
    ):
        mask = masks.read(1)
        crs, transform = masks.crs, masks.transform
        outlines = [
            to_geometry(geometry)
            for geometry, _ in vectorise(mask, mask == 1, connectivity=8, transform=transform)
        ]
        table = gpd.GeoDataFrame({"geometry": outlines}, crs=crs)
        table["area_px"] = np.round(shapely.area(outlines) / abs(transform.determinant)).astype(int)
        table = table[table["area_px"] >= min_area_px].reset_index(drop=True)
        means, peaks = [], []
        for geometry in table.geometry:
            # Outlines follow the pixels' edges: in pixels, their corners are whole numbers.
            cols, rows = ~transform * shapely.get_coordinates(geometry).T
            col, row = round(cols.min()), round(rows.min())
            part = Window(row, col, round(rows.max()) - row, round(cols.max()) - col).as_rasterio
            values = probabilities.read(1, window=part)
            inside = rasterio.features.rasterize(
                [geometry], out_shape=values.shape, transform=rasterio.windows.transform(part, transform)
            ).astype(bool)
            means.append(float(values[inside].mean()))
            peaks.append(float(values[inside].max()))
    table.insert(0, "id", range(1, len(table) + 1))
    table["mean_probability"], table["max_probability"] = means, peaks
    # 4πA/P²: 1 for a disc, towards 0 for a long thin slide.
    on_ground = _on_ground(table)
    table["compactness"] = 4 * math.pi * shapely.area(on_ground) / shapely.length(on_ground) ** 2
    table["area_m2"] = _square_metres(table)
    if crs is not None:
        centres = table.geometry.representative_point().to_crs(4326)
        table["lon"], table["lat"] = centres.x, centres.y
    return table


def _square_metres(table: gpd.GeoDataFrame) -> pd.Series:
    if table.crs is None:
        return pd.Series(np.nan, table.index)
    # Degrees have no area, feet another unit, Mercator's grows to the poles: measure in an equal-area system.
    return table.to_crs(6933).area


def _on_ground(table: gpd.GeoDataFrame) -> np.ndarray:
    """Return outlines of true shape: as they are, or from degrees in their UTM zone."""
    degrees = len(table) and table.crs is not None and table.crs.is_geographic
    return (table.to_crs(table.estimate_utm_crs()) if degrees else table).geometry.to_numpy()


def _overlay(scene: Scene, image: Image, bands: tuple[str, ...], folder: Path, longest: int = 1600) -> None:
    """Draw the mask in red over the true-colour image (as in paper Figs 16–17), reduced to ``longest`` pixels."""
    step = max(1, math.ceil(max(image.shape) / longest))
    colour = ["red", "green", "blue"]
    if not set(colour) <= set(bands):  # near infrared, red, green, say; or shades of grey
        colour = list(bands[::-1][:3]) if len(bands) >= 3 else [bands[0]] * 3
    rows = []
    with rasterio.open(folder / "mask.tif") as masks:
        for window in scenes.strips(image.shape, 64 * step):
            values = image.read(window, colour)[:, ::step, ::step].astype(np.float32)
            mask = masks.read(1, window=window.as_rasterio)[::step, ::step]
            rows.append(np.concatenate([values, mask[None]]))
    picture = np.concatenate(rows, axis=1)
    colours, mask = picture[:3], picture[3]
    known = mask != NO_LABEL
    low, high = np.percentile(colours[:, known], (2, 98)) if known.any() else (0, 1)
    view = np.clip((colours - low) / max(high - low, 1e-6), 0, 1).transpose(1, 2, 0)
    view[mask == 1] = 0.35 * view[mask == 1] + 0.65 * np.array([1.0, 0.1, 0.1])
    view[~known] = 1
    matplotlib.image.imsave(folder / "overlay.png", view)
