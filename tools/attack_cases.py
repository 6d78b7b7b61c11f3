"""Bad input for `tools/attack.py`, as data: profiles, scenes, networks, archives, records, command lines."""

import gzip
import json
import os
import random
import struct
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path

import numpy as np
import rasterio
import safetensors.torch
import torch
from made import blobs, image_of, write_tif

from lmhld_nb.sources import download

TINY = """name: tiny
description: one area of the smallest twin
data: twin-smoke
areas: [gorkha]
experiments: {single: {}}
models: [unet]
width: {unet: 2}
recipe: {batch_size: 4, epochs: 3, lr: 0.05}
execution: {threads: 1}
"""
_NUMBERS = count()


@dataclass(frozen=True)
class Case:
    """One attack: a command, what is set up in its process beforehand, and the exit code that it must have."""

    name: str
    command: tuple[object, ...]
    before: Callable[[], object] = lambda: None
    code: int | None = 2  # None: 0 or 2


def _fresh(place: Path) -> Path:
    folder = place / "cases" / str(next(_NUMBERS))
    folder.mkdir(parents=True)
    return folder


def profiles(place: Path) -> Iterator[Case]:
    """Profiles: bombs, scalars that YAML 1.1 reads otherwise, numbers beyond all bounds, names given twice."""
    bomb = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + k)}: &{chr(98 + k)} [*{chr(97 + k)}, *{chr(97 + k)}]\n" for k in range(24)
    )
    changes = {
        "aliases": bomb, "depth": "a: " + "[" * 20_000, "mappings": "a: " + "{b: " * 3000, "large": "#" * 10_000_000,
        "keys": "".join(f"k{k}: 1\n" for k in range(30_000)), "merge": "<<: {name: tiny}\n", "document": "---\na: 1\n",
        **{f"tag {tag}": f"extensions: {tag} foo\n" for tag in
           ("!!int", "!!float", "!!bool", "!!timestamp", "!!binary", "!!set", "!!omap",
            "!!python/name:os.system", "!x")},
        "complex key": "? [1]\n: 2\n", "surrogate": 'extensions: ["\\ud800"]\n', "twice": "data: twin-smoke\n",
    }  # fmt: skip
    for name, text in changes.items():
        yield _profile(place, name, TINY + text)
    numbers = (
        "010",
        "1:30",
        "0x_",
        "0b_",
        "0x10",
        "1_000",
        "2024-13-01",
        "2024-01-01",
        "9" * 5000,
        "-3",
        "1e300",
        ".inf",
    )
    numbers = (*numbers, ".nan", "0", "yes", "~", "[]", "2" + "0" * 70, "1000000000")
    for key in ("epochs: 3", "batch_size: 4", "lr: 0.05", "{unet: 2", "threads: 1"):
        for number in numbers:
            if (key, number) != ("lr: 0.05", "0x10"):
                yield _profile(place, f"{key} → {number[:12]}", TINY.replace(key, f"{key.rsplit(' ', 1)[0]} {number}"))
    lists = {
        "models: [unet]": "models: [unet, unet]", "areas: [gorkha]": "areas: [gorkha, gorkha]",
        "threads: 1": "threads: 1000000", "epochs: 3": "epochs: 3, weight_decay: 1.0e+300",
        "data: twin-smoke": "data: twin-smoke\npatches: {bands: [red, red]}", "name: tiny": "name: ../tiny",
        "[gorkha]": "[../gorkha]",
    }  # fmt: skip
    for old, new in lists.items():
        yield _profile(place, new[-40:], TINY.replace(old, new))
    for more in (
        "seeds: [0, 0]", "seeds: [-1]", f"seeds: [{2**70}]", "patches: {fractions: [1.0e+308, 1.0e+308, 1.0e+308]}",
        f"patches: {{seed: {10**17}}}", "patches: {seed: -1}", "patches: {size: 1600000}",
        "patches: {block: 100000000}",
        "batch_size_at: {64: 4, 64.0: 8}", "batch_size_at: {64: 4, '64': 8}", "batch_size_at: {true: 4}",
        "micro_batch: {unet: 100000000}", "patches: {thin: {gorkha: 10000000000}}",
    ):  # fmt: skip
        yield _profile(place, more[:40], TINY + more + "\n")


