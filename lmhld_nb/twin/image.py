"""Radiometry of the synthetic twin: from ground cover, relief and landslides to a sensor's counts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lmhld_nb.twin import terrain
from lmhld_nb.twin.areas import COVERS, AreaRecipe
from lmhld_nb.twin.cover import CLASSES, Valleys
from lmhld_nb.twin.runout import Slides
from lmhld_nb.twin.terrain import Array, Mask, Shape

SKY = (0.33, 0.28, 0.25, 0.22)  # skylight per band; with sunlight it adds up to about 1 on level ground


@dataclass(frozen=True)
class Layout:
    """A scene before imaging: its frame, ground and landslides."""

    valid: Mask  # where the image has data, on the pixel grid
    step: int  # pixels per cell of the middle grid, used by ``height`` (metres) and ``valley``
    height: Array
    valley: Valleys
    tile: Array  # periodic noise for textures
    rough: Array  # noise of unit variance on the pixel grid
    slides: Slides
    old: NDArray[np.bool_]  # whether a landslide is older and partly overgrown; ``old[0]`` belongs to number 1


def expose(
    rng: np.random.Generator, recipe: AreaRecipe, dem: Array, scene: Layout, code: NDArray[np.uint8], tone: Array
) -> NDArray[np.uint16] | NDArray[np.uint8]:
    """Return the image (the recipe's bands, rows, columns), uint16 or, if ``most`` allows, uint8; 0 is no data."""
    shape = dem.shape
    spectra = {**COVERS, **recipe.covers}
    share = _ground_shares(rng, recipe, scene, shape)
    crowns = terrain.noise(rng, scene.tile.shape, 0.5, 3 * recipe.crown_px, 0.7 * recipe.crown_px)
    canopy = terrain.spread(rng, crowns, shape)
    grain = terrain.spread(rng, scene.tile, shape)
    texture = 1 + canopy * (0.06 + 0.16 * share["forest"])
    light = terrain.sunlight(*terrain.gradient(dem, recipe.resolution_m), *recipe.sun)
    shadow = terrain.cast_shadow(scene.height, recipe.resolution_m * scene.step, *recipe.sun)
    light *= 1 - np.float32(0.65) * terrain.resize(shadow, dem.shape, smooth=False)
    light *= np.float32(0.74 / float(np.sin(np.radians(recipe.sun[1]))))  # 0.74 on level ground
    cloud, shade = _clouds(rng, recipe, scene.height.shape, scene.step)
    light *= 1 - terrain.resize(np.maximum(shade, 0), shape, smooth=False)
    cloud = terrain.resize(cloud, shape, smooth=False)
    tint, of_debris, of_objects = _regional(rng, recipe, scene)
    haze = recipe.haze * (1 + 0.25 * terrain.resize(terrain.noise(rng, (16, 16), 2.0, 16.0), shape))
    inside = np.flatnonzero(scene.slides.label)
    bare, soil_tone, rocky = _debris(rng, scene, inside, grain, canopy)
    named = np.flatnonzero(code)
    codes = code.ravel()[named]
    tones = tone.ravel()[named] * (1 + 0.05 * grain.ravel()[named])
    seam = _seam(rng, recipe, shape) if recipe.seam else None
    counts = np.uint8 if recipe.most <= np.iinfo(np.uint8).max else np.uint16
    image = np.empty((len(recipe.bands), *shape), dtype=counts)
    for b, sky in enumerate(SKY[: len(image)]):
        ground = np.zeros(shape, dtype=np.float32)
        for name, part in share.items():
            if name != "snow":
                ground += part * np.float32(spectra[name][b])
        ground *= texture
        flat = ground.reshape(-1)
        table = np.array([0.0] + [spectra[c][b] for c in CLASSES[1:]], dtype=np.float32)
        flat[named] = table[codes] * tones * terrain.resize(of_objects[b], shape, smooth=False).ravel()[named]
        local = soil_tone * terrain.resize(of_debris[b], shape, smooth=False).ravel()[inside]
        debris = spectra["soil"][b] + rocky * np.float32(spectra["rock"][b] - spectra["soil"][b])
        flat[inside] += bare * (debris * local - flat[inside])
        ground *= terrain.resize(tint[b], shape, smooth=False)
        if "snow" in share:
            ground += share["snow"] * (spectra["snow"][b] - ground)
        ground *= light + np.float32(sky)
        ground += cloud * (0.55 - ground)
        ground += haze * np.float32((1.25, 1.0, 0.75, 0.45)[b])
        if seam is not None:
            ground *= seam[b]
        ground = _blur(ground, recipe.blur)
        ground += np.float32(recipe.noise) * rng.standard_normal(shape, dtype=np.float32) * np.sqrt(0.3 + 4 * ground)
        ground *= np.float32(recipe.gains[b] / recipe.scale)
        np.clip(ground, 1, recipe.most, out=ground)
        ground *= scene.valid
        np.rint(ground, out=ground)
        image[b] = ground
    return image


def _ground_shares(rng: np.random.Generator, recipe: AreaRecipe, scene: Layout, shape: Shape) -> dict[str, Array]:
    """Return the shares of natural cover; all except snow add up to 1."""
    height, coarse, cells = scene.height, scene.height.shape, recipe.relief_px / scene.step
    relative = (height - height.min()) / max(float(np.ptp(height)), 1e-6)
    steep = terrain.slope(height, recipe.resolution_m * scene.step) / recipe.mean_slope

    def field(low: Array, detail: float) -> Array:
        return terrain.resize(low, shape, smooth=False) + np.float32(detail) * terrain.spread(rng, scene.tile, shape)

    def share(value: Array, sharpness: float) -> Array:
        value *= np.float32(sharpness)
        value += np.float32(0.5)
        return np.clip(value, 0, 1, out=value)

    woods = terrain.noise(rng, coarse, 2.2, 2 * cells, 2.0) * 0.8 + 0.8 * (steep - 0.8)
    forest = share(field(woods - np.quantile(woods, 1 - recipe.forest), 0.45), 1.6)
    dry = share(field(terrain.noise(rng, coarse, 2.0, 2 * cells, 2.0) + 2.5 * (recipe.dry - 0.5), 0.5), 0.7)
    cliffs = 0.9 * (steep - 1.0) + 1.6 * (relative - 0.5) + 0.7 * terrain.noise(rng, coarse, 2.0, cells, 2.0)
    rock = share(field(cliffs - np.quantile(cliffs, 1 - 0.16 * recipe.rock), 0.4), 1.5)
    rest = 1 - rock
    forest *= rest
    rest -= forest
    dry *= rest
    shares = {"forest": forest, "dry": dry, "rock": rock, "grass": rest - dry}
    if recipe.snow:
        line = relative - 0.12 * steep + 0.03 * terrain.noise(rng, coarse, 2.0, cells, 2.0)
        shares["snow"] = share(field(line - np.quantile(line, 1 - recipe.snow), 0.02), 12.0)
    return shares


def _regional(rng: np.random.Generator, recipe: AreaRecipe, scene: Layout) -> tuple[Array, Array, Array]:
    """Return spatially smooth brightness factors (4, rows, cols) on the middle grid, for ground, debris, fields."""
    cells, shape = recipe.relief_px / scene.step, scene.height.shape

    def factors(bright: float, hue: float) -> Array:
        common, *bands = (terrain.noise(rng, shape, 2.0, 10 * cells, 3 * cells) for _ in range(5))
        return np.exp(np.float32(bright) * common + np.float32(hue) * np.stack(bands))

    return factors(0.15, 0.1), factors(0.28, 0.14), factors(0.25, 0.1)


def _debris(
    rng: np.random.Generator, scene: Layout, inside: NDArray[np.int64], grain: Array, canopy: Array
) -> tuple[Array, Array, Array]:
    """Return, for landslide pixels, the share of bare debris, its brightness, and its share of rock."""
    slides = scene.slides
    which = slides.label.ravel()[inside] - 1
    along, margin = slides.along.ravel()[inside], slides.margin.ravel()[inside]
    count = max(1, len(slides.size))
    fresh = rng.uniform(0.86, 1.0, count).astype(np.float32)
    fresh[: len(scene.old)][scene.old] = rng.uniform(0.3, 0.65, int(scene.old.sum()))
    tint = np.exp(rng.normal(0, 0.17, count)).astype(np.float32)
    stony = rng.uniform(0.0, 0.4, count).astype(np.float32)
    grain, canopy = grain.ravel()[inside], canopy.ravel()[inside]
    remnant = np.clip(0.9 * grain + 0.5 * margin + 0.35 * along - 1.35, 0, 0.75)
    bare = fresh[which] * (1 - remnant)
    bare *= np.clip(1 + 0.25 * (1 - fresh[which]) * grain, 0, 1.2)
    tone = tint[which] * (1.12 - 0.22 * along + (0.07 + 0.08 * along) * canopy + 0.06 * grain)
    return np.clip(bare, 0, 1), tone, stony[which]


def _clouds(rng: np.random.Generator, recipe: AreaRecipe, coarse: Shape, step: int) -> tuple[Array, Array]:
    """Return the opacity of small clouds and the darkness of their shadows on the coarse grid, 0 to 1."""
    cloud = np.zeros(coarse, dtype=np.float32)
    cells = recipe.relief_px / step
    rows, columns = np.ogrid[: coarse[0], : coarse[1]]
    puff = terrain.noise(rng, coarse, 3.0, cells / 4, 3.0)
    for _ in range(rng.poisson(0.04 * recipe.clouds * coarse[0] * coarse[1] / cells**2) + (recipe.clouds > 0)):
        middle = rng.random(2) * coarse
        radius = cells * rng.uniform(0.08, 0.2)
        away = np.hypot(rows - middle[0], columns - middle[1]) / radius
        cloud = np.maximum(cloud, np.clip(1.2 - away + 0.35 * puff, 0, 1) * (away < 2))
    azimuth, elevation = recipe.sun
    offset = 0.2 * cells / np.tan(np.radians(elevation))
    move = (np.cos(np.radians(azimuth)) * offset, -np.sin(np.radians(azimuth)) * offset)
    shade = 0.65 * ndimage.shift(cloud, move, order=1, mode="constant")
    return np.clip(1.3 * cloud, 0, 0.95).astype(np.float32), shade.astype(np.float32)


def _seam(rng: np.random.Generator, recipe: AreaRecipe, shape: Shape) -> Array:
    """Return brightness factors (4, rows, columns) of two acquisitions that meet along a slanted line."""
    turn = rng.uniform(0, np.pi)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    away = (rows / shape[0] - rng.uniform(0.3, 0.7)) * np.cos(turn)
    away = away + (columns / shape[1] - rng.uniform(0.3, 0.7)) * np.sin(turn)
    tint = np.exp(recipe.seam * (rng.normal(0, 0.3, 4) + rng.choice([-1.0, 1.0])))
    return np.where(away[None] > 0, tint[:, None, None], 1).astype(np.float32)


def _blur(field: Array, sigma: float) -> Array:
    """Blur by a short Gaussian (five taps), the point spread function of optics and detector."""
    taps = np.exp(-0.5 * (np.arange(3) / sigma) ** 2)
    taps /= taps[0] + 2 * taps[1:].sum()
    for axis in (0, 1):
        padded = np.pad(field, [(2, 2) if i == axis else (0, 0) for i in (0, 1)], mode="edge")
        parts = np.lib.stride_tricks.sliding_window_view(padded, field.shape).reshape(5, *field.shape)
        field = np.float32(taps[0]) * parts[2]
        field += np.float32(taps[1]) * (parts[1] + parts[3])
        field += np.float32(taps[2]) * (parts[0] + parts[4])
    return field
