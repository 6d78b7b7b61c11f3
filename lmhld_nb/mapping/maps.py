"""Mapping: a trained network over a whole scene → rasters, polygons, styles, a picture and a record, all or none."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import rasterio
import torch
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

import lmhld_nb
from lmhld_nb import scenes
from lmhld_nb.config import cannot_write, progress_bar, write_json
from lmhld_nb.evaluation import objects as detection
from lmhld_nb.mapping import files as map_files
from lmhld_nb.mapping import folder as map_folder
from lmhld_nb.mapping import outlines, prediction, qgis
from lmhld_nb.mapping.files import NO_LABEL
from lmhld_nb.mapping.folder import COARSE, MASK, POLYGONS, PROBABILITY, REPORT
from lmhld_nb.mapping.inputs import (
    OF_THE_SCENE,
    check_image,
    check_settings,
    precision_of,
    resolution_of,
    scene_of_file,
    statistics_of,
    window_of,
)  # fmt: skip
from lmhld_nb.mapping.prediction import NO_PROBABILITY, Network, Rows
from lmhld_nb.scenes import rasters
from lmhld_nb.scenes.rasters import Window
from lmhld_nb.scenes.scene import Image, Labels, Scene
from lmhld_nb.training import engine
from lmhld_nb.training import weights as networks
from lmhld_nb.training.hardware import Execution, choose_device, device_name

__all__ = ["map_scene", "scene_of_file"]

Strips = Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]
Bar = Callable[[int], None]


def map_scene(
    scene: Scene,
    weights: Path,
    out: Path,
    threshold: float = 0.5,
    overlap: float = 0.5,
    batch_size: int | None = None,
    min_area_px: int = 1,
    device: str = "auto",
    progress: bool = True,
    *,
    others: Sequence[Path] = (),
    min_area_m2: float = 0.0,
    resolution: float | str | None = None,
    normalise: str = OF_THE_SCENE,
    precision: str = "auto",
) -> dict[str, Any]:
    """Map the landslides of a scene of any size.

    Overlapping windows of the patch size the network was trained at are predicted and blended (`prediction`), band of
    rows after band of rows, so memory for images depends on the scene's width only; the polygons take what their
    number and corners take. Every raster lies on the scene's own grid. Files appear together once all is done.

    Args:
        scene: image with the bands the network wants, by name; others it may have.
        weights: a run's weights.safetensors, or what `lmhld export` made of it.
        out: folder of the results, made where absent.
        threshold: least probability of landslide, between 0 and 1.
        overlap: share of a window that its neighbour covers too, 0 to 0.9.
        batch_size: windows predicted at once; None for what suits the device.
        min_area_px: smaller polygons are left out of the GeoPackage (not of the rasters).
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: show a bar with ETA.
        others: further files of the image, on its grid (`mosaics.open_files`).
        min_area_m2: as ``min_area_px``, in square metres.
        resolution: metres that the scene is predicted at; ``trained`` for the network's; None for the scene's own.
        normalise: ``scene`` for its own statistics (ledger: unseen scenes), or an area whose stored ones are used.
        precision: ``fp32``, ``bf16``, or ``auto`` for the one the network was tested in (bf16 only where native).

    Returns:
        The content of map.json: counts, area totals, settings, model and versions; with labels also scores.

    Raises:
        UserError: the scene lacks a band or georeference, is rotated, too small or without data, a setting is out of
            range, or ``out`` cannot be written without replacing what is no older map (`folder.all_or_nothing`).
    """
    began = time.perf_counter()
    check_settings(threshold, overlap, batch_size, min_area_px, min_area_m2, precision)
    with ExitStack() as stack:
        inputs = [path for path in (scene.image, *others, scene.mask, scene.polygons, weights) if path]
        folder = stack.enter_context(map_folder.all_or_nothing(out, inputs))
        model, card = networks.load(weights)
        place = torch.device(choose_device(device))
        size, bands = window_of(card, weights), tuple(card["bands"])
        model = model.to(place).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        network = Network(model, place, precision_of(precision, card, place))
        at_once = batch_size or prediction.batch_of(network, size)
        image = seen = stack.enter_context(scenes.open_image(scene, others))
        check_image(image, bands)
        metres = resolution_of(resolution, card, weights, normalise, image)
        if metres is not None:
            seen = stack.enter_context(scenes.open_image(scene, others, metres))
        if seen.transform == image.transform:  # that is its own resolution
            seen = image
        labels = None
        if scene.mask or scene.polygons:
            labels = stack.enter_context(scenes.open_labels(scene, image))
        stack.enter_context(engine.settings(place, Execution()))
        stack.enter_context(map_files.writing(out))
        picture = map_files.Picture(seen, bands)
        statistics = statistics_of(seen, bands, card, weights, normalise)
        found = outlines.Components(image.shape[1])
        predicted = prediction.predicted_rows(
            seen, bands, statistics, network, size, overlap, at_once, picture.take
        )
        with closing(predicted) as rows, _bar(scene.name, seen.shape, progress) as bar:
            counted = _write_rasters(folder, image, seen, rows, threshold, found, bar)
        polygons = outlines.outline(folder / MASK, found, min_area_px, min_area_m2)
        _write_polygons(polygons, folder / POLYGONS, out)
        qgis.polygon_style(folder / map_folder.POLYGON_STYLE, threshold)
        qgis.probability_style(folder / map_folder.PROBABILITY_STYLE)
        picture.draw(folder)
        scores: dict[str, Any] | None = None
        tables: dict[str, pd.DataFrame] = {}
        across, down = rasters.ground_pixel(image.crs, image.transform, image.shape)
        if image.crs is None:
            across = down = image.pixel_m
        if labels is not None:
            scores, tables = detection.score(partial(_strips, folder, labels, image.shape), across * down)
        for name, table in tables.items():
            table.to_csv(folder / f"scores_{name}.csv", index=False)
        megapixels, seconds = math.prod(image.shape) / 1e6, time.perf_counter() - began
        report = {
            "scene": scene.image.name,
            "files": [str(path) for path in (scene.image, *others)],
            "crs": image.crs.to_string() if image.crs else None,
            "shape": list(image.shape),
            "pixel_size": [abs(image.transform.a), abs(image.transform.e)],
            "pixel_m": [across, down] if image.crs else None,
            "model": card["model"],
            "width": card["width"],
            "run_id": card["run_id"],
            "bands": list(bands),
            "normalise": normalise,
            "mean": statistics[0].tolist(),
            "std": statistics[1].tolist(),
            "resolution_m": (down if seen is image else metres) if image.crs else None,
            "resampled": seen is not image,
            "window": size,
            "overlap": overlap,
            "batch_size": at_once,
            "threshold": threshold,
            "min_area_px": min_area_px,
            "min_area_m2": min_area_m2,
            **counted,
            "landslides": len(polygons),
            "landslide_m2": float(polygons["area_m2"].sum()) if image.crs else None,
            "scores": scores,
            "score_files": [f"scores_{name}.csv" for name in tables],
            "device": place.type,
            "hardware": device_name(place),
            "precision": network.precision,
            "seconds": round(seconds, 3),
            "megapixels": round(megapixels, 6),
            "megapixels_per_second": round(megapixels / seconds, 4),
            "lmhld_nb": lmhld_nb.__version__,
            "torch": torch.__version__,
            "rasterio": rasterio.__version__,
            "gdal": rasterio.__gdal_version__,
        }
        report["sha256"] = map_folder.digests(folder)
        write_json(folder / REPORT, report)
    return report


# Rasters ----------------------------------------------------------------------------------------------------------


@contextmanager
def _bar(name: str, shape: tuple[int, int], show: bool) -> Iterator[Bar]:
    """Yield what counts rows done, on a bar of megapixels."""
    total = max(1, round(math.prod(shape) / 1e6))
    step, rows, told = max(1, total // 100), 0, 0  # a log gets a hundred lines at most
    with progress_bar(total, f"map {name}", "megapixel", show) as bar:

        def count(more: int) -> None:
            nonlocal rows, told
            rows += more
            done = total if rows >= shape[0] else total * rows // shape[0]
            if done - told >= step or done == total > told:
                bar.update(done - told)
                told = done

        yield count


def _write_rasters(
    folder: Path,
    image: Image,
    seen: Image,
    rows: Rows,
    threshold: float,
    found: outlines.Components,
    bar: Bar,
) -> dict[str, int]:
    """Write probability and mask on the grid of ``image``; return pixels with data, and of landslide."""
    if seen is image:
        return _write_grid(folder, image, rows, threshold, found, bar)
    with map_files.writer(folder / COARSE, seen, "float32", NO_PROBABILITY) as coarse:
        for window, probability in map_files.in_blocks(rows):
            coarse.write(probability, 1, window=window.as_rasterio)
            bar(window.height)
    counted = _write_grid(
        folder, image, _brought_back(folder / COARSE, image), threshold, found, lambda _: None
    )
    (folder / COARSE).unlink()
    return counted


def _write_grid(
    folder: Path,
    image: Image,
    rows: Iterable[tuple[Window, np.ndarray]],
    threshold: float,
    found: outlines.Components,
    bar: Bar,
) -> dict[str, int]:
    valid_px, landslide_px = 0, 0
    with (
        map_files.writer(folder / PROBABILITY, image, "float32", NO_PROBABILITY) as probabilities,
        map_files.writer(folder / MASK, image, "uint8", NO_LABEL) as masks,
    ):
        for window, exact in map_files.in_blocks(rows):
            probability = map_files.rounded(exact)
            mask = (probability >= threshold).astype(np.uint8)
            landslide_px += int(np.count_nonzero(mask))
            unknown = probability < 0
            mask[unknown] = NO_LABEL
            valid_px += mask.size - int(np.count_nonzero(unknown))
            probabilities.write(probability, 1, window=window.as_rasterio)
            masks.write(mask, 1, window=window.as_rasterio)
            found.add(window, mask, probability)
            bar(window.height)
    map_files.finish(folder / PROBABILITY, Resampling.average)
    map_files.finish(folder / MASK, Resampling.nearest)
    return {"valid_px": valid_px, "landslide_px": landslide_px}


def _brought_back(coarse: Path, image: Image) -> Iterator[tuple[Window, np.ndarray]]:
    """Yield the probabilities of another resolution on the scene's grid; where it has no data, there are none."""
    with rasterio.open(coarse) as source:
        finer = abs(source.transform.a) < abs(image.transform.a)
        grid = {
            "crs": image.crs,
            "transform": image.transform,
            "height": image.shape[0],
            "width": image.shape[1],
        }
        how = Resampling.average if finer else Resampling.bilinear
        with WarpedVRT(source, **grid, resampling=how, nodata=NO_PROBABILITY) as warped:
            for window in scenes.strips(image.shape, map_files.BLOCK):
                probability = warped.read(1, window=window.as_rasterio)
                if image.nodata is not None:
                    probability[~image.valid(image.read(window, image.scene.bands))] = NO_PROBABILITY
                yield window, probability


def _write_polygons(polygons: gpd.GeoDataFrame, path: Path, out: Path) -> None:
    errors = (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, pyogrio.errors.FeatureError)
    try:
        # One type of geometry, whether or not a landslide's parts meet at corners only.
        polygons.to_file(path, layer="landslides", driver="GPKG", promote_to_multi=True)
    except errors as error:
        raise cannot_write(out, OSError(" ".join(str(error).split())[:120])) from error


# Scores -----------------------------------------------------------------------------------------------------------


def _strips(folder: Path, labels: Labels, shape: tuple[int, int]) -> Strips:
    """Yield probability (−1 no data), mask (255 no data) and truth (255 not labelled), top to bottom, as written."""
    with rasterio.open(folder / PROBABILITY) as probabilities, rasterio.open(folder / MASK) as masks:
        for window in scenes.strips(shape, 2 * map_files.BLOCK):
            part = window.as_rasterio
            yield probabilities.read(1, window=part), masks.read(1, window=part), labels.read(window)
