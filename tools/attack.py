"""Attack the command: kills, damage, bad input of each kind, and fuzzing of what reads foreign files (`make attack`).

Every case is `lmhld …` in a process of its own. Bad input must end in one line and exit code 2, in bounded time and
memory; after a kill or damage the same command must come to the same weights. Prints how many fall short, by row.
"""

import argparse
import io
import json
import os
import random
import resource
import shutil
import signal
import struct
import sys
import tarfile
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import lmhld_nb  # noqa: F401, I001  (before numpy and torch, whose instruction sets it caps)
import attack_cases
import safetensors.torch
import torch
from attack_cases import TINY, Case
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from mapped import write_weights

from lmhld_nb import cli, experiments, mapping, runs, sources  # noqa: F401  (loaded before a case is forked)
from lmhld_nb.config import UserError, runs_dir
from lmhld_nb.mapping import folder as map_folder
from lmhld_nb.runs import verify  # noqa: F401
from lmhld_nb.sources import archives
from lmhld_nb.training import weights as networks

SECONDS, MEGABYTES, LETTERS = 20.0, 1500, 700  # what a refusal may take: time, memory, and its line
BAD_INPUT = ("profiles", "scenes", "networks", "packed", "records", "words")


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int  # negative: the signal that ended it
    errors: str
    seconds: float
    megabytes: float


def run(case: Case, kill_after: float = 3 * SECONDS) -> Outcome:
    """Run a command in a fork of this process, which has all modules loaded; it is killed after so many seconds."""
    with tempfile.TemporaryFile() as printed:
        began, own = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        process = os.fork()
        if process == 0:
            _become(case, printed.fileno())
        while not (ended := os.wait4(process, os.WNOHANG))[0]:
            if time.perf_counter() - began > kill_after:
                with suppress(ProcessLookupError):
                    os.killpg(process, signal.SIGKILL)
            time.sleep(0.005)
        seconds = time.perf_counter() - began
        with suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)  # workers
        printed.seek(0)
        text = printed.read(1 << 20).decode(errors="replace")
    return Outcome(os.waitstatus_to_exitcode(ended[1]), text, seconds, max(0, ended[2].ru_maxrss - own) / 1024)


def _become(case: Case, errors: int) -> None:
    os.setsid()
    os.dup2(errors, 2)
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    sys.argv, code = ["lmhld", *map(str, case.command)], 1
    try:
        case.before()
        cli.main()
    except SystemExit as left:
        code = int(left.code or 0)
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(code)


def shortfall(case: Case, outcome: Outcome) -> str:
    """Return in what an outcome is not as promised, "" if in nothing."""
    lines = [line for line in outcome.errors.splitlines() if line.strip()]
    if outcome.code not in ((0, 2) if case.code is None else (case.code,)):
        return f"exit code {outcome.code}, {lines[-1][:160] if lines else 'no message'}"
    if outcome.seconds > SECONDS or outcome.megabytes > MEGABYTES:
        return f"{outcome.seconds:.0f} s, {outcome.megabytes:.0f} MB"
    if outcome.code == 0:
        return ""
    if len(lines) != 1 or not lines[0].startswith("lmhld: ") or len(lines[0]) > LETTERS or not lines[0].isprintable():
        return f"{len(lines)} lines, {max(map(len, lines), default=0)} letters: {lines[0][:160] if lines else ''}"
    return ""


# Kills and damage


def _weights(run_ids: list[str]) -> dict[str, str]:
    stored = {run_id: runs_dir() / run_id / "metrics.json" for run_id in run_ids}
    return {run_id: json.loads(path.read_text())["weights"] for run_id, path in stored.items() if path.exists()}


def kills(place: Path, number: int) -> Iterator[tuple[str, str]]:
    """Kill `lmhld run` at random moments, twice in a row, and let it end; yield what is not as without kills."""
    store, command = place / "work" / "runs", Case("run", ("run", place / "tiny.yaml", "--workers", 1, "-q"), code=0)
    names = [path.parent.name for path in store.glob("*/metrics.json")]
    expected = _weights(names)
    shutil.rmtree(store)
    usual = run(command).seconds
    chance = random.Random(number)
    for trial in range(number):
        shutil.rmtree(store)
        for _ in range(2):
            run(command, kill_after=chance.uniform(0.05, usual))
        problem = shortfall(command, run(command))
        if not problem and _weights(names) != expected:
            problem = "other weights"
        left = [path.name for path in store.rglob(".*.part*")]
        yield f"kill {trial}", problem or (f"{left[0]} is left" if left else "")


