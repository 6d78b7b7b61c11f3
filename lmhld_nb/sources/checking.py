"""Report the content of a folder or file (``lmhld data check``); nothing is written."""

from contextlib import suppress
from pathlib import Path

from lmhld_nb.config import UserError
from lmhld_nb.scenes import arrays, vectors
from lmhld_nb.scenes.scene import open_image
from lmhld_nb.sources import archives, discovery, files
from lmhld_nb.sources.descriptions import catalogue
from lmhld_nb.sources.layout import Layout, resolve

_FEW_CODES = 16  # a raster with at most so many values counts as a mask


def check(path: Path) -> str:
    """Describe ``path`` in a few lines: matching data sets or layout of a folder, header and codes of a file."""
    if path.is_dir():
        return _describe_folder(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file or folder; correct the path")
    if path.name.lower().endswith(vectors.SUFFIXES):
        return "\n".join(_describe_layer(path, name, kind) for name, kind in vectors.layers(path).items())
    if path.suffix.lower() in files.SUFFIXES:
        keys: list[str | None] = [*arrays.array_keys(path)] if arrays.is_array_file(path) else []
        return "\n".join(_describe_image(path, key) for key in keys or [None])
    if archives.is_archive(path):
        size = path.stat().st_size / 1e6
        return f"{path.name}: archive, {size:.1f} MB; adopt it with `lmhld data get NAME --from {path}`"
    raise UserError(f"{path}: neither image, polygons nor archive; give one of {', '.join(files.SUFFIXES)}")


def _describe_folder(root: Path) -> str:
    names, packed = files.list_files(root), sum(archives.is_archive(entry) for entry in root.iterdir())
    if not names:
        if not packed:
            raise UserError(f"{root}: holds neither images nor archives; give the folder that holds the data")
        return f"{root}: {packed} archives; adopt them with `lmhld data get NAME --from {root}`"
    lines = [f"{root}: {len(names)} image, array and vector files" + (f", {packed} archives" if packed else "")]
    for name, description in catalogue().items():
        with suppress(UserError):  # it is a different data set
            scenes = resolve(root, description, name)
            areas = ", ".join(dict.fromkeys(scene.area for scene in scenes))
            lines.append(f"fits the data set '{name}': {len(scenes)} scenes, areas {areas}")
            try:
                with open_image(scenes[0]):
                    continue
            except UserError as error:
                lines[-1] += f"; but {error}"
    if len(lines) > 1:
        return "\n".join(lines)
    try:
        layout, text = discovery.discover(root, Layout())
        resolve(root, layout, "area")
        lines += ["discovered:", text]
    except UserError as error:
        lines.append(f"the layout cannot be detected: {error}")
        if isinstance(error, discovery.Ambiguous):
            lines += ["template for --layout:", error.template.rstrip()]
    return "\n".join(lines)


def _describe_layer(path: Path, name: str, geometry: str | None) -> str:
    if geometry is None:
        return f"{path.name} [{name}]: a table without geometry"
    table = vectors.read(path, name)
    types, grid = ", ".join(table.geom_type.dropna().unique()), table.crs.to_string()
    return f"{path.name} [{name}]: {len(table)} features ({types}), {grid}"


def _describe_image(path: Path, key: str | None) -> str:
    header = files.read_header(path, key)
    codes = files.codes_in(path, key) if len(header.shape) == 2 or 1 in header.shape else None
    listed = f", codes {'/'.join(map(str, sorted(codes)))}" if codes and len(codes) <= _FEW_CODES else ""
    if header.array:
        label = f"{path.name} [{key}]" if key else path.name
        return f"{label}: array {'×'.join(map(str, header.shape))}, {header.dtype}{listed}"
    bands, rows, cols = header.shape
    grid = f"{header.crs}, pixel {header.resolution[0]:g}" if header.resolution else "no coordinate system"
    nodata = f", no data {header.nodata:g}" if header.nodata is not None else ""
    count = f"{bands} band{'s' if bands > 1 else ''}"
    return f"{path.name}: {count}, {rows}×{cols} pixels, {header.dtype}, {grid}{nodata}{listed}"
