"""Bad input for `tools/attack.py`, as data: a function for each row, which yields cases made below a folder."""

import gzip
import io
import json
import os
import random
import shutil
import socket
import struct
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count, product
from pathlib import Path

import numpy as np
import rasterio
import safetensors
import safetensors.torch as tensors_of
import typer
from made import blobs, image_of, write_tif
from PIL import Image

from lmhld_nb import experiments
from lmhld_nb.cli import app
from lmhld_nb.mapping import folder as map_folder
from lmhld_nb.sources import archives, download
from lmhld_nb.training import loop
from lmhld_nb.training import weights as networks_of

TINY = """name: tiny
description: one area of the smallest twin
data: twin-smoke
areas: [gorkha]
experiments: {single: {}}
models: [unet]
width: {unet: 2}
recipe: {batch_size: 4, epochs: 3, lr: 0.05}
execution: {threads: 1, checkpoint_every: 1}
"""
IMAGE, MASK = image_of(blobs(64, 64, 2), bands=3), blobs(64, 64, 2).astype(np.uint8)
INF, NAN, DIGITS = float("inf"), float("nan"), "9" * 5000
MAP = "map {file} --weights {place}/rgb.safetensors --bands red,green,blue -q --out {out}"
_numbers = count()


@dataclass(frozen=True)
class Case:
    """One attack: a command, what is set up in its process beforehand, and the exit codes that it may have."""

    name: str
    command: Sequence[object]
    codes: tuple[int, ...] = (2,)
    before: Callable[[], object] = lambda: None
    seconds: float = 20.0  # of a processor that it may take