def damage(place: Path) -> Iterator[tuple[str, str]]:
    """Change a bit of each second file of runs and data, cut the others; the next `lmhld run` makes the same again."""
    store, data = place / "work" / "runs", place / "work" / "data"
    command, chance = Case("run", ("run", place / "tiny.yaml", "--workers", 1, "-q"), code=0), random.Random(2)
    expected = _weights([path.parent.name for path in store.glob("*/metrics.json")])
    kept = place / "kept"
    shutil.copytree(place / "work", kept, copy_function=shutil.copy2)
    files = [path for folder in (store, data) for path in sorted(folder.rglob("*")) if path.is_file()]
    files = [path for path in files if path.suffix != ".lock" and path.name not in (".lock", "hashes.json")]
    for number, path in enumerate(files):
        kind = ("changed", "cut")[number % 2]
        content = bytearray(path.read_bytes())
        if kind == "cut":
            del content[2 * len(content) // 3 :]
        elif content:
            content[chance.randrange(len(content))] ^= 0x01
        path.write_bytes(content)
        if path.is_relative_to(data):
            shutil.rmtree(store)  # or no data would be needed
        outcome = run(command)
        problem = shortfall(command, outcome) if outcome.code else ""
        if not problem and _weights([*expected]) != expected:
            problem = "other weights, without a word"
        yield f"{path.relative_to(place / 'work')} {kind}", problem
        shutil.rmtree(place / "work")
        shutil.copytree(kept, place / "work", copy_function=shutil.copy2)


# Fuzzing


def fuzz(place: Path, seconds: float) -> Iterator[tuple[str, str]]:
    """Give readers of foreign files what hypothesis makes, for so many seconds each: only UserError may leave them."""
    chosen = settings(max_examples=100, deadline=None, database=None, suppress_health_check=[*HealthCheck])
    for name, (made, read) in _readers(place).items():
        inputs, problem, number, end = [0], "", 0, time.perf_counter() + seconds
        once = _only_user_errors(read, inputs)
        while time.perf_counter() < end and not problem:
            number += 1
            try:
                seed(number)(chosen(given(made)(once)))()
            except BaseException as error:
                problem = f"{type(error).__name__}: {error}"[:200]
        yield f"{name} ({inputs[0]} inputs)", problem


def _only_user_errors(read: Callable, inputs: list[int]) -> Callable[[object], None]:
    def once(content: object) -> None:
        inputs[0] += 1
        with suppress(UserError):
            read(content)

    return once


def _readers(place: Path) -> dict[str, tuple[st.SearchStrategy, Callable]]:
    folder = place / "fuzz"
    folder.mkdir()
    leaves = (
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["unet", "red", 2, 32])
    )
    tree = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)
    words = st.sampled_from(
        [
            *TINY.split(),
            *[
                "&a",
                "*a",
                "!!int",
                "-",
                ":",
                "?",
                "[",
                "]",
                "{",
                "}",
                "|",
                ">",
                "#",
                "%",
                "@",
                "`",
                '"',
                "'",
                "\n",
                "\t",
                "~",
                ".nan",
                "<<",
            ],
        ]
    )
    lines = st.lists(words | st.text(), max_size=20).map(" ".join)
    with safetensors.safe_open(place / "rgb.safetensors", framework="pt") as file:
        good = json.loads(file.metadata()["card"])
    tensors = safetensors.torch.load_file(place / "rgb.safetensors")

    def profile(text: str) -> None:
        (folder / "tiny.yaml").write_bytes(text.encode(errors="surrogatepass"))
        experiments.load(str(folder / "tiny.yaml"))

    def card(change: object) -> None:
        text = json.dumps({**good, **change} if isinstance(change, dict) else change)
        safetensors.torch.save_file(tensors, folder / "a.safetensors", metadata={"card": text})
        networks.load(folder / "a.safetensors")

    def report(content: object) -> None:
        (folder / "map").mkdir(exist_ok=True)
        (folder / "map" / "map.json").write_bytes(
            content if isinstance(content, bytes) else json.dumps(content).encode()
        )
        with map_folder.all_or_nothing(folder / "map"):
            pass

    def header(content: object) -> None:
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        (folder / "b.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(64))
        networks.load(folder / "b.safetensors")

    def listing(members: list[tuple[str, bytes, int, int]]) -> None:
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as target:
            for name, kind, size, _ in members:
                info = tarfile.TarInfo(name)
                info.type, info.size = kind, size if kind == tarfile.REGTYPE else 0
                target.addfile(info, io.BytesIO(bytes(info.size)))
        content = bytearray(archive.getvalue())
        for _, _, size, place in members:
            content[place % len(content)] = size % 256
        (folder / "a.tar").write_bytes(content)
        try:
            archives.extract(folder / "a.tar", folder / "out", progress=False)
        finally:
            shutil.rmtree(folder / "out", ignore_errors=True)

    entry = st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["F32", "F16", "I64", "X"]) | leaves,
            "shape": st.lists(st.integers(-1, 2**62)),
            "data_offsets": st.lists(st.integers(0, 80)),
        }
    )
    named = st.sampled_from(["__metadata__", "a", "encoder.0.weight"])
    kinds = st.sampled_from(
        [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.SYMTYPE]
    )
    member = st.tuples(
        st.text(max_size=90) | st.sampled_from(["a", "A", "../a", "a.zip"]),
        kinds,
        st.integers(0, 900),
        st.integers(0, 10**6),
    )
    changed = st.tuples(st.integers(0, len(TINY)), st.integers(0, 30), lines).map(
        lambda cut: TINY[: cut[0]] + cut[2] + TINY[cut[0] + cut[1] :]
    )
    return {
        "profile": (changed | lines, profile),
        "card": (st.dictionaries(st.sampled_from([*good, "members", "threshold", "temperature"]), tree) | tree, card),
        "map.json": (tree | st.binary() | st.fixed_dictionaries({"sha256": tree}), report),
        "safetensors header": (st.dictionaries(named, entry | tree) | tree | st.binary(), header),
        "archive listing": (st.lists(member, max_size=5), listing),
    }


