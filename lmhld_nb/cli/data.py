"""``lmhld doctor`` and ``lmhld data``: the machine, and what is trained on."""

from pathlib import Path
from typing import Annotated

import typer

from lmhld_nb.cli.options import SETTINGS, Quiet, app, argument, option


@app.command(epilog="Example: lmhld doctor")
def doctor() -> None:
    """Look at Python, packages, devices, disk and data. The first step when something is wrong."""
    from lmhld_nb.book.doctor import report

    typer.echo(report())


data = typer.Typer(**SETTINGS, help="List, get and check data sets.")
app.add_typer(data, name="data")


@data.command("list", epilog="Example: lmhld data list")
def data_list() -> None:
    """List the catalogue of data sets and which of them are there."""
    from lmhld_nb import sources

    for name, description in sources.catalogue().items():
        state = "ready" if sources.is_ready(name) else "-"
        kind = "synthetic" if description.synthetic else description.source.kind
        typer.echo(f"{name:16} {kind:10} {state:6} {description.title}")


@data.command("get", epilog="Example: lmhld data get hokkaido --from ~/Downloads/hokkaido.zip")
def data_get(
    name: Annotated[str, argument("NAME", "a name of `lmhld data list`, or `weights`: a network to begin with")],
    from_path: Annotated[Path | None, option("PATH", "adopt this folder or archive, no download", "--from")] = None,
    layout: Annotated[Path | None, option("PATH", "YAML that says where images and masks lie")] = None,
    quiet: Quiet = False,
) -> None:
    """Make, download or adopt a data set. Repeat it after an interruption and it goes on."""
    from lmhld_nb import sources

    if name == "weights":
        from lmhld_nb.mapping import start

        path, lines = start.get()
        typer.echo("\n".join([str(path), *lines]))
        return
    dataset = sources.get(name, from_path, progress=not quiet, layout=layout)
    typer.echo(sources.summary(dataset))


@data.command("check", epilog="Example: lmhld data check my_patches/")
def data_check(path: Annotated[Path, argument("PATH", "a folder of patches, or one scene")]) -> None:
    """Say what a folder or a scene holds, and whether the book can read it."""
    from lmhld_nb import sources

    typer.echo(sources.check(path))
