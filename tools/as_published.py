"""Write a data set as LMHLD may be published: folders of ready patches, to rehearse `lmhld data get lmhld --from`.

    python tools/as_published.py twin-edition FOLDER --layout areas [--share 1]

How LMHLD's archives are laid out inside is not known; these are four plausible ways. ``--share`` is of the numbers of
patches in paper Table 2: what the data set holds is repeated, turned, mirrored and brightened, so that no two files are
alike. With 1 that makes a data set of the right size, not of the right content.
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
from tqdm import tqdm

from lmhld_nb import paper, patches, sources
from lmhld_nb.patches import PatchSpec


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


def counts_of(share: float) -> dict[str, int]:
    """Return a share of paper Table 2's number of patches of each area, at least 20."""
    published = paper.areas()["patches"]
    return {area: max(20, round(share * int(published[area]))) for area in paper.AREAS}


def write_raster(path: Path, values: np.ndarray) -> None:
    """Write (bands, rows, cols) without coordinates, as patches mostly are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = values.shape
    with rasterio.open(path, "w", count=count, height=height, width=width, dtype=values.dtype) as target:
        target.write(values)


def _turned(values: np.ndarray, repeat: int) -> np.ndarray:
    turned = np.rot90(values, repeat % 4, (-2, -1))
    return turned[..., ::-1] if repeat // 4 % 2 else turned


def _varied(image: np.ndarray, repeat: int) -> np.ndarray:
    brighter = image.dtype.type(repeat // 8)
    return np.minimum(_turned(image, repeat), np.iinfo(image.dtype).max - brighter) + brighter


def main() -> None:
    """Write one layout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layout", choices=LAYOUTS, default="areas")
    parser.add_argument("--share", type=float, default=1.0)
    options = parser.parse_args()
    warnings.simplefilter("ignore", NotGeoreferencedWarning)  # patches have no coordinates and need none
    sources.get(options.name)
    counts = counts_of(options.share)
    files = write(options.name, options.folder, LAYOUTS[options.layout], counts)
    print(f"{options.folder}: {files} files of {sum(counts.values())} patches")


if __name__ == "__main__":
    main()
