"""The project's folders, strict YAML, one-line errors, atomic files, and progress bars."""

import importlib
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar
from uuid import uuid4

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from tqdm import auto, tqdm

ROOT = Path(__file__).resolve().parents[1]
# Control characters (including the escape that starts ANSI codes), line separators, overrides of the writing
# direction, and surrogates, which no terminal can encode.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_LONGEST_NAME = 200  # bytes; file systems take 255, and temporary files and locks add to a name
_LARGEST_YAML, _DEEPEST_YAML = 200_000, 32  # bytes; levels


def printable(text: str) -> str:
    """Return ``text`` on one line, with characters that could control a terminal escaped."""
    line = re.sub(r"\s*[\r\n]\s*", " ", text)
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), line)


def warn(line: str) -> None:
    """Print a warning on stderr as one `printable` line."""
    print(printable(f"lmhld: {line}"), file=sys.stderr)


class UserError(Exception):
    """Bad input: one `printable` line that names the file or key and the next step (exit code 2)."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]  # shown by IPython below a cell, without a traceback


def short(error: object, named: bool = False) -> str:
    """Return an error's text, after its class's name if ``named``, on one line of at most 160 characters."""
    text = f"{type(error).__name__}: {error}" if named else str(error)
    return " ".join(text.split())[:160]


class Interrupted(Exception):
    """A signal stopped the work; all that the same command needs to continue has been saved."""

    def __init__(self, message: str, by: int = signal.SIGTERM) -> None:
        super().__init__(message)
        self.by = by


class Strict(BaseModel):
    """A declaration read from YAML: unknown keys and wrong types are refused, values are immutable."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


StrictT = TypeVar("StrictT", bound=BaseModel)
# Every number that is read has bounds, beyond any sensible value and within the limits of machines and libraries.
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Positive = Annotated[float, Field(gt=0, le=1e9)]
Share = Annotated[float, Field(ge=0, le=1)]


def each_once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return ``values``, or raise ValueError if one of them occurs twice (for lists in a schema)."""
    if twice := [value for value in values if values.count(value) > 1]:
        raise ValueError(f"{twice[0]} is given twice; name each once")
    return values


def listed(names: Iterable[str] | str) -> tuple[str, ...]:
    """Return the names of a list or a comma-separated text, stripped, without empty ones."""
    return tuple(word.strip() for word in (names.split(",") if isinstance(names, str) else names) if word.strip())


def safe_name(text: str, what: str) -> str:
    """Return ``text`` if it is valid as one component of a path, else raise `UserError`; ``what`` it names: "area"."""
    if re.match(r"[^.\-/\\][^/\\]*\Z", text) and not _UNPRINTABLE.search(text) and len(text.encode()) <= _LONGEST_NAME:
        return text
    rule = f"not empty, no . or - first, no slashes or control characters, at most {_LONGEST_NAME} bytes"
    raise UserError(f"{what} '{text[:80]}': no file or folder can be named after it ({rule}); choose another name")


def workdir() -> Path:
    """Return the folder of ``data/``, ``runs/`` and ``build/``: ``LMHLD_WORKDIR``, or the project's root."""
    return Path(os.environ.get("LMHLD_WORKDIR", ROOT)).resolve()


def data_dir() -> Path:
    """Return the folder of prepared data sets; ``LMHLD_DATA`` moves it (e.g. to a scratch disk)."""
    return Path(os.environ.get("LMHLD_DATA", workdir() / "data")).resolve()


def runs_dir() -> Path:
    """Return the folder of the run store; ``LMHLD_RUNS`` moves it."""
    return Path(os.environ.get("LMHLD_RUNS", workdir() / "runs")).resolve()


def figures_dir(profile: str) -> Path:
    """Return the folder of a profile's figures and of the numbers behind them, ``build/PROFILE/figures/``."""
    return workdir() / "build" / profile / "figures"


@contextmanager
def environment_set(name: str, value: str) -> Iterator[None]:
    """Set an environment variable of this process and its children for a block."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        os.environ |= {name: before} if before is not None else {}


def check_kind(path: Path) -> None:
    """Raise UserError unless ``path`` is a file or folder: reading a pipe or a device may never end."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise UserError(f"{path}: is neither a file nor a folder; save its content as a file and give that")


def read_yaml(path: Path, schema: type[StrictT]) -> StrictT:
    """Read ``path`` and check it against ``schema``; raises `UserError` for anything invalid."""
    check_kind(path)
    try:
        if path.stat().st_size > _LARGEST_YAML:
            raise UserError(f"{path}: larger than {_LARGEST_YAML:,} bytes; give a profile, a description or a layout")
        raw = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise cannot_read(path, error) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not readable as YAML ({error})") from None
    try:
        # Through JSON, a list is accepted for a declared tuple, but 1e-3 (text in YAML 1.1) not for a number.
        return schema.model_validate_json(json.dumps(raw))
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error)}") from None