def each(
    place: Path, command: str, files: Mapping[str, bytes | str], name: str = "", **rules: object
) -> Iterator[Case]:
    """Yield a case for each content of ``{file}``, which lies in a folder of its own, by this name or its own."""
    for title, content in files.items():
        file = place / "cases" / str(next(_numbers)) / (name or title)
        file.parent.mkdir(parents=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        line = command.format(file=file, place=place, out=file.parent / "out")
        yield Case(f"{command.split(' ', 1)[0]} {title}"[:60], line.split(), **rules)


def trained(place: Path, run_id: str | None = None) -> Case:
    """Return the case of `lmhld run` as it should end; with a run's id, of its training ended after a checkpoint."""

    def end_at_checkpoint() -> None:
        save = loop._Training.save_checkpoint
        loop._Training.save_checkpoint = lambda training: (save(training), os._exit(0))

    if run_id:
        return Case("train", ("train", place / "tiny.yaml", run_id, "-q"), (0,), end_at_checkpoint)
    return Case("run", ("run", place / "tiny.yaml", "--workers", 1, "-q"), (0,), seconds=300.0)  # data are made, too


# Keys of the profile, and values that take the place of its own.
VALUES = {
    "name": ["../tiny"], "areas": ["[gorkha, gorkha]", "[../gorkha]"], "models": ["[unet, unet]"],
    "execution": ["{threads: 1000000}"], "seeds": ["[0, 0]", "[-1]", f"[{2**70}]"],
    "recipe": ["{batch_size: 4, epochs: 3, lr: 0.05, weight_decay: 1.0e+300}"],
    "patches": ["{fractions: [1.0e+308, 1.0e+308, 1.0e+308]}", f"{{seed: {10**17}}}", "{seed: -1}", "{size: 1600000}",
                "{block: 100000000}", "{bands: [red, red]}", "{thin: {gorkha: 10000000000}}"],
    "batch_size_at": ["{64: 4, 64.0: 8}", "{64: 4, '64': 8}", "{true: 4}"], "micro_batch": ["{unet: 100000000}"],
    "extensions": ["!!int foo", "!!float foo", "!!bool foo", "!!timestamp foo", "!!binary foo", "!!set foo",
                   "!!omap foo", "!!python/name:os.system foo", "!x foo", '["\\ud800"]'],
    "<<": ["{name: tiny}"], "? [1]\n": ["2"], "a": ["1\na: 1", "1\n---\nb: 1", "[" * 20_000, "{b: " * 3000],
    "#": ["#" * 10_000_000], "k0": ["1\n" + "\n".join(f"k{k}: 1" for k in range(1, 30_000))],
    "b": ["&a0 [x, x]\n" + "\n".join(f"a{k}: &a{k} [*a{k - 1}, *a{k - 1}]" for k in range(1, 25))],
}  # fmt: skip
NUMBERS = f"""010 1:30 0x_ 0b_ 0x10 1_000 2024-13-01 2024-01-01 -3 1e300 .inf .nan 0 yes ~ [] 1000000000
    {DIGITS} 2{"0" * 70}""".split()


def profiles(place: Path) -> Iterator[Case]:
    """Profiles: bombs, scalars that YAML 1.1 reads otherwise, numbers beyond all bounds, names given twice."""
    texts = {}
    for key, values in VALUES.items():
        kept = "".join(line for line in TINY.splitlines(keepends=True) if not line.startswith(f"{key}:"))
        texts |= {f"{key}: {value}": f"{kept}{key}: {value}\n" for value in values}
    for old, number in product(("epochs: 3", "batch_size: 4", "lr: 0.05", "{unet: 2", "threads: 1"), NUMBERS):
        changed = f"{old.rpartition(' ')[0]} {number}"
        texts[changed] = TINY.replace(old, changed)
    yield from each(place, "plan {file}", texts, "tiny.yaml")


def scenes(place: Path) -> Iterator[Case]:
    """Images: other drivers than the book's, references elsewhere, impossible grids, and sizes out of nothing."""
    secret, chance = write_tif(place / "secret.tif", IMAGE), random.Random(1)
    wms = "<GDAL_WMS><Service name='TMS'><ServerUrl>http://127.0.0.1:9/${z}/${x}/${y}</ServerUrl></Service></GDAL_WMS>"
    referred = {
        "vrt.tif": secret, "vrt.png": secret, "outside.vrt": secret, "up.vrt": "../../secret.tif",
        "self.vrt": "self.vrt", "gone.vrt": "gone.tif", "http.vrt": "/vsicurl/http://127.0.0.1:9/a.tif",
        "zip.vrt": "/vsizip/a.zip/a.tif", "nested.vrt": wms.replace("<", "&lt;"),
        "subdataset.vrt": f"GTIFF_DIR:1:{secret}",
    }  # fmt: skip
    files: dict[str, str | bytes] = {
        "wms.tif": wms, "empty.tif": "", "text.tif": b"II*\0" + bytes(40),
        "geojson.png": '{"type": "FeatureCollection", "features": []}',
        "stac.tif": '{"type": "FeatureCollection", "stac_version": "1.0.0"}',
        "asc.tif": "ncols 4\nnrows 4\nxllcorner 0\nyllcorner 0\ncellsize 1\n" + "1 2 3 4\n" * 4,
    }  # fmt: skip
    for name, source in referred.items():
        inside = int(name in ("up.vrt", "self.vrt", "gone.vrt"))
        band = f"<SimpleSource><SourceFilename relativeToVRT='{inside}'>{source}</SourceFilename></SimpleSource>"
        bands = "".join(f"<VRTRasterBand dataType='UInt16' band='{k}'>{band}</VRTRasterBand>" for k in (1, 2, 3))
        grid = "<SRS>EPSG:32654</SRS><GeoTransform>5e5,3,0,4.7e6,0,-3</GeoTransform>"
        files[name] = f"<VRTDataset rasterXSize='64' rasterYSize='64'>{grid}{bands}</VRTDataset>"
    yield from each(place, "data check {file}", files)
    for numbers in ((NAN, 0, 5e5, 0, -3, 4e6), (3, 0, INF, 0, -3, 4e6), (0, 0, 5e5, 0, 0, 4e6), (3, 3, 5e5, 3, 3, 4e6),
                    (1e300, 0, 5e5, 0, -1e300, 4e6), (1, 0, 0, 0, 1, 0)):  # fmt: skip
        made = write_tif(place / "made.tif", IMAGE, transform=rasterio.Affine(*numbers))
        files[f"grid {numbers[:3]}.tif".replace(" ", "")] = made.read_bytes()
    for kind in ("complex64", "complex128"):
        files[f"{kind}.tif"] = write_tif(place / "made.tif", IMAGE.astype(kind)).read_bytes()
    tiff = {"driver": "GTiff", "dtype": "uint8", "sparse_ok": True, "tiled": True, "compress": "deflate",
            "crs": "EPSG:32654", "transform": rasterio.Affine(3, 0, 5e5, 0, -3, 4e6)}  # fmt: skip
    rasterio.open(place / "wide.tif", "w", height=16, width=2_000_000, count=3, **tiff).close()
    rasterio.open(place / "rgba.tif", "w", height=60_000, width=60_000, count=4, photometric="RGB", **tiff).close()
    yield from each(place, MAP, {**files, "wide.tif": (place / "wide.tif").read_bytes()})
    yield Case("check rgba", ("data", "check", place / "rgba.tif"), (0,))
    garbled = {}
    for number in range(20):
        damaged = bytearray(secret.read_bytes())
        for _ in range(8):
            damaged[chance.randrange(200) if number % 2 else -chance.randrange(1, 400)] = chance.randrange(256)
        garbled[f"garbled{number}.tif"] = bytes(damaged)
    yield from each(place, "data check {file}", garbled, codes=(0, 2))  # some changes do no harm
    folder = place / "patches"
    for kind, values in {"images": np.moveaxis(IMAGE, 0, 2).astype(np.uint8), "masks": MASK}.items():
        (folder / "gorkha" / kind).mkdir(parents=True)
        for number in range(60):
            Image.fromarray(values).save(folder / "gorkha" / kind / f"{number}.png")
    cut = folder / "gorkha" / "images" / "2.png"
    cut.write_bytes(cut.read_bytes()[:-3000])
    parts = "parts: [{images: 'gorkha/images/{id}.png', masks: 'gorkha/masks/{id}.png', area: gorkha}]"
    layout = {"truncated PNG": f"{parts}\nbands: [red, green, blue]\ngeoreferenced: false\n"}
    yield from each(place, "data get bijie-flat --from {place}/patches --layout {file} -q", layout, "layout.yaml")


def _network(place: Path) -> tuple[dict, dict]:
    with safetensors.safe_open(place / "rgb.safetensors", framework="pt") as file:
        return json.loads(file.metadata()["card"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def networks(place: Path) -> Iterator[Case]:
    """Networks: headers and cards that promise what the file does not hold, and files that never end."""
    good, tensors = _network(place)
    write_tif(place / "scene.tif", IMAGE)
    hostile = (20_000, 0, -1, 1e300, "2", None, [], {}, True, "x" * 100_000, INF, NAN)
    changes = [*product(("width", "bands", "model", "areas", "run_id", "threshold"), hostile)]
    changes = [pair for pair in changes if pair not in (("width", None), ("threshold", None), ("run_id", "2"))]
    area, sizes = {"mean": [0.0], "std": [1.0]}, (16_000, 2**40, 17, "32", 1e300, -32, None)
    more = {
        "areas": [{"made": {**area, "patch_size": size}} for size in sizes],
        "bands": [[1, 2, 3], ["red", "red", "blue"]], "model": ["os:system", "trans_unet"],
        "members": [[], {}, 3, [{}], [{"model": "unet", "width": 20_000, "weight": 1}]],
    }  # fmt: skip
    changes += [(key, value) for key, values in more.items() for value in values]
    cards = {f"card {key} {value!r}": json.dumps({**good, key: value}) for key, value in changes}
    cards |= {f"card {text}": text for text in ("x", "[]", "[" * 100_000, "9" * 10_000, "null")}
    files = {name: tensors_of.save(tensors, {"card": text}) for name, text in cards.items()}
    half = {name: value.half() for name, value in tensors.items()}
    infinite = {name: value + INF if value.is_floating_point() else value for name, value in tensors.items()}
    files |= {f"numbers {k}": tensors_of.save(v, {"card": json.dumps(good)}) for k, v in enumerate((half, infinite))}
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**60], "data_offsets": [0, 8]}}).encode()
    files |= {
        "no card": tensors_of.save(tensors), "long header": struct.pack("<Q", 2**62) + b"{}", "nothing": b"",
        "empty header": struct.pack("<Q", 2) + b"{}", "deep header": b"[" * 5000, "zip": b"PK\x03\x04" + bytes(100),
        "huge tensor": struct.pack("<Q", len(header)) + header + bytes(8), "pickle": b"\x80\x02cos\nsystem\n",
    }  # fmt: skip
    command = MAP.replace("{file}", "{place}/scene.tif").replace("{place}/rgb.safetensors", "{file}")
    yield from each(place, command, files, "a.safetensors")


