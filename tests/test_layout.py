"""Path patterns, declared layouts, and the discovery of unknown ones."""

import os
import shutil
from itertools import product
from pathlib import Path

import h5py
import numpy as np
import pytest
import rasterio
import yaml
from made import CRS, TRANSFORM, refuses
from PIL import Image

from lmhld_nb.config import read_yaml
from lmhld_nb.scenes.scene import Scene, read_all
from lmhld_nb.sources import files
from lmhld_nb.sources.discovery import Ambiguous, discover
from lmhld_nb.sources.layout import Layout, Part, resolve

SIDE = 16
LMHLD = Layout(layout="discover", known_areas=True)


def image(seed: int, bands: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 4000, (bands, SIDE, SIDE)).astype(np.uint16)


def mask(seed: int, code: int = 1) -> np.ndarray:
    labels = np.zeros((SIDE, SIDE), np.uint8)
    labels[: 3 + seed % 5] = code
    return labels


def write(path: Path, values: np.ndarray, crs: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix in (".h5", ".mat"):
        with h5py.File(path, "w") as target:
            target.create_dataset("data", data=values)
    else:
        values = values if values.ndim == 3 else values[None]
        shape = {"count": len(values), "height": values.shape[1], "width": values.shape[2], "dtype": values.dtype}
        with rasterio.open(path, "w", **shape, crs=crs, transform=TRANSFORM if crs else None) as target:
            target.write(values)
    return path


def pairs(root: Path, area: str = "rio", count: int = 3, code: int = 1, bands: int = 4, masks: str = "masks") -> Path:
    for number in range(count):
        write(root / area / "images" / f"{number}.tif", image(number, bands))
        write(root / area / masks / f"{number}.png", mask(number, code))
    return root


def check_scene(scene: Scene, seed: int) -> None:
    values, labels, _ = read_all(scene)
    assert np.array_equal(values, image(seed)) and np.array_equal(labels, mask(seed))


@pytest.mark.parametrize(("pattern", "path", "captured"), [
    ("images/{id}.tif", "images/sub/1.tif", None),
    ("{split}X.npy", "trainX.npy", {"split": "train"}),
    ("**/{area}/im2.png", "v1/GVLM/Osh/im2.png", {"area": "Osh", "folders0": "v1/GVLM/"}),
    ("{area}/img/{id}.{ext}", "Palu/img/0117.TIFF", {"area": "Palu", "id": "0117"}),
    ("{area}/{area}_{id}.tif", "rio/rio_1.tif", {"area": "rio", "id": "1"}),
    ("{area}/{area}_{id}.tif", "rio/taiwan_1.tif", None),
    ("part*/{id}.tif", "part(1)/2.tif", {"id": "2"}),
])  # fmt: skip
def test_patterns_capture(pattern: str, path: str, captured: dict[str, str] | None) -> None:
    assert files.match_files(pattern, [path]) == ({path: captured} if captured is not None else {})


def test_files_are_listed_in_natural_order_and_foreign_ones_named(tmp_path):
    for name in ("b/10.tif", "b/9.tif", "a.gpkg", "__MACOSX/1.tif", ".git/1.tif", "notes.txt", "b/._9.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    os.symlink(tmp_path, tmp_path / "b" / "loop")
    assert files.list_files(tmp_path) == ["a.gpkg", "b/9.tif", "b/10.tif"]
    (tmp_path / "empty").mkdir()
    refuses("empty: holds no images", discover, tmp_path / "empty", LMHLD)
    refuses("absent: no such folder", discover, tmp_path / "absent", LMHLD)
    np.save(tmp_path / "1.npy", np.array([{"a": 1}], object), allow_pickle=True)
    refuses(r"1\.npy: cannot be read .*pickle", files.read_header, tmp_path / "1.npy")
    pages = [Image.fromarray(mask(number)) for number in range(4)]
    pages[0].save(tmp_path / "1.tif", save_all=True, append_images=pages[1:])
    refuses("holds 4 separate pages instead of bands", files.read_header, tmp_path / "1.tif")


@pytest.mark.parametrize(("text", "says"), [
    ("parts: [{images: '{id}.tif', mask: '{id}.png'}]", r"unknown key 'parts\.0\.mask'"),
    ("parts: [{images: '{name}.tif'}]", r"unknown placeholder \{name\}"),
    ("parts: [{images: '{id}.tif', masks: '{split}/{id}.png'}]", "has split, which"),
    ("parts: [{images: '{id}.tif', masks: '{id}.png', polygons: '{id}.gpkg'}]", "exclude each other"),
    ("landslide_codes: [1, 255]\nlabel_nodata_codes: [255]", "in both"),
    ("bands: [red, red]", "each once"),
    ("resolution_m: 1e1", "resolution_m"),
])  # fmt: skip
def test_wrong_declarations_are_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "layout.yaml").write_text(text)
    refuses(says, read_yaml, tmp_path / "layout.yaml", Layout)


def test_areas_splits_and_ids_come_from_the_paths(tmp_path: Path) -> None:
    for area in ("Wenchuan", "Rio de Janeiro"):
        for split in ("Train", "validation"):
            for number in (2, 10):
                write(tmp_path / area / split / f"img_{number}.tif", image(number))
                write(tmp_path / area / split / f"lab_{number}.png", mask(number, 255))
    part = Part(images="{area}/{split}/img_{id}.tif", masks="{area}/{split}/lab_{id}.png")
    settings = {"landslide_codes": (255,), "georeferenced": False, "resolution_m": {"rio": 5.0}}
    scenes = resolve(tmp_path, Layout(parts=(part,), known_areas=True, **settings), "made")
    expected = product(("rio", "wenchuan"), ("train", "val"), ("2", "10"))
    assert [scene.name for scene in scenes] == ["_".join(parts) for parts in expected]
    assert {(scene.area, scene.resolution_m) for scene in scenes} == {("rio", 5.0), ("wenchuan", None)}
    assert scenes[0].label_nodata_codes == ()
    check_scene(scenes[1], 10)


def test_background_images_unlabelled_images_and_elevation(tmp_path: Path) -> None:
    for name in ("landslide/image/a.tif", "other/image/b.tif", "new/c.tif", "new/d.tif"):
        write(tmp_path / name, image(1))
    write(tmp_path / "landslide/mask/a.png", mask(1))
    write(tmp_path / "new/c_dem.tif", np.ones((1, SIDE, SIDE), np.float32))
    parts = (
        Part(images="landslide/image/{id}.tif", masks="landslide/mask/{id}.png"),
        Part(images="other/image/{id}.tif", masks="none"),
        Part(images="new/{id}.tif", dem="new/{id}_dem.tif", exclude=("new/*_dem.tif",)),
        Part(images="absent/{id}.tif", optional=True),
    )
    a, b, c, d = resolve(tmp_path, Layout(parts=parts, georeferenced=False), "made")
    assert [scene.name for scene in (a, b, c, d)] == ["made_a", "made_b", "made_c", "made_d"]
    assert b.unlabelled_is_background and read_all(b)[1].sum() == 0
    assert c.dem == tmp_path / "new/c_dem.tif" and d.dem is None


def test_what_does_not_pair_is_refused(tmp_path: Path) -> None:
    layout = Layout(parts=(Part(images="**/img/{id}.tif", masks="**/mask/{id}.png"),), georeferenced=False)
    for name, says in (
        ("", "no file fits `images:"),
        ("img/1.tif", r"img/1\.tif: no file fits `masks: .*1 of 1"),
        ("mask/1.png", ""),
        ("mask/2.png", r"mask/2\.png: a mask without its image"),
        ("img/2.tif", ""),
        ("copy/img/2.tif", "no file fits `masks"),
        ("copy/mask/2.png", "makes the same scene 'made_2' as"),
    ):
        if name:
            write(tmp_path / name, mask(1))
        if not says:
            assert resolve(tmp_path, layout, "made")
            continue
        refuses(says, resolve, tmp_path, layout, "made")


def test_unknown_areas_and_splits_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "Atlantis/final/1.tif", image(1))
    parts = (Part(images="{area}/{split}/{id}.tif"),)
    known, own = Layout(parts=parts, known_areas=True), Layout(parts=parts, areas={"Atlantis": "rio"})
    refuses(r"'Atlantis' is not known.*areas: \{Atlantis: rio\}", resolve, tmp_path, known, "made")
    refuses("'final' is not a split", resolve, tmp_path, own, "made")


