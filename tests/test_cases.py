"""Files as people have them: each kind of input that was once read wrongly is read rightly now, or refused."""

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import geopandas as gpd
import h5py
import numpy as np
import pytest
import rasterio
from affine import Affine
from made import CRS, TRANSFORM, blobs, image_of, refuses, write_polygons, write_tif
from mapped import draw, write_weights
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS as System
from rasterio.rio.main import main_group
from shapely.geometry import box

from lmhld_nb import mapping, sources
from lmhld_nb.mapping.labelled import LabelFile
from lmhld_nb.scenes import mosaics
from lmhld_nb.scenes.rasters import Window
from lmhld_nb.scenes.scene import BANDS, Scene, open_image, read_all

MASK = blobs(64, 64, 5, seed=4)
IMAGE, CODES = image_of(MASK), MASK.astype(np.uint8)
LOCAL = System.from_wkt('LOCAL_CS["site grid",UNIT["metre",1],AXIS["Easting",EAST],AXIS["Northing",NORTH]]')
DESCRIPTION = """
name: own
title: own
licence: own
citation: own
source: {kind: local, where: here}
bands: [blue, green, red, nir]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_tif(tmp_path / "scene.tif", IMAGE)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Adopt a folder of images and masks by a description with other keys."""
    monkeypatch.setenv("LMHLD_WORKDIR", str(tmp_path / "work"))
    catalogue = tmp_path / "work" / "params" / "data"
    catalogue.mkdir(parents=True)

    def adopt(folder: Path, keys: str = "", suffix: str = "tif", labels: str = "") -> sources.DataSet:
        labels = labels or f'masks: "**/masks/{{id}}.{suffix}"'
        parts = f'parts: [{{images: "**/images/{{id}}.{suffix}", {labels}, area: own}}]\n'
        (catalogue / "own.yaml").write_text(DESCRIPTION + parts + keys)
        return sources.get("own", folder, progress=False)

    return adopt


def folder_of(root: Path, codes: np.ndarray = CODES, image: np.ndarray = IMAGE, **options: object) -> Path:
    write_tif(root / "images" / "a.tif", image, **options)
    write_tif(root / "masks" / "a.tif", codes, **options)
    return root


def told(line: str, folder: Path) -> None:
    """Run the command that a message advises, up to a backtick or a bracket, as a terminal in ``folder`` would."""
    command = line[line.index("rio ") + 4 :].split("`")[0]
    with contextlib.chdir(folder), warnings.catch_warnings(action="ignore"):
        main_group.main(shlex.split(command), standalone_mode=False)


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as source:
        return source.read()


# Labels

RED = np.stack([CODES * 255, CODES * 0, CODES * 0])


@pytest.mark.parametrize(("codes", "message"), [
    (RED, "its 3 bands differ, so it holds colours"),
    (np.minimum(np.cumsum(MASK, 1), 9) * CODES, "without a meaning; if they number landslides"),
    (CODES + 255 * (CODES == 0), "holds no background, only 1 .* write 0 there"),
    (CODES * 0.5, "holds fractions"),
    (np.where(MASK, 1.0, np.nan), "holds fractions or NaN"),
    (CODES * 255, "no pixel is 1, it holds 0"),
])  # fmt: skip
def test_values_that_are_no_labels_are_refused(tmp_path, path, own, codes, message):
    truth = write_tif(tmp_path / "the truth.tif", codes.astype(np.float32 if codes.dtype == float else np.uint8))
    line = refuses(message, mapping.scene_of_file, path, BANDS, truth=truth)
    if "rio calc" in line:
        told(line, tmp_path)
        assert (read_all(mapping.scene_of_file(path, BANDS, truth=tmp_path / "codes.tif"))[1] == MASK).all()
    refuses(message, own, folder_of(tmp_path / "set", read(truth)))


def test_other_values_are_background_where_that_is_said_and_grey_bands_are_a_mask(tmp_path, path, own, capsys):
    truth = write_tif(tmp_path / "truth.tif", CODES + 2 * (CODES == 0))
    refuses("give --truth-code 1", mapping.scene_of_file, path, BANDS, truth=truth)
    assert (read_all(mapping.scene_of_file(path, BANDS, truth=truth, truth_code=1))[1] == MASK).all()
    own(folder_of(tmp_path / "set", read(truth)[0]), "landslide_codes: [1]")
    assert capsys.readouterr().err.count("values without a meaning, treated as background") == 2
    bands = np.stack([CODES * 255] * 3 + [CODES * 0 + 9])
    grey = write_tif(tmp_path / "grey.tif", bands, photometric="RGB", alpha="YES")
    assert (read_all(mapping.scene_of_file(path, BANDS, truth=grey, truth_code=255))[1] == MASK).all()


