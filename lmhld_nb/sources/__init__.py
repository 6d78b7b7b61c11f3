"""Data sets: the catalogue, and their preparation: generated (the twin), downloaded, or adopted in place.

A prepared data set is ``data/NAME/dataset.json``, written last: the Scenes and a fingerprint of their content.
The fingerprint does not depend on the location of the files, so runs stay valid when data are moved.
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import count
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from lmhld_nb import config, seals, twin
from lmhld_nb.config import UserError
from lmhld_nb.processes import cores, lock
from lmhld_nb.scenes.arrays import is_array_file
from lmhld_nb.scenes.rasters import check_whole, readable
from lmhld_nb.scenes.scene import Scene, extent, open_image, open_labels, pure_edges, read_polygons
from lmhld_nb.sources import archives, discovery, download, files, fingerprints, github
from lmhld_nb.sources import layout as layouts
from lmhld_nb.sources.checking import check
from lmhld_nb.sources.descriptions import Description, Local, Zenodo, catalogue, describe, key_of, overlaid

__all__ = ["DataSet", "Description", "catalogue", "check", "describe", "get", "is_ready", "load", "summary"]

FORMAT = 2  # of dataset.json; other formats are prepared again
_SCENE = TypeAdapter(Scene)
_OPENED = 48  # scenes opened as a test when a data set is prepared


@dataclass(frozen=True)
class DataSet:
    """A prepared data set: its Scenes, ordered by area, split and name, and its fingerprint."""

    name: str
    title: str
    synthetic: bool
    scenes: tuple[Scene, ...]
    fingerprint: str

    @cached_property
    def areas(self) -> tuple[str, ...]:
        """Areas, those of the paper first, in the order of Table 1."""
        return tuple(sorted({scene.area for scene in self.scenes}, key=layouts.area_rank))

    @cached_property
    def bands(self) -> tuple[str, ...]:
        """Bands that every scene has, in the first scene's order."""
        return tuple(band for band in self.scenes[0].bands if all(band in scene.bands for scene in self.scenes))

    def scenes_of(self, area: str) -> tuple[Scene, ...]:
        """Return the scenes of ``area``; UserError if the data set has no such area."""
        if area not in self.areas:
            raise UserError(f"data set '{self.name}' has no area '{area}'; it has {', '.join(self.areas)}")
        return tuple(scene for scene in self.scenes if scene.area == area)


def is_ready(name: str) -> bool:
    """Whether ``get`` has prepared this data set, from its current description."""
    state = _state(config.data_dir() / name)
    return state is not None and state["key"] == key_of(describe(name))


def summary(dataset: DataSet) -> str:
    """Describe a data set in a few lines; bands of only some areas are listed beside these areas."""
    lines = [f"{dataset.name}: {dataset.title}" + (" (synthetic)" if dataset.synthetic else "")]
    for area in dataset.areas:
        scenes = dataset.scenes_of(area)
        extra = dict.fromkeys(band for scene in scenes for band in scene.bands if band not in dataset.bands)
        count = f"{len(scenes)} scene{'s' if len(scenes) > 1 else ''}"
        lines.append(f"  {area:16} {count}" + (f", also {', '.join(extra)}" if extra else ""))
        if words := describe(dataset.name).about.get(area):
            lines.append(f"{'':19}{scenes[0].resolution_m or '?'} m; {words}")
    lines.append(f"  bands {', '.join(dataset.bands)}; fingerprint {dataset.fingerprint}")
    return "\n".join(lines)


class _Stale(UserError):
    """The files have changed since the data set was prepared."""