def discovered(root: Path, declared: Layout = LMHLD) -> list[Scene]:
    layout, text = discover(root, declared)
    assert len([line for line in text.splitlines() if "left out" not in line]) == len(layout.parts)
    return resolve(root, layout, "made")


def refused(root: Path, says: str, declared: Layout = LMHLD) -> None:
    """Assert one line that names a path below ``root``, and a template that is YAML of a layout to complete."""
    with pytest.raises(Ambiguous, match=says) as error:
        discover(root, declared)
    assert str(error.value).startswith(str(root)) and "\n" not in str(error.value)
    content = yaml.safe_load(error.value.template)
    assert set(content) <= set(Layout.model_fields) and content["parts"]


def test_discovers_areas_with_splits(tmp_path: Path) -> None:
    for area in ("Rio_de_Janeiro", "EmiliaRomagna", "Wenchuan224", "nepal"):
        for split, count in {"train": 7, "val": 2, "test": 1}.items():
            pairs(tmp_path / "LMHLD" / area, split, count)
    scenes = discovered(tmp_path)
    assert list(dict.fromkeys(scene.area for scene in scenes)) == ["rio", "emilia_romagna", "gorkha", "wenchuan"]
    assert [scene.split for scene in scenes[:10]] == ["train"] * 7 + ["val"] * 2 + ["test"]
    assert not scenes[0].georeferenced
    check_scene(scenes[6], 6)
    line = "wenchuan         train      7 images 16×16 uint16, codes 0/1: LMHLD/Wenchuan224/train/images/{id}.tif"
    assert line in discover(tmp_path, LMHLD)[1].splitlines()


