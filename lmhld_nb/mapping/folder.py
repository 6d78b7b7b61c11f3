"""The folder of a map: only an older map is ever replaced, and either all files appear or none.

map.json records the SHA-256 of the map's other files, which proves that they belong to an older map. It is moved last:
a killed process leaves it in its temporary folder, so that the next one can tell what it may delete.
"""

import itertools
import json
import os
import platform
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyogrio
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError

from lmhld_nb.config import UserError, cannot_write, short
from lmhld_nb.processes import is_alive
from lmhld_nb.scenes.rasters import open_raster
from lmhld_nb.seals import digest_of

PROBABILITY, UNCERTAINTY, MASK = "probability.tif", "uncertainty.tif", "mask.tif"
POLYGONS, NOT_IMAGED, OVERLAY, VIEW = "landslides.gpkg", "not_imaged.gpkg", "overlay.png", "view.html"
STYLES = ("landslides.qml", "probability.qml", "uncertainty.qml", "mask.qml")
SCORE_TABLES = ("precision_recall", "calibration", "by_size")
REPORT = "map.json"  # written last: without it a map is not finished
COARSE = "coarse.tif"  # only in the temporary folder
_RECORDED = (
    PROBABILITY, UNCERTAINTY, MASK, POLYGONS, NOT_IMAGED, OVERLAY, VIEW, *STYLES,
    *(f"scores_{name}.csv" for name in SCORE_TABLES),
)  # fmt: skip
_OLDER = f"{REPORT}.older"
# Prefix of this machine's temporary folders; the process id follows.
TEMPORARY = f".map-{platform.node()}-"
_WRITING_ERRORS = (
    OSError, RasterioError, CPLE_BaseError,
    pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, pyogrio.errors.FeatureError,
)  # fmt: skip


@contextmanager
def all_or_nothing(out: Path, inputs: Iterable[Path] = ()) -> Iterator[Path]:
    """Yield a temporary folder whose files move to ``out`` if the block succeeds; if not, new folders are removed.

    Leftovers of killed processes in ``out`` are removed; files with names that no map uses are left alone. UserError,
    before the block and after it, if a file to be replaced in ``out`` is one of ``inputs`` or not part of an older map,
    if ``out`` holds other files and no map, or if it cannot be written.
    """
    inputs = _with_sources(inputs)
    created = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        _check(out, inputs)
        temporary = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}{os.getpid()}-", dir=out))
        try:
            yield temporary
            _check(out, inputs)
        except BaseException:
            _discard(temporary)
            raise
        if (older := _read_digests(out / REPORT)) is not None:
            (out / REPORT).replace(temporary / _OLDER)
            # Scores of an older map would be mistaken for this one's.
            _remove(out, {name: value for name, value in older.items() if not (temporary / name).exists()})
        for name in (*_RECORDED, REPORT):
            if (temporary / name).exists():
                (temporary / name).replace(out / name)
        _discard(temporary)
    except BaseException as error:
        for folder in created:
            with suppress(OSError):  # another process has put something there
                folder.rmdir()
        if isinstance(error, _WRITING_ERRORS):
            is_of_the_system = isinstance(error, OSError) and error.errno
            raise cannot_write(out, error if is_of_the_system else OSError(short(error))) from error
        raise


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of a map's files by name, without map.json."""
    return {name: digest_of(folder / name) for name in _RECORDED if (folder / name).is_file()}


def _with_sources(paths: Iterable[Path]) -> set[Path]:
    """Return the files, and for each VRT among them the files that it refers to."""
    listed: set[Path] = set()
    waiting = list(paths)
    while waiting:
        path = waiting.pop()
        if path.suffix.lower() == ".vrt" and path not in listed:
            with suppress(UserError), open_raster(path) as source:  # a file that cannot be opened is refused later
                waiting += map(Path, source.files)
        listed.add(path)
    return listed


def _check(out: Path, inputs: Iterable[Path]) -> None:
    for path, name in itertools.product(inputs, (*_RECORDED, REPORT)):
        with suppress(OSError):  # one of the two does not exist
            if os.path.samefile(out / name, path):
                raise UserError(f"{out / name}: is an input of this map; choose another folder for the results")
    _clear(out)
    recorded = _read_digests(out / REPORT)
    foreign = [name for name in _RECORDED if not _matches(out / name, recorded or {})]
    if recorded is None and os.path.lexists(out / REPORT):
        foreign.append(REPORT)
    if foreign:
        reason = f"is not part of an older map ({REPORT} does not record it as it is)"
        raise UserError(f"{out / foreign[0]}: {reason}; move it away or choose another folder for the results")
    others = sorted(path.name for path in out.iterdir() if not path.name.startswith("."))
    if recorded is None and others:
        raise UserError(f"{out}: holds other files ({others[0]}) and no map; choose a new or empty folder")


def _read_digests(report: Path) -> dict[str, str] | None:
    """Return what a map.json records; None if there is none, or it does not belong to a map."""
    with suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
        if report.is_file():
            recorded = json.loads(report.read_text(encoding="utf-8"))["sha256"]
            return {name: recorded[name] for name in _RECORDED if name in recorded}
    return None


def _matches(path: Path, recorded: dict[str, str]) -> bool:
    """Whether a file is absent or unchanged since it was recorded."""
    if path.is_file():
        return digest_of(path) == recorded.get(path.name)
    return not os.path.lexists(path)


def _clear(out: Path) -> None:
    """Remove what killed processes of this machine have left."""
    for temporary in out.glob(f"{TEMPORARY}*"):
        process = temporary.name.removeprefix(TEMPORARY).partition("-")[0]
        if not process.isdigit() or is_alive(int(process)):
            continue
        if not (out / REPORT).exists():  # killed while its files moved
            for report in (REPORT, _OLDER):
                _remove(out, _read_digests(temporary / report) or {})
        _discard(temporary)


def _remove(out: Path, recorded: dict[str, str]) -> None:
    """Remove a map's files that are unchanged since they were recorded."""
    for name in recorded:
        if _matches(out / name, recorded):
            (out / name).unlink(missing_ok=True)


def _discard(temporary: Path) -> None:
    """Remove a temporary folder and what a map writes there, including journals of GDAL and SQLite."""
    with suppress(OSError):
        for path in temporary.iterdir():
            if path.name.startswith((*_RECORDED, REPORT, COARSE)):
                path.unlink()
        temporary.rmdir()
