"""One scene of the synthetic twin: laid out, drawn, and written to its three files."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyogrio
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio import features
from rasterio.transform import Affine, from_origin
from rasterio.warp import transform as reproject
from scipy import ndimage

from lmhld_nb import config
from lmhld_nb.scenes.scene import TRUE_LAYER
from lmhld_nb.twin import cover, image, labels, runout, terrain
from lmhld_nb.twin.areas import RECIPES, AreaRecipe
from lmhld_nb.twin.cover import Valleys
from lmhld_nb.twin.image import Layout
from lmhld_nb.twin.runout import Slides
from lmhld_nb.twin.terrain import Array, Mask, Shape

TWIN_VERSION = 3  # raised whenever the generated pixels change; part of the data fingerprint
NODATA = 0
LARGEST = 0.025  # largest share of a scene's pixels in one landslide


@dataclass(frozen=True)
class SceneTask:
    """One scene to generate: area, number within the area, target number of patches if it has landslides."""

    area: str
    number: int
    patches: int
    seed: int
    landslides: bool = True
    label_noise: labels.Level = "mild"

    @property
    def name(self) -> str:
        return f"{self.area}_{self.number}"

    @property
    def stamp(self) -> str:
        without = "" if self.landslides else ", no landslide"
        return f"version {TWIN_VERSION}, seed {self.seed}, {self.patches} patches, {self.label_noise} noise{without}"

    @property
    def windows(self) -> float:
        return self.patches / RECIPES[self.area].kept


def lay_out(task: SceneTask) -> Layout:
    """Carve the ground of one scene and place the landslides on it."""
    recipe = RECIPES[task.area]
    ground, events = _streams(task)[:2]
    step = 2 ** max(0, int(np.log2(recipe.relief_px / 50)))  # whole windows stay whole
    valid = _frame(ground, recipe, _shape(recipe, task.windows, step))
    shape, coarse = valid.shape, (valid.shape[0] // step, valid.shape[1] // step)
    tile = terrain.noise(ground, (512, 512), 2.0, recipe.relief_px / 6, 2.0)
    cells = (round(shape[0] * cover.CELLS / recipe.relief_px), round(shape[1] * cover.CELLS / recipe.relief_px))
    cell = recipe.resolution_m * shape[0] / cells[0]
    relief = terrain.carve(ground, cells, cell, recipe.mean_slope, recipe.ruggedness)
    valley = cover.valleys(relief, coarse, recipe.river)
    height = cover.floodplain(terrain.resize(relief.height, coarse), valley)
    if recipe.sea:
        height = cover.flooded(ground, height, recipe.sea)
    height += np.float32(recipe.base_m) - height.min()
    rough = terrain.spread(events, tile, shape)
    slides = _place_slides(events, recipe, height, valley, step, valid, rough) if task.landslides else _no_slides(shape)
    old = _streams(task)[5].random(len(slides.size)) < recipe.old
    return Layout(valid, step, height, valley, tile, rough, slides, old)


def make_scene(folder: Path, task: SceneTask) -> None:
    """Write one scene's three files; the image, which marks the scene as complete, comes last."""
    recipe = RECIPES[task.area]
    scene, interpreter = lay_out(task), _streams(task)[6]
    pixels, dem = _photograph(task, scene)
    transform = _transform(recipe, task.number)
    image_path, dem_path, polygon_path = paths_of(folder, task)
    if task.landslides:
        outlines = labels.with_noise(scene.slides.label, scene.old, labels.LEVELS[task.label_noise], interpreter)
        write_polygons(polygon_path, {"landslides": outlines, TRUE_LAYER: scene.slides.label}, recipe, transform)
    grid = {"crs": f"EPSG:{recipe.epsg}", "transform": transform}
    _write_raster(dem_path, dem[None], grid, ("elevation",), {"SYNTHETIC": "yes"})
    digest = hashlib.sha256()
    for layer in (pixels, dem, scene.slides.label):
        digest.update(np.ascontiguousarray(layer).data)
    tags = {"TWIN": task.stamp, "SENSOR": f"synthetic, after {recipe.sensor}", "SYNTHETIC": "yes"}
    tags["PIXELS"] = digest.hexdigest()[:16]
    _write_raster(image_path, pixels, grid | {"nodata": NODATA}, recipe.bands, tags)