def _profile(place: Path, name: str, text: str) -> Case:
    path = _fresh(place) / "tiny.yaml"
    path.write_text(text, encoding="utf-8")
    return Case(name, ("plan", path))


def scenes(place: Path) -> Iterator[Case]:
    """Images: other drivers than the book's, references elsewhere, impossible grids, and sizes out of nothing."""
    plain, secret = (
        image_of(blobs(64, 64, 2), bands=3),
        write_tif(place / "secret.tif", image_of(blobs(64, 64, 2), bands=3)),
    )
    inf, nan = float("inf"), float("nan")
    wms = '<GDAL_WMS><Service name="TMS"><ServerUrl>http://127.0.0.1:9/${z}/${x}/${y}.png</ServerUrl></Service></GDAL_WMS>'

    def vrt(source: str, relative: int = 0) -> bytes:
        band = f'<SourceFilename relativeToVRT="{relative}">{source}</SourceFilename><SourceBand>1</SourceBand>'
        band = f"<SimpleSource>{band}</SimpleSource></VRTRasterBand>"
        bands = "".join(f'<VRTRasterBand dataType="UInt16" band="{k}">{band}'
                        for k in (1, 2, 3))  # fmt: skip
        grid = "<SRS>EPSG:32654</SRS><GeoTransform>5e5,3,0,4.7e6,0,-3</GeoTransform>"
        return f'<VRTDataset rasterXSize="64" rasterYSize="64">{grid}{bands}</VRTDataset>'.encode()

    written: dict[str, bytes] = {
        "wms.tif": wms.encode(), "vrt.tif": vrt(str(secret)), "vrt.png": vrt(str(secret)),
        "outside.vrt": vrt(str(secret)),
        "up.vrt": vrt("../secret.tif", 1), "self.vrt": vrt("self.vrt", 1), "http.vrt": vrt("/vsicurl/http://127.0.0.1:9/a.tif"),
        "nested.vrt": vrt(wms.replace("<", "&lt;")), "gone.vrt": vrt("gone.tif", 1),
        "zip.vrt": vrt("/vsizip/a.zip/a.tif"),
        "subdataset.vrt": vrt(f"GTIFF_DIR:1:{secret}"), "empty.tif": b"", "text.tif": b"II*\0" + bytes(40),
        "geojson.png": b'{"type": "FeatureCollection", "features": []}',
        "stac.tif": b'{"type":"FeatureCollection","stac_version":"1.0.0"}',
        "asc.tif": b"ncols 4\nnrows 4\nxllcorner 0\nyllcorner 0\ncellsize 1\n" + b"1 2 3 4\n" * 4,
    }  # fmt: skip
    for name, content in written.items():
        path = _fresh(place) / name
        path.write_bytes(content)
        yield _map(place, name, path)
        yield Case(f"check {name}", ("data", "check", path))
    for name, numbers in {
        "nan": (nan, 0, 5e5, 0, -3, 4e6), "inf": (3, 0, inf, 0, -3, 4e6), "zero": (0, 0, 5e5, 0, 0, 4e6),
        "flat": (3, 3, 5e5, 3, 3, 4e6), "huge": (1e300, 0, 5e5, 0, -1e300, 4e6), "none": (1, 0, 0, 0, 1, 0),
    }.items():  # fmt: skip
        path = write_tif(_fresh(place) / "a.tif", plain, transform=rasterio.Affine(*numbers))
        yield _map(place, f"grid {name}", path)
    for kind in ("complex64", "complex128"):
        yield _map(place, kind, write_tif(_fresh(place) / "a.tif", plain.astype(kind)))
    wide = {"height": 16, "width": 2_000_000, "count": 3, "dtype": "uint8", "sparse_ok": True, "crs": "EPSG:32654"}
    rgba = {"height": 60_000, "width": 60_000, "count": 4, "dtype": "uint8", "sparse_ok": True, "photometric": "RGB"}
    for name, options in {"wide.tif": wide, "rgba.tif": rgba}.items():
        path = _fresh(place) / name
        transform = rasterio.Affine(3, 0, 5e5, 0, -3, 4e6)
        rasterio.open(path, "w", driver="GTiff", transform=transform, tiled=True, compress="deflate", **options).close()
        yield _map(place, name, path) if name == "wide.tif" else Case(f"check {name}", ("data", "check", path), code=0)
    whole = (place / "secret.tif").read_bytes()
    chance = random.Random(1)
    for number in range(20):  # some changes do no harm
        damaged = bytearray(whole)
        for _ in range(8):
            damaged[chance.randrange(200) if number % 2 else -chance.randrange(1, 400)] = chance.randrange(256)
        path = _fresh(place) / "a.tif"
        path.write_bytes(damaged)
        yield Case(f"garbled {number}", ("data", "check", path), code=None)
    folder = _fresh(place) / "patches" / "gorkha"
    for kind, values in {"images": plain.astype(np.uint8), "masks": blobs(64, 64, 2)[None].astype(np.uint8)}.items():
        for number in range(60):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            with rasterio.open(folder / kind / f"{number}.png", "w", driver="PNG", **_shape(values)) as target:
                target.write(values)
    cut = folder / "images" / "2.png"
    cut.write_bytes(cut.read_bytes()[:-3000])
    layout = place / "layout.yaml"
    layout.write_text("parts: [{images: 'gorkha/images/{id}.png', masks: 'gorkha/masks/{id}.png', area: gorkha}]\n"
                      "bands: [red, green, blue]\ngeoreferenced: false\n")  # fmt: skip
    yield Case("truncated PNG", ("data", "get", "bijie-flat", "--from", folder.parent, "--layout", layout, "-q"))


