"""Write a data set as LMHLD may be published: folders of ready patches, to rehearse `lmhld data get lmhld --from`.

    python tools/as_published.py twin-edition FOLDER --layout areas [--share 1]
    python tools/as_published.py unseen FOLDER --events

How LMHLD's archives are laid out inside is not known; these are four plausible ways. ``--share`` is of the numbers of
patches in paper Table 2: what the data set holds is repeated, turned, mirrored and brightened, so that no two files are
alike. With 1 that makes a data set of the right size, not of the right content. ``--events`` writes stand-ins for the
unseen events instead, scenes of the size that GVLM's have on average: for `lmhld data get gvlm --from` and `luding`.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import from_origin
from tqdm import tqdm

from lmhld_nb import paper, patches, sources
from lmhld_nb.patches import PatchSpec
from lmhld_nb.scenes.scene import BANDS, read_all


@dataclass(frozen=True)
class Published:
    """One way of publishing patches: patterns of paths, the code of landslides, and how areas are called."""

    images: str
    masks: str
    code: int
    names: Mapping[str, str] = field(default_factory=dict)  # by area; others as the paper calls them
    zipped: bool = False  # one archive per area


CHINESE = dict(
    zip(paper.AREAS, ["里约热内卢", "北海道", "艾米利亚罗马涅", "廓尔喀", "九寨沟", "汶川", "台湾"], strict=True)
)
ABBREVIATED = dict(zip(paper.AREAS, ["Rio", "Iburi", "Emilia", "Nepal", "JZG", "WC", "TW"], strict=True))
LAYOUTS = {
    "areas": Published("{area}/images/{n:05d}.tif", "{area}/masks/{n:05d}.png", 1),
    "chinese": Published("LMHLD/{area}/img/{n}.tif", "LMHLD/{area}/label/{n}.tif", 255, CHINESE),
    "splits": Published("{split}/{area}/image/{area}_{n}.tif", "{split}/{area}/mask/{area}_{n}.tif", 1, ABBREVIATED),
    "zips": Published("{area}/image/{n}.tif", "{area}/gt/{n}.png", 255, zipped=True),
}
SITES = {
    "kodagu": "Kodagu_India",
    "kaikoura": "Kaikoura_New Zealand",
    "taitung": "Taitung_China",
    "kupang": "Kupang_Indonesia",
    "a_luoi": "A Luoi_Vietnam",
}
SITE_SIDE = 5264  # pixels: GVLM's 17 sites cover 163.77 km2 at 0.59 m
LUDING = {"crs": "EPSG:32648", "transform": from_origin(280_000, 3_280_000, 3, 3)}


def write(name: str, folder: Path, layout: Published, counts: Mapping[str, int]) -> int:
    """Write the patches of a data set that is ready, ``counts`` of each area; return how many files there are."""
    dataset, files = sources.load(name), 0
    sizes, names = paper.areas()["patch_size"], paper.areas()["short_name"]
    for area, count in tqdm(counts.items(), "areas"):
        size, called = int(sizes[area]), layout.names.get(area, str(names[area]))
        spec = PatchSpec(dataset=name, fingerprint=dataset.fingerprint, area=area, size=size)
        cut = patches.cut(spec, dataset.scenes_of(area), progress=False)
        for n, (row, split) in zip(range(count), itertools.cycle(enumerate(cut.index["split"])), strict=False):
            repeat = n // len(cut.index)
            place = {"area": called, "split": split, "n": n}
            write_raster(folder / layout.images.format(**place), _varied(cut.images[row], repeat))
            mask = _turned(cut.masks[row], repeat) * np.uint8(layout.code)
            write_raster(folder / layout.masks.format(**place), mask[None])
            files += 2
        if layout.zipped:
            shutil.make_archive(str(folder / called), "zip", folder, called)
            shutil.rmtree(folder / called)
    return files


def write_events(name: str, folder: Path, side: int = SITE_SIDE) -> int:
    """Write the paper's five sites as GVLM packs them and a scene of Luding with its mask; return how many files.

    Each is a scene of the data set ``name``, repeated and mirrored to at least ``side`` pixels a side.
    """
    dataset, pairs = sources.load(name), folder / "GVLM_Change_Detection"
    places = {area: (pairs / site / "im2.png", pairs / site / "ref.png") for area, site in SITES.items()}
    places["luding"] = (folder / "luding_0.tif", folder / "luding_0_mask.tif")
    for area, (image_path, mask_path) in tqdm(places.items(), "events"):
        (scene,) = dataset.scenes_of(area)
        image, mask, _ = read_all(scene, BANDS if area == "luding" else ("red", "green", "blue"))
        placed = LUDING if area == "luding" else {}
        write_raster(image_path, _repeated(image, side), **placed)
        write_raster(mask_path, _repeated(mask[None].astype(np.uint8), side), **placed)
    return 2 * len(places)


def counts_of(share: float) -> dict[str, int]:
    """Return a share of paper Table 2's number of patches of each area, at least 20."""
    published = paper.areas()["patches"]
    return {area: max(20, round(share * int(published[area]))) for area in paper.AREAS}


def write_raster(path: Path, values: np.ndarray, **placed: object) -> None:
    """Write (bands, rows, cols), mostly without coordinates, as patches are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = values.shape
    with rasterio.open(path, "w", count=count, height=height, width=width, dtype=values.dtype, **placed) as target:
        target.write(values)


def _turned(values: np.ndarray, repeat: int) -> np.ndarray:
    turned = np.rot90(values, repeat % 4, (-2, -1))
    return turned[..., ::-1] if repeat // 4 % 2 else turned


def _varied(image: np.ndarray, repeat: int) -> np.ndarray:
    brighter = image.dtype.type(repeat // 8)
    return np.minimum(_turned(image, repeat), np.iinfo(image.dtype).max - brighter) + brighter


def _repeated(values: np.ndarray, side: int) -> np.ndarray:
    """Return (bands, rows, cols) continued by its mirror images, at least ``side`` pixels each way."""
    _, height, width = values.shape
    return np.pad(values, ((0, 0), (0, max(0, side - height)), (0, max(0, side - width))), mode="symmetric")


def main() -> None:
    """Write one layout, or the events."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layout", choices=LAYOUTS, default="areas")
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--events", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore", NotGeoreferencedWarning)  # patches have no coordinates and need none
    sources.get(options.name)
    if options.events:
        print(f"{options.folder}: {write_events(options.name, options.folder)} files")
        return
    counts = counts_of(options.share)
    files = write(options.name, options.folder, LAYOUTS[options.layout], counts)
    print(f"{options.folder}: {files} files of {sum(counts.values())} patches")


if __name__ == "__main__":
    main()