def _zipped(names: tuple[str, ...]) -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as target:
            for name in names:
                info = zipfile.ZipInfo("x")
                info.filename = name
                target.writestr(info, b"PK\x05\x06" + bytes(18) if name.endswith("zip") else b"1")
        return file.getvalue()


def _tarred(members: list[tuple[str, bytes, str]]) -> bytes:
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w") as target:
            for name, kind, link in members:
                info = tarfile.TarInfo(name)
                info.type, info.linkname = kind, link
                target.addfile(info)
        return file.getvalue()


def packed(place: Path) -> Iterator[Case]:
    """Archives: headers of 4 GB, names of all kinds, links, markers, and a bomb."""
    names = ("", "a\0b.tif", "/abs.tif", "../up.tif", "a/../../up.tif", "C:\\a.tif", "..zip", "x" * 300 + ".tif",
             "a\nb/c.tif/../../..", ".extracted.json/x.tif")  # fmt: skip
    files = {f"{number}.zip": _zipped(("a.tif", name)) for number, name in enumerate(names)}
    pairs = ("a.tif A.tif", "a.tif a.tif", "d/a.tif D/a.tif", "d d/a.tif")
    members = [[(name, tarfile.REGTYPE, "") for name in pair.split()] for pair in pairs]
    members += [[("a", tarfile.SYMTYPE, "b")], [("b", tarfile.SYMTYPE, "a")], [("h", tarfile.LNKTYPE, "/etc/passwd")]]
    members += [[("f", tarfile.FIFOTYPE, "")]]
    files |= {f"{number}.tar": _tarred(listed) for number, listed in enumerate(members)}
    for kind in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE):
        info = tarfile.TarInfo("a")
        info.type, info.size = kind, 4_000_000_000
        first = gzip.compress(info.tobuf(tarfile.GNU_FORMAT), 1)
        files[f"{kind.decode()}.tar.gz"] = first + gzip.compress(bytes(1 << 24), 1) * 64
    with zipfile.ZipFile(place / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("a.tif", bytes(140 << 23))
    files["bomb.zip"] = (place / "bomb.zip").read_bytes()
    yield from each(place, "data get hokkaido --from {file} -q", files)


def records(place: Path) -> Iterator[Case]:
    """Records of a server: bodies without end, depth, sizes and names that are none."""
    good = {"key": "a.zip", "size": 10, "checksum": "md5:" + "0" * 32, "links": {"self": "http://127.0.0.1:9/a"}}
    hostile = {
        "size": [-1, INF, 0, "ten", True, 10**30], "key": [5, "a\0b", "../a"], "checksum": [3],
        "links": [{}, 3, {"self": "file:///etc/passwd"}],
    }  # fmt: skip
    bodies = [json.dumps({"files": [{**good, key: value}]}) for key, values in hostile.items() for value in values]
    for body in (*bodies, "[" * 200_000, '{"files": ' + "9" * 10_000 + "}", "[]", "null", ""):
        yield Case(f"record {body[:60]}", ("data", "get", "lmhld", "-q"), before=partial(_serve, body.encode()))


def _serve(body: bytes) -> None:
    server = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        while True:
            connection = server.accept()[0]
            with connection, suppress(OSError):
                connection.recv(1 << 16)
                connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + body)
                while not body:
                    connection.sendall(b" " * (1 << 20))

    threading.Thread(target=answer, daemon=True).start()
    os.environ[download.API_VARIABLE] = f"http://127.0.0.1:{server.getsockname()[1]}/api/records"
    download.ATTEMPTS, download.PAUSE = 2, 0.01


