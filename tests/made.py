"""Small made scenes with the layout of real ones, for tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from rasterio.features import shapes
from safetensors import SafetensorError
from shapely.geometry import shape
from torch import nn

from lmhld_nb.config import UserError
from lmhld_nb.experiments import Profile
from lmhld_nb.scenes.scene import BANDS, Scene

CRS = "EPSG:32654"
FULL_DISK = SafetensorError("I/O error: No space left on device (os error 28)")
TRANSFORM = Affine(3.0, 0, 500_000.0, 0, -3.0, 4_700_000.0)


def blobs(rows: int, cols: int, count: int, seed: int = 0, radius: tuple[int, int] = (2, 12)) -> np.ndarray:
    random = np.random.default_rng(seed)
    y, x = np.ogrid[:rows, :cols]
    mask = np.zeros((rows, cols), bool)
    for _ in range(count):
        r = random.integers(*radius)
        mask |= (y - random.integers(rows)) ** 2 + (x - random.integers(cols)) ** 2 <= r**2
    return mask


def image_of(mask: np.ndarray, seed: int = 0, bands: int = 4) -> np.ndarray:
    """Draw an image in which landslides are brighter, noisily so; uint16, no zeros."""
    noise = np.random.default_rng(seed).normal(0, 120, (bands, *mask.shape))
    return np.clip(800 + 500 * mask[None] + noise, 1, 4000).astype(np.uint16)


def write_tif(
    path: Path, values: np.ndarray, crs: str | None = CRS, transform: Affine = TRANSFORM, **options: object
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = values if values.ndim == 3 else values[None]
    count, height, width = values.shape
    grid = {"count": count, "height": height, "width": width, "crs": crs, "transform": transform}
    options = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate", **options}
    with rasterio.open(path, "w", driver="GTiff", dtype=values.dtype, **grid, **options) as target:
        target.write(values)
    return path


def write_polygons(path: Path, mask: np.ndarray, crs: str = CRS, transform: Affine = TRANSFORM) -> Path:
    outlines = [shape(g) for g, v in shapes(mask.astype(np.uint8), mask, connectivity=8, transform=transform)]
    gpd.GeoDataFrame({"id": range(len(outlines))}, geometry=outlines, crs=crs).to_file(path)
    return path


def scene(folder: Path, mask: np.ndarray, name: str = "a", labels: str = "mask", seed: int = 0, **fields: Any) -> Scene:
    image = write_tif(folder / f"{name}.tif", image_of(mask, seed), nodata=0)
    if labels == "mask":
        fields["mask"] = write_tif(folder / f"{name}_mask.tif", mask.astype(np.uint8))
    elif labels == "polygons":
        fields["polygons"] = write_polygons(folder / f"{name}.gpkg", mask)
    return Scene(name=name, area="made", image=image, bands=BANDS, **fields)


def refuses(match: str, call: Callable[..., object], *arguments: object, **options: object) -> str:
    """Assert that a call ends in one line, a UserError that matches, and return the line."""
    with pytest.raises(UserError, match=match) as error:
        call(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def settled(model: nn.Module) -> nn.Module:
    """Return a network of 3 bands whose batch normalisation fits its maps, so that none is dead by chance."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model(torch.randn(4, 3, 64, 64))
    return model.eval()


def with_settings(profile: Profile, experiment: str, **changes: object) -> Profile:
    """Return a profile with changes to the settings of an experiment that it makes."""
    settings = profile.settings(experiment).model_copy(update=changes)
    return profile.model_copy(update={"experiments": profile.experiments.model_copy(update={experiment: settings})})