# Polygons


def test_a_layer_and_a_filter_choose_polygons(tmp_path, path):
    truth = tmp_path / "truth.gpkg"
    table = gpd.read_file(write_polygons(tmp_path / "one.gpkg", MASK)).assign(kind="slide")
    lake = gpd.GeoDataFrame({"kind": ["lake"]}, geometry=[box(*table.total_bounds)], crs=CRS)
    lake.to_file(truth, layer="study area")
    gpd.pd.concat([table, lake]).to_file(truth, layer="inventory")
    for message, options in (
        (r"several layers \(study area, inventory\); name one with --layer", {}),
        ("no layer 'x', it holds study area, inventory", {"layer": "x"}),
        ("no feature fits kind = 'x'", {"layer": "inventory", "where": "kind = 'x'"}),
        ("'x = 'x'' cannot be used .*no such column.*correct --where", {"layer": "inventory", "where": "x = 'x'"}),
    ):
        refuses(message, read_all, mapping.scene_of_file(path, BANDS, truth=truth, **options))
    table.to_crs(4326).to_file(tmp_path / "one.geojson")
    described = mapping.scene_of_file(path, BANDS, truth=tmp_path / "one.geojson", where="x = 1")
    refuses("'x = 1' cannot be used .*correct --where", read_all, described)
    described = mapping.scene_of_file(path, BANDS, truth=truth, layer="inventory", where="kind = 'slide'")
    assert (read_all(described)[1] == MASK).all()
    refuses("choose among polygons", mapping.scene_of_file, path, BANDS, layer="inventory")


def test_a_data_set_takes_a_layer_and_a_filter_too(tmp_path, own):
    folder = folder_of(tmp_path / "set")
    write_polygons(folder / "a.gpkg", MASK)
    (scene,) = own(folder, labels='polygons: "{id}.gpkg", layer: a, where: "id >= 0"').scenes
    assert (scene.layer, scene.where) == ("a", "id >= 0") and (read_all(scene)[1] == MASK).all()


def test_a_tile_that_a_shared_inventory_leaves_empty_holds_no_landslide(tmp_path, own):
    folder, labels = tmp_path / "set", 'polygons: "all.gpkg"'
    for number, name in enumerate("abc"):
        write_tif(folder / f"images/{name}.tif", IMAGE, transform=TRANSFORM * Affine.translation(200 * number, 0))
    write_polygons(folder / "all.gpkg", MASK)
    assert [read_all(scene)[1].sum() for scene in own(folder, labels=labels).scenes] == [MASK.sum(), 0, 0]
    write_polygons(folder / "all.gpkg", MASK, transform=TRANSFORM * Affine.translation(900, 0))
    refuses("polygons lies in a.tif; check that the two belong", own, folder, labels=labels)


@pytest.mark.parametrize("name", ["a.kml", "a.fgb", "a.json", "a.shp.zip", "!x/a.gpkg", "!x/a.shp"])
def test_polygons_of_any_usual_format_and_place_are_read_and_checked(tmp_path, path, name):
    truth, plain = tmp_path / name, tmp_path / "plain"
    plain.mkdir()
    table = gpd.read_file(write_polygons(tmp_path / "one.gpkg", MASK))
    in_degrees = name.endswith(("kml", "json"))
    (table.to_crs(4326) if in_degrees else table).to_file(plain / truth.name, driver="KML" if "kml" in name else None)
    truth = plain.rename(tmp_path / ("!x" if "/" in name else "x")) / truth.name
    assert (read_all(mapping.scene_of_file(path, BANDS, truth=truth))[1] == MASK).mean() > 0.99
    assert "features" in sources.check(truth)


def test_polygons_whose_coordinates_cannot_be_theirs_are_refused(tmp_path, path):
    table = gpd.read_file(write_polygons(tmp_path / "one.gpkg", MASK))
    table.set_crs(4326, allow_override=True).to_file(tmp_path / "metres.geojson")
    (tmp_path / "points.csv").write_text("id,lon,lat\n1,2,3\n")
    table.set_crs(LOCAL, allow_override=True).to_file(tmp_path / "local.gpkg")
    cases = {"metres.geojson": "no longitude and latitude", "points.csv": "only tables", "local.gpkg": "or projected"}
    for name, message in cases.items():
        refuses(message, read_all, mapping.scene_of_file(path, BANDS, truth=tmp_path / name))


