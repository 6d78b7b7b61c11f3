"""``lmhld doctor`` and ``lmhld data``: this machine, and the training data."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from lmhld_nb.cli.options import SETTINGS, Quiet, app, argument, option
from lmhld_nb.config import UserError


@app.command(epilog="Example: lmhld doctor")
def doctor() -> None:
    """Check Python, packages, devices, disk and data. The first step when something is wrong."""
    from lmhld_nb.book.doctor import report

    typer.echo(report())


data = typer.Typer(**SETTINGS, help="List, get and check data sets.")
app.add_typer(data, name="data")


@data.command("list", epilog="Example: lmhld data list")
def data_list() -> None:
    """List the known data sets and show which are ready."""
    from lmhld_nb import sources

    for name, description in sources.catalogue().items():
        state = "ready" if sources.is_ready(name) else "-"
        kind = "synthetic" if description.synthetic else description.source.kind
        typer.echo(f"{name:16} {kind:10} {state:6} {description.title}")


@data.command("get", epilog="Example: lmhld data get hokkaido --from ~/Downloads/hokkaido.zip")
def data_get(
    name: Annotated[str, argument("NAME", "a name from `lmhld data list`, or `weights`: a start network")],
    from_path: Annotated[Path | None, option("PATH", "use this folder or archive, do not download", "--from")] = None,
    layout: Annotated[Path | None, option("PATH", "YAML file that says where images and masks are")] = None,
    quiet: Quiet = False,
) -> None:
    """Generate, download or adopt a data set. After an interruption, run it again to continue."""
    from lmhld_nb import sources
    from lmhld_nb.patches.measurements import measure_area

    if name == "weights":
        from lmhld_nb.mapping import start

        path, lines = start.get()
        typer.echo("\n".join([str(path), *lines]))
        return
    dataset = sources.get(name, from_path, progress=not quiet, layout=layout)
    for area in dataset.areas:
        with suppress(UserError):  # a plan says what is wrong with this area
            measure_area(dataset, area, quiet=quiet)
    typer.echo(sources.summary(dataset))


@data.command("check", epilog="Example: lmhld data check my_patches/")
def data_check(path: Annotated[Path, argument("PATH", "a folder of patches, or one scene")]) -> None:
    """Report what a folder or a scene holds, and if the book can read it."""
    from lmhld_nb import sources

    typer.echo(sources.check(path))