class _Loader(yaml.SafeLoader):
    """YAML without surprises: text, plain numbers, true, false and null; no tags, no aliases.

    YAML 1.1 reads 010 as 8, 1:30 as 90 and no as false, and keeps the last of two equal keys. Here such words are text,
    which is refused where a number is expected, and a repeated key is refused.
    """

    yaml_implicit_resolvers: dict[str, Any] = {}
    _level = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event, self._level = self.peek_event(), self._level + 1
        if isinstance(event, yaml.AliasEvent) or event.anchor or event.tag or self._level > _DEEPEST_YAML:
            problem = f"tags, anchors, aliases and more than {_DEEPEST_YAML} levels are not read; write it out"
            raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
        node = super().compose_node(parent, index)
        self._level -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        content: dict[Any, Any] = {}
        for key, value in node.value:
            is_word = key.tag.rpartition(":")[2] in ("str", "int")
            if not is_word or key.value in content:
                problem = f"key '{key.value}' is given twice" if is_word else "a key is no word or whole number"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            content[key.value] = self.construct_object(value, deep=deep)
        return content


for _tag, _pattern, _first in (
    ("null", r"~|null|", ["~", "n", ""]),
    ("bool", r"true|false", ["t", "f"]),
    ("int", r"[-+]?(0|[1-9]\d{0,17})", list("-+0123456789")),
    ("float", r"[-+]?(\d{1,18}\.\d{0,18}|\.\d{1,18})([eE][-+]?\d{1,3})?|[-+]?\.inf|\.nan", list("-+0123456789.")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z", re.ASCII), _first)


def explain(error: ValidationError) -> str:
    """Turn pydantic's report into one line that names the first invalid key and its correction."""
    first = error.errors()[0]
    # If a key may have several types, pydantic adds the type that it tried, which the user never wrote.
    keys = [str(key) for key in first["loc"] if not re.match(r"literal\[|constrained-|\[key\]", str(key))]
    key = ".".join(keys) or "(top level)"
    others = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"unknown key '{key[:80]}'{others}; remove it or correct its spelling"
    if first["type"] == "missing":
        return f"key '{key}' is missing{others}"
    value = first.get("input")
    is_text = isinstance(value, str) and re.fullmatch(r"[-+]?\d+e[-+]?\d+", value, re.IGNORECASE)
    hint = " (YAML reads 1e-3 as text: write 1.0e-3)" if is_text else ""
    own = first["type"] == "value_error"  # one of our checks: it may name modules and files
    message = first["msg"].removeprefix("Value error, ") if own else first["msg"].lower()
    return f"key '{key[:80]}' = {repr(value)[:80]}: {message[:400]}{hint}{others}"


EXTENSIONS = "LMHLD_EXTENSIONS"


def load_extensions(names: Iterable[str] | None = None) -> None:
    """Import modules that register losses, metrics etc. (None: those of the parent process); UserError on failure."""
    loaded = [name for name in os.environ.get(EXTENSIONS, "").split(",") if name]
    names = loaded if names is None else names
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:  # whatever the module does on import
            way_out = "install its package or put its folder into PYTHONPATH"
            raise UserError(f"extension '{name}': cannot be imported ({short(error, True)}); {way_out}") from error
    os.environ[EXTENSIONS] = ",".join(dict.fromkeys([*loaded, *names]))


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, for a file or folder, which is renamed to it if the block succeeds.

    If it fails, the old content is kept; if the system refuses, `UserError`.
    """
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}.part{path.suffix}")  # machines may share the folder
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if temporary.is_dir() and path.is_dir():
            shutil.rmtree(path)
        temporary.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        if os.path.isdir(temporary):  # unlike those of Path, these do not raise if the folder may not be entered
            shutil.rmtree(temporary, ignore_errors=True)
        elif os.path.exists(temporary):
            temporary.unlink()


def clear_left_behind(folder: Path, name: str = "*") -> None:
    """Delete what killed processes left of ``name`` in a folder (`atomic_path`); the caller must hold its lock."""
    for left in folder.glob(f".{name}.*.part*"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()


def cannot_write(path: Path, error: OSError) -> UserError:
    """Return the error to raise if the system refuses to write ``path``."""
    return UserError(f"{path}: cannot be written ({_reason(error)}); free space or choose another folder")


def cannot_read(path: Path, error: OSError) -> UserError:
    """Return the error to raise if the system refuses to read the existing ``path``."""
    return UserError(f"{path}: cannot be read ({_reason(error)}); check its permissions")


def _reason(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else str(error)


def write_json(path: Path, content: object) -> None:
    """Write ``content`` as indented JSON, atomically; NaN and infinities become null so that any reader parses it."""
    finite = json.loads(json.dumps(content), parse_constant=lambda _: None)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(finite, indent=1) + "\n", encoding="utf-8")


def progress_bar(total: int, desc: str, unit: str, show: bool = True, initial: int = 0) -> Any:
    """Return a tqdm bar, a widget in notebooks unless LMHLD_PROGRESS is ``lines``; logs get one line per minute."""
    kind = tqdm if os.environ.get("LMHLD_PROGRESS") == "lines" else auto.tqdm
    often = 0.1 if sys.stderr.isatty() or "ipykernel" in sys.modules else 60.0
    return kind(
        total=total, desc=printable(desc), unit=unit, initial=initial, disable=not show, leave=False, mininterval=often
    )
