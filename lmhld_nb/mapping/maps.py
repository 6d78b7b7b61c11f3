"""Mapping: a trained network applied to a whole scene → rasters, polygons, styles, a picture and a record, or none."""

import math
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict
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
from lmhld_nb.config import UserError, printable, progress_bar, warn, write_json
from lmhld_nb.evaluation import objects
from lmhld_nb.mapping import files, further, imaged, inputs, onnx_files, outlines, page, prediction, terrain
from lmhld_nb.mapping import folder as map_folder
from lmhld_nb.mapping.inputs import MapSettings
from lmhld_nb.mapping.outlines import Cleaning
from lmhld_nb.mapping.prediction import NO_PROBABILITY, Network
from lmhld_nb.mapping.terrain import Terrain
from lmhld_nb.mapping.unlike import unlike
from lmhld_nb.scenes import rasters
from lmhld_nb.scenes.rasters import Window
from lmhld_nb.scenes.scene import Image, Labels, Scene, read_polygon_table
from lmhld_nb.training import engine, hardware
from lmhld_nb.training import weights as networks

STYLES = Path(__file__).parent / "styles"  # written by QGIS (tools/qgis_styles.py); viridis suits colour blindness
Rows = Iterable[tuple[Window, np.ndarray]]
_RASTERS = (
    (map_folder.PROBABILITY, "float32", NO_PROBABILITY, "average", "probability of landslide"),
    (map_folder.UNCERTAINTY, "uint8", objects.NO_LABEL, "average", "uncertainty 1 - |2p - 1| in percent"),
    (map_folder.MASK, "uint8", objects.NO_LABEL, "nearest", "landslide (255: not imaged)"),
)


