"""What the synthetic twin knows of each study area: sensor, place, season, landslide sizes, ground cover.

Sensors, resolutions, dates, patch sizes and patch counts are Tables 1 and 2 of the paper, and so are the smallest
and largest landslide and Wenchuan's quartiles. Everything else is ours, chosen for plausibility:

* the other areas' quartiles, which the paper does not give. They are such that the paper's rule (the default patch
  size nearest to the square root of ten times a quartile) offers the patch size that Table 2 says was chosen;
* ``tail``, the exponent of the power law above the third quartile (Malamud et al. 2004 find 1.4 for complete
  inventories), and ``cover``, ``clustering`` and ``crowd``, such that patches are about as full of landslides as
  Table 2 says and about half of all windows are kept;
* reflectances, from the general shape of vegetation, soil, rock, water and snow spectra in four bands.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lmhld_nb.scenes.scene import BANDS

Spectrum = tuple[float, float, float, float]
"""Reflectance in blue, green, red, near infrared."""

COVERS: dict[str, Spectrum] = {
    "forest": (0.024, 0.045, 0.030, 0.310),
    "grass": (0.045, 0.085, 0.070, 0.300),
    "dry": (0.066, 0.102, 0.126, 0.232),
    "rock": (0.118, 0.134, 0.145, 0.178),
    "soil": (0.122, 0.165, 0.200, 0.262),
    "gravel": (0.165, 0.186, 0.198, 0.225),
    "water": (0.080, 0.095, 0.075, 0.040),
    "road": (0.150, 0.172, 0.195, 0.222),
    "bare field": (0.078, 0.112, 0.165, 0.222),
    "crop": (0.040, 0.080, 0.050, 0.380),
    "stubble": (0.094, 0.142, 0.185, 0.262),
    "roof": (0.190, 0.200, 0.225, 0.250),
    "quarry": (0.150, 0.180, 0.210, 0.250),
    "snow": (0.820, 0.830, 0.820, 0.740),
    "surf": (0.420, 0.440, 0.430, 0.360),
}


@dataclass(frozen=True)
class AreaRecipe:
    """How one study area's scenes are made.

    Attributes:
        sensor, resolution_m: Table 1.
        patch, patches: patch size in pixels and number of patches, Table 2 (of an event: see ``events``).
        lon, lat: middle of the area, degrees. epsg: UTM zone of that place.
        sizes: smallest landslide, Q1, Q2, Q3 and largest, pixels.
        tail: exponent of the size distribution above Q3.
        cover: share of a scene under landslides.
        kept: share of windows that pass the 10 % rule (measured, it sets the size of scenes).
        clustering: how much landslides crowd together.
        crowd: share of a window at which no more landslides are put there.
        old: share of older, partly overgrown landslides.
        mean_slope: tangent of the mean slope. ruggedness: variation of the uplift.
        base_m: height of the lowest ground.
        most: largest stored value. scale: stored value -> reflectance. gains: per band, sensor's response.
        blur: standard deviation of the point spread function, pixels.
        noise: sensor noise, reflectance. haze: path radiance, reflectance.
        sun: azimuth and elevation, degrees.
        crown_px: size of trees in the texture.
        forest: share of vegetated ground under forest; dry: how dry or leafless the rest is.
        rock: bare rock on cliffs and high ground (1 is a sixth of the scene).
        snow: share of the scene, from the top, under snow.
        fields, settlements, quarries, roads, river, clouds: abundance of look-alikes (0 none, 1 common).
        covers: spectra that differ from ``COVERS`` here (season, rock).
        bands: what the image holds, the first of ``scenes.BANDS``.
        swath: a slanted edge of the acquisition crosses the scene; else the image is full.
        seam: how much the tone changes where two acquisitions of a mosaic meet (0 no seam).
        sea: share of the scene under the sea. riverside: how much landslides prefer river banks.
        road_m: widths of narrow and wide roads, metres.
    """

    sensor: str
    resolution_m: float
    patch: int
    patches: int
    lon: float
    lat: float
    epsg: int
    sizes: tuple[int, int, int, int, int]
    tail: float
    cover: float
    kept: float
    clustering: float
    crowd: float
    old: float
    mean_slope: float
    ruggedness: float
    base_m: float
    most: int
    scale: float
    gains: Spectrum
    blur: float
    noise: float
    haze: float
    sun: tuple[float, float]
    crown_px: float
    forest: float
    dry: float
    rock: float
    snow: float
    fields: float
    settlements: float
    quarries: float
    roads: float
    river: float
    clouds: float
    covers: dict[str, Spectrum] = field(default_factory=dict)
    bands: tuple[str, ...] = BANDS
    swath: bool = True
    seam: float = 0.0
    sea: float = 0.0
    riverside: float = 0.0
    road_m: tuple[float, float] = (5.0, 8.0)


AREAS: dict[str, AreaRecipe] = {
    "rio": AreaRecipe(  # southern winter, low sun; forested granite hills, pasture, towns in the valleys
        sensor="RapidEye", resolution_m=5.0, patch=64, patches=683,
        lon=-42.6, lat=-22.3, epsg=32723,
        sizes=(7, 100, 330, 950, 3124), tail=2.5, cover=0.1, kept=0.41, clustering=0.2, crowd=0.09, old=0.15,
        mean_slope=0.42, ruggedness=0.3, base_m=850, most=65535, scale=1.0e-4, gains=(1.0, 1.0, 1.0, 1.0),
        blur=0.7, noise=0.006, haze=0.02, sun=(38, 44), crown_px=2.5, forest=0.62, dry=0.35, rock=0.25, snow=0,
        fields=0.7, settlements=1.0, quarries=0.4, roads=0.8, river=0.5, clouds=0.4,
        covers={"soil": (0.105, 0.158, 0.225, 0.300), "bare field": (0.064, 0.098, 0.175, 0.240)},
    ),
    "hokkaido": AreaRecipe(  # November: leafless forest, brown grass, low sun; slides in pale pumice
        sensor="PlanetScope", resolution_m=3.0, patch=128, patches=1915,
        lon=142.0, lat=42.7, epsg=32654,
        sizes=(8, 160, 480, 1350, 22510), tail=1.0, cover=0.15, kept=0.55, clustering=0.5, crowd=0.3, old=0.05,
        mean_slope=0.32, ruggedness=0.3, base_m=60, most=65535, scale=1.0e-4, gains=(1.0, 1.0, 1.0, 1.0),
        blur=0.8, noise=0.009, haze=0.015, sun=(168, 34), crown_px=3.0, forest=0.7, dry=0.8, rock=0.05, snow=0.0,
        fields=1.0, settlements=0.5, quarries=0.5, roads=1.0, river=0.7, clouds=0.3,
        covers={
            "forest": (0.042, 0.055, 0.066, 0.170), "grass": (0.060, 0.085, 0.090, 0.215),
            "dry": (0.078, 0.108, 0.140, 0.210), "soil": (0.122, 0.160, 0.192, 0.238),
        },
    ),
    "emilia_romagna": AreaRecipe(  # August: dry fields and clay badlands among oak woods on gentle hills
        sensor="Sentinel-2", resolution_m=10.0, patch=32, patches=5929,
        lon=11.7, lat=44.2, epsg=32632,
        sizes=(1, 30, 85, 250, 4735), tail=2.2, cover=0.12, kept=0.45, clustering=0.2, crowd=0.1, old=0.15,
        mean_slope=0.26, ruggedness=0.3, base_m=180, most=65535, scale=1.0e-4, gains=(1.0, 1.0, 1.0, 1.0),
        blur=0.55, noise=0.003, haze=0.012, sun=(150, 56), crown_px=2.0, forest=0.6, dry=0.7, rock=0.15, snow=0,
        fields=1.0, settlements=0.6, quarries=0.4, roads=0.7, river=0.7, clouds=0.2,
        covers={"soil": (0.135, 0.172, 0.200, 0.258), "stubble": (0.092, 0.138, 0.188, 0.270)},
    ),
    "gorkha": AreaRecipe(  # December: terraces in the valleys, snow on the heights, long shadows
        sensor="Sentinel-2", resolution_m=10.0, patch=32, patches=3972,
        lon=84.7, lat=28.2, epsg=32645,
        sizes=(8, 60, 200, 620, 6491), tail=2.4, cover=0.15, kept=0.48, clustering=0.3, crowd=0.22, old=0.05,
        mean_slope=0.55, ruggedness=0.35, base_m=900, most=65535, scale=1.0e-4, gains=(1.0, 1.0, 1.0, 1.0),
        blur=0.55, noise=0.003, haze=0.012, sun=(158, 41), crown_px=2.0, forest=0.58, dry=0.45, rock=1.0, snow=0.05,
        fields=1.0, settlements=0.3, quarries=0.2, roads=0.6, river=1.0, clouds=0.1,
        covers={
            "grass": (0.050, 0.078, 0.078, 0.240), "crop": (0.050, 0.085, 0.075, 0.290),
            "soil": (0.150, 0.188, 0.212, 0.255),
        },
    ),
    "jiuzhaigou": AreaRecipe(  # August: spruce forest on limestone; scree and cliffs look like slides
        sensor="Gaofen-2", resolution_m=1.0, patch=128, patches=2734,
        lon=103.8, lat=33.2, epsg=32648,
        sizes=(10, 150, 600, 1900, 97776), tail=1.0, cover=0.145, kept=0.51, clustering=0.5, crowd=0.18, old=0.15,
        mean_slope=0.72, ruggedness=0.35, base_m=2300, most=1023, scale=8.0e-4, gains=(1.05, 1.0, 0.92, 0.96),
        blur=0.9, noise=0.006, haze=0.035, sun=(135, 62), crown_px=5.0, forest=0.75, dry=0.2, rock=1.0, snow=0,
        fields=0.25, settlements=0.3, quarries=0.2, roads=1.0, river=0.8, clouds=0.4,
        covers={"soil": (0.150, 0.188, 0.218, 0.270), "rock": (0.140, 0.156, 0.168, 0.198)},
    ),
    "wenchuan": AreaRecipe(  # May: farmed valleys and shrub in the Min gorge, hazy
        sensor="IKONOS", resolution_m=0.8, patch=224, patches=2603,
        lon=103.4, lat=31.0, epsg=32648,
        sizes=(7, 417, 1191, 4123, 681850), tail=0.85, cover=0.2, kept=0.59, clustering=0.9, crowd=0.6, old=0.1,
        mean_slope=0.66, ruggedness=0.35, base_m=900, most=2047, scale=4.0e-4, gains=(1.1, 1.05, 0.95, 0.9),
        blur=1.0, noise=0.006, haze=0.05, sun=(125, 66), crown_px=6.0, forest=0.55, dry=0.4, rock=0.8, snow=0,
        fields=0.9, settlements=0.8, quarries=0.5, roads=1.0, river=1.0, clouds=0.5,
        covers={"soil": (0.130, 0.168, 0.200, 0.255)},
    ),
    "taiwan": AreaRecipe(  # January: evergreen forest, wide gravel rivers, landslides of many ages
        sensor="PlanetScope", resolution_m=3.0, patch=224, patches=7529,
        lon=121.0, lat=23.5, epsg=32651,
        sizes=(32, 700, 1900, 4600, 325589), tail=1.4, cover=0.13, kept=0.56, clustering=0.5, crowd=0.12, old=0.2,
        mean_slope=0.6, ruggedness=0.35, base_m=500, most=65535, scale=1.0e-4, gains=(1.0, 1.0, 1.0, 1.0),
        blur=0.8, noise=0.008, haze=0.02, sun=(150, 46), crown_px=3.0, forest=0.75, dry=0.3, rock=0.35, snow=0,
        fields=0.6, settlements=0.3, quarries=0.3, roads=0.8, river=1.0, clouds=0.5,
        covers={"soil": (0.122, 0.162, 0.196, 0.248), "gravel": (0.140, 0.160, 0.172, 0.198)},
    ),
}  # fmt: skip
