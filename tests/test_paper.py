"""The published facts: complete, typed, spelled in one way, and equal to the tables we were given."""

import math

import pandas as pd
import pytest
from conftest import SHARED
from made import refuses
from shapely.geometry import Point

from lmhld_nb import paper

ROWS = {1: 7, 2: 8, 3: 6, 4: 21, 5: 49, 6: 7, 7: 7}


def test_every_table_is_complete_and_typed() -> None:
    for number, rows in ROWS.items():
        table = paper.table(number)
        assert len(table) == rows and not table.isna().any(axis=None)
        if number > 3:
            assert list(table["model"].unique()) == list(paper.MODELS.values())
            assert table[list(paper.SCORES)].stack().between(0.3, 1, "neither").all()
    assert paper.table(1)["date"].tolist()[3] == "2015.12"  # a month, not the number 2015.12
    assert paper.table(1).dtypes[["max_area_px", "resolution_m"]].tolist() == [int, float]
    assert paper.table(3)["patch_size"].tolist()[-1] == "32, 64, 128, 224"
    assert paper.areas()["patches"].sum() == paper.table(3).set_index("dataset")["patches"]["LMHLD"] == 25365


@pytest.mark.parametrize("number", [0, 8, -1, "1", True, 1.5, None])
def test_no_other_table(number: object) -> None:
    refuses("Tables 1 to 7", paper.table, number)


def test_what_a_caller_changes_stays_with_the_caller() -> None:
    for read in (paper.areas, paper.figures, paper.world, lambda: paper.table(5)):
        first = read()
        column = first.columns[0]
        before = first[column].tolist()
        first[column] = "changed"
        assert read()[column].tolist() == before


def test_areas_stand_in_the_order_of_table_1() -> None:
    areas = paper.areas()
    assert tuple(areas.index) == paper.AREAS
    assert areas["name"].tolist() == paper.table(1)["study_area"].tolist()
    assert set(areas["trigger"]) == {"earthquake", "rainfall"}
    columns = ["sensor", "resolution_m", "patch_size", "patches"]
    assert areas.loc["wenchuan", columns].tolist() == ["IKONOS", 0.8, 224, 2603]
    for key, area in areas.iterrows():  # the UTM zone holds the point
        zone = math.floor((area["lon"] + 180) / 6) + 1
        assert area["epsg"] == (32600 if area["lat"] > 0 else 32700) + zone, key


def test_every_published_spelling_resolves() -> None:
    for number in (1, 2, 5):
        names = [name for name in paper.table(number)["study_area"].unique() if name != "Comparison dataset"]
        assert tuple(paper.area_key(name) for name in names) == paper.AREAS
    spellings = ("Kathmandu (Nepal)", "Wenchuan_224", " RIO DE JANEIRO ", "Emília-Romagna")
    assert [paper.area_key(name) for name in spellings] == ["gorkha", "wenchuan", "rio", "emilia_romagna"]


@pytest.mark.parametrize("text", ["China", "Taitung_China", "", "224", "Comparison dataset", "四川"])
def test_what_names_no_area_is_refused(text: str) -> None:
    refuses("use one of rio, hokkaido", paper.area_key, text)


def test_figures_are_all_listed() -> None:
    figures = paper.figures()
    assert figures.index.tolist() == list(range(1, 18))
    assert figures.loc[9, "section"] == "4.1"
    assert set(figures["kind"]) == {"map", "images", "diagram", "histogram", "detections", "matrix"}
    assert figures["caption"].is_unique


def test_world_outline_is_land_and_small() -> None:
    assert (paper.FOLDER / "world_land.geojson").stat().st_size < 150_000
    world = paper.world()
    assert world.crs.to_epsg() == 4326
    outline = world.geometry.union_all()
    assert outline.is_valid
    west, south, east, north = outline.bounds
    assert (west, east) == (-180, 180)
    assert -60 < south < north < 84  # no Antarctica
    for key, area in paper.areas().iterrows():
        assert outline.distance(Point(area["lon"], area["lat"])) < 0.2, key
    assert not any(outline.contains(Point(*sea)) for sea in ((-30, 30), (51, 42)))  # mid-Atlantic, the Caspian


def test_tables_equal_the_ones_supplied_with_the_paper() -> None:
    supplied = SHARED.parent / "paper"
    if not supplied.is_dir():
        pytest.skip(f"no folder {supplied.name}/ beside LMHLD_SHARED_DATA: the supplied tables are not here")
    for number, name in paper.TABLES.items():
        ours = pd.read_csv(paper.FOLDER / name, dtype=str)
        pd.testing.assert_frame_equal(ours, pd.read_csv(supplied / name, dtype=str))
        assert paper.table(number).shape == ours.shape
