"""Six made-up events that no training area of the twin contains, for the test of generalisation (section 3.2 (5)).

Their names are those of the scenes the paper tests on: five sites of GVLM (Zhang et al. 2023), pictures from Google
Earth at 0.59 m without a near-infrared band, and PlanetScope's four-band scene of Luding of 21 October 2022, 3 m.
From the paper come these names, the sensors, pixel sizes and bands; that Luding's large landslides lie at the river,
beside sediments that look alike; and that roads are mistaken for landslides. Coordinates are about those of the places
so named.

All the rest is invented: terrain, season, sun, ground, colour of the debris, landslide sizes, look-alikes. Each event
was given what the seven areas lack (red laterite, a coast, braided rivers, savanna, clearings in jungle, a gorge in
autumn), so that a network must cope with other ground, and not because the place is known to look so. The pictures
"from Google Earth" are pretended by eight bits, a stretch of its own for each site that lets the brightest ground
saturate, and a seam where two acquisitions meet; they have no edge of a swath.

``patches`` is the number of windows of a scene at ``scale: 1.0``: 25 windows of 128 pixels, 640 x 640 pixels.
"""

from __future__ import annotations

from lmhld_nb.twin.areas import AREAS, AreaRecipe

RGB = ("blue", "green", "red")

EVENTS: dict[str, AreaRecipe] = {
    "kodagu": AreaRecipe(  # after a monsoon: lush green, plantations, narrow debris flows in red laterite
        sensor="Google Earth", resolution_m=0.59, patch=128, patches=25,
        lon=75.7, lat=12.4, epsg=32643,
        sizes=(30, 350, 1000, 2600, 30000), tail=1.3, cover=0.08, kept=1.0, clustering=0.6, crowd=0.3, old=0.1,
        mean_slope=0.42, ruggedness=0.3, base_m=850, most=255, scale=1.35e-3, gains=(0.95, 1.05, 1.0, 1.0),
        blur=0.9, noise=0.007, haze=0.03, sun=(118, 61), crown_px=9.0, forest=0.72, dry=0.12, rock=0.05, snow=0,
        fields=0.9, settlements=0.5, quarries=0.5, roads=1.0, river=0.4, clouds=0.2,
        covers={
            "forest": (0.022, 0.058, 0.026, 0.390), "grass": (0.036, 0.098, 0.050, 0.400),
            "dry": (0.060, 0.100, 0.120, 0.260), "soil": (0.070, 0.112, 0.215, 0.300),
            "bare field": (0.068, 0.108, 0.205, 0.290), "road": (0.085, 0.125, 0.210, 0.280),
            "quarry": (0.080, 0.125, 0.235, 0.310), "water": (0.075, 0.105, 0.125, 0.060),
            "rock": (0.085, 0.098, 0.108, 0.150),
        },
        bands=RGB, swath=False, seam=0.12, road_m=(3.0, 4.5),
    ),
    "kaikoura": AreaRecipe(  # a coast under a low northern sun: straw-coloured grass, grey debris, beach and surf
        sensor="Google Earth", resolution_m=0.59, patch=128, patches=25,
        lon=173.7, lat=-42.4, epsg=32759,
        sizes=(40, 400, 1300, 3500, 60000), tail=1.1, cover=0.09, kept=1.0, clustering=0.6, crowd=0.4, old=0.15,
        mean_slope=0.4, ruggedness=0.3, base_m=0, most=255, scale=1.5e-3, gains=(1.1, 1.0, 1.0, 1.0),
        blur=0.8, noise=0.006, haze=0.025, sun=(48, 43), crown_px=7.0, forest=0.25, dry=0.62, rock=0.4, snow=0,
        fields=0.35, settlements=0.4, quarries=0.2, roads=1.0, river=0.5, clouds=0,
        covers={
            "forest": (0.030, 0.048, 0.038, 0.260), "grass": (0.052, 0.092, 0.072, 0.280),
            "dry": (0.085, 0.128, 0.150, 0.245), "soil": (0.148, 0.168, 0.178, 0.215),
            "rock": (0.110, 0.122, 0.128, 0.160), "gravel": (0.135, 0.150, 0.155, 0.180),
            "water": (0.075, 0.088, 0.058, 0.025), "road": (0.120, 0.130, 0.138, 0.160),
        },
        bands=RGB, swath=False, seam=0.1, sea=0.17, road_m=(4.0, 6.0),
    ),
    "taitung": AreaRecipe(  # braided rivers far wider than their water; evergreen slopes, dark slate debris
        sensor="Google Earth", resolution_m=0.59, patch=128, patches=25,
        lon=121.0, lat=22.7, epsg=32651,
        sizes=(50, 600, 1800, 4500, 60000), tail=1.1, cover=0.1, kept=1.0, clustering=0.5, crowd=0.4, old=0.25,
        mean_slope=0.58, ruggedness=0.3, base_m=250, most=255, scale=1.2e-3, gains=(1.05, 1.0, 0.95, 1.0),
        blur=1.0, noise=0.007, haze=0.04, sun=(105, 57), crown_px=10.0, forest=0.85, dry=0.15, rock=0.3, snow=0,
        fields=0.3, settlements=0.3, quarries=0.2, roads=0.8, river=2.6, clouds=0.4,
        covers={
            "forest": (0.020, 0.042, 0.024, 0.330), "soil": (0.118, 0.132, 0.138, 0.170),
            "rock": (0.085, 0.096, 0.100, 0.130), "gravel": (0.125, 0.138, 0.142, 0.165),
            "water": (0.075, 0.092, 0.086, 0.050), "road": (0.135, 0.145, 0.150, 0.170),
        },
        bands=RGB, swath=False, seam=0.12, road_m=(4.0, 5.0),
    ),
    "kupang": AreaRecipe(  # savanna in the dry season: bleached grass, thin trees, pale marl that differs little
        sensor="Google Earth", resolution_m=0.59, patch=128, patches=25,
        lon=123.7, lat=-10.2, epsg=32751,
        sizes=(60, 700, 2000, 5200, 60000), tail=1.2, cover=0.11, kept=1.0, clustering=0.5, crowd=0.4, old=0.15,
        mean_slope=0.28, ruggedness=0.3, base_m=200, most=255, scale=1.75e-3, gains=(1.0, 1.0, 1.05, 1.0),
        blur=0.8, noise=0.006, haze=0.02, sun=(62, 66), crown_px=8.0, forest=0.3, dry=0.8, rock=0.25, snow=0,
        fields=0.7, settlements=0.8, quarries=0.4, roads=1.0, river=0.5, clouds=0.2,
        covers={
            "forest": (0.038, 0.066, 0.058, 0.240), "grass": (0.075, 0.112, 0.115, 0.250),
            "dry": (0.100, 0.140, 0.172, 0.260), "soil": (0.160, 0.194, 0.220, 0.270),
            "bare field": (0.130, 0.165, 0.205, 0.270), "stubble": (0.130, 0.175, 0.210, 0.280),
            "crop": (0.060, 0.100, 0.085, 0.290), "rock": (0.160, 0.180, 0.195, 0.220),
            "gravel": (0.190, 0.215, 0.230, 0.260), "road": (0.185, 0.205, 0.220, 0.250),
        },
        bands=RGB, swath=False, seam=0.1, road_m=(3.0, 6.0),
    ),
    "a_luoi": AreaRecipe(  # jungle in wet haze: ochre debris, dirt roads, burnt and cleared patches on the slopes
        sensor="Google Earth", resolution_m=0.59, patch=128, patches=25,
        lon=107.3, lat=16.2, epsg=32648,
        sizes=(25, 250, 800, 2200, 25000), tail=1.4, cover=0.07, kept=1.0, clustering=0.8, crowd=0.35, old=0.2,
        mean_slope=0.5, ruggedness=0.35, base_m=550, most=255, scale=1.25e-3, gains=(1.1, 1.0, 0.95, 1.0),
        blur=1.1, noise=0.008, haze=0.055, sun=(140, 47), crown_px=11.0, forest=0.82, dry=0.25, rock=0.02, snow=0,
        fields=0.3, settlements=0.3, quarries=14.0, roads=1.2, river=0.6, clouds=0.3,
        covers={
            "forest": (0.024, 0.050, 0.028, 0.350), "grass": (0.040, 0.086, 0.054, 0.340),
            "soil": (0.095, 0.142, 0.205, 0.280), "road": (0.110, 0.155, 0.210, 0.270),
            "quarry": (0.078, 0.112, 0.152, 0.210), "water": (0.095, 0.130, 0.135, 0.060),
        },
        bands=RGB, swath=False, seam=0.12, road_m=(3.0, 4.5),
    ),
    "luding": AreaRecipe(  # October in a gorge: large slides down to the river, dry lower slopes, autumn colours
        sensor="PlanetScope", resolution_m=3.0, patch=128, patches=25,
        lon=102.2, lat=29.6, epsg=32648,
        sizes=(9, 150, 600, 2200, 25000), tail=0.7, cover=0.12, kept=1.0, clustering=0.2, crowd=0.5, old=0.05,
        mean_slope=0.72, ruggedness=0.4, base_m=1100, most=65535, scale=1.0e-4, gains=(1.0, 1.0, 1.0, 1.0),
        blur=0.8, noise=0.008, haze=0.025, sun=(160, 49), crown_px=3.0, forest=0.55, dry=0.6, rock=0.7, snow=0,
        fields=0.6, settlements=0.6, quarries=0.3, roads=1.2, river=1.6, clouds=0.3,
        covers={
            "forest": (0.030, 0.052, 0.044, 0.230), "grass": (0.055, 0.082, 0.082, 0.230),
            "dry": (0.072, 0.098, 0.122, 0.205), "soil": (0.130, 0.160, 0.180, 0.225),
            "gravel": (0.150, 0.168, 0.176, 0.205), "water": (0.060, 0.085, 0.068, 0.030),
        },
        riverside=2.0,
    ),
}  # fmt: skip

RECIPES: dict[str, AreaRecipe] = {**AREAS, **EVENTS}
"""Areas and events. Their order numbers the random streams: new ones go to the end."""
