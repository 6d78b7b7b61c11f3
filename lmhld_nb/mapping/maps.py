"""Mapping: a trained network over a whole scene → rasters, polygons, styles, a picture and a record, all or none."""

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

import lmhld_nb
from lmhld_nb import scenes
from lmhld_nb.config import progress_bar, write_json
from lmhld_nb.evaluation import objects
from lmhld_nb.mapping import files, inputs, outlines, prediction, qgis
from lmhld_nb.mapping import folder as map_folder
from lmhld_nb.mapping.inputs import MapSettings
from lmhld_nb.mapping.prediction import NO_PROBABILITY, Network
from lmhld_nb.scenes import rasters
from lmhld_nb.scenes.rasters import Window
from lmhld_nb.scenes.scene import Image, Labels, Scene
from lmhld_nb.training import engine, hardware
from lmhld_nb.training import weights as networks

Rows = Iterable[tuple[Window, np.ndarray]]


def map_scene(
    scene: Scene,
    weights: Path,
    out: Path,
    settings: MapSettings = MapSettings(),  # noqa: B008 (frozen)
    others: Sequence[Path] = (),
    progress: bool = True,
) -> dict[str, Any]:
    """Map the landslides of a scene of any size, from a run's weights.safetensors or a file of `lmhld export`.

    Overlapping windows of the patch size the network was trained at are predicted and blended, band of rows after band
    of rows, so memory for images depends on the scene's width only. Every raster lies on the scene's own grid.
    ``others`` are further files of the image (`mosaics.open_files`), ``out`` is a new folder, an empty one or an older
    map's. Returns the content of map.json: counts, area totals, settings, model, versions; with labels also scores.
    UserError where the scene cannot be mapped, or ``out`` not written (`folder.all_or_nothing`).
    """
    began = time.perf_counter()
    read = [path for path in (scene.image, *others, scene.mask, scene.polygons, weights) if path]
    with map_folder.all_or_nothing(out, read) as folder, ExitStack() as stack:
        model, card = networks.load(weights)
        device = torch.device(hardware.choose_device(settings.device))
        size, bands = inputs.window_of(card, weights), tuple(card["bands"])
        threshold = float(card.get("threshold", 0.5)) if settings.threshold is None else settings.threshold
        model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        tested = "fp32" if card.get("precision", "fp32") == "fp32" else "auto"  # bf16 only where it is native
        precision = tested if settings.precision == "auto" else settings.precision
        network = Network(model, device, hardware.precision(precision, device))
        batch_size = settings.batch_size or prediction.suitable_batch(network, size)
        image = stack.enter_context(scenes.open_image(scene, others))
        metres = inputs.resolution_of(settings, card, weights, image)
        view = image if metres is None else stack.enter_context(scenes.open_image(scene, others, metres))
        inputs.check_image(view, bands)
        if view.transform == image.transform:  # that is its own resolution
            view = image
        has_labels = scene.mask or scene.polygons
        labels = stack.enter_context(scenes.open_labels(scene, image)) if has_labels else None
        stack.enter_context(engine.settings(device))
        statistics = prediction.stored_statistics(card) or prediction.scene_statistics(view, bands)
        predicted = prediction.predicted_rows(view, bands, statistics, network, size, settings.overlap, batch_size)
        with closing(predicted) as rows, progress_bar(view.shape[0], f"map {scene.name}", "row", progress) as bar:
            counts = _write_rasters(folder, image, view, files.in_blocks(rows, bar.update), threshold)
        landslides = outlines.measure(_written(folder, image.shape))
        mask = folder / map_folder.MASK
        polygons = outlines.outline(mask, landslides, settings.min_area_px, settings.min_area_m2)
        # One type of geometry, whether or not a landslide's parts meet at corners only.
        polygons.to_file(folder / map_folder.POLYGONS, layer="landslides", driver="GPKG", promote_to_multi=True)
        qgis.polygon_style(folder / map_folder.POLYGON_STYLE, threshold)
        qgis.probability_style(folder / map_folder.PROBABILITY_STYLE)
        files.draw_overlay(folder, view, bands)
        across, down = rasters.ground_pixel(image.crs, image.transform, image.shape)
        report = {
            "scene": scene.image.name,
            "files": [str(path) for path in (scene.image, *others)],
            **{"crs": image.crs.to_string() if image.crs else None, "shape": list(image.shape)},
            "pixel_size": [abs(image.transform.a), abs(image.transform.e)],
            "pixel_m": [across, down] if image.crs else None,
            "resolution_m": (down if view is image else metres) if image.crs else None,
            "resampled": view is not image,
            **{name: card[name] for name in ("model", "width", "run_id")},
            "bands": list(bands),
            **{name: values.tolist() for name, values in zip(("mean", "std"), statistics, strict=True)},
            "window": size,
            **asdict(settings),
            **{"threshold": threshold, "batch_size": batch_size},
            **{"device": device.type, "hardware": hardware.device_name(device), "precision": network.precision},
            **counts,
            "landslides": len(polygons),
            "landslide_m2": float(polygons["area_m2"].sum()) if image.crs else None,
            **_score(folder, image, labels),
        }
        seconds, megapixels = time.perf_counter() - began, math.prod(image.shape) / 1e6
        rate = {"megapixels": round(megapixels, 6), "megapixels_per_second": round(megapixels / seconds, 4)}
        versions = {"lmhld_nb": lmhld_nb.__version__, "torch": torch.__version__, "rasterio": rasterio.__version__}
        report |= {"seconds": round(seconds, 3), **rate, **versions, "gdal": rasterio.__gdal_version__}
        report["sha256"] = map_folder.digests(folder)
        write_json(folder / map_folder.REPORT, report)
    return report