def _shape(values: np.ndarray) -> dict[str, object]:
    return {"count": len(values), "height": values.shape[1], "width": values.shape[2], "dtype": values.dtype}


def _map(place: Path, name: str, image: Path, *options: object, weights: Path | None = None) -> Case:
    chosen = (
        "--weights",
        weights or place / "rgb.safetensors",
        "--bands",
        "red,green,blue",
        "--out",
        _fresh(place) / "m",
    )
    return Case(f"map {name}", ("map", image, *chosen, "-q", *options))


def networks(place: Path) -> Iterator[Case]:
    """Networks: headers and cards that promise what the file does not hold, and files that never end."""
    scene = write_tif(place / "scene.tif", image_of(blobs(64, 64, 2), bands=3))
    with safetensors.safe_open(place / "rgb.safetensors", framework="pt") as file:
        good = json.loads(file.metadata()["card"])
    tensors = safetensors.torch.load_file(place / "rgb.safetensors")
    area = {"patch_size": 32, "mean": [0.0], "std": [1.0]}
    hostile = (20_000, 0, -1, 1e300, "2", None, [], {}, True, "x" * 100_000, float("inf"), float("nan"))
    changes = [(key, value) for key in ("width", "bands", "model", "areas", "run_id", "threshold") for value in hostile]
    harmless = [("width", None), ("threshold", None), ("run_id", "2")]
    changes = [pair for pair in changes if pair not in harmless and repr(pair) not in map(repr, harmless)]
    changes += [
        ("bands", [1, 2, 3]),
        ("bands", ["red", "red", "blue"]),
        ("model", "os:system"),
        ("model", "trans_unet"),
    ]
    changes += [
        ("areas", {"made": {**area, "patch_size": size}}) for size in (16_000, 2**40, 17, "32", 1e300, -32, None)
    ]
    changes += [("members", value) for value in ([], {}, 3, [{}], [{"model": "unet", "width": 20_000, "weight": 1}])]
    for key, value in changes:
        yield _weights(place, f"card {key} {str(value)[:24]}", scene, tensors, json.dumps({**good, key: value}))
    for name, text in {
        "text": "x",
        "list": "[]",
        "deep": "[" * 100_000,
        "number": "9" * 10_000,
        "none": "null",
    }.items():
        yield _weights(place, f"card {name}", scene, tensors, text)
    yield _weights(place, "no card", scene, tensors, None)
    yield _weights(place, "half", scene, {name: value.half() for name, value in tensors.items()}, json.dumps(good))
    yield _weights(place, "infinite", scene, {name: value + torch.inf if value.dtype.is_floating_point else value
                                              for name, value in tensors.items()}, json.dumps(good))  # fmt: skip
    headers = {
        "long": struct.pack("<Q", 2**62) + b"{}", "empty": struct.pack("<Q", 2) + b"{}", "deep": b"[" * 5000,
        "nothing": b"",
        "huge": _header({"a": {"dtype": "F32", "shape": [2**60], "data_offsets": [0, 8]}}) + bytes(8),
        "pickle": b"\x80\x02cos\nsystem\n", "zip": b"PK\x03\x04" + bytes(100),
    }  # fmt: skip
    for name, content in headers.items():
        path = _fresh(place) / "a.safetensors"
        path.write_bytes(content)
        yield _map(place, f"header {name}", scene, weights=path)