def write_before(path: Path, task: SceneTask) -> None:
    """Write a scene's image before its landslides: the same ground, light and clouds, but other sensor noise."""
    recipe, scene = RECIPES[task.area], lay_out(task)
    intact = replace(scene, slides=_no_slides(scene.valid.shape), old=np.zeros(0, bool))
    grid = {"crs": f"EPSG:{recipe.epsg}", "transform": _transform(recipe, task.number), "nodata": NODATA}
    _write_raster(path, _photograph(task, intact)[0], grid, recipe.bands, {"SYNTHETIC": "yes"})


def _photograph(task: SceneTask, scene: Layout) -> tuple[NDArray[Any], Array]:
    """Return the image (bands, rows, columns) and the elevation of a layout."""
    recipe, (cover_rng, sensor, fine) = RECIPES[task.area], _streams(task)[2:5]
    dem = _surface(fine, recipe, scene)
    drawn = cover.draw_cover(cover_rng, recipe, scene.height, scene.valley, scene.step, dem.shape, scene.rough)
    return image.expose(sensor, recipe, dem, scene, *drawn), dem


def _no_slides(shape: Shape) -> Slides:
    outside = np.zeros(shape, dtype=np.float32)
    return Slides(np.zeros(shape, np.int32), outside, outside, np.zeros(0, np.int64))


def paths_of(folder: Path, task: SceneTask) -> tuple[Path, Path, Path]:
    """Return the paths of a scene's image, elevation and polygons."""
    base = folder / task.area
    return base / f"{task.name}.tif", base / f"{task.name}_dem.tif", base / f"{task.name}_landslides.gpkg"


def _streams(task: SceneTask) -> list[np.random.Generator]:
    source = np.random.SeedSequence([task.seed, list(RECIPES).index(task.area), task.number])
    return [np.random.default_rng(s) for s in source.spawn(7)]


