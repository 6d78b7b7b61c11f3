"""Published facts: study areas, Tables 1 to 7 and statements in the text of the LMHLD paper.

Every fact is stored once, in a CSV in this folder (``SOURCES.md`` lists the sources). Nothing here corrects the paper:
that is left to the audit chapter.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache, wraps
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import pandas as pd

from lmhld_nb.config import UserError

if TYPE_CHECKING:
    import geopandas

FOLDER = Path(__file__).parent

TABLES = MappingProxyType({int(path.name[5]): path.name for path in sorted(FOLDER.glob("table[1-7]_*.csv"))})
"""Names of the tables' files."""

AREAS = ("rio", "hokkaido", "emilia_romagna", "gorkha", "jiuzhaigou", "wenchuan", "taiwan")
"""Keys of the study areas in Table 1's order, the order used everywhere."""

MODELS: Mapping[str, str] = MappingProxyType(
    {"unet": "U-Net", "res_unet": "Res U-Net", "dense_unet": "Dense U-Net", "attention_unet": "Attention U-Net"}
    | {"trans_unet": "Trans U-Net", "unet_pp": "U-Net++", "unet_3p": "U-Net+++"}
)
"""Model keys and their names in the paper's tables, in the order of the tables."""

SCORES: Mapping[str, str] = MappingProxyType({"precision": "precision", "f1": "F1", "recall": "recall"})
"""Columns of scores in Tables 4 to 7, in the tables' order, and their names in running text."""

Frame = TypeVar("Frame", bound=pd.DataFrame)
Given = ParamSpec("Given")


def _copied(read: Callable[Given, Frame]) -> Callable[Given, Frame]:
    """Read once (True is not 1), and return a copy to each caller."""
    once: Callable[..., Frame] = lru_cache(maxsize=None, typed=True)(read)
    return wraps(read)(lambda *given, **named: once(*given, **named).copy())


# Read as text: 2015.10 is a month and not a number, and Table 3 holds "-" and "32, 64, 128, 224".
_TEXT_COLUMNS = {1: {"date": str}, 3: {"patch_size": str}}


@_copied
def table(n: int) -> pd.DataFrame:
    """Return Table ``n`` as published, row by row (Table 2 without its total); UserError if there is none.

    1 study_area, sensor, resolution_m, date (``YYYY.MM``), landslides, min_area_px, max_area_px. 2 study_area,
    patch_size, patches, landslide_fraction_{train,val,test}. 3 dataset, patch_size, sensors, resolution, patches. 4
    model, patch_size and three scores (0 to 1), 5 study_area, model, scores, 6 and 7 model, scores.
    """
    if isinstance(n, bool) or n not in TABLES:
        raise UserError(f"paper.table({n!r}): the paper has Tables 1 to 7; give one of these numbers")
    return pd.read_csv(FOLDER / TABLES[n], dtype=_TEXT_COLUMNS.get(n))


@_copied
def areas() -> pd.DataFrame:
    """Return the seven study areas, indexed by ``key`` in Table 1's order.

    name, short_name, aliases (joined by ``;``), country, lon and lat (degrees), epsg (UTM zone), event, trigger
    (``earthquake``, ``rainfall``), then Table 1's columns and Table 2's patch_size and patches.
    """
    locations = pd.read_csv(FOLDER / "areas.csv")
    measured = table(1).merge(table(2)[["study_area", "patch_size", "patches"]], on="study_area", validate="1:1")
    joined = locations.merge(measured, left_on="name", right_on="study_area", validate="1:1")
    return joined.drop(columns="study_area").set_index("key").loc[list(AREAS)]


@cache
def area_key(text: str) -> str:
    """Return the key of the area that ``text`` names in any known spelling (only letters count); else UserError."""
    names = areas()[["name", "short_name", "aliases"]].itertuples()
    keys = {_letters(one): key for key, *two, aliases in names for one in (key, *two, *aliases.split(";"))}
    if (key := keys.get(_letters(text))) is None:
        raise UserError(f"study area {text!r} is not known; use one of {', '.join(AREAS)}")
    return key


def _letters(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text)
    return "".join(letter for letter in plain.casefold() if letter.isascii() and letter.isalpha())


@_copied
def world() -> geopandas.GeoDataFrame:
    """Return the outline of the world's land without Antarctica (Natural Earth 1:110m) in longitude and latitude."""
    import geopandas  # imported here because it takes a second and only maps need it

    return geopandas.read_file(FOLDER / "world_land.geojson")


@dataclass(frozen=True)
class Quote:
    """A statement in the paper's text: a number, a name, or several; ``name`` is its key in ``quoted.csv``.

    ``printed`` is as printed, one text each; ``values`` what it means: numbers without separators, keys of areas, names
    as the tables have them. ``unit`` is that of the last printed digit of a rounded number, 0 where it is exact.
    """

    name: str
    section: str
    printed: tuple[str, ...]
    values: tuple[str, ...]
    unit: float

    @property
    def number(self) -> float:
        return float(self.values[0])

    @property
    def half(self) -> float:
        """Half a unit in the last printed digit: the largest deviation of the unrounded number."""
        return self.unit / 2

    def __str__(self) -> str:
        *others, last = self.printed
        return f"{', '.join(others)} and {last}" if others else last


@cache
def quotes() -> Mapping[str, Quote]:
    """Return the statements in the paper's text by name."""
    return {
        name: Quote(name, section, tuple(printed.split(";")), tuple(values.split(";")), float(unit or 0))
        for name, section, printed, values, unit in _texts("quoted.csv").itertuples(index=False)
    }


def claims() -> pd.DataFrame:
    """Return the paper's checkable statements in its order, indexed by ``id`` (before ``/`` that of the statement).

    section, reading (how it is understood), needs (what had to be published), claim (with numbers), tolerance, and a
    remark on what follows; each may be empty but section and claim.
    """
    table = _texts("claims.csv").set_index("id")
    table["claim"] = [claim.format_map(quotes()) for claim in table["claim"]]
    return table


def outside() -> pd.DataFrame:
    """Return facts from outside the paper: kind, key, value, source (an article, or the authors of a count).

    Kinds: ``event`` (day or month), ``cited_count``, ``inventory``, ``moment_magnitude``, ``largest_km2``; of other
    data ``resolution``, ``patches_described``, ``patches_released``; ``lies_in`` (a region).
    """
    return _texts("outside.csv")


def _texts(name: str) -> pd.DataFrame:
    return pd.read_csv(FOLDER / name, dtype=str, keep_default_na=False)


def area_name(area: str) -> str:
    """Return an area's name for figures; for areas not in the paper, the key written as a name."""
    table = areas()
    return str(table.loc[area, "short_name"]) if area in table.index else area.replace("_", " ").title()