def get(name: str, from_path: Path | None = None, progress: bool = True, layout: Path | None = None) -> DataSet:
    """Generate, download or adopt a data set of the catalogue, and load it; a prepared one is left unchanged.

    ``from_path`` is a folder, used in place, or an archive; ``layout`` a YAML file with keys of ``layout.Layout``.
    After a UserError, the same call continues with what was already downloaded or generated.
    """
    description = describe(name)
    home = config.data_dir() / name
    if from_path is None and layout is None and is_ready(name):
        with suppress(_Stale):  # repaired below
            return load(name)
    with lock(home / ".lock"):
        for folder in (home, home / "raw"):
            config.clear_left_behind(folder)
        before = _state(home)
        if from_path is None and layout is None and before is not None and before["layout"]:
            layout = Path(before["layout"])
        if layout is not None:
            description = overlaid(description, layout)
        source = description.source
        if isinstance(source, twin.TwinSpec):
            if from_path is not None or layout is not None:
                raise UserError(f"data set '{name}' is generated, not adopted; leave out --from and --layout")
            for changed in _changed(home, before, *_held(home, before)) if before else ():  # else it counts as finished
                changed.unlink(missing_ok=True)
            scenes = twin.make(home, source, cores(), progress)
            root, fingerprint = home, twin.fingerprint(source, scenes)
        else:
            root = _root(home, before, description, from_path, progress)
            scenes = _outlined(_read_layout(home, root, description, progress))
            # Open some scenes, evenly spaced, so that a wrong description is refused now and not hours later.
            for line in _doubts([*scenes[:: max(len(scenes) // _OPENED, 1)], scenes[-1]], description):
                config.warn(line)
            for file in {file for scene in scenes for file in (scene.image, scene.mask) if file is not None}:
                if not is_array_file(file):  # which has the length in its header, or fails to open
                    check_whole(file)
            fingerprint = ""
        hashes = fingerprints.hashes_of(scenes, root, home / "hashes.json", progress)
        inside = root.resolve().is_relative_to(home.resolve())
        state = {
            **{"format": FORMAT, "name": name, "hashes": hashes},
            "fingerprint": fingerprint or fingerprints.of_scenes(scenes, hashes, root),
            "key": key_of(describe(name)),  # without --layout: the same `get` without it finds the data prepared
            "layout": str(layout.resolve()) if layout else None,
            "pixels": _verified(root, scenes, source) if isinstance(source, github.GitHub) else None,
            "root": os.path.relpath(root.resolve(), home.resolve()) if inside else str(root.resolve()),
            "scenes": [_encoded(scene, root) for scene in scenes],
        }
        config.write_json(home / "dataset.json", seals.sealed(state, home, ()))
    return load(name)


def _outlined(scenes: list[Scene]) -> list[Scene]:
    """Return the scenes; those that an inventory leaves empty, while it meets others, are free of landslides."""
    inventories = {scene.name: (scene.polygons, scene.layer, scene.where) for scene in scenes if scene.polygons}
    outlines, met = lru_cache(8)(read_polygons), set[str]()
    for scene in scenes if len(set(inventories.values())) < len(inventories) else ():
        if scene.polygons is not None:
            with open_image(scene) as image:
                held = None if image.crs is None else outlines(scene.polygons, image.crs, scene.layer, scene.where)
                met |= {scene.name} if held is None or held.intersects(extent(image)).any() else set()
    free = {name for name in inventories.keys() - met if inventories[name] in map(inventories.get, met)}
    background: dict[str, Any] = {"polygons": None, "layer": None, "where": None, "unlabelled_is_background": True}
    return [replace(scene, **background) if scene.name in free else scene for scene in scenes]


def _doubts(scenes: Sequence[Scene], layout: layouts.Layout) -> Iterator[str]:
    """Yield warnings about some scenes; UserError if the description cannot be theirs."""
    pooled: dict[tuple[Any, ...], tuple[Scene, Counter[int]]] = {}
    edges: dict[Path, bool] = {}
    stated = "landslide_codes" in layout.model_fields_set or any(part.landslide_codes for part in layout.parts)
    for number, scene in enumerate(scenes):
        with open_image(scene) as image, ExitStack() as stack:
            if scene.mask is not None or scene.polygons is not None:
                stack.enter_context(open_labels(scene, image))
            image.check_names()
            edges[scene.image] = any(edge.any() for edge in pure_edges(image))
        if scene.mask is not None and scene.mask not in {earlier.mask for earlier in scenes[:number]}:
            if (codes := files.codes_in(scene.mask, scene.mask_key)) is None:
                yield files.check_codes(scene, codes, "", stated)
            else:
                pooled.setdefault((scene.area, scene.landslide_codes), (scene, Counter()))[1].update(codes)
    for scene, counts in pooled.values():
        if told := files.check_codes(scene, counts, f"`landslide_codes: {list(scene.landslide_codes)}`", stated):
            yield told
    if found := [path for path, is_pure in edges.items() if is_pure]:
        problem = f"{len(found)} of {len(edges)} images have an edge of pure black or white, like {found[0].name}"
        yield f"{problem}; where nothing was imaged there, declare it as no data (`nodata: 0`)"


def _changed(home: Path, state: dict[str, Any], root: Path, scenes: Sequence[Scene]) -> list[Path]:
    """List the scene files of a prepared data set whose content has changed since it was prepared."""
    there = [scene for scene in scenes if all(file.is_file() for file in fingerprints.files_of([scene]))]
    hashes = fingerprints.hashes_of(there, root, home / "hashes.json", progress=False)
    return [root / name for name, digest in hashes.items() if digest != state["hashes"].get(name)]


def load(name: str) -> DataSet:
    """Load a data set that ``get`` has prepared; UserError if files are missing or changed (by size and date)."""
    description, home, again = describe(name), config.data_dir() / name, f"run `lmhld data get {name}`"
    if (state := _state(home)) is None:
        raise UserError(f"{home}: data set '{name}' is not prepared; {again}")
    if state["key"] != key_of(description):
        raise UserError(f"{home}: prepared from another description of '{name}'; {again}")
    adopted = Path(state["root"]).is_absolute()
    root, scenes = _held(home, state)
    if gone := next((file for file in fingerprints.files_of(scenes) if not file.is_file()), None):
        again += " --from FOLDER with its new location" if adopted else ""
        raise _Stale(f"{gone}: a file of data set '{name}' is gone; {again}")
    if changed := _changed(home, state, root, scenes):
        again = f"run `lmhld data get {name} --from {root}`" if adopted else again
        raise _Stale(f"{changed[0]}: a file of data set '{name}' has changed since; {again}")
    fingerprint = state.get("pixels") or state["fingerprint"]
    return DataSet(name, description.title, description.synthetic, scenes, fingerprint)


def _root(
    home: Path, state: dict[str, Any] | None, description: Description, from_path: Path | None, progress: bool
) -> Path:
    """Return the folder of the files, downloaded or unpacked if needed."""
    if from_path is not None:
        path = from_path.expanduser().resolve()
        if not path.exists():
            raise UserError(f"{path}: no such file or folder; correct --from")
        packed = [path] if path.is_file() else sorted(filter(archives.is_archive, path.iterdir()))
        # There may be a map or a picture beside archives that hold the data.
        if path.is_dir() and files.list_files(path) and not (packed and not _fits(path, description)):
            return path
        if not packed:
            raise UserError(f"{path}: holds neither images nor archives; give the folder that holds the data")
        return _unpack(home, packed, progress)
    if state is not None and Path(state["root"]).is_absolute() and Path(state["root"]).is_dir():
        return Path(state["root"])  # adopted before; the description or the files have changed since
    if isinstance(description.source, github.GitHub):
        return github.fetch(description.source, home, progress)
    if isinstance(source := description.source, Zenodo):
        folders = {True: home / "download", False: home / "raw"}
        listed = [(file, archives.is_archive(Path(file.name))) for file in download.list_files(source.doi)]
        paths = [download.fetch(file, folders[packed], progress) for file, packed in listed]
        return _unpack(home, [path for path in paths if archives.is_archive(path)], progress)
    if state is not None and (home / state["root"]).is_dir():
        return (home / state["root"]).resolve()  # unpacked before
    where = source.where if isinstance(source, Local) else ""
    problem = f"data set '{description.name}' is not downloaded by itself ({where}); get it and give its place"
    raise UserError(f"{problem}: lmhld data get {description.name} --from FOLDER")


def _fits(root: Path, description: Description) -> bool:
    """Whether the files below ``root`` are a data set as they are."""
    with suppress(UserError):
        return bool(layouts.resolve(root, discovery.discover(root, description)[0], description.name))
    return False


def _verified(root: Path, scenes: list[Scene], source: github.GitHub) -> str:
    """Return a fingerprint of the content, whatever its files; UserError if it is not as described."""
    found = fingerprints.of_areas(scenes)
    for area, digest in found.items():
        if digest != (expected := source.sha256.get(area)):
            problem = f"area '{area}' is not as described (SHA-256 of pixels: expected {expected}, found {digest})"
            raise UserError(f"{root}: {problem}; get its files again, or describe them as your own data set")
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:16]


def _unpack(home: Path, packed: list[Path], progress: bool) -> Path:
    raw = home / "raw"
    by_folder = {archives.stem(path): path for path in packed}
    if len(by_folder) < len(packed):
        raise UserError(f"{packed[0].parent}: two archives of the same name; give one of them with --from")
    for folder, path in by_folder.items():
        archives.extract(path, raw / folder, progress)
    for old in raw.iterdir() if packed else ():
        if old.is_dir() and old.name not in by_folder:  # from an earlier version
            shutil.rmtree(old)
    return raw


def _read_layout(home: Path, root: Path, description: Description, progress: bool) -> list[Scene]:
    try:
        layout, text = discovery.discover(root, description)
    except discovery.Ambiguous as error:
        names = (f"layout{f'-{number}' if number > 1 else ''}.yaml" for number in count(1))
        paths, text = map(home.joinpath, names), error.template  # not over one that was completed
        template = next(path for path in paths if not path.exists() or path.read_text("utf-8") == text)
        template.write_text(text, encoding="utf-8")
        raise UserError(f"{error}; complete {template} and repeat with --layout {template}") from error
    if progress and text:
        print(text)
    return layouts.resolve(root, layout, description.name, config.warn)


def _state(home: Path) -> dict[str, Any] | None:
    """Return the record of a prepared data set; None without one in the current format."""
    path = home / "dataset.json"
    state: Any = {}
    with readable(path, "cannot be read", "check its permissions", OSError), suppress(ValueError):  # e.g. truncated
        state = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    current = isinstance(state, dict) and state.get("format") == FORMAT and not seals.damage(state, home)
    return state if current else None


def _encoded(scene: Scene, root: Path) -> dict[str, Any]:
    entry: dict[str, Any] = _SCENE.dump_python(scene, exclude_defaults=True)
    entry |= {key: os.path.relpath(entry[key], root) for key in fingerprints.PATHS if key in entry}
    if scene.nodata is not None:  # as text: JSON has no NaN
        entry["nodata"] = [*map(str, scene.nodata)] if isinstance(scene.nodata, tuple) else str(scene.nodata)
    return entry


def _held(home: Path, state: dict[str, Any]) -> tuple[Path, tuple[Scene, ...]]:
    """Return the folder and the scenes of a prepared data set."""
    root = (home / state["root"]).resolve()
    whole = (one | {key: root / one[key] for key in fingerprints.PATHS if key in one} for one in state["scenes"])
    return root, tuple(map(_SCENE.validate_python, whole))
