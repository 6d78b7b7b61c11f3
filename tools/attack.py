"""Attack the command: kills, damage, bad input of each kind, and fuzzing of what reads foreign files (`make attack`).

Every case is `lmhld …` in a process of its own. Bad input must end in one line and exit code 2, in bounded time and
memory; after a kill or damage the same command must come to the same weights. Rows run side by side, one per core.
Prints how many cases fall short, by row; a run of all rows leaves that in benchmarks/results/attack.csv.
"""

import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import lmhld_nb  # noqa: F401, I001  (before numpy and torch, whose instruction sets it caps)
import attack_cases
import pandas as pd
import torch
from attack_cases import Case
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from mapped import write_weights

from lmhld_nb import cli, experiments, mapping, runs, sources  # noqa: F401  (loaded before a case is forked)
from lmhld_nb.config import UserError
from lmhld_nb.processes import cores

MEGABYTES, LETTERS = 1500, 700  # what a command may take, and its line
WAIT, KILLS, FUZZED = 120.0, 20, 60.0  # seconds until a case counts as hanging; kills; seconds of fuzzing, each reader
RESULTS = ROOT / "benchmarks" / "results" / "attack.csv"
Results = Iterator[tuple[str, str]]  # cases, and in what each is not as promised


def run(case: Case, kill_after: float = WAIT) -> tuple[str, str]:
    """Run a command in a fork of this process, which has all modules loaded; it is killed after so many seconds.

    Return in what its end is not as promised, "" if in nothing, and what it wrote to stderr.
    """
    with tempfile.TemporaryFile() as printed:
        began, own = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if (process := os.fork()) == 0:
            _become(case, printed.fileno())
        while not (ended := os.wait4(process, os.WNOHANG))[0]:
            if time.perf_counter() - began > kill_after:
                with suppress(ProcessLookupError):
                    os.killpg(process, signal.SIGKILL)
            time.sleep(0.005)
        with suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)  # workers
        printed.seek(0)
        errors = printed.read(1 << 20).decode(errors="replace")
    code, used, lines = os.waitstatus_to_exitcode(ended[1]), ended[2], [*filter(str.strip, errors.splitlines()), ""]
    seconds, megabytes = used.ru_utime + used.ru_stime, max(0, used.ru_maxrss - own) / 1024
    if code not in case.codes:
        return f"exit code {code}, {lines[-2:][0][:160]}", errors
    if seconds > case.seconds or megabytes > MEGABYTES:
        return f"{seconds:.0f} s, {megabytes:.0f} MB", errors
    line = lines[0]
    as_said = len(lines) == 2 and line.startswith("lmhld: ") and len(line) <= LETTERS and line.isprintable()
    return "" if code == 0 or as_said else f"{len(lines) - 1} lines, {len(line)} letters: {line[:160]}", errors


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


def bad_input(row: str, place: Path) -> Results:
    """Try a row of `attack_cases`."""
    for case in getattr(attack_cases, row)(place):
        yield case.name, run(case)[0]


def _weights(store: Path) -> dict[str, str]:
    return {path.parent.name: json.loads(path.read_text())["weights"] for path in store.glob("*/metrics.json")}


def kills(place: Path) -> Results:
    """Kill `lmhld run` at random moments, twice in a row, and let it end; yield what is not as without kills."""
    store, command = place / "work" / "runs", attack_cases.trained(place)
    expected, chance = _weights(store), random.Random(KILLS)
    shutil.rmtree(store)
    began = time.perf_counter()
    run(command)
    usual = time.perf_counter() - began
    for trial in range(KILLS):
        shutil.rmtree(store)
        for _ in range(2):
            run(command, kill_after=chance.uniform(0.05, usual))
        problem, _ = run(command)
        other = "" if _weights(store) == expected else "other weights"
        left = [f"{path.name} is left" for path in store.rglob(".*.part*")]
        yield f"kill {trial}", problem or other or "".join(left[:1])


