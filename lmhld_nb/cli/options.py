"""What commands share: the application and common options."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lmhld_nb.config import check_kind, printable


class _Commands(typer.core.TyperGroup):
    """Commands in order of definition, groups first; an argument's metavar is all that is shown of its type."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands."""
        return sorted(self.commands, key=lambda name: not isinstance(self.commands[name], typer.core.TyperGroup))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command by its name, or None."""
        command = super().get_command(ctx, cmd_name)
        parameters: list[Any] = command.params if command else []
        for argument in parameters:
            if argument.param_type_name == "argument":
                argument.display_type_rich = lambda ctx: None
        return command


class Pairs(typer.core.TyperCommand):
    """A command with a repeatable option that takes two values, which typer cannot declare."""

    joints = {"-p": "=", "--also": "\n"}

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Join the two values, ``-p NAME VALUE`` into ``-p NAME=VALUE`` for example."""
        joined = list(args)
        for index in reversed([index for index, word in enumerate(args[:-2]) if word in self.joints]):
            joined[index + 1 : index + 3] = [self.joints[args[index]].join(args[index + 1 : index + 3])]
        return super().parse_args(ctx, joined)


_ABOUT = """Landslide maps from satellite images: train the book's networks, check the paper, map your own scene.

\b
Examples:
  lmhld run mini                                       train what the book shows
  lmhld book mini                                      execute its chapters
  lmhld map scene.tif --run RUN_ID --out map/          a map to open in QGIS
  lmhld verify edition RUN_ID                          reproduce a published number
"""
SETTINGS: dict[str, Any] = {"cls": _Commands, "no_args_is_help": True, "rich_markup_mode": None}
app = typer.Typer(**SETTINGS, add_completion=False, pretty_exceptions_enable=False, help=_ABOUT)


def _path(text: str) -> Path:
    """Return a word as a path; a usage error if it is empty (an unset variable?) or has more than one line."""
    if not text.strip() or printable(text) != text:
        raise typer.BadParameter(f"{text!r} is not the path of a file or folder")
    check_kind(Path(text))
    return Path(text)


def _parser(metavar: str) -> dict[str, Any]:
    return {"parser": _path} if metavar in ("PATH", "SCENE", "LABELS") else {}


def option(metavar: str, description: str, *names: str, **rules: Any) -> Any:
    """Return an option that takes a value, shown as ``metavar`` and not as a Python type; ``rules`` are typer's."""
    return typer.Option(*names, metavar=metavar, help=description, **_parser(metavar) | rules)


def argument(metavar: str, description: str) -> Any:
    """Return an argument, shown like the options of `option`."""
    return typer.Argument(metavar=metavar, help=description, **_parser(metavar))


ProfileName = Annotated[str, argument("PROFILE", "smoke, mini, edition, real, rehearsal, paper, or your own YAML file")]
Device = Annotated[str, option("NAME", "auto, cpu or cuda")]
_EXPERIMENTS = "1 to 5 as in the paper, or patch_size, single, mix, part, unseen, recipe, beyond, leave_one_out"
Experiment = Annotated[str | None, option("NAME", f"only this experiment: {_EXPERIMENTS}")]
Workers = Annotated[int | None, option("NUMBER", "trainings in parallel; default: one per core or GPU", min=1, max=256)]
NoData = Annotated[list[float] | None, option("NUMBER", "no-data value; repeatable; default: the file's own")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="no progress bars")]
