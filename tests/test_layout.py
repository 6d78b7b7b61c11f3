"""Path patterns, declared layouts, and the discovery of unknown ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import rasterio
import scipy.io
import yaml
from made import CRS, TRANSFORM

from lmhld_nb.config import UserError, read_yaml
from lmhld_nb.scenes.scene import Scene, read_all
from lmhld_nb.sources import files
from lmhld_nb.sources.discovery import Ambiguous, discover
from lmhld_nb.sources.files import read_header
from lmhld_nb.sources.layout import Layout, Part, resolve

SIDE = 16
LMHLD = Layout(layout="discover", known_areas=True)


def image(seed: int, bands: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 4000, (bands, SIDE, SIDE)).astype(np.uint16)


def mask(seed: int, code: int = 1) -> np.ndarray:
    labels = np.zeros((SIDE, SIDE), np.uint8)
    labels[: 3 + seed % 5] = code
    return labels


def tif(path: Path, values: np.ndarray, crs: str | None = None) -> Path:
    return raster(path, values, driver="GTiff", crs=crs, transform=TRANSFORM if crs else None)


def png(path: Path, values: np.ndarray) -> Path:
    return raster(path, values, driver="PNG")


def raster(path: Path, values: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = values if values.ndim == 3 else values[None]
    shape = {"count": len(values), "height": values.shape[1], "width": values.shape[2], "dtype": values.dtype}
    with rasterio.open(path, "w", **shape, **options) as target:
        target.write(values)
    return path


def npy(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values)
    return path


def h5(path: Path, **arrays: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as target:
        target.update(arrays)
    return path


def mat(path: Path, **arrays: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, arrays)
    return path


def labels_of(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    values, labels, _ = read_all(scene)
    return values, labels


# Patterns --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "path", "captured"),
    [
        ("images/{id}.tif", "images/a_1.tif", {"id": "a_1"}),
        ("images/{id}.tif", "images/sub/1.tif", None),
        ("{split}X.npy", "trainX.npy", {"split": "train"}),
        ("**/{area}/im2.png", "Osh_Kyrgyzstan/im2.png", {"area": "Osh_Kyrgyzstan", "folders0": ""}),
        ("**/{area}/im2.png", "v1/GVLM/Osh/im2.png", {"area": "Osh", "folders0": "v1/GVLM/"}),
        ("{area}/img/{id}.{ext}", "Palu/img/0117.TIFF", {"area": "Palu", "id": "0117"}),
        ("{area}/{area}_{id}.tif", "rio/rio_1.tif", {"area": "rio", "id": "1"}),
        ("{area}/{area}_{id}.tif", "rio/taiwan_1.tif", None),
        ("part*/{id}.tif", "part(1)/2.tif", {"id": "2"}),
    ],
)
def test_patterns_capture(pattern: str, path: str, captured: dict[str, str] | None) -> None:
    found = files.match_files(pattern, [path])
    assert [match.captured for match in found] == ([captured] if captured is not None else [])


def test_files_are_listed_in_natural_order_without_clutter(tmp_path: Path) -> None:
    for name in ("b/10.tif", "b/9.tif", "a.gpkg", "__MACOSX/1.tif", ".git/1.tif", "notes.txt", "b/._9.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    os.symlink(tmp_path, tmp_path / "b" / "loop")
    assert files.list_files(tmp_path) == ["a.gpkg", "b/9.tif", "b/10.tif"]


def test_declarations_are_checked(tmp_path: Path) -> None:
    def refused(text: str, says: str) -> None:
        (tmp_path / "layout.yaml").write_text(text)
        with pytest.raises(UserError, match=says):
            read_yaml(tmp_path / "layout.yaml", Layout)

    refused("parts: [{images: '{id}.tif', mask: '{id}.png'}]", r"unknown key 'parts\.0\.mask'")
    refused("parts: [{images: '{name}.tif'}]", r"unknown placeholder \{name\}")
    refused("parts: [{images: '{id}.tif', masks: '{split}/{id}.png'}]", "has split, which")
    refused("parts: [{images: '{id}.tif', masks: '{id}.png', polygons: '{id}.gpkg'}]", "exclude each other")
    refused("landslide_codes: [1, 255]\nlabel_nodata_codes: [255]", "in both")
    refused("bands: [red, red]", "each once")
    refused("resolution_m: 1e1", "resolution_m")
    (tmp_path / "layout.yaml").write_text("nodata: .nan\nlandslide_codes: [255]\n")
    layout = read_yaml(tmp_path / "layout.yaml", Layout)
    assert layout.nodata != layout.nodata


# Declared layouts ------------------------------------------------------------------------------------------------


def test_areas_splits_and_ids_come_from_the_paths(tmp_path: Path) -> None:
    for area in ("Wenchuan", "Rio de Janeiro"):
        for split in ("Train", "validation"):
            for number in (2, 10):
                tif(tmp_path / area / split / f"img_{number}.tif", image(number))
                png(tmp_path / area / split / f"lab_{number}.png", mask(number, 255))
    part = Part(images="{area}/{split}/img_{id}.tif", masks="{area}/{split}/lab_{id}.png")
    layout = Layout(
        parts=(part,),
        known_areas=True,
        landslide_codes=(255,),
        georeferenced=False,
        resolution_m={"rio": 5.0},
    )
    scenes = resolve(tmp_path, layout, "made")
    assert [scene.name for scene in scenes] == [
        f"{area}_{split}_{number}" for area in ("rio", "wenchuan") for split in ("train", "val") for number in (2, 10)
    ]
    assert {(scene.area, scene.resolution_m) for scene in scenes} == {("rio", 5.0), ("wenchuan", None)}
    assert scenes[0].label_nodata_codes == ()
    values, labels = labels_of(scenes[1])
    assert np.array_equal(values, image(10)) and np.array_equal(labels, mask(10))


def test_background_images_unlabelled_images_and_elevation(tmp_path: Path) -> None:
    for name in ("landslide/image/a.tif", "other/image/b.tif", "new/c.tif", "new/d.tif"):
        tif(tmp_path / name, image(1))
    png(tmp_path / "landslide/mask/a.png", mask(1))
    tif(tmp_path / "new/c_dem.tif", np.ones((1, SIDE, SIDE), np.float32))
    layout = Layout(
        parts=(
            Part(images="landslide/image/{id}.tif", masks="landslide/mask/{id}.png"),
            Part(images="other/image/{id}.tif", masks="none"),
            Part(images="new/{id}.tif", dem="new/{id}_dem.tif", exclude=("new/*_dem.tif",)),
            Part(images="absent/{id}.tif", optional=True),
        ),
        georeferenced=False,
    )
    by_name = {scene.name: scene for scene in resolve(tmp_path, layout, "made")}
    assert list(by_name) == ["made_a", "made_b", "made_c", "made_d"]
    assert by_name["made_b"].unlabelled_is_background and labels_of(by_name["made_b"])[1].sum() == 0
    assert by_name["made_c"].dem == tmp_path / "new/c_dem.tif" and by_name["made_d"].dem is None
    with pytest.raises(UserError, match="no mask and no polygons"):
        read_all(by_name["made_c"])


def test_hr_gldd_stacks(tmp_path: Path) -> None:
    """{split}X.npy, channels last, float: one Scene for each patch."""
    stack = np.stack([image(seed).transpose(1, 2, 0) / 4000 for seed in range(3)]).astype(np.float32)
    for split in ("train", "val", "test"):
        npy(tmp_path / f"{split}X.npy", stack)
        npy(
            tmp_path / f"{split}Y.npy",
            np.stack([mask(seed) for seed in range(3)])[..., None].astype(np.float32),
        )
    part = Part(images="**/{split}X.npy", masks="**/{split}Y.npy", stack=True)
    layout = Layout(parts=(part,), channels="last", georeferenced=False)
    scenes = resolve(tmp_path, layout, "hr")
    assert [scene.split for scene in scenes] == ["train"] * 3 + ["val"] * 3 + ["test"] * 3
    assert scenes[4].name == "hr_val_00001" and scenes[4].index == 1
    values, labels = labels_of(scenes[2])
    assert np.array_equal(values, stack[2].transpose(2, 0, 1)) and np.array_equal(labels, mask(2))
    npy(tmp_path / "testY.npy", np.zeros((2, SIDE, SIDE)))
    with pytest.raises(UserError, match=r"testY\.npy: 2 masks for the 3 images"):
        resolve(tmp_path, layout, "hr")


def test_what_does_not_pair_is_refused(tmp_path: Path) -> None:
    layout = Layout(parts=(Part(images="**/img/{id}.tif", masks="**/mask/{id}.png"),), georeferenced=False)

    def refused(says: str) -> None:
        with pytest.raises(UserError, match=says) as error:
            resolve(tmp_path, layout, "made")
        assert "\n" not in str(error.value)

    refused("no file fits `images:")
    tif(tmp_path / "img/1.tif", image(1))
    refused(r"img/1\.tif: no file fits `masks: .*1 of 1")
    png(tmp_path / "mask/1.png", mask(1))
    assert len(resolve(tmp_path, layout, "made")) == 1
    png(tmp_path / "mask/2.png", mask(1))
    refused(r"mask/2\.png: a mask without its image")
    tif(tmp_path / "img/2.tif", image(1))
    tif(tmp_path / "copy/img/2.tif", image(1))
    png(tmp_path / "copy/mask/2.png", mask(1))
    refused("makes the same scene 'made_2' as")


def test_unknown_areas_and_splits_are_refused(tmp_path: Path) -> None:
    tif(tmp_path / "Atlantis/final/1.tif", image(1))
    part = Part(images="{area}/{split}/{id}.tif")
    with pytest.raises(UserError, match=r"'Atlantis' is not known.*areas: \{Atlantis: rio\}"):
        resolve(tmp_path, Layout(parts=(part,), known_areas=True), "made")
    with pytest.raises(UserError, match="'final' is no split"):
        resolve(tmp_path, Layout(parts=(part,), areas={"Atlantis": "rio"}), "made")


# Discovery -------------------------------------------------------------------------------------------------------


def found_scenes(root: Path, declared: Layout = LMHLD) -> list[Scene]:
    """Discover ``root``, write the layout as YAML, read it again and resolve it."""
    found = discover(root, declared)
    scenes = resolve(root, found.layout, "made")
    assert sum(row["count"] for row in found.rows) == len(scenes)
    return scenes


def refused(root: Path, says: str, declared: Layout = LMHLD) -> Ambiguous:
    """Assert one line that names a path below ``root``, and a template that is YAML of a layout to complete."""
    with pytest.raises(Ambiguous, match=says) as error:
        discover(root, declared)
    assert str(error.value).startswith(str(root)) and "\n" not in str(error.value)
    content = yaml.safe_load(error.value.template)
    assert set(content) <= set(Layout.model_fields) and content["parts"]
    return error.value


def test_discovers_areas_with_splits(tmp_path: Path) -> None:
    """(1) area/train/images/*.tif + area/train/masks/*.tif, areas by their aliases."""
    root = tmp_path / "LMHLD"
    for area in ("Rio_de_Janeiro", "EmiliaRomagna", "Wenchuan224", "nepal"):
        for split, numbers in {"train": range(7), "val": range(7, 9), "test": range(9, 10)}.items():
            for number in numbers:
                tif(root / area / split / "images" / f"{number:04d}.tif", image(number))
                tif(root / area / split / "masks" / f"{number:04d}.tif", mask(number))
    scenes = found_scenes(tmp_path)
    assert list(dict.fromkeys(scene.area for scene in scenes)) == [
        "rio",
        "emilia_romagna",
        "gorkha",
        "wenchuan",
    ]
    assert [scene.split for scene in scenes[:10]] == ["train"] * 7 + ["val"] * 2 + ["test"]
    assert not scenes[0].georeferenced
    assert np.array_equal(labels_of(scenes[6])[1], mask(6))
    table = discover(tmp_path, LMHLD).table()
    assert "wenchuan        train  7      16×16  uint16  4      -     0/1" in table


def test_discovers_areas_without_splits(tmp_path: Path) -> None:
    """(2) area folders with img/ and label/, 4-band TIFFs and PNG masks of 0 and 255, world files beside them."""
    for area in ("里约", "Taiwan, China"):
        for number in range(5):
            tif(tmp_path / area / "img" / f"img_{number}.tif", image(number))
            (tmp_path / area / "img" / f"img_{number}.tfw").write_text("1")
            png(tmp_path / area / "label" / f"label_{number}.png", mask(number, 255))
    scenes = found_scenes(tmp_path)
    assert [scene.area for scene in scenes] == ["rio"] * 5 + ["taiwan"] * 5
    assert scenes[0].landslide_codes == (255,) and scenes[0].split is None
    assert np.array_equal(labels_of(scenes[3])[1], mask(3))


@pytest.mark.parametrize("channels", ["first", "last"])
def test_discovers_stacks(tmp_path: Path, channels: str) -> None:
    """(3) one stack for each area and split, bands at either end."""
    for area in ("Rio", "Hokkaido"):
        for split, count in {"train": 7, "val": 2, "test": 1}.items():
            stack = np.stack([image(seed) for seed in range(count)])
            stack = stack if channels == "first" else stack.transpose(0, 2, 3, 1)
            npy(tmp_path / f"{area}_{split}_X.npy", stack)
            npy(tmp_path / f"{area}_{split}_Y.npy", np.stack([mask(seed) for seed in range(count)])[..., None])
    scenes = found_scenes(tmp_path)
    assert len(scenes) == 20 and scenes[8].name == "rio_val_00001"
    assert {scene.channels for scene in scenes} == {channels}
    values, labels = labels_of(scenes[13])
    assert np.array_equal(values, image(3)) and np.array_equal(labels, mask(3))


@pytest.mark.parametrize("write", [h5, mat])
def test_discovers_arrays_that_hold_both(tmp_path: Path, write: Callable[..., Path]) -> None:
    """(4) an .h5 or .mat file for each patch, image and mask inside, bands last."""
    for area in ("jiuzhaigou", "taiwan"):
        for number in range(4):
            name = f"patch_{number}.{write.__name__}"
            write(
                tmp_path / "train" / area / name,
                image=image(number).transpose(1, 2, 0),
                mask=mask(number)[..., None],
            )
    scenes = found_scenes(tmp_path)
    assert [scene.area for scene in scenes] == ["jiuzhaigou"] * 4 + ["taiwan"] * 4
    assert (scenes[0].image_key, scenes[0].mask_key, scenes[0].split) == ("image", "mask", "train")
    values, labels = labels_of(scenes[5])
    assert np.array_equal(values, image(1)) and np.array_equal(labels, mask(1))


def test_discovers_arrays_with_separate_masks(tmp_path: Path) -> None:
    for number in range(3):
        h5(tmp_path / "gorkha/TrainData/img" / f"image_{number}.h5", img=image(number))
        h5(tmp_path / "gorkha/TrainData/mask" / f"mask_{number}.h5", mask=mask(number))
    assert [scene.name for scene in found_scenes(tmp_path)] == [f"gorkha_train_{n}" for n in range(3)]


def test_discovers_one_flat_folder(tmp_path: Path) -> None:
    """Area in the file's name, masks beside the images with a suffix, an overview picture at the top."""
    for area in ("wenchuan", "taiwan"):
        for number in range(3):
            tif(tmp_path / "all" / f"{area}_{number}.tif", image(number), CRS)
            tif(tmp_path / "all" / f"{area}_{number}_mask.tif", mask(number), CRS)
    png(tmp_path / "overview.png", mask(1))
    scenes = found_scenes(tmp_path)
    assert [scene.name for scene in scenes] == [f"{a}_{n}" for a in ("wenchuan", "taiwan") for n in range(3)]
    assert all(scene.georeferenced for scene in scenes)
    assert discover(tmp_path, LMHLD).ignored == ("overview.png",)


def pairs(root: Path, area: str = "rio", count: int = 3, code: int = 1, bands: int = 4) -> None:
    for number in range(count):
        tif(root / area / "images" / f"{number}.tif", image(number, bands))
        png(root / area / "masks" / f"{number}.png", mask(number, code))


def test_two_possible_mask_folders_are_refused(tmp_path: Path) -> None:
    pairs(tmp_path)
    for number in range(3):
        png(tmp_path / "rio" / "label" / f"{number}.png", mask(number))
    template = refused(tmp_path, r"rio/images: two possible masks, 'rio/label/\{id\}\.png' and 'rio/masks").template
    assert "rio/images/{id}.tif" in template and "FILL IN" in template and "area: rio" in template
    (tmp_path / "layout.yaml").write_text(template.replace("'FILL IN'", "'rio/masks/{id}.png'"))
    assert len(resolve(tmp_path, read_yaml(tmp_path / "layout.yaml", Layout), "made")) == 3


def test_unpaired_images_are_refused(tmp_path: Path) -> None:
    pairs(tmp_path)
    (tmp_path / "rio/masks/1.png").unlink()
    refused(tmp_path, r"rio/images/1\.tif: no mask in 'rio/masks/\{id\}\.png' \(1 of 3 images have none\)")
    (tmp_path / "rio/images/1.tif").unlink()
    (tmp_path / "rio/images/2.tif").unlink()
    refused(tmp_path, r"rio/masks/2\.png: a mask without its image")


def test_unknown_areas_are_refused(tmp_path: Path) -> None:
    pairs(tmp_path, "Atlantis")
    refused(tmp_path, "Atlantis/images: none of the study areas")
    assert [scene.area for scene in found_scenes(tmp_path, Layout())] == ["atlantis"] * 3
    pairs(tmp_path / "b", "Wenchuan_and_Taiwan")
    refused(tmp_path / "b", "names two study areas, wenchuan and taiwan")


def test_more_than_two_mask_codes_are_refused_unless_declared(tmp_path: Path) -> None:
    pairs(tmp_path)
    labels = mask(1)
    labels[-1] = 255
    png(tmp_path / "rio/masks/1.png", labels)
    refused(tmp_path, r"masks/1\.png: mask codes 0, 1, 255: which of them mean landslide is not clear")
    declared = Layout(layout="discover", known_areas=True, landslide_codes=(1,), label_nodata_codes=(255,))
    assert (labels_of(found_scenes(tmp_path, declared)[1])[1][-1] == 255).all()


def test_masks_without_landslides_and_other_band_counts_are_refused(tmp_path: Path) -> None:
    pairs(tmp_path / "a", code=0)
    refused(tmp_path / "a", "no landslide in 3 masks")
    pairs(tmp_path / "b", bands=3)
    refused(tmp_path / "b", r"images/0\.tif: 3 bands, 4 are expected \(blue, green, red, nir\)")
    declared = Layout(layout="discover", known_areas=True, bands=("red", "green", "blue"))
    assert {scene.bands for scene in found_scenes(tmp_path / "b", declared)} == {("red", "green", "blue")}


def test_an_alpha_channel_is_not_near_infrared(tmp_path: Path) -> None:
    for number in range(3):
        values = (image(number) // 16).astype(np.uint8)
        png(tmp_path / "rio/images" / f"{number}.png", values)
        png(tmp_path / "rio/masks" / f"{number}.png", mask(number))
    assert len(found_scenes(tmp_path)) == 3
    values[3] = 255
    for number in range(3):
        png(tmp_path / "rio/images" / f"{number}.png", values)
    refused(tmp_path, "fourth band is an alpha channel")


def test_an_unclear_band_axis_and_an_area_found_twice_are_refused(tmp_path: Path) -> None:
    npy(tmp_path / "axis/rio/images/1.npy", np.ones((4, 16, 4)))
    npy(tmp_path / "axis/rio/masks/1.npy", np.ones((16, 4)))
    refused(tmp_path / "axis", "the band axis may be the first or the last")
    pairs(tmp_path / "twice" / "LMHLD")
    pairs(tmp_path / "twice" / "comparison")
    refused(tmp_path / "twice", "rio is found twice, here and in LMHLD/rio/images")
    pairs(tmp_path / "split")
    pairs(tmp_path / "split" / "test", count=2)
    refused(tmp_path / "split", "rio has images with and without a split")


def test_damaged_files_are_named(tmp_path: Path) -> None:
    path = h5(tmp_path / "rio/img/1.h5", img=image(1))
    h5(tmp_path / "rio/mask/1.h5", mask=mask(1))
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(UserError, match=r"img/1\.h5: cannot be read"):
        discover(tmp_path, LMHLD)
    np.save(tmp_path / "rio/img/1.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(UserError, match=r"1\.npy: cannot be read .*pickle"):
        read_header(tmp_path / "rio/img/1.npy")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty: holds no images"):
        discover(tmp_path / "empty", LMHLD)
    with pytest.raises(UserError, match="absent: no such folder"):
        discover(tmp_path / "absent", LMHLD)


def test_a_tiff_of_pages_is_refused(tmp_path: Path) -> None:
    from PIL import Image

    pages = [Image.fromarray(mask(number)) for number in range(4)]
    (tmp_path / "rio/images").mkdir(parents=True)
    pages[0].save(tmp_path / "rio/images/1.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(UserError, match="holds 4 separate pages instead of bands"):
        read_header(tmp_path / "rio/images/1.tif")
