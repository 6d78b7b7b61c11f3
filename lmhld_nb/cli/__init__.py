"""The command ``lmhld``: every step of the book, without a notebook.

Torch and GDAL are imported inside the commands, so that ``--help`` answers at once. It lists the commands in the order
in which the modules below register them, which is the order of use.
"""

import re
import signal
import sys
from typing import Annotated

import typer

from lmhld_nb import __version__
from lmhld_nb.cli.options import app

from lmhld_nb.cli import data, trainings, chapters, maps  # isort: skip  (the order of --help)
from lmhld_nb.config import Interrupted, UserError

__all__ = ["app", "chapters", "data", "main", "maps", "trainings"]


@app.callback(invoke_without_command=True)
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="show the traceback of an error")] = False,
    version: Annotated[bool, typer.Option("--version", help="print the version and exit")] = False,
) -> None:
    # main() reads --debug before typer does: an error may come from anywhere.
    if version:
        typer.echo(f"lmhld {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command. Bad input: one line on stderr, exit code 2; an interruption: one line, exit code 130 or 143."""
    debug = "--debug" in sys.argv
    signals: list[int] = []

    def stop(number: int, _: object) -> None:
        signals.append(number)
        raise KeyboardInterrupt

    # SIGTERM ends a command as Ctrl-C does: temporary files go, workers are stopped.
    signal.signal(signal.SIGTERM, stop)
    try:
        code = app(prog_name="lmhld", standalone_mode=False) or 0
        if code == 130:  # what typer makes of KeyboardInterrupt
            raise KeyboardInterrupt
        sys.exit(code)
    except (UserError, _UsageError, OSError, Interrupted, KeyboardInterrupt, typer.Abort) as error:
        if debug or (isinstance(error, OSError) and error.filename is None):
            raise
        # A word without end is shown by its ends; a command without arguments has shown its help.
        if text := re.sub(r"(\S{100})\S{200,}(\S{100})", r"\1…\2", " ".join(_describe(error).split())):
            typer.echo(f"lmhld: {text}", err=True)
        if isinstance(error, UserError | OSError | _UsageError):
            sys.exit(2)
        sys.exit(128 + (error.by if isinstance(error, Interrupted) else (signals or [signal.SIGINT])[0]))


_UsageError: type[Exception] = typer.BadParameter.__mro__[1]  # typer does not export it by itself


def _describe(error: BaseException) -> str:
    if isinstance(error, _UsageError):
        message, context = error.format_message(), getattr(error, "ctx", None)  # type: ignore[attr-defined]
        return f"{message.rstrip('.')}; see `{context.command_path if context else 'lmhld'} --help`" if message else ""
    if isinstance(error, OSError):  # a file that the operating system refuses is not a bug
        return f"{error.filename}: {(error.strerror or str(error)).lower()}; check the path and its permissions"
    return str(error) if isinstance(error, UserError) else "interrupted; repeat it: trainings and downloads continue"