def test_discovers_areas_without_splits(tmp_path: Path) -> None:
    for area in ("里约", "Taiwan, China"):
        for number in range(5):
            write(tmp_path / area / "img" / f"img_{number}.tif", image(number))
            (tmp_path / area / "img" / f"img_{number}.tfw").write_text("1")
            write(tmp_path / area / "label" / f"label_{number}.png", mask(number, 255))
    for number in range(3):
        write(tmp_path / "gorkha/TrainData/img" / f"image_{number}.h5", image(number))
        write(tmp_path / "gorkha/TrainData/mask" / f"mask_{number}.h5", mask(number))
    scenes = discovered(tmp_path)
    assert [scene.area for scene in scenes] == ["rio"] * 5 + ["gorkha"] * 3 + ["taiwan"] * 5
    assert scenes[5].name == "gorkha_train_0"
    assert scenes[0].landslide_codes == (255,) and scenes[0].split is None
    check_scene(scenes[3], 3)


@pytest.mark.parametrize("channels", ["first", "last"])
def test_discovers_stacks(tmp_path: Path, channels: str) -> None:
    for area in ("Rio", "Hokkaido"):
        for split, count in {"train": 7, "val": 2, "test": 1}.items():
            stack = np.stack([image(seed) for seed in range(count)])
            stack = stack if channels == "first" else stack.transpose(0, 2, 3, 1)
            write(tmp_path / f"{area}_{split}_X.npy", stack)
            write(tmp_path / f"{area}_{split}_Y.npy", np.stack([mask(seed) for seed in range(count)])[..., None])
    scenes = discovered(tmp_path)
    assert len(scenes) == 20 and scenes[8].name == "rio_val_00001"
    assert {scene.channels for scene in scenes} == {channels}
    check_scene(scenes[13], 3)