def _header(content: dict) -> bytes:
    text = json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + text


def _weights(place: Path, name: str, scene: Path, tensors: dict, card: str | None) -> Case:
    path = _fresh(place) / "a.safetensors"
    safetensors.torch.save_file(tensors, path, metadata={"card": card} if card is not None else None)
    return _map(place, name, scene, weights=path)


def packed(place: Path) -> Iterator[Case]:
    """Archives: headers of 4 GB, names of all kinds, links, markers."""
    names = [
        "",
        "a\0b.tif",
        "/abs.tif",
        "../up.tif",
        "a/../../up.tif",
        "C:\\a.tif",
        "..zip",
        "x" * 300 + ".tif",
        "a\nb/c.tif/../../..",
    ]
    for name in names:
        path = _fresh(place) / "a.zip"
        with zipfile.ZipFile(path, "w") as target:
            target.writestr("a.tif", b"1")
            info = zipfile.ZipInfo("x")
            info.filename = name
            target.writestr(info, b"1" if not name.endswith("zip") else b"PK\x05\x06" + bytes(18))
        yield _adopt(f"zip name {name[:12]!r}", path)
    for pair in (("a.tif", "A.tif"), ("a.tif", "a.tif"), ("d/a.tif", "D/a.tif"), ("d", "d/a.tif")):
        path = _fresh(place) / "a.tar"
        with tarfile.open(path, "w") as target:
            for name in pair:
                target.addfile(tarfile.TarInfo(name))
        yield _adopt(f"names {pair}", path)
    for name, kind in {"long name": tarfile.GNUTYPE_LONGNAME, "long link": tarfile.GNUTYPE_LONGLINK,
                       "pax": tarfile.XHDTYPE, "global pax": tarfile.XGLTYPE}.items():  # fmt: skip
        info = tarfile.TarInfo("a")
        info.type, info.size = kind, 4_000_000_000
        path = _fresh(place) / "a.tar.gz"
        with path.open("wb") as file:
            for block in [gzip.compress(info.tobuf(tarfile.GNU_FORMAT), 1), *[gzip.compress(bytes(1 << 24), 1)] * 64]:
                file.write(block)
        yield _adopt(f"4 GB {name}", path)
    links = [
        ("a", "b", tarfile.SYMTYPE),
        ("b", "a", tarfile.SYMTYPE),
        ("h", "/etc/passwd", tarfile.LNKTYPE),
        ("f", "", tarfile.FIFOTYPE),
    ]
    for name, link, kind in links:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        path = _fresh(place) / "a.tar"
        with tarfile.open(path, "w") as target:
            target.addfile(info)
        yield _adopt(f"link {name}", path)
    path = _fresh(place) / "marker.zip"
    with zipfile.ZipFile(path, "w") as target:
        target.writestr(".extracted.json/x.tif", "{}")
    yield _adopt("marker as a folder", path)
    bomb = _fresh(place) / "bomb.zip"
    with (
        zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as target,
        target.open("zeros.tif", "w", force_zip64=True) as file,
    ):
        for _ in range(140):
            file.write(bytes(1 << 23))
    yield _adopt("bomb", bomb)


