"""Data on GitHub: archives of commits, the files taken from them, and tiles assembled into scenes."""

import os
import re
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from scipy import ndimage

from lmhld_nb import config
from lmhld_nb.config import UserError
from lmhld_nb.scenes.scene import read_all
from lmhld_nb.sources import archives, download
from lmhld_nb.sources.files import match_files
from lmhld_nb.sources.layout import Layout, resolve

ADDRESS_VARIABLE = "LMHLD_GITHUB"  # environment variable with another base address (a mirror, or a test server)
Place = Annotated[int, Field(ge=0, le=1_000_000)]


class Mosaic(Layout):
    """Tiles of one scene, which becomes TO_rgb.npy (all bands, 0 to 255) and TO_mask.npy.

    ``places`` gives a tile's upper left row and column by its {id} (others left out); empty: ids are these (128_512).
    """

    to: str = Field(pattern=r"^\w+$")
    places: dict[str, tuple[Place, Place]] = {}


class Archive(config.Strict):
    """A commit of a repository and what is taken from its archive."""

    repository: str = Field(pattern=r"^[\w-][\w.-]*/[\w-][\w.-]*$")
    commit: str = Field(pattern=r"^[0-9a-f]{40}$")
    files: dict[str, str]  # path pattern there → path here, which may hold {id}
    # {id} there is a position, from 0, among the numbers 1 to this sorted as text; here it is the number.
    sorted_as_text: Annotated[int, Field(ge=0, le=100_000)] = 0
    mosaics: tuple[Mosaic, ...] = ()

    @cached_property
    def numbers(self) -> dict[str, str]:
        """The numbers at the positions of `sorted_as_text`."""
        return {str(place): n for place, n in enumerate(sorted(map(str, range(1, self.sorted_as_text + 1))))}


class GitHub(config.Strict):
    """Archives of commits. ``sha256`` is that of each area's content (`fingerprints.of_areas`), not of files."""

    kind: Literal["github"]
    archives: tuple[Archive, ...]
    sha256: dict[str, str]


def fetch(source: GitHub, home: Path, progress: bool) -> Path:
    """Download and unpack what is missing, assemble tiles; return the folder. Interrupted archives restart."""
    base = os.environ.get(ADDRESS_VARIABLE, "https://github.com").rstrip("/")
    for archive in source.archives:
        name = archive.repository.replace("/", "-")
        address = f"{base}/{archive.repository}/archive/{archive.commit}.tar.gz"
        file = download.RemoteFile(f"{name}-{archive.commit}.tar.gz", address)
        packed = download.fetch(file, home / "download", progress)
        try:
            folder = archives.extract(packed, home / "raw" / name, progress, take=partial(_place_of, archive))
        except UserError:  # its size is not known beforehand: it may have been cut off
            packed.unlink(missing_ok=True)
            raise
        for mosaic in archive.mosaics:
            _assemble(mosaic, folder, home / "raw" / "mosaics")
    return home / "raw"


def _place_of(archive: Archive, member: str) -> str | None:
    """Return the local path of an archive's member, None for those left out."""
    path = member.partition("/")[2]  # without the archive's own folder, REPOSITORY-COMMIT
    for pattern, target in archive.files.items():
        if fits := match_files(pattern, [path]):
            name = fits[path].get("id", "")
            return target.replace("{id}", archive.numbers.get(name, name))
    return None


def _assemble(mosaic: Mosaic, folder: Path, target: Path) -> None:
    """Write the scene assembled from tiles; where they overlap, the last one counts.

    Black pixels connected to ground without tiles are no data, 0 and 255 in the mask; others become 1.
    """
    tiles = []
    for scene in resolve(folder, mosaic, "tile"):
        name = scene.name.removeprefix(f"{scene.area}_")
        place = mosaic.places.get(name, () if mosaic.places else tuple(map(int, re.findall(r"\d+", name))))
        if len(place) == 2:
            tiles.append((*place, *read_all(scene, mosaic.bands)[:2]))
    if len(tiles) < max(len(mosaic.places), 1):
        raise UserError(f"{folder}: {len(tiles)} tiles of {mosaic.to} have a place; correct `files:` or `places:`")
    top, left = (min(tile[axis] for tile in tiles) for axis in (0, 1))
    rows, cols = (max(tile[axis] + tile[3].shape[axis] for tile in tiles) for axis in (0, 1))
    image = np.zeros((len(mosaic.bands), rows - top, cols - left), np.uint8)
    mask, covered = np.zeros(image.shape[1:], np.uint8), np.zeros(image.shape[1:], bool)
    for row, col, values, labels in tiles:
        window = np.s_[row - top : row - top + labels.shape[0], col - left : col - left + labels.shape[1]]
        image[:, *window], mask[window], covered[window] = values, labels, True
    black = (image == 0).all(axis=0)
    pieces, _ = ndimage.label(np.pad(black, 1, constant_values=True))
    outside = np.isin(pieces, np.unique(pieces[~np.pad(covered, 1)]))[1:-1, 1:-1]
    image[:, black & ~outside], mask[outside] = 1, 255
    for kind, values in (("rgb", image), ("mask", mask)):
        with config.atomic_path(target / f"{mosaic.to}_{kind}.npy") as path:
            np.save(path, values, allow_pickle=False)