def damage(place: Path) -> Results:
    """Change a bit of a file of the finished run or its data, of a checkpoint, or cut it; the next run makes it again.

    It is silent where other weights come out, or the file is as damaged as before, without a word.
    """
    work, command, chance = place / "work", attack_cases.trained(place), random.Random(2)
    expected = _weights(work / "runs")
    shutil.copytree(work, place / "finished", copy_function=shutil.copy2)
    shutil.rmtree(work / "runs")
    run(attack_cases.trained(place, *expected))
    work.rename(place / "begun")
    used = r"finished/runs/.*|begun/.*/checkpoint.*|finished/data/twin-smoke/(dataset|gorkha|patches).*"
    kinds = (".json", ".csv", ".npy", ".tif", ".gpkg", ".safetensors")
    files = [path.relative_to(place) for path in sorted(place.rglob("*.*")) if path.suffix in kinds]
    files = [file for file in files if re.fullmatch(used, str(file))]
    for file, kind in product(files, ("changed", "cut")):
        shutil.copytree(place / file.parts[0], work, copy_function=shutil.copy2)
        path = work.joinpath(*file.parts[1:])
        content = path.read_bytes()
        flipped, end = chance.randrange(len(content)), 2 * len(content) // 3
        changed = content[:flipped] + bytes([content[flipped] ^ 1]) + content[flipped + 1 :]
        damaged = changed if kind == "changed" else content[:end]
        path.write_bytes(damaged)
        if file.parts[1] == "data":
            shutil.rmtree(work / "runs")  # or no data would be needed
        problem, errors = run(command)
        left = path.exists() and path.read_bytes() == damaged and not errors
        if left and path.name == "weights.safetensors":  # which are read when they are used, and then refused
            left, problem = False, run(Case("export", ("export", *expected, "--out", place / "net.safetensors")))[0]
        other = "left as it is, without a word" if left else ""
        yield f"{file} {kind}", problem or (other if _weights(work / "runs") == expected else "other weights")
        shutil.rmtree(work)


def fuzz(kind: str, place: Path) -> Results:
    """Change words of a good file and have it read, for so many seconds: only UserError may leave its reader."""
    good, read = attack_cases.reader(kind, place)
    read(good)
    words, end = re.findall(rb"\w+|.", good, re.DOTALL), time.perf_counter() + FUZZED
    position, number = st.integers(0, len(words) - 1), st.integers(0, 3)
    edit = st.tuples(position, number, st.sampled_from(attack_cases.WORDS) | st.text(max_size=9), st.booleans())
    results: list[tuple[str, str]] = []

    @settings(deadline=None, database=None, suppress_health_check=[*HealthCheck], phases=[Phase.generate])
    @given(st.lists(edit, max_size=4))
    def once(edits: list[tuple[int, int, str, bool]]) -> None:
        changed = list(words)
        for at, number, text, same_length in edits:
            word, size = text.encode(errors="replace"), sum(map(len, changed[at : at + number]))
            changed[at : at + number] = [(word * size)[:size] if same_length else word]
        content, problem = b"".join(changed), ""
        try:
            read(content)
        except UserError:
            pass
        except BaseException as error:
            problem = f"{type(error).__name__}: {error}"[:200]
        results.append((repr(content)[:300], problem))

    while time.perf_counter() < end and not any(problem for _, problem in results[-100:]):
        seed(len(results))(once)()
    yield from results


BAD_INPUT = ("profiles", "scenes", "networks", "packed", "records", "words")
ROWS: dict[str, Callable[[Path], Results]] = {
    "damage": damage,
    "kills": kills,
    **{row: partial(bad_input, row) for row in BAD_INPUT},
}
ROWS |= {f"fuzz {kind}": partial(fuzz, kind) for kind in attack_cases.READERS}


def attack(row: str, ready: Path) -> dict[str, object]:
    """Try the cases of a row in a folder of its own; print those that fall short, and the total."""
    place, began, cases, short = ready.with_name(row), time.perf_counter(), 0, 0
    shutil.copytree(ready, place, copy_function=shutil.copy2)
    os.environ["LMHLD_WORKDIR"] = str(place / "work")
    for case, problem in ROWS[row](place):
        cases, short = cases + 1, short + bool(problem)
        if problem:
            print(f"  {row}: {case}: {problem}", flush=True)
    total = {"row": row, "cases": cases, "short": short, "seconds": round(time.perf_counter() - began)}
    print(f"{row:20} {cases:6} cases, {short} short, {total['seconds']} s", flush=True)
    return total


def main() -> int:
    """Run the rows that are named, or all; 1 where a case falls short."""
    chosen = [row for row in ROWS if not sys.argv[1:] or {row, row.split()[0]} & {*sys.argv[1:]}]
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="lmhld-attack-") as name:
        ready = Path(name) / "ready"
        ready.mkdir()
        os.environ |= {"LMHLD_WORKDIR": str(ready / "work"), "LMHLD_PROGRESS": "lines"}
        (ready / "tiny.yaml").write_text(attack_cases.TINY)
        write_weights(ready / "rgb.safetensors", ("red", "green", "blue"))
        problem, errors = run(attack_cases.trained(ready), 10 * WAIT)
        assert not problem, errors
        with ProcessPoolExecutor(cores(), get_context("fork")) as pool:
            totals = pd.DataFrame(pool.map(partial(attack, ready=ready), chosen))
    if not sys.argv[1:]:
        totals.to_csv(RESULTS, index=False)
    print(f"{totals['cases'].sum()} cases, {totals['short'].sum()} fell short")
    return int(totals["short"].any())


if __name__ == "__main__":
    sys.exit(main())