def test_discovers_one_flat_folder(tmp_path: Path) -> None:
    for area in ("wenchuan", "taiwan"):
        for number in range(3):
            write(tmp_path / f"{area}_{number}.tif", image(number), CRS)
            write(tmp_path / f"{area}_{number}_mask.tif", mask(number), CRS)
            write(tmp_path / "old" / f"{area}_{number + 9}_mask.tif", mask(number), CRS)
    write(tmp_path / "overview.png", mask(1))
    refused(tmp_path, "a mask, but its images were not found")
    shutil.rmtree(tmp_path / "old")
    scenes = discovered(tmp_path)
    assert [scene.name for scene in scenes] == [f"{a}_{n}" for a in ("wenchuan", "taiwan") for n in range(3)]
    assert all(scene.georeferenced for scene in scenes)
    assert discover(tmp_path, LMHLD)[1].endswith("left out: overview.png")


def test_unknown_areas_are_refused(tmp_path: Path) -> None:
    pairs(tmp_path, "Atlantis")
    refused(tmp_path, "Atlantis/images: none of the study areas")
    assert [scene.area for scene in discovered(tmp_path, Layout())] == ["atlantis"] * 3
    pairs(tmp_path / "b", "Wenchuan_and_Taiwan")
    refused(tmp_path / "b", "names two study areas, wenchuan and taiwan")


def test_more_than_two_mask_codes_are_refused_unless_declared(tmp_path: Path) -> None:
    pairs(tmp_path)
    labels = mask(1)
    labels[-1] = 255
    write(tmp_path / "rio/masks/1.png", labels)
    refused(tmp_path, r"masks/1\.png: mask codes 0, 1, 255: which of them mean landslide is not clear")
    declared = Layout(layout="discover", known_areas=True, landslide_codes=(1,), label_nodata_codes=(255,))
    assert (read_all(discovered(tmp_path, declared)[1])[1][-1] == 255).all()


def test_what_is_lacking_or_unclear_is_refused(tmp_path: Path) -> None:
    refused(pairs(tmp_path / "a", code=0), "no landslide in 3 masks")
    refused(pairs(tmp_path / "b", bands=3), r"images/0\.tif: 3 bands, 4 are expected \(blue, green, red, nir\)")
    declared = Layout(layout="discover", known_areas=True, bands=("red", "green", "blue"))
    assert {scene.bands for scene in discovered(tmp_path / "b", declared)} == {("red", "green", "blue")}
    write(tmp_path / "c/rio/images/1.npy", np.ones((4, 16, 4)))
    write(tmp_path / "c/rio/masks/1.npy", np.ones((16, 4)))
    refused(tmp_path / "c", "the band axis may be the first or the last")
    refused(pairs(pairs(tmp_path / "e"), masks="label"), r"two possible masks, 'rio/label/\{id\}\.png' and 'rio/masks")
    write(tmp_path / "d/overview.png", mask(1))
    refused(pairs(tmp_path / "d", masks="new"), "images/0.tif: no masks found for it")


def test_an_alpha_channel_is_not_near_infrared(tmp_path: Path) -> None:
    pairs(tmp_path)
    for nir in (7, 255):
        for number in range(3):
            (tmp_path / "rio/images" / f"{number}.tif").unlink(missing_ok=True)
            values = np.full((4, SIDE, SIDE), nir, np.uint8)
            write(tmp_path / "rio/images" / f"{number}.png", values)
        if nir == 7:
            assert len(discovered(tmp_path)) == 3
    refused(tmp_path, "fourth band is an alpha channel")