def _write_rasters(folder: Path, image: Image, view: Image, rows: Rows, threshold: float) -> dict[str, int]:
    """Write probability and mask on the grid of ``image`` from probabilities of ``view``; count pixels."""
    if view is not image:
        with files.writer(folder / map_folder.COARSE, view, "float32", NO_PROBABILITY) as coarse:
            for window, probability in rows:
                coarse.write(probability, 1, window=window.as_rasterio)
        rows = _resampled(folder / map_folder.COARSE, image)
    valid_px, landslide_px = 0, 0
    probability_file, mask_file = folder / map_folder.PROBABILITY, folder / map_folder.MASK
    with (
        files.writer(probability_file, image, "float32", NO_PROBABILITY) as probabilities,
        files.writer(mask_file, image, "uint8", objects.NO_LABEL) as masks,
    ):
        for window, exact in rows:
            probability = files.rounded(exact)
            mask = (probability >= threshold).astype(np.uint8)
            landslide_px += int(np.count_nonzero(mask))
            unknown = probability < 0
            mask[unknown] = objects.NO_LABEL
            valid_px += mask.size - int(np.count_nonzero(unknown))
            probabilities.write(probability, 1, window=window.as_rasterio)
            masks.write(mask, 1, window=window.as_rasterio)
    files.finish(probability_file, Resampling.average)
    files.finish(mask_file, Resampling.nearest)
    return {"valid_px": valid_px, "landslide_px": landslide_px}


def _resampled(coarse: Path, image: Image) -> Rows:
    """Yield the probabilities of another resolution on the scene's grid; where it has no data, there are none."""
    with rasterio.open(coarse) as source:
        is_finer = abs(source.transform.a) < abs(image.transform.a)
        height, width = image.shape
        with WarpedVRT(
            source, crs=image.crs, transform=image.transform, height=height, width=width, nodata=NO_PROBABILITY,
            resampling=Resampling.average if is_finer else Resampling.bilinear,
        ) as warped:  # fmt: skip
            for window in scenes.strips(image.shape, files.BLOCK):
                probability = warped.read(1, window=window.as_rasterio)
                if image.nodata is not None:
                    probability[~image.valid(image.read(window, image.scene.bands))] = NO_PROBABILITY
                yield window, probability


def _score(folder: Path, image: Image, labels: Labels | None) -> dict[str, Any]:
    """Score the rasters as written, and write the tables; without labels there are none."""
    if labels is None:
        return {"scores": None, "score_files": []}
    across, down = rasters.ground_pixel(image.crs, image.transform, image.shape)
    pixel_m2 = across * down if image.crs else image.pixel_m**2

    def strips() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for window, mask, probability in _written(folder, image.shape):
            yield probability, mask, labels.read(window)

    scores, tables = objects.score(strips, pixel_m2)
    for name, table in tables.items():
        table.to_csv(folder / f"scores_{name}.csv", index=False)
    return {"scores": scores, "score_files": [f"scores_{name}.csv" for name in tables]}


def _written(folder: Path, shape: tuple[int, int]) -> Iterator[tuple[Window, np.ndarray, np.ndarray]]:
    """Yield windows from top to bottom with mask (255 no data) and probability (−1 no data) as written."""
    with (
        rasterio.open(folder / map_folder.PROBABILITY) as probabilities,
        rasterio.open(folder / map_folder.MASK) as masks,
    ):
        for window in scenes.strips(shape, 2 * files.BLOCK):
            yield window, masks.read(1, window=window.as_rasterio), probabilities.read(1, window=window.as_rasterio)