# Commands with what they need; each place of a path, a number or a name, and each option, gets the words in turn.
COMMANDS = """map {scene} --weights {weights} --out {out} --bands red,green,blue -q
learn {scene} {labels} --out {out} --bands red,green,blue -q
export {run} --out {out}
data check {path}
data get hokkaido -q
plan {profile}
run {profile} -q
train {profile} 0123456789abcdef -q
verify {profile} -q
book {profile} -q"""


def words(place: Path) -> Iterator[Case]:
    """Command lines: empty and hostile paths, devices, numbers that are none or without end, in every place."""
    scene, weights, profile, fifo = place / "scene.tif", place / "rgb.safetensors", place / "tiny.yaml", place / "fifo"
    os.mkfifo(fifo)
    labels = write_tif(place / "labels.tif", MASK)
    good = {"scene": write_tif(scene, IMAGE), "labels": labels, "weights": weights, "run": weights, "path": scene}
    paths = ("", fifo, "/dev/zero", "a\nb", "\x1b[2Jx", "x" * 300, DIGITS, scene / "x")
    hostile = {"PATH": paths, "SCENE": paths, "LABELS": paths, "PROFILE": paths, "NUMBER": (DIGITS, f"-{DIGITS}", INF)}
    for line in COMMANDS.splitlines():
        command = typer.main.get_command(app)
        for word in line.split()[: 2 if line.startswith("data") else 1]:
            command = command.commands[word]
        for parameter in command.params:
            for word in hostile.get(parameter.metavar, (DIGITS,) if parameter.metavar else ()):
                chosen = {**good, "profile": profile, "out": place / str(next(_numbers)), parameter.name: word}
                option = [] if f"{{{parameter.name}}}" in line else [parameter.opts[0], word]
                sent = [chosen.get(part.strip("{}"), part) if part[0] == "{" else part for part in line.split()]
                yield Case(f"{line[:9]} {parameter.name} {str(word)[:24]!r}", (*sent, *option))