# No data


def test_nan_is_no_data_beside_a_declared_value_and_several_values_may_be_declared(tmp_path, weights):
    values = IMAGE.astype(np.float32)
    values[:, :16], values[:, 20:30, 20:30], values[2, 40, 40] = -9999, 7, np.nan
    made = mapping.scene_of_file(write_tif(tmp_path / "a.tif", values, nodata=-9999), BANDS, (-9999.0, 7.0))
    expected = 64 * 64 - 16 * 64 - 101
    assert read_all(made.__class__(**{**vars(made), "unlabelled_is_background": True}))[2].sum() == expected
    assert draw(made, weights, tmp_path / "map")["valid_px"] == expected
    refuses("several values mean no data", draw, made, weights, tmp_path / "coarse", resolution=6)
    one = mapping.scene_of_file(made.image, BANDS)  # NaN too, at any resolution
    assert draw(one, weights, tmp_path / "one", resolution=6)["valid_px"] <= expected + 100


@pytest.mark.parametrize(("nodata", "metres"), [(None, None), (None, 6), (9, None), (9, 6)])
def test_a_files_own_mask_is_no_data_at_any_resolution(tmp_path, weights, nodata, metres):
    values, shown = IMAGE.copy(), np.ones((64, 64), bool)
    values[:, :, 40:44], shown[:16] = nodata or 0, False
    path = write_tif(tmp_path / "a.tif", values, nodata=nodata)
    with rasterio.open(path, "r+") as file:
        file.write_mask(shown)
    shown[:, 40:44] &= nodata is None
    draw(mapping.scene_of_file(path, BANDS), weights, tmp_path / "map", resolution=metres)
    assert ((read(tmp_path / "map" / "mask.tif")[0] != 255) == shown).all()


def test_an_undeclared_edge_is_told_and_what_no_sensor_gives_does_not_warn(tmp_path, own, weights, capsys):
    values = IMAGE.copy()
    values[:, :, :20] = 0
    own(folder_of(tmp_path / "set", image=values, nodata=255), "nodata: 65535")
    assert "1 of 1 images have an edge of pure black or white, like a.tif" in capsys.readouterr().err
    kept = own(folder_of(tmp_path / "set2", image=values), "nodata: [65535, 0]")
    assert kept.scenes[0].nodata == (65535, 0) and not capsys.readouterr().err
    floats = np.where(values == 0, np.float32(-3.4028235e38), values / np.float32(1e4)).astype(np.float32)
    made = mapping.scene_of_file(write_tif(tmp_path / "f.tif", floats, nodata=-3.4028234663852886e38), BANDS)
    assert draw(made, weights, tmp_path / "map")["valid_px"] == 64 * 44
    refuses("complex", draw, made, weights, tmp_path / "map", others=[write_tif(tmp_path / "c.tif", IMAGE * 1j)])


def test_tiles_are_judged_by_the_bands_that_are_read_as_one_file_is(tmp_path):
    first, second = IMAGE.copy(), IMAGE + 1
    first[:3, 10:20, 10:20] = 0  # dark in three bands, not without data
    files = [write_tif(tmp_path / f"{n}.tif", values, nodata=0) for n, values in enumerate((first, second))]
    with mosaics.open_files(files) as raster:
        whole, some = (raster.read(Window(0, 0, 64, 64), bands) for bands in ([0, 1, 2, 3], [0, 1]))
    assert (whole == first).all() and (some == np.where(first[0], first, second)[:2]).all()
    visible = write_weights(tmp_path / "w.safetensors", BANDS[:3])
    beside = write_tif(tmp_path / "b.tif", IMAGE, transform=TRANSFORM * Affine.translation(64, 0), nodata=0)
    for others, metres, valid in (([], None, 3996), ([], 1.5, 3996), ([beside], None, 8092)):
        made = mapping.scene_of_file(files[0], BANDS, others=others)
        assert draw(made, visible, tmp_path / "map", others, resolution=metres)["valid_px"] == valid


# Arrays


def matlab(path: Path, **arrays: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=values.T).attrs["MATLAB_class"] = np.bytes_("double")