def main() -> int:
    """Run the chosen rows and print their totals; 1 where a case falls short."""
    parser = argparse.ArgumentParser(description="attack the command; exit code 1 where a case falls short")
    rows = (*BAD_INPUT, "damage", "kills", "fuzz")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(rows)}; default: all")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--fuzz", type=float, default=30.0, help="seconds for each reader")
    parser.add_argument("--all", action="store_true", help="print every case")
    options = parser.parse_args()
    torch.set_num_threads(1)
    totals, began = {}, time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="lmhld-attack-") as name:
        place = Path(name)
        os.environ |= {"LMHLD_WORKDIR": str(place / "work"), "LMHLD_PROGRESS": "lines"}
        (place / "tiny.yaml").write_text(TINY)
        write_weights(place / "rgb.safetensors", ("red", "green", "blue"))
        if {"profiles", "damage", "kills"} & {*(options.rows or rows)}:
            ready = run(Case("run", ("run", place / "tiny.yaml", "--workers", 1, "-q"), code=0), 600)
            assert ready.code == 0, ready.errors
        for row in options.rows or rows:
            results: Iterator[tuple[str, str]]
            if row in BAD_INPUT:
                cases = getattr(attack_cases, row)(place)
                results = ((case.name, shortfall(case, run(case))) for case in cases)
            else:
                results = {
                    "damage": lambda: damage(place),
                    "kills": lambda: kills(place, options.kills),
                    "fuzz": lambda: fuzz(place, options.fuzz),
                }[row]()
            count = short = 0
            for case, problem in results:
                count, short = count + 1, short + bool(problem)
                if problem or options.all:
                    print(f"  {row}: {case}: {problem or 'as promised'}", flush=True)
            totals[row] = short
            print(f"{row:10} {count:4} cases, {short} short, {time.perf_counter() - began:.0f} s", flush=True)
    return int(any(totals.values()))


if __name__ == "__main__":
    sys.exit(main())