def map_scene(
    scene: Scene,
    weights: Path,
    out: Path,
    settings: MapSettings = MapSettings(),  # noqa: B008 (frozen)
    others: Sequence[Path] = (),
    progress: bool = True,
) -> dict[str, Any]:
    """Map the landslides of a scene of any size with a weights.safetensors file or a file from `lmhld export`.

    Overlapping windows of the network's training patch size are predicted and blended one strip of rows at a time, so
    memory for images depends on the scene's width only. All rasters are on the scene's own grid. ``others`` are
    additional files of the image (`mosaics.open_files`); ``out`` is a new folder, an empty one or that of an older map.
    Returns the content of map.json: counts, area totals, settings, model, versions; with labels also scores. UserError
    if the scene cannot be mapped, or ``out`` cannot be written (`folder.all_or_nothing`).
    """
    began = time.perf_counter()
    beside = weights.with_name("searched.gpkg")  # what `lmhld learn` writes
    searched_file = settings.searched or (beside if beside.is_file() else None)
    sides = (scene.mask, scene.polygons, settings.dem, settings.clouds, settings.before, searched_file)
    read = [path for path in (scene.image, *others, weights, *sides) if path]
    with map_folder.all_or_nothing(out, read) as folder, ExitStack() as stack:
        is_onnx = weights.suffix == ".onnx"
        model, card = onnx_files.load(weights) if is_onnx else networks.load(weights)
        device = torch.device("cpu" if is_onnx else hardware.choose_device(settings.device))
        size, bands = inputs.window_of(card, weights), tuple(card["bands"])
        threshold = float(card.get("threshold", 0.5)) if settings.threshold is None else settings.threshold
        model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        tested = "fp32" if card.get("precision", "fp32") == "fp32" else "auto"  # bf16 only if it is native
        network = Network(model, device, hardware.precision(tested, device))
        image = stack.enter_context(scenes.open_image(scene, others))
        image.check_names()
        metres = inputs.resolution_of(settings, card, weights, image)
        view = image if metres is None else stack.enter_context(scenes.open_image(scene, others, metres))
        is_own, plain = view.transform == image.transform, image  # at its own resolution
        image = further.stacked(stack, plain, bands, settings.before, settings.dem)
        view = image if is_own else further.stacked(stack, view, bands, settings.before, settings.dem, metres)
        inputs.check_image(view, bands, size)
        ground = terrain.read(settings.dem, image) if settings.dem else None
        searched, forgiven = None, () if settings.searched else (UserError,)  # the network may come from elsewhere
        if searched_file:
            with suppress(*forgiven):
                searched = read_polygon_table(searched_file, image).geometry
        hidden, hidden_px = imaged.hidden(plain, settings.clouds, settings.keep_rims)
        if hidden is not None:
            image = imaged.without(image, hidden, plain.shape)
            view = image if is_own else imaged.without(view, hidden, plain.shape)
        labels = stack.enter_context(scenes.open_labels(scene, image)) if scene.mask or scene.polygons else None
        stack.enter_context(engine.settings(device))
        statistics = prediction.scene_statistics(view, bands)
        warned = unlike(view, card, statistics)
        for line in warned:
            warn(f"{scene.image.name}: {line}")
        predicted = prediction.predicted_rows(view, bands, statistics, network, size, settings.overlap)
        bar = stack.enter_context(progress_bar(view.shape[0], f"map {scene.name}", "row", progress))
        with closing(predicted) as rows:
            limits = threshold, ground, settings.least_slope
            counts = _write_rasters(folder, image, view, bands, _followed(rows, bar), *limits, card["run_id"])
        across, down = rasters.ground_pixel(image.crs, image.transform, image.shape)
        pixel_m2 = across * down if image.crs else image.pixel_m**2
        is_default = settings.min_area_px is None and settings.min_area_m2 is None
        least_px = inputs.LEAST_PX * math.prod(image.shape) / math.prod(view.shape)  # of pixels as predicted
        least_px, least_m2 = least_px if is_default else settings.min_area_px or 0, settings.min_area_m2 or 0
        cleaning = Cleaning(least_px, least_m2, settings.fill_holes_m2 / pixel_m2, settings.smooth)
        bar.set_description(printable(f"outline {scene.name}"))
        polygons, found = _write_polygons(folder, image, cleaning, ground, searched)
        files.draw_overlay(folder, view, bands)
        report = {
            "scene": scene.image.name,
            "files": [str(path) for path in (scene.image, *others)],
            **{"crs": image.crs.to_string() if image.crs else None, "shape": list(image.shape)},
            "megapixels": round(math.prod(image.shape) / 1e6, 6),
            "pixel_m": [across, down] if image.crs else None,
            "resolution_m": (down if view is image else metres) if image.crs else None,
            "resampled": view is not image,
            **{name: card[name] for name in ("model", "width", "run_id")},
            "bands": list(bands),
            **{name: values.tolist() for name, values in zip(("mean", "std"), statistics, strict=True)},
            "window": size,
            **{name: str(value) if isinstance(value, Path) else value for name, value in asdict(settings).items()},
            **{"threshold": threshold, "searched": None if searched is None else str(searched_file)},
            **{"device": device.type, "hardware": hardware.device_name(device), "precision": network.precision},
            **{"unlike": warned, **counts, "not_imaged_px": hidden_px, "polygons": found},
            "landslides": len(polygons),
            "landslide_m2": float(polygons["area_m2"].sum()) if image.crs else None,
            "scores": _score(folder, labels, image.shape, pixel_m2) if labels else None,
        }
        if settings.view:
            page.write(folder, image, report, labels, cleaning)
        versions = {"lmhld_nb": lmhld_nb.__version__, "torch": torch.__version__, "rasterio": rasterio.__version__}
        report |= {"seconds": round(time.perf_counter() - began, 3), **versions, "gdal": rasterio.__gdal_version__}
        report["sha256"] = map_folder.digests(folder)
        write_json(folder / map_folder.REPORT, report)
    return report


def _followed(rows: Rows, bar: Any) -> Rows:
    """Pass rows on and update a progress bar."""
    for window, probability in rows:
        yield window, probability
        bar.update(window.height)


def _write_rasters(
    folder: Path, image: Image, view: Image, bands: tuple[str, ...], rows: Rows,
    threshold: float, ground: Terrain | None, least_slope: float, run: str,
) -> dict[str, int]:  # fmt: skip
    """Write probability, uncertainty and mask on the grid of ``image`` from probabilities of ``view``; count pixels."""
    if view is not image:
        with files.raster(folder / map_folder.COARSE, view, "float32", NO_PROBABILITY) as coarse:
            for window, probability in rows:
                coarse.write(probability, 1, window=window.as_rasterio)
        rows = _resampled(folder / map_folder.COARSE, image, bands)
    valid_px, landslide_px = 0, 0
    with ExitStack() as stack:
        written = [
            stack.enter_context(files.raster(folder / name, image, dtype, nodata, text, run, resampling))
            for name, dtype, nodata, resampling, text in _RASTERS
        ]
        for window, exact in rows:
            probability = files.rounded(exact)
            mask = (probability >= threshold).astype(np.uint8)
            if ground is not None and least_slope:
                mask &= ~(ground.at(window)[1] < least_slope)  # unknown slopes stay
            landslide_px += int(np.count_nonzero(mask))
            unknown = probability < 0
            mask[unknown] = objects.NO_LABEL
            doubt = np.rint(100 * outlines.uncertainty(probability)).astype(np.uint8)
            doubt[unknown] = objects.NO_LABEL
            valid_px += mask.size - int(np.count_nonzero(unknown))
            for target, values in zip(written, (probability, doubt, mask), strict=True):
                target.write(values, 1, window=window.as_rasterio)
    return {"valid_px": valid_px, "landslide_px": landslide_px}