def test_arrays_of_matlab_73_and_in_groups_are_read_as_they_were_written(tmp_path, own):
    matlab(tmp_path / "m/images/a.mat", image=np.hstack([IMAGE.transpose(1, 2, 0)] * 2)[:, :96])
    matlab(tmp_path / "m/masks/a.mat", mask=np.hstack([CODES] * 2)[:, :96])
    assert "64×96×4" in sources.check(tmp_path / "m/images/a.mat")
    values, labels, _ = read_all(own(tmp_path / "m", "channels: last", suffix="mat").scenes[0])
    assert (values[:, :, :64] == IMAGE).all() and (labels[:, :64] == MASK).all()
    for name, key, content in (("images", "data", IMAGE), ("masks", "gt", CODES)):
        (tmp_path / "h" / name).mkdir(parents=True)
        with h5py.File(tmp_path / "h" / name / "a.h5", "w") as file:
            file[f"region/{key}"], file["date"] = content, 20180906
    refuses("several variables, it holds date, region/data; .*`image_key:`", own, tmp_path / "h", suffix="h5")
    keys = "image_key: region/data\nmask_key: region/gt"
    assert (read_all(own(tmp_path / "h", keys, "h5").scenes[0])[0] == IMAGE).all()


# Bands and coordinates


def test_names_that_contradict_the_description_are_refused_and_can_be_mended(tmp_path, own, weights):
    folder = folder_of(tmp_path / "set")
    with rasterio.open(folder / "images" / "a.tif", "r+") as file:
        file.descriptions = ("red", "B03", "blue", "other")
    line = refuses("band 1 is red by the file and blue by its description", own, folder)
    described = mapping.scene_of_file(folder / "images" / "a.tif", BANDS)
    refuses("band 1 is red by the file", draw, described, weights, tmp_path / "map")
    refuses("band 1 is red by the file", mapping.learn, described, LabelFile(folder / "masks/a.tif"), tmp_path / "net")
    told(line.rstrip(")"), folder / "images")
    refuses("band 3 is blue by the file", own, folder)


def test_one_file_a_band_is_one_image(tmp_path, weights):
    data = tmp_path / "S2A.SAFE" / "GRANULE" / "L2A" / "IMG_DATA"
    for number, band in enumerate(("B02", "B03", "B04", "B08")):
        (data / "R10m").mkdir(parents=True, exist_ok=True)
        profile = {"driver": "JP2OpenJPEG", "count": 1, "height": 64, "width": 64, "dtype": "uint16", "crs": CRS}
        lossless = {"transform": TRANSFORM, "QUALITY": "100", "REVERSIBLE": "YES"}
        with rasterio.open(data / "R10m" / f"T54_{band}_10m.jp2", "w", **profile, **lossless) as file:
            file.write(IMAGE[number], 1)
    first, *others = mosaics.files_of([tmp_path / "S2A.SAFE"])
    made = mapping.scene_of_file(first, others=others)
    assert made.bands == BANDS
    with open_image(made, others) as image:
        assert (image.read(Window(0, 0, 64, 64), ("nir", "blue")) == IMAGE[[3, 0]]).all()
    assert draw(made, weights, tmp_path / "map", others)["valid_px"] == 64 * 64
    moved = write_tif(tmp_path / "moved.tif", IMAGE[:1], transform=TRANSFORM * Affine.translation(5, 0))
    refuses("covers other ground", draw, made, weights, tmp_path / "map", [*others[:2], moved])
    other = write_tif(tmp_path / "other.tif", IMAGE[:1], nodata=7)
    line = refuses("other.tif: no data is 7, in T54_B02", draw, made, weights, tmp_path / "map", [*others[:2], other])
    assert "B02_10m.jp2 not declared; write one value, or give --nodata" in line


def test_a_scene_without_a_place_on_earth_is_refused_with_a_command_that_mends_it(tmp_path, own, weights):
    local, placed = write_tif(tmp_path / "local.tif", IMAGE, crs=LOCAL), tmp_path / "gcps.tif"
    points = [GroundControlPoint(r, c, *(TRANSFORM * (c, r))) for r in (0, 64) for c in (0, 64)]
    with rasterio.open(placed, "w", "GTiff", 64, 64, 4, dtype="uint16") as file:
        file.write(IMAGE)
        file.gcps = (points, System.from_string(CRS))
    flipped = write_tif(tmp_path / "flipped.tif", IMAGE[:, ::-1], transform=Affine(3, 0, 5e5, 0, 3, 4_699_808))
    for image, message, mended in (
        (local, "its coordinate system is local", "local.tif"),
        (placed, "control points only", "warped.tif"),
        (flipped, "rotated or flipped", "north_up.tif"),
    ):
        line = refuses(message, draw, mapping.scene_of_file(image, BANDS), weights, tmp_path / "map")
        told(line.replace("EPSG:…", CRS).split(")")[0], tmp_path)
        assert draw(mapping.scene_of_file(tmp_path / mended, BANDS), weights, tmp_path / mended[:-4])["valid_px"] > 4000
    refuses("its coordinate system is local", own, folder_of(tmp_path / "set", crs=LOCAL))
    assert own(tmp_path / "set", "georeferenced: false").scenes