def _adopt(name: str, path: Path) -> Case:
    return Case(f"archive {name}", ("data", "get", "hokkaido", "--from", path, "-q"))


def records(place: Path) -> Iterator[Case]:
    """Records of a server: bodies without end, depth, sizes and names that are none."""
    entry = {"key": "a.zip", "size": 10, "checksum": "md5:" + "0" * 32, "links": {"self": "http://127.0.0.1:9/a"}}
    bodies = {name: json.dumps({"files": [{**entry, **change}]}) for name, change in {
        "negative": {"size": -1}, "infinite": {"size": float("inf")}, "zero": {"size": 0}, "number": {"key": 5},
        "NUL": {"key": "a\0b"}, "up": {"key": "../a"}, "no link": {"links": {}}, "file": {"links": {"self": "file:///etc/passwd"}},
        "text size": {"size": "ten"}, "true": {"size": True}, "link": {"links": 3}, "checksum": {"checksum": 3},
        "large": {"size": 10**30},
    }.items()}  # fmt: skip
    bodies |= {
        "deep": "[" * 200_000,
        "digits": '{"files": ' + "9" * 10_000 + "}",
        "list": "[]",
        "null": "null",
        "endless": "",
    }
    for name, body in bodies.items():
        yield Case(f"record {name}", ("data", "get", "lmhld", "-q"), lambda body=body: _serve(body))


def _serve(body: str) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(body.encode())
                while not body:
                    self.wfile.write(b" " * (1 << 20))

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ[download.API_VARIABLE] = f"http://127.0.0.1:{server.server_port}/api/records"
    download.ATTEMPTS, download.PAUSE = 2, 0.01


def words(place: Path) -> Iterator[Case]:
    """Command lines: empty and hostile paths, devices, numbers beyond the machine."""
    scene, fifo, net = place / "scene.tif", place / "fifo", place / "rgb.safetensors"
    if not scene.exists():
        write_tif(scene, image_of(blobs(64, 64, 2), bands=3))
    if not fifo.exists():
        os.mkfifo(fifo)
    bands = ("--bands", "red,green,blue", "-q")
    for path in ("", fifo, "/dev/zero", "a\nb", "\x1b[2Jx", "x" * 300, place / "scene.tif" / "x"):
        name = repr(str(path))[:24]
        yield Case(f"map --out {name}", ("map", scene, "--weights", net, *bands, "--out", path))
        yield Case(f"export --out {name}", ("export", net, "--out", path))
        yield Case(f"map {name}", ("map", path, "--weights", net, *bands, "--out", _fresh(place) / "m"))
        yield Case(f"map --weights {name}", ("map", scene, "--weights", path, *bands, "--out", _fresh(place) / "m"))
        for option in ("--truth", "--dem", "--clouds", "--searched"):
            yield _map(place, f"{option} {name}", scene, option, path)
        yield Case(f"learn {name}", ("learn", scene, path, *bands, "--out", _fresh(place) / "m"))
        yield Case(f"check {name}", ("data", "check", path))
        yield Case(f"get --from {name}", ("data", "get", "hokkaido", "--from", path))
        yield Case(f"get --layout {name}", ("data", "get", "hokkaido", "--layout", path))
        yield Case(f"plan {name}", ("plan", path))
        yield Case(f"verify --records {name}", ("verify", place / "tiny.yaml", "--records", path))
    for option, value in {"--batch-size": 10**9, "--overlap": "nan", "--threshold": "inf",
                          "--min-area-px": "-1", "--fill-holes-m2": "nan",
                          "--resolution": "1e-300"}.items():  # fmt: skip
        yield _map(place, f"{option} {str(value)[:9]}", scene, option, value)
    for option, value in {"--workers": 10**6, "--device": "cuda:99999999999999999999"}.items():
        yield Case(f"run {option}", ("run", place / "tiny.yaml", option, value))