def _write_polygons(
    folder: Path, image: Image, cleaning: Cleaning, ground: Terrain | None, searched: gpd.GeoSeries | None
) -> tuple[gpd.GeoDataFrame, dict[str, int]]:
    """Write landslides and ground not imaged as polygons with their styles; return the landslides and counts."""
    landslides = outlines.measure(_written(folder, image.shape))
    polygons, unseen, found = outlines.outline(folder / map_folder.MASK, landslides, cleaning)
    if ground is not None:
        below = np.array([ground.below(shape) for shape in polygons.geometry])
        polygons[["slope_deg", "relief_m"]] = below.reshape(-1, 2)
    if searched is not None:
        metric = polygons.estimate_utm_crs() if len(polygons) else polygons.crs
        polygons["searched_m"] = polygons.to_crs(metric).distance(searched.to_crs(metric).union_all())
    for path, table in ((folder / map_folder.POLYGONS, polygons), (folder / map_folder.NOT_IMAGED, unseen)):
        if path.name == map_folder.POLYGONS or len(table):
            # One geometry type, even if parts of a landslide meet only at corners; QGIS 3.22 reads version 1.2.
            table.to_file(path, layer=path.stem, driver="GPKG", promote_to_multi=True, VERSION="1.2")
            # The style, in the table that QGIS creates for one: it applies it to the layer automatically.
            style = (STYLES / f"{path.stem}.qml").read_text(encoding="utf-8")
            key = {"f_table_catalog": "", "f_table_schema": "", "f_table_name": path.stem, "f_geometry_column": "geom"}
            qml = {"styleName": path.stem, "styleQML": style, "styleSLD": "", "useAsDefault": True, "description": ""}
            row = key | qml | {"owner": "", "ui": "", "update_time": pd.Timestamp.now("UTC")}
            pyogrio.write_dataframe(pd.DataFrame([row]), path, layer="layer_styles", driver="GPKG", FID="id")
    for name in map_folder.STYLES:  # of the rasters, and of the polygons for other formats than GeoPackage
        shutil.copyfile(STYLES / name, folder / name)
    return polygons, found


def _resampled(coarse: Path, image: Image, bands: tuple[str, ...]) -> Rows:
    """Yield probabilities predicted at another resolution on the scene's grid, none where the scene has no data."""
    with rasterio.open(coarse) as source:
        is_finer = abs(source.transform.a) < abs(image.transform.a)
        height, width = image.shape
        with WarpedVRT(
            source, crs=image.crs, transform=image.transform, height=height, width=width, nodata=NO_PROBABILITY,
            resampling=Resampling.average if is_finer else Resampling.bilinear,
        ) as warped:  # fmt: skip
            for window in scenes.strips(image.shape, files.TILE):
                probability = warped.read(1, window=window.as_rasterio)
                if image.nodata is not None:
                    probability[~image.valid(image.read(window, bands))] = NO_PROBABILITY
                yield window, probability


def _score(folder: Path, labels: Labels, shape: tuple[int, int], pixel_m2: float) -> dict[str, Any]:
    """Score the written rasters, and write the tables."""
    strips = partial(_written, folder, shape)
    scores, tables = objects.score(lambda: ((p, mask, labels.read(window)) for window, mask, p in strips()), pixel_m2)
    for name, table in tables.items():
        table.to_csv(folder / f"scores_{name}.csv", index=False)
    return scores


def _written(folder: Path, shape: tuple[int, int]) -> Iterator[tuple[Window, np.ndarray, np.ndarray]]:
    """Yield windows from top to bottom with mask (255 no data) and probability (−1 no data) as written."""
    with (
        rasterio.open(folder / map_folder.PROBABILITY) as probabilities,
        rasterio.open(folder / map_folder.MASK) as masks,
    ):
        for window in scenes.strips(shape, 2 * files.TILE):
            yield window, masks.read(1, window=window.as_rasterio), probabilities.read(1, window=window.as_rasterio)