def test_a_mask_on_another_grid_is_refused_with_a_command_that_mends_it(tmp_path, path):
    truth = write_tif(tmp_path / "the truth.tif", np.pad(CODES, 8), transform=TRANSFORM * Affine.translation(-8, -8))
    told(refuses("80×80 pixels", read_all, mapping.scene_of_file(path, BANDS, truth=truth)).split(")")[0], tmp_path)
    assert (read_all(mapping.scene_of_file(path, BANDS, truth=tmp_path / "aligned.tif"))[1] == MASK).all()


# Folders and archives


def test_what_lies_beside_the_data_does_not_hide_them(tmp_path, own, capsys):
    folder = folder_of(tmp_path / "set")
    (folder / "images" / "._a.tif").write_bytes(b"\x00\x05\x16\x07Mac OS X")
    assert mosaics.files_of([folder / "images"]) == [folder / "images" / "a.tif"]
    download = tmp_path / "download"
    download.mkdir()
    shutil.make_archive(str(download / "area"), "zip", folder)
    write_tif(download / "figure.tif", CODES)
    write_polygons(download / "study area.shp", MASK)
    assert "1 archives" in sources.check(download)
    assert own(download).scenes


def test_what_is_no_image_says_what_it_is(tmp_path, own, capsys):
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1837056\n"
    folder = folder_of(tmp_path / "set")
    for content, message in ((pointer, "git lfs pull"), (b"<!DOCTYPE html><html>", "is a web page")):
        (folder / "images" / "a.tif").write_bytes(content)
        refuses(message, own, folder)
        refuses(message, mapping.scene_of_file, folder / "images" / "a.tif")
    assert "fits the data set 'own': 1 scenes, areas own; but " in sources.check(folder)
    for name in ("data.zip.001", "data.z01", "data.part1.rar"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_bytes(b"PK")
        refuses("one volume of several", own, tmp_path / name)
    mixed = tmp_path / "mixed.vrt"
    kinds = "".join(f'<VRTRasterBand dataType="{kind}" band="{n}"/>' for n, kind in ((1, "Byte"), (2, "Float32")))
    mixed.write_text(f'<VRTDataset rasterXSize="64" rasterYSize="64"><SRS>{CRS}</SRS>{kinds}</VRTDataset>')
    refuses(r"several types \(uint8, float32\)", read_all, Scene("a", "a", mixed, ("red", "nir")))
    (tmp_path / "work/params/data/half.yaml").write_text("name: half\nkey: image\n")
    assert "own" in sources.catalogue() and "half.yaml" in capsys.readouterr().err


def test_a_split_without_masks_is_left_out_and_a_missing_mask_is_not(tmp_path, own, capsys):
    for split in ("train", "val"):
        folder_of(tmp_path / "set" / split)
    pattern = 'masks: "{split}/masks/{id}.tif"'
    shutil.rmtree(tmp_path / "set/val/masks")
    layout = tmp_path / "layout.yaml"
    layout.write_text(f'parts: [{{images: "{{split}}/images/{{id}}.tif", {pattern}}}]')
    own(folder_of(tmp_path / "other"))
    assert [scene.split for scene in sources.get("own", tmp_path / "set", False, layout).scenes] == ["train"]
    assert "no masks in this split" in capsys.readouterr().err
    write_tif(tmp_path / "set/train/images/b.tif", IMAGE)
    refuses("1 of 2 images have none", sources.get, "own", tmp_path / "set", False, layout)


def test_proj_data_of_another_installation_do_no_harm():
    script = "from lmhld_nb.scenes import rasters; print(rasters.CRS.from_epsg(32654).to_epsg())"
    other = os.environ | {"PROJ_LIB": "/nonexistent", "PROJ_DATA": "/nonexistent"}
    assert subprocess.run([sys.executable, "-c", script], env=other, capture_output=True).stdout == b"32654\n"