def _shape(recipe: AreaRecipe, windows: float, step: int) -> Shape:
    """Return the shape of a scene with so many windows, the only use of Table 2's patch size."""
    columns = max(2, round(np.sqrt(1.15 * windows)))
    rows = max(2, int(np.ceil(windows / columns)))
    height, width = rows * recipe.patch, int((columns + 0.75 * recipe.swath) * recipe.patch)
    return -(-height // step) * step, -(-width // step) * step


def _frame(rng: np.random.Generator, recipe: AreaRecipe, shape: Shape) -> Mask:
    """Return where a scene has data: everywhere, or on one side of the slanted edge of a swath."""
    if not recipe.swath:
        return np.ones(shape, dtype=bool)
    edge = np.linspace(0.01, 0.09, shape[0]) * shape[1]
    if rng.random() < 0.5:
        edge = edge[::-1]
    column = np.arange(shape[1])[None, :]
    # Windows start at the left, so a strip on the right may also use the columns beyond the last whole window.
    return column >= edge[:, None] if rng.random() < 0.5 else column < shape[1] - edge[:, None]


def _place_slides(
    rng: np.random.Generator, recipe: AreaRecipe, height: Array, valley: Valleys, step: int, valid: Mask, rough: Array
) -> Slides:
    """Draw the area's landslide sizes and place landslides on steep ground within the image."""
    pixels = int(np.count_nonzero(valid))
    held = (*recipe.sizes[:-1], min(recipe.sizes[-1], int(LARGEST * pixels)))
    sizes = runout.draw_sizes(rng, recipe.cover * pixels, held)
    cells = recipe.relief_px / step
    crowding = terrain.noise(rng, height.shape, 1.5, 2 * cells, cells / 3)
    preference = np.exp(recipe.clustering * crowding) * (valley.distance > 1.2)
    if recipe.snow:  # a landslide under snow is invisible, so an interpreter would not have drawn it
        preference = preference * (height < np.quantile(height, 1 - 3 * recipe.snow))
    if recipe.riverside:
        preference = preference * np.exp(recipe.riverside * np.clip(1 - valley.distance / 6, -1, 1))
    if recipe.sea:
        dry = height > recipe.base_m
        preference = preference * dry
        valid = valid & (terrain.resize(dry, valid.shape, smooth=False) > 0.5)
    return runout.put_slides(rng, recipe, height, step, valid, preference, sizes, rough)


def _surface(rng: np.random.Generator, recipe: AreaRecipe, scene: Layout) -> Array:
    """Return the elevation (metres) on the pixel grid, with fine relief, scars and deposits."""
    fine = 1 - np.abs(terrain.spread(rng, scene.tile, scene.valid.shape))
    dem = terrain.resize(scene.height, scene.valid.shape)
    slides = scene.slides
    dem += fine * np.float32(0.003 * recipe.mean_slope * recipe.relief_m)
    # Scars and deposits are smooth across the outline, so that no rim in the elevation reveals the label.
    depth = np.concatenate([[0.0], 0.06 * np.sqrt(slides.size)]).astype(np.float32) * np.float32(recipe.resolution_m)
    change = (slides.along - np.float32(0.55)) * (1 - np.minimum(slides.margin, 1)) * depth[slides.label]
    dem += ndimage.gaussian_filter(change, 3.0)
    return np.round(dem * 64) / np.float32(64)  # 1.6 cm: finer digits are noise that does not compress


def _transform(recipe: AreaRecipe, number: int) -> Affine:
    """Arrange the scenes of an area in rows of eight, on a 10 m grid."""
    (x,), (y,) = reproject("EPSG:4326", f"EPSG:{recipe.epsg}", [recipe.lon], [recipe.lat])
    pace = 40 * recipe.patch * recipe.resolution_m
    left = round((x + (number % 8) * pace) / 10) * 10
    top = round((y - (number // 8) * pace) / 10) * 10
    return from_origin(left, top, recipe.resolution_m, recipe.resolution_m)


def _write_raster(
    path: Path, data: NDArray[Any], grid: dict[str, Any], names: tuple[str, ...], tags: dict[str, str]
) -> None:
    count, height, width = data.shape
    with (
        config.atomic_path(path) as temporary,
        rasterio.Env(GDAL_CACHEMAX=64),  # MB; by default, GDAL's cache grows larger than the scene itself
        rasterio.open(
            temporary, "w", driver="GTiff", width=width, height=height, count=count, dtype=data.dtype.name,
            tiled=True, blockxsize=256, blockysize=256, compress="deflate", zlevel=1,
            predictor=3 if data.dtype.kind == "f" else 2, interleave="band", **grid,
        ) as target,
    ):  # fmt: skip
        target.write(data)
        target.descriptions = names
        target.update_tags(**tags)


def _outlines(label: labels.Labels, recipe: AreaRecipe, transform: Affine) -> geopandas.GeoDataFrame:
    shapes = features.shapes(label, mask=label > 0, connectivity=4, transform=transform)
    pieces = [{"id": int(number), "geometry": shapely.geometry.shape(outline)} for outline, number in shapes]
    table = geopandas.GeoDataFrame(pieces, columns=["id", "geometry"], crs=f"EPSG:{recipe.epsg}")
    table = table.dissolve("id", as_index=False)  # of several pieces if a neighbour's outline covers its middle
    table["area_px"] = np.bincount(label.ravel())[table["id"]]
    table["area_m2"] = table["area_px"] * recipe.resolution_m**2
    return table.set_geometry(table.make_valid())


def write_polygons(path: Path, layers: dict[str, labels.Labels], recipe: AreaRecipe, transform: Affine) -> None:
    """Write landslide outlines along pixel edges, with ``id``, ``area_px`` and ``area_m2``, layer by layer."""
    failures = (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, pyogrio.errors.FeatureError)
    # GeoPackage stores its date: a fixed one keeps repeated generations of a scene identical.
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": "2024-01-01T00:00:00.000Z"})
    try:
        with config.atomic_path(path) as temporary:
            for name, label in layers.items():
                mode = "a" if temporary.exists() else "w"
                table = _outlines(label, recipe, transform)
                table.to_file(temporary, layer=name, driver="GPKG", engine="pyogrio", mode=mode)
    except failures as error:  # GDAL's own errors: it does not raise OSError
        raise config.cannot_write(path, OSError(config.short(error))) from error