# What fuzzing puts in the place of words of a good file.
WORDS = (
    "null", "true", "[]", "{}", "-1", "0", "1e999", "9" * 400, "[" * 2000, '"\\ud800"', "\0", "&a", "*a", "!!int", "<<",
    "A", "../a", "?", "|", "%", "\t", "~", ".nan", "x" * 300, "__metadata__", "U8", "F16", "/", "\xff", "[[]]",
)  # fmt: skip
READERS = ("profile", "card", "map.json", "header", "zip", "tar")


def reader(kind: str, place: Path) -> tuple[bytes, Callable[[bytes], object]]:
    """Return a good file of others and what reads such files."""
    (card, tensors), folder = _network(place), place / "fuzz"
    (folder / "map").mkdir(parents=True)
    saved = tensors_of.save(tensors, {"card": json.dumps(card)})
    end = 8 + int.from_bytes(saved[:8], "little")  # of the header

    def write(name: str, content: bytes) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    def report(content: bytes) -> None:
        write("map/map.json", content)
        with map_folder.all_or_nothing(folder / "map"):
            pass

    def network(content: bytes) -> None:
        networks_of.load(write("a.safetensors", content))

    def described(text: bytes) -> None:
        network(tensors_of.save(tensors, {"card": text.decode("latin-1")}))

    def unpack(name: str, content: bytes) -> None:
        shutil.rmtree(folder / "out", ignore_errors=True)
        archives.extract(write(name, content), folder / "out", progress=False)

    def summed(content: bytes) -> bytes:  # or tarfile reads no further
        return content[:148] + b"%06o\0 " % tarfile.calc_chksums(content[:512].ljust(512))[0] + content[156:]

    tar = _tarred([("a.tif", tarfile.REGTYPE, ""), ("b/c.tif", tarfile.REGTYPE, "")])
    return {
        "profile": (TINY.encode(), lambda text: experiments.load(str(write("tiny.yaml", text)))),
        "card": (json.dumps(card).encode(), described),
        "map.json": (json.dumps({"sha256": {"mask.tif": "0" * 64}, "files": ["mask.tif"]}).encode(), report),
        "header": (saved[8:end], lambda text: network(struct.pack("<Q", len(text)) + text + saved[end:])),
        "zip": (_zipped(("a.tif", "b/c.zip", "d/")), lambda content: unpack("a.zip", content)),
        "tar": (tar, lambda content: unpack("a.tar", summed(content))),
    }[kind]  # fmt: skip
