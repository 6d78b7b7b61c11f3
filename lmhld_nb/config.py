"""Where things are, how profiles are read, and how errors are told.

This is the only module that knows the project's folders and the only one that reads YAML.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

ROOT = Path(__file__).resolve().parents[1]


class UserError(Exception):
    """Bad input, told in one line that names the file or key and the next step (exit code 2)."""


class Interrupted(Exception):
    """Work was asked to stop (by a signal) and has kept what the same command needs to go on."""

    def __init__(self, told: str, by: int = signal.SIGTERM) -> None:
        super().__init__(told)
        self.by = by

    def __reduce__(self) -> tuple[type, tuple[str, int]]:  # it travels between processes
        return type(self), (str(self), self.by)


class Strict(BaseModel):
    """A declaration read from YAML: unknown keys and wrong types are refused, values never change."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


StrictT = TypeVar("StrictT", bound=BaseModel)


def workdir() -> Path:
    """Return the folder that holds ``data/``, ``runs/`` and ``build/``.

    It is the project's root unless the environment variable ``LMHLD_WORKDIR`` names another folder.
    """
    return Path(os.environ.get("LMHLD_WORKDIR", ROOT)).resolve()


def data_dir() -> Path:
    """Return the folder of prepared data sets; ``LMHLD_DATA`` moves it (to a scratch disk, say)."""
    return Path(os.environ.get("LMHLD_DATA", workdir() / "data")).resolve()


def runs_dir() -> Path:
    """Return the folder of the run store; ``LMHLD_RUNS`` moves it."""
    return Path(os.environ.get("LMHLD_RUNS", workdir() / "runs")).resolve()


def figures_dir(profile: str) -> Path:
    """Return the folder of a profile's figures and of the numbers behind them, ``build/PROFILE/figures/``."""
    return workdir() / "build" / profile / "figures"


def read_yaml(path: Path, schema: type[StrictT]) -> StrictT:
    """Read ``path`` and check it against ``schema``.

    The values pass through JSON so that a YAML list is accepted where a tuple is declared, while
    ``1e-3`` (which YAML 1.1 reads as text) is refused where a number is.

    Raises:
        UserError: the file is missing, is not YAML, or has an unknown key or a wrong type.
    """
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({(error.strerror or str(error)).lower()})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not readable as YAML ({_one_line(error)})") from None
    try:
        plain = json.dumps(raw)
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: {_one_line(error)}; use plain numbers, texts and lists") from None
    try:
        return schema.model_validate_json(plain)
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error)}") from None


class _Loader(yaml.SafeLoader):
    """The safe loader, made to refuse a key that stands twice (YAML's own takes the last in silence)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key '{key.value}' stands there twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def explain(error: ValidationError) -> str:
    """Turn pydantic's report into one line that names the first wrong key and the mend."""
    first = error.errors()[0]
    # Where a key may be of several types, pydantic adds the type it tried: no word the user wrote.
    words = [str(part) for part in first["loc"] if not re.match(r"literal\[|constrained-", str(part))]
    key = ".".join(words) or "(top level)"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"unknown key '{key}'{more}; remove it or correct its spelling"
    if first["type"] == "missing":
        return f"key '{key}' is missing{more}"
    value = first.get("input")
    hint = ""
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+e[-+]?\d+", value, re.IGNORECASE):
        hint = " (YAML reads 1e-3 as text: write 1.0e-3)"
    return f"key '{key}' = {value!r}: {first['msg'].lower()}{hint}{more}"


def _one_line(error: object) -> str:
    return " ".join(str(error).split())


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that takes its name only if the block succeeds.

    Works for a file or a folder the block creates. Whatever happens, nothing half-written is left
    under the final name, and the temporary is removed on failure.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if temporary.is_dir() and path.is_dir():
            shutil.rmtree(path)
        temporary.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        elif temporary.exists():
            temporary.unlink()


def cannot_write(path: Path, error: OSError) -> UserError:
    """Return the error to raise where the system refuses to write ``path``."""
    reason = os.strerror(error.errno).lower() if error.errno else " ".join(str(error).split())
    return UserError(f"{path}: cannot be written ({reason}); free space or choose another folder")


def write_json(path: Path, content: object) -> None:
    """Write ``content`` as indented JSON, atomically; NaN and infinities become null so that any reader parses it."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(_finite(content), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _finite(content: Any) -> Any:
    if isinstance(content, float) and not math.isfinite(content):
        return None
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return content
